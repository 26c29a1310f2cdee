//! The activations: a = f(z), and f'(z).
//!
//! In: what was chosen. Out: a [`Curve`], a small struct with the value and the derivative side by side, which loops
//! are compiled for: a choice made at run time is decoded once, by [`Activation::with`], and no loop asks again.
//! NaN stays NaN, and what is finite stays finite, however large z is.

mod curves;
mod slices;
#[cfg(test)]
mod tests;

use crate::simd::Vector;
use curves::{Elu, Gelu, GeluTanh, Identity, LeakyRelu, Relu, SELU, Sigmoid, Silu, Softplus, Softsign, Tanh};
pub use slices::{activate, activate_in_place, multiply_slope};

/// A function of one number, applied to every element of z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// z
    Identity,
    /// 1/(1 + e^-z)
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// max(z, 0); its derivative at 0 is 0
    Relu,
    /// z, or slope z below 0; its derivative at 0 is the slope
    LeakyRelu {
        /// Not negative.
        slope: f64,
    },
    /// z, or alpha (e^z - 1) below 0; its derivative at 0 is alpha
    Elu {
        /// Not negative.
        alpha: f64,
    },
    /// lambda times elu, with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017)
    Selu,
    /// z P(Z <= z) for a standard normal Z
    Gelu,
    /// z sigmoid(2 sqrt(2/pi) (z + 0.044715 z^3)): the usual approximation of gelu through tanh
    GeluTanh,
    /// z sigmoid(z)
    Silu,
    /// log(1 + e^z)
    Softplus,
    /// z/(1 + |z|)
    Softsign,
}

/// An activation that the compiler knows.
pub(crate) trait Curve: Copy {
    /// a = f(z)
    fn value<V: Vector>(self, z: V) -> V;
    /// f'(z), given a = f(z); z is read only where [`Activation::needs_z`] says so.
    fn slope<V: Vector>(self, a: V, z: V) -> V;
}

/// What to do with an activation, once it is known which one it is.
pub(crate) trait Visit {
    type Output;
    fn visit<C: Curve>(self, curve: C) -> Self::Output;
}

impl Activation {
    /// Whether f'(z) can't be found from f(z), so that z must be kept for it.
    pub fn needs_z(self) -> bool {
        matches!(self, Activation::Gelu | Activation::GeluTanh | Activation::Silu)
    }

    /// Calls `visit` with the curve of this activation.
    #[inline(always)]
    pub(crate) fn with<W: Visit>(self, visit: W) -> W::Output {
        match self {
            Activation::Identity => visit.visit(Identity),
            Activation::Sigmoid => visit.visit(Sigmoid),
            Activation::Tanh => visit.visit(Tanh),
            Activation::Relu => visit.visit(Relu),
            Activation::LeakyRelu { slope } => visit.visit(LeakyRelu { slope }),
            Activation::Elu { alpha } => visit.visit(Elu { scale: 1.0, alpha }),
            Activation::Selu => visit.visit(SELU),
            Activation::Gelu => visit.visit(Gelu),
            Activation::GeluTanh => visit.visit(GeluTanh),
            Activation::Silu => visit.visit(Silu),
            Activation::Softplus => visit.visit(Softplus),
            Activation::Softsign => visit.visit(Softsign),
        }
    }
}

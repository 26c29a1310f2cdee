//! The activations: a = f(z), and f'(z).
//!
//! In: what was chosen. Out: a [`Curve`], a small struct with the value and the derivative side by side, which loops
//! are compiled for: a choice made at run time is decoded once, by [`Activation::with`], and no loop asks again.
//! NaN stays NaN, and what is finite stays finite, however large z is; only e^z and selu can overflow.

mod curves;
mod slices;
#[cfg(test)]
mod tests;

use crate::simd::{Vector, function};
use curves::{
    Celu, Elu, Exponential, Gelu, GeluTanh, HardSigmoid, HardSwish, Identity, LeakyRelu, Mish, Relu, Relu6, SELU,
    Sigmoid, Silu, Softplus, Softsign, Tanh,
};
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
    /// z within 0 and 6; its derivative at 0 and at 6 is 0
    Relu6,
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
    /// z, or alpha (e^(z/alpha) - 1) below 0; its derivative at 0 is 1
    Celu {
        /// Positive, and 1/alpha is a number of the type too.
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
    /// z tanh(log(1 + e^z))
    Mish,
    /// (z + 3)/6 within 0 and 1; its derivative at both ends is 0
    HardSigmoid,
    /// z times hard sigmoid; its derivative at -3 is 0, at 3 it is 1
    HardSwish,
    /// e^z, infinite where that is too large
    Exponential,
    /// log(1 + e^z)
    Softplus,
    /// z/(1 + |z|)
    Softsign,
}

/// An activation that the compiler knows.
pub(crate) trait Curve: Copy + Sync {
    /// a = f(z)
    fn value<V: Vector>(self, z: V) -> V;
    /// f'(z), given a = f(z); z is read only where [`Activation::needs_z`] says so.
    fn slope<V: Vector>(self, a: V, z: V) -> V;
}

/// A curve that is compiled once for each type, and not again in every loop, on sets that call their functions.
#[derive(Clone, Copy)]
struct Once<C>(C);

function! {
    fn value<V: Vector, C: Curve>(curve: C, z: V) -> V {
        curve.value(z)
    }
}
function! {
    fn slope<V: Vector, C: Curve>(curve: C, a: V, z: V) -> V {
        curve.slope(a, z)
    }
}

impl<C: Curve> Curve for Once<C> {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        value(self.0, z)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, z: V) -> V {
        slope(self.0, a, z)
    }
}

/// What to do with an activation, once it is known which one it is.
pub(crate) trait Visit {
    type Output;
    fn visit<C: Curve>(self, curve: C) -> Self::Output;
}

impl Activation {
    /// Whether f'(z) can't be found from f(z), so that z must be kept for it.
    pub fn needs_z(self) -> bool {
        use Activation::{Gelu, GeluTanh, HardSwish, Mish, Silu};
        matches!(self, Gelu | GeluTanh | Silu | Mish | HardSwish)
    }

    /// Calls `visit` with the curve of this activation.
    #[inline(always)]
    pub(crate) fn with<W: Visit>(self, visit: W) -> W::Output {
        match self {
            Activation::Identity => visit.visit(Once(Identity)),
            Activation::Sigmoid => visit.visit(Once(Sigmoid)),
            Activation::Tanh => visit.visit(Once(Tanh)),
            Activation::Relu => visit.visit(Once(Relu)),
            Activation::Relu6 => visit.visit(Once(Relu6)),
            Activation::LeakyRelu { slope } => visit.visit(Once(LeakyRelu { slope })),
            Activation::Elu { alpha } => visit.visit(Once(Elu { scale: 1.0, alpha })),
            Activation::Celu { alpha } => visit.visit(Once(Celu { alpha })),
            Activation::Selu => visit.visit(Once(SELU)),
            Activation::Gelu => visit.visit(Once(Gelu)),
            Activation::GeluTanh => visit.visit(Once(GeluTanh)),
            Activation::Silu => visit.visit(Once(Silu)),
            Activation::Mish => visit.visit(Once(Mish)),
            Activation::HardSigmoid => visit.visit(Once(HardSigmoid)),
            Activation::HardSwish => visit.visit(Once(HardSwish)),
            Activation::Exponential => visit.visit(Once(Exponential)),
            Activation::Softplus => visit.visit(Once(Softplus)),
            Activation::Softsign => visit.visit(Once(Softsign)),
        }
    }
}

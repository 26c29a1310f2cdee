//! The value and the derivative of each activation.
//!
//! In: a vector of z, or of a and z. Out: f(z), or f'(z). The derivative comes from a where it can.
//! Products with z are arranged so that no infinity ever meets a 0.

use super::Curve;
use crate::math::{exp, expm1, normal, sigmoid, softplus, tanh};
use crate::simd::Vector;

#[derive(Clone, Copy)]
pub(super) struct Identity;

impl Curve for Identity {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        z
    }
    #[inline(always)]
    fn slope<V: Vector>(self, _a: V, _z: V) -> V {
        V::num(1.0)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Sigmoid;

impl Curve for Sigmoid {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        sigmoid(z)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        a.fnma(a, a)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tanh;

impl Curve for Tanh {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        tanh(z)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        a.fnma(a, V::num(1.0))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Relu;

impl Curve for Relu {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        // In this order of the operands NaN stays.
        V::zero().max(z)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        // a is 0 where it is not positive; or NaN, which stays.
        V::select(V::zero().lt(a), V::num(1.0), a)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Relu6;

impl Curve for Relu6 {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        V::num(6.0).min(V::zero().max(z))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        // a is 0 below, or NaN, which stays; and it is 6 above.
        let rising = V::select(V::zero().lt(a), V::num(1.0), a);
        V::select(V::num(6.0).le(a), V::zero(), rising)
    }
}

#[derive(Clone, Copy)]
pub(super) struct LeakyRelu {
    pub(super) slope: f64,
}

impl Curve for LeakyRelu {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        V::select(V::zero().lt(z), z, z.mul(V::num(self.slope)))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        V::select(V::zero().lt(a), V::num(1.0), V::num(self.slope))
    }
}

/// Elu, and selu with its scale.
#[derive(Clone, Copy)]
pub(super) struct Elu {
    pub(super) scale: f64,
    pub(super) alpha: f64,
}

/// The constants keep mean 0 and variance 1 (Klambauer et al., 2017).
pub(super) const SELU: Elu = Elu { scale: 1.0507009873554805, alpha: 1.6732632423543772 };

impl Curve for Elu {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        let below = expm1(z).mul(V::num(self.scale * self.alpha));
        V::select(V::zero().lt(z), z.mul(V::num(self.scale)), below)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        // (alpha (e^z - 1))' = alpha e^z
        V::select(V::zero().lt(a), V::num(self.scale), a.add(V::num(self.scale * self.alpha)))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Celu {
    pub(super) alpha: f64,
}

impl Curve for Celu {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        let below = expm1(z.mul(V::num(1.0 / self.alpha))).mul(V::num(self.alpha));
        V::select(V::zero().lt(z), z, below)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        // (alpha (e^(z/alpha) - 1))' = e^(z/alpha)
        V::select(V::zero().lt(a), V::num(1.0), a.fma(V::num(1.0 / self.alpha), V::num(1.0)))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Exponential;

impl Curve for Exponential {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        exp(z)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        a
    }
}

/// (z + 3)/6, but within 0 and 1.
#[inline(always)]
fn ramp<V: Vector>(z: V) -> V {
    let six = V::num(6.0);
    six.min(V::zero().max(z.add(V::num(3.0)))).div(six)
}

#[derive(Clone, Copy)]
pub(super) struct HardSigmoid;

impl Curve for HardSigmoid {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        ramp(z)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        let rising = V::select(V::zero().lt(a), V::num(1.0 / 6.0), a);
        V::select(V::num(1.0).le(a), V::zero(), rising)
    }
}

#[derive(Clone, Copy)]
pub(super) struct HardSwish;

impl Curve for HardSwish {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        V::num(-3.0).max(z).mul(ramp(z))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, _a: V, z: V) -> V {
        let three = V::num(3.0);
        let between = z.div(three).add(V::num(0.5));
        let above = V::select(three.le(z), V::num(1.0), between);
        V::select(z.le(three.neg()), V::zero(), above)
    }
}

/// z, but within `bound` of 0: beyond it a factor of z is exactly 0 or 1, and z may be infinite.
#[inline(always)]
fn within<V: Vector>(bound: f64, z: V) -> V {
    V::num(-bound).max(V::num(bound).min(z))
}

#[derive(Clone, Copy)]
pub(super) struct Gelu;

impl Gelu {
    /// Nothing is left of a normal distribution beyond it, in `f32` and `f64`.
    const BOUND: f64 = 40.0;
}

impl Curve for Gelu {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        V::num(-Self::BOUND).max(z).mul(normal(z).0)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, _a: V, z: V) -> V {
        let (below, density) = normal(z);
        within(Self::BOUND, z).fma(density, below)
    }
}

/// The sigmoid s and s (1 - s), which keeps all its digits where s is nearly 1; a large z may multiply it.
#[inline(always)]
fn sigmoid_and_slope<V: Vector>(y: V) -> (V, V) {
    let smaller = sigmoid(y.or(V::num(-0.0)));
    let s = V::select(y.lt(V::zero()), smaller, V::num(1.0).sub(smaller));
    (s, smaller.fnma(smaller, smaller))
}

#[derive(Clone, Copy)]
pub(super) struct GeluTanh;

impl GeluTanh {
    /// Beyond it the sigmoid is 0 or 1, in `f32` and `f64`.
    const BOUND: f64 = 22.0;
    /// 2 sqrt(2/pi)
    const LINEAR: f64 = 1.5957691216057308;
    const CUBIC: f64 = Self::LINEAR * 0.044715;

    /// 2 sqrt(2/pi) (z + 0.044715 z^3)
    #[inline(always)]
    fn inner<V: Vector>(z: V) -> V {
        z.mul(z.mul(z).fma(V::num(Self::CUBIC), V::num(Self::LINEAR)))
    }
}

impl Curve for GeluTanh {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        V::num(-Self::BOUND).max(z).mul(sigmoid(Self::inner(z)))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, _a: V, z: V) -> V {
        let z = within(Self::BOUND, z);
        let (gate, gate_slope) = sigmoid_and_slope(Self::inner(z));
        let inner_slope = z.mul(z).fma(V::num(3.0 * Self::CUBIC), V::num(Self::LINEAR));
        z.mul(inner_slope).fma(gate_slope, gate)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Silu;

impl Silu {
    /// Beyond it the sigmoid is 0 or 1, in `f32` and `f64`.
    const BOUND: f64 = 800.0;
}

impl Curve for Silu {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        V::num(-Self::BOUND).max(z).mul(sigmoid(z))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, _a: V, z: V) -> V {
        let z = within(Self::BOUND, z);
        let (gate, gate_slope) = sigmoid_and_slope(z);
        z.fma(gate_slope, gate)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Mish;

impl Mish {
    /// From here on tanh(softplus(z)) is 1, in `f32` and `f64`.
    const ABOVE: f64 = 20.0;
    /// From here down e^z is 0, in `f32` and `f64`.
    const BELOW: f64 = -800.0;

    /// (e, w) with e = e^z and w = (1 + e)^2 - 1, so that tanh(softplus(z)) = w/(w + 2).
    #[inline(always)]
    fn powers<V: Vector>(z: V) -> (V, V) {
        let e = exp(V::num(Self::ABOVE).min(z));
        (e, e.mul(e.add(V::num(2.0))))
    }
}

impl Curve for Mish {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        let (_, w) = Self::powers(z);
        V::num(Self::BELOW).max(z).mul(w.div(w.add(V::num(2.0))))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, _a: V, z: V) -> V {
        // (w/(w + 2))' = 4 e (1 + e)/(w + 2)^2
        let (e, w) = Self::powers(z);
        let z = V::num(Self::BELOW).max(V::num(Self::ABOVE).min(z));
        let d = w.add(V::num(2.0));
        let gate_slope = V::num(4.0).mul(e).mul(e.add(V::num(1.0))).div(d.mul(d));
        z.fma(gate_slope, w.div(d))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Softplus;

impl Curve for Softplus {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        softplus(z)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        // sigmoid(z) = 1 - 1/(1 + e^z) = 1 - e^-a
        expm1(a.neg()).neg()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Softsign;

impl Curve for Softsign {
    #[inline(always)]
    fn value<V: Vector>(self, z: V) -> V {
        // From 1e30 on the quotient is 1, and it must not be infinity/infinity.
        let size = V::num(1e30).min(z.abs());
        size.div(V::num(1.0).add(size)).with_sign_of(z)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, a: V, _z: V) -> V {
        // 1/(1 + |z|)^2 = (1 - |a|)^2
        let rest = V::num(1.0).sub(a.abs());
        rest.mul(rest)
    }
}

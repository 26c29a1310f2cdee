//! e^x and e^x - 1.
//!
//! In: any number. Out: the function, 0 and infinity where they are due, NaN for NaN.
//! x = n ln 2 + r with a whole n and |r| <= ln(2)/2; then e^x = 2^n e^r, and e^r is a polynomial.

use super::Coefficients;
use crate::simd::{Vector, function};

/// c0 + c1 x + c2 x^2 + ..., in one chain: fewest operations, and the smallest error.
#[inline(always)]
pub(super) fn horner<V: Vector>(x: V, coefficients: &[V::Elem]) -> V {
    let mut value = V::splat(coefficients[coefficients.len() - 1]);
    for i in (0..coefficients.len() - 1).rev() {
        value = value.fma(x, V::splat(coefficients[i]));
    }
    value
}

/// c0 + c1 x + c2 x^2 + ..., the even and the odd powers in chains of their own: half the time to wait.
#[inline(always)]
pub(super) fn polynomial<V: Vector>(x: V, square: V, coefficients: &[V::Elem]) -> V {
    let n = coefficients.len();
    let mut last = V::splat(coefficients[n - 1]);
    let mut other = V::splat(coefficients[n - 2]);
    for i in (0..n - 2).rev() {
        (last, other) = (other, last.fma(square, V::splat(coefficients[i])));
    }
    // After the last step `other` holds the even powers.
    last.fma(x, other)
}

/// (n, r) with x = n ln 2 + r; x is small enough for 2^(n/2) to be a normal number.
#[inline(always)]
pub(super) fn reduce<V: Vector>(x: V) -> (V, V) {
    let rounder = V::splat(V::Elem::ROUNDER);
    let n = x.fma(V::splat(V::Elem::LOG2_E), rounder).sub(rounder);
    // The first product and difference are exact.
    let r = n.fnma(V::splat(V::Elem::LN_2_HIGH), x);
    (n, n.fnma(V::splat(V::Elem::LN_2_LOW), r))
}

/// e^r - 1 - r for |r| <= ln(2)/2.
#[inline(always)]
fn exp_rest<V: Vector>(r: V) -> V {
    let square = r.mul(r);
    square.mul(polynomial(r, square, V::Elem::EXP))
}

/// e^r - 1 for |r| <= ln(2)/2.
#[inline(always)]
pub(super) fn expm1_reduced<V: Vector>(r: V) -> V {
    let square = r.mul(r);
    square.fma(polynomial(r, square, V::Elem::EXP), r)
}

/// e^r for |r| <= ln(2)/2.
#[inline(always)]
fn exp_reduced<V: Vector>(r: V) -> V {
    let one = V::num(1.0);
    polynomial(r, r.mul(r), V::Elem::EXP).fma(r, one).fma(r, one)
}

/// x, but within the bounds outside of which e^x is 0 or infinity.
#[inline(always)]
fn bounded<V: Vector>(x: V) -> V {
    // In this order of the operands NaN stays.
    let x = V::splat(V::Elem::EXP_IS_INFINITE).min(x);
    V::splat(V::Elem::EXP_IS_0).max(x)
}

function! {
    /// e^x.
    pub(crate) fn exp<V: Vector>(x: V) -> V {
        let (n, r) = reduce(bounded(x));
        exp_reduced(r).mul_pow2(n)
    }
}

function! {
    /// e^x - 1.
    pub(crate) fn expm1<V: Vector>(x: V) -> V {
        // From -50 down the result is -1.
        let (n, r) = reduce(V::num(-50.0).max(bounded(x)));
        // Half of 2^n r + (2^n - 1), and of the rest, which is small; 2^(n-1) is finite where 2^n is not.
        let power = n.sub(V::num(1.0)).pow2();
        let large = power.fma(r, power.sub(V::num(0.5)));
        let half = power.fma(exp_rest(r), large);
        // The half of a subnormal number may lose its last digit; and -0 should stay.
        let tiny = x.abs().lt(V::num(1e-30));
        V::select(tiny, x, half.add(half))
    }
}

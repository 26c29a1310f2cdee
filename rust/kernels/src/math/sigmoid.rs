//! The logistic sigmoid.
//!
//! In: any number. Out: 1/(1 + e^-x), between 0 and 1.
//! The smaller of sigmoid(x) and sigmoid(-x) is found with a corrected quotient; the other is 1 minus it.

use super::Coefficients;
use super::exp::polynomial;
use crate::simd::{Vector, function};

function! {
    /// 1/(1 + e^-x).
    pub(crate) fn sigmoid<V: Vector>(x: V) -> V {
        let one = V::num(1.0);
        // |x| = -n ln 2 + r with n <= 0, so that 1/(1 + e^|x|) = 2^n / (2^n + e^r).
        let a = V::splat(V::Elem::EXP_IS_0).neg().min(x.abs());
        let rounder = V::splat(V::Elem::ROUNDER);
        let t = a.fnma(V::splat(V::Elem::LOG2_E), rounder);
        let n = t.sub(rounder);
        // r is high + correction; the sum is rounded only for the polynomial.
        let high = n.fma(V::splat(V::Elem::LN_2_HIGH), a);
        let correction = n.mul(V::splat(V::Elem::LN_2_LOW));
        let r = high.add(correction);
        let square = r.mul(r);
        let em1 = high.add(square.fma(polynomial(r, square, V::Elem::EXP), correction));
        // 2^n, or 0 where that is no normal number.
        let power = V::num(1.5 * f64::from(V::FRACTION_BITS).exp2()).max(t).shl_fraction();
        // The denominator is d + low: 1 + 2^n, then e^r - 1, the two sums with what rounding took from them.
        let sum = one.add(power);
        let d = sum.add(em1);
        let low = sum.sub(d).add(em1).add(one.sub(sum).add(power));
        let q = one.div(d);
        let missing = q.fnma(low, q.fnma(d, one));
        let smaller = q.fma(missing, q).mul_pow2(n);
        V::select(x.lt(V::zero()), smaller, one.sub(smaller))
    }
}

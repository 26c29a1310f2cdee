//! The normal distribution.
//!
//! In: any number. Out: how much of the distribution lies below it, and its density there.
//! The tail beyond a is e^(-a^2/2) times Mills' ratio, which is smooth: a polynomial in (4 - a)/(4 + a).

use super::Coefficients;
use super::exp::{expm1_reduced, polynomial, reduce};
use crate::simd::{Vector, function};

function! {
    /// (P(Z <= z), density at z) for a standard normal Z.
    pub(crate) fn normal<V: Vector>(z: V) -> (V, V) {
        let one = V::num(1.0);
        let half = V::num(0.5);
        let a = V::splat(V::Elem::NORMAL_TAIL_IS_0).min(z.abs());
        // a^2 = square + low, exactly; large squares need their low part.
        let square = a.mul(a);
        let low = a.fms(a, square);
        let (n, r) = reduce(square.mul(half).neg());
        let em1 = expm1_reduced(low.fnma(half, r));

        // u + low = 4/(4 + a) with the digits that the sum and the quotient lost: the tail is steep near a = 0.
        let four = V::num(4.0);
        let sum = a.add(four);
        let lost = a.sub(sum.sub(four));
        let u = four.div(sum);
        let low = u.fnma(lost, u.fnma(sum, four)).mul(u.mul(V::num(0.25)));
        let two = V::num(2.0);
        let t = low.fma(two, u.fms(two, one));
        // The first two coefficients in one chain, which errs less.
        let high = polynomial(t, t.mul(t), &V::Elem::MILLS[2..]);
        let ratio = high.fma(t, V::splat(V::Elem::MILLS[1])).fma(t, V::splat(V::Elem::MILLS[0]));
        let mills = u.fma(ratio, low.mul(ratio));
        // Times e^r as plus (e^r - 1) times: one rounding less.
        let tail = mills.fma(em1, mills).mul_pow2(n);
        let top = V::num(0.398_942_280_401_432_7);
        let density = top.fma(em1, top).mul_pow2(n);
        (V::select(z.lt(V::zero()), tail, one.sub(tail)), density)
    }
}

//! tanh.
//!
//! In: any number. Out: its hyperbolic tangent, between -1 and 1, with the sign of the argument.
//! Below a threshold an odd polynomial; above, 1 - 2/(1 + e^2|x|), where the quotient is small and so are its errors.

use super::Coefficients;
use super::exp::{horner, polynomial};
use crate::simd::{Vector, function};

function! {
    /// tanh(x).
    pub(crate) fn tanh<V: Vector>(x: V) -> V {
        let one = V::num(1.0);
        let sign = x.sign_bit();
        let a = x.xor(sign);

        let square = a.mul(a);
        let small = a.fma(square.mul(horner(square, V::Elem::TANH)), a);

        // 2 a log2(e) = n + f, e^(2a) = 2^n 2^f; the error of the constant grows with a, but then tanh is nearly 1.
        let rounder = V::splat(V::Elem::ROUNDER);
        let bounded = V::splat(V::Elem::TANH_IS_1).min(a);
        let t = bounded.fma(V::splat(V::Elem::TWO_LOG2_E), rounder);
        let f = bounded.fms(V::splat(V::Elem::TWO_LOG2_E), t.sub(rounder));
        let power = t.shl_fraction();
        // 2^n + 1 + 2^n (2^f - 1); 2^n + 1 and 2^n f are exact, or nearly so.
        let denominator = power.mul(f).fma(polynomial(f, f.mul(f), V::Elem::EXP2), power.add(one));
        let large = one.sub(V::num(2.0).div(denominator));

        V::select(a.lt(V::splat(V::Elem::TANH_SPLIT)), small, large).or(sign)
    }
}

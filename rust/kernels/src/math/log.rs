//! The natural logarithm, log(1 + x), and log(1 + e^x).
//!
//! In: any number. Out: the function; NaN below its domain, -infinity at its edge.
//! 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2): the logarithm is k ln 2 + f + f^2 LOG(f).

use super::Coefficients;
use super::exp::{exp, polynomial};
use crate::simd::{Vector, function};

/// (1 + f, k) with x = 2^k (1 + f), for positive normal numbers.
#[inline(always)]
fn split<V: Vector>(x: V) -> (V, V) {
    let (m, k) = x.split_exponent();
    let high = V::num(std::f64::consts::SQRT_2).lt(m);
    (V::select(high, m.mul(V::num(0.5)), m), V::select(high, k.add(V::num(1.0)), k))
}

/// k ln 2 + log(1 + f).
#[inline(always)]
fn join<V: Vector>(k: V, f: V) -> V {
    let ln2 = V::splat(V::Elem::LN_2_HIGH);
    let square = f.mul(f);
    // The first two coefficients in one chain, which errs less.
    let high = polynomial(f, square, &V::Elem::LOG[2..]);
    let log = high.fma(f, V::splat(V::Elem::LOG[1])).fma(f, V::splat(V::Elem::LOG[0]));
    let rest = k.fma(V::splat(V::Elem::LN_2_LOW), square.mul(log));
    // k ln 2 + f, and what rounding took from it.
    let sum = k.fma(ln2, f);
    let lost = k.fms(ln2, sum).add(f);
    sum.add(rest.add(lost))
}

/// The logarithm of x, found for numbers that have one, with the answers for the other numbers put in.
#[inline(always)]
fn with_edges<V: Vector>(x: V, found: V) -> V {
    let zero = V::zero();
    let infinity = V::num(f64::INFINITY);
    // infinity and NaN are their own logarithms
    let found = V::select(x.lt(infinity), found, x);
    let edge = V::select(x.lt(zero), V::num(f64::NAN), infinity.neg());
    V::select(x.le(zero), edge, found)
}

function! {
    /// The natural logarithm.
    pub(crate) fn log<V: Vector>(x: V) -> V {
        let shift = f64::from(V::FRACTION_BITS + 1);
        let subnormal = x.lt(V::splat(V::Elem::SMALLEST_NORMAL));
        let (m, k) = split(V::select(subnormal, x.mul(V::num(shift.exp2())), x));
        let k = k.sub(V::select(subnormal, V::num(shift), V::zero()));
        with_edges(x, join(k, m.sub(V::num(1.0))))
    }
}

function! {
    /// log(1 + x).
    pub(crate) fn log1p<V: Vector>(x: V) -> V {
        let one = V::num(1.0);
        let u = one.add(x);
        // What rounding took from u; in this order of the operands NaN stays.
        let lost = one.min(x).sub(u.sub(one.max(x)));
        let (m, k) = split(u);
        // The lost part is far below the last digit for large k, whose 2^-k would be no normal number.
        let f = lost.fma(V::num(100.0).min(k).neg().pow2(), m.sub(one));
        // The sign of x is the sign of the result; it is put in for the sake of -0.
        with_edges(u, join(k, f)).or(x.sign_bit())
    }
}

function! {
    /// log(1 + e^x).
    pub(crate) fn softplus<V: Vector>(x: V) -> V {
        let zero = V::zero();
        // max(x, 0) + log(1 + t), t = e^-|x| in [0, 1]
        let t = exp(x.or(V::num(-0.0)));
        let high = V::num(std::f64::consts::SQRT_2 - 1.0).lt(t);
        let half = V::num(0.5);
        let f = V::select(high, half.fms(t, half), t);
        let k = V::select(high, V::num(1.0), zero);
        zero.max(x).add(join(k, f))
    }
}

//! Every function on every set: the bits of scalar, the distance to the `f64` of the standard library, the edges.

use super::{Elementary, evaluate};
use crate::isa::Isa;
use crate::simd::Real;

const ALL: [Elementary; 9] = [
    Elementary::Exp,
    Elementary::Expm1,
    Elementary::Log,
    Elementary::Log1p,
    Elementary::Tanh,
    Elementary::Sigmoid,
    Elementary::Softplus,
    Elementary::NormalCdf,
    Elementary::NormalDensity,
];

fn one<T: Real>(isa: Isa, function: Elementary, x: T) -> T {
    let mut y = [T::ZERO];
    evaluate(isa, function, &[x], &mut y);
    y[0]
}

/// Bits from a linear congruential generator (Knuth's constants), so that every exponent occurs.
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 ^ (self.0 >> 29)
    }
}

#[test]
fn every_set_has_the_bits_of_scalar_in_f32() {
    let mut bits = Bits(1);
    let mut x: Vec<f32> = (0..100_000).map(|_| f32::from_bits((bits.next() >> 32) as u32)).collect();
    x.extend((0..50_000).map(|_| (bits.next() >> 32) as f32 / 2e7 - 107.0));
    for function in ALL {
        let (mut wanted, mut found) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        evaluate(Isa::SCALAR, function, &x, &mut wanted);
        for isa in Isa::available() {
            evaluate(isa, function, &x, &mut found);
            for ((x, w), f) in x.iter().zip(&wanted).zip(&found) {
                // The payload of a NaN is not promised.
                assert!(
                    w.to_bits() == f.to_bits() || w.is_nan() && f.is_nan(),
                    "{function:?}({x}) on {isa:?}: {f}, {w}"
                );
            }
        }
    }
}

#[test]
fn every_set_has_the_bits_of_scalar_in_f64() {
    let mut bits = Bits(2);
    let mut x: Vec<f64> = (0..100_000).map(|_| f64::from_bits(bits.next())).collect();
    x.extend((0..50_000).map(|_| (bits.next() >> 11) as f64 / 6e12 - 750.0));
    x.extend((0..50_000).map(|_| (bits.next() >> 11) as f64 / 1e15 - 4.5));
    for function in ALL {
        let (mut wanted, mut found) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        evaluate(Isa::SCALAR, function, &x, &mut wanted);
        for isa in Isa::available() {
            evaluate(isa, function, &x, &mut found);
            for ((x, w), f) in x.iter().zip(&wanted).zip(&found) {
                assert!(
                    w.to_bits() == f.to_bits() || w.is_nan() && f.is_nan(),
                    "{function:?}({x}) on {isa:?}: {f}, {w}"
                );
            }
        }
    }
}

fn tails<T: Real>() {
    let canary = T::from_f64(-77.25);
    for function in ALL {
        for n in 0..=2 * T::LANES + 3 {
            let x: Vec<T> = (0..n).map(|i| T::from_f64(0.1 + 0.3 * i as f64)).collect();
            for isa in Isa::available() {
                let mut y = vec![canary; n + 2];
                evaluate(isa, function, &x, &mut y[1..=n]);
                assert_eq!((y[0], y[n + 1]), (canary, canary), "{function:?} on {isa:?} wrote outside");
                for (x, y) in x.iter().zip(&y[1..]) {
                    assert_eq!(one(Isa::SCALAR, function, *x), *y, "{function:?}({x}) on {isa:?}, {n} numbers");
                }
            }
        }
    }
}

#[test]
fn tails_of_every_length_are_the_same_as_single_numbers() {
    tails::<f32>();
    tails::<f64>();
}

fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Function, the standard library's, lowest and highest argument, and the largest error in ulp of f32 and of f64.
///
/// `examples/accuracy.rs` and `accuracy_f64.rs` find the largest errors; the second bound has 1 ulp for the standard
/// library's own error.
type Case = (Elementary, fn(f64) -> f64, f64, f64, f64, f64);
const CASES: [Case; 7] = [
    (Elementary::Exp, f64::exp, -750.0, 710.0, 1.0, 2.0),
    (Elementary::Expm1, f64::exp_m1, -40.0, 710.0, 2.0, 3.0),
    (Elementary::Log, f64::ln, 0.0, 1e5, 1.0, 2.0),
    (Elementary::Log1p, f64::ln_1p, -1.0, 1e3, 2.0, 3.0),
    (Elementary::Tanh, f64::tanh, -20.0, 20.0, 1.0, 3.0),
    (Elementary::Sigmoid, sigmoid, -740.0, 40.0, 1.0, 3.0),
    (Elementary::Softplus, softplus, -740.0, 100.0, 2.0, 3.0),
];

#[test]
fn errors_are_within_their_bounds() {
    let mut bits = Bits(3);
    for (function, exact, low, high, bound_f32, bound_f64) in CASES {
        for round in 0..300 {
            // The whole range, and closer and closer to 0.
            let shrink = (0.8f64).powi(round % 60);
            let x: Vec<f64> = (0..1024)
                .map(|_| shrink * (low + (high - low) * ((bits.next() >> 11) as f64 / (1u64 << 53) as f64)))
                .collect();
            let mut y = vec![0.0; x.len()];
            evaluate(Isa::available()[0], function, &x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let wanted = exact(*x);
                let place = (f64::from_bits(wanted.abs().to_bits() + 1) - wanted.abs()).abs();
                let error = (y - wanted).abs() / place;
                assert!(y == &wanted || error <= bound_f64, "{function:?}({x:e}) = {y:e}, {error} ulp off");
            }
            let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            let mut y = vec![0.0; x.len()];
            evaluate(Isa::available()[0], function, &x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let wanted = exact(f64::from(*x));
                let near = wanted.abs() as f32;
                if near.is_finite() {
                    let place = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
                    let error = (f64::from(*y) - wanted).abs() / place;
                    // `near` may lie above a power of two that `wanted` lies below.
                    assert!(error <= bound_f32, "{function:?}({x:e}) = {y:e}, {error} ulp off");
                } else {
                    assert!(y.is_infinite(), "{function:?}({x:e}) = {y:e}");
                }
            }
        }
    }
}

#[test]
fn the_normal_distribution_is_within_two_places_of_1() {
    // From mpmath, 20 digits.
    let wanted = [
        (-30.0, 4.906713927148187e-198),
        (-5.0, 2.866515718791939e-7),
        (-1.0, 0.15865525393145705),
        (-0.01, 0.4960106436853684),
        (0.5, 0.6914624612740131),
        (2.0, 0.9772498680518208),
    ];
    for (z, wanted) in wanted {
        let found = one(Isa::SCALAR, Elementary::NormalCdf, z);
        assert!((found / wanted - 1.0f64).abs() < 1e-15, "P(Z <= {z}) = {found:e}, not {wanted:e}");
    }
    let z: Vec<f32> = (-400_000..400_000).map(|i| i as f32 * 1.7e-5).collect();
    let wide: Vec<f64> = z.iter().map(|&z| z.into()).collect();
    let (mut found, mut wanted) = (vec![0.0; z.len()], vec![0.0; z.len()]);
    evaluate(Isa::available()[0], Elementary::NormalCdf, &z, &mut found);
    evaluate(Isa::available()[0], Elementary::NormalCdf, &wide, &mut wanted);
    let error = found.iter().zip(&wanted).map(|(&f, w)| (f64::from(f) - w).abs()).fold(0.0, f64::max);
    // Twice 2^-24, the last place of numbers below 1; the exhaustive search found 1.16e-7.
    assert!(error < 1.2e-7, "{error:e}");
}

fn edges<T: Real>() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let smallest = if T::NAME == "float32" { f32::from_bits(1).into() } else { f64::from_bits(1) };
    let cases = [
        (Elementary::Exp, [(0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0), (1e4, inf), (-1e4, 0.0), (nan, nan)]),
        (
            Elementary::Expm1,
            [(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -1.0), (smallest, smallest), (1e4, inf), (nan, nan)],
        ),
        (Elementary::Log, [(0.0, -inf), (-0.0, -inf), (inf, inf), (-inf, nan), (-1.0, nan), (1.0, 0.0), (nan, nan)]),
        (Elementary::Log1p, [(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, nan), (-1.0, -inf), (-2.0, nan), (nan, nan)]),
        (
            Elementary::Tanh,
            [(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (smallest, smallest), (-1e30, -1.0), (nan, nan)],
        ),
        (
            Elementary::Sigmoid,
            [(0.0, 0.5), (-0.0, 0.5), (inf, 1.0), (-inf, 0.0), (1e30, 1.0), (-1e30, 0.0), (nan, nan)],
        ),
        (
            Elementary::Softplus,
            [(1e30, 1e30), (-1e30, 0.0), (inf, inf), (-inf, 0.0), (1e38, 1e38), (-1e38, 0.0), (nan, nan)],
        ),
        (
            Elementary::NormalCdf,
            [(0.0, 0.5), (-0.0, 0.5), (inf, 1.0), (-inf, 0.0), (1e30, 1.0), (-1e30, 0.0), (nan, nan)],
        ),
        (
            Elementary::NormalDensity,
            [(1e30, 0.0), (-1e30, 0.0), (inf, 0.0), (-inf, 0.0), (100.0, 0.0), (-100.0, 0.0), (nan, nan)],
        ),
    ];
    for isa in Isa::available() {
        for (function, edges) in cases {
            for (x, wanted) in edges {
                let found = one(isa, function, T::from_f64(x)).to_f64();
                let wanted = T::from_f64(wanted).to_f64();
                let same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
                assert!(same, "{function:?}({x}) on {isa:?} is {found}, not {wanted}");
            }
        }
    }
}

#[test]
fn edges_are_what_ieee_754_recommends() {
    edges::<f32>();
    edges::<f64>();
}

#[test]
fn subnormal_results_and_arguments_are_not_flushed() {
    for isa in Isa::available() {
        assert_eq!(one(isa, Elementary::Exp, -100.0f32), (-100.0f64).exp() as f32);
        assert_eq!(one(isa, Elementary::Sigmoid, -100.0f32), (-100.0f64).exp() as f32);
        assert_eq!(one(isa, Elementary::Softplus, -100.0f32), (-100.0f64).exp() as f32);
        assert_eq!(one(isa, Elementary::Log, f32::from_bits(1)), f64::from(f32::from_bits(1)).ln() as f32);
        assert_eq!(one(isa, Elementary::Exp, -740.0f64), (-740.0f64).exp());
        assert_eq!(one(isa, Elementary::Log, f64::from_bits(1)), f64::from_bits(1).ln());
    }
}

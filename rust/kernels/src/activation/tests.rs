//! Every activation on every set: the bits of scalar, the derivative, the edges.

use super::{Activation, activate, activate_in_place, multiply_slope};
use crate::isa::Isa;
use crate::simd::Real;

const ALL: [Activation; 18] = [
    Activation::Identity,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu { slope: 0.01 },
    Activation::Elu { alpha: 1.3 },
    Activation::Celu { alpha: 0.7 },
    Activation::Selu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Mish,
    Activation::HardSigmoid,
    Activation::HardSwish,
    Activation::Exponential,
    Activation::Softplus,
    Activation::Softsign,
];

/// Numbers of both signs from 1e-8 to 30, and 0.
fn numbers<T: Real>(n: usize) -> Vec<T> {
    let number = |i: usize| ((i * 37 % 101) as f64 - 50.0) * 0.6 * (0.7f64).powi((i * 13 % 50) as i32);
    (0..n).map(|i| T::from_f64(number(i))).collect()
}

fn value<T: Real>(isa: Isa, activation: Activation, z: T) -> T {
    let mut a = [T::ZERO];
    activate(isa, activation, &[z], &mut a);
    a[0]
}

fn slope<T: Real>(isa: Isa, activation: Activation, z: T) -> T {
    let a = value(isa, activation, z);
    let mut delta = [T::ONE];
    multiply_slope(isa, activation, &mut delta, &[a], &[if activation.needs_z() { z } else { a }]);
    delta[0]
}

/// `n` numbers with one canary on either side; `inside` gives the numbers.
fn guarded<T: Real>(numbers: &[T]) -> Vec<T> {
    let canary = [T::from_f64(-77.25)];
    [&canary, numbers, &canary].concat()
}

/// Numbers as bits, so that 0 and -0 differ.
fn bits<T: Real>(numbers: &[T]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

fn check_guards<T: Real>(buffer: &[T]) {
    let canary = T::from_f64(-77.25);
    assert_eq!((buffer[0], buffer[buffer.len() - 1]), (canary, canary), "written outside");
}

fn all_sets_agree_with_scalar<T: Real>() {
    for activation in ALL {
        for n in 0..=2 * T::LANES + 3 {
            let z = numbers::<T>(n);
            let mut wanted = z.clone();
            activate(Isa::SCALAR, activation, &z, &mut wanted);
            let mut wanted_delta = numbers::<T>(n);
            multiply_slope(Isa::SCALAR, activation, &mut wanted_delta, &wanted, &z);
            for isa in Isa::available() {
                let mut a = guarded(&vec![T::ONE; n]);
                activate(isa, activation, &z, &mut a[1..=n]);
                check_guards(&a);
                assert_eq!(bits(&a[1..=n]), bits(&wanted), "{activation:?} on {isa:?}, {n} numbers");
                let mut a = guarded(&z);
                activate_in_place(isa, activation, &mut a[1..=n]);
                check_guards(&a);
                assert_eq!(bits(&a[1..=n]), bits(&wanted), "{activation:?} in place on {isa:?}, {n} numbers");
                let mut delta = guarded(&numbers::<T>(n));
                multiply_slope(isa, activation, &mut delta[1..=n], &wanted, &z);
                check_guards(&delta);
                assert_eq!(bits(&delta[1..=n]), bits(&wanted_delta), "slope of {activation:?} on {isa:?}, {n} numbers");
            }
        }
    }
}

#[test]
fn every_set_has_the_bits_of_scalar_at_every_length() {
    all_sets_agree_with_scalar::<f32>();
    all_sets_agree_with_scalar::<f64>();
}

#[test]
fn values_are_those_of_the_formulas() {
    let erf_of_half = 0.5204998778130465; // erf(0.5), from mpmath
    let z = 0.5f64.sqrt();
    let wanted = [
        (Activation::Sigmoid, 0.7, 1.0 / (1.0 + (-0.7f64).exp())),
        (Activation::Relu, -0.7, 0.0),
        (Activation::LeakyRelu { slope: 0.2 }, -0.7, -0.14),
        (Activation::Elu { alpha: 1.3 }, -0.7, 1.3 * (-0.7f64).exp_m1()),
        (Activation::Selu, 0.7, 1.0507009873554805 * 0.7),
        (Activation::Selu, -0.7, 1.0507009873554805 * 1.6732632423543772 * (-0.7f64).exp_m1()),
        (Activation::Gelu, z, z * 0.5 * (1.0 + erf_of_half)),
        (Activation::Gelu, -z, -z * 0.5 * (1.0 - erf_of_half)),
        (Activation::Silu, -0.7, -0.7 / (1.0 + 0.7f64.exp())),
        (Activation::Relu6, 6.5, 6.0),
        (Activation::Relu6, 5.5, 5.5),
        (Activation::Relu6, -0.5, 0.0),
        (Activation::Celu { alpha: 0.5 }, -0.7, 0.5 * (-1.4f64).exp_m1()),
        (Activation::Celu { alpha: 0.5 }, 0.7, 0.7),
        (Activation::Mish, -0.7, -0.7 * (-0.7f64).exp().ln_1p().tanh()),
        (Activation::Mish, 0.7, 0.7 * 0.7f64.exp().ln_1p().tanh()),
        (Activation::HardSigmoid, -3.5, 0.0),
        (Activation::HardSigmoid, 0.6, 0.6),
        (Activation::HardSigmoid, 3.5, 1.0),
        (Activation::HardSwish, -3.5, 0.0),
        (Activation::HardSwish, 0.6, 0.36),
        (Activation::HardSwish, 3.5, 3.5),
        (Activation::Exponential, -0.7, (-0.7f64).exp()),
        (Activation::Softplus, -0.7, (-0.7f64).exp().ln_1p()),
        (Activation::Softsign, -0.7, -0.7 / 1.7),
    ];
    for (activation, z, wanted) in wanted {
        let found = value(Isa::SCALAR, activation, z);
        assert!((found - wanted).abs() < 4e-16, "{activation:?}({z}) = {found}, not {wanted}");
        let found = value(Isa::SCALAR, activation, z as f32);
        assert!((f64::from(found) - wanted).abs() < 2e-7, "{activation:?}({z}) = {found}, not {wanted}");
    }
    let z = 0.7f64;
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3));
    let wanted = 0.5 * z * (1.0 + inner.tanh());
    assert!((value(Isa::SCALAR, Activation::GeluTanh, z) - wanted).abs() < 4e-16);
}

#[test]
fn slopes_are_central_differences() {
    for activation in ALL {
        for i in -60..60 {
            let z = f64::from(i) * 0.13 + 0.05;
            let h = 1e-5;
            let isa = Isa::SCALAR;
            let difference = (value(isa, activation, z + h) - value(isa, activation, z - h)) / (2.0 * h);
            // h^2 f'''/6 and the rounding of f over h, both of the size of f where that is large
            let size = difference.abs().max(1.0);
            let error = (slope(isa, activation, z) - difference).abs();
            assert!(error < 2e-9 * size, "{activation:?}'({z}) is off by {error}");
            let found = f64::from(slope(isa, activation, z as f32));
            // From the output: 1 - a^2 and the like, so an error of an output near 1 stays.
            assert!((found - difference).abs() < 4e-7 * size, "{activation:?}'({z}) in f32: {found}, not {difference}");
        }
    }
}

#[test]
fn relu_has_slope_0_at_0() {
    assert_eq!(slope(Isa::SCALAR, Activation::Relu, 0.0f32), 0.0);
    assert_eq!(slope(Isa::SCALAR, Activation::Relu, -0.0f64), 0.0);
}

#[test]
fn kinks_have_the_slopes_of_pytorch() {
    fn check<T: Real>(isa: Isa) {
        let cases = [
            (Activation::Relu6, 0.0, 0.0),
            (Activation::Relu6, 6.0, 0.0),
            (Activation::Celu { alpha: 0.7 }, 0.0, 1.0),
            (Activation::HardSigmoid, -3.0, 0.0),
            (Activation::HardSigmoid, 3.0, 0.0),
            (Activation::HardSwish, -3.0, 0.0),
            (Activation::HardSwish, 3.0, 1.0),
        ];
        for (activation, z, wanted) in cases {
            assert_eq!(slope(isa, activation, T::from_f64(z)).to_f64(), wanted, "{activation:?} {} {isa:?}", T::NAME);
        }
    }
    for isa in Isa::available() {
        check::<f32>(isa);
        check::<f64>(isa);
    }
}

fn nan_stays_and_finite_stays_finite<T: Real>(largest: f64) {
    for isa in Isa::available() {
        for activation in ALL {
            let found = value(isa, activation, T::from_f64(f64::NAN));
            assert!(found.to_f64().is_nan(), "{activation:?} of NaN on {isa:?} is {found}");
            for z in [largest, 1e30, 1000.0, 100.0, 23.0, 1e-30, -1e-30, -23.0, -100.0, -1000.0, -1e30, -largest] {
                let (a, slope) = (value(isa, activation, T::from_f64(z)), slope(isa, activation, T::from_f64(z)));
                // Both say so where the number itself is too large.
                if activation == Activation::Exponential && z >= 100.0 {
                    continue;
                }
                if activation != Activation::Selu || z != largest {
                    assert!(a.is_finite(), "{activation:?}({z}) on {isa:?} is {a}");
                }
                assert!(slope.is_finite(), "{activation:?}'({z}) on {isa:?} is {slope}");
            }
        }
    }
}

#[test]
fn nan_stays_nan_and_large_numbers_stay_finite() {
    nan_stays_and_finite_stays_finite::<f32>(f32::MAX.into());
    nan_stays_and_finite_stays_finite::<f64>(f64::MAX);
}

#[test]
fn limits_are_reached_at_infinity() {
    let (up, down) = (f32::INFINITY, f32::NEG_INFINITY);
    for isa in Isa::available() {
        for activation in
            [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Mish, Activation::HardSwish]
        {
            assert_eq!((value(isa, activation, up), value(isa, activation, down)), (up, 0.0), "{activation:?}");
            assert_eq!((slope(isa, activation, up), slope(isa, activation, down)), (1.0, 0.0), "{activation:?}'");
        }
        assert_eq!((value(isa, Activation::Softplus, up), value(isa, Activation::Softplus, down)), (up, 0.0));
        assert_eq!((value(isa, Activation::Softsign, up), value(isa, Activation::Softsign, down)), (1.0, -1.0));
        assert_eq!((value(isa, Activation::Tanh, up), value(isa, Activation::Tanh, down)), (1.0, -1.0));
        assert_eq!((value(isa, Activation::HardSigmoid, up), value(isa, Activation::HardSigmoid, down)), (1.0, 0.0));
        assert_eq!((value(isa, Activation::Exponential, up), value(isa, Activation::Exponential, down)), (up, 0.0));
        assert_eq!((value(isa, Activation::Sigmoid, up), value(isa, Activation::Sigmoid, down)), (1.0, 0.0));
    }
}

//! Long vectors against plain arithmetic: the same bits, at every tail, on every set.

use dnn_kernels::{Isa, Real, add_multiple, convert, convert_scaled, dot, largest};

/// Numbers of both signs and several sizes, the same in every run.
fn numbers<T: Real>(n: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let draw = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let unit = (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5;
        T::from_f64(unit * 10f64.powi((state >> 33) as i32 % 5 - 2))
    };
    (0..n).map(draw).collect()
}

/// The definition, in the order that is promised.
fn plain_dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    let mut sums = [0.0; 16];
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        sums[i % 16] += a.to_f64() * b.to_f64();
    }
    sums.iter().sum()
}

fn agrees<T: Real>() {
    for isa in Isa::available() {
        for n in (0..70).chain([127, 128, 129, 1000, 4099]) {
            let (a, b) = (numbers::<T>(n + 1, 3), numbers::<T>(n + 1, 5));
            // From the second element on: nothing may rest on alignment.
            let (a, b) = (&a[1..], &b[1..]);
            assert_eq!(dot(isa, a, b).to_bits(), plain_dot(a, b).to_bits(), "{} {isa:?} {n}", T::NAME);
            let mut y = b.to_vec();
            y.push(T::from_f64(-12345.0));
            add_multiple(isa, -0.37, a, &mut y[..n]);
            for i in 0..n {
                let expected = T::from_f64(b[i].to_f64() + -0.37 * a[i].to_f64());
                assert_eq!(y[i], expected, "{} {isa:?} {n} at {i}", T::NAME);
            }
            assert_eq!(y[n].to_f64(), -12345.0, "what lies behind is not written");
        }
    }
}

#[test]
fn a_dot_product_and_an_added_multiple_have_the_bits_of_plain_loops() {
    agrees::<f32>();
    agrees::<f64>();
}

/// float64 numbers at which rounding to float32 turns: halves between two, the smallest ones, around the largest.
fn turning_points() -> Vec<f64> {
    let (one, tiny, most) = (f64::from(f32::EPSILON), f64::from(f32::from_bits(1)), f64::from(f32::MAX));
    let overflow = most * (1.0 + 2f64.powi(-25));
    let below = |x: f64| f64::from_bits(x.to_bits() - 1);
    let all = [0.0, 1.0 + one / 2.0, 1.0 + 1.5 * one, 1.0 + one / 2.0 + 1e-15, tiny / 2.0, 0.7 * tiny, 1e-40, 1e-300];
    all.into_iter().chain([most, below(overflow), 0.1, f64::MIN_POSITIVE]).flat_map(|x| [x, -x]).collect()
}

#[test]
fn numbers_of_the_other_type_become_the_nearest_and_it_is_told_if_one_is_not_finite() {
    let turning = turning_points();
    for isa in Isa::available() {
        for n in (0..70).chain([1000]) {
            let from: Vec<f64> = numbers::<f64>(n + 1, 7).iter().chain(&turning).copied().collect();
            // From the second element on: nothing may rest on alignment.
            let from = &from[1..];
            let mut to = vec![-7.0f32; from.len() + 1];
            assert!(convert(isa, from, &mut to[..from.len()]), "{isa:?} {n}");
            for (to, from) in to.iter().zip(from) {
                assert_eq!(to.to_bits(), (*from as f32).to_bits(), "{isa:?} {from:e}");
            }
            assert_eq!(to[from.len()], -7.0, "what lies behind is not written");
            let mut back = vec![0.0f64; from.len()];
            assert!(convert(isa, &to[..from.len()], &mut back));
            assert!(back.iter().zip(&to).all(|(back, to)| back.to_bits() == f64::from(*to).to_bits()));
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.402_823_567_797_337e38] {
                let mut from = from.to_vec();
                from[n / 2] = bad;
                assert!(!convert(isa, &from, &mut to[..from.len()]), "{isa:?} {bad} at {}", n / 2);
            }
        }
    }
}

fn scales<A: Real, T: Real>() {
    for isa in Isa::available() {
        for (n, columns) in (0..70).map(|n| (n, 1 + n % 9)).chain([(1000, 64), (999, 1), (1000, 1000), (5, 64)]) {
            let from = numbers::<A>(n + 1, 7);
            let (center, scale) = (numbers::<f64>(columns, 3), numbers::<f64>(columns, 5));
            // From the second element on: nothing may rest on alignment.
            let (from, mut to) = (&from[1..], vec![T::from_f64(-7.0); n + 1]);
            assert!(convert_scaled(isa, from, &center, &scale, &mut to[..n]));
            for i in 0..n {
                let expected = T::from_f64((from[i].to_f64() - center[i % columns]) / scale[i % columns]);
                assert_eq!(to[i].to_f64().to_bits(), expected.to_f64().to_bits(), "{isa:?} {n} of {columns} at {i}");
            }
            assert_eq!(to[n].to_f64(), -7.0, "what lies behind is not written");
        }
    }
}

#[test]
fn scaled_numbers_have_the_bits_of_a_plain_loop_in_float64() {
    scales::<f32, f32>();
    scales::<f64, f32>();
    scales::<f32, f64>();
    scales::<f64, f64>();
}

#[test]
#[should_panic(expected = "lengths")]
fn converting_into_another_length_panics() {
    convert::<f32>(Isa::SCALAR, &[1.0], &mut [0.0; 2]);
}

#[test]
fn the_largest_element_is_found_wherever_it_stands_and_what_is_no_number_is_infinite() {
    for isa in Isa::available() {
        assert_eq!(largest::<f32>(isa, &[]), 0.0);
        for n in 1..70 {
            let x = numbers::<f32>(n, 11);
            for at in 0..n {
                for (value, most) in
                    [(-1e30f32, f64::from(1e30f32)), (f32::NAN, f64::INFINITY), (f32::NEG_INFINITY, f64::INFINITY)]
                {
                    let mut x = x.clone();
                    x[at] = value;
                    assert_eq!(largest(isa, &x), most, "{isa:?} {n} at {at}");
                }
            }
        }
        assert_eq!(largest(isa, &[-f64::MAX, 1.0]), f64::MAX);
    }
}

#[test]
fn a_dot_product_of_float32_does_not_lose_what_float32_would() {
    // 2^24 + 1 is no float32: the sum of ones would stand still there.
    let ones = vec![1.0f32; (1 << 24) + 64];
    assert_eq!(dot(Isa::available()[0], &ones, &ones), ((1 << 24) + 64) as f64);
}

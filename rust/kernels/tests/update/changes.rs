//! What is done to gradients and parameters beside a step, against plain arithmetic: the same bits everywhere.

use crate::numbers::plain::{add, div, fma, mul, neg, sqrt};
use crate::numbers::{Numbers, pool};
use dnn_kernels::{Isa, Real, Team, ViewMut, blend, clamp, limit_column_norms, move_towards, padded, scale};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn check<T: Real>(isa: Isa, team: &Team, n: usize) {
    let num = |x: f64| T::from_f64(x);
    let (x, start) = (Numbers::<T>::new(n, 1), Numbers::<T>::new(n, 2));
    let pairs = || x.inside().iter().copied().zip(start.inside().iter().copied());
    let what = |name: &str| format!("{name} {} {isa:?} n {n} threads {}", T::NAME, team.threads());

    let mut y = start.clone();
    scale(isa, team, 0.3, y.inside_mut());
    y.assert_is(&pairs().map(|(_, y)| mul(num(0.3), y)).collect::<Vec<_>>(), &what("scale"));

    let mut y = start.clone();
    clamp(isa, team, 1e-3, y.inside_mut());
    let limit = num(1e-3).to_f64();
    let clamped = |y: T| num(y.to_f64().clamp(-limit, limit));
    y.assert_is(&pairs().map(|(_, y)| clamped(y)).collect::<Vec<_>>(), &what("clamp"));

    let mut y = start.clone();
    move_towards(isa, team, 0.1, x.inside(), y.inside_mut());
    let moved = |x: T, y: T| fma(num(0.1), add(x, neg(y)), y);
    y.assert_is(&pairs().map(|(x, y)| moved(x, y)).collect::<Vec<_>>(), &what("move_towards"));

    let mut y = start.clone();
    blend(isa, team, 0.7, x.inside(), -1.5, y.inside_mut());
    let blended = |x: T, y: T| fma(num(0.7), x, mul(num(-1.5), y));
    y.assert_is(&pairs().map(|(x, y)| blended(x, y)).collect::<Vec<_>>(), &what("blend"));
    x.assert_is(Numbers::new(n, 1).inside(), &what("x"));
}

#[test]
fn changes_have_the_bits_of_their_twins_at_every_length_on_every_set() {
    for isa in Isa::available() {
        for n in 0..=70 {
            check::<f32>(isa, &Team::solo(), n);
            check::<f64>(isa, &Team::solo(), n);
        }
    }
}

#[test]
fn changes_have_the_bits_of_their_twins_for_any_team() {
    let _alone = pool();
    for threads in 1..=3 {
        check::<f32>(Isa::available()[0], &Team::exactly(threads), 70_001);
        check::<f64>(Isa::available()[0], &Team::exactly(threads), 70_001);
    }
}

#[test]
fn a_nan_stays_whatever_is_changed() {
    for isa in Isa::available() {
        let (team, x) = (Team::solo(), [f32::NAN]);
        let mut results = [[0.5f32]; 4];
        let [clamped, scaled, moved, blended] = &mut results;
        *clamped = x;
        *scaled = x;
        clamp(isa, &team, 1.0, clamped);
        scale(isa, &team, 2.0, scaled);
        move_towards(isa, &team, 0.5, &x, moved);
        blend(isa, &team, 1.0, &x, 1.0, blended);
        assert!(results.iter().all(|x| x[0].is_nan()), "{results:?} {isa:?}");
    }
}

fn check_columns<T: Real>(isa: Isa, rows: usize, columns: usize) {
    // A stride beyond the padding, and columns of norms far below and far above the limit.
    let (stride, limit) = (padded::<T>(columns) + T::LANES, 0.5);
    let mut w = Numbers::<T>::new(rows * stride, 7);
    for (i, x) in w.inside_mut().iter_mut().enumerate() {
        if i % stride >= columns {
            *x = T::ZERO;
        } else if i % stride % 3 == 1 {
            *x = mul(*x, T::from_f64(1e-6));
        }
    }
    let mut twin = w.inside().to_vec();
    for j in 0..columns {
        let column: Vec<T> = (0..rows).map(|i| twin[i * stride + j]).collect();
        let norm = sqrt(column.iter().fold(T::ZERO, |sum, &x| fma(x, x, sum)));
        let factor = if norm > T::from_f64(limit) { div(T::from_f64(limit), norm) } else { T::ONE };
        for i in 0..rows {
            twin[i * stride + j] = mul(twin[i * stride + j], factor);
        }
    }
    let mut turned = transposed(w.inside(), (rows, columns), stride);
    limit_column_norms(isa, limit, false, ViewMut::new(w.inside_mut(), rows, columns, stride));
    w.assert_is(&twin, &format!("{} {isa:?} {rows} x {columns}", T::NAME));
    let turned_stride = padded::<T>(rows);
    limit_column_norms(isa, limit, true, ViewMut::new(&mut turned, columns, rows, turned_stride));
    assert!(turned == transposed(&twin, (rows, columns), stride), "{} {isa:?} {rows} x {columns} turned", T::NAME);
}

/// The same numbers as padded rows of columns.
fn transposed<T: Real>(w: &[T], (rows, columns): (usize, usize), stride: usize) -> Vec<T> {
    let turned_stride = padded::<T>(rows);
    let mut turned = vec![T::ZERO; columns * turned_stride];
    for i in 0..rows {
        for j in 0..columns {
            turned[j * turned_stride + i] = w[i * stride + j];
        }
    }
    turned
}

#[test]
fn columns_longer_than_the_limit_get_its_length_and_the_others_keep_their_bits() {
    for isa in Isa::available() {
        for rows in [0, 1, 2, 7] {
            for columns in 1..=40 {
                check_columns::<f32>(isa, rows, columns);
                check_columns::<f64>(isa, rows, columns);
            }
        }
        // 3 and 4 make 5, which is above 2.5 and becomes it; 0.3 and 0.4 stay.
        let mut w = [0.0f64; 16];
        (w[0], w[8], w[1], w[9]) = (3.0, -4.0, 0.3, 0.4);
        limit_column_norms(isa, 2.5, false, ViewMut::new(&mut w, 2, 2, 8));
        assert_eq!([w[0], w[8], w[1], w[9]], [1.5, -2.0, 0.3, 0.4], "{isa:?}");
    }
}

/// A column whose squares overflow or vanish, beside one of ordinary size: both as the same columns times a power of two,
/// which changes no digit. `power` is that of the largest weight.
fn check_size<T: Real>(isa: Isa, power: i32, rows: usize) {
    let (stride, limit, size) = (padded::<T>(2), 0.5, 2f64.powi(power));
    let mut ordinary = vec![T::ZERO; rows * stride];
    for i in 0..rows {
        let x = ((i * 7 + 3) % 11) as f64 / 11.0 - 0.4;
        ordinary[i * stride] = T::from_f64(x);
        ordinary[i * stride + 1] = T::from_f64(x * 1e-3);
    }
    let mut scaled: Vec<T> = ordinary.iter().map(|x| T::from_f64(x.to_f64() * size)).collect();
    let before = scaled.clone();
    limit_column_norms(isa, limit, false, ViewMut::new(&mut ordinary, rows, 2, stride));
    let mut turned = transposed(&scaled, (rows, 2), stride);
    limit_column_norms(isa, limit * size, false, ViewMut::new(&mut scaled, rows, 2, stride));
    limit_column_norms(isa, limit * size, true, ViewMut::new(&mut turned, 2, rows, padded::<T>(rows)));
    assert!(turned == transposed(&scaled, (rows, 2), stride), "{} 2^{power} {isa:?} turned", T::NAME);
    for i in 0..rows {
        let (got, want) = (scaled[i * stride].to_f64() / size, ordinary[i * stride].to_f64());
        // Three roundings and the sum of the squares, in another order of operations.
        let tolerance = if T::NAME == "float32" { 1e-6 } else { 1e-14 };
        assert!((got - want).abs() <= tolerance * want.abs(), "{} 2^{power} {isa:?}: {got} {want}", T::NAME);
        assert_eq!(scaled[i * stride + 1].to_f64(), before[i * stride + 1].to_f64(), "what is short enough stays");
    }
}

#[test]
fn columns_are_shortened_whatever_size_their_weights_have() {
    for isa in Isa::available() {
        for rows in [7, 40] {
            for power in [0, 60, 64, 100, 127] {
                check_size::<f32>(isa, power, rows);
            }
            // Down to where numbers lose digits themselves.
            for power in [-60, -80, -100] {
                check_size::<f32>(isa, power, rows);
            }
            for power in [500, 520, 900, 1023, -500, -700, -900] {
                check_size::<f64>(isa, power, rows);
            }
        }
        // Zeros stay zeros below any limit.
        let mut w = [0.0f32; 32];
        w[0] = 1e-30;
        limit_column_norms(isa, 1e-20, false, ViewMut::new(&mut w, 2, 2, 16));
        assert!(w[0] == 1e-30 && w[1..].iter().all(|&x| x == 0.0), "{w:?} {isa:?}");
    }
}

#[test]
fn a_column_whose_squares_overflow_has_the_same_bits_on_every_instruction_set() {
    let limited = |isa| {
        let mut w: Vec<f32> = (0..160).map(|i| ((i * 37 % 101) as f32 - 50.0) * 3e18).collect();
        limit_column_norms(isa, 3.0, false, ViewMut::new(&mut w, 10, 16, 16));
        w.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    for isa in Isa::available() {
        assert_eq!(limited(isa), limited(Isa::SCALAR), "{isa:?}");
    }
}

#[test]
fn lengths_that_differ_panic() {
    let (isa, team) = (Isa::available()[0], Team::solo());
    for wrong in [
        &mut (|| move_towards(isa, &team, 0.1, &[0.0f32; 3], &mut [0.0; 4])) as &mut dyn FnMut(),
        &mut || blend(isa, &team, 1.0, &[0.0f32; 5], 1.0, &mut [0.0; 4]),
        &mut || limit_column_norms(isa, 1.0, false, ViewMut::new(&mut [0.0f32; 31], 2, 3, 16)),
    ] {
        assert!(catch_unwind(AssertUnwindSafe(wrong)).is_err());
    }
}

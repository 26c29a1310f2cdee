//! Softmax, losses and sums against plain formulas: every tail, every set, strides beyond the padding.
//!
//! `formulas.rs` has the losses beside the cross entropy of softmax, `limits.rs` the extremes and what is refused, `table.rs` the rows to try it on.
#![expect(clippy::needless_range_loop, reason = "i and j are the row and the column, in several tables at once")]

mod formulas;
mod limits;
mod table;

use dnn_kernels::{Isa, PointLoss, Real, Target, point_loss, softmax_cross_entropy, sum_of_squares};
use table::{CANARY, Case, Random, Table, assert_near, epsilon};

/// One row count below, at and above the rows that share a logarithm (16 of float32, 8 of float64).
fn for_every_shape(mut check: impl FnMut(usize, usize, usize)) {
    for n in 1..=70 {
        for (rows, extra) in [(1, 0), (3, 5), (8, 1), (17, 0)] {
            check(rows, n, extra);
        }
    }
    for rows in 0..=40 {
        check(rows, 1 + rows % 19, rows % 3);
    }
}

fn same_on_every_set<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let expected = case.all(Isa::SCALAR);
    for isa in Isa::available() {
        for ((name, table, losses), (_, twin, twin_losses)) in case.all(isa).iter().zip(&expected) {
            let what = format!("{name}, {} {isa:?}, {rows} rows of {n}, {extra} apart", T::NAME);
            table.assert_gaps(&what);
            assert_eq!(table.bits(), twin.bits(), "{what}");
            let bits = |losses: &[f64]| losses.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(losses), bits(twin_losses), "losses of {what}");
        }
    }
}

#[test]
fn every_set_gives_the_same_bits_at_every_width_and_stays_within_its_rows() {
    for_every_shape(same_on_every_set::<f32>);
    for_every_shape(same_on_every_set::<f64>);
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_company() {
    fn check<T: Real>(isa: Isa, n: usize) {
        let case = Case::<T>::new(21, n, 2);
        let (soft, labelled) = (
            case.cross_entropy(isa, Target::Dense(case.soft.view())),
            case.cross_entropy(isa, Target::Labels(&case.labels)),
        );
        for i in 0..21 {
            let z = Table::<T>::row_of(&case.z.row(i));
            let t = Table::<T>::row_of(&case.soft.row(i));
            for (target, company) in
                [(Target::Dense(t.view()), &soft), (Target::Labels(&case.labels[i..=i]), &labelled)]
            {
                let (mut delta, mut loss) = (Table::<T>::output(1, n, 0), [CANARY]);
                softmax_cross_entropy(isa, z.padded_view(), target, &case.scale[i..=i], delta.view_mut(), &mut loss);
                assert_eq!(delta.row(0), company.0.row(i), "{isa:?} {} row {i} of {n} columns", T::NAME);
                assert_eq!(loss[0].to_bits(), company.1[i].to_bits(), "{isa:?} {} row {i} of {n} columns", T::NAME);
            }
        }
    }
    for isa in Isa::available() {
        for n in [1, 2, 7, 8, 15, 16, 17, 33, 70] {
            check::<f32>(isa, n);
            check::<f64>(isa, n);
        }
    }
}

/// softmax of z, and ln of the sum of `exp(z - largest)` with the largest.
fn softmax(z: &[f64]) -> (Vec<f64>, f64, f64) {
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = z.iter().map(|z| (z - largest).exp()).collect();
    let sum: f64 = e.iter().sum();
    (e.iter().map(|e| e / sum).collect(), sum.ln(), largest)
}

fn softmax_follows_its_formula<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let eps = epsilon::<T>();
    // z - largest is at most 16, so its rounding moves exp by 8 eps; exp, the sum, the division and the formula in the
    // test (which rounds as much where T is f64) add the rest.
    let relative = 40.0 * eps;
    let isa = Isa::available()[0];
    let (a, slope) = (case.softmax(isa), case.softmax_slope(isa));
    for i in 0..rows {
        let (y, ..) = softmax(&case.z.row(i));
        let delta = case.y.row(i);
        let a_row = a.row(i);
        let dot: f64 = a_row.iter().zip(&delta).map(|(a, d)| a * d).sum();
        let size: f64 = a_row.iter().zip(&delta).map(|(a, d)| (a * d).abs()).sum();
        for j in 0..n {
            let what = || format!("softmax {} {rows} x {n} at ({i}, {j})", T::NAME);
            assert_near(a.at(i, j), y[j], relative * y[j], what);
            // A chain of at most 9 terms in a lane, rounded once each, and three operations more.
            let tolerance = 12.0 * eps * a_row[j] * (delta[j].abs() + size);
            assert_near(slope.at(i, j), a_row[j] * (delta[j] - dot), tolerance, || format!("slope of {}", what()));
        }
    }
}

fn cross_entropy_follows_its_formula<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let eps = epsilon::<T>();
    let isa = Isa::available()[0];
    let dense = [&case.one_hot, &case.soft, &case.loose].map(|t| (Target::Dense(t.view()), t));
    for (target, t) in dense.into_iter().chain([(Target::Labels(&case.labels), &case.one_hot)]) {
        let (delta, losses) = case.cross_entropy(isa, target);
        for i in 0..rows {
            let what = || format!("cross entropy {} {rows} x {n}, row {i}", T::NAME);
            let (y, log_sum, largest) = softmax(&case.z.row(i));
            let (t, scale) = (t.row(i), case.scale[i].to_f64());
            // Both terms of -ln y = ln sum + (largest - z) are positive: nothing cancels. The 1 is for a sum near 1,
            // whose rounding is eps while its logarithm is nearly nothing.
            let loss: f64 = t.iter().zip(case.z.row(i)).map(|(t, z)| t * (log_sum + (largest - z))).sum();
            let total: f64 = t.iter().sum();
            assert_near(losses[i], loss, 16.0 * eps * (total + loss), what);
            for j in 0..n {
                // As for softmax, 40 eps of y; t comes off with one rounding.
                let tolerance = 40.0 * eps * (y[j] * total + t[j]) * scale;
                assert_near(delta.at(i, j), (y[j] * total - t[j]) * scale, tolerance, what);
            }
        }
    }
}

#[test]
fn softmax_and_its_slope_follow_their_formulas() {
    for_every_shape(softmax_follows_its_formula::<f32>);
    for_every_shape(softmax_follows_its_formula::<f64>);
}

#[test]
fn softmax_cross_entropy_follows_its_formula_for_labels_and_for_targets_of_any_sum() {
    for_every_shape(cross_entropy_follows_its_formula::<f32>);
    for_every_shape(cross_entropy_follows_its_formula::<f64>);
}

#[test]
fn the_kinks_of_the_point_losses_are_where_the_formulas_have_them() {
    // (loss, y, t, value, slope): worked by hand, exact in both types.
    let cases = [
        (PointLoss::Absolute, 1.5, 1.5, 0.0, 0.0),
        (PointLoss::Absolute, 1.0, 1.5, 0.5, -1.0),
        (PointLoss::Huber { delta: 0.5 }, 1.5, 1.0, 0.125, 0.5),
        (PointLoss::Huber { delta: 0.5 }, -0.5, 1.0, 0.625, -0.5),
        (PointLoss::Hinge, 1.0, 1.0, 0.0, 0.0),
        (PointLoss::Hinge, 2.0, 1.0, 0.0, 0.0),
        (PointLoss::Hinge, 0.5, -1.0, 1.5, 1.0),
        (PointLoss::SquaredHinge, -1.0, -1.0, 0.0, 0.0),
        (PointLoss::SquaredHinge, 0.5, -1.0, 2.25, 3.0),
        (PointLoss::LogCosh, 1.5, 1.5, 0.0, 0.0),
        (PointLoss::Percentage, 4.0, 4.0, 0.0, 0.0),
        (PointLoss::Percentage, -1.0, -4.0, 75.0, 25.0),
    ];
    fn check<T: Real>(isa: Isa, (loss, y, t, value, slope): (PointLoss, f64, f64, f64, f64)) {
        let (y, t) = (Table::<T>::row_of(&[y]), Table::<T>::row_of(&[t]));
        let (mut gradient, mut losses) = (Table::<T>::output(1, 1, 0), [CANARY]);
        point_loss(isa, loss, y.view(), t.view(), &[T::ONE], gradient.view_mut(), &mut losses);
        assert_eq!((losses[0], gradient.at(0, 0)), (value, slope), "{loss:?} {} {isa:?}", T::NAME);
    }
    for isa in Isa::available() {
        for case in cases {
            check::<f32>(isa, case);
            check::<f64>(isa, case);
        }
    }
}

#[test]
fn sums_are_sixteen_sums_by_place_and_then_those_in_order() {
    fn check<T: Real>(isa: Isa, n: usize) {
        let mut random = Random::new(n as u64);
        let x: Vec<T> = (0..n).map(|_| T::from_f64(random.between(-2.0, 2.0))).collect();
        let got = sum_of_squares(isa, &x);
        let place = |place: usize| x.iter().skip(place).step_by(16).fold(0.0, |sum, x| sum + x.to_f64().powi(2));
        let twin = (0..16).fold(0.0, |sum, at| sum + place(at));
        assert_eq!(got.to_bits(), twin.to_bits(), "{n} {}: {got} and {twin}", T::NAME);
        let plain: f64 = x.iter().map(|x| x.to_f64().powi(2)).sum();
        // Sums of n positive numbers in two orders: n roundings each at most.
        assert_near(got, plain, n as f64 * f64::EPSILON * plain, || format!("{n}"));
    }
    for isa in Isa::available() {
        for n in (0..=70).chain([5000]) {
            check::<f32>(isa, n);
            check::<f64>(isa, n);
        }
    }
}

#[test]
fn sums_are_in_float64_and_tell_what_is_not_finite() {
    for isa in Isa::available() {
        // The square of 1e30 is no float32.
        assert_eq!(sum_of_squares(isa, &[1e30f32; 4]), 4.0 * f64::from(1e30f32).powi(2));
        assert!(sum_of_squares(isa, &[1.0f32, f32::NAN]).is_nan());
        assert_eq!(sum_of_squares(isa, &[f32::NEG_INFINITY]), f64::INFINITY);
    }
}

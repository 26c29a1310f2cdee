//! Extreme numbers, NaN, and shapes that are refused.

use crate::table::{CANARY, CLASS_LOSSES, Case, HEAD_LOSSES, POINT_LOSSES, Table, assert_near, epsilon};
use dnn_kernels::{
    Isa, PointLoss, Real, Target, View, ViewMut, multiply_softmax_slope, padded, point_loss, softmax_cross_entropy,
    softmax_in_place,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Loss and delta of one row, for a scale of 1.
fn cross_entropy_of<T: Real>(isa: Isa, z: &[f64], target: Target<T>) -> (f64, Vec<f64>) {
    let (z, mut delta, mut losses) = (Table::<T>::row_of(z), Table::<T>::output(1, z.len(), 0), [CANARY]);
    softmax_cross_entropy(isa, z.padded_view(), target, &[T::ONE], delta.view_mut(), &mut losses);
    delta.assert_gaps("one row");
    (losses[0], delta.row(0))
}

fn softmax_of<T: Real>(isa: Isa, z: &[f64]) -> Vec<f64> {
    let mut a = Table::<T>::new(1, z.len(), padded::<T>(z.len()), CANARY, |_, j| z[j]);
    softmax_in_place(isa, a.view_mut());
    a.assert_gaps("one row");
    a.row(0)
}

fn extremes<T: Real>(isa: Isa, n: usize, huge: f64) {
    let eps = epsilon::<T>();
    let huge = T::from_f64(huge).to_f64();
    let ln_n = (n as f64).ln();
    for level in [0.0, 1e4, -1e4, huge, -huge] {
        // All equal: every probability is 1 / n, whatever the level.
        let z = vec![level; n];
        let what = || format!("{n} times {level:e}, {} {isa:?}", T::NAME);
        for y in softmax_of::<T>(isa, &z) {
            assert_near(y, 1.0 / n as f64, eps, what);
        }
        let (loss, delta) = cross_entropy_of::<T>(isa, &z, Target::Labels(&[n as u32 / 2]));
        assert_near(loss, ln_n, 4.0 * eps * ln_n, what);
        for (j, &delta) in delta.iter().enumerate() {
            let t = f64::from(u8::from(j == n / 2));
            assert_near(delta, 1.0 / n as f64 - t, 2.0 * eps, what);
        }
    }
    if n == 1 {
        return;
    }
    for (high, low) in [(1e4, 0.0), (huge, 0.0), (0.0, -huge), (huge, -huge), (-1e4, -huge), (huge, 1e4)] {
        for at in [0, n / 2, n - 1] {
            // One far above the others: its probability is 1, the others' 0.
            let z: Vec<f64> = (0..n).map(|j| if j == at { high } else { low }).collect();
            let one_hot = |at: usize| (0..n).map(|j| f64::from(u8::from(j == at))).collect::<Vec<_>>();
            let what = || format!("{high:e} at {at} among {n} of {low:e}, {} {isa:?}", T::NAME);
            assert_eq!(softmax_of::<T>(isa, &z), one_hot(at), "{}", what());
            for label in [at, (at + 1) % n] {
                let t = Table::<T>::row_of(&one_hot(label));
                let expected = if label == at { 0.0 } else { high - low };
                for target in [Target::Labels(&[label as u32]), Target::Dense(t.view())] {
                    let (loss, delta) = cross_entropy_of::<T>(isa, &z, target);
                    assert_near(loss, expected, 2.0 * eps * expected, what);
                    for j in 0..n {
                        assert_eq!(delta[j], one_hot(at)[j] - one_hot(label)[j], "{}", what());
                    }
                }
            }
        }
    }
}

#[test]
fn softmax_and_its_cross_entropy_have_their_limits_at_extreme_z() {
    for isa in Isa::available() {
        for n in [1, 2, 3, 10, 16, 17, 33] {
            extremes::<f32>(isa, n, 1e38);
            extremes::<f64>(isa, n, 1e307);
        }
    }
}

#[test]
fn a_target_of_0_costs_nothing_even_where_the_logarithm_overflows() {
    for isa in Isa::available() {
        let z = [f64::from(f32::MAX), -f64::from(f32::MAX), 0.0];
        let t = Table::<f32>::row_of(&[1.0, 0.0, 0.0]);
        assert_eq!(cross_entropy_of(isa, &z, Target::Dense(t.view())), (0.0, vec![0.0; 3]), "{isa:?}");
        let z = [f64::MAX, -f64::MAX, 0.0];
        let t = Table::<f64>::row_of(&[1.0, 0.0, 0.0]);
        assert_eq!(cross_entropy_of(isa, &z, Target::Dense(t.view())), (0.0, vec![0.0; 3]), "{isa:?}");
    }
}

#[test]
fn targets_that_are_all_0_cost_nothing_and_move_nothing() {
    for isa in Isa::available() {
        let t = Table::<f32>::row_of(&[0.0; 5]);
        let (loss, delta) = cross_entropy_of(isa, &[1.0, -2.0, 3.0, 1e4, -1e38], Target::Dense(t.view()));
        assert_eq!((loss, delta), (0.0, vec![0.0; 5]), "{isa:?}");
    }
}

#[test]
fn the_sigmoid_cross_entropy_has_its_limits_at_extreme_z() {
    fn check<T: Real>(isa: Isa, huge: f64) {
        for size in [1e4, T::from_f64(huge).to_f64()] {
            // (z, t, loss, slope)
            let rows = [
                (size, 1.0, 0.0, 0.0),
                (size, 0.0, size, 1.0),
                (-size, 1.0, size, -1.0),
                (-size, 0.0, 0.0, 0.0),
                (size, 0.5, size / 2.0, 0.5),
                (-size, 0.5, size / 2.0, -0.5),
            ];
            let z = Table::<T>::input(rows.len(), 1, 0, |i, _| rows[i].0);
            let t = Table::<T>::input(rows.len(), 1, 0, |i, _| rows[i].1);
            let (mut slope, mut losses) = (Table::<T>::output(rows.len(), 1, 0), vec![CANARY; rows.len()]);
            let scale = vec![T::ONE; rows.len()];
            let loss = PointLoss::SigmoidCrossEntropy;
            point_loss(isa, loss, z.view(), t.view(), &scale, slope.view_mut(), &mut losses);
            for (i, &row) in rows.iter().enumerate() {
                assert_eq!((losses[i], slope.at(i, 0)), (row.2, row.3), "{} {isa:?} {row:?}", T::NAME);
            }
        }
    }
    for isa in Isa::available() {
        check::<f32>(isa, 1e38);
        check::<f64>(isa, 1e307);
    }
}

#[test]
fn losses_that_grow_like_a_line_stay_finite_at_extreme_outputs() {
    for isa in Isa::available() {
        for loss in [PointLoss::Absolute, PointLoss::Huber { delta: 1.0 }, PointLoss::Hinge] {
            let (y, t) = (Table::<f32>::row_of(&[1e38, -1e38]), Table::<f32>::row_of(&[1.0, 1.0]));
            let (mut gradient, mut losses) = (Table::<f32>::output(1, 2, 0), [CANARY]);
            point_loss(isa, loss, y.view(), t.view(), &[1.0], gradient.view_mut(), &mut losses);
            assert!(losses[0].is_finite() && losses[0] > 0.9e38, "{loss:?} {isa:?}: {}", losses[0]);
            let expected = if loss == PointLoss::Hinge { vec![0.0, -1.0] } else { vec![1.0, -1.0] };
            assert_eq!(gradient.row(0), expected, "{loss:?} {isa:?}");
        }
    }
}

fn nan_is_told<T: Real>(isa: Isa, n: usize) {
    let case = Case::<T>::new(3, n, 1);
    for j in 0..n {
        let broken = |table: &Table<T>| {
            let mut table = table.clone();
            table.data[table.stride + j] = T::from_f64(f64::NAN);
            table
        };
        let only_row_1 = |what: &str, losses: &[f64], gradient: &Table<T>| {
            let what = format!("{what} {} {isa:?}, NaN in column {j} of {n}", T::NAME);
            assert!(losses[1].is_nan(), "{what}: {}", losses[1]);
            assert!(losses[0].is_finite() && losses[2].is_finite(), "{what}: the neighbours");
            // The slope of the hinge is chosen by a comparison, which no NaN passes: the loss alone tells.
            assert!(gradient.at(1, j).is_nan() || what.contains("y of Hinge"), "{what}: the gradient there");
            let neighbours = gradient.row(0).into_iter().chain(gradient.row(2));
            assert!(neighbours.into_iter().all(f64::is_finite), "{what}: the gradients of the neighbours");
        };
        let z_broken = Case { z: broken(&case.z), ..Case::new(3, n, 1) };
        for target in [Target::Labels(&case.labels), Target::Dense(case.soft.view())] {
            let (delta, losses) = z_broken.cross_entropy(isa, target);
            only_row_1("z of cross entropy", &losses, &delta);
            for loss in CLASS_LOSSES {
                let (delta, losses) = z_broken.class(isa, loss, target);
                only_row_1(&format!("z of {loss:?}"), &losses, &delta);
            }
        }
        for loss in CLASS_LOSSES {
            let (delta, losses) = case.class(isa, loss, Target::Dense(broken(&case.loose).view()));
            only_row_1(&format!("target of {loss:?}"), &losses, &delta);
        }
        for loss in HEAD_LOSSES {
            let y_broken = Case { heads: broken(&case.heads), ..Case::new(3, n, 1) };
            let (gradient, losses) = y_broken.head(isa, loss);
            only_row_1(&format!("y of {loss:?}"), &losses, &gradient);
            let t_broken = Case { t: broken(&case.t), ..Case::new(3, n, 1) };
            let (gradient, losses) = t_broken.head(isa, loss);
            only_row_1(&format!("t of {loss:?}"), &losses, &gradient);
        }
        let (delta, losses) = case.cross_entropy(isa, Target::Dense(broken(&case.loose).view()));
        only_row_1("target of cross entropy", &losses, &delta);
        assert!(z_broken.softmax(isa).row(1).into_iter().all(f64::is_nan), "softmax, NaN in column {j} of {n}");
        let all_broken = Case { y: broken(&case.y), above: broken(&case.above), ..Case::new(3, n, 1) };
        for loss in POINT_LOSSES {
            let (gradient, losses) = all_broken.point(isa, loss);
            only_row_1(&format!("y of {loss:?}"), &losses, &gradient);
            let t_broken = Case { t: broken(&case.t), signs: broken(&case.signs), ..Case::new(3, n, 1) };
            let (gradient, losses) = t_broken.point(isa, loss);
            only_row_1(&format!("t of {loss:?}"), &losses, &gradient);
        }
    }
}

#[test]
fn a_nan_makes_the_loss_of_its_row_nan_and_of_no_other() {
    for isa in Isa::available() {
        for n in [1, 2, 8, 9, 16, 17, 32, 33, 40] {
            nan_is_told::<f32>(isa, n);
            nan_is_told::<f64>(isa, n);
        }
    }
}

fn assert_panics(what: &str, call: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "{what}: no panic");
}

/// Zeros.
fn zeros(rows: usize, columns: usize) -> Table<f32> {
    Table::output(rows, columns, 0).zero_padding()
}

#[test]
fn a_label_beyond_the_columns_panics() {
    for labels in [[0, 3], [3, 0], [u32::MAX, 1]] {
        assert_panics("label", || {
            let (z, mut delta, mut losses) = (zeros(2, 3), zeros(2, 3), [0.0; 2]);
            let isa = Isa::available()[0];
            softmax_cross_entropy(
                isa,
                z.padded_view(),
                Target::Labels(&labels),
                &[1.0; 2],
                delta.view_mut(),
                &mut losses,
            );
        });
    }
}

#[test]
fn shapes_that_do_not_fit_panic() {
    let isa = Isa::available()[0];
    // (rows, columns) of the targets and of delta, lengths of scale and losses; all others are (2, 3).
    let wrong = [
        ((1, 3), (2, 3), 2, 2),
        ((2, 2), (2, 3), 2, 2),
        ((2, 3), (3, 3), 2, 2),
        ((2, 3), (2, 4), 2, 2),
        ((2, 3), (2, 3), 1, 2),
        ((2, 3), (2, 3), 2, 3),
    ];
    for (t, delta, scale, losses) in wrong {
        let what = format!("t {t:?}, delta {delta:?}, scale {scale}, losses {losses}");
        let (z, t, scale, mut losses) = (zeros(2, 3), zeros(t.0, t.1), vec![1.0; scale], vec![0.0; losses]);
        let mut delta = zeros(delta.0, delta.1);
        assert_panics(&what, || {
            softmax_cross_entropy(isa, z.padded_view(), Target::Dense(t.view()), &scale, delta.view_mut(), &mut losses);
        });
        assert_panics(&what, || {
            let loss = PointLoss::Squared;
            point_loss(isa, loss, z.view(), t.view(), &scale, delta.view_mut(), &mut losses);
        });
    }
    for labels in [1, 3] {
        let (z, mut delta, mut losses) = (zeros(2, 3), zeros(2, 3), [0.0; 2]);
        let labels = vec![0; labels];
        assert_panics("number of labels", || {
            softmax_cross_entropy(
                isa,
                z.padded_view(),
                Target::Labels(&labels),
                &[1.0; 2],
                delta.view_mut(),
                &mut losses,
            );
        });
    }
    for (rows, columns) in [(1, 3), (3, 3), (2, 2), (2, 17)] {
        let (a, mut delta) = (zeros(2, 3), zeros(rows, columns));
        assert_panics("slope of softmax", || multiply_softmax_slope(isa, a.padded_view(), delta.view_mut()));
    }
}

#[test]
fn rows_without_room_for_their_padding_panic() {
    let isa = Isa::available()[0];
    let mut short = vec![0.0f32; 31];
    assert_panics("data too short", || softmax_in_place(isa, ViewMut::new(&mut short, 2, 3, 16)));
    let mut tight = vec![0.0f32; 64];
    assert_panics("stride below the padding", || softmax_in_place(isa, ViewMut::new(&mut tight, 2, 3, 3)));
    let a = zeros(2, 3);
    assert_panics("delta not padded", || {
        multiply_softmax_slope(isa, a.padded_view(), ViewMut::new(&mut short, 2, 3, 16));
    });
    let (z, mut losses) = (zeros(2, 3), [0.0; 2]);
    assert_panics("delta not padded", || {
        let delta = ViewMut::new(&mut short, 2, 3, 16);
        softmax_cross_entropy(isa, z.padded_view(), Target::Labels(&[0, 1]), &[1.0; 2], delta, &mut losses);
    });
    assert_panics("gradient not padded", || {
        let gradient = ViewMut::new(&mut short, 2, 3, 16);
        point_loss(isa, PointLoss::Squared, z.view(), z.view(), &[1.0; 2], gradient, &mut losses);
    });
    assert_panics("z too short", || {
        let (z, mut delta) = (View::new(&[0.0f32; 5], 2, 3, 3), zeros(2, 3));
        softmax_cross_entropy(isa, z, Target::Labels(&[0, 1]), &[1.0; 2], delta.view_mut(), &mut losses);
    });
}

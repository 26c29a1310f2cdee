//! Normalisation of columns and of rows against twins that are the formulas, in float64.

use crate::{Table, epsilon, for_every_shape, row, same_everywhere};
use dnn_kernels::{
    Isa, Moments, Real, Team, column_moments, column_norm_gradient, gamma_gradient, inverse_deviation, normalize,
    padded, row_moments, row_norm_gradient, scale_columns,
};

const EPSILON: f64 = 1e-2;

/// The share of each row: some of them 0, as of rows without weight.
fn shares<T: Real>(rows: usize) -> Vec<T> {
    let weights: Vec<f64> =
        (0..rows).map(|i| if rows > 2 && i % 5 == 2 { 0.0 } else { 1.0 + (i % 3) as f64 }).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| T::from_f64(w / total)).collect()
}

/// Mean and variance of numbers with shares.
fn moments(x: &[f64], share: &[f64]) -> (f64, f64) {
    let total: f64 = share.iter().sum();
    let mean = x.iter().zip(share).map(|(x, s)| s * x).sum::<f64>() / total;
    (mean, x.iter().zip(share).map(|(x, s)| s * (x - mean).powi(2)).sum::<f64>() / total)
}

/// dL/dx through (x - mean) / sqrt(variance + epsilon), from dL/dnormal: the Jacobian written out.
fn through(gradient: &[f64], x: &[f64], share: &[f64]) -> Vec<f64> {
    let (mean, variance) = moments(x, share);
    let deviation = (variance + EPSILON).sqrt();
    let mut dx = vec![0.0; x.len()];
    for (i, dx) in dx.iter_mut().enumerate() {
        for k in 0..x.len() {
            // dnormal_k / dx_i
            let own = if i == k { 1.0 } else { 0.0 };
            let slope = (own - share[i]) / deviation
                - (x[k] - mean) * share[i] * (x[i] - mean) / (deviation * deviation * deviation);
            *dx += gradient[k] * slope;
        }
    }
    dx
}

fn column<T: Real>(table: &Table<T>, j: usize) -> Vec<f64> {
    (0..table.rows).map(|i| table.at(i, j)).collect()
}

fn line<T: Real>(table: &Table<T>, i: usize) -> Vec<f64> {
    (0..table.columns).map(|j| table.at(i, j)).collect()
}

fn float64<T: Real>(numbers: &[T]) -> Vec<f64> {
    numbers.iter().map(|x| x.to_f64()).collect()
}

fn columns_follow_their_twin<T: Real>(rows: usize, columns: usize) {
    let what = |name: &str| format!("{name} {} {rows} x {columns}", T::NAME);
    let (x, delta) = (Table::<T>::input(rows, columns, 4), Table::<T>::input(rows, columns, 5));
    let (gamma, beta, share) = (row::<T>(columns, 6), row::<T>(columns, 7), shares::<T>(rows));
    let tables = same_everywhere(|isa, team| {
        let mut rows_of = (0..5).map(|_| Table::<T>::output(1, columns));
        let mut next = || rows_of.next().expect("five");
        let (mut mean, mut variance, mut inverse, mut gammas, mut betas) = (next(), next(), next(), next(), next());
        column_moments(isa, team, x.view(), &share, &mut mean.data, &mut variance.data);
        inverse_deviation(isa, &variance.data, EPSILON, columns, &mut inverse.data);
        let of = Moments::OfColumns(&mean.data, &inverse.data);
        let (mut y, mut dx, mut fixed) =
            (Table::output(rows, columns), Table::output(rows, columns), Table::output(rows, columns));
        normalize(isa, team, x.view(), of, &gamma, &beta, y.view_mut());
        assert!(gamma_gradient(isa, team, delta.view(), x.view(), of, false, &mut gammas.data));
        // The gradient of beta is a sum of columns, for which there is another kernel; any number will do here.
        for j in 0..columns {
            betas.data[j] = T::from_f64(column(&delta, j).iter().sum());
        }
        for j in columns..padded::<T>(columns) {
            betas.data[j] = T::ZERO;
        }
        let (moments, gradients) = ((&mean.data[..], &inverse.data[..]), (&gammas.data[..], &betas.data[..]));
        column_norm_gradient(isa, team, delta.view(), x.view(), moments, &gamma, gradients, &share, dx.view_mut());
        scale_columns(isa, team, delta.view(), &inverse.data, &gamma, fixed.view_mut());
        vec![mean, variance, inverse, gammas, betas, y, dx, fixed]
    });
    let [mean, variance, inverse, gammas, _, y, dx, fixed] = &tables[..] else { panic!("eight tables") };
    let share = float64(&share);
    let twin: Vec<(f64, f64)> = (0..columns).map(|j| moments(&column(&x, j), &share)).collect();
    // A few roundings of numbers of size 2 to 10; pieces keep them from growing with the rows.
    let eps = 100.0 * epsilon::<T>();
    mean.assert_is(&what("mean"), eps, |_, j| twin[j].0);
    variance.assert_is(&what("variance"), eps, |_, j| twin[j].1);
    let deviation = |j: usize| (twin[j].1 + EPSILON).sqrt();
    // Near a variance of 0 the root makes errors larger, by 1 / (2 epsilon^1.5).
    let steep = |j: usize| 1.0 / deviation(j).powi(3) + 1.0;
    let worst = (0..columns).map(steep).fold(1.0, f64::max);
    inverse.assert_is(&what("inverse"), eps * worst, |_, j| 1.0 / deviation(j));
    let normal = |i: usize, j: usize| (x.at(i, j) - twin[j].0) / deviation(j);
    y.assert_is(&what("normal"), 4.0 * eps * worst, |i, j| normal(i, j) * gamma[j].to_f64() + beta[j].to_f64());
    let sum = |j: usize| (0..rows).map(|i| delta.at(i, j) * normal(i, j)).sum::<f64>();
    gammas.assert_is(&what("gammas"), 4.0 * eps * worst * rows as f64, |_, j| sum(j));
    let through: Vec<Vec<f64>> = (0..columns)
        .map(|j| {
            let gradient: Vec<f64> = column(&delta, j).iter().map(|d| d * gamma[j].to_f64()).collect();
            through(&gradient, &column(&x, j), &share)
        })
        .collect();
    dx.assert_is(&what("dx"), 100.0 * eps * worst, |i, j| through[j][i]);
    fixed.assert_is(&what("dx of fixed moments"), 4.0 * eps * worst, |i, j| {
        delta.at(i, j) * gamma[j].to_f64() / deviation(j)
    });
}

fn rows_follow_their_twin<T: Real>(rows: usize, columns: usize) {
    let what = |name: &str| format!("{name} of rows {} {rows} x {columns}", T::NAME);
    let (x, delta) = (Table::<T>::input(rows, columns, 4), Table::<T>::input(rows, columns, 5));
    let (gamma, beta) = (row::<T>(columns, 6), row::<T>(columns, 7));
    let tables = same_everywhere(|isa, team| {
        let (mut mean, mut inverse) = (vec![T::ZERO; rows], vec![T::ZERO; rows]);
        row_moments(isa, team, x.view(), EPSILON, &mut mean, &mut inverse);
        let of = Moments::OfRows(&mean, &inverse);
        let (mut y, mut dx, mut gammas) =
            (Table::output(rows, columns), Table::output(rows, columns), Table::<T>::output(1, columns));
        normalize(isa, team, x.view(), of, &gamma, &beta, y.view_mut());
        assert!(gamma_gradient(isa, team, delta.view(), x.view(), of, false, &mut gammas.data));
        row_norm_gradient(isa, team, delta.view(), x.view(), (&mean, &inverse), &gamma, dx.view_mut());
        let of_rows = |data: Vec<T>| Table { stride: 1, rows: data.len(), columns: 0, data };
        vec![y, dx, gammas, of_rows(mean), of_rows(inverse)]
    });
    let share = vec![1.0 / columns as f64; columns];
    let twin: Vec<(f64, f64)> = (0..rows).map(|i| moments(&line(&x, i), &share)).collect();
    let deviation = |i: usize| (twin[i].1 + EPSILON).sqrt();
    let worst = (0..rows).map(|i| 1.0 / deviation(i).powi(3) + 1.0).fold(1.0, f64::max);
    let eps = 100.0 * epsilon::<T>();
    for i in 0..rows {
        let (mean, inverse) = (tables[3].data[i].to_f64(), tables[4].data[i].to_f64());
        assert!((mean - twin[i].0).abs() <= eps && (inverse - 1.0 / deviation(i)).abs() <= eps * worst, "row {i}");
    }
    let normal = |i: usize, j: usize| (x.at(i, j) - twin[i].0) / deviation(i);
    tables[0].assert_is(&what("normal"), 4.0 * eps * worst, |i, j| normal(i, j) * gamma[j].to_f64() + beta[j].to_f64());
    let through: Vec<Vec<f64>> = (0..rows)
        .map(|i| {
            let gradient: Vec<f64> = (0..columns).map(|j| delta.at(i, j) * gamma[j].to_f64()).collect();
            through(&gradient, &line(&x, i), &share)
        })
        .collect();
    tables[1].assert_is(&what("dx"), 100.0 * eps * worst, |i, j| through[i][j]);
    let sum = |j: usize| (0..rows).map(|i| delta.at(i, j) * normal(i, j)).sum::<f64>();
    tables[2].assert_is(&what("gammas"), 4.0 * eps * worst * rows as f64, |_, j| sum(j));
}

#[test]
fn normalisation_of_columns_follows_its_twin() {
    for_every_shape(columns_follow_their_twin::<f32>);
    for_every_shape(columns_follow_their_twin::<f64>);
}

#[test]
fn normalisation_of_rows_follows_its_twin() {
    for_every_shape(rows_follow_their_twin::<f32>);
    for_every_shape(rows_follow_their_twin::<f64>);
}

#[test]
fn a_mean_far_from_zero_does_not_spoil_the_variance() {
    // 10000 + {-1, 1}: float32 tells such numbers apart by 1e-3, and their squares would not be told apart at all.
    let (rows, columns) = (1000, 3);
    let mut x = Table::<f32>::input(rows, columns, 1);
    for i in 0..rows {
        for j in 0..columns {
            x.data[i * x.stride + j] = if i % 2 == 0 { 9999.0 } else { 10001.0 };
        }
    }
    let share = vec![1.0 / rows as f32; rows];
    let (mut mean, mut variance) = (vec![0.0; 16], vec![0.0; 16]);
    column_moments(Isa::available()[0], &Team::solo(), x.view(), &share, &mut mean, &mut variance);
    assert!((mean[0] - 10000.0).abs() < 2e-3 && (variance[0] - 1.0).abs() < 1e-4, "{} {}", mean[0], variance[0]);
}

#[test]
fn numbers_that_are_not_finite_are_not_hidden() {
    for wrong in [f32::NAN, f32::INFINITY] {
        let mut x = Table::<f32>::input(4, 3, 1);
        x.data[x.stride + 1] = wrong;
        let share = vec![0.25; 4];
        for isa in Isa::available() {
            let (mut mean, mut variance) = (vec![0.0; 16], vec![0.0; 16]);
            column_moments(isa, &Team::solo(), x.view(), &share, &mut mean, &mut variance);
            assert!(!variance[1].is_finite() && variance[0].is_finite(), "{wrong}");
            let (mut mean, mut inverse) = (vec![0.0; 4], vec![0.0; 4]);
            row_moments(isa, &Team::solo(), x.view(), EPSILON, &mut mean, &mut inverse);
            assert!(!mean[1].is_finite() && mean[0].is_finite(), "{wrong}");
        }
    }
}

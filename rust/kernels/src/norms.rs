//! Normalisation of columns over a batch, and of rows: moments, forward and backward.
//!
//! In: rows and, for columns, the share of each row in the batch. Out: rows with mean 0 and variance 1, scaled by gamma
//! and shifted by beta. Variances are those of the whole (divided by n, not n - 1).
//! Sums over rows run in the order of the rows, those of a batch in pieces; sums over columns have a fixed tree.

use crate::dense::{Shared, View, ViewMut};
use crate::each::{Each, Operand, check, check_columns, check_rows, each, in_parts, sums};
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Kernel, Vector, run};
use crate::{Real, padded};

/// Rows that are added up before they are added to the others: the rounding error of one long chain would grow with it.
const PIECE: usize = 256;
/// Vectors of columns side by side, so that lines of memory that lie together are read together.
const BESIDE: usize = 4;

struct ColumnMoments<T> {
    rows: usize,
    columns: usize,
    x: *const T,
    stride: usize,
    share: *const T,
    mean: *mut T,
    variance: *mut T,
}

impl<T: Real> Kernel<T> for ColumnMoments<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for j in (0..self.columns).step_by(BESIDE * T::LANES) {
            let vectors = (self.columns - j).div_ceil(T::LANES).min(BESIDE);
            let zero = [[V::zero(); BESIDE]; 2];
            // SAFETY: the caller vouches for the rows, and for padded rows of means and variances.
            unsafe {
                let [guess, _] = self.sums(j, vectors, zero[0]);
                // What the mean still lacks is found with the variance: mean (x - guess) would be 0.
                let [rest, squares] = self.sums(j, vectors, guess);
                for k in 0..vectors {
                    let (mean, at) = (guess[k].add(rest[k]), j + k * T::LANES);
                    let variance = V::zero().max(rest[k].fnma(rest[k], squares[k]));
                    mean.store(self.mean.add(at));
                    // NaN and infinity are not lost in the maximum.
                    V::select(squares[k].not_nan(), variance, squares[k]).store(self.variance.add(at));
                }
            }
        }
    }
}

impl<T: Real> ColumnMoments<T> {
    /// The sums over the rows of share (x - from) and of share (x - from)^2, from column j on.
    ///
    /// # Safety
    /// As for `run`; the vectors from j on have columns of ours.
    #[inline(always)]
    unsafe fn sums<V: Vector<Elem = T>>(&self, j: usize, vectors: usize, from: [V; BESIDE]) -> [[V; BESIDE]; 2] {
        let zero = [[V::zero(); BESIDE]; 2];
        let mut all = zero;
        for first in (0..self.rows).step_by(PIECE) {
            let mut piece = zero;
            for i in first..self.rows.min(first + PIECE) {
                // SAFETY: the caller vouches for the rows and their shares.
                unsafe {
                    let share = V::splat(*self.share.add(i));
                    for k in 0..vectors {
                        let at = j + k * T::LANES;
                        let width = T::LANES.min(self.columns - at);
                        let x = V::load_up_to(self.x.add(i * self.stride + at), width).sub(from[k]);
                        let part = share.mul(x);
                        piece[0][k] = piece[0][k].add(part);
                        piece[1][k] = part.fma(x, piece[1][k]);
                    }
                }
            }
            for (all, piece) in all.iter_mut().flatten().zip(piece.iter().flatten()) {
                *all = all.add(*piece);
            }
        }
        all
    }
}

/// The mean and the variance of each column: sums over the rows of `share x` and of `share (x - mean)^2`.
///
/// # Shapes
/// x is (rows, n), share is (rows) and adds up to 1, mean and variance are (n) and padded.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn column_moments<T: Real>(isa: Isa, team: &Team, x: View<T>, share: &[T], mean: &mut [T], variance: &mut [T]) {
    x.check(x.columns);
    check_columns(x.rows, [share]);
    let width = padded::<T>(x.columns);
    assert!(mean.len() >= width && variance.len() >= width, "the moments are padded");
    let (rows, stride) = (x.rows, x.stride);
    let (mean, variance) = (Shared(mean.as_mut_ptr()), Shared(variance.as_mut_ptr()));
    in_parts(team, x.columns, T::LANES, 2 * rows, 4, &|part| {
        let at = |shared: Shared<T>| shared.get().wrapping_add(part.start);
        let (mean, variance, x) = (at(mean), at(variance), x.data.as_ptr().wrapping_add(part.start));
        let columns = part.len();
        // SAFETY: shapes and lengths were checked above; the parts are whole vectors apart from each other.
        unsafe { run(isa, ColumnMoments { rows, columns, x, stride, share: share.as_ptr(), mean, variance }) }
    });
}

#[derive(Clone, Copy)]
struct InverseDeviation(f64);
impl Each<1> for InverseDeviation {
    #[inline(always)]
    fn each<V: Vector>(self, [variance]: [V; 1]) -> V {
        V::num(1.0).div(variance.add(V::num(self.0)).sqrt())
    }
}

/// `inverse = 1 / sqrt(variance + epsilon)`
///
/// # Shapes
/// variance is (n), inverse is (n) and padded.
///
/// # Panics
/// When the shapes do not fit each other.
pub fn inverse_deviation<T: Real>(isa: Isa, variance: &[T], epsilon: f64, n: usize, inverse: &mut [T]) {
    check_rows(n, [variance]);
    let inverse = ViewMut::new(inverse, 1, n, padded::<T>(n));
    inverse.check(padded::<T>(n));
    // SAFETY: lengths were checked above.
    unsafe { each(isa, &Team::solo(), InverseDeviation(epsilon), [Operand::row(variance)], inverse) }
}

/// The means and the inverse deviations, `1 / sqrt(variance + epsilon)`, that rows are normalised with.
#[derive(Clone, Copy, Debug)]
pub enum Moments<'a, T> {
    /// (n) each: those of each column, for all rows
    OfColumns(&'a [T], &'a [T]),
    /// (rows) each: those of each row, for all columns
    OfRows(&'a [T], &'a [T]),
}

impl<T: Real> Moments<'_, T> {
    /// The operands, checked for a shape.
    fn operands(self, rows: usize, columns: usize) -> [Operand<T>; 2] {
        match self {
            Moments::OfColumns(mean, inverse) => {
                check_rows(columns, [mean, inverse]);
                [Operand::row(mean), Operand::row(inverse)]
            }
            Moments::OfRows(mean, inverse) => {
                check_columns(rows, [mean, inverse]);
                [Operand::column(mean), Operand::column(inverse)]
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Normalize;
impl Each<5> for Normalize {
    #[inline(always)]
    fn each<V: Vector>(self, [x, mean, inverse, gamma, beta]: [V; 5]) -> V {
        x.sub(mean).mul(inverse).fma(gamma, beta)
    }
}

/// `y = gamma (x - mean) inverse + beta`
///
/// # Shapes
/// x and y are (rows, n), gamma and beta are (n); y is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn normalize<T: Real>(
    isa: Isa,
    team: &Team,
    x: View<T>,
    moments: Moments<T>,
    gamma: &[T],
    beta: &[T],
    y: ViewMut<T>,
) {
    check([x], &y);
    check_rows(y.columns, [gamma, beta]);
    let [mean, inverse] = moments.operands(y.rows, y.columns);
    let from = [Operand::rows(x), mean, inverse, Operand::row(gamma), Operand::row(beta)];
    // SAFETY: shapes and lengths were checked above.
    unsafe { each(isa, team, Normalize, from, y) }
}

#[derive(Clone, Copy)]
struct TimesNormal;
impl Each<4> for TimesNormal {
    #[inline(always)]
    fn each<V: Vector>(self, [delta, x, mean, inverse]: [V; 4]) -> V {
        delta.mul(x.sub(mean).mul(inverse))
    }
}

/// `gammas = sum over the rows of delta (x - mean) inverse`, the gradient of gamma, or added to what is there. Returns
/// whether their squares are finite. (The gradient of beta is [`crate::column_sums`].)
///
/// # Shapes
/// delta and x are (rows, n), gammas is (n) and padded.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn gamma_gradient<T: Real>(
    isa: Isa,
    team: &Team,
    delta: View<T>,
    x: View<T>,
    moments: Moments<T>,
    accumulate: bool,
    gammas: &mut [T],
) -> bool {
    x.check(x.columns);
    delta.check(delta.columns);
    assert_eq!((x.rows, x.columns), (delta.rows, delta.columns), "shapes of x and delta");
    let [mean, inverse] = moments.operands(x.rows, x.columns);
    let from = [Operand::rows(delta), Operand::rows(x), mean, inverse];
    // SAFETY: shapes and lengths were checked above.
    unsafe { sums(isa, team, TimesNormal, from, (x.rows, x.columns), accumulate, gammas) }
}

#[derive(Clone, Copy)]
struct Scale;
impl Each<3> for Scale {
    #[inline(always)]
    fn each<V: Vector>(self, [delta, inverse, gamma]: [V; 3]) -> V {
        delta.mul(inverse.mul(gamma))
    }
}

/// `out = delta gamma inverse`: the gradient of x through [`normalize`] where the moments do not depend on x.
///
/// # Shapes
/// delta and out are (rows, n), inverse and gamma are (n); out is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn scale_columns<T: Real>(isa: Isa, team: &Team, delta: View<T>, inverse: &[T], gamma: &[T], out: ViewMut<T>) {
    check([delta], &out);
    check_rows(out.columns, [inverse, gamma]);
    let from = [Operand::rows(delta), Operand::row(inverse), Operand::row(gamma)];
    // SAFETY: shapes and lengths were checked above.
    unsafe { each(isa, team, Scale, from, out) }
}

#[derive(Clone, Copy)]
struct ThroughColumns;
impl Each<8> for ThroughColumns {
    #[inline(always)]
    fn each<V: Vector>(self, [delta, x, mean, inverse, gamma, gammas, betas, share]: [V; 8]) -> V {
        // dx = gamma inverse (delta - share (betas + normal gammas))
        let normal = x.sub(mean).mul(inverse);
        share.fnma(normal.fma(gammas, betas), delta).mul(inverse.mul(gamma))
    }
}

/// The gradient of x through [`normalize`] with the moments of its own columns.
///
/// # Shapes
/// delta, x and out are (rows, n); mean, inverse, gamma, and the gradients of gamma and beta are (n); share is (rows);
/// out is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn column_norm_gradient<T: Real>(
    isa: Isa,
    team: &Team,
    delta: View<T>,
    x: View<T>,
    (mean, inverse): (&[T], &[T]),
    gamma: &[T],
    (gammas, betas): (&[T], &[T]),
    share: &[T],
    out: ViewMut<T>,
) {
    check([delta, x], &out);
    check_rows(out.columns, [mean, inverse, gamma, gammas, betas]);
    check_columns(out.rows, [share]);
    let row = Operand::row;
    let from = [
        Operand::rows(delta),
        Operand::rows(x),
        row(mean),
        row(inverse),
        row(gamma),
        row(gammas),
        row(betas),
        Operand::column(share),
    ];
    // SAFETY: shapes and lengths were checked above.
    unsafe { each(isa, team, ThroughColumns, from, out) }
}

struct RowMoments<T> {
    rows: usize,
    columns: usize,
    epsilon: f64,
    x: *const T,
    stride: usize,
    mean: *mut T,
    inverse: *mut T,
}

impl<T: Real> Kernel<T> for RowMoments<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let n = self.columns as f64;
        for i in 0..self.rows {
            // SAFETY: the caller vouches for the rows, and for a mean and a deviation for each.
            unsafe {
                let x = self.x.add(i * self.stride);
                let mut sum = V::zero();
                for j in (0..self.columns).step_by(T::LANES) {
                    sum = sum.add(V::load_up_to(x.add(j), T::LANES.min(self.columns - j)));
                }
                let mean = T::from_f64(sum.sum_lanes() / n);
                let (mut rest, mut squares) = (V::zero(), V::zero());
                for j in (0..self.columns).step_by(T::LANES) {
                    let width = T::LANES.min(self.columns - j);
                    let d = V::load_first(x.add(j), width, mean).sub(V::splat(mean));
                    rest = rest.add(d);
                    squares = d.fma(d, squares);
                }
                // What the mean still lacks is found with the variance.
                let rest = rest.sum_lanes() / n;
                let variance = squares.sum_lanes() / n - rest * rest;
                // Not `max`, which would lose NaN.
                let variance = if variance < 0.0 { 0.0 } else { variance };
                *self.mean.add(i) = T::from_f64(mean.to_f64() + rest);
                *self.inverse.add(i) = T::from_f64(1.0 / (variance + self.epsilon).sqrt());
            }
        }
    }
}

/// The mean and `1 / sqrt(variance + epsilon)` of each row.
///
/// # Shapes
/// x is (rows, n), mean and inverse are (rows).
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn row_moments<T: Real>(isa: Isa, team: &Team, x: View<T>, epsilon: f64, mean: &mut [T], inverse: &mut [T]) {
    x.check(x.columns);
    check_columns(x.rows, [&*mean, &*inverse]);
    let (columns, stride, x_data) = (x.columns, x.stride, x.data);
    let (mean, inverse) = (Shared(mean.as_mut_ptr()), Shared(inverse.as_mut_ptr()));
    in_parts(team, x.rows, 1, 2 * columns, 4, &|part| {
        let x = x_data.as_ptr().wrapping_add(part.start * stride);
        let (mean, inverse) = (mean.get().wrapping_add(part.start), inverse.get().wrapping_add(part.start));
        // SAFETY: shapes and lengths were checked above; the parts are apart from each other.
        unsafe { run(isa, RowMoments { rows: part.len(), columns, epsilon, x, stride, mean, inverse }) }
    });
}

struct ThroughRows<T> {
    rows: usize,
    columns: usize,
    delta: *const T,
    delta_stride: usize,
    x: *const T,
    x_stride: usize,
    mean: *const T,
    inverse: *const T,
    gamma: *const T,
    out: *mut T,
    out_stride: usize,
}

impl<T: Real> Kernel<T> for ThroughRows<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let n = self.columns as f64;
        for i in 0..self.rows {
            // SAFETY: the caller vouches for the rows, and for the padding of out.
            unsafe {
                let (delta, x) = (self.delta.add(i * self.delta_stride), self.x.add(i * self.x_stride));
                let (mean, inverse) = (V::splat(*self.mean.add(i)), V::splat(*self.inverse.add(i)));
                let (mut sum, mut along) = (V::zero(), V::zero());
                for j in (0..self.columns).step_by(T::LANES) {
                    let (gradient, normal, _) = self.at(delta, x, mean, inverse, j);
                    sum = sum.add(gradient);
                    along = gradient.fma(normal, along);
                }
                let (sum, along) = (V::num(sum.sum_lanes() / n), V::num(along.sum_lanes() / n));
                for j in (0..self.columns).step_by(T::LANES) {
                    let (gradient, normal, width) = self.at(delta, x, mean, inverse, j);
                    // dx = inverse (gradient - mean of gradient - normal mean of (gradient normal))
                    let mut dx = normal.fnma(along, gradient.sub(sum)).mul(inverse);
                    if width < T::LANES {
                        dx = V::select(V::first_lanes(width), dx, V::zero());
                    }
                    dx.store(self.out.add(i * self.out_stride + j));
                }
            }
        }
    }
}

impl<T: Real> ThroughRows<T> {
    /// From column j of a row on: dL/dnormal = delta gamma, which is 0 outside, the normal, and how many columns there are.
    ///
    /// # Safety
    /// `delta` and `x` are rows of ours, and j one of their columns.
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>>(
        &self,
        delta: *const T,
        x: *const T,
        mean: V,
        inverse: V,
        j: usize,
    ) -> (V, V, usize) {
        let width = T::LANES.min(self.columns - j);
        // SAFETY: the caller vouches for the row.
        unsafe {
            let gradient = V::load_up_to(delta.add(j), width).mul(V::load_up_to(self.gamma.add(j), width));
            (gradient, V::load_up_to(x.add(j), width).sub(mean).mul(inverse), width)
        }
    }
}

/// The gradient of x through [`normalize`] with the moments of its own rows.
///
/// # Shapes
/// delta, x and out are (rows, n), mean and inverse are (rows), gamma is (n); out is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn row_norm_gradient<T: Real>(
    isa: Isa,
    team: &Team,
    delta: View<T>,
    x: View<T>,
    (mean, inverse): (&[T], &[T]),
    gamma: &[T],
    out: ViewMut<T>,
) {
    check([delta, x], &out);
    check_rows(out.columns, [gamma]);
    check_columns(out.rows, [mean, inverse]);
    let (columns, rows) = (out.columns, out.rows);
    let (delta_stride, x_stride, out_stride) = (delta.stride, x.stride, out.stride);
    let (delta_data, x_data, out) = (delta.data, x.data, Shared(out.data.as_mut_ptr()));
    in_parts(team, rows, 1, 2 * columns, 4, &|part| {
        let kernel = ThroughRows {
            rows: part.len(),
            columns,
            delta: delta_data.as_ptr().wrapping_add(part.start * delta_stride),
            delta_stride,
            x: x_data.as_ptr().wrapping_add(part.start * x_stride),
            x_stride,
            mean: mean[part.start..].as_ptr(),
            inverse: inverse[part.start..].as_ptr(),
            gamma: gamma.as_ptr(),
            out: out.get().wrapping_add(part.start * out_stride),
            out_stride,
        };
        // SAFETY: shapes and lengths were checked above; the parts are apart from each other.
        unsafe { run(isa, kernel) }
    });
}

//! What happens at the output, row by row: softmax and its cross entropy; other losses are in `losses`. And sums.
//!
//! In: outputs, targets and a weight per row. Out: a loss per row, in `f64`, and dL/da or dL/dz.
//! Sums over the columns run in the lanes of a vector, then over the lanes, the same on every set; sums over rows are
//! the caller's, who has them in the order of the rows.

use crate::Real;
use crate::buffer::padded;
use crate::dense::{View, ViewMut};
use crate::isa::Isa;
use crate::math;
use crate::simd::{Kernel, MAX_LANES, Vector, run};

/// What the rows should have come out as.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a, T> {
    /// A value, or a probability, for each output.
    Dense(View<'a, T>),
    /// The number of the class of each row.
    Labels(&'a [u32]),
}

/// The largest element of a row, NaN where it has one.
///
/// # Safety
/// `z` is valid for reads of `n` elements.
#[inline(always)]
pub(crate) unsafe fn row_max<V: Vector>(z: *const V::Elem, n: usize) -> V::Elem {
    let lanes = V::Elem::LANES;
    let lowest = V::Elem::from_f64(f64::NEG_INFINITY);
    let mut largest = V::splat(lowest);
    for j in (0..n).step_by(lanes) {
        // SAFETY: the caller vouches for `n` elements.
        largest = largest.max(unsafe { V::load_first(z.add(j), lanes.min(n - j), lowest) });
    }
    largest.max_lane()
}

/// `e = exp(z - shift)` with zeros in the padding; returns the sum.
///
/// # Safety
/// `z` is valid for reads of `n` elements, `e` for writes of as many, padded; they may be the same.
#[inline(always)]
pub(crate) unsafe fn row_exp<V: Vector>(z: *const V::Elem, n: usize, shift: V::Elem, e: *mut V::Elem) -> V::Elem {
    let lanes = V::Elem::LANES;
    let lowest = V::Elem::from_f64(f64::NEG_INFINITY);
    let mut sum = V::zero();
    for j in (0..n).step_by(lanes) {
        // SAFETY: the caller vouches for `n` elements of z and a padded row of e.
        unsafe {
            let z = V::load_first(z.add(j), lanes.min(n - j), lowest);
            let exp = math::exp(z.sub(V::splat(shift)));
            exp.store(e.add(j));
            sum = sum.add(exp);
        }
    }
    V::Elem::from_f64(sum.sum_lanes())
}

/// `row *= by`, padding included.
///
/// # Safety
/// `row` is valid for reads and writes of `n` elements, padded.
#[inline(always)]
unsafe fn row_scale<V: Vector>(row: *mut V::Elem, n: usize, by: V) {
    for j in (0..n).step_by(V::Elem::LANES) {
        // SAFETY: the caller vouches for a padded row.
        unsafe { V::load(row.add(j)).mul(by).store(row.add(j)) }
    }
}

struct Softmax<T> {
    rows: usize,
    n: usize,
    a: *mut T,
    stride: usize,
}

impl<T: Real> Kernel<T> for Softmax<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for i in 0..self.rows {
            let a = self.a.wrapping_add(i * self.stride);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let sum = row_exp::<V>(a, self.n, row_max::<V>(a, self.n), a);
                row_scale::<V>(a, self.n, V::num(1.0).div(V::splat(sum)));
            }
        }
    }
}

/// `a <- exp(a) / sum over the row of exp(a)`, shifted by the largest element so that nothing overflows.
///
/// # Shapes
/// a is (rows, n) and padded; the padding becomes 0.
///
/// # Panics
/// When the shape does not fit the data.
pub fn softmax_in_place<T: Real>(isa: Isa, a: ViewMut<T>) {
    a.check(padded::<T>(a.columns));
    let kernel = Softmax { rows: a.rows, n: a.columns, a: a.data.as_mut_ptr(), stride: a.stride };
    // SAFETY: shape and length were checked above.
    unsafe { run(isa, kernel) }
}

struct SoftmaxSlope<T> {
    rows: usize,
    n: usize,
    a: *const T,
    a_stride: usize,
    delta: *mut T,
    delta_stride: usize,
}

impl<T: Real> Kernel<T> for SoftmaxSlope<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for i in 0..self.rows {
            let (a, delta) = (self.a.wrapping_add(i * self.a_stride), self.delta.wrapping_add(i * self.delta_stride));
            // SAFETY: the caller vouches for padded rows; their padding is 0.
            unsafe {
                let mut dot = V::zero();
                for j in (0..self.n).step_by(T::LANES) {
                    dot = V::load(a.add(j)).fma(V::load(delta.add(j)), dot);
                }
                let dot = V::num(dot.sum_lanes());
                for j in (0..self.n).step_by(T::LANES) {
                    let d = V::load(delta.add(j)).sub(dot);
                    V::load(a.add(j)).mul(d).store(delta.add(j));
                }
            }
        }
    }
}

/// `delta <- a (delta - sum over the row of a delta)`: the derivative of softmax, in place.
///
/// # Shapes
/// a and delta are (rows, n) and padded with zeros.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn multiply_softmax_slope<T: Real>(isa: Isa, a: View<T>, delta: ViewMut<T>) {
    let width = padded::<T>(a.columns);
    a.check(width);
    delta.check(width);
    assert_eq!((a.rows, a.columns), (delta.rows, delta.columns), "shapes of a and delta");
    let (rows, n, a_stride, delta_stride) = (a.rows, a.columns, a.stride, delta.stride);
    let (a, delta) = (a.data.as_ptr(), delta.data.as_mut_ptr());
    // SAFETY: shapes and lengths were checked above.
    unsafe { run(isa, SoftmaxSlope { rows, n, a, a_stride, delta, delta_stride }) }
}

/// Targets as the kernels read them: one of the two pointers is null.
pub(crate) struct Targets<T> {
    pub dense: *const T,
    pub stride: usize,
    pub labels: *const u32,
}

impl<T: Real> Targets<T> {
    /// # Panics
    /// Unless there is a target for every output, labels being below `n`.
    pub fn new(target: Target<T>, rows: usize, n: usize) -> Targets<T> {
        match target {
            Target::Dense(t) => {
                t.check(n);
                assert_eq!((t.rows, t.columns), (rows, n), "shape of the targets");
                Targets { dense: t.data.as_ptr(), stride: t.stride, labels: std::ptr::null() }
            }
            Target::Labels(labels) => {
                assert_eq!(labels.len(), rows, "a label for each row");
                assert!(labels.iter().all(|&label| (label as usize) < n), "labels below {n}");
                Targets { dense: std::ptr::null(), stride: 0, labels: labels.as_ptr() }
            }
        }
    }
}

impl<T: Real> Targets<T> {
    /// Columns `j` to `j + width` of row `i`, a label being a 1 among zeros; zeros in the other lanes.
    ///
    /// # Safety
    /// The row and the columns are among those it was made for, and `width` is at most [`Real::LANES`].
    #[inline(always)]
    pub(crate) unsafe fn load<V: Vector<Elem = T>>(&self, i: usize, j: usize, width: usize) -> V {
        // SAFETY: the caller's word; the array has room for the lanes of any vector.
        unsafe {
            if !self.dense.is_null() {
                return V::load_up_to(self.dense.add(i * self.stride + j), width);
            }
            let mut lanes = [T::ZERO; MAX_LANES];
            let label = *self.labels.add(i) as usize;
            if (j..j + width).contains(&label) {
                lanes[label - j] = T::ONE;
            }
            V::load(lanes.as_ptr())
        }
    }
}

struct SoftmaxCrossEntropy<T> {
    rows: usize,
    n: usize,
    z: *const T,
    z_stride: usize,
    targets: Targets<T>,
    scale: *const T,
    delta: *mut T,
    delta_stride: usize,
    losses: *mut f64,
}

impl<T: Real> Kernel<T> for SoftmaxCrossEntropy<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        // As many rows at a time as a vector has lanes: one logarithm for all of them.
        for first in (0..self.rows).step_by(T::LANES) {
            let rows = T::LANES.min(self.rows - first);
            let (mut largest, mut sums) = ([T::ZERO; MAX_LANES], [T::ONE; MAX_LANES]);
            // SAFETY: the caller vouches for the rows, and for labels below n.
            unsafe {
                for i in 0..rows {
                    let z = self.z.add((first + i) * self.z_stride);
                    let delta = self.delta.add((first + i) * self.delta_stride);
                    largest[i] = row_max::<V>(z, self.n);
                    sums[i] = row_exp::<V>(z, self.n, largest[i], delta);
                }
                let logs = math::log(V::load(sums.as_ptr())).to_lanes();
                for i in 0..rows {
                    self.finish_row::<V>(first + i, largest[i], sums[i], logs[i]);
                }
            }
        }
    }
}

impl<T: Real> SoftmaxCrossEntropy<T> {
    /// From `exp(z - largest)` in `delta`, their sum and its logarithm, to the loss and the delta of a row.
    ///
    /// # Safety
    /// The row is one of ours.
    #[inline(always)]
    unsafe fn finish_row<V: Vector<Elem = T>>(&self, i: usize, largest: T, sum: T, log_sum: T) {
        let n = self.n;
        // SAFETY: the caller's word.
        unsafe {
            let z = self.z.add(i * self.z_stride);
            let delta = self.delta.add(i * self.delta_stride);
            let scale = *self.scale.add(i);
            // -ln y = ln sum - (z - largest), which cancels less than ln sum + largest - z.
            if self.targets.dense.is_null() {
                let label = *self.targets.labels.add(i) as usize;
                *self.losses.add(i) = log_sum.to_f64() + (largest.to_f64() - (*z.add(label)).to_f64());
                row_scale::<V>(delta, n, V::splat(scale).div(V::splat(sum)));
                let at = delta.add(label);
                *at = T::from_f64((*at).to_f64() - scale.to_f64());
            } else {
                let t = self.targets.dense.add(i * self.targets.stride);
                let (mut loss, mut total) = (V::zero(), V::zero());
                let (from, log_sum) = (V::splat(largest), V::splat(log_sum));
                for j in (0..n).step_by(T::LANES) {
                    let width = T::LANES.min(n - j);
                    let t = V::load_up_to(t.add(j), width);
                    let z = V::load_first(z.add(j), width, largest);
                    let minus_log = log_sum.add(from.sub(z));
                    // 0 ln 0 is 0, also where a probability is so small that its logarithm overflows.
                    let term = V::select(t.abs().le(V::zero()), V::zero(), t.mul(minus_log));
                    loss = loss.add(term);
                    total = total.add(t);
                }
                *self.losses.add(i) = loss.sum_lanes();
                let total = V::num(total.sum_lanes());
                let (y_scale, scale) = (total.div(V::splat(sum)), V::splat(scale));
                for j in (0..n).step_by(T::LANES) {
                    let t = V::load_up_to(t.add(j), T::LANES.min(n - j));
                    V::load(delta.add(j)).fms(y_scale, t).mul(scale).store(delta.add(j));
                }
            }
        }
    }
}

/// Softmax and cross entropy in one: from z, the loss `-sum t ln y` of each row and `delta = (y sum t - t) scale`.
///
/// # Shapes
/// z is (rows, n), the targets are (rows, n) or labels (rows), scale and losses are (rows), delta is (rows, n) and padded.
///
/// # Panics
/// When the shapes do not fit each other or their data, or a label is not below n.
pub fn softmax_cross_entropy<T: Real>(
    isa: Isa,
    z: View<T>,
    target: Target<T>,
    scale: &[T],
    delta: ViewMut<T>,
    losses: &mut [f64],
) {
    let (rows, n) = (z.rows, z.columns);
    z.check(n);
    delta.check(padded::<T>(n));
    assert_eq!((rows, n), (delta.rows, delta.columns), "shapes of z and delta");
    assert!(scale.len() == rows && losses.len() == rows, "a scale and a loss for each row");
    let kernel = SoftmaxCrossEntropy {
        rows,
        n,
        z: z.data.as_ptr(),
        z_stride: z.stride,
        targets: Targets::new(target, rows, n),
        scale: scale.as_ptr(),
        delta: delta.data.as_mut_ptr(),
        delta_stride: delta.stride,
        losses: losses.as_mut_ptr(),
    };
    // SAFETY: shapes and lengths were checked above.
    unsafe { run(isa, kernel) }
}

/// The sum of x^2 or of |x|, in `f64`: sixteen sums, one for each place in a group of sixteen, then those in order.
struct SumOf<'a, T, const SQUARES: bool>(&'a [T]);

impl<T: Real, const SQUARES: bool> Kernel<T> for SumOf<'_, T, SQUARES> {
    type Output = f64;
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "an iterator over both arrays stays a call for each group: 1.7 ns a number"
    )]
    unsafe fn run<V: Vector<Elem = T>>(self) -> f64 {
        let mut sums = [0.0f64; 16];
        // Whole groups apart: the compiler makes vectors of those.
        let (groups, rest) = self.0.as_chunks::<16>();
        for group in groups {
            for i in 0..16 {
                let x = group[i].to_f64();
                sums[i] += if SQUARES { x * x } else { x.abs() };
            }
        }
        for i in 0..rest.len() {
            let x = rest[i].to_f64();
            sums[i] += if SQUARES { x * x } else { x.abs() };
        }
        let mut total = sums[0];
        for i in 1..16 {
            total += sums[i];
        }
        total
    }
}

/// The sum of the squares, in `f64`: sixteen sums, one for each place in a group of sixteen, then those in order.
pub fn sum_of_squares<T: Real>(isa: Isa, x: &[T]) -> f64 {
    // SAFETY: the kernel reads a slice.
    unsafe { run(isa, SumOf::<T, true>(x)) }
}

/// The sum of the absolute values, in `f64`, in the order of [`sum_of_squares`].
pub fn sum_of_magnitudes<T: Real>(isa: Isa, x: &[T]) -> f64 {
    // SAFETY: the kernel reads a slice.
    unsafe { run(isa, SumOf::<T, false>(x)) }
}

struct AllFinite<T> {
    x: *const T,
    n: usize,
}

impl<T: Real> Kernel<T> for AllFinite<T> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        // 0 times a finite number is 0, times anything else NaN; four sums, so that they need not wait for each other.
        let mut sums = [V::zero(); 4];
        let group = 4 * T::LANES;
        let whole = self.n / group * group;
        // SAFETY: all reads lie within the `n` numbers for which the caller vouches.
        unsafe {
            for i in (0..whole).step_by(group) {
                for (part, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(self.x.add(i + part * T::LANES)).fma(V::zero(), *sum);
                }
            }
            for i in (whole..self.n).step_by(T::LANES) {
                sums[0] = V::load_up_to(self.x.add(i), T::LANES.min(self.n - i)).fma(V::zero(), sums[0]);
            }
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum_lanes() == 0.0
    }
}

/// Whether no number is infinite or NaN.
pub fn all_finite<T: Real>(isa: Isa, x: &[T]) -> bool {
    // SAFETY: pointer and length are those of the slice.
    unsafe { finite_at(isa, x.as_ptr(), x.len()) }
}

/// Whether none of the `n` numbers at `x` is infinite or NaN.
///
/// # Safety
/// `x` is valid for reads of `n` numbers.
pub(crate) unsafe fn finite_at<T: Real>(isa: Isa, x: *const T, n: usize) -> bool {
    // SAFETY: the caller's word.
    unsafe { run(isa, AllFinite { x, n }) }
}

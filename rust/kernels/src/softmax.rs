//! Softmax, its derivative and its cross entropy; other losses are in `losses`.
//!
//! In: outputs, targets and a weight per row. Out: a loss per row, in `f64`, and dL/da or dL/dz.
//! With few classes the lanes of a vector are rows, else they are classes. Either way a row comes out the same whatever
//! rows lie beside it, on every set; sums over rows are the caller's, who has them in the order of the rows.

use crate::Real;
use crate::buffer::padded;
use crate::dense::{View, ViewMut};
use crate::isa::Isa;
use crate::math;
use crate::simd::{Kernel, MAX_LANES, Vector, run};
use std::mem::MaybeUninit;

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
    if n > FEW {
        return V::Elem::from_f64(sum.sum_lanes());
    }
    // The order of `Turned`, of which no result may tell.
    let mut chain = V::Elem::ZERO;
    for k in 0..n {
        // SAFETY: the exponentials were written just now.
        chain = chain.plus(unsafe { *e.add(k) });
    }
    chain
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

/// Classes at most for which the lanes of a vector are rows: with ten classes a row for itself takes 60 ns, most of them
/// between lanes, and 15 ns together with others.
const FEW: usize = 16;
/// Rows from which that pays.
const TOGETHER: usize = 4;

/// What the exponentials of a row are multiplied by.
enum Factor<T> {
    One,
    /// 1 over their sum.
    Share,
    /// This number of the row over their sum.
    Scale(*const T),
}

/// `to = e^(z - largest)` times a factor, for some rows of few classes: at most as many as a vector has lanes, which are
/// the rows here. A kernel for all who need it: turning rows into lanes and back is much code.
struct FewClasses<'a, T> {
    rows: usize,
    n: usize,
    z: *const T,
    z_stride: usize,
    to: *mut T,
    to_stride: usize,
    factor: Factor<T>,
    /// The largest z and the sum of each row.
    found: &'a mut Found<T>,
}

struct Found<T> {
    largest: [T; MAX_LANES],
    sums: [T; MAX_LANES],
}

impl<T: Real> Kernel<T> for FewClasses<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let (rows, n) = (self.rows, self.n);
        let mut turned = MaybeUninit::<[T; FEW * MAX_LANES]>::uninit();
        let turned = turned.as_mut_ptr().cast::<T>();
        // SAFETY: the caller vouches for padded rows; there is room for `FEW` classes, and in the arrays for a vector.
        unsafe {
            for j in (0..n).step_by(T::LANES) {
                V::turn(self.z.add(j), self.z_stride, rows, turned.add(j * T::LANES), T::LANES, T::LANES.min(n - j));
            }
            let mut largest = V::num(f64::NEG_INFINITY);
            for k in 0..n {
                largest = largest.max(V::load(turned.add(k * T::LANES)));
            }
            let mut sum = V::zero();
            for k in 0..n {
                let e = math::exp(V::load(turned.add(k * T::LANES)).sub(largest));
                e.store(turned.add(k * T::LANES));
                sum = sum.add(e);
            }
            largest.store(self.found.largest.as_mut_ptr());
            sum.store(self.found.sums.as_mut_ptr());
            let by = match self.factor {
                Factor::One => V::num(1.0),
                Factor::Share => V::num(1.0).div(sum),
                Factor::Scale(scale) => V::load_first(scale, rows, T::ZERO).div(sum),
            };
            for k in 0..n {
                V::load(turned.add(k * T::LANES)).mul(by).store(turned.add(k * T::LANES));
            }
            for j in (0..n).step_by(T::LANES) {
                let classes = T::LANES.min(n - j);
                V::turn(turned.add(j * T::LANES), T::LANES, classes, self.to.add(j), self.to_stride, rows);
            }
        }
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
            // SAFETY: the caller vouches for padded rows.
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
    let (n, stride, all) = (a.columns, a.stride, a.data.as_mut_ptr());
    let at_a_time = if n <= FEW { T::LANES } else { a.rows.max(1) };
    for first in (0..a.rows).step_by(at_a_time) {
        let (a, rows) = (all.wrapping_add(first * stride), at_a_time.min(a.rows - first));
        // SAFETY: shape and length were checked above.
        unsafe {
            if n <= FEW && rows >= TOGETHER {
                let found = &mut Found { largest: [T::ZERO; MAX_LANES], sums: [T::ZERO; MAX_LANES] };
                let (z, factor) = (a.cast_const(), Factor::Share);
                run(isa, FewClasses { rows, n, z, z_stride: stride, to: a, to_stride: stride, factor, found });
            } else {
                run(isa, Softmax { rows, n, a, stride });
            }
        }
    }
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
    #[inline]
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
    /// Begins so many rows behind.
    #[inline(always)]
    pub(crate) fn go_on(&mut self, rows: usize) {
        // Null stays null: labels have no stride, and there is either one or the other.
        self.dense = self.dense.wrapping_add(rows * self.stride);
        self.labels = self.labels.wrapping_add(rows);
    }

    /// Columns `j` to `j + width` of row `i`, a label being a 1 among zeros; zeros in the other lanes.
    ///
    /// # Safety
    /// The row and the columns are among those it was made for, and `width` is at most [`Real::LANES`].
    #[inline(always)]
    pub(crate) unsafe fn load<V: Vector<Elem = T>>(&self, i: usize, j: usize, width: usize) -> V {
        // SAFETY: the caller's word.
        unsafe {
            if !self.dense.is_null() {
                return V::load_up_to(self.dense.add(i * self.stride + j), width);
            }
            // Not by way of memory: to read what was just written in pieces takes as long as a small product.
            let lane = (*self.labels.add(i) as usize).wrapping_sub(j);
            if lane >= width {
                return V::zero();
            }
            let up_to_it = V::select(V::first_lanes(lane + 1), V::num(1.0), V::zero());
            V::select(V::first_lanes(lane), V::zero(), up_to_it)
        }
    }
}

struct SoftmaxCrossEntropy<'a, T> {
    rows: usize,
    n: usize,
    z: *const T,
    z_stride: usize,
    targets: &'a Targets<T>,
    scale: *const T,
    delta: *mut T,
    delta_stride: usize,
    losses: *mut f64,
    /// The rows that this is about, at most as many as lanes: from here on.
    first: usize,
    /// Of these rows, where delta has what [`FewClasses`] makes of them.
    found: Option<&'a Found<T>>,
}

impl<T: Real> Kernel<T> for SoftmaxCrossEntropy<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let (first, rows) = (self.first, self.rows);
        let mut own = Found { largest: [T::ZERO; MAX_LANES], sums: [T::ONE; MAX_LANES] };
        // SAFETY: the caller vouches for the padded rows, and for labels below n.
        unsafe {
            let found = match self.found {
                Some(found) => found,
                None => {
                    for i in 0..rows {
                        let z = self.z.add((first + i) * self.z_stride);
                        let delta = self.delta.add((first + i) * self.delta_stride);
                        own.largest[i] = row_max::<V>(z, self.n);
                        own.sums[i] = row_exp::<V>(z, self.n, own.largest[i], delta);
                        if !self.targets.labels.is_null() {
                            let by = V::splat(*self.scale.add(first + i)).div(V::splat(own.sums[i]));
                            row_scale::<V>(delta, self.n, by);
                        }
                    }
                    &own
                }
            };
            // One logarithm for all of them.
            let logs = math::log(V::load(found.sums.as_ptr())).to_lanes();
            for (i, &log_sum) in logs.iter().enumerate().take(rows) {
                if self.targets.labels.is_null() {
                    self.against_probabilities::<V>(first + i, found.largest[i], found.sums[i], log_sum);
                } else {
                    self.against_label(first + i, found.largest[i], log_sum);
                }
            }
        }
    }
}

impl<T: Real> SoftmaxCrossEntropy<'_, T> {
    /// From `y scale` in `delta` to the loss and the delta of a row.
    ///
    /// # Safety
    /// The row is one of ours, and there are labels.
    #[inline(always)]
    unsafe fn against_label(&self, i: usize, largest: T, log_sum: T) {
        // SAFETY: the caller's word.
        unsafe {
            let label = *self.targets.labels.add(i) as usize;
            let z = *self.z.add(i * self.z_stride + label);
            // -ln y = ln sum - (z - largest), which cancels less than ln sum + largest - z.
            *self.losses.add(i) = log_sum.to_f64() + (largest.to_f64() - z.to_f64());
            let at = self.delta.add(i * self.delta_stride + label);
            *at = T::from_f64((*at).to_f64() - (*self.scale.add(i)).to_f64());
        }
    }

    /// From `exp(z - largest)` in `delta`, their sum and its logarithm, to the loss and the delta of a row.
    ///
    /// # Safety
    /// The row is one of ours, and its targets are probabilities.
    #[inline(always)]
    unsafe fn against_probabilities<V: Vector<Elem = T>>(&self, i: usize, largest: T, sum: T, log_sum: T) {
        let n = self.n;
        // SAFETY: the caller's word.
        unsafe {
            let z = self.z.add(i * self.z_stride);
            let delta = self.delta.add(i * self.delta_stride);
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
            let (y_scale, scale) = (total.div(V::splat(sum)), V::splat(*self.scale.add(i)));
            for j in (0..n).step_by(T::LANES) {
                let t = V::load_up_to(t.add(j), T::LANES.min(n - j));
                V::load(delta.add(j)).fms(y_scale, t).mul(scale).store(delta.add(j));
            }
        }
    }
}

/// Softmax and cross entropy in one: from z, the loss `-sum t ln y` of each row and `delta = (y sum t - t) scale`.
///
/// # Shapes
/// z is (rows, n) and padded, the targets are (rows, n) or labels (rows), scale and losses are (rows), delta is (rows, n)
/// and padded.
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
    z.check(padded::<T>(n));
    delta.check(padded::<T>(n));
    assert_eq!((rows, n), (delta.rows, delta.columns), "shapes of z and delta");
    assert!(scale.len() == rows && losses.len() == rows, "a scale and a loss for each row");
    let targets = &Targets::new(target, rows, n);
    let (z, z_stride, scale) = (z.data.as_ptr(), z.stride, scale.as_ptr());
    let (delta, delta_stride, losses) = (delta.data.as_mut_ptr(), delta.stride, losses.as_mut_ptr());
    for first in (0..rows).step_by(T::LANES) {
        let rows = T::LANES.min(rows - first);
        let mut few = Found { largest: [T::ZERO; MAX_LANES], sums: [T::ONE; MAX_LANES] };
        let together = n <= FEW && rows >= TOGETHER;
        // SAFETY: shapes and lengths were checked above.
        unsafe {
            if together {
                let (z, to) = (z.add(first * z_stride), delta.add(first * delta_stride));
                let labelled = !targets.labels.is_null();
                let factor = if labelled { Factor::Scale(scale.add(first)) } else { Factor::One };
                run(isa, FewClasses { rows, n, z, z_stride, to, to_stride: delta_stride, factor, found: &mut few });
            }
            let found = together.then_some(&few);
            let kernel =
                SoftmaxCrossEntropy { rows, n, z, z_stride, targets, scale, delta, delta_stride, losses, first, found };
            run(isa, kernel);
        }
    }
}

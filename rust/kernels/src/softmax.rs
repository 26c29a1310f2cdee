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

/// `e^(z - largest)` of as many rows as a vector has lanes, which are the lanes here: class k is vector k.
struct Turned<T>(MaybeUninit<[T; FEW * MAX_LANES]>);

impl<T: Real> Turned<T> {
    fn new() -> Turned<T> {
        Turned(MaybeUninit::uninit())
    }

    /// Class `k` of all rows.
    fn class(&mut self, k: usize) -> *mut T {
        self.0.as_mut_ptr().cast::<T>().wrapping_add(k * T::LANES)
    }

    /// Takes the exponentials of some rows; returns the largest z and the sum of each, in the order of the classes.
    ///
    /// # Safety
    /// z has so many rows of `n` numbers, padded; there are at most as many as lanes, and `n` is at most [`FEW`].
    #[inline(always)]
    unsafe fn exp_of<V: Vector<Elem = T>>(&mut self, z: *const T, stride: usize, rows: usize, n: usize) -> (V, V) {
        // SAFETY: the caller's word; there is room for `FEW` classes.
        unsafe {
            for j in (0..n).step_by(T::LANES) {
                V::turn(z.add(j), stride, rows, self.class(j), T::LANES, T::LANES.min(n - j));
            }
            let mut largest = V::num(f64::NEG_INFINITY);
            for k in 0..n {
                largest = largest.max(V::load(self.class(k)));
            }
            let mut sum = V::zero();
            for k in 0..n {
                let e = math::exp(V::load(self.class(k)).sub(largest));
                e.store(self.class(k));
                sum = sum.add(e);
            }
            (largest, sum)
        }
    }

    /// Writes the exponentials times `by` back as rows, zeros in their padding.
    ///
    /// # Safety
    /// As for [`Turned::exp_of`], which took as many; `to` is valid for writes.
    #[inline(always)]
    unsafe fn times<V: Vector<Elem = T>>(&mut self, by: V, to: *mut T, stride: usize, rows: usize, n: usize) {
        // SAFETY: the caller's word.
        unsafe {
            for k in 0..n {
                V::load(self.class(k)).mul(by).store(self.class(k));
            }
            for j in (0..n).step_by(T::LANES) {
                V::turn(self.class(j), T::LANES, T::LANES.min(n - j), to.add(j), stride, rows);
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
        let one = V::num(1.0);
        let mut turned = Turned::new();
        for first in (0..self.rows).step_by(T::LANES) {
            let rows = T::LANES.min(self.rows - first);
            // SAFETY: the caller vouches for padded rows.
            unsafe {
                let a = self.a.add(first * self.stride);
                if self.n <= FEW && rows >= TOGETHER {
                    let (_, sum) = turned.exp_of::<V>(a, self.stride, rows, self.n);
                    turned.times(one.div(sum), a, self.stride, rows, self.n);
                    continue;
                }
                for i in 0..rows {
                    let a = a.add(i * self.stride);
                    let sum = row_exp::<V>(a, self.n, row_max::<V>(a, self.n), a);
                    row_scale::<V>(a, self.n, one.div(V::splat(sum)));
                }
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
        let mut turned = Turned::new();
        // As many rows at a time as a vector has lanes: one logarithm for all of them.
        for first in (0..self.rows).step_by(T::LANES) {
            let rows = T::LANES.min(self.rows - first);
            let (mut largest, mut sums) = ([T::ZERO; MAX_LANES], [T::ONE; MAX_LANES]);
            // SAFETY: the caller vouches for the padded rows, and for labels below n.
            unsafe {
                let z = self.z.add(first * self.z_stride);
                let delta = self.delta.add(first * self.delta_stride);
                let mut factor = V::num(1.0);
                if self.n <= FEW && rows >= TOGETHER {
                    let (tops, totals) = turned.exp_of::<V>(z, self.z_stride, rows, self.n);
                    (largest, sums) = (tops.to_lanes(), totals.to_lanes());
                    if !self.targets.labels.is_null() {
                        factor = V::load_first(self.scale.add(first), rows, T::ZERO).div(totals);
                    }
                    turned.times(factor, delta, self.delta_stride, rows, self.n);
                } else {
                    for i in 0..rows {
                        let (z, delta) = (z.add(i * self.z_stride), delta.add(i * self.delta_stride));
                        largest[i] = row_max::<V>(z, self.n);
                        sums[i] = row_exp::<V>(z, self.n, largest[i], delta);
                        if !self.targets.labels.is_null() {
                            row_scale::<V>(delta, self.n, V::splat(*self.scale.add(first + i)).div(V::splat(sums[i])));
                        }
                    }
                }
                let logs = math::log(V::load(sums.as_ptr())).to_lanes();
                for i in 0..rows {
                    if self.targets.labels.is_null() {
                        self.against_probabilities::<V>(first + i, largest[i], sums[i], logs[i]);
                    } else {
                        self.against_label(first + i, largest[i], logs[i]);
                    }
                }
            }
        }
    }
}

impl<T: Real> SoftmaxCrossEntropy<T> {
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

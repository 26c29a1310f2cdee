//! A block of rows through a small network, or back.
//!
//! In: parameters, rows, targets. Out: losses, and gradients in the layout of the parameters.

use super::grouped::gradient_row;
use super::network::{Placed, Stage, Tiny, TinyLoss};
use super::product::{Product, Slopes, Sums, Units};
use super::row::minus_log_of;
use crate::activation::Activation;
use crate::dense::View;
use crate::math;
use crate::simd::{GROUP, Kernel, Starts, Vector, run_apart, starts};
use crate::softmax::Targets;
use crate::{Real, padded};
use std::ops::Range;

/// Rows become columns, and zeros beyond, in squares of vectors: apart from the passes, whose few instructions for
/// narrow x they would slow down by their registers.
pub(super) struct Turn<T> {
    pub rows: usize,
    pub columns: usize,
    pub from: *const T,
    pub stride: usize,
    pub to: *mut T,
    pub to_stride: usize,
}

impl<T: Real> Turn<T> {
    /// Whether all of x can be read in whole vectors, and is worth it: of columns below half a vector most of a square is
    /// empty. (A step of 30-1 at 512 rows takes 13 instead of 19 us.)
    pub fn suits(x: &View<T>) -> bool {
        let columns = x.columns % T::LANES;
        let end = x.rows.saturating_sub(1) * x.stride + padded::<T>(x.columns);
        x.rows >= T::LANES && 2 * (if columns == 0 { T::LANES } else { columns }) >= T::LANES && end <= x.data.len()
    }
}

impl<T: Real> Kernel<T> for Turn<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let Turn { rows, columns, from, stride, to, to_stride } = self;
        for i in starts::<T>(rows) {
            for j in starts::<T>(columns) {
                let (rows, columns) = (T::LANES.min(rows - i), T::LANES.min(columns - j));
                // SAFETY: the caller's word.
                unsafe {
                    V::turn(from.add(i * stride + j), stride, rows, to.add(j * to_stride + i), to_stride, columns);
                }
            }
        }
    }
}

pub(super) struct Forward<'a, T> {
    pub tiny: &'a Tiny,
    pub params: *const T,
    pub x: View<'a, T>,
    /// Whether x and the targets lie in the workspace already.
    pub has_rows: bool,
    /// Whether x is turned in whole vectors, which [it suits](Turn::suits).
    pub turns: bool,
    pub work: *mut T,
    pub loss: Option<Wanted<T>>,
}

/// What is asked of the loss, as the kernel reads it.
pub(super) struct Wanted<T> {
    pub loss: TinyLoss,
    pub targets: Targets<T>,
    pub scale: *const T,
    pub losses: *mut f64,
}

impl<T: Real> Forward<'_, T> {
    // Not a closure: it might be a function of its own, in the middle of a loop.
    #[inline(always)]
    fn at(&self, start: usize) -> *mut T {
        self.work.wrapping_add(start)
    }

    /// Puts x into (inputs, rows).
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn turn_x(&self) {
        let (x, stride) = (self.x, self.tiny.stride);
        let to = self.work.wrapping_add(self.tiny.stages[0].x);
        // SAFETY: the entry has checked x, and that the workspace is for as many rows.
        unsafe {
            for j in 0..x.columns {
                let to = to.add(j * stride);
                for i in 0..x.rows {
                    *to.add(i) = *x.data.as_ptr().add(i * x.stride + j);
                }
            }
        }
    }

    /// Puts the last row beyond the others: whatever comes of it, no number is infinite that is none of a real row, and infinite times
    /// the 0 that it weighs would be no number.
    ///
    /// # Safety
    /// As for `run`; x is turned, and `width` is the number of rows, padded.
    #[inline(always)]
    unsafe fn pad_x(&self, width: usize) {
        let (rows, stride) = (self.x.rows, self.tiny.stride);
        let to = self.work.wrapping_add(self.tiny.stages[0].x);
        // SAFETY: as in `turn_x`; there is a row.
        unsafe {
            for j in 0..if rows < width { self.x.columns } else { 0 } {
                let to = to.add(j * stride);
                for i in rows..width {
                    *to.add(i) = *to.add(rows - 1);
                }
            }
        }
    }

    /// Puts the targets into (outputs, rows), labels as ones among zeros.
    ///
    /// # Safety
    /// As for `run`; the targets are those of its rows, and `width` is their number, padded.
    #[inline(always)]
    unsafe fn turn_targets(&self, targets: &Targets<T>, n_out: usize, width: usize) {
        let (rows, stride) = (self.x.rows, self.tiny.stride);
        let to = self.work.wrapping_add(self.tiny.t);
        // SAFETY: as in `turn_x`; labels are below n_out.
        unsafe {
            for j in 0..n_out {
                for i in 0..width {
                    let given = if targets.dense.is_null() || i >= rows {
                        T::ZERO
                    } else {
                        *targets.dense.add(i * targets.stride + j)
                    };
                    *to.add(j * stride + i) = given;
                }
            }
            if targets.dense.is_null() {
                for i in 0..rows {
                    *to.add(*targets.labels.add(i) as usize * stride + i) = T::ONE;
                }
            }
        }
    }

    /// The numbers of a unit, or of all its rows and then others.
    ///
    /// # Safety
    /// They lie at `from`.
    #[inline(always)]
    unsafe fn rows<V: Vector<Elem = T>>(&self, from: *const T) -> V {
        // SAFETY: the caller's word.
        unsafe { if self.tiny.is_grouped() { V::repeat(from) } else { V::load(from) } }
    }

    /// Puts them there, where none of another unit is touched.
    ///
    /// # Safety
    /// The last stage has them at `to`.
    #[inline(always)]
    unsafe fn put<V: Vector<Elem = T>>(&self, rows: V, to: *mut T) {
        // SAFETY: the caller's word; the table of a single unit has room for a vector, which is read again as one.
        unsafe {
            if self.tiny.is_grouped() && self.tiny.last().stage.n_out > 1 {
                rows.store_first(to, GROUP);
            } else {
                rows.store(to);
            }
        }
    }

    /// The loss of every row and dL/da of the last stage, or dL/dz where the loss is that of a softmax, a vector of rows at a
    /// time.
    ///
    /// # Safety
    /// As for `run`; `width` is the number of rows, padded.
    #[inline(always)]
    unsafe fn finish_rows<V: Vector<Elem = T>>(&self, wanted: &Wanted<T>, width: usize) {
        let &Wanted { loss, ref targets, scale, losses } = wanted;
        let tiny = self.tiny;
        let (&Placed { ref stage, a, delta, .. }, stride, rows) = (tiny.last(), tiny.stride, self.x.rows);
        let n_out = stage.n_out;
        let (y, t, delta) = (self.at(a), self.at(tiny.t), self.at(delta));
        // SAFETY: all of these have `n_out` units of `width` numbers in the workspace.
        unsafe {
            if !self.has_rows {
                self.turn_targets(targets, n_out, width);
            }
            for r in starts::<T>(width) {
                let n = T::LANES.min(rows - r);
                let scale = V::load_up_to(scale.add(r), n);
                // Rows that are padding weigh nothing, whatever has come out of them.
                let real = V::first_lanes(n);
                let value = match loss {
                    TinyLoss::Squared => {
                        let mut value = V::zero();
                        for j in 0..n_out {
                            let i = j * stride + r;
                            let d = self.rows::<V>(y.add(i)).sub(self.rows::<V>(t.add(i)));
                            value = d.fma(d, value);
                            let d = d.add(d).mul(scale);
                            self.put::<V>(V::select(real, d, V::zero()), delta.add(i));
                        }
                        value
                    }
                    TinyLoss::SoftmaxCrossEntropy => {
                        let mut largest = self.rows::<V>(y.add(r));
                        for j in 1..n_out {
                            // The second operand where either is NaN; a NaN shows in the sum below.
                            largest = largest.max(self.rows::<V>(y.add(j * stride + r)));
                        }
                        let (mut sum, mut weight) = (V::zero(), V::zero());
                        for j in 0..n_out {
                            let i = j * stride + r;
                            let e = math::exp(self.rows::<V>(y.add(i)).sub(largest));
                            self.put::<V>(e, delta.add(i));
                            sum = sum.add(e);
                            weight = weight.add(self.rows::<V>(t.add(i)));
                        }
                        let log_sum = math::log(sum);
                        let part = weight.div(sum);
                        let mut value = V::zero();
                        for j in 0..n_out {
                            let i = j * stride + r;
                            let t = self.rows::<V>(t.add(i));
                            value = value.add(minus_log_of(t, log_sum.add(largest.sub(self.rows::<V>(y.add(i))))));
                            let d = self.rows::<V>(delta.add(i)).fms(part, t).mul(scale);
                            self.put::<V>(V::select(real, d, V::zero()), delta.add(i));
                        }
                        // Softmax of what is not finite is NaN, whether or not a target asks for it.
                        V::select(sum.not_nan(), value, sum)
                    }
                };
                for (i, value) in value.to_lanes().into_iter().enumerate().take(n) {
                    *losses.add(r + i) = value.to_f64();
                }
            }
        }
    }

    /// # Safety
    /// The entry has checked the parameters and the workspace.
    #[inline(always)]
    pub unsafe fn run<V: Vector<Elem = T>>(&self) {
        let tiny = self.tiny;
        let (stride, width) = (tiny.stride, tiny.width::<T>(self.x.rows));
        // SAFETY: the entry has checked the parameters and the workspace.
        unsafe {
            if !self.has_rows && self.turns {
                let (x, to, to_stride) = (&self.x, self.work.wrapping_add(tiny.stages[0].x), stride);
                let (rows, columns, from) = (x.rows, x.columns, x.data.as_ptr());
                run_apart(V::SET, Turn { rows, columns, from, stride: x.stride, to, to_stride });
            } else if !self.has_rows {
                self.turn_x();
            }
            if !self.has_rows {
                self.pad_x(width);
            }
            for (index, &Placed { ref stage, x, z, a, .. }) in tiny.stages.iter().enumerate() {
                let (x, z, a) = (self.at(x).cast_const(), self.at(z), self.at(a));
                let w = self.params.wrapping_add(stage.start);
                let start = if stage.use_bias { w.wrapping_add(stage.n_weights()) } else { std::ptr::null() };
                let (of_input, of_output) = stage.strides();
                let product = Product {
                    m: stage.n_out,
                    k: stage.n_in,
                    a: w,
                    a_strides: (of_output, of_input),
                    start,
                    b: x,
                    b_stride: stride,
                    c: z,
                    c_stride: stride,
                    width,
                    accumulate: false,
                };
                if tiny.is_grouped() {
                    product.run_grouped_forward::<V>();
                } else {
                    run_apart(V::SET, product);
                }
                let fused = index + 1 == tiny.stages.len()
                    && matches!(self.loss, Some(Wanted { loss: TinyLoss::SoftmaxCrossEntropy, .. }));
                if stage.activation != Activation::Identity && !fused {
                    let (n, tables) = tiny.tables(stage.n_out, width);
                    run_apart(V::SET, Units { activation: stage.activation, n, tables, stride, z, a });
                } else if z != a {
                    std::ptr::copy_nonoverlapping(z.cast_const(), a, tiny.size::<T>(stage.n_out));
                }
            }
            if let Some(wanted) = &self.loss {
                self.finish_rows::<V>(wanted, width);
            }
        }
    }
}

pub(super) struct Backward<'a, T> {
    pub tiny: &'a Tiny,
    pub params: *const T,
    pub rows: usize,
    pub work: *mut T,
    /// Whether the delta of the last stage is dL/da, and not dL/dz.
    pub last_is_da: bool,
    /// Whether the gradient is added to what is there.
    pub accumulate: bool,
    /// Whether its squares are looked at.
    pub checks: bool,
    pub gradient: *mut T,
}

impl<T: Real> Backward<'_, T> {
    #[inline(always)]
    fn at(&self, start: usize) -> *mut T {
        self.work.wrapping_add(start)
    }

    /// The gradient of the weights of these inputs of a stage, the bias being the last, at `dw`.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn weights<V: Vector<Elem = T>>(
        &self,
        stage: &Stage,
        inputs: Range<usize>,
        x: *mut T,
        delta: *const T,
        dw: *mut T,
    ) {
        let &Backward { tiny, rows, accumulate, .. } = self;
        let (n_in, n_out, stride) = (stage.n_in, stage.n_out, tiny.stride);
        // SAFETY: the caller's word; the workspace has room for deltas that are turned.
        unsafe {
            if tiny.is_grouped() {
                return self.grouped_weights::<V>(stage, inputs, x, delta, dw);
            }
            // The bias is the weight of one more input, which is 1.
            for r in starts::<T>(padded::<T>(rows)) {
                V::num(1.0).store(x.add(n_in * stride + r));
            }
            let x = x.cast_const();
            if !stage.suits_outputs::<T>(rows) {
                let (dw_strides, db, width) = (stage.strides(), dw.add(stage.n_weights()), padded::<T>(rows));
                return Sums { x, n_in, inputs, delta, n_out, stride, width, accumulate, dw, dw_strides, db }
                    .run::<V>();
            }
            let (to, to_stride) = (self.work.add(tiny.turned), padded::<T>(n_out));
            run_apart(V::SET, Turn { rows: n_out, columns: rows, from: delta, stride, to, to_stride });
            let product = Product {
                m: inputs.len(),
                k: rows,
                a: x.add(inputs.start * stride),
                a_strides: (stride, 1),
                start: std::ptr::null(),
                b: to,
                b_stride: to_stride,
                // The row of the bias follows those of the weights.
                c: dw.add(inputs.start * stage.stride),
                c_stride: stage.stride,
                width: to_stride,
                accumulate,
            };
            run_apart(V::SET, product);
        }
    }

    /// The same of rows in groups: of the weights, where the inputs begin with the first, and of the bias.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn grouped_weights<V: Vector<Elem = T>>(
        &self,
        stage: &Stage,
        inputs: Range<usize>,
        x: *const T,
        delta: *const T,
        dw: *mut T,
    ) {
        let (&Stage { n_in, n_out, stride, .. }, accumulate) = (stage, self.accumulate);
        // Rows of weights, and what is multiplied with each.
        let (rows, of_row, beside, n) = if stage.is_turned { (n_out, delta, x, n_in) } else { (n_in, x, delta, n_out) };
        // SAFETY: the caller's word.
        unsafe {
            if inputs.start == 0 {
                for i in 0..rows {
                    gradient_row(V::repeat(of_row.add(i * GROUP)), beside, n, accumulate, dw.add(i * stride));
                }
            }
            if inputs.end > n_in {
                gradient_row(V::num(1.0), delta, n_out, accumulate, dw.add(stage.n_weights()));
            }
        }
    }

    /// The first stage met whose gradient has a square that is not finite; none where nobody [looks](Backward::checks).
    ///
    /// # Safety
    /// The entry has checked the parameters, the gradient and the workspace.
    #[inline(always)]
    pub unsafe fn run<V: Vector<Elem = T>>(&self) -> Option<usize> {
        let tiny = self.tiny;
        let (stride, width) = (tiny.stride, tiny.width::<T>(self.rows));
        let mut broken = None;
        // SAFETY: the entry has checked the parameters, the gradient and the workspace.
        unsafe {
            for (index, &Placed { ref stage, x, z, a, delta }) in tiny.stages.iter().enumerate().rev() {
                let (x, delta) = (self.at(x), self.at(delta));
                if stage.activation != Activation::Identity && (index + 1 < tiny.stages.len() || self.last_is_da) {
                    let (a, z) = (self.at(a).cast_const(), self.at(z).cast_const());
                    let (n, tables) = tiny.tables(stage.n_out, width);
                    run_apart(V::SET, Slopes { activation: stage.activation, n, tables, stride, a, z, delta });
                }
                let first = if stage.learns_weights { 0 } else { stage.n_in };
                let end = stage.n_in + usize::from(stage.learns_bias && stage.use_bias);
                let dw = self.gradient.wrapping_add(stage.start);
                if first < end {
                    self.weights::<V>(stage, first..end, x, delta, dw);
                    if self.checks && broken.is_none() && !has_squares::<V>(stage, dw) {
                        broken = Some(index);
                    }
                }
                if index <= tiny.lowest {
                    break;
                }
                let product = Product {
                    m: stage.n_in,
                    k: stage.n_out,
                    a: self.params.wrapping_add(stage.start),
                    a_strides: stage.strides(),
                    start: std::ptr::null(),
                    b: delta.cast_const(),
                    b_stride: stride,
                    c: self.at(tiny.stages[index - 1].delta),
                    c_stride: stride,
                    width,
                    accumulate: false,
                };
                if tiny.is_grouped() {
                    product.run_grouped::<V>();
                } else {
                    run_apart(V::SET, product);
                }
            }
        }
        broken
    }
}

/// Whether the sum of the squares of the gradient of a stage, at `dw`, is a number of the type, or one in float64.
///
/// # Safety
/// It was written.
#[inline(always)]
pub(super) unsafe fn has_squares<V: Vector>(stage: &Stage, dw: *const V::Elem) -> bool {
    let n_weights = stage.n_weights();
    let start = if stage.learns_weights { 0 } else { n_weights };
    let bias = if stage.learns_bias && stage.use_bias { padded::<V::Elem>(stage.n_out) } else { 0 };
    // SAFETY: the caller's word.
    unsafe { has_finite_squares::<V>(dw, start, n_weights + bias) }
}

/// The same of the numbers from `start` up to `end`, whole vectors of them.
///
/// # Safety
/// They were written.
#[inline(always)]
pub(super) unsafe fn has_finite_squares<V: Vector>(g: *const V::Elem, start: usize, end: usize) -> bool {
    let mut squares = V::zero();
    for i in (Starts { next: start, ..starts::<V::Elem>(end) }) {
        // SAFETY: the caller's word.
        let g = unsafe { V::load(g.add(i)) };
        squares = g.fma(g, squares);
    }
    squares.sum_lanes().is_finite()
}

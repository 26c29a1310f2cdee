//! A block of rows through a small network, or back.
//!
//! In: parameters, rows, targets. Out: losses, and gradients in the layout of the parameters.

use super::network::{Stage, Tiny, TinyLoss};
use super::product::{Product, Slopes, Sums, Units};
use super::row::minus_log_of;
use crate::activation::Activation;
use crate::dense::View;
use crate::math;
use crate::simd::{Kernel, Starts, Vector, run_apart, starts};
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

    /// Puts x into (inputs, rows), and zeros beyond.
    ///
    /// # Safety
    /// As for `run`; `width` is the number of rows, padded.
    #[inline(always)]
    unsafe fn turn_x(&self, width: usize) {
        let (x, stride) = (self.x, self.tiny.stride);
        let to = self.work.wrapping_add(self.tiny.x);
        // SAFETY: the entry has checked x, and that the workspace is for as many rows.
        unsafe {
            for j in 0..x.columns {
                let to = to.add(j * stride);
                for i in 0..x.rows {
                    *to.add(i) = *x.data.as_ptr().add(i * x.stride + j);
                }
                for i in x.rows..width {
                    *to.add(i) = T::ZERO;
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

    /// The loss of every row and dL/da of the last stage, or dL/dz where the loss is that of a softmax, a vector of rows at a
    /// time.
    ///
    /// # Safety
    /// As for `run`; `width` is the number of rows, padded.
    #[inline(always)]
    unsafe fn finish_rows<V: Vector<Elem = T>>(&self, wanted: &Wanted<T>, width: usize) {
        let &Wanted { loss, ref targets, scale, losses } = wanted;
        let tiny = self.tiny;
        let (last, stride, rows) = (tiny.last(), tiny.stride, self.x.rows);
        let n_out = tiny.stages[last].n_out;
        let (y, t, delta) = (self.at(tiny.a[last]), self.at(tiny.t), self.at(tiny.delta[last]));
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
                            let d = V::load(y.add(i)).sub(V::load(t.add(i)));
                            value = d.fma(d, value);
                            let d = d.add(d).mul(scale);
                            V::select(real, d, V::zero()).store(delta.add(i));
                        }
                        value
                    }
                    TinyLoss::SoftmaxCrossEntropy => {
                        let mut largest = V::load(y.add(r));
                        for j in 1..n_out {
                            // The second operand where either is NaN; a NaN shows in the sum below.
                            largest = largest.max(V::load(y.add(j * stride + r)));
                        }
                        let (mut sum, mut weight) = (V::zero(), V::zero());
                        for j in 0..n_out {
                            let i = j * stride + r;
                            let e = math::exp(V::load(y.add(i)).sub(largest));
                            e.store(delta.add(i));
                            sum = sum.add(e);
                            weight = weight.add(V::load(t.add(i)));
                        }
                        let log_sum = math::log(sum);
                        let part = weight.div(sum);
                        let mut value = V::zero();
                        for j in 0..n_out {
                            let i = j * stride + r;
                            let t = V::load(t.add(i));
                            value = value.add(minus_log_of(t, log_sum.add(largest.sub(V::load(y.add(i))))));
                            let d = V::load(delta.add(i)).fms(part, t).mul(scale);
                            V::select(real, d, V::zero()).store(delta.add(i));
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
        let (stride, width) = (tiny.stride, padded::<T>(self.x.rows));
        // SAFETY: the entry has checked the parameters and the workspace.
        unsafe {
            if !self.has_rows && self.turns {
                let (x, to, to_stride) = (&self.x, self.work.wrapping_add(tiny.x), stride);
                let (rows, columns, from) = (x.rows, x.columns, x.data.as_ptr());
                run_apart(V::SET, Turn { rows, columns, from, stride: x.stride, to, to_stride });
            } else if !self.has_rows {
                self.turn_x(width);
            }
            let mut input = self.work.wrapping_add(tiny.x).cast_const();
            for (index, stage) in tiny.stages.iter().enumerate() {
                let (a, z) = (self.work.wrapping_add(tiny.a[index]), self.work.wrapping_add(tiny.z[index]));
                let w = self.params.wrapping_add(stage.start);
                let ((of_input, of_output), bias) = (stage.strides(), w.wrapping_add(stage.n_weights()));
                run_apart(
                    V::SET,
                    Product {
                        m: stage.n_out,
                        k: stage.n_in,
                        a: w,
                        a_strides: (of_output, of_input),
                        start: if stage.use_bias { bias } else { std::ptr::null() },
                        b: input,
                        b_stride: stride,
                        c: z,
                        c_stride: stride,
                        width,
                        accumulate: false,
                    },
                );
                let fused = index == tiny.last()
                    && matches!(self.loss, Some(Wanted { loss: TinyLoss::SoftmaxCrossEntropy, .. }));
                if stage.activation != Activation::Identity && !fused {
                    let (n, tables) = tiny.tables(stage.n_out, width);
                    run_apart(V::SET, Units { activation: stage.activation, n, tables, stride, z, a });
                } else if z != a {
                    std::ptr::copy_nonoverlapping(z.cast_const(), a, tiny.size::<T>(stage.n_out));
                }
                input = a;
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
        x: *const T,
        delta: *const T,
        dw: *mut T,
    ) {
        let &Backward { tiny, rows, accumulate, .. } = self;
        let (n_in, n_out, stride) = (stage.n_in, stage.n_out, tiny.stride);
        // SAFETY: the caller's word; the workspace has room for deltas that are turned.
        unsafe {
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

    /// The first stage met whose gradient has a square that is not finite; none where nobody [looks](Backward::checks).
    ///
    /// # Safety
    /// The entry has checked the parameters, the gradient and the workspace.
    #[inline(always)]
    pub unsafe fn run<V: Vector<Elem = T>>(&self) -> Option<usize> {
        let tiny = self.tiny;
        let (stride, width) = (tiny.stride, padded::<T>(self.rows));
        let mut broken = None;
        // SAFETY: the entry has checked the parameters, the gradient and the workspace.
        unsafe {
            for (index, stage) in tiny.stages.iter().enumerate().rev() {
                let delta = self.at(tiny.delta[index]);
                if stage.activation != Activation::Identity && (index < tiny.last() || self.last_is_da) {
                    let (a, z) = (self.at(tiny.a[index]).cast_const(), self.at(tiny.z[index]).cast_const());
                    let (n, tables) = tiny.tables(stage.n_out, width);
                    run_apart(V::SET, Slopes { activation: stage.activation, n, tables, stride, a, z, delta });
                }
                let (delta, input) = (delta.cast_const(), self.at(if index == 0 { tiny.x } else { tiny.a[index - 1] }));
                let first = if stage.learns_weights { 0 } else { stage.n_in };
                let end = stage.n_in + usize::from(stage.learns_bias && stage.use_bias);
                let dw = self.gradient.wrapping_add(stage.start);
                if first < end {
                    // The bias is the weight of one more input, which is 1.
                    for r in starts::<T>(width) {
                        V::num(1.0).store(input.add(stage.n_in * stride + r));
                    }
                    self.weights::<V>(stage, first..end, input, delta, dw);
                    if self.checks && broken.is_none() && !has_squares::<V>(stage, dw) {
                        broken = Some(index);
                    }
                }
                if index <= tiny.lowest {
                    break;
                }
                run_apart(
                    V::SET,
                    Product {
                        m: stage.n_in,
                        k: stage.n_out,
                        a: self.params.wrapping_add(stage.start),
                        a_strides: stage.strides(),
                        start: std::ptr::null(),
                        b: delta,
                        b_stride: stride,
                        c: self.at(tiny.delta[index - 1]),
                        c_stride: stride,
                        width,
                        accumulate: false,
                    },
                );
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

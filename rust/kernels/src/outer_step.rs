//! A step of gradient descent along the gradient of few rows, which is formed in registers and nowhere else.
//!
//! In: what the rows brought to a layer, their deltas, and its weights; perhaps the rows that come next. Out: the weights, and
//! their velocity, after the step; perhaps what the layer makes of the next rows.
//! The numbers are those of the whole gradient, a step along it, and a product with the weights after that, to the last bit. Of a
//! layer that no near cache holds, the gradient is as much to write, and to read again, as the weights; and the weights are read
//! twice in a step, once forward and once to be changed. Where it is known which rows come next, once will do.

use crate::Real;
use crate::few::Outer;
use crate::simd::{Kernel, Vector, ask_to_write, starts};
use crate::tile::KC;
use crate::update::Sgd;

/// Rows at most: with more the taller tiles of a product win more than a gradient that is not written. On one thread with
/// AVX-512 512-512-10 takes 294 instead of 375 us at 32 rows, 418 instead of 484 at 48, and at 256 would take 2540 instead of
/// 2220; with AVX2 1024-1024-10 at 64 rows 2 % longer (`steps 512-512-10x32 1 sgd`).
const MOST_ROWS: usize = 48;
/// Inputs whose weights are stepped at a time: with two vectors of outputs, or one on sets of 16 registers, as many sums as do
/// not wait for each other.
const INPUTS: usize = 4;

/// `w <- w - rate x^T delta`, or with momentum; all pointers but that of the gradient are those of [`Outer`].
pub(crate) struct OuterStep<T> {
    pub momentum: Option<f64>,
    pub rate: f64,
    /// Its gradient is not written: `dw` is that of the weights.
    pub outer: Outer<T>,
    /// Like the weights; never read without momentum.
    pub velocity: *mut T,
    /// Whether to ask for weights before they change, as other threads have read them and the caches hold them.
    pub asks_to_write: bool,
    /// Only where the step has all inputs of the layer.
    pub next: Option<Next<T>>,
}

/// Rows that come next: `z = bias + x w` of them, with the weights after the step, in the pieces of `tile.rs`. Bias, z and piece
/// begin at the first output of the step, and reach as far, padded.
#[derive(Clone, Copy)]
pub(crate) struct Next<T> {
    pub rows: usize,
    pub x: *const T,
    pub x_stride: usize,
    /// Null is zero.
    pub bias: *const T,
    pub z: *mut T,
    pub z_stride: usize,
    /// Room for the sums of a piece, like z; never used up to [`KC`] inputs.
    pub piece: *mut T,
}

impl<T: Real> Kernel<T> for OuterStep<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let (mut i, n_in) = (0, self.outer.n_in);
        // SAFETY: the caller's word.
        unsafe {
            while i < n_in {
                let (first, end) = (i, if self.next.is_some() { n_in.min(i + KC) } else { n_in });
                let mut next = self.next;
                if let Some(next) = &mut next {
                    next.begin::<V>(first, self.outer.width());
                }
                // One tile is enough code where it is all calls.
                while !V::CALLS && i + INPUTS <= end {
                    self.inputs::<V, INPUTS>(i, next);
                    i += INPUTS;
                }
                while i < end {
                    self.inputs::<V, 1>(i, next);
                    i += 1;
                }
                if let Some(next) = self.next {
                    next.end::<V>(first, self.outer.width());
                }
            }
        }
    }
}

impl<T: Real> OuterStep<T> {
    /// Whether this is the way for so many rows.
    pub(crate) fn suits(rows: usize) -> bool {
        rows <= MOST_ROWS
    }

    /// The weights of `MI` inputs from i on.
    ///
    /// # Safety
    /// The pointers reach as far as the shapes and strides say; there are so many inputs.
    #[inline(always)]
    unsafe fn inputs<V: Vector<Elem = T>, const MI: usize>(&self, i: usize, next: Option<Next<T>>) {
        let (mut j, width) = (0, self.outer.width());
        // SAFETY: the caller's word.
        unsafe {
            while V::TILE_VECTORS > 1 && MI > 1 && j + 2 * T::LANES <= width {
                self.tile::<V, MI, 2>(i, j, next);
                j += 2 * T::LANES;
            }
            while j < width {
                self.tile::<V, MI, 1>(i, j, next);
                j += T::LANES;
            }
        }
    }

    /// Of those, `NV` vectors of outputs from j on.
    ///
    /// # Safety
    /// As for `inputs`; there are so many.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "m and v are the input and the vector, in two arrays at once")]
    unsafe fn tile<V: Vector<Elem = T>, const MI: usize, const NV: usize>(
        &self,
        i: usize,
        j: usize,
        next: Option<Next<T>>,
    ) {
        let Outer { rows, x, x_stride, delta, delta_stride, dw: w, dw_stride: stride, .. } = self.outer;
        let (rule, rate) = (self.momentum.map_or(Sgd::Plain, Sgd::Momentum), V::num(self.rate));
        let mut g = [[V::zero(); NV]; MI];
        let (mut x, mut delta) = (x.wrapping_add(i), delta.wrapping_add(j));
        // SAFETY: rows, inputs and padded outputs exist.
        unsafe {
            // Those of the inputs that come next, if there are as many.
            if self.asks_to_write && MI > 1 && i + 2 * MI <= self.outer.n_in {
                for m in 0..MI {
                    for v in 0..NV {
                        ask_to_write(w.add((i + MI + m) * stride + j + v * T::LANES));
                    }
                }
            }
            for _ in 0..rows {
                let mut d = [V::zero(); NV];
                for v in 0..NV {
                    d[v] = V::load(delta.add(v * T::LANES));
                }
                for m in 0..MI {
                    let of_input = V::splat(*x.add(m));
                    for v in 0..NV {
                        g[m][v] = of_input.fma(d[v], g[m][v]);
                    }
                }
                (x, delta) = (x.wrapping_add(x_stride), delta.wrapping_add(delta_stride));
            }
            for m in 0..MI {
                for v in 0..NV {
                    let at = (i + m) * stride + j + v * T::LANES;
                    rule.step(rate, g[m][v], w.add(at), self.velocity.wrapping_add(at), T::LANES);
                }
            }
            if let Some(next) = next {
                next.add::<V, MI, NV>(i, j, w.add(i * stride + j), stride);
            }
        }
    }
}

// SAFETY: strips of it write columns of z and piece that are apart from each other, and only read the rest.
unsafe impl<T> Sync for Next<T> {}

impl<T: Real> Next<T> {
    /// The same for a strip that begins at this output.
    pub(crate) fn beginning_at(self, column: usize) -> Next<T> {
        let bias = if self.bias.is_null() { self.bias } else { self.bias.wrapping_add(column) };
        Next { bias, z: self.z.wrapping_add(column), piece: self.piece.wrapping_add(column), ..self }
    }

    /// Sets the sums of a piece to what they start with, and z to where they are.
    ///
    /// # Safety
    /// z and piece have so many outputs in each row, and so many has the bias; x has all the inputs.
    #[inline(always)]
    unsafe fn begin<V: Vector<Elem = T>>(&mut self, first: usize, width: usize) {
        let has_bias = first == 0 && !self.bias.is_null();
        self.z = if first == 0 { self.z } else { self.piece };
        for r in 0..self.rows {
            for j in starts::<T>(width) {
                // SAFETY: the caller's word.
                unsafe {
                    let start = if has_bias { V::load(self.bias.add(j)) } else { V::zero() };
                    start.store(self.z.add(r * self.z_stride + j));
                }
            }
        }
    }

    /// Adds up the products with the weights at w of `MI` inputs, from i on, and `NV` vectors of outputs, from j on.
    ///
    /// # Safety
    /// As for `begin`; they are among the inputs and outputs.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "m and v are the input and the vector, in two arrays at once")]
    unsafe fn add<V: Vector<Elem = T>, const MI: usize, const NV: usize>(
        self,
        i: usize,
        j: usize,
        w: *const T,
        stride: usize,
    ) {
        // SAFETY: the caller's word.
        unsafe {
            for r in 0..self.rows {
                let (x, z) = (self.x.add(r * self.x_stride + i), self.z.add(r * self.z_stride + j));
                let mut sum = [V::zero(); NV];
                for v in 0..NV {
                    sum[v] = V::load(z.add(v * T::LANES));
                }
                for m in 0..MI {
                    let of_input = V::splat(*x.add(m));
                    for v in 0..NV {
                        sum[v] = of_input.fma(V::load(w.add(m * stride + v * T::LANES)), sum[v]);
                    }
                }
                for v in 0..NV {
                    sum[v].store(z.add(v * T::LANES));
                }
            }
        }
    }

    /// Adds a piece, whose sums are complete, to those before it.
    ///
    /// # Safety
    /// As for `begin`.
    #[inline(always)]
    unsafe fn end<V: Vector<Elem = T>>(self, first: usize, width: usize) {
        if first == 0 {
            return;
        }
        for r in 0..self.rows {
            for j in starts::<T>(width) {
                let at = r * self.z_stride + j;
                // SAFETY: the caller's word.
                unsafe { V::load(self.z.add(at)).add(V::load(self.piece.add(at))).store(self.z.add(at)) }
            }
        }
    }
}

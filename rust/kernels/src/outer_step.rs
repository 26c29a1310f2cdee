//! A step of gradient descent along the gradient of few rows, which is formed in registers and nowhere else.
//!
//! In: what the rows brought to a layer, their deltas, and its weights. Out: the weights, and their velocity, after the step.
//! The numbers are those of the whole gradient and a step along it, to the last bit. Of a layer that no near cache holds, the
//! gradient is as much to write, and to read again, as the weights.

use crate::Real;
use crate::few::Outer;
use crate::simd::{Kernel, Vector};
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
}

impl<T: Real> Kernel<T> for OuterStep<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let mut i = 0;
        // SAFETY: the caller's word.
        unsafe {
            // One tile is enough code where it is all calls.
            while !V::CALLS && i + INPUTS <= self.outer.n_in {
                self.inputs::<V, INPUTS>(i);
                i += INPUTS;
            }
            while i < self.outer.n_in {
                self.inputs::<V, 1>(i);
                i += 1;
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
    unsafe fn inputs<V: Vector<Elem = T>, const MI: usize>(&self, i: usize) {
        let (mut j, width) = (0, self.outer.width());
        // SAFETY: the caller's word.
        unsafe {
            while V::TILE_VECTORS > 1 && MI > 1 && j + 2 * T::LANES <= width {
                self.tile::<V, MI, 2>(i, j);
                j += 2 * T::LANES;
            }
            while j < width {
                self.tile::<V, MI, 1>(i, j);
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
    unsafe fn tile<V: Vector<Elem = T>, const MI: usize, const NV: usize>(&self, i: usize, j: usize) {
        let Outer { rows, x, x_stride, delta, delta_stride, dw: w, dw_stride: stride, .. } = self.outer;
        let (rule, rate) = (self.momentum.map_or(Sgd::Plain, Sgd::Momentum), V::num(self.rate));
        let mut g = [[V::zero(); NV]; MI];
        let (mut x, mut delta) = (x.wrapping_add(i), delta.wrapping_add(j));
        // SAFETY: rows, inputs and padded outputs exist.
        unsafe {
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
        }
    }
}

//! A step of gradient descent along the gradient of very few rows, which is formed in registers and nowhere else.
//!
//! In: what the rows brought to a layer, their deltas, and its weights. Out: the weights, and their velocity, after the step.
//! The numbers are those of [`Outer`] and a step along it, to the last bit. Of a layer that no near cache holds, the gradient
//! is as much to write, and to read again, as the weights.

use crate::Real;
use crate::few::Outer;
use crate::simd::{Kernel, Vector};
use crate::update::Sgd;

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
        // SAFETY: the caller's word.
        unsafe { if self.outer.rows == 1 { self.of_rows::<V, 1>() } else { self.of_rows::<V, 4>() } }
    }
}

impl<T: Real> OuterStep<T> {
    /// Whether this is the way for so many rows: each number is code of its own.
    pub(crate) fn suits(rows: usize) -> bool {
        matches!(rows, 1 | 4)
    }

    /// # Safety
    /// The pointers reach as far as the shapes and strides say; there are `K` rows.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "k is the row, of x and of delta")]
    unsafe fn of_rows<V: Vector<Elem = T>, const K: usize>(&self) {
        let Outer { n_in, x, x_stride, delta, delta_stride, dw: w, dw_stride: stride, .. } = self.outer;
        let (rule, rate) = (self.momentum.map_or(Sgd::Plain, Sgd::Momentum), V::num(self.rate));
        for i in 0..n_in {
            let mut of_input = [V::zero(); K];
            // SAFETY: rows, inputs and padded outputs exist.
            unsafe {
                for k in 0..K {
                    of_input[k] = V::splat(*x.add(k * x_stride + i));
                }
                for j in (0..self.outer.width()).step_by(T::LANES) {
                    let mut g = V::zero();
                    for k in 0..K {
                        g = of_input[k].fma(V::load(delta.add(k * delta_stride + j)), g);
                    }
                    let (w, v) = (w.add(i * stride + j), self.velocity.wrapping_add(i * stride + j));
                    rule.step(rate, g, w, v, T::LANES);
                }
            }
        }
    }
}

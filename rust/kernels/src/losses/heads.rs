//! Losses that ask for several outputs for each target: the heads.
//!
//! In: outputs (rows, heads x m), the first head of all m targets first, targets (rows, m), a scale for each row.
//! Out: a loss per row, in `f64`, and its derivative for each output.

use crate::Real;
use crate::buffer::padded;
use crate::dense::{View, ViewMut};
use crate::isa::Isa;
use crate::math;
use crate::simd::{Kernel, Vector, run};

/// A loss with several outputs for each target t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeadLoss<'a> {
    /// A head y for each of these q: the sum of max(q (t - y), (q - 1)(t - y)), with derivative 0 at 0.
    Quantiles(&'a [f64]),
    /// Two heads, the mean y and the logarithm s of the variance v = e^s:
    /// (max(s, ln epsilon) + (t - y)^2/max(v, epsilon))/2, whose derivative for v is not held up by the maximum.
    Gaussian {
        /// Positive.
        epsilon: f64,
    },
}

impl HeadLoss<'_> {
    /// Outputs for each target.
    pub fn heads(self) -> usize {
        match self {
            HeadLoss::Quantiles(q) => q.len(),
            HeadLoss::Gaussian { .. } => 2,
        }
    }
}

struct HeadLosses<'a, T> {
    loss: HeadLoss<'a>,
    rows: usize,
    m: usize,
    y: *const T,
    y_stride: usize,
    t: *const T,
    t_stride: usize,
    scale: *const T,
    gradient: *mut T,
    gradient_stride: usize,
    losses: *mut f64,
}

/// Value and slope of a quantile.
#[inline(always)]
fn quantile<V: Vector>(q: f64, y: V, t: V) -> (V, V) {
    let (zero, r) = (V::zero(), t.sub(y));
    let q_of_r = V::select(r.lt(zero), V::num(q - 1.0), V::num(q));
    // 0 at 0, and NaN where r is.
    let slope = V::select(r.abs().le(zero), zero, q_of_r.neg());
    (q_of_r.mul(r), V::select(r.not_nan(), slope, r))
}

/// Value, slope for y and slope for s of the Gaussian.
#[inline(always)]
fn gaussian<V: Vector>(epsilon: f64, y: V, s: V, t: V) -> (V, V, V) {
    let half = V::num(0.5);
    let floored = V::num(epsilon.ln()).max(s);
    let inverse = math::exp(floored.neg());
    let r = y.sub(t);
    let error = r.mul(r).mul(inverse);
    // v/max(v, epsilon), 1 where the maximum is v
    let held = math::exp(s.sub(floored));
    (half.mul(floored.add(error)), r.mul(inverse), half.mul(V::num(1.0).sub(error)).mul(held))
}

impl<T: Real> Kernel<T> for HeadLosses<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let m = self.m;
        let n = m * self.loss.heads();
        for i in 0..self.rows {
            // SAFETY: the caller vouches for the rows; those of `gradient` are padded.
            unsafe {
                let (y, t) = (self.y.add(i * self.y_stride), self.t.add(i * self.t_stride));
                let gradient = self.gradient.add(i * self.gradient_stride);
                let scale = V::splat(*self.scale.add(i));
                let mut loss = V::zero();
                for j in (0..m).step_by(T::LANES) {
                    let width = T::LANES.min(m - j);
                    let inside = V::first_lanes(width);
                    let target = V::load_up_to(t.add(j), width);
                    match self.loss {
                        HeadLoss::Quantiles(q) => {
                            for (head, &q) in q.iter().enumerate() {
                                let at = head * m + j;
                                let (value, slope) = quantile(q, V::load_up_to(y.add(at), width), target);
                                loss = loss.add(V::select(inside, value, V::zero()));
                                slope.mul(scale).store_up_to(gradient.add(at), width);
                            }
                        }
                        HeadLoss::Gaussian { epsilon } => {
                            let s = V::load_up_to(y.add(m + j), width);
                            let (value, dy, ds) = gaussian(epsilon, V::load_up_to(y.add(j), width), s, target);
                            loss = loss.add(V::select(inside, value, V::zero()));
                            dy.mul(scale).store_up_to(gradient.add(j), width);
                            ds.mul(scale).store_up_to(gradient.add(m + j), width);
                        }
                    }
                }
                *self.losses.add(i) = loss.sum_lanes();
                for j in n..padded::<T>(n) {
                    *gradient.add(j) = T::ZERO;
                }
            }
        }
    }
}

/// The loss of each row, summed over its targets and heads, and its gradient: `gradient = dl/dy scale`.
///
/// # Shapes
/// y is (rows, heads x m), t is (rows, m), scale and losses are (rows), gradient is like y and padded; its padding
/// becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn head_loss<T: Real>(
    isa: Isa,
    loss: HeadLoss,
    y: View<T>,
    t: View<T>,
    scale: &[T],
    gradient: ViewMut<T>,
    losses: &mut [f64],
) {
    let (rows, n, m) = (y.rows, y.columns, t.columns);
    y.check(n);
    t.check(m);
    gradient.check(padded::<T>(n));
    assert_eq!((t.rows, m * loss.heads()), (rows, n), "shapes of y and t");
    assert_eq!((gradient.rows, gradient.columns), (rows, n), "shapes of y and gradient");
    assert!(scale.len() == rows && losses.len() == rows, "a scale and a loss for each row");
    let kernel = HeadLosses {
        loss,
        rows,
        m,
        y: y.data.as_ptr(),
        y_stride: y.stride,
        t: t.data.as_ptr(),
        t_stride: t.stride,
        scale: scale.as_ptr(),
        gradient: gradient.data.as_mut_ptr(),
        gradient_stride: gradient.stride,
        losses: losses.as_mut_ptr(),
    };
    // SAFETY: shapes and lengths were checked above.
    unsafe { run(isa, kernel) }
}

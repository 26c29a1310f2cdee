//! Losses over the classes of a softmax, from z, beside the cross entropy that has a kernel of its own.
//!
//! In: z, probabilities or labels, and a scale for each row. Out: a loss per row, in `f64`, and dL/dz.
//! A loss is a sum over the classes of some h(t, y). With s = y dh/dy of each class, dL/dz = s - y sum s.

use crate::Real;
use crate::buffer::padded;
use crate::dense::{View, ViewMut};
use crate::isa::Isa;
use crate::math;
use crate::simd::{Kernel, Vector, run};
use crate::softmax::{Target, Targets, row_exp, row_max};

/// A loss over the classes: y are the probabilities of softmax, t those there should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClassLoss {
    /// -((1 - smoothing) t + smoothing/n) ln y, with n classes
    Smoothed {
        /// From 0 to 1.
        smoothing: f64,
    },
    /// -t (1 - y)^gamma ln y (Lin et al., 2017)
    Focal {
        /// Positive.
        gamma: f64,
    },
    /// t ln(t/y)
    Divergence,
}

/// h(t, y) and y dh/dy, given t, y and -ln y.
trait Class: Copy {
    fn value_and_share<V: Vector>(self, t: V, y: V, minus_log: V) -> (V, V);
}

/// t -ln y; 0 where t is 0, also where y is so small that its logarithm overflows.
#[inline(always)]
fn entropy<V: Vector>(t: V, minus_log: V) -> V {
    V::select(t.abs().le(V::zero()), V::zero(), t.mul(minus_log))
}

#[derive(Clone, Copy)]
struct Smoothed {
    keep: f64,
    share: f64,
}
impl Class for Smoothed {
    #[inline(always)]
    fn value_and_share<V: Vector>(self, t: V, _y: V, minus_log: V) -> (V, V) {
        let t = t.fma(V::num(self.keep), V::num(self.share));
        (entropy(t, minus_log), t.neg())
    }
}

#[derive(Clone, Copy)]
struct Focal(f64);
impl Class for Focal {
    #[inline(always)]
    fn value_and_share<V: Vector>(self, t: V, y: V, minus_log: V) -> (V, V) {
        let (zero, one) = (V::zero(), V::num(1.0));
        // 1 - y with all its digits.
        let rest = math::expm1(minus_log.neg()).neg();
        let power = math::exp(V::num(self.0).mul(math::log(rest)));
        // y ln y/(1 - y), which is -1 at y = 1 and 0 at y = 0
        let ratio = V::select(rest.le(zero), one, minus_log.div(rest)).neg();
        let ratio = V::select(y.le(zero), zero, y.mul(ratio));
        let weight = t.mul(power);
        (entropy(weight, minus_log), weight.mul(V::num(self.0).fms(ratio, one)))
    }
}

#[derive(Clone, Copy)]
struct Divergence;
impl Class for Divergence {
    #[inline(always)]
    fn value_and_share<V: Vector>(self, t: V, _y: V, minus_log: V) -> (V, V) {
        let of_t = entropy(t, math::log(t).neg());
        (entropy(t, minus_log).sub(of_t), t.neg())
    }
}

struct ClassLosses<T, C> {
    class: C,
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

impl<T: Real, C: Class> Kernel<T> for ClassLosses<T, C> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let lowest = T::from_f64(f64::NEG_INFINITY);
        for i in 0..self.rows {
            // SAFETY: the caller vouches for the rows, and for labels below n; those of delta are padded.
            unsafe {
                let (z, delta) = (self.z.add(i * self.z_stride), self.delta.add(i * self.delta_stride));
                let largest = row_max::<V>(z, self.n);
                let sum = row_exp::<V>(z, self.n, largest, delta);
                let (from, sum) = (V::splat(largest), V::splat(sum));
                let log_sum = math::log(sum);
                let (mut loss, mut total) = (V::zero(), V::zero());
                for j in (0..self.n).step_by(T::LANES) {
                    let width = T::LANES.min(self.n - j);
                    let inside = V::first_lanes(width);
                    let t = self.targets.load::<V>(i, j, width);
                    let y = V::load(delta.add(j)).div(sum);
                    let minus_log = log_sum.add(from.sub(V::load_first(z.add(j), width, largest)));
                    let (value, share) = self.class.value_and_share(t, y, minus_log);
                    let share = V::select(inside, share, V::zero());
                    loss = loss.add(V::select(inside, value, V::zero()));
                    total = total.add(share);
                    share.store(delta.add(j));
                }
                *self.losses.add(i) = loss.sum_lanes();
                let (total, scale) = (V::num(total.sum_lanes()), V::splat(*self.scale.add(i)));
                for j in (0..self.n).step_by(T::LANES) {
                    let width = T::LANES.min(self.n - j);
                    let y = math::exp(V::load_first(z.add(j), width, lowest).sub(from)).div(sum);
                    let slope = y.fnma(total, V::load(delta.add(j))).mul(scale);
                    V::select(V::first_lanes(width), slope, V::zero()).store(delta.add(j));
                }
            }
        }
    }
}

/// Softmax and a loss over its classes in one: from z, the loss of each row and `delta = dl/dz scale`.
///
/// # Shapes
/// z is (rows, n), the targets are (rows, n) or labels (rows), scale and losses are (rows), delta is (rows, n) and padded.
///
/// # Panics
/// When the shapes do not fit each other or their data, or a label is not below n.
pub fn class_loss<T: Real>(
    isa: Isa,
    loss: ClassLoss,
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
    let (z_stride, delta_stride) = (z.stride, delta.stride);
    let targets = Targets::new(target, rows, n);
    let (z, scale) = (z.data.as_ptr(), scale.as_ptr());
    let (delta, losses) = (delta.data.as_mut_ptr(), losses.as_mut_ptr());
    macro_rules! with {
        ($class:expr) => {{
            let class = $class;
            let kernel = ClassLosses { class, rows, n, z, z_stride, targets, scale, delta, delta_stride, losses };
            // SAFETY: shapes and lengths were checked above.
            unsafe { run(isa, kernel) }
        }};
    }
    match loss {
        ClassLoss::Smoothed { smoothing } => {
            with!(Smoothed { keep: 1.0 - smoothing, share: smoothing / n as f64 })
        }
        ClassLoss::Focal { gamma } => with!(Focal(gamma)),
        ClassLoss::Divergence => with!(Divergence),
    }
}

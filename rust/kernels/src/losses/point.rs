//! Losses that are sums over single outputs.
//!
//! In: outputs (or z), targets of the same shape, and a scale for each row. Out: a loss per row, in `f64`, and its
//! derivative for each output. The value and the derivative of each loss stand side by side.

use crate::Real;
use crate::buffer::padded;
use crate::dense::{View, ViewMut};
use crate::isa::Isa;
use crate::math::{self, Coefficients};
use crate::simd::{Kernel, Vector, run};

/// A loss that is a sum over single outputs: y is what came out, t what should have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PointLoss {
    /// (y - t)^2
    Squared,
    /// |y - t|, with derivative 0 at 0
    Absolute,
    /// (y - t)^2 / 2 up to delta, then delta (|y - t| - delta / 2)
    Huber {
        /// Where the parabola becomes a line; positive.
        delta: f64,
    },
    /// max(0, 1 - t y)
    Hinge,
    /// max(0, 1 - t y)^2
    SquaredHinge,
    /// -t ln f(z) - (1 - t) ln(1 - f(z)) with the sigmoid f, from z, stable at any z
    SigmoidCrossEntropy,
    /// The same times u^gamma, with u the probability of the other answer: t (1 - f) + (1 - t) f (Lin et al., 2017)
    SigmoidFocal {
        /// Positive.
        gamma: f64,
    },
    /// ln cosh(y - t)
    LogCosh,
    /// y - t ln(y + epsilon)
    Poisson {
        /// Not negative.
        epsilon: f64,
    },
    /// The same for y = e^z, from z: e^z - t z
    PoissonOfLog,
    /// ln y + t/y
    Gamma,
    /// The same for y = e^z, from z: z + t e^-z
    GammaOfLog,
    /// y^(2-p)/(2-p) - t y^(1-p)/(1-p)
    Tweedie {
        /// Neither 1 nor 2.
        p: f64,
    },
    /// The same for y = e^z, from z.
    TweedieOfLog {
        /// Neither 1 nor 2.
        p: f64,
    },
    /// (ln(1 + y) - ln(1 + t))^2
    SquaredLog,
    /// 100 |y - t|/|t|, with derivative 0 at 0
    Percentage,
}

/// The value and the derivative of a [`PointLoss`], side by side.
trait Point: Copy {
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V);
}

#[derive(Clone, Copy)]
struct Squared;
impl Point for Squared {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let r = y.sub(t);
        (r.mul(r), r.add(r))
    }
}

#[derive(Clone, Copy)]
struct Absolute;
impl Point for Absolute {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let r = y.sub(t);
        let sign = V::select(r.abs().le(V::zero()), V::zero(), V::num(1.0).with_sign_of(r));
        (r.abs(), V::select(r.not_nan(), sign, r))
    }
}

#[derive(Clone, Copy)]
struct Huber(f64);
impl Point for Huber {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let (r, delta) = (y.sub(t), V::num(self.0));
        let size = r.abs();
        let line = delta.mul(size.sub(V::num(self.0 / 2.0)));
        let beyond = delta.lt(size);
        let value = V::select(beyond, line, V::num(0.5).mul(r.mul(r)));
        (value, V::select(beyond, delta.with_sign_of(r), r))
    }
}

#[derive(Clone, Copy)]
struct Hinge;
impl Point for Hinge {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let margin = t.fnma(y, V::num(1.0));
        let slope = V::select(margin.le(V::zero()), V::zero(), t.neg());
        (V::zero().max(margin), V::select(margin.not_nan(), slope, margin))
    }
}

#[derive(Clone, Copy)]
struct SquaredHinge;
impl Point for SquaredHinge {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let margin = V::zero().max(t.fnma(y, V::num(1.0)));
        (margin.mul(margin), V::num(-2.0).mul(t).mul(margin))
    }
}

#[derive(Clone, Copy)]
struct SigmoidCrossEntropy;
impl Point for SigmoidCrossEntropy {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        // ln(1 + e^z) - t z, written so that nothing cancels at large |z|: z > 0 takes (1 - t) z + ln(1 + e^-z).
        let positive = V::zero().lt(y);
        let rest = math::softplus(y.abs().neg());
        let linear = V::select(positive, V::num(1.0).sub(t).mul(y), t.neg().mul(y));
        (rest.add(linear), math::sigmoid(y).sub(t))
    }
}

#[derive(Clone, Copy)]
struct SigmoidFocal(f64);
impl Point for SigmoidFocal {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, z: V, t: V) -> (V, V) {
        let (zero, one) = (V::zero(), V::num(1.0));
        let (cross_entropy, _) = SigmoidCrossEntropy.value_and_slope(z, t);
        let (yes, no) = (math::sigmoid(z), math::sigmoid(z.neg()));
        let not_t = one.sub(t);
        let u = t.fma(no, not_t.mul(yes));
        let power = math::exp(V::num(self.0).mul(math::log(u)));
        // d/dz: u' = (1 - 2t) yes no. Nothing is left of the power where u is 0.
        let u_slope = not_t.sub(t).mul(yes.mul(no));
        let of_power = V::select(u.le(zero), zero, V::num(self.0).mul(u_slope.div(u)).mul(cross_entropy));
        // (1 - t) yes - t no is yes - t with all its digits.
        let of_entropy = t.fnma(no, not_t.mul(yes));
        (power.mul(cross_entropy), power.mul(of_entropy.add(of_power)))
    }
}

#[derive(Clone, Copy)]
struct LogCosh;
impl Point for LogCosh {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let r = y.sub(t);
        let (size, tanh) = (r.abs(), math::tanh(r));
        // -ln(1 - tanh^2)/2 where r is small, |r| - ln 2 + ln(1 + e^-2|r|) where it is not: neither cancels there.
        let small = size.lt(V::num(0.5));
        let log = math::log1p(V::select(small, tanh.mul(tanh).neg(), math::exp(V::num(-2.0).mul(size))));
        let large = size.sub(V::num(std::f64::consts::LN_2).sub(log));
        (V::select(small, V::num(-0.5).mul(log), large), tanh)
    }
}

#[derive(Clone, Copy)]
struct Poisson(f64);
impl Point for Poisson {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let rate = y.add(V::num(self.0));
        (t.fnma(math::log(rate), y), V::num(1.0).sub(t.div(rate)))
    }
}

#[derive(Clone, Copy)]
struct PoissonOfLog;
impl Point for PoissonOfLog {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, z: V, t: V) -> (V, V) {
        let y = math::exp(z);
        (t.fnma(z, y), y.sub(t))
    }
}

/// y, but a number whose inverse is one.
#[inline(always)]
fn invertible<V: Vector>(y: V) -> V {
    // In this order of the operands NaN stays.
    V::splat(V::Elem::SMALLEST_NORMAL).max(y)
}

#[derive(Clone, Copy)]
struct Gamma;
impl Point for Gamma {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let y = invertible(y);
        let inverse = V::num(1.0).div(y);
        let ratio = t.mul(inverse);
        (math::log(y).add(ratio), V::num(1.0).sub(ratio).mul(inverse))
    }
}

#[derive(Clone, Copy)]
struct GammaOfLog;
impl Point for GammaOfLog {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, z: V, t: V) -> (V, V) {
        let ratio = t.mul(math::exp(z.neg()));
        (z.add(ratio), V::num(1.0).sub(ratio))
    }
}

#[derive(Clone, Copy)]
struct Tweedie(f64);
impl Point for Tweedie {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let (one, two) = (V::num(1.0 - self.0), V::num(2.0 - self.0));
        let y = invertible(y);
        let power = math::exp(one.mul(math::log(y))); // y^(1-p)
        let value = y.mul(power).div(two).sub(t.mul(power).div(one));
        (value, power.mul(V::num(1.0).sub(t.div(y))))
    }
}

#[derive(Clone, Copy)]
struct TweedieOfLog(f64);
impl Point for TweedieOfLog {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, z: V, t: V) -> (V, V) {
        let (one, two) = (V::num(1.0 - self.0), V::num(2.0 - self.0));
        let of_y = math::exp(two.mul(z));
        // A target of 0 takes nothing, also where the power overflows.
        let of_t = V::select(t.abs().le(V::zero()), V::zero(), t.mul(math::exp(one.mul(z))));
        (of_y.div(two).sub(of_t.div(one)), of_y.sub(of_t))
    }
}

#[derive(Clone, Copy)]
struct SquaredLog;
impl Point for SquaredLog {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let r = math::log1p(y).sub(math::log1p(t));
        (r.mul(r), r.add(r).div(V::num(1.0).add(y)))
    }
}

#[derive(Clone, Copy)]
struct Percentage;
impl Point for Percentage {
    #[inline(always)]
    fn value_and_slope<V: Vector>(self, y: V, t: V) -> (V, V) {
        let (size, sign) = Absolute.value_and_slope(y, t);
        let percent = V::num(100.0).div(t.abs());
        (size.mul(percent), sign.mul(percent))
    }
}

struct PointLosses<T, P> {
    point: P,
    rows: usize,
    n: usize,
    y: *const T,
    y_stride: usize,
    t: *const T,
    t_stride: usize,
    scale: *const T,
    gradient: *mut T,
    gradient_stride: usize,
    losses: *mut f64,
}

impl<T: Real, P: Point> Kernel<T> for PointLosses<T, P> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for i in 0..self.rows {
            // SAFETY: the caller vouches for the rows; those of `gradient` are padded.
            unsafe {
                let (y, t) = (self.y.add(i * self.y_stride), self.t.add(i * self.t_stride));
                let gradient = self.gradient.add(i * self.gradient_stride);
                let scale = V::splat(*self.scale.add(i));
                let mut loss = V::zero();
                for j in (0..self.n).step_by(T::LANES) {
                    let width = T::LANES.min(self.n - j);
                    let (y, t) = (V::load_up_to(y.add(j), width), V::load_up_to(t.add(j), width));
                    let (mut value, slope) = self.point.value_and_slope(y, t);
                    let mut slope = slope.mul(scale);
                    if width < T::LANES {
                        let inside = V::first_lanes(width);
                        value = V::select(inside, value, V::zero());
                        slope = V::select(inside, slope, V::zero());
                    }
                    loss = loss.add(value);
                    slope.store(gradient.add(j));
                }
                *self.losses.add(i) = loss.sum_lanes();
            }
        }
    }
}

/// The loss of each row, summed over its outputs, and its gradient: `gradient = dl/dy scale`.
///
/// For the losses that are found from z, y is z, and the gradient is dl/dz.
///
/// # Shapes
/// y and t are (rows, n), scale and losses are (rows), gradient is (rows, n) and padded; its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn point_loss<T: Real>(
    isa: Isa,
    loss: PointLoss,
    y: View<T>,
    t: View<T>,
    scale: &[T],
    gradient: ViewMut<T>,
    losses: &mut [f64],
) {
    let (rows, n) = (y.rows, y.columns);
    y.check(n);
    t.check(n);
    gradient.check(padded::<T>(n));
    assert_eq!((t.rows, t.columns, gradient.rows, gradient.columns), (rows, n, rows, n), "shapes of y, t and gradient");
    assert!(scale.len() == rows && losses.len() == rows, "a scale and a loss for each row");
    let (y_stride, t_stride, gradient_stride) = (y.stride, t.stride, gradient.stride);
    let (y, t, scale) = (y.data.as_ptr(), t.data.as_ptr(), scale.as_ptr());
    let (gradient, losses) = (gradient.data.as_mut_ptr(), losses.as_mut_ptr());
    macro_rules! with {
        ($point:expr) => {{
            let point = $point;
            let kernel =
                PointLosses { point, rows, n, y, y_stride, t, t_stride, scale, gradient, gradient_stride, losses };
            // SAFETY: shapes and lengths were checked above.
            unsafe { run(isa, kernel) }
        }};
    }
    match loss {
        PointLoss::Squared => with!(Squared),
        PointLoss::Absolute => with!(Absolute),
        PointLoss::Huber { delta } => with!(Huber(delta)),
        PointLoss::Hinge => with!(Hinge),
        PointLoss::SquaredHinge => with!(SquaredHinge),
        PointLoss::SigmoidCrossEntropy => with!(SigmoidCrossEntropy),
        PointLoss::SigmoidFocal { gamma } => with!(SigmoidFocal(gamma)),
        PointLoss::LogCosh => with!(LogCosh),
        PointLoss::Poisson { epsilon } => with!(Poisson(epsilon)),
        PointLoss::PoissonOfLog => with!(PoissonOfLog),
        PointLoss::Gamma => with!(Gamma),
        PointLoss::GammaOfLog => with!(GammaOfLog),
        PointLoss::Tweedie { p } => with!(Tweedie(p)),
        PointLoss::TweedieOfLog { p } => with!(TweedieOfLog(p)),
        PointLoss::SquaredLog => with!(SquaredLog),
        PointLoss::Percentage => with!(Percentage),
    }
}

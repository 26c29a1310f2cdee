//! The steps of the optimizers beside SGD and Adam: one element of each memory, p and g in, the same after the step out.
//!
//! In: the constants of one step, worked out by the caller for its number and rate. Each `step` is the formula of its
//! owner, which `python/dnn/_optimizers.py` and `_adam_family.py` name; the same vectors run on every set, so the bits are the same.

use super::{Adam, forgotten};
use crate::Real;
use crate::simd::Vector;

/// One step of an optimizer, with its constants. The memories are named in the order in which [`super::step`] has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// p shrinks, then Adam: m, v and, for AMSGrad, the largest v.
    AdamW(AdamW),
    /// Divided by the root of mean squares: v, the velocity where there is momentum, the mean where it is centered.
    RmsProp(RmsProp),
    /// Divided by the root of the sum of all squares: the sum.
    Adagrad(Adagrad),
    /// Steps as large as those before: mean squares of gradients, mean squares of steps.
    Adadelta(Adadelta),
    /// Adam with the largest gradient in the place of the root: m, u.
    Adamax(Adamax),
    /// Adam with Nesterov's momentum: m, v.
    Nadam(Nadam),
    /// The sign of a mean: m.
    Lion(Lion),
    /// Adam that does not divide before v is worth dividing by: m, v.
    RAdam(RAdam),
    /// The sign alone, and steps that grow and shrink: the gradient before, the step sizes.
    Rprop(Rprop),
    /// The direction of Lamb, written to the place of p: m, v, and p itself.
    LambDirection(LambDirection),
}

/// `p <- keep p`, then [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct AdamW {
    pub adam: Adam,
    pub keep: f64,
    pub amsgrad: bool,
}

/// `v <- rho v + (1 - rho) g^2; b <- momentum b + g / root; p <- p - rate b`
///
/// root is `sqrt(v) + epsilon`, or `sqrt(v + epsilon)` with the epsilon inside. Centered: the variance `v - mean^2`
/// stands in the place of v, `mean <- rho mean + (1 - rho) g`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct RmsProp {
    pub rho: f64,
    pub momentum: f64,
    pub rate: f64,
    pub epsilon: f64,
    pub centered: bool,
    pub epsilon_inside: bool,
}

/// `v <- v + g^2; p <- p - rate g / (sqrt(v) + epsilon)`
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct Adagrad {
    pub rate: f64,
    pub epsilon: f64,
}

/// `v <- rho v + (1 - rho) g^2; d = sqrt(s + epsilon) / sqrt(v + epsilon) g; s <- rho s + (1 - rho) d^2; p <- p - rate d`
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct Adadelta {
    pub rho: f64,
    pub rate: f64,
    pub epsilon: f64,
}

/// `m <- b1 m + (1 - b1) g; u <- max(b2 u, |g| + epsilon); p <- p - size m / u`
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct Adamax {
    pub beta_1: f64,
    pub beta_2: f64,
    pub size: f64,
    pub epsilon: f64,
}

/// m and v as Adam's; `p <- p - (of_gradient g + of_mean m) / (sqrt(v) scale + epsilon)`
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct Nadam {
    pub beta_1: f64,
    pub beta_2: f64,
    pub of_gradient: f64,
    pub of_mean: f64,
    pub scale: f64,
    pub epsilon: f64,
}

/// `p <- keep p - rate sign(b1 m + (1 - b1) g); m <- b2 m + (1 - b2) g`
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct Lion {
    pub beta_1: f64,
    pub beta_2: f64,
    pub rate: f64,
    pub keep: f64,
}

/// [`Adam`], or without the division `p <- p - size m`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct RAdam {
    pub adam: Adam,
    pub divides: bool,
}

/// With s the sign of `g before`: the size `d <- d grow` (s > 0), `d shrink` (s < 0) or d, kept between the two limits;
/// where s < 0 this gradient counts as 0. `p <- p - d sign(g)`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct Rprop {
    pub shrink: f64,
    pub grow: f64,
    pub smallest: f64,
    pub largest: f64,
}

/// `u = size m / (sqrt(v) scale + epsilon) + decay p`, with the constants of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of the formula")]
pub struct LambDirection {
    pub adam: Adam,
    pub decay: f64,
}

/// A step on vectors. `memory` has zeros where there is no memory, and what is left there is stored where there is.
pub(super) trait Step: Copy + Sync {
    fn step<V: Vector>(self, p: V, g: V, memory: &mut [V; 3]) -> V;
}

/// `decay mean + (1 - decay) x`, forgotten near 0.
#[inline(always)]
fn mean<V: Vector>(decay: f64, mean: V, x: V) -> V {
    V::num(decay).fma(mean, V::num(1.0 - decay).mul(x)).flushed(V::num(forgotten::<V::Elem>()))
}

/// `decay mean + (1 - decay) x^2`; a square that would be no normal number counts as 0.
#[inline(always)]
fn mean_square<V: Vector>(decay: f64, of: V, x: V) -> V {
    let x = x.flushed(V::num(forgotten::<V::Elem>().sqrt()));
    mean(decay, of, x.mul(x))
}

/// -1, 0 or 1; NaN stays.
#[inline(always)]
fn sign<V: Vector>(x: V) -> V {
    let of_a_number = V::select(x.abs().le(V::zero()), V::zero(), V::num(1.0).with_sign_of(x));
    V::select(x.not_nan(), of_a_number, x)
}

/// `size m / (sqrt(v) scale + epsilon)`
#[inline(always)]
fn adam_step<V: Vector>(rule: Adam, m: V, v: V) -> V {
    V::num(rule.size).mul(m).div(v.sqrt().fma(V::num(rule.scale), V::num(rule.epsilon)))
}

impl Step for AdamW {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [m, v, largest]: &mut [V; 3]) -> V {
        *m = mean(self.adam.beta_1, *m, g);
        *v = mean_square(self.adam.beta_2, *v, g);
        *largest = v.max(*largest);
        p.mul(V::num(self.keep)).sub(adam_step(self.adam, *m, if self.amsgrad { *largest } else { *v }))
    }
}

impl Step for RmsProp {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [v, velocity, center]: &mut [V; 3]) -> V {
        *v = mean_square(self.rho, *v, g);
        let mut square = *v;
        if self.centered {
            *center = mean(self.rho, *center, g);
            // A variance; rounding may bring it below 0.
            square = V::zero().max(center.fnma(*center, *v));
        }
        let epsilon = V::num(self.epsilon);
        let root = if self.epsilon_inside { square.add(epsilon).sqrt() } else { square.sqrt().add(epsilon) };
        let mut step = g.div(root);
        if self.momentum > 0.0 {
            step = V::num(self.momentum).fma(*velocity, step).flushed(V::num(forgotten::<V::Elem>()));
            *velocity = step;
        }
        V::num(self.rate).fnma(step, p)
    }
}

impl Step for Adagrad {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [v, ..]: &mut [V; 3]) -> V {
        let x = g.flushed(V::num(forgotten::<V::Elem>().sqrt()));
        // A sum of squares that are numbers may be none: it stays at the largest, which keeps what it divides small.
        *v = x.fma(x, *v).min(V::num(<V::Elem as Real>::LARGEST));
        p.sub(V::num(self.rate).mul(g).div(v.sqrt().add(V::num(self.epsilon))))
    }
}

impl Step for Adadelta {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [v, squares, _]: &mut [V; 3]) -> V {
        let epsilon = V::num(self.epsilon);
        *v = mean_square(self.rho, *v, g);
        let step = squares.add(epsilon).sqrt().div(v.add(epsilon).sqrt()).mul(g);
        *squares = mean_square(self.rho, *squares, step);
        V::num(self.rate).fnma(step, p)
    }
}

impl Step for Adamax {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [m, u, _]: &mut [V; 3]) -> V {
        *m = mean(self.beta_1, *m, g);
        *u = V::num(self.beta_2).mul(*u).max(g.abs().add(V::num(self.epsilon)));
        p.sub(V::num(self.size).mul(*m).div(*u))
    }
}

impl Step for Nadam {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [m, v, _]: &mut [V; 3]) -> V {
        *m = mean(self.beta_1, *m, g);
        *v = mean_square(self.beta_2, *v, g);
        let root = v.sqrt().fma(V::num(self.scale), V::num(self.epsilon));
        p.sub(V::num(self.of_mean).fma(*m, V::num(self.of_gradient).mul(g)).div(root))
    }
}

impl Step for Lion {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [m, ..]: &mut [V; 3]) -> V {
        let direction = sign(V::num(self.beta_1).fma(*m, V::num(1.0 - self.beta_1).mul(g)));
        *m = mean(self.beta_2, *m, g);
        V::num(self.rate).fnma(direction, p.mul(V::num(self.keep)))
    }
}

impl Step for RAdam {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [m, v, _]: &mut [V; 3]) -> V {
        *m = mean(self.adam.beta_1, *m, g);
        *v = mean_square(self.adam.beta_2, *v, g);
        if self.divides { p.sub(adam_step(self.adam, *m, *v)) } else { V::num(self.adam.size).fnma(*m, p) }
    }
}

impl Step for Rprop {
    #[inline(always)]
    fn step<V: Vector>(self, p: V, g: V, [before, size, _]: &mut [V; 3]) -> V {
        // Signs are multiplied, since the product of two small gradients may be 0.
        let turned = sign(g).mul(sign(*before));
        let factor = V::select(turned.lt(V::zero()), V::num(self.shrink), V::num(1.0));
        let factor = V::select(V::zero().lt(turned), V::num(self.grow), factor);
        *size = size.mul(factor).max(V::num(self.smallest)).min(V::num(self.largest));
        let g = V::select(turned.lt(V::zero()), V::zero(), g);
        *before = g;
        size.fnma(sign(g), p)
    }
}

impl Step for LambDirection {
    #[inline(always)]
    fn step<V: Vector>(self, _: V, g: V, [m, v, p]: &mut [V; 3]) -> V {
        *m = mean(self.adam.beta_1, *m, g);
        *v = mean_square(self.adam.beta_2, *v, g);
        V::num(self.decay).fma(*p, adam_step(self.adam, *m, *v))
    }
}

impl Rule {
    /// The memories that have to be there.
    pub(super) fn memories(&self) -> [bool; 3] {
        match *self {
            Rule::AdamW(AdamW { amsgrad, .. }) => [true, true, amsgrad],
            Rule::RmsProp(RmsProp { momentum, centered, .. }) => [true, momentum > 0.0, centered],
            Rule::Adagrad(_) | Rule::Lion(_) => [true, false, false],
            Rule::Adadelta(_) | Rule::Adamax(_) | Rule::Nadam(_) | Rule::RAdam(_) | Rule::Rprop(_) => {
                [true, true, false]
            }
            Rule::LambDirection(_) => [true; 3],
        }
    }
}

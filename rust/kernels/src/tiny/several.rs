//! Several rows through a small network, back, and a step along their gradient; one block of them after the other.
//!
//! In: parameters, rows, targets. Out: losses, and gradients in the layout of the parameters, or the parameters after the
//! steps.

use super::pass::{Backward, Forward, Wanted, has_finite_squares};
use crate::Real;
use crate::rows::SumOfSquares;
use crate::simd::{Kernel, Vector, run_apart};
use crate::update::{AdamStep, SgdStep, TinyStep};

/// Both ways, or one of them, of one block or, with steps, of as many. Together they are one call of a kernel, which a step of
/// a few weights can tell.
pub(super) struct Several<'a, T: Real> {
    pub forward: Option<Forward<'a, T>>,
    pub backward: Option<Backward<'a, T>>,
    pub steps: Option<Steps<'a, T>>,
}

/// The steps to take along the gradients of blocks.
pub(super) struct Steps<'a, T> {
    pub each: &'a [TinyStep],
    /// Whether every one learns from the same block, and not from the one behind the last.
    pub again: bool,
    /// A step is not taken where the size of a loss is above this.
    pub most_loss: f64,
    /// Parameters and gradient, so many, and memories, null where there are none.
    pub n: usize,
    pub params: *mut T,
    pub gradient: *const T,
    pub memories: [*mut T; 2],
    /// What the squares of each gradient add up to; null where nobody asks.
    pub squares: *mut f64,
}

impl<T: Real> Kernel<T> for Several<'_, T> {
    /// How many steps were taken, and what stopped them: the first stage met whose gradient has a square that is not finite, or
    /// may have one; with steps, where gradients are looked at as a whole, stage 0; the last one where a loss is too large.
    type Output = (usize, Option<usize>);
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(mut self) -> (usize, Option<usize>) {
        let mut taken = 0;
        loop {
            // SAFETY: the caller's word.
            let broken = unsafe { self.both_ways::<V>() };
            let (Some(steps), None) = (&self.steps, broken) else { return (taken, broken) };
            // SAFETY: the caller's word.
            if !unsafe { steps.take::<V>(taken) } {
                return (taken, Some(0));
            }
            taken += 1;
            if taken == steps.each.len() {
                return (taken, None);
            }
            if let Some(forward) = &mut self.forward {
                forward.go_on(steps.again);
            }
        }
    }
}

impl<T: Real> Several<'_, T> {
    /// # Safety
    /// As for [`Kernel::run`].
    #[inline(always)]
    unsafe fn both_ways<V: Vector<Elem = T>>(&self) -> Option<usize> {
        // SAFETY: the caller's word.
        unsafe {
            if let Some(forward) = &self.forward {
                forward.run::<V>();
                if let Some(steps) = &self.steps
                    && !forward.has_losses_to(steps.most_loss)
                {
                    return Some(forward.tiny.stages.len() - 1);
                }
            }
            // No closure: it would be a function of its own, without the instructions of the set.
            match &self.backward {
                Some(backward) => backward.run::<V>(),
                None => None,
            }
        }
    }
}

impl<T: Real> Steps<'_, T> {
    /// Takes a step, unless the gradient may have a square that is not finite.
    ///
    /// # Safety
    /// Vectors of this set run already, there are so many steps, and the rest is the word of who made it.
    #[inline(always)]
    unsafe fn take<V: Vector<Elem = T>>(&self, index: usize) -> bool {
        let &Steps { each, n, params: p, gradient: g, memories: [m, v], squares, .. } = self;
        // SAFETY: the caller's word.
        unsafe {
            let is_finite = if squares.is_null() {
                has_finite_squares::<V>(g, 0, n)
            } else {
                let sum = run_apart(V::SET, SumOfSquares(std::slice::from_raw_parts(g, n)));
                *squares.add(index) = sum;
                // A quarter leaves room for rounding.
                sum <= T::LARGEST / 4.0
            };
            if is_finite {
                match each[index] {
                    TinyStep::Sgd(rule, rate) => run_apart(V::SET, SgdStep { rule, n, rate, p, g, v: m }),
                    TinyStep::Adam(rule) => run_apart(V::SET, AdamStep::new(rule, n, p, g, [m, v])),
                }
            }
            is_finite
        }
    }
}

impl<T: Real> Forward<'_, T> {
    /// Whether the losses that were asked for are no larger than this.
    ///
    /// # Safety
    /// They were found.
    #[inline(always)]
    unsafe fn has_losses_to(&self, most: f64) -> bool {
        let Some(Wanted { losses, .. }) = &self.loss else { return true };
        let mut all = true;
        for i in 0..self.x.rows {
            // SAFETY: the caller's word.
            all &= unsafe { *losses.add(i) }.abs() <= most;
        }
        all
    }

    /// On to the block behind this one, or to this one once more.
    #[inline(always)]
    fn go_on(&mut self, again: bool) {
        let rows = self.x.rows;
        self.has_rows = again;
        if !again {
            self.x.data = &self.x.data[rows * self.x.stride..];
        }
        if let Some(Wanted { targets, losses, .. }) = &mut self.loss {
            *losses = losses.wrapping_add(rows);
            if !again {
                targets.go_on(rows);
            }
        }
    }
}

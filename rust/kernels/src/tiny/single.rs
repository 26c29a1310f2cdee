//! A single row through a small network, back, and a step along its gradient; one row after the other.
//!
//! In: parameters, rows, targets. Out: losses, and gradients in the layout of the parameters, or the parameters after the
//! steps.

use super::network::{Placed, Stage, Tiny, TinyLoss};
use super::pass::{Wanted, has_squares};
use super::product::{Slopes, Units};
use super::row::{Becomes, Row, finish_row};
use crate::activation::Activation;
use crate::simd::{Kernel, Vector, run_apart, starts};
use crate::update::{AdamStep, TinyStep};
use crate::{Real, padded};

/// Both ways, or one of them, of one row or, with steps, of as many.
pub(super) struct Single<'a, T> {
    pub tiny: &'a Tiny,
    pub params: *const T,
    pub work: *mut T,
    /// The row, and how far it is to the next; null where it went forward before.
    pub x: *const T,
    pub x_stride: usize,
    pub loss: Option<Wanted<T>>,
    pub back: Option<Back<T>>,
    /// Those to take, a row for each: another call for each, and what goes around it, would take as long as a step of a few
    /// weights. Empty where a gradient is all that is asked for.
    pub steps: &'a [TinyStep],
    /// A step is not taken where the size of a loss is above this.
    pub most_loss: f64,
    /// What Adam steps along the gradient of each row.
    pub adam: Option<AdamStep<T>>,
}

/// The way back.
pub(super) struct Back<T> {
    /// Whether the delta of the last stage is dL/da, and not dL/dz.
    pub last_is_da: bool,
    pub becomes: Becomes<T>,
    /// Where the gradient goes, or the parameters that step along it.
    pub gradient: *mut T,
}

impl<T: Real> Kernel<T> for Single<'_, T> {
    /// How many steps were taken, and the first stage met whose gradient is not finite, or may not be: the last one where
    /// the loss is too large.
    type Output = (usize, Option<usize>);
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(mut self) -> (usize, Option<usize>) {
        let mut taken = 0;
        loop {
            let step = self.steps.get(taken);
            if let (Some(Back { becomes: Becomes::Descended(descent), .. }), Some(TinyStep::Sgd(_, rate))) =
                (&mut self.back, step)
            {
                descent.rate = *rate;
            }
            // SAFETY: the caller's word.
            let broken = unsafe { self.both_ways::<V>() };
            if broken.is_some() {
                return (taken, broken);
            }
            if let (Some(adam), Some(TinyStep::Adam(rule))) = (&mut self.adam, step) {
                adam.rule = *rule;
                // SAFETY: vectors of this set run already; the rest is the caller's word.
                unsafe { run_apart(V::SET, *adam) };
            }
            taken += 1;
            if taken >= self.steps.len() {
                return (taken, None);
            }
            self.x = self.x.wrapping_add(self.x_stride);
            if let Some(Wanted { targets, losses, .. }) = &mut self.loss {
                targets.go_on(1);
                *losses = losses.wrapping_add(1);
            }
        }
    }
}

impl<T: Real> Single<'_, T> {
    /// # Safety
    /// As for [`Kernel::run`].
    #[inline(always)]
    unsafe fn both_ways<V: Vector<Elem = T>>(&self) -> Option<usize> {
        // SAFETY: the caller's word.
        unsafe {
            if !self.x.is_null() {
                self.forward::<V>();
                if let (Some(Wanted { losses, .. }), false) = (&self.loss, self.steps.is_empty()) {
                    let is_small = (**losses).abs() <= self.most_loss;
                    if !is_small {
                        return Some(self.tiny.stages.len() - 1);
                    }
                }
            }
            // No closure: it would be a function of its own, without the instructions of the set.
            match &self.back {
                Some(back) => self.backward::<V>(back),
                None => None,
            }
        }
    }

    #[inline(always)]
    fn at(&self, start: usize) -> *mut T {
        self.work.wrapping_add(start)
    }

    /// # Safety
    /// The entry has checked the parameters, the workspace and x.
    #[inline(always)]
    unsafe fn forward<V: Vector<Elem = T>>(&self) {
        let tiny = self.tiny;
        // SAFETY: the caller's word; the workspace has room for x, padded.
        unsafe {
            let &Placed { stage: Stage { n_in, .. }, x, .. } = &tiny.stages[0];
            for k in starts::<T>(n_in) {
                V::load_up_to(self.x.add(k), T::LANES.min(n_in - k)).store(self.at(x).add(k));
            }
            for (index, &Placed { ref stage, x, z, a, .. }) in tiny.stages.iter().enumerate() {
                let (a, z) = (self.at(a), self.at(z));
                let row = Row { stage, w: self.params.wrapping_add(stage.start) };
                row.forward::<V>(self.at(x), z);
                let fused = index + 1 == tiny.stages.len()
                    && matches!(self.loss, Some(Wanted { loss: TinyLoss::SoftmaxCrossEntropy, .. }));
                let (activation, n) = (stage.activation, padded::<T>(stage.n_out));
                if activation != Activation::Identity && !fused {
                    run_apart(V::SET, Units { activation, n, tables: 1, stride: 0, z, a });
                } else if z != a {
                    std::ptr::copy_nonoverlapping(z.cast_const(), a, n);
                }
            }
            if let Some(wanted) = &self.loss {
                let &Placed { ref stage, a, delta, .. } = tiny.last();
                finish_row::<V>(wanted, stage.n_out, self.at(a), self.at(delta));
            }
        }
    }

    /// # Safety
    /// As for `forward`, and there is room for the gradient; the row went forward.
    #[inline(always)]
    unsafe fn backward<V: Vector<Elem = T>>(&self, back: &Back<T>) -> Option<usize> {
        let tiny = self.tiny;
        let mut broken = None;
        // SAFETY: the caller's word.
        unsafe {
            for (index, &Placed { ref stage, x, z, a, delta }) in tiny.stages.iter().enumerate().rev() {
                let (x, delta) = (self.at(x).cast_const(), self.at(delta));
                let (activation, n) = (stage.activation, padded::<T>(stage.n_out));
                if activation != Activation::Identity && (index + 1 < tiny.stages.len() || back.last_is_da) {
                    let (a, z) = (self.at(a).cast_const(), self.at(z).cast_const());
                    run_apart(V::SET, Slopes { activation, n, tables: 1, stride: 0, a, z, delta });
                }
                let row = Row { stage, w: self.params.wrapping_add(stage.start) };
                let learns = stage.learns_weights || (stage.learns_bias && stage.use_bias);
                if learns && broken.is_none() && !row.has_squares::<V>(x, delta) {
                    broken = Some(index);
                }
                if index <= tiny.lowest {
                    break;
                }
                row.input_gradient::<V>(delta, self.at(tiny.stages[index - 1].delta));
            }
            if broken.is_none() || !matches!(back.becomes, Becomes::Descended(_)) {
                broken = self.gradient::<V>(back).or(broken);
            }
        }
        broken
    }

    /// The gradient, now that all deltas are known: weights may step along it. Where it is added to others, the last stage is
    /// told of whose sum has a square that is not finite, as the parts do not tell.
    ///
    /// # Safety
    /// As for `backward`.
    #[inline(always)]
    unsafe fn gradient<V: Vector<Elem = T>>(&self, back: &Back<T>) -> Option<usize> {
        let mut broken = None;
        for (index, &Placed { ref stage, x, delta, .. }) in self.tiny.stages.iter().enumerate().skip(self.tiny.lowest) {
            let w = back.gradient.wrapping_add(stage.start);
            // SAFETY: the caller's word.
            unsafe {
                let (x, delta) = (self.at(x).cast_const(), self.at(delta).cast_const());
                Row { stage, w: w.cast_const() }.gradient::<V>(x, delta, back.becomes, w);
                if matches!(back.becomes, Becomes::Added) && !has_squares::<V>(stage, w) {
                    broken = Some(index);
                }
            }
        }
        broken
    }
}

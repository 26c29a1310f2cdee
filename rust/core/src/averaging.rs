//! Averages of the weights: over the steps of a training, or over its epochs.
//!
//! In: the weights that training reaches. Out: their mean, and a way to let it stand in the place of the weights for a
//! while. Training itself never starts from the mean.

use crate::error::Error;
use crate::params::Params;
use crate::plan::Plan;
use dnn_kernels::{Real, Team, move_towards};
use dnn_spec::Averaging;

/// The mean of the weights.
#[derive(Debug)]
pub struct Average<T: Real> {
    rule: Averaging,
    /// Weights that went into it.
    count: u64,
    /// The mean; while it stands in the place of the weights, those that training has reached.
    other: Params<T>,
    is_shown: bool,
}

/// The same without the weights, as the model file has it: the rule, the count, and whether the mean is shown.
pub type Saved = (Averaging, u64, bool);

impl<T: Real> Average<T> {
    /// Nothing averaged yet.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(rule: Averaging, params: &Params<T>) -> Result<Average<T>, Error> {
        Ok(Average { rule, count: 0, other: params.duplicate()?, is_shown: false })
    }

    /// Whether it is made by this rule.
    pub fn is_by(&self, rule: Averaging) -> bool {
        self.rule == rule
    }

    /// Takes the weights after a step.
    pub fn after_step(&mut self, plan: &Plan, team: &Team, params: &Params<T>) {
        if let Averaging::Ema { decay } = self.rule {
            self.add(plan, team, 1.0 - decay, params);
        }
    }

    /// Takes the weights after an epoch of this number.
    pub fn after_epoch(&mut self, plan: &Plan, team: &Team, epoch: usize, params: &Params<T>) {
        if let Averaging::Swa { start_epoch, every } = self.rule
            && epoch >= start_epoch
            && (epoch - start_epoch).is_multiple_of(every)
        {
            self.add(plan, team, 1.0 / (self.count as f64 + 1.0), params);
        }
    }

    /// `mean <- mean + share (weights - mean)`; the first weights are the mean.
    fn add(&mut self, plan: &Plan, team: &Team, share: f64, params: &Params<T>) {
        if self.count == 0 {
            self.other.copy_from_slice(params);
        } else {
            move_towards(plan.isa, team, share, params, &mut self.other);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Puts the mean in the place of the weights, if there is one; returns whether it stands there now.
    pub fn show(&mut self, params: &mut Params<T>) -> bool {
        if self.count > 0 && !self.is_shown {
            std::mem::swap(params, &mut self.other);
            self.is_shown = true;
        }
        self.is_shown
    }

    /// Puts the weights that training has reached back into their place.
    pub fn hide(&mut self, params: &mut Params<T>) {
        if self.is_shown {
            std::mem::swap(params, &mut self.other);
            self.is_shown = false;
        }
    }

    /// Whether the mean stands in the place of the weights.
    pub fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Forgets the mean: what stands in the place of the weights is what training goes on from.
    pub fn start_anew(&mut self) {
        (self.count, self.is_shown) = (0, false);
    }

    /// The same once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Average<T>, Error> {
        Ok(Average { other: self.other.duplicate()?, ..*self })
    }

    /// Without the weights.
    pub fn to_saved(&self) -> Saved {
        (self.rule, self.count, self.is_shown)
    }

    /// The weights that go with [`Average::to_saved`], if there are any.
    pub fn other(&self) -> Option<&Params<T>> {
        (self.count > 0).then_some(&self.other)
    }

    /// What [`Average::to_saved`] and [`Average::other`] gave.
    pub fn from_saved((rule, count, is_shown): Saved, other: Params<T>) -> Average<T> {
        Average { rule, count, other, is_shown }
    }
}

/// Refuses a rule that averages nothing.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check(rule: Option<Averaging>) -> Result<(), Error> {
    match rule {
        Some(Averaging::Ema { decay }) if !(0.0..1.0).contains(&decay) => {
            Err(Error::Invalid(format!("decay must be at least 0 and below 1, got {decay}")))
        }
        Some(Averaging::Swa { every: 0, .. }) => Err(Error::invalid("every must be at least 1, got 0")),
        _ => Ok(()),
    }
}

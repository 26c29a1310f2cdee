//! When to stop before the last epoch.
//!
//! In: what each epoch measured. Out: a reason to stop, or none. It never touches weights.

use crate::error::{counted, short};
use crate::history::{Epoch, Stopped};
use dnn_spec::{FitSpec, Watched};

/// Counts epochs without improvement.
#[derive(Clone, Debug)]
struct Patience {
    best: f64,
    without: usize,
}

impl Patience {
    fn new() -> Patience {
        Patience { best: f64::INFINITY, without: 0 }
    }

    /// Epochs in a row, up to this one, in which the loss was not below the best by more than `by`, or by `by` itself
    /// where that is enough.
    fn see(&mut self, loss: f64, by: f64, inclusive: bool) -> usize {
        let improved = loss < self.best - by || inclusive && loss == self.best - by;
        self.without = if improved { 0 } else { self.without + 1 };
        self.best = self.best.min(loss);
        self.without
    }

    /// Keras's rule: the best is the last that improved by more than `by`, so that small improvements add up; and only
    /// those below a baseline end the waiting. Training never ends with an epoch that improved, baseline or not: then
    /// there is nothing to return, else the epochs waited.
    fn watch(&mut self, value: f64, by: f64, baseline: Option<f64>) -> Option<usize> {
        self.without += 1;
        if value < self.best - by {
            self.best = value;
            if baseline.is_none_or(|baseline| value < baseline - by) {
                self.without = 0;
            }
            return None;
        }
        Some(self.without)
    }
}

/// What early stopping goes by in an epoch: the lower, the better. None where it was not measured.
pub fn watched(spec: &FitSpec, epoch: &Epoch) -> Option<f64> {
    let Some(Watched { validation, metric, higher, .. }) = &spec.watched else { return epoch.val_loss };
    let value = match (*validation, *metric) {
        (false, None) => Some(epoch.loss),
        (true, None) => epoch.val_loss,
        (false, Some(i)) => epoch.metrics.get(i).copied(),
        (true, Some(i)) => epoch.val_metrics.get(i).copied(),
    };
    value.map(|value| if *higher { -value } else { value })
}

/// The best loss so far, as bits, and the epochs without improvement: how a file has them.
pub type Waited = (u64, usize);

/// The rules of one call of `fit`.
#[derive(Clone, Debug)]
pub struct Stopping {
    training: Patience,
    validation: Patience,
}

impl Stopping {
    /// Nothing seen yet.
    pub fn new() -> Stopping {
        Stopping { training: Patience::new(), validation: Patience::new() }
    }

    /// What was counted on the training and on the validation loss.
    pub fn waited(&self) -> [Waited; 2] {
        [&self.training, &self.validation].map(|patience| (patience.best.to_bits(), patience.without))
    }

    /// The same counts again.
    pub fn from_waited(waited: [Waited; 2]) -> Stopping {
        let [training, validation] = waited.map(|(best, without)| Patience { best: f64::from_bits(best), without });
        Stopping { training, validation }
    }

    /// Why training should end after this epoch.
    pub fn reached(&mut self, spec: &FitSpec, epoch: &Epoch) -> Option<(Stopped, String)> {
        let without = spec.tol.map(|tol| (tol, self.training.see(epoch.loss, tol, spec.tol_inclusive)));
        let higher = spec.watched.as_ref().is_some_and(|watched| watched.higher);
        let baseline = spec.baseline.map(|baseline| if higher { -baseline } else { baseline });
        let val_without = spec.patience.zip(watched(spec, epoch)).and_then(|(patience, value)| {
            let without = self.validation.watch(value, spec.min_delta, baseline);
            // Nor with the first epoch of all, whatever it measured.
            without.filter(|_| epoch.epoch > 0).map(|without| (patience, without))
        });
        let number = epoch.epoch + 1;
        if let Some(level) = spec.stop_at_loss.filter(|&level| epoch.loss <= level) {
            let message = format!("the loss {:.6} reached stop_at_loss={level} in epoch {number}", epoch.loss);
            return Some((Stopped::StopAtLoss, message));
        }
        if let Some((tol, count)) = without.filter(|&(_, count)| count >= spec.n_iter_no_change) {
            let count = counted(count, "epoch");
            let message = format!("the loss did not improve by more than tol={tol} for {count}, up to epoch {number}");
            return Some((Stopped::Tol, message));
        }
        if let Some((_, count)) = val_without.filter(|&(patience, count)| count >= patience) {
            let what = spec.watched.as_ref().map_or("the validation loss", |watched| &watched.name);
            let message = format!("{what} did not improve for {}, up to epoch {number}", counted(count, "epoch"));
            return Some((Stopped::EarlyStopping, message));
        }
        if let Some(limit) = spec.max_time.filter(|&limit| epoch.seconds >= limit) {
            let message = format!("max_time={} seconds were over after epoch {number}", short(limit));
            return Some((Stopped::MaxTime, message));
        }
        None
    }
}

impl Default for Stopping {
    fn default() -> Stopping {
        Stopping::new()
    }
}

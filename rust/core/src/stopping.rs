//! When to stop before the last epoch.
//!
//! In: what each epoch measured. Out: a reason to stop, or none. It never touches weights.

use crate::history::{Epoch, Stopped};
use crate::spec::FitSpec;

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
        let val_without = spec.patience.zip(epoch.val_loss).map(|(patience, loss)| {
            let without = self.validation.see(loss, spec.min_delta, false);
            (patience, without)
        });
        let number = epoch.epoch + 1;
        if let Some(level) = spec.stop_at_loss.filter(|&level| epoch.loss <= level) {
            let message = format!("the loss {:.6} reached stop_at_loss={level} in epoch {number}", epoch.loss);
            return Some((Stopped::StopAtLoss, message));
        }
        if let Some((tol, count)) = without.filter(|&(_, count)| count >= spec.n_iter_no_change) {
            let message =
                format!("the loss did not improve by more than tol={tol} for {count} epochs, up to epoch {number}");
            return Some((Stopped::Tol, message));
        }
        if let Some((_, count)) = val_without.filter(|&(patience, count)| count >= patience) {
            let message = format!("the validation loss did not improve for {count} epochs, up to epoch {number}");
            return Some((Stopped::EarlyStopping, message));
        }
        if let Some(limit) = spec.max_time.filter(|&limit| epoch.seconds >= limit) {
            let message = format!("max_time={limit} seconds were over after epoch {number}");
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

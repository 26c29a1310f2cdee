//! What each epoch measured.

use dnn_spec::Metric;

/// The measurements of one epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epoch {
    /// Its number.
    pub epoch: usize,
    /// Mean loss of its steps, each before its update, weighted by rows.
    pub loss: f64,
    /// The metrics on the same outputs.
    pub metrics: Vec<f64>,
    /// The loss on the validation data after the epoch.
    pub val_loss: Option<f64>,
    /// The metrics there.
    pub val_metrics: Vec<f64>,
    /// The rate of its last step.
    pub rate: f64,
    /// Euclidean norm of the gradient of its last step.
    pub grad_norm: f64,
    /// Since the start of `fit`; epochs that are taken together share their time.
    pub seconds: f64,
}

/// The measurements of epochs one after the other, a list of each: where an epoch takes a tenth of a microsecond, it shows when
/// an [`Epoch`] is put aside for each and taken apart again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epochs {
    /// Their numbers.
    pub numbers: Vec<i64>,
    /// [`Epoch::loss`] of each.
    pub loss: Vec<f64>,
    /// [`Epoch::metrics`], a list for each metric; none where there are no epochs.
    pub metrics: Vec<Vec<f64>>,
    /// [`Epoch::val_loss`]; empty where nothing is validated.
    pub val_loss: Vec<f64>,
    /// [`Epoch::val_metrics`], as those.
    pub val_metrics: Vec<Vec<f64>>,
    /// [`Epoch::rate`] of each.
    pub rate: Vec<f64>,
    /// [`Epoch::grad_norm`] of each.
    pub grad_norm: Vec<f64>,
    /// [`Epoch::seconds`] of each.
    pub seconds: Vec<f64>,
}

impl Epochs {
    /// With room for so many.
    pub(crate) fn with_capacity(n: usize) -> Epochs {
        let room = || Vec::with_capacity(n);
        Epochs {
            numbers: Vec::with_capacity(n),
            loss: room(),
            rate: room(),
            grad_norm: room(),
            seconds: room(),
            ..Epochs::default()
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// One of them.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn at(&self, i: usize) -> Epoch {
        let of_each = |lists: &[Vec<f64>]| lists.iter().map(|list| list[i]).collect();
        Epoch {
            epoch: self.numbers[i] as usize,
            loss: self.loss[i],
            metrics: of_each(&self.metrics),
            val_loss: self.val_loss.get(i).copied(),
            val_metrics: of_each(&self.val_metrics),
            rate: self.rate[i],
            grad_norm: self.grad_norm[i],
            seconds: self.seconds[i],
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Epoch> {
        (0..self.len()).map(|i| self.at(i))
    }

    /// The last one, if there is one.
    pub fn last(&self) -> Option<Epoch> {
        self.iter().next_back()
    }

    /// Puts one behind the others: all of a fit have the same metrics, and all or none are validated.
    pub(crate) fn push(&mut self, epoch: Epoch) {
        self.numbers.push(epoch.epoch as i64);
        self.loss.push(epoch.loss);
        self.rate.push(epoch.rate);
        self.grad_norm.push(epoch.grad_norm);
        self.seconds.push(epoch.seconds);
        self.val_loss.extend(epoch.val_loss);
        for (lists, values) in [(&mut self.metrics, epoch.metrics), (&mut self.val_metrics, epoch.val_metrics)] {
            lists.resize(values.len(), Vec::new());
            for (list, value) in lists.iter_mut().zip(values) {
                list.push(value);
            }
        }
    }
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All epochs are done.
    Epochs,
    /// The loss no longer improves by more than the tolerance.
    Tol,
    /// The loss is low enough.
    StopAtLoss,
    /// The validation loss no longer improves.
    EarlyStopping,
    /// The time is up.
    MaxTime,
    /// L-BFGS: no derivative of the loss is above the tolerance.
    Gtol,
    /// L-BFGS: the loss hardly falls any more.
    Ftol,
    /// L-BFGS: the loss was evaluated as often as it may be.
    MaxFun,
    /// L-BFGS: no step lowers the loss.
    LineSearch,
    /// A callback asked for it.
    Callback,
    /// The user did.
    Interrupted,
    /// A loss or a gradient is not finite.
    Diverged,
}

impl Stopped {
    /// The name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Stopped::Epochs => "epochs",
            Stopped::Tol => "tol",
            Stopped::StopAtLoss => "stop_at_loss",
            Stopped::EarlyStopping => "early_stopping",
            Stopped::MaxTime => "max_time",
            Stopped::Gtol => "gtol",
            Stopped::Ftol => "ftol",
            Stopped::MaxFun => "max_fun",
            Stopped::LineSearch => "line_search",
            Stopped::Callback => "callback",
            Stopped::Interrupted => "interrupted",
            Stopped::Diverged => "diverged",
        }
    }
}

/// What a call of `fit` measured.
#[derive(Clone, Debug)]
pub struct History {
    /// The finished epochs.
    pub epochs: Epochs,
    /// What `metrics` in each epoch are.
    pub metrics: Vec<Metric>,
    /// Why it ended.
    pub stopped: Stopped,
    /// The same in a sentence.
    pub message: String,
    /// Steps taken in this call.
    pub steps: usize,
    /// The epoch whose weights came back, where they are not the last.
    pub best_epoch: Option<usize>,
    /// The instruction set, and the type that the factors of products had: `"avx512 float32"`.
    pub arithmetic: String,
}

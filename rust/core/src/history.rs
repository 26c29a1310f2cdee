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
    pub epochs: Vec<Epoch>,
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

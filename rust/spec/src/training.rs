//! Training: losses, optimizers, metrics, and the options of a fit.
//!
//! In: JSON that names them. Out: enums and structs, which whoever trains with them checks.

use crate::Function;
use serde::{Deserialize, Serialize};

/// A loss by name; `loss.rs` has the formulas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "name", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the field")]
pub enum LossSpec {
    Mse,
    HalfMse,
    Sse,
    Mae,
    Huber {
        delta: f64,
    },
    LogCosh,
    /// Several q ask for an output each.
    Quantile {
        q: Vec<f64>,
    },
    Poisson,
    Gamma,
    Tweedie {
        p: f64,
    },
    Msle,
    Mape,
    CrossEntropy {
        #[serde(default)]
        label_smoothing: f64,
    },
    BinaryCrossEntropy,
    Focal {
        gamma: f64,
    },
    KlDivergence,
    Hinge,
    SquaredHinge,
    GaussianNll {
        epsilon: f64,
    },
    /// A function of whoever calls.
    Called {
        #[serde(skip)]
        function: Function,
    },
}

/// An optimizer by name; `optimizer/rules.rs` has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "name", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the field")]
pub enum OptimizerSpec {
    Sgd {
        momentum: f64,
        nesterov: bool,
        dampened: bool,
    },
    Adam {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
        amsgrad: bool,
        epsilon_hat: bool,
    },
    Lbfgs {
        m: usize,
        max_fun: usize,
        gtol: f64,
        ftol: f64,
    },
    Adamw {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
        amsgrad: bool,
        epsilon_hat: bool,
        weight_decay: f64,
        decay_bias: bool,
    },
    Rmsprop {
        rho: f64,
        momentum: f64,
        centered: bool,
        epsilon: f64,
        epsilon_inside: bool,
    },
    Adagrad {
        epsilon: f64,
        initial_accumulator: f64,
    },
    Adadelta {
        rho: f64,
        epsilon: f64,
    },
    Adamax {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    },
    Nadam {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
        momentum_decay: f64,
    },
    Lion {
        beta_1: f64,
        beta_2: f64,
        weight_decay: f64,
        decay_bias: bool,
    },
    Lamb {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
        weight_decay: f64,
        decay_bias: bool,
    },
    Radam {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    },
    Rprop {
        etas: [f64; 2],
        step_sizes: [f64; 2],
    },
    Muon {
        momentum: f64,
        nesterov: bool,
        weight_decay: f64,
        ns_coefficients: [f64; 3],
        ns_steps: u32,
        epsilon: f64,
        adjust_rate: MuonRate,
        beta_1: f64,
        beta_2: f64,
        adam_epsilon: f64,
    },
}

/// How Muon's rate depends on the shape of W; `optimizer/muon.rs` has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the field")]
pub enum MuonRate {
    Original,
    MatchRmsAdamw,
    SpectralUnclamped,
}

/// How large a gradient may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// Longer gradients are scaled to this Euclidean norm, over everything that learns.
    pub norm: Option<f64>,
    /// Elements beyond this, on either side of 0, are moved there.
    pub value: Option<f64>,
}

/// A single step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct StepSpec {
    /// The rate.
    pub learning_rate: f64,
    /// Of its gradient.
    pub clip: Clip,
}

/// Rows of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BatchSize {
    /// So many; the last batch of an epoch may be smaller.
    Rows(usize),
    /// `"full"`: all.
    Named(String),
}

/// A measure of how well the outputs fit, beside the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Metric {
    /// Its name in a history.
    pub key: String,
    /// What it is.
    pub measure: Measure,
}

/// A measure by name; `metrics.rs` has the formulas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the field")]
pub enum Measure {
    Accuracy,
    Mae,
    Mse,
    Rmse,
    R2,
    TopK {
        k: usize,
    },
    Precision {
        average: Average,
        threshold: Option<f64>,
    },
    Recall {
        average: Average,
        threshold: Option<f64>,
    },
    F1 {
        average: Average,
        threshold: Option<f64>,
    },
    Auc {
        average: Average,
    },
    /// A function of whoever calls.
    Called {
        #[serde(skip)]
        function: Function,
    },
}

/// How the scores of several classes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// `Binary` of two classes, else `Macro`.
    Auto,
    /// The score of the second of two classes.
    Binary,
    /// Their mean.
    Macro,
    /// The score of all of them taken together.
    Micro,
    /// Their mean by the weight of the rows of each class.
    Weighted,
}

/// How training weighs loss and penalty. Libraries differ in it; the default is what the formulas of both say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objective {
    /// The gradient of the loss is multiplied by this: the number of outputs makes a sum over them of a mean.
    pub gradient_factor: f64,
    /// The loss is multiplied by this where it is told, and where `tol` watches it.
    pub loss_factor: f64,
    /// Whether the penalty of a step is divided by the weight of its rows.
    pub penalty_over_rows: bool,
    /// Whether the loss of an epoch is the mean of its batches by their number of rows, instead of their weight.
    pub mean_by_rows: bool,
}

impl Default for Objective {
    fn default() -> Objective {
        Objective { gradient_factor: 1.0, loss_factor: 1.0, penalty_over_rows: false, mean_by_rows: false }
    }
}

/// How the weights of a training are averaged; `averaging.rs` has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "name", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the field")]
pub enum Averaging {
    /// Over the steps, the last ones most.
    Ema { decay: f64 },
    /// Over epochs, all alike.
    Swa { start_epoch: usize, every: usize },
}

/// Something that is measured each epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Its name in a history.
    pub name: String,
    /// Whether it is measured on the validation data.
    pub validation: bool,
    /// Its place among the metrics; none for the loss.
    pub metric: Option<usize>,
    /// Whether more of it is better.
    pub higher: bool,
}

/// A call of `fit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct FitSpec {
    /// Rows of a step.
    pub batch_size: BatchSize,
    /// The number of the epoch before which training ends.
    pub epochs: usize,
    /// The number of the first epoch.
    pub initial_epoch: usize,
    /// Whether every epoch has its own order of the rows.
    pub shuffle: bool,
    /// Stop when the loss has not improved by more than this for `n_iter_no_change` epochs.
    pub tol: Option<f64>,
    /// See `tol`.
    pub n_iter_no_change: usize,
    /// Whether an improvement by `tol` itself is one.
    #[serde(default)]
    pub tol_inclusive: bool,
    /// Stop when the loss is at or below this.
    pub stop_at_loss: Option<f64>,
    /// Stop after so many seconds.
    pub max_time: Option<f64>,
    /// Stop when what is watched has not improved by more than `min_delta` for so many epochs.
    pub patience: Option<usize>,
    /// See `patience`.
    pub min_delta: f64,
    /// Whether the weights of the best epoch come back.
    pub restore_best: bool,
    /// What `patience` and `restore_best` watch; the validation loss where it is not said.
    #[serde(default)]
    pub watched: Option<Watched>,
    /// An epoch counts as an improvement only if it is better than this, by more than `min_delta`.
    #[serde(default)]
    pub baseline: Option<f64>,
    /// What is measured beside the loss.
    pub metrics: Vec<Metric>,
    /// Threads to use, the caller included.
    pub n_threads: usize,
    /// Batches whose gradients go into one step together.
    pub accumulate: usize,
    /// Of the gradient of every step.
    pub clip: Clip,
    /// The rate of every step; `None` where the observer knows it.
    pub learning_rate: Option<f64>,
    /// Rows of an epoch, where the observer says which; `shuffle` counts for nothing then.
    #[serde(default)]
    pub order_rows: Option<usize>,
    /// How loss and penalty are weighed.
    #[serde(default)]
    pub objective: Objective,
    /// Whether, and how, weights are averaged, to be validated and to come back.
    #[serde(default)]
    pub averaging: Option<Averaging>,
}

//! Dense neural networks: plan, train, predict. Without Python, a clock or a printed line.
//!
//! The way of one call: [`Spec`] says what is wanted, [`Plan`] has checked it, [`fit`] trains a [`Model`] on [`Data`],
//! [`History`] tells what was measured.

#![forbid(unsafe_code)]

mod averaging;
mod backward;
mod batches;
mod checksum;
mod clip;
mod data;
mod error;
mod evaluate;
mod file;
mod forward;
mod history;
mod init;
mod inputs;
mod inspect;
mod layer;
mod lbfgs;
mod line_search;
mod loss;
mod lsuv;
mod memory;
mod metrics;
mod model;
mod moments;
mod observer;
mod optimizer;
mod pairs;
mod params;
mod penalty;
mod plan;
mod predict;
mod progress;
mod rng;
mod run;
mod running;
mod scaling;
mod step;
mod stopping;
mod train;
mod workspace;
mod write;

pub use data::{Data, Given, NonFinite, Rows, Table, Targets};
pub use dnn_kernels::{Isa, IsaError, Real, all_finite, cpu_features};
pub use dnn_spec::{
    ActivationSpec, Average, Averaging, BatchSize, Called, Clip, DenseSpec, Dtype, FitSpec, Function, Initializer,
    LayerSpec, LossSpec, Measure, Metric, MuonRate, Objective, OptimizerSpec, Precision, Spec, StepSpec, Truth,
    Watched,
};
pub use error::{Error, counted};
pub use evaluate::evaluate;
pub use file::{from_bytes, save, to_bytes};
pub use history::{Epoch, Epochs, History, Stopped};
pub use inputs::Inputs;
pub use inspect::{Activations, Gradients, gradients, numeric_gradients, trace};
pub use layer::{Kind, Layer, Output, Place, Shown};
pub use lsuv::unit_variance;
pub use memory::{collected, filled};
pub use model::{Compiled, Model};
pub use observer::{Flow, Observer, State};
pub use optimizer::Optimizer;
pub use params::Params;
pub use plan::Plan;
pub use predict::{Idle, Look, Outputs, Predicted, is_brief, predict};
pub use progress::Progress;
pub use rng::{Purpose, shuffle, stream, uniform};
pub use run::Run;
pub use running::Running;
pub use scaling::{Scaling, Scalings};
pub use train::{fit, train_on_batch};

//! What was asked for, typed but unchecked: the wire form between Python, dnn-core and the model file.
//!
//! In: JSON. Out: structs. It never refuses a value that has the right type; `plan.rs` of dnn-core does. A crate of its
//! own because it is compiled for size: the code that reads a spec was a tenth of the library.

#![forbid(unsafe_code)]

mod called;
mod network;
mod read;
mod training;

pub use called::{Called, Function, Truth};
pub use network::{ActivationSpec, DenseSpec, Dtype, Initializer, LayerSpec, Precision, Spec};
pub use training::{
    Average, Averaging, BatchSize, Clip, FitSpec, LossSpec, Measure, Metric, MuonRate, Objective, OptimizerSpec,
    StepSpec, Watched,
};

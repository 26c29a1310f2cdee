//! The core through its public API, as the binding uses it: what must hold for users, room by room.

mod ahead;
mod averaging;
mod descent;
mod divergence;
mod file;
mod lbfgs;
mod network;
mod objective;
mod optimizers;
mod params;
mod plan;
mod predict;
mod reproducibility;
mod stopping;
mod training;

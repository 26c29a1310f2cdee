//! A whole small network at once: all rows of a batch forward, the usual losses, and back to every gradient; or batches in
//! turn, each with a step.
//!
//! In: parameters, rows and targets as the other kernels take them. Out: losses, and gradients where those would be, or
//! parameters that took a step.
//! Vectors run over the rows here, not over the outputs, so that a network 4 wide wastes no lanes, and nothing is decided
//! between its products: one call does what takes ten otherwise (a 2-4-1 network took 12000 instructions a step that way).
//!
//! Inside, a table is (units, rows): the rows of the batch lie side by side, padded with the last one, which weighs nothing
//! there. Forward and input gradient are the chains of `tile.rs`, with the same bits. A weight gradient is a sum over rows:
//! each lane sums its rows, and then the lanes are added in halves; or, where that takes longer than to turn the deltas and
//! to learn in vectors of outputs, the sum is a chain over the rows. Both are the same on every instruction set.
//!
//! Of two to four rows a vector holds those of several units, four lanes for each: `grouped.rs`. Outputs have the bits of
//! `tile.rs` and `narrow.rs` there too, and the rows of a weight gradient are added in halves.
//!
//! Of a batch of one row a vector has no lanes but one to fill so: there a table is a vector of units, and nothing of what
//! is said of sums above holds: `single.rs` takes a row through the network and back, `row.rs` through a stage.

mod calls;
mod grouped;
mod network;
mod pass;
mod product;
mod row;
mod several;
mod single;

pub use calls::{Asked, InTurn, tiny_backward, tiny_batch_steps, tiny_forward, tiny_gradient, tiny_steps};
pub use network::{GROUPED_ROWS, Stage, Tiny, TinyLoss};

//! Elementary functions on vectors: polynomials, without tables, with the same bits on every set.
//!
//! In: a vector. Out: a vector. Only the operations of [`Vector`](crate::simd::Vector) are used, each rounded
//! correctly, in one order; so `scalar`, AVX2 and AVX-512 can't differ, except in the payload of a NaN.
//! Errors and times stand above each function; `examples/accuracy.rs` measures them.

mod coefficients;
mod exp;
mod log;
mod normal;
mod sigmoid;
mod slices;
mod tanh;
#[cfg(test)]
mod tests;

pub(crate) use coefficients::Coefficients;
pub(crate) use exp::{exp, expm1};
pub(crate) use log::{log, log1p, softplus};
pub(crate) use normal::normal;
pub(crate) use sigmoid::sigmoid;
pub use slices::{Elementary, evaluate};
pub(crate) use tanh::tanh;

//! Elementary functions on vectors: polynomials, without tables, with the same bits on every set.
//!
//! In: a vector. Out: a vector. Only the operations of [`Vector`](crate::simd::Vector) are used, each rounded
//! correctly, in one order; so `scalar`, AVX2 and AVX-512 can't differ, except in the payload of a NaN.
//!
//! Measured by `examples/accuracy.rs` and `accuracy_f64.rs`: the largest error in units of the last place (over every
//! `f32`; over 20 million `f64`), and nanoseconds per element in the first-level cache with AVX-512, on a machine that
//! did one vector FMA in 0.18 ns (175 Gflop/s):
//!
//! | function | f32 ulp | f64 ulp | f32 ns | f64 ns |
//! |---|---|---|---|---|
//! | exp | 0.94 | 0.95 | 0.20 | 0.55 |
//! | expm1 | 1.35 | 1.87 | 0.32 | 0.79 |
//! | log | 0.88 | 0.89 | 0.39 | 1.23 |
//! | log1p | 1.52 | 1.29 | 0.49 | 1.35 |
//! | tanh | 0.97 | 1.29 | 0.41 | 1.15 |
//! | sigmoid | 0.93 | 0.93 | 0.48 | 1.16 |
//! | softplus | 1.81 | 1.79 | 0.62 | 1.92 |
//! | normal distribution | 3.15, and 1.2e-7 absolute | 2.2, and 1.6e-16 absolute | 0.68 | 2.08 |

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

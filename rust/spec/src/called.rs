//! Functions of whoever calls: losses and metrics that this crate does not know.
//!
//! In: copies of targets, outputs and weights. Out: numbers, or nothing where a function failed; whoever gave it knows why.

use ndarray::{Array1, Array2};
use std::fmt;
use std::sync::Arc;

/// What some rows should have come out as.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    /// The number of the class of each row.
    Labels(Array1<i64>),
    /// (rows, n_targets)
    Dense(Array2<f64>),
}

/// A function that is a loss or a metric. It is called on the thread that called this crate, and on no other.
pub trait Called: Send + Sync {
    /// The loss of each row, (rows), and its derivative by each output, (rows, n_outputs).
    ///
    /// `y_pred` is (rows, n_outputs), `weights` is (rows).
    fn loss(&self, y_true: Truth, y_pred: Array2<f64>, weights: Array1<f64>) -> Option<(Array1<f64>, Array2<f64>)>;

    /// One number for all rows; without `weights` each of them weighs 1.
    fn metric(&self, y_true: Truth, y_pred: Array2<f64>, weights: Option<Array1<f64>>) -> Option<f64>;

    /// There is no memory for the copies that it would be called with; that counts as if it had failed.
    fn refused(&self) {}
}

/// A [`Called`], or the place of one: the wire form has none.
#[derive(Clone, Default)]
pub struct Function(pub Option<Arc<dyn Called>>);

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Function" } else { "no function" })
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

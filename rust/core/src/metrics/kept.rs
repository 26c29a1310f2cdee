//! Rows that are kept: their outputs, targets and weights, for what can't be found from sums.
//!
//! In: rows one by one. Out: all of them, in the order they came. Room for them is made beforehand.

use crate::data::{Data, Targets};
use crate::error::Error;
use crate::memory;
use dnn_kernels::{Real, Target};
use dnn_spec::Truth;
use ndarray::{Array1, Array2};

/// The rows of an epoch, or of an evaluation.
#[derive(Debug)]
pub struct Kept {
    /// (rows, n_out)
    pub scores: Vec<f64>,
    /// (rows, n_targets); empty where there are labels.
    pub dense: Vec<f64>,
    /// (rows); empty where there are none.
    pub labels: Vec<i64>,
    /// (rows)
    pub weights: Vec<f64>,
    /// Columns of the targets; 0 with labels.
    pub n_targets: usize,
    n_out: usize,
}

impl Kept {
    /// Room for `rows` rows of `data`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new<T: Real>(data: &Data<T>, rows: usize, n_out: usize) -> Result<Kept, Error> {
        let n_targets = match &data.targets {
            Targets::Dense(y) => y.shape().1,
            Targets::Labels(_) => 0,
        };
        let labels = memory::room(if n_targets == 0 { rows } else { 0 }, "the labels that metrics keep")?;
        Ok(Kept {
            scores: room(rows, n_out)?,
            dense: room(rows, n_targets)?,
            labels,
            weights: room(rows, 1)?,
            n_targets,
            n_out,
        })
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.scores.clear();
        self.dense.clear();
        self.labels.clear();
        self.weights.clear();
    }

    /// Keeps a row: its outputs, and what is in the targets at `row`.
    pub fn push<T: Real>(&mut self, y: &[T], target: Target<T>, row: usize, weight: f64) {
        self.scores.extend(y.iter().map(|y| y.to_f64()));
        match target {
            Target::Labels(labels) => self.labels.push(i64::from(labels[row])),
            Target::Dense(t) => self.dense.extend(t.row(row).iter().map(|t| t.to_f64())),
        }
        self.weights.push(weight);
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.weights.len()
    }

    /// Copies: targets, outputs, and weights unless all of them are 1. Nothing where there is no memory for them.
    pub fn to_arrays(&self) -> Option<(Truth, Array2<f64>, Option<Array1<f64>>)> {
        fn copy<A: Copy>(of: &[A]) -> Option<Vec<A>> {
            memory::collected(of.iter().copied(), of.len(), "a copy").ok()
        }
        let table = |data: &[f64], columns: usize| Array2::from_shape_vec((self.rows(), columns), copy(data)?).ok();
        let y_true = match self.n_targets {
            0 => Truth::Labels(copy(&self.labels)?.into()),
            columns => Truth::Dense(table(&self.dense, columns)?),
        };
        let weighted = self.weights.iter().any(|&weight| weight != 1.0);
        let weights = if weighted { Some(copy(&self.weights)?.into()) } else { None };
        Some((y_true, table(&self.scores, self.n_out)?, weights))
    }
}

fn room(rows: usize, columns: usize) -> Result<Vec<f64>, Error> {
    let what = "what metrics keep of all rows";
    memory::room(rows.checked_mul(columns).ok_or_else(|| Error::memory(what, None, size_of::<f64>()))?, what)
}

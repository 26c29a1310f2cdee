//! Metrics of regression that are no mean over rows: from sums over the rows of each output.
//!
//! In: rows one by one. Out: the root of the mean squared error, and R^2, each the mean over outputs.

use dnn_kernels::Real;

/// Which of them.
#[derive(Clone, Copy, Debug)]
pub enum OfErrors {
    /// sqrt(sum w (y - t)^2 / sum w)
    Rmse,
    /// 1 - sum w (y - t)^2 / sum w (t - mean t)^2
    R2,
}

/// Sums over the rows so far.
#[derive(Debug)]
pub struct Errors {
    /// Sum of the weights.
    weight: f64,
    rows: usize,
    of_outputs: Vec<OfOutput>,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfOutput {
    /// sum w (y - t)^2
    squares: f64,
    /// The weighted mean of t, and sum w (t - mean)^2: updated row by row (West 1979), since the difference of two sums
    /// of squares would lose its digits where the mean is large.
    mean: f64,
    scatter: f64,
}

impl Errors {
    /// Nothing added yet.
    pub fn new(n_out: usize) -> Errors {
        Errors { weight: 0.0, rows: 0, of_outputs: vec![OfOutput::default(); n_out] }
    }

    /// Starts over.
    pub fn clear(&mut self) {
        *self = Errors { weight: 0.0, rows: 0, of_outputs: std::mem::take(&mut self.of_outputs) };
        self.of_outputs.fill(OfOutput::default());
    }

    /// Adds a row of `y` and `t`, each (n_out), where `value` makes an output of y.
    pub fn add<T: Real>(&mut self, y: &[T], t: &[T], weight: f64, value: impl Fn(f64) -> f64) {
        // A row that weighs nothing is not there.
        if weight == 0.0 {
            return;
        }
        self.weight += weight;
        self.rows += 1;
        for (of, (y, t)) in self.of_outputs.iter_mut().zip(y.iter().zip(t)) {
            let (y, t) = (value(y.to_f64()), t.to_f64());
            of.squares += weight * (y - t).powi(2);
            let distance = t - of.mean;
            of.mean += distance * weight / self.weight;
            of.scatter += weight * distance * (t - of.mean);
        }
    }

    /// The mean over outputs; NaN for R^2 of a single row.
    pub fn value(&self, of: OfErrors) -> f64 {
        let values = self.of_outputs.iter().map(|output| match of {
            OfErrors::Rmse => (output.squares / self.weight).sqrt(),
            OfErrors::R2 if self.rows < 2 => f64::NAN,
            // All targets are the same: scikit-learn's choice.
            OfErrors::R2 if output.scatter == 0.0 => f64::from(u8::from(output.squares == 0.0)),
            OfErrors::R2 => 1.0 - output.squares / output.scatter,
        });
        values.sum::<f64>() / self.of_outputs.len() as f64
    }
}

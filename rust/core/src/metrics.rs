//! Metrics: how well outputs fit, beside the loss.
//!
//! In: what the forward pass left in the last layer, and the targets. Out: weighted sums, divided at the end.

use crate::batches::Batch;
use crate::error::Error;
use crate::loss::Loss;
use crate::plan::{Layer, Output, Plan};
use crate::spec::Metric;
use dnn_kernels::{Activation, Real, Target, View};

/// The sum of a metric over rows.
#[derive(Clone, Debug)]
pub struct Sums {
    metrics: Vec<Metric>,
    sums: Vec<f64>,
}

impl Sums {
    /// # Errors
    /// [`Error::Invalid`] where a metric does not fit the loss.
    pub fn new(metrics: &[Metric], loss: &Loss, last: &Layer) -> Result<Sums, Error> {
        let bounded = matches!(last.output, Output::Softmax | Output::Pointwise(Activation::Sigmoid));
        let classes = bounded || loss.is_hinge();
        for metric in metrics {
            match metric {
                Metric::Accuracy if !classes => {
                    return Err(Error::invalid(
                        "the metric 'accuracy' is for classes: it needs a last layer with softmax or sigmoid, \
                         or a hinge loss; for regression use 'mae' or 'mse'",
                    ));
                }
                Metric::Mae | Metric::Mse if loss.takes_z() && !is_log(last) => {
                    return Err(Error::invalid(
                        "the metrics 'mae' and 'mse' are for regression; with a cross entropy use 'accuracy'",
                    ));
                }
                Metric::Mae | Metric::Mse if loss.n_targets() != last.n_out => {
                    return Err(Error::invalid(
                        "the metrics 'mae' and 'mse' compare every output with a target of its own, but this loss has \
                         several outputs for each target",
                    ));
                }
                _ => {}
            }
        }
        Ok(Sums { metrics: metrics.to_vec(), sums: vec![0.0; metrics.len()] })
    }

    /// Whether there is nothing to measure.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    /// Starts over.
    pub fn clear(&mut self) {
        self.sums.fill(0.0);
    }

    /// Adds a block of rows.
    pub fn add<T: Real>(&mut self, plan: &Plan, batch: &Batch<T>, output: View<T>) {
        // Where the loss takes z, a probability of one half is z = 0.
        let from_z = plan.loss.as_ref().is_some_and(|loss| loss.takes_z());
        let half = |output: Output| match output {
            Output::Pointwise(Activation::Sigmoid) if !from_z => 0.5,
            _ => 0.0,
        };
        let threshold = half(plan.last().output);
        let target_threshold = if plan.loss.as_ref().is_some_and(|loss| loss.is_hinge()) { 0.0 } else { 0.5 };
        // Several outputs name one class by the largest of them, unless the loss takes each for a class of its own.
        let several_classes = plan.loss.as_ref().is_some_and(|loss| loss.is_binary() || loss.is_hinge());
        // What z is the logarithm of.
        let exp = from_z && is_log(plan.last());
        let value = |y: f64| if exp { y.exp() } else { y };
        let one_class = plan.n_outputs() > 1 && !several_classes;
        for (metric, sum) in self.metrics.iter().zip(&mut self.sums) {
            for (i, weight) in batch.weights().iter().enumerate() {
                let y = output.row(i);
                let of_row = match (metric, batch.target()) {
                    (Metric::Accuracy, Target::Labels(labels)) => f64::from(u8::from(largest(y) == labels[i] as usize)),
                    (Metric::Accuracy, Target::Dense(t)) if one_class => {
                        f64::from(u8::from(largest(y) == largest(t.row(i))))
                    }
                    (Metric::Accuracy, Target::Dense(t)) => {
                        mean(y, t.row(i), |y, t| f64::from(u8::from((y > threshold) == (t > target_threshold))))
                    }
                    (Metric::Mae, Target::Dense(t)) => mean(y, t.row(i), |y, t| (value(y) - t).abs()),
                    (Metric::Mse, Target::Dense(t)) => mean(y, t.row(i), |y, t| (value(y) - t).powi(2)),
                    (Metric::Mae | Metric::Mse, Target::Labels(_)) => unreachable!("refused by `Sums::new`"),
                };
                *sum += weight * of_row;
            }
        }
    }

    /// Each metric over a total weight.
    pub fn means(&self, total_weight: f64) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / total_weight).collect()
    }
}

/// Whether z is the logarithm of the output.
fn is_log(last: &Layer) -> bool {
    last.output == Output::Pointwise(Activation::Exponential)
}

/// The number of the largest element, the first of equals.
fn largest<T: Real>(row: &[T]) -> usize {
    let mut best = 0;
    for (j, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = j;
        }
    }
    best
}

fn mean<T: Real>(y: &[T], t: &[T], f: impl Fn(f64, f64) -> f64) -> f64 {
    y.iter().zip(t).map(|(y, t)| f(y.to_f64(), t.to_f64())).sum::<f64>() / y.len() as f64
}

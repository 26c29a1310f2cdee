//! Metrics: how well outputs fit, beside the loss.
//!
//! In: what the forward pass left in the last layer, and the targets, block by block. Out: a number for each metric at
//! the end. Most are found from sums; what depends on all rows at once has their outputs kept, in the order they came.

mod classes;
mod kept;
mod numbers;
mod ranks;

use crate::batches::Batch;
use crate::data::Data;
use crate::error::{Error, counted};
use crate::loss::Loss;
use crate::memory::room;
use crate::plan::{Layer, Output, Plan};
use classes::{Counts, Score};
use dnn_kernels::{Activation, Buffer, Isa, Real, Target, Team, View, ViewMut, activate_rows, softmax_in_place};
use dnn_spec::{Average, Function, Measure, Metric};
use kept::Kept;
use numbers::{Errors, OfErrors};

/// Rows whose last activation is found together, where a metric goes by it.
const SCORED_ROWS: usize = 64;

/// What metrics are found from, summed over rows.
#[derive(Debug)]
pub struct Sums<T: Real> {
    measured: Vec<Measured>,
    reading: Reading,
    /// The outputs of [`SCORED_ROWS`] rows as `predict` has them; no room where nobody asks for them.
    scores: Buffer<T>,
    kept: Option<Kept>,
}

#[derive(Debug)]
enum Measured {
    /// The mean over rows of what each of them is worth.
    Mean(OfRow, f64),
    /// From sums over the rows of each output.
    Errors(OfErrors, Errors),
    /// From the weight of the rows of each class.
    Counts(Score, Average, f64, Counts),
    /// From the scores of all rows, with room for their numbers.
    Auc(Average, Vec<ranks::Row>),
    /// By a function of whoever calls.
    Called(Function),
}

#[derive(Clone, Copy, Debug)]
enum OfRow {
    Accuracy,
    Mae,
    Mse,
    /// Whether the right class is among the k largest outputs.
    TopK(usize),
}

/// How outputs and targets tell classes.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Whether the largest of several outputs names the class; else each of them says yes or no.
    pub one_of: bool,
    /// Columns of outputs.
    pub n_out: usize,
    /// A target above this is a yes.
    pub target_threshold: f64,
}

impl Reading {
    fn new(loss: &Loss, last: &Layer) -> Reading {
        // Several outputs name one class by the largest of them, unless the loss takes each for a class of its own.
        let one_of = last.n_out > 1 && !(loss.is_binary() || loss.is_hinge());
        Reading { one_of, n_out: last.n_out, target_threshold: if loss.is_hinge() { 0.0 } else { 0.5 } }
    }

    /// Whether there are two classes, of which the last output is the score of the second.
    pub fn is_binary(self) -> bool {
        self.n_out == 1 || self.one_of && self.n_out == 2
    }

    /// Whether a row is of class `j`, or its answer to question `j` is yes.
    pub fn is_of<T: Real>(self, t: &[T], j: usize) -> bool {
        if self.one_of { largest(t) == j } else { t[j].to_f64() > self.target_threshold }
    }
}

impl<T: Real> Sums<T> {
    /// Room to measure `rows` rows of `data`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a metric does not fit the loss; [`Error::Memory`].
    pub fn new(metrics: &[Metric], loss: &Loss, last: &Layer, data: &Data<T>, rows: usize) -> Result<Sums<T>, Error> {
        let reading = Reading::new(loss, last);
        let measured = metrics.iter().map(|metric| {
            check(&metric.measure, loss, last, reading)?;
            Ok(match metric.measure {
                Measure::Accuracy => Measured::Mean(OfRow::Accuracy, 0.0),
                Measure::Mae => Measured::Mean(OfRow::Mae, 0.0),
                Measure::Mse => Measured::Mean(OfRow::Mse, 0.0),
                Measure::TopK { k } => Measured::Mean(OfRow::TopK(k), 0.0),
                Measure::Rmse => Measured::Errors(OfErrors::Rmse, Errors::new(last.n_out)),
                Measure::R2 => Measured::Errors(OfErrors::R2, Errors::new(last.n_out)),
                Measure::Precision { average, threshold } => counts(Score::Precision, average, threshold, reading),
                Measure::Recall { average, threshold } => counts(Score::Recall, average, threshold, reading),
                Measure::F1 { average, threshold } => counts(Score::F1, average, threshold, reading),
                Measure::Auc { average } => Measured::Auc(average, room(rows, "the order of the scores")?),
                Measure::Called { ref function } => Measured::Called(function.clone()),
            })
        });
        let measured = measured.collect::<Result<Vec<_>, Error>>()?;
        let keeps = measured.iter().any(|of| matches!(of, Measured::Auc(..) | Measured::Called(_)));
        let kept = keeps.then(|| Kept::new(data, rows, last.n_out)).transpose()?;
        let scored = keeps || measured.iter().any(Measured::goes_by_scores);
        let count = if scored { SCORED_ROWS * last.stride } else { 0 };
        let refused = || Error::memory("the outputs that metrics go by", Some(count), size_of::<T>());
        Ok(Sums { measured, reading, scores: Buffer::zeroed(count).ok_or_else(refused)?, kept })
    }

    /// Whether there is nothing to measure.
    pub fn is_empty(&self) -> bool {
        self.measured.is_empty()
    }

    /// Starts over.
    pub fn clear(&mut self) {
        for measured in &mut self.measured {
            match measured {
                Measured::Mean(_, sum) => *sum = 0.0,
                Measured::Errors(_, errors) => errors.clear(),
                Measured::Counts(.., counts) => counts.clear(),
                Measured::Auc(..) | Measured::Called(_) => {}
            }
        }
        if let Some(kept) = &mut self.kept {
            kept.clear();
        }
    }

    /// Adds a block of rows.
    pub fn add(&mut self, plan: &Plan, batch: &Batch<T>, output: View<T>) {
        let loss = plan.loss.as_ref();
        let from_z = loss.is_some_and(|loss| loss.takes_z());
        self.add_by_output(plan, batch, output, from_z);
        if self.scores.is_empty() {
            return;
        }
        for start in (0..output.rows).step_by(SCORED_ROWS) {
            let rows = SCORED_ROWS.min(output.rows - start);
            let (from, len) = (start * output.stride, rows * output.stride);
            let block = View::new(&output.data[from..from + len], rows, output.columns, output.stride);
            let scores = &mut self.scores[..len];
            if from_z {
                activate(plan.isa, plan.last().output, block, scores);
            } else {
                scores.copy_from_slice(block.data);
            }
            self.add_by_scores(batch, start, rows, output.stride);
        }
    }

    /// What goes by the output as the loss takes it.
    fn add_by_output(&mut self, plan: &Plan, batch: &Batch<T>, output: View<T>, from_z: bool) {
        // Where the loss takes z, a probability of one half is z = 0.
        let threshold = match plan.last().output {
            Output::Pointwise(Activation::Sigmoid) if !from_z => 0.5,
            _ => 0.0,
        };
        // What z is the logarithm of.
        let exp = from_z && is_log(plan.last());
        let value = |y: f64| if exp { y.exp() } else { y };
        let Reading { one_of, target_threshold, .. } = self.reading;
        for measured in &mut self.measured {
            for (i, &weight) in batch.weights().iter().enumerate() {
                let y = output.row(i);
                match (&mut *measured, batch.target()) {
                    (Measured::Mean(OfRow::TopK(_), _) | Measured::Counts(..), _) => {}
                    (Measured::Auc(..) | Measured::Called(_), _) => {}
                    (Measured::Mean(OfRow::Accuracy, sum), Target::Labels(labels)) => {
                        *sum += weight * f64::from(u8::from(largest(y) == labels[i] as usize));
                    }
                    (Measured::Mean(OfRow::Accuracy, sum), Target::Dense(t)) if one_of => {
                        *sum += weight * f64::from(u8::from(largest(y) == largest(t.row(i))));
                    }
                    (Measured::Mean(OfRow::Accuracy, sum), Target::Dense(t)) => {
                        let is_right = |y, t| f64::from(u8::from((y > threshold) == (t > target_threshold)));
                        *sum += weight * mean(y, t.row(i), is_right);
                    }
                    (Measured::Mean(OfRow::Mae, sum), Target::Dense(t)) => {
                        *sum += weight * mean(y, t.row(i), |y, t| (value(y) - t).abs());
                    }
                    (Measured::Mean(OfRow::Mse, sum), Target::Dense(t)) => {
                        *sum += weight * mean(y, t.row(i), |y, t| (value(y) - t).powi(2));
                    }
                    (Measured::Errors(_, errors), Target::Dense(t)) => errors.add(y, t.row(i), weight, value),
                    (Measured::Mean(..) | Measured::Errors(..), Target::Labels(_)) => {
                        unreachable!("refused by `Sums::new`")
                    }
                }
            }
        }
    }

    /// What goes by the outputs of `predict`, which are in `scores` for the rows from `start` on.
    fn add_by_scores(&mut self, batch: &Batch<T>, start: usize, rows: usize, stride: usize) {
        let (reading, target) = (self.reading, batch.target());
        for (i, y) in self.scores.chunks_exact(stride).take(rows).enumerate() {
            let (row, y) = (start + i, &y[..reading.n_out]);
            let weight = batch.weights()[row];
            for measured in &mut self.measured {
                match measured {
                    Measured::Mean(OfRow::TopK(k), sum) => {
                        let class = match target {
                            Target::Labels(labels) => labels[row] as usize,
                            Target::Dense(t) => largest(t.row(row)),
                        };
                        *sum += weight * f64::from(u8::from(ranks::place(y, class) < *k));
                    }
                    Measured::Counts(_, _, threshold, counts) => match target {
                        Target::Labels(labels) => counts.add_class(largest(y), labels[row] as usize, weight),
                        Target::Dense(t) => counts.add(reading, y, t.row(row), *threshold, weight),
                    },
                    _ => {}
                }
            }
            if let Some(kept) = &mut self.kept {
                kept.push(y, target, row, weight);
            }
        }
    }

    /// Each metric, for rows of this total weight; nothing where a function failed. NaN where a metric is not defined.
    pub fn values(&mut self, total_weight: f64) -> Option<Vec<f64>> {
        let (reading, kept) = (self.reading, &self.kept);
        let value = |measured: &mut Measured| match (measured, kept) {
            (Measured::Mean(_, sum), _) => Some(*sum / total_weight),
            (Measured::Errors(of, errors), _) => Some(errors.value(*of)),
            (Measured::Counts(score, average, _, counts), _) => Some(counts.value(*score, *average, reading)),
            (Measured::Auc(average, order), Some(kept)) => Some(ranks::auc(kept, reading, *average, order)),
            (Measured::Called(function), Some(kept)) => {
                let function = function.0.as_ref()?;
                let Some((y_true, y_pred, weights)) = kept.to_arrays() else {
                    function.refused();
                    return None;
                };
                function.metric(y_true, y_pred, weights)
            }
            (Measured::Auc(..) | Measured::Called(_), None) => unreachable!("rows are kept for them"),
        };
        self.measured.iter_mut().map(value).collect()
    }
}

impl Measured {
    /// Whether it goes by what `predict` would give, and not by what the loss takes.
    fn goes_by_scores(&self) -> bool {
        matches!(self, Measured::Mean(OfRow::TopK(_), _) | Measured::Counts(..))
    }
}

fn counts(score: Score, average: Average, threshold: Option<f64>, reading: Reading) -> Measured {
    let n = if reading.n_out == 1 { 2 } else { reading.n_out };
    Measured::Counts(score, average, threshold.unwrap_or(reading.target_threshold), Counts::new(n))
}

/// Whether a metric fits its network.
fn check(measure: &Measure, loss: &Loss, last: &Layer, reading: Reading) -> Result<(), Error> {
    use Measure::{Accuracy, Auc, Called, F1, Mae, Mse, Precision, R2, Recall, Rmse, TopK};
    let refuse = |message: &str| Err(Error::invalid(message));
    let bounded = matches!(last.output, Output::Softmax | Output::Pointwise(Activation::Sigmoid));
    let classes = bounded || loss.is_hinge();
    match *measure {
        Accuracy if !classes => refuse(
            "the metric 'accuracy' is for classes: it needs a last layer with softmax or sigmoid, or a hinge loss; for \
             regression use 'mae' or 'mse'",
        ),
        TopK { .. } | Precision { .. } | Recall { .. } | F1 { .. } | Auc { .. } if !classes => refuse(
            "top_k, precision, recall, f1 and auc are for classes: they need a last layer with softmax or sigmoid, or a \
             hinge loss",
        ),
        Mae | Mse | Rmse | R2 if loss.takes_labels() || loss.takes_z() && !is_log(last) => {
            refuse("the metrics 'mae', 'mse', 'rmse' and 'r2' are for regression; with a cross entropy use 'accuracy'")
        }
        Mae | Mse | Rmse | R2 | TopK { .. } | Precision { .. } | Recall { .. } | F1 { .. } | Auc { .. }
            if loss.n_targets() != last.n_out =>
        {
            refuse(
                "this metric compares every output with a target of its own, but the loss has several outputs for each \
                 target",
            )
        }
        TopK { k } if !reading.one_of || k == 0 || k >= last.n_out => Err(Error::Invalid(format!(
            "top_k with k={k} needs a class of more than k: the last layer has {}",
            counted(last.n_out, "output")
        ))),
        Precision { threshold: Some(_), .. } | Recall { threshold: Some(_), .. } | F1 { threshold: Some(_), .. }
            if reading.one_of =>
        {
            refuse("a threshold is for outputs that say yes or no each; of several classes the largest output counts")
        }
        Precision { average: Average::Binary, .. }
        | Recall { average: Average::Binary, .. }
        | F1 { average: Average::Binary, .. }
        | Auc { average: Average::Binary }
            if !reading.is_binary() =>
        {
            refuse("average='binary' is for two classes")
        }
        Auc { average: Average::Micro } => refuse("auc has no average 'micro'"),
        Accuracy | Mae | Mse | Rmse | R2 => Ok(()),
        TopK { .. } | Precision { .. } | Recall { .. } | F1 { .. } | Auc { .. } | Called { .. } => Ok(()),
    }
}

/// `a = f(z)` of the last layer, as `predict` finds it.
fn activate<T: Real>(isa: Isa, output: Output, z: View<T>, a: &mut [T]) {
    let (rows, columns, stride) = (z.rows, z.columns, z.stride);
    let f = if let Output::Pointwise(f) = output { f } else { Activation::Identity };
    activate_rows(isa, &Team::solo(), f, z, ViewMut::new(a, rows, columns, stride));
    if output == Output::Softmax {
        softmax_in_place(isa, ViewMut::new(a, rows, columns, stride));
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

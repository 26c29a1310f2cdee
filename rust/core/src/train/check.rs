//! What a call of `fit` may ask for.

use crate::averaging;
use crate::clip;
use crate::error::Error;
use dnn_spec::{BatchSize, FitSpec};

/// The largest rate. A step along a gradient whose squares are finite is then finite itself, in float32 as well.
const MAX_RATE: f64 = 1e15;

/// Checks the numbers of a call of `fit`; returns the rows of a step, and those that go through the network together.
pub fn check(spec: &FitSpec, rows: usize, validates: bool) -> Result<(usize, usize), Error> {
    if spec.accumulate == 0 {
        return Err(Error::invalid("accumulate must be at least 1, got 0"));
    }
    clip::check(spec.clip)?;
    averaging::check(spec.averaging)?;
    let block_rows = match &spec.batch_size {
        BatchSize::Rows(0) => return Err(Error::invalid("batch_size must be at least 1, got 0")),
        BatchSize::Rows(size) => (*size).min(rows),
        BatchSize::Named(name) if name == "full" => rows,
        BatchSize::Named(name) => {
            return Err(Error::Invalid(format!("batch_size must be a whole number or 'full', got {name:?}")));
        }
    };
    if spec.epochs <= spec.initial_epoch {
        let (epochs, first) = (spec.epochs, spec.initial_epoch);
        return Err(Error::Invalid(format!(
            "epochs must be above initial_epoch, got epochs={epochs}, initial_epoch={first}"
        )));
    }
    if spec.n_iter_no_change == 0 || spec.patience == Some(0) {
        return Err(Error::invalid("n_iter_no_change and patience must be at least 1, got 0"));
    }
    let numbers = [("tol", spec.tol), ("max_time", spec.max_time), ("min_delta", Some(spec.min_delta))];
    for (name, value) in numbers {
        if let Some(value) = value.filter(|&value| !(value >= 0.0 && value.is_finite())) {
            return Err(Error::Invalid(format!("{name} must be 0 or more, got {value}")));
        }
    }
    for (name, factor) in
        [("gradient_factor", spec.objective.gradient_factor), ("loss_factor", spec.objective.loss_factor)]
    {
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(Error::Invalid(format!("{name} must be positive, got {factor}")));
        }
    }
    if spec.baseline.is_some_and(|baseline| !baseline.is_finite()) {
        return Err(Error::invalid("baseline must be finite"));
    }
    if let Some(watched) = &spec.watched
        && (watched.validation && !validates || watched.metric.is_some_and(|metric| metric >= spec.metrics.len()))
    {
        return Err(Error::Invalid(format!("{} is to be watched, but is not measured", watched.name)));
    }
    spec.learning_rate.map_or(Ok(()), check_rate)?;
    // The gradient of several batches is that of one batch of all their rows: it has been a sum over rows all along.
    Ok((block_rows.saturating_mul(spec.accumulate).min(rows), block_rows))
}

/// Whether a step may take this rate.
pub fn check_rate(rate: f64) -> Result<(), Error> {
    if (0.0..=MAX_RATE).contains(&rate) {
        return Ok(());
    }
    Err(Error::Invalid(format!("learning_rate must be from 0 to {MAX_RATE:e}, got {rate}")))
}

//! Evaluation: how well a model does on data that it does not learn from.
//!
//! In: parameters and data. Out: the mean loss, with the penalty of the weights, and metrics. Nothing is changed.

use crate::batches::all_rows;
use crate::data::Data;
use crate::error::Error;
use crate::metrics::Sums;
use crate::model::Model;
use crate::params::Params;
use crate::penalty::penalty;
use crate::plan::Plan;
use crate::run::Run;
use crate::step::{Outcome, Step};
use dnn_kernels::{Real, Team};
use dnn_spec::Metric;

/// Room to evaluate data, allocated once.
#[derive(Debug)]
pub struct Evaluation<T: Real> {
    step: Step<T>,
    rows: Vec<u32>,
}

impl<T: Real> Evaluation<T> {
    /// Room for this data.
    ///
    /// # Errors
    /// [`Error::Memory`]; [`Error::Invalid`] for more than 2^32 rows.
    pub fn new(plan: &Plan, data: &Data<T>) -> Result<Evaluation<T>, Error> {
        Ok(Evaluation { step: Step::evaluating(plan, data)?, rows: all_rows(data.rows())? })
    }

    /// Mean loss and metrics; as [`Step::loss`] where there are none.
    pub fn loss(
        &mut self,
        plan: &Plan,
        team: &Team,
        params: &Params<T>,
        data: &Data<T>,
        sums: &mut Sums<T>,
        go_on: impl FnMut() -> bool,
    ) -> Result<(f64, Vec<f64>), Outcome> {
        sums.clear();
        team.keep_weights(true);
        let found = self.step.loss(plan, team, params, None, data, &self.rows, Some(sums), go_on);
        team.keep_weights(false);
        let (loss, weight) = found?;
        Ok((loss / weight + penalty(plan, team, params), sums.values(weight).ok_or(Outcome::Raised)?))
    }
}

/// Mean loss and metrics of a model on data.
///
/// # Errors
/// [`Error::Memory`]; [`Error::Invalid`] for a metric that does not fit; [`Error::Raised`].
pub fn evaluate<'a, T: Real>(
    model: &Model<T>,
    data: &Data<T>,
    metrics: &[Metric],
    run: impl Into<Run<'a>>,
) -> Result<(f64, Vec<f64>), Error> {
    let (plan, mut run) = (&model.plan, run.into());
    let loss = plan.loss.as_ref().ok_or_else(|| Error::invalid("the model has no loss yet: call compile"))?;
    let mut sums = Sums::new(metrics, loss, plan.last(), data, data.rows())?;
    let (mut evaluation, team) = (Evaluation::new(plan, data)?, Team::of(run.threads()));
    let found = evaluation.loss(plan, &team, &model.params, data, &mut sums, || run.goes_on());
    found.map_err(|_| Error::Raised)
}

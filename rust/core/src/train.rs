//! Training: epochs of batches, each forward, loss, backward and one simultaneous update.
//!
//! In: a model, data, what was asked for. Out: the model after the last finished step, and what was measured. Everything
//! is checked, and room is made, before the first step; after it no error is returned.

mod check;
mod ended;
mod epochs;

use crate::batches::all_rows;
use crate::clip;
use crate::data::Data;
use crate::error::Error;
use crate::history::History;
use crate::metrics::Sums;
use crate::model::Model;
use crate::observer::Observer;
use crate::optimizer::{Optimizer, Reach};
use crate::params::Params;
use crate::plan::Plan;
use crate::run::Run;
use crate::step::{Outcome, Step};
use check::check_rate;
use dnn_kernels::{Real, Team};
use dnn_spec::{Clip, FitSpec, Metric, StepSpec};
use ended::{diverged, too_large};
use epochs::Training;

/// Trains a model.
///
/// # Errors
/// Before the first step, with the model unchanged: [`Error::Invalid`], [`Error::Memory`].
pub fn fit<T: Real>(
    model: &mut Model<T>,
    data: &Data<T>,
    validation: Option<&Data<T>>,
    spec: &FitSpec,
    observer: &mut dyn Observer<T>,
) -> Result<History, Error> {
    Ok(Training::new(model, data, validation, spec)?.run(observer))
}

/// One step on all rows of `data`: the loss and the metrics before its update.
///
/// # Errors
/// [`Error::Invalid`] where the step would diverge, [`Error::Raised`] (the model is then as it was); [`Error::Memory`].
pub fn train_on_batch<'a, T: Real>(
    model: &mut Model<T>,
    data: &Data<T>,
    how: StepSpec,
    metrics: &[Metric],
    run: impl Into<Run<'a>>,
) -> Result<(f64, Vec<f64>), Error> {
    let mut run = run.into();
    let Model { plan, params, running, optimizer, progress, .. } = model;
    let (Some(optimizer), Some(loss)) = (optimizer, &plan.loss) else {
        return Err(Error::invalid("the model has no loss and optimizer yet: call compile"));
    };
    if optimizer.pairs.is_some() {
        return Err(Error::invalid("L-BFGS compares losses of the same rows, so it has no single step: call fit"));
    }
    let rate = how.learning_rate;
    check_rate(rate)?;
    clip::check(how.clip)?;
    let mut sums = Sums::new(metrics, loss, plan.last(), data, data.rows())?;
    let rows = all_rows(data.rows())?;
    let mut step = Step::new(plan, data, data.rows())?;
    step.products = plan.products;
    let is_unseen = !looks_at_gradients(optimizer, how.clip) && data.rows() <= step.block_rows();
    step.make_gradient(plan, is_unseen.then_some(&*optimizer), false)?;
    let team = Team::of(run.threads());
    let (number, sums) = (running.batches, &mut sums);
    match step.loss_and_gradient(plan, &team, params, number, data, (&rows, &[]), Some(sums), || run.goes_on(), None) {
        Outcome::Done { loss, weight, penalty } => {
            // Before anything changes: a metric that is a function may fail.
            let metrics = sums.values(weight).ok_or(Error::Raised)?;
            clip::clip(plan, &team, how.clip, step.gradient_mut());
            let mut reach = progress.known_reach();
            if !is_allowed(plan, &team, &mut step, &mut reach, optimizer, rate, params) {
                return Err(Error::Invalid(diverged(&too_large::<T>(&optimizer.spec, rate), None, Some(rate))));
            }
            step.take(plan, &team, optimizer, rate, params, false, None);
            step.remember_moments(plan, params);
            running.count(1);
            progress.weights_changed();
            progress.reach = reach;
            Ok((loss / weight + penalty, metrics))
        }
        Outcome::Diverged(what) => Err(Error::Invalid(diverged(&what, None, Some(rate)))),
        Outcome::Raised | Outcome::Stopped => Err(Error::Raised),
    }
}

/// Whether something looks at the whole gradient before a step is taken along it.
fn looks_at_gradients<T: Real>(optimizer: &Optimizer<T>, clip: Clip) -> bool {
    clip != Clip::default() || !optimizer.is_element_by_element()
}

/// Whether the weights are sure to be numbers after the step. Where that is not sure for any gradient, this one is looked
/// at.
fn is_allowed<T: Real>(
    plan: &Plan,
    team: &Team,
    step: &mut Step<T>,
    reach: &mut Reach,
    optimizer: &Optimizer<T>,
    rate: f64,
    params: &Params<T>,
) -> bool {
    if !step.is_whole() {
        if reach.allows(plan, optimizer, rate, params, None) {
            return true;
        }
        // It is known to be finite, or it would not wait.
        let _known = step.make_whole(plan, team);
    }
    reach.allows(plan, optimizer, rate, params, Some(step.gradient()))
}

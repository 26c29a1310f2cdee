//! Training: epochs of batches, each forward, loss, backward and one simultaneous update.
//!
//! In: a model, data, what was asked for. Out: the model after the last finished step, and what was measured.
//! Nothing here returns an error or allocates between the first and the last step.

use crate::averaging;
use crate::batches::{BLOCK_ROWS, Batches, all_rows};
use crate::clip;
use crate::data::Data;
use crate::error::{Error, short};
use crate::evaluate::Evaluation;
use crate::history::{Epoch, History, Stopped};
use crate::lbfgs::{Lbfgs, Limits};
use crate::memory::filled;
use crate::metrics::Sums;
use crate::model::Model;
use crate::optimizer::{Optimizer, decay_of};
use crate::params::Params;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run::Run;
use crate::running::Running;
use crate::spec::{BatchSize, FitSpec, Metric, OptimizerSpec, StepSpec};
use crate::step::{Outcome, Step};
use crate::stopping::watched;
use dnn_kernels::{Pace, Real, Team, sum_of_squares};

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Flow {
    Go,
    Stop,
}

/// What training changes, lent to the observer, who may change it too.
#[derive(Debug)]
pub struct State<'a, T: Real> {
    /// Weights and biases.
    pub params: &'a mut Params<T>,
    /// With its memory.
    pub optimizer: &'a mut Optimizer<T>,
    /// What is gathered beside them.
    pub running: &'a mut Running,
    /// Epochs begun in the life of the model.
    pub epochs: u64,
    /// Where a `fit` that goes on would begin.
    pub progress: &'a mut Progress<T>,
}

/// Who looks on while a model learns: the only way up from this crate. It has the clock.
pub trait Observer<T: Real> {
    /// Since the start of `fit`.
    fn seconds(&mut self) -> f64;
    /// Whether the user has asked to stop; called every millisecond or so.
    fn interrupted(&mut self) -> bool;
    /// Writes the rates of the coming steps, which are counted over the life of the optimizer.
    fn rates(&mut self, first_step: u64, rates: &mut [f64]) -> Flow;
    /// Whether the last stop came of something that went wrong; then the weights stay those of the last step.
    fn failed(&self) -> bool {
        false
    }
    /// Writes the numbers of the rows of an epoch, where the spec wants them from here. It finds the last ones.
    fn order(&mut self, _epoch: usize, _order: &mut [u32]) -> Flow {
        Flow::Go
    }
    /// Before an epoch.
    fn epoch_begin(&mut self, epoch: usize, state: State<T>) -> Flow;
    /// After an epoch; `last` when training ends with it.
    fn epoch_end(&mut self, epoch: &Epoch, last: bool, state: State<T>) -> Flow;
    /// Before a step.
    fn batch_begin(&mut self, batch: usize, state: State<T>) -> Flow;
    /// After a step.
    fn batch_end(&mut self, batch: usize, loss: f64, state: State<T>) -> Flow;
}

/// Multiply-adds between two questions to [`Observer::interrupted`]: below a millisecond on the sets with vectors.
const WORK_PER_QUESTION: usize = 8 << 20;

/// The largest rate. A step along a gradient whose squares are finite is then finite itself, in float32 as well.
const MAX_RATE: f64 = 1e15;

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
    let Model { plan, params, running, optimizer, epochs: epochs_begun, progress, .. } = model;
    let (Some(optimizer), Some(loss)) = (optimizer, &plan.loss) else {
        return Err(Error::invalid("the model has no loss and optimizer yet: call compile"));
    };
    let epoch_rows = spec.order_rows.unwrap_or(data.rows());
    let (mut batch_size, mut block_rows) = check(spec, epoch_rows, validation.is_some())?;
    if epoch_rows == 0 || epoch_rows > data.rows() {
        let rows = data.rows();
        return Err(Error::Invalid(format!("an epoch takes from 1 to {rows} rows, order gives {epoch_rows}")));
    }
    let mut lbfgs = None;
    if let OptimizerSpec::Lbfgs { m, max_fun, gtol, ftol } = optimizer.spec {
        if let Some(layer) = plan.layers.iter().find(|layer| layer.max_norm.is_some()) {
            return Err(Error::Invalid(format!(
                "layer {} has a max_norm, which the line search of L-BFGS can't keep; use another optimizer",
                layer.name
            )));
        }
        lbfgs = Some(Lbfgs::new(Limits { gtol, ftol, max_fun }, m, plan)?);
        (batch_size, block_rows) = (data.rows(), data.rows());
        if spec.order_rows.is_some() {
            return Err(Error::invalid("L-BFGS takes all rows in every epoch, so there is no order to give"));
        }
        if spec.averaging.is_some() {
            return Err(Error::invalid("L-BFGS ends at the lowest loss it has found, so there is nothing to average"));
        }
    }
    if block_rows == 1 && plan.has_batch_statistics() {
        return Err(Error::invalid(
            "batch_size=1 leaves nothing to normalise with: a row alone has no variance; give batches of several rows, \
             or use LayerNormalization, which does not look at other rows",
        ));
    }
    let mut sums = Sums::new(&spec.metrics, loss, plan.last(), data, epoch_rows)?;
    let val_sums = validation.map(|data| Sums::new(&spec.metrics, loss, plan.last(), data, data.rows()));
    let mut val_sums = val_sums.transpose()?;
    let mut batches = Batches::new(epoch_rows, batch_size)?;
    let mut step = Step::new(plan, data, block_rows)?;
    step.objective = spec.objective;
    let mut val_step = validation.map(|data| Evaluation::new(plan, data)).transpose()?;
    let mut rates = filled(spec.learning_rate.unwrap_or(0.0), batches.count(), "the rates of an epoch")?;
    let mut history = History {
        epochs: Vec::with_capacity((spec.epochs - spec.initial_epoch).min(1 << 16)),
        metrics: spec.metrics.clone(),
        stopped: Stopped::Epochs,
        message: String::new(),
        steps: 0,
        best_epoch: None,
    };
    // A mean of weights has means and variances of its own.
    let averages_moments = spec.averaging.is_some() && plan.has_batch_statistics();
    let all_rows = if averages_moments { all_rows(data.rows())? } else { vec![] };
    let is_watched = spec.watched.is_some() || validation.is_some();
    progress.begin(spec.initial_epoch, is_watched && spec.restore_best, spec.averaging, params)?;
    let mut questions = Questions::default();
    let team = Team::of(spec.n_threads);
    let mut pace = Pace::of(&team);

    // What an observer is lent; a macro, because each loan has to end before the next line.
    macro_rules! state {
        () => {
            State {
                params: &mut *params,
                optimizer: &mut *optimizer,
                running: &mut *running,
                epochs: *epochs_begun,
                progress: &mut *progress,
            }
        };
    }
    let mut ended: Option<(Stopped, String)> = None;
    'epochs: for number in spec.initial_epoch..spec.epochs {
        if spec.order_rows.is_some() {
            let mut flow = Flow::Go;
            let are_there = batches.take(data.rows(), |order| flow = observer.order(number, order));
            if flow == Flow::Stop || !are_there {
                ended = Some(by_callback(number));
                break;
            }
        } else if spec.shuffle {
            batches.shuffle(plan.seed, *epochs_begun);
        }
        *epochs_begun = epochs_begun.saturating_add(1);
        if observer.epoch_begin(number, state!()) == Flow::Stop {
            ended = Some(by_callback(number));
            break;
        }
        // After the observer was told: it may want other rates.
        if spec.learning_rate.is_none() {
            if observer.rates(optimizer.steps, &mut rates) == Flow::Stop {
                ended = Some(by_callback(number));
                break;
            }
            if let Some(&rate) = rates.iter().find(|rate| check_rate(**rate).is_err()) {
                ended = Some((Stopped::Diverged, format!("the schedule gave the rate {rate} in epoch {}", number + 1)));
                break;
            }
        }
        sums.clear();
        // The loss of the epoch is total / share; the metrics go by the weight of the rows in any case.
        let (mut total, mut share, mut total_weight, mut before_clip) = (0.0, 0.0, 0.0, None);
        for (batch, &rate) in rates.iter().enumerate() {
            let rows = batches.rows(batch);
            if observer.batch_begin(batch, state!()) == Flow::Stop {
                ended = Some(by_callback(number));
                break 'epochs;
            }
            let mut go_on = || questions.go_on(plan, rows.len(), observer);
            // L-BFGS compares losses, so all of its evaluations have the same noise.
            let life_batch = if lbfgs.is_some() { 0 } else { running.batches };
            if lbfgs.is_none() {
                pace.begin(&team);
            }
            let outcome = match (&mut lbfgs, &mut optimizer.pairs) {
                _ if !go_on() => Outcome::Stopped,
                (Some(lbfgs), Some(pairs)) => lbfgs.iterate(plan.isa, pairs, params, &mut step, |step, params| {
                    sums.clear();
                    let sums = Some(&mut sums);
                    step.loss_and_gradient(plan, &team, params, life_batch, data, rows, sums, &mut go_on, None)
                }),
                _ => {
                    let sums = Some(&mut sums);
                    step.loss_and_gradient(plan, &team, params, life_batch, data, rows, sums, go_on, None)
                }
            };
            let (loss, weight, penalty) = match outcome {
                Outcome::Done { loss, weight, penalty } => (loss, weight, penalty),
                Outcome::Diverged(what) => {
                    // Before the first step no rate is to blame.
                    let blamed = (lbfgs.is_none() && history.steps > 0).then_some(rate);
                    let mut message = diverged(&what, number, batch, blamed);
                    if history.steps == 0 {
                        message += "; where an earlier training has diverged, begin with a new model, or with weights \
                                    from before it";
                    }
                    ended = Some((Stopped::Diverged, message));
                    break 'epochs;
                }
                Outcome::Stopped => {
                    ended = Some(interrupted(number, &format!("before step {}", batch + 1)));
                    break 'epochs;
                }
                Outcome::Raised => {
                    ended = Some(by_callback(number));
                    break 'epochs;
                }
            };
            // A batch whose rows all weigh nothing teaches nothing.
            if weight > 0.0 {
                before_clip = clip::clip(plan, &team, spec.clip, step.gradient_mut());
                if lbfgs.is_none() && !progress.reach.allows(plan, optimizer, rate, params, step.gradient()) {
                    let what = too_large::<T>(&optimizer.spec, rate);
                    ended = Some((Stopped::Diverged, diverged(&what, number, batch, Some(rate))));
                    break 'epochs;
                }
                optimizer.step(plan, &team, rate, params, step.gradient());
                step.remember_moments(plan, params);
                progress.after_step(plan, &team, params);
            }
            pace.end(&team);
            running.count();
            history.steps += 1;
            let mean = if weight > 0.0 { loss / weight + penalty } else { 0.0 };
            if spec.objective.mean_by_rows {
                (total, share) = (total + mean * rows.len() as f64, share + rows.len() as f64);
            } else {
                (total, share) = (total + loss + penalty * weight, share + weight);
            }
            total_weight += weight;
            if observer.batch_end(batch, mean, state!()) == Flow::Stop {
                ended = Some(by_callback(number));
                break 'epochs;
            }
        }
        let Some(metrics) = sums.values(total_weight.max(f64::MIN_POSITIVE)) else {
            ended = Some(by_callback(number));
            break;
        };
        let mut epoch = Epoch {
            epoch: number,
            // An order may leave out all rows that weigh something: then the sums are 0 as well.
            loss: total / share.max(f64::MIN_POSITIVE),
            metrics,
            rate: lbfgs.as_ref().map_or(rates[batches.count() - 1], |lbfgs| lbfgs.step_length),
            grad_norm: before_clip.unwrap_or_else(|| sum_of_squares(plan.isa, step.gradient()).sqrt()),
            ..Epoch::default()
        };
        // From here to the end of the epoch the mean of the weights stands in their place, where there is one.
        if progress.after_epoch(plan, &team, number, params)
            && averages_moments
            && !step.take_moments(plan, &team, params, running.batches, data, &all_rows, || {
                questions.go_on(plan, BLOCK_ROWS, observer)
            })
        {
            ended = Some(interrupted(number, "at its end"));
            break;
        }
        if let (Some(data), Some(evaluation), Some(sums)) = (validation, &mut val_step, &mut val_sums) {
            let go_on = || questions.go_on(plan, BLOCK_ROWS, observer);
            match evaluation.loss(plan, &team, params, data, sums, go_on) {
                Ok((loss, metrics)) => (epoch.val_loss, epoch.val_metrics) = (Some(loss), metrics),
                Err(Outcome::Stopped) => {
                    ended = Some(interrupted(number, "while validating"));
                    break;
                }
                Err(_) => {
                    ended = Some(by_callback(number));
                    break;
                }
            }
        }
        if let Some(value) = watched(spec, &epoch) {
            progress.see(value, number, params);
        }
        epoch.seconds = observer.seconds();
        progress.next_epoch = number + 1;
        ended = progress.stopping.reached(spec, &epoch).or_else(|| lbfgs.as_mut().and_then(|lbfgs| lbfgs.ended.take()));
        let last = ended.is_some() || number + 1 == spec.epochs;
        let flow = observer.epoch_end(&epoch, last, state!());
        progress.hide_average(params);
        history.epochs.push(epoch);
        if flow == Flow::Stop && ended.is_none() {
            ended = Some(by_callback(number));
        }
        if ended.is_some() {
            break;
        }
    }
    let all =
        if spec.epochs == 1 { "the one epoch is done".into() } else { format!("all {} epochs are done", spec.epochs) };
    (history.stopped, history.message) = ended.unwrap_or((Stopped::Epochs, all));
    let as_planned = !matches!(history.stopped, Stopped::Diverged | Stopped::Interrupted) && !observer.failed();
    progress.hide_average(params);
    if as_planned {
        history.best_epoch = progress.bring_back(params);
        if progress.end_with_average(params)
            && averages_moments
            && !step.take_moments(plan, &team, params, running.batches, data, &all_rows, || {
                questions.go_on(plan, BLOCK_ROWS, observer)
            })
        {
            progress.hide_average(params);
            let last = history.epochs.last().map_or(spec.initial_epoch, |epoch| epoch.epoch);
            (history.stopped, history.message) = interrupted(last, "at its end");
        }
    }
    Ok(history)
}

/// Checks the numbers of a call of `fit`; returns the rows of a step, and those that go through the network together.
fn check(spec: &FitSpec, rows: usize, validates: bool) -> Result<(usize, usize), Error> {
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

fn check_rate(rate: f64) -> Result<(), Error> {
    if (0.0..=MAX_RATE).contains(&rate) {
        return Ok(());
    }
    Err(Error::Invalid(format!("learning_rate must be from 0 to {MAX_RATE:e}, got {rate}")))
}

fn by_callback(epoch: usize) -> (Stopped, String) {
    (Stopped::Callback, format!("a callback stopped training in epoch {}", epoch + 1))
}

fn interrupted(epoch: usize, when: &str) -> (Stopped, String) {
    (Stopped::Interrupted, format!("interrupted in epoch {} {when}", epoch + 1))
}

/// Counts the work between two questions to [`Observer::interrupted`].
#[derive(Default)]
struct Questions {
    work: usize,
}

impl Questions {
    /// Whether to go on with so many rows, or with the first block of them.
    fn go_on<T: Real>(&mut self, plan: &Plan, rows: usize, observer: &mut dyn Observer<T>) -> bool {
        self.work = self.work.saturating_add(plan.work(rows.min(BLOCK_ROWS)));
        self.work < WORK_PER_QUESTION || {
            self.work = 0;
            !observer.interrupted()
        }
    }
}

fn diverged(what: &str, epoch: usize, batch: usize, rate: Option<f64>) -> String {
    let (epoch, step) = (epoch + 1, batch + 1);
    let slower = rate.map_or(String::new(), |rate| format!("a learning rate below {}, ", short(rate)));
    format!(
        "training diverged: {what} in epoch {epoch}, step {step}; the weights are those before that step. \
         Try {slower}inputs scaled to mean 0 and variance 1, or another initializer"
    )
}

/// What a step would do that its reach does not allow.
fn too_large<T: Real>(optimizer: &OptimizerSpec, rate: f64) -> String {
    let share = rate * decay_of(optimizer);
    let why = if share > 2.0 {
        format!(", as each step takes {share} times every weight from it (learning_rate times weight_decay)")
    } else {
        String::new()
    };
    format!("the weights become too large for {}{why}", T::NAME)
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
    let team = Team::of(run.threads());
    let (number, sums) = (running.batches, &mut sums);
    match step.loss_and_gradient(plan, &team, params, number, data, &rows, Some(sums), || run.goes_on(), None) {
        Outcome::Done { loss, weight, penalty } => {
            // Before anything changes: a metric that is a function may fail.
            let metrics = sums.values(weight).ok_or(Error::Raised)?;
            clip::clip(plan, &team, how.clip, step.gradient_mut());
            let mut reach = progress.known_reach();
            if !reach.allows(plan, optimizer, rate, params, step.gradient()) {
                return Err(Error::Invalid(diverged(&too_large::<T>(&optimizer.spec, rate), 0, 0, Some(rate))));
            }
            optimizer.step(plan, &team, rate, params, step.gradient());
            step.remember_moments(plan, params);
            running.count();
            progress.weights_changed();
            progress.reach = reach;
            Ok((loss / weight + penalty, metrics))
        }
        Outcome::Diverged(what) => Err(Error::Invalid(diverged(&what, 0, 0, Some(rate)))),
        Outcome::Raised | Outcome::Stopped => Err(Error::Raised),
    }
}

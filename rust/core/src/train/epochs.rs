//! The epochs of one call of `fit`.
//!
//! In: a model, data, what was asked for, all of it checked. Out: the model after the last finished step, and what was
//! measured.

mod ahead;

use super::check::{check, check_rate};
use super::ended::{Ended, as_asked, by_callback, diverged, interrupted, too_large};
use super::{is_allowed, looks_at_gradients};
use crate::batches::{BLOCK_ROWS, Batches, all_rows};
use crate::clip;
use crate::data::Data;
use crate::error::Error;
use crate::evaluate::Evaluation;
use crate::history::{Epoch, Epochs, History, Stopped};
use crate::lbfgs::{Lbfgs, Limits};
use crate::memory::filled;
use crate::metrics::Sums;
use crate::model::Model;
use crate::observer::{Flow, Observer, Questions, State};
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::running::Running;
use crate::step::{MOST_IN_TURN, Outcome, Step};
use crate::stopping::watched;
use dnn_kernels::{Pace, Real, Team, TinyStep};
use dnn_spec::{FitSpec, Objective, OptimizerSpec};

/// Epochs that a history has room for from the start: a day of them at a second each, and no more memory than it is worth.
const EPOCHS_WITH_ROOM: usize = 1 << 16;

/// A model that learns, and all that it takes.
pub struct Training<'a, T: Real> {
    plan: &'a Plan,
    params: &'a mut Params<T>,
    optimizer: &'a mut Optimizer<T>,
    running: &'a mut Running,
    progress: &'a mut Progress<T>,
    /// Epochs begun in the life of the model.
    epochs_begun: &'a mut u64,
    data: &'a Data<'a, T>,
    validation: Option<Validation<'a, T>>,
    spec: &'a FitSpec,
    team: Team,
    step: Step<T>,
    lbfgs: Option<Lbfgs<T>>,
    batches: Batches,
    /// One for each batch of the epoch.
    rates: Vec<f64>,
    /// Those that are taken in one call.
    tiny_steps: Vec<TinyStep>,
    /// The metrics of the epoch.
    sums: Sums<T>,
    /// The numbers of all rows, where a mean of weights has to find means and variances of its own.
    all_rows: Option<Vec<u32>>,
    pace: Pace,
    questions: Questions,
    history: History,
}

/// Data that the model is measured on after every epoch, and the room for that.
struct Validation<'a, T: Real> {
    data: &'a Data<'a, T>,
    evaluation: Evaluation<T>,
    sums: Sums<T>,
}

/// What the steps of an epoch add up to.
#[derive(Default)]
struct Totals {
    /// The loss of the epoch is `loss / share`.
    loss: f64,
    share: f64,
    /// Of the rows: the metrics go by it.
    weight: f64,
    /// The norm of the last gradient, where it was clipped afterwards.
    before_clip: Option<f64>,
}

impl Totals {
    /// Adds a batch: the loss of its rows, and what it is of the loss of the epoch.
    fn add(&mut self, objective: &Objective, loss: f64, penalty: f64, weight: f64, rows: usize) -> f64 {
        let mean = if weight > 0.0 { loss / weight + penalty } else { 0.0 };
        if objective.mean_by_rows {
            self.loss += mean * rows as f64;
            self.share += rows as f64;
        } else {
            self.loss += loss + penalty * weight;
            self.share += weight;
        }
        self.weight += weight;
        mean
    }

    /// The loss of the epoch.
    fn mean(&self) -> f64 {
        // An order may leave out all rows that weigh something: then the sums are 0 as well.
        self.loss / self.share.max(f64::MIN_POSITIVE)
    }
}

impl<'a, T: Real> Training<'a, T> {
    /// # Errors
    /// [`Error::Invalid`] for what can't be asked for, [`Error::Memory`]; the model is unchanged then.
    pub fn new(
        model: &'a mut Model<T>,
        data: &'a Data<'a, T>,
        validation: Option<&'a Data<'a, T>>,
        spec: &'a FitSpec,
    ) -> Result<Training<'a, T>, Error> {
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
        let lbfgs = lbfgs(plan, &optimizer.spec, spec)?;
        if lbfgs.is_some() {
            (batch_size, block_rows) = (data.rows(), data.rows());
        }
        if block_rows == 1 && plan.has_batch_statistics() {
            return Err(Error::invalid(
                "a batch of one row leaves nothing to normalise with: a row alone has no variance; give batches of several \
                 rows, or use LayerNormalization, which does not look at other rows",
            ));
        }
        let sums = Sums::new(&spec.metrics, loss, plan.last(), data, epoch_rows)?;
        let validation = validation.map(|data| -> Result<_, Error> {
            let sums = Sums::new(&spec.metrics, loss, plan.last(), data, data.rows())?;
            Ok(Validation { data, evaluation: Evaluation::new(plan, data)?, sums })
        });
        let validation = validation.transpose()?;
        let batches = Batches::new(epoch_rows, batch_size)?;
        let mut step = Step::new(plan, data, block_rows)?;
        step.objective = spec.objective;
        // A line search compares losses that are near each other.
        step.products = if lbfgs.is_some() { plan.isa } else { plan.products };
        // A batch in several blocks adds up a whole gradient.
        let is_unseen = !looks_at_gradients(optimizer, spec.clip) && batch_size.min(epoch_rows) <= step.block_rows();
        step.make_gradient(plan, is_unseen.then_some(&*optimizer), batches.count() == 1)?;
        if batches.count() > 1 {
            step.expect_next(plan, data, optimizer)?;
        }
        let rates = filled(spec.learning_rate.unwrap_or(0.0), batches.count(), "the rates of an epoch")?;
        let history = History {
            epochs: Epochs::with_capacity((spec.epochs - spec.initial_epoch).min(EPOCHS_WITH_ROOM)),
            metrics: spec.metrics.clone(),
            stopped: Stopped::Epochs,
            message: String::new(),
            steps: 0,
            best_epoch: None,
            arithmetic: arithmetic::<T>(plan, &step),
        };
        let averages_moments = spec.averaging.is_some() && plan.has_batch_statistics();
        let all_rows = averages_moments.then(|| all_rows(data.rows())).transpose()?;
        let is_watched = spec.watched.is_some() || validation.is_some();
        progress.begin(spec.initial_epoch, is_watched && spec.restore_best, spec.averaging, params)?;
        let team = Team::of(spec.n_threads);
        let (pace, questions) = (Pace::of(&team), Questions::default());
        Ok(Training {
            plan,
            params,
            optimizer,
            running,
            progress,
            epochs_begun,
            data,
            validation,
            spec,
            team,
            step,
            lbfgs,
            batches,
            rates,
            tiny_steps: Vec::with_capacity(MOST_IN_TURN),
            sums,
            all_rows,
            pace,
            questions,
            history,
        })
    }

    /// Trains, up to the last epoch or a reason to stop.
    pub fn run(mut self, observer: &mut dyn Observer<T>) -> History {
        let ended = self.epochs(observer);
        (self.history.stopped, self.history.message) = ended.err().unwrap_or_else(|| as_asked(self.spec.epochs));
        self.progress.hide_average(self.params);
        let went_wrong = matches!(self.history.stopped, Stopped::Diverged | Stopped::Interrupted) || observer.failed();
        if !went_wrong {
            self.choose_weights(observer);
        }
        self.history
    }

    /// The epochs that there are to be, or up to where something ends them.
    fn epochs(&mut self, observer: &mut dyn Observer<T>) -> Result<(), Ended> {
        let mut number = self.spec.initial_epoch;
        while number < self.spec.epochs {
            let done = self.epochs_ahead(number, observer)?;
            if done == 0 {
                self.epoch(number, observer)?;
            }
            number += done.max(1);
        }
        Ok(())
    }

    /// What an observer is lent.
    fn state(&mut self) -> State<'_, T> {
        State {
            params: self.params,
            optimizer: self.optimizer,
            running: self.running,
            epochs: *self.epochs_begun,
            progress: self.progress,
        }
    }

    /// One epoch; an error where it is the last.
    fn epoch(&mut self, number: usize, observer: &mut dyn Observer<T>) -> Result<(), Ended> {
        self.begin_epoch(number, observer)?;
        let mut totals = Totals::default();
        let (mut batch, watches) = (0, observer.watches_steps());
        while batch < self.batches.count() {
            let done = if watches { 0 } else { self.ahead(number, batch, &mut totals, observer)? };
            if done > 0 {
                batch += done;
                continue;
            }
            if watches && observer.batch_begin(batch, self.state()) == Flow::Stop {
                return Err(by_callback(number));
            }
            let mean = self.learn(number, batch, watches, &mut totals, observer)?;
            if watches && observer.batch_end(batch, mean, self.state()) == Flow::Stop {
                return Err(by_callback(number));
            }
            batch += 1;
        }
        let epoch = self.measure(number, &totals, observer)?;
        if let Some(value) = watched(self.spec, &epoch) {
            self.progress.see(value, number, self.params);
        }
        self.progress.next_epoch = number + 1;
        let by_lbfgs = self.lbfgs.as_mut().and_then(|lbfgs| lbfgs.ended.take());
        let ended = self.progress.stopping.reached(self.spec, &epoch).or(by_lbfgs);
        let last = ended.is_some() || number + 1 == self.spec.epochs;
        let flow = observer.epoch_end(&epoch, last, self.state());
        self.progress.hide_average(self.params);
        self.history.epochs.push(epoch);
        match ended {
            Some(ended) => Err(ended),
            None if flow == Flow::Stop => Err(by_callback(number)),
            None => Ok(()),
        }
    }

    /// The order of the rows and the rates of the steps.
    fn begin_epoch(&mut self, number: usize, observer: &mut dyn Observer<T>) -> Result<(), Ended> {
        if self.spec.order_rows.is_some() {
            let mut flow = Flow::Go;
            let Training { params, optimizer, running, progress, batches, data, .. } = self;
            let state = State { params, optimizer, running, epochs: *self.epochs_begun, progress };
            let are_there = batches.take(data.rows(), |order| flow = observer.order(number, order, state));
            if flow == Flow::Stop || !are_there {
                return Err(by_callback(number));
            }
        } else if self.spec.shuffle {
            self.batches.shuffle(self.plan.seed, *self.epochs_begun);
        }
        *self.epochs_begun = self.epochs_begun.saturating_add(1);
        if observer.epoch_begin(number, self.state()) == Flow::Stop {
            return Err(by_callback(number));
        }
        // After the observer was told: it may want other rates.
        if self.spec.learning_rate.is_none() {
            let mut rates = std::mem::take(&mut self.rates);
            let flow = observer.rates(self.optimizer.steps, &mut rates, self.state());
            self.rates = rates;
            if flow == Flow::Stop {
                return Err(by_callback(number));
            }
            if let Some(&rate) = self.rates.iter().find(|rate| check_rate(**rate).is_err()) {
                return Err((Stopped::Diverged, format!("the schedule gave the rate {rate} in epoch {}", number + 1)));
            }
        }
        self.sums.clear();
        Ok(())
    }

    /// One step of an epoch, which an observer watches or not; returns the mean loss before it.
    fn learn(
        &mut self,
        number: usize,
        batch: usize,
        watches: bool,
        totals: &mut Totals,
        observer: &mut dyn Observer<T>,
    ) -> Result<f64, Ended> {
        let Training { plan, params, optimizer, running, progress, data, spec, team, step, lbfgs, .. } = self;
        let Training { sums, pace, history, questions, .. } = self;
        let (rows, rate) = (self.batches.rows(batch), self.rates[batch]);
        // The norm of the last gradient of an epoch is measured.
        let is_last = batch + 1 == self.batches.count();
        let coming = if is_last { &[] } else { self.batches.rows(batch + 1) };
        let together = step.block_rows().min(rows.len());
        let is_lbfgs = lbfgs.is_some();
        // L-BFGS compares losses, so all of its evaluations have the same noise.
        let life_batch = if is_lbfgs { 0 } else { running.batches };
        if !is_lbfgs {
            pace.begin(team);
        }
        let outcome = match (lbfgs, &mut optimizer.pairs) {
            _ if !questions.go_on(plan, together, Some((&**params, &**running)), observer) => Outcome::Stopped,
            (Some(lbfgs), Some(pairs)) => lbfgs.iterate(plan.isa, pairs, params, step, |step, params| {
                sums.clear();
                // A line search tries weights that are of no step.
                let go_on = || questions.go_on(plan, together, None, observer);
                step.loss_and_gradient(plan, team, params, life_batch, data, (rows, coming), Some(sums), go_on, None)
            }),
            _ => {
                let go_on = || questions.go_on(plan, together, Some((&**params, &**running)), observer);
                step.loss_and_gradient(plan, team, params, life_batch, data, (rows, coming), Some(sums), go_on, None)
            }
        };
        let (loss, weight, penalty) = match outcome {
            Outcome::Done { loss, weight, penalty } => (loss, weight, penalty),
            Outcome::Stopped => return Err(interrupted(number, &format!("before step {}", batch + 1))),
            Outcome::Raised => return Err(by_callback(number)),
            Outcome::Diverged(what) => {
                // Before the first step no rate is to blame.
                let is_first = history.steps == 0;
                let mut message = diverged(&what, Some((number, batch)), (!is_lbfgs && !is_first).then_some(rate));
                if is_first {
                    message += "; where an earlier training has diverged, begin with a new model, or with weights from \
                                before it";
                }
                return Err((Stopped::Diverged, message));
            }
        };
        // A batch whose rows all weigh nothing teaches nothing.
        if weight > 0.0 {
            totals.before_clip = clip::clip(plan, team, spec.clip, step.gradient_mut());
            if !is_lbfgs && !is_allowed(plan, team, step, &mut progress.reach, optimizer, rate, params) {
                let what = too_large::<T>(&optimizer.spec, rate);
                return Err((Stopped::Diverged, diverged(&what, Some((number, batch)), Some(rate))));
            }
            // Whoever watches steps may change the weights between them.
            let next = (!is_last && !watches).then_some((&**data, coming));
            step.take(plan, team, optimizer, rate, params, is_last, next);
            step.remember_moments(plan, params);
            progress.after_step(plan, team, params);
        } else {
            // Its norm is 0, and measured too.
            totals.before_clip = None;
            let _known = step.make_whole(plan, team);
        }
        pace.end(team);
        running.count(1);
        history.steps += 1;
        Ok(totals.add(&spec.objective, loss, penalty, weight, rows.len()))
    }

    /// What an epoch came to, whose steps are done. Where there is a mean of the weights, it stands in their place
    /// afterwards, up to the end of the epoch.
    fn measure(&mut self, number: usize, totals: &Totals, observer: &mut dyn Observer<T>) -> Result<Epoch, Ended> {
        let rate = self.lbfgs.as_ref().map_or(self.rates[self.batches.count() - 1], |lbfgs| lbfgs.step_length);
        let norm = || self.step.gradient_norm(self.plan);
        let mut epoch = Epoch {
            epoch: number,
            loss: totals.mean(),
            metrics: self.sums.values(totals.weight.max(f64::MIN_POSITIVE)).ok_or_else(|| by_callback(number))?,
            rate,
            grad_norm: totals.before_clip.unwrap_or_else(norm),
            ..Epoch::default()
        };
        if self.progress.after_epoch(self.plan, &self.team, number, self.params) && !self.take_moments(observer) {
            return Err(interrupted(number, "at its end"));
        }
        if let Some(Validation { data, evaluation, sums }) = &mut self.validation {
            let (plan, questions) = (self.plan, &mut self.questions);
            let learnt = (&*self.params, &*self.running);
            let go_on = || questions.go_on(plan, BLOCK_ROWS, Some(learnt), observer);
            match evaluation.loss(plan, &self.team, self.params, data, sums, go_on) {
                Ok((loss, metrics)) => (epoch.val_loss, epoch.val_metrics) = (Some(loss), metrics),
                Err(Outcome::Stopped) => return Err(interrupted(number, "while validating")),
                Err(_) => return Err(by_callback(number)),
            }
        }
        epoch.seconds = observer.seconds();
        Ok(epoch)
    }

    /// Means and variances for the mean of the weights that stands in their place. False where the user asked to stop;
    /// then they are those of the weights.
    fn take_moments(&mut self, observer: &mut dyn Observer<T>) -> bool {
        let Training { plan, params, running, team, step, data, all_rows, questions, .. } = self;
        let Some(rows) = all_rows else { return true };
        let together = step.block_rows();
        let go_on = || questions.go_on(plan, together, None, observer);
        step.take_moments(plan, team, params, running.batches, data, rows, go_on)
    }

    /// At the end, where there was no fault: the weights of the best epoch, or the mean of the weights.
    fn choose_weights(&mut self, observer: &mut dyn Observer<T>) {
        self.history.best_epoch = self.progress.bring_back(self.params);
        if self.progress.end_with_average(self.params) && !self.take_moments(observer) {
            self.progress.hide_average(self.params);
            let last = self.history.epochs.last().map_or(self.spec.initial_epoch, |epoch| epoch.epoch);
            (self.history.stopped, self.history.message) = interrupted(last, "at its end");
        }
    }
}

/// The instruction set of the products, and the type of their factors.
fn arithmetic<T: Real>(plan: &Plan, step: &Step<T>) -> String {
    let factors = match (step.rounds(plan), step.parts()) {
        (false, _) => T::NAME.to_owned(),
        (true, 1) => "bfloat16".to_owned(),
        (true, parts) => format!("{parts} x bfloat16"),
    };
    format!("{} {factors}", step.set())
}

/// What L-BFGS needs, where that is the optimizer.
fn lbfgs<T: Real>(plan: &Plan, optimizer: &OptimizerSpec, spec: &FitSpec) -> Result<Option<Lbfgs<T>>, Error> {
    let &OptimizerSpec::Lbfgs { m, max_fun, gtol, ftol } = optimizer else { return Ok(None) };
    if let Some(layer) = plan.layers.iter().find(|layer| layer.max_norm.is_some()) {
        return Err(Error::Invalid(format!(
            "layer {} has a max_norm, which the line search of L-BFGS can't keep; use another optimizer",
            layer.name
        )));
    }
    if spec.order_rows.is_some() {
        return Err(Error::invalid("L-BFGS takes all rows in every epoch, so there is no order to give"));
    }
    if spec.averaging.is_some() {
        return Err(Error::invalid("L-BFGS ends at the lowest loss it has found, so there is nothing to average"));
    }
    Lbfgs::new(Limits { gtol, ftol, max_fun }, m, plan).map(Some)
}

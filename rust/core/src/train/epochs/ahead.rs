//! Steps of a small network that nobody looks at, one after the other.
//!
//! In: the batches of an epoch that are left. Out: the model after as many of them as were ordinary, and what their losses
//! add up to. With ten weights a step is a tenth of a microsecond of arithmetic, and what [`Training::learn`] decides for
//! each took twice as long: here it is decided once. Batches go several to a call, where gradient descent or Adam learns
//! from them, and so do epochs of a single batch that nobody looks at. All have the same bits. What is out of the ordinary, and
//! has to be told of, is left to `learn`.

use super::{Ended, Totals, Training, by_callback, interrupted};
use crate::clip;
use crate::observer::{Flow, Observer, WORK_PER_QUESTION};
use crate::step::MOST_IN_TURN;
use dnn_kernels::{InTurn, Real};
use dnn_spec::{Clip, FitSpec};

impl<T: Real> Training<'_, T> {
    /// Learns from batches, this one and those behind it, where nobody watches the steps; tells from how many.
    pub(super) fn ahead(
        &mut self,
        number: usize,
        first: usize,
        totals: &mut Totals,
        observer: &mut dyn Observer<T>,
    ) -> Result<usize, Ended> {
        let looks = self.looks_at_steps();
        let Training { plan, params, optimizer, running, progress, data, spec, team, step, lbfgs, .. } = self;
        let Training { batches, rates, sums, history, questions, pace, tiny_steps, .. } = self;
        let count = batches.rows(first).len();
        if lbfgs.is_some() {
            return Ok(0);
        }
        let Some(mut small) = step.small(plan).filter(|small| count <= small.most_rows) else { return Ok(0) };
        // Batches that are learned from one after the other; clipping looks at a gradient.
        let is_clipped = spec.clip != Clip::default();
        let in_turn = if is_clipped { 0 } else { small.most_in_turn(data, optimizer, count, false, looks) };
        let work = plan.work(count);
        let most = (WORK_PER_QUESTION / work.max(1)).clamp(1, batches.count() - first);
        if !questions.go_on_after(work * most, Some((&**params, &**running)), observer) {
            return Err(interrupted(number, &format!("before step {}", first + 1)));
        }
        let mut batch = first;
        while batch < first + most {
            // The norm of the last gradient is measured, and not written for a row; the last batch may be a shorter one.
            let equal = if count == 1 { batches.count() - 1 } else { batches.whole() };
            let steps = in_turn.min(first + most - batch).min(equal.saturating_sub(batch));
            let steps = progress.reach.allows_many(plan, optimizer, &rates[batch..batch + steps], params);
            pace.begin(team);
            let (all_taken, taken) = if steps > 0 {
                let rows = batches.rows_of(batch..batch + steps);
                let in_turn = optimizer.tiny_steps(&rates[batch..batch + steps], tiny_steps);
                let add = &mut |loss, weight| _ = totals.add(&spec.objective, loss, 0.0, weight, count);
                let taken = small.steps(plan, params, data, rows, count, sums, in_turn, add);
                if taken > 0 {
                    optimizer.stepped(plan, params, taken);
                }
                if taken < steps {
                    // It has gone on to steps that were not taken.
                    progress.reach.forget();
                }
                (taken == steps, taken)
            } else {
                let (rows, rate) = (batches.rows(batch), rates[batch]);
                let found = small.learn(plan, params, data, rows, sums).filter(|_| {
                    totals.before_clip = clip::clip(plan, team, spec.clip, small.gradient);
                    progress.reach.allows(plan, optimizer, rate, params, Some(small.gradient))
                });
                if let Some((loss, weight)) = found {
                    optimizer.step(plan, team, rate, params, small.gradient);
                    totals.add(&spec.objective, loss, 0.0, weight, rows.len());
                }
                (found.is_some(), usize::from(found.is_some()))
            };
            if taken > 0 {
                progress.after_step(plan, team, params);
            }
            pace.end(team);
            running.count(taken);
            history.steps += taken;
            batch += taken;
            if !all_taken {
                return Ok(batch - first);
            }
        }
        Ok(most)
    }

    /// Epochs of a single batch, this one and those behind it, where nobody looks at them and nothing ends them; tells how many.
    pub(super) fn epochs_ahead(&mut self, number: usize, observer: &mut dyn Observer<T>) -> Result<usize, Ended> {
        let Some(rate) = self.spec.learning_rate.filter(|_| self.goes_on_unseen(observer)) else { return Ok(0) };
        let looks = self.looks_at_steps();
        let Training { plan, params, optimizer, running, progress, data, spec, team, step, .. } = self;
        let Training { batches, sums, history, questions, pace, tiny_steps, .. } = self;
        let rows = batches.rows(0);
        let Some(mut small) = step.small(plan).filter(|small| rows.len() <= small.most_rows) else { return Ok(0) };
        let work = plan.work(rows.len());
        let most = small.most_in_turn(data, optimizer, rows.len(), true, looks).min(spec.epochs - number);
        let most = most.min(WORK_PER_QUESTION / work.max(1));
        let rates = &[rate; MOST_IN_TURN][..most];
        let steps = progress.reach.allows_many(plan, optimizer, rates, params);
        if steps == 0 {
            return Ok(0);
        }
        if !questions.go_on_after(work * steps, Some((&**params, &**running)), observer) {
            // It has begun.
            *self.epochs_begun = self.epochs_begun.saturating_add(1);
            return Err(interrupted(number, "before step 1"));
        }
        pace.begin(team);
        let squares = &mut [0.0; MOST_IN_TURN][..steps];
        let in_turn = InTurn { squares, ..optimizer.tiny_steps(&rates[..steps], tiny_steps) };
        let done = history.epochs.len();
        let add = &mut |loss, weight| {
            let mut totals = Totals::default();
            totals.add(&spec.objective, loss, 0.0, weight, rows.len());
            history.epochs.loss.push(totals.mean());
        };
        let taken = small.steps(plan, params, data, rows, rows.len(), sums, in_turn, add);
        pace.end(team);
        if taken < steps {
            progress.reach.forget();
        }
        if taken == 0 {
            return Ok(0);
        }
        optimizer.stepped(plan, params, taken);
        running.count(taken);
        history.steps += taken;
        *self.epochs_begun = self.epochs_begun.saturating_add(taken as u64);
        progress.next_epoch = number + taken;
        // The clock is read once: each has an equal share of the time.
        let epochs = &mut history.epochs;
        let (before, now) = (epochs.seconds.last().copied().unwrap_or(0.0), observer.seconds());
        let share = |i: usize| before + (now - before) * (i + 1) as f64 / taken as f64;
        epochs.seconds.extend((0..taken).map(share));
        epochs.numbers.extend((number..number + taken).map(|number| number as i64));
        epochs.rate.resize(done + taken, rate);
        epochs.grad_norm.extend(squares[..taken].iter().map(|squares| squares.sqrt()));
        let last = epochs.at(done + taken - 1);
        match observer.epoch_end(&last, number + taken == self.spec.epochs, self.state()) {
            Flow::Stop => Err(by_callback(last.epoch)),
            Flow::Go => Ok(taken),
        }
    }

    /// Whether something is measured, averaged or limited with every step.
    fn looks_at_steps(&self) -> bool {
        let is_limited = self.plan.layers.iter().any(|layer| layer.max_norm.is_some());
        is_limited || !self.sums.is_empty() || self.progress.averages()
    }

    /// Whether epochs of a single batch go on at one rate, whatever they come to, and nobody is told of each.
    fn goes_on_unseen(&self, observer: &dyn Observer<T>) -> bool {
        let FitSpec { tol, stop_at_loss, max_time, patience, watched, clip, order_rows, .. } = self.spec;
        let ends = tol.or(*stop_at_loss).or(*max_time).is_some() || patience.is_some();
        let is_told = watched.is_some() || self.validation.is_some() || observer.watches_epochs();
        self.batches.count() == 1
            && !(ends || is_told || observer.watches_steps() || order_rows.is_some() || *clip != Clip::default())
    }
}

//! Steps of a small network that nobody looks at, one after the other.
//!
//! In: the batches of an epoch that are left. Out: the model after as many of them as were ordinary, and what their losses
//! add up to. With ten weights a step is a tenth of a microsecond of arithmetic, and what [`Training::learn`] decides for
//! each took twice as long: here it is decided once. Single rows go several to a call, where gradient descent or Adam learns
//! from them. All have the same bits. What is out of the ordinary, and has to be told of, is left to `learn`.

use super::{Ended, Totals, Training, interrupted};
use crate::clip;
use crate::observer::{Observer, WORK_PER_QUESTION};
use dnn_kernels::Real;
use dnn_spec::Clip;

impl<T: Real> Training<'_, T> {
    /// Learns from batches, this one and those behind it, where nobody watches the steps; tells from how many.
    pub(super) fn ahead(
        &mut self,
        number: usize,
        first: usize,
        totals: &mut Totals,
        observer: &mut dyn Observer<T>,
    ) -> Result<usize, Ended> {
        let Training { plan, params, optimizer, running, progress, data, spec, team, step, lbfgs, .. } = self;
        let Training { batches, rates, sums, history, questions, pace, row_steps, .. } = self;
        let count = batches.rows(first).len();
        if lbfgs.is_some() {
            return Ok(0);
        }
        let Some(mut small) = step.small(plan).filter(|small| count <= small.most_rows) else { return Ok(0) };
        // Rows that are learned from one after the other; clipping looks at a gradient.
        let looks = !sums.is_empty() || progress.averages() || plan.layers.iter().any(|layer| layer.max_norm.is_some());
        let in_turn = if spec.clip == Clip::default() { small.rows_in_turn(data, optimizer, looks) } else { 0 };
        let work = plan.work(count);
        let most = (WORK_PER_QUESTION / work.max(1)).clamp(1, batches.count() - first);
        if !questions.go_on_after(work * most, Some((&**params, &**running)), observer) {
            return Err(interrupted(number, &format!("before step {}", first + 1)));
        }
        let mut batch = first;
        while batch < first + most {
            // The norm of the last gradient is measured.
            let steps = in_turn.min(first + most - batch).min(batches.count() - 1 - batch);
            let steps = progress.reach.allows_many(plan, optimizer, &rates[batch..batch + steps], params);
            pace.begin(team);
            let (all_taken, taken) = if steps > 0 {
                let rows = batches.rows_of(batch..batch + steps);
                let memories = optimizer.row_steps(&rates[batch..batch + steps], row_steps);
                let add = |loss, weight| _ = totals.add(&spec.objective, loss, 0.0, weight, 1);
                let taken = small.step_rows(plan, params, data, rows, sums, memories, row_steps, add);
                if taken > 0 {
                    optimizer.stepped_rows(plan, params, taken);
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
}

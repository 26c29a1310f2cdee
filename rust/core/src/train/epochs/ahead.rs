//! Steps of a small network that nobody looks at, one after the other.
//!
//! In: the batches of an epoch that are left. Out: the model after as many of them as were ordinary, and what their losses
//! add up to. With ten weights a step is a tenth of a microsecond of arithmetic, and what [`Training::learn`] decides for
//! each took twice as long: here it is decided once. Both have the same bits. What is out of the ordinary, and has to be
//! told of, is left to `learn`.

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
        let Training { batches, rates, sums, history, questions, pace, .. } = self;
        let count = batches.rows(first).len();
        if lbfgs.is_some() {
            return Ok(0);
        }
        let Some(mut small) = step.small(plan).filter(|small| count <= small.most_rows) else { return Ok(0) };
        let may_descend = small.descends() && optimizer.descent().is_some() && spec.clip == Clip::default();
        let work = plan.work(count);
        let most = (WORK_PER_QUESTION / work.max(1)).clamp(1, batches.count() - first);
        if !questions.go_on_after(work * most, Some((&**params, &**running)), observer) {
            return Err(interrupted(number, &format!("before step {}", first + 1)));
        }
        for (batch, &rate) in rates.iter().enumerate().skip(first).take(most) {
            let rows = batches.rows(batch);
            // The norm of the last gradient is measured.
            let descends = may_descend
                && batch + 1 < batches.count()
                && progress.reach.allows(plan, optimizer, rate, params, None);
            let descent = if descends { optimizer.descent() } else { None };
            pace.begin(team);
            let found = small.learn(plan, params, data, rows, sums, descent, rate);
            let Some((loss, weight)) = found else {
                pace.end(team);
                return Ok(batch - first);
            };
            if descends {
                optimizer.descended(plan, params);
            } else {
                totals.before_clip = clip::clip(plan, team, spec.clip, small.gradient);
                if !progress.reach.allows(plan, optimizer, rate, params, Some(small.gradient)) {
                    pace.end(team);
                    return Ok(batch - first);
                }
                optimizer.step(plan, team, rate, params, small.gradient);
            }
            progress.after_step(plan, team, params);
            pace.end(team);
            running.count();
            history.steps += 1;
            totals.add(&spec.objective, loss, 0.0, weight, rows.len());
        }
        Ok(most)
    }
}

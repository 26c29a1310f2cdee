//! The gradient of a small network where nothing is asked for but that: what is the same for every batch is found once.
//!
//! In: rows of data. Out: their loss and its gradient, with the bits of `Step::loss_and_gradient`, or the weights after steps
//! along those of several batches. It tells of nothing that goes wrong, only that something did.

use super::{Step, weight_of};
use crate::batches::{BLOCK_ROWS, Batch};
use crate::data::Data;
use crate::loss::Loss;
use crate::metrics::Sums;
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::plan::{Layer, Plan};
use crate::workspace::{view, view_mut};
use dnn_kernels::{Asked, Buffer, InTurn, Real, Tiny, TinyLoss, tiny_batch_steps, tiny_gradient, tiny_steps};
use dnn_spec::OptimizerSpec;

/// Batches that are learned from one after the other in one call, rows of them and numbers of x in those, at most: what a call
/// takes is some hundred nanoseconds, and x should still be in the first-level cache.
pub const MOST_IN_TURN: usize = 64;
const MOST_ROWS: usize = BLOCK_ROWS;
const MOST_NUMBERS: usize = 2048;

/// Rows that a batch has room for, of data: those of a block, or of as many batches as are learned from in one call.
pub fn room<T: Real>(data: &Data<T>, tiny: Option<&(Tiny, Buffer<T>)>, rows: usize) -> usize {
    let in_turn = if tiny.is_some() { MOST_NUMBERS / (rows * data.x.shape().1).max(1) } else { 1 };
    (in_turn.clamp(1, most_in_turn(rows)) * rows).min(data.rows().max(rows))
}

/// Batches of so many rows, which fit one call.
fn most_in_turn(rows: usize) -> usize {
    (MOST_ROWS / rows.max(1)).clamp(1, MOST_IN_TURN)
}

/// A network that one kernel computes, with its room.
pub struct Small<'a, T: Real> {
    /// Of the last batch.
    pub gradient: &'a mut Params<T>,
    /// Rows of a batch at most.
    pub most_rows: usize,
    batch: &'a mut Batch<T>,
    tiny: &'a Tiny,
    room: &'a mut Buffer<T>,
    losses: &'a mut [f64],
    output: &'a mut Buffer<T>,
    loss: &'a Loss,
    kind: TinyLoss,
    loss_factor: f64,
    gradient_factor: f64,
    /// How many rows the scales in the batch are for, where rows weigh the same.
    scaled: usize,
}

impl<T: Real> Step<T> {
    /// What learns; `None` where a network is not one kernel, or a step is more than a batch that goes
    /// through at once.
    pub fn small<'a>(&'a mut self, plan: &'a Plan) -> Option<Small<'a, T>> {
        let (loss, most_rows) = (plan.loss.as_ref()?, self.block_rows);
        let (loss_factor, gradient_factor) = (self.objective.loss_factor, self.objective.gradient_factor);
        let [shard] = &mut self.shards[..] else { return None };
        let (tiny, room) = shard.tiny.as_mut()?;
        if plan.layers.iter().any(Layer::has_penalty) {
            return None;
        }
        Some(Small {
            gradient: &mut shard.gradient,
            most_rows,
            batch: &mut shard.batch,
            tiny,
            room,
            losses: &mut shard.work.losses,
            output: shard.work.a.last_mut()?,
            loss,
            kind: loss.tiny()?,
            loss_factor,
            gradient_factor,
            scaled: 0,
        })
    }
}

impl<T: Real> Small<'_, T> {
    /// How many batches of so many rows [`Small::steps`] can learn from in one call, or how often from the same one. None where the
    /// optimizer takes steps of another kind, and no single row again, whose gradient is not written. Where rows weigh more than
    /// others, or somebody looks at each step: one, if it is a single row, else none.
    pub fn most_in_turn(
        &self,
        data: &Data<T>,
        optimizer: &Optimizer<T>,
        rows: usize,
        again: bool,
        looks: bool,
    ) -> usize {
        let is_row = self.tiny.is_row();
        let takes_steps = match optimizer.spec {
            OptimizerSpec::Sgd { .. } => is_row || self.tiny.learns(),
            OptimizerSpec::Adam { amsgrad, .. } => !amsgrad && self.tiny.learns(),
            _ => false,
        };
        if !takes_steps || (is_row && again) {
            0
        } else if looks || !data.weights.is_empty() {
            usize::from(is_row)
        } else if again {
            most_in_turn(rows)
        } else {
            self.batch.capacity() / rows
        }
    }

    /// Learns from batches one after the other, [so many](Small::most_in_turn) at most, each with its step, or from the same one
    /// with all of them where there are not more than `count` rows. Tells how many steps were taken: none where something is
    /// not finite, or may not be, or the rows weigh nothing, and none after it. `each` is given what the loss of each batch adds
    /// to that of the epoch, and its weight.
    pub fn steps(
        &mut self,
        plan: &Plan,
        params: &mut Params<T>,
        data: &Data<T>,
        rows: &[u32],
        count: usize,
        sums: &mut Sums<T>,
        in_turn: InTurn<T>,
        each: &mut dyn FnMut(f64, f64),
    ) -> usize {
        let (isa, steps) = (plan.isa, in_turn.steps.len());
        let looks = !sums.is_empty() || !data.weights.is_empty();
        assert!(!looks || (steps == 1 && self.tiny.is_row()), "one row at a time");
        let weight = weight_of(data, &rows[..count]);
        if weight <= 0.0 {
            return 0;
        }
        self.batch.gather(isa, data, rows, weight);
        self.set_scale(count, data);
        let losses = &mut [0.0; MOST_ROWS][..count * steps];
        let (x, target, scale) = (self.batch.x(), self.batch.target(), &self.batch.scale()[..count]);
        let asked = Asked { loss: self.kind, target, scale, losses: &mut *losses };
        let most_loss = largest_loss(self.loss.factor(), weight);
        let in_turn = InTurn { most_loss, ..in_turn };
        let (tiny, gradient) = (self.tiny, &mut *self.gradient);
        let taken = if tiny.is_row() {
            tiny_steps(isa, tiny, params, gradient, x, asked, self.room, in_turn)
        } else {
            tiny_batch_steps(isa, tiny, params, gradient, x, asked, self.room, in_turn)
        };
        for losses in losses.chunks(count).take(taken) {
            // Where there are several batches, all rows weigh the same.
            each(self.loss.sum(self.batch, losses) * self.loss_factor, weight);
        }
        if !sums.is_empty() && taken > 0 {
            self.add_to(sums, plan, count);
        }
        taken
    }

    /// What the gradient of each of `n` rows is multiplied by, where that is not set already.
    fn set_scale(&mut self, n: usize, data: &Data<T>) {
        if self.scaled != n || !data.weights.is_empty() {
            self.batch.set_scale(self.loss.factor() * self.gradient_factor);
            self.scaled = n;
        }
    }

    /// Adds the metrics of the rows that went through.
    fn add_to(&mut self, sums: &mut Sums<T>, plan: &Plan, rows: usize) {
        self.tiny.output(self.room, view_mut(self.output, rows, plan.last()));
        sums.add(plan, self.batch, view(self.output, rows, plan.last()));
    }

    /// The sum of the losses of these rows, and that of their weights, with their gradient in `gradient` and their metrics in
    /// `sums`; `None` where something is not finite, and where the rows weigh nothing.
    #[inline]
    pub fn learn(
        &mut self,
        plan: &Plan,
        params: &Params<T>,
        data: &Data<T>,
        rows: &[u32],
        sums: &mut Sums<T>,
    ) -> Option<(f64, f64)> {
        let (isa, n, weight) = (plan.isa, rows.len(), weight_of(data, rows));
        if weight <= 0.0 {
            return None;
        }
        self.batch.gather(isa, data, rows, weight);
        self.set_scale(n, data);
        let (x, losses) = (self.batch.x(), &mut self.losses[..n]);
        let (target, scale) = (self.batch.target(), self.batch.scale());
        let asked = Asked { loss: self.kind, target, scale, losses: &mut *losses };
        let broken = tiny_gradient(isa, self.tiny, params, x, asked, self.room, self.gradient);
        let loss = self.loss.sum(self.batch, losses);
        if broken.is_some() || !loss.is_finite() {
            return None;
        }
        if !sums.is_empty() {
            self.add_to(sums, plan, n);
        }
        Some((loss * self.loss_factor, weight))
    }
}

/// What the loss of a row may be, so that it is a number still, times its weight and a factor.
fn largest_loss(factor: f64, weight: f64) -> f64 {
    // As much smaller as a product is rounded.
    f64::MAX * (1.0 - f64::EPSILON) / weight.max(1.0) / factor.max(1.0)
}

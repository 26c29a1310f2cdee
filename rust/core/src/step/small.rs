//! The gradient of a small network where nothing is asked for but that: what is the same for every batch is found once.
//!
//! In: rows of data. Out: their loss and its gradient, with the bits of `Step::loss_and_gradient`. It tells
//! of nothing that goes wrong, only that something did.

use super::{Step, weight_of};
use crate::batches::Batch;
use crate::data::Data;
use crate::loss::Loss;
use crate::metrics::Sums;
use crate::params::Params;
use crate::plan::{Layer, Plan};
use crate::workspace::{view, view_mut};
use dnn_kernels::{Asked, Buffer, Real, Sgd, Tiny, TinyLoss, tiny_descent, tiny_gradient};

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
    /// Whether [`Small::learn`] can take a step of gradient descent.
    pub fn descends(&self) -> bool {
        self.tiny.is_row()
    }

    /// The sum of the losses of these rows, and that of their weights, with their metrics in `sums`; `None` where something is
    /// not finite, or may not be, and where the rows weigh nothing. Their gradient is in `gradient` then, unless it is to take a `descent` along it, which writes none.
    #[inline]
    pub fn learn(
        &mut self,
        plan: &Plan,
        params: &mut Params<T>,
        data: &Data<T>,
        rows: &[u32],
        sums: &mut Sums<T>,
        descent: Option<(Sgd, &mut [T])>,
        rate: f64,
    ) -> Option<(f64, f64)> {
        let (isa, n, weight) = (plan.isa, rows.len(), weight_of(data, rows));
        if weight <= 0.0 {
            return None;
        }
        self.batch.gather(isa, data, rows, weight);
        if self.scaled != n || !data.weights.is_empty() {
            self.batch.set_scale(self.loss.factor() * self.gradient_factor);
            self.scaled = n;
        }
        let (x, losses) = (self.batch.x(), &mut self.losses[..n]);
        let (target, scale) = (self.batch.target(), self.batch.scale());
        let asked = Asked { loss: self.kind, target, scale, losses: &mut *losses };
        let broken = match descent {
            Some((rule, velocity)) => {
                tiny_descent(isa, self.tiny, (params, velocity), x, asked, self.room, (rule, rate))
            }
            None => tiny_gradient(isa, self.tiny, params, x, asked, self.room, self.gradient),
        };
        let loss = self.loss.sum(self.batch, losses);
        if broken.is_some() || !loss.is_finite() {
            return None;
        }
        if !sums.is_empty() {
            self.tiny.output(self.room, view_mut(self.output, n, plan.last()));
            sums.add(plan, self.batch, view(self.output, n, plan.last()));
        }
        Some((loss * self.loss_factor, weight))
    }
}

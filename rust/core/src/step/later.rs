//! Steps of weights whose gradient is never whole: what it is made of is kept, and used when the step is taken.
//!
//! In: the activations and deltas of a batch. Out: parameters and optimizer after the step, or the gradient after all.
//! No weight moves before it is known that all of the gradient is finite: |x^T delta| is at most |x| |delta|.

use super::{Outcome, Shard, Step, gradient_of, not_finite};
use crate::batches::Batch;
use crate::data::Data;
use crate::error::Error;
use crate::memory::filled;
use crate::optimizer::{Blocks, Optimizer};
use crate::params::Params;
use crate::plan::Plan;
use crate::workspace::{Workspace, input_of, view, view_mut};
use dnn_kernels::{Buffer, NextRows, Operands, Real, Team, View, sum_of_squares};
use std::sync::Arc;

/// Weights that may wait, and what is found out about their gradient.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) blocks: Arc<Blocks<T>>,
    /// Whether the gradient of the last batch has not been formed.
    is_waiting: bool,
    /// The sum of the squares of the gradient of each layer at most.
    bounds: Vec<f64>,
    /// The sum of the squares of each block of the gradient, as it was stepped along.
    squares: Vec<f64>,
}

impl<T: Real> Step<T> {
    /// Where that saves memory, or time, weights wait from now on; tells whether they do.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub(super) fn let_weights_wait(
        &mut self,
        plan: &Plan,
        optimizer: &Optimizer<T>,
        measured: bool,
    ) -> Result<bool, Error> {
        let [Shard { tiny: None, work, gradient, .. }] = &mut self.shards[..] else { return Ok(false) };
        let Some(blocks) = Blocks::new(plan, optimizer, self.block_rows, measured) else { return Ok(false) };
        work.keep_deltas(plan)?;
        *gradient = Params::sparse(plan)?;
        let bounds = filled(0.0, blocks.layers.len(), "the squares of gradients")?;
        let squares = filled(0.0, blocks.descent.blocks(), "the squares of gradients")?;
        self.waiting = Some(Waiting { blocks: Arc::new(blocks), is_waiting: false, bounds, squares });
        Ok(true)
    }

    /// Whether [`Step::gradient`] has everything; else weights wait for [`Step::take`].
    pub fn is_whole(&self) -> bool {
        !self.waiting.as_ref().is_some_and(|waiting| waiting.is_waiting)
    }

    /// What waits in a batch of so many rows.
    pub(super) fn begin_waiting(&mut self, rows: usize) -> Option<Arc<Blocks<T>>> {
        let waiting = self.waiting.as_mut()?;
        waiting.is_waiting = rows <= self.block_rows;
        waiting.is_waiting.then(|| Arc::clone(&waiting.blocks))
    }

    /// The batch has been through: forms the gradient after all where it may not be finite.
    ///
    /// # Errors
    /// [`Outcome::Diverged`] where it is not.
    pub(super) fn check_waiting(&mut self, plan: &Plan, team: &Team) -> Result<(), Outcome> {
        let Some(Waiting { is_waiting: true, blocks, bounds, .. }) = &mut self.waiting else { return Ok(()) };
        let Shard { batch, work, .. } = &self.shards[0];
        let squares = |view: View<T>| sum_of_squares(plan.isa, &view.data[..view.rows * view.stride]);
        let nanoseconds = plan.layers.iter().map(|layer| batch.x().rows * layer.stride / 8).sum::<usize>() as u64;
        team.run_each(bounds, nanoseconds, |place, bound| {
            let (x, delta) = operands(plan, batch, work, blocks.layers[place]);
            *bound = squares(x) * squares(delta);
        });
        // With room for rounding.
        let fits = |&bound: &f64| bound <= T::LARGEST / 4.0;
        if bounds.iter().all(fits) { Ok(()) } else { self.make_whole(plan, team) }
    }

    /// Forms the gradient of the weights that wait.
    ///
    /// # Errors
    /// [`Outcome::Diverged`] where it is not finite.
    pub fn make_whole(&mut self, plan: &Plan, team: &Team) -> Result<(), Outcome> {
        let Some(Waiting { is_waiting, blocks, .. }) = &mut self.waiting else { return Ok(()) };
        if !std::mem::take(is_waiting) {
            return Ok(());
        }
        let Shard { batch, work, gradient, .. } = &mut self.shards[0];
        let mut finite = true;
        for &index in &blocks.layers {
            let layer = &plan.layers[index];
            let (x, delta) = operands(plan, batch, work, index);
            let dw = gradient.weights_mut(layer);
            finite &= dnn_kernels::weight_gradient(self.products, team, x, delta, false, dw);
        }
        let broken = if finite { None } else { not_finite(plan, gradient) };
        broken.map_or(Ok(()), |layer| Err(gradient_of(plan, layer)))
    }

    /// The step of a batch. `measured` says that [`Step::gradient_norm`] will be asked for; `next` are rows that come next for
    /// sure, with these very weights.
    pub fn take(
        &mut self,
        plan: &Plan,
        team: &Team,
        optimizer: &mut Optimizer<T>,
        rate: f64,
        params: &mut Params<T>,
        measured: bool,
        next: Option<(&Data<T>, &[u32])>,
    ) {
        let Shard { batch, work, gradient, .. } = &mut self.shards[0];
        let Some(Waiting { is_waiting: true, blocks, squares, .. }) = &mut self.waiting else {
            return optimizer.step(plan, team, rate, params, gradient);
        };
        let squares = if measured { &mut squares[..] } else { &mut [] };
        let pays = || !measured && blocks.takes_next_rows(plan, optimizer, batch.x().rows, team.threads());
        // Out of the workspace, which is read while z is written.
        let mut z = std::mem::replace(&mut work.first, Buffer::empty());
        let next = self.next.as_mut().zip(next).filter(|_| pays()).map(|(expected, (data, rows))| {
            expected.gather(plan, data, rows);
            let layer = &plan.layers[0];
            let bias = layer.use_bias.then(|| layer.bias().start);
            NextRows { x: expected.batch.x(), bias, z: view_mut(&mut z, 2 * rows.len(), layer) }
        });
        work.first_is_known = next.is_some();
        let operands = |layer: usize| operands(plan, batch, work, blocks.layers[layer]);
        optimizer.descend(plan, team, blocks, rate, params, gradient, operands, squares, next);
        work.first = z;
    }

    /// |g| of the last batch, over all parameters.
    pub fn gradient_norm(&self, plan: &Plan) -> f64 {
        let gradient = &self.shards[0].gradient;
        let Some(Waiting { is_waiting: true, blocks, squares, .. }) = &self.waiting else {
            return sum_of_squares(plan.isa, gradient).sqrt();
        };
        let rest = blocks.rest.iter().map(|range| sum_of_squares(plan.isa, &gradient[range.clone()]));
        (squares.iter().sum::<f64>() + rest.sum::<f64>()).sqrt()
    }
}

/// What the rows of a batch brought to the layer at this place, and its delta.
fn operands<'a, T: Real>(plan: &Plan, batch: &'a Batch<T>, work: &'a Workspace<T>, index: usize) -> Operands<'a, T> {
    let (x, layer) = (batch.x(), &plan.layers[index]);
    (input_of(plan, &work.a, x, index), view(&work.delta[index], x.rows, layer))
}

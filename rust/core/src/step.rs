//! One step short of its update: the loss of a batch and the gradient of every parameter.
//!
//! In: parameters, data and the numbers of the rows. Out: the weighted sum of their losses, and the gradient in `Step::gradient`.
//! A batch of any size goes through in blocks; sums run in the order of the rows.

mod later;
mod next;
mod shard;
mod shares;
mod small;

pub use small::MOST_IN_TURN;

use crate::batches::{BLOCK_ROWS, Batch, blocks};
use crate::data::Data;
use crate::error::{Error, short};
use crate::forward::{Last, Mode, forward};
use crate::metrics::Sums;
use crate::moments::Moved;
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::penalty;
use crate::plan::{Layer, Place, Plan};
use crate::workspace::Workspace;
use dnn_kernels::{Isa, Real, Team, View, rounds_factors};
use dnn_spec::Objective;
use later::Waiting;
use next::Next;
use shard::{Pass, Shard, gradient_of, not_finite, tiny, weight_of};
use shares::{SHARDS, is_called, share_at, share_of};

/// All that a step needs besides the parameters, allocated once.
#[derive(Debug)]
pub struct Step<T: Real> {
    /// How loss and penalty are weighed.
    pub objective: Objective,
    /// The instruction set of the products of dense layers, where the network learns.
    pub products: Isa,
    /// One for each share of a block that may go its own way; the first takes whatever is not shared out.
    shards: Vec<Shard<T>>,
    /// Rows that go through together at most.
    block_rows: usize,
    /// Where layers go by the mean and variance of a batch: the running ones, as the blocks of this batch move them.
    moved: Option<Moved<T>>,
    /// Where weights may wait for the step.
    waiting: Option<Waiting<T>>,
    /// Where the next batch may be known before a step is taken.
    next: Option<Next<T>>,
}

/// Who is shown the deltas: (rows done before, place, delta).
pub type Seen<'a, T> = &'a mut dyn FnMut(usize, Place, View<T>);

/// What a batch gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The sum of the weighted losses of the rows, the sum of their weights, and the penalty of the weights.
    Done { loss: f64, weight: f64, penalty: f64 },
    /// Something is not finite: what, and in which layer.
    Diverged(String),
    /// The caller asked to stop in the middle.
    Stopped,
    /// A function that was given failed.
    Raised,
}

impl<T: Real> Step<T> {
    /// Room to learn from batches of `data` that go through the network `rows` rows at a time: or fewer, unless layers go
    /// by the mean and variance of those rows, or a function is to see all of them. Room for a gradient is
    /// [to be made](Step::make_gradient).
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(plan: &Plan, data: &Data<T>, rows: usize) -> Result<Step<T>, Error> {
        let whole = plan.has_batch_statistics() || is_called(plan);
        let most = if whole { rows } else { BLOCK_ROWS };
        Step::in_blocks(plan, data, rows.min(most))
    }

    /// Room to evaluate `data`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn evaluating(plan: &Plan, data: &Data<T>) -> Result<Step<T>, Error> {
        Step::in_blocks(plan, data, BLOCK_ROWS)
    }

    fn in_blocks(plan: &Plan, data: &Data<T>, block_rows: usize) -> Result<Step<T>, Error> {
        let capacity = block_rows.min(data.rows());
        let share = share_of(plan, capacity);
        let shards = capacity.div_ceil(share);
        let shard = |index: usize| {
            let rows = if index == 0 { capacity } else { share };
            let tiny = tiny(plan, rows, capacity)?;
            Ok(Shard {
                gradient: Params::empty(),
                work: Workspace::new(plan, rows, false)?,
                batch: Batch::with_capacity(data, small::room(data, tiny.as_ref(), rows))?,
                tiny,
                found: (None, None),
            })
        };
        let shards = (0..shards).map(shard).collect::<Result<_, Error>>()?;
        let (objective, products) = (Objective::default(), plan.isa);
        Ok(Step {
            objective,
            products,
            shards,
            block_rows: capacity,
            moved: Moved::new(plan),
            waiting: None,
            next: None,
        })
    }

    /// Room for the gradient. With an optimizer nobody looks at it before its step: weights wait for [`Step::take`] where that
    /// saves memory, or time. `measured` says that the length of each gradient will be asked for.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn make_gradient(
        &mut self,
        plan: &Plan,
        optimizer: Option<&Optimizer<T>>,
        measured: bool,
    ) -> Result<(), Error> {
        if let Some(optimizer) = optimizer
            && self.let_weights_wait(plan, optimizer, measured)?
        {
            return Ok(());
        }
        for shard in &mut self.shards {
            shard.gradient = Params::zeroed(plan)?;
        }
        Ok(())
    }

    /// Rows that go through together at most.
    pub fn block_rows(&self) -> usize {
        self.block_rows
    }

    /// Whether factors of any product become bfloat16.
    pub fn rounds(&self, plan: &Plan) -> bool {
        let rows = share_of(plan, self.block_rows);
        let is_tiny = self.shards[0].tiny.is_some();
        let rounds = |(index, layer): (usize, &Layer)| {
            let [forward, to_input, weights] = rounds_factors(self.products, rows, layer.n_in, layer.n_out);
            // A delta goes on where somebody below learns from it.
            let goes_on = || plan.layers[..index].iter().any(Layer::trainable);
            layer.is_dense() && (forward || (to_input && goes_on()) || (weights && layer.trainable_weights))
        };
        self.products.has_bf16() && !is_tiny && plan.layers.iter().enumerate().any(rounds)
    }

    /// The name of the instruction set of products.
    pub fn set(&self) -> &'static str {
        self.products.name()
    }

    /// How many numbers of bfloat16 it takes for each, where it takes any.
    pub fn parts(&self) -> usize {
        self.products.parts()
    }

    /// dL/dp of every parameter that learns, but for weights that wait ([`Step::is_whole`]); 0 elsewhere.
    pub fn gradient(&self) -> &Params<T> {
        &self.shards[0].gradient
    }

    /// The same, to be changed before it is stepped along.
    pub fn gradient_mut(&mut self) -> &mut Params<T> {
        &mut self.shards[0].gradient
    }

    /// The same for somebody who looks on: layer by layer, also where the network is small, and on to dL/dx with
    /// `with_dx`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn looked_at(mut self, plan: &Plan, with_dx: bool) -> Result<Step<T>, Error> {
        self.shards.truncate(1);
        let Some(Shard { gradient, work, batch, found, .. }) = self.shards.pop() else { return Ok(self) };
        let work = if with_dx { work.with_dx(plan)? } else { work };
        Ok(Step { shards: vec![Shard { gradient, work, batch, tiny: None, found }], waiting: None, next: None, ..self })
    }

    /// What layers that go by the mean and variance of a batch remember of those that were learned from: every block is
    /// a batch of its own to them.
    pub fn remember_moments(&self, plan: &Plan, params: &mut Params<T>) {
        if let Some(moved) = &self.moved {
            moved.come_into_force(plan, params);
        }
    }

    /// Sets running means and variances to those of the rows with these numbers, which go through as if the network
    /// learned from them: the mean over the blocks, each by its weight.
    ///
    /// False where `go_on`, which is asked before every block, said no: then nothing has changed.
    pub fn take_moments(
        &mut self,
        plan: &Plan,
        team: &Team,
        params: &mut Params<T>,
        number: u64,
        data: &Data<T>,
        rows: &[u32],
        mut go_on: impl FnMut() -> bool,
    ) -> bool {
        let Some(moved) = &mut self.moved else { return true };
        moved.begin(plan, params);
        let (Shard { batch, work, .. }, weight) = (&mut self.shards[0], weight_of(data, rows));
        work.first_is_known = false;
        for block in blocks(rows.len(), self.block_rows) {
            if !go_on() {
                return false;
            }
            let mode = Mode::Training { batch: number, first_row: block.start, products: self.products };
            batch.gather(plan.isa, data, &rows[block], weight);
            batch.shares(&mut work.share);
            forward(plan, team, params, mode, batch.x(), Last::AsLossTakesIt, work);
            moved.average(plan, batch, work);
        }
        if moved.are_finite() {
            moved.come_into_force(plan, params);
        }
        true
    }

    /// Loss and gradient of the rows with these numbers, the batch of this number in the life of the model, and what rows come
    /// after them, if that is known. There is [room](Step::make_gradient) for the gradient.
    ///
    /// `go_on` is asked after every block; `seen` is shown what [`backward`] shows, and while somebody looks on, the
    /// shares go one after the other.
    pub fn loss_and_gradient(
        &mut self,
        plan: &Plan,
        team: &Team,
        params: &Params<T>,
        number: u64,
        data: &Data<T>,
        (rows, coming): (&[u32], &[u32]),
        mut sums: Option<&mut Sums<T>>,
        mut go_on: impl FnMut() -> bool,
        mut seen: Option<Seen<T>>,
    ) -> Outcome {
        let weight = weight_of(data, rows);
        let factor = self.objective.gradient_factor;
        let (number, products) = (Some(number), self.products);
        let waiting = self.begin_waiting(rows.len());
        let waiting = waiting.as_ref().map_or(&[][..], |blocks| &blocks.layers);
        let pass = Pass { plan, team, params, number, products, waiting, data, coming, weight, factor };
        if let (Some(next), Shard { batch, work, .. }) = (&mut self.next, &mut self.shards[0]) {
            next.hand_over(rows, batch, work);
        }
        if let Some(moved) = &mut self.moved {
            moved.begin(plan, params);
        }
        let mut total = 0.0;
        for block in blocks(rows.len(), self.block_rows) {
            let accumulate = block.start > 0;
            if accumulate && !go_on() {
                return Outcome::Stopped;
            }
            let share = share_of(plan, block.len());
            let sums = sums.as_deref_mut();
            let together = share < block.len() && team.threads() > 1 && seen.is_none();
            let coming = if block.end < rows.len() { &rows[block.end..] } else { coming };
            let pass = Pass { coming, ..pass };
            team.share_rows(together);
            let found = if together {
                self.side_by_side(pass, &rows[block.clone()], share, sums, block.start)
            } else {
                self.one_by_one(pass, &rows[block.clone()], share, sums, block.start, &mut seen)
            };
            match found {
                Ok(loss) => total += loss,
                Err(outcome) => return outcome,
            }
            if let (Some(moved), Shard { batch, work, .. }) = (&mut self.moved, &self.shards[0]) {
                moved.follow(plan, batch, work);
            }
        }
        if let Err(outcome) = self.check_waiting(plan, team) {
            return outcome;
        }
        // Outputs divided by an infinite deviation are 0, so the loss does not tell.
        if let Some(layer) = self.moved.as_ref().and_then(|moved| moved.not_finite(plan)) {
            let name = &plan.layers[layer].name;
            return Outcome::Diverged(format!("the mean or variance of the inputs of layer {name} is not finite"));
        }
        // A batch that weighs nothing teaches nothing, its penalty included.
        let share = if self.objective.penalty_over_rows && weight > 0.0 { 1.0 / weight } else { 1.0 };
        match penalty::add(plan, team, params, share, self.gradient_mut()) {
            Ok(penalty) => Outcome::Done { loss: total * self.objective.loss_factor, weight, penalty },
            Err(layer) => {
                let Layer { name, l1, l2, .. } = &plan.layers[layer];
                let (l1, l2) = (short(*l1), short(*l2));
                Outcome::Diverged(format!("the penalty of layer {name} (l1={l1}, l2={l2}) is not finite"))
            }
        }
    }

    /// The shares of a block one after the other, each adding its gradient to that of those before it.
    fn one_by_one(
        &mut self,
        pass: Pass<T>,
        rows: &[u32],
        share: usize,
        mut sums: Option<&mut Sums<T>>,
        done: usize,
        seen: &mut Option<Seen<T>>,
    ) -> Result<f64, Outcome> {
        let Pass { plan, params, .. } = pass;
        let shard = &mut self.shards[0];
        let mut total = 0.0;
        for (i, rows) in rows.chunks(share).enumerate() {
            let first = done + i * share;
            let measured = sums.as_ref().is_some_and(|sums| !sums.is_empty());
            let pass = Pass { coming: share_at(pass.coming, share, i), ..pass };
            shard.forward_and_loss(pass, first, rows, measured);
            if let Some(sums) = &mut sums {
                sums.add(plan, &shard.batch, shard.output(plan));
            }
            shard.backward(pass, first, first > 0, |place, delta| {
                if let Some(seen) = seen {
                    seen(first, place, delta);
                }
            });
            total += shard.outcome(plan, params)?;
        }
        Ok(total)
    }

    /// The shares of a block on the threads of the team, each with a gradient of its own; then these are added up in
    /// order. The bits are those of [`Step::one_by_one`]: a product adds up its rows before it adds them to what is
    /// there, and a share is a single piece of such a sum.
    fn side_by_side(
        &mut self,
        pass: Pass<T>,
        rows: &[u32],
        share: usize,
        mut sums: Option<&mut Sums<T>>,
        done: usize,
    ) -> Result<f64, Outcome> {
        let Pass { plan, team, params, .. } = pass;
        let shards = &mut self.shards[..rows.len().div_ceil(share)];
        let nanoseconds = (plan.work(rows.len()) / 60) as u64;
        let measured = sums.as_ref().is_some_and(|sums| !sums.is_empty());
        team.run_each(shards, nanoseconds, |i, shard| {
            let rows = share_at(rows, share, i);
            let alone = Team::solo();
            let coming = share_at(pass.coming, share, i);
            let (pass, first) = (Pass { team: &alone, coming, ..pass }, done + i * share);
            shard.forward_and_loss(pass, first, rows, measured);
            shard.backward(pass, first, done > 0 && i == 0, |_, _| {});
            if i > 0 {
                // What counts is the sum, as where one share adds to the others.
                shard.found.1 = None;
            }
        });
        let mut total = 0.0;
        for shard in &mut *shards {
            if let Some(sums) = sums.as_deref_mut() {
                sums.add(plan, &shard.batch, shard.output(plan));
            }
            total += shard.outcome(plan, params)?;
        }
        let (first, others) = shards.split_at_mut(1);
        let mut finite = true;
        for range in &plan.trainable {
            let sum = &mut first[0].gradient[range.clone()];
            let others: [&[T]; SHARDS - 1] = std::array::from_fn(|i| match others.get(i) {
                Some(shard) => &shard.gradient[range.clone()],
                None => &[],
            });
            finite &= dnn_kernels::add_in_order(plan.isa, team, sum, &others);
        }
        match if finite { None } else { not_finite(plan, &first[0].gradient) } {
            Some(layer) => Err(gradient_of(plan, layer)),
            None => Ok(total),
        }
    }

    /// The loss of the rows, without a gradient: (sum of the weighted losses, sum of the weights). With the `number` of a
    /// batch it is the loss from which the network would learn, else that of its use.
    ///
    /// [`Outcome::Raised`] where a function failed, [`Outcome::Stopped`] where `go_on`, asked before every block, said no.
    pub fn loss(
        &mut self,
        plan: &Plan,
        team: &Team,
        params: &Params<T>,
        number: Option<u64>,
        data: &Data<T>,
        rows: &[u32],
        mut sums: Option<&mut Sums<T>>,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<(f64, f64), Outcome> {
        let weight = weight_of(data, rows);
        let factor = self.objective.gradient_factor;
        let products = self.products;
        let pass = Pass { plan, team, params, number, products, waiting: &[], data, coming: &[], weight, factor };
        self.shards[0].work.first_is_known = false;
        let mut total = 0.0;
        for block in blocks(rows.len(), self.block_rows) {
            if !go_on() {
                return Err(Outcome::Stopped);
            }
            let shard = &mut self.shards[0];
            let measured = sums.as_ref().is_some_and(|sums| !sums.is_empty());
            shard.forward_and_loss(pass, block.start, &rows[block], measured);
            if let Some(sums) = &mut sums {
                sums.add(plan, &shard.batch, shard.output(plan));
            }
            total += shard.found.0.ok_or(Outcome::Raised)?;
        }
        Ok((total * self.objective.loss_factor, weight))
    }
}

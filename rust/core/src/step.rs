//! One step short of its update: the loss of a batch and the gradient of every parameter.
//!
//! In: parameters, data and the numbers of the rows. Out: the mean loss, and the gradient in `Step::gradient`.
//! A batch of any size goes through in blocks; sums run in the order of the rows.

use crate::backward::backward;
use crate::batches::{BLOCK_ROWS, Batch, blocks};
use crate::data::Data;
use crate::error::Error;
use crate::forward::{Last, Mode, forward};
use crate::metrics::Sums;
use crate::params::Params;
use crate::plan::{Place, Plan};
use crate::workspace::{Workspace, view};
use dnn_kernels::{Real, Team, View, add_penalty_gradient, sum_of_magnitudes, sum_of_squares};

/// All that a step needs besides the parameters, allocated once.
#[derive(Debug)]
pub struct Step<T: Real> {
    /// dL/dp of every parameter that learns; 0 elsewhere.
    pub gradient: Params<T>,
    work: Workspace<T>,
    batch: Batch<T>,
}

/// What a batch gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The sum of the weighted losses of the rows, the sum of their weights, and the penalty of the weights.
    Done { loss: f64, weight: f64, penalty: f64 },
    /// Something is not finite: what, and in which layer.
    Diverged(String),
    /// The caller asked to stop in the middle.
    Stopped,
}

impl<T: Real> Step<T> {
    /// Room for batches of `batch_size` rows of `data`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(plan: &Plan, data: &Data<T>, batch_size: usize) -> Result<Step<T>, Error> {
        let capacity = batch_size.min(data.rows()).min(BLOCK_ROWS);
        let (gradient, work) = (Params::zeroed(plan)?, Workspace::new(plan, capacity, false)?);
        Ok(Step { gradient, work, batch: Batch::with_capacity(data, capacity)? })
    }

    /// The same with dL/dx.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn with_dx(self, plan: &Plan) -> Result<Step<T>, Error> {
        Ok(Step { work: self.work.with_dx(plan)?, ..self })
    }

    /// Loss and gradient of the rows with these numbers, the batch of this number in the life of the model.
    ///
    /// `go_on` is asked after every block; `seen(rows done, place, delta)` is shown what [`backward`] shows.
    pub fn loss_and_gradient(
        &mut self,
        plan: &Plan,
        team: &Team,
        params: &Params<T>,
        number: u64,
        data: &Data<T>,
        rows: &[u32],
        mut sums: Option<&mut Sums>,
        mut go_on: impl FnMut() -> bool,
        mut seen: impl FnMut(usize, Place, View<T>),
    ) -> Outcome {
        let weight = weight_of(data, rows);
        let mut total = 0.0;
        for block in blocks(rows.len()) {
            let accumulate = block.start > 0;
            if accumulate && !go_on() {
                return Outcome::Stopped;
            }
            let done = block.start;
            let mode = Mode::Training { batch: number, first_row: done };
            let loss = self.forward_and_loss(plan, team, params, mode, data, &rows[block], weight, sums.as_deref_mut());
            if !loss.is_finite() {
                return Outcome::Diverged(self.blame(plan));
            }
            total += loss;
            let x = self.batch.x();
            let broken = backward(
                plan,
                team,
                params,
                mode,
                x,
                &mut self.work,
                accumulate,
                &mut self.gradient,
                |place, delta| {
                    seen(done, place, delta);
                },
            );
            if let Some(layer) = broken {
                return Outcome::Diverged(format!("the gradient of layer {} is not finite", plan.layers[layer].name));
            }
        }
        match self.add_penalty(plan, params) {
            Ok(penalty) => Outcome::Done { loss: total, weight, penalty },
            Err(layer) => Outcome::Diverged(format!("the penalty of layer {} is not finite", plan.layers[layer].name)),
        }
    }

    /// The loss of the rows, without a gradient: (sum of the weighted losses, sum of the weights). With the `number` of
    /// a batch it is the loss from which the network would learn, else that of its use.
    pub fn loss(
        &mut self,
        plan: &Plan,
        team: &Team,
        params: &Params<T>,
        number: Option<u64>,
        data: &Data<T>,
        rows: &[u32],
        mut sums: Option<&mut Sums>,
    ) -> (f64, f64) {
        let weight = weight_of(data, rows);
        let mut total = 0.0;
        for block in blocks(rows.len()) {
            let first_row = block.start;
            let mode = number.map_or(Mode::Inference, |batch| Mode::Training { batch, first_row });
            total += self.forward_and_loss(plan, team, params, mode, data, &rows[block], weight, sums.as_deref_mut());
        }
        (total, weight)
    }

    fn forward_and_loss(
        &mut self,
        plan: &Plan,
        team: &Team,
        params: &Params<T>,
        mode: Mode,
        data: &Data<T>,
        rows: &[u32],
        total_weight: f64,
        sums: Option<&mut Sums>,
    ) -> f64 {
        let loss = plan.loss.as_ref().expect("`Data::new` refuses a plan without a loss");
        let (work, last) = (&mut self.work, plan.layers.len() - 1);
        self.batch.gather(data, rows, total_weight);
        self.batch.set_scale(loss.factor());
        forward(plan, team, params, mode, self.batch.x(), Last::AsLossTakesIt, work);
        let layer = &plan.layers[last];
        let output = view(&work.a[last], rows.len(), layer);
        let z = view(if work.z[last].is_empty() { &work.a[last] } else { &work.z[last] }, rows.len(), layer);
        let delta = &mut work.delta[last % 2];
        let value = loss.evaluate(plan.isa, layer, &self.batch, output, z, delta, &mut work.losses);
        if let Some(sums) = sums {
            sums.add(plan, &self.batch, output);
        }
        value
    }

    /// Adds the gradient of the penalties; returns their value, or the layer whose penalty overflows.
    fn add_penalty(&mut self, plan: &Plan, params: &Params<T>) -> Result<f64, usize> {
        let layers = plan.layers.iter().enumerate();
        for (index, layer) in layers.filter(|(_, layer)| layer.trainable_weights && (layer.l1 > 0.0 || layer.l2 > 0.0))
        {
            let weights = layer.weights();
            let (p, g) = (&params[weights.clone()], &mut self.gradient[weights.clone()]);
            add_penalty_gradient(plan.isa, layer.l1, layer.l2, p, g);
            // As for the gradient of the loss: its squares have to be numbers of this type.
            if !T::from_f64(sum_of_squares(&self.gradient[weights])).is_finite() {
                return Err(index);
            }
        }
        Some(penalty(plan, params)).filter(|penalty| penalty.is_finite()).ok_or(plan.layers.len() - 1)
    }

    /// The first layer whose outputs are not finite, in words.
    fn blame(&self, plan: &Plan) -> String {
        let rows = self.batch.x().rows;
        let broken = plan.layers.iter().zip(&self.work.a).position(|(layer, a)| {
            let a = view(a, rows, layer);
            (0..rows).any(|i| a.row(i).iter().any(|x| !x.is_finite()))
        });
        match broken {
            Some(index) => format!("the outputs of layer {} are not finite", plan.layers[index].name),
            None => format!("the loss of the outputs of layer {} is not finite", plan.last().name),
        }
    }
}

/// The sum of the weights of rows.
fn weight_of<T: Real>(data: &Data<T>, rows: &[u32]) -> f64 {
    if data.weights.is_empty() { rows.len() as f64 } else { rows.iter().map(|&row| data.weights[row as usize]).sum() }
}

/// `sum over the layers of l1 sum |W| + l2 sum W^2`
pub fn penalty<T: Real>(plan: &Plan, params: &Params<T>) -> f64 {
    let of = |layer: &crate::plan::Layer| {
        let w = &params[layer.weights()];
        let l1 = if layer.l1 > 0.0 { layer.l1 * sum_of_magnitudes(w) } else { 0.0 };
        let l2 = if layer.l2 > 0.0 { layer.l2 * sum_of_squares(w) } else { 0.0 };
        l1 + l2
    };
    plan.layers.iter().map(of).sum()
}

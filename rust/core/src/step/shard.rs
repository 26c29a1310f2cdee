//! Some rows on their way through the network and back, apart from all others.
//!
//! In: parameters, data and the numbers of the rows. Out: the weighted sum of their losses, and the gradient of it, or what is not
//! finite.

use super::Outcome;
use crate::backward::backward;
use crate::batches::Batch;
use crate::data::Data;
use crate::error::Error;
use crate::forward::{Last, Mode, forward};
use crate::params::Params;
use crate::penalty::has_squares;
use crate::plan::{Place, Plan};
use crate::workspace::{Workspace, view, view_mut};
use dnn_kernels::{Asked, Buffer, Isa, Real, Team, Tiny, View, tiny_backward, tiny_forward};

/// Some rows on their way through the network and back, apart from all others.
#[derive(Debug)]
pub(super) struct Shard<T: Real> {
    pub gradient: Params<T>,
    pub work: Workspace<T>,
    pub batch: Batch<T>,
    /// For a network that one kernel computes, what that kernel knows, and its room.
    pub tiny: Option<(Tiny, Buffer<T>)>,
    /// The weighted loss of the rows, none where a function failed, and the first layer met whose gradient is not finite.
    pub found: (Option<f64>, Option<usize>),
}

/// What goes through the network: with which parameters, and the weight of the whole batch.
pub(super) struct Pass<'a, T: Real> {
    pub plan: &'a Plan,
    pub team: &'a Team,
    pub params: &'a Params<T>,
    /// The number of the batch in the life of the model; none where the network is used and does not learn.
    pub number: Option<u64>,
    pub products: Isa,
    /// Layers whose weights have no gradient before the step.
    pub waiting: &'a [usize],
    pub data: &'a Data<'a, T>,
    /// The numbers of rows that are gathered after these, where that is known.
    pub coming: &'a [u32],
    pub weight: f64,
    /// Of the gradient of the loss.
    pub factor: f64,
}

impl<T: Real> Pass<'_, T> {
    fn mode(&self, first_row: usize) -> Mode {
        let products = self.products;
        self.number.map_or(Mode::Inference, |batch| Mode::Training { batch, first_row, products })
    }
}

impl<T: Real> Clone for Pass<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Real> Copy for Pass<'_, T> {}

impl<T: Real> Shard<T> {
    /// The rows with these numbers forward, their loss, and dL/dz of the last layer. `measured` says that somebody will
    /// look at the output.
    pub fn forward_and_loss(&mut self, pass: Pass<T>, first_row: usize, rows: &[u32], measured: bool) {
        let Pass { plan, team, params, data, weight, factor, .. } = pass;
        let loss = plan.loss.as_ref().expect("`Data::new` refuses a plan without a loss");
        if !self.work.first_is_known {
            self.batch.gather(plan.isa, data, rows, weight);
        }
        data.x.ask_for_rows(pass.coming);
        self.batch.set_scale(loss.factor() * factor);
        self.batch.shares(&mut self.work.share);
        let (work, layer, last) = (&mut self.work, plan.last(), plan.layers.len() - 1);
        let turn = last % work.delta.len();
        let (a, delta, losses) = (&mut work.a[last], &mut work.delta[turn], &mut work.losses[..rows.len()]);
        let (batch, isa) = (&self.batch, plan.isa);
        let value = match (&mut self.tiny, loss.tiny()) {
            (None, _) => {
                forward(plan, team, params, pass.mode(first_row), batch.x(), Last::AsLossTakesIt, work);
                let output = view(&work.a[last], rows.len(), layer);
                let z = view(if work.z[last].is_empty() { &work.a[last] } else { &work.z[last] }, rows.len(), layer);
                loss.evaluate(isa, layer, batch, output, z, &mut work.delta[turn], &mut work.losses)
            }
            (Some((tiny, room)), Some(kind)) => {
                let asked = Asked { loss: kind, target: batch.target(), scale: batch.scale(), losses: &mut *losses };
                tiny_forward(isa, tiny, params, batch.x(), Some(asked), room);
                if measured {
                    tiny.output(room, view_mut(a, rows.len(), layer));
                }
                Some(loss.sum(batch, losses))
            }
            (Some((tiny, room)), None) => {
                tiny_forward(isa, tiny, params, batch.x(), None, room);
                tiny.output(room, view_mut(a, rows.len(), layer));
                let output = view(a, rows.len(), layer);
                let value = loss.evaluate(isa, layer, batch, output, output, delta, losses);
                tiny.set_delta(view(delta, rows.len(), layer), room);
                value
            }
        };
        self.found = (value, None);
    }

    /// From the last delta to the gradient, which is added to with `accumulate`; nothing where the loss is not finite.
    pub fn backward(&mut self, pass: Pass<T>, first_row: usize, accumulate: bool, seen: impl FnMut(Place, View<T>)) {
        let Pass { plan, team, params, .. } = pass;
        if self.found.0.is_some_and(f64::is_finite) {
            let (x, work, gradient) = (self.batch.x(), &mut self.work, &mut self.gradient);
            self.found.1 = match &mut self.tiny {
                None => backward(
                    plan,
                    team,
                    params,
                    pass.mode(first_row),
                    x,
                    work,
                    accumulate,
                    pass.waiting,
                    gradient,
                    seen,
                ),
                Some((tiny, room)) => {
                    let loss = plan.loss.as_ref().and_then(|loss| loss.tiny());
                    tiny_backward(plan.isa, tiny, params, x.rows, room, loss, accumulate, gradient)
                }
            };
            if self.found.1.is_some() && !pass.waiting.is_empty() {
                // Something overflows: the gradient is formed after all, to tell of the layer that would be told of then.
                let mode = pass.mode(first_row);
                self.found.1 = backward(plan, team, params, mode, x, work, accumulate, &[], gradient, |_, _| {});
            }
            // The kernels look at sums of squares, of parts whose size goes by the threads: what they call finite is.
            self.found.1 = self.found.1.and_then(|_| not_finite(plan, gradient));
        }
    }

    /// What the last layer made of the rows, as the loss took it.
    pub fn output(&self, plan: &Plan) -> View<'_, T> {
        view(self.work.a.last().expect("a plan has layers"), self.batch.x().rows, plan.last())
    }

    /// The loss, or what is not finite.
    pub fn outcome(&mut self, plan: &Plan, params: &Params<T>) -> Result<f64, Outcome> {
        let what = match self.found {
            (None, _) => Outcome::Raised,
            (Some(loss), None) if loss.is_finite() => return Ok(loss),
            (_, Some(layer)) => gradient_of(plan, layer),
            _ => Outcome::Diverged(self.blame(plan, params)),
        };
        Err(what)
    }

    /// The first layer whose outputs are not finite, in words.
    fn blame(&mut self, plan: &Plan, params: &Params<T>) -> String {
        let rows = self.batch.x().rows;
        if self.tiny.is_some() {
            let (x, work) = (self.batch.x(), &mut self.work);
            forward(plan, &Team::solo(), params, Mode::Inference, x, Last::AsLossTakesIt, work);
        }
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

/// The last layer whose gradient has an element whose square is no number of its type.
pub(super) fn not_finite<T: Real>(plan: &Plan, gradient: &Params<T>) -> Option<usize> {
    plan.layers.iter().rposition(|layer| {
        let parts = [(layer.trainable_weights, layer.weights()), (layer.trainable_bias, layer.bias())];
        parts.into_iter().any(|(learns, range)| learns && !has_squares(plan, &gradient[range]))
    })
}

pub(super) fn gradient_of(plan: &Plan, layer: usize) -> Outcome {
    let name = &plan.layers[layer].name;
    Outcome::Diverged(format!("the gradient of layer {name} is not finite, or the sum of its squares is not"))
}

/// What the kernel of small networks needs for `rows` rows, where this is one. All shares of a `block` go the same way.
pub(super) fn tiny<T: Real>(plan: &Plan, rows: usize, block: usize) -> Result<Option<(Tiny, Buffer<T>)>, Error> {
    let Some(stages) = plan.stages(block, T::LANES) else { return Ok(None) };
    let refused = || Error::memory(format_args!("{rows} rows of the network"), None, size_of::<T>());
    let tiny = Tiny::new::<T>(stages, rows).ok_or_else(refused)?;
    let room = Buffer::zeroed(tiny.len()).ok_or_else(refused)?;
    Ok(Some((tiny, room)))
}

/// The sum of the weights of rows.
pub(super) fn weight_of<T: Real>(data: &Data<T>, rows: &[u32]) -> f64 {
    if data.weights.is_empty() { rows.len() as f64 } else { rows.iter().map(|&row| data.weights[row as usize]).sum() }
}

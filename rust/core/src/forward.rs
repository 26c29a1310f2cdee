//! Forward: a block of rows through the network.
//!
//! In: x, the parameters, and whether the network is learning. Out: z and `a = f(z)` of every layer in the workspace.
//! It never changes a parameter, nor anything else of a model.

use crate::params::Params;
use crate::plan::{Kind, Layer, Output, Place, Plan};
use crate::workspace::{Workspace, view, view_mut};
use dnn_kernels::{Activation, Draw, Isa, Moments, Real, Team, View, ViewMut};

/// How far the last layer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// To its activation: what `predict` returns.
    Activated,
    /// To z, where the loss has the activation fused into it.
    AsLossTakesIt,
}

/// Whether the network is learning, for layers that act differently then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is used: no noise.
    Inference,
    /// It learns: these are rows of a batch.
    Training {
        /// The number of the batch in the life of the model.
        batch: u64,
        /// The place in the batch of the first row.
        first_row: usize,
        /// The instruction set of the products of dense layers.
        products: Isa,
    },
}

impl Mode {
    /// The instruction set of the products of dense layers.
    pub fn products(self, plan: &Plan) -> Isa {
        match self {
            Mode::Inference => plan.isa,
            Mode::Training { products, .. } => products,
        }
    }
}

/// Runs the rows of x, (rows, n_inputs), through all layers.
pub fn forward<T: Real>(
    plan: &Plan,
    team: &Team,
    params: &Params<T>,
    mode: Mode,
    x: View<T>,
    last: Last,
    work: &mut Workspace<T>,
) {
    let first_is_known = std::mem::take(&mut work.first_is_known);
    let fused = last == Last::AsLossTakesIt && plan.loss.as_ref().is_some_and(|loss| loss.takes_z());
    for (index, layer) in plan.layers.iter().enumerate() {
        let (done, rest) = work.a.split_at_mut(index);
        let input = match index.checked_sub(1) {
            None => x,
            Some(below) => view(&done[below], x.rows, &plan.layers[below]),
        };
        let (a, z, moments) = (&mut rest[0], &mut work.z[index], &mut work.moments[index]);
        let linear = fused && index + 1 == plan.layers.len();
        match layer.kind {
            Kind::Dense if index == 0 && first_is_known => {
                let known = view(&work.first, x.rows, layer);
                activate(plan, team, layer, known, linear, z, view_mut(a, x.rows, layer));
            }
            Kind::Dense => {
                dense(mode.products(plan), team, params, layer, input, linear, z, a);
            }
            Kind::Activation => activate(plan, team, layer, input, linear, z, view_mut(a, x.rows, layer)),
            Kind::Prelu => {
                let a = view_mut(a, x.rows, layer);
                dnn_kernels::prelu(plan.isa, team, input, &params[layer.weights()], a);
            }
            Kind::BatchNorm { epsilon, frozen, .. } => {
                let own = (mode != Mode::Inference && !frozen).then(|| &work.share[..x.rows]);
                batch_norm(plan, team, params, layer, input, own, epsilon, moments, view_mut(a, x.rows, layer));
            }
            Kind::LayerNorm { epsilon } => {
                let half = moments.len() / 2;
                let (mean, inverse) = moments.split_at_mut(half);
                dnn_kernels::row_moments(plan.isa, team, input, epsilon, mean, inverse);
                let (gamma, beta) = (&params[layer.weights()], &params[layer.bias()]);
                let moments = Moments::OfRows(mean, inverse);
                dnn_kernels::normalize(plan.isa, team, input, moments, gamma, beta, view_mut(a, x.rows, layer));
            }
            Kind::Add { from, .. } => {
                let skipped = match from {
                    Place::Input => x,
                    Place::Layer(from) => view(&done[from], x.rows, &plan.layers[from]),
                };
                dnn_kernels::add_rows(plan.isa, team, input, skipped, view_mut(a, x.rows, layer));
            }
            Kind::Noise { noise, key } => match draw(key, mode) {
                Some(draw) => dnn_kernels::add_noise(plan.isa, team, noise, draw, input, view_mut(a, x.rows, layer)),
                None => copy(plan, team, input, view_mut(a, x.rows, layer)),
            },
        }
        if layer.output == Output::Softmax && !linear {
            dnn_kernels::softmax_in_place(plan.isa, view_mut(a, x.rows, layer));
        }
    }
}

/// `z = x W + b`, `a = f(z)`; `linear`, or a softmax, leaves a = z.
fn dense<T: Real>(
    isa: Isa,
    team: &Team,
    params: &Params<T>,
    layer: &Layer,
    x: View<T>,
    linear: bool,
    z: &mut [T],
    a: &mut [T],
) {
    let activation = if linear { Activation::Identity } else { layer.activation() };
    let kept = (!z.is_empty()).then(|| view_mut(z, x.rows, layer));
    let (w, bias) = (params.weights(layer), params.bias(layer));
    let product = if layer.is_turned { dnn_kernels::forward_turned } else { dnn_kernels::forward };
    product(isa, team, x, w, bias, activation, kept, view_mut(a, x.rows, layer));
}

/// `z = x`, kept where it is needed, and `a = f(z)`; `linear`, or a softmax, leaves a = z.
fn activate<T: Real>(plan: &Plan, team: &Team, layer: &Layer, x: View<T>, linear: bool, z: &mut [T], a: ViewMut<T>) {
    let activation = if linear { Activation::Identity } else { layer.activation() };
    if !z.is_empty() {
        copy(plan, team, x, view_mut(z, x.rows, layer));
    }
    dnn_kernels::activate_rows(plan.isa, team, activation, x, a);
}

/// Normalises columns with the running moments, or with those of rows of these shares; leaves the moments it took, mean,
/// variance and inverse deviation, in `moments`.
fn batch_norm<T: Real>(
    plan: &Plan,
    team: &Team,
    params: &Params<T>,
    layer: &Layer,
    x: View<T>,
    share: Option<&[T]>,
    epsilon: f64,
    moments: &mut [T],
    a: ViewMut<T>,
) {
    let (both, rest) = moments.split_at_mut(2 * layer.stride);
    let inverse = &mut rest[..layer.stride];
    match share {
        None => both.copy_from_slice(&params[layer.running()]),
        Some(share) => {
            let (mean, variance) = both.split_at_mut(layer.stride);
            dnn_kernels::column_moments(plan.isa, team, x, share, mean, variance);
        }
    }
    let (mean, variance) = both.split_at(layer.stride);
    dnn_kernels::inverse_deviation(plan.isa, variance, epsilon, layer.n_out, inverse);
    let (gamma, beta) = (&params[layer.weights()], &params[layer.bias()]);
    dnn_kernels::normalize(plan.isa, team, x, Moments::OfColumns(mean, inverse), gamma, beta, a);
}

/// `to = x`, with zeros in the padding.
pub fn copy<T: Real>(plan: &Plan, team: &Team, x: View<T>, to: ViewMut<T>) {
    dnn_kernels::activate_rows(plan.isa, team, Activation::Identity, x, to);
}

/// The numbers that noise draws from the stream of this key, while the network learns.
pub fn draw(key: u64, mode: Mode) -> Option<Draw> {
    match mode {
        Mode::Inference => None,
        Mode::Training { batch, first_row, .. } => Some(Draw { key, batch, first_row }),
    }
}

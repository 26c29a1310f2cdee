//! Forward: a block of rows through the network.
//!
//! In: x and the parameters. Out: `a = f(x W + b)` of every layer in the workspace. It never changes a parameter.

use crate::params::Params;
use crate::plan::{Layer, Output, Plan};
use crate::workspace::{Workspace, view, view_mut};
use dnn_kernels::{Activation, Real, Team, View};

/// How far the last layer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// To its activation: what `predict` returns.
    Activated,
    /// To z, where the loss has the activation fused into it.
    AsLossTakesIt,
}

/// Runs the rows of x, (rows, n_inputs), through all layers.
pub fn forward<T: Real>(plan: &Plan, team: &Team, params: &Params<T>, x: View<T>, last: Last, work: &mut Workspace<T>) {
    let fused = last == Last::AsLossTakesIt && plan.loss.is_some_and(|loss| loss.takes_z());
    for (index, layer) in plan.layers.iter().enumerate() {
        let (done, rest) = work.a.split_at_mut(index);
        let input = match index.checked_sub(1) {
            None => x,
            Some(below) => view(&done[below], x.rows, &plan.layers[below]),
        };
        let (a, z) = (&mut rest[0], &mut work.z[index]);
        let is_last = index + 1 == plan.layers.len();
        dense(plan, team, params, layer, input, fused && is_last, z, a);
    }
}

/// One layer: `z = x W + b`, `a = f(z)`; `linear` leaves a = z.
pub fn dense<T: Real>(
    plan: &Plan,
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
    dnn_kernels::forward(plan.isa, team, x, w, bias, activation, kept, view_mut(a, x.rows, layer));
    if layer.output == Output::Softmax && !linear {
        dnn_kernels::softmax_in_place(plan.isa, view_mut(a, x.rows, layer));
    }
}

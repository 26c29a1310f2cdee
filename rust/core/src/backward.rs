//! Backward: from dL/dz of the last layer to the gradient of every parameter.
//!
//! In: x, the activations and the last delta in the workspace. Out: the gradient, in the layout of the parameters.
//! Every delta is formed from the weights as they were in the forward pass; nothing is updated here.

use crate::params::Params;
use crate::plan::Plan;
use crate::workspace::{Workspace, view, view_mut};
use dnn_kernels::{Below, Real, Team, View, ViewMut};

/// Walks the layers from the last to the first; `seen(layer, delta)` is shown each delta.
///
/// With `accumulate` the gradient is added to. Returns the first layer met whose gradient is not finite.
pub fn backward<T: Real>(
    plan: &Plan,
    team: &Team,
    params: &Params<T>,
    x: View<T>,
    work: &mut Workspace<T>,
    accumulate: bool,
    gradient: &mut Params<T>,
    mut seen: impl FnMut(usize, View<T>),
) -> Option<usize> {
    let mut not_finite = None;
    for (index, layer) in plan.layers.iter().enumerate().rev() {
        let [even, odd] = &mut work.delta;
        let (delta, next) = if index % 2 == 0 { (even, odd) } else { (odd, even) };
        let delta = view(delta, x.rows, layer);
        seen(index, delta);
        let input = match index.checked_sub(1) {
            None => x,
            Some(below) => view(&work.a[below], x.rows, &plan.layers[below]),
        };
        // dL/dW = x^T delta, dL/db = sum over the rows of delta
        let mut finite = true;
        if layer.trainable_weights {
            let dw = ViewMut::new(&mut gradient[layer.weights()], layer.n_in, layer.n_out, layer.stride);
            finite &= dnn_kernels::weight_gradient(plan.isa, team, input, delta, accumulate, dw);
        }
        if layer.trainable_bias {
            finite &= dnn_kernels::column_sums(plan.isa, team, delta, accumulate, &mut gradient[layer.bias()]);
        }
        if !finite && not_finite.is_none() {
            not_finite = Some(index);
        }
        // Below the lowest layer that learns, nobody needs a delta.
        let Some(below) = index.checked_sub(1).filter(|_| plan.layers[..index].iter().any(|layer| layer.trainable()))
        else {
            break;
        };
        // delta of the layer below = (delta W^T) f'(z)
        let (lower, rows) = (&plan.layers[below], x.rows);
        let z = if work.z[below].is_empty() { &work.a[below] } else { &work.z[below] };
        let into =
            Below { activation: lower.activation(), a: view(&work.a[below], rows, lower), z: view(z, rows, lower) };
        let w = params.weights(layer);
        dnn_kernels::input_gradient(plan.isa, team, delta, w, Some(into), view_mut(next, rows, lower));
    }
    not_finite
}

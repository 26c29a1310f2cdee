//! Penalties of weights: what they add to the loss, and to its gradient.
//!
//! In: parameters. Out: `sum over the layers of l1 sum |W| + l2 sum W^2`, and the gradient of that.

use crate::params::Params;
use crate::plan::{Layer, Plan};
use dnn_kernels::{PenaltySums, Real, Team, add_penalty_gradient, largest, penalty_sums};

/// The penalty of all layers.
pub fn penalty<T: Real>(plan: &Plan, team: &Team, params: &Params<T>) -> f64 {
    let layers = plan.layers.iter().filter(|layer| layer.has_penalty());
    layers.map(|layer| of_layer(layer, penalty_sums(plan.isa, team, &params[layer.weights()]))).sum()
}

/// Adds the gradient of this share of the penalty; returns the value of that share, or the layer whose penalty overflows.
pub fn add<T: Real>(
    plan: &Plan,
    team: &Team,
    params: &Params<T>,
    share: f64,
    gradient: &mut Params<T>,
) -> Result<f64, usize> {
    let mut penalty = 0.0;
    for (index, layer) in plan.layers.iter().enumerate().filter(|(_, layer)| layer.has_penalty()) {
        let w = &params[layer.weights()];
        let sums = if layer.trainable_weights {
            let g = &mut gradient[layer.weights()];
            let (sums, finite) = add_penalty_gradient(plan.isa, team, layer.l1 * share, layer.l2 * share, w, g);
            // As for the gradient of the loss: its squares have to be numbers of this type.
            if !finite && !has_squares(plan, g) {
                return Err(index);
            }
            sums
        } else {
            penalty_sums(plan.isa, team, w)
        };
        penalty += of_layer(layer, sums);
        if !(penalty * share).is_finite() {
            return Err(index);
        }
    }
    Ok(penalty * share)
}

/// The penalty of a layer, from the sums over its weights. One that does not count may be infinite.
fn of_layer(layer: &Layer, sums: PenaltySums) -> f64 {
    let l1 = if layer.l1 > 0.0 { layer.l1 * sums.magnitudes } else { 0.0 };
    let l2 = if layer.l2 > 0.0 { layer.l2 * sums.squares } else { 0.0 };
    l1 + l2
}

/// Whether the square of every number is one of its type.
pub fn has_squares<T: Real>(plan: &Plan, x: &[T]) -> bool {
    let largest = largest(plan.isa, x);
    T::from_f64(largest * largest).is_finite()
}

//! Backward: from dL/dz of the last layer to the gradient of every parameter.
//!
//! In: x, the activations and the last delta in the workspace. Out: the gradient, in the layout of the parameters.
//! Every delta is formed from the weights as they were in the forward pass; nothing is updated here.

use crate::forward::{Mode, copy, draw};
use crate::params::Params;
use crate::plan::{Kind, Layer, Place, Plan};
use crate::workspace::{Workspace, deltas, input_of, view, view_mut};
use dnn_kernels::{
    Activation, Below, Buffer, Isa, Moments, Real, Team, View, ViewMut, input_gradient, input_gradient_turned,
    weight_gradient, weight_gradient_turned,
};

/// Walks the layers from the last to the first; `seen(place, delta)` is shown dL/dz of each layer, and dL/dx where the
/// workspace has room for it.
///
/// With `accumulate` the gradient is added to. The weights of layers that are `waiting` get no gradient. Returns the first
/// layer met whose gradient is not finite.
pub fn backward<T: Real>(
    plan: &Plan,
    team: &Team,
    params: &Params<T>,
    mode: Mode,
    x: View<T>,
    work: &mut Workspace<T>,
    accumulate: bool,
    waiting: &[usize],
    gradient: &mut Params<T>,
    mut seen: impl FnMut(Place, View<T>),
) -> Option<usize> {
    let mut not_finite = None;
    let wants_dx = !work.dx.is_empty();
    for (index, layer) in plan.layers.iter().enumerate().rev() {
        let (delta, next) = deltas(&mut work.delta, index);
        let delta = view(delta, x.rows, layer);
        seen(Place::Layer(index), delta);
        let input = input_of(plan, &work.a, x, index);
        if let Kind::Add { slot, .. } = layer.kind {
            copy(plan, team, delta, view_mut(&mut work.skips[slot], x.rows, layer));
        }
        let moments = &mut work.moments[index];
        let has_weights = layer.trainable_weights && !waiting.contains(&index);
        let products = has_weights.then(|| mode.products(plan));
        let finite = parameters(plan, team, products, layer, input, moments, delta, accumulate, gradient);
        if !finite && not_finite.is_none() {
            not_finite = Some(index);
        }
        // Below the lowest layer that learns, nobody needs a delta.
        if !wants_dx && !plan.layers[..index].iter().any(Layer::trainable) {
            break;
        }
        let Some(below) = index.checked_sub(1) else {
            let mut dx = ViewMut::new(&mut work.dx, x.rows, plan.n_inputs, dnn_kernels::row_stride::<T>(plan.n_inputs));
            let back = Back { plan, team, params, mode, share: &work.share };
            back.to_input(layer, input, moments, delta, None, &mut dx);
            add_skips(plan, team, &work.skips, &plan.input_skips, &mut dx);
            seen(Place::Input, dx.as_view());
            break;
        };
        // delta of the layer below = dL/da f'(z)
        let lower = &plan.layers[below];
        let z = if work.z[below].is_empty() { &work.a[below] } else { &work.z[below] };
        let (a, z) = (view(&work.a[below], x.rows, lower), view(z, x.rows, lower));
        let activation = lower.activation();
        let mut next = view_mut(next, x.rows, lower);
        // f'(z) belongs to the sum of all that comes back to its place.
        let fused = lower.skips.is_empty().then_some(Below { activation, a, z });
        let back = Back { plan, team, params, mode, share: &work.share };
        let done = back.to_input(layer, input, moments, delta, fused, &mut next);
        add_skips(plan, team, &work.skips, &lower.skips, &mut next);
        if !done && activation != Activation::Identity {
            dnn_kernels::multiply_slope_rows(plan.isa, team, activation, next, a, z);
        }
    }
    not_finite
}

/// The gradient of the parameters of a layer, from its input and its delta: of its weights with the set of the products,
/// where that is wanted. Returns whether it is finite.
fn parameters<T: Real>(
    plan: &Plan,
    team: &Team,
    products: Option<Isa>,
    layer: &Layer,
    input: View<T>,
    moments: &mut [T],
    delta: View<T>,
    accumulate: bool,
    gradient: &mut Params<T>,
) -> bool {
    let mut finite = true;
    match layer.kind {
        Kind::Dense => {
            // dL/dW = x^T delta, dL/db = sum over the rows of delta
            if let Some(products) = products {
                let dw = gradient.weights_mut(layer);
                let product = if layer.is_turned { weight_gradient_turned } else { weight_gradient };
                finite &= product(products, team, input, delta, accumulate, dw);
            }
            if layer.trainable_bias {
                finite &= dnn_kernels::column_sums(plan.isa, team, delta, accumulate, &mut gradient[layer.bias()]);
            }
        }
        Kind::Prelu if layer.trainable_weights => {
            let slopes = &mut gradient[layer.weights()];
            finite &= dnn_kernels::prelu_slope_gradient(plan.isa, team, delta, input, accumulate, slopes);
        }
        // dL/dgamma = sum over the rows of delta normal, dL/dbeta = sum over the rows of delta
        Kind::LayerNorm { .. } if layer.trainable_weights => {
            let (moments, gammas) = (moments_of(layer, moments), &mut gradient[layer.weights()]);
            finite &= dnn_kernels::gamma_gradient(plan.isa, team, delta, input, moments, accumulate, gammas);
            finite &= dnn_kernels::column_sums(plan.isa, team, delta, accumulate, &mut gradient[layer.bias()]);
        }
        Kind::BatchNorm { .. } if layer.trainable_weights => {
            // The way to the input needs these sums of this batch alone.
            let (moments, sums) = moments.split_at_mut(3 * layer.stride);
            let (gammas, betas) = sums.split_at_mut(layer.stride);
            let moments = moments_of(layer, moments);
            finite &= dnn_kernels::gamma_gradient(plan.isa, team, delta, input, moments, false, gammas);
            finite &= dnn_kernels::column_sums(plan.isa, team, delta, false, betas);
            for (sums, range) in [(gammas, layer.weights()), (betas, layer.bias())] {
                if accumulate {
                    finite &= dnn_kernels::add_in_order(plan.isa, team, &mut gradient[range], &[sums]);
                } else {
                    gradient[range].copy_from_slice(sums);
                }
            }
        }
        Kind::BatchNorm { .. } | Kind::LayerNorm { .. } => {}
        Kind::Prelu | Kind::Activation | Kind::Noise { .. } | Kind::Add { .. } => {}
    }
    finite
}

/// The moments that a layer has normalised with.
fn moments_of<'a, T: Real>(layer: &Layer, moments: &'a [T]) -> Moments<'a, T> {
    if let Kind::LayerNorm { .. } = layer.kind {
        let (mean, inverse) = moments.split_at(moments.len() / 2);
        return Moments::OfRows(mean, inverse);
    }
    Moments::OfColumns(&moments[..layer.stride], &moments[2 * layer.stride..3 * layer.stride])
}

/// What the way back through any layer goes by.
struct Back<'a, T: Real> {
    plan: &'a Plan,
    team: &'a Team,
    params: &'a Params<T>,
    mode: Mode,
    share: &'a [T],
}

impl<T: Real> Back<'_, T> {
    /// dL/da of the layer below, from the delta of a layer: what its z is of its input, the other way round.
    ///
    /// Where the layer can, it multiplies by f'(z) of the layer below as well; returns whether it did.
    fn to_input(
        &self,
        layer: &Layer,
        input: View<T>,
        moments: &[T],
        delta: View<T>,
        below: Option<Below<T>>,
        out: &mut ViewMut<T>,
    ) -> bool {
        let Back { plan, team, params, mode, share } = *self;
        let out = ViewMut::new(out.data, out.rows, out.columns, out.stride);
        let isa = plan.isa;
        match layer.kind {
            Kind::Dense => {
                let product = if layer.is_turned { input_gradient_turned } else { input_gradient };
                product(mode.products(plan), team, delta, params.weights(layer), below, out);
                return below.is_some();
            }
            Kind::Prelu => dnn_kernels::prelu_gradient(isa, team, delta, input, &params[layer.weights()], out),
            Kind::BatchNorm { frozen, .. } => {
                let [mean, _, inverse, gammas, betas]: [&[T]; 5] =
                    std::array::from_fn(|i| &moments[i * layer.stride..(i + 1) * layer.stride]);
                let gamma = &params[layer.weights()];
                if frozen || mode == Mode::Inference {
                    dnn_kernels::scale_columns(isa, team, delta, inverse, gamma, out);
                } else {
                    // Mean and variance depend on x too; the sums over the rows are those of gamma and beta.
                    let (of, sums) = ((mean, inverse), (gammas, betas));
                    dnn_kernels::column_norm_gradient(isa, team, delta, input, of, gamma, sums, share, out);
                }
            }
            Kind::LayerNorm { .. } => {
                let of = moments.split_at(moments.len() / 2);
                dnn_kernels::row_norm_gradient(isa, team, delta, input, of, &params[layer.weights()], out);
            }
            // What goes past the layers within a residual connection is added where it began.
            Kind::Activation | Kind::Add { .. } => copy(plan, team, delta, out),
            Kind::Noise { noise, key } => match draw(key, mode) {
                Some(draw) => dnn_kernels::noise_gradient(isa, team, noise, draw, delta, out),
                None => copy(plan, team, delta, out),
            },
        }
        false
    }
}

/// Adds what comes back through the residual connections that begin at a place.
fn add_skips<T: Real>(plan: &Plan, team: &Team, waiting: &[Buffer<T>], slots: &[usize], to: &mut ViewMut<T>) {
    for &slot in slots {
        let (rows, columns, stride) = (to.rows, to.columns, to.stride);
        let skip = View::new(&waiting[slot], rows, columns, stride);
        let to = ViewMut::new(to.data, rows, columns, stride);
        dnn_kernels::add_rows_in_place(plan.isa, team, to, skip);
    }
}

//! Looking inside: activations, deltas and gradients of every layer, and central differences to check them.
//!
//! In: a model and data. Out: tight arrays of their own. Nothing here changes a model.

use crate::batches::Batches;
use crate::data::{Data, Rows};
use crate::error::Error;
use crate::forward::dense;
use crate::model::Model;
use crate::params::Params;
use crate::plan::{Layer, Plan};
use crate::step::{Outcome, Step, penalty};
use crate::workspace::{Workspace, view, view_mut};
use dnn_kernels::{Real, Team, View};
use ndarray::{Array2, ArrayD, Axis, Slice};

/// What a layer made of a batch.
#[derive(Debug)]
pub struct Activations<T> {
    /// x W + b, (rows, n_out)
    pub z: Array2<T>,
    /// f(z), (rows, n_out)
    pub a: Array2<T>,
}

/// z and a of every layer, first layer first.
///
/// # Errors
/// [`Error::Invalid`] for x of another width; [`Error::Memory`].
pub fn trace<T: Real>(model: &Model<T>, x: &Rows<T>, threads: usize) -> Result<Vec<Activations<T>>, Error> {
    let plan = &model.plan;
    let (rows, columns) = x.shape();
    crate::data::check_inputs(plan, rows, columns)?;
    let mut work = Workspace::new(plan, rows, true)?;
    let team = Team::of(threads);
    let data: Vec<T> = (0..rows).flat_map(|i| x.row(i).iter().copied()).collect();
    for (index, layer) in plan.layers.iter().enumerate() {
        let (done, rest) = work.a.split_at_mut(index);
        let input = match index.checked_sub(1) {
            None => View::new(&data, rows, columns, columns),
            Some(below) => view(&done[below], rows, &plan.layers[below]),
        };
        dense(plan, &team, &model.params, layer, input, false, &mut work.z[index], &mut rest[0]);
    }
    let layers = plan.layers.iter().enumerate();
    let tight = |(index, layer): (usize, &Layer)| Activations {
        z: to_array(view(&work.z[index], rows, layer)),
        a: to_array(view(&work.a[index], rows, layer)),
    };
    Ok(layers.map(tight).collect())
}

/// What a batch of all rows does to a model, without doing it.
#[derive(Debug)]
pub struct Gradients<T: Real> {
    /// The mean loss with the penalty of the weights.
    pub loss: f64,
    /// dL/dp in the order of the weights, also of what is frozen.
    pub gradients: Vec<ArrayD<T>>,
    /// dL/dz of every layer, (rows, n_out), first layer first.
    pub deltas: Vec<Array2<T>>,
}

/// The plan with nothing frozen: a derivative exists whether or not anyone follows it.
fn unfrozen(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for layer in &mut plan.layers {
        (layer.trainable_weights, layer.trainable_bias) = (true, layer.use_bias);
    }
    plan
}

/// Loss, gradients and deltas of all rows.
///
/// # Errors
/// [`Error::Invalid`] where the loss or a gradient is not finite; [`Error::Memory`].
pub fn gradients<T: Real>(model: &Model<T>, data: &Data<T>, threads: usize) -> Result<Gradients<T>, Error> {
    let plan = &unfrozen(&model.plan);
    let rows = Batches::new(data.rows(), data.rows())?.rows(0).to_vec();
    let mut step = Step::new(plan, data, rows.len())?;
    let mut deltas: Vec<_> = plan.layers.iter().map(|layer| Array2::default((rows.len(), layer.n_out))).collect();
    let team = Team::of(threads);
    let keep = |start: usize, layer: usize, delta: View<T>| {
        let rows = Slice::from(start..start + delta.rows);
        deltas[layer].slice_axis_mut(Axis(0), rows).assign(&to_array(delta));
    };
    match step.loss_and_gradient(plan, &team, &model.params, data, &rows, None, || true, keep) {
        Outcome::Done { loss, weight, penalty } => {
            Ok(Gradients { loss: loss / weight + penalty, gradients: step.gradient.to_arrays(plan), deltas })
        }
        Outcome::Diverged(what) => Err(Error::Invalid(format!("{what}; scale the inputs or the weights down"))),
        Outcome::Stopped => unreachable!("nobody asked to stop"),
    }
}

/// dL/dx, (rows, n_inputs): the delta of the first layer times its weights, transposed.
///
/// # Errors
/// As [`gradients`].
pub fn input_gradients<T: Real>(model: &Model<T>, data: &Data<T>, threads: usize) -> Result<Array2<T>, Error> {
    let plan = &model.plan;
    let deltas = gradients(model, data, threads)?.deltas;
    let first = &plan.layers[0];
    let rows = data.rows();
    // A layer as wide as the inputs gives the result its padding.
    let stride = dnn_kernels::row_stride::<T>(plan.n_inputs);
    let shape = Layer { n_out: plan.n_inputs, stride, ..first.clone() };
    let mut out = vec![T::ZERO; rows * stride];
    let delta = deltas[0].as_standard_layout();
    let delta = View::new(delta.as_slice().expect("standard layout"), rows, first.n_out, first.n_out);
    let (team, w) = (Team::of(threads), model.params.weights(first));
    dnn_kernels::input_gradient(plan.isa, &team, delta, w, None, view_mut(&mut out, rows, &shape));
    Ok(to_array(view(&out, rows, &shape)))
}

/// `(L(p + h) - L(p - h)) / 2h` for every parameter p.
///
/// # Errors
/// [`Error::Memory`].
pub fn numeric_gradients<T: Real>(model: &Model<T>, data: &Data<T>, h: f64) -> Result<Vec<ArrayD<T>>, Error> {
    let plan = &model.plan;
    let rows = Batches::new(data.rows(), data.rows())?.rows(0).to_vec();
    let mut step = Step::new(plan, data, rows.len())?;
    let mut params = model.params.duplicate()?;
    let mut gradient = Params::zeroed(plan)?;
    let team = Team::solo();
    for layer in &plan.layers {
        for range in [layer.weights(), layer.bias()] {
            for at in range.clone().filter(|at| (at - range.start) % layer.stride < layer.n_out) {
                let p = params[at];
                let mut loss_at = |x: T| {
                    params[at] = x;
                    let (loss, weight) = step.loss(plan, &team, &params, data, &rows, None);
                    loss / weight + penalty(plan, &params)
                };
                let (up, down) = (T::from_f64(p.to_f64() + h), T::from_f64(p.to_f64() - h));
                let slope = (loss_at(up) - loss_at(down)) / (up.to_f64() - down.to_f64());
                params[at] = p;
                gradient[at] = T::from_f64(slope);
            }
        }
    }
    Ok(gradient.to_arrays(plan))
}

/// The rows of a view without their padding.
fn to_array<T: Real>(view: View<T>) -> Array2<T> {
    Array2::from_shape_fn((view.rows, view.columns), |(i, j)| view.row(i)[j])
}

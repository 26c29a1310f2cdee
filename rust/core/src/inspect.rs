//! Looking inside: activations, deltas and gradients of every layer, and central differences to check them.
//!
//! In: a model and data. Out: tight arrays of their own. Nothing here changes a model.

use crate::batches::Batches;
use crate::data::{Data, Rows};
use crate::error::Error;
use crate::forward::{Last, Mode, forward};
use crate::model::Model;
use crate::params::Params;
use crate::plan::{Place, Plan, Shown};
use crate::step::{Outcome, Step, penalty};
use crate::workspace::{Workspace, view};
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

/// z and a of every layer, first layer first, as a network in use has them: without noise.
///
/// # Errors
/// [`Error::Invalid`] for x of another width; [`Error::Memory`].
pub fn trace<T: Real>(model: &Model<T>, x: &Rows<T>, threads: usize) -> Result<Vec<Activations<T>>, Error> {
    let plan = &model.plan;
    let (rows, columns) = x.shape();
    crate::data::check_inputs(plan, rows, columns)?;
    let mut work = Workspace::new(plan, rows, true)?;
    let data: Vec<T> = (0..rows).flat_map(|i| x.row(i).iter().copied()).collect();
    let x = View::new(&data, rows, columns, columns);
    forward(plan, &Team::of(threads), &model.params, Mode::Inference, x, Last::Activated, &mut work);
    let mut shown: Vec<Activations<T>> = Vec::new();
    for (layer, (z, a)) in plan.layers.iter().zip(work.z.iter().zip(&work.a)) {
        let a = to_array(view(a, rows, layer));
        if let (Shown::WithBelow, Some(below)) = (layer.shown, shown.last_mut()) {
            below.a = a;
            continue;
        }
        let z = if z.is_empty() { a.clone() } else { to_array(view(z, rows, layer)) };
        if layer.shown == Shown::Twice {
            shown.push(Activations { z: z.clone(), a: z.clone() });
        }
        shown.push(Activations { z, a });
    }
    Ok(shown)
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
    /// dL/dx, (rows, n_inputs), where it was asked for.
    pub dx: Array2<T>,
}

/// The plan with nothing frozen: a derivative exists whether or not anyone follows it.
fn unfrozen(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for layer in &mut plan.layers {
        (layer.trainable_weights, layer.trainable_bias) = (layer.weight_rows > 0, layer.use_bias);
    }
    plan
}

/// Loss, gradients and deltas of all rows, as the next batch of the model: with its noise.
///
/// # Errors
/// [`Error::Invalid`] where the loss or a gradient is not finite; [`Error::Memory`].
pub fn gradients<T: Real>(
    model: &Model<T>,
    data: &Data<T>,
    with_dx: bool,
    threads: usize,
) -> Result<Gradients<T>, Error> {
    let plan = &unfrozen(&model.plan);
    let rows = Batches::new(data.rows(), data.rows())?.rows(0).to_vec();
    let mut step = Step::new(plan, data, rows.len())?;
    // On the way to x every layer is passed, also below the lowest with parameters.
    step = step.looked_at(plan, with_dx || !plan.layers[0].trainable())?;
    let mut deltas: Vec<_> = plan.layers.iter().map(|layer| Array2::default((rows.len(), layer.n_out))).collect();
    let mut dx = Array2::default((rows.len(), plan.n_inputs));
    let (team, number) = (Team::of(threads), model.running.batches);
    let mut keep = |start: usize, place: Place, delta: View<T>| {
        let rows = Slice::from(start..start + delta.rows);
        let kept = match place {
            Place::Input => &mut dx,
            Place::Layer(index) => &mut deltas[index],
        };
        kept.slice_axis_mut(Axis(0), rows).assign(&to_array(delta));
    };
    match step.loss_and_gradient(plan, &team, &model.params, number, data, &rows, None, || true, Some(&mut keep)) {
        Outcome::Done { loss, weight, penalty } => {
            let mut shown = Vec::new();
            for (layer, delta) in plan.layers.iter().zip(deltas).filter(|(layer, _)| layer.shown != Shown::WithBelow) {
                if layer.shown == Shown::Twice {
                    shown.push(delta.clone());
                }
                shown.push(delta);
            }
            let gradients = step.gradient().to_arrays(plan);
            Ok(Gradients { loss: loss / weight + penalty, gradients, deltas: shown, dx })
        }
        Outcome::Diverged(what) => Err(Error::Invalid(format!("{what}; scale the inputs or the weights down"))),
        Outcome::Raised => Err(Error::Raised),
        Outcome::Stopped => unreachable!("nobody asked to stop"),
    }
}

/// `(L(p + h) - L(p - h)) / 2h` for every parameter p, each time with the noise of the next batch of the model.
///
/// # Errors
/// [`Error::Memory`].
pub fn numeric_gradients<T: Real>(model: &Model<T>, data: &Data<T>, h: f64) -> Result<Vec<ArrayD<T>>, Error> {
    let plan = &model.plan;
    let rows = Batches::new(data.rows(), data.rows())?.rows(0).to_vec();
    let mut step = Step::new(plan, data, rows.len())?;
    let mut params = model.params.duplicate()?;
    let mut gradient = Params::zeroed(plan)?;
    let (team, number) = (Team::solo(), Some(model.running.batches));
    for layer in &plan.layers {
        for range in [layer.weights(), layer.bias()] {
            for at in range.clone().filter(|at| (at - range.start) % layer.stride < layer.n_out) {
                let p = params[at];
                let mut loss_at = |x: T| {
                    params[at] = x;
                    let (loss, weight) =
                        step.loss(plan, &team, &params, number, data, &rows, None).ok_or(Error::Raised)?;
                    Ok::<_, Error>(loss / weight + penalty(plan, &params))
                };
                let (up, down) = (T::from_f64(p.to_f64() + h), T::from_f64(p.to_f64() - h));
                let slope = (loss_at(up)? - loss_at(down)?) / (up.to_f64() - down.to_f64());
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

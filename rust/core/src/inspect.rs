//! Looking inside: activations, deltas and gradients of every layer, and central differences to check them.
//!
//! In: a model and data. Out: tight arrays of their own. Nothing here changes a model.

use crate::batches::{BLOCK_ROWS, all_rows, blocks};
use crate::data::{Data, Rows};
use crate::error::Error;
use crate::forward::{Last, Mode, forward};
use crate::layer::Layer;
use crate::memory::{collected, filled};
use crate::model::Model;
use crate::params::Params;
use crate::penalty::penalty;
use crate::plan::{Place, Plan, Shown};
use crate::run::Run;
use crate::step::{Outcome, Step};
use crate::workspace::{Workspace, view};
use dnn_kernels::{Real, Team, View};
use ndarray::{Array2, ArrayD};

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
pub fn trace<'a, T: Real>(
    model: &Model<T>,
    x: &Rows<T>,
    run: impl Into<Run<'a>>,
) -> Result<Vec<Activations<T>>, Error> {
    let (plan, mut run) = (&model.plan, run.into());
    let (rows, columns) = x.shape();
    crate::data::check_inputs(plan, rows, columns)?;
    let block_rows = rows.min(BLOCK_ROWS);
    let mut work = Workspace::new(plan, block_rows, true)?;
    let mut block = filled(T::ZERO, block_rows * columns, "a block of x")?;
    let mut found = Vec::new();
    for layer in &plan.layers {
        found.push(Activations { z: zeros(rows, layer)?, a: zeros(rows, layer)? });
    }
    let team = Team::of(run.threads());
    team.keep_weights(true);
    // A row does not look at the others, so blocks give what all rows at once would.
    for at in blocks(rows, block_rows) {
        if !run.goes_on() {
            return Err(Error::Raised);
        }
        for (to, i) in block.chunks_exact_mut(columns).zip(at.clone()) {
            to.copy_from_slice(x.row(i));
        }
        let x = View::new(&block[..at.len() * columns], at.len(), columns, columns);
        forward(plan, &team, &model.params, Mode::Inference, x, Last::Activated, &mut work);
        for ((layer, to), (z, a)) in plan.layers.iter().zip(&mut found).zip(work.z.iter().zip(&work.a)) {
            copy_rows(view(a, at.len(), layer), at.start, &mut to.a);
            copy_rows(view(if z.is_empty() { a } else { z }, at.len(), layer), at.start, &mut to.z);
        }
    }
    let mut shown: Vec<Activations<T>> = Vec::new();
    for (layer, Activations { z, a }) in plan.layers.iter().zip(found) {
        if let (Shown::WithBelow, Some(below)) = (layer.shown, shown.last_mut()) {
            below.a = a;
            continue;
        }
        if layer.shown == Shown::Twice {
            shown.push(Activations { z: copy(&z)?, a: copy(&z)? });
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
pub fn gradients<'a, T: Real>(
    model: &Model<T>,
    data: &Data<T>,
    with_dx: bool,
    run: impl Into<Run<'a>>,
) -> Result<Gradients<T>, Error> {
    let (plan, mut run) = (&unfrozen(&model.plan), run.into());
    let rows = all_rows(data.rows())?;
    let mut step = Step::new(plan, data, rows.len())?;
    // On the way to x every layer is passed, also below the lowest with parameters.
    step = step.looked_at(plan, with_dx || !plan.layers[0].trainable())?;
    step.make_gradient(plan, None, false)?;
    let mut deltas = Vec::new();
    for layer in &plan.layers {
        deltas.push(zeros(rows.len(), layer)?);
    }
    let mut dx = table(rows.len(), plan.n_inputs)?;
    let (team, number) = (Team::of(run.threads()), model.running.batches);
    let mut keep = |start: usize, place: Place, delta: View<T>| match place {
        Place::Input => copy_rows(delta, start, &mut dx),
        Place::Layer(index) => copy_rows(delta, start, &mut deltas[index]),
    };
    let (params, go_on) = (&model.params, || run.goes_on());
    match step.loss_and_gradient(plan, &team, params, number, data, (&rows, &[]), None, go_on, Some(&mut keep)) {
        Outcome::Done { loss, weight, penalty } => {
            let mut shown = Vec::new();
            for (layer, delta) in plan.layers.iter().zip(deltas).filter(|(layer, _)| layer.shown != Shown::WithBelow) {
                if layer.shown == Shown::Twice {
                    shown.push(copy(&delta)?);
                }
                shown.push(delta);
            }
            let gradients = step.gradient().to_arrays(plan)?;
            Ok(Gradients { loss: loss / weight + penalty, gradients, deltas: shown, dx })
        }
        Outcome::Diverged(what) => Err(Error::Invalid(format!("{what}; scale the inputs or the weights down"))),
        Outcome::Raised | Outcome::Stopped => Err(Error::Raised),
    }
}

/// `(L(p + h) - L(p - h)) / 2h` for every parameter p, each time with the noise of the next batch of the model.
///
/// # Errors
/// [`Error::Memory`].
pub fn numeric_gradients<'a, T: Real>(
    model: &Model<T>,
    data: &Data<T>,
    h: f64,
    run: impl Into<Run<'a>>,
) -> Result<Vec<ArrayD<T>>, Error> {
    let (plan, mut run) = (&model.plan, run.into());
    let rows = all_rows(data.rows())?;
    let mut step = Step::new(plan, data, rows.len())?;
    let mut params = model.params.duplicate()?;
    let mut gradient = Params::zeroed(plan)?;
    let (team, number) = (Team::solo(), Some(model.running.batches));
    for layer in &plan.layers {
        for range in [layer.weights(), layer.bias()] {
            for at in layer.offsets(&range) {
                let p = params[at];
                let mut loss_at = |x: T| {
                    params[at] = x;
                    let found = step.loss(plan, &team, &params, number, data, &rows, None, || run.goes_on());
                    let (loss, weight) = found.map_err(|_| Error::Raised)?;
                    Ok::<_, Error>(loss / weight + penalty(plan, &team, &params))
                };
                let (up, down) = (T::from_f64(p.to_f64() + h), T::from_f64(p.to_f64() - h));
                let slope = (loss_at(up)? - loss_at(down)?) / (up.to_f64() - down.to_f64());
                params[at] = p;
                gradient[at] = T::from_f64(slope);
            }
        }
    }
    gradient.to_arrays(plan)
}

fn zeros<T: Real>(rows: usize, layer: &Layer) -> Result<Array2<T>, Error> {
    table(rows, layer.n_out)
}

/// A table of zeros.
fn table<T: Real>(rows: usize, columns: usize) -> Result<Array2<T>, Error> {
    let what = format_args!("a table of {rows} x {columns}");
    let count = rows.checked_mul(columns).ok_or_else(|| Error::memory(what, None, size_of::<T>()))?;
    to_array((rows, columns), filled(T::ZERO, count, what)?)
}

fn copy<T: Real>(of: &Array2<T>) -> Result<Array2<T>, Error> {
    to_array(of.dim(), collected(of.iter().copied(), of.len(), format_args!("a copy of {:?}", of.dim()))?)
}

fn to_array<T>(shape: (usize, usize), numbers: Vec<T>) -> Result<Array2<T>, Error> {
    Array2::from_shape_vec(shape, numbers).map_err(|error| Error::invalid(error.to_string()))
}

/// The rows of a view, without their padding, to those of a table from `start` on.
fn copy_rows<T: Real>(from: View<T>, start: usize, to: &mut Array2<T>) {
    for i in 0..from.rows {
        for (to, &from) in to.row_mut(start + i).iter_mut().zip(from.row(i)) {
            *to = from;
        }
    }
}

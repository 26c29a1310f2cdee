//! Layer-sequential unit variance: the data decides how large the first weights are (Mishkin and Matas 2016).
//!
//! In: a model and rows of x. Out: the same model, with the weights of the layers that asked for it divided so that their
//! z has variance 1. Layers go in order, because those above see what those below have become.

use crate::batches::BLOCK_ROWS;
use crate::data::{Table, check_inputs};
use crate::error::Error;
use crate::forward::{Last, Mode, forward};
use crate::memory::filled;
use crate::model::Model;
use crate::workspace::{Workspace, view};
use dnn_kernels::{Real, Team, View, largest};
use dnn_spec::Initializer;

/// A variance so far from 1 is good enough.
const TOLERANCE: f64 = 1e-3;

/// Times that a layer is divided; once is enough but for its bias and rounding.
const ROUNDS: usize = 10;

/// Gives z of every layer that starts so the variance 1 on up to [`BLOCK_ROWS`] rows of x, evenly spaced.
///
/// A layer whose variance is 0 or not finite, or so near to it that the weights would be, stays as it is.
///
/// # Errors
/// [`Error::Invalid`] for x of another width; [`Error::Memory`].
pub fn unit_variance<T: Real>(model: &mut Model<T>, x: Table<T>, threads: usize) -> Result<(), Error> {
    let Model { plan, params, progress, .. } = model;
    progress.reach.forget();
    let (n_rows, columns) = x.shape();
    check_inputs(plan, n_rows, columns)?;
    let rows = n_rows.min(BLOCK_ROWS);
    let mut work = Workspace::new(plan, rows, true)?;
    let mut data = filled(T::ZERO, rows * columns, "a copy of some rows")?;
    for (i, row) in data.chunks_exact_mut(columns).enumerate() {
        x.copy_row(i * n_rows / rows, row);
    }
    let x = View::new(&data, rows, columns, columns);
    let team = Team::of(threads);
    let asking = plan.layers.iter().enumerate().filter(|(_, layer)| layer.weight_initializer == Initializer::Lsuv);
    for (index, layer) in asking {
        for _ in 0..ROUNDS {
            forward(plan, &team, params, Mode::Inference, x, Last::Activated, &mut work);
            let z = if work.z[index].is_empty() { &work.a[index] } else { &work.z[index] };
            let variance = variance(view(z, rows, layer));
            if !(variance > 0.0 && variance.is_finite()) || (variance - 1.0).abs() < TOLERANCE {
                break;
            }
            let by = 1.0 / variance.sqrt();
            // Of rows so small that their weights would be none.
            if largest(plan.isa, &params[layer.weights()]) * by > T::LARGEST.sqrt() {
                break;
            }
            for w in &mut params[layer.weights()] {
                *w = T::from_f64(w.to_f64() * by);
            }
        }
    }
    Ok(())
}

/// The variance of all elements about their mean.
fn variance<T: Real>(z: View<T>) -> f64 {
    let count = (z.rows * z.columns) as f64;
    let all = || (0..z.rows).flat_map(|i| z.row(i).iter().map(|z| z.to_f64()));
    let mean = all().sum::<f64>() / count;
    all().map(|z| (z - mean) * (z - mean)).sum::<f64>() / count
}

//! Everything that a step writes besides the parameters, allocated once.
//!
//! In: a plan and the rows of a block. Out: room for activations, deltas and losses. Nothing grows afterwards.

use crate::error::Error;
use crate::plan::{Layer, Plan};
use dnn_kernels::{Buffer, Real, View, ViewMut};

/// Room for a block of rows on its way through the network and back.
#[derive(Debug)]
pub struct Workspace<T: Real> {
    /// The output of every layer, (rows, n_out) and padded.
    pub a: Vec<Buffer<T>>,
    /// What went into the activation, where it is needed; else empty.
    pub z: Vec<Buffer<T>>,
    /// dL/dz of every other layer: layer l writes `delta[l % 2]` while it reads the other.
    pub delta: [Buffer<T>; 2],
    /// The loss of each row.
    pub losses: Vec<f64>,
}

impl<T: Real> Workspace<T> {
    /// Room for `rows` rows; with `all_z` every layer keeps its z.
    ///
    /// # Errors
    /// [`Error::Memory`] that names the layer.
    pub fn new(plan: &Plan, rows: usize, all_z: bool) -> Result<Workspace<T>, Error> {
        let mut work = Workspace::forward_only(plan, rows)?;
        for (index, layer) in plan.layers.iter().enumerate().filter(|_| all_z) {
            work.z[index] = room(rows, index + 1, layer.stride)?;
        }
        for parity in 0..2 {
            let widest = plan.layers.iter().skip(parity).step_by(2).map(|layer| layer.stride).max();
            work.delta[parity] = room(rows, plan.layers.len(), widest.unwrap_or(0))?;
        }
        work.losses = vec![0.0; rows];
        Ok(work)
    }

    /// Room for `rows` rows on their way forward, as [`Workspace::new`] without the way back.
    ///
    /// # Errors
    /// [`Error::Memory`] that names the layer.
    pub fn forward_only(plan: &Plan, rows: usize) -> Result<Workspace<T>, Error> {
        let mut work = Workspace {
            a: Vec::with_capacity(plan.layers.len()),
            z: Vec::with_capacity(plan.layers.len()),
            delta: [room(0, 0, 0)?, room(0, 0, 0)?],
            losses: Vec::new(),
        };
        for (index, layer) in plan.layers.iter().enumerate() {
            work.a.push(room(rows, index + 1, layer.stride)?);
            work.z.push(room(rows, index + 1, if layer.keeps_z() { layer.stride } else { 0 })?);
        }
        Ok(work)
    }
}

/// Room for `rows` rows of layer `number`, `stride` apart.
fn room<T: Real>(rows: usize, number: usize, stride: usize) -> Result<Buffer<T>, Error> {
    let count = rows.checked_mul(stride);
    let what = format_args!("{rows} rows of layer {number}");
    count.and_then(Buffer::zeroed).ok_or_else(|| Error::memory(what, count, size_of::<T>()))
}

/// The rows of a layer in a buffer, to read.
pub fn view<'a, T: Real>(data: &'a [T], rows: usize, layer: &Layer) -> View<'a, T> {
    View::new(data, rows, layer.n_out, layer.stride)
}

/// The rows of a layer in a buffer, to write.
pub fn view_mut<'a, T: Real>(data: &'a mut [T], rows: usize, layer: &Layer) -> ViewMut<'a, T> {
    ViewMut::new(data, rows, layer.n_out, layer.stride)
}

//! Everything that a step writes besides the parameters, allocated once.
//!
//! In: a plan and the rows of a block. Out: room for activations, deltas and losses. Nothing grows afterwards.

use crate::error::Error;
use crate::memory::filled;
use crate::plan::{Kind, Layer, Plan};
use dnn_kernels::{Buffer, Real, View, ViewMut, row_stride};

/// Room for a block of rows on its way through the network and back.
#[derive(Debug)]
pub struct Workspace<T: Real> {
    /// The output of every layer, (rows, n_out) and padded.
    pub a: Vec<Buffer<T>>,
    /// What went into the activation, where it is needed; else empty.
    pub z: Vec<Buffer<T>>,
    /// The means and deviations that a layer normalises with; else empty.
    pub moments: Vec<Buffer<T>>,
    /// z of the first layer, and as many rows again, where that may be known before the rows go forward; else empty.
    pub first: Buffer<T>,
    /// Whether it is, for the rows that go forward next, with the weights that they meet.
    pub first_is_known: bool,
    /// What share of its batch each row is, where layers go by the mean and variance of a batch; else empty.
    pub share: Vec<T>,
    /// dL/dz of layer l in `delta[l % delta.len()]`: two that take turns, or one for each layer where they are kept.
    pub delta: Vec<Buffer<T>>,
    /// dL/da of the residual connections that are passed on the way back, one for each depth.
    pub skips: Vec<Buffer<T>>,
    /// dL/dx, (rows, n_inputs) and padded, where it is wanted; else empty.
    pub dx: Buffer<T>,
    /// The loss of each row.
    pub losses: Vec<f64>,
}

impl<T: Real> Workspace<T> {
    /// Room for `rows` rows; with `all_z` every layer keeps its z, if it has one.
    ///
    /// # Errors
    /// [`Error::Memory`] that names the layer.
    pub fn new(plan: &Plan, rows: usize, all_z: bool) -> Result<Workspace<T>, Error> {
        let mut work = Workspace::forward_only(plan, rows)?;
        for (index, layer) in plan.layers.iter().enumerate().filter(|(_, layer)| all_z && layer.has_z()) {
            work.z[index] = room(rows, &layer.name, layer.stride)?;
        }
        for parity in 0..2 {
            let widest = plan.layers.iter().skip(parity).step_by(2).map(|layer| layer.stride).max();
            work.delta.push(room(rows, &plan.last().name, widest.unwrap_or(0))?);
        }
        for layer in &plan.layers {
            if let Kind::Add { slot, .. } = layer.kind {
                while work.skips.len() <= slot {
                    work.skips.push(room(0, &layer.name, 0)?);
                }
                if work.skips[slot].len() < rows * layer.stride {
                    work.skips[slot] = room(rows, &layer.name, layer.stride)?;
                }
            }
        }
        work.losses = filled(0.0, rows, format_args!("the losses of {rows} rows"))?;
        if plan.has_batch_statistics() {
            work.share = filled(T::ZERO, rows, format_args!("the shares of {rows} rows"))?;
        }
        Ok(work)
    }

    /// Makes room for dL/dx too.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn with_dx(mut self, plan: &Plan) -> Result<Workspace<T>, Error> {
        let rows = self.losses.len();
        let count = rows.checked_mul(row_stride::<T>(plan.n_inputs));
        let what = format_args!("the gradient of {rows} rows of x");
        self.dx = count.and_then(Buffer::zeroed).ok_or_else(|| Error::memory(what, count, size_of::<T>()))?;
        Ok(self)
    }

    /// Keeps the deltas of all layers.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn keep_deltas(&mut self, plan: &Plan) -> Result<(), Error> {
        let rows = self.losses.len();
        // Two at least, as for those that take turns.
        while self.delta.len() < plan.layers.len() {
            self.delta.push(room(0, "x", 0)?);
        }
        for (delta, layer) in self.delta.iter_mut().zip(&plan.layers) {
            *delta = room(rows, &layer.name, layer.stride)?;
        }
        Ok(())
    }

    /// Makes room for z of the first layer, twice.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn make_first(&mut self, plan: &Plan) -> Result<(), Error> {
        let layer = &plan.layers[0];
        self.first = room(2 * self.losses.len(), &layer.name, layer.stride)?;
        Ok(())
    }

    /// Room for `rows` rows on their way forward, as [`Workspace::new`] without the way back.
    ///
    /// # Errors
    /// [`Error::Memory`] that names the layer.
    pub fn forward_only(plan: &Plan, rows: usize) -> Result<Workspace<T>, Error> {
        let mut work = Workspace {
            a: Vec::with_capacity(plan.layers.len()),
            z: Vec::with_capacity(plan.layers.len()),
            moments: Vec::with_capacity(plan.layers.len()),
            first: Buffer::empty(),
            first_is_known: false,
            share: Vec::new(),
            delta: Vec::new(),
            skips: Vec::new(),
            dx: room(0, "x", 0)?,
            losses: Vec::new(),
        };
        for layer in &plan.layers {
            work.moments.push(match layer.kind {
                Kind::BatchNorm { .. } => room(1, &layer.name, 5 * layer.stride)?,
                Kind::LayerNorm { .. } => room(rows, &layer.name, 2)?,
                _ => room(0, &layer.name, 0)?,
            });
            work.a.push(room(rows, &layer.name, layer.stride)?);
            work.z.push(room(rows, &layer.name, if layer.keeps_z() { layer.stride } else { 0 })?);
        }
        Ok(work)
    }
}

/// Room for `rows` rows of the layer of this name, `stride` apart.
fn room<T: Real>(rows: usize, name: &str, stride: usize) -> Result<Buffer<T>, Error> {
    let count = rows.checked_mul(stride);
    let what = format_args!("{rows} rows of layer {name}");
    count.and_then(Buffer::zeroed).ok_or_else(|| Error::memory(what, count, size_of::<T>()))
}

/// What comes into the layer at this place: what the layer below made of the rows, or x.
pub fn input_of<'a, T: Real>(plan: &Plan, a: &'a [Buffer<T>], x: View<'a, T>, index: usize) -> View<'a, T> {
    match index.checked_sub(1) {
        None => x,
        Some(below) => view(&a[below], x.rows, &plan.layers[below]),
    }
}

/// dL/dz of the layer at this place, and the room for that of the layer below.
pub fn deltas<T: Real>(all: &mut [Buffer<T>], index: usize) -> (&[T], &mut [T]) {
    let (here, below) = (index % all.len(), (index + all.len() - 1) % all.len());
    let (first, second) = all.split_at_mut(here.max(below));
    if here > below { (&second[0], &mut first[below]) } else { (&first[here], &mut second[0]) }
}

/// The rows of a layer in a buffer, to read.
pub fn view<'a, T: Real>(data: &'a [T], rows: usize, layer: &Layer) -> View<'a, T> {
    View::new(data, rows, layer.n_out, layer.stride)
}

/// The rows of a layer in a buffer, to write.
pub fn view_mut<'a, T: Real>(data: &'a mut [T], rows: usize, layer: &Layer) -> ViewMut<'a, T> {
    ViewMut::new(data, rows, layer.n_out, layer.stride)
}

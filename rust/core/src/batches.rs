//! Batches: which rows a step sees, in which order, gathered into storage that the kernels like.
//!
//! In: data and an order of its rows. Out: blocks of at most [`BLOCK_ROWS`] rows with the scale of each row.
//! The order depends on the seed and the number of epochs in the life of the model, on nothing else.

use crate::data::{Data, Targets};
use crate::error::Error;
use crate::memory::{collected, filled};
use crate::rng::{Purpose, shuffle, stream};
use dnn_kernels::{Buffer, Isa, Real, Target, View, row_stride};
use std::ops::Range;

/// Rows that go through the network together. A larger batch is cut into such blocks, and its gradient is their sum:
/// the activations of a block stay in cache, and a full batch of any size takes no more memory than one block.
/// A multiple of the pieces in which the kernels add up, so that the cuts do not show in the bits.
pub const BLOCK_ROWS: usize = 512;

/// The rows of a block, gathered.
#[derive(Debug)]
pub struct Batch<T: Real> {
    x: Buffer<T>,
    x_columns: usize,
    x_stride: usize,
    dense: Buffer<T>,
    n_out: usize,
    labels: Vec<u32>,
    is_dense: bool,
    weights: Vec<f64>,
    /// Sum of the weights of the batch that the block is part of.
    total_weight: f64,
    scale: Vec<T>,
    rows: usize,
}

impl<T: Real> Batch<T> {
    /// Room for blocks of at most `capacity` rows.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn with_capacity(data: &Data<T>, capacity: usize) -> Result<Batch<T>, Error> {
        let x_columns = data.x.shape().1;
        let x_stride = row_stride::<T>(x_columns);
        let (is_dense, n_out) = match &data.targets {
            Targets::Dense(y) => (true, y.shape().1),
            Targets::Labels(_) => (false, 0),
        };
        let room = |columns: usize| {
            let count = capacity.checked_mul(columns);
            let buffer = count.and_then(Buffer::zeroed);
            buffer.ok_or_else(|| Error::memory(format_args!("a batch of {capacity} rows"), count, size_of::<T>()))
        };
        Ok(Batch {
            x: room(x_stride)?,
            x_columns,
            x_stride,
            dense: room(n_out)?,
            n_out,
            labels: filled(0, if is_dense { 0 } else { capacity }, format_args!("a batch of {capacity} rows"))?,
            is_dense,
            weights: filled(1.0, capacity, format_args!("a batch of {capacity} rows"))?,
            total_weight: 1.0,
            scale: filled(T::ZERO, capacity, format_args!("a batch of {capacity} rows"))?,
            rows: 0,
        })
    }

    /// Rows at most.
    pub fn capacity(&self) -> usize {
        self.scale.len()
    }

    /// Gathers the rows with these numbers; `total_weight` is that of the whole batch.
    pub fn gather(&mut self, isa: Isa, data: &Data<T>, rows: &[u32], total_weight: f64) {
        self.rows = rows.len();
        self.total_weight = total_weight;
        data.x.copy_rows(isa, rows, &mut self.x, self.x_stride);
        match &data.targets {
            Targets::Dense(y) => y.copy_rows(isa, rows, &mut self.dense, self.n_out),
            Targets::Labels(labels) => {
                for (label, &row) in self.labels.iter_mut().zip(rows) {
                    *label = labels[row as usize];
                }
            }
        }
        if !data.weights.is_empty() {
            for (weight, &row) in self.weights.iter_mut().zip(rows) {
                *weight = data.weights[row as usize];
            }
        }
    }

    /// (rows, n_inputs)
    pub fn x(&self) -> View<'_, T> {
        View::new(&self.x, self.rows, self.x_columns, self.x_stride)
    }

    /// What the rows should come out as.
    pub fn target(&self) -> Target<'_, T> {
        if self.is_dense {
            Target::Dense(View::new(&self.dense, self.rows, self.n_out, self.n_out))
        } else {
            Target::Labels(&self.labels[..self.rows])
        }
    }

    /// The weight of each row.
    pub fn weights(&self) -> &[f64] {
        &self.weights[..self.rows]
    }

    /// What the gradient of each row is multiplied by: its weight over that of the batch, times `factor`.
    pub fn scale(&self) -> &[T] {
        &self.scale[..self.rows]
    }

    /// Sets [`Batch::scale`] for a loss with this factor.
    ///
    /// 0 where the whole batch weighs nothing.
    pub fn set_scale(&mut self, factor: f64) {
        // Every weight is 0 then: dividing by anything else gives 0.
        let total = if self.total_weight > 0.0 { self.total_weight } else { 1.0 };
        for (scale, weight) in self.scale.iter_mut().zip(&self.weights).take(self.rows) {
            *scale = T::from_f64(factor * weight / total);
        }
    }

    /// The weight of the rows that are gathered.
    pub fn weight(&self) -> f64 {
        self.weights().iter().sum()
    }

    /// Writes what share of the rows that are gathered each of them is, by its weight; nothing where there is no room.
    pub fn shares(&self, share: &mut [T]) {
        if share.is_empty() {
            return;
        }
        // Every weight is 0 then: dividing by anything else gives 0.
        let total = Some(self.weight()).filter(|&weight| weight > 0.0).unwrap_or(1.0);
        for (share, weight) in share.iter_mut().zip(self.weights()) {
            *share = T::from_f64(weight / total);
        }
    }
}

/// The batches of an epoch.
#[derive(Debug)]
pub struct Batches {
    order: Vec<u32>,
    batch_size: usize,
}

impl Batches {
    /// Batches of `batch_size` of `rows` rows, in the order of the data.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 2^32 rows; [`Error::Memory`].
    pub fn new(rows: usize, batch_size: usize) -> Result<Batches, Error> {
        Ok(Batches { order: all_rows(rows)?, batch_size })
    }

    /// The order of an epoch. One batch of all rows needs none: its gradient is a sum over all of them.
    pub fn shuffle(&mut self, seed: u64, epoch: u64) {
        if self.batch_size < self.order.len() {
            for (i, row) in self.order.iter_mut().enumerate() {
                *row = i as u32;
            }
            shuffle(&mut self.order, &mut stream(seed, Purpose::Shuffle, epoch));
        }
    }

    /// The rows of an epoch from somebody else, of whom `rows` there are; false if one of them is not there. `give`
    /// writes the number of a row into every place.
    pub fn take(&mut self, rows: usize, give: impl FnOnce(&mut [u32])) -> bool {
        give(&mut self.order);
        self.order.iter().all(|&row| (row as usize) < rows)
    }

    /// Batches of an epoch.
    pub fn count(&self) -> usize {
        self.order.len().div_ceil(self.batch_size)
    }

    /// Those that have all their rows; a last one may have fewer.
    pub fn whole(&self) -> usize {
        self.order.len() / self.batch_size
    }

    /// The row numbers of batch `i`.
    #[inline]
    pub fn rows(&self, i: usize) -> &[u32] {
        self.rows_of(i..i + 1)
    }

    /// The row numbers of these batches.
    #[inline]
    pub fn rows_of(&self, batches: Range<usize>) -> &[u32] {
        let end = self.order.len().min(batches.end * self.batch_size);
        &self.order[batches.start * self.batch_size..end]
    }
}

/// The numbers of `rows` rows, in the order of the data.
///
/// # Errors
/// [`Error::Invalid`] for more than 2^32 rows; [`Error::Memory`].
pub fn all_rows(rows: usize) -> Result<Vec<u32>, Error> {
    let last = u32::try_from(rows).map_err(|_| Error::Invalid(format!("x has {rows} rows; 2^32 - 1 are the limit")))?;
    collected(0..last, rows, "the order of the rows")
}

/// The blocks of `rows` rows, `size` at a time.
pub fn blocks(rows: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(size.max(1)).map(move |start| start..rows.min(start + size))
}

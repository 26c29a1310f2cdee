//! The batch that comes next, where that is known before a step is taken: the first layer goes over it with each weight as it
//! takes its step, and not once more over all of them.
//!
//! In: the numbers of the rows. Out: the rows, gathered, and handed over when it is their turn; [`Step::take`] finds z of the first
//! layer for them, with the bits of a product with the weights after the step. Of a wide layer a step of few rows is mostly to
//! read its weights, and to write them.

use super::{Shard, Step, weight_of};
use crate::batches::Batch;
use crate::data::Data;
use crate::error::Error;
use crate::memory::filled;
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::workspace::Workspace;
use dnn_kernels::Real;

/// Rows that were gathered before their turn, and their numbers.
#[derive(Debug)]
pub(super) struct Next<T: Real> {
    pub batch: Batch<T>,
    rows: Vec<u32>,
    count: usize,
}

impl<T: Real> Step<T> {
    /// From now on [`Step::take`] may be told which rows come next, where weights wait and that saves time.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn expect_next(&mut self, plan: &Plan, data: &Data<T>, optimizer: &Optimizer<T>) -> Result<(), Error> {
        let (Some(waiting), [Shard { work, .. }]) = (&self.waiting, &mut self.shards[..]) else { return Ok(()) };
        if !waiting.blocks.takes_next_rows(plan, optimizer, self.block_rows, 1) {
            return Ok(());
        }
        work.make_first(plan)?;
        let rows = filled(0, self.block_rows, "the next rows")?;
        self.next = Some(Next { batch: Batch::with_capacity(data, self.block_rows)?, rows, count: 0 });
        Ok(())
    }
}

impl<T: Real> Next<T> {
    /// These rows come next.
    pub fn gather(&mut self, plan: &Plan, data: &Data<T>, rows: &[u32]) {
        self.count = rows.len();
        self.rows[..self.count].copy_from_slice(rows);
        self.batch.gather(plan.isa, data, rows, weight_of(data, rows));
    }

    /// It is the turn of these rows: puts them where a batch is, if it is these that were gathered.
    pub fn hand_over(&mut self, rows: &[u32], batch: &mut Batch<T>, work: &mut Workspace<T>) {
        work.first_is_known &= rows == &self.rows[..self.count];
        if work.first_is_known {
            std::mem::swap(batch, &mut self.batch);
        }
    }
}

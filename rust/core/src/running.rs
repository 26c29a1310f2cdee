//! What a model gathers while it learns, and no optimizer touches.
//!
//! In: batches that were learned from. Out: what layers go by that act differently while a network learns. It is saved,
//! copied and restored with the parameters, and changed after finished steps only.

use crate::error::Error;

/// The state of a model beside its parameters.
#[derive(Debug)]
pub struct Running {
    /// Batches that were learned from in the life of the model: the number of the next one, which names its noise.
    pub batches: u64,
}

impl Running {
    /// That of a model that has seen nothing.
    pub fn new() -> Running {
        Running { batches: 0 }
    }

    /// The same once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Running, Error> {
        Ok(Running { batches: self.batches })
    }

    /// Counts batches that were learned from.
    pub fn count(&mut self, batches: usize) {
        self.batches = self.batches.saturating_add(batches as u64);
    }
}

impl Default for Running {
    fn default() -> Running {
        Running::new()
    }
}

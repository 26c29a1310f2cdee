//! Whether a network is small enough for a single kernel, and what it is for that.
//!
//! In: a plan, and the rows of a batch. Out: its stages.

use super::{Kind, Layer, Output, Plan};
use dnn_kernels::{Activation, GROUPED_ROWS, Stage, TinyLoss};

/// Widths up to which a network is computed by a single kernel whose vectors run over the rows.
const TINY_WIDTH: usize = 32;

/// The same where a batch is a single row, and vectors run over the units. Outputs have the bits of the other kernels up to
/// 256 inputs, one piece of their sums.
const ROW_WIDTH: usize = 256;

/// Parameters of a layer, on average, up to which a narrow network is one kernel: at any number of rows, and for each vector
/// of rows besides.
const TINY_LAYER: usize = 150;
const TINY_PER_VECTOR: usize = 480;

/// Widths, and parameters of a layer, up to which a network is one kernel where a vector holds the rows of several units.
const GROUPED_WIDTH: usize = 128;
const GROUPED_LAYER: usize = 850;

impl Plan {
    /// The network as a single kernel takes it, where it is small enough for that and batches of `rows` rows, `lanes` of
    /// them a vector, are worth it.
    ///
    /// A vector of rows costs the same however few of them are real: one row through 32-32-32-10 took 6.8 us so and 3.6 layer
    /// by layer, 32 rows 11.4 and 12.0. One row alone goes through in vectors of units, which takes 0.74 us a step of 64-64-10
    /// with plain gradient descent, layer by layer 1.7; of 256-256-10 6.8 and 8.7. Of four rows at most a vector holds those of
    /// several units: four rows of 8-32-10 take 0.83 us, layer by layer 1.4, of 13-100-1 with Adam 2.3 and 2.8. With 840 parameters
    /// a layer (33-48-1, and two rows of 20-40-20) it is the same in float32; in float64 it pays still.
    pub fn stages(&self, rows: usize, lanes: usize) -> Option<Vec<Stage>> {
        let loss = self.loss.as_ref()?;
        let of_a_layer = self.n_parameters() / self.layers.len().max(1);
        let of_rows = of_a_layer <= (TINY_PER_VECTOR * rows / lanes).saturating_add(TINY_LAYER);
        let of_groups = of_a_layer <= GROUPED_LAYER && self.last().n_out <= TINY_WIDTH;
        let small = match rows {
            1 => self.is_at_most(ROW_WIDTH),
            2..=GROUPED_ROWS => of_groups && self.is_at_most(GROUPED_WIDTH),
            _ => of_rows && self.is_at_most(TINY_WIDTH),
        };
        let small = small
            && (self.last().output == Output::Softmax) == (loss.tiny() == Some(TinyLoss::SoftmaxCrossEntropy))
            && (loss.tiny().is_some() || !self.last().keeps_z());
        let mut stages: Vec<Stage> = self.layers.iter().map(Layer::stage).collect();
        if let Some(last) = stages.last_mut().filter(|_| loss.takes_z()) {
            last.activation = Activation::Identity;
        }
        small.then_some(stages)
    }

    /// The same for prediction, which has no loss and ends with the activation; a softmax is left to do.
    ///
    /// Only where vectors over the outputs would be empty for more than a fifth: turning rows into columns costs as much
    /// as that. 10000 rows of 8-8-8-1 take 134 us this way, of 2-4-1 88 instead of some 390; of 32-32-32-32 1868 us,
    /// but some 1100 the other way.
    pub fn forward_stages(&self) -> Option<Vec<Stage>> {
        let lanes: usize = self.layers.iter().map(|layer| layer.stride).sum();
        let used: usize = self.layers.iter().map(|layer| layer.n_out).sum();
        let pays = self.is_at_most(TINY_WIDTH) && 4 * lanes > 5 * used;
        pays.then(|| self.layers.iter().map(Layer::stage).collect())
    }

    /// Whether it is dense layers of this width at most, and nothing else.
    fn is_at_most(&self, width: usize) -> bool {
        let fits = |layer: &Layer| matches!(layer.kind, Kind::Dense) && layer.n_out <= width;
        self.n_inputs <= width && self.layers.iter().all(fits)
    }
}

//! Weights that are stepped along their gradient block by block, so that it is never whole.
//!
//! In: a plan and the rows of a batch. Out: which weights go so, and what is left for a step of its own.
//! Only where nothing asks for the whole gradient: no penalty, no limit of its norm, no optimizer that looks at more than
//! one element. The numbers are those of the step along the whole gradient, to the last bit.

use super::{Optimizer, arrays};
use crate::plan::{Layer, Plan};
use dnn_kernels::{Descent, Placed, Real};
use dnn_spec::OptimizerSpec;
use std::ops::Range;

/// Parameters of a network at least. It saves the memory of a gradient: up to a million at a step 1 to 2 % longer, below
/// this at up to 10 % on two threads (256-512-512-10 at 128 rows), from two million on at a shorter step.
const MIN_PARAMETERS: usize = 600_000;

/// The same where a gradient of few rows is never written. Below, what the step has to be told takes longer: layer by
/// layer 33-33-10 took 1.50 instead of 1.30 us at one row, where 100-100-10 took 2.7 instead of 3.6.
const MIN_PARAMETERS_OF_FEW: usize = 4_000;

/// What goes block by block, and the rest.
#[derive(Debug)]
pub struct Blocks<T> {
    /// The blocks.
    pub descent: Descent<T>,
    /// Their layers, by their places in the plan, in order.
    pub layers: Vec<usize>,
    /// All other arrays that learn, and whether each is a matrix of weights.
    pub rest: Vec<Range<usize>>,
    pub is_weights: Vec<bool>,
}

impl<T: Real> Blocks<T> {
    /// `None` where the whole gradient of a batch of so many rows is needed, or faster; `measured` as in
    /// `Step::make_gradient`.
    pub fn new(plan: &Plan, optimizer: &Optimizer<T>, rows: usize, measured: bool) -> Option<Blocks<T>> {
        let least = if is_plain(optimizer) && !measured { MIN_PARAMETERS_OF_FEW } else { MIN_PARAMETERS };
        if plan.len < least || plan.layers.iter().any(Layer::has_penalty) {
            return None;
        }
        let suits = |layer: &Layer| layer.is_dense() && layer.trainable_weights && Descent::<T>::suits(layer.n_out);
        let layers: Vec<usize> = (0..plan.layers.len()).filter(|&index| suits(&plan.layers[index])).collect();
        if layers.is_empty() {
            return None;
        }
        let placed = |&index: &usize| {
            let layer = &plan.layers[index];
            Placed { start: layer.weights().start, n_in: layer.n_in, n_out: layer.n_out, stride: layer.stride }
        };
        let all: Vec<Placed> = layers.iter().map(placed).collect();
        let forms_none = |&layer: &Placed| Descent::<T>::forms_none(plan.products, layer, rows);
        if plan.len < MIN_PARAMETERS && !all.iter().all(forms_none) {
            return None;
        }
        let goes = |range: &Range<usize>| all.iter().any(|layer| layer.start == range.start && !range.is_empty());
        let (rest, is_weights) = arrays(plan).filter(|(range, _)| !goes(range)).unzip();
        let descent = Descent::new(all, plan.products, rows);
        Some(Blocks { descent, layers, rest, is_weights })
    }

    /// Whether the first layer of the network had better go over the next batch, of so many rows at most, while its weights take
    /// their step.
    pub fn takes_next_rows(&self, plan: &Plan, optimizer: &Optimizer<T>, rows: usize, threads: usize) -> bool {
        let is_first = self.layers[0] == 0 && plan.layers[0].max_norm.is_none();
        is_first && is_plain(optimizer) && self.descent.takes_next_rows(plan.products, rows, threads)
    }
}

/// Whether it is gradient descent, plain or with momentum.
fn is_plain<T: Real>(optimizer: &Optimizer<T>) -> bool {
    matches!(optimizer.spec, OptimizerSpec::Sgd { nesterov: false, dampened: false, .. })
}

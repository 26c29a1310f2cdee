//! Running means and variances: what layers that go by the mean and variance of a batch remember of those they saw.
//!
//! In: the moments that blocks of rows have left in the workspace. Out: the running ones, which come into force with the
//! step, like the parameters: nothing that a batch changes is changed on the way.

use crate::batches::Batch;
use crate::params::Params;
use crate::plan::{Kind, Plan};
use crate::workspace::Workspace;
use dnn_kernels::Real;
use std::ops::Range;

/// The running moments of all layers that have some, one layer after the other, as far as blocks have moved them.
#[derive(Debug)]
pub struct Moved<T> {
    moments: Vec<T>,
    /// The weight of the rows that went through.
    weight: f64,
}

impl<T: Real> Moved<T> {
    /// Room for those of a network, if it has any.
    pub fn new(plan: &Plan) -> Option<Moved<T>> {
        let numbers = running(plan).map(|(_, at)| at.len()).sum();
        plan.has_batch_statistics().then(|| Moved { moments: Vec::with_capacity(numbers), weight: 0.0 })
    }

    /// Starts from those in force.
    pub fn begin(&mut self, plan: &Plan, params: &Params<T>) {
        self.weight = 0.0;
        self.moments.clear();
        running(plan).for_each(|(_, at)| self.moments.extend_from_slice(&params[at]));
    }

    /// `running <- momentum running + (1 - momentum) moment`, with the moments of the block that has gone through.
    pub fn follow(&mut self, plan: &Plan, batch: &Batch<T>, work: &Workspace<T>) {
        self.add(plan, batch, work, |momentum, _| momentum);
    }

    /// The mean over all blocks since the beginning, each by the weight of its rows.
    pub fn average(&mut self, plan: &Plan, batch: &Batch<T>, work: &Workspace<T>) {
        self.add(plan, batch, work, |_, before| before);
    }

    /// `keep` finds what stays of the running moments from the momentum of the layer, and from the share that the rows
    /// before have in all up to this block. A row alone has no variance, and changes nothing, as do rows that weigh
    /// nothing.
    fn add(&mut self, plan: &Plan, batch: &Batch<T>, work: &Workspace<T>, keep: impl Fn(f64, f64) -> f64) {
        let weight = batch.weight();
        if batch.x().rows < 2 || weight <= 0.0 {
            return;
        }
        let before = self.weight / (self.weight + weight);
        self.weight += weight;
        let mut moved = self.moments.iter_mut();
        for (index, at) in running(plan) {
            let Kind::BatchNorm { momentum, .. } = plan.layers[index].kind else { continue };
            let keep = keep(momentum, before);
            for (running, moment) in moved.by_ref().take(at.len()).zip(work.moments[index].iter()) {
                *running = T::from_f64(keep * running.to_f64() + (1.0 - keep) * moment.to_f64());
            }
        }
    }

    /// Whether all of them are numbers: of weights that were not trained on the rows, they need not be.
    pub fn are_finite(&self) -> bool {
        self.moments.iter().all(|moment| moment.is_finite())
    }

    /// The first layer whose moments are not all numbers.
    pub fn not_finite(&self, plan: &Plan) -> Option<usize> {
        let mut moments = &self.moments[..];
        for (index, at) in running(plan) {
            let (own, others) = moments.split_at(at.len());
            if own.iter().any(|moment| !moment.is_finite()) {
                return Some(index);
            }
            moments = others;
        }
        None
    }

    /// Puts them in force.
    pub fn come_into_force(&self, plan: &Plan, params: &mut Params<T>) {
        let mut moved = self.moments.iter();
        for (_, at) in running(plan) {
            for (running, &moved) in params[at].iter_mut().zip(moved.by_ref()) {
                *running = moved;
            }
        }
    }
}

/// The layers that have running moments, with the places of these.
fn running(plan: &Plan) -> impl Iterator<Item = (usize, Range<usize>)> {
    let layers = plan.layers.iter().enumerate().filter(|(_, layer)| layer.has_batch_statistics());
    layers.map(|(index, layer)| (index, layer.running()))
}

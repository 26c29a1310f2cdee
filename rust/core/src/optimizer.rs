//! Optimizers: the memory of one, and its step over everything that learns.
//!
//! In: parameters, their gradient and the rate of the step. Out: the parameters after it.
//! All parameters move together, after the whole gradient was formed from the old ones.
//! SGD and Adam stand here; `optimizer/rules.rs` has those that work element by element, `lamb.rs` and `muon.rs` those
//! that look at whole arrays, `check.rs` what their constants may be, `reach.rs` how far a step goes.

mod check;
mod lamb;
mod muon;
mod reach;
mod rules;

use crate::error::Error;
use crate::pairs::Pairs;
use crate::params::Params;
use crate::plan::Plan;
use crate::spec::OptimizerSpec;
use dnn_kernels::{Adam, Real, Sgd, Team, ViewMut, limit_column_norms};
use muon::Muon;
pub use reach::Reach;

/// An optimizer with its memory.
#[derive(Debug)]
pub struct Optimizer<T: Real> {
    /// What was asked for.
    pub spec: OptimizerSpec,
    /// Steps taken.
    pub steps: u64,
    /// Velocity, or mean gradient, in the layout of the parameters.
    pub first: Option<Params<T>>,
    /// Mean squared gradient.
    pub second: Option<Params<T>>,
    /// The largest mean squared gradient so far; Adadelta's mean squared step.
    pub largest: Option<Params<T>>,
    /// The last steps and changes of the gradient, of L-BFGS.
    pub pairs: Option<Pairs<T>>,
    /// RMSprop's mean gradient, where it has a velocity too.
    pub mean: Option<Params<T>>,
    /// Nadam's product of the momenta of all steps.
    pub product: f64,
    /// Room for a direction that is scaled before it is stepped along. Holds nothing between steps.
    direction: Option<Params<T>>,
    muon: Option<Muon<T>>,
}

impl<T: Real> Optimizer<T> {
    /// Checks the constants and makes the memory, zero at first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for constants out of range, [`Error::Memory`].
    pub fn new(spec: OptimizerSpec, plan: &Plan) -> Result<Optimizer<T>, Error> {
        check::constants::<T>(&spec)?;
        let memory = |wanted: bool| wanted.then(|| Params::zeroed(plan)).transpose();
        let (first, second, largest, mean) = match spec {
            OptimizerSpec::Sgd { momentum, .. } => (momentum > 0.0, false, false, false),
            OptimizerSpec::Adam { amsgrad, .. } | OptimizerSpec::Adamw { amsgrad, .. } => (true, true, amsgrad, false),
            OptimizerSpec::Rmsprop { momentum, centered, .. } => (momentum > 0.0, true, false, centered),
            OptimizerSpec::Adagrad { .. } => (false, true, false, false),
            OptimizerSpec::Adadelta { .. } => (false, true, true, false),
            OptimizerSpec::Lion { .. } => (true, false, false, false),
            OptimizerSpec::Lbfgs { .. } => (false, false, false, false),
            OptimizerSpec::Adamax { .. }
            | OptimizerSpec::Nadam { .. }
            | OptimizerSpec::Lamb { .. }
            | OptimizerSpec::Radam { .. }
            | OptimizerSpec::Rprop { .. }
            | OptimizerSpec::Muon { .. } => (true, true, false, false),
        };
        let mut optimizer = Optimizer {
            spec,
            steps: 0,
            first: memory(first)?,
            second: memory(second)?,
            largest: memory(largest)?,
            mean: memory(mean)?,
            product: 1.0,
            pairs: if let OptimizerSpec::Lbfgs { m, .. } = spec { Some(Pairs::new(m, plan)?) } else { None },
            direction: memory(matches!(spec, OptimizerSpec::Lamb { .. }))?,
            muon: matches!(spec, OptimizerSpec::Muon { .. }).then(|| Muon::new(plan)).transpose()?,
        };
        if let (OptimizerSpec::Adagrad { initial_accumulator, .. }, Some(second)) = (spec, &mut optimizer.second) {
            second.fill(T::from_f64(initial_accumulator));
        }
        Ok(optimizer)
    }

    /// The same optimizer once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Optimizer<T>, Error> {
        let copy = |memory: &Option<Params<T>>| memory.as_ref().map(Params::duplicate).transpose();
        Ok(Optimizer {
            spec: self.spec,
            steps: self.steps,
            first: copy(&self.first)?,
            second: copy(&self.second)?,
            largest: copy(&self.largest)?,
            mean: copy(&self.mean)?,
            product: self.product,
            pairs: self.pairs.as_ref().map(Pairs::duplicate).transpose()?,
            direction: copy(&self.direction)?,
            muon: self.muon.as_ref().map(Muon::duplicate).transpose()?,
        })
    }

    /// The same optimizer, whose memory stays here no longer.
    pub fn hand_out(&mut self) -> Optimizer<T> {
        let left = Optimizer {
            spec: self.spec,
            steps: self.steps,
            first: None,
            second: None,
            largest: None,
            mean: None,
            product: self.product,
            pairs: None,
            direction: None,
            muon: None,
        };
        std::mem::replace(self, left)
    }

    /// One step with this rate, after which no column of weights is longer than its layer allows.
    pub fn step(&mut self, plan: &Plan, team: &Team, rate: f64, params: &mut Params<T>, gradient: &Params<T>) {
        self.steps = self.steps.saturating_add(1);
        match self.spec {
            // Its step is found by evaluating the loss (`lbfgs.rs`), not by a rule.
            OptimizerSpec::Lbfgs { .. } => {}
            OptimizerSpec::Sgd { momentum, nesterov, dampened } => {
                let rule = match (nesterov, dampened) {
                    _ if momentum == 0.0 => Sgd::Plain,
                    (true, _) => Sgd::Nesterov(momentum),
                    (_, true) => Sgd::Dampened(momentum),
                    _ => Sgd::Momentum(momentum),
                };
                for range in &plan.trainable {
                    let velocity = slice(&mut self.first, range);
                    let (p, g) = (&mut params[range.clone()], &gradient[range.clone()]);
                    dnn_kernels::sgd(plan.isa, team, rule, rate, p, g, velocity);
                }
            }
            OptimizerSpec::Adam { beta_1, beta_2, epsilon, epsilon_hat, .. } => {
                // Kingma and Ba 2015. The corrections for the start from zero, 1 - beta^t, are of this step.
                let t = self.steps as f64;
                let (first, second) = (1.0 - beta_1.powf(t), (1.0 - beta_2.powf(t)).sqrt());
                let rule = if epsilon_hat {
                    // Their "epsilon hat", before the correction: scikit-learn's and Keras's convention.
                    Adam { beta_1, beta_2, size: rate * second / first, scale: 1.0, epsilon }
                } else {
                    // After the correction: PyTorch's.
                    Adam { beta_1, beta_2, size: rate / first, scale: 1.0 / second, epsilon }
                };
                for range in &plan.trainable {
                    let (m, v) = (slice(&mut self.first, range), slice(&mut self.second, range));
                    let largest = slice(&mut self.largest, range);
                    let (p, g) = (&mut params[range.clone()], &gradient[range.clone()]);
                    dnn_kernels::adam(plan.isa, team, rule, p, g, m, v, largest);
                }
            }
            OptimizerSpec::Lamb { .. } => self.step_lamb(plan, team, rate, params, gradient),
            OptimizerSpec::Muon { .. } => self.step_muon(plan, team, rate, params, gradient),
            _ => self.step_rule(plan, team, rate, params, gradient),
        }
        for layer in plan.layers.iter().filter(|layer| layer.trainable_weights) {
            if let Some(limit) = layer.max_norm {
                let w = ViewMut::new(&mut params[layer.weights()], layer.weight_rows, layer.n_out, layer.stride);
                limit_column_norms(plan.isa, limit, w);
            }
        }
    }
}

/// What share of itself a weight loses in each step, as a multiple of the rate.
pub fn decay_of(spec: &OptimizerSpec) -> f64 {
    match *spec {
        OptimizerSpec::Adamw { weight_decay, .. }
        | OptimizerSpec::Lion { weight_decay, .. }
        | OptimizerSpec::Muon { weight_decay, .. } => weight_decay,
        _ => 0.0,
    }
}

/// The part of a memory that belongs to a range of parameters; empty where there is no such memory.
fn slice<'a, T: Real>(memory: &'a mut Option<Params<T>>, range: &std::ops::Range<usize>) -> &'a mut [T] {
    memory.as_mut().map_or(&mut [], |memory| &mut memory[range.clone()])
}

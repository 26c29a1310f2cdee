//! Optimizers: the memory of one, and its step over everything that learns.
//!
//! In: parameters, their gradient and the rate of the step. Out: the parameters after it.
//! All parameters move together, after the whole gradient was formed from the old ones.

use crate::error::Error;
use crate::pairs::Pairs;
use crate::params::Params;
use crate::plan::Plan;
use crate::spec::OptimizerSpec;
use dnn_kernels::{Adam, Real, Sgd, Team};

/// Steps that L-BFGS may remember: each takes twice the memory of the parameters, and more than some 20 rarely help.
const MAX_PAIRS: usize = 1000;

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
    /// The largest mean squared gradient so far.
    pub largest: Option<Params<T>>,
    /// The last steps and changes of the gradient, of L-BFGS.
    pub pairs: Option<Pairs<T>>,
}

impl<T: Real> Optimizer<T> {
    /// Checks the constants and makes the memory, zero at first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for constants out of range, [`Error::Memory`].
    pub fn new(spec: OptimizerSpec, plan: &Plan) -> Result<Optimizer<T>, Error> {
        let memory = |wanted: bool| wanted.then(|| Params::zeroed(plan)).transpose();
        let (first, second, largest) = match spec {
            OptimizerSpec::Sgd { momentum, nesterov, dampened } => {
                if !(0.0..1.0).contains(&momentum) {
                    return Err(Error::Invalid(format!("momentum must be in [0, 1), got {momentum}")));
                }
                if (nesterov || dampened) && momentum == 0.0 {
                    return Err(Error::invalid("nesterov and dampened need a momentum above 0"));
                }
                if nesterov && dampened {
                    return Err(Error::invalid("nesterov and dampened exclude each other"));
                }
                (momentum > 0.0, false, false)
            }
            OptimizerSpec::Adam { beta_1, beta_2, epsilon, amsgrad, .. } => {
                for (name, beta) in [("beta_1", beta_1), ("beta_2", beta_2)] {
                    if !(0.0..1.0).contains(&beta) {
                        return Err(Error::Invalid(format!("{name} must be in [0, 1), got {beta}")));
                    }
                }
                if !(epsilon > 0.0 && epsilon.is_finite()) {
                    return Err(Error::Invalid(format!("epsilon must be positive, got {epsilon}")));
                }
                // At 0 it would move a parameter without a gradient by 0 / 0, near 0 by more than there are numbers for.
                let smallest = if T::NAME == "float32" { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
                if epsilon < smallest {
                    let number = T::NAME;
                    return Err(Error::Invalid(format!(
                        "epsilon must be at least {smallest:e} in {number}, got {epsilon:e}"
                    )));
                }
                (true, true, amsgrad)
            }
            OptimizerSpec::Lbfgs { m, max_fun, gtol, ftol } => {
                if !(1..=MAX_PAIRS).contains(&m) || max_fun == 0 {
                    return Err(Error::Invalid(format!(
                        "m must be from 1 to {MAX_PAIRS} and max_fun at least 1, got {m} and {max_fun}"
                    )));
                }
                for (name, tolerance) in [("gtol", gtol), ("ftol", ftol)] {
                    if !(tolerance >= 0.0 && tolerance.is_finite()) {
                        return Err(Error::Invalid(format!("{name} must be 0 or more, got {tolerance}")));
                    }
                }
                (false, false, false)
            }
        };
        let pairs = if let OptimizerSpec::Lbfgs { m, .. } = spec { Some(Pairs::new(m, plan)?) } else { None };
        let (first, second, largest) = (memory(first)?, memory(second)?, memory(largest)?);
        Ok(Optimizer { spec, steps: 0, first, second, largest, pairs })
    }

    /// The same optimizer once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Optimizer<T>, Error> {
        let copy = |memory: &Option<Params<T>>| memory.as_ref().map(Params::duplicate).transpose();
        let (first, second, largest) = (copy(&self.first)?, copy(&self.second)?, copy(&self.largest)?);
        let pairs = self.pairs.as_ref().map(Pairs::duplicate).transpose()?;
        Ok(Optimizer { spec: self.spec, steps: self.steps, first, second, largest, pairs })
    }

    /// One step with this rate.
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
        }
    }
}

/// The part of a memory that belongs to a range of parameters; empty where there is no such memory.
fn slice<'a, T: Real>(memory: &'a mut Option<Params<T>>, range: &std::ops::Range<usize>) -> &'a mut [T] {
    memory.as_mut().map_or(&mut [], |memory| &mut memory[range.clone()])
}

//! How large weights may be after a step: whether they are sure to be numbers still.
//!
//! In: an optimizer, the rate of a step and what the weights are before it. Out: whether the step may be taken.
//! It never takes one. What a step can do at most is worked out from the constants of the optimizer and the size of what
//! it has seen, not from every weight; all of them are looked at only where that does not say enough, which training that
//! learns anything never comes to.

use super::{Optimizer, decay_of};
use crate::params::Params;
use crate::plan::Plan;
use dnn_kernels::{Isa, Real, largest};
use dnn_spec::OptimizerSpec;

/// What nothing is larger than, as far as it is known.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    weights: f64,
    /// The mean gradient, or velocity.
    first: f64,
    /// The mean squared step of Adadelta.
    squares: f64,
}

/// Watches over the size of the weights from step to step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach(Option<Sizes>);

impl Reach {
    /// The weights, or the memory of the optimizer, were changed by something else than a step.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// Whether the weights are sure to be numbers after a step along this gradient, whose squares are; with `None` along
    /// any such gradient.
    pub fn allows<T: Real>(
        &mut self,
        plan: &Plan,
        optimizer: &Optimizer<T>,
        rate: f64,
        params: &Params<T>,
        gradient: Option<&Params<T>>,
    ) -> bool {
        let (fits, any_gradient) = (Sizes::fit::<T>, any_gradient::<T>());
        let after = self.0.map(|known| optimizer.sizes_after(plan, rate, known, any_gradient));
        self.0 = after.filter(fits).or_else(|| {
            let known = Sizes {
                weights: largest(plan.isa, params),
                first: of(plan.isa, &optimizer.first),
                squares: of(plan.isa, &optimizer.largest),
            };
            let after = |gradient| Some(optimizer.sizes_after(plan, rate, known, gradient)).filter(fits);
            after(any_gradient).or_else(|| after(largest(plan.isa, gradient?)))
        });
        self.0.is_some()
    }

    /// How many steps at these rates, along any gradients whose squares are numbers, are allowed as the weights are before
    /// the first.
    pub fn allows_many<T: Real>(
        &mut self,
        plan: &Plan,
        optimizer: &Optimizer<T>,
        rates: &[f64],
        params: &Params<T>,
    ) -> usize {
        let Some((&first, others)) = rates.split_first() else { return 0 };
        if !self.allows(plan, optimizer, first, params, None) {
            return 0;
        }
        let goes_on = |&&rate: &&f64| {
            let after = self.0.map(|known| optimizer.sizes_after(plan, rate, known, any_gradient::<T>()));
            let after = after.filter(Sizes::fit::<T>);
            // What is known stays where a step is not allowed: it is not taken.
            self.0 = after.or(self.0);
            after.is_some()
        };
        1 + others.iter().take_while(goes_on).count()
    }
}

impl Sizes {
    /// Half the largest would do; a quarter leaves room for rounding.
    fn fit<T: Real>(&self) -> bool {
        self.weights <= T::LARGEST / 4.0 && self.first <= T::LARGEST / 4.0
    }
}

/// Nobody takes a step along a gradient whose squares are no numbers.
fn any_gradient<T: Real>() -> f64 {
    T::LARGEST.sqrt()
}

fn of<T: Real>(isa: Isa, memory: &Option<Params<T>>) -> f64 {
    memory.as_ref().map_or(0.0, |memory| largest(isa, memory))
}

impl<T: Real> Optimizer<T> {
    /// What nothing is larger than after the next step, whose gradient has no element above `g`.
    ///
    /// The steps are those of `rules.rs`, `lamb.rs` and `muon.rs`, with every |x| in the place of x, and
    /// what is divided by as small as it can be: an epsilon, and 1 - beta for the correction 1 - beta^t.
    fn sizes_after(&self, plan: &Plan, rate: f64, known: Sizes, g: f64) -> Sizes {
        let (mean, mut squares) = (known.first.max(g), known.squares);
        let corrected = |beta_1: f64| mean / (1.0 - beta_1);
        // The memory after the step, and how far that moves a weight.
        let (first, moved) = match self.spec {
            OptimizerSpec::Sgd { momentum, nesterov, dampened } => {
                let velocity = momentum * known.first + if dampened { (1.0 - momentum) * g } else { rate * g };
                match (nesterov, dampened) {
                    (true, _) => (velocity, momentum * velocity + rate * g),
                    (_, true) => (velocity, rate * velocity),
                    _ => (velocity, velocity),
                }
            }
            OptimizerSpec::Adam { beta_1, epsilon, .. }
            | OptimizerSpec::Adamw { beta_1, epsilon, .. }
            | OptimizerSpec::Adamax { beta_1, epsilon, .. } => (mean, rate * corrected(beta_1) / epsilon),
            OptimizerSpec::Rmsprop { momentum, epsilon, epsilon_inside, .. } => {
                let step = g / if epsilon_inside { epsilon.sqrt() } else { epsilon };
                let velocity = momentum * known.first + step;
                (velocity, rate * velocity)
            }
            OptimizerSpec::Adagrad { epsilon, .. } => (0.0, rate * g / epsilon),
            OptimizerSpec::Adadelta { rho, epsilon } => {
                // The mean square that is divided by has (1 - rho) g^2 in it.
                let step = ((known.squares + epsilon) / (1.0 - rho)).sqrt();
                squares = rho * known.squares + (1.0 - rho) * step * step;
                (0.0, rate * step)
            }
            OptimizerSpec::Nadam { beta_1, epsilon, .. } => (mean, rate * (corrected(beta_1) + g) / epsilon),
            OptimizerSpec::Lion { .. } => (mean, rate),
            // Its rectification makes a step shorter, and at first it does not divide.
            OptimizerSpec::Radam { beta_1, epsilon, .. } => (mean, rate * corrected(beta_1) / epsilon.min(1.0)),
            OptimizerSpec::Rprop { step_sizes: [_, largest], .. } => (mean, largest),
            OptimizerSpec::Lamb { beta_1, epsilon, weight_decay, .. } => {
                let direction = corrected(beta_1) / epsilon + weight_decay * known.weights;
                // A step is as long as the rate times the weights, or the direction where their norm is 0.
                let norm = (plan.len as f64).sqrt() * direction.max(known.weights);
                // Norms are sums of squares in float64.
                (mean, if norm <= f64::MAX.sqrt() / 2.0 { rate.max(1.0) * norm } else { f64::INFINITY })
            }
            OptimizerSpec::Muon { beta_1, adam_epsilon, adjust_rate, .. } => {
                let of_weights = super::muon::longest(adjust_rate, plan);
                (mean, rate * of_weights.max(corrected(beta_1) / adam_epsilon))
            }
            // Looks at all weights itself before it tries them.
            OptimizerSpec::Lbfgs { .. } => (0.0, 0.0),
        };
        let keep = (1.0 - rate * decay_of(&self.spec)).abs().max(1.0);
        Sizes { weights: keep * known.weights + moved, first, squares }
    }
}

//! The optimizers that step element by element: the constants of this step, and which memories go with them.

use super::{Optimizer, slice};
use crate::params::Params;
use crate::plan::Plan;
use crate::spec::OptimizerSpec;
use dnn_kernels::{Adadelta, Adagrad, Adam, AdamW, Adamax, Lion, Nadam, RAdam, Real, RmsProp, Rprop, Rule, Team, step};
use std::ops::Range;

impl<T: Real> Optimizer<T> {
    /// One step of what `optimizer.rs` does not do itself.
    pub(super) fn step_rule(
        &mut self,
        plan: &Plan,
        team: &Team,
        rate: f64,
        params: &mut Params<T>,
        gradient: &Params<T>,
    ) {
        let t = self.steps as f64;
        let (rule, decay, decay_bias) = match self.spec {
            OptimizerSpec::Adamw { beta_1, beta_2, epsilon, amsgrad, epsilon_hat, weight_decay, decay_bias } => {
                let adam = adam_at(t, beta_1, beta_2, epsilon, rate, epsilon_hat);
                (Rule::AdamW(AdamW { adam, keep: 1.0, amsgrad }), weight_decay, decay_bias)
            }
            OptimizerSpec::Rmsprop { rho, momentum, centered, epsilon, epsilon_inside } => {
                let rule = RmsProp { rho, momentum, rate, epsilon, centered, epsilon_inside };
                (Rule::RmsProp(rule), 0.0, false)
            }
            OptimizerSpec::Adagrad { epsilon, .. } => (Rule::Adagrad(Adagrad { rate, epsilon }), 0.0, false),
            OptimizerSpec::Adadelta { rho, epsilon } => (Rule::Adadelta(Adadelta { rho, rate, epsilon }), 0.0, false),
            OptimizerSpec::Adamax { beta_1, beta_2, epsilon } => {
                let size = rate / (1.0 - beta_1.powf(t));
                (Rule::Adamax(Adamax { beta_1, beta_2, size, epsilon }), 0.0, false)
            }
            OptimizerSpec::Nadam { beta_1, beta_2, epsilon, momentum_decay } => {
                // Dozat 2016, with the momentum of step t that PyTorch takes.
                let momentum_at = |t: f64| beta_1 * (1.0 - 0.5 * 0.96f64.powf(t * momentum_decay));
                let (now, next) = (momentum_at(t), momentum_at(t + 1.0));
                self.product *= now;
                let of_gradient = rate * (1.0 - now) / (1.0 - self.product);
                let of_mean = rate * next / (1.0 - self.product * next);
                let scale = 1.0 / (1.0 - beta_2.powf(t)).sqrt();
                (Rule::Nadam(Nadam { beta_1, beta_2, of_gradient, of_mean, scale, epsilon }), 0.0, false)
            }
            OptimizerSpec::Lion { beta_1, beta_2, weight_decay, decay_bias } => {
                (Rule::Lion(Lion { beta_1, beta_2, rate, keep: 1.0 }), weight_decay, decay_bias)
            }
            OptimizerSpec::Radam { beta_1, beta_2, epsilon } => {
                (Rule::RAdam(radam_at(t, beta_1, beta_2, epsilon, rate)), 0.0, false)
            }
            OptimizerSpec::Rprop { etas: [shrink, grow], step_sizes: [smallest, largest] } => {
                if let (1, Some(sizes)) = (self.steps, &mut self.second) {
                    sizes.fill(T::from_f64(rate));
                }
                (Rule::Rprop(Rprop { shrink, grow, smallest, largest }), 0.0, false)
            }
            OptimizerSpec::Sgd { .. }
            | OptimizerSpec::Adam { .. }
            | OptimizerSpec::Lbfgs { .. }
            | OptimizerSpec::Lamb { .. }
            | OptimizerSpec::Muon { .. } => unreachable!("`Optimizer::step` has these in other places"),
        };
        if decay == 0.0 || decay_bias {
            let rule = with_decay(rule, rate * decay);
            for range in &plan.trainable {
                self.step_range(plan, team, rule, range, params, gradient);
            }
            return;
        }
        for (range, is_weights) in arrays(plan) {
            let rule = with_decay(rule, if is_weights { rate * decay } else { 0.0 });
            self.step_range(plan, team, rule, &range, params, gradient);
        }
    }

    fn step_range(
        &mut self,
        plan: &Plan,
        team: &Team,
        rule: Rule,
        range: &Range<usize>,
        params: &mut Params<T>,
        gradient: &Params<T>,
    ) {
        let first = slice(&mut self.first, range);
        let second = slice(&mut self.second, range);
        let largest = slice(&mut self.largest, range);
        let memories = match rule {
            // A mean of squares first, as the kernel has it.
            Rule::RmsProp(_) => [second, first, slice(&mut self.mean, range)],
            Rule::Adagrad(_) => [second, &mut [], &mut []],
            Rule::Adadelta(_) => [second, largest, &mut []],
            _ => [first, second, largest],
        };
        step(plan.isa, team, rule, &mut params[range.clone()], &gradient[range.clone()], memories);
    }
}

/// The arrays that learn, and whether each is a matrix of weights: a bias is none, nor are gamma, beta and slopes.
pub(super) fn arrays(plan: &Plan) -> impl Iterator<Item = (Range<usize>, bool)> {
    let parts = plan.layers.iter().flat_map(|layer| {
        [(layer.trainable_weights, layer.weights(), layer.is_dense()), (layer.trainable_bias, layer.bias(), false)]
    });
    parts.filter(|(learns, range, _)| *learns && !range.is_empty()).map(|(_, range, is_weights)| (range, is_weights))
}

/// The rule, with p shrunk by this share of itself.
fn with_decay(rule: Rule, share: f64) -> Rule {
    match rule {
        Rule::AdamW(rule) => Rule::AdamW(AdamW { keep: 1.0 - share, ..rule }),
        Rule::Lion(rule) => Rule::Lion(Lion { keep: 1.0 - share, ..rule }),
        rule => rule,
    }
}

/// The constants of step t of Adam, see `optimizer.rs`.
pub(super) fn adam_at(t: f64, beta_1: f64, beta_2: f64, epsilon: f64, rate: f64, epsilon_hat: bool) -> Adam {
    let (first, second) = (1.0 - beta_1.powf(t), (1.0 - beta_2.powf(t)).sqrt());
    if epsilon_hat {
        Adam { beta_1, beta_2, size: rate * second / first, scale: 1.0, epsilon }
    } else {
        Adam { beta_1, beta_2, size: rate / first, scale: 1.0 / second, epsilon }
    }
}

/// Liu et al. 2020: divides once the variance of v is bounded, with a rate that grows from there on.
fn radam_at(t: f64, beta_1: f64, beta_2: f64, epsilon: f64, rate: f64) -> RAdam {
    let (power, correction) = (beta_2.powf(t), 1.0 - beta_2.powf(t));
    let size = rate / (1.0 - beta_1.powf(t));
    // The length of a mean with the memory of v, without end and after t steps.
    let endless = 2.0 / (1.0 - beta_2) - 1.0;
    let length = endless - 2.0 * t * power / correction;
    let divides = length > 5.0;
    let size = if divides {
        let above = (length - 4.0) * (length - 2.0) * endless;
        let below = (endless - 4.0) * (endless - 2.0) * length;
        size * correction.sqrt() * (above / below).sqrt()
    } else {
        size
    };
    RAdam { adam: Adam { beta_1, beta_2, size, scale: 1.0, epsilon }, divides }
}

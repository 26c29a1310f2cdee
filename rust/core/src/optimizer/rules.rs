//! The optimizers that step element by element: the constants of this step, and which memories go with them.

use super::{Optimizer, slice};
use crate::params::Params;
use crate::plan::Plan;
use dnn_kernels::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Change, Lion, Nadam, RAdam, Real, RmsProp, Rprop, Rule, Sgd, Team,
    TinyStep, change,
};
use dnn_spec::OptimizerSpec;
use std::ops::Range;

/// The change of the weights of dense layers, and that of all else.
pub struct Changes {
    /// Of the weights.
    pub weights: Change,
    /// Of biases, gamma, beta and slopes, where decay leaves them alone; else they change as the weights do.
    pub others: Option<Change>,
}

impl<T: Real> Optimizer<T> {
    /// What the step of this number does with this rate; `None` for optimizers that look at more than one element.
    pub(super) fn changes(&mut self, rate: f64) -> Option<Changes> {
        let t = self.steps as f64;
        let (change, decay, decay_bias) = match self.spec {
            OptimizerSpec::Sgd { .. } => (Change::Sgd(descent_of(&self.spec)?, rate), 0.0, false),
            OptimizerSpec::Adam { beta_1, beta_2, epsilon, epsilon_hat, .. } => {
                (Change::Adam(adam_at(t, beta_1, beta_2, epsilon, rate, epsilon_hat)), 0.0, false)
            }
            OptimizerSpec::Adamw { beta_1, beta_2, epsilon, amsgrad, epsilon_hat, weight_decay, decay_bias } => {
                let adam = adam_at(t, beta_1, beta_2, epsilon, rate, epsilon_hat);
                (Change::Rule(Rule::AdamW(AdamW { adam, keep: 1.0, amsgrad })), weight_decay, decay_bias)
            }
            OptimizerSpec::Rmsprop { rho, momentum, centered, epsilon, epsilon_inside } => {
                let rule = RmsProp { rho, momentum, rate, epsilon, centered, epsilon_inside };
                (Change::Rule(Rule::RmsProp(rule)), 0.0, false)
            }
            OptimizerSpec::Adagrad { epsilon, .. } => {
                (Change::Rule(Rule::Adagrad(Adagrad { rate, epsilon })), 0.0, false)
            }
            OptimizerSpec::Adadelta { rho, epsilon } => {
                (Change::Rule(Rule::Adadelta(Adadelta { rho, rate, epsilon })), 0.0, false)
            }
            OptimizerSpec::Adamax { beta_1, beta_2, epsilon } => {
                let size = rate / (1.0 - beta_1.powf(t));
                (Change::Rule(Rule::Adamax(Adamax { beta_1, beta_2, size, epsilon })), 0.0, false)
            }
            OptimizerSpec::Nadam { beta_1, beta_2, epsilon, momentum_decay } => {
                // Dozat 2016, with the momentum of step t that PyTorch takes.
                let momentum_at = |t: f64| beta_1 * (1.0 - 0.5 * 0.96f64.powf(t * momentum_decay));
                let (now, next) = (momentum_at(t), momentum_at(t + 1.0));
                self.product *= now;
                let of_gradient = rate * (1.0 - now) / (1.0 - self.product);
                let of_mean = rate * next / (1.0 - self.product * next);
                let scale = 1.0 / (1.0 - beta_2.powf(t)).sqrt();
                let rule = Nadam { beta_1, beta_2, of_gradient, of_mean, scale, epsilon };
                (Change::Rule(Rule::Nadam(rule)), 0.0, false)
            }
            OptimizerSpec::Lion { beta_1, beta_2, weight_decay, decay_bias } => {
                (Change::Rule(Rule::Lion(Lion { beta_1, beta_2, rate, keep: 1.0 })), weight_decay, decay_bias)
            }
            OptimizerSpec::Radam { beta_1, beta_2, epsilon } => {
                (Change::Rule(Rule::RAdam(radam_at(t, beta_1, beta_2, epsilon, rate))), 0.0, false)
            }
            OptimizerSpec::Rprop { etas: [shrink, grow], step_sizes: [smallest, largest] } => {
                if let (1, Some(sizes)) = (self.steps, &mut self.second) {
                    sizes.fill(T::from_f64(rate));
                }
                (Change::Rule(Rule::Rprop(Rprop { shrink, grow, smallest, largest })), 0.0, false)
            }
            OptimizerSpec::Lbfgs { .. } | OptimizerSpec::Lamb { .. } | OptimizerSpec::Muon { .. } => return None,
        };
        if decay == 0.0 {
            return Some(Changes { weights: change, others: None });
        }
        let weights = with_decay(change, rate * decay);
        Some(Changes { weights, others: (!decay_bias).then_some(change) })
    }

    /// The memories in the order in which this change has them; empty where there is none.
    pub(super) fn memories(&mut self, change: Change, range: &Range<usize>) -> [&mut [T]; 3] {
        let first = slice(&mut self.first, range);
        let second = slice(&mut self.second, range);
        let largest = slice(&mut self.largest, range);
        match change {
            // A mean of squares first, as the kernel has it.
            Change::Rule(Rule::RmsProp(_)) => [second, first, slice(&mut self.mean, range)],
            Change::Rule(Rule::Adagrad(_)) => [second, &mut [], &mut []],
            Change::Rule(Rule::Adadelta(_)) => [second, largest, &mut []],
            _ => [first, second, largest],
        }
    }

    /// Steps along the gradient of everything that learns.
    pub(super) fn step_elements(
        &mut self,
        plan: &Plan,
        team: &Team,
        Changes { weights, others }: Changes,
        params: &mut Params<T>,
        gradient: &Params<T>,
    ) {
        let Some(others) = others else {
            for range in &plan.trainable {
                self.step_range(plan, team, weights, range, params, gradient);
            }
            return;
        };
        for (range, is_weights) in arrays(plan) {
            let change = if is_weights { weights } else { others };
            self.step_range(plan, team, change, &range, params, gradient);
        }
    }

    pub(super) fn step_range(
        &mut self,
        plan: &Plan,
        team: &Team,
        how: Change,
        range: &Range<usize>,
        params: &mut Params<T>,
        gradient: &Params<T>,
    ) {
        let memories = self.memories(how, range);
        change(plan.isa, team, how, &mut params[range.clone()], &gradient[range.clone()], memories);
    }
}

/// The rule of gradient descent, where that is the optimizer.
pub(super) fn descent_of(spec: &OptimizerSpec) -> Option<Sgd> {
    let &OptimizerSpec::Sgd { momentum, nesterov, dampened } = spec else { return None };
    Some(match (nesterov, dampened) {
        _ if momentum == 0.0 => Sgd::Plain,
        (true, _) => Sgd::Nesterov(momentum),
        (_, true) => Sgd::Dampened(momentum),
        _ => Sgd::Momentum(momentum),
    })
}

/// The step of number `t` of a small network.
pub(super) fn tiny_step(spec: &OptimizerSpec, t: u64, rate: f64) -> Option<TinyStep> {
    match *spec {
        OptimizerSpec::Sgd { .. } => Some(TinyStep::Sgd(descent_of(spec)?, rate)),
        OptimizerSpec::Adam { beta_1, beta_2, epsilon, epsilon_hat, .. } => {
            Some(TinyStep::Adam(adam_at(t as f64, beta_1, beta_2, epsilon, rate, epsilon_hat)))
        }
        _ => None,
    }
}

/// The arrays that learn, and whether each is a matrix of weights: a bias is none, nor are gamma, beta and slopes.
pub(super) fn arrays(plan: &Plan) -> impl Iterator<Item = (Range<usize>, bool)> {
    let parts = plan.layers.iter().flat_map(|layer| {
        [(layer.trainable_weights, layer.weights(), layer.is_dense()), (layer.trainable_bias, layer.bias(), false)]
    });
    parts.filter(|(learns, range, _)| *learns && !range.is_empty()).map(|(_, range, is_weights)| (range, is_weights))
}

/// The change, with p shrunk by this share of itself.
fn with_decay(change: Change, share: f64) -> Change {
    match change {
        Change::Rule(Rule::AdamW(rule)) => Change::Rule(Rule::AdamW(AdamW { keep: 1.0 - share, ..rule })),
        Change::Rule(Rule::Lion(rule)) => Change::Rule(Rule::Lion(Lion { keep: 1.0 - share, ..rule })),
        change => change,
    }
}

/// The constants of step t of Adam (Kingma and Ba 2015). The corrections for the start from zero, 1 - beta^t, are of this
/// step. With their "epsilon hat", epsilon stands before the correction: scikit-learn's and Keras's convention; else after
/// it, PyTorch's.
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

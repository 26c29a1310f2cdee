//! Lamb: Adam's direction, as long for each array as the array itself.

use super::Optimizer;
use super::rules::{adam_at, arrays};
use crate::params::Params;
use crate::plan::Plan;
use dnn_kernels::{LambDirection, Real, Rule, Sgd, Team, sgd, step, sum_of_squares};
use dnn_spec::OptimizerSpec;

impl<T: Real> Optimizer<T> {
    /// You et al. 2020, algorithm 2, with the norm itself for phi: u = m / (sqrt(v) + epsilon) + decay p, both moments
    /// corrected, then p <- p - rate |p| / |u| u for each array. Where a norm is 0 the factor is 1.
    pub(super) fn step_lamb(
        &mut self,
        plan: &Plan,
        team: &Team,
        rate: f64,
        params: &mut Params<T>,
        gradient: &Params<T>,
    ) {
        let OptimizerSpec::Lamb { beta_1, beta_2, epsilon, weight_decay, decay_bias } = self.spec else { return };
        let (Some(m), Some(v), Some(direction)) = (&mut self.first, &mut self.second, &mut self.direction) else {
            return;
        };
        let adam = adam_at(self.steps as f64, beta_1, beta_2, epsilon, 1.0, false);
        for (range, is_weights) in arrays(plan) {
            let decay = if is_weights || decay_bias { weight_decay } else { 0.0 };
            let (p, u) = (&mut params[range.clone()], &mut direction[range.clone()]);
            let rule = Rule::LambDirection(LambDirection { adam, decay });
            let memories = [&mut m[range.clone()], &mut v[range.clone()], &mut *p];
            step(plan.isa, team, rule, u, &gradient[range], memories);
            let (of_p, of_u) = (sum_of_squares(plan.isa, p).sqrt(), sum_of_squares(plan.isa, u).sqrt());
            let trust = if of_p > 0.0 && of_u > 0.0 { of_p / of_u } else { 1.0 };
            sgd(plan.isa, team, Sgd::Plain, rate * trust, p, u, &mut []);
        }
    }
}

//! Optimizers: the memory of one, and its step over everything that learns.
//!
//! In: parameters, their gradient and the rate of the step. Out: the parameters after it.
//! All parameters move together, along a gradient that was formed from the old ones.
//! `optimizer/rules.rs` has those that work element by element, `descent.rs` their step without a whole gradient,
//! `lamb.rs` and `muon.rs` those that look at whole arrays, `check.rs` what their constants may be, `reach.rs` how far a
//! step goes.

mod check;
mod descent;
mod lamb;
mod muon;
mod reach;
mod rules;

use crate::error::Error;
use crate::pairs::Pairs;
use crate::params::Params;
use crate::plan::Plan;
pub use descent::Blocks;
use dnn_kernels::{InTurn, NextRows, Operands, Real, Team, TinyStep, limit_column_norms};
use dnn_spec::OptimizerSpec;
use muon::Muon;
pub use reach::Reach;
use rules::arrays;

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
        match (self.spec, self.changes(rate)) {
            (_, Some(changes)) => self.step_elements(plan, team, changes, params, gradient),
            (OptimizerSpec::Lamb { .. }, _) => self.step_lamb(plan, team, rate, params, gradient),
            (OptimizerSpec::Muon { .. }, _) => self.step_muon(plan, team, rate, params, gradient),
            // The step of L-BFGS is found by evaluating the loss (`lbfgs.rs`), not by a rule.
            _ => {}
        }
        limit_columns(plan, params);
    }

    /// The coming steps at these rates, each of a small network, with room for them in `steps`: gradient descent and Adam.
    pub fn tiny_steps<'a>(&'a mut self, rates: &[f64], steps: &'a mut Vec<TinyStep>) -> InTurn<'a, T> {
        steps.clear();
        let number = |ahead: usize| self.steps.saturating_add(ahead as u64 + 1);
        steps.extend(rates.iter().enumerate().filter_map(|(i, &rate)| rules::tiny_step(&self.spec, number(i), rate)));
        let slice = |memory: &'a mut Option<Params<T>>| memory.as_mut().map_or(&mut [][..], |memory| &mut memory[..]);
        let memories = [&mut self.first, &mut self.second].map(slice);
        InTurn { steps, memories, most_loss: f64::MAX, squares: &mut [] }
    }

    /// Parameters and memories have taken such steps, one or, where no columns are limited, more.
    pub fn stepped(&mut self, plan: &Plan, params: &mut Params<T>, steps: usize) {
        self.steps = self.steps.saturating_add(steps as u64);
        limit_columns(plan, params);
    }

    /// The same where no gradient of the weights in `blocks` was formed, but what it is made of: see
    /// [`Descent::step`](dnn_kernels::Descent::step).
    pub fn descend<'a>(
        &mut self,
        plan: &Plan,
        team: &Team,
        blocks: &Blocks<T>,
        rate: f64,
        params: &mut Params<T>,
        gradient_of_rest: &Params<T>,
        operands: impl Fn(usize) -> Operands<'a, T> + Sync,
        squares: &mut [f64],
        next: Option<NextRows<T>>,
    ) {
        self.steps = self.steps.saturating_add(1);
        let changes = self.changes(rate).expect("only an optimizer that works element by element descends by blocks");
        // A bias before the weights, which may go over the next rows.
        for (range, is_weights) in blocks.rest.iter().zip(&blocks.is_weights) {
            let change = changes.others.filter(|_| !is_weights).unwrap_or(changes.weights);
            self.step_range(plan, team, change, range, params, gradient_of_rest);
        }
        let (sets, rule) = ((plan.isa, plan.products), changes.weights);
        let memories = self.memories(rule, &(0..plan.len));
        blocks.descent.step(sets, team, rule, operands, params, memories, squares, next);
        limit_columns(plan, params);
    }

    /// Whether it works element by element, so that a step does not need the whole gradient at once.
    pub fn is_element_by_element(&self) -> bool {
        match self.spec {
            OptimizerSpec::Lbfgs { .. } | OptimizerSpec::Lamb { .. } | OptimizerSpec::Muon { .. } => false,
            OptimizerSpec::Sgd { .. }
            | OptimizerSpec::Adam { .. }
            | OptimizerSpec::Adamw { .. }
            | OptimizerSpec::Rmsprop { .. }
            | OptimizerSpec::Adagrad { .. }
            | OptimizerSpec::Adadelta { .. }
            | OptimizerSpec::Adamax { .. }
            | OptimizerSpec::Nadam { .. }
            | OptimizerSpec::Lion { .. }
            | OptimizerSpec::Radam { .. }
            | OptimizerSpec::Rprop { .. } => true,
        }
    }
}

/// Shortens the columns of weights that are longer than their layer allows.
fn limit_columns<T: Real>(plan: &Plan, params: &mut Params<T>) {
    for layer in plan.layers.iter().filter(|layer| layer.trainable_weights) {
        if let Some(limit) = layer.max_norm {
            limit_column_norms(plan.isa, limit, layer.is_turned, params.weights_mut(layer));
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

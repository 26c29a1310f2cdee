//! What the constants of an optimizer may be. In: what was asked for. Out: nothing, or the first constant out of range.

use crate::error::Error;
use dnn_kernels::Real;
use dnn_spec::OptimizerSpec;

/// Steps that L-BFGS may remember: each takes twice the memory of the parameters, and more than some 20 rarely help.
const MAX_PAIRS: usize = 1000;

/// Checks the constants.
///
/// # Errors
/// [`Error::Invalid`] that names the constant and its range.
pub fn constants<T: Real>(spec: &OptimizerSpec) -> Result<(), Error> {
    match *spec {
        OptimizerSpec::Sgd { momentum, nesterov, dampened } => {
            below_one("momentum", momentum)?;
            if (nesterov || dampened) && momentum == 0.0 {
                return Err(Error::invalid("nesterov and dampened need a momentum above 0"));
            }
            if nesterov && dampened {
                return Err(Error::invalid("nesterov and dampened exclude each other"));
            }
            Ok(())
        }
        OptimizerSpec::Adam { beta_1, beta_2, epsilon, .. } | OptimizerSpec::Adamax { beta_1, beta_2, epsilon } => {
            moments::<T>(beta_1, beta_2, epsilon)
        }
        OptimizerSpec::Adamw { beta_1, beta_2, epsilon, weight_decay, .. }
        | OptimizerSpec::Lamb { beta_1, beta_2, epsilon, weight_decay, .. } => {
            moments::<T>(beta_1, beta_2, epsilon)?;
            not_negative("weight_decay", weight_decay)
        }
        OptimizerSpec::Rmsprop { rho, momentum, epsilon, .. } => {
            below_one("rho", rho)?;
            below_one("momentum", momentum)?;
            self::epsilon::<T>("epsilon", epsilon)
        }
        OptimizerSpec::Adagrad { epsilon, initial_accumulator } => {
            self::epsilon::<T>("epsilon", epsilon)?;
            not_negative("initial_accumulator", initial_accumulator)
        }
        OptimizerSpec::Adadelta { rho, epsilon } => {
            below_one("rho", rho)?;
            self::epsilon::<T>("epsilon", epsilon)
        }
        OptimizerSpec::Nadam { beta_1, beta_2, epsilon, momentum_decay } => {
            moments::<T>(beta_1, beta_2, epsilon)?;
            not_negative("momentum_decay", momentum_decay)
        }
        OptimizerSpec::Lion { beta_1, beta_2, weight_decay, .. } => {
            below_one("beta_1", beta_1)?;
            below_one("beta_2", beta_2)?;
            not_negative("weight_decay", weight_decay)
        }
        OptimizerSpec::Lbfgs { m, max_fun, gtol, ftol } => {
            if !(1..=MAX_PAIRS).contains(&m) || max_fun == 0 {
                return Err(Error::Invalid(format!(
                    "m must be from 1 to {MAX_PAIRS} and max_fun at least 1, got {m} and {max_fun}"
                )));
            }
            not_negative("gtol", gtol)?;
            not_negative("ftol", ftol)
        }
        OptimizerSpec::Radam { beta_1, beta_2, epsilon } => {
            moments::<T>(beta_1, beta_2, epsilon)?;
            // Its rectification divides by rho - 4, rho = 2 / (1 - beta_2) - 1.
            if beta_2 <= 0.6 {
                return Err(Error::Invalid(format!("beta_2 must be above 0.6, got {beta_2}")));
            }
            Ok(())
        }
        OptimizerSpec::Rprop { etas: [shrink, grow], step_sizes: [smallest, largest] } => {
            if !(0.0 < shrink && shrink < 1.0 && 1.0 < grow && grow.is_finite()) {
                return Err(Error::Invalid(format!(
                    "etas must be a number from 0 to 1 and one above 1, got {shrink} and {grow}"
                )));
            }
            if !(0.0 < smallest && smallest <= largest && T::from_f64(largest).is_finite()) {
                return Err(Error::Invalid(format!(
                    "step_sizes must be positive, the smaller first, got {smallest} and {largest}"
                )));
            }
            Ok(())
        }
        OptimizerSpec::Muon {
            momentum,
            weight_decay,
            ns_coefficients,
            ns_steps,
            epsilon,
            beta_1,
            beta_2,
            adam_epsilon,
            ..
        } => {
            below_one("momentum", momentum)?;
            not_negative("weight_decay", weight_decay)?;
            if ns_steps >= 100 {
                return Err(Error::Invalid(format!("ns_steps must be below 100, got {ns_steps}")));
            }
            if let Some(value) = runs_away(ns_coefficients, ns_steps) {
                return Err(Error::Invalid(format!(
                    "ns_coefficients {ns_coefficients:?} bring a singular value between 0 and 1 to {value:e} in \
                     {ns_steps} steps; it must stay below {LARGEST_SINGULAR_VALUE}"
                )));
            }
            self::epsilon::<T>("epsilon", epsilon)?;
            below_one("beta_1", beta_1)?;
            below_one("beta_2", beta_2)?;
            self::epsilon::<T>("adam_epsilon", adam_epsilon)
        }
    }
}

/// Far above the 1 that Muon wants, far below what could overflow.
pub(super) const LARGEST_SINGULAR_VALUE: f64 = 1000.0;

/// Each singular value of a matrix goes its own way, s <- a s + b s^3 + c s^5: where one of [0, 1] would go too far.
fn runs_away([a, b, c]: [f64; 3], steps: u32) -> Option<f64> {
    (0..=1000).find_map(|start| {
        let mut s = f64::from(start) / 1000.0;
        (0..steps).find_map(|_| {
            s *= a + s * s * (b + s * s * c);
            // NaN lies in no range, so it runs away too.
            Some(s).filter(|s| !(0.0..=LARGEST_SINGULAR_VALUE).contains(&s.abs()))
        })
    })
}

fn moments<T: Real>(beta_1: f64, beta_2: f64, epsilon: f64) -> Result<(), Error> {
    below_one("beta_1", beta_1)?;
    below_one("beta_2", beta_2)?;
    self::epsilon::<T>("epsilon", epsilon)
}

fn below_one(name: &str, value: f64) -> Result<(), Error> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{name} must be in [0, 1), got {value}")))
}

fn not_negative(name: &str, value: f64) -> Result<(), Error> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::Invalid(format!("{name} must be 0 or more, got {value}")))
}

fn epsilon<T: Real>(name: &str, epsilon: f64) -> Result<(), Error> {
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(Error::Invalid(format!("{name} must be positive, got {epsilon}")));
    }
    // At 0 it would move a parameter without a gradient by 0 / 0. Memories of squares are forgotten where they become
    // subnormal in the kernels, those of gradients later: epsilon has to be large beside the root of what is forgotten.
    let smallest = if T::NAME == "float32" { 1e-12 } else { 1e-140 };
    if epsilon < smallest {
        let number = T::NAME;
        return Err(Error::Invalid(format!("{name} must be at least {smallest:e} in {number}, got {epsilon:e}")));
    }
    Ok(())
}

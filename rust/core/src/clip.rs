//! Gradients that are kept from being too large.
//!
//! In: the gradient of everything that learns. Out: the same, shorter where it was too long, and how long it was.

use crate::error::Error;
use crate::params::Params;
use crate::plan::Plan;
use dnn_kernels::{Real, Team, clamp, scale, sum_of_squares};
use dnn_spec::Clip;

/// Checks the limits.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check(clip: Clip) -> Result<(), Error> {
    for (name, limit) in [("clip_norm", clip.norm), ("clip_value", clip.value)] {
        if let Some(limit) = limit.filter(|&limit| !(limit > 0.0 && limit.is_finite())) {
            return Err(Error::Invalid(format!("{name} must be above 0, got {limit}")));
        }
    }
    Ok(())
}

/// Shortens the gradient; returns its norm before that, where there is a limit at all.
///
/// norm: g <- g norm / |g| where |g| is above it, |g| over all parameters (Pascanu et al. 2013; Keras's global_clipnorm).
pub fn clip<T: Real>(plan: &Plan, team: &Team, clip: Clip, gradient: &mut Params<T>) -> Option<f64> {
    if clip == Clip::default() {
        return None;
    }
    // What does not learn has a gradient of 0.
    let norm = sum_of_squares(plan.isa, gradient).sqrt();
    if let Some(limit) = clip.norm.filter(|&limit| norm > limit) {
        scale(plan.isa, team, limit / norm, gradient);
    }
    if let Some(limit) = clip.value {
        clamp(plan.isa, team, limit, gradient);
    }
    Some(norm)
}

//! First weights and biases, drawn layer by layer from streams of their own.
//!
//! In: a checked plan. Out: the parameter buffer. Each layer's numbers depend on the seed, the layer's number and its
//! shape only, so a change in one layer leaves the others as they were.

use crate::error::Error;
use crate::params::Params;
use crate::plan::{Layer, Plan};
use crate::rng::{Purpose, stream, uniform};
use crate::spec::Initializer;
use dnn_kernels::Real;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Draws all parameters of a plan.
///
/// # Errors
/// [`Error::Memory`] where the buffer can't be had.
pub fn initialize<T: Real>(plan: &Plan) -> Result<Params<T>, Error> {
    let mut params = Params::zeroed(plan)?;
    for layer in &plan.layers {
        let rng = |purpose| stream(plan.seed, purpose, layer.number);
        fill(layer.weight_initializer, layer, &mut params[layer.weights()], &mut rng(Purpose::Weights));
        fill(layer.bias_initializer, layer, &mut params[layer.bias()], &mut rng(Purpose::Biases));
    }
    Ok(params)
}

/// Fills rows of `n_out` numbers, the padding left 0.
fn fill<T: Real>(initializer: Initializer, layer: &Layer, rows: &mut [T], rng: &mut ChaCha8Rng) {
    let (n_in, n_out) = (layer.n_in as f64, layer.n_out as f64);
    // (low, high) of a uniform distribution or (mean, std) of a normal one.
    let symmetric = |limit: f64| (-limit, limit);
    let mut draw: Box<dyn FnMut() -> f64> = match initializer {
        Initializer::Zeros => return,
        Initializer::Ones => Box::new(|| 1.0),
        Initializer::Constant { value } => Box::new(move || value),
        // Glorot and Bengio 2010; He et al. 2015; LeCun et al. 1998: variance 2/(n_in + n_out), 2/n_in, 1/n_in.
        // A uniform distribution on (-l, l) has the variance l^2 / 3.
        Initializer::GlorotUniform => uniform_between(symmetric((6.0 / (n_in + n_out)).sqrt()), rng),
        Initializer::HeUniform => uniform_between(symmetric((6.0 / n_in).sqrt()), rng),
        Initializer::LecunUniform => uniform_between(symmetric((3.0 / n_in).sqrt()), rng),
        Initializer::Uniform { low, high } => uniform_between((low, high), rng),
        Initializer::GlorotNormal => normal(0.0, (2.0 / (n_in + n_out)).sqrt(), rng),
        Initializer::HeNormal => normal(0.0, (2.0 / n_in).sqrt(), rng),
        Initializer::LecunNormal => normal(0.0, (1.0 / n_in).sqrt(), rng),
        Initializer::Normal { mean, std } => normal(mean, std, rng),
    };
    for row in rows.chunks_exact_mut(layer.stride) {
        for x in &mut row[..layer.n_out] {
            *x = T::from_f64(draw());
        }
    }
}

fn uniform_between((low, high): (f64, f64), rng: &mut ChaCha8Rng) -> Box<dyn FnMut() -> f64 + '_> {
    Box::new(move || low + (high - low) * uniform(rng))
}

fn normal(mean: f64, std: f64, rng: &mut ChaCha8Rng) -> Box<dyn FnMut() -> f64 + '_> {
    Box::new(move || {
        let draw: f64 = StandardNormal.sample(rng);
        mean + std * draw
    })
}

//! First weights and biases, drawn layer by layer from streams of their own.
//!
//! In: a checked plan. Out: the parameter buffer. Each layer's numbers depend on the seed, the layer's number and its
//! shape only, so a change in one layer leaves the others as they were.

use crate::error::Error;
use crate::memory::room;
use crate::params::Params;
use crate::plan::{Layer, Plan};
use crate::rng::{Purpose, stream, uniform};
use dnn_kernels::Real;
use dnn_spec::Initializer;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::ops::Range;

/// Draws all parameters of a plan.
///
/// # Errors
/// [`Error::Memory`] where the buffer can't be had.
pub fn initialize<T: Real>(plan: &Plan) -> Result<Params<T>, Error> {
    let mut params = Params::zeroed(plan)?;
    for layer in &plan.layers {
        let rng = |purpose| stream(plan.seed, purpose, layer.number);
        fill(layer.weight_initializer, layer, &layer.weights(), &mut params, &mut rng(Purpose::Weights))?;
        if let Some(variance) = params[layer.running()].chunks_exact_mut(layer.stride).nth(1) {
            variance[..layer.n_out].fill(T::ONE);
        }
        fill(layer.bias_initializer, layer, &layer.bias(), &mut params, &mut rng(Purpose::Biases))?;
    }
    Ok(params)
}

/// Fills an array of a layer, the padding left 0.
fn fill<T: Real>(
    initializer: Initializer,
    layer: &Layer,
    array: &Range<usize>,
    params: &mut [T],
    rng: &mut ChaCha8Rng,
) -> Result<(), Error> {
    let (n_in, n_out) = (layer.n_in as f64, layer.n_out as f64);
    // (low, high) of a uniform distribution or (mean, std) of a normal one.
    let symmetric = |limit: f64| (-limit, limit);
    let mut draw: Box<dyn FnMut() -> f64> = match initializer {
        Initializer::Zeros => return Ok(()),
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
        Initializer::TruncatedNormal { mean, std } => truncated_normal(mean, std, rng),
        Initializer::Orthogonal { gain } => return orthogonal(gain, layer, array, params, rng),
        // What it starts from; the rest needs data (`lsuv.rs`).
        Initializer::Lsuv => return orthogonal(1.0, layer, array, params, rng),
        Initializer::Identity => {
            for at in layer.offsets(array).step_by(layer.n_out + 1).take(layer.n_out) {
                params[at] = T::ONE;
            }
            return Ok(());
        }
    };
    for at in layer.offsets(array) {
        params[at] = T::from_f64(draw());
    }
    Ok(())
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

/// Numbers beyond two standard deviations are drawn again.
fn truncated_normal(mean: f64, std: f64, rng: &mut ChaCha8Rng) -> Box<dyn FnMut() -> f64 + '_> {
    Box::new(move || {
        loop {
            let draw: f64 = StandardNormal.sample(rng);
            if draw.abs() <= 2.0 {
                return mean + std * draw;
            }
        }
    })
}

/// `gain` times a matrix whose columns (or, where it has fewer rows, whose rows) have length 1 and stand on each other
/// (Saxe, McClelland and Ganguli 2014): normal numbers, made so one vector after the other by Gram and Schmidt.
fn orthogonal<T: Real>(
    gain: f64,
    layer: &Layer,
    array: &Range<usize>,
    params: &mut [T],
    rng: &mut ChaCha8Rng,
) -> Result<(), Error> {
    let (count, len) = (layer.weight_rows.min(layer.n_out), layer.weight_rows.max(layer.n_out));
    let what = format!("the orthogonal weights of layer {}", layer.name);
    let size = count.checked_mul(len).ok_or_else(|| Error::memory(&what, None, size_of::<f64>()))?;
    let mut vectors: Vec<f64> = room(size, &what)?;
    for done in 0..count {
        // A vector that lies in the span of those before it is as unlikely as a normal number that is 0.
        let mut vector: Vec<f64> = (0..len).map(|_| StandardNormal.sample(rng)).collect();
        let mut length = dot(&vector, &vector).sqrt();
        loop {
            for other in vectors.chunks_exact(len).take(done) {
                let along = dot(other, &vector);
                for (x, other) in vector.iter_mut().zip(other) {
                    *x -= along * other;
                }
            }
            // Twice is enough where little is left (Kahan; Parlett 1980).
            let left = dot(&vector, &vector).sqrt();
            let again = left < 0.7 * length;
            length = left;
            if !again {
                break;
            }
        }
        vectors.extend(vector.iter().map(|x| x / length));
    }
    for (index, to) in layer.offsets(array).enumerate() {
        let (i, j) = (index / layer.n_out, index % layer.n_out);
        let at = if layer.n_out < layer.weight_rows { j * len + i } else { i * len + j };
        params[to] = T::from_f64(gain * vectors[at]);
    }
    Ok(())
}

/// In eight sums, so that they need not wait for each other.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (x, y) in x.chunks(8).zip(y.chunks(8)) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnn_spec::Spec;

    fn weights(initializer: &str, n_in: usize, units: usize) -> Vec<Vec<f64>> {
        let text = format!(
            r#"{{"dtype": "float64", "precision": "highest", "isa": null, "seed": 5, "loss": null, "layers": [{{
            "kind": "dense", "units": {units}, "activation": {{"name": "relu"}}, "use_bias": false,
            "weight_initializer": {initializer}, "bias_initializer": {{"name": "zeros"}},
            "l1": 0.0, "l2": 0.0, "trainable": true, "trainable_bias": true}}]}}"#
        );
        let spec: Spec = serde_json::from_str(&text).expect("a spec");
        let plan = Plan::new::<f64>(&spec, n_in).expect("a plan");
        let params = initialize::<f64>(&plan).expect("memory");
        let numbers: Vec<f64> = plan.layers[0].offsets(&plan.layers[0].weights()).map(|at| params[at]).collect();
        numbers.chunks_exact(units).map(<[f64]>::to_vec).collect()
    }

    #[test]
    fn the_numbers_of_the_new_initializers_are_frozen() {
        // Recorded from this implementation: a change breaks the promise of the same bits for the same seed.
        let of = |initializer| weights(initializer, 3, 2).concat();
        assert_eq!(of(r#"{"name": "truncated_normal", "mean": 0.0, "std": 1.0}"#)[..2], TRUNCATED);
        assert_eq!(of(r#"{"name": "orthogonal", "gain": 1.0}"#)[..2], ORTHOGONAL);
        assert_eq!(of(r#"{"name": "lsuv"}"#), of(r#"{"name": "orthogonal", "gain": 1.0}"#));
    }

    const TRUNCATED: [f64; 2] = [0.7781476285414836, 0.05567501753639071];
    const ORTHOGONAL: [f64; 2] = [0.63883629452834, -0.6640310386041924];

    #[test]
    fn columns_or_rows_of_an_orthogonal_matrix_are_orthonormal() {
        for (n_in, units) in [(1, 1), (7, 7), (40, 9), (9, 40), (64, 64)] {
            let w = weights(r#"{"name": "orthogonal", "gain": 3.0}"#, n_in, units);
            let vectors: Vec<Vec<f64>> =
                if units < n_in { (0..units).map(|j| w.iter().map(|row| row[j]).collect()).collect() } else { w };
            for (i, x) in vectors.iter().enumerate() {
                for (j, y) in vectors.iter().enumerate() {
                    let wanted = if i == j { 9.0 } else { 0.0 };
                    assert!((dot(x, y) - wanted).abs() < 1e-13, "{n_in} x {units}: {i} and {j}");
                }
            }
        }
    }

    #[test]
    fn a_truncated_normal_stays_within_two_deviations_and_has_their_spread() {
        let w = weights(r#"{"name": "truncated_normal", "mean": 1.0, "std": 0.5}"#, 100, 100).concat();
        assert!(w.iter().all(|x| (x - 1.0).abs() <= 1.0));
        let mean = w.iter().sum::<f64>() / 1e4;
        let std = (w.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4).sqrt();
        // The deviation of a normal distribution cut at 2 is 0.8796 of the whole; 1e4 draws tell 1 in 100 of it.
        assert!((mean - 1.0).abs() < 0.02 && (std - 0.5 * 0.8796).abs() < 0.01, "{mean} {std}");
    }
}

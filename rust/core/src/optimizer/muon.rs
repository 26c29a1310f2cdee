//! Muon: the momentum of a matrix of weights, made nearly orthogonal; biases go by Adam.

use super::check::LARGEST_SINGULAR_VALUE;
use super::rules::{adam_at, arrays};
use super::{Optimizer, slice};
use crate::error::Error;
use crate::params::Params;
use crate::plan::{Layer, Plan};
use dnn_kernels::{
    Activation, Buffer, Isa, Real, Team, View, ViewMut, adam, blend, forward, input_gradient, move_towards, row_stride,
    scale, sum_of_squares, weight_gradient,
};
use dnn_spec::{MuonRate, OptimizerSpec};

/// Room for the largest layer: X and its successor, in the shape of W; G = X X^T (or X^T X) and its square.
#[derive(Debug)]
pub(super) struct Muon<T: Real> {
    x: Buffer<T>,
    next: Buffer<T>,
    gram: Buffer<T>,
    square: Buffer<T>,
}

impl<T: Real> Muon<T> {
    /// # Errors
    /// [`Error::Memory`].
    pub(super) fn new(plan: &Plan) -> Result<Muon<T>, Error> {
        let learn = || plan.layers.iter().filter(|layer| layer.trainable_weights && layer.is_dense());
        let matrix = learn().map(|layer| layer.weights().len()).max().unwrap_or(0);
        let side = |layer: &Layer| layer.n_in.min(layer.n_out);
        let gram = learn().map(|layer| side(layer).saturating_mul(row_stride::<T>(side(layer)))).max().unwrap_or(0);
        let room = |n: usize| Buffer::zeroed(n).ok_or_else(|| Error::memory("room for Muon", Some(n), size_of::<T>()));
        Ok(Muon { x: room(matrix)?, next: room(matrix)?, gram: room(gram)?, square: room(gram)? })
    }

    /// # Errors
    /// [`Error::Memory`].
    pub(super) fn duplicate(&self) -> Result<Muon<T>, Error> {
        let copy = |buffer: &Buffer<T>| {
            buffer.duplicate().ok_or_else(|| Error::memory("room for Muon", Some(buffer.len()), size_of::<T>()))
        };
        Ok(Muon { x: copy(&self.x)?, next: copy(&self.next)?, gram: copy(&self.gram)?, square: copy(&self.square)? })
    }

    /// What is in `x`, in the layout of the weights of the layer, with its singular values brought near to 1.
    ///
    /// X <- X / |X|, then as often as asked X <- a X + (b G + c G^2) X with G = X X^T. For a matrix with more rows
    /// than columns the same from the other side, X <- a X + X (b G + c G^2) with G = X^T X, the smaller product.
    fn orthogonalize(
        &mut self,
        isa: Isa,
        team: &Team,
        layer: &Layer,
        [a, b, c]: [f64; 3],
        steps: u32,
        epsilon: f64,
    ) -> &[T] {
        let ((rows, columns), stride) = (layer.shape_of_weights(), layer.weight_stride);
        let (side, length) = (rows.min(columns), rows * stride);
        let gram_stride = row_stride::<T>(side);
        let size = side * gram_stride;
        let wide = rows <= columns;
        // What a wider layer has left between the rows would go to the padding of the weights.
        self.next[..length].fill(T::ZERO);
        let norm = sum_of_squares(isa, &self.x[..length]).sqrt().max(epsilon);
        scale(isa, team, 1.0 / norm, &mut self.x[..length]);
        for _ in 0..steps {
            let x = View::new(&self.x[..length], rows, columns, stride);
            let gram = ViewMut::new(&mut self.gram[..size], side, side, gram_stride);
            if wide {
                input_gradient(isa, team, x, x, None, gram);
            } else {
                weight_gradient(isa, team, x, x, false, gram);
            }
            let gram = View::new(&self.gram[..size], side, side, gram_stride);
            let square = ViewMut::new(&mut self.square[..size], side, side, gram_stride);
            forward(isa, team, gram, gram, None, Activation::Identity, None, square);
            blend(isa, team, c, &self.square[..size], b, &mut self.gram[..size]);
            let polynomial = View::new(&self.gram[..size], side, side, gram_stride);
            let (left, right) = if wide { (polynomial, x) } else { (x, polynomial) };
            let next = ViewMut::new(&mut self.next[..length], rows, columns, stride);
            forward(isa, team, left, right, None, Activation::Identity, None, next);
            blend(isa, team, a, &self.x[..length], 1.0, &mut self.next[..length]);
            std::mem::swap(&mut self.x, &mut self.next);
        }
        &self.x[..length]
    }
}

/// The most that a rate of 1 moves a weight: no element is larger than the largest singular value.
pub(super) fn longest(rate: MuonRate, plan: &Plan) -> f64 {
    let learn = plan.layers.iter().filter(|layer| layer.trainable_weights && layer.is_dense());
    learn.map(|layer| 2.0 * LARGEST_SINGULAR_VALUE * adjusted(rate, layer)).fold(0.0, f64::max)
}

/// What the rate is multiplied by for W of (n_in, n_out): Jordan 2024; Liu et al. 2025; Bernstein 2025.
fn adjusted(rate: MuonRate, layer: &Layer) -> f64 {
    let (n_in, n_out) = (layer.n_in as f64, layer.n_out as f64);
    match rate {
        MuonRate::Original => (n_out / n_in).max(1.0).sqrt(),
        MuonRate::MatchRmsAdamw => 0.2 * n_in.max(n_out).sqrt(),
        MuonRate::SpectralUnclamped => (n_out / n_in).sqrt(),
    }
}

impl<T: Real> Optimizer<T> {
    /// For weights m <- momentum m + (1 - momentum) g and p <- (1 - rate decay) p - rate adjusted O, where O is m (with
    /// Nesterov momentum m + (1 - momentum) g) made orthogonal. For all that is no matrix a step of Adam.
    pub(super) fn step_muon(
        &mut self,
        plan: &Plan,
        team: &Team,
        rate: f64,
        params: &mut Params<T>,
        gradient: &Params<T>,
    ) {
        let OptimizerSpec::Muon {
            momentum,
            nesterov,
            weight_decay,
            ns_coefficients,
            ns_steps,
            epsilon,
            adjust_rate,
            beta_1,
            beta_2,
            adam_epsilon,
        } = self.spec
        else {
            return;
        };
        let Some(work) = &mut self.muon else { return };
        let isa = plan.isa;
        for layer in plan.layers.iter().filter(|layer| layer.trainable_weights && layer.is_dense()) {
            let range = layer.weights();
            let (p, g) = (&mut params[range.clone()], &gradient[range.clone()]);
            let m = slice(&mut self.first, &range);
            move_towards(isa, team, 1.0 - momentum, g, m);
            let x = &mut work.x[..m.len()];
            x.copy_from_slice(m);
            if nesterov {
                blend(isa, team, 1.0 - momentum, g, momentum, x);
            }
            let direction = work.orthogonalize(isa, team, layer, ns_coefficients, ns_steps, epsilon);
            let keep = 1.0 - rate * weight_decay;
            blend(isa, team, -rate * adjusted(adjust_rate, layer), direction, keep, p);
        }
        let rule = adam_at(self.steps as f64, beta_1, beta_2, adam_epsilon, rate, false);
        for (range, _) in arrays(plan).filter(|(_, is_weights)| !is_weights) {
            let (m, v) = (slice(&mut self.first, &range), slice(&mut self.second, &range));
            adam(isa, team, rule, &mut params[range.clone()], &gradient[range], m, v, &mut []);
        }
    }
}

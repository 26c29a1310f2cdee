//! The one parameter store: every weight and bias of a network in one aligned buffer, a block for each layer.
//!
//! In and out: tight arrays, `(n_in, n_out)` and `(n_out)`, as users see them. Inside: rows padded with zeros, the bias
//! as the last row of its block. The same layout serves gradients and the memory of optimizers.

use crate::error::Error;
use crate::plan::{Layer, Plan};
use dnn_kernels::{Buffer, Real, View};
use ndarray::{Array1, ArrayD, ArrayViewD, Dimension};
use std::ops::{Deref, DerefMut};

/// Numbers in the layout of a network's parameters.
#[derive(Debug)]
pub struct Params<T: Real>(Buffer<T>);

impl<T: Real> Params<T> {
    /// All zero.
    ///
    /// # Errors
    /// [`Error::Memory`] that names the largest layer.
    pub fn zeroed(plan: &Plan) -> Result<Params<T>, Error> {
        Buffer::zeroed(plan.len).map(Params).ok_or_else(|| {
            let largest = plan.layers.iter().max_by_key(|layer| layer.n_parameters());
            let what = largest.map_or(String::new(), |layer| {
                format!("the network (its largest layer is layer {}, {} x {})", layer.name, layer.n_in, layer.n_out)
            });
            Error::memory(what, Some(plan.len), size_of::<T>())
        })
    }

    /// The same numbers once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Params<T>, Error> {
        let copy = self.0.duplicate().map(Params);
        copy.ok_or_else(|| Error::memory("a copy of the parameters", Some(self.0.len()), size_of::<T>()))
    }

    /// The weights of a layer as the kernels take them.
    pub fn weights(&self, layer: &Layer) -> View<'_, T> {
        View::new(&self.0[layer.weights()], layer.n_in, layer.n_out, layer.stride)
    }

    /// The bias of a layer with its padding.
    pub fn bias(&self, layer: &Layer) -> Option<&[T]> {
        layer.use_bias.then(|| &self.0[layer.bias()])
    }

    /// Weights, then the bias where there is one, of every layer.
    pub fn to_arrays(&self, plan: &Plan) -> Vec<ArrayD<T>> {
        let mut arrays = Vec::new();
        for layer in plan.layers.iter().filter(|layer| layer.n_parameters() > 0) {
            let w = &self.0[layer.weights()];
            arrays.push(ArrayD::from_shape_fn(shape_of_weights(layer), |at| match at.ndim() {
                1 => w[at[0]],
                _ => w[at[0] * layer.stride + at[1]],
            }));
            if let Some(bias) = self.bias(layer) {
                arrays.push(Array1::from_iter(bias[..layer.n_out].iter().copied()).into_dyn());
            }
        }
        arrays
    }

    /// Takes what [`Params::to_arrays`] gives, all or nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the layer whose array does not fit or is not finite.
    pub fn set_arrays(&mut self, plan: &Plan, arrays: &[ArrayViewD<T>]) -> Result<(), Error> {
        let expected: Vec<(&Layer, bool)> = plan
            .layers
            .iter()
            .flat_map(|layer| [(layer, false), (layer, true)])
            .filter(|(layer, bias)| if *bias { layer.use_bias } else { layer.weight_rows > 0 })
            .collect();
        if arrays.len() != expected.len() {
            let (need, got) = (expected.len(), arrays.len());
            return Err(Error::Invalid(format!("the network has {need} arrays of weights and biases, got {got}")));
        }
        for (array, &(layer, bias)) in arrays.iter().zip(&expected) {
            let (names, number) = (layer.array_names(), &layer.name);
            let name = if bias { names.1 } else { names.0 };
            let need = if bias { vec![layer.n_out] } else { shape_of_weights(layer) };
            if array.shape() != &need[..] {
                let got = array.shape();
                return Err(Error::Invalid(format!(
                    "{name} of layer {number} must have the shape {need:?}, got {got:?}"
                )));
            }
            let wrong = array.iter().filter(|x| !x.is_finite()).count();
            if wrong > 0 {
                let size = array.len();
                return Err(Error::Invalid(format!(
                    "{name} of layer {number}: {wrong} of {size} values are NaN or infinite"
                )));
            }
        }
        for (array, &(layer, bias)) in arrays.iter().zip(&expected) {
            let range = if bias { layer.bias() } else { layer.weights() };
            let rows = array
                .to_shape((if bias { 1 } else { layer.weight_rows }, layer.n_out))
                .map_err(|error| Error::invalid(error.to_string()))?;
            for (to, from) in self.0[range].chunks_exact_mut(layer.stride).zip(rows.rows()) {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = from;
                }
            }
        }
        Ok(())
    }
}

/// A table for a dense layer, else a number for each output.
fn shape_of_weights(layer: &Layer) -> Vec<usize> {
    if layer.is_dense() { vec![layer.n_in, layer.n_out] } else { vec![layer.n_out] }
}

impl<T: Real> Deref for Params<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Real> DerefMut for Params<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

//! The one parameter store: every weight and bias of a network in one aligned buffer, a block for each layer.
//!
//! In and out: tight arrays, `(n_in, n_out)` and `(n_out)`, as users see them. Inside: rows padded with zeros, those of few
//! outputs turned to `(n_out, n_in)`, the bias as the last row of its block. The same layout serves gradients and the
//! memory of optimizers.

use crate::error::{Error, counted};
use crate::layer::RUNNING_VARIANCE;
use crate::memory::collected;
use crate::plan::{Layer, Plan};
use dnn_kernels::{Buffer, Real, View, ViewMut};
use ndarray::{ArrayD, ArrayViewD};
use std::ops::{Deref, DerefMut, Range};

/// Numbers in the layout of a network's parameters.
#[derive(Debug)]
pub struct Params<T: Real> {
    numbers: Buffer<T>,
}

impl<T: Real> Params<T> {
    /// All zero.
    ///
    /// # Errors
    /// [`Error::Memory`] that names the largest layer.
    pub fn zeroed(plan: &Plan) -> Result<Params<T>, Error> {
        Params::of(Buffer::zeroed(plan.len), plan)
    }

    /// The same, for numbers few of which will be touched.
    ///
    /// # Errors
    /// As [`Params::zeroed`].
    pub fn sparse(plan: &Plan) -> Result<Params<T>, Error> {
        Params::of(Buffer::sparse(plan.len), plan)
    }

    fn of(numbers: Option<Buffer<T>>, plan: &Plan) -> Result<Params<T>, Error> {
        numbers.map(Params::from).ok_or_else(|| {
            let largest = plan.layers.iter().max_by_key(|layer| layer.n_parameters());
            let what = largest.map_or(String::new(), |layer| {
                format!("the network (its largest layer is layer {}, {} x {})", layer.name, layer.n_in, layer.n_out)
            });
            Error::memory(what, Some(plan.len), size_of::<T>())
        })
    }

    /// No numbers.
    pub fn empty() -> Params<T> {
        Params::from(Buffer::empty())
    }

    /// The same numbers once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Params<T>, Error> {
        let copy = self.numbers.duplicate().map(Params::from);
        copy.ok_or_else(|| Error::memory("a copy of the parameters", Some(self.numbers.len()), size_of::<T>()))
    }

    /// The weights of a dense layer as the kernels take them: (n_in, n_out), or (n_out, n_in) where they are turned.
    pub fn weights(&self, layer: &Layer) -> View<'_, T> {
        let (rows, columns) = layer.shape_of_weights();
        View::new(&self.numbers[layer.weights()], rows, columns, layer.weight_stride)
    }

    /// The same, to write.
    pub fn weights_mut(&mut self, layer: &Layer) -> ViewMut<'_, T> {
        let (rows, columns) = layer.shape_of_weights();
        ViewMut::new(&mut self[layer.weights()], rows, columns, layer.weight_stride)
    }

    /// The bias of a layer with its padding.
    pub fn bias(&self, layer: &Layer) -> Option<&[T]> {
        layer.use_bias.then(|| &self.numbers[layer.bias()])
    }

    /// The arrays of every layer, in the order of [`Layer::arrays`].
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn to_arrays(&self, plan: &Plan) -> Result<Vec<ArrayD<T>>, Error> {
        let mut arrays = Vec::new();
        for (layer, name, range) in all_arrays(plan) {
            let shape = shape_of(layer, &range);
            let numbers = layer.offsets(&range).map(|at| self.numbers[at]);
            let count = shape.iter().product();
            let numbers = collected(numbers, count, format_args!("a copy of the {name} of layer {}", layer.name))?;
            let array = ArrayD::from_shape_vec(shape, numbers);
            arrays.push(array.map_err(|error| Error::invalid(error.to_string()))?);
        }
        Ok(arrays)
    }

    /// Takes what [`Params::to_arrays`] gives, all or nothing; only an array that somebody writes to meanwhile may be taken
    /// in part.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the layer whose array does not fit or is not finite.
    pub fn set_arrays(&mut self, plan: &Plan, arrays: &[ArrayViewD<T>]) -> Result<(), Error> {
        let expected: Vec<_> = all_arrays(plan).collect();
        if arrays.len() != expected.len() {
            let (need, got) = (expected.len(), arrays.len());
            return Err(Error::Invalid(format!("the network has {need} arrays of weights and biases, got {got}")));
        }
        for (array, (layer, name, range)) in arrays.iter().zip(&expected) {
            let (need, number) = (shape_of(layer, range), &layer.name);
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
                    "{name} of layer {number}: {wrong} of {} {} NaN or infinite",
                    counted(size, "value"),
                    if wrong == 1 { "is" } else { "are" }
                )));
            }
            if *name == RUNNING_VARIANCE
                && let Some(below) = array.iter().find(|x| **x < T::ZERO)
            {
                return Err(Error::Invalid(format!("{name} of layer {number} has {below}; a variance is 0 or more")));
            }
        }
        for (array, (layer, name, range)) in arrays.iter().zip(expected) {
            let (mut finite, numbers) = (true, &mut self[..]);
            for (at, &from) in layer.offsets(&range).zip(array) {
                // Once more: another thread may write to the arrays.
                finite &= from.is_finite();
                numbers[at] = if from.is_finite() { from } else { numbers[at] };
            }
            if !finite {
                let number = &layer.name;
                return Err(Error::Invalid(format!("{name} of layer {number} was changed while it was read")));
            }
        }
        Ok(())
    }
}

/// Every array of a network: its layer, what it is called, and where it lies.
fn all_arrays(plan: &Plan) -> impl Iterator<Item = (&Layer, &'static str, Range<usize>)> {
    plan.layers.iter().flat_map(|layer| layer.arrays().into_iter().map(move |(name, range)| (layer, name, range)))
}

/// A table for the weights of a dense layer, else a number for each output.
fn shape_of(layer: &Layer, range: &Range<usize>) -> Vec<usize> {
    if layer.is_dense() && *range == layer.weights() { vec![layer.n_in, layer.n_out] } else { vec![layer.n_out] }
}

impl<T: Real> Deref for Params<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.numbers
    }
}

impl<T: Real> DerefMut for Params<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.numbers
    }
}

impl<T: Real> From<Buffer<T>> for Params<T> {
    fn from(numbers: Buffer<T>) -> Params<T> {
        Params { numbers }
    }
}

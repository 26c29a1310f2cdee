//! The checked network: shapes, offsets, what is fused. The only place that may refuse a network.
//!
//! In: a [`Spec`] and the number of inputs. Out: a [`Plan`] that everything after it trusts.
//! Sizes are computed with checked arithmetic; a network that can't be addressed is refused with its layer and bytes.

use crate::error::Error;
use crate::loss::Loss;
use crate::spec::{ActivationSpec, Initializer, LayerSpec, Spec};
use dnn_kernels::{Activation, Isa, Real, row_stride};
use std::ops::Range;

/// What is applied to z of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// A function of each element.
    Pointwise(Activation),
    /// A function of each row; only on the last layer.
    Softmax,
}

/// A dense layer with its place in the parameter buffer: `n_in` rows of weights, then the bias as one more row.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Inputs.
    pub n_in: usize,
    /// Outputs.
    pub n_out: usize,
    /// What is applied to z.
    pub output: Output,
    /// Whether there is a bias row.
    pub use_bias: bool,
    /// Where the block starts in the buffer.
    pub start: usize,
    /// From one row of the block to the next.
    pub stride: usize,
    /// What learns, as ranges of the buffer.
    pub trainable_weights: bool,
    /// Whether the bias learns.
    pub trainable_bias: bool,
    /// Penalty on |W|.
    pub l1: f64,
    /// Penalty on W^2.
    pub l2: f64,
    /// How W is drawn.
    pub weight_initializer: Initializer,
    /// How b is drawn.
    pub bias_initializer: Initializer,
}

impl Layer {
    /// The weights in the buffer, padding included.
    pub fn weights(&self) -> Range<usize> {
        self.start..self.start + self.n_in * self.stride
    }

    /// The bias in the buffer, padding included: the last row of the block. Empty without a bias.
    pub fn bias(&self) -> Range<usize> {
        let start = self.weights().end;
        start..start + if self.use_bias { self.stride } else { 0 }
    }

    /// Number of weights and biases.
    pub fn n_parameters(&self) -> usize {
        self.n_in * self.n_out + if self.use_bias { self.n_out } else { 0 }
    }

    /// The activation, where it is pointwise; softmax leaves z as it is.
    pub fn activation(&self) -> Activation {
        match self.output {
            Output::Pointwise(activation) => activation,
            Output::Softmax => Activation::Identity,
        }
    }

    /// Whether training has to keep z beside a.
    pub fn keeps_z(&self) -> bool {
        self.activation().needs_z()
    }

    /// Whether anything of the layer learns.
    pub fn trainable(&self) -> bool {
        self.trainable_weights || self.trainable_bias
    }
}

/// A network that was checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// First hidden layer first.
    pub layers: Vec<Layer>,
    /// Columns of x.
    pub n_inputs: usize,
    /// Length of the parameter buffer, padding included.
    pub len: usize,
    /// What is minimised.
    pub loss: Option<Loss>,
    /// The instruction set of every kernel.
    pub isa: Isa,
    /// Of the initial weights and the shuffles.
    pub seed: u64,
    /// What learns, as ranges of the parameter buffer, neighbours joined.
    pub trainable: Vec<Range<usize>>,
}

impl Plan {
    /// Checks a network for inputs of `n_inputs` columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the layer and the reason; [`Error::Memory`] where the sizes overflow.
    pub fn new<T: Real>(spec: &Spec, n_inputs: usize) -> Result<Plan, Error> {
        if n_inputs == 0 {
            return Err(Error::invalid("the network needs at least one input column, got 0"));
        }
        let Some(last) = spec.layers.len().checked_sub(1) else {
            return Err(Error::invalid("the network needs at least one layer, got none"));
        };
        let isa = match &spec.isa {
            Some(name) => Isa::named(name),
            None => Isa::preferred(),
        };
        let isa = isa.map_err(|error| Error::invalid(error.to_string()))?;
        let mut layers = Vec::with_capacity(spec.layers.len());
        let (mut n_in, mut start) = (n_inputs, 0usize);
        for (index, layer) in spec.layers.iter().enumerate() {
            let number = index + 1;
            check_layer(number, layer, index == last)?;
            let stride = checked_stride::<T>(layer.units);
            let rows = n_in.checked_add(usize::from(layer.use_bias));
            let size = stride.zip(rows).and_then(|(stride, rows)| stride.checked_mul(rows));
            let end = size.and_then(|size| start.checked_add(size)).filter(|&end| end <= isize::MAX as usize / 16);
            let (Some(stride), Some(end)) = (stride, end) else {
                let count = n_in.checked_mul(layer.units);
                return Err(Error::memory(
                    format_args!("layer {number} ({n_in} x {})", layer.units),
                    count,
                    size_of::<T>(),
                ));
            };
            layers.push(Layer {
                n_in,
                n_out: layer.units,
                output: output_of(layer.activation),
                use_bias: layer.use_bias,
                start,
                stride,
                trainable_weights: layer.trainable,
                trainable_bias: layer.trainable && layer.trainable_bias && layer.use_bias,
                l1: layer.l1,
                l2: layer.l2,
                weight_initializer: layer.weight_initializer,
                bias_initializer: layer.bias_initializer,
            });
            (n_in, start) = (layer.units, end);
        }
        let loss = spec.loss.map(|loss| Loss::new(loss, &layers[last])).transpose()?;
        let trainable = trainable_ranges(&layers);
        Ok(Plan { layers, n_inputs, len: start, loss, isa, seed: spec.seed, trainable })
    }

    /// Columns of the output.
    pub fn n_outputs(&self) -> usize {
        self.last().n_out
    }

    /// The output layer.
    pub fn last(&self) -> &Layer {
        self.layers.last().expect("Plan::new refuses a network without layers")
    }

    /// Number of weights and biases, padding not counted.
    pub fn n_parameters(&self) -> usize {
        self.layers.iter().map(Layer::n_parameters).sum()
    }

    /// Multiply-adds of a training step of so many rows, roughly.
    pub fn work(&self, rows: usize) -> usize {
        self.len.saturating_mul(3).saturating_mul(rows.saturating_add(4))
    }
}

/// [`row_stride`], where it does not overflow.
fn checked_stride<T: Real>(n: usize) -> Option<usize> {
    n.checked_add(2 * T::LANES)?.checked_mul(2 * size_of::<T>()).map(|_| row_stride::<T>(n))
}

fn output_of(activation: ActivationSpec) -> Output {
    Output::Pointwise(match activation {
        ActivationSpec::Softmax => return Output::Softmax,
        ActivationSpec::Identity => Activation::Identity,
        ActivationSpec::Sigmoid => Activation::Sigmoid,
        ActivationSpec::Tanh => Activation::Tanh,
        ActivationSpec::Relu => Activation::Relu,
        ActivationSpec::Relu6 => Activation::Relu6,
        ActivationSpec::LeakyRelu { slope } => Activation::LeakyRelu { slope },
        ActivationSpec::Elu { alpha } => Activation::Elu { alpha },
        ActivationSpec::Celu { alpha } => Activation::Celu { alpha },
        ActivationSpec::Selu => Activation::Selu,
        ActivationSpec::Gelu => Activation::Gelu,
        ActivationSpec::GeluTanh => Activation::GeluTanh,
        ActivationSpec::Silu => Activation::Silu,
        ActivationSpec::Mish => Activation::Mish,
        ActivationSpec::HardSigmoid => Activation::HardSigmoid,
        ActivationSpec::HardSwish => Activation::HardSwish,
        ActivationSpec::Exponential => Activation::Exponential,
        ActivationSpec::Softplus => Activation::Softplus,
        ActivationSpec::Softsign => Activation::Softsign,
    })
}

fn check_layer(number: usize, layer: &LayerSpec, last: bool) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::Invalid(format!("layer {number}: {message}")));
    if layer.units == 0 {
        return refuse("units must be at least 1, got 0".into());
    }
    match layer.activation {
        ActivationSpec::Softmax if !last => {
            return refuse("softmax is for the last layer; give hidden layers relu, tanh or another".into());
        }
        ActivationSpec::Softmax if layer.units == 1 => {
            return refuse("softmax of one unit is always 1; use sigmoid, or one unit for each class".into());
        }
        // The derivative is taken from the output, which must tell the sides of the kink apart.
        ActivationSpec::LeakyRelu { slope } if !(0.0..1.0).contains(&slope) => {
            return refuse(format!("slope of leaky_relu must be in [0, 1), got {slope}"));
        }
        ActivationSpec::Elu { alpha } if !(alpha > 0.0 && alpha.is_finite()) => {
            return refuse(format!("alpha of elu must be positive, got {alpha}"));
        }
        // Its inverse has to be a number of float32 too.
        ActivationSpec::Celu { alpha } if !(1e-6..=1e6).contains(&alpha) => {
            return refuse(format!("alpha of celu must be from 1e-6 to 1e6, got {alpha}"));
        }
        _ => {}
    }
    for (name, value) in [("l1", layer.l1), ("l2", layer.l2)] {
        if !(value >= 0.0 && value.is_finite()) {
            return refuse(format!("{name} must be 0 or more, got {value}"));
        }
    }
    for (name, initializer) in
        [("weight_initializer", layer.weight_initializer), ("bias_initializer", layer.bias_initializer)]
    {
        let wrong = match initializer {
            Initializer::Constant { value } if !value.is_finite() => Some(format!("value must be finite, got {value}")),
            Initializer::Uniform { low, high } if !(low < high && (high - low).is_finite()) => {
                Some(format!("low must be below high, got {low} and {high}"))
            }
            Initializer::Normal { mean, std } if !(mean.is_finite() && std >= 0.0 && std.is_finite()) => {
                Some(format!("std must be 0 or more, got mean {mean} and std {std}"))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return refuse(format!("{name}: {wrong}"));
        }
    }
    Ok(())
}

/// What learns, neighbours joined: one range for an ordinary network, so that an optimizer is one loop.
fn trainable_ranges(layers: &[Layer]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let parts = layers
        .iter()
        .flat_map(|layer| [(layer.trainable_weights, layer.weights()), (layer.trainable_bias, layer.bias())]);
    for (_, range) in parts.filter(|(learns, range)| *learns && !range.is_empty()) {
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

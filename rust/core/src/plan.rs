//! The checked network: shapes, offsets, what is fused. The only place that may refuse a network.
//!
//! In: a [`Spec`] and the number of inputs. Out: a [`Plan`] that everything after it trusts.
//! Sizes are computed with checked arithmetic; a network that can't be addressed is refused with its layer and bytes.

mod stages;

use crate::error::{Error, counted};
pub use crate::layer::{Kind, Layer, Output, Place, Shown};
use crate::loss::Loss;
use crate::rng;
use dnn_kernels::{Activation, Isa, Noise, Real, is_turned, may_be_split, row_stride};
use dnn_spec::{ActivationSpec, DenseSpec, Initializer, LayerSpec, Precision, Spec};
use std::ops::Range;

/// A network that was checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order in which x goes through them.
    pub layers: Vec<Layer>,
    /// The slots of the residual connections that begin at x.
    pub input_skips: Vec<usize>,
    /// Columns of x.
    pub n_inputs: usize,
    /// Length of the parameter buffer, padding included.
    pub len: usize,
    /// What is minimised.
    pub loss: Option<Loss>,
    /// The instruction set of every kernel.
    pub isa: Isa,
    /// The same for the products of training, which may round their factors to bfloat16.
    pub products: Isa,
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
        let isa = match &spec.isa {
            Some(name) => Isa::named(name),
            None => Isa::preferred(),
        };
        let isa = isa.map_err(|error| Error::invalid(error.to_string()))?;
        let mut list = List::new(n_inputs, spec.seed);
        list.add_all::<T>(&spec.layers, "")?;
        let List { layers, input_skips, end, .. } = list;
        let Some(last) = layers.last() else {
            return Err(Error::invalid("the network needs at least one layer, got none"));
        };
        let softmax = layers[..layers.len() - 1].iter().find(|layer| layer.output == Output::Softmax);
        if let Some(Layer { name, .. }) = softmax {
            return Err(Error::Invalid(format!(
                "layer {name}: softmax is for the last layer; give hidden layers relu, tanh or another"
            )));
        }
        let loss = spec.loss.as_ref().map(|loss| Loss::new(loss, last)).transpose()?;
        let trainable = trainable_ranges(&layers);
        let may_be_large = layers.iter().any(|layer| layer.is_dense() && may_be_split(layer.n_in, layer.n_out));
        let products = products::<T>(spec, isa, may_be_large);
        Ok(Plan { layers, input_skips, n_inputs, len: end, loss, isa, products, seed: spec.seed, trainable })
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

    /// Whether a batch has to go through in one piece, because layers go by its mean and variance.
    pub fn has_batch_statistics(&self) -> bool {
        self.layers.iter().any(Layer::has_batch_statistics)
    }

    /// Multiply-adds of a training step of so many rows, roughly.
    pub fn work(&self, rows: usize) -> usize {
        self.len.saturating_mul(3).saturating_mul(rows.saturating_add(4))
    }
}

/// The flat list of layers while it grows.
struct List {
    layers: Vec<Layer>,
    input_skips: Vec<usize>,
    /// Residual connections that are open.
    depth: usize,
    /// Outputs of the last layer.
    width: usize,
    /// Where the block of the last layer ends in the parameter buffer.
    end: usize,
    /// Layers that were asked for so far.
    number: u64,
    seed: u64,
}

impl List {
    fn new(n_inputs: usize, seed: u64) -> List {
        List { layers: Vec::new(), input_skips: Vec::new(), depth: 0, width: n_inputs, end: 0, number: 0, seed }
    }

    /// Adds layers; `within` is the name of the layer they are within, or empty.
    fn add_all<T: Real>(&mut self, specs: &[LayerSpec], within: &str) -> Result<(), Error> {
        for (index, spec) in specs.iter().enumerate() {
            let number = index + 1;
            let name = if within.is_empty() { number.to_string() } else { format!("{within}.{number}") };
            // An activation is no layer of its own where the dense layer just below can take it over.
            let fuses = index > 0 && matches!(specs[index - 1], LayerSpec::Dense(_));
            self.add::<T>(spec, &name, fuses)?;
            self.number += 1;
        }
        Ok(())
    }

    fn add<T: Real>(&mut self, spec: &LayerSpec, name: &str, fuses: bool) -> Result<(), Error> {
        let identity = Output::Pointwise(Activation::Identity);
        match spec {
            LayerSpec::Dense(dense) => {
                check_dense::<T>(name, dense)?;
                let layer = self.dense::<T>(dense, name)?;
                check_output(&layer)?;
                self.push(layer);
                if let ActivationSpec::Prelu { slope, trainable } = dense.activation {
                    let prelu = self.prelu::<T>(slope, trainable && dense.trainable, name)?;
                    self.push(Layer { shown: Shown::WithBelow, ..prelu });
                }
            }
            LayerSpec::Activation { activation: ActivationSpec::Prelu { slope, trainable } } => {
                let layer = self.prelu::<T>(*slope, *trainable, name)?;
                self.push(layer);
            }
            LayerSpec::Activation { activation } => {
                check_activation::<T>(name, *activation)?;
                let output = output_of(*activation);
                let layer = match self.layers.last_mut() {
                    Some(below) if fuses && below.is_dense() && below.output == identity => {
                        (below.output, below.shown) = (output, Shown::Twice);
                        return check_output(below);
                    }
                    _ => Layer { output, ..self.plain::<T>(Kind::Activation, name)? },
                };
                check_output(&layer)?;
                self.push(layer);
            }
            LayerSpec::Dropout { rate } => {
                check_rate(name, *rate)?;
                self.noise::<T>(Noise::Dropout { rate: *rate }, name)?;
            }
            LayerSpec::AlphaDropout { rate } => {
                check_rate(name, *rate)?;
                self.noise::<T>(Noise::AlphaDropout { rate: *rate }, name)?;
            }
            LayerSpec::GaussianNoise { std } => {
                if !(*std >= 0.0 && std.is_finite()) {
                    return Err(Error::Invalid(format!("layer {name}: std must be 0 or more, got {std}")));
                }
                self.noise::<T>(Noise::Gaussian { std: *std }, name)?;
            }
            LayerSpec::BatchNormalization { momentum, epsilon, trainable } => {
                if !(0.0..1.0).contains(momentum) {
                    return Err(Error::Invalid(format!("layer {name}: momentum must be in [0, 1), got {momentum}")));
                }
                check_epsilon(name, *epsilon)?;
                let kind = Kind::BatchNorm { momentum: *momentum, epsilon: *epsilon, frozen: !trainable };
                self.norm::<T>(kind, *trainable, name)?;
            }
            LayerSpec::LayerNormalization { epsilon, trainable } => {
                check_epsilon(name, *epsilon)?;
                self.norm::<T>(Kind::LayerNorm { epsilon: *epsilon }, *trainable, name)?;
            }
            LayerSpec::Residual { layers } => self.residual::<T>(layers, name)?,
        }
        Ok(())
    }

    fn push(&mut self, layer: Layer) {
        (self.width, self.end) = (layer.n_out, layer.block().end);
        self.layers.push(layer);
    }

    fn noise<T: Real>(&mut self, noise: Noise, name: &str) -> Result<(), Error> {
        let key = rng::key(self.seed, rng::Purpose::Noise, self.number);
        let layer = self.plain::<T>(Kind::Noise { noise, key }, name)?;
        self.push(layer);
        Ok(())
    }

    fn prelu<T: Real>(&self, slope: f64, trainable: bool, name: &str) -> Result<Layer, Error> {
        if !slope.is_finite() {
            return Err(Error::Invalid(format!("layer {name}: slope of prelu must be finite, got {slope}")));
        }
        let weight_initializer = Initializer::Constant { value: slope };
        let layer = self.plain::<T>(Kind::Prelu, name)?;
        self.placed::<T>(Layer { weight_rows: 1, trainable_weights: trainable, weight_initializer, ..layer })
    }

    /// Gamma as the weights, beta as the bias.
    fn norm<T: Real>(&mut self, kind: Kind, trainable: bool, name: &str) -> Result<(), Error> {
        let layer = Layer {
            weight_rows: 1,
            use_bias: true,
            trainable_weights: trainable,
            trainable_bias: trainable,
            weight_initializer: Initializer::Ones,
            ..self.plain::<T>(kind, name)?
        };
        let layer = self.placed::<T>(layer)?;
        self.push(layer);
        Ok(())
    }

    /// Layers, and x added to what they make of it.
    fn residual<T: Real>(&mut self, layers: &[LayerSpec], name: &str) -> Result<(), Error> {
        let (width, slot) = (self.width, self.depth);
        let from = self.layers.len().checked_sub(1).map_or(Place::Input, Place::Layer);
        if layers.is_empty() {
            return Err(Error::Invalid(format!("layer {name}: a residual connection needs at least one layer")));
        }
        match self.layers.last_mut() {
            Some(layer) => layer.skips.push(slot),
            None => self.input_skips.push(slot),
        }
        self.depth += 1;
        self.add_all::<T>(layers, name)?;
        self.depth -= 1;
        if self.width != width {
            let result = self.width;
            return Err(Error::Invalid(format!(
                "layer {name}: a residual connection adds its input, which is {width} wide, to what its layers make of \
                 it, which is {result} wide; give the last of them {}",
                counted(width, "unit")
            )));
        }
        let layer = self.plain::<T>(Kind::Add { from, slot }, name)?;
        self.push(layer);
        Ok(())
    }

    /// The layer, if its block has addresses.
    fn placed<T: Real>(&self, layer: Layer) -> Result<Layer, Error> {
        // Gamma, beta and the running mean and variance, at most.
        let rows = 4usize;
        let end = rows.checked_mul(layer.stride).and_then(|size| self.end.checked_add(size));
        if end.is_some_and(|end| end <= isize::MAX as usize / 16) {
            return Ok(layer);
        }
        let count = rows.checked_mul(layer.n_out);
        Err(Error::memory(format_args!("layer {} (of width {})", layer.name, layer.n_out), count, size_of::<T>()))
    }

    /// A layer without parameters, as wide as the one below.
    fn plain<T: Real>(&self, kind: Kind, name: &str) -> Result<Layer, Error> {
        let width = self.width;
        let Some(stride) = checked_stride::<T>(width) else {
            return Err(Error::memory(format_args!("layer {name} (of width {width})"), Some(width), size_of::<T>()));
        };
        Ok(Layer {
            kind,
            name: name.into(),
            number: self.number,
            shown: Shown::Once,
            n_in: width,
            n_out: width,
            output: Output::Pointwise(Activation::Identity),
            weight_rows: 0,
            use_bias: false,
            start: self.end,
            stride,
            is_turned: false,
            weight_stride: stride,
            trainable_weights: false,
            trainable_bias: false,
            l1: 0.0,
            l2: 0.0,
            max_norm: None,
            weight_initializer: Initializer::Zeros,
            bias_initializer: Initializer::Zeros,
            skips: Vec::new(),
        })
    }

    fn dense<T: Real>(&self, dense: &DenseSpec, name: &str) -> Result<Layer, Error> {
        let n_in = self.width;
        let is_turned = is_turned(n_in, dense.units);
        let (rows, columns) = if is_turned { (dense.units, n_in) } else { (n_in, dense.units) };
        let strides = checked_stride::<T>(dense.units).zip(checked_stride::<T>(columns));
        let size = strides.and_then(|(stride, weight_stride)| weight_stride.checked_mul(rows)?.checked_add(stride));
        let end = size.and_then(|size| self.end.checked_add(size)).filter(|&end| end <= isize::MAX as usize / 16);
        let (Some((stride, weight_stride)), Some(_)) = (strides, end) else {
            let count = n_in.checked_mul(dense.units);
            return Err(Error::memory(format_args!("layer {name} ({n_in} x {})", dense.units), count, size_of::<T>()));
        };
        Ok(Layer {
            kind: Kind::Dense,
            name: name.into(),
            number: self.number,
            shown: Shown::Once,
            n_in,
            n_out: dense.units,
            output: output_of(dense.activation),
            weight_rows: n_in,
            use_bias: dense.use_bias,
            start: self.end,
            stride,
            is_turned,
            weight_stride,
            trainable_weights: dense.trainable,
            trainable_bias: dense.trainable && dense.trainable_bias && dense.use_bias,
            l1: dense.l1,
            l2: dense.l2,
            max_norm: dense.max_norm,
            weight_initializer: dense.weight_initializer,
            bias_initializer: dense.bias_initializer,
            skips: Vec::new(),
        })
    }
}

/// [`row_stride`], where it does not overflow.
fn checked_stride<T: Real>(n: usize) -> Option<usize> {
    n.checked_add(2 * T::LANES)?.checked_mul(2 * size_of::<T>()).map(|_| row_stride::<T>(n))
}

fn output_of(activation: ActivationSpec) -> Output {
    Output::Pointwise(match activation {
        ActivationSpec::Softmax => return Output::Softmax,
        ActivationSpec::Identity | ActivationSpec::Prelu { .. } => Activation::Identity,
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

fn check_output(layer: &Layer) -> Result<(), Error> {
    if layer.output == Output::Softmax && layer.n_out == 1 {
        let name = &layer.name;
        return Err(Error::Invalid(format!(
            "layer {name}: softmax of one unit is always 1; use sigmoid, or one unit for each class"
        )));
    }
    Ok(())
}

/// Small enough to be no matter, large enough that nothing is divided by 0 in any type.
fn check_epsilon(name: &str, epsilon: f64) -> Result<(), Error> {
    if (1e-12..=1e6).contains(&epsilon) {
        return Ok(());
    }
    Err(Error::Invalid(format!("layer {name}: epsilon must be from 1e-12 to 1e6, got {epsilon}")))
}

fn check_rate(name: &str, rate: f64) -> Result<(), Error> {
    if (0.0..1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::Invalid(format!("layer {name}: rate must be in [0, 1), got {rate}")))
}

/// Standard deviations from the mean beyond which no sample of a normal distribution lies.
const FARTHEST: f64 = 40.0;

/// Whether a constant is a finite number of the model's type, too.
fn is_finite<T: Real>(value: f64) -> bool {
    T::from_f64(value).to_f64().is_finite()
}

/// The largest number of the model's type, for messages.
fn largest<T: Real>() -> &'static str {
    if T::NAME == "float32" { "3.4e38, the largest float32" } else { "1.79e308, the largest float64" }
}

fn check_activation<T: Real>(name: &str, activation: ActivationSpec) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::Invalid(format!("layer {name}: {message}")));
    match activation {
        // The derivative is taken from the output, which must tell the sides of the kink apart.
        ActivationSpec::LeakyRelu { slope } if !(0.0..1.0).contains(&slope) => {
            refuse(format!("slope of leaky_relu must be in [0, 1), got {slope}"))
        }
        ActivationSpec::Elu { alpha } if !(alpha > 0.0 && is_finite::<T>(alpha)) => {
            refuse(format!("alpha of elu must be above 0 and at most {}, got {alpha:?}", largest::<T>()))
        }
        // Its inverse has to be a number of float32 too.
        ActivationSpec::Celu { alpha } if !(1e-6..=1e6).contains(&alpha) => {
            refuse(format!("alpha of celu must be from 1e-6 to 1e6, got {alpha}"))
        }
        _ => Ok(()),
    }
}

fn check_dense<T: Real>(name: &str, layer: &DenseSpec) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::Invalid(format!("layer {name}: {message}")));
    if layer.units == 0 {
        return refuse("units must be at least 1, got 0".into());
    }
    check_activation::<T>(name, layer.activation)?;
    for (name, value) in [("l1", layer.l1), ("l2", layer.l2)] {
        if !(value >= 0.0 && value.is_finite()) {
            return refuse(format!("{name} must be 0 or more, got {value}"));
        }
    }
    if let Some(limit) = layer.max_norm.filter(|&limit| !(limit > 0.0 && limit.is_finite())) {
        return refuse(format!("max_norm must be above 0, got {limit}"));
    }
    for (name, initializer) in
        [("weight_initializer", layer.weight_initializer), ("bias_initializer", layer.bias_initializer)]
    {
        let wrong = match initializer {
            Initializer::Constant { value } if !is_finite::<T>(value) => {
                Some(format!("value must be within +-{}, got {value:?}", largest::<T>()))
            }
            Initializer::Uniform { low, high }
                if !(low < high && is_finite::<T>(low) && is_finite::<T>(high) && is_finite::<T>(high - low)) =>
            {
                Some(format!(
                    "low must be below high, both and their distance within +-{}, got {low:?} and {high:?}",
                    largest::<T>()
                ))
            }
            Initializer::Normal { mean, std } | Initializer::TruncatedNormal { mean, std }
                if !(std >= 0.0 && is_finite::<T>(mean.abs() + FARTHEST * std)) =>
            {
                Some(format!(
                    "std must be 0 or more, and |mean| + {FARTHEST} std at most {}, got mean {mean:?} and std {std:?}",
                    largest::<T>()
                ))
            }
            Initializer::Orthogonal { gain } if !is_finite::<T>(gain) => {
                Some(format!("gain must be within +-{}, got {gain:?}", largest::<T>()))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return refuse(format!("{name}: {wrong}"));
        }
    }
    Ok(())
}

/// The instruction set of the products of training. Without instructions for bfloat16 rounding would only cost time: then
/// a twin does it where that is what was asked for, to compare with.
fn products<T: Real>(spec: &Spec, isa: Isa, may_be_large: bool) -> Isa {
    let rounds = isa != Isa::SCALAR || spec.isa.is_some();
    match spec.precision {
        Precision::Medium if T::NAME == f32::NAME && rounds => isa.with_bf16(),
        Precision::High if T::NAME == f32::NAME => isa.with_split(),
        // Only then, as the system is asked for tiles.
        Precision::Highest if T::NAME == f32::NAME && may_be_large => isa.with_whole(),
        _ => isa,
    }
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

//! A layer of the flat list that a network is worked off by: what it does, and where its parameters lie.
//!
//! In: what `plan.rs` has checked. Out: shapes and ranges that everything else trusts. It computes nothing.

use dnn_kernels::{Activation, Noise, Stage};
use dnn_spec::Initializer;
use std::ops::Range;
use std::sync::Arc;

/// What users call the running variance, which is never below 0.
pub const RUNNING_VARIANCE: &str = "running_variance";

/// What is applied to z of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// A function of each element.
    Pointwise(Activation),
    /// A function of each row; only on the last layer.
    Softmax,
}

/// What a layer makes of its input x, the output of the layer below: z, and from it `a = f(z)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// z = x W + b
    Dense,
    /// z = x
    Activation,
    /// z = x with noise while the network learns, z = x otherwise
    Noise {
        /// Which noise.
        noise: Noise,
        /// Of its stream of random numbers.
        key: u64,
    },
    /// z = x where x is above 0, else slope x with the slopes as its weights
    Prelu,
    /// z = gamma (x - mean) / sqrt(variance + epsilon) + beta, for each output over the rows of the batch while the network
    /// learns, with the running mean and variance otherwise
    BatchNorm {
        /// How much of the running mean and variance stays with each batch.
        momentum: f64,
        /// See the formula.
        epsilon: f64,
        /// Whether it never learns, and takes the running mean and variance always.
        frozen: bool,
    },
    /// The same with the mean and variance of each row
    LayerNorm {
        /// See the formula.
        epsilon: f64,
    },
    /// z = x + what came out at another place, which is as wide: the end of a residual connection
    Add {
        /// Where the connection begins.
        from: Place,
        /// Which buffer its delta waits in on the way back: that of its depth.
        slot: usize,
    },
}

/// A place on the way through the network, where numbers come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In front of the first layer: x.
    Input,
    /// Behind the layer of this index in the list.
    Layer(usize),
}

/// How many entries a layer has in what users are shown of a network: activations, deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// One.
    Once,
    /// None of its own: its outputs are those of the layer below, of which it is a part.
    WithBelow,
    /// Two: a dense layer that has taken over the activation of the layer above it, which was a layer of its own.
    Twice,
}

/// A layer with its place in the parameter buffer: rows of weights, then the bias as one more row, then rows that no
/// optimizer touches.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What it does.
    pub kind: Kind,
    /// What messages and files call it: `2`, or `2.1` within layer 2.
    pub name: Arc<str>,
    /// Which of the layers that were asked for it is, from 0: the index of its streams of random numbers.
    pub number: u64,
    /// See [`Shown`].
    pub shown: Shown,
    /// Inputs.
    pub n_in: usize,
    /// Outputs.
    pub n_out: usize,
    /// What is applied to z.
    pub output: Output,
    /// Rows of weights: `n_in` of a dense layer, 1 where there is a number for each output, 0 without parameters.
    pub weight_rows: usize,
    /// Whether there is a bias row.
    pub use_bias: bool,
    /// Where the block starts in the buffer.
    pub start: usize,
    /// From one row of the outputs to the next; the length of the bias.
    pub stride: usize,
    /// Whether the weights lie turned, (n_out, n_in): those of few outputs, and of more inputs.
    pub is_turned: bool,
    /// From one row of the weights, as they lie, to the next.
    pub weight_stride: usize,
    /// Whether the weights learn.
    pub trainable_weights: bool,
    /// Whether the bias learns.
    pub trainable_bias: bool,
    /// Penalty on |W|.
    pub l1: f64,
    /// Penalty on W^2.
    pub l2: f64,
    /// The largest norm of a column of weights after a step.
    pub max_norm: Option<f64>,
    /// How the weights are drawn.
    pub weight_initializer: Initializer,
    /// How the bias is drawn.
    pub bias_initializer: Initializer,
    /// The slots of the residual connections that begin behind it.
    pub skips: Vec<usize>,
}

impl Layer {
    /// The weights in the buffer, padding included.
    pub fn weights(&self) -> Range<usize> {
        let rows = if self.is_turned { self.n_out } else { self.weight_rows };
        self.start..self.start + rows * self.weight_stride
    }

    /// Rows and columns of the weights of a dense layer as they lie.
    pub fn shape_of_weights(&self) -> (usize, usize) {
        if self.is_turned { (self.n_out, self.n_in) } else { (self.n_in, self.n_out) }
    }

    /// The bias in the buffer, padding included: the last row of the block. Empty without a bias.
    pub fn bias(&self) -> Range<usize> {
        let start = self.weights().end;
        start..start + if self.use_bias { self.stride } else { 0 }
    }

    /// Where the numbers of one of its [arrays](Layer::arrays) lie, row by row as users see them: all but the padding. None
    /// of an array that is empty.
    pub fn offsets(&self, array: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let is_weights = *array == self.weights();
        let rows = if is_weights { self.weight_rows } else { usize::from(!array.is_empty()) };
        let (down, across) = match (is_weights, self.is_turned) {
            (true, true) => (1, self.weight_stride),
            _ => (self.weight_stride, 1),
        };
        let (start, n_out) = (array.start, self.n_out);
        (0..rows).flat_map(move |i| (0..n_out).map(move |j| start + i * down + j * across))
    }

    /// Whether its weights add to the loss.
    pub fn has_penalty(&self) -> bool {
        self.l1 > 0.0 || self.l2 > 0.0
    }

    /// The running mean and variance in the buffer, padding included: two rows, where it has them.
    pub fn running(&self) -> Range<usize> {
        let start = self.bias().end;
        start..start + if matches!(self.kind, Kind::BatchNorm { .. }) { 2 * self.stride } else { 0 }
    }

    /// The whole block in the buffer.
    pub fn block(&self) -> Range<usize> {
        self.start..self.running().end
    }

    /// Its arrays in the order in which users see them: what they are called, and where they lie.
    pub fn arrays(&self) -> Vec<(&'static str, Range<usize>)> {
        let (weights, bias) = match self.kind {
            Kind::Prelu => ("slope", ""),
            Kind::BatchNorm { .. } | Kind::LayerNorm { .. } => ("gamma", "beta"),
            _ => ("weights", "bias"),
        };
        let mut arrays = vec![(weights, self.weights()), (bias, self.bias())];
        if !self.running().is_empty() {
            let mean = self.running().start;
            let variance = mean + self.stride;
            arrays.extend([("running_mean", mean..variance), (RUNNING_VARIANCE, variance..variance + self.stride)]);
        }
        arrays.retain(|(_, range)| !range.is_empty());
        arrays
    }

    /// Whether it goes by the mean and variance of a batch while the network learns.
    pub fn has_batch_statistics(&self) -> bool {
        matches!(self.kind, Kind::BatchNorm { frozen: false, .. })
    }

    /// Number of weights and biases.
    pub fn n_parameters(&self) -> usize {
        (self.weight_rows + usize::from(self.use_bias)) * self.n_out
    }

    /// Whether it is `f(x W + b)`.
    pub fn is_dense(&self) -> bool {
        self.kind == Kind::Dense
    }

    /// The activation, where it is pointwise; softmax leaves z as it is.
    pub fn activation(&self) -> Activation {
        match self.output {
            Output::Pointwise(activation) => activation,
            Output::Softmax => Activation::Identity,
        }
    }

    /// A dense layer as the kernel of narrow networks takes it.
    pub fn stage(&self) -> Stage {
        Stage {
            n_in: self.n_in,
            n_out: self.n_out,
            start: self.start,
            stride: self.weight_stride,
            is_turned: self.is_turned,
            use_bias: self.use_bias,
            activation: self.activation(),
            learns_weights: self.trainable_weights,
            learns_bias: self.trainable_bias,
        }
    }

    /// Whether there is a z beside a, which may be kept.
    pub fn has_z(&self) -> bool {
        matches!(self.kind, Kind::Dense | Kind::Activation)
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

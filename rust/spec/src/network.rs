//! A network: its layers, their activations, how its weights begin.
//!
//! In: JSON that names them. Out: [`Spec`], which `Plan::new` of dnn-core checks.

use crate::LossSpec;
use serde::{Deserialize, Serialize};

/// A network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Spec {
    /// The type of every number of the network.
    pub dtype: Dtype,
    /// Which arithmetic may be used.
    pub precision: Precision,
    /// The instruction set to force, if any.
    pub isa: Option<String>,
    /// Of the initial weights and the shuffles.
    pub seed: u64,
    /// First hidden layer first.
    pub layers: Vec<LayerSpec>,
    /// Not needed to predict.
    pub loss: Option<LossSpec>,
}

/// `"float32"` or `"float64"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Dtype {
    Float32,
    Float64,
}

/// Which arithmetic may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Fused multiply-add chains: the same bits on every instruction set.
    Strict,
    /// Anything as accurate as that, the same for any number of threads on one machine.
    Highest,
    /// Products of training may take two numbers of bfloat16 for a factor, with an error near 4e-6, where the set has
    /// tiles for them; computed as the highest precision where it has not.
    High,
    /// Products of training may round their factors to bfloat16; sums and parameters are float32.
    Medium,
}

/// A layer by its kind; `layer.rs` says what each does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the names of the field")]
pub enum LayerSpec {
    Dense(DenseSpec),
    Activation { activation: ActivationSpec },
    Dropout { rate: f64 },
    AlphaDropout { rate: f64 },
    GaussianNoise { std: f64 },
    BatchNormalization { momentum: f64, epsilon: f64, trainable: bool },
    LayerNormalization { epsilon: f64, trainable: bool },
    Residual { layers: Vec<LayerSpec> },
}

/// A dense layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseSpec {
    /// Number of outputs.
    pub units: usize,
    /// Applied to `x W + b`.
    pub activation: ActivationSpec,
    /// Whether there is a b.
    pub use_bias: bool,
    /// Of W.
    pub weight_initializer: Initializer,
    /// Of b.
    pub bias_initializer: Initializer,
    /// Factor of the sum of |W| in the loss.
    pub l1: f64,
    /// Factor of the sum of W^2 in the loss.
    pub l2: f64,
    /// The largest norm of a column of W.
    #[serde(default)]
    pub max_norm: Option<f64>,
    /// Whether the layer (W and b) learns.
    pub trainable: bool,
    /// Whether b learns, where the layer does.
    pub trainable_bias: bool,
}

/// An activation by name; `plan.rs` says what it means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the field")]
pub enum ActivationSpec {
    Identity,
    Sigmoid,
    Tanh,
    Relu,
    Relu6,
    LeakyRelu {
        slope: f64,
    },
    Elu {
        alpha: f64,
    },
    Celu {
        alpha: f64,
    },
    Selu,
    Gelu,
    GeluTanh,
    Silu,
    Mish,
    HardSigmoid,
    HardSwish,
    Exponential,
    Softplus,
    Softsign,
    Softmax,
    /// Not a function alone: its slopes are parameters.
    Prelu {
        slope: f64,
        trainable: bool,
    },
}

/// How the first weights are drawn; `init.rs` has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the field")]
pub enum Initializer {
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
    Zeros,
    Ones,
    Constant { value: f64 },
    Uniform { low: f64, high: f64 },
    Normal { mean: f64, std: f64 },
    TruncatedNormal { mean: f64, std: f64 },
    Orthogonal { gain: f64 },
    Identity,
    Lsuv,
}

//! Losses: which kernel computes one, by what its rows are divided, and which outputs and targets it fits.
//!
//! In: the output of the last layer and the targets of a batch. Out: the loss of each row, and dL/dz of the last layer.
//! The mean over the rows of the batch is in the scale of each row (`batches.rs`), not in a pass of its own.

use crate::batches::Batch;
use crate::error::{Error, counted};
use crate::memory::collected;
use crate::plan::{Layer, Output};
use dnn_kernels::{Activation, ClassLoss, HeadLoss, Isa, PointLoss, Real, Target, TinyLoss, View, ViewMut};
use dnn_spec::{Function, LossSpec, Truth};
use ndarray::Array2;
use std::sync::Arc;

/// A loss that fits its network.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    kind: Kind,
    /// The loss of a row is this times the sum over its outputs.
    factor: f64,
    /// Columns of dense targets.
    n_targets: usize,
    range: Range,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Cross entropy of softmax, from z.
    SoftmaxCrossEntropy,
    /// Another sum over the classes of softmax, from z.
    Class(ClassLoss),
    /// A sum over single outputs with its activation in it, from z.
    PointOfZ(PointLoss),
    /// A sum over single outputs, from a.
    Point(PointLoss),
    /// A sum over targets with an output for each of these q, from a.
    Quantiles(Arc<[f64]>),
    /// A sum over targets with two outputs each, from a.
    Gaussian { epsilon: f64 },
    /// A function of whoever calls, from a.
    Called { function: Function, takes_labels: bool },
}

/// What targets may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    Any,
    /// Probabilities from 0 to 1.
    Unit,
    /// -1 and +1.
    Signs,
    /// 0 or more.
    NotNegative,
    Positive,
    NotZero,
}

/// Activations that never give less than 0.
fn never_negative(output: Output) -> bool {
    use Activation::{Exponential, HardSigmoid, Relu, Relu6, Sigmoid, Softplus};
    match output {
        Output::Softmax => true,
        Output::Pointwise(f) => matches!(f, Exponential | HardSigmoid | Relu | Relu6 | Sigmoid | Softplus),
    }
}

impl Loss {
    /// The loss for a network that ends in `last`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the loss does not fit the output; names what does.
    pub fn new(spec: &LossSpec, last: &Layer) -> Result<Loss, Error> {
        let n_out = last.n_out;
        let over_outputs = 1.0 / n_out as f64;
        let softmax = last.output == Output::Softmax;
        let sigmoid = last.output == Output::Pointwise(Activation::Sigmoid);
        let loss = |kind, factor, range| Ok(Loss { kind, factor, n_targets: n_out, range });
        let point = |point, factor, range| loss(Kind::Point(point), factor, range);
        // Losses of positive outputs: found from z where that is their logarithm.
        let positive = |of_log, of_y, range| match last.output {
            Output::Pointwise(Activation::Exponential) => loss(Kind::PointOfZ(of_log), over_outputs, range),
            Output::Pointwise(Activation::Softplus) => loss(Kind::Point(of_y), over_outputs, range),
            _ => Err(Error::invalid(
                "the losses poisson, gamma and tweedie need positive outputs: give the last layer \
                 activation='exponential' or 'softplus'",
            )),
        };
        let several = |kind, heads: usize| {
            if heads == 0 || !n_out.is_multiple_of(heads) {
                return Err(Error::Invalid(format!(
                    "the loss needs {} for each target, but the last layer has {n_out}",
                    counted(heads, "output")
                )));
            }
            let factor = if matches!(kind, Kind::Quantiles(_)) { over_outputs } else { heads as f64 * over_outputs };
            Ok(Loss { kind, factor, n_targets: n_out / heads, range: Range::Any })
        };
        let wrong = |name: &str, need: &str, got: f64| Err(Error::Invalid(format!("{name} must be {need}, got {got}")));
        match *spec {
            LossSpec::Mse => point(PointLoss::Squared, over_outputs, Range::Any),
            LossSpec::HalfMse => point(PointLoss::Squared, 0.5 * over_outputs, Range::Any),
            LossSpec::Sse => point(PointLoss::Squared, 1.0, Range::Any),
            LossSpec::Mae => point(PointLoss::Absolute, over_outputs, Range::Any),
            LossSpec::Huber { delta } if delta > 0.0 && delta.is_finite() => {
                point(PointLoss::Huber { delta }, over_outputs, Range::Any)
            }
            LossSpec::Huber { delta } => wrong("delta of huber", "positive", delta),
            LossSpec::LogCosh => point(PointLoss::LogCosh, over_outputs, Range::Any),
            LossSpec::Mape => point(PointLoss::Percentage, over_outputs, Range::NotZero),
            LossSpec::Msle if never_negative(last.output) => {
                point(PointLoss::SquaredLog, over_outputs, Range::NotNegative)
            }
            LossSpec::Msle => Err(Error::invalid(
                "msle needs outputs that are never negative: give the last layer activation='softplus', 'relu' or \
                 'exponential'",
            )),
            LossSpec::Quantile { ref q } => match q.iter().find(|&&q| !(q > 0.0 && q < 1.0)) {
                Some(&q) => wrong("q of quantile", "between 0 and 1", q),
                None if softmax => Err(Error::invalid(
                    "quantile needs outputs of their own: give the last layer activation='identity'",
                )),
                None => several(Kind::Quantiles(q.as_slice().into()), q.len()),
            },
            LossSpec::GaussianNll { epsilon } if !(epsilon > 0.0 && epsilon.is_finite()) => {
                wrong("epsilon of gaussian_nll", "positive", epsilon)
            }
            LossSpec::GaussianNll { epsilon } if last.output == Output::Pointwise(Activation::Identity) => {
                several(Kind::Gaussian { epsilon }, 2)
            }
            LossSpec::GaussianNll { .. } => Err(Error::invalid(
                "gaussian_nll needs a mean and a logarithm of a variance: give the last layer activation='identity'",
            )),
            LossSpec::Poisson => {
                positive(PointLoss::PoissonOfLog, PointLoss::Poisson { epsilon: 1e-8 }, Range::NotNegative)
            }
            LossSpec::Gamma => positive(PointLoss::GammaOfLog, PointLoss::Gamma, Range::Positive),
            LossSpec::Tweedie { p } if !(1.0..=10.0).contains(&p) => wrong("p of tweedie", "from 1 to 10", p),
            LossSpec::Tweedie { p: 1.0 } => Loss::new(&LossSpec::Poisson, last),
            LossSpec::Tweedie { p: 2.0 } => Loss::new(&LossSpec::Gamma, last),
            LossSpec::Tweedie { p } => {
                let range = if p < 2.0 { Range::NotNegative } else { Range::Positive };
                positive(PointLoss::TweedieOfLog { p }, PointLoss::Tweedie { p }, range)
            }
            LossSpec::CrossEntropy { label_smoothing } if !(0.0..1.0).contains(&label_smoothing) => {
                wrong("label_smoothing", "at least 0 and below 1", label_smoothing)
            }
            LossSpec::CrossEntropy { label_smoothing: smoothing } if softmax => {
                let smoothed = Kind::Class(ClassLoss::Smoothed { smoothing });
                loss(if smoothing == 0.0 { Kind::SoftmaxCrossEntropy } else { smoothed }, 1.0, Range::Unit)
            }
            LossSpec::KlDivergence if softmax => loss(Kind::Class(ClassLoss::Divergence), 1.0, Range::Unit),
            LossSpec::CrossEntropy { .. } | LossSpec::KlDivergence => Err(Error::invalid(
                "cross_entropy and kl_divergence need probabilities that add up to 1: give the last layer \
                 activation='softmax', or pass loss='binary_cross_entropy' with activation='sigmoid'",
            )),
            LossSpec::Focal { gamma } if !(0.0..=100.0).contains(&gamma) => wrong("gamma of focal", "0 to 100", gamma),
            // (1 - y)^0 is 1.
            LossSpec::Focal { gamma: 0.0 } if softmax => loss(Kind::SoftmaxCrossEntropy, 1.0, Range::Unit),
            LossSpec::Focal { gamma } if softmax => loss(Kind::Class(ClassLoss::Focal { gamma }), 1.0, Range::Unit),
            LossSpec::Focal { gamma } if sigmoid && gamma > 0.0 => {
                loss(Kind::PointOfZ(PointLoss::SigmoidFocal { gamma }), over_outputs, Range::Unit)
            }
            LossSpec::BinaryCrossEntropy | LossSpec::Focal { .. } if sigmoid => {
                loss(Kind::PointOfZ(PointLoss::SigmoidCrossEntropy), over_outputs, Range::Unit)
            }
            LossSpec::BinaryCrossEntropy => Err(Error::invalid(
                "binary_cross_entropy needs outputs between 0 and 1: give the last layer activation='sigmoid', \
                 or pass loss='cross_entropy' with activation='softmax'",
            )),
            LossSpec::Focal { .. } => {
                Err(Error::invalid("focal needs probabilities: give the last layer activation='softmax' or 'sigmoid'"))
            }
            LossSpec::Hinge | LossSpec::SquaredHinge if softmax || sigmoid => Err(Error::invalid(
                "the hinge losses compare targets -1 and +1 with outputs of both signs: give the last layer \
                 activation='identity' or 'tanh', or pass loss='cross_entropy' or 'binary_cross_entropy'",
            )),
            LossSpec::Hinge => point(PointLoss::Hinge, over_outputs, Range::Signs),
            LossSpec::SquaredHinge => point(PointLoss::SquaredHinge, over_outputs, Range::Signs),
            LossSpec::Called { ref function } => {
                loss(Kind::Called { function: function.clone(), takes_labels: softmax }, 1.0, Range::Any)
            }
        }
    }

    /// The loss of a row is this times the sum over its outputs.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether the kernel takes z of the last layer, because the activation is fused with the loss.
    pub fn takes_z(&self) -> bool {
        matches!(self.kind, Kind::SoftmaxCrossEntropy | Kind::Class(_) | Kind::PointOfZ(_))
    }

    /// The kernel of small networks that computes it on the spot.
    pub fn tiny(&self) -> Option<TinyLoss> {
        match self.kind {
            Kind::SoftmaxCrossEntropy => Some(TinyLoss::SoftmaxCrossEntropy),
            Kind::Point(PointLoss::Squared) => Some(TinyLoss::Squared),
            _ => None,
        }
    }

    /// Whether targets may be labels.
    pub fn takes_labels(&self) -> bool {
        matches!(self.kind, Kind::SoftmaxCrossEntropy | Kind::Class(_) | Kind::Called { takes_labels: true, .. })
    }

    /// Whether it is a function of whoever calls, who is to be given whole batches.
    pub fn is_called(&self) -> bool {
        matches!(self.kind, Kind::Called { .. })
    }

    /// Whether it is a function that is not here: a file has none.
    pub fn is_lost(&self) -> bool {
        matches!(self.kind, Kind::Called { function: Function(None), .. })
    }

    /// Puts a function in its place again.
    pub fn lend(&mut self, given: Function) {
        if let Kind::Called { function, .. } = &mut self.kind {
            *function = given;
        }
    }

    /// Columns of targets that are no labels.
    pub fn n_targets(&self) -> usize {
        self.n_targets
    }

    /// What targets may be.
    pub fn range(&self) -> Range {
        self.range
    }

    /// Whether targets are probabilities of single outputs.
    pub fn is_binary(&self) -> bool {
        self.range == Range::Unit && !self.takes_labels()
    }

    /// Whether targets are -1 and +1.
    pub fn is_hinge(&self) -> bool {
        self.range == Range::Signs
    }

    /// The weighted sum of the losses of the rows, and `delta = dL/dz` of the last layer; nothing where a function failed.
    ///
    /// # Shapes
    /// `output` (z where [`Loss::takes_z`], else a), `z` and `delta` are (rows, n_out) and padded, `losses` is (rows).
    pub fn evaluate<T: Real>(
        &self,
        isa: Isa,
        last: &Layer,
        batch: &Batch<T>,
        output: View<T>,
        z: View<T>,
        delta: &mut [T],
        losses: &mut [f64],
    ) -> Option<f64> {
        let (scale, losses) = (batch.scale(), &mut losses[..output.rows]);
        let into = like(output, delta);
        match (&self.kind, batch.target()) {
            (Kind::SoftmaxCrossEntropy, target) => {
                dnn_kernels::softmax_cross_entropy(isa, output, target, scale, into, losses);
            }
            (&Kind::Class(loss), target) => dnn_kernels::class_loss(isa, loss, output, target, scale, into, losses),
            (&(Kind::PointOfZ(loss) | Kind::Point(loss)), Target::Dense(t)) => {
                dnn_kernels::point_loss(isa, loss, output, t, scale, into, losses);
            }
            (Kind::Quantiles(q), Target::Dense(t)) => {
                dnn_kernels::head_loss(isa, HeadLoss::Quantiles(q), output, t, scale, into, losses);
            }
            (&Kind::Gaussian { epsilon }, Target::Dense(t)) => {
                dnn_kernels::head_loss(isa, HeadLoss::Gaussian { epsilon }, output, t, scale, into, losses);
            }
            (Kind::Called { function, .. }, target) => {
                if !(0..output.rows).all(|i| output.row(i).iter().all(|y| y.is_finite())) {
                    return Some(f64::NAN);
                }
                call(function, batch, output, target, &mut delta[..output.rows * output.stride], losses)?;
            }
            (_, Target::Labels(_)) => unreachable!("labels are refused at the door where a loss does not take them"),
        }
        if !self.takes_z() {
            match last.output {
                Output::Softmax => dnn_kernels::multiply_softmax_slope(isa, output, like(output, delta)),
                Output::Pointwise(f) => {
                    let end = output.rows * output.stride;
                    dnn_kernels::multiply_slope(isa, f, &mut delta[..end], &output.data[..end], &z.data[..end]);
                }
            }
        }
        Some(self.sum(batch, losses))
    }

    /// The weighted sum of the losses of the rows, in their order.
    pub fn sum<T: Real>(&self, batch: &Batch<T>, losses: &[f64]) -> f64 {
        let weighted = losses.iter().zip(batch.weights()).map(|(loss, weight)| loss * weight);
        self.factor * weighted.sum::<f64>()
    }
}

/// A buffer as rows like those of `of`.
fn like<'a, T: Real>(of: View<T>, data: &'a mut [T]) -> ViewMut<'a, T> {
    ViewMut::new(data, of.rows, of.columns, of.stride)
}

/// Has a function find the losses of the rows, and dL/da of the last layer.
fn call<T: Real>(
    function: &Function,
    batch: &Batch<T>,
    output: View<T>,
    target: Target<T>,
    delta: &mut [T],
    losses: &mut [f64],
) -> Option<()> {
    let function = function.0.as_ref()?;
    let copies = || {
        let weights = collected(batch.weights().iter().copied(), output.rows, "a copy")?;
        Ok::<_, Error>((truth(target)?, to_f64(output)?, weights.into()))
    };
    let Ok((y_true, y_pred, weights)) = copies() else {
        function.refused();
        return None;
    };
    let (found, gradient) = function.loss(y_true, y_pred, weights)?;
    if found.len() != output.rows || gradient.dim() != (output.rows, output.columns) {
        return None;
    }
    for (loss, found) in losses.iter_mut().zip(&found) {
        *loss = *found;
    }
    for ((to, from), scale) in delta.chunks_exact_mut(output.stride).zip(gradient.rows()).zip(batch.scale()) {
        let (to, padding) = to.split_at_mut(output.columns);
        padding.fill(T::ZERO);
        for (to, from) in to.iter_mut().zip(from) {
            *to = T::from_f64(from * scale.to_f64());
        }
    }
    Some(())
}

/// Targets as a function of whoever calls takes them.
fn truth<T: Real>(target: Target<T>) -> Result<Truth, Error> {
    Ok(match target {
        Target::Labels(labels) => {
            let labels = collected(labels.iter().map(|&label| i64::from(label)), labels.len(), "a copy")?;
            Truth::Labels(labels.into())
        }
        Target::Dense(t) => Truth::Dense(to_f64(t)?),
    })
}

/// The rows of a view without their padding.
fn to_f64<T: Real>(view: View<T>) -> Result<Array2<f64>, Error> {
    let numbers = (0..view.rows).flat_map(|i| view.row(i)[..view.columns].iter().map(|x| x.to_f64()));
    let numbers = collected(numbers, view.rows * view.columns, "a copy")?;
    Array2::from_shape_vec((view.rows, view.columns), numbers).map_err(|error| Error::invalid(error.to_string()))
}

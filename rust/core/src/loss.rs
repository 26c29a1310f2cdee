//! Losses: which kernel computes one, by what its rows are divided, and which outputs it fits.
//!
//! In: the output of the last layer and the targets of a batch. Out: the loss of each row, and dL/dz of the last layer.
//! The mean over the rows of the batch is in the scale of each row (`batches.rs`), not in a pass of its own.

use crate::batches::Batch;
use crate::error::Error;
use crate::plan::{Layer, Output};
use crate::spec::LossSpec;
use dnn_kernels::{Activation, Isa, PointLoss, Real, Target, View, ViewMut};

/// A loss that fits its network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    kind: Kind,
    /// The loss of a row is this times the sum over its outputs.
    factor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Cross entropy of softmax, from z.
    SoftmaxCrossEntropy,
    /// Cross entropy of sigmoids, from z.
    SigmoidCrossEntropy,
    /// A sum over single outputs, from a.
    Point(PointLoss),
}

impl Loss {
    /// The loss for a network that ends in `last`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the loss does not fit the output; names what does.
    pub fn new(spec: LossSpec, last: &Layer) -> Result<Loss, Error> {
        let over_outputs = 1.0 / last.n_out as f64;
        let sigmoid = last.output == Output::Pointwise(Activation::Sigmoid);
        let loss = |kind, factor| Ok(Loss { kind, factor });
        let point = |point, factor| loss(Kind::Point(point), factor);
        match spec {
            LossSpec::Mse => point(PointLoss::Squared, over_outputs),
            LossSpec::HalfMse => point(PointLoss::Squared, 0.5 * over_outputs),
            LossSpec::Sse => point(PointLoss::Squared, 1.0),
            LossSpec::Mae => point(PointLoss::Absolute, over_outputs),
            LossSpec::Huber { delta } if delta > 0.0 && delta.is_finite() => {
                point(PointLoss::Huber { delta }, over_outputs)
            }
            LossSpec::Huber { delta } => Err(Error::Invalid(format!("delta of huber must be positive, got {delta}"))),
            LossSpec::CrossEntropy if last.output == Output::Softmax => loss(Kind::SoftmaxCrossEntropy, 1.0),
            LossSpec::CrossEntropy => Err(Error::invalid(
                "cross_entropy needs probabilities that add up to 1: give the last layer activation='softmax', \
                 or pass loss='binary_cross_entropy' with activation='sigmoid'",
            )),
            LossSpec::BinaryCrossEntropy if sigmoid => loss(Kind::SigmoidCrossEntropy, over_outputs),
            LossSpec::BinaryCrossEntropy => Err(Error::invalid(
                "binary_cross_entropy needs outputs between 0 and 1: give the last layer activation='sigmoid', \
                 or pass loss='cross_entropy' with activation='softmax'",
            )),
            LossSpec::Hinge | LossSpec::SquaredHinge if last.output == Output::Softmax || sigmoid => {
                Err(Error::invalid(
                    "the hinge losses compare targets -1 and +1 with outputs of both signs: give the last layer \
                     activation='identity' or 'tanh', or pass loss='cross_entropy' or 'binary_cross_entropy'",
                ))
            }
            LossSpec::Hinge => point(PointLoss::Hinge, over_outputs),
            LossSpec::SquaredHinge => point(PointLoss::SquaredHinge, over_outputs),
        }
    }

    /// The loss of a row is this times the sum over its outputs.
    pub fn factor(self) -> f64 {
        self.factor
    }

    /// Whether the kernel takes z of the last layer, because the activation is fused with the loss.
    pub fn takes_z(self) -> bool {
        !matches!(self.kind, Kind::Point(_))
    }

    /// Whether targets may be labels.
    pub fn takes_labels(self) -> bool {
        self.kind == Kind::SoftmaxCrossEntropy
    }

    /// Whether targets are probabilities of single outputs.
    pub fn is_binary(self) -> bool {
        self.kind == Kind::SigmoidCrossEntropy
    }

    /// Whether targets are -1 and +1.
    pub fn is_hinge(self) -> bool {
        matches!(self.kind, Kind::Point(PointLoss::Hinge | PointLoss::SquaredHinge))
    }

    /// The weighted sum of the losses of the rows, and `delta = dL/dz` of the last layer.
    ///
    /// # Shapes
    /// `output` (z where [`Loss::takes_z`], else a), `z` and `delta` are (rows, n_out) and padded, `losses` is (rows).
    pub fn evaluate<T: Real>(
        self,
        isa: Isa,
        last: &Layer,
        batch: &Batch<T>,
        output: View<T>,
        z: View<T>,
        delta: &mut [T],
        losses: &mut [f64],
    ) -> f64 {
        let (scale, losses) = (batch.scale(), &mut losses[..output.rows]);
        match (self.kind, batch.target()) {
            (Kind::SoftmaxCrossEntropy, target) => {
                dnn_kernels::softmax_cross_entropy(isa, output, target, scale, like(output, delta), losses);
            }
            (Kind::SigmoidCrossEntropy, Target::Dense(t)) => {
                let loss = PointLoss::SigmoidCrossEntropy;
                dnn_kernels::point_loss(isa, loss, output, t, scale, like(output, delta), losses);
            }
            (Kind::Point(loss), Target::Dense(t)) => {
                dnn_kernels::point_loss(isa, loss, output, t, scale, like(output, delta), losses);
                match last.output {
                    Output::Softmax => dnn_kernels::multiply_softmax_slope(isa, output, like(output, delta)),
                    Output::Pointwise(f) => {
                        let end = output.rows * output.stride;
                        dnn_kernels::multiply_slope(isa, f, &mut delta[..end], &output.data[..end], &z.data[..end]);
                    }
                }
            }
            (_, Target::Labels(_)) => unreachable!("labels are refused at the door for every loss but cross entropy"),
        }
        let weighted = losses.iter().zip(batch.weights()).map(|(loss, weight)| loss * weight);
        self.factor * weighted.sum::<f64>()
    }
}

/// A buffer as rows like those of `of`.
fn like<'a, T: Real>(of: View<T>, data: &'a mut [T]) -> ViewMut<'a, T> {
    ViewMut::new(data, of.rows, of.columns, of.stride)
}

//! The inner loops of dense networks, for every instruction set: slices and sizes in, slices out.
//!
//! The only crate of the project with `unsafe`, and on `std` alone. It has never heard of a layer.

mod activation;
mod amx;
mod bf16;
mod buffer;
mod ceiling;
mod column_sums;
mod crosswise;
mod dense;
mod descent;
mod each;
mod few;
mod isa;
mod lent;
mod losses;
mod math;
mod narrow;
mod noise;
mod norms;
mod outer_step;
mod pace;
mod pack;
mod placement;
mod pointwise;
mod pool;
mod rows;
mod simd;
mod softmax;
mod tile;
mod tiny;
mod update;
mod vectors;

pub use activation::{Activation, activate, activate_in_place, multiply_slope};
pub use bf16::{may_be_split, rounds_factors};
pub use buffer::{Buffer, padded, row_stride};
pub use ceiling::ceiling;
pub use column_sums::column_sums;
pub use dense::{Below, View, ViewMut, forward, input_gradient, weight_gradient};
pub use descent::{Descent, NextRows, Operands, Placed};
pub use isa::{Isa, IsaError, cpu_features};
pub use lent::Lent;
pub use losses::{ClassLoss, HeadLoss, PointLoss, class_loss, head_loss, point_loss};
pub use math::{Elementary, evaluate};
pub use narrow::{forward_turned, input_gradient_turned, is_turned, weight_gradient_turned};
pub use noise::{Draw, Noise, add_noise, noise_gradient};
pub use norms::{
    Moments, column_moments, column_norm_gradient, gamma_gradient, inverse_deviation, normalize, row_moments,
    row_norm_gradient, scale_columns,
};
pub use pace::Pace;
pub use pointwise::{
    activate_rows, add_rows, add_rows_in_place, multiply_slope_rows, prelu, prelu_gradient, prelu_slope_gradient,
};
pub use pool::Team;
pub use rows::{all_finite, convert, convert_scaled, sum_of_squares};
pub use simd::Real;
pub use softmax::{Target, multiply_softmax_slope, softmax_cross_entropy, softmax_in_place};
pub use tiny::{
    Asked, GROUPED_ROWS, InTurn, Stage, Tiny, TinyLoss, tiny_backward, tiny_batch_steps, tiny_forward, tiny_gradient,
    tiny_steps,
};
pub use update::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Change, LambDirection, Lion, Nadam, RAdam, RmsProp, Rprop, Rule, Sgd,
    Sums as PenaltySums, TinyStep, adam, add_in_order, add_penalty_gradient, blend, change, clamp, limit_column_norms,
    move_towards, penalty_sums, scale, sgd, step,
};
pub use vectors::{add_multiple, dot, largest};

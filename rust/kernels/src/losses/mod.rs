//! The losses and their gradients, row by row.
//!
//! In: outputs, targets and a scale for each row. Out: a loss per row, in `f64`, and dL/da or dL/dz.

mod class;
mod heads;
mod point;

pub use class::{ClassLoss, class_loss};
pub use heads::{HeadLoss, head_loss};
pub use point::{PointLoss, point_loss};

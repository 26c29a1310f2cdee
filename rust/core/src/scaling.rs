//! Columns scaled on their way into a network, and outputs scaled back.
//!
//! In: numbers. Out: numbers, computed in `f64` one operation after the other, as NumPy does where a fit prepares its rows.

use crate::error::Error;
use dnn_kernels::Real;

/// (x - center) / scale, for each column.
#[derive(Clone, Debug)]
pub struct Scaling {
    center: Vec<f64>,
    scale: Vec<f64>,
}

impl Scaling {
    /// Centers and scales of the columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there are not as many of one as of the other.
    pub fn new(center: Vec<f64>, scale: Vec<f64>) -> Result<Scaling, Error> {
        if center.len() != scale.len() {
            return Err(Error::Invalid(format!("{} centers, but {} scales", center.len(), scale.len())));
        }
        Ok(Scaling { center, scale })
    }

    /// The scaled number of a column.
    pub fn apply(&self, column: usize, x: f64) -> f64 {
        (x - self.center[column]) / self.scale[column]
    }

    /// What the numbers of a row were before they were scaled.
    pub fn undo<T: Real>(&self, row: &mut [T]) {
        for ((y, &center), &scale) in row.iter_mut().zip(&self.center).zip(&self.scale) {
            *y = T::from_f64(y.to_f64() * scale + center);
        }
    }
}

/// Of the inputs, and of the outputs.
#[derive(Clone, Debug, Default)]
pub struct Scalings {
    /// Of the inputs.
    pub x: Option<Scaling>,
    /// Of the outputs.
    pub y: Option<Scaling>,
}

impl Scalings {
    /// Refuses what is not for such a network.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self, n_inputs: usize, n_outputs: usize) -> Result<(), Error> {
        for (scaling, need, what) in [(&self.x, n_inputs, "inputs"), (&self.y, n_outputs, "outputs")] {
            if let Some(got) = scaling.as_ref().map(|scaling| scaling.center.len()).filter(|&got| got != need) {
                return Err(Error::Invalid(format!("{need} {what}, but scales for {got}")));
            }
        }
        Ok(())
    }
}

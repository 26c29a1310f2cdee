//! Columns scaled on their way into a network, and outputs scaled back.
//!
//! In: numbers. Out: numbers, computed in `f64` one operation after the other, as NumPy does where a fit prepares its rows.

use crate::error::Error;
use dnn_kernels::{Isa, Real, convert_scaled};

/// Numbers at least in what a kernel is told, so that it has vectors of them where rows are short.
const ENOUGH: usize = 64;

/// (x - center) / scale, for each column.
#[derive(Clone, Debug)]
pub struct Scaling {
    columns: usize,
    /// Those of all columns, for several rows.
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
        let (columns, rows) = (center.len(), ENOUGH.div_ceil(center.len().max(1)));
        Ok(Scaling { columns, center: center.repeat(rows), scale: scale.repeat(rows) })
    }

    /// The center and the scale of a column.
    pub fn of(&self, column: usize) -> (f64, f64) {
        (self.center[column], self.scale[column])
    }

    /// Writes the scaled numbers of tight rows, and tells whether they are finite.
    pub fn apply<A: Real, T: Real>(&self, isa: Isa, rows: &[A], to: &mut [T]) -> bool {
        convert_scaled(isa, rows, &self.center, &self.scale, to)
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
            if let Some(got) = scaling.as_ref().map(|scaling| scaling.columns).filter(|&got| got != need) {
                return Err(Error::Invalid(format!("{need} {what}, but scales for {got}")));
            }
        }
        Ok(())
    }
}

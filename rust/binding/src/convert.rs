//! Between Python's objects and ours: errors, JSON, arrays.

use dnn_core::{Error, Given, IsaError, Real};
use ndarray::ArrayD;
use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::de::DeserializeOwned;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::rows::{Rows, Table};

/// Our errors as Python's.
pub fn error(error: Error) -> PyErr {
    match error {
        Error::Invalid(message) => PyValueError::new_err(message),
        Error::Memory(message) => PyMemoryError::new_err(message),
        Error::File(error) => error.into(),
    }
}

/// An instruction set that is not there.
pub fn isa_error(error: IsaError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A spec from its wire form.
pub fn json<S: DeserializeOwned>(text: &str) -> PyResult<S> {
    serde_json::from_str(text).map_err(|error| PyValueError::new_err(format!("the spec can't be read: {error}")))
}

/// Runs `work` without the interpreter; a panic becomes a `RuntimeError`.
pub fn detached<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> PyResult<R> {
    py.detach(|| caught(work))
}

/// Runs `work`, which is over in microseconds, with the interpreter; a panic becomes a `RuntimeError`.
pub fn caught<R>(work: impl FnOnce() -> R) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        PyRuntimeError::new_err(format!("internal error, please report it: {text}"))
    })
}

/// Arrays of ours as NumPy's.
pub fn arrays<'py, T: Real + numpy::Element>(py: Python<'py>, arrays: Vec<ArrayD<T>>) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, arrays.into_iter().map(|array| array.into_pyarray(py)))
}

/// Targets as Python gives them.
#[derive(FromPyObject)]
pub enum Targets<'py> {
    /// A value for each output.
    Table(Bound<'py, Rows>),
    /// The number of the class of each row.
    Labels(PyReadonlyArray1<'py, i64>),
}

/// The same without the interpreter.
pub enum OwnedTargets {
    /// A value for each output.
    Table(Table),
    /// The number of the class of each row.
    Labels(Vec<i64>),
}

impl Targets<'_> {
    /// Holds on to a table, copies labels.
    pub fn owned(&self) -> OwnedTargets {
        match self {
            Targets::Table(rows) => OwnedTargets::Table(rows.get().table()),
            Targets::Labels(labels) => OwnedTargets::Labels(labels.as_array().to_vec()),
        }
    }
}

/// Inputs, targets and weights, without the interpreter.
pub struct OwnedData {
    x: Table,
    y: OwnedTargets,
    weights: Option<Vec<f64>>,
}

impl OwnedData {
    /// Holds on to tables, copies labels and weights.
    pub fn new(x: &Bound<'_, Rows>, y: &Targets<'_>, weights: Option<&PyReadonlyArray1<'_, f64>>) -> OwnedData {
        let weights = weights.map(|weights| weights.as_array().to_vec());
        OwnedData { x: x.get().table(), y: y.owned(), weights }
    }

    /// Calls `work` with checked data of the type of the network.
    pub fn with<T: crate::rows::Typed, R>(
        &self,
        plan: &dnn_core::Plan,
        work: impl FnOnce(&dnn_core::Data<T>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let x = T::lock(&self.x)?;
        match &self.y {
            OwnedTargets::Table(table) => {
                let y = T::lock(table)?;
                work(&dnn_core::Data::new(plan, &x, Given::Table(&y), self.weights.as_deref())?)
            }
            OwnedTargets::Labels(labels) => {
                work(&dnn_core::Data::new(plan, &x, Given::Labels(labels), self.weights.as_deref())?)
            }
        }
    }
}

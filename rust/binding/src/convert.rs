//! Between Python's objects and ours: errors, JSON, arrays.

use dnn_core::{Error, Given, IsaError, NonFinite, Real};
use ndarray::ArrayD;
use numpy::{IntoPyArray, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::de::DeserializeOwned;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::function;
use crate::rows::{Rows, Table, Typed};

/// Our errors as Python's.
pub fn error(error: Error) -> PyErr {
    match error {
        Error::Raised => function::raised().unwrap_or_else(|| PyRuntimeError::new_err("a function failed")),
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

/// A table as Python gives it.
#[derive(FromPyObject)]
pub enum Whole<'py> {
    /// Ours.
    Own(Bound<'py, Rows>),
    /// The user's, to read in place.
    Lent32(PyReadonlyArray2<'py, f32>),
    /// The user's.
    Lent64(PyReadonlyArray2<'py, f64>),
}

/// A table, or some of its rows.
#[derive(FromPyObject)]
pub enum Source<'py> {
    /// All.
    All(Whole<'py>),
    /// With the numbers of the rows that count.
    Picked(Whole<'py>, PyReadonlyArray1<'py, u32>),
}

/// The same without the interpreter.
pub struct Held<'a> {
    from: Place<'a>,
    picked: Option<&'a [u32]>,
}

/// Where the numbers of a table lie, with the columns of what has no shape of its own.
pub enum Place<'a> {
    /// Ours.
    Own(Table),
    /// The user's.
    F32(&'a [f32], usize),
    /// The user's.
    F64(&'a [f64], usize),
}

impl<'py> Source<'py> {
    /// Holds on to it.
    pub fn held(&self) -> PyResult<Held<'_>> {
        let (whole, picked) = match self {
            Source::All(whole) => (whole, None),
            Source::Picked(whole, rows) => (whole, Some(rows)),
        };
        let from = match whole {
            Whole::Own(rows) => Place::Own(rows.get().table()),
            Whole::Lent32(array) => Place::F32(tight(array)?, array.shape()[1]),
            Whole::Lent64(array) => Place::F64(tight(array)?, array.shape()[1]),
        };
        let picked = picked.map(PyReadonlyArray1::as_slice).transpose();
        let picked = picked.map_err(|_| PyValueError::new_err("the numbers of rows must be contiguous"))?;
        Ok(Held { from, picked })
    }

    /// Values that are NaN or infinite: how many, and the row and column of the first.
    pub fn non_finite(&self, py: Python<'_>, threads: usize) -> PyResult<Option<NonFinite>> {
        let held = self.held()?;
        let found = detached(py, || match &held.from {
            Place::F32(..) => held.with(|table: dnn_core::Table<'_, f32>| Ok(table.non_finite(threads))),
            Place::F64(..) => held.with(|table: dnn_core::Table<'_, f64>| Ok(table.non_finite(threads))),
            Place::Own(_) => Ok(None),
        })?;
        found.map_err(error)
    }
}

/// The numbers of an array in C order.
fn tight<'a, T: numpy::Element>(array: &'a PyReadonlyArray2<'_, T>) -> PyResult<&'a [T]> {
    let slice = array.as_slice().ok().filter(|_| array.is_c_contiguous());
    slice.ok_or_else(|| PyValueError::new_err("a table to be read in place must be C-contiguous and aligned"))
}

impl Held<'_> {
    /// Calls `work` with the table, if it is of this type.
    pub fn with<T: Typed, R>(&self, work: impl FnOnce(dnn_core::Table<'_, T>) -> Result<R, Error>) -> Result<R, Error> {
        let pick = |table| self.picked.map_or(Ok(table), |picked| dnn_core::Table::picked(table, picked));
        match (&self.from, T::lent(&self.from)) {
            (_, Some((numbers, columns))) => work(pick(dnn_core::Table::new(numbers, columns)?)?),
            (Place::Own(table), _) => {
                let rows = T::lock(table)?;
                work(pick((&*rows).into())?)
            }
            _ => Err(Error::Invalid(format!("the table does not hold {}", T::NAME))),
        }
    }
}

/// Targets as Python gives them.
#[derive(FromPyObject)]
pub enum Targets<'py> {
    /// The number of the class of each row.
    Labels(PyReadonlyArray1<'py, i64>),
    /// A value for each output.
    Table(Source<'py>),
}

/// The same without the interpreter.
enum HeldTargets<'a> {
    Table(Held<'a>),
    /// Copied: each becomes a place in memory, so none may change once it is checked.
    Labels(Vec<i64>),
}

/// Inputs, targets and weights, without the interpreter.
pub struct HeldData<'a> {
    x: Held<'a>,
    y: HeldTargets<'a>,
    weights: Option<Vec<f64>>,
}

impl<'a> HeldData<'a> {
    /// Holds on to tables, copies labels and weights.
    pub fn new(
        x: &'a Source<'_>,
        y: &'a Targets<'_>,
        weights: Option<&PyReadonlyArray1<'_, f64>>,
    ) -> PyResult<HeldData<'a>> {
        let weights = weights.map(|weights| weights.as_array().to_vec());
        let y = match y {
            Targets::Table(table) => HeldTargets::Table(table.held()?),
            Targets::Labels(labels) => HeldTargets::Labels(labels.as_array().to_vec()),
        };
        Ok(HeldData { x: x.held()?, y, weights })
    }

    /// Calls `work` with checked data of the type of the network.
    pub fn with<T: Typed, R>(
        &self,
        plan: &dnn_core::Plan,
        work: impl FnOnce(&dnn_core::Data<T>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let weights = self.weights.as_deref();
        self.x.with(|x| match &self.y {
            HeldTargets::Table(y) => y.with(|y| work(&dnn_core::Data::new(plan, x, Given::Lent(y), weights)?)),
            HeldTargets::Labels(labels) => work(&dnn_core::Data::new(plan, x, Given::Labels(labels), weights)?),
        })
    }
}

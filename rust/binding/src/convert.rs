//! Between Python's objects and ours: errors, JSON, arrays.

use dnn_core::{Error, Given, IsaError, NonFinite, Real};
use ndarray::ArrayD;
use numpy::{IntoPyArray, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::de::DeserializeOwned;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::function;
use crate::rows::{Rows, Table, Typed};
use crate::signals::Signals;

/// Our errors as Python's.
pub fn error(error: Error) -> PyErr {
    match error {
        Error::Raised => function::raised().unwrap_or_else(|| PyRuntimeError::new_err("a function failed")),
        Error::Invalid(message) => PyValueError::new_err(message),
        Error::Memory(message) => PyMemoryError::new_err(message),
        // With these three Python chooses the class, such as FileNotFoundError.
        Error::File(path, error) => match error.raw_os_error() {
            Some(number) => PyOSError::new_err((number, without_number(&error), path.into_os_string())),
            None => PyOSError::new_err(format!("{}: {error}", path.display())),
        },
    }
}

/// What the system says about an error; Rust adds its number behind.
fn without_number(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// An instruction set that is not there.
pub fn isa_error(error: IsaError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A spec from its wire form.
pub fn json<S: DeserializeOwned>(text: &str) -> PyResult<S> {
    serde_json::from_str(text).map_err(|error| PyValueError::new_err(format!("the spec can't be read: {error}")))
}

/// What unwinds where a model is asked for that may never be let go of: who has it.
pub struct InUse(pub &'static str);

/// Runs `work` without the interpreter; a panic becomes a `RuntimeError`.
pub fn detached<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> PyResult<R> {
    py.detach(|| caught(work))
}

/// Runs `work`, which is over in microseconds, with the interpreter; a panic becomes a `RuntimeError`.
pub fn caught<R>(work: impl FnOnce() -> R) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        if let Some(InUse(holder)) = panic.downcast_ref() {
            let told = || PyRuntimeError::new_err(format!("the model is in use by {holder}"));
            return function::raised().unwrap_or_else(told);
        }
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

/// Where the numbers of a table lie. To those of the user there is no reference, which would promise that they stay the
/// same: another thread may write to them.
pub enum Place<'a> {
    /// Ours.
    Own(Table),
    /// The user's.
    F32(dnn_core::Table<'a, f32>),
    /// The user's.
    F64(dnn_core::Table<'a, f64>),
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
            Whole::Lent32(array) => Place::F32(lent(array)?),
            Whole::Lent64(array) => Place::F64(lent(array)?),
        };
        // These are an array of ours, to which nobody writes.
        let picked = picked.map(PyReadonlyArray1::as_slice).transpose();
        let picked = picked.map_err(|_| PyValueError::new_err("the numbers of rows must be contiguous"))?;
        Ok(Held { from, picked })
    }

    /// Values that are NaN or infinite: how many, and the row and column of the first.
    pub fn non_finite(&self, py: Python<'_>, threads: usize) -> PyResult<Option<NonFinite>> {
        let (held, signals) = (self.held()?, Signals::new());
        let found = detached(py, || {
            signals.watching(threads, |run| match &held.from {
                Place::F32(table) => table.non_finite(run),
                Place::F64(table) => table.non_finite(run),
                Place::Own(_) => Ok(None),
            })
        })?;
        found.map_err(error)
    }
}

/// An array in C order as a table, which keeps no reference to the numbers.
fn lent<'a, T: Typed>(array: &'a PyReadonlyArray2<'_, T>) -> PyResult<dnn_core::Table<'a, T>> {
    let slice = array.as_slice().ok().filter(|_| array.is_c_contiguous());
    let refused = || PyValueError::new_err("a table to be read in place must be C-contiguous and aligned");
    dnn_core::Table::new(slice.ok_or_else(refused)?, array.shape()[1]).map_err(error)
}

impl Held<'_> {
    /// Calls `work` with the table, if it is of this type.
    pub fn with<T: Typed, R>(&self, work: impl FnOnce(dnn_core::Table<'_, T>) -> Result<R, Error>) -> Result<R, Error> {
        let pick = |table| self.picked.map_or(Ok(table), |picked| dnn_core::Table::picked(table, picked));
        match (&self.from, T::lent(&self.from)) {
            (_, Some(table)) => work(pick(table)?),
            (Place::Own(table), _) => {
                let rows = T::lock(table)?;
                work(pick((&*rows).into())?)
            }
            _ => Err(Error::Invalid(format!("the table does not hold {}", T::NAME))),
        }
    }
}

/// The numbers of an array, in memory of ours.
fn copy<A: numpy::Element + Copy>(array: &PyReadonlyArray1<'_, A>, what: &str) -> PyResult<Vec<A>> {
    let numbers = array.as_array();
    dnn_core::collected(numbers.iter().copied(), numbers.len(), what).map_err(error)
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
        let weights = weights.map(|weights| copy(weights, "sample_weight")).transpose()?;
        let y = match y {
            Targets::Table(table) => HeldTargets::Table(table.held()?),
            Targets::Labels(labels) => HeldTargets::Labels(copy(labels, "the labels")?),
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

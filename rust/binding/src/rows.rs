//! `Rows`: a table in storage of ours, filled block by block.

use crate::convert::{self, Place};
use dnn_core::{Error, NonFinite, Real};
use numpy::PyReadonlyArray2;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Arc, RwLock, RwLockReadGuard};

/// A table of either type; filling locks it for writing, using it for reading.
#[derive(Clone)]
pub enum Table {
    F32(Arc<RwLock<dnn_core::Rows<f32>>>),
    F64(Arc<RwLock<dnn_core::Rows<f64>>>),
}

/// The types that a table may hold.
pub trait Typed: Real<Other: numpy::Element> + numpy::Element {
    /// The table, if it holds this type.
    fn of(table: &Table) -> Option<&Arc<RwLock<dnn_core::Rows<Self>>>>;

    /// The user's table, if it is of this type.
    fn lent<'a>(place: &Place<'a>) -> Option<dnn_core::Table<'a, Self>>;

    /// The table, locked for reading.
    fn lock(table: &Table) -> Result<RwLockReadGuard<'_, dnn_core::Rows<Self>>, Error> {
        let rows = Self::of(table).ok_or_else(|| Error::invalid(format!("the table does not hold {}", Self::NAME)))?;
        rows.read().map_err(|_| Error::invalid("the table was left half-filled"))
    }
}

impl Typed for f32 {
    fn of(table: &Table) -> Option<&Arc<RwLock<dnn_core::Rows<f32>>>> {
        if let Table::F32(rows) = table { Some(rows) } else { None }
    }
    fn lent<'a>(place: &Place<'a>) -> Option<dnn_core::Table<'a, f32>> {
        if let Place::F32(table) = place { Some(*table) } else { None }
    }
}

impl Typed for f64 {
    fn of(table: &Table) -> Option<&Arc<RwLock<dnn_core::Rows<f64>>>> {
        if let Table::F64(rows) = table { Some(rows) } else { None }
    }
    fn lent<'a>(place: &Place<'a>) -> Option<dnn_core::Table<'a, f64>> {
        if let Place::F64(table) = place { Some(*table) } else { None }
    }
}

/// A table of rows in the extension's own aligned memory.
#[pyclass(frozen, module = "dnn._core")]
pub struct Rows(Table);

impl Rows {
    /// The same table, held without the interpreter.
    pub fn table(&self) -> Table {
        self.0.clone()
    }
}

fn fill<T: Typed>(
    py: Python<'_>,
    rows: &Arc<RwLock<dnn_core::Rows<T>>>,
    start: usize,
    block: &Bound<'_, PyAny>,
) -> PyResult<Option<NonFinite>> {
    let block: PyReadonlyArray2<'_, T> = block.extract()?;
    let block = block.as_array();
    let filled = convert::detached(py, || match rows.write() {
        Ok(mut rows) => rows.fill(start, block),
        Err(_) => Err(Error::invalid("the table was left half-filled")),
    })?;
    filled.map_err(convert::error)
}

#[pymethods]
impl Rows {
    #[new]
    fn new(n_rows: usize, n_columns: usize, dtype: &str) -> PyResult<Rows> {
        Ok(Rows(match dtype {
            "float32" => {
                Table::F32(Arc::new(RwLock::new(dnn_core::Rows::zeroed(n_rows, n_columns).map_err(convert::error)?)))
            }
            "float64" => {
                Table::F64(Arc::new(RwLock::new(dnn_core::Rows::zeroed(n_rows, n_columns).map_err(convert::error)?)))
            }
            _ => return Err(PyValueError::new_err(format!("dtype must be 'float32' or 'float64', got {dtype:?}"))),
        }))
    }

    fn fill(&self, py: Python<'_>, start: usize, block: &Bound<'_, PyAny>) -> PyResult<Option<NonFinite>> {
        match &self.0 {
            Table::F32(rows) => fill(py, rows, start, block),
            Table::F64(rows) => fill(py, rows, start, block),
        }
    }

    #[getter]
    fn shape(&self) -> PyResult<(usize, usize)> {
        match &self.0 {
            Table::F32(_) => f32::lock(&self.0).map(|rows| rows.shape()),
            Table::F64(_) => f64::lock(&self.0).map(|rows| rows.shape()),
        }
        .map_err(convert::error)
    }
}

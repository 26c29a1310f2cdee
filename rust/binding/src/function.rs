//! Functions of the user: losses and metrics, which the core calls while the interpreter is let go.
//!
//! In: arrays of the core. Out: what `python/dnn/_called.py` has made of what the user's function returned, checked there.
//! What is raised waits until the call of the core is over, on the thread that made it.

use dnn_core::{Called, Function, LossSpec, Measure, Metric, Truth};
use ndarray::{Array1, Array2};
use numpy::{IntoPyArray, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// What a function raised on this thread since the last time that was asked.
pub fn raised() -> Option<PyErr> {
    RAISED.take()
}

/// Keeps what was raised on this thread until the call of the core is over.
pub fn raise(error: PyErr) {
    RAISED.set(Some(error));
}

/// Whether a function has raised something on this thread.
pub fn has_raised() -> bool {
    RAISED.with_borrow(Option::is_some)
}

/// A function of the user, to call with arrays.
struct OfUser(Py<PyAny>);

impl OfUser {
    fn call<R>(&self, call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<R>) -> Option<R> {
        let called = Python::attach(|py| call(self.0.bind(py)));
        called.map_err(raise).ok()
    }
}

fn to_python(py: Python<'_>, y_true: Truth) -> Bound<'_, PyAny> {
    match y_true {
        Truth::Labels(labels) => labels.into_pyarray(py).into_any(),
        Truth::Dense(table) => table.into_pyarray(py).into_any(),
    }
}

impl Called for OfUser {
    fn loss(&self, y_true: Truth, y_pred: Array2<f64>, weights: Array1<f64>) -> Option<(Array1<f64>, Array2<f64>)> {
        self.call(|function| {
            let py = function.py();
            let found = function.call1((to_python(py, y_true), y_pred.into_pyarray(py), weights.into_pyarray(py)))?;
            let (losses, gradient): (PyReadonlyArray1<'_, f64>, PyReadonlyArray2<'_, f64>) = found.extract()?;
            Ok((losses.as_array().to_owned(), gradient.as_array().to_owned()))
        })
    }

    fn metric(&self, y_true: Truth, y_pred: Array2<f64>, weights: Option<Array1<f64>>) -> Option<f64> {
        self.call(|function| {
            let py = function.py();
            let weights = weights.map(|weights| weights.into_pyarray(py));
            function.call1((to_python(py, y_true), y_pred.into_pyarray(py), weights))?.extract()
        })
    }

    fn refused(&self) {
        raise(PyMemoryError::new_err("there is no memory for the arrays that a function is called with"));
    }
}

/// A function of the user for the core.
pub fn function(object: Option<Py<PyAny>>) -> Function {
    Function(object.map(|object| Arc::new(OfUser(object)) as Arc<dyn Called>))
}

/// Whether a loss is a function.
pub fn is_called(loss: Option<&LossSpec>) -> bool {
    matches!(loss, Some(LossSpec::Called { .. }))
}

/// Whether one of the metrics is a function.
pub fn any_called(metrics: &[Metric]) -> bool {
    metrics.iter().any(|metric| matches!(metric.measure, Measure::Called { .. }))
}

/// Puts functions in the places that the wire form leaves for them, in their order.
pub fn fill(metrics: &mut [Metric], functions: Option<Vec<Py<PyAny>>>) {
    let mut given = functions.into_iter().flatten();
    for metric in metrics {
        if let Measure::Called { function: place } = &mut metric.measure {
            *place = function(given.next());
        }
    }
}

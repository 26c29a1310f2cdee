//! The two ways of a prediction: arrays that are as they should be, at once, and arrays that Python has checked.
//!
//! In: the network and arrays. Out: an array of predictions, or nothing where Python has to look closer. It never says
//! what is wrong with an array: `python/dnn/_arrays.py` does.

use crate::convert::{self, caught, detached};
use crate::rows::Typed;
use crate::shared::Shared;
use crate::signals::Signals;
use dnn_core::{Error, Look, Model, Run};
use ndarray::{ArrayView2, ArrayViewMut2};
use numpy::{PyArray2, PyArrayMethods, PyReadonlyArray2, PyReadwriteArray2, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// Numbers of an array for which the memory is surely there.
const MOST_NEW: usize = 1 << 16;

/// The predictions of x, in `out` or a new array; `None` where Python has to look closer: x or out is not an ordinary
/// array of the model's type in C order, or something about them is wrong, which then is untouched.
///
/// `n_threads` 0 is for who has not asked yet how many there are: `None` too, if that matters.
pub fn ready<'py, T: Typed>(
    py: Python<'py>,
    shared: &Shared<T>,
    x: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    n_threads: usize,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(x) = ordinary::<T>(x).filter(|x| x.shape()[0] > 0 && x.shape()[1] == shared.n_inputs) else {
        return Ok(None);
    };
    let shape = [x.shape()[0], shared.n_outputs];
    let look = if out.is_some() { Look::First } else { Look::AsItGoes };
    let out = match out {
        None if shape[0].saturating_mul(shape[1]) > MOST_NEW => large(py, shape)?,
        None => PyArray2::<T>::zeros(py, shape, false),
        Some(out) => match ordinary::<T>(out).filter(|out| out.shape() == shape && !overlap(x, out)) {
            Some(out) => out.clone(),
            None => return Ok(None),
        },
    };
    let (Ok(x), Ok(mut to)) = (x.try_readonly(), out.try_readwrite()) else { return Ok(None) };
    let (x, to) = (x.as_array(), to.as_array_mut());
    // What takes microseconds keeps the interpreter. To let go of it and take it again costs some 50 ns where nobody
    // wants it, but where another thread does, its turn of 5 ms is waited for: a thousand times the work. Waiting for a
    // lock, and more work than that, is done without the interpreter.
    let brief = shared.try_read().filter(|model| dnn_core::is_brief(&model.plan, shape[0]));
    let found = match brief {
        Some(model) => caught(|| predict(shared, &model, x, to, 1.into(), look))?,
        None if n_threads == 0 => return Ok(None),
        None => {
            let signals = Signals::new();
            detached(py, || signals.watching(n_threads, |run| predict(shared, &shared.read(), x, to, run, look)))?
        }
    };
    let Some(are_finite) = found.map_err(convert::error)? else { return Ok(None) };
    if !are_finite {
        py.import("dnn._prediction")?.call_method0("tell")?;
    }
    Ok(Some(out.into_any()))
}

/// The predictions of x in `out`, both of which Python has checked, values included. Returns whether all are finite.
pub fn checked<T: Typed>(
    py: Python<'_>,
    shared: &Shared<T>,
    x: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
    n_threads: usize,
) -> PyResult<bool> {
    let x: PyReadonlyArray2<'_, T> = x.extract()?;
    let mut out: PyReadwriteArray2<'_, T> = out.extract()?;
    let (x, out, signals) = (x.as_array(), out.as_array_mut(), Signals::new());
    let found = detached(py, || {
        signals.watching(n_threads, |run| predict(shared, &shared.read(), x, out, run, Look::AsItGoes))
    })?;
    let changed = || Error::invalid("x was changed while it was read: it has NaN or infinity now");
    found.and_then(|found| found.ok_or_else(changed)).map_err(convert::error)
}

/// A new array, or a MemoryError that says how large it would be.
fn large<'py, T: Typed>(py: Python<'py>, shape: [usize; 2]) -> PyResult<Bound<'py, PyArray2<T>>> {
    let made = py.import("numpy")?.call_method1("empty", (shape, T::NAME))?;
    Ok(made.cast_into::<PyArray2<T>>()?)
}

/// Whether the predictions are finite, or nothing where x is not.
fn predict<T: Typed>(
    shared: &Shared<T>,
    model: &Model<T>,
    x: ArrayView2<'_, T>,
    mut out: ArrayViewMut2<'_, T>,
    run: Run<'_>,
    look: Look,
) -> Result<Option<bool>, Error> {
    let done = dnn_core::predict(&model.plan, &model.params, &shared.idle, x, out.view_mut(), run, look)?;
    Ok(done.then(|| out.as_slice().is_none_or(|out| dnn_core::all_finite(model.plan.isa, out))))
}

/// The array itself, if it is NumPy's own class (another may mean something else by its numbers), of the type of the
/// network, in C order and aligned.
fn ordinary<'a, 'py, T: Typed>(array: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyArray2<T>>> {
    if !array.is_exact_instance_of::<PyUntypedArray>() {
        return None;
    }
    array.cast::<PyArray2<T>>().ok().filter(|array| array.is_c_contiguous() && array.is_aligned())
}

/// Whether the numbers of two arrays in C order share memory.
fn overlap<T: Typed>(x: &Bound<'_, PyArray2<T>>, out: &Bound<'_, PyArray2<T>>) -> bool {
    let bounds = |array: &Bound<'_, PyArray2<T>>| {
        let start = array.data().addr();
        (start, start + array.len() * size_of::<T>())
    };
    let (x, out) = (bounds(x), bounds(out));
    x.0 < out.1 && out.0 < x.1
}

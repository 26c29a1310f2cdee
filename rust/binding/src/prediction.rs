//! The two ways of a prediction: arrays that are as they should be, at once, and arrays that Python has checked.
//!
//! In: the network and arrays. Out: an array of predictions, or nothing where Python has to look closer. It never says
//! what is wrong with an array: `python/dnn/_arrays.py` does.

use crate::convert::{self, caught, detached};
use crate::rows::Typed;
use crate::shared::Shared;
use crate::signals::Signals;
use dnn_core::{Error, Inputs, Look, Model, Outputs, Predicted, Run, Scaling};
use numpy::{
    Element, PyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::ops::Range;

/// Numbers of an array for which the memory is surely there.
const MOST_NEW: usize = 1 << 16;

/// How inputs and outputs are scaled.
#[pyclass(frozen, module = "dnn._core")]
pub struct Scalings(dnn_core::Scalings);

/// Centers and scales.
type Arrays<'py> = (PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>);

#[pymethods]
impl Scalings {
    #[new]
    fn new(x: Option<Arrays<'_>>, y: Option<Arrays<'_>>) -> PyResult<Scalings> {
        let of = |arrays: Option<Arrays<'_>>| -> PyResult<Option<Scaling>> {
            let Some((center, scale)) = arrays else { return Ok(None) };
            Scaling::new(center.as_array().to_vec(), scale.as_array().to_vec()).map(Some).map_err(convert::error)
        };
        Ok(Scalings(dnn_core::Scalings { x: of(x)?, y: of(y)? }))
    }
}

/// Rows that can be read as they are.
enum Ready<'py, T: Typed> {
    Own(PyReadonlyArray2<'py, T>),
    Other(PyReadonlyArray2<'py, T::Other>),
}

impl<'py, T: Typed> Ready<'py, T> {
    /// An ordinary array of either type, of some rows of so many columns.
    fn of(x: &Bound<'py, PyAny>, columns: usize) -> Option<Ready<'py, T>> {
        fn readable<'py, A: Element>(x: &Bound<'py, PyAny>, columns: usize) -> Option<PyReadonlyArray2<'py, A>> {
            let x = ordinary::<A>(x).filter(|x| x.shape()[0] > 0 && x.shape()[1] == columns);
            x.and_then(|x| x.try_readonly().ok())
        }
        readable(x, columns).map(Ready::Own).or_else(|| readable(x, columns).map(Ready::Other))
    }

    fn inputs(&self) -> Inputs<'_, T> {
        match self {
            Ready::Own(x) => Inputs::Own(x.as_array()),
            Ready::Other(x) => Inputs::Other(x.as_array()),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Ready::Own(x) => x.shape()[0],
            Ready::Other(x) => x.shape()[0],
        }
    }

    fn overlaps(&self, out: &Bound<'py, PyArray2<T>>) -> bool {
        let (x, out) = match self {
            Ready::Own(x) => (bytes(x), bytes(out)),
            Ready::Other(x) => (bytes(x), bytes(out)),
        };
        x.start < out.end && out.start < x.end
    }
}

/// The predictions of x, in `out` or a new array; `None` where Python has to look closer: x is not an ordinary
/// array of float32 or float64, out not one of the model's type in C order, or something about them is wrong, which then
/// is untouched.
///
/// `n_threads` 0 is for who has not asked yet how many there are: `None` too, if that matters.
pub fn ready<'py, T: Typed>(
    py: Python<'py>,
    shared: &Shared<T>,
    x: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    scalings: Option<&Scalings>,
    n_threads: usize,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(x) = Ready::of(x, shared.n_inputs).filter(|x| n_threads > 0 || is_brief(shared, x)) else {
        return Ok(None);
    };
    let shape = [x.rows(), shared.n_outputs];
    let look = if out.is_some() { Look::First } else { Look::AsItGoes };
    let out = match out {
        None if shape[0].saturating_mul(shape[1]) > MOST_NEW => large(py, shape)?,
        None => PyArray2::<T>::zeros(py, shape, false),
        Some(out) => match ordinary::<T>(out).filter(|out| out.shape() == shape && out.is_c_contiguous()) {
            Some(out) if !x.overlaps(out) => out.clone(),
            _ => return Ok(None),
        },
    };
    let Ok(mut to) = out.try_readwrite() else { return Ok(None) };
    match predict(py, shared, scalings, &x, Outputs::Values(to.as_array_mut()), n_threads, look)? {
        None | Some(Predicted::Refused) => return Ok(None),
        Some(Predicted::NotFinite) => {
            py.import("dnn._prediction")?.call_method0("tell")?;
        }
        Some(Predicted::Finite) => {}
    }
    Ok(Some(out.into_any()))
}

/// For each row of x the number of its largest output; `None` as from [`ready`], and where outputs are not finite.
pub fn largest<'py, T: Typed>(
    py: Python<'py>,
    shared: &Shared<T>,
    x: &Bound<'py, PyAny>,
    scalings: Option<&Scalings>,
    n_threads: usize,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(x) = Ready::of(x, shared.n_inputs).filter(|x| n_threads > 0 || is_brief(shared, x)) else {
        return Ok(None);
    };
    let out = match x.rows() {
        rows if rows > MOST_NEW => large(py, [rows])?,
        rows => PyArray1::<i64>::zeros(py, rows, false),
    };
    let mut to = out.readwrite();
    let places = Outputs::Largest(to.as_slice_mut()?);
    let found = predict(py, shared, scalings, &x, places, n_threads, Look::AsItGoes)?;
    Ok((found == Some(Predicted::Finite)).then(|| out.into_any()))
}

/// Whether it takes microseconds, in which no number of threads matters.
fn is_brief<T: Typed>(shared: &Shared<T>, x: &Ready<'_, T>) -> bool {
    shared.try_read().is_some_and(|model| dnn_core::is_brief(&model.plan, x.rows()))
}

/// What became of it; nothing where the number of threads matters and is 0.
fn predict<T: Typed>(
    py: Python<'_>,
    shared: &Shared<T>,
    scalings: Option<&Scalings>,
    x: &Ready<'_, T>,
    out: Outputs<'_, T>,
    n_threads: usize,
    look: Look,
) -> PyResult<Option<Predicted>> {
    let none = dnn_core::Scalings::default();
    let (inputs, scalings) = (x.inputs(), scalings.map_or(&none, |scalings| &scalings.0));
    // What takes microseconds keeps the interpreter. To let go of it and take it again costs some 50 ns where nobody
    // wants it, but where another thread does, its turn of 5 ms is waited for: a thousand times the work. Waiting for a
    // lock, and more work than that, is done without the interpreter.
    let brief = shared.try_read().filter(|model| dnn_core::is_brief(&model.plan, x.rows()));
    let found = match brief {
        Some(model) => caught(|| run(shared, &model, scalings, inputs, out, 1.into(), look))?,
        None if n_threads == 0 => return Ok(None),
        None => {
            let signals = Signals::new();
            detached(py, || {
                signals.watching(n_threads, |asked| run(shared, &shared.read(), scalings, inputs, out, asked, look))
            })?
        }
    };
    found.map(Some).map_err(convert::error)
}

/// The predictions of x in `out`, both of which Python has checked, values included. Returns whether all are finite.
pub fn checked<T: Typed>(
    py: Python<'_>,
    shared: &Shared<T>,
    x: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
    n_threads: usize,
) -> PyResult<bool> {
    let lent = |name: &str| {
        PyRuntimeError::new_err(format!(
            "{name} is being read or written by another call; give each thread arrays of its own"
        ))
    };
    let x = x.cast::<PyArray2<T>>()?.try_readonly().map_err(|_| lent("x"))?;
    let mut out = out.cast::<PyArray2<T>>()?.try_readwrite().map_err(|_| lent("out"))?;
    let (x, out, signals) = (Inputs::Own(x.as_array()), Outputs::Values(out.as_array_mut()), Signals::new());
    let found = detached(py, || {
        let scalings = dnn_core::Scalings::default();
        signals.watching(n_threads, |asked| run(shared, &shared.read(), &scalings, x, out, asked, Look::AsItGoes))
    })?;
    match found.map_err(convert::error)? {
        Predicted::Refused => {
            Err(convert::error(Error::invalid("x was changed while it was read: it has NaN or infinity now")))
        }
        found => Ok(found == Predicted::Finite),
    }
}

/// The core's `predict`, which is long and here once for each type.
fn run<T: Typed>(
    shared: &Shared<T>,
    model: &Model<T>,
    scalings: &dnn_core::Scalings,
    x: Inputs<'_, T>,
    out: Outputs<'_, T>,
    asked: Run<'_>,
    look: Look,
) -> Result<Predicted, Error> {
    dnn_core::predict(&model.plan, &model.params, &shared.idle, scalings, x, out, asked, look)
}

/// A new array, or a MemoryError that says how large it would be.
fn large<'py, A: Element, const N: usize>(
    py: Python<'py>,
    shape: [usize; N],
) -> PyResult<Bound<'py, PyArray<A, ndarray::Dim<[usize; N]>>>>
where
    ndarray::Dim<[usize; N]>: ndarray::Dimension,
{
    let made = py.import("numpy")?.call_method1("empty", (shape.to_vec(), A::get_dtype(py)))?;
    Ok(made.cast_into()?)
}

/// The array itself, if it is NumPy's own class (another may mean something else by its numbers), of this type, and
/// aligned.
fn ordinary<'a, 'py, A: Element>(array: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyArray2<A>>> {
    if !array.is_exact_instance_of::<PyUntypedArray>() {
        return None;
    }
    array.cast::<PyArray2<A>>().ok().filter(|array| array.is_aligned())
}

/// From the first byte of an array to behind the last; what lies between may not all be its own.
fn bytes<A: Element>(array: &Bound<'_, PyArray2<A>>) -> Range<usize> {
    let mut range = array.data().addr()..array.data().addr() + size_of::<A>();
    for (&n, &stride) in array.shape().iter().zip(array.strides()) {
        let reach = (n.saturating_sub(1) as isize).wrapping_mul(stride);
        if reach < 0 {
            range.start = range.start.wrapping_add_signed(reach);
        } else {
            range.end = range.end.wrapping_add_signed(reach);
        }
    }
    range
}

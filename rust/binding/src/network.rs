//! `Network`: a model of either type behind a lock.
//!
//! In: what Python gives. Out: arrays and dicts. The model itself, and who may change it when, is in `shared.rs`.

use crate::convert::{self, HeldData, Source, Targets, detached};
use crate::function;
use crate::observer::{Wanted, Watch};
use crate::prediction::{self, Scalings};
use crate::rows::{Rows, Typed};
use crate::shared::{Shared, Training};
use crate::signals::{self, Signals};
use dnn_core::{
    Dtype, Epochs, Error, FitSpec, History, LossSpec, Metric, Model, OptimizerSpec, Spec, StepSpec, Stopped,
};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// What a network had been compiled with before it was compiled anew, to put it back.
#[pyclass(frozen, module = "dnn._core")]
pub struct Compiled(Mutex<Option<Before>>);

enum Before {
    F32(dnn_core::Compiled<f32>),
    F64(dnn_core::Compiled<f64>),
}

enum Kind {
    F32(Shared<f32>),
    F64(Shared<f64>),
}

/// Parameters, optimizer state and everything that is computed with them.
#[pyclass(frozen, module = "dnn._core")]
pub struct Network(Kind);

/// The same expression for either type.
macro_rules! with {
    ($network:expr, $shared:ident => $result:expr) => {
        match &$network.0 {
            Kind::F32($shared) => $result,
            Kind::F64($shared) => $result,
        }
    };
}

fn metrics_dict<'py>(
    py: Python<'py>,
    metrics: &[Metric],
    (loss, values): (f64, Vec<f64>),
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("loss", loss)?;
    for (metric, value) in metrics.iter().zip(values) {
        dict.set_item(&metric.key, value)?;
    }
    Ok(dict)
}

/// An array that takes the numbers over. Room for more, which epochs that were not trained would have needed, goes back.
fn column<N: numpy::Element>(py: Python<'_>, mut numbers: Vec<N>) -> Bound<'_, PyArray1<N>> {
    numbers.shrink_to_fit();
    PyArray1::from_vec(py, numbers)
}

fn history_dict<'py>(py: Python<'py>, history: History, validates: bool) -> PyResult<Bound<'py, PyDict>> {
    let Epochs { numbers, loss, metrics, val_loss, val_metrics, rate, grad_norm, seconds } = history.epochs;
    let (columns, keys) = (PyDict::new(py), history.metrics.iter().map(|metric| &metric.key));
    // Without epochs there is a list of each all the same.
    let [of_metrics, val_metrics] =
        [metrics, val_metrics].map(|lists| lists.into_iter().chain(std::iter::repeat(Vec::new())));
    columns.set_item("loss", column(py, loss))?;
    for (key, values) in keys.clone().zip(of_metrics) {
        columns.set_item(key, column(py, values))?;
    }
    if validates {
        columns.set_item("val_loss", column(py, val_loss))?;
        for (key, values) in keys.zip(val_metrics) {
            columns.set_item(format!("val_{key}"), column(py, values))?;
        }
    }
    for (key, values) in [("rate", rate), ("grad_norm", grad_norm), ("seconds", seconds)] {
        columns.set_item(key, column(py, values))?;
    }
    let dict = PyDict::new(py);
    dict.set_item("history", columns)?;
    dict.set_item("epochs", column(py, numbers))?;
    dict.set_item("steps", history.steps)?;
    dict.set_item("stopped_because", history.stopped.name())?;
    dict.set_item("message", &history.message)?;
    dict.set_item("best_epoch", history.best_epoch)?;
    dict.set_item("arithmetic", &history.arithmetic)?;
    Ok(dict)
}

/// Takes the entries for the hooks out of the options; the rest is the spec of a fit.
fn options(text: &str) -> PyResult<(FitSpec, Wanted)> {
    let mut options: serde_json::Map<String, serde_json::Value> = convert::json(text)?;
    let epoch = options.remove("epoch_hook").and_then(|value| value.as_f64());
    let mut flag = |name: &str| options.remove(name).is_some_and(|value| value == true);
    let (epoch_begin, batch) = (flag("epoch_begin_hook"), flag("batch_hook"));
    let spec = FitSpec::try_from(serde_json::Value::from(options))
        .map_err(|error| PyValueError::new_err(format!("the options of fit can't be read: {error}")))?;
    let rates = spec.learning_rate.is_none();
    Ok((spec, Wanted { epoch, epoch_begin, batch, rates }))
}

#[pymethods]
impl Network {
    #[new]
    fn new(py: Python<'_>, spec: &str, n_inputs: usize) -> PyResult<Network> {
        let spec: Spec = convert::json(spec)?;
        let made = detached(py, || {
            Ok(Network(match spec.dtype {
                Dtype::Float32 => Kind::F32(Shared::new(Model::new(spec, n_inputs)?)),
                Dtype::Float64 => Kind::F64(Shared::new(Model::new(spec, n_inputs)?)),
            }))
        })?;
        made.map_err(convert::error)
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<(Network, String)> {
        let read = detached(py, || -> Result<_, Error> {
            if let Some((model, extra)) = dnn_core::from_bytes::<f32>(data)? {
                return Ok((Network(Kind::F32(Shared::new(model))), extra));
            }
            let (model, extra) = dnn_core::from_bytes::<f64>(data)?.ok_or_else(|| Error::invalid("unknown dtype"))?;
            Ok((Network(Kind::F64(Shared::new(model))), extra))
        })?;
        read.map_err(convert::error)
    }

    #[getter]
    fn n_inputs(&self) -> usize {
        with!(self, shared => shared.n_inputs)
    }

    #[getter]
    fn n_outputs(&self) -> usize {
        with!(self, shared => shared.n_outputs)
    }

    #[getter]
    fn n_parameters(&self, py: Python<'_>) -> PyResult<usize> {
        with!(self, shared => detached(py, || shared.look().plan.n_parameters()))
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        match &self.0 {
            Kind::F32(_) => "float32",
            Kind::F64(_) => "float64",
        }
    }

    #[getter]
    fn isa(&self, py: Python<'_>) -> PyResult<&'static str> {
        with!(self, shared => detached(py, || shared.look().plan.isa.name()))
    }

    /// Steps that the optimizer has taken.
    #[getter]
    fn steps(&self, py: Python<'_>) -> PyResult<u64> {
        with!(self, shared => detached(py, || shared.look().optimizer.as_ref().map_or(0, |optimizer| optimizer.steps)))
    }

    /// The number of the epoch with which training would go on.
    #[getter]
    fn next_epoch(&self, py: Python<'_>) -> PyResult<usize> {
        with!(self, shared => detached(py, || shared.look().progress.next_epoch))
    }

    /// Whether a `fit` is under way, and not in one of its callbacks.
    #[getter]
    fn is_training(&self) -> bool {
        with!(self, shared => shared.is_training())
    }

    /// Whether a `fit` waits for a callback, which may change the model.
    #[getter]
    fn in_callback(&self) -> bool {
        with!(self, shared => shared.may_change.load(Ordering::SeqCst))
    }

    /// How many calls have trained it so far.
    #[getter]
    fn trainings(&self) -> u64 {
        with!(self, shared => shared.trainings.load(Ordering::SeqCst))
    }

    /// Whether training should end with the epoch that it is in.
    fn stop(&self, yes: bool) {
        with!(self, shared => shared.stop.store(yes, Ordering::SeqCst));
    }

    /// `function` is the loss, where that is a function.
    #[pyo3(signature = (loss, optimizer, function=None))]
    fn compile(&self, py: Python<'_>, loss: &str, optimizer: &str, function: Option<Py<PyAny>>) -> PyResult<Compiled> {
        let (mut loss, optimizer): (LossSpec, OptimizerSpec) = (convert::json(loss)?, convert::json(optimizer)?);
        if let LossSpec::Called { function: place } = &mut loss {
            *place = function::function(function);
        }
        fn compile<T: Typed>(
            py: Python<'_>,
            shared: &Shared<T>,
            loss: LossSpec,
            optimizer: OptimizerSpec,
        ) -> PyResult<dnn_core::Compiled<T>> {
            detached(py, || {
                let mut model = shared.write();
                // Asked with the lock in hand, without which `fit` can't take the memory of the optimizer away.
                if shared.training.load(Ordering::SeqCst) {
                    return Err(PyRuntimeError::new_err("compile: the model is training"));
                }
                model.compile(loss, optimizer).map_err(convert::error)
            })?
        }
        let before = match &self.0 {
            Kind::F32(shared) => Before::F32(compile(py, shared, loss, optimizer)?),
            Kind::F64(shared) => Before::F64(compile(py, shared, loss, optimizer)?),
        };
        Ok(Compiled(Mutex::new(Some(before))))
    }

    /// Puts back, once, what `compile` has replaced.
    fn undo(&self, py: Python<'_>, compiled: &Bound<'_, Compiled>) -> PyResult<()> {
        let before = compiled.get().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (&self.0, before) {
            (Kind::F32(shared), Some(Before::F32(mut before))) => {
                detached(py, || shared.write_unless_training("undo").map(|mut model| model.exchange(&mut before)))?
            }
            (Kind::F64(shared), Some(Before::F64(mut before))) => {
                detached(py, || shared.write_unless_training("undo").map(|mut model| model.exchange(&mut before)))?
            }
            _ => Err(PyValueError::new_err("there is nothing to put back")),
        }
    }

    /// Puts the function that is the loss in its place again; the optimizer keeps its state.
    fn lend(&self, py: Python<'_>, function: Py<PyAny>) -> PyResult<()> {
        let function = function::function(Some(function));
        with!(self, shared => detached(py, || {
            shared.write_unless_training("compile")?.lend(function);
            Ok(())
        })?)
    }

    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        with!(self, shared => {
            let weights = detached(py, || { let model = shared.read(); model.params.to_arrays(&model.plan) })?;
            convert::arrays(py, weights.map_err(convert::error)?)
        })
    }

    fn set_weights(&self, py: Python<'_>, weights: Bound<'_, PyList>) -> PyResult<()> {
        fn set<T: Typed>(py: Python<'_>, shared: &Shared<T>, weights: &Bound<'_, PyList>) -> PyResult<()> {
            let weights: Vec<PyReadonlyArrayDyn<'_, T>> = weights.extract()?;
            let views: Vec<_> = weights.iter().map(|array| array.as_array()).collect();
            detached(py, || {
                let mut model = shared.write_unless_training("set_weights")?;
                let Model { plan, params, progress, .. } = &mut *model;
                params.set_arrays(plan, &views).map_err(convert::error)?;
                progress.weights_changed();
                Ok(())
            })?
        }
        with!(self, shared => set(py, shared, &weights))
    }

    /// The data-driven part of the initializer "lsuv".
    fn unit_variance(&self, py: Python<'_>, x: Source<'_>, n_threads: usize) -> PyResult<()> {
        let x = x.held()?;
        with!(self, shared => detached(py, || {
            let mut model = shared.write_unless_training("unit_variance")?;
            let scaled = x.with(|x| dnn_core::unit_variance(&mut model, x, n_threads));
            scaled.map_err(convert::error)
        })?)
    }

    #[pyo3(signature = (x, y, sample_weight, validation, options, hook, functions=None))]
    fn fit<'py>(
        &self,
        py: Python<'py>,
        x: Source<'py>,
        y: Targets<'py>,
        sample_weight: Option<PyReadonlyArray1<'py, f64>>,
        validation: Option<(Source<'py>, Targets<'py>, Option<PyReadonlyArray1<'py, f64>>)>,
        options: &str,
        hook: Option<Py<PyAny>>,
        functions: Option<Vec<Py<PyAny>>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (mut spec, wanted) = self::options(options)?;
        function::fill(&mut spec.metrics, functions);
        let data = HeldData::new(&x, &y, sample_weight.as_ref())?;
        let validation =
            validation.as_ref().map(|(x, y, weights)| HeldData::new(x, y, weights.as_ref())).transpose()?;
        let is_main = signals::is_main_thread(py)?;
        with!(self, shared => {
            if shared.training.swap(true, Ordering::SeqCst) {
                return Err(PyRuntimeError::new_err("fit: the model is already training"));
            }
            let _until_the_end = Training(&shared.training);
            shared.stop.store(false, Ordering::SeqCst);
            let mut watch = Watch::new(shared, hook, wanted, spec.metrics.clone(), is_main);
            let fitted = detached(py, || shared.fit(&data, validation.as_ref(), &spec, &mut watch))?;
            // A signal that came after the last look would be raised over what is given back here, which would be lost.
            let late = || if is_main { py.check_signals().err() } else { None };
            let raised = watch.raised.or_else(function::raised).or_else(late);
            // Where there is a history, something was learnt, whatever was raised on the way.
            let mut history = match fitted {
                Ok(history) => history,
                Err(error) => return Err(raised.unwrap_or_else(|| convert::error(error))),
            };
            if raised.as_ref().is_some_and(|error| error.is_instance_of::<PyKeyboardInterrupt>(py)) {
                let epochs = dnn_core::counted(history.epochs.len(), "epoch");
                (history.stopped, history.message) =
                    (Stopped::Interrupted, format!("interrupted after {epochs}"));
            }
            let dict = history_dict(py, history, validation.is_some())?;
            dict.set_item("raised", raised.map(|error| error.into_value(py)))?;
            Ok(dict)
        })
    }

    #[pyo3(signature = (x, y, sample_weight, step, metrics, n_threads, functions=None))]
    fn train_on_batch<'py>(
        &self,
        py: Python<'py>,
        x: Source<'py>,
        y: Targets<'py>,
        sample_weight: Option<PyReadonlyArray1<'py, f64>>,
        step: &str,
        metrics: &str,
        n_threads: usize,
        functions: Option<Vec<Py<PyAny>>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (how, mut metrics): (StepSpec, Vec<Metric>) = (convert::json(step)?, convert::json(metrics)?);
        function::fill(&mut metrics, functions);
        let data = HeldData::new(&x, &y, sample_weight.as_ref())?;
        let signals = Signals::new();
        with!(self, shared => {
            let done = detached(py, || {
                signals.watching(n_threads, |run| shared.train_on_batch(&data, how, &metrics, run))
            })??;
            metrics_dict(py, &metrics, done)
        })
    }

    #[pyo3(signature = (x, y, sample_weight, metrics, n_threads, functions=None))]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        x: Source<'py>,
        y: Targets<'py>,
        sample_weight: Option<PyReadonlyArray1<'py, f64>>,
        metrics: &str,
        n_threads: usize,
        functions: Option<Vec<Py<PyAny>>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut metrics: Vec<Metric> = convert::json(metrics)?;
        function::fill(&mut metrics, functions);
        let data = HeldData::new(&x, &y, sample_weight.as_ref())?;
        with!(self, shared => {
            let (calls, signals) = (function::any_called(&metrics), Signals::new());
            let done = detached(py, || {
                signals.watching(n_threads, |run| {
                    shared.measure(&data, calls, |model, data| dnn_core::evaluate(model, data, &metrics, run))
                })
            })?;
            metrics_dict(py, &metrics, done.map_err(convert::error)?)
        })
    }

    fn loss_and_gradients<'py>(
        &self,
        py: Python<'py>,
        x: Source<'py>,
        y: Targets<'py>,
        sample_weight: Option<PyReadonlyArray1<'py, f64>>,
        n_threads: usize,
    ) -> PyResult<(f64, Bound<'py, PyList>)> {
        let data = HeldData::new(&x, &y, sample_weight.as_ref())?;
        with!(self, shared => {
            let found = shared.gradients(py, &data, false, n_threads)?;
            Ok((found.loss, convert::arrays(py, found.gradients)?))
        })
    }

    fn numeric_gradients<'py>(
        &self,
        py: Python<'py>,
        x: Source<'py>,
        y: Targets<'py>,
        sample_weight: Option<PyReadonlyArray1<'py, f64>>,
        step: f64,
    ) -> PyResult<Bound<'py, PyList>> {
        let data = HeldData::new(&x, &y, sample_weight.as_ref())?;
        with!(self, shared => {
            let signals = Signals::new();
            let found = detached(py, || {
                signals.watching(1, |run| {
                    shared.measure(&data, false, |model, data| dnn_core::numeric_gradients(model, data, step, run))
                })
            })?;
            convert::arrays(py, found.map_err(convert::error)?)
        })
    }

    fn deltas<'py>(
        &self,
        py: Python<'py>,
        x: Source<'py>,
        y: Targets<'py>,
        sample_weight: Option<PyReadonlyArray1<'py, f64>>,
        n_threads: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let data = HeldData::new(&x, &y, sample_weight.as_ref())?;
        with!(self, shared => {
            let found = shared.gradients(py, &data, false, n_threads)?;
            convert::arrays(py, found.deltas.into_iter().map(|delta| delta.into_dyn()).collect())
        })
    }

    fn input_gradients<'py>(
        &self,
        py: Python<'py>,
        x: Source<'py>,
        y: Targets<'py>,
        sample_weight: Option<PyReadonlyArray1<'py, f64>>,
        n_threads: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let data = HeldData::new(&x, &y, sample_weight.as_ref())?;
        with!(self, shared => {
            let found = shared.gradients(py, &data, true, n_threads)?;
            Ok(found.dx.into_pyarray(py).into_any())
        })
    }

    fn trace<'py>(&self, py: Python<'py>, x: Bound<'py, Rows>, n_threads: usize) -> PyResult<Bound<'py, PyList>> {
        let table = x.get().table();
        fn trace<'py, T: Typed>(
            py: Python<'py>,
            shared: &Shared<T>,
            table: &crate::rows::Table,
            n_threads: usize,
        ) -> PyResult<Bound<'py, PyList>> {
            let signals = Signals::new();
            let layers = detached(py, || {
                signals.watching(n_threads, |run| dnn_core::trace(&shared.read(), &*T::lock(table)?, run))
            })?;
            let layers = layers.map_err(convert::error)?;
            PyList::new(py, layers.into_iter().map(|layer| (layer.z.into_pyarray(py), layer.a.into_pyarray(py))))
        }
        with!(self, shared => trace(py, shared, &table, n_threads))
    }

    fn predict(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        n_threads: usize,
    ) -> PyResult<bool> {
        with!(self, shared => prediction::checked(py, shared, x, out, n_threads))
    }

    #[pyo3(signature = (x, out, scalings, n_threads, /))]
    fn predict_ready<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        scalings: Option<&Bound<'py, Scalings>>,
        n_threads: usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let scalings = scalings.map(Bound::get);
        with!(self, shared => prediction::ready(py, shared, x, out, scalings, n_threads))
    }

    #[pyo3(signature = (x, scalings, n_threads, /))]
    fn largest_ready<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        scalings: Option<&Bound<'py, Scalings>>,
        n_threads: usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let scalings = scalings.map(Bound::get);
        with!(self, shared => prediction::largest(py, shared, x, scalings, n_threads))
    }

    fn to_bytes<'py>(&self, py: Python<'py>, extra: &str) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = with!(self, shared => detached(py, || {
            let model = shared.read_unless_training("to copy or pickle a model")?;
            dnn_core::to_bytes(&model, extra).map_err(convert::error)
        }))??;
        PyBytes::new_with(py, bytes.len(), |to| {
            to.copy_from_slice(&bytes);
            Ok(())
        })
    }

    fn save(&self, py: Python<'_>, path: PathBuf, extra: &str, training: bool) -> PyResult<()> {
        with!(self, shared => detached(py, || {
            if training {
                return dnn_core::save(&*shared.read_unless_training("save")?, extra, &path).map_err(convert::error);
            }
            // The disk is slow: nobody has to wait for it.
            let copy = shared.read().without_training();
            copy.and_then(|model| dnn_core::save(&model, extra, &path)).map_err(convert::error)
        })?)
    }
}

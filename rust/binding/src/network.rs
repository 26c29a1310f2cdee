//! `Network`: a model of either type behind a lock.
//!
//! Readers (predict, evaluate, weights) share it. `fit` works on a copy, which it puts into the place of the model while
//! a hook runs and at its end; so a network can be used while it learns, and stays whole whatever happens.

use crate::convert::{self, HeldData, Source, Targets, detached};
use crate::function;
use crate::observer::{Wanted, Watch};
use crate::prediction;
use crate::rows::{Rows, Typed};
use dnn_core::{Dtype, Error, FitSpec, History, Idle, LossSpec, Metric, Model, OptimizerSpec, Spec, State, StepSpec};
use numpy::{IntoPyArray, PyReadonlyArray1, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

/// A model that several threads may use.
pub struct Shared<T: Typed> {
    model: RwLock<Model<T>>,
    /// What a network has for ever.
    pub n_inputs: usize,
    pub n_outputs: usize,
    /// What predictions write on the way.
    pub idle: Idle<T>,
    training: AtomicBool,
    /// While a hook runs, training waits and the weights may be changed.
    in_hook: AtomicBool,
}

impl<T: Typed> Shared<T> {
    fn new(model: Model<T>) -> Shared<T> {
        let (training, in_hook) = (AtomicBool::new(false), AtomicBool::new(false));
        let (n_inputs, n_outputs) = (model.plan.n_inputs, model.plan.n_outputs());
        Shared { model: RwLock::new(model), n_inputs, n_outputs, idle: Idle::new(), training, in_hook }
    }

    /// The model to read, unless somebody is changing it.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, Model<T>>> {
        match self.model.try_read() {
            Ok(model) => Some(model),
            Err(TryLockError::Poisoned(broken)) => Some(broken.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    // A panic under the lock can't leave a model half-changed: it is changed by moves and copies alone.
    pub fn read(&self) -> RwLockReadGuard<'_, Model<T>> {
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Model<T>> {
        self.model.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what training works on into the place of the model, or takes it back: the same exchange.
    pub fn exchange(&self, state: &mut State<'_, T>, in_hook: bool) {
        let mut shared = self.write();
        std::mem::swap(&mut shared.params, state.params);
        if let Some(optimizer) = &mut shared.optimizer {
            std::mem::swap(optimizer, state.optimizer);
        }
        std::mem::swap(&mut shared.running, state.running);
        std::mem::swap(&mut shared.progress, state.progress);
        shared.epochs = state.epochs;
        self.in_hook.store(in_hook, Ordering::SeqCst);
    }

    /// The right to change the model, unless it is training.
    fn write_unless_training(&self, what: &str) -> PyResult<RwLockWriteGuard<'_, Model<T>>> {
        // Asked with the lock in hand: a `fit` that begins in between would put its weights over what is written.
        let model = self.write();
        if self.training.load(Ordering::SeqCst) && !self.in_hook.load(Ordering::SeqCst) {
            return Err(PyRuntimeError::new_err(format!("{what}: the model is training in another thread")));
        }
        Ok(model)
    }

    /// What `work` finds of the model on data; `calls` says that it calls functions of the user. Those may ask for
    /// anything, so they run on a copy, and the model is not locked.
    fn measure<R>(
        &self,
        data: &HeldData<'_>,
        calls: bool,
        work: impl FnOnce(&Model<T>, &dnn_core::Data<'_, T>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let model = self.read();
        if !calls && !function::is_called(model.spec.loss.as_ref()) {
            return data.with(&model.plan, |data| work(&model, data));
        }
        let copy = model.duplicate()?;
        drop(model);
        data.with(&copy.plan, |data| work(&copy, data))
    }

    /// One step; on a copy where it calls functions of the user.
    fn train_on_batch(
        &self,
        data: &HeldData<'_>,
        how: StepSpec,
        metrics: &[Metric],
        threads: usize,
    ) -> PyResult<(f64, Vec<f64>)> {
        let step = |model: &mut Model<T>| {
            let plan = model.plan.clone();
            let done = data.with(&plan, |data| dnn_core::train_on_batch(model, data, how, metrics, threads));
            done.map_err(convert::error)
        };
        let mut model = self.write_unless_training("train_on_batch")?;
        if !function::any_called(metrics) && !function::is_called(model.spec.loss.as_ref()) {
            return step(&mut model);
        }
        let mut copy = model.duplicate().map_err(convert::error)?;
        drop(model);
        if self.training.swap(true, Ordering::SeqCst) {
            return Err(PyRuntimeError::new_err("train_on_batch: the model is training"));
        }
        let _until_the_end = Training(&self.training);
        let done = step(&mut copy)?;
        *self.write() = copy;
        Ok(done)
    }

    /// Trains a copy and puts it in the place of the model. A panic leaves the model as it was.
    fn fit(
        &self,
        data: &HeldData<'_>,
        validation: Option<&HeldData<'_>>,
        spec: &FitSpec,
        watch: &mut Watch<'_, T>,
    ) -> Result<History, Error> {
        let mut model = self.read().duplicate()?;
        let plan = model.plan.clone();
        let history = data.with(&plan, |data| match validation {
            None => dnn_core::fit(&mut model, data, None, spec, watch),
            Some(validation) => {
                validation.with(&plan, |validation| dnn_core::fit(&mut model, data, Some(validation), spec, watch))
            }
        })?;
        *self.write() = model;
        Ok(history)
    }
}

/// Clears the flag when `fit` ends, however it ends.
struct Training<'a>(&'a AtomicBool);

impl Drop for Training<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
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

fn history_dict<'py>(py: Python<'py>, history: &History) -> PyResult<Bound<'py, PyDict>> {
    let columns = PyDict::new(py);
    let list = |of: &dyn Fn(&dnn_core::Epoch) -> f64| history.epochs.iter().map(of).collect::<Vec<f64>>();
    columns.set_item("loss", list(&|epoch| epoch.loss))?;
    for (i, metric) in history.metrics.iter().enumerate() {
        columns.set_item(&metric.key, list(&|epoch| epoch.metrics[i]))?;
    }
    if history.epochs.iter().any(|epoch| epoch.val_loss.is_some()) {
        columns.set_item("val_loss", list(&|epoch| epoch.val_loss.unwrap_or(f64::NAN)))?;
        for (i, metric) in history.metrics.iter().enumerate() {
            columns.set_item(format!("val_{}", metric.key), list(&|epoch| epoch.val_metrics[i]))?;
        }
    }
    columns.set_item("rate", list(&|epoch| epoch.rate))?;
    columns.set_item("grad_norm", list(&|epoch| epoch.grad_norm))?;
    columns.set_item("seconds", list(&|epoch| epoch.seconds))?;
    let dict = PyDict::new(py);
    dict.set_item("history", columns)?;
    dict.set_item("epochs", history.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>())?;
    dict.set_item("steps", history.steps)?;
    dict.set_item("stopped_because", history.stopped.name())?;
    dict.set_item("message", &history.message)?;
    dict.set_item("best_epoch", history.best_epoch)?;
    Ok(dict)
}

/// Takes the entries for the hooks out of the options; the rest is the spec of a fit.
fn options(text: &str) -> PyResult<(FitSpec, Wanted)> {
    let mut options: serde_json::Map<String, serde_json::Value> = convert::json(text)?;
    let epoch = options.remove("epoch_hook").and_then(|value| value.as_f64());
    let mut flag = |name: &str| options.remove(name).is_some_and(|value| value == true);
    let (epoch_begin, batch) = (flag("epoch_begin_hook"), flag("batch_hook"));
    let spec: FitSpec = serde_json::from_value(options.into())
        .map_err(|error| PyValueError::new_err(format!("the options of fit can't be read: {error}")))?;
    let rates = spec.learning_rate.is_none();
    Ok((spec, Wanted { epoch, epoch_begin, batch, rates }))
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    Ok(threading.call_method0("current_thread")?.is(&threading.call_method0("main_thread")?))
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
        with!(self, shared => detached(py, || shared.read().plan.n_parameters()))
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
        with!(self, shared => detached(py, || shared.read().plan.isa.name()))
    }

    /// Steps that the optimizer has taken.
    #[getter]
    fn steps(&self, py: Python<'_>) -> PyResult<u64> {
        with!(self, shared => detached(py, || shared.read().optimizer.as_ref().map_or(0, |optimizer| optimizer.steps)))
    }

    /// The number of the epoch with which training would go on.
    #[getter]
    fn next_epoch(&self, py: Python<'_>) -> PyResult<usize> {
        with!(self, shared => detached(py, || shared.read().progress.next_epoch))
    }

    /// `function` is the loss, where that is a function.
    #[pyo3(signature = (loss, optimizer, function=None))]
    fn compile(&self, py: Python<'_>, loss: &str, optimizer: &str, function: Option<Py<PyAny>>) -> PyResult<()> {
        let (mut loss, optimizer): (LossSpec, OptimizerSpec) = (convert::json(loss)?, convert::json(optimizer)?);
        if let LossSpec::Called { function: place } = &mut loss {
            *place = function::function(function);
        }
        with!(self, shared => {
            if shared.training.load(Ordering::SeqCst) {
                return Err(PyRuntimeError::new_err("compile: the model is training"));
            }
            detached(py, || shared.write().compile(loss, optimizer))?.map_err(convert::error)
        })
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
            convert::arrays(py, weights)
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
        let is_main = is_main_thread(py)?;
        with!(self, shared => {
            if shared.training.swap(true, Ordering::SeqCst) {
                return Err(PyRuntimeError::new_err("fit: the model is already training"));
            }
            let _until_the_end = Training(&shared.training);
            let mut watch = Watch::new(shared, hook, wanted, spec.metrics.clone(), is_main);
            let fitted = detached(py, || shared.fit(&data, validation.as_ref(), &spec, &mut watch))?;
            match watch.raised.or_else(function::raised) {
                Some(raised) => Err(raised),
                None => history_dict(py, &fitted.map_err(convert::error)?),
            }
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
        with!(self, shared => {
            let done = detached(py, || shared.train_on_batch(&data, how, &metrics, n_threads))??;
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
            let done = detached(py, || {
                shared.measure(&data, function::any_called(&metrics), |model, data| dnn_core::evaluate(model, data, &metrics, n_threads))
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
            let found = detached(py, || {
                shared.measure(&data, false, |model, data| dnn_core::gradients(model, data, false, n_threads))
            })?;
            let found = found.map_err(convert::error)?;
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
            let found = detached(py, || {
                shared.measure(&data, false, |model, data| dnn_core::numeric_gradients(model, data, step))
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
            let found = detached(py, || {
                shared.measure(&data, false, |model, data| dnn_core::gradients(model, data, false, n_threads))
            })?;
            let deltas = found.map_err(convert::error)?.deltas;
            convert::arrays(py, deltas.into_iter().map(|delta| delta.into_dyn()).collect())
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
            let found = detached(py, || {
                shared.measure(&data, false, |model, data| dnn_core::gradients(model, data, true, n_threads))
            })?;
            Ok(found.map_err(convert::error)?.dx.into_pyarray(py).into_any())
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
            let layers = detached(py, || dnn_core::trace(&shared.read(), &*T::lock(table)?, n_threads))?;
            let layers = layers.map_err(convert::error)?;
            PyList::new(py, layers.into_iter().map(|layer| (layer.z.into_pyarray(py), layer.a.into_pyarray(py))))
        }
        with!(self, shared => trace(py, shared, &table, n_threads))
    }

    fn predict(&self, py: Python<'_>, x: &Bound<'_, PyAny>, out: &Bound<'_, PyAny>, n_threads: usize) -> PyResult<()> {
        with!(self, shared => prediction::checked(py, shared, x, out, n_threads))
    }

    #[pyo3(signature = (x, out, n_threads, /))]
    fn predict_ready<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        n_threads: usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        with!(self, shared => prediction::ready(py, shared, x, out, n_threads))
    }

    fn to_bytes<'py>(&self, py: Python<'py>, extra: &str) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = with!(self, shared => detached(py, || dnn_core::to_bytes(&shared.read(), extra)))?;
        Ok(PyBytes::new(py, &bytes.map_err(convert::error)?))
    }

    fn save(&self, py: Python<'_>, path: PathBuf, extra: &str, training: bool) -> PyResult<()> {
        let saved = with!(self, shared => detached(py, || match training {
            true => dnn_core::save(&shared.read(), extra, &path),
            false => dnn_core::save(&shared.read().without_training()?, extra, &path),
        }))?;
        saved.map_err(convert::error)
    }
}

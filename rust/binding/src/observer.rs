//! The observer of a `fit`: the clock, Ctrl-C, and the hook that Python gave.

use crate::convert::caught;
use crate::function;
use crate::rows::Typed;
use crate::shared::Shared;
use crate::signals::{self, LOOK};
use dnn_core::{Epoch, Flow, Metric, Observer, Params, Running, State};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What was learnt is shown so long at least: who trains tiny epochs would do nothing but copy.
const SHOWN: Duration = Duration::from_millis(10);

/// Which hooks Python wants.
pub struct Wanted {
    /// Seconds between two calls of `epoch_end`.
    pub epoch: Option<f64>,
    pub epoch_begin: bool,
    pub batch: bool,
    pub rates: bool,
}

pub struct Watch<'a, T: Typed> {
    shared: &'a Shared<T>,
    hook: Option<Py<PyAny>>,
    wanted: Wanted,
    metrics: Vec<Metric>,
    started: Instant,
    looked: Instant,
    /// Signals reach the main thread only.
    is_main: bool,
    epoch_called: Option<f64>,
    /// When others were shown what was learnt.
    shown: Option<Instant>,
    /// What a hook or a signal handler raised.
    pub raised: Option<PyErr>,
}

impl<'a, T: Typed> Watch<'a, T> {
    pub fn new(
        shared: &'a Shared<T>,
        hook: Option<Py<PyAny>>,
        wanted: Wanted,
        metrics: Vec<Metric>,
        is_main: bool,
    ) -> Self {
        let now = Instant::now();
        let (epoch_called, shown, raised) = (None, None, None);
        Watch { shared, hook, wanted, metrics, started: now, looked: now, is_main, epoch_called, shown, raised }
    }

    /// Calls a hook with the interpreter; the network is then what training has made of it so far, to read, and where
    /// the hook `may_change` it, to change.
    fn call(
        &mut self,
        mut state: State<'_, T>,
        may_change: bool,
        call: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> Flow {
        let Some(hook) = &self.hook else { return Flow::Go };
        self.shared.exchange(&mut state, may_change);
        // Also after a panic the weights have to come back.
        let asked = caught(|| Python::attach(|py| call(hook.bind(py))?.is_truthy())).flatten();
        self.shared.exchange(&mut state, false);
        match asked {
            Ok(false) => Flow::Go,
            Ok(true) => Flow::Stop,
            Err(error) => {
                self.raised = Some(error);
                Flow::Stop
            }
        }
    }
}

/// What an epoch measured, as Python sees it.
fn logs<'py>(py: Python<'py>, epoch: &Epoch, metrics: &[Metric]) -> PyResult<Bound<'py, PyDict>> {
    let logs = PyDict::new(py);
    logs.set_item("loss", epoch.loss)?;
    for (metric, value) in metrics.iter().zip(&epoch.metrics) {
        logs.set_item(&metric.key, value)?;
    }
    if let Some(loss) = epoch.val_loss {
        logs.set_item("val_loss", loss)?;
        for (metric, value) in metrics.iter().zip(&epoch.val_metrics) {
            logs.set_item(format!("val_{}", metric.key), value)?;
        }
    }
    logs.set_item("rate", epoch.rate)?;
    logs.set_item("grad_norm", epoch.grad_norm)?;
    logs.set_item("seconds", epoch.seconds)?;
    Ok(logs)
}

impl<T: Typed> Observer<T> for Watch<'_, T> {
    fn seconds(&mut self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn interrupted(&mut self) -> bool {
        if !self.is_main || self.looked.elapsed() < LOOK {
            return false;
        }
        self.looked = Instant::now();
        match signals::handled(|py| self.shared.in_handler(|| py.check_signals())) {
            Ok(()) => false,
            Err(error) => {
                // Ctrl-C is told by the history; what another handler raised is raised again.
                if !Python::attach(|py| error.is_instance_of::<PyKeyboardInterrupt>(py)) {
                    self.raised = Some(error);
                }
                true
            }
        }
    }

    fn failed(&self) -> bool {
        self.raised.is_some() || function::has_raised()
    }

    fn show(&mut self, params: &Params<T>, running: &Running) {
        if self.shared.show(params, running) {
            self.shown = Some(Instant::now());
        }
    }

    fn rates(&mut self, first_step: u64, rates: &mut [f64], state: State<'_, T>) -> Flow {
        if !self.wanted.rates {
            return Flow::Go;
        }
        self.call(state, false, |hook| {
            let given = hook.call_method1("rates", (first_step, rates.len()))?;
            for (rate, given) in rates.iter_mut().zip(given.try_iter()?) {
                *rate = given?.extract()?;
            }
            Ok(hook.py().None().into_bound(hook.py()))
        })
    }

    fn order(&mut self, epoch: usize, order: &mut [u32], state: State<'_, T>) -> Flow {
        self.call(state, false, |hook| {
            let given: PyReadonlyArray1<'_, u32> = hook.call_method1("order", (epoch,))?.extract()?;
            let given = given.as_slice()?;
            if given.len() != order.len() {
                let (need, got) = (order.len(), given.len());
                return Err(PyValueError::new_err(format!("the order has {got} rows, but there are {need}")));
            }
            order.copy_from_slice(given);
            Ok(hook.py().None().into_bound(hook.py()))
        })
    }

    fn epoch_begin(&mut self, epoch: usize, state: State<'_, T>) -> Flow {
        if !self.wanted.epoch_begin {
            return Flow::Go;
        }
        self.call(state, true, |hook| hook.call_method1("epoch_begin", (epoch,)))
    }

    fn epoch_end(&mut self, epoch: &Epoch, last: bool, state: State<'_, T>) -> Flow {
        if self.shown.is_some_and(|shown| shown.elapsed() >= SHOWN) && self.shared.hide() {
            self.shown = None;
        }
        let due = match (self.wanted.epoch, self.epoch_called) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(seconds), Some(called)) => last || epoch.seconds - called >= seconds,
        };
        if !due {
            return if self.shared.stop.load(Ordering::SeqCst) { Flow::Stop } else { Flow::Go };
        }
        self.epoch_called = Some(epoch.seconds);
        let metrics = self.metrics.clone();
        self.call(state, true, |hook| hook.call_method1("epoch_end", (epoch.epoch, logs(hook.py(), epoch, &metrics)?)))
    }

    fn watches_epochs(&self) -> bool {
        // Who is called now and then, for a display, is told of the first and the last one, and of some between.
        let every = |seconds| seconds <= 0.0 || self.epoch_called.is_none();
        self.wanted.epoch_begin || self.wanted.epoch.is_some_and(every)
    }

    fn watches_steps(&self) -> bool {
        self.wanted.batch
    }

    fn batch_begin(&mut self, batch: usize, state: State<'_, T>) -> Flow {
        self.call(state, true, |hook| hook.call_method1("batch_begin", (batch,)))
    }

    fn batch_end(&mut self, batch: usize, loss: f64, state: State<'_, T>) -> Flow {
        self.call(state, true, |hook| {
            let logs = PyDict::new(hook.py());
            logs.set_item("loss", loss)?;
            hook.call_method1("batch_end", (batch, logs))
        })
    }
}

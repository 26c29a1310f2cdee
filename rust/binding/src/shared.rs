//! A model that several threads may use, behind a lock.
//!
//! Readers (predict, evaluate, weights) share it. `fit` takes the weights and the memory of the optimizer away, and puts
//! them back while a hook runs and at its end, so that nothing is there twice. Who wants to read the weights meanwhile
//! asks, and `fit` leaves a copy of those of its last step in their place, up to the end of the epoch. Where training calls
//! functions of the user, or a line search tries weights, `fit` works on a copy from the start.

use crate::convert::{self, HeldData, InUse, detached};
use crate::function;
use crate::observer::Watch;
use crate::rows::Typed;
use crate::signals::{self, Signals};
use dnn_core::{Error, FitSpec, Gradients, History, Idle, Metric, Model, Params, Run, Running, State, StepSpec};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

/// Between two looks whether the weights are there: the first and the longest.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// A model that several threads may use.
pub struct Shared<T: Typed> {
    model: RwLock<Model<T>>,
    /// What a network has for ever.
    pub n_inputs: usize,
    pub n_outputs: usize,
    /// What predictions write on the way.
    pub idle: Idle<T>,
    pub training: AtomicBool,
    /// Somebody, on any thread, wants training to end with the epoch that it is in.
    pub stop: AtomicBool,
    /// How many calls have trained the model so far.
    pub trainings: AtomicU64,
    /// Training waits for a hook that may change the weights.
    pub may_change: AtomicBool,
    /// Somebody waits for weights that a `fit` has taken.
    asked: AtomicBool,
    /// The forks before it took them.
    taken_after: AtomicU32,
    /// The `fit` that has taken them waits for the handler of a signal.
    in_handler: AtomicBool,
    /// The forks before the lock was last known to be held by nobody whom a fork has left behind.
    forks: AtomicU32,
}

impl<T: Typed> Shared<T> {
    /// A model that nobody uses yet.
    pub fn new(model: Model<T>) -> Shared<T> {
        let no = || AtomicBool::new(false);
        let (n_inputs, n_outputs) = (model.plan.n_inputs, model.plan.n_outputs());
        let (training, stop, may_change, asked, in_handler) = (no(), no(), no(), no(), no());
        let (model, trainings) = (RwLock::new(model), AtomicU64::new(0));
        let [taken_after, forks] = [(); 2].map(|()| AtomicU32::new(signals::forks()));
        Shared {
            model,
            n_inputs,
            n_outputs,
            idle: Idle::new(),
            training,
            stop,
            trainings,
            may_change,
            asked,
            taken_after,
            in_handler,
            forks,
        }
    }

    /// The model to read with its weights, unless somebody is changing it or has them.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, Model<T>>> {
        self.try_look().filter(|model| model.has_weights())
    }

    /// The model to read with its weights. A `fit` that has them is asked for a copy, and without the memory for one gives
    /// them back at its end.
    pub fn read(&self) -> RwLockReadGuard<'_, Model<T>> {
        let [mut pause, longest] = PAUSES;
        let since = Instant::now();
        let mut signals = Signals::new();
        loop {
            let model = self.look();
            if model.has_weights() {
                return model;
            }
            // With the lock in hand: who has taken them gives them back before it is cleared.
            assert!(self.training.load(Ordering::SeqCst), "the weights of a model that nobody trains are gone");
            drop(model);
            if signals::in_handler() || self.taken_after.load(Ordering::Relaxed) != signals::forks() {
                give_up_late(since, signals::holder());
            } else if self.in_handler.load(Ordering::SeqCst) {
                give_up_late(since, "a call that waits for the handler of a signal");
            }
            self.asked.store(true, Ordering::SeqCst);
            if !signals.go_on() {
                resume_unwind(Box::new(InUse("a fit")));
            }
            std::thread::sleep(pause);
            pause = longest.min(2 * pause);
        }
    }

    /// Tells readers that the `fit` that has the weights is in the handler of a signal, as long as `handler` runs.
    pub fn in_handler<R>(&self, handler: impl FnOnce() -> R) -> R {
        self.in_handler.store(true, Ordering::SeqCst);
        let done = handler();
        self.in_handler.store(false, Ordering::SeqCst);
        done
    }

    /// What a `fit` has learnt so far, for who has asked for it; returns whether somebody had. Who reads the model is
    /// not waited for: they will ask again.
    pub fn show(&self, params: &Params<T>, running: &Running) -> bool {
        if !self.asked.load(Ordering::Relaxed) {
            return false;
        }
        let Some(mut model) = self.try_write() else { return false };
        self.asked.store(false, Ordering::SeqCst);
        !model.has_weights() && model.show(params, running).is_ok()
    }

    /// Takes away what was shown, unless somebody is reading it; returns whether it did.
    pub fn hide(&self) -> bool {
        self.try_write().is_some_and(|mut model| {
            model.hide();
            true
        })
    }

    fn try_look(&self) -> Option<RwLockReadGuard<'_, Model<T>>> {
        match self.model.try_read() {
            Ok(model) => Some(model),
            Err(TryLockError::Poisoned(broken)) => Some(broken.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The model to read, which may be without its weights.
    // After a panic under the lock the model is used on: every weight of it is a number, of before a step or after it.
    pub fn look(&self) -> RwLockReadGuard<'_, Model<T>> {
        if self.may_wait_for_ever() {
            return soon(|| self.try_look());
        }
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether who has the lock may never let go of it: the call that a handler has interrupted, or a thread that a fork
    /// has left behind.
    fn may_wait_for_ever(&self) -> bool {
        signals::in_handler() || self.forks.load(Ordering::Relaxed) != signals::forks()
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Model<T>> {
        if self.may_wait_for_ever() {
            let model = soon(|| self.try_write());
            self.forks.store(signals::forks(), Ordering::Relaxed);
            return model;
        }
        self.model.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_write(&self) -> Option<RwLockWriteGuard<'_, Model<T>>> {
        match self.model.try_write() {
            Ok(model) => Some(model),
            Err(TryLockError::Poisoned(broken)) => Some(broken.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The lock for a `fit` that is under way. It has had the lock once, so nobody whom its thread has interrupted has it.
    fn write_in_fit(&self) -> RwLockWriteGuard<'_, Model<T>> {
        if self.taken_after.load(Ordering::Relaxed) != signals::forks() {
            return self.write();
        }
        self.model.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what training works on into the place of the model, or takes it back: the same exchange.
    pub fn exchange(&self, state: &mut State<'_, T>, may_change: bool) {
        let mut shared = self.write_in_fit();
        self.asked.store(false, Ordering::SeqCst);
        std::mem::swap(&mut shared.params, state.params);
        if let Some(optimizer) = &mut shared.optimizer {
            std::mem::swap(optimizer, state.optimizer);
        }
        std::mem::swap(&mut shared.running, state.running);
        std::mem::swap(&mut shared.progress, state.progress);
        shared.epochs = state.epochs;
        self.may_change.store(may_change, Ordering::SeqCst);
    }

    /// The model with the memory of its optimizer, unless that is away in a `fit`.
    pub fn read_unless_training(&self, what: &str) -> PyResult<RwLockReadGuard<'_, Model<T>>> {
        // Asked with the lock in hand, without which `fit` can't take the memory away.
        let model = self.look();
        if self.is_training() {
            return Err(PyRuntimeError::new_err(format!(
                "{what}: the model is training, and its optimizer is in use. Do it in a callback, or without the \
                 optimizer: save(..., optimizer=False) writes what was learnt so far"
            )));
        }
        Ok(model)
    }

    /// Whether training goes on in another thread, and not in a hook, which may change what it goes by.
    pub fn is_training(&self) -> bool {
        self.training.load(Ordering::SeqCst) && !self.may_change.load(Ordering::SeqCst)
    }

    /// The right to change the model, unless it is training.
    pub fn write_unless_training(&self, what: &str) -> PyResult<RwLockWriteGuard<'_, Model<T>>> {
        // Asked with the lock in hand: a `fit` that begins in between would have taken the weights.
        let model = self.write();
        if self.is_training() {
            return Err(PyRuntimeError::new_err(format!("{what}: the model is training; do it in a callback")));
        }
        Ok(model)
    }

    /// What `work` finds of the model on data; `calls` says that it calls functions of the user. Those may ask for
    /// anything, so they run on a copy, and the model is not locked.
    pub fn measure<R>(
        &self,
        data: &HeldData<'_>,
        calls: bool,
        work: impl FnOnce(&Model<T>, &dnn_core::Data<'_, T>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let model = self.read();
        if !calls && !function::is_called(model.spec.loss.as_ref()) {
            return data.with(&model.plan, |data| work(&model, data));
        }
        let copy = model.without_training()?;
        drop(model);
        data.with(&copy.plan, |data| work(&copy, data))
    }

    /// What a batch of all rows does to the model, without doing it.
    pub fn gradients(
        &self,
        py: Python<'_>,
        data: &HeldData<'_>,
        with_dx: bool,
        threads: usize,
    ) -> PyResult<Gradients<T>> {
        let signals = Signals::new();
        let found = detached(py, || {
            signals.watching(threads, |run| {
                self.measure(data, false, |model, data| dnn_core::gradients(model, data, with_dx, run))
            })
        })?;
        found.map_err(convert::error)
    }

    /// One step; on a copy where it calls functions of the user.
    pub fn train_on_batch(
        &self,
        data: &HeldData<'_>,
        how: StepSpec,
        metrics: &[Metric],
        run: Run<'_>,
    ) -> PyResult<(f64, Vec<f64>)> {
        let step = |model: &mut Model<T>| {
            let plan = model.plan.clone();
            let done = data.with(&plan, |data| dnn_core::train_on_batch(model, data, how, metrics, run));
            done.map_err(convert::error)
        };
        let mut model = self.write_unless_training("train_on_batch")?;
        if !function::any_called(metrics) && !function::is_called(model.spec.loss.as_ref()) {
            let done = step(&mut model)?;
            self.trainings.fetch_add(1, Ordering::SeqCst);
            return Ok(done);
        }
        let mut copy = model.duplicate().map_err(convert::error)?;
        // With the lock still in hand: what somebody changed in between would be lost.
        if self.training.swap(true, Ordering::SeqCst) {
            return Err(PyRuntimeError::new_err("train_on_batch: the model is training"));
        }
        let _until_the_end = Training(&self.training);
        drop(model);
        let done = step(&mut copy)?;
        *self.write() = copy;
        self.trainings.fetch_add(1, Ordering::SeqCst);
        Ok(done)
    }

    /// Trains the model. A panic leaves the weights as the last step that was begun has left them.
    pub fn fit(
        &self,
        data: &HeldData<'_>,
        validation: Option<&HeldData<'_>>,
        spec: &FitSpec,
        watch: &mut Watch<'_, T>,
    ) -> Result<History, Error> {
        let mut shared = self.write();
        // Functions of the user may ask the model for anything while it is in the middle of a step.
        let calls = function::any_called(&spec.metrics) || function::is_called(shared.spec.loss.as_ref());
        let is_copy = calls || shared.optimizer.as_ref().is_some_and(|optimizer| optimizer.pairs.is_some());
        self.taken_after.store(signals::forks(), Ordering::Relaxed);
        self.asked.store(false, Ordering::SeqCst);
        let batches = shared.running.batches;
        let mut out = HandedOut { model: shared.hand_out(is_copy)?, to: self, is_copy, batches, is_trained: false };
        drop(shared);
        let model = &mut out.model;
        let plan = model.plan.clone();
        let history = data.with(&plan, |data| match validation {
            None => dnn_core::fit(model, data, None, spec, watch),
            Some(validation) => {
                validation.with(&plan, |validation| dnn_core::fit(model, data, Some(validation), spec, watch))
            }
        })?;
        out.is_trained = true;
        Ok(history)
    }
}

/// A lock for the handler of a signal, which may have come in the middle of a call that holds it: that call goes on after
/// the handler only, so to wait for it would be for ever.
fn soon<G>(attempt: impl Fn() -> Option<G>) -> G {
    let since = Instant::now();
    loop {
        if let Some(guard) = attempt() {
            return guard;
        }
        give_up_late(since, signals::holder());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Unwinds after a second: who has the model may be waiting for this very call.
fn give_up_late(since: Instant, holder: &'static str) {
    if since.elapsed() > Duration::from_secs(1) {
        resume_unwind(Box::new(InUse(holder)));
    }
}

/// What `fit` works on. In the end it takes the place of the model where it was trained, else it gives back what it took.
struct HandedOut<'a, T: Typed> {
    model: Model<T>,
    to: &'a Shared<T>,
    is_copy: bool,
    /// That it had learned from before.
    batches: u64,
    is_trained: bool,
}

impl<T: Typed> Drop for HandedOut<'_, T> {
    fn drop(&mut self) {
        let mut shared = self.to.write_in_fit();
        // Whoever asked is served; later ones find the weights.
        self.to.asked.store(false, Ordering::SeqCst);
        // A panic may have come after some steps.
        let has_changed = self.is_trained || !self.is_copy && self.model.running.batches != self.batches;
        if self.is_trained {
            std::mem::swap(&mut *shared, &mut self.model);
        } else {
            shared.take_back(&mut self.model, self.is_copy);
        }
        if has_changed {
            self.to.trainings.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Clears the flag when `fit` ends, however it ends.
pub struct Training<'a>(pub &'a AtomicBool);

impl Drop for Training<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

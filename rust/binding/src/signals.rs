//! Ctrl-C in calls that train nothing: looked for between two pieces of work.
//!
//! In: the question of the core whether to go on. Out: an answer; what a signal handler raised waits in `function.rs`
//! until the call is over.

use crate::function;
use dnn_core::Run;
use pyo3::prelude::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Between two looks, which need the interpreter.
pub const LOOK: Duration = Duration::from_millis(10);

thread_local! {
    /// Whether this thread may be in the handler of a signal, called in the middle of a call that holds a model.
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

/// How many forks lie between this process and the first that has imported this.
static FORKS: AtomicU32 = AtomicU32::new(0);

pub fn in_handler() -> bool {
    IN_HANDLER.get()
}

pub fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// What a child process is told first.
pub fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Who may have the lock that was waited for.
pub fn holder() -> &'static str {
    if IN_HANDLER.get() {
        "the call that the signal has interrupted"
    } else {
        "a thread of the process that this one was forked from; fork while it is not in use, or load it here"
    }
}

/// Looks for signals, which reach the main thread only.
pub struct Signals {
    looked: Instant,
    /// Whether they reach this one, once that was asked: most calls are over before.
    is_main: Option<bool>,
}

impl Signals {
    pub fn new() -> Signals {
        Signals { looked: Instant::now(), is_main: None }
    }

    /// False once a handler has raised something.
    pub fn go_on(&mut self) -> bool {
        if self.is_main == Some(false) || self.looked.elapsed() < LOOK {
            return true;
        }
        self.looked = Instant::now();
        let look = |py: Python<'_>| {
            let is_main = self.is_main.map_or_else(|| is_main_thread(py), Ok)?;
            self.is_main = Some(is_main);
            if is_main { py.check_signals() } else { Ok(()) }
        };
        handled(look).map_err(function::raise).is_ok()
    }

    /// Calls `work`, which asks from time to time whether to go on with so many threads.
    pub fn watching<R>(mut self, threads: usize, work: impl FnOnce(Run<'_>) -> R) -> R {
        work(Run::new(threads, &mut || self.go_on()))
    }
}

/// Looks for signals, whose handlers may run, in the middle of a call that holds a model.
pub fn handled<R>(look: impl FnOnce(Python<'_>) -> R) -> R {
    // Any Python code may run a handler, that of `is_main_thread` included.
    let before = IN_HANDLER.replace(true);
    let found = Python::attach(look);
    // The handler may have looked itself, in a call of its own.
    IN_HANDLER.set(before);
    found
}

pub fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    Ok(threading.call_method0("current_thread")?.is(&threading.call_method0("main_thread")?))
}

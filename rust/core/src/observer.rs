//! Who looks on while a model learns: the only way up from this crate.

use crate::history::Epoch;
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::running::Running;
use dnn_kernels::Real;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Flow {
    Go,
    Stop,
}

/// What training changes, lent to the observer, who may change it too.
#[derive(Debug)]
pub struct State<'a, T: Real> {
    /// Weights and biases.
    pub params: &'a mut Params<T>,
    /// With its memory.
    pub optimizer: &'a mut Optimizer<T>,
    /// What is gathered beside them.
    pub running: &'a mut Running,
    /// Epochs begun in the life of the model.
    pub epochs: u64,
    /// Where a `fit` that goes on would begin.
    pub progress: &'a mut Progress<T>,
}

/// Who looks on. It has the clock.
pub trait Observer<T: Real> {
    /// Since the start of `fit`.
    fn seconds(&mut self) -> f64;
    /// Whether the user has asked to stop; called every millisecond or so.
    fn interrupted(&mut self) -> bool;
    /// What was learnt so far, for others who may want to see it: of a finished step; called as often.
    fn show(&mut self, _params: &Params<T>, _running: &Running) {}
    /// Writes the rates of the coming steps, which are counted over the life of the optimizer.
    fn rates(&mut self, first_step: u64, rates: &mut [f64], state: State<T>) -> Flow;
    /// Whether the last stop came of something that went wrong; then the weights stay those of the last step.
    fn failed(&self) -> bool {
        false
    }
    /// Writes the numbers of the rows of an epoch, where the spec wants them from here. It finds the last ones.
    fn order(&mut self, _epoch: usize, _order: &mut [u32], _state: State<T>) -> Flow {
        Flow::Go
    }
    /// Before an epoch.
    fn epoch_begin(&mut self, epoch: usize, state: State<T>) -> Flow;
    /// After an epoch; `last` when training ends with it.
    fn epoch_end(&mut self, epoch: &Epoch, last: bool, state: State<T>) -> Flow;
    /// Whether it is told of every epoch, when that is over; asked before each. Otherwise it may be told of the last of several.
    fn watches_epochs(&self) -> bool {
        true
    }
    /// Whether it is told of the steps of an epoch; asked at its beginning.
    fn watches_steps(&self) -> bool {
        true
    }
    /// Before a step.
    fn batch_begin(&mut self, batch: usize, state: State<T>) -> Flow;
    /// After a step.
    fn batch_end(&mut self, batch: usize, loss: f64, state: State<T>) -> Flow;
}

/// Multiply-adds between two questions to [`Observer::interrupted`]: below a millisecond on the sets with vectors.
pub const WORK_PER_QUESTION: usize = 8 << 20;

/// Counts the work between two questions to [`Observer::interrupted`].
#[derive(Debug, Default)]
pub struct Questions {
    work: usize,
}

impl Questions {
    /// Whether to go on with so many rows, which go through together. `learnt` is what may be shown.
    pub fn go_on<T: Real>(
        &mut self,
        plan: &Plan,
        rows: usize,
        learnt: Option<(&Params<T>, &Running)>,
        observer: &mut dyn Observer<T>,
    ) -> bool {
        self.go_on_after(plan.work(rows), learnt, observer)
    }

    /// The same with so many multiply-adds.
    pub fn go_on_after<T: Real>(
        &mut self,
        work: usize,
        learnt: Option<(&Params<T>, &Running)>,
        observer: &mut dyn Observer<T>,
    ) -> bool {
        self.work = self.work.saturating_add(work);
        self.work < WORK_PER_QUESTION || {
            self.work = 0;
            if let Some((params, running)) = learnt {
                observer.show(params, running);
            }
            !observer.interrupted()
        }
    }
}

//! A model: a plan, its parameters, what is gathered beside them, and the memory of its optimizer.

use crate::error::Error;
use crate::init::initialize;
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::running::Running;
use dnn_kernels::Real;
use dnn_spec::{Function, LossSpec, OptimizerSpec, Spec};

/// What [`Model::compile`] sets.
#[derive(Debug)]
pub struct Compiled<T: Real> {
    spec: Spec,
    plan: Plan,
    optimizer: Option<Optimizer<T>>,
    progress: Progress<T>,
}

/// Everything that training changes, and what it needs to know.
#[derive(Debug)]
pub struct Model<T: Real> {
    /// What was asked for.
    pub spec: Spec,
    /// The same, checked.
    pub plan: Plan,
    /// Weights and biases.
    pub params: Params<T>,
    /// What is gathered beside them while it learns.
    pub running: Running,
    /// There once `compile` was called.
    pub optimizer: Option<Optimizer<T>>,
    /// Epochs begun in the life of the model: each has an order of the rows of its own.
    pub epochs: u64,
    /// Where a `fit` that goes on would begin.
    pub progress: Progress<T>,
}

impl<T: Real> Model<T> {
    /// A model with its first weights.
    ///
    /// # Errors
    /// As [`Plan::new`]; [`Error::Memory`].
    pub fn new(spec: Spec, n_inputs: usize) -> Result<Model<T>, Error> {
        let plan = Plan::new::<T>(&spec, n_inputs)?;
        let params = initialize(&plan)?;
        let (running, progress) = (Running::new(), Progress::default());
        Ok(Model { spec, plan, params, running, optimizer: None, epochs: 0, progress })
    }

    /// Sets the loss and a new optimizer, and gives back what was there; the weights stay.
    ///
    /// # Errors
    /// Where the loss does not fit the output, or a constant is out of range; the model is then as it was.
    pub fn compile(&mut self, loss: LossSpec, optimizer: OptimizerSpec) -> Result<Compiled<T>, Error> {
        let spec = Spec { loss: Some(loss), ..self.spec.clone() };
        let plan = Plan::new::<T>(&spec, self.plan.n_inputs)?;
        let optimizer = Some(Optimizer::new(optimizer, &plan)?);
        let mut compiled = Compiled { spec, plan, optimizer, progress: Progress::default() };
        self.exchange(&mut compiled);
        Ok(compiled)
    }

    /// Exchanges what [`Model::compile`] sets for what it gave back once.
    pub fn exchange(&mut self, compiled: &mut Compiled<T>) {
        std::mem::swap(&mut self.spec, &mut compiled.spec);
        std::mem::swap(&mut self.plan, &mut compiled.plan);
        std::mem::swap(&mut self.optimizer, &mut compiled.optimizer);
        std::mem::swap(&mut self.progress, &mut compiled.progress);
        // What came back may be of other weights.
        self.progress.reach.forget();
    }

    /// Puts the function that is its loss in its place again, which a file does not have.
    pub fn lend(&mut self, given: Function) {
        if let Some(loss) = &mut self.plan.loss {
            loss.lend(given.clone());
        }
        if let Some(LossSpec::Called { function }) = &mut self.spec.loss {
            *function = given;
        }
    }

    /// The same model once more, without what only training needs.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn without_training(&self) -> Result<Model<T>, Error> {
        let (spec, plan, params) = (self.spec.clone(), self.plan.clone(), self.params.duplicate()?);
        let (running, progress) = (self.running.duplicate()?, Progress::default());
        Ok(Model { spec, plan, params, running, optimizer: None, epochs: 0, progress })
    }

    /// What `fit` works on: the weights, the memory of the optimizer and the progress leave the model. With `is_copy` the
    /// weights stay, to be read, and a copy of them goes.
    ///
    /// # Errors
    /// [`Error::Memory`]; nothing has changed then.
    pub fn hand_out(&mut self, is_copy: bool) -> Result<Model<T>, Error> {
        let running = self.running.duplicate()?;
        let params =
            if is_copy { self.params.duplicate()? } else { std::mem::replace(&mut self.params, Params::empty()) };
        let (spec, plan, progress) = (self.spec.clone(), self.plan.clone(), self.progress.hand_out());
        let optimizer = self.optimizer.as_mut().map(Optimizer::hand_out);
        Ok(Model { spec, plan, params, running, optimizer, epochs: self.epochs, progress })
    }

    /// Whether the weights are here, and not with a `fit`.
    pub fn has_weights(&self) -> bool {
        self.params.len() == self.plan.len
    }

    /// Takes what a `fit` has learnt so far, to be read meanwhile.
    ///
    /// # Errors
    /// [`Error::Memory`]; nothing has changed then.
    pub fn show(&mut self, params: &Params<T>, running: &Running) -> Result<(), Error> {
        self.running = running.duplicate()?;
        self.params = params.duplicate()?;
        Ok(())
    }

    /// Forgets what it was shown.
    pub fn hide(&mut self) {
        self.params = Params::empty();
    }

    /// Takes back what [`Model::hand_out`] took along, but for weights that are a copy.
    pub fn take_back(&mut self, out: &mut Model<T>, is_copy: bool) {
        if !is_copy {
            std::mem::swap(&mut self.params, &mut out.params);
            std::mem::swap(&mut self.running, &mut out.running);
        }
        std::mem::swap(&mut self.optimizer, &mut out.optimizer);
        std::mem::swap(&mut self.progress, &mut out.progress);
        // The weights may be those before a step that it knows of.
        self.progress.reach.forget();
    }

    /// The same model once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Model<T>, Error> {
        let optimizer = self.optimizer.as_ref().map(Optimizer::duplicate).transpose()?;
        let (spec, plan, params) = (self.spec.clone(), self.plan.clone(), self.params.duplicate()?);
        let (running, progress) = (self.running.duplicate()?, self.progress.duplicate()?);
        Ok(Model { spec, plan, params, running, optimizer, epochs: self.epochs, progress })
    }
}

//! Networks, data and an observer to try things on. Networks are written in the wire form, as they come from Python.

use dnn_core::{
    BatchSize, Clip, Data, Epoch, FitSpec, Flow, Given, LossSpec, Model, Objective, Observer, OptimizerSpec, Plan,
    Real, Rows, Spec, State, StepSpec,
};
use ndarray::Array2;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// There is one pool of threads: who wants several must not find it taken by another test.
pub fn pool() -> MutexGuard<'static, ()> {
    static POOL: Mutex<()> = Mutex::new(());
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A layer with the usual settings.
pub fn layer(units: usize, activation: &str) -> Value {
    let activation = match activation {
        "leaky_relu" => json!({"name": "leaky_relu", "slope": 0.01}),
        "elu" => json!({"name": "elu", "alpha": 1.0}),
        name => json!({ "name": name }),
    };
    json!({
        "kind": "dense", "units": units, "activation": activation, "use_bias": true,
        "weight_initializer": {"name": "glorot_uniform"}, "bias_initializer": {"name": "zeros"},
        "l1": 0.0, "l2": 0.0, "trainable": true, "trainable_bias": true,
    })
}

/// A layer with one setting changed.
pub fn with(mut layer: Value, key: &str, value: impl Into<Value>) -> Value {
    layer[key] = value.into();
    layer
}

pub fn spec<T: Real>(layers: Vec<Value>) -> Spec {
    let wire = json!({
        "dtype": T::NAME, "precision": "strict", "isa": null, "seed": 7, "layers": layers, "loss": null,
    });
    serde_json::from_str(&wire.to_string()).expect("the wire form of a network")
}

pub fn loss(name: &str) -> LossSpec {
    let wire = if name == "huber" { json!({"name": name, "delta": 0.5}) } else { json!({ "name": name }) };
    serde_json::from_value(wire).expect("the wire form of a loss")
}

pub fn sgd(momentum: f64) -> OptimizerSpec {
    let wire = json!({"name": "sgd", "momentum": momentum, "nesterov": false, "dampened": false});
    serde_json::from_value(wire).expect("the wire form of sgd")
}

pub fn adam(amsgrad: bool) -> OptimizerSpec {
    let wire = json!({
        "name": "adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "amsgrad": amsgrad, "epsilon_hat": false,
    });
    serde_json::from_value(wire).expect("the wire form of adam")
}

pub fn lbfgs(m: usize, gtol: f64, ftol: f64) -> OptimizerSpec {
    let wire = json!({"name": "lbfgs", "m": m, "max_fun": 15000, "gtol": gtol, "ftol": ftol});
    serde_json::from_value(wire).expect("the wire form of lbfgs")
}

/// Every optimizer, with each of its memories at least once.
pub fn optimizers() -> Vec<OptimizerSpec> {
    let moments = json!({"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8});
    let with = |name: &str, more: Value| {
        let mut wire = json!({ "name": name });
        let parts = if name == "lion" { json!({"beta_1": 0.9, "beta_2": 0.99}) } else { moments.clone() };
        let parts = if ["rmsprop", "adagrad", "adadelta", "rprop", "muon"].contains(&name) { json!({}) } else { parts };
        for part in [parts, more] {
            wire.as_object_mut().expect("an object").extend(part.as_object().expect("an object").clone());
        }
        serde_json::from_value(wire).expect("the wire form of an optimizer")
    };
    let adamw = |amsgrad, decay_bias| {
        let more = json!({"amsgrad": amsgrad, "epsilon_hat": false, "weight_decay": 0.01, "decay_bias": decay_bias});
        with("adamw", more)
    };
    let rmsprop = |momentum: f64, centered, inside| {
        let more = json!({"rho": 0.9, "momentum": momentum, "centered": centered, "epsilon": 1e-6,
                          "epsilon_inside": inside});
        with("rmsprop", more)
    };
    let muon = json!({
        "momentum": 0.9, "nesterov": true, "weight_decay": 0.01, "ns_coefficients": [3.4445, -4.775, 2.0315],
        "ns_steps": 5, "epsilon": 1e-7, "adjust_rate": "original", "beta_1": 0.9, "beta_2": 0.99,
        "adam_epsilon": 1e-8,
    });
    let decay = json!({"weight_decay": 0.01, "decay_bias": false});
    vec![
        sgd(0.0),
        sgd(0.9),
        adam(false),
        adam(true),
        adamw(false, false),
        adamw(true, true),
        rmsprop(0.0, false, false),
        rmsprop(0.5, true, true),
        with("adagrad", json!({"epsilon": 1e-10, "initial_accumulator": 0.1})),
        with("adadelta", json!({"rho": 0.9, "epsilon": 1e-6})),
        with("adamax", json!({})),
        with("nadam", json!({"momentum_decay": 0.004})),
        with("lion", decay.clone()),
        with("lamb", decay),
        with("radam", json!({})),
        with("rprop", json!({"etas": [0.5, 1.2], "step_sizes": [1e-6, 50.0]})),
        with("muon", muon),
    ]
}

/// A model that can be trained.
pub fn model<T: Real>(n_inputs: usize, layers: Vec<Value>, loss_name: &str, optimizer: OptimizerSpec) -> Model<T> {
    let mut model = Model::new(spec::<T>(layers), n_inputs).expect("a network that fits");
    model.compile(loss(loss_name), optimizer).expect("a loss that fits");
    model
}

/// One call of `fit` with a rate and nothing special.
pub fn fit_spec(batch_size: usize, epochs: usize, rate: f64) -> FitSpec {
    FitSpec {
        batch_size: BatchSize::Rows(batch_size),
        epochs,
        initial_epoch: 0,
        shuffle: true,
        tol: None,
        n_iter_no_change: 10,
        stop_at_loss: None,
        max_time: None,
        patience: None,
        min_delta: 0.0,
        restore_best: false,
        metrics: vec![],
        n_threads: 1,
        accumulate: 1,
        clip: Clip::default(),
        learning_rate: Some(rate),
        tol_inclusive: false,
        order_rows: None,
        objective: Objective::default(),
        averaging: None,
        watched: None,
        baseline: None,
    }
}

/// A single step with a rate and nothing special.
pub fn step_spec(rate: f64) -> StepSpec {
    StepSpec { learning_rate: rate, clip: Clip::default() }
}

/// Numbers, the same in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    /// From 0 to 1.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as f64 / (1u64 << 32) as f64
    }
    /// From `low` up to `high`, that one included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.unit() * (high - low + 1) as f64) as usize
    }
    pub fn pick<A: Copy>(&mut self, from: &[A]) -> A {
        from[self.between(0, from.len() - 1)]
    }
}

pub fn table<T: Real>(rows: usize, columns: usize, mut at: impl FnMut(usize, usize) -> f64) -> Rows<T> {
    let mut table = Rows::zeroed(rows, columns).expect("small enough");
    let block = Array2::from_shape_fn((rows, columns), |(i, j)| T::from_f64(at(i, j)));
    table.fill(0, block.view()).expect("a block of the same shape");
    table
}

/// Inputs between -1 and 1.
pub fn inputs<T: Real>(rows: usize, columns: usize, seed: u64) -> Rows<T> {
    let mut random = Random::new(seed);
    table(rows, columns, |_, _| 2.0 * random.unit() - 1.0)
}

/// Inputs with something to learn from them: smooth values, or classes.
pub struct Task<T: Real> {
    pub x: Rows<T>,
    pub y: Rows<T>,
    /// Taken in place of `y` where there are some.
    pub labels: Vec<i64>,
    pub weights: Option<Vec<f64>>,
}

impl<T: Real> Task<T> {
    pub fn regression(rows: usize, n_in: usize, n_out: usize) -> Self {
        let x = inputs::<T>(rows, n_in, rows as u64);
        let sum = |i: usize| x.row(i).iter().map(|x| x.to_f64()).sum::<f64>() / (n_in as f64).sqrt();
        let y = table(rows, n_out, |i, j| (2.0 * sum(i) + j as f64).sin());
        Task { x, y, labels: vec![], weights: None }
    }
    /// Targets that suit a loss.
    pub fn for_loss(name: &str, rows: usize, n_in: usize, n_out: usize) -> Self {
        let mut task = Self::regression(rows, n_in, n_out);
        let of = |map: fn(f64) -> f64| table(rows, n_out, |i, j| map(task.y.row(i)[j].to_f64()));
        match name {
            "cross_entropy" => {
                let class = |i: usize| (task.y.row(i)[0].to_f64().abs() * n_out as f64) as i64;
                task.labels = (0..rows).map(|i| class(i).min(n_out as i64 - 1)).collect();
            }
            "binary_cross_entropy" => task.y = of(|y| f64::from(u8::from(y > 0.0))),
            "hinge" | "squared_hinge" => task.y = of(|y| if y > 0.0 { 1.0 } else { -1.0 }),
            _ => {}
        }
        task
    }
    pub fn data(&self, plan: &Plan) -> Data<'_, T> {
        let y = if self.labels.is_empty() { Given::Table(&self.y) } else { Given::Labels(&self.labels) };
        Data::new(plan, &self.x, y, self.weights.as_deref()).expect("data that fits")
    }
}

/// Looks on and writes down; stops and interrupts where it is told to. Its clock ticks a second at every look.
#[derive(Default)]
pub struct Watcher<T> {
    /// The calls, as "batch_end 3".
    pub calls: Vec<String>,
    /// The call to answer with a stop.
    pub stop_at: &'static str,
    /// The question, counted from 1, to answer with an interruption; 0 for none.
    pub interrupt_at: usize,
    /// Whether it wants to know nothing of steps, nor of each epoch.
    pub looks_away: bool,
    /// The rate of every step, where it is asked for.
    pub rate: f64,
    pub questions: usize,
    pub clock: f64,
    /// The parameters when the last step began.
    pub before: Vec<T>,
    /// The parameters when the last step ended.
    pub after: Vec<T>,
    pub last: Vec<bool>,
}

impl<T: Real> Watcher<T> {
    pub fn new() -> Self {
        Watcher { rate: 0.1, ..Self::default() }
    }
    fn called(&mut self, call: String) -> Flow {
        let flow = if call == self.stop_at { Flow::Stop } else { Flow::Go };
        self.calls.push(call);
        flow
    }
}

impl<T: Real> Observer<T> for Watcher<T> {
    fn seconds(&mut self) -> f64 {
        self.clock += 1.0;
        self.clock
    }
    fn interrupted(&mut self) -> bool {
        self.questions += 1;
        self.questions == self.interrupt_at
    }
    fn rates(&mut self, first_step: u64, rates: &mut [f64], _: State<T>) -> Flow {
        rates.fill(self.rate);
        self.called(format!("rates {first_step}"))
    }
    fn epoch_begin(&mut self, epoch: usize, _: State<T>) -> Flow {
        self.called(format!("epoch_begin {epoch}"))
    }
    fn epoch_end(&mut self, epoch: &Epoch, last: bool, _: State<T>) -> Flow {
        self.last.push(last);
        self.called(format!("epoch_end {}", epoch.epoch))
    }
    fn watches_epochs(&self) -> bool {
        !self.looks_away
    }
    fn watches_steps(&self) -> bool {
        !self.looks_away
    }
    fn batch_begin(&mut self, batch: usize, state: State<T>) -> Flow {
        assert!(!self.looks_away, "it is not told of steps");
        self.before = state.params.to_vec();
        self.called(format!("batch_begin {batch}"))
    }
    fn batch_end(&mut self, batch: usize, _: f64, state: State<T>) -> Flow {
        self.after = state.params.to_vec();
        self.called(format!("batch_end {batch}"))
    }
}

/// To compare bit for bit, -0 and 0 being different.
pub fn bits<T: Real>(numbers: &[T]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

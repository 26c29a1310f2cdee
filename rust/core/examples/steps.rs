//! Microseconds of a training step, without Python:
//! `cargo run --release --example steps -p dnn-core -- NAME [THREADS] [sgd | adam] [PRECISION]`.
//!
//! The networks of `benchmarks/workloads.py`, on numbers of no meaning, or any other: `steps 256-256-10x512 2` has 256
//! inputs, a hidden layer, 10 classes, batches of 512, and Adam unless it is told otherwise. For profilers; to compare with
//! others there is `python -m benchmarks`.
#![expect(clippy::print_stdout, reason = "it reports")]

use dnn_core::{
    BatchSize, Data, Epoch, FitSpec, Flow, Given, LossSpec, Model, Observer, OptimizerSpec, Rows, Spec, State,
};
use ndarray::Array2;
use serde_json::json;
use std::time::Instant;

/// Name, widths, hidden activation, loss, optimizer, batch, rows, epochs.
type Workload = (&'static str, &'static [usize], &'static str, &'static str, &'static str, usize, usize, usize);

const WORKLOADS: [Workload; 8] = [
    ("xor-full", &[2, 4, 1], "sigmoid", "mse", "sgd", 4, 4, 5000),
    ("iris", &[4, 16, 16, 3], "tanh", "cross_entropy", "sgd", 16, 150, 200),
    ("digits", &[64, 128, 64, 10], "relu", "cross_entropy", "adam", 32, 1797, 20),
    ("deep-narrow", &[32, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 1], "relu", "mse", "adam", 128, 20000, 3),
    ("tabular", &[20, 256, 256, 1], "relu", "mse", "adam", 256, 50000, 3),
    ("mnist-small", &[784, 30, 10], "sigmoid", "cross_entropy", "sgd", 10, 50000, 1),
    ("mnist-mlp", &[784, 512, 512, 10], "relu", "cross_entropy", "adam", 128, 20000, 1),
    ("wide", &[1024, 4096, 4096, 1000], "relu", "cross_entropy", "sgd", 512, 4096, 1),
];

/// Sees nothing, asks nothing.
struct Blind(Instant);

impl Observer<f32> for Blind {
    fn seconds(&mut self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
    fn interrupted(&mut self) -> bool {
        false
    }
    fn rates(&mut self, _: u64, _: &mut [f64], _: State<f32>) -> Flow {
        Flow::Go
    }
    fn epoch_begin(&mut self, _: usize, _: State<f32>) -> Flow {
        Flow::Go
    }
    fn epoch_end(&mut self, _: &Epoch, _: bool, _: State<f32>) -> Flow {
        Flow::Go
    }
    fn watches_epochs(&self) -> bool {
        false
    }
    fn watches_steps(&self) -> bool {
        false
    }
    fn batch_begin(&mut self, _: usize, _: State<f32>) -> Flow {
        Flow::Go
    }
    fn batch_end(&mut self, _: usize, _: f64, _: State<f32>) -> Flow {
        Flow::Go
    }
}

/// Numbers between -1 and 1 that look like noise.
fn noise(rows: usize, columns: usize) -> Array2<f32> {
    let mut state = 1u64;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

/// The network that `256-256-10x512` stands for: relu, cross entropy, as in `benchmarks/sweep.py`.
fn custom(text: &'static str, optimizer: &'static str) -> Option<Workload> {
    let (widths, batch) = text.split_once('x')?;
    let widths = widths.split('-').map(|n| n.parse().ok()).collect::<Option<Vec<usize>>>()?;
    let batch: usize = batch.parse().ok()?;
    let loss = if widths.last() == Some(&1) { "mse" } else { "cross_entropy" };
    let multiply_adds: usize = widths.windows(2).map(|pair| pair[0] * pair[1]).sum();
    // About a second; the update takes as long as some 16 rows.
    let steps = (10_000_000_000 / (multiply_adds * (batch + 16))).clamp(10, 100_000);
    let of_an_epoch = steps.min((1 << 23) / (batch * widths[0])).clamp(1, 64);
    Some((text, widths.leak(), "relu", loss, optimizer, batch, batch * of_an_epoch, steps / of_an_epoch))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or("all".into());
    let threads: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let optimizer = if arguments.next().as_deref() == Some("sgd") { "sgd" } else { "adam" };
    let precision = arguments.next().unwrap_or("highest".into());
    let given = custom(wanted.clone().leak(), optimizer);
    for (name, widths, hidden, loss, optimizer, batch, rows, epochs) in WORKLOADS.into_iter().chain(given) {
        if wanted != name && wanted != "all" {
            continue;
        }
        let last = if loss == "mse" { "identity" } else { "softmax" };
        let layers: Vec<_> = (1..widths.len())
            .map(|i| {
                let activation = if i + 1 == widths.len() { last } else { hidden };
                json!({
                    "kind": "dense", "units": widths[i], "activation": {"name": activation}, "use_bias": true,
                    "weight_initializer": {"name": "he_normal"}, "bias_initializer": {"name": "zeros"},
                    "l1": 0.0, "l2": 0.0, "trainable": true, "trainable_bias": true,
                })
            })
            .collect();
        let spec: Spec = serde_json::from_value(json!({
            "dtype": "float32", "precision": precision, "isa": null, "seed": 7, "layers": layers, "loss": null,
        }))?;
        let loss: LossSpec = serde_json::from_value(match loss {
            "cross_entropy" => json!({"name": loss, "label_smoothing": 0.0}),
            _ => json!({"name": loss}),
        })?;
        let (rate, rule): (f64, OptimizerSpec) = match optimizer {
            "sgd" => (
                1e-3,
                serde_json::from_value(json!({"name": "sgd", "momentum": 0.0, "nesterov": false, "dampened": false}))?,
            ),
            _ => (
                1e-3,
                serde_json::from_value(json!({
                    "name": "adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "amsgrad": false,
                    "epsilon_hat": false,
                }))?,
            ),
        };
        let (n_in, n_out) = (widths[0], widths[widths.len() - 1]);
        let mut x = Rows::zeroed(rows, n_in)?;
        x.fill(0, noise(rows, n_in).view())?;
        let mut table = Rows::zeroed(rows, n_out)?;
        table.fill(0, noise(rows, n_out).view())?;
        let labels: Vec<i64> = (0..rows).map(|i| (i * 7 % n_out) as i64).collect();
        let y = if last == "softmax" { Given::Labels(&labels) } else { Given::Table(&table) };
        let fit = FitSpec {
            batch_size: BatchSize::Rows(batch),
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
            n_threads: threads,
            accumulate: 1,
            clip: dnn_core::Clip::default(),
            tol_inclusive: false,
            objective: dnn_core::Objective::default(),
            learning_rate: Some(rate),
            order_rows: None,
            averaging: None,
            watched: None,
            baseline: None,
        };
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let mut model = Model::new(spec.clone(), n_in)?;
            model.compile(loss.clone(), rule)?;
            let data = Data::new(&model.plan, &x, y, None)?;
            let start = Instant::now();
            let history = dnn_core::fit(&mut model, &data, None, &fit, &mut Blind(start))?;
            best = best.min(start.elapsed().as_secs_f64() / history.steps as f64);
        }
        println!("{name}: {:.3} us a step on {threads} threads", best * 1e6);
    }
    Ok(())
}

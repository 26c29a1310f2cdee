//! Steps that nobody watches, of small networks and of wide ones at few rows: the numbers are those of steps that are looked at one by one.

use crate::network::{Task, Watcher, bits, fit_spec, layer, model, optimizers, table, with};
use dnn_core::{
    Averaging, Clip, Epochs, FitSpec, Measure, Metric, Model, Objective, OptimizerSpec, Real, Stopped, fit,
};
use serde_json::{Value, json};

/// What a training came to: everything that is left of it.
#[derive(Debug, PartialEq)]
struct Came {
    params: Vec<u64>,
    memories: [Vec<u64>; 3],
    steps: u64,
    steps_of_fit: usize,
    batches: u64,
    epochs: Epochs,
    stopped: Stopped,
    message: String,
}

fn came<T: Real>(mut model: Model<T>, task: &Task<T>, spec: &FitSpec, looks_away: bool) -> Came {
    let data = task.data(&model.plan);
    let mut watcher = Watcher { looks_away, ..Watcher::new() };
    let history = fit(&mut model, &data, None, spec, &mut watcher).expect("it trains");
    let seconds = &history.epochs.seconds;
    assert!(seconds.windows(2).all(|pair| 0.0 < pair[0] && pair[0] < pair[1]), "the clock goes on: {seconds:?}");
    // The observer is told of the last epoch, if it was finished, and of nothing behind it.
    let told = watcher.calls.iter().filter_map(|call| call.strip_prefix("epoch_end ")).next_back();
    assert_eq!(told.map(str::to_owned), history.epochs.last().map(|epoch| epoch.epoch.to_string()));
    let optimizer = model.optimizer.as_ref().expect("it is compiled");
    let memory = |memory: &Option<dnn_core::Params<T>>| memory.as_ref().map_or(vec![], |numbers| bits(numbers));
    Came {
        params: bits(&model.params),
        memories: [memory(&optimizer.first), memory(&optimizer.second), memory(&optimizer.largest)],
        steps: optimizer.steps,
        steps_of_fit: history.steps,
        batches: model.running.batches,
        epochs: Epochs { seconds: vec![], ..history.epochs },
        stopped: history.stopped,
        message: history.message,
    }
}

fn same<T: Real>(layers: &[Value], loss: &str, optimizer: OptimizerSpec, task: &Task<T>, spec: &FitSpec) {
    same_of(5, layers, loss, optimizer, task, spec);
}

/// The same of a network with so many inputs.
fn same_of<T: Real>(
    n_in: usize,
    layers: &[Value],
    loss: &str,
    optimizer: OptimizerSpec,
    task: &Task<T>,
    spec: &FitSpec,
) {
    let new = || model::<T>(n_in, layers.to_vec(), loss, optimizer);
    let [seen, unseen] = [false, true].map(|looks_away| came(new(), task, spec, looks_away));
    assert_eq!(seen, unseen, "{optimizer:?} {spec:?}");
    assert_ne!(seen.params, bits(&new().params), "it learns");
}

fn whatever_is_asked_for<T: Real>() {
    let regression = vec![layer(7, "tanh"), with(layer(20, "silu"), "use_bias", false), layer(2, "sigmoid")];
    let classes = vec![with(layer(9, "relu"), "trainable", false), layer(3, "softmax")];
    let (numbers, labels) = (Task::<T>::for_loss("mse", 23, 5, 2), Task::<T>::for_loss("cross_entropy", 23, 5, 3));
    for optimizer in optimizers() {
        // 23 rows in batches of these: the last one has fewer.
        for rows in [1, 3, 16, 23] {
            let spec = fit_spec(rows, 3, 0.01);
            same(&regression, "mse", optimizer, &numbers, &spec);
            same(&classes, "cross_entropy", optimizer, &labels, &spec);
        }
    }
    // Few rows of a network too wide for vectors of rows alone, whose last batch has fewer, with an output of many inputs.
    let few = vec![layer(100, "silu"), layer(3, "tanh"), layer(40, "relu"), layer(1, "identity")];
    for (rows, optimizer) in [(2, 0), (3, 1), (4, 0), (4, 2)] {
        same(&few, "mse", optimizers()[optimizer], &Task::<T>::regression(23, 5, 1), &fit_spec(rows, 3, 0.01));
    }
    // The gradient of a single row is never written where that descends; the norm of the last one is measured all the same.
    let wide = vec![
        with(layer(150, "relu"), "max_norm", 0.7),
        layer(40, "tanh"),
        with(layer(4, "identity"), "trainable", false),
    ];
    let wide = [wide, vec![layer(1, "identity")]].concat();
    for (momentum, nesterov, dampened) in
        [(0.0, false, false), (0.9, false, false), (0.9, true, false), (0.9, false, true)]
    {
        let optimizer = OptimizerSpec::Sgd { momentum, nesterov, dampened };
        same(&wide, "mse", optimizer, &Task::<T>::regression(23, 5, 1), &fit_spec(1, 3, 0.01));
    }
    // Rows that weigh more than others, and nothing: batches of those alone teach nothing.
    let mut weighed = Task::<T>::for_loss("cross_entropy", 23, 5, 3);
    weighed.weights = Some((0..23).map(|i| f64::from(i % 4)).collect());
    for (rows, optimizer) in [(1, 0), (1, 2), (3, 0), (23, 2)] {
        same(&classes, "cross_entropy", optimizers()[optimizer], &weighed, &fit_spec(rows, 3, 0.01));
    }
    let clip = Clip { norm: Some(0.01), value: Some(0.005) };
    let metrics =
        [("mae", Measure::Mae), ("r2", Measure::R2)].map(|(key, measure)| Metric { key: key.to_owned(), measure });
    let metrics = metrics.to_vec();
    let objective = Objective { mean_by_rows: true, ..Objective::default() };
    for rows in [1, 10] {
        let spec = fit_spec(rows, 4, 0.05);
        for spec in [
            FitSpec { accumulate: 3, ..spec.clone() },
            FitSpec { clip, ..spec.clone() },
            FitSpec { objective, ..spec.clone() },
            FitSpec { metrics: metrics.clone(), ..spec.clone() },
            FitSpec { averaging: Some(Averaging::Ema { decay: 0.9 }), ..spec.clone() },
            FitSpec { tol: Some(0.0), n_iter_no_change: 1, ..spec.clone() },
            FitSpec { shuffle: false, learning_rate: None, ..spec.clone() },
        ] {
            same(&regression, "mse", optimizers()[2], &numbers, &spec);
        }
    }
}

/// More rows than go to a call, each with a step of its own.
fn rows_in_turn<T: Real>() {
    let layers = vec![layer(7, "tanh"), layer(2, "identity")];
    let task = Task::<T>::for_loss("mse", 150, 5, 2);
    let weighed = |weight: &dyn Fn(usize) -> f64| {
        let mut task = Task::<T>::for_loss("mse", 150, 5, 2);
        task.weights = Some((0..150).map(weight).collect());
        task
    };
    for optimizer in [optimizers()[0], optimizers()[2]] {
        let spec = fit_spec(1, 3, 0.01);
        same(&layers, "mse", optimizer, &task, &spec);
        same(
            &layers,
            "mse",
            optimizer,
            &task,
            &FitSpec { averaging: Some(Averaging::Ema { decay: 0.9 }), ..spec.clone() },
        );
        // Rows that weigh more than others, and the first of them nothing, with columns that are longer than they may be.
        let short: Vec<_> = layers.iter().map(|layer| with(layer.clone(), "max_norm", 0.1)).collect();
        let in_order = FitSpec { shuffle: false, ..spec.clone() };
        for layers in [&layers, &short] {
            same(layers, "mse", optimizer, &weighed(&|i| (i / 3 % 4) as f64), &in_order);
        }
        // A loss that is a number, and is none by its weight; gradients that are numbers, and their squares are not; both
        // within a call.
        let mut heavy = weighed(&|i| if i == 70 { f64::MAX / 1e4 } else { 1.0 });
        heavy.y = table(150, 2, |i, j| if i == 70 { 1e3 } else { task.y.row(i)[j].to_f64() });
        same(&layers, "mse", optimizer, &heavy, &in_order);
        let x = table::<T>(150, 5, |i, j| if i == 70 { T::LARGEST.sqrt() } else { task.x.row(i)[j].to_f64() });
        same(&layers, "mse", optimizer, &Task { x, ..Task::for_loss("mse", 150, 5, 2) }, &in_order);
        let y = table::<T>(150, 2, |i, j| if i == 70 { T::LARGEST.sqrt() } else { task.y.row(i)[j].to_f64() });
        same(&layers, "mse", optimizer, &Task { y, ..Task::for_loss("mse", 150, 5, 2) }, &in_order);
        // The number of a step stays the largest there is.
        let new = || {
            let mut model = model::<T>(5, layers.clone(), "mse", optimizer);
            model.optimizer.as_mut().expect("it is compiled").steps = u64::MAX - 3;
            model
        };
        let [seen, unseen] = [false, true].map(|looks_away| came(new(), &task, &spec, looks_away));
        assert_eq!(seen, unseen, "{optimizer:?}");
    }
}

#[test]
fn rows_that_go_to_a_call_together_have_the_bits_of_single_steps() {
    rows_in_turn::<f32>();
    rows_in_turn::<f64>();
}

/// More batches than go to a call, and more epochs of a single one.
fn batches_in_turn<T: Real>() {
    let layers = vec![layer(7, "tanh"), layer(20, "relu"), layer(2, "identity")];
    let task = |rows: usize| Task::<T>::for_loss("mse", rows, 5, 2);
    let mean_by_rows = Objective { mean_by_rows: true, ..Objective::default() };
    for optimizer in [optimizers()[0], optimizers()[1], optimizers()[2]] {
        for (rows, batch, epochs) in
            [(150, 4, 2), (150, 16, 3), (1, 1, 150), (1, 100, 9), (4, 4, 150), (40, 40, 70), (300, 300, 3), (7, 100, 9)]
        {
            let spec = fit_spec(batch, epochs, 0.01);
            let accumulate = FitSpec { accumulate: 2, ..spec.clone() };
            let by_rows = FitSpec { objective: mean_by_rows, shuffle: false, ..spec.clone() };
            let goes_on = FitSpec { initial_epoch: epochs / 2, ..spec.clone() };
            for spec in [&spec, &accumulate, &by_rows, &goes_on] {
                same(&layers, "mse", optimizer, &task(rows), spec);
            }
            // What can end it, or is told of it.
            let stops = FitSpec { stop_at_loss: Some(0.2), ..spec.clone() };
            let tires = FitSpec { tol: Some(1e-3), n_iter_no_change: 2, ..spec.clone() };
            let asks = FitSpec { learning_rate: None, ..spec.clone() };
            for spec in [&stops, &tires, &asks] {
                same(&layers, "mse", optimizer, &task(rows), spec);
            }
            // Weights that grow until they are no numbers; losses, and squares of gradients, that are none.
            let far = FitSpec { learning_rate: Some(1e15), ..spec.clone() };
            same(&layers, "mse", optimizer, &task(rows), &far);
            for large in [T::LARGEST.sqrt(), T::LARGEST / 2.0] {
                let [seen, unseen] = [false, true].map(|looks_away| {
                    let of = task(rows);
                    let y = table(rows, 2, |i, j| if i == rows / 2 { large } else { of.y.row(i)[j].to_f64() });
                    came(model::<T>(5, layers.clone(), "mse", optimizer), &Task { y, ..of }, &spec, looks_away)
                });
                assert_eq!(seen, unseen, "{optimizer:?} {spec:?}");
            }
            let new = || {
                let mut model = model::<T>(5, layers.clone(), "mse", optimizer);
                model.optimizer.as_mut().expect("it is compiled").steps = u64::MAX - 3;
                model
            };
            let [seen, unseen] = [false, true].map(|looks_away| came(new(), &task(rows), &spec, looks_away));
            assert_eq!(seen, unseen, "{optimizer:?}");
        }
    }
}

#[test]
fn batches_that_go_to_a_call_together_have_the_bits_of_single_steps() {
    batches_in_turn::<f32>();
    batches_in_turn::<f64>();
}

#[test]
fn epochs_that_nobody_watches_end_where_the_user_asks() {
    let layers = vec![layer(30, "tanh"), layer(2, "identity")];
    let mut model = model::<f32>(5, layers, "mse", optimizers()[0]);
    let task = Task::<f32>::regression(400, 5, 2);
    let data = task.data(&model.plan);
    let mut watcher = Watcher { looks_away: true, interrupt_at: 2, ..Watcher::new() };
    let history = fit(&mut model, &data, None, &fit_spec(400, 10_000, 0.01), &mut watcher).expect("it trains");
    assert_eq!((history.stopped, watcher.questions), (Stopped::Interrupted, 2));
    assert_eq!(history.epochs.len(), history.steps);
    let number = history.steps + 1;
    assert_eq!(history.message, format!("interrupted in epoch {number} before step 1"));
    // A stop that comes with the news of an epoch counts for that one.
    let mut watcher = Watcher { looks_away: true, stop_at: "epoch_end 9", ..Watcher::new() };
    let history = fit(&mut model, &data, None, &fit_spec(400, 10, 0.01), &mut watcher).expect("it trains");
    assert_eq!((history.stopped, history.epochs.len()), (Stopped::Callback, 10));
}

#[test]
fn steps_that_nobody_watches_have_the_bits_of_those_that_are_watched() {
    whatever_is_asked_for::<f32>();
    whatever_is_asked_for::<f64>();
}

#[test]
fn an_interruption_comes_between_steps_and_in_time() {
    let mut model = model::<f32>(5, vec![layer(8, "tanh"), layer(2, "identity")], "mse", optimizers()[0]);
    let task = Task::<f32>::regression(60_000, 5, 2);
    let data = task.data(&model.plan);
    let mut watcher = Watcher { looks_away: true, interrupt_at: 2, ..Watcher::new() };
    let history = fit(&mut model, &data, None, &fit_spec(1, 1, 0.01), &mut watcher).expect("it trains");
    assert_eq!((history.stopped, watcher.questions), (Stopped::Interrupted, 2));
    // Two questions are some 8 million multiply-adds each.
    let work = model.plan.work(1) * history.steps;
    assert!((8 << 20..3 * (8 << 20)).contains(&work), "{work} multiply-adds before the second question");
    assert_eq!(history.message, format!("interrupted in epoch 1 before step {}", history.steps + 1));
    assert_eq!(model.optimizer.map(|optimizer| optimizer.steps), Some(history.steps as u64));
}

/// Whose first layer goes over the next rows while its weights take their step, where nobody watches.
fn wide_networks<T: Real>() {
    // Sums of two pieces; enough weights for four rows; z that is kept, and no bias; a layer that is not the first; columns that are
    // limited; weights that are frozen, and a bias; x that is read again; moments of a row.
    let norm = json!({"kind": "layer_normalization", "epsilon": 1e-5, "trainable": true});
    let networks = [
        vec![layer(270, "relu"), layer(3, "softmax")],
        vec![layer(1400, "relu"), layer(3, "softmax")],
        vec![with(layer(80, "gelu"), "use_bias", false), layer(5, "tanh"), layer(3, "softmax")],
        vec![json!({"kind": "dropout", "rate": 0.2}), layer(40, "tanh"), layer(3, "softmax")],
        vec![json!({"kind": "residual", "layers": [layer(300, "tanh")]}), layer(3, "softmax")],
        vec![layer(100, "tanh"), norm, layer(3, "softmax")],
        vec![with(layer(40, "elu"), "max_norm", 0.7), layer(3, "softmax")],
        vec![with(layer(270, "tanh"), "trainable", false), layer(33, "relu"), layer(3, "softmax")],
        vec![
            with(layer(40, "silu"), "trainable_bias", false),
            json!({"kind": "dropout", "rate": 0.2}),
            layer(3, "softmax"),
        ],
    ];
    let mut weighed = Task::<T>::for_loss("cross_entropy", 11, 300, 3);
    weighed.weights = Some((0..11).map(|i| f64::from(i % 4)).collect());
    for task in [Task::<T>::for_loss("cross_entropy", 11, 300, 3), weighed] {
        for (layers, momentum) in networks.iter().zip([0.0, 0.9].into_iter().cycle()) {
            let optimizer = OptimizerSpec::Sgd { momentum, nesterov: false, dampened: false };
            for (rows, n_threads) in [(1, 1), (1, 2), (2, 1), (3, 2), (4, 1), (5, 1)] {
                let spec = FitSpec { n_threads, ..fit_spec(rows, 3, 0.01) };
                same_of(300, layers, "cross_entropy", optimizer, &task, &spec);
            }
        }
    }
    let one = vec![layer(20, "identity")];
    let numbers = Task::<T>::for_loss("mse", 11, 300, 20);
    for rows in [1, 2] {
        let optimizer = OptimizerSpec::Sgd { momentum: 0.9, nesterov: false, dampened: false };
        same_of(300, &one, "mse", optimizer, &numbers, &fit_spec(rows, 3, 0.01));
    }
}

#[test]
fn wide_networks_at_few_rows_take_the_same_steps() {
    wide_networks::<f32>();
    wide_networks::<f64>();
}

//! Wide networks step block by block: the numbers, and what is told about them, are those of a whole gradient.

use crate::network::{
    Task, Watcher, adam, bits, fit_spec, layer, loss, model, optimizers, pool, sgd, step_spec, table, with,
};
use dnn_core::{Clip, Epochs, FitSpec, Model, OptimizerSpec, Real, Stopped, fit, train_on_batch};
use serde_json::{Value, json};

/// Parameters above which weights go by blocks: enough for this network, whose last layer is too narrow for it.
fn wide() -> Vec<Value> {
    let frozen = with(layer(40, "tanh"), "trainable", false);
    vec![layer(700, "relu"), frozen, layer(1300, "gelu"), layer(780, "tanh"), layer(3, "identity")]
}

fn trained<T: Real>(layers: Vec<Value>, optimizer: OptimizerSpec, whole: bool) -> (Model<T>, Epochs) {
    let model = model::<T>(50, layers, "mse", optimizer);
    assert!(model.plan.len > 1 << 20, "fewer parameters have a whole gradient");
    trained_by(model, 22, 8, whole)
}

/// Trained with batches of so many of all rows.
fn trained_by<T: Real>(mut model: Model<T>, all: usize, rows: usize, whole: bool) -> (Model<T>, Epochs) {
    let task = Task::<T>::regression(all, 50, 3);
    let data = task.data(&model.plan);
    // A limit that nothing comes to needs the whole gradient.
    let clip = Clip { norm: whole.then_some(1e30), value: None };
    let spec = FitSpec { clip, ..fit_spec(rows, 2, 1e-3) };
    let history = fit(&mut model, &data, None, &spec, &mut Watcher::new()).expect("it trains");
    assert_eq!(history.stopped, Stopped::Epochs, "{}", history.message);
    (model, history.epochs)
}

#[test]
fn every_optimizer_takes_the_same_steps_with_and_without_a_whole_gradient() {
    for optimizer in optimizers() {
        let (by_blocks, epochs) = trained::<f32>(wide(), optimizer, false);
        let (whole, whole_epochs) = trained::<f32>(wide(), optimizer, true);
        assert_eq!(bits(&by_blocks.params), bits(&whole.params), "{optimizer:?}");
        for (got, wanted) in epochs.iter().zip(whole_epochs.iter()) {
            assert_eq!(got.loss, wanted.loss, "{optimizer:?}");
            let (got, wanted) = (got.grad_norm, wanted.grad_norm);
            assert!((got - wanted).abs() <= 1e-12 * wanted && wanted > 0.0, "{optimizer:?}: |g| {got} for {wanted}");
        }
    }
}

fn few_rows<T: Real>() {
    // Wider than what a single row goes through in one kernel.
    let layers = || vec![layer(260, "relu"), with(layer(33, "tanh"), "use_bias", false), layer(3, "identity")];
    let rules = [(0.0, false, false), (0.9, false, false), (0.9, true, false), (0.9, false, true)];
    for (momentum, nesterov, dampened) in rules {
        // The last batch has fewer rows: of 7 it has 1, of 3, 4 or 48 it has 2, of 31 it has 19. From 32 rows on this network
        // shares them out.
        for rows in [1, 2, 3, 4, 7, 16, 31, 32, 48] {
            let optimizer = OptimizerSpec::Sgd { momentum, nesterov, dampened };
            let new = || model::<T>(50, layers(), "mse", optimizer);
            let ((by_blocks, epochs), (whole, whole_epochs)) =
                (trained_by(new(), 50, rows, false), trained_by(new(), 50, rows, true));
            assert_eq!(bits(&by_blocks.params), bits(&whole.params), "{optimizer:?}, {rows} rows");
            assert_ne!(bits(&by_blocks.params), bits(&new().params), "{optimizer:?}, {rows} rows");
            for (got, wanted) in epochs.iter().zip(whole_epochs.iter()) {
                assert_eq!(got.loss, wanted.loss, "{optimizer:?}, {rows} rows");
                let (got, wanted) = (got.grad_norm, wanted.grad_norm);
                assert!((got - wanted).abs() <= 1e-12 * wanted, "{optimizer:?}, {rows} rows: |g| {got} for {wanted}");
            }
        }
    }
}

#[test]
fn gradient_descent_takes_the_same_steps_where_the_gradient_of_few_rows_is_never_written() {
    few_rows::<f32>();
    few_rows::<f64>();
}

#[test]
fn so_it_does_in_a_network_that_shares_out_no_rows_and_beside_frozen_layers() {
    // More parameters than rows are shared out for.
    for rows in [6, 47, 48, 49] {
        let (by_blocks, _) = trained_by(model::<f32>(50, wide(), "mse", sgd(0.9)), 98, rows, false);
        let (whole, _) = trained_by(model::<f32>(50, wide(), "mse", sgd(0.9)), 98, rows, true);
        assert_eq!(bits(&by_blocks.params), bits(&whole.params), "{rows} rows");
    }
}

#[test]
fn in_float64_and_with_layers_of_every_kind_too() {
    let norm = json!({"kind": "layer_normalization", "epsilon": 1e-5, "trainable": true});
    let batch_norm = json!({"kind": "batch_normalization", "momentum": 0.9, "epsilon": 1e-5, "trainable": true});
    let residual = json!({"kind": "residual", "layers": [norm, layer(1100, "tanh")]});
    let dropout = json!({"kind": "dropout", "rate": 0.2});
    let limited = with(layer(1100, "relu"), "max_norm", 0.9);
    let layers = || vec![limited.clone(), residual.clone(), dropout.clone(), batch_norm.clone(), layer(3, "identity")];
    for optimizer in [sgd(0.9), adam(true)] {
        let (by_blocks, epochs) = trained::<f64>(layers(), optimizer, false);
        let (whole, whole_epochs) = trained::<f64>(layers(), optimizer, true);
        assert_eq!(bits(&by_blocks.params), bits(&whole.params), "{optimizer:?}");
        assert_eq!(epochs.at(1).loss, whole_epochs.at(1).loss, "{optimizer:?}");
    }
}

#[test]
fn a_single_step_is_that_of_a_fit() {
    let task = Task::<f32>::regression(8, 50, 3);
    let mut stepped = model::<f32>(50, wide(), "mse", adam(false));
    let data = task.data(&stepped.plan);
    let clip = Clip { norm: Some(1e30), value: None };
    let fitted = [Clip::default(), clip].map(|clip| {
        let mut model = model::<f32>(50, wide(), "mse", adam(false));
        let spec = FitSpec { shuffle: false, clip, ..fit_spec(8, 1, 1e-3) };
        fit(&mut model, &data, None, &spec, &mut Watcher::new()).expect("it trains");
        bits(&model.params)
    });
    train_on_batch(&mut stepped, &data, step_spec(1e-3), &[], 1).expect("it trains");
    assert_eq!(bits(&stepped.params), fitted[0]);
    assert_eq!(fitted[0], fitted[1]);
}

#[test]
fn a_single_step_that_is_refused_leaves_the_model_as_it_was() {
    let mut model = zeros();
    model.compile(loss("mse"), adam(false)).expect("it fits");
    let x = table(1, 1000, |_, j| if j == 0 { 1e10 } else { 0.0 });
    let task = Task { x, y: table(1, 1100, |_, _| 1e8), labels: vec![], weights: None };
    let data = task.data(&model.plan);
    let refused = train_on_batch(&mut model, &data, step_spec(1e15), &[], 1);
    assert!(refused.is_err() && model.params.iter().all(|x| x.to_f64() == 0.0), "{refused:?}");
    assert_eq!(model.optimizer.expect("it is compiled").steps, 0);
}

#[test]
fn a_penalty_is_in_the_gradient_that_is_stepped_along() {
    let layers = || vec![with(layer(1050, "tanh"), "l2", 0.1), layer(1050, "tanh"), layer(3, "identity")];
    let trained = |whole| bits(&trained::<f32>(layers(), sgd(0.0), whole).0.params);
    assert_eq!(trained(false), trained(true));
}

/// One layer of weights that are 0, so that the deltas are as large as the targets.
fn zeros() -> Model<f32> {
    let wide = with(layer(1100, "identity"), "weight_initializer", json!({"name": "zeros"}));
    model(1000, vec![wide], "mse", sgd(0.0))
}

#[test]
fn a_gradient_that_is_not_finite_moves_nothing() {
    let mut model = zeros();
    let task = Task { x: table(2, 1000, |_, _| 1e12), y: table(2, 1100, |_, _| 1e13), labels: vec![], weights: None };
    let data = task.data(&model.plan);
    let before = bits(&model.params);
    let history = fit(&mut model, &data, None, &fit_spec(2, 3, 1e-3), &mut Watcher::new()).expect("no error");
    assert_eq!(history.stopped, Stopped::Diverged);
    assert!(history.message.contains("the gradient of layer 1 is not finite"), "{}", history.message);
    assert_eq!(bits(&model.params), before);
}

#[test]
fn a_gradient_that_might_not_be_finite_and_is_is_stepped_along() {
    // The row with the large input has no error, the row with the large error no input: |x| |delta| says nothing.
    let mut model = zeros();
    let x = table(2, 1000, |i, j| if (i, j) == (0, 0) { 1e14 } else { 0.0 });
    let y = table(2, 1100, |i, j| if (i, j) == (1, 0) { 1e12 } else { 0.0 });
    let task = Task { x, y, labels: vec![], weights: None };
    let data = task.data(&model.plan);
    let history = fit(&mut model, &data, None, &fit_spec(2, 1, 1e-3), &mut Watcher::new()).expect("no error");
    assert_eq!(history.stopped, Stopped::Epochs, "{}", history.message);
    let bias = model.params[model.plan.layers[0].bias()][0];
    // rate 2 / n error
    assert!((f64::from(bias) - 1e-3 * 2.0 / 2200.0 * 1e12).abs() < 1.0, "{bias}");
}

#[test]
fn a_batch_that_weighs_nothing_has_a_gradient_of_no_length() {
    let mut model = model::<f32>(50, wide(), "mse", sgd(0.0));
    let mut task = Task::<f32>::regression(4, 50, 3);
    task.weights = Some(vec![1.0, 0.0, 0.0, 0.0]);
    let data = task.data(&model.plan);
    let fitted = |model: &mut Model<f32>, shuffle| {
        let spec = FitSpec { shuffle, ..fit_spec(2, 24, 1e-3) };
        fit(model, &data, None, &spec, &mut Watcher::new()).expect("it trains").epochs
    };
    assert!(fitted(&mut model, false).iter().all(|epoch| epoch.grad_norm == 0.0), "rows 2 and 3 are the last");
    // Shuffled, some epochs end on a batch that weighs something; by blocks and in one piece the norms are the same.
    let mut again = crate::network::model::<f32>(50, wide(), "mse", sgd(0.0));
    fitted(&mut again, false);
    let spec = FitSpec { clip: Clip { norm: Some(1e30), value: None }, ..fit_spec(2, 24, 1e-3) };
    let whole = fit(&mut again, &data, None, &spec, &mut Watcher::new()).expect("it trains").epochs;
    let norms = |epochs: &Epochs| epochs.iter().map(|epoch| epoch.grad_norm).collect::<Vec<f64>>();
    let (got, wanted) = (norms(&fitted(&mut model, true)), norms(&whole));
    assert!(wanted.contains(&0.0) && wanted.iter().any(|norm| *norm > 0.0), "{wanted:?}");
    for (got, wanted) in got.iter().zip(&wanted) {
        assert!((got - wanted).abs() <= 1e-12 * wanted, "{got} for {wanted}");
    }
}

#[test]
fn threads_accumulation_and_batches_of_several_blocks_change_no_bit() {
    let _alone = pool();
    let task = Task::<f32>::regression(1100, 50, 3);
    let fitted = |n_threads, batch_size, accumulate, whole: bool| {
        let mut model = model::<f32>(50, wide(), "mse", adam(false));
        let data = task.data(&model.plan);
        let clip = Clip { norm: whole.then_some(1e30), value: None };
        let spec = FitSpec { n_threads, accumulate, clip, ..fit_spec(batch_size, 1, 1e-3) };
        fit(&mut model, &data, None, &spec, &mut Watcher::new()).expect("it trains");
        bits(&model.params)
    };
    // The last batch of 600 rows is one block, the first is two; that of 100 rows four times is one step of 400.
    for (batch_size, accumulate) in [(600, 1), (100, 4), (512, 1)] {
        let wanted = fitted(1, batch_size, accumulate, true);
        for threads in 1..=3 {
            assert_eq!(fitted(threads, batch_size, accumulate, false), wanted, "{batch_size} {accumulate} {threads}");
        }
    }
}

#[test]
fn the_layer_is_named_that_a_whole_gradient_would_name() {
    // The inputs of every layer are so large that gradients overflow, those of biases later than those of weights.
    let message = |whole: bool| {
        let layers = vec![layer(1100, "identity"), layer(1100, "identity"), layer(5, "identity")];
        let mut model = model::<f32>(3, layers, "mse", sgd(0.0));
        let task = Task { x: table(4, 3, |i, j| 1e17 * (1.0 + i as f64 - j as f64)), ..Task::regression(4, 3, 5) };
        let data = task.data(&model.plan);
        let clip = Clip { norm: whole.then_some(1e30), value: None };
        let spec = FitSpec { clip, ..fit_spec(4, 1, 1e-9) };
        fit(&mut model, &data, None, &spec, &mut Watcher::new()).expect("no error").message
    };
    let wanted = message(true);
    assert!(wanted.contains("gradient of layer"), "{wanted}");
    assert_eq!(message(false), wanted);
}

#[test]
fn a_step_that_might_throw_weights_out_of_range_is_taken_where_it_does_not() {
    // What Adam might do with this rate is too much; along the gradient of the second target it is not.
    for (target, told) in [(1e8, Some("the weights")), (1e-12, None)] {
        let mut model = zeros();
        model.compile(loss("mse"), adam(false)).expect("it fits");
        let x = table(1, 1000, |_, j| if j == 0 { 1e10 } else { 0.0 });
        let task = Task { x, y: table(1, 1100, |_, _| target), labels: vec![], weights: None };
        let data = task.data(&model.plan);
        let history = fit(&mut model, &data, None, &fit_spec(1, 1, 1e15), &mut Watcher::new()).expect("no error");
        let stopped = if told.is_some() { (Stopped::Diverged, 0) } else { (Stopped::Epochs, 1) };
        assert_eq!((history.stopped, history.steps), stopped, "{}", history.message);
        assert!(told.is_none_or(|told| history.message.contains(told)), "{}", history.message);
        assert_eq!(model.params.iter().all(|x| x.to_f64() == 0.0), told.is_some());
    }
}

//! What a call of `fit` does to a model: it learns, leaves alone what is frozen, and stops where it is told to.

use crate::network::{Task, Watcher, adam, bits, fit_spec, layer, loss, model, optimizers, sgd, spec, step_spec, with};
use dnn_core::{Average, BatchSize, Data, Given, Measure, Metric, Model, Real, Stopped, evaluate, fit, train_on_batch};

fn learns<T: Real>(loss: &str, output: &str, momentum: Option<f64>, rate: f64) {
    let optimizer = momentum.map_or_else(|| adam(false), sgd);
    let mut model = model::<T>(3, vec![layer(16, "tanh"), layer(2, output)], loss, optimizer);
    let task = Task::<T>::for_loss(loss, 120, 3, 2);
    let data = task.data(&model.plan);
    let before = evaluate(&model, &data, &[], 1).expect("it fits").0;
    let history = fit(&mut model, &data, None, &fit_spec(16, 30, rate), &mut Watcher::new()).expect("it trains");
    let after = evaluate(&model, &data, &[], 1).expect("it fits").0;
    let what = format!("{loss} {output} {optimizer:?} {}: from {before} to {after}", T::NAME);
    // Plain descent on the cross entropies, which start near ln 2, gets about a sixth of the way in this time.
    assert!(after < 0.9 * before, "{what}");
    assert_eq!((history.stopped, history.epochs.len(), history.steps), (Stopped::Epochs, 30, 30 * 8), "{what}");
    assert!(history.epochs.at(29).loss < history.epochs.at(0).loss, "{what}");
}

#[test]
fn the_loss_falls_for_every_loss_and_every_optimizer() {
    for (loss, output) in [
        ("mse", "identity"),
        ("half_mse", "identity"),
        ("sse", "tanh"),
        ("mae", "identity"),
        ("huber", "softsign"),
        ("cross_entropy", "softmax"),
        ("binary_cross_entropy", "sigmoid"),
        ("hinge", "identity"),
        ("squared_hinge", "tanh"),
    ] {
        for (momentum, rate) in [(Some(0.0), 0.1), (Some(0.9), 0.02), (None, 0.01)] {
            learns::<f32>(loss, output, momentum, rate);
            learns::<f64>(loss, output, momentum, rate);
        }
    }
}

#[test]
fn what_is_frozen_keeps_its_bits_and_the_rest_moves() {
    for optimizer in optimizers() {
        let layers = vec![
            with(with(layer(6, "tanh"), "trainable", false), "l2", 0.1),
            with(layer(5, "tanh"), "trainable_bias", false),
            layer(2, "identity"),
        ];
        let mut model = model::<f32>(3, layers, "mse", optimizer);
        let before = model.params.to_arrays(&model.plan).expect("it fits");
        let task = Task::<f32>::regression(40, 3, 2);
        let data = task.data(&model.plan);
        fit(&mut model, &data, None, &fit_spec(8, 3, 0.05), &mut Watcher::new()).expect("it trains");
        let after = model.params.to_arrays(&model.plan).expect("it fits");
        let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
        // W and b of layer 1, W and b of layer 2, W and b of layer 3
        assert_eq!(same, [true, true, false, true, false, false], "{optimizer:?}");
    }
}

#[test]
fn padding_stays_zero_through_training() {
    let layers = || vec![with(with(layer(5, "softplus"), "l1", 0.01), "l2", 0.01), layer(3, "sigmoid")];
    for optimizer in optimizers() {
        let mut model = model::<f32>(2, layers(), "binary_cross_entropy", optimizer);
        let task = Task::<f32>::for_loss("binary_cross_entropy", 50, 2, 3);
        let data = task.data(&model.plan);
        fit(&mut model, &data, None, &fit_spec(7, 5, 0.05), &mut Watcher::new()).expect("it trains");
        let Model { plan, params, .. } = &mut model;
        for layer in &plan.layers {
            for range in [layer.weights(), layer.bias()] {
                layer.offsets(&range).for_each(|at| params[at] = 0.0);
            }
        }
        assert!(params.iter().all(|&x| x == 0.0), "{optimizer:?}");
    }
}

#[test]
fn a_step_of_gradient_descent_is_the_old_weight_minus_rate_times_gradient() {
    // y = w x + b with w = 2, b = 1 on x = 3, t = 5: the error is 2, dL/dw = 2 * 2 * 3, dL/db = 2 * 2.
    let mut model = model::<f64>(1, vec![layer(1, "identity")], "mse", sgd(0.0));
    let arrays = [ndarray::arr2(&[[2.0]]).into_dyn(), ndarray::arr1(&[1.0]).into_dyn()];
    let Model { plan, params, .. } = &mut model;
    params.set_arrays(plan, &[arrays[0].view(), arrays[1].view()]).expect("arrays that fit");
    let (x, y) = (crate::network::table(1, 1, |_, _| 3.0), crate::network::table(1, 1, |_, _| 5.0));
    let data = Data::new(&model.plan, &x, Given::Table(&y), None).expect("data that fits");
    let (loss, _) = train_on_batch(&mut model, &data, step_spec(0.125), &[], 1).expect("finite");
    let after = model.params.to_arrays(&model.plan).expect("it fits");
    assert_eq!((loss, after[0][[0, 0]], after[1][[0]]), (4.0, 0.5, 0.5));
}

#[test]
fn fitting_one_full_batch_is_training_on_that_batch() {
    let layers = || vec![layer(9, "gelu"), layer(2, "identity")];
    let task = Task::<f32>::regression(30, 4, 2);
    let (mut fitted, mut stepped) = (model(4, layers(), "mse", adam(false)), model(4, layers(), "mse", adam(false)));
    let data = task.data(&fitted.plan);
    let mut how = fit_spec(1, 5, 0.01);
    how.batch_size = BatchSize::Named("full".to_owned());
    let history = fit(&mut fitted, &data, None, &how, &mut Watcher::new()).expect("it trains");
    let losses: Vec<f64> =
        (0..5).map(|_| train_on_batch(&mut stepped, &data, step_spec(0.01), &[], 1).expect("finite").0).collect();
    assert_eq!(bits(&fitted.params), bits(&stepped.params));
    assert_eq!(history.epochs.iter().map(|epoch| epoch.loss).collect::<Vec<_>>(), losses);
}

#[test]
fn two_calls_of_fit_are_one_call_of_twice_the_epochs() {
    let layers = || vec![layer(9, "relu"), layer(2, "identity")];
    let task = Task::<f32>::regression(50, 4, 2);
    let (mut once, mut twice) = (model(4, layers(), "mse", adam(false)), model(4, layers(), "mse", adam(false)));
    let data = task.data(&once.plan);
    fit(&mut once, &data, None, &fit_spec(8, 6, 0.01), &mut Watcher::new()).expect("it trains");
    fit(&mut twice, &data, None, &fit_spec(8, 3, 0.01), &mut Watcher::new()).expect("it trains");
    let mut rest = fit_spec(8, 6, 0.01);
    rest.initial_epoch = 3;
    let history = fit(&mut twice, &data, None, &rest, &mut Watcher::new()).expect("it trains");
    assert_eq!(bits(&once.params), bits(&twice.params));
    assert_eq!(history.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn a_row_of_weight_two_counts_like_two_rows_and_one_of_weight_zero_like_none() {
    let task = Task::<f64>::regression(6, 3, 2);
    // Rows 0, 1, 1, 3, 4, 4 against weights 1 2 0 1 2 0.
    let rows = [0, 1, 1, 3, 4, 4];
    let mut written_out = Task::<f64>::regression(6, 3, 2);
    written_out.x = crate::network::table(6, 3, |i, j| task.x.row(rows[i])[j]);
    written_out.y = crate::network::table(6, 2, |i, j| task.y.row(rows[i])[j]);
    let weighted = Task { weights: Some(vec![1.0, 2.0, 0.0, 1.0, 2.0, 0.0]), ..task };
    let of = |task: &Task<f64>| {
        let model = model::<f64>(3, vec![layer(7, "tanh"), layer(2, "identity")], "mse", sgd(0.0));
        let found = dnn_core::gradients(&model, &task.data(&model.plan), false, 1).expect("finite");
        found.gradients.iter().flat_map(|array| array.iter().copied()).chain([found.loss]).collect::<Vec<_>>()
    };
    for (a, b) in of(&weighted).into_iter().zip(of(&written_out)) {
        // Sums of six rows in another order.
        assert!((a - b).abs() < 1e-14, "{a} and {b}");
    }
}

#[test]
fn a_batch_whose_rows_all_weigh_nothing_teaches_nothing_and_harms_nothing() {
    for (loss, output) in [("mse", "identity"), ("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid")] {
        let trained = |weights: &[f64], rows: usize| {
            let mut model = model::<f64>(3, vec![layer(5, "tanh"), layer(2, output)], loss, sgd(0.0));
            let whole = Task::<f64>::for_loss(loss, 8, 3, 2);
            let mut task = Task::<f64>::for_loss(loss, rows, 3, 2);
            task.x = crate::network::table(rows, 3, |i, j| whole.x.row(i)[j]);
            task.y = crate::network::table(rows, 2, |i, j| whole.y.row(i)[j]);
            task.labels = whole.labels.iter().copied().take(rows).collect();
            task.weights = Some(weights.to_vec());
            let mut how = fit_spec(4, 3, 0.1);
            how.shuffle = false;
            let data = task.data(&model.plan);
            let history = fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("it trains");
            assert_eq!(history.stopped, Stopped::Epochs, "{loss}: {}", history.message);
            assert!(history.epochs.iter().all(|epoch| epoch.loss.is_finite() && epoch.grad_norm.is_finite()));
            bits(&model.params)
        };
        // The second batch of four weighs nothing; or it is not there.
        let (weightless, absent) = (trained(&[1.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], 8), [1.0, 2.0, 1.0, 1.0]);
        assert_eq!(weightless, trained(&absent, 4), "{loss}");
    }
}

#[test]
fn rates_are_asked_for_once_an_epoch_and_count_the_steps_of_the_optimizer() {
    let mut model = model::<f32>(3, vec![layer(2, "identity")], "mse", sgd(0.0));
    let task = Task::<f32>::regression(10, 3, 2);
    let data = task.data(&model.plan);
    let mut how = fit_spec(4, 2, 0.0);
    how.learning_rate = None;
    for (first, second) in [("rates 0", "rates 3"), ("rates 6", "rates 9")] {
        let mut watcher = Watcher::new();
        let history = fit(&mut model, &data, None, &how, &mut watcher).expect("it trains");
        let asked: Vec<&String> = watcher.calls.iter().filter(|call| call.starts_with("rates")).collect();
        assert_eq!(asked, [first, second]);
        assert!(history.epochs.iter().all(|epoch| epoch.rate == 0.1));
    }
}

#[test]
fn the_hooks_are_called_in_order_and_the_last_epoch_is_called_the_last() {
    let mut model = model::<f32>(3, vec![layer(2, "identity")], "mse", sgd(0.0));
    let task = Task::<f32>::regression(5, 3, 2);
    let data = task.data(&model.plan);
    let mut how = fit_spec(3, 2, 0.1);
    how.learning_rate = None;
    let mut watcher = Watcher::new();
    fit(&mut model, &data, None, &how, &mut watcher).expect("it trains");
    let epoch = |number: usize| {
        let steps = ["batch_begin 0", "batch_end 0", "batch_begin 1", "batch_end 1"].map(String::from);
        let mut calls = vec![format!("epoch_begin {number}"), format!("rates {}", 2 * number)];
        calls.extend(steps);
        calls.push(format!("epoch_end {number}"));
        calls
    };
    assert_eq!(watcher.calls, [epoch(0), epoch(1)].concat());
    assert_eq!(watcher.last, [false, true]);
}

#[test]
fn a_stop_at_any_hook_ends_training_with_the_weights_of_the_last_finished_step() {
    // Three steps an epoch: the call to stop at, the steps and epochs done by then, and the epoch in the message.
    for (stop_at, steps, epochs, in_epoch) in [
        ("rates 0", 0, 0, 1),
        ("rates 3", 3, 1, 2),
        ("epoch_begin 0", 0, 0, 1),
        ("epoch_begin 2", 6, 2, 3),
        ("batch_begin 0", 0, 0, 1),
        ("batch_begin 2", 2, 0, 1),
        ("batch_end 0", 1, 0, 1),
        ("batch_end 2", 3, 0, 1),
        ("epoch_end 0", 3, 1, 1),
        ("epoch_end 1", 6, 2, 2),
    ] {
        let mut model = model::<f32>(3, vec![layer(4, "tanh"), layer(2, "identity")], "mse", adam(false));
        let task = Task::<f32>::regression(12, 3, 2);
        let data = task.data(&model.plan);
        let first = bits(&model.params);
        let mut how = fit_spec(4, 5, 0.1);
        how.learning_rate = None;
        let mut watcher = Watcher { stop_at, ..Watcher::new() };
        let history = fit(&mut model, &data, None, &how, &mut watcher).expect("it trains");
        assert_eq!(watcher.calls.last().map(String::as_str), Some(stop_at), "nothing is called after the stop");
        assert_eq!((history.stopped, history.steps, history.epochs.len()), (Stopped::Callback, steps, epochs));
        assert_eq!(history.message, format!("a callback stopped training in epoch {in_epoch}"), "{stop_at}");
        let expected = if steps == 0 { first } else { bits(&watcher.after) };
        assert_eq!(bits(&model.params), expected, "{stop_at}");
        assert_eq!(model.optimizer.as_ref().map(|optimizer| optimizer.steps), Some(steps as u64), "{stop_at}");
        let again = fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("training can go on");
        assert_eq!(again.stopped, Stopped::Epochs);
    }
}

#[test]
fn what_an_observer_changes_is_what_training_goes_on_with() {
    struct Setter;
    impl dnn_core::Observer<f32> for Setter {
        fn seconds(&mut self) -> f64 {
            0.0
        }
        fn interrupted(&mut self) -> bool {
            false
        }
        fn rates(&mut self, _: u64, _: &mut [f64], _: dnn_core::State<f32>) -> dnn_core::Flow {
            dnn_core::Flow::Go
        }
        fn epoch_begin(&mut self, epoch: usize, state: dnn_core::State<f32>) -> dnn_core::Flow {
            if epoch == 1 {
                state.params.fill(0.0);
            }
            dnn_core::Flow::Go
        }
        fn epoch_end(&mut self, _: &dnn_core::Epoch, _: bool, _: dnn_core::State<f32>) -> dnn_core::Flow {
            dnn_core::Flow::Go
        }
        fn batch_begin(&mut self, _: usize, _: dnn_core::State<f32>) -> dnn_core::Flow {
            dnn_core::Flow::Go
        }
        fn batch_end(&mut self, _: usize, _: f64, _: dnn_core::State<f32>) -> dnn_core::Flow {
            dnn_core::Flow::Go
        }
    }
    let mut model = model::<f32>(3, vec![layer(4, "relu"), layer(2, "identity")], "mse", sgd(0.0));
    let task = Task::<f32>::regression(12, 3, 2);
    let data = task.data(&model.plan);
    let history = fit(&mut model, &data, None, &fit_spec(4, 2, 0.0), &mut Setter).expect("it trains");
    let squares: f64 = (0..12).flat_map(|i| task.y.row(i)).map(|y| f64::from(*y).powi(2)).sum();
    assert!(model.params.iter().all(|&p| p == 0.0));
    // Outputs of 0: the loss is the mean square of the targets, summed in float32 within a row.
    assert!((history.epochs.at(1).loss - squares / 24.0).abs() < 1e-6 * squares);
}

/// 14 million multiply-adds a step: the observer is asked about each.
fn large() -> (Model<f32>, Task<f32>) {
    let layers = vec![layer(256, "relu"), layer(8, "identity")];
    (model(64, layers, "mse", sgd(0.0)), Task::regression(1024, 64, 8))
}

#[test]
fn an_interruption_between_steps_leaves_the_weights_of_the_last_finished_step() {
    let (mut model, task) = large();
    let data = task.data(&model.plan);
    let mut watcher = Watcher { interrupt_at: 3, ..Watcher::new() };
    let history = fit(&mut model, &data, None, &fit_spec(256, 9, 0.01), &mut watcher).expect("it trains");
    assert_eq!(history.stopped, Stopped::Interrupted);
    assert_eq!(watcher.calls.iter().filter(|call| call.starts_with("batch_end")).count(), history.steps);
    assert!(history.steps > 0 && watcher.questions == 3);
    let step = history.steps % 4 + 1;
    assert_eq!(history.message, format!("interrupted in epoch {} before step {step}", history.steps / 4 + 1));
    assert_eq!(bits(&model.params), bits(&watcher.after));
    let again = fit(&mut model, &data, None, &fit_spec(256, 1, 0.01), &mut Watcher::new());
    assert_eq!(again.expect("training can go on").stopped, Stopped::Epochs);
}

#[test]
fn an_interruption_in_the_middle_of_a_batch_leaves_the_weights_from_before_it() {
    let (mut model, task) = large();
    let data = task.data(&model.plan);
    // One batch of two blocks: the first question is before it, the second between its blocks.
    for interrupt_at in [1, 2] {
        let (before, steps) = (bits(&model.params), model.optimizer.as_ref().map(|optimizer| optimizer.steps));
        let mut watcher = Watcher { interrupt_at, ..Watcher::new() };
        let history = fit(&mut model, &data, None, &fit_spec(1024, 3, 0.01), &mut watcher).expect("it trains");
        assert_eq!((history.stopped, history.steps), (Stopped::Interrupted, 0));
        assert_eq!(history.message, "interrupted in epoch 1 before step 1");
        assert_eq!((bits(&model.params), model.optimizer.as_ref().map(|optimizer| optimizer.steps)), (before, steps));
    }
    let again = fit(&mut model, &data, None, &fit_spec(1024, 1, 0.01), &mut Watcher::new());
    assert_eq!(again.expect("training can go on").stopped, Stopped::Epochs);
}

#[test]
fn a_call_that_asks_for_the_impossible_is_refused_and_changes_nothing() {
    type Change = fn(&mut dnn_core::FitSpec);
    let cases: [(Change, &str); 12] = [
        (|how| how.batch_size = BatchSize::Rows(0), "batch_size must be at least 1, got 0"),
        (
            |how| how.batch_size = BatchSize::Named("half".to_owned()),
            "batch_size must be a whole number or 'full', got \"half\"",
        ),
        (|how| how.epochs = 0, "epochs must be above initial_epoch, got epochs=0, initial_epoch=0"),
        (|how| how.initial_epoch = 9, "epochs must be above initial_epoch, got epochs=2, initial_epoch=9"),
        (|how| how.n_iter_no_change = 0, "n_iter_no_change and patience must be at least 1, got 0"),
        (|how| how.patience = Some(0), "n_iter_no_change and patience must be at least 1, got 0"),
        (|how| how.tol = Some(-1.0), "tol must be 0 or more, got -1"),
        (|how| how.max_time = Some(f64::NAN), "max_time must be 0 or more, got NaN"),
        (|how| how.min_delta = f64::INFINITY, "min_delta must be 0 or more, got inf"),
        (|how| how.learning_rate = Some(-0.1), "learning_rate must be from 0 to 1e15, got -0.1"),
        (|how| how.learning_rate = Some(f64::NAN), "learning_rate must be from 0 to 1e15, got NaN"),
        (|how| how.learning_rate = Some(1e16), "learning_rate must be from 0 to 1e15, got 10000000000000000"),
    ];
    for (change, message) in cases {
        let mut model = model::<f32>(3, vec![layer(2, "identity")], "mse", sgd(0.0));
        let task = Task::<f32>::regression(8, 3, 2);
        let data = task.data(&model.plan);
        let before = bits(&model.params);
        let mut how = fit_spec(4, 2, 0.1);
        change(&mut how);
        let mut watcher = Watcher::new();
        let refused = fit(&mut model, &data, None, &how, &mut watcher).expect_err("an impossible call");
        assert_eq!(refused.to_string(), message);
        assert!(bits(&model.params) == before && model.epochs == 0 && watcher.calls.is_empty(), "{message}");
    }
}

#[test]
fn metrics_that_do_not_fit_the_loss_are_refused() {
    for (output, loss, measure, allowed) in [
        ("identity", "mse", Measure::Accuracy, false),
        ("identity", "mse", Measure::Auc { average: Average::Auto }, false),
        ("identity", "mse", Measure::R2, true),
        ("softmax", "cross_entropy", Measure::Auc { average: Average::Auto }, true),
        ("softmax", "cross_entropy", Measure::TopK { k: 1 }, true),
        ("softmax", "cross_entropy", Measure::TopK { k: 2 }, false),
        ("softmax", "cross_entropy", Measure::Rmse, false),
        ("softmax", "cross_entropy", Measure::F1 { average: Average::Auto, threshold: Some(0.3) }, false),
        ("sigmoid", "binary_cross_entropy", Measure::F1 { average: Average::Auto, threshold: Some(0.3) }, true),
        ("sigmoid", "binary_cross_entropy", Measure::F1 { average: Average::Binary, threshold: None }, false),
        ("sigmoid", "binary_cross_entropy", Measure::Auc { average: Average::Micro }, false),
        ("identity", "mse", Measure::Mae, true),
        ("softmax", "cross_entropy", Measure::Accuracy, true),
        ("softmax", "cross_entropy", Measure::Mse, false),
        ("sigmoid", "binary_cross_entropy", Measure::Mae, false),
        ("identity", "hinge", Measure::Accuracy, true),
    ] {
        let metric = Metric { key: "it".into(), measure };
        let model = model::<f32>(3, vec![layer(2, output)], loss, sgd(0.0));
        let task = Task::<f32>::for_loss(loss, 8, 3, 2);
        let measured = evaluate(&model, &task.data(&model.plan), std::slice::from_ref(&metric), 1);
        assert_eq!(measured.is_ok(), allowed, "{metric:?} with {loss}");
    }
}

#[test]
fn data_that_does_not_fit_is_refused_with_what_is_needed() {
    let refused = |loss: &str, output: &str, given: Given<f32>, weights: Option<&[f64]>| {
        let model = model::<f32>(3, vec![layer(2, output)], loss, sgd(0.0));
        let x = crate::network::inputs::<f32>(4, 3, 1);
        Data::new(&model.plan, &x, given, weights).expect_err("data that does not fit").to_string()
    };
    let y = |rows: usize, columns: usize, value: f64| crate::network::table::<f32>(rows, columns, |_, _| value);
    let (short, narrow, fits) = (y(3, 2, 0.0), y(4, 1, 0.0), y(4, 2, 0.5));
    let softmax = |given: Given<f32>| refused("cross_entropy", "softmax", given, None);
    let mse = |given: Given<f32>, weights: Option<&[f64]>| refused("mse", "identity", given, weights);
    for (message, expected) in [
        (mse(Given::Table(&short), None), "x has 4 rows, but y has 3; they need the same number"),
        (mse(Given::Table(&narrow), None), "y has 1 column, but a last layer of 2 outputs needs 2 with this loss"),
        (
            mse(Given::Labels(&[0, 1, 0, 1]), None),
            "y holds labels, which only losses over the classes of a softmax take",
        ),
        (
            softmax(Given::Labels(&[0, 1, 2, 1])),
            "y has labels 0..2, but the last layer has 2 outputs; give it 3, or pass loss='mse'",
        ),
        (softmax(Given::Labels(&[0, 1, -1, 1])), "y has the label -1 in row 2; labels are whole numbers from 0 to 1"),
        (softmax(Given::Labels(&[0, 1])), "x has 4 rows, but y has 2; they need the same number"),
        (
            refused("hinge", "identity", Given::Table(&fits), None),
            "y has 0.5 in row 0, column 0; this loss needs targets -1 and +1",
        ),
        (
            mse(Given::Table(&fits), Some(&[1.0; 3])),
            "sample_weight has 3 values, but x has 4 rows; give one for each row",
        ),
        (
            mse(Given::Table(&fits), Some(&[1.0, -1.0, 1.0, 1.0])),
            "sample_weight has -1 in row 1; weights are finite and not negative",
        ),
        (mse(Given::Table(&fits), Some(&[0.0; 4])), "the sum of sample_weight is 0; it must be positive and finite"),
    ] {
        assert_eq!(message, expected);
    }
}

#[test]
fn a_model_without_a_loss_says_to_call_compile() {
    let mut model = Model::<f32>::new(spec::<f32>(vec![layer(2, "identity")]), 3).expect("a network that fits");
    let task = Task::<f32>::regression(4, 3, 2);
    let refused = Data::new(&model.plan, &task.x, Given::Table(&task.y), None).expect_err("no loss");
    assert_eq!(refused.to_string(), "the model has no loss yet: call compile, or pass loss=");
    model.compile(loss("mse"), sgd(0.0)).expect("a loss that fits");
    let data = task.data(&model.plan);
    model.optimizer = None;
    let refused = fit(&mut model, &data, None, &fit_spec(2, 1, 0.1), &mut Watcher::new()).expect_err("no optimizer");
    assert_eq!(refused.to_string(), "the model has no loss and optimizer yet: call compile");
}

//! L-BFGS: it finds minima, leaves alone what is frozen, stops where it should, and survives what is not finite.

use crate::network::{Task, Watcher, bits, fit_spec, layer, lbfgs, model, pool, table, with};
use dnn_core::{Data, Given, Model, Real, Stopped, evaluate, fit, from_bytes, gradients, to_bytes, train_on_batch};

fn largest_gradient<T: Real>(model: &Model<T>, data: &Data<T>) -> f64 {
    let found = gradients(model, data, false, 1).expect("finite").gradients;
    found.iter().flat_map(|array| array.iter().map(|g| g.to_f64().abs())).fold(0.0, f64::max)
}

#[test]
fn a_linear_network_ends_at_the_solution_of_least_squares() {
    // y is linear in x up to rounding, so the minimum is 0, and the weights are those that made it.
    let mut linear = model::<f64>(3, vec![layer(1, "identity")], "mse", lbfgs(10, 1e-10, 0.0));
    let task = Task::<f64>::regression(50, 3, 1);
    let y = table(50, 1, |i, _| {
        let x = task.x.row(i);
        2.0 * x[0] - 3.0 * x[1] + 0.5 * x[2] + 0.25
    });
    let data = Data::new(&linear.plan, &task.x, Given::Table(&y), None).expect("it fits");
    let history = fit(&mut linear, &data, None, &fit_spec(50, 100, 1.0), &mut Watcher::new()).expect("it trains");
    assert_eq!(history.stopped, Stopped::Gtol, "{}", history.message);
    assert!(history.epochs.len() < 20, "{}", history.epochs.len());
    let found = linear.params.to_arrays(&linear.plan).expect("it fits");
    let found: Vec<f64> = found.iter().flat_map(|array| array.iter().copied()).collect();
    for (found, sought) in found.iter().zip([2.0, -3.0, 0.5, 0.25]) {
        assert!((found - sought).abs() < 1e-8, "{found} {sought}");
    }
}

#[test]
fn the_gradient_of_a_smooth_network_vanishes_as_far_as_the_type_can_tell() {
    fn trained<T: Real>(gtol: f64) -> (f64, Stopped) {
        let layers = vec![with(layer(6, "tanh"), "l2", 1e-2), with(layer(2, "identity"), "l2", 1e-2)];
        let mut model = model::<T>(3, layers, "mse", lbfgs(10, gtol, 0.0));
        let mut task = Task::<T>::regression(80, 3, 2);
        task.weights = Some((0..80).map(|i| 0.5 + (i % 4) as f64).collect());
        let data = task.data(&model.plan);
        let history = fit(&mut model, &data, None, &fit_spec(80, 2000, 1.0), &mut Watcher::new()).expect("it trains");
        let losses: Vec<f64> = history.epochs.iter().map(|epoch| epoch.loss).collect();
        assert!(losses.windows(2).all(|two| two[1] <= two[0] * (1.0 + 3e-7)), "the loss never rises");
        (largest_gradient(&model, &data), history.stopped)
    }
    // Losses near 0.3 have a rounding of 6e-17 (3e-8 in float32), and a loss within that of its minimum has a gradient
    // of its square root.
    let (gradient, stopped) = trained::<f64>(5e-8);
    assert!(gradient <= 5e-8 && stopped == Stopped::Gtol, "{gradient} {stopped:?}");
    let (gradient, stopped) = trained::<f32>(0.0);
    assert!(gradient < 3e-4, "{gradient} {stopped:?}");
    assert!(matches!(stopped, Stopped::Ftol | Stopped::LineSearch), "{stopped:?}");
}

#[test]
fn what_is_frozen_keeps_its_bits_and_the_rest_moves() {
    let layers = vec![
        with(with(layer(6, "tanh"), "trainable", false), "l2", 0.1),
        with(layer(5, "tanh"), "trainable_bias", false),
        layer(2, "identity"),
    ];
    let mut model = model::<f32>(3, layers, "mse", lbfgs(5, 1e-5, 1e-9));
    let before = model.params.to_arrays(&model.plan).expect("it fits");
    let task = Task::<f32>::regression(40, 3, 2);
    let data = task.data(&model.plan);
    fit(&mut model, &data, None, &fit_spec(8, 8, 1.0), &mut Watcher::new()).expect("it trains");
    let after = model.params.to_arrays(&model.plan).expect("it fits");
    let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
    assert_eq!(same, [true, true, false, true, false, false]);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let _alone = pool();
    let trained = |threads: usize| {
        let layers = vec![layer(150, "tanh"), layer(3, "softmax")];
        let mut model = model::<f32>(130, layers, "cross_entropy", lbfgs(4, 1e-5, 1e-9));
        let task = Task::<f32>::for_loss("cross_entropy", 700, 130, 3);
        let data = task.data(&model.plan);
        let mut how = fit_spec(32, 12, 1.0);
        how.n_threads = threads;
        let history = fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("it trains");
        let mut found = bits(&model.params);
        found.extend(history.epochs.iter().flat_map(|epoch| [epoch.loss, epoch.rate].map(f64::to_bits)));
        found
    };
    let one = trained(1);
    for threads in 2..=4 {
        assert!(trained(threads) == one, "{threads} threads");
    }
}

#[test]
fn going_on_from_a_file_equals_never_having_stopped() {
    let network = || model::<f32>(3, vec![layer(8, "tanh"), layer(2, "identity")], "mse", lbfgs(3, 0.0, 0.0));
    let task = Task::<f32>::regression(60, 3, 2);
    let (mut whole, mut parts) = (network(), network());
    let data = task.data(&whole.plan);
    let mut watcher = Watcher::new();
    fit(&mut whole, &data, None, &fit_spec(60, 11, 1.0), &mut watcher).expect("it trains");
    for epochs in [(0, 1), (1, 4), (4, 11)] {
        let mut how = fit_spec(60, epochs.1, 1.0);
        how.initial_epoch = epochs.0;
        fit(&mut parts, &data, None, &how, &mut watcher).expect("it trains");
        let bytes = to_bytes(&parts, "").expect("a file");
        parts = from_bytes(&bytes).expect("a model").expect("of float32").0;
    }
    assert_eq!(bits(&parts.params), bits(&whole.params));
}

#[test]
fn an_interruption_within_a_search_leaves_the_last_step() {
    // 40 blocks of rows and a wide layer: questions come many times in each evaluation.
    let task = Task::<f32>::regression(2000, 40, 1);
    let network = || model::<f32>(40, vec![layer(500, "tanh"), layer(1, "identity")], "mse", lbfgs(5, 0.0, 0.0));
    let mut interrupted = network();
    let data = task.data(&interrupted.plan);
    let mut watcher = Watcher { interrupt_at: 40, ..Watcher::new() };
    let history = fit(&mut interrupted, &data, None, &fit_spec(2000, 50, 1.0), &mut watcher).expect("it trains");
    assert_eq!(history.stopped, Stopped::Interrupted);
    let mut whole = network();
    let done = history.epochs.len();
    assert!(done > 1, "some steps were made before");
    fit(&mut whole, &data, None, &fit_spec(2000, done, 1.0), &mut Watcher::new()).expect("it trains");
    assert_eq!(bits(&interrupted.params), bits(&whole.params));
}

#[test]
fn steps_that_overflow_are_made_shorter() {
    // Outputs near the largest float32: the first trial step, of length 1, multiplies inputs of 1e18.
    let mut model = model::<f32>(1, vec![layer(4, "relu"), layer(1, "identity")], "mae", lbfgs(10, 0.0, 0.0));
    let (x, y) = (table::<f32>(20, 1, |i, _| 1e18 * i as f64), table::<f32>(20, 1, |i, _| 1e18 * (20 - i) as f64));
    let data = Data::new(&model.plan, &x, Given::Table(&y), None).expect("it fits");
    let before = evaluate(&model, &data, &[], 1).expect("finite").0;
    let history = fit(&mut model, &data, None, &fit_spec(20, 20, 1.0), &mut Watcher::new()).expect("it trains");
    let after = evaluate(&model, &data, &[], 1).expect("finite").0;
    assert_ne!(history.stopped, Stopped::Diverged, "{}", history.message);
    assert!(after <= before && after.is_finite() && model.params.iter().all(|p| p.is_finite()), "{before} {after}");
}

#[test]
fn a_first_loss_that_is_not_finite_is_told_and_changes_nothing() {
    let mut model = model::<f32>(1, vec![layer(4, "relu"), layer(1, "identity")], "mse", lbfgs(10, 1e-5, 1e-9));
    let before = bits(&model.params);
    let x = table::<f32>(20, 1, |i, _| 1e30 * i as f64);
    let y = table::<f32>(20, 1, |_, _| 1.0);
    let data = Data::new(&model.plan, &x, Given::Table(&y), None).expect("it fits");
    let history = fit(&mut model, &data, None, &fit_spec(20, 20, 1.0), &mut Watcher::new()).expect("it returns");
    assert_eq!(history.stopped, Stopped::Diverged);
    assert!(!history.message.contains("learning rate"), "{}", history.message);
    assert_eq!(bits(&model.params), before);
}

#[test]
fn a_flat_loss_ends_at_once_and_a_corner_names_the_line_search() {
    // A layer of dead rectifiers: no gradient anywhere but in the bias of the last layer, which is right.
    let task = Task::<f64>::regression(20, 2, 1);
    let y = table::<f64>(20, 1, |_, _| 0.0);
    let dead = with(layer(3, "relu"), "bias_initializer", serde_json::json!({"name": "constant", "value": -1e3}));
    let mut flat = model::<f64>(2, vec![dead, layer(1, "identity")], "mse", lbfgs(10, 1e-5, 1e-9));
    let data = Data::new(&flat.plan, &task.x, Given::Table(&y), None).expect("it fits");
    let history = fit(&mut flat, &data, None, &fit_spec(20, 20, 1.0), &mut Watcher::new()).expect("it trains");
    assert_eq!((history.stopped, history.epochs.len()), (Stopped::Gtol, 1), "{}", history.message);
    // The absolute error of one parameter has no derivative at its minimum, the median.
    let mut corner = model::<f64>(2, vec![with(layer(1, "identity"), "trainable", true)], "mae", lbfgs(10, 0.0, 0.0));
    let y = table::<f64>(20, 1, |i, _| if i % 2 == 0 { 1.0 } else { -1.0 });
    let data = Data::new(&corner.plan, &task.x, Given::Table(&y), None).expect("it fits");
    let history = fit(&mut corner, &data, None, &fit_spec(20, 500, 1.0), &mut Watcher::new()).expect("it trains");
    assert!(matches!(history.stopped, Stopped::LineSearch | Stopped::Ftol), "{}", history.message);
}

#[test]
fn max_fun_ends_it_and_parameters_changed_in_between_are_seen() {
    let task = Task::<f64>::regression(30, 2, 1);
    let mut limited = model::<f64>(
        2,
        vec![layer(8, "tanh"), layer(1, "identity")],
        "mse",
        serde_json::from_value(serde_json::json!({"name": "lbfgs", "m": 10, "max_fun": 7, "gtol": 0.0, "ftol": 0.0}))
            .expect("the wire form"),
    );
    let data = task.data(&limited.plan);
    let history = fit(&mut limited, &data, None, &fit_spec(30, 100, 1.0), &mut Watcher::new()).expect("it trains");
    assert_eq!(history.stopped, Stopped::MaxFun, "{}", history.message);
    assert!(history.epochs.len() <= 7);
    // A single step has no meaning.
    let refused =
        train_on_batch(&mut limited, &data, crate::network::step_spec(1.0), &[], 1).expect_err("no single step");
    assert!(refused.to_string().contains("call fit"), "{refused}");
}

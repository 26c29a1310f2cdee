//! Divergence is an answer: where it happened, and the last finite weights.

use crate::network::{Random, Task, Watcher, bits, fit_spec, inputs, layer, model, optimizers, pool, sgd, table, with};
use dnn_core::{Epoch, FitSpec, Flow, Model, Observer, OptimizerSpec, Real, State, Stopped, fit, train_on_batch};
use serde_json::json;

/// Trains until it diverges; the message, and the epoch and step that were begun last, counted from 1.
fn diverged<T: Real>(model: &mut Model<T>, task: &Task<T>, rate: f64, batch_size: usize) -> (String, usize, usize) {
    let mut watcher = Watcher::new();
    let data = task.data(&model.plan);
    let history = fit(model, &data, None, &fit_spec(batch_size, 200, rate), &mut watcher).expect("no error");
    assert_eq!(history.stopped, Stopped::Diverged, "{}", history.message);
    assert!(model.params.iter().all(|x| x.is_finite()), "weights are finite: {}", history.message);
    assert_eq!(bits(&model.params), bits(&watcher.before), "weights are those before the step: {}", history.message);
    let begun = |hook: &str| watcher.calls.iter().rev().find_map(|call| call.strip_prefix(hook)?.parse::<usize>().ok());
    let (epoch, step) = (begun("epoch_begin ").expect("an epoch"), begun("batch_begin ").expect("a step"));
    assert_eq!(history.steps, watcher.calls.iter().filter(|call| call.starts_with("batch_end")).count());
    (history.message, epoch + 1, step + 1)
}

#[test]
fn a_rate_that_is_too_large_is_told_with_epoch_step_layer_and_advice() {
    for (rate, told, batch_size) in [(1e3, "1000", 8), (1e6, "1000000", 40), (1e15, "1e15", 16)] {
        let mut model = model::<f32>(3, vec![layer(8, "relu"), layer(2, "identity")], "mse", sgd(0.0));
        let task = Task::<f32>::regression(40, 3, 2);
        let (message, epoch, step) = diverged(&mut model, &task, rate, batch_size);
        assert!(message.starts_with("training diverged: the "), "{message}");
        assert!(["layer 1 ", "layer 2 "].iter().any(|layer| message.contains(layer)), "{message}");
        assert!(
            message.contains(&format!(" in epoch {epoch}, step {step}; the weights are those before")),
            "{message}"
        );
        assert!(message.contains(&format!("Try a learning rate below {told}, ")), "{message}");
    }
}

#[test]
fn no_rate_is_blamed_before_the_first_step() {
    let mut model = model::<f32>(3, vec![layer(8, "relu"), layer(2, "identity")], "mse", sgd(0.0));
    let task = Task::<f32>::regression(40, 3, 2);
    diverged(&mut model, &task, 1e6, 8);
    let (message, epoch, step) = diverged(&mut model, &task, 1e-3, 8);
    assert_eq!((epoch, step), (1, 1), "{message}");
    assert!(!message.contains("learning rate") && message.contains("begin with a new model"), "{message}");
}

#[test]
fn the_layer_whose_penalty_overflows_is_named() {
    // Its square is infinite: of the second layer only, whether that learns or not.
    for (learns, first, second) in [(true, 1.0, 1e160), (false, 1.0, 1e160), (true, 1e160, 1.0), (false, 1e160, 1.0)] {
        let of = |value: f64, learns: bool| {
            let constant = json!({"name": "constant", "value": value});
            let dense = with(with(layer(1, "tanh"), "weight_initializer", constant), "l2", json!(0.1));
            with(dense, "trainable", json!(learns))
        };
        let mut model = model::<f64>(1, vec![of(first, true), of(second, learns)], "mse", sgd(0.0));
        let task = Task { x: table(1, 1, |_, _| 0.0), y: table(1, 1, |_, _| 0.0), labels: vec![], weights: None };
        let data = task.data(&model.plan);
        let history = fit(&mut model, &data, None, &fit_spec(1, 2, 0.1), &mut Watcher::new()).expect("no error");
        let number = if second > first { 2 } else { 1 };
        let told = format!("training diverged: the penalty of layer {number} (");
        assert!(history.message.starts_with(&told), "{}", history.message);
    }
}

/// One layer or two, all weights `value`.
fn constant(value: f64, widths: &[usize], loss: &str) -> Model<f32> {
    let wire = json!({"name": "constant", "value": value});
    let layers = widths.iter().map(|&units| with(layer(units, "identity"), "weight_initializer", wire.clone()));
    model(1, layers.collect(), loss, sgd(0.0))
}

fn one_row(x: f64, y: f64) -> Task<f32> {
    Task { x: table(1, 1, |_, _| x), y: table(1, 1, |_, _| y), labels: vec![], weights: None }
}

#[test]
fn the_layer_whose_outputs_overflow_is_named() {
    for (x, widths, number) in [(1e38, &[1, 1][..], 1), (1e37, &[1, 1], 2), (1e36, &[1, 1, 1], 3)] {
        let mut model = constant(10.0, widths, "mae");
        let (message, ..) = diverged(&mut model, &one_row(x, 0.0), 0.1, 1);
        let expected = format!("training diverged: the outputs of layer {number} are not finite in epoch 1, step 1;");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_loss_that_overflows_on_finite_outputs_is_told_as_such() {
    let (message, ..) = diverged(&mut constant(1.0, &[1], "mse"), &one_row(1e30, 0.0), 0.1, 1);
    let expected = "training diverged: the loss of the outputs of layer 1 is not finite in epoch 1, step 1;";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn the_layer_whose_gradient_overflows_is_named() {
    // The loss is |x|, dL/dw its sign times x = 1e25, whose square is no float32.
    let (message, ..) = diverged(&mut constant(1.0, &[1], "mae"), &one_row(1e25, 0.0), 0.1, 1);
    assert!(message.starts_with("training diverged: the gradient of layer 1 is not finite"), "{message}");
    // dL/dw of the second layer is its input, 1e5 * 1e15; that of the first 1e5 * 1.
    let mut model = constant(1e5, &[1, 1], "mae");
    let (message, ..) = diverged(&mut model, &one_row(1e15, 0.0), 0.1, 1);
    assert!(message.starts_with("training diverged: the gradient of layer 2 is not finite"), "{message}");
}

#[test]
fn a_single_step_that_would_diverge_is_refused_and_leaves_the_model_as_it_was() {
    let mut model = constant(1.0, &[1], "mse");
    let task = one_row(1e30, 0.0);
    let (before, data) = (bits(&model.params), task.data(&model.plan));
    let refused =
        train_on_batch(&mut model, &data, crate::network::step_spec(0.1), &[], 1).expect_err("it diverges").to_string();
    assert!(refused.contains("the loss of the outputs of layer 1 is not finite"), "{refused}");
    assert_eq!(bits(&model.params), before);
    assert_eq!(model.optimizer.as_ref().map(|optimizer| optimizer.steps), Some(0));
}

#[test]
fn a_schedule_that_gives_no_rate_ends_training_before_the_epoch() {
    for rate in [f64::NAN, f64::INFINITY, -1.0] {
        let mut model = model::<f32>(3, vec![layer(2, "identity")], "mse", sgd(0.0));
        let task = Task::<f32>::regression(8, 3, 2);
        let (before, data) = (bits(&model.params), task.data(&model.plan));
        let mut how = fit_spec(4, 2, 0.0);
        how.learning_rate = None;
        let mut watcher = Watcher { rate, ..Watcher::new() };
        let history = fit(&mut model, &data, None, &how, &mut watcher).expect("no error");
        assert_eq!((history.stopped, history.steps), (Stopped::Diverged, 0));
        assert_eq!(history.message, format!("the schedule gave the rate {rate} in epoch 1"));
        assert_eq!(bits(&model.params), before);
    }
}

/// Networks, rates and data of many sizes: most diverge, sooner or later.
fn weights_stay_finite<T: Real>(largest_input: f64) {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let (loss, output) = random.pick(&[
            ("mse", "identity"),
            ("sse", "softplus"),
            ("mae", "identity"),
            ("huber", "identity"),
            ("cross_entropy", "softmax"),
            ("binary_cross_entropy", "sigmoid"),
            ("squared_hinge", "identity"),
        ]);
        let hidden = random.pick(&["relu", "tanh", "gelu", "silu", "elu", "selu", "softplus", "leaky_relu"]);
        let mut all = optimizers();
        all.extend([sgd(0.999), adamw(0.1), adamw(1e3)]);
        let optimizer = random.pick(&all);
        let (n_in, n_out) = (random.between(1, 6), random.between(2, 4));
        let layers = vec![layer(random.between(1, 20), hidden), layer(n_out, output)];
        let mut model = model::<T>(n_in, layers, loss, optimizer);
        let mut task = Task::<T>::for_loss(loss, 24, n_in, n_out);
        let (scale, x) = (largest_input.powf(random.unit()), inputs::<T>(24, n_in, seed));
        task.x = table(24, n_in, |i, j| x.row(i)[j].to_f64() * scale);
        let rate = 10f64.powf(15.0 * random.unit());
        let mut watcher = Watcher::new();
        let data = task.data(&model.plan);
        let spec = fit_spec(random.pick(&[1, 3, 8, 24]), 30, rate);
        let mut unseen = model.duplicate().expect("memory");
        let mut looks_away = Watcher { looks_away: true, ..Watcher::new() };
        let unwatched = fit(&mut unseen, &data, None, &spec, &mut looks_away).expect("no error");
        let history = fit(&mut model, &data, None, &spec, &mut watcher).expect("no error");
        let what =
            format!("{loss} {output} {hidden} {optimizer:?} rate {rate:e} inputs {scale:e}: {}", history.message);
        assert!(model.params.iter().all(|x| x.is_finite()), "{what}");
        assert_eq!((&unwatched.message, unwatched.steps), (&history.message, history.steps), "{what}");
        assert_eq!(bits(&unseen.params), bits(&model.params), "{what}");
        if history.stopped == Stopped::Diverged {
            assert_eq!(bits(&model.params), bits(&watcher.before), "{what}");
        }
    }
}

#[test]
fn whatever_the_rate_the_optimizer_and_the_data_the_weights_that_come_back_are_finite() {
    weights_stay_finite::<f32>(1e36);
    weights_stay_finite::<f64>(1e300);
}

fn adamw(weight_decay: f64) -> OptimizerSpec {
    let (beta_1, beta_2, epsilon, amsgrad, epsilon_hat, decay_bias) = (0.9, 0.999, 1e-8, false, false, true);
    OptimizerSpec::Adamw { beta_1, beta_2, epsilon, amsgrad, epsilon_hat, weight_decay, decay_bias }
}

#[test]
fn weights_that_were_set_to_their_limit_after_a_fit_are_seen_by_the_next_one() {
    let mut model = model::<f32>(2, vec![layer(1, "identity")], "mse", adamw(10.0));
    let task = Task::<f32>::for_loss("mse", 16, 2, 1);
    let data = task.data(&model.plan);
    // It knows now that no weight is large.
    let fitted = fit(&mut model, &data, None, &fit_spec(16, 3, 1e-3), &mut Watcher::new()).expect("no error");
    assert_eq!(fitted.stopped, Stopped::Epochs);
    model.params.fill(1e37);
    model.progress.weights_changed();
    let nothing = Task::<f32> { x: table(16, 2, |_, _| 0.0), ..task };
    // The inputs are 0, so the loss and the gradient of the weights are as small as the bias is; the weights shrink by a
    // factor of -999 each step.
    model.params[model.plan.layers[0].bias().start] = 0.0;
    let data = nothing.data(&model.plan);
    let history = fit(&mut model, &data, None, &fit_spec(16, 30, 100.0), &mut Watcher::new()).expect("no error");
    assert_eq!(history.stopped, Stopped::Diverged);
    assert!(history.message.contains("too large for float32"), "{}", history.message);
    assert!(model.params.iter().all(|x| x.is_finite()));
}

#[test]
fn weight_decay_that_makes_the_weights_run_away_is_told_and_leaves_them_finite() {
    // Each step multiplies the weights by 1 - 10 * 1e6: infinite in six steps, and no gradient has to be.
    let mut model = model::<f32>(2, vec![layer(4, "sigmoid"), layer(1, "sigmoid")], "binary_cross_entropy", adamw(1e6));
    let task = Task::<f32>::for_loss("binary_cross_entropy", 16, 2, 1);
    let (message, ..) = diverged(&mut model, &task, 10.0, 16);
    let expected = "training diverged: the weights become too large for float32, as each step takes 10000000 times";
    assert!(message.starts_with(expected), "{message}");
    // A single step is refused where it would do that.
    let (before, data) = (bits(&model.params), task.data(&model.plan));
    let mut last = String::new();
    for _ in 0..10 {
        if let Err(refused) = train_on_batch(&mut model, &data, crate::network::step_spec(10.0), &[], 1) {
            last = refused.to_string();
            break;
        }
    }
    assert!(last.starts_with(expected) && model.params.iter().all(|x| x.is_finite()), "{last}");
    assert_eq!(bits(&model.params), before, "it was at its limit");
}

#[test]
fn a_variance_that_overflows_is_told_though_the_outputs_are_numbers() {
    // Divided by an infinite deviation every output is 0, and so is its gradient.
    let norm = json!({"kind": "batch_normalization", "momentum": 0.9, "epsilon": 1e-3, "trainable": true});
    let mut model = model::<f32>(2, vec![norm, layer(1, "identity")], "mse", sgd(0.0));
    let x = table(8, 2, |i, j| if (i + j) % 2 == 0 { 1e25 } else { -1e25 });
    let task = Task { x, ..Task::<f32>::regression(8, 2, 1) };
    let (message, ..) = diverged(&mut model, &task, 0.1, 8);
    assert!(message.contains("the mean or variance of the inputs of layer 1 is not finite"), "{message}");
}

#[test]
fn weights_from_outside_are_looked_at_before_the_next_step() {
    // What `fit` knows of the size of the weights does not hold once somebody has changed them in between.
    let mut model = model::<f32>(1, vec![layer(1, "sigmoid")], "binary_cross_entropy", adamw(1.0));
    let task = Task { x: table(2, 1, |_, _| 0.0), ..Task::<f32>::for_loss("binary_cross_entropy", 2, 1, 1) };
    let data = task.data(&model.plan);
    let mut grown = Grown(Watcher::new());
    let history = fit(&mut model, &data, None, &fit_spec(2, 8, 3.0), &mut grown).expect("no error");
    assert_eq!((history.stopped, history.steps), (Stopped::Diverged, 3), "{}", history.message);
    assert!(model.params.iter().all(|x| x.is_finite()));
}

/// Sets the weights to what a single step takes beyond float32, after the third one.
struct Grown(Watcher<f32>);

impl Observer<f32> for Grown {
    fn seconds(&mut self) -> f64 {
        0.0
    }
    fn interrupted(&mut self) -> bool {
        false
    }
    fn rates(&mut self, _: u64, _: &mut [f64], _: State<f32>) -> Flow {
        Flow::Go
    }
    fn epoch_begin(&mut self, epoch: usize, state: State<f32>) -> Flow {
        if epoch == 3 {
            let weights = state.params.len().min(16);
            state.params[..weights].fill(3e38);
            state.progress.weights_changed();
        }
        Flow::Go
    }
    fn epoch_end(&mut self, epoch: &Epoch, last: bool, state: State<f32>) -> Flow {
        self.0.epoch_end(epoch, last, state)
    }
    fn batch_begin(&mut self, batch: usize, state: State<f32>) -> Flow {
        self.0.batch_begin(batch, state)
    }
    fn batch_end(&mut self, batch: usize, loss: f64, state: State<f32>) -> Flow {
        self.0.batch_end(batch, loss, state)
    }
}

/// What full-batch training of a layer of 600 inputs comes to, whose gradient of the weights from input j is the sum over
/// the 512 rows of x / 512.
fn outcome(n_out: usize, x: impl Fn(usize, usize) -> f64, threads: usize) -> (Stopped, String, Vec<u64>) {
    let zeros = with(layer(n_out, "identity"), "weight_initializer", json!({"name": "zeros"}));
    let mut model = model::<f32>(600, vec![zeros], "mae", sgd(0.0));
    let y = table(512, n_out, |_, _| -1.0);
    let task = Task { x: table(512, 600, x), y, labels: vec![], weights: None };
    let data = task.data(&model.plan);
    let how = FitSpec { n_threads: threads, ..fit_spec(512, 1, 1e-25) };
    let history = fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("no error");
    (history.stopped, history.message, bits(&model.params))
}

#[test]
fn whether_a_gradient_is_too_large_does_not_depend_on_the_threads() {
    let _pool = pool();
    // Shares of a batch may be too large where their sum is not, and the other way round: half of the rows have a, the
    // others b.
    let shares = |a: f64, b: f64| {
        move |i: usize, j: usize| {
            if j > 0 {
                0.0
            } else if i < 256 {
                a
            } else {
                b
            }
        }
    };
    // Squares that are numbers may add up to none: in the columns of a tile, of which threads have more or fewer.
    let cases: [(&str, Stopped, Vec<_>); 5] = [
        ("2nd", Stopped::Epochs, (1..=3).map(|n| outcome(1, shares(2e19, -5e19), n)).collect()),
        ("1st", Stopped::Diverged, (1..=3).map(|n| outcome(1, shares(-5e19, 2e19), n)).collect()),
        ("sum", Stopped::Diverged, (1..=3).map(|n| outcome(1, shares(2e19, 2e19), n)).collect()),
        ("few", Stopped::Epochs, (1..=3).map(|n| outcome(1, |_, _| 1.2e19, n)).collect()),
        ("all", Stopped::Epochs, (1..=3).map(|n| outcome(90, |_, _| 1.2e19 * 90.0, n)).collect()),
    ];
    for (what, stopped, found) in cases {
        assert_eq!(found[0].0, stopped, "{what}: {}", found[0].1);
        assert!(found.iter().all(|one| *one == found[0]), "{what}: {} {} {}", found[0].1, found[1].1, found[2].1);
    }
}

#[test]
fn a_penalty_that_makes_the_weights_run_away_leaves_them_finite() {
    // The outputs are saturated, so the data has no say: w <- w - rate 2 l2 w grows nineteenfold with every step.
    let wide = with(layer(4, "sigmoid"), "l2", 10.0);
    let mut model = model::<f32>(2, vec![wide, layer(1, "sigmoid")], "binary_cross_entropy", sgd(0.0));
    let task = Task::<f32>::for_loss("binary_cross_entropy", 16, 2, 1);
    let data = task.data(&model.plan);
    let history = fit(&mut model, &data, None, &fit_spec(16, 200, 1.0), &mut Watcher::new()).expect("no error");
    assert!(model.params.iter().all(|x| x.is_finite()), "{:?}: {}", history.stopped, history.message);
    assert_eq!(history.stopped, Stopped::Diverged);
}

#[test]
fn a_penalty_beyond_float32_leaves_the_weights_finite() {
    for (name, size) in [("l1", 1e39), ("l2", 1e39), ("l2", 1e30)] {
        let mut model = model::<f32>(2, vec![with(layer(1, "identity"), name, size)], "mse", sgd(0.0));
        let task = Task::<f32>::regression(16, 2, 1);
        let data = task.data(&model.plan);
        let history = fit(&mut model, &data, None, &fit_spec(16, 3, 1e10), &mut Watcher::new()).expect("no error");
        let finite = model.params.iter().all(|x| x.is_finite());
        assert!(finite, "{name} {size:e}, {:?}: {}", history.stopped, history.message);
    }
}

#[test]
fn an_epsilon_below_float32_leaves_the_weights_finite() {
    // In float32 it is 0, and a weight whose gradient is 0 is then moved by 0 / 0.
    let epsilon = 1e-50;
    let optimizer = OptimizerSpec::Adam { beta_1: 0.9, beta_2: 0.999, epsilon, amsgrad: false, epsilon_hat: false };
    let mut model = Model::<f32>::new(crate::network::spec::<f32>(vec![layer(3, "relu")]), 2).expect("it fits");
    if model.compile(crate::network::loss("mse"), optimizer).is_err() {
        return;
    }
    let x = table(4, 2, |i, j| if j == 0 { i as f64 } else { 0.0 });
    let task = Task { x, ..Task::<f32>::regression(4, 2, 3) };
    let data = task.data(&model.plan);
    let history = fit(&mut model, &data, None, &fit_spec(4, 3, 0.01), &mut Watcher::new()).expect("no error");
    assert!(model.params.iter().all(|x| x.is_finite()), "{:?}: {}", history.stopped, history.message);
}

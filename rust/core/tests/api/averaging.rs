//! Means of weights, and what else the end of an epoch goes by: what the core itself refuses, and what files bring back.

use crate::network::{Task, Watcher, adam, bits, fit_spec, layer, lbfgs, model};
use dnn_core::{Averaging, Error, FitSpec, History, Model, Stopped, Watched, fit, from_bytes, to_bytes};
use serde_json::json;

fn network() -> Model<f64> {
    model(3, vec![layer(4, "tanh"), layer(1, "identity")], "mse", adam(false))
}

fn train(model: &mut Model<f64>, how: &FitSpec) -> Result<History, Error> {
    let task = Task::<f64>::regression(20, 3, 1);
    let data = task.data(&model.plan);
    fit(model, &data, None, how, &mut Watcher::new())
}

#[test]
fn what_can_not_be_averaged_or_watched_is_refused_with_the_model_as_it_was() {
    let plain = || fit_spec(8, 3, 0.1);
    let average = |rule| FitSpec { averaging: Some(rule), ..plain() };
    let watch = |validation, metric| {
        let watched = Some(Watched { name: "it".into(), validation, metric, higher: false });
        FitSpec { watched, ..plain() }
    };
    let cases = [
        (average(Averaging::Ema { decay: 1.0 }), "decay must be at least 0 and below 1, got 1"),
        (average(Averaging::Ema { decay: f64::NAN }), "decay must be at least 0 and below 1, got NaN"),
        (average(Averaging::Swa { start_epoch: 0, every: 0 }), "every must be at least 1, got 0"),
        (watch(true, None), "it is to be watched, but is not measured"),
        (watch(false, Some(0)), "it is to be watched, but is not measured"),
        (FitSpec { baseline: Some(f64::INFINITY), ..plain() }, "baseline must be finite"),
    ];
    for (how, message) in cases {
        let mut model = network();
        let error = train(&mut model, &how).expect_err(message).to_string();
        assert_eq!(error, message);
        assert_eq!(bits(&model.params), bits(&network().params));
    }
    let mut model = model(3, vec![layer(1, "identity")], "mse", lbfgs(3, 0.0, 0.0));
    let error = train(&mut model, &average(Averaging::Ema { decay: 0.5 })).expect_err("no steps to average");
    assert!(error.to_string().starts_with("L-BFGS"), "{error}");
}

#[test]
fn a_file_brings_back_the_mean_the_weights_and_what_stands_where() {
    for (rule, epochs) in [
        (Averaging::Ema { decay: 0.8 }, [2, 5]),
        (Averaging::Swa { start_epoch: 1, every: 2 }, [1, 4]),
        (Averaging::Swa { start_epoch: 1, every: 2 }, [3, 4]),
    ] {
        let how = |first, last| FitSpec {
            averaging: Some(rule),
            initial_epoch: first,
            learning_rate: Some(0.05),
            ..fit_spec(8, last, 0.05)
        };
        let mut whole = network();
        train(&mut whole, &how(0, epochs[1])).expect("it trains");
        let mut parts = network();
        train(&mut parts, &how(0, epochs[0])).expect("it trains");
        let bytes = to_bytes(&parts, "").expect("it fits");
        let (mut parts, _) = from_bytes::<f64>(&bytes).expect("a model").expect("of float64");
        assert_eq!(to_bytes(&parts, "").expect("it fits"), bytes);
        train(&mut parts, &how(epochs[0], epochs[1])).expect("it trains");
        assert_eq!(bits(&parts.params), bits(&whole.params), "{rule:?}");
    }
}

#[test]
fn an_interruption_at_the_end_names_the_epoch_and_leaves_weights_with_moments_of_their_own() {
    // Each look at the 1024 rows, to learn or to take the moments of the mean, is some 17 million multiply-adds.
    let layers = || {
        vec![
            layer(256, "relu"),
            json!({"kind": "batch_normalization", "momentum": 0.9, "epsilon": 1e-3, "trainable": true}),
            layer(8, "identity"),
        ]
    };
    let task = Task::<f32>::regression(1024, 64, 8);
    let trained = |epochs, interrupt_at| {
        let mut model = model::<f32>(64, layers(), "mse", adam(false));
        let data = task.data(&model.plan);
        let how = FitSpec { averaging: Some(Averaging::Ema { decay: 0.5 }), ..fit_spec(1024, epochs, 0.01) };
        let mut watcher = Watcher { interrupt_at, ..Watcher::new() };
        let history = fit(&mut model, &data, None, &how, &mut watcher).expect("it trains");
        (history, watcher, bits(&model.params))
    };
    let questions = trained(3, 0).1.questions;
    let mut at_ends = 0;
    for interrupt_at in 1..=questions {
        let (history, watcher, params) = trained(3, interrupt_at);
        assert_eq!(history.stopped, Stopped::Interrupted, "question {interrupt_at} of {questions}");
        let (steps, epochs) = (history.steps, history.epochs.len());
        if history.message.ends_with(" at its end") {
            at_ends += 1;
            assert_eq!(history.message, format!("interrupted in epoch {steps} at its end"));
            assert!(epochs == steps - 1 || epochs == 3 && steps == 3, "{epochs} epochs of {steps} steps");
        } else {
            assert_eq!(history.message, format!("interrupted in epoch {} before step 1", steps + 1));
            assert_eq!(epochs, steps);
        }
        if steps > 0 {
            assert_eq!(params, bits(&watcher.after), "{}", history.message);
        }
    }
    assert!(at_ends > 3, "{at_ends} of {questions}");
}

//! Means of weights, and what else the end of an epoch goes by: what the core itself refuses, and what files bring back.

use crate::network::{Task, Watcher, adam, bits, fit_spec, layer, lbfgs, model};
use dnn_core::{Averaging, Error, FitSpec, History, Model, Watched, fit, from_bytes, to_bytes};

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

//! Every optimizer: it learns, the same for any number of threads; its gradients may be clipped, and gathered over batches.

use crate::network::{Task, Watcher, adam, bits, fit_spec, layer, model, optimizers, pool, sgd, step_spec};
use dnn_core::{Clip, Data, FitSpec, Given, Model, Optimizer, OptimizerSpec, StepSpec, evaluate, fit, train_on_batch};

#[test]
fn the_loss_falls_with_every_optimizer_at_a_rate_of_its_size() {
    for optimizer in optimizers() {
        let rate = if matches!(optimizer, OptimizerSpec::Adadelta { .. }) { 1.0 } else { 0.01 };
        let mut model = model::<f64>(3, vec![layer(16, "tanh"), layer(2, "identity")], "mse", optimizer);
        let task = Task::<f64>::regression(120, 3, 2);
        let data = task.data(&model.plan);
        let before = evaluate(&model, &data, &[], 1).expect("it fits").0;
        fit(&mut model, &data, None, &fit_spec(120, 60, rate), &mut Watcher::new()).expect("it trains");
        let after = evaluate(&model, &data, &[], 1).expect("it fits").0;
        assert!(after < 0.9 * before, "{optimizer:?}: from {before} to {after}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits_with_every_optimizer() {
    let _alone = pool();
    for optimizer in optimizers() {
        let trained = |threads: usize| {
            let layers = vec![layer(200, "tanh"), layer(300, "relu"), layer(2, "identity")];
            let mut model = model::<f32>(30, layers, "mse", optimizer);
            let task = Task::<f32>::regression(64, 30, 2);
            let data = task.data(&model.plan);
            let how = FitSpec { n_threads: threads, ..fit_spec(32, 2, 0.01) };
            fit(&mut model, &data, None, &how, &mut Watcher::new()).expect("it trains");
            bits(&model.params)
        };
        assert!(trained(1) == trained(2) && trained(1) == trained(3), "{optimizer:?}");
    }
}

#[test]
fn constants_out_of_range_are_refused_by_name() {
    for (optimizer, name) in [
        (
            OptimizerSpec::Rmsprop { rho: 1.0, momentum: 0.0, centered: false, epsilon: 1e-8, epsilon_inside: false },
            "rho",
        ),
        (OptimizerSpec::Adagrad { epsilon: 0.0, initial_accumulator: 0.0 }, "epsilon"),
        (OptimizerSpec::Adagrad { epsilon: 1e-8, initial_accumulator: -1.0 }, "initial_accumulator"),
        (OptimizerSpec::Adadelta { rho: -0.1, epsilon: 1e-8 }, "rho"),
        (OptimizerSpec::Adamax { beta_1: 0.9, beta_2: 1.0, epsilon: 1e-8 }, "beta_2"),
        (OptimizerSpec::Nadam { beta_1: 0.9, beta_2: 0.9, epsilon: 1e-8, momentum_decay: f64::NAN }, "momentum_decay"),
        (OptimizerSpec::Lion { beta_1: 0.9, beta_2: 0.9, weight_decay: -1.0, decay_bias: false }, "weight_decay"),
        (OptimizerSpec::Radam { beta_1: 0.9, beta_2: 0.5, epsilon: 1e-8 }, "beta_2"),
        (OptimizerSpec::Rprop { etas: [0.5, 0.9], step_sizes: [1e-6, 50.0] }, "etas"),
        (OptimizerSpec::Rprop { etas: [0.5, 1.2], step_sizes: [1.0, 0.5] }, "step_sizes"),
    ] {
        let plan = model::<f32>(2, vec![layer(1, "identity")], "mse", sgd(0.0)).plan;
        let error = Optimizer::<f32>::new(optimizer, &plan).expect_err("out of range").to_string();
        assert!(error.starts_with(name), "{optimizer:?}: {error}");
    }
}

#[test]
fn coefficients_of_muon_that_would_overflow_are_refused() {
    for optimizer in optimizers() {
        let OptimizerSpec::Muon { momentum, nesterov, weight_decay, epsilon, adjust_rate, beta_1, beta_2, .. } =
            optimizer
        else {
            continue;
        };
        let with = |ns_coefficients, ns_steps| {
            let adam_epsilon = 1e-8;
            let spec = OptimizerSpec::Muon {
                momentum,
                nesterov,
                weight_decay,
                ns_coefficients,
                ns_steps,
                epsilon,
                adjust_rate,
                beta_1,
                beta_2,
                adam_epsilon,
            };
            let plan = model::<f32>(2, vec![layer(1, "identity")], "mse", sgd(0.0)).plan;
            Optimizer::<f32>::new(spec, &plan).map(|_| ())
        };
        assert!(with([1.5, -0.5, 0.0], 99).is_ok());
        for (coefficients, steps) in [([3.0, 1.0, 0.0], 30), ([f64::NAN, 0.0, 0.0], 1), ([1.5, -0.5, 0.0], 100)] {
            assert!(with(coefficients, steps).is_err(), "{coefficients:?} {steps}");
        }
    }
}

#[test]
fn batches_accumulated_are_one_batch_of_all_their_rows_also_where_the_last_group_is_ragged() {
    let layers = || vec![layer(9, "gelu"), layer(2, "identity")];
    // 50 rows: with 4 x 3 in a step four groups of 12 and one of 2; with 5 x 20 one of all.
    for (batch, accumulate, together) in [(4, 3, 12), (5, 20, 50), (7, 2, 14)] {
        let task = Task::<f64>::regression(50, 4, 2);
        let (mut one, mut other) = (model(4, layers(), "mse", adam(false)), model(4, layers(), "mse", adam(false)));
        let data = task.data(&one.plan);
        let in_parts = FitSpec { accumulate, ..fit_spec(batch, 3, 0.01) };
        let history = fit(&mut one, &data, None, &in_parts, &mut Watcher::new()).expect("it trains");
        fit(&mut other, &data, None, &fit_spec(together, 3, 0.01), &mut Watcher::new()).expect("it trains");
        assert_eq!(history.steps as usize, 3 * 50usize.div_ceil(together));
        for (&a, &b) in one.params.iter().zip(other.params.iter()) {
            // The sums over the rows are cut in other places.
            assert!((a - b).abs() <= 1e-12, "{batch} x {accumulate}: {a} {b}");
        }
    }
}

#[test]
fn a_gradient_is_clipped_to_its_norm_or_element_by_element() {
    // y = w x + b with w = 2, b = 1 on x = 3, t = 5: dL/dw = 12, dL/db = 4, as above; its norm is sqrt(160).
    for (clip, w, b) in [
        (Clip { norm: Some(1.0), value: None }, 12.0 / 160f64.sqrt(), 4.0 / 160f64.sqrt()),
        (Clip { norm: Some(13.0), value: None }, 12.0, 4.0),
        (Clip { norm: None, value: Some(5.0) }, 5.0, 4.0),
        (Clip { norm: None, value: Some(0.5) }, 0.5, 0.5),
    ] {
        let mut model = model::<f64>(1, vec![layer(1, "identity")], "mse", sgd(0.0));
        let arrays = [ndarray::arr2(&[[2.0]]).into_dyn(), ndarray::arr1(&[1.0]).into_dyn()];
        let Model { plan, params, .. } = &mut model;
        params.set_arrays(plan, &[arrays[0].view(), arrays[1].view()]).expect("arrays that fit");
        let (x, y) = (crate::network::table(1, 1, |_, _| 3.0), crate::network::table(1, 1, |_, _| 5.0));
        let data = Data::new(&model.plan, &x, Given::Table(&y), None).expect("data that fits");
        let mut fitted = model.duplicate().expect("room");
        train_on_batch(&mut model, &data, StepSpec { clip, ..step_spec(0.125) }, &[], 1).expect("finite");
        let after = model.params.to_arrays(&model.plan).expect("it fits");
        let expected = [2.0 - 0.125 * w, 1.0 - 0.125 * b];
        for (got, expected) in [after[0][[0, 0]], after[1][[0]]].into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-15, "{clip:?}: {got} {expected}");
        }
        let how = FitSpec { clip, ..fit_spec(1, 1, 0.125) };
        let history = fit(&mut fitted, &data, None, &how, &mut Watcher::new()).expect("it trains");
        assert_eq!(bits(&fitted.params), bits(&model.params));
        // What is told is the norm before.
        assert!((history.epochs.at(0).grad_norm - 160f64.sqrt()).abs() < 1e-13);
    }
}

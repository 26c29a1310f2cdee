//! What a network's plan says, and which networks it refuses.

use crate::network::{layer, loss, spec, with};
use dnn_core::{Error, Isa, Model, OptimizerSpec, Plan, Real, Spec};
use dnn_kernels::row_stride;
use serde_json::{Value, json};

fn plan<T: Real>(n_inputs: usize, layers: Vec<Value>) -> Plan {
    Plan::new::<T>(&spec::<T>(layers), n_inputs).expect("a network that fits")
}

#[test]
fn the_network_of_the_article_has_337_parameters() {
    let plan = plan::<f32>(2, vec![layer(16, "relu"), layer(16, "relu"), layer(1, "identity")]);
    // 2 * 16 + 16, 16 * 16 + 16, 16 * 1 + 1
    let counts: Vec<usize> = plan.layers.iter().map(|layer| layer.n_parameters()).collect();
    assert_eq!((counts, plan.n_parameters()), (vec![48, 272, 17], 337));
    assert_eq!((plan.n_inputs, plan.n_outputs()), (2, 1));
}

fn blocks_follow_each_other<T: Real>(widths: &[usize]) {
    let layers = widths.iter().map(|&units| layer(units, "tanh")).collect();
    let plan = plan::<T>(3, layers);
    let (mut start, mut n_in) = (0, 3);
    for (layer, &n_out) in plan.layers.iter().zip(widths) {
        assert_eq!((layer.start, layer.n_in, layer.n_out), (start, n_in, n_out));
        assert!(layer.stride >= n_out && layer.stride.is_multiple_of(T::LANES), "rows are padded to whole vectors");
        // A row for each input, or for each of few outputs.
        let (rows, columns) = if n_out <= 4 && n_out < n_in { (n_out, n_in) } else { (n_in, n_out) };
        assert_eq!(layer.is_turned, (rows, columns) != (n_in, n_out));
        assert_eq!(layer.weight_stride, row_stride::<T>(columns));
        assert_eq!(layer.weights(), start..start + rows * layer.weight_stride);
        let bias = layer.weights().end;
        assert_eq!(layer.bias(), bias..bias + layer.stride, "the bias is the last row of the block");
        (start, n_in) = (layer.bias().end, n_out);
    }
    assert_eq!(plan.len, start);
    assert_eq!((plan.trainable.len(), &plan.trainable[0]), (1, &(0..start)), "what learns is one range");
}

#[test]
fn vectors_run_over_the_rows_where_a_batch_fills_them_or_the_network_is_very_small() {
    let one_kernel = |widths: &[usize], rows: usize| {
        let mut spec = spec::<f32>(widths.iter().map(|&units| layer(units, "tanh")).collect());
        spec.loss = Some(loss("mse"));
        Plan::new::<f32>(&spec, widths[0]).expect("a network that fits").stages(rows, f32::LANES).is_some()
    };
    assert!(one_kernel(&[4, 4, 1], 1) && one_kernel(&[8, 8, 8, 3], 1));
    assert!(!one_kernel(&[32, 32, 32], 2) && one_kernel(&[32, 32, 32], 64));
    assert!(one_kernel(&[256, 100, 256], 1), "of a single row vectors run over the units");
    assert!(!one_kernel(&[33, 8], 64) && !one_kernel(&[257, 8], 1), "wider than any that pays");
}

fn groups<T: Real>() {
    let one_kernel = |widths: &[usize], rows: usize| {
        let mut spec = spec::<T>(widths.iter().map(|&units| layer(units, "tanh")).collect());
        spec.loss = Some(loss("mse"));
        Plan::new::<T>(&spec, widths[0]).expect("a network that fits").stages(rows, T::LANES).is_some()
    };
    for rows in 2..=4 {
        assert!(one_kernel(&[28], rows) && !one_kernel(&[29], rows), "812 and 870 parameters");
        assert!(one_kernel(&[4, 128, 4], rows) && !one_kernel(&[4, 129, 4], rows), "128 and 129 wide");
        assert!(one_kernel(&[4, 32], rows) && !one_kernel(&[4, 33], rows), "32 and 33 outputs");
    }
    assert!(!one_kernel(&[4, 128, 4], 5), "five rows are no group");
}

#[test]
fn two_to_four_rows_of_networks_that_are_a_little_wider_are_one_kernel_too() {
    groups::<f32>();
    groups::<f64>();
}

#[test]
fn the_bias_is_the_last_row_of_its_block_and_blocks_follow_each_other() {
    // 512 float32 are 2 KiB: rows get a vector more, so that they do not lie in each other's way.
    for widths in [&[1][..], &[3, 4], &[16, 16, 1], &[15, 17, 33, 8], &[512, 256, 1024, 2]] {
        blocks_follow_each_other::<f32>(widths);
        blocks_follow_each_other::<f64>(widths);
    }
}

#[test]
fn a_layer_without_a_bias_has_no_bias_row() {
    let plan = plan::<f32>(3, vec![with(layer(5, "relu"), "use_bias", false), layer(2, "identity")]);
    assert!(plan.layers[0].bias().is_empty());
    assert_eq!(plan.layers[0].weights().end, plan.layers[1].start);
    assert_eq!((plan.layers[0].n_parameters(), plan.n_parameters()), (15, 15 + 12));
}

#[test]
fn what_is_frozen_is_not_among_what_learns() {
    let frozen_bias = with(layer(5, "relu"), "trainable_bias", false);
    let frozen = with(layer(4, "relu"), "trainable", false);
    let plan = plan::<f32>(3, vec![frozen_bias, frozen, layer(2, "identity")]);
    let [first, second, third] = &plan.layers[..] else { panic!("three layers") };
    assert_eq!(plan.trainable, [first.weights(), third.start..third.bias().end]);
    assert!(!second.trainable() && first.trainable() && !first.trainable_bias);
}

fn refusal(n_inputs: usize, spec: &Spec) -> String {
    match Plan::new::<f32>(spec, n_inputs) {
        Err(Error::Invalid(message)) => message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn every_refusal_names_the_layer_and_what_is_wrong() {
    let hidden = |layer_1: Value| vec![layer_1, layer(2, "identity")];
    let initializer = |wire: Value| hidden(with(layer(3, "tanh"), "weight_initializer", wire));
    let bias = |wire: Value| hidden(with(layer(3, "tanh"), "bias_initializer", wire));
    let activation = |wire: Value| hidden(with(layer(3, "tanh"), "activation", wire));
    let cases = [
        (vec![], "the network needs at least one layer, got none"),
        (hidden(layer(0, "relu")), "layer 1: units must be at least 1, got 0"),
        (vec![layer(3, "relu"), layer(0, "relu")], "layer 2: units must be at least 1, got 0"),
        (
            hidden(layer(3, "softmax")),
            "layer 1: softmax is for the last layer; give hidden layers relu, tanh or another",
        ),
        (
            vec![layer(1, "softmax")],
            "layer 1: softmax of one unit is always 1; use sigmoid, or one unit for each class",
        ),
        (
            activation(json!({"name": "leaky_relu", "slope": 1.0})),
            "layer 1: slope of leaky_relu must be in [0, 1), got 1",
        ),
        (
            activation(json!({"name": "leaky_relu", "slope": -0.5})),
            "layer 1: slope of leaky_relu must be in [0, 1), got -0.5",
        ),
        (
            activation(json!({"name": "elu", "alpha": 0.0})),
            "layer 1: alpha of elu must be above 0 and at most 3.4e38, the largest float32, got 0.0",
        ),
        (hidden(with(layer(3, "relu"), "l1", -1.0)), "layer 1: l1 must be 0 or more, got -1"),
        (hidden(with(layer(3, "relu"), "l2", -0.5)), "layer 1: l2 must be 0 or more, got -0.5"),
        (
            initializer(json!({"name": "uniform", "low": 1.0, "high": 1.0})),
            "layer 1: weight_initializer: low must be below high, both and their distance within +-3.4e38, the \
             largest float32, got 1.0 and 1.0",
        ),
        (
            bias(json!({"name": "uniform", "low": 2.0, "high": 1.0})),
            "layer 1: bias_initializer: low must be below high, both and their distance within +-3.4e38, the \
             largest float32, got 2.0 and 1.0",
        ),
        (
            initializer(json!({"name": "normal", "mean": 0.0, "std": -1.0})),
            "layer 1: weight_initializer: std must be 0 or more, and |mean| + 40 std at most 3.4e38, the largest \
             float32, got mean 0.0 and std -1.0",
        ),
    ];
    for (layers, message) in cases {
        assert_eq!(refusal(4, &spec::<f32>(layers)), message);
    }
    let inputs = "the network needs at least one input column, got 0";
    assert_eq!(refusal(0, &spec::<f32>(vec![layer(1, "relu")])), inputs);
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    use dnn_core::{ActivationSpec, Initializer};
    type Change = fn(&mut dnn_core::DenseSpec, f64);
    let changes: [Change; 7] = [
        |layer, x| layer.l1 = x,
        |layer, x| layer.l2 = x,
        |layer, x| layer.activation = ActivationSpec::LeakyRelu { slope: x },
        |layer, x| layer.activation = ActivationSpec::Elu { alpha: x },
        |layer, x| layer.weight_initializer = Initializer::Constant { value: x },
        |layer, x| layer.weight_initializer = Initializer::Uniform { low: -x, high: x },
        |layer, x| layer.bias_initializer = Initializer::Normal { mean: x, std: 1.0 },
    ];
    for change in changes {
        for x in [f64::NAN, f64::INFINITY] {
            let mut spec = spec::<f32>(vec![layer(3, "tanh"), layer(2, "identity")]);
            let dnn_core::LayerSpec::Dense(dense) = &mut spec.layers[1] else { panic!("a dense layer") };
            change(dense, x);
            assert!(refusal(4, &spec).starts_with("layer 2: "));
        }
    }
}

#[test]
fn an_instruction_set_that_is_not_there_is_refused_and_one_that_is_there_is_used() {
    let mut spec = spec::<f32>(vec![layer(1, "identity")]);
    spec.isa = Some("sse9".to_owned());
    assert!(refusal(1, &spec).starts_with("there is no instruction set \"sse9\"; this machine has "));
    for isa in Isa::available() {
        spec.isa = Some(isa.name().to_owned());
        assert_eq!(Plan::new::<f32>(&spec, 1).expect("a set of this machine").isa, isa);
    }
}

#[test]
fn a_loss_that_does_not_fit_the_output_is_refused_and_leaves_the_model_as_it_was() {
    for (activation, name, hint) in [
        ("identity", "cross_entropy", "activation='softmax'"),
        ("sigmoid", "cross_entropy", "activation='softmax'"),
        ("softmax", "binary_cross_entropy", "activation='sigmoid'"),
        ("tanh", "binary_cross_entropy", "activation='sigmoid'"),
        ("softmax", "hinge", "'tanh'"),
        ("sigmoid", "squared_hinge", "'tanh'"),
    ] {
        let mut model = Model::<f32>::new(spec::<f32>(vec![layer(3, activation)]), 2).expect("a network that fits");
        let before = model.spec.clone();
        let error = model.compile(loss(name), crate::network::sgd(0.0)).expect_err("a loss that does not fit");
        assert!(error.to_string().contains(hint), "{name} with {activation}: {error}");
        assert!(model.spec == before && model.optimizer.is_none() && model.plan.loss.is_none());
    }
    let huber = serde_json::from_value(json!({"name": "huber", "delta": 0.0})).expect("the wire form");
    let mut model = Model::<f32>::new(spec::<f32>(vec![layer(3, "tanh")]), 2).expect("a network that fits");
    let error = model.compile(huber, crate::network::sgd(0.0)).expect_err("no delta");
    assert_eq!(error.to_string(), "delta of huber must be positive, got 0");
}

#[test]
fn constants_of_an_optimizer_out_of_range_are_refused_with_their_name() {
    let sgd = |momentum: f64, nesterov: bool, dampened: bool| OptimizerSpec::Sgd { momentum, nesterov, dampened };
    let adam = |beta_1: f64, beta_2: f64, epsilon: f64| OptimizerSpec::Adam {
        beta_1,
        beta_2,
        epsilon,
        amsgrad: false,
        epsilon_hat: false,
    };
    for (optimizer, message) in [
        (sgd(1.0, false, false), "momentum must be in [0, 1), got 1"),
        (sgd(f64::NAN, false, false), "momentum must be in [0, 1), got NaN"),
        (sgd(0.0, true, false), "nesterov and dampened need a momentum above 0"),
        (sgd(0.5, true, true), "nesterov and dampened exclude each other"),
        (adam(1.0, 0.9, 1e-8), "beta_1 must be in [0, 1), got 1"),
        (adam(0.9, -0.1, 1e-8), "beta_2 must be in [0, 1), got -0.1"),
        (adam(0.9, 0.9, 0.0), "epsilon must be positive, got 0"),
        (adam(0.9, 0.9, f64::INFINITY), "epsilon must be positive, got inf"),
    ] {
        let mut model = Model::<f32>::new(spec::<f32>(vec![layer(3, "tanh")]), 2).expect("a network that fits");
        let error = model.compile(loss("mse"), optimizer).expect_err("out of range");
        assert_eq!(error.to_string(), message);
    }
}

const NO_ADDRESS: &str = "needs more bytes than there are addresses, which this machine does not give";

fn memory_message(n_inputs: usize, widths: &[usize]) -> String {
    let layers = widths.iter().map(|&units| layer(units, "relu")).collect();
    match Model::<f32>::new(spec::<f32>(layers), n_inputs) {
        Err(Error::Memory(message)) => message,
        other => panic!("expected too little memory, got {:?}", other.map(|model| model.plan)),
    }
}

#[test]
fn sizes_that_overflow_are_an_error_that_names_the_layer_and_the_bytes() {
    const HUGE: usize = 1 << 58;
    assert_eq!(memory_message(1 << 40, &[1 << 40]), format!("layer 1 ({0} x {0}) {NO_ADDRESS}", 1u64 << 40));
    assert_eq!(memory_message(usize::MAX, &[1]), format!("layer 1 ({} x 1) {NO_ADDRESS}", usize::MAX));
    // 2 x 2^58 float32
    let bytes = 8 * HUGE;
    let expected = format!("layer 1 (2 x {HUGE}) needs {bytes} bytes, which this machine does not give");
    assert_eq!(memory_message(2, &[HUGE]), expected);
}

#[test]
fn as_many_units_as_there_are_numbers_are_an_error_too() {
    for units in [1 << 62, usize::MAX / 2, usize::MAX - 15, usize::MAX] {
        assert_eq!(memory_message(4, &[3, units]), format!("layer 2 (3 x {units}) {NO_ADDRESS}"));
    }
}

#[test]
fn a_network_that_can_be_addressed_but_not_had_names_its_largest_layer_and_the_bytes() {
    // 3 rows of 2^54 float32 are 192 PiB: more than any machine maps.
    let units = 1usize << 54;
    let message = memory_message(1, &[2, units]);
    let largest = format!("the network (its largest layer is layer 2, 2 x {units}) needs ");
    assert!(message.starts_with(&largest), "{message}");
    let bytes = message[largest.len()..].split(' ').next().expect("a number").parse::<usize>().expect("a number");
    let least = 3 * units * size_of::<f32>();
    assert!((least..least + 4096).contains(&bytes), "{message}");
}

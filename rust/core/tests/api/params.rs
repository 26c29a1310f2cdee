//! The parameter store: arrays in, the same arrays out, all or nothing.

use crate::network::{bits, layer, spec, with};
use dnn_core::{Model, Real};
use dnn_kernels::row_stride;
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, ShapeBuilder};

/// 3 inputs, a layer of 5 with a bias, one of 17 without, one of 2 with.
fn network<T: Real>() -> Model<T> {
    let layers = vec![layer(5, "tanh"), with(layer(17, "tanh"), "use_bias", false), layer(2, "identity")];
    Model::new(spec::<T>(layers), 3).expect("a network that fits")
}

/// Arrays of the shapes of the network, every number different.
fn arrays<T: Real>() -> Vec<ArrayD<T>> {
    let mut next = 0.0;
    let shapes: [&[usize]; 5] = [&[3, 5], &[5], &[5, 17], &[17, 2], &[2]];
    let numbers = |shape: &[usize]| {
        ArrayD::from_shape_fn(IxDyn(shape), |_| {
            next += 0.25;
            T::from_f64(next)
        })
    };
    shapes.map(numbers).into()
}

fn views<T>(arrays: &[ArrayD<T>]) -> Vec<ArrayViewD<'_, T>> {
    arrays.iter().map(|array| array.view()).collect()
}

fn round_trip<T: Real>() {
    let (mut model, arrays) = (network::<T>(), arrays::<T>());
    let Model { plan, params, .. } = &mut model;
    params.set_arrays(plan, &views(&arrays)).expect("arrays that fit");
    assert_eq!(params.to_arrays(plan).expect("it fits"), arrays);
    // Weights and biases where the plan says, zeros in between.
    let mut there = 0;
    for (index, layer) in plan.layers.iter().enumerate() {
        // Where the weights are among the arrays; the bias follows them.
        let at = [0, 2, 3][index];
        let bias = layer.use_bias.then(|| arrays[at + 1].clone().insert_axis(Axis(0)));
        // Those of few outputs are turned: 17 -> 2 is the only such layer here.
        let weights = if layer.n_out == 2 { arrays[at].t() } else { arrays[at].view() };
        for (array, range) in
            [(weights, layer.weights())].into_iter().chain(bias.iter().map(|b| (b.view(), layer.bias())))
        {
            let rows = params[range].chunks_exact(row_stride::<T>(array.shape()[1]));
            assert_eq!(rows.len(), array.shape()[0], "rows of layer {}", index + 1);
            for (i, row) in rows.enumerate() {
                let expected: Vec<T> = array.index_axis(Axis(0), i).iter().copied().collect();
                assert_eq!(&row[..expected.len()], expected, "row {i} of layer {}", index + 1);
                let is_zero = row[expected.len()..].iter().all(|&x| x == T::ZERO);
                assert!(is_zero, "padding of row {i} of layer {}", index + 1);
                there += row.len();
            }
        }
    }
    assert_eq!(there, plan.len);
}

#[test]
fn arrays_come_back_as_they_were_set_and_the_padding_stays_zero() {
    round_trip::<f32>();
    round_trip::<f64>();
}

#[test]
fn arrays_in_any_layout_are_taken_by_their_elements() {
    let (mut model, expected) = (network::<f32>(), arrays::<f32>());
    let columns_first: Vec<ArrayD<f32>> =
        expected.iter().map(|array| ArrayD::from_shape_fn(IxDyn(array.shape()).f(), |index| array[&index])).collect();
    let Model { plan, params, .. } = &mut model;
    params.set_arrays(plan, &views(&columns_first)).expect("arrays that fit");
    assert_eq!(params.to_arrays(plan).expect("it fits"), expected);
}

#[test]
fn arrays_that_do_not_fit_are_refused_with_the_layer_and_nothing_is_set() {
    type Change = fn(&mut Vec<ArrayD<f32>>);
    let cases: [(Change, &str); 9] = [
        (|a| drop(a.pop()), "the network has 5 arrays of weights and biases, got 4"),
        (|a| a.push(ArrayD::zeros(IxDyn(&[1]))), "the network has 5 arrays of weights and biases, got 6"),
        (|a| a.clear(), "the network has 5 arrays of weights and biases, got 0"),
        (|a| a[0] = ArrayD::zeros(IxDyn(&[5, 3])), "weights of layer 1 must have the shape [3, 5], got [5, 3]"),
        (|a| a[1] = ArrayD::zeros(IxDyn(&[1, 5])), "bias of layer 1 must have the shape [5], got [1, 5]"),
        (|a| a[3] = ArrayD::zeros(IxDyn(&[34])), "weights of layer 3 must have the shape [17, 2], got [34]"),
        (|a| a[4] = ArrayD::zeros(IxDyn(&[3])), "bias of layer 3 must have the shape [2], got [3]"),
        (|a| a[2][[1, 2]] = f32::NAN, "weights of layer 2: 1 of 85 values is NaN or infinite"),
        (|a| a[4].fill(f32::NEG_INFINITY), "bias of layer 3: 2 of 2 values are NaN or infinite"),
    ];
    for (change, message) in cases {
        let mut model = network::<f32>();
        let before = bits(&model.params);
        let mut arrays = arrays();
        change(&mut arrays);
        let Model { plan, params, .. } = &mut model;
        let error = params.set_arrays(plan, &views(&arrays)).expect_err("arrays that do not fit");
        assert_eq!(error.to_string(), message);
        assert_eq!(bits(params), before, "{message}");
    }
}

#[test]
fn a_duplicate_has_the_same_numbers_and_a_life_of_its_own() {
    let model = network::<f64>();
    let mut copy = model.duplicate().expect("small enough");
    assert_eq!(bits(&copy.params), bits(&model.params));
    let before = bits(&model.params);
    copy.params.fill(1.0);
    assert_eq!(bits(&model.params), before);
}

#[test]
fn first_weights_depend_on_the_seed_and_not_on_the_other_layers() {
    let first = |seed: u64, second_width: usize| {
        let mut spec = spec::<f64>(vec![layer(5, "tanh"), layer(second_width, "tanh")]);
        spec.seed = seed;
        Model::<f64>::new(spec, 3)
            .map(|model| model.params.to_arrays(&model.plan).expect("it fits")[0].clone())
            .expect("it fits")
    };
    assert_eq!(first(1, 4), first(1, 9));
    assert_ne!(first(1, 4), first(2, 4));
}

//! Prediction: a row's output does not depend on its company, on threads or on the instruction set.

use crate::network::{inputs, layer, pool, spec};
use dnn_core::{Idle, Inputs, Isa, Look, Model, Outputs, Predicted, Real, Scaling, Scalings, predict};
use ndarray::{Array2, Axis, s};
use serde_json::Value;

fn x<T: Real>(rows: usize, columns: usize) -> Array2<T> {
    let rows_of = inputs::<T>(rows, columns, 5);
    Array2::from_shape_fn((rows, columns), |(i, j)| rows_of.row(i)[j])
}

fn outputs<T: Real>(model: &Model<T>, x: &Array2<T>, threads: usize) -> Array2<T> {
    // What was in `out` must not matter.
    let mut out = Array2::from_elem((x.nrows(), model.plan.n_outputs()), T::from_f64(-77.0));
    let found = predicted(model, x.view(), out.view_mut(), threads, Look::AsItGoes).expect("shapes that fit");
    assert_eq!(found, Predicted::Finite);
    out
}

fn predicted<'x, 'y, T: Real>(
    model: &Model<T>,
    x: impl Into<Inputs<'x, T>>,
    out: impl Into<Outputs<'y, T>>,
    threads: usize,
    look: Look,
) -> Result<Predicted, dnn_core::Error> {
    predict(&model.plan, &model.params, &Idle::new(), &Scalings::default(), x, out, threads, look)
}

fn bits<T: Real>(array: &Array2<T>) -> Vec<u64> {
    array.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// Narrow (whose rows go side by side from 8 on), wide, deep, and wider than what the products pack.
fn networks() -> Vec<(usize, Vec<Value>)> {
    vec![
        (1, vec![layer(1, "identity")]),
        (2, vec![layer(16, "relu"), layer(16, "relu"), layer(1, "identity")]),
        (5, vec![layer(9, "gelu"), layer(32, "sigmoid"), layer(3, "silu")]),
        (32, vec![layer(20, "tanh"), layer(11, "softplus"), layer(10, "softmax")]),
        (17, vec![layer(33, "gelu"), layer(9, "tanh"), layer(5, "softmax")]),
        (130, vec![layer(340, "silu"), layer(70, "leaky_relu"), layer(3, "sigmoid")]),
        (300, vec![layer(20, "elu"), layer(40, "softplus"), layer(11, "softmax")]),
        (1100, vec![layer(7, "tanh"), layer(2, "identity")]),
    ]
}

/// Around the 128 rows that go through together.
const SIZES: [usize; 12] = [1, 2, 7, 8, 9, 23, 64, 127, 128, 129, 300, 1100];

fn company_does_not_matter<T: Real>() {
    let _alone = pool();
    for (n_in, layers) in networks() {
        let model = Model::<T>::new(spec::<T>(layers), n_in).expect("a network that fits");
        let all = x::<T>(*SIZES.last().expect("there are sizes"), n_in);
        let together = outputs(&model, &all, 1);
        for i in (0..all.nrows()).step_by(7) {
            let alone = outputs(&model, &all.slice(s![i..=i, ..]).to_owned(), 1);
            let row = together.slice(s![i..=i, ..]).to_owned();
            assert_eq!(bits(&alone), bits(&row), "row {i} of {n_in} inputs, {}", T::NAME);
        }
        for size in SIZES {
            for threads in 1..=4 {
                // From the end, so that a row has other neighbours and another place in its block.
                let part = all.slice(s![all.nrows() - size.., ..]).to_owned();
                let expected = together.slice(s![all.nrows() - size.., ..]).to_owned();
                let what = format!("{size} rows of {n_in} inputs, {threads} threads, {}", T::NAME);
                assert_eq!(bits(&outputs(&model, &part, threads)), bits(&expected), "{what}");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_company_for_any_size_and_threads() {
    company_does_not_matter::<f32>();
    company_does_not_matter::<f64>();
}

fn sets_agree<T: Real>() {
    for (n_in, layers) in networks() {
        let of = |isa: Isa| {
            let mut spec = spec::<T>(layers.clone());
            spec.isa = Some(isa.name().to_owned());
            bits(&outputs(&Model::<T>::new(spec, n_in).expect("a network that fits"), &x(131, n_in), 1))
        };
        let expected = of(Isa::SCALAR);
        for isa in Isa::available() {
            assert_eq!(of(isa), expected, "{isa:?} {} {n_in} inputs", T::NAME);
        }
    }
}

#[test]
fn every_set_predicts_the_same_bits() {
    sets_agree::<f32>();
    sets_agree::<f64>();
}

#[test]
fn a_network_of_one_neuron_predicts_w_x_plus_b() {
    let mut model = Model::<f64>::new(spec::<f64>(vec![layer(1, "identity")]), 2).expect("a network that fits");
    let arrays =
        [Array2::from_shape_vec((2, 1), vec![2.0, -3.0]).expect("two").into_dyn(), ndarray::arr1(&[0.5]).into_dyn()];
    let Model { plan, params, .. } = &mut model;
    params.set_arrays(plan, &[arrays[0].view(), arrays[1].view()]).expect("arrays that fit");
    let x = ndarray::arr2(&[[1.0, 1.0], [0.0, 0.0], [4.0, -2.0]]);
    assert_eq!(outputs(&model, &x, 1), ndarray::arr2(&[[-0.5], [0.5], [14.5]]));
}

#[test]
fn outputs_of_softmax_are_probabilities() {
    let model = Model::<f32>::new(spec::<f32>(vec![layer(7, "softmax")]), 3).expect("a network that fits");
    for row in outputs(&model, &x(50, 3), 1).axis_iter(Axis(0)) {
        // Seven roundings of numbers below 1.
        assert!((row.sum() - 1.0).abs() < 1e-6 && row.iter().all(|&y| y > 0.0));
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_and_nothing_is_written() {
    let model = Model::<f32>::new(spec::<f32>(vec![layer(2, "tanh")]), 3).expect("a network that fits");
    for (x_shape, out_shape, message) in [
        ((4, 2), (4, 2), "x has 2 columns, but the network has 3 inputs"),
        ((0, 3), (0, 2), "x has no rows; give at least one"),
        ((4, 3), (4, 3), "out must have the shape (4, 2), got (4, 3)"),
        ((4, 3), (3, 2), "out must have the shape (4, 2), got (3, 2)"),
    ] {
        let (x, mut out) = (Array2::zeros(x_shape), Array2::from_elem(out_shape, 7.0));
        let refused = predicted(&model, x.view(), out.view_mut(), 1, Look::First);
        assert_eq!(refused.expect_err("shapes that do not fit").to_string(), message);
        assert!(out.iter().all(|&y| y == 7.0));
    }
}

#[test]
fn what_is_not_finite_is_told_and_nothing_is_written_where_it_is_looked_for_first() {
    let _alone = pool();
    for (n_in, layers) in networks() {
        let model = Model::<f32>::new(spec::<f32>(layers), n_in).expect("a network that fits");
        for size in SIZES {
            for (threads, bad) in [(1, f32::NAN), (2, f32::INFINITY), (3, f32::NEG_INFINITY)] {
                let mut x = x::<f32>(size, n_in);
                x[[size - 1, n_in - 1]] = bad;
                let mut out = Array2::from_elem((size, model.plan.n_outputs()), 7.0);
                for look in [Look::First, Look::AsItGoes] {
                    let found = predicted(&model, x.view(), out.view_mut(), threads, look).expect("shapes that fit");
                    assert_eq!(
                        found,
                        Predicted::Refused,
                        "{bad} in {size} rows of {n_in}, {threads} threads, {look:?}"
                    );
                    assert!(look == Look::AsItGoes || out.iter().all(|&y| y == 7.0));
                }
            }
        }
    }
}

/// The same numbers across, in every second row with something else behind, and backwards.
fn lying<A: Real>(x: &Array2<A>) -> [Array2<A>; 3] {
    let (rows, columns) = x.dim();
    let across = Array2::from_shape_fn((columns, rows), |(j, i)| x[[i, j]]);
    let apart = Array2::from_shape_fn((2 * rows, columns + 3), |(i, j)| {
        if i % 2 == 0 && j < columns { x[[i / 2, j]] } else { A::from_f64(f64::NAN) }
    });
    let backwards = Array2::from_shape_fn((rows, columns), |(i, j)| x[[rows - 1 - i, columns - 1 - j]]);
    [across, apart, backwards]
}

/// Rows of either type are copied in blocks where they can't be read as they lie, each number to the nearest.
fn any_layout_gives_the_same<T: Real>() {
    let _alone = pool();
    for (n_in, layers) in networks() {
        let model = Model::<T>::new(spec::<T>(layers), n_in).expect("a network that fits");
        for size in SIZES {
            let other = x::<T::Other>(size, n_in).mapv(|x| T::Other::from_f64(1.1 * x.to_f64()));
            let own = other.mapv(|x| T::from_f64(x.to_f64()));
            let expected = bits(&outputs(&model, &own, 1));
            let ([across, apart, backwards], [o_across, o_apart, o_backwards]) = (lying(&own), lying(&other));
            for (case, x) in [
                Inputs::Own(across.t()),
                Inputs::Own(apart.slice(s![..;2, ..n_in])),
                Inputs::Own(backwards.slice(s![..;-1, ..;-1])),
                Inputs::Other(other.view()),
                Inputs::Other(o_across.t()),
                Inputs::Other(o_apart.slice(s![..;2, ..n_in])),
                Inputs::Other(o_backwards.slice(s![..;-1, ..;-1])),
            ]
            .into_iter()
            .enumerate()
            {
                for (threads, look) in [(1, Look::First), (2, Look::AsItGoes), (3, Look::First)] {
                    let mut out = Array2::from_elem((size, model.plan.n_outputs()), T::from_f64(-77.0));
                    let found = predicted(&model, x, out.view_mut(), threads, look);
                    assert_eq!(found.expect("shapes that fit"), Predicted::Finite);
                    let what = format!("case {case}, {size} rows of {n_in}, {threads} threads, to {}", T::NAME);
                    assert_eq!(bits(&out), expected, "{what}");
                }
            }
        }
    }
}

#[test]
fn rows_of_either_type_in_any_layout_give_the_same_bits() {
    any_layout_gives_the_same::<f32>();
    any_layout_gives_the_same::<f64>();
}

#[test]
fn very_long_rows_are_copied_a_few_at_a_time() {
    for n_in in [9_000, 70_000, 140_000] {
        let model = Model::<f32>::new(spec::<f32>(vec![layer(2, "tanh")]), n_in).expect("a network that fits");
        let given = x::<f64>(19, n_in);
        let expected = bits(&outputs(&model, &given.mapv(|x| x as f32), 1));
        for threads in 1..=3 {
            let (x, mut out) = (Inputs::Other(given.view()), Array2::zeros((19, 2)));
            let look = if threads == 2 { Look::First } else { Look::AsItGoes };
            let (idle, scalings) = (Idle::new(), Scalings::default());
            let found = predict(&model.plan, &model.params, &idle, &scalings, x, out.view_mut(), threads, look);
            assert_eq!(found.expect("shapes that fit"), Predicted::Finite);
            assert_eq!(bits(&out), expected, "{n_in} inputs, {threads} threads");
        }
    }
}

#[test]
fn one_row_that_stands_for_many_is_predicted_as_often() {
    let model = Model::<f32>::new(spec::<f32>(vec![layer(40, "tanh"), layer(3, "softmax")]), 9).expect("fits");
    let row = x::<f32>(1, 9);
    let many = row.broadcast((200, 9)).expect("one row");
    let mut out = Array2::zeros((200, 3));
    let found = predicted(&model, many, out.view_mut(), 2, Look::AsItGoes);
    assert_eq!(found.expect("shapes that fit"), Predicted::Finite);
    let alone = bits(&outputs(&model, &row, 1));
    assert!(out.outer_iter().all(|row| bits(&row.to_owned().insert_axis(Axis(0))) == alone));
}

#[test]
fn what_overflows_is_refused_and_nothing_is_written_where_it_is_looked_for_first() {
    let _alone = pool();
    let model = Model::<f32>::new(spec::<f32>(vec![layer(40, "tanh"), layer(3, "softmax")]), 9).expect("fits");
    for size in SIZES {
        for (place, bad) in [(0, 1e39), (size - 1, -1e39), (size / 2, f64::NAN)] {
            for (threads, look) in [(1, Look::First), (2, Look::First), (1, Look::AsItGoes), (2, Look::AsItGoes)] {
                let mut x = x::<f64>(size, 9);
                x[[place, 5]] = bad;
                let (narrow, [across, ..]) = (x.mapv(|x| x as f32), lying(&x));
                let [narrow, ..] = lying(&narrow);
                for x in [Inputs::Other(x.view()), Inputs::Other(across.t()), Inputs::Own(narrow.t())] {
                    let mut out = Array2::from_elem((size, 3), 7.0f32);
                    let found = predicted(&model, x, out.view_mut(), threads, look);
                    assert_eq!(found.expect("shapes that fit"), Predicted::Refused, "{bad} in row {place} of {size}");
                    assert!(look == Look::AsItGoes || out.iter().all(|&y| y == 7.0));
                }
            }
        }
    }
}

/// The first of the largest, as NumPy's argmax has it.
fn place_of_largest<T: Real>(row: &[T]) -> i64 {
    (0..row.len()).rev().max_by(|&i, &j| row[i].partial_cmp(&row[j]).expect("finite")).expect("outputs") as i64
}

#[test]
fn the_largest_outputs_are_found_on_the_way() {
    let _alone = pool();
    for (n_in, layers) in networks() {
        let model = Model::<f32>::new(spec::<f32>(layers), n_in).expect("a network that fits");
        for size in SIZES {
            // Rows of zeros, and all of them alike: outputs of a kind.
            let mut x = x::<f32>(size, n_in);
            x.row_mut(size / 2).fill(0.0);
            let values = outputs(&model, &x, 1);
            let expected: Vec<_> = values.outer_iter().map(|row| place_of_largest(&row.to_vec())).collect();
            for threads in 1..=3 {
                let mut places = vec![-1; size];
                let out = Outputs::Largest(&mut places);
                let found = predicted(&model, x.view(), out, threads, Look::AsItGoes);
                assert_eq!(found.expect("shapes that fit"), Predicted::Finite);
                assert_eq!(places, expected, "{size} rows of {n_in}, {threads} threads");
            }
        }
    }
}

#[test]
fn outputs_that_are_not_finite_are_told_and_the_first_of_equal_ones_is_the_largest() {
    let mut model = Model::<f32>::new(spec::<f32>(vec![layer(3, "identity")]), 1).expect("a network that fits");
    let w = ndarray::arr2(&[[1e38f32, 1e38, -1e38]]).into_dyn();
    let bias = ndarray::arr1(&[0.0f32; 3]).into_dyn();
    let Model { plan, params, .. } = &mut model;
    params.set_arrays(plan, &[w.view(), bias.view()]).expect("arrays that fit");
    for (input, expected, place) in
        [(1.0, Predicted::Finite, Some(0)), (-1.0, Predicted::Finite, Some(2)), (9.0, Predicted::NotFinite, None)]
    {
        let (x, mut values, mut places) = (Array2::from_elem((40, 1), input), Array2::zeros((40, 3)), vec![-1; 40]);
        assert_eq!(predicted(&model, x.view(), values.view_mut(), 2, Look::AsItGoes).expect("fits"), expected);
        let out = Outputs::Largest(&mut places);
        let found = predicted(&model, x.view(), out, 2, Look::AsItGoes);
        assert_eq!(found.expect("fits"), expected);
        assert!(place.is_none_or(|place| places.iter().all(|&found| found == place)), "{places:?}");
    }
}

#[test]
fn many_threads_predict_at_once_with_the_workspaces_of_one_model() {
    let model = Model::<f32>::new(spec::<f32>(vec![layer(40, "tanh"), layer(3, "softmax")]), 9).expect("fits");
    let (x, idle) = (x::<f32>(300, 9), Idle::new());
    let expected = bits(&outputs(&model, &x, 1));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut out = Array2::zeros((300, 3));
                    predict(
                        &model.plan,
                        &model.params,
                        &idle,
                        &Scalings::default(),
                        x.view(),
                        out.view_mut(),
                        2,
                        Look::First,
                    )
                    .expect("fits");
                    assert_eq!(bits(&out), expected);
                }
            });
        }
    });
}

#[test]
fn inputs_are_scaled_and_outputs_scaled_back_in_float64() {
    let model = Model::<f32>::new(spec::<f32>(vec![layer(2, "identity")]), 3).expect("a network that fits");
    let columns = |a: f64| (0..3).map(|j| a + f64::from(j) / 7.0).collect::<Vec<_>>();
    let of_x = Scaling::new(columns(0.1), columns(3.0)).expect("as many");
    let of_y = Scaling::new(vec![1e3, -0.3], vec![0.7, 1e-3]).expect("as many");
    let scalings = Scalings { x: Some(of_x), y: Some(of_y) };
    for size in SIZES {
        let x = x::<f64>(size, 3);
        let by_hand =
            Array2::from_shape_fn((size, 3), |(i, j)| ((x[[i, j]] - columns(0.1)[j]) / columns(3.0)[j]) as f32);
        let expected = outputs(&model, &by_hand, 1).mapv(f64::from);
        let expected =
            Array2::from_shape_fn((size, 2), |(i, j)| (expected[[i, j]] * [0.7, 1e-3][j] + [1e3, -0.3][j]) as f32);
        for look in [Look::First, Look::AsItGoes] {
            let (x, mut out) = (Inputs::Other(x.view()), Array2::zeros((size, 2)));
            let found = predict(&model.plan, &model.params, &Idle::new(), &scalings, x, out.view_mut(), 2, look);
            assert_eq!(found.expect("shapes that fit"), Predicted::Finite);
            assert_eq!(bits(&out), bits(&expected), "{size} rows");
        }
    }
}

#[test]
fn scales_are_one_for_each_column() {
    let refused = Scaling::new(vec![0.0; 2], vec![1.0; 3]).expect_err("two and three").to_string();
    assert_eq!(refused, "2 centers, but 3 scales");
    let model = Model::<f32>::new(spec::<f32>(vec![layer(2, "identity")]), 3).expect("a network that fits");
    let three = || Some(Scaling::new(vec![0.0; 3], vec![1.0; 3]).expect("as many"));
    let scalings = Scalings { x: three(), y: three() };
    let (x, mut out) = (Array2::zeros((4, 3)), Array2::zeros((4, 2)));
    let refused =
        predict(&model.plan, &model.params, &Idle::new(), &scalings, x.view(), out.view_mut(), 1, Look::First);
    assert_eq!(refused.expect_err("two outputs").to_string(), "2 outputs, but scales for 3");
}

#[test]
fn places_are_one_for_each_row() {
    let model = Model::<f32>::new(spec::<f32>(vec![layer(2, "tanh")]), 3).expect("a network that fits");
    let (x, mut places) = (Array2::zeros((4, 3)), [7; 3]);
    let out = Outputs::Largest(&mut places);
    let refused = predicted(&model, x.view(), out, 1, Look::AsItGoes);
    let refused = refused.expect_err("three places").to_string();
    assert_eq!(refused, "out must have a place for each of 4 rows, got 3");
    assert_eq!(places, [7; 3]);
}

#[test]
fn an_output_that_is_not_in_standard_layout_is_refused() {
    let model = Model::<f32>::new(spec::<f32>(vec![layer(2, "tanh")]), 3).expect("a network that fits");
    let (x, mut out) = (Array2::zeros((4, 3)), Array2::zeros((2, 4)));
    let out = out.view_mut().reversed_axes();
    let refused = predicted(&model, x.view(), out, 1, Look::First);
    assert_eq!(refused.expect_err("columns").to_string(), "out must be C-contiguous");
}

/// Nothing that a prediction made of weights is left when they change, by whatever.
#[test]
fn a_prediction_goes_by_the_weights_of_the_moment() {
    let _alone = pool();
    let layers = || vec![layer(400, "relu"), layer(330, "tanh"), layer(3, "identity")];
    let new = |seed: u64| {
        let mut spec = spec::<f32>(layers());
        spec.seed = seed;
        Model::<f32>::new(spec, 40).expect("a network that fits")
    };
    let (mut model, other, x) = (new(1), new(2), x::<f32>(200, 40));
    let first = bits(&outputs(&model, &x, 2));
    assert_eq!(first, bits(&outputs(&model, &x, 1)), "the second time");
    let arrays = other.params.to_arrays(&other.plan).expect("memory");
    let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
    let own = model.params.to_arrays(&model.plan).expect("memory");
    model.params.set_arrays(&model.plan, &views).expect("arrays that fit");
    assert_eq!(bits(&outputs(&model, &x, 2)), bits(&outputs(&other, &x, 1)), "arrays that were set");
    let views: Vec<_> = own.iter().map(|array| array.view()).collect();
    model.params.set_arrays(&model.plan, &views).expect("arrays that fit");
    assert_eq!(bits(&outputs(&model, &x, 2)), first, "and set back");
    // One number, as a step changes them all.
    let range = model.plan.layers[0].weights();
    model.params[range][5] += 1.0;
    let copy = Model { params: model.params.duplicate().expect("memory"), ..new(1) };
    assert_eq!(bits(&outputs(&model, &x, 2)), bits(&outputs(&copy, &x, 1)), "one number");
    assert_ne!(bits(&outputs(&model, &x, 2)), first);
    // A model that is exchanged for another.
    let mut exchanged = new(2);
    std::mem::swap(&mut exchanged.params, &mut model.params);
    assert_eq!(bits(&outputs(&model, &x, 2)), bits(&outputs(&other, &x, 1)), "exchanged");
}

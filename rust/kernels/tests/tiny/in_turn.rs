//! Steps one after the other in one call, beside a call for each.

use crate::network::{Noise, STEPS, has_memory, network};
use dnn_kernels::{
    Activation, Adam, Asked, Buffer, Change, InTurn, Isa, Real, Sgd, Target, Team, Tiny, TinyLoss, TinyStep, View,
    change, row_stride, sum_of_squares, tiny_batch_steps, tiny_gradient, tiny_steps,
};
use std::ops::Range;

fn rows_in_turn<T: Real>(huge: f64) {
    let mut noise = Noise(11);
    let nets = [(&[2, 1][..], true), (&[6, 2], false), (&[3, 20, 3], true), (&[40, 33, 9], true), (&[35, 8, 4], false)];
    let cases = nets.into_iter().flat_map(|net| STEPS.map(|step| (net, step)));
    for ((widths, bias), step) in cases {
        let mut net = network::<T>(widths, Activation::Tanh, Activation::Identity, bias, &mut noise);
        // Adam steps everything; below, gradient descent leaves the weights of a stage alone.
        net.stages[0].learns_weights = widths.len() == 2 || matches!(step, TinyStep::Adam(_));
        let (rows, n_in, n_out) = (7, widths[0], widths[widths.len() - 1]);
        let stride = n_in + 3;
        let mut x: Vec<T> = (0..rows * stride).map(|_| T::from_f64(noise.next())).collect();
        let dense: Vec<T> = (0..rows * n_out).map(|_| T::from_f64(noise.next())).collect();
        let labels: Vec<u32> = (0..rows).map(|i| (i % n_out) as u32).collect();
        let scale = [T::from_f64(0.7)];
        let at = |i: usize| match step {
            TinyStep::Sgd(rule, rate) => TinyStep::Sgd(rule, rate * (1.0 + 0.1 * i as f64)),
            TinyStep::Adam(rule) => TinyStep::Adam(Adam { size: rule.size * (1.0 + 0.1 * i as f64), ..rule }),
        };
        let steps: Vec<TinyStep> = (0..rows).map(at).collect();
        let tiny = Tiny::new::<T>(net.stages.clone(), 1).expect("a plan");
        let memories = has_memory(step).map(|there| vec![T::ZERO; if there { net.params.len() } else { 0 }]);
        // Without a row whose gradient has squares that are not finite, and with one, behind which no step is taken. Weights
        // that do not learn have no gradient.
        let found = if net.stages[0].learns_weights { &[rows, 4][..] } else { &[rows] };
        for &broken in found {
            if broken < rows {
                x[broken * stride] = T::from_f64(huge);
            }
            for is_dense in [true, false] {
                let loss = if is_dense { TinyLoss::Squared } else { TinyLoss::SoftmaxCrossEntropy };
                let target = |range: Range<usize>| match is_dense {
                    true => Target::Dense(View::new(&dense[range.start * n_out..], range.len(), n_out, n_out)),
                    false => Target::Labels(&labels[range]),
                };
                for isa in Isa::available() {
                    let run = |range: Range<usize>, state: &mut (Vec<T>, [Vec<T>; 2]), losses: &mut [f64]| {
                        let mut work = Buffer::zeroed(tiny.len()).expect("memory");
                        work.fill(T::from_f64(f64::NAN));
                        let view = View::new(&x[range.start * stride..], range.len(), n_in, stride);
                        let asked = Asked { loss, target: target(range.clone()), scale: &scale, losses };
                        let (params, [first, second]) = state;
                        let (steps, memories) = (&steps[range], [&mut first[..], second]);
                        let in_turn = InTurn { steps, memories, most_loss: f64::MAX, squares: &mut [] };
                        let mut room = vec![T::ZERO; params.len()];
                        tiny_steps(isa, &tiny, params, &mut room, view, asked, &mut work, in_turn)
                    };
                    let [mut one_by_one, mut at_once] = [(); 2].map(|()| (net.params.clone(), memories.clone()));
                    let [mut losses, mut losses_at_once] = [[0.0; 7]; 2];
                    for i in 0..broken {
                        assert_eq!(run(i..i + 1, &mut one_by_one, &mut losses[i..=i]), 1);
                    }
                    assert_eq!(run(0..rows, &mut at_once, &mut losses_at_once), broken, "{widths:?} {isa:?}");
                    assert!(at_once == one_by_one, "{widths:?} {step:?} {isa:?}");
                    assert_eq!(losses_at_once[..broken], losses[..broken], "{widths:?} {step:?} {isa:?}");
                    // A softmax of one class has nothing to learn.
                    assert!(at_once.0 != net.params || (n_out == 1 && !is_dense), "{widths:?} {step:?}: it learns");
                }
            }
        }
    }
}

#[test]
fn rows_in_turn_have_the_bits_of_calls_for_each_and_none_is_taken_behind_one_that_is_not_finite() {
    rows_in_turn::<f32>(1e30);
    rows_in_turn::<f64>(1e200);
}

#[test]
fn no_step_is_taken_where_a_loss_is_above_the_most() {
    let mut noise = Noise(12);
    let net = network::<f32>(&[3, 4, 2], Activation::Tanh, Activation::Identity, true, &mut noise);
    let tiny = Tiny::new::<f32>(net.stages.clone(), 1).expect("a plan");
    let x = [0.5f32; 9];
    // Of the second row.
    let targets = [0.0f32, 0.0, 30.0, 0.0, 0.0, 0.0];
    let mut work = Buffer::zeroed(tiny.len()).expect("memory");
    for (most_loss, expected) in [(1e6, 3), (100.0, 1), (1e-9, 0)] {
        let (mut params, mut losses) = (net.params.clone(), [0.0; 3]);
        let target = Target::Dense(View::new(&targets, 3, 2, 2));
        let asked = Asked { loss: TinyLoss::Squared, target, scale: &[1.0], losses: &mut losses };
        let view = View::new(&x, 3, 3, 3);
        let steps = &[TinyStep::Sgd(Sgd::Plain, 0.01); 3];
        let in_turn = InTurn { steps, memories: [&mut [], &mut []], most_loss, squares: &mut [] };
        let taken = tiny_steps(Isa::SCALAR, &tiny, &mut params, &mut [], view, asked, &mut work, in_turn);
        assert_eq!((taken, params == net.params), (expected, expected == 0), "{most_loss} {losses:?}");
    }
}

/// Batches in turn, or one again and again, beside a gradient and a step for each.
fn batches_in_turn<T: Real>(widths: &[usize], rows: usize, again: bool, step: TinyStep, most_loss: f64) -> usize {
    let (mut noise, count) = (Noise(5), 4);
    let net = network::<T>(widths, Activation::Tanh, Activation::Identity, true, &mut noise);
    let (n_in, n_out) = (widths[0], widths[widths.len() - 1]);
    let (stride, all) = (row_stride::<T>(n_in), if again { rows } else { rows * count });
    let x: Vec<T> = (0..all * stride).map(|_| T::from_f64(noise.next())).collect();
    // The third batch is far from what it should be.
    let far = |i: usize| if i / rows == 2 { 1e3 } else { 1.0 };
    let t: Vec<T> = (0..all * n_out).map(|i| T::from_f64(far(i / n_out) * noise.next())).collect();
    let view = |of: Range<usize>| View::new(&x[of.start * stride..of.end * stride], of.len(), n_in, stride);
    let target = |of: Range<usize>| Target::Dense(View::new(&t[of.start * n_out..], of.len(), n_out, n_out));
    let tiny = Tiny::new::<T>(net.stages.clone(), rows).expect("a plan");
    let scale = vec![T::from_f64(0.25); rows];
    let mut counts = Isa::available().into_iter().map(|isa| {
        let memory = |i: usize| vec![T::ZERO; if has_memory(step)[i] { net.params.len() } else { 0 }];
        let (mut p, mut m, mut v) = (net.params.clone(), memory(0), memory(1));
        let (mut apart, mut apart_losses, mut apart_squares) = (vec![], vec![], vec![]);
        let mut work = Buffer::zeroed(tiny.len()).expect("memory");
        for i in 0..count {
            work.fill(T::from_f64(f64::NAN));
            let of = if again { 0..rows } else { i * rows..(i + 1) * rows };
            let (mut losses, mut g) = (vec![0.0; rows], vec![T::ZERO; p.len()]);
            let asked =
                Asked { loss: TinyLoss::Squared, target: target(of.clone()), scale: &scale, losses: &mut losses };
            assert_eq!(tiny_gradient(isa, &tiny, &p, view(of), asked, &mut work, &mut g), None);
            apart_squares.push(sum_of_squares(isa, &g));
            let whole = match step {
                TinyStep::Sgd(rule, rate) => Change::Sgd(rule, rate),
                TinyStep::Adam(rule) => Change::Adam(rule),
            };
            change(isa, &Team::solo(), whole, &mut p, &g, [&mut m, &mut v, &mut []]);
            apart_losses.extend(losses);
            apart.push((p.clone(), m.clone(), v.clone(), g));
        }
        work.fill(T::from_f64(f64::NAN));
        let (mut p, mut m, mut v) = (net.params.clone(), memory(0), memory(1));
        let (mut losses, mut squares, mut g) = (vec![0.0; rows * count], vec![0.0; count], vec![T::ZERO; p.len()]);
        let asked = Asked { loss: TinyLoss::Squared, target: target(0..all), scale: &scale, losses: &mut losses };
        let steps = &vec![step; count];
        let in_turn = InTurn { steps, memories: [&mut m, &mut v], most_loss, squares: &mut squares };
        let taken = tiny_batch_steps(isa, &tiny, &mut p, &mut g, view(0..all), asked, &mut work, in_turn);
        assert_eq!(losses[..taken * rows], apart_losses[..taken * rows], "{widths:?} {step:?} {isa:?}");
        assert_eq!(squares[..taken], apart_squares[..taken], "{widths:?} {step:?} {isa:?}");
        let after =
            if taken == 0 { (net.params.clone(), memory(0), memory(1), g.clone()) } else { apart[taken - 1].clone() };
        assert!((&p, &m, &v) == (&after.0, &after.1, &after.2), "{widths:?} {step:?} {isa:?}");
        assert!(taken < count || g == after.3, "the last gradient");
        taken
    });
    let first = counts.next().expect("a set");
    assert!(counts.all(|count| count == first));
    first
}

#[test]
fn batches_in_turn_have_the_bits_of_calls_for_each() {
    for step in STEPS {
        for (widths, rows) in [
            (&[2, 4, 1][..], 4),
            (&[4, 16, 16, 3], 16),
            (&[9, 17, 5], 33),
            (&[3, 1], 7),
            (&[20, 6, 3], 3),
            (&[1, 1], 2),
        ] {
            for again in [false, true] {
                assert_eq!(batches_in_turn::<f32>(widths, rows, again, step, f64::MAX), 4, "{widths:?} {step:?}");
                assert_eq!(batches_in_turn::<f64>(widths, rows, again, step, f64::MAX), 4, "{widths:?} {step:?}");
            }
        }
    }
    // A loss that is too large.
    assert_eq!(batches_in_turn::<f32>(&[4, 16, 3], 16, false, STEPS[0], 1e4), 2);
    assert_eq!(batches_in_turn::<f64>(&[2, 4, 1], 4, true, STEPS[4], 1e-9), 0);
}

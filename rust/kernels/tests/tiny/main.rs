//! Small networks in one kernel, against a plain twin in float64 and the products of the other kernels.

mod in_turn;
mod network;

use crate::network::{Network, Noise, STEPS, has_memory, network};
use dnn_kernels::{
    Activation, Asked, Buffer, Change, InTurn, Isa, Real, Stage, Target, Team, Tiny, TinyLoss, TinyStep, View, ViewMut,
    change, forward, forward_turned, padded, tiny_backward, tiny_forward, tiny_gradient, tiny_steps,
};

/// Where the weight from input i to output j lies; that of input `n_in` is the bias.
fn place(s: &Stage, i: usize, j: usize) -> usize {
    match (i < s.n_in, s.is_turned) {
        (true, false) => s.start + i * s.stride + j,
        (true, true) => s.start + j * s.stride + i,
        (false, false) => s.start + s.n_in * s.stride + j,
        (false, true) => s.start + s.n_out * s.stride + j,
    }
}

/// f and f' as plain formulas of z.
fn curve(activation: Activation, z: f64) -> (f64, f64) {
    match activation {
        Activation::Identity => (z, 1.0),
        Activation::Tanh => (z.tanh(), 1.0 - z.tanh() * z.tanh()),
        Activation::Relu => (z.max(0.0), if z > 0.0 { 1.0 } else { 0.0 }),
        Activation::Silu => {
            let s = 1.0 / (1.0 + (-z).exp());
            (z * s, s * (1.0 + z * (1.0 - s)))
        }
        _ => unreachable!("not tested here"),
    }
}

/// Losses and gradient, one row after the other, in float64.
fn twin<T: Real>(net: &Network<T>, x: &[Vec<f64>], t: &[Vec<f64>], loss: TinyLoss, scale: f64) -> (Vec<f64>, Vec<f64>) {
    let p = |i: usize| net.params[i].to_f64();
    let mut gradient = vec![0.0; net.params.len()];
    let mut losses = Vec::new();
    for (x, t) in x.iter().zip(t) {
        let (mut inputs, mut slopes) = (vec![x.clone()], Vec::new());
        for s in &net.stages {
            let below = inputs.last().expect("an input").clone();
            let z: Vec<f64> = (0..s.n_out)
                .map(|j| {
                    let bias = if s.use_bias { p(place(s, s.n_in, j)) } else { 0.0 };
                    bias + below.iter().enumerate().map(|(i, a)| a * p(place(s, i, j))).sum::<f64>()
                })
                .collect();
            inputs.push(z.iter().map(|&z| curve(s.activation, z).0).collect());
            slopes.push(z.iter().map(|&z| curve(s.activation, z).1).collect::<Vec<f64>>());
        }
        let y = inputs.last().expect("an output");
        let mut delta: Vec<f64> = match loss {
            TinyLoss::Squared => {
                losses.push(y.iter().zip(t).map(|(y, t)| (y - t) * (y - t)).sum());
                let slopes = slopes.last().expect("a stage");
                y.iter().zip(t).zip(slopes).map(|((y, t), slope)| 2.0 * (y - t) * scale * slope).collect()
            }
            TinyLoss::SoftmaxCrossEntropy => {
                let sum: f64 = y.iter().map(|y| y.exp()).sum();
                losses.push(y.iter().zip(t).map(|(y, t)| t * (sum.ln() - y)).sum());
                let total: f64 = t.iter().sum();
                y.iter().zip(t).map(|(y, t)| (y.exp() / sum * total - t) * scale).collect()
            }
        };
        for (index, s) in net.stages.iter().enumerate().rev() {
            for j in 0..s.n_out {
                for i in 0..s.n_in {
                    gradient[place(s, i, j)] += inputs[index][i] * delta[j];
                }
                if s.use_bias {
                    gradient[place(s, s.n_in, j)] += delta[j];
                }
            }
            if index > 0 {
                let back = |i: usize| (0..s.n_out).map(|j| delta[j] * p(place(s, i, j))).sum::<f64>();
                delta = (0..s.n_in).map(|i| back(i) * slopes[index - 1][i]).collect();
            }
        }
    }
    (losses, gradient)
}

struct Found<T> {
    losses: Vec<f64>,
    gradient: Vec<T>,
    output: Vec<T>,
    broken: Option<usize>,
}

fn ours<T: Real>(isa: Isa, net: &Network<T>, x: &[T], target: Target<T>, loss: TinyLoss, rows: usize) -> Found<T> {
    ours_in(isa, net, x, target, loss, rows, rows)
}

/// The same in a workspace for so many rows.
fn ours_in<T: Real>(
    isa: Isa,
    net: &Network<T>,
    x: &[T],
    target: Target<T>,
    loss: TinyLoss,
    rows: usize,
    most_rows: usize,
) -> Found<T> {
    let last = *net.stages.last().expect("a stage");
    let tiny = Tiny::new::<T>(net.stages.clone(), most_rows).expect("a plan");
    // Nobody writes behind a workspace, or a gradient.
    let (len, behind) = (tiny.len(), T::from_f64(-77.0));
    let mut work = Buffer::zeroed(len + 2 * T::LANES).expect("memory");
    work.fill(T::from_f64(f64::NAN));
    work[len..].fill(behind);
    let scale = vec![T::from_f64(0.25); rows];
    let (mut losses, mut gradient) = (vec![0.0; rows], net.params.clone());
    gradient.extend([behind; 32]);
    let view = View::new(x, rows, net.stages[0].n_in, net.stages[0].n_in);
    let asked = Some(Asked { loss, target, scale: &scale, losses: &mut losses });
    tiny_forward(isa, &tiny, &net.params, view, asked, &mut work);
    let mut output = vec![T::ZERO; rows * last.n_out];
    tiny.output(&work, ViewMut::new(&mut output, rows, last.n_out, last.n_out));
    let broken = tiny_backward(isa, &tiny, &net.params, rows, &mut work, Some(loss), false, &mut gradient);
    let again = (losses.clone(), gradient.clone());
    let asked = Asked { loss, target, scale: &scale, losses: &mut losses };
    let at_once = tiny_gradient(isa, &tiny, &net.params, view, asked, &mut work, &mut gradient);
    let bits = |losses: &[f64], gradient: &[T]| {
        let numbers = gradient.iter().map(|x| x.to_f64()).chain(losses.iter().copied());
        numbers.map(f64::to_bits).collect::<Vec<_>>()
    };
    assert_eq!((bits(&losses, &gradient), at_once), (bits(&again.0, &again.1), broken), "both ways at once");
    assert!(work[len..].iter().chain(&gradient[net.params.len()..]).all(|&x| x == behind), "what lies behind");
    gradient.truncate(net.params.len());
    let again = (again.0, again.1[..gradient.len()].to_vec());
    if tiny.is_row() {
        // What does not learn has no gradient.
        let mut of_all = vec![T::ZERO; gradient.len()];
        let asked = Asked { loss, target, scale: &scale, losses: &mut losses };
        let _same = tiny_gradient(isa, &tiny, &net.params, view, asked, &mut work, &mut of_all);
        let takes = |step: &TinyStep| tiny.learns() || !matches!(step, TinyStep::Adam(_));
        for step in STEPS.into_iter().filter(takes) {
            let memory = |i: usize| if has_memory(step)[i] { of_all.clone() } else { vec![] };
            let [mut stepped, mut descended] = [(); 2].map(|()| (net.params.clone(), [memory(0), memory(1)]));
            if broken.is_none() && losses[0].is_finite() {
                let [first, second] = &mut stepped.1;
                let whole = match step {
                    TinyStep::Sgd(rule, rate) => Change::Sgd(rule, rate),
                    TinyStep::Adam(rule) => Change::Adam(rule),
                };
                change(isa, &Team::solo(), whole, &mut stepped.0, &of_all, [first, second, &mut []]);
            }
            let asked = Asked { loss, target, scale: &scale, losses: &mut losses };
            let [first, second] = &mut descended.1;
            let in_turn = InTurn { steps: &[step], memories: [first, second], most_loss: f64::MAX, squares: &mut [] };
            let mut room = vec![T::ZERO; of_all.len()];
            let taken = tiny_steps(isa, &tiny, &mut descended.0, &mut room, view, asked, &mut work, in_turn);
            assert!(taken == 0 || (broken.is_none() && losses[0].is_finite()));
            assert_eq!(bits(&losses, &descended.0), bits(&again.0, &stepped.0), "{step:?}: a step along the gradient");
            for (ours, theirs) in descended.1.iter().zip(&stepped.1) {
                assert_eq!(bits(&losses, ours), bits(&again.0, theirs), "{step:?}: the memory after it");
            }
        }
    }
    // The padding is not of the gradient, and stays as it was: 0.
    Found { losses, gradient, output, broken }
}

fn against_the_twin<T: Real>(tolerance: f64) {
    let mut noise = Noise(1);
    let narrow = [&[2, 4, 1][..], &[4, 16, 16, 3], &[1, 1], &[3, 7, 5], &[17, 9, 31, 2, 8], &[6, 32, 13]];
    // One row alone goes through wider networks as well, and all widths of a vector; and so do few rows, in groups.
    let wide = [&[40, 33, 5][..], &[100, 2, 64, 1], &[70, 3], &[128, 127, 17], &[33, 49, 4], &[5, 81, 97, 2]];
    let tails: Vec<[usize; 4]> = (1..=34).map(|n| [n, 35 - n, n, 2 * n]).collect();
    for widths in narrow.into_iter().chain(wide).chain(tails.iter().map(|widths| &widths[..])) {
        let is_narrow = narrow.contains(&widths);
        for hidden in [Activation::Tanh, Activation::Relu, Activation::Silu] {
            for bias in [true, false] {
                for rows in
                    (1..=if is_narrow { 34 } else { 5 }).chain([63, 64, 65, 200, 512].into_iter().filter(|_| is_narrow))
                {
                    let net = network::<T>(widths, hidden, Activation::Identity, bias, &mut noise);
                    let (n_in, n_out) = (widths[0], widths[widths.len() - 1]);
                    let x: Vec<T> = (0..rows * n_in).map(|_| T::from_f64(noise.next())).collect();
                    let plain: Vec<Vec<f64>> =
                        x.chunks(n_in).map(|row| row.iter().map(|x| x.to_f64()).collect()).collect();
                    let labels: Vec<u32> = (0..rows).map(|i| (i * 5 % n_out) as u32).collect();
                    let hot = |i: usize| (0..n_out).map(|j| f64::from(u8::from(labels[i] as usize == j))).collect();
                    let one_hot: Vec<Vec<f64>> = (0..rows).map(hot).collect();
                    let dense: Vec<T> = (0..rows * n_out).map(|_| T::from_f64(noise.next())).collect();
                    let given: Vec<Vec<f64>> =
                        dense.chunks(n_out).map(|row| row.iter().map(|t| t.to_f64()).collect()).collect();
                    let table = Target::Dense(View::new(&dense, rows, n_out, n_out));
                    for (loss, target, plain_target) in [
                        (TinyLoss::Squared, table, &given),
                        (TinyLoss::SoftmaxCrossEntropy, Target::Labels(&labels), &one_hot),
                        (TinyLoss::SoftmaxCrossEntropy, table, &given),
                    ] {
                        let (losses, gradient) = twin(&net, &plain, plain_target, loss, 0.25);
                        let scalar = ours(Isa::SCALAR, &net, &x, target, loss, rows);
                        let close = |a: f64, b: f64, size: f64| (a - b).abs() <= tolerance * (size + 1.0);
                        // Of many outputs what adds up to a loss may cancel: targets have either sign.
                        for (a, b) in losses.iter().zip(&scalar.losses) {
                            assert!(
                                close(*a, *b, a.abs() + n_out as f64 / 16.0),
                                "{widths:?} {rows}: a loss of {b}, not {a}"
                            );
                        }
                        let size = rows as f64;
                        for (s, name) in net.stages.iter().zip(0..) {
                            for i in 0..s.n_in + usize::from(bias) {
                                for j in 0..s.n_out {
                                    let at = place(s, i, j);
                                    let (a, b) = (gradient[at], scalar.gradient[at].to_f64());
                                    assert!(close(a, b, size), "{widths:?} {rows}: stage {name}: {a} {b}");
                                }
                            }
                        }
                        assert_eq!(scalar.broken, None);
                        // Fewer rows where there is room for a group, or a vector: one is added up in another way there.
                        for most_rows in [4, 5].into_iter().filter(|most_rows| (1..*most_rows).contains(&rows)) {
                            let less = ours_in(Isa::SCALAR, &net, &x, target, loss, rows, most_rows);
                            let near = |a: T, b: T| close(a.to_f64(), b.to_f64(), size);
                            assert!(
                                less.gradient.iter().zip(&scalar.gradient).all(|(a, b)| near(*a, *b)),
                                "{widths:?}"
                            );
                            for isa in Isa::available() {
                                let found = ours_in(isa, &net, &x, target, loss, rows, most_rows);
                                assert!(found.losses == less.losses, "{isa:?} {widths:?} {rows}: losses");
                                assert!(found.gradient == less.gradient, "{isa:?} {widths:?} {rows}: gradient");
                            }
                        }
                        // Every set has the same bits.
                        for isa in Isa::available() {
                            let found = ours(isa, &net, &x, target, loss, rows);
                            assert!(found.losses == scalar.losses, "{isa:?} {widths:?} {rows}: losses");
                            assert!(found.gradient == scalar.gradient, "{isa:?} {widths:?} {rows}: gradient");
                            assert!(found.output == scalar.output, "{isa:?} {widths:?} {rows}: output");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_the_twin_in_float32() {
    // Sums of up to 512 products of numbers near 1, and a few stages of them.
    against_the_twin::<f32>(2e-6);
}

#[test]
fn losses_and_gradients_are_those_of_the_twin_in_float64() {
    against_the_twin::<f64>(1e-14);
}

fn one_by_one<T: Real>() {
    let mut noise = Noise(5);
    let wide = [&[40, 35, 2][..], &[128, 70, 4], &[33, 17, 1], &[34, 100, 3], &[3, 33, 1], &[6, 100, 1]];
    let wide = wide.into_iter().flat_map(|widths| [1, 2, 3, 4].map(|rows| (widths, rows)));
    for (widths, rows) in [1, 2, 3, 4, 7, 16, 50].map(|rows| (&[5, 12, 3][..], rows)).into_iter().chain(wide) {
        let (n_in, n_out) = (widths[0], widths[2]);
        let net = network::<T>(widths, Activation::Tanh, Activation::Identity, true, &mut noise);
        let x: Vec<T> = (0..rows * n_in).map(|_| T::from_f64(noise.next())).collect();
        let labels = vec![0; rows];
        for isa in Isa::available() {
            let found = ours(isa, &net, &x, Target::Labels(&labels), TinyLoss::SoftmaxCrossEntropy, rows);
            let (mut input, mut stride) = (x.clone(), n_in);
            for s in &net.stages {
                let (w, width) = (&net.params[s.start..], padded::<T>(s.n_out));
                let bias = &net.params[place(s, s.n_in, 0)..][..width];
                let mut a = vec![T::ZERO; rows * width];
                let x = View::new(&input, rows, s.n_in, stride);
                let to = ViewMut::new(&mut a, rows, s.n_out, width);
                if s.is_turned {
                    let w = View::new(w, s.n_out, s.n_in, s.stride);
                    forward_turned(isa, &Team::solo(), x, w, Some(bias), s.activation, None, to);
                } else {
                    let w = View::new(w, s.n_in, s.n_out, s.stride);
                    forward(isa, &Team::solo(), x, w, Some(bias), s.activation, None, to);
                }
                (input, stride) = (a, width);
            }
            for i in 0..rows {
                let (one_by_one, at_once) = (&input[i * stride..][..n_out], &found.output[n_out * i..][..n_out]);
                assert_eq!(one_by_one, at_once, "{isa:?} {widths:?}, row {i} of {rows}");
            }
        }
    }
}

#[test]
fn the_output_has_the_bits_of_the_products_one_by_one() {
    one_by_one::<f32>();
    one_by_one::<f64>();
}

#[test]
fn a_gradient_is_added_to_what_is_there_and_frozen_parts_are_left_alone() {
    [20, 4, 3, 2, 1].into_iter().for_each(added_and_frozen);
}

fn added_and_frozen(rows: usize) {
    let mut noise = Noise(9);
    let mut net = network::<f64>(&[3, 6, 2], Activation::Tanh, Activation::Identity, true, &mut noise);
    (net.stages[0].learns_weights, net.stages[1].learns_bias) = (false, false);
    let x: Vec<f64> = (0..rows * 3).map(|_| noise.next()).collect();
    let t: Vec<f64> = (0..rows * 2).map(|_| noise.next()).collect();
    let target = Target::Dense(View::new(&t, rows, 2, 2));
    let once = ours(Isa::available()[0], &net, &x, target, TinyLoss::Squared, rows).gradient;
    let tiny = Tiny::new::<f64>(net.stages.clone(), rows).expect("a plan");
    let mut work = Buffer::zeroed(tiny.len()).expect("memory");
    let (scale, mut losses) = (vec![0.25; rows], vec![0.0; rows]);
    let asked = Some(Asked { loss: TinyLoss::Squared, target, scale: &scale, losses: &mut losses });
    tiny_forward(Isa::available()[0], &tiny, &net.params, View::new(&x, rows, 3, 3), asked, &mut work);
    let mut twice = once.clone();
    tiny_backward(Isa::available()[0], &tiny, &net.params, rows, &mut work, Some(TinyLoss::Squared), true, &mut twice);
    for (index, s) in net.stages.iter().enumerate() {
        for i in 0..=s.n_in {
            let learns = if i < s.n_in { s.learns_weights } else { s.learns_bias };
            for j in 0..s.n_out {
                let at = place(s, i, j);
                let (before, after) =
                    if learns { (once[at], 2.0 * once[at]) } else { (net.params[at], net.params[at]) };
                assert_eq!((once[at], twice[at]), (before, after), "stage {index}, row {i}");
            }
        }
    }
}

#[test]
fn a_sum_of_gradients_that_is_not_finite_names_its_stage_too() {
    let mut noise = Noise(3);
    let net = network::<f32>(&[2, 3, 2], Activation::Identity, Activation::Identity, true, &mut noise);
    let tiny = Tiny::new::<f32>(net.stages.clone(), 1).expect("a plan");
    let mut work = Buffer::zeroed(tiny.len()).expect("memory");
    let (x, t, scale, mut losses) = ([1.0, 0.5], [1e18, 1e18], [2.0f32], [0.0]);
    for isa in Isa::available() {
        let target = Target::Dense(View::new(&t, 1, 2, 2));
        let asked = Some(Asked { loss: TinyLoss::Squared, target, scale: &scale, losses: &mut losses });
        tiny_forward(isa, &tiny, &net.params, View::new(&x, 1, 2, 2), asked, &mut work);
        let mut gradient = vec![0.0; net.params.len()];
        let found = (0..6).map(|i| {
            tiny_backward(isa, &tiny, &net.params, 1, &mut work, Some(TinyLoss::Squared), i > 0, &mut gradient)
        });
        let found: Vec<_> = found.map(|broken| broken.is_some()).collect();
        assert!(!found[0] && found[5], "{isa:?}: six times 4e18 have no square");
    }
}

#[test]
#[should_panic(expected = "the workspace is for these rows")]
fn no_row_does_not_go_through_a_network_for_one() {
    let net = network::<f32>(&[2, 3], Activation::Identity, Activation::Identity, true, &mut Noise(3));
    let tiny = Tiny::new::<f32>(net.stages.clone(), 1).expect("a plan");
    let mut work = Buffer::zeroed(tiny.len()).expect("memory");
    tiny_forward(Isa::SCALAR, &tiny, &net.params, View::new(&[], 0, 2, 2), None, &mut work);
}

#[test]
fn what_is_infinite_below_does_not_come_up_through_padding() {
    // tanh of an infinite sum is 1, and padding of 35 units, which the next layer adds up in lanes, stays 0.
    let mut noise = Noise(3);
    let mut net = network::<f32>(&[1, 1, 35, 2], Activation::Tanh, Activation::Identity, true, &mut noise);
    (net.stages[0].activation, net.params[0]) = (Activation::Identity, 1e38);
    net.stages[0].learns_weights = false;
    net.stages[0].learns_bias = false;
    let labels = [1];
    for isa in Isa::available() {
        let found = ours(isa, &net, &[1e5], Target::Labels(&labels), TinyLoss::SoftmaxCrossEntropy, 1);
        assert!(
            found.losses[0].is_finite() && found.output.iter().all(|a| a.is_finite()),
            "{isa:?}: {:?}",
            found.losses
        );
    }
}

#[test]
fn rows_that_are_padding_are_finite_where_real_ones_are() {
    // 100 - 100 x is 0 for every row, but 100 for one of zeros, of which e^100 is no number in float32.
    for (units, rows) in [(3, 2), (40, 3), (3, 7), (3, 17)] {
        let mut net =
            network::<f32>(&[1, units, 1], Activation::Exponential, Activation::Identity, true, &mut Noise(3));
        let s = net.stages[0];
        for j in 0..units {
            net.params[place(&s, 0, j)] = -100.0;
            net.params[place(&s, 1, j)] = 100.0;
        }
        let (x, t) = (vec![1.0; rows], vec![0.0; rows]);
        for isa in Isa::available() {
            let found = ours(isa, &net, &x, Target::Dense(View::new(&t, rows, 1, 1)), TinyLoss::Squared, rows);
            assert_eq!(found.broken, None, "{isa:?}: {rows} rows");
            assert!(found.gradient.iter().all(|g| g.is_finite()), "{isa:?}: {rows} rows");
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_names_its_stage() {
    let mut noise = Noise(3);
    let mut net = network::<f32>(&[2, 3, 2], Activation::Identity, Activation::Identity, true, &mut noise);
    for weight in &mut net.params[..3] {
        *weight = 1e38;
    }
    let x = [30.0, 1.0, 20.0, 1.0];
    for isa in Isa::available() {
        for rows in [1, 2] {
            let target = Target::Labels(&[0, 1][..rows]);
            let found = ours(isa, &net, &x[..2 * rows], target, TinyLoss::SoftmaxCrossEntropy, rows);
            let finite = found.losses.iter().all(|loss| loss.is_finite());
            assert!(!finite || found.broken.is_some(), "{isa:?}: {:?}", found.losses);
        }
    }
}

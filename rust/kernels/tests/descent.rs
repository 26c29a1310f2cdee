//! Steps by blocks against the whole gradient and a step along it: the same bits, for every rule, set, shape and team.

use dnn_kernels::{
    Activation, Adagrad, Adam, Change, Descent, Isa, NextRows, Placed, Real, Rule, Sgd, Team, View, ViewMut, change,
    forward, padded, row_stride, sum_of_squares, weight_gradient,
};

/// Numbers of both signs.
fn noise<T: Real>(n: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        T::from_f64((state >> 33) as f64 / f64::from(1u32 << 30) - 1.0)
    };
    (0..n).map(|_| next()).collect()
}

/// `rows` rows of noise with zeros in their padding.
fn padded_rows<T: Real>(rows: usize, columns: usize, seed: u64) -> Vec<T> {
    let mut numbers = noise::<T>(rows * row_stride::<T>(columns), seed);
    for row in numbers.chunks_exact_mut(row_stride::<T>(columns)) {
        row[columns..].fill(T::ZERO);
    }
    numbers
}

fn view<T: Real>(data: &[T], rows: usize, columns: usize) -> View<'_, T> {
    View::new(data, rows, columns, row_stride::<T>(columns))
}

/// Layers with something between them, as a bias is.
fn placed<T: Real>(shapes: &[(usize, usize)]) -> (Vec<Placed>, usize) {
    let mut start = 3 * T::LANES;
    let mut layers = vec![];
    for &(n_in, n_out) in shapes {
        let stride = row_stride::<T>(n_out);
        layers.push(Placed { start, n_in, n_out, stride });
        start += (n_in + 1) * stride;
    }
    (layers, start)
}

/// What the rows of a batch brought to each layer, and their deltas.
struct Batch<'a, T> {
    shapes: &'a [(usize, usize)],
    rows: usize,
    x: Vec<Vec<T>>,
    delta: Vec<Vec<T>>,
}

impl<'a, T: Real> Batch<'a, T> {
    fn new(shapes: &'a [(usize, usize)], rows: usize) -> Self {
        let x = shapes.iter().map(|&(n_in, _)| padded_rows(rows, n_in, 1)).collect();
        let delta = shapes.iter().map(|&(_, n_out)| padded_rows(rows, n_out, 2)).collect();
        Batch { shapes, rows, x, delta }
    }

    fn operands(&self, index: usize) -> (View<'_, T>, View<'_, T>) {
        let (n_in, n_out) = self.shapes[index];
        (view(&self.x[index], self.rows, n_in), view(&self.delta[index], self.rows, n_out))
    }
}

fn rules() -> [(Change, [bool; 3]); 7] {
    let adam = Adam { beta_1: 0.9, beta_2: 0.99, size: 0.02, scale: 1.1, epsilon: 1e-8 };
    [
        (Change::Sgd(Sgd::Plain, 0.1), [false; 3]),
        (Change::Sgd(Sgd::Momentum(0.9), 0.1), [true, false, false]),
        (Change::Sgd(Sgd::Nesterov(0.9), 0.1), [true, false, false]),
        (Change::Sgd(Sgd::Dampened(0.9), 0.1), [true, false, false]),
        (Change::Adam(adam), [true, true, false]),
        (Change::Adam(adam), [true; 3]),
        (Change::Rule(Rule::Adagrad(Adagrad { rate: 0.1, epsilon: 1e-6 })), [true, false, false]),
    ]
}

fn bits<T: Real>(numbers: &[T]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

fn agrees<T: Real>((isa, products): (Isa, Isa), team: &Team, shapes: &[(usize, usize)], rows: usize) {
    let (layers, len) = placed::<T>(shapes);
    let batch = Batch::<T>::new(shapes, rows);
    let operands = |index: usize| batch.operands(index);
    // Gradients of few rows are not written where nobody asks for their length.
    let measured = |measured: bool| rules().map(|(rule, has)| (rule, has, measured));
    let unmeasured = measured(false).into_iter().filter(|_| rows <= 64);
    for (rule, has, measured) in measured(true).into_iter().chain(unmeasured) {
        let what = format!("{rule:?} {has:?} {} {products:?} {shapes:?} rows {rows} measured {measured}", T::NAME);
        let mut p = vec![T::ZERO; len];
        let mut memories = [0, 1, 2].map(|i: usize| if has[i] { vec![T::ZERO; len] } else { vec![] });
        let (mut p_whole, mut memories_whole) = (p.clone(), memories.clone());
        let descent = Descent::<T>::new(layers.clone(), products, rows);
        let mut squares = vec![0.0; if measured { descent.blocks() } else { 0 }];
        let mut total = 0.0;
        for _ in 0..2 {
            let [first, second, third] = &mut memories;
            let of_step = [&mut first[..], &mut second[..], &mut third[..]];
            descent.step((isa, products), team, rule, operands, &mut p, of_step, &mut squares, None);
            total = 0.0;
            for (index, layer) in layers.iter().enumerate() {
                let mut dw = vec![T::ZERO; layer.n_in * layer.stride];
                let (x, delta) = operands(index);
                let to = ViewMut::new(&mut dw, layer.n_in, layer.n_out, layer.stride);
                assert!(weight_gradient(products, &Team::solo(), x, delta, false, to), "{what}");
                total += sum_of_squares(isa, &dw);
                let range = layer.start..layer.start + dw.len();
                let [first, second, third] = &mut memories_whole;
                let memories = [(first, has[0]), (second, has[1]), (third, has[2])];
                let memories = memories.map(|(memory, has)| if has { &mut memory[range.clone()] } else { &mut [] });
                change(isa, &Team::solo(), rule, &mut p_whole[range], &dw[..], memories);
            }
        }
        assert_eq!(bits(&p), bits(&p_whole), "{what}");
        for (got, whole) in memories.iter().zip(&memories_whole) {
            assert_eq!(bits(got), bits(whole), "{what}");
        }
        let sum = squares.iter().sum::<f64>();
        assert!(!measured || (sum - total).abs() <= 1e-12 * total, "{what}: {sum} for {total}");
        assert!(p.iter().any(|x| x.to_f64() != 0.0), "{what}: it moves");
    }
}

#[test]
fn a_step_by_blocks_has_the_bits_of_the_whole_gradient_at_every_tail() {
    let team = Team::exactly(3);
    for isa in Isa::available() {
        for n_out in [5, 8, 15, 16, 17, 31, 64, 70] {
            for (n_in, rows) in [(1, 1), (3, 2), (7, 3), (16, 4), (25, 1), (25, 5), (40, 33), (9, 48)] {
                agrees::<f32>((isa, isa), &team, &[(n_in, n_out), (n_in + 2, n_out + 1)], rows);
                agrees::<f64>((isa, isa), &team, &[(n_in, n_out)], rows);
            }
        }
    }
}

#[test]
fn and_where_a_layer_is_many_blocks_or_its_rows_are_cut() {
    let team = Team::exactly(2);
    // Rows of 2 KiB have a gap behind them; those of 9000 numbers are cut in two; 300 rows are two pieces of a sum.
    for (shapes, rows) in
        [(&[(700, 512), (300, 700)][..], 2), (&[(45, 9000)], 3), (&[(400, 300), (5, 8200)], 300), (&[(3, 100_000)], 7)]
    {
        let fastest = Isa::available()[0];
        agrees::<f32>((fastest, fastest), &team, shapes, rows);
        agrees::<f64>((fastest, fastest), &team, shapes, rows);
    }
}

#[test]
fn factors_are_rounded_to_bfloat16_as_for_the_whole_gradient() {
    for isa in Isa::available().into_iter().chain([Isa::SCALAR_AMX]) {
        for products in
            [isa.with_bf16(), isa.with_split(), isa.with_whole()].into_iter().filter(|products| products.has_bf16())
        {
            // The twin of tiles is slow.
            let is_twin = isa == Isa::SCALAR_AMX;
            let (wide, most) = if is_twin { (150, 64) } else { (512, 300) };
            if is_twin && products.parts() > 1 {
                continue;
            }
            for rows in [16, 64, most] {
                agrees::<f32>((isa, products), &Team::solo(), &[(200, 130), (700, wide)], rows);
            }
            // Two strips of columns, whose deltas threads pack together.
            agrees::<f32>((isa, products), &Team::exactly(3), &[(97, 1040)], if is_twin { 33 } else { 96 });
        }
    }
}

/// A step that goes over the next rows against one that does not, and a product afterwards.
fn takes_next_rows_along<T: Real>(
    isa: Isa,
    team: &Team,
    shapes: &[(usize, usize)],
    rows: usize,
    next_rows: usize,
    has_bias: bool,
) {
    let (layers, len) = placed::<T>(shapes);
    let batch = Batch::<T>::new(shapes, rows);
    let operands = |index: usize| batch.operands(index);
    let descent = Descent::<T>::new(layers.clone(), isa, rows);
    let (n_in, n_out) = shapes[0];
    let (next, stride) = (noise::<T>(next_rows * row_stride::<T>(n_in), 3), layers[0].stride);
    let next = view(&next, next_rows, n_in);
    // Between the layers, as a bias is.
    let bias = has_bias.then_some(layers[0].start + n_in * stride);
    for (rule, has) in [rules()[0], rules()[1]] {
        let what = format!("{rule:?} {} {isa:?} {shapes:?} rows {rows} and {next_rows} {has_bias}", T::NAME);
        let mut p = noise::<T>(len, 4);
        let mut velocity = if has[0] { noise::<T>(len, 5) } else { vec![] };
        let (mut p_apart, mut velocity_apart) = (p.clone(), velocity.clone());
        let mut z = noise::<T>((2 * next_rows + 1) * stride, 6);
        let z_of_step = ViewMut::new(&mut z, 2 * next_rows, n_out, stride);
        let along = NextRows { x: next, bias, z: z_of_step };
        let memories = [&mut velocity[..], &mut [], &mut []];
        descent.step((isa, isa), team, rule, operands, &mut p, memories, &mut [], Some(along));
        let memories = [&mut velocity_apart[..], &mut [], &mut []];
        descent.step((isa, isa), &Team::solo(), rule, operands, &mut p_apart, memories, &mut [], None);
        assert_eq!(bits(&p), bits(&p_apart), "{what}");
        assert_eq!(bits(&velocity), bits(&velocity_apart), "{what}");
        let w = View::new(&p[layers[0].start..], n_in, n_out, stride);
        let bias = bias.map(|start| &p[start..start + padded::<T>(n_out)]);
        // Nothing is written behind z, nor between its rows.
        let (was, behind) = (noise::<T>(z.len(), 6), 2 * next_rows * stride);
        assert_eq!(bits(&z[behind..]), bits(&was[behind..]), "{what}");
        for row in 0..2 * next_rows {
            let gap = row * stride + padded::<T>(n_out)..(row + 1) * stride;
            assert_eq!(bits(&z[gap.clone()]), bits(&was[gap]), "{what}: row {row}");
        }
        let mut z_apart = vec![T::ZERO; next_rows * stride];
        let to = ViewMut::new(&mut z_apart, next_rows, n_out, stride);
        forward(isa, &Team::solo(), next, w, bias, Activation::Identity, None, to);
        for r in 0..next_rows {
            let row = r * stride..r * stride + n_out;
            assert_eq!(bits(&z[row.clone()]), bits(&z_apart[row]), "{what}: row {r}");
        }
    }
}

#[test]
fn the_next_rows_come_out_as_of_a_product_with_the_weights_after_the_step() {
    for isa in Isa::available() {
        for threads in [1, 3] {
            let team = Team::exactly(threads);
            for (n_out, has_bias) in
                [5, 15, 16, 17, 31, 33, 64, 70, 130].into_iter().zip([true, false].into_iter().cycle())
            {
                // One piece of a sum, or several, the last of which is short.
                for (n_in, rows, next_rows) in
                    [(1, 1, 1), (7, 2, 1), (256, 3, 3), (257, 4, 2), (600, 1, 1), (777, 4, 4)]
                {
                    takes_next_rows_along::<f32>(isa, &team, &[(n_in, n_out), (n_out, 9)], rows, next_rows, has_bias);
                    takes_next_rows_along::<f64>(isa, &team, &[(n_in, n_out)], rows, next_rows, has_bias);
                }
            }
            // Strips for each thread; rows of 2 KiB, with a gap behind them.
            takes_next_rows_along::<f32>(isa, &team, &[(300, 9000), (9000, 40)], 2, 2, true);
            takes_next_rows_along::<f32>(isa, &team, &[(300, 512), (512, 40)], 2, 2, true);
        }
    }
}

#[test]
fn next_rows_are_taken_along_where_the_weights_outweigh_them() {
    let takes = |n_in, n_out, rows, threads| {
        let (layers, _) = placed::<f32>(&[(n_in, n_out)]);
        Descent::<f32>::new(layers, Isa::SCALAR, rows).takes_next_rows(Isa::SCALAR, rows, threads)
    };
    assert!(takes(784, 30, 1, 1) && takes(300, 100, 2, 2) && takes(1000, 1000, 4, 2) && takes(2000, 2000, 1, 4));
    assert!(!takes(784, 30, 2, 1) && !takes(512, 512, 3, 1) && !takes(1000, 1000, 5, 1) && !takes(1000, 1000, 1, 3));
}

#[test]
#[should_panic(expected = "a step that forms no gradient")]
fn next_rows_are_refused_where_a_gradient_is_formed() {
    next_rows_of_one_layer(
        Change::Adam(Adam { beta_1: 0.9, beta_2: 0.99, size: 0.02, scale: 1.1, epsilon: 1e-8 }),
        1,
        2,
        None,
    );
}

#[test]
#[should_panic(expected = "no more rows than there are")]
fn more_next_rows_than_rows_are_refused() {
    next_rows_of_one_layer(Change::Sgd(Sgd::Plain, 0.1), 2, 4, None);
}

#[test]
#[should_panic(expected = "a bias among the parameters")]
fn a_bias_among_the_weights_is_refused() {
    next_rows_of_one_layer(Change::Sgd(Sgd::Plain, 0.1), 1, 2, Some(16));
}

#[test]
#[should_panic(expected = "shapes of x and z")]
fn next_rows_of_another_shape_are_refused() {
    next_rows_of_one_layer(Change::Sgd(Sgd::Plain, 0.1), 1, 1, None);
}

/// A step of one row of a layer of 2 inputs and 16 outputs, with so many next rows, and rows of their z.
fn next_rows_of_one_layer(rule: Change, rows: usize, z_rows: usize, bias: Option<usize>) {
    let layer = Placed { start: 0, n_in: 2, n_out: 16, stride: 16 };
    let (x, delta, mut z) = ([0.0f32; 64], [0.0f32; 16], [0.0f32; 64]);
    let operands = |_| (View::new(&x[..], 1, 2, 16), View::new(&delta[..], 1, 16, 16));
    let next = NextRows { x: View::new(&x, rows, 2, 16), bias, z: ViewMut::new(&mut z, z_rows, 16, 16) };
    let (isa, mut memories) = (Isa::SCALAR, [[0.0; 48]; 2]);
    let [first, second] = &mut memories;
    let memories = if matches!(rule, Change::Adam(_)) {
        [&mut first[..], &mut second[..], &mut []]
    } else {
        [&mut [][..], &mut [], &mut []]
    };
    let descent = Descent::<f32>::new(vec![layer], isa, 1);
    descent.step((isa, isa), &Team::solo(), rule, operands, &mut [0.0; 48], memories, &mut [], Some(next));
}

#[test]
fn the_number_of_threads_changes_no_sum_of_squares() {
    let shape = (900, 500);
    let (layers, len) = placed::<f32>(&[shape]);
    let (x, delta) = (padded_rows::<f32>(4, shape.0, 1), padded_rows::<f32>(4, shape.1, 2));
    let descent = Descent::<f32>::new(layers, Isa::SCALAR, 4);
    let of_team = |threads| {
        let (mut p, mut squares) = (vec![0.0; len], vec![0.0; descent.blocks()]);
        let operands = |_| (view(&x, 4, shape.0), view(&delta, 4, shape.1));
        let isa = Isa::SCALAR;
        let rule = Change::Sgd(Sgd::Plain, 0.1);
        let none = [&mut [][..], &mut [], &mut []];
        descent.step((isa, isa), &Team::exactly(threads), rule, operands, &mut p, none, &mut squares, None);
        (bits(&p), bits(&squares))
    };
    assert!(descent.blocks() > 3);
    assert_eq!(of_team(1), of_team(3));
}

#[test]
#[should_panic(expected = "one after the other")]
fn layers_that_overlap_are_refused() {
    let layer = Placed { start: 0, n_in: 2, n_out: 16, stride: padded::<f32>(16) };
    Descent::<f32>::new(vec![layer, Placed { start: 16, ..layer }], Isa::SCALAR, 1);
}

#[test]
#[should_panic(expected = "shapes of x, delta and w")]
fn operands_of_another_shape_are_refused() {
    let layer = Placed { start: 0, n_in: 2, n_out: 16, stride: 16 };
    let (x, delta) = ([0.0f32; 16], [0.0f32; 16]);
    let operands = |_| (View::new(&x[..], 1, 3, 16), View::new(&delta[..], 1, 16, 16));
    let rule = Change::Sgd(Sgd::Plain, 0.1);
    let isa = Isa::SCALAR;
    let none = [&mut [][..], &mut [], &mut []];
    Descent::<f32>::new(vec![layer], isa, 1).step(
        (isa, isa),
        &Team::solo(),
        rule,
        operands,
        &mut [0.0; 32],
        none,
        &mut [],
        None,
    );
}

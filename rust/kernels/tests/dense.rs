//! The three products against their naive twins: the same bits, at every tail, on every set, for any team.
#![expect(clippy::needless_range_loop, reason = "i and j are the row and the column, in several tables at once")]

use dnn_kernels::{
    Activation, Below, Isa, Real, Team, View, ViewMut, column_sums, forward, forward_turned, input_gradient,
    input_gradient_turned, is_turned, padded, row_stride, weight_gradient, weight_gradient_turned,
};

/// Terms of a piece of a sum, as in `tile.rs`: another number there is a change of results.
const PIECE: usize = 256;
/// Written behind every buffer; must still be there afterwards.
const CANARY: f64 = -12345.0;

fn fma<T: Real>(a: T, b: T, c: T) -> T {
    let (x, y, z) = (a.to_f64(), b.to_f64(), c.to_f64());
    if T::NAME == "float32" {
        T::from_f64(f64::from((x as f32).mul_add(y as f32, z as f32)))
    } else {
        T::from_f64(x.mul_add(y, z))
    }
}

fn add<T: Real>(a: T, b: T) -> T {
    // The sum of two float32 in float64 is exact or rounds as it would in float32.
    T::from_f64(a.to_f64() + b.to_f64())
}

/// A matrix with padded rows and canaries behind.
#[derive(Clone)]
struct Matrix<T: Real> {
    data: Vec<T>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<T: Real> Matrix<T> {
    /// Numbers of both signs and several magnitudes, zeros in the padding.
    fn new(rows: usize, columns: usize, stride: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut m = Matrix { data: vec![T::ZERO; rows * stride], rows, columns, stride };
        for i in 0..rows {
            for j in 0..columns {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                m.data[i * stride + j] = T::from_f64(((state >> 33) as f64 / (1u64 << 30) as f64 - 1.0) * 1.7);
            }
        }
        m.data.extend(std::iter::repeat_n(T::from_f64(CANARY), 3 * T::LANES));
        m
    }
    fn padded(rows: usize, columns: usize, seed: u64) -> Self {
        Self::new(rows, columns, row_stride::<T>(columns), seed)
    }
    fn transposed(&self) -> Self {
        let mut m = Self::padded(self.columns, self.rows, 0);
        for i in 0..m.rows {
            for j in 0..m.columns {
                m.data[i * m.stride + j] = self.at(j, i);
            }
        }
        m
    }
    fn at(&self, i: usize, j: usize) -> T {
        self.data[i * self.stride + j]
    }
    fn view(&self) -> View<'_, T> {
        View::new(&self.data[..self.rows * self.stride], self.rows, self.columns, self.stride)
    }
    fn view_mut(&mut self) -> ViewMut<'_, T> {
        let end = self.rows * self.stride;
        ViewMut::new(&mut self.data[..end], self.rows, self.columns, self.stride)
    }
    fn assert_canaries(&self) {
        assert!(self.data[self.rows * self.stride..].iter().all(|x| x.to_f64() == CANARY));
    }
    fn assert_same(&self, other: &Self, what: &str) {
        for i in 0..self.rows {
            for j in 0..self.columns {
                let (a, b) = (self.at(i, j), other.at(i, j));
                assert!(a == b, "{what}: element ({i}, {j}) is {a}, its twin {b}");
            }
            for j in self.columns..padded::<T>(self.columns) {
                assert!(self.at(i, j) == T::ZERO, "{what}: padding ({i}, {j}) is {}", self.at(i, j));
            }
        }
        self.assert_canaries();
    }
}

/// A chain over `terms` in pieces: the first starts with `first`, the others are added.
fn chain<T: Real>(first: T, old: Option<T>, terms: &[(T, T)]) -> T {
    let mut total = old;
    let mut start = first;
    let mut pieces = terms.chunks(PIECE);
    let mut piece = pieces.next().unwrap_or(&[]);
    loop {
        let sum = piece.iter().fold(start, |sum, &(a, b)| fma(a, b, sum));
        total = Some(total.map_or(sum, |total| add(total, sum)));
        start = T::ZERO;
        match pieces.next() {
            Some(next) => piece = next,
            None => return total.unwrap_or(T::ZERO),
        }
    }
}

fn naive<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    a: impl Fn(usize, usize) -> T,
    b: impl Fn(usize, usize) -> T,
    start: impl Fn(usize) -> T,
    old: Option<&Matrix<T>>,
) -> Matrix<T> {
    let mut c = Matrix::padded(m, n, 0);
    for i in 0..m {
        for j in 0..n {
            let terms: Vec<(T, T)> = (0..k).map(|k| (a(i, k), b(k, j))).collect();
            c.data[i * c.stride + j] = chain(start(j), old.map(|old| old.at(i, j)), &terms);
        }
    }
    c
}

/// A dot product: a sum for each lane, then halves added to halves.
fn dots<T: Real>(terms: impl Iterator<Item = (T, T)>) -> T {
    let mut lanes = vec![T::ZERO; T::LANES];
    for (k, (a, b)) in terms.enumerate() {
        lanes[k % T::LANES] = fma(a, b, lanes[k % T::LANES]);
    }
    let mut half = T::LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = add(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The input gradient of few rows, or inputs, with some outputs.
fn naive_dots<T: Real>(delta: &Matrix<T>, w: &Matrix<T>) -> Matrix<T> {
    let mut out = Matrix::padded(delta.rows, w.rows, 0);
    for i in 0..delta.rows {
        for j in 0..w.rows {
            out.data[i * out.stride + j] = dots((0..delta.columns).map(|k| (delta.at(i, k), w.at(j, k))));
        }
    }
    out
}

/// The outputs of a layer that has few, with many inputs: dot products in pieces, on top of what each starts with.
fn naive_narrow<T: Real>(x: &Matrix<T>, w: &Matrix<T>, start: impl Fn(usize) -> T) -> Matrix<T> {
    let mut z = Matrix::padded(x.rows, w.columns, 0);
    let inputs: Vec<usize> = (0..x.columns).collect();
    for i in 0..x.rows {
        for j in 0..w.columns {
            z.data[i * z.stride + j] = inputs
                .chunks(PIECE)
                .fold(start(j), |sum, piece| add(sum, dots(piece.iter().map(|&k| (x.at(i, k), w.at(k, j))))));
        }
    }
    z
}

fn check_shape<T: Real>(rows: usize, n_in: usize, n_out: usize, threads: usize) {
    check_layout::<T>(rows, n_in, n_out, threads, false);
    if is_turned(n_in, n_out) {
        check_layout::<T>(rows, n_in, n_out, threads, true);
    }
}

/// With weights of (n_in, n_out), or turned.
fn check_layout<T: Real>(rows: usize, n_in: usize, n_out: usize, threads: usize, turned: bool) {
    let forward = if turned { forward_turned } else { forward };
    let input_gradient = if turned { input_gradient_turned } else { input_gradient };
    let weight_gradient = if turned { weight_gradient_turned } else { weight_gradient };
    let lies = |m: Matrix<T>| if turned { m.transposed() } else { m };
    let x = Matrix::<T>::new(rows, n_in, n_in + 3, 1);
    let w = Matrix::<T>::padded(n_in, n_out, 2);
    let bias = Matrix::<T>::padded(1, n_out, 3);
    let delta = Matrix::<T>::padded(rows, n_out, 4);
    let relu = |x: T| if T::ZERO > x { T::ZERO } else { x };
    let mut below = Matrix::<T>::padded(rows, n_in, 5);
    below.data.iter_mut().take(rows * below.stride).for_each(|x| *x = relu(*x));
    let old = Matrix::<T>::padded(n_in, n_out, 6);

    let product = |start: &dyn Fn(usize) -> T| {
        if turned && n_in > 32 {
            naive_narrow(&x, &w, start)
        } else {
            naive(rows, n_out, n_in, |i, k| x.at(i, k), |k, j| w.at(k, j), start, None)
        }
    };
    let mut z = product(&|j| bias.at(0, j));
    let linear = z.clone();
    z.data.iter_mut().take(rows * z.stride).for_each(|x| *x = relu(*x));
    let without_bias = product(&|_| T::ZERO);
    let few_rows = rows <= 8 && n_out >= 2.max(rows / 2) * T::LANES;
    let few_inputs = 2 * n_in <= T::LANES && n_out >= 4 * T::LANES && n_in * n_out * size_of::<T>() <= 48 << 10;
    let mut dx = if few_rows || few_inputs {
        naive_dots(&delta, &w)
    } else {
        naive(rows, n_in, n_out, |i, k| delta.at(i, k), |k, j| w.at(j, k), |_| T::ZERO, None)
    };
    let dx_plain = dx.clone();
    for i in 0..rows {
        for j in 0..n_in {
            if below.at(i, j) <= T::ZERO {
                // 0 times the element, as the kernel has it: the sign of the zero is not looked at.
                dx.data[i * dx.stride + j] = T::ZERO;
            }
        }
    }
    let dw = naive(n_in, n_out, rows, |i, k| x.at(k, i), |k, j| delta.at(k, j), |_| T::ZERO, None);
    let dw_more = naive(n_in, n_out, rows, |i, k| x.at(k, i), |k, j| delta.at(k, j), |_| T::ZERO, Some(&old));
    let (w, old, dw, dw_more) = (lies(w), lies(old), lies(dw), lies(dw_more));

    for isa in Isa::available() {
        let team = Team::exactly(threads);
        let what = |name: &str| {
            format!("{name} {} {isa:?} {rows} x {n_in} -> {n_out} turned {turned} threads {threads}", T::NAME)
        };
        let mut a = Matrix::padded(rows, n_out, 7);
        let row = &bias.data[..padded::<T>(n_out)];
        forward(isa, &team, x.view(), w.view(), Some(row), Activation::Relu, None, a.view_mut());
        a.assert_same(&z, &what("forward, rectified"));
        let mut kept = Matrix::padded(rows, n_out, 7);
        forward(isa, &team, x.view(), w.view(), Some(row), Activation::Relu, Some(kept.view_mut()), a.view_mut());
        kept.assert_same(&linear, &what("z kept"));
        a.assert_same(&z, &what("a beside z"));
        forward(isa, &team, x.view(), w.view(), None, Activation::Identity, None, a.view_mut());
        a.assert_same(&without_bias, &what("forward without bias"));
        team.keep_weights(true);
        forward(isa, &team, x.view(), w.view(), Some(row), Activation::Relu, None, a.view_mut());
        a.assert_same(&z, &what("forward with weights that stay"));
        team.keep_weights(false);

        let mut out = Matrix::padded(rows, n_in, 8);
        input_gradient(isa, &team, delta.view(), w.view(), None, out.view_mut());
        out.assert_same(&dx_plain, &what("input gradient"));
        let into = Below { activation: Activation::Relu, a: below.view(), z: below.view() };
        input_gradient(isa, &team, delta.view(), w.view(), Some(into), out.view_mut());
        out.assert_same(&dx, &what("input gradient with derivative"));

        let mut gradient = lies(Matrix::padded(n_in, n_out, 9));
        assert!(weight_gradient(isa, &team, x.view(), delta.view(), false, gradient.view_mut()));
        gradient.assert_same(&dw, &what("weight gradient"));
        let mut gradient = old.clone();
        assert!(weight_gradient(isa, &team, x.view(), delta.view(), true, gradient.view_mut()));
        gradient.assert_same(&dw_more, &what("weight gradient, accumulated"));

        let mut sums = vec![T::from_f64(CANARY); padded::<T>(n_out) + 1];
        assert!(column_sums(isa, &team, delta.view(), false, &mut sums));
        for j in 0..n_out {
            let sum = (0..rows).fold(T::ZERO, |sum, i| add(sum, delta.at(i, j)));
            assert!(sums[j] == sum, "{}", what("column sums"));
        }
        assert_eq!(sums[padded::<T>(n_out)].to_f64(), CANARY);
    }
}

#[test]
fn products_have_the_bits_of_their_twins_at_every_tail() {
    for n in 1..=70 {
        check_shape::<f32>(1 + n % 15, 1 + n % 5, n, 1);
        check_shape::<f64>(1 + n % 15, 1 + n % 5, n, 1);
    }
    // One and two rows have tiles of their own.
    for n in 1..=140 {
        for rows in 1..=2 {
            check_shape::<f32>(rows, 2, n, 1);
            check_shape::<f64>(rows, 2, n, 1);
        }
    }
    for rows in 1..=17 {
        check_shape::<f32>(rows, 3, 33, 1);
        check_shape::<f64>(rows, 3, 17, 1);
    }
    for n_in in (1..=40).chain([127, 255, 256, 257, 512, 513]) {
        check_shape::<f32>(7, n_in, 5, 1);
        check_shape::<f64>(3, n_in, 9, 1);
    }
}

#[test]
fn products_have_the_bits_of_their_twins_when_packed_and_shared_out() {
    for threads in 1..=3 {
        check_shape::<f32>(65, 70, 340, threads);
        check_shape::<f32>(40, 513, 130, threads);
        check_shape::<f64>(33, 330, 65, threads);
        check_shape::<f32>(300, 20, 64, threads);
    }
}

/// Rows of weights, or of deltas, that lie far apart and are asked for ahead.
#[test]
fn products_that_look_ahead_have_the_bits_of_their_twins() {
    let check = |rows, n_in, n_out, threads| {
        check_shape::<f32>(rows, n_in, n_out, threads);
        check_shape::<f64>(rows, n_in, n_out, threads);
    };
    (3..=20).chain([31, 32, 33]).for_each(|rows| check(rows, 40, 330, 1));
    [321, 336, 352, 368, 384, 385].into_iter().for_each(|n_out| check(13, 40, n_out, 1));
    [17, 255, 256, 257, 600].into_iter().for_each(|n_in| check(10, n_in, 330, 1));
    (2..=4).for_each(|threads| check(70, 100, 600, threads));
}

/// Input gradients for which deltas are turned, and not weights: rows that fill vectors, or nearly.
#[test]
fn input_gradients_across_have_the_bits_of_their_twins() {
    for (rows, threads) in [(30, 1), (32, 1), (32, 2), (32, 3), (47, 1), (48, 2), (64, 1)] {
        check_shape::<f32>(rows, 203, 217, threads);
        check_shape::<f32>(rows, 330, 259, threads);
    }
    for (rows, threads) in [(14, 1), (16, 2), (23, 1), (32, 3)] {
        check_shape::<f64>(rows, 203, 217, threads);
        check_shape::<f64>(rows, 330, 259, threads);
    }
}

#[test]
fn weight_gradients_have_the_bits_of_their_twin_at_every_height_of_a_packed_operand() {
    for n_in in 1..=26 {
        for rows in [1, 7, 256, 300] {
            check_shape::<f32>(rows, n_in, 128, 1);
            check_shape::<f64>(rows, n_in, 129, 1);
        }
        check_shape::<f32>(9, 264 + n_in, 145, 2);
    }
}

#[test]
fn forward_to_few_outputs_has_the_bits_of_its_twin() {
    for n_out in 1..=4 {
        for n_in in (2..=100).chain([255, 256, 257, 300, 512, 513]) {
            check_shape::<f32>(1 + n_in % 11, n_in, n_out, 1);
            check_shape::<f64>(1 + n_in % 11, n_in, n_out, 1);
        }
        for rows in 1..=20 {
            for n_in in [20, 65] {
                check_shape::<f32>(rows, n_in, n_out, 1);
                check_shape::<f64>(rows, n_in, n_out, 1);
            }
        }
        check_shape::<f32>(1030, 530, n_out, 2);
        check_shape::<f64>(1030, 530, n_out, 3);
    }
}

#[test]
fn products_of_few_rows_have_the_bits_of_their_twins() {
    for rows in 1..=7 {
        for n_in in [1, 3, 7, 8, 9, 16, 30] {
            for n_out in [5, 15, 16, 17, 31, 32, 33, 47, 64, 100] {
                check_shape::<f32>(rows, n_in, n_out, 1);
                check_shape::<f64>(rows, n_in, n_out, 1);
            }
        }
        // Shared out between threads, with a last part of its own size.
        for threads in 2..=3 {
            check_shape::<f32>(rows, 517, 520, threads);
            check_shape::<f64>(rows, 1031, 250, threads);
        }
    }
}

#[test]
fn products_of_few_inputs_have_the_bits_of_their_twins() {
    for n_in in 1..=9 {
        for rows in [1, 9, 40] {
            for n_out in [31, 32, 33, 63, 64, 65, 200] {
                check_shape::<f32>(rows, n_in, n_out, 1);
                check_shape::<f64>(rows, n_in, n_out, 1);
            }
        }
    }
    // Shared out between threads, by rows.
    for threads in 2..=3 {
        check_shape::<f32>(517, 3, 300, threads);
        check_shape::<f64>(300, 4, 130, threads);
        // Too many weights to read them once for each row.
        check_shape::<f32>(9, 8, 1537, threads);
    }
}

#[test]
fn products_of_few_outputs_have_the_bits_of_their_twins() {
    for n_out in 1..=5 {
        for n_in in (1..=70).step_by(3) {
            for rows in [1, 2, 7, 257, 520] {
                check_shape::<f32>(rows, n_in, n_out, 1);
                check_shape::<f64>(rows, n_in, n_out, 1);
            }
        }
        check_shape::<f32>(520, 1030, n_out, 2);
        check_shape::<f64>(513, 1100, n_out, 3);
    }
}

#[test]
fn a_gradient_whose_squares_are_not_finite_is_told() {
    for isa in Isa::available() {
        for (bad, at) in [(f32::NAN, 0), (f32::INFINITY, 40), (f32::MAX, 41), (1e20, 60)] {
            let x = Matrix::<f32>::padded(9, 5, 1);
            let mut delta = Matrix::<f32>::padded(9, 21, 2);
            delta.data[at] = bad;
            let mut x = x;
            x.data[0] = 4.0;
            x.data[x.stride] = 4.0;
            let mut dw = Matrix::<f32>::padded(5, 21, 3);
            for rows in [9, 3] {
                let of_rows = |m: &Matrix<f32>| Matrix { rows, ..m.clone() };
                let (x, delta) = (of_rows(&x), of_rows(&delta));
                assert!(!weight_gradient(isa, &Team::solo(), x.view(), delta.view(), false, dw.view_mut()));
            }
        }
    }
}

#[test]
fn a_nan_passes_the_rectifier() {
    for isa in Isa::available() {
        let mut x = Matrix::<f32>::padded(2, 3, 1);
        x.data[1] = f32::NAN;
        let (w, mut a) = (Matrix::<f32>::padded(3, 4, 2), Matrix::<f32>::padded(2, 4, 3));
        forward(isa, &Team::solo(), x.view(), w.view(), None, Activation::Relu, None, a.view_mut());
        assert!((0..4).all(|j| a.at(0, j).is_nan() && !a.at(1, j).is_nan()));
    }
}

//! Products with factors in bfloat16, in pairs and in tiles, against a naive twin: the same bits at every tail, on the
//! sets that have them, for any team; and what they leave as it is.
use dnn_kernels::{
    Activation, Below, Isa, Team, View, ViewMut, forward, input_gradient, padded, row_stride, weight_gradient,
};

/// Terms of a piece of a sum, as in `tile.rs`: another number there is a change of results.
const PIECE: usize = 256;
/// Written behind every buffer; must still be there afterwards.
const CANARY: f32 = -12345.0;

/// The sets that round to bfloat16 here, `scalar` always, AVX-512 where the processor has the instructions; and those
/// with tiles, which also take two numbers or three for a factor: their twin always.
fn sets() -> Vec<Isa> {
    let all = || Isa::available().into_iter().chain([Isa::SCALAR_AMX]);
    let split = all().map(Isa::with_split).chain(all().map(Isa::with_whole));
    all().map(Isa::with_bf16).chain(split).filter(|isa| isa.has_bf16()).collect()
}

/// The set of plain code with the results of this one.
fn twin_of(isa: Isa) -> Isa {
    match (has_tiles(isa), isa.parts()) {
        (true, 3) => Isa::SCALAR_AMX.with_whole(),
        (true, 2) => Isa::SCALAR_AMX.with_split(),
        (true, _) => Isa::SCALAR_AMX.with_bf16(),
        _ => Isa::SCALAR.with_bf16(),
    }
}

fn has_tiles(isa: Isa) -> bool {
    isa.with_split().parts() == 2
}

/// To the nearest bfloat16, ties to even; what is below the smallest normal number is 0.
fn rounded(x: f32) -> f32 {
    let x = flushed(x);
    let step = f32::from_bits(x.to_bits() & 0xffff_0000);
    if x.is_nan() || x.is_infinite() || step == x {
        return x;
    }
    let next = f32::from_bits((x.to_bits() & 0xffff_0000).wrapping_add(0x1_0000));
    // In float64, where the two distances are exact, and half a step beyond the largest number is infinite.
    let beyond = if next.is_infinite() { 2f64.powi(128).copysign(f64::from(x)) } else { f64::from(next) };
    let (below, above) = ((f64::from(x) - f64::from(step)).abs(), (beyond - f64::from(x)).abs());
    let even = step.to_bits() & 0x1_0000 == 0;
    if below < above || (below == above && even) { step } else { next }
}

fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

/// A chain over `terms` in pieces: pairs of terms that are rounded, the second of a pair first.
fn chain(isa: Isa, first: f32, old: Option<f32>, terms: &[(f32, f32)]) -> f32 {
    if has_tiles(isa) {
        let sums = terms.chunks(PIECE).map(|piece| in_tiles(isa.parts(), piece));
        // A bias is added to the first sum, and C to that.
        let with_first = sums.enumerate().map(|(i, sum)| if i == 0 { first + sum } else { sum });
        return with_first.fold(old, |total, sum| Some(total.map_or(sum, |total| total + sum))).unwrap_or(first);
    }
    let mut total = old;
    let mut start = first;
    for piece in terms.chunks(PIECE) {
        let mut sum = start;
        for pair in piece.chunks(2) {
            for &(a, b) in pair.iter().rev() {
                sum = flushed(rounded(a).mul_add(rounded(b), flushed(sum)));
            }
        }
        total = Some(total.map_or(sum, |total| total + sum));
        start = 0.0;
    }
    total.unwrap_or(first)
}

/// A piece of a sum in tiles, 32 terms at a time: even and odd ones apart. Several parts are multiplied crosswise, of
/// numbers that are larger by a power of 2.
fn in_tiles(parts: usize, piece: &[(f32, f32)]) -> f32 {
    let scale = if parts > 1 { 2f32.powi(24) } else { 1.0 };
    let parts_of = |x: f32| {
        let mut left = x * scale;
        [0; 3].map(|_| {
            let part = rounded(left);
            left -= part;
            part
        })
    };
    let ways: &[(usize, usize)] = match parts {
        1 => &[(0, 0)],
        2 => &[(1, 0), (0, 0), (0, 1)],
        _ => &[(0, 2), (0, 1), (1, 1), (1, 0), (2, 0), (0, 0)],
    };
    let mut sum = 0.0;
    for terms in piece.chunks(32) {
        let terms: Vec<_> = terms.iter().map(|&(a, b)| (parts_of(a), parts_of(b))).collect();
        for &(p, q) in ways {
            let mut halves = [0f32; 2];
            for (k, (a, b)) in terms.iter().enumerate() {
                halves[k % 2] = flushed(a[p].mul_add(b[q], halves[k % 2]));
            }
            sum = flushed(sum + flushed(halves[0] + halves[1]));
        }
    }
    sum / (scale * scale)
}

/// A matrix with padded rows and canaries behind.
#[derive(Clone)]
struct Matrix {
    data: Vec<f32>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Matrix {
    /// Numbers of both signs, zeros in the padding.
    fn new(rows: usize, columns: usize, stride: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut m = Matrix { data: vec![0.0; rows * stride], rows, columns, stride };
        for i in 0..rows {
            for j in 0..columns {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                m.data[i * stride + j] = ((state >> 33) as f32 / (1u64 << 30) as f32 - 1.0) * 1.7;
            }
        }
        m.data.extend([CANARY; 48]);
        m
    }
    fn padded(rows: usize, columns: usize, seed: u64) -> Self {
        Self::new(rows, columns, row_stride::<f32>(columns), seed)
    }
    fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.stride + j]
    }
    fn view(&self) -> View<'_, f32> {
        View::new(&self.data[..self.rows * self.stride], self.rows, self.columns, self.stride)
    }
    fn view_mut(&mut self) -> ViewMut<'_, f32> {
        let end = self.rows * self.stride;
        ViewMut::new(&mut self.data[..end], self.rows, self.columns, self.stride)
    }
    fn assert_same(&self, other: &Self, what: &str) {
        for i in 0..self.rows {
            for j in 0..self.columns {
                let (a, b) = (self.at(i, j), other.at(i, j));
                let same = a.to_bits() == b.to_bits() || a == b || (a.is_nan() && b.is_nan());
                assert!(same, "{what}: element ({i}, {j}) is {a:e}, its twin {b:e}");
            }
            for j in self.columns..padded::<f32>(self.columns) {
                assert_eq!(self.at(i, j), 0.0, "{what}: padding ({i}, {j})");
            }
        }
        assert!(self.data[self.rows * self.stride..].iter().all(|&x| x == CANARY), "{what}: wrote behind its end");
    }
}

fn naive(
    isa: Isa,
    (m, n, k): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    start: impl Fn(usize) -> f32,
    old: Option<&Matrix>,
) -> Matrix {
    let mut c = Matrix::padded(m, n, 0);
    for i in 0..m {
        for j in 0..n {
            let terms: Vec<(f32, f32)> = (0..k).map(|k| (a(i, k), b(k, j))).collect();
            c.data[i * c.stride + j] = chain(isa, start(j), old.map(|old| old.at(i, j)), &terms);
        }
    }
    c
}

/// What a layer has at hand: its input, its weights, its bias, and the delta of its output.
struct Layer {
    x: Matrix,
    w: Matrix,
    bias: Matrix,
    delta: Matrix,
}

impl Layer {
    fn new(rows: usize, n_in: usize, n_out: usize) -> Self {
        Layer {
            // The input comes from outside, and has no padding.
            x: Matrix::new(rows, n_in, n_in, 1),
            w: Matrix::padded(n_in, n_out, 2),
            bias: Matrix::padded(1, n_out, 3),
            delta: Matrix::padded(rows, n_out, 4),
        }
    }

    fn forward(&self, isa: Isa, team: &Team) -> Matrix {
        let mut a = Matrix::padded(self.x.rows, self.w.columns, 9);
        let bias = &self.bias.data[..self.bias.stride];
        forward(isa, team, self.x.view(), self.w.view(), Some(bias), Activation::Relu, None, a.view_mut());
        a
    }

    fn input_gradient(&self, isa: Isa, team: &Team) -> Matrix {
        let mut out = Matrix::padded(self.x.rows, self.w.rows, 9);
        input_gradient(isa, team, self.delta.view(), self.w.view(), None, out.view_mut());
        out
    }

    fn weight_gradient(&self, isa: Isa, team: &Team, accumulate: bool) -> (Matrix, bool) {
        let mut dw = Matrix::padded(self.w.rows, self.w.columns, 9);
        let finite = weight_gradient(isa, team, self.x.view(), self.delta.view(), accumulate, dw.view_mut());
        (dw, finite)
    }

    /// What each of the products is worth, in the order of [`Layer::check`]: a set with its arithmetic, if any.
    fn worth(&self, isa: Isa) -> [Option<Isa>; 3] {
        let (rows, n_in, n_out) = (self.x.rows, self.x.columns, self.w.columns);
        let work = rows * padded::<f32>(n_in) * padded::<f32>(n_out);
        let of = |least: usize| match least {
            0..16 => None,
            0..96 if isa.parts() == 3 => None,
            // Too small for tiles.
            16..32 if has_tiles(isa) => None,
            16..32 => Some(Isa::SCALAR.with_bf16()),
            _ if isa.parts() == 3 && work < 1 << 22 => None,
            _ => Some(isa),
        };
        let (of_in, of_out) = (padded::<f32>(n_in), padded::<f32>(n_out));
        // The gradient of the weights has to turn the input for it.
        let turned = if of_out > 64 { n_in.min(rows) } else { 0 };
        [of(rows.min(of_out).min(n_in)), of(rows.min(of_in).min(n_out)), of(turned)]
    }

    /// All three products against their twins.
    fn check(&self, isa: Isa, team: &Team) {
        let (x, w, delta) = (&self.x, &self.w, &self.delta);
        let (exact, worth) = (isa.without_bf16(), self.worth(isa));
        let (rows, n_in, n_out) = (x.rows, x.columns, w.columns);
        let what = format!("{rows} x {n_in} -> {n_out}, {isa:?}, {} threads", team.threads());

        let twin = if let Some(isa) = worth[0] {
            let shape = (rows, n_out, n_in);
            let mut twin = naive(isa, shape, |i, k| x.at(i, k), |k, j| w.at(k, j), |j| self.bias.at(0, j), None);
            twin.data[..rows * twin.stride].iter_mut().for_each(|z| *z = z.max(0.0));
            twin
        } else {
            self.forward(exact, team)
        };
        self.forward(isa, team).assert_same(&twin, &format!("forward, {what}"));

        let twin = if let Some(isa) = worth[1] {
            naive(isa, (rows, n_in, n_out), |i, k| delta.at(i, k), |k, j| w.at(j, k), |_| 0.0, None)
        } else {
            self.input_gradient(exact, team)
        };
        self.input_gradient(isa, team).assert_same(&twin, &format!("input gradient, {what}"));

        for accumulate in [false, true] {
            let old = Matrix::padded(n_in, n_out, 9);
            let (dw, finite) = self.weight_gradient(isa, team, accumulate);
            let what = format!("weight gradient, {what}");
            assert!(finite, "{what}");
            if let Some(isa) = worth[2] {
                let old = accumulate.then_some(&old);
                let twin = naive(isa, (n_in, n_out, rows), |i, k| x.at(k, i), |k, j| delta.at(k, j), |_| 0.0, old);
                dw.assert_same(&twin, &what);
            } else {
                dw.assert_same(&self.weight_gradient(exact, team, accumulate).0, &what);
            }
        }
    }
}

#[test]
fn every_tail_has_the_bits_of_the_twin() {
    let team = Team::of(1);
    for isa in sets() {
        // Rows: tiles of 1 to 8; inputs: odd numbers of terms, less and more than a square; outputs: 1 to 5 vectors.
        for rows in (16..=40).chain([97]) {
            Layer::new(rows, 33, 80).check(isa, &team);
        }
        for n_in in (16..=50).chain([64, 65]) {
            Layer::new(17, n_in, 70).check(isa, &team);
        }
        for n_out in (16..=145).step_by(3).chain([64, 65, 80, 96, 112, 128, 129]) {
            Layer::new(18, 19, n_out).check(isa, &team);
        }
        // As many as tiles want: rows and columns of two by two of them and beyond.
        for (rows, n_in) in [(32, 32), (33, 63), (47, 48), (64, 65), (65, 64)] {
            Layer::new(rows, n_in, 72).check(isa, &team);
            Layer::new(rows, 40, 32 + n_in).check(isa, &team);
        }
    }
}

#[test]
fn three_parts_have_the_bits_of_the_twin_where_they_are_worth_it() {
    let team = Team::of(1);
    for isa in sets().into_iter().filter(|isa| isa.parts() == 3) {
        for (rows, n_in, n_out) in [(96, 257, 193), (300, 97, 161), (131, 128, 257)] {
            let layer = Layer::new(rows, n_in, n_out);
            assert!(layer.worth(isa).iter().all(Option::is_some), "{rows} x {n_in} -> {n_out}");
            layer.check(isa, &team);
        }
        for (rows, n_in, n_out) in [(95, 300, 300), (96, 96, 96)] {
            let layer = Layer::new(rows, n_in, n_out);
            layer.forward(isa, &team).assert_same(&layer.forward(isa.without_bf16(), &team), "too small");
        }
    }
}

/// Errors of the numbers of a matrix as parts of the sum of the sizes of their terms: the root of the mean square, and the
/// largest.
fn errors(found: &Matrix, x: &Matrix, w: &Matrix) -> (f64, f64) {
    let (mut squares, mut largest) = (0.0, 0.0f64);
    for i in 0..found.rows {
        for j in 0..found.columns {
            let terms = || (0..x.columns).map(|k| f64::from(x.at(i, k)) * f64::from(w.at(k, j)));
            // What float32 can't tell from 0 is no error.
            let size = terms().map(f64::abs).sum::<f64>().max(f64::from(f32::MIN_POSITIVE));
            let error = (f64::from(found.at(i, j)) - terms().sum::<f64>()).abs() / size;
            assert!(error.is_finite(), "{} in row {i}, column {j}", found.at(i, j));
            (squares, largest) = (squares + error * error, largest.max(error));
        }
    }
    ((squares / (found.rows * found.columns) as f64).sqrt(), largest)
}

/// Three numbers of bfloat16 hold every bit of a number of float32, wherever it lies.
#[test]
fn three_parts_are_as_exact_as_fused_multiply_adds() {
    let team = Team::of(2);
    // What becomes of the number in row i and column k.
    type Change = fn(f32, usize, usize) -> f32;
    let changes: [(&str, Change, Change); 9] = [
        ("random", |x, _, _| x, |x, _, _| x),
        ("of one sign", |x, _, _| x.abs(), |x, _, _| x.abs()),
        (
            "rows and columns badly scaled",
            |x, i, _| x * 2f32.powi(i as i32 % 61 - 30),
            |x, _, j| x * 2f32.powi(j as i32 % 61 - 30),
        ),
        ("terms badly scaled", |x, i, k| x * 2f32.powi((i + 7 * k) as i32 % 41 - 20), |x, _, _| x),
        ("tiny", |x, _, _| x * 1e-30, |x, _, _| x * 1e-6),
        ("below the smallest normal number", |x, _, _| x * 1e-39, |x, _, _| x * 1e20),
        ("products below it", |x, _, _| x * 1e-20, |x, _, _| x * 1e-20),
        ("huge", |x, _, _| x * 1e30, |x, _, _| x * 1e4),
        ("some huge, most of them not", |x, i, k| if i == k { x * 1e35 } else { x }, |x, _, _| x),
    ];
    for isa in sets().into_iter().filter(|isa| isa.parts() == 3) {
        for (what, of_x, of_w) in changes {
            let mut layer = Layer::new(96, 384, 128);
            for (matrix, change) in [(&mut layer.x, of_x), (&mut layer.w, of_w)] {
                for i in 0..matrix.rows {
                    for j in 0..matrix.columns {
                        let at = i * matrix.stride + j;
                        matrix.data[at] = change(matrix.data[at], i, j);
                    }
                }
            }
            let product = |isa| {
                let mut a = Matrix::padded(96, 128, 9);
                forward(isa, &team, layer.x.view(), layer.w.view(), None, Activation::Identity, None, a.view_mut());
                errors(&a, &layer.x, &layer.w)
            };
            let (found, fused) = (product(isa), product(isa.without_bf16()));
            assert!(found.0 <= fused.0 && found.1 <= fused.1, "{what}, {isa:?}: {found:?}, fused {fused:?}");
        }
    }
}

/// A piece of a sum is rounded to float32 before it is added to what is there, as it would be in a gradient of its own.
#[test]
fn subnormal_sums_are_rounded_before_they_are_added() {
    let team = Team::of(1);
    for isa in sets().into_iter().filter(|&isa| has_tiles(isa)) {
        let (rows, n_in, n_out) = if isa.parts() == 3 { (97, 193, 257) } else { (40, 33, 80) };
        let mut layer = Layer::new(rows, n_in, n_out);
        for (matrix, scale) in [(&mut layer.x, 1e-20), (&mut layer.delta, 1e-19)] {
            let end = matrix.rows * matrix.stride;
            matrix.data[..end].iter_mut().for_each(|x| *x *= scale);
        }
        let mut dw = Matrix::padded(n_in, n_out, 9);
        let end = dw.rows * dw.stride;
        dw.data[..end].iter_mut().for_each(|x| *x *= 3e-38);
        let old = dw.clone();
        weight_gradient(isa, &team, layer.x.view(), layer.delta.view(), true, dw.view_mut());
        let (x, delta) = (&layer.x, &layer.delta);
        let shape = (n_in, n_out, rows);
        let twin = naive(isa, shape, |i, k| x.at(k, i), |k, j| delta.at(k, j), |_| 0.0, Some(&old));
        dw.assert_same(&twin, &format!("{isa:?}"));
    }
}

/// Infinities and NaN, and what is too large to be scaled, end as they do in fused multiply-adds.
#[test]
fn what_several_parts_cannot_hold_is_fused() {
    let team = Team::of(1);
    for isa in sets().into_iter().filter(|isa| isa.parts() > 1) {
        for number in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7fff_ffff), f32::MAX, 1e35, -3e33] {
            let mut layer = Layer::new(96, 353, 128);
            layer.x.data[3 * layer.x.stride + 4] = number;
            layer.w.data[300 * layer.w.stride + 5] = -number;
            let (found, fused) = (layer.forward(isa, &team), layer.forward(isa.without_bf16(), &team));
            for (i, j) in (0..96).flat_map(|i| (0..128).map(move |j| (i, j))) {
                let (x, y) = (found.at(i, j), fused.at(i, j));
                let near = (x - y).abs() <= 1e-3 * y.abs().max(1.0);
                assert!(
                    x == y || near || (x.is_nan() && y.is_nan()),
                    "{number:e}: {x:e} for {y:e} at ({i}, {j}), {isa:?}"
                );
            }
            // Inputs that are no whole vectors: beyond them there are zeros, whatever is in the delta.
            let mut layer = Layer::new(96, 345, 128);
            layer.delta.data[3 * layer.delta.stride + 4] = number;
            let found = layer.input_gradient(isa, &team);
            assert!((345..352).all(|j| found.at(3, j) == 0.0), "padding beside {number:e}, {isa:?}");
        }
    }
}

#[test]
fn long_sums_are_added_up_in_pieces() {
    let team = Team::of(1);
    for isa in sets() {
        for terms in [255, 256, 257, 511, 512, 513] {
            let few = if has_tiles(isa) { 32 } else { 16 };
            Layer::new(few, terms, 80).check(isa, &team);
            Layer::new(terms, few, 80).check(isa, &team);
            Layer::new(few, few, terms).check(isa, &team);
        }
    }
}

#[test]
fn blocks_shared_out_have_the_same_bits() {
    let team = Team::of(3);
    for isa in [Isa::SCALAR_AMX.with_bf16(), Isa::SCALAR_AMX.with_split()] {
        Layer::new(70, 40, 520).check(isa, &team);
    }
    Layer::new(97, 100, 530).check(Isa::SCALAR_AMX.with_whole(), &team);
    for isa in sets().into_iter().filter(|&isa| isa != twin_of(isa)) {
        for threads in [1, 3] {
            let team = Team::of(threads);
            // More rows than a block, more columns than a block, and enough work to be shared out.
            Layer::new(540, 80, 96).check(isa, &team);
            Layer::new(64, 300, 520).check(isa, &team);
            if isa.parts() == 3 && threads == 3 {
                Layer::new(100, 97, 530).check(isa, &team);
            }
        }
    }
}

/// Numbers that instructions and twins could treat differently, one at a time among ordinary ones.
#[test]
fn special_numbers_are_treated_alike() {
    let special = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        f32::MIN_POSITIVE / 2.0,
        -1e-45,
        1e-30,
        3.389e38,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        1.0 + 1.0 / 256.0 + f32::EPSILON,
    ];
    let team = Team::of(1);
    for isa in sets() {
        for number in special {
            let mut layer = Layer::new(32, 33, 80);
            layer.x.data[3 * layer.x.stride + 4] = number;
            let a = layer.forward(isa, &team);
            let twin = layer.forward(twin_of(isa), &team);
            a.assert_same(&twin, &format!("forward of {number:e}, {isa:?}"));
            let (dw, finite) = layer.weight_gradient(isa, &team, false);
            let (twin, twin_finite) = layer.weight_gradient(twin_of(isa), &team, false);
            dw.assert_same(&twin, &format!("weight gradient of {number:e}, {isa:?}"));
            assert_eq!(finite, twin_finite, "weight gradient of {number:e}, {isa:?}");
            if number.abs() < 1e18 {
                layer.check(isa, &team);
            } else if isa.parts() < 3 {
                assert!(!finite, "a sum of squares of {number:e} is not finite");
            }
        }
    }
}

/// A product of numbers that bfloat16 holds exactly, with sums that float32 holds, is exact; others are near.
#[test]
fn the_error_is_that_of_bfloat16() {
    let team = Team::of(2);
    for isa in sets() {
        let mut layer = Layer::new(32, 64, 80);
        let exact = layer.forward(isa.without_bf16(), &team);
        let near = layer.forward(isa, &team);
        let norm = |m: &Matrix, other: Option<&Matrix>| {
            let square = |i: usize, j: usize| (m.at(i, j) - other.map_or(0.0, |other| other.at(i, j))).powi(2);
            (0..m.rows).flat_map(|i| (0..m.columns).map(move |j| (i, j))).map(|(i, j)| square(i, j)).sum::<f32>().sqrt()
        };
        let error = norm(&near, Some(&exact)) / norm(&exact, None);
        let (least, most) = match isa.parts() {
            1 => (1e-4, 5e-3),
            2 => (5e-7, 6e-6),
            // Too small a product for three.
            _ => continue,
        };
        assert!(error > least && error < most, "relative error {error}, {isa:?}");

        for matrix in [&mut layer.x, &mut layer.w, &mut layer.bias] {
            let end = matrix.rows * matrix.stride;
            matrix.data[..end].iter_mut().for_each(|x| *x = (*x * 8.0).round());
        }
        layer.forward(isa, &team).assert_same(&layer.forward(isa.without_bf16(), &team), "whole numbers");
    }
}

#[test]
fn what_has_no_pairs_stays_as_it_is() {
    let team = Team::of(1);
    for isa in Isa::available().into_iter().chain([Isa::SCALAR_AMX]) {
        let wanted = isa.with_bf16();
        assert_eq!(wanted.without_bf16(), isa);
        assert_eq!(wanted.name(), isa.name());
        assert!(!isa.has_bf16());
        // Fewer rows or inputs than are worth it.
        for (rows, n_in, n_out) in [(15, 80, 80), (80, 15, 80)] {
            let layer = Layer::new(rows, n_in, n_out);
            layer.forward(wanted, &team).assert_same(&layer.forward(isa, &team), "small products");
        }
        let delta = [1.0f64; 32 * 32];
        let view = || View::new(&delta, 32, 32, 32);
        let gradient = |isa| {
            let mut out = vec![0.0f64; 32 * 32];
            let w: Vec<f64> = (0..32 * 32).map(|i| 1.0 / f64::from(i + 1)).collect();
            let below = Below { activation: Activation::Identity, a: view(), z: view() };
            let out_view = ViewMut::new(&mut out, 32, 32, 32);
            input_gradient(isa, &team, view(), View::new(&w, 32, 32, 32), Some(below), out_view);
            out
        };
        assert_eq!(gradient(wanted), gradient(isa), "float64");
    }
}

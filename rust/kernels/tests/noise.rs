//! Noise against a twin written down plainly from the paper of the generator, in every instruction set and at every
//! length of a tail; and whether the noise is what it says it is.

use dnn_kernels::{Draw, Isa, Noise, Real, Team, View, ViewMut, add_noise, noise_gradient, padded};

const CANARY: f64 = -12345.0;
const DRAW: Draw = Draw { key: 0x0123_4567_89ab_cdef, batch: (7 << 32) | 3, first_row: 5 };
const KINDS: [Noise; 5] = [
    Noise::Dropout { rate: 0.3 },
    Noise::Dropout { rate: 0.0 },
    Noise::AlphaDropout { rate: 0.2 },
    Noise::Gaussian { std: 0.5 },
    Noise::Gaussian { std: 0.0 },
];

/// One block of Philox4x32-10, as the paper has it.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (a, b) = (u64::from(counter[0]) * 0xd2511f53, u64::from(counter[2]) * 0xcd9e8d57);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e3779b9), key[1].wrapping_add(0xbb67ae85)];
    }
    counter
}

/// The draw of 23 bits for a column: word 2 (j % 32 / 16) + j % 2 of the block with the counter
/// (8 (j / 32) + j % 16 / 2, row, batch).
fn draw(row: usize, j: usize) -> u32 {
    let first = 8 * (j / 32) + j % 16 / 2;
    let counter = [first as u32, (DRAW.first_row + row) as u32, DRAW.batch as u32, (DRAW.batch >> 32) as u32];
    philox(counter, [DRAW.key as u32, (DRAW.key >> 32) as u32])[2 * (j % 32 / 16) + j % 2] & 0x7f_ffff
}

/// Quantile of the standard normal distribution by bisection of its distribution function.
fn quantile(p: f64) -> f64 {
    // 1 - p by the continued fraction of Laplace beyond 2, by the series of the integral below.
    fn below(z: f64) -> f64 {
        let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if z.abs() > 3.0 {
            let fraction = (1..200).rev().fold(z.abs(), |rest, k| z.abs() + f64::from(k) / rest);
            return if z < 0.0 { density / fraction } else { 1.0 - density / fraction };
        }
        let (mut term, mut sum) = (z, z);
        for k in 1..100 {
            term *= z * z / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 + density * sum
    }
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if below(middle) < p { low = middle } else { high = middle }
    }
    low
}

/// What becomes of x at a place, and its slope.
fn twin(noise: Noise, x: f64, draw: u32) -> (f64, f64) {
    let drops = |rate: f64| draw < (rate * f64::from(1 << 23)).round() as u32;
    match noise {
        Noise::Dropout { rate } if drops(rate) => (0.0, 0.0),
        Noise::Dropout { rate } => (x / (1.0 - rate), 1.0 / (1.0 - rate)),
        Noise::AlphaDropout { rate } => {
            // Klambauer et al. 2017: a (x d + alpha' (1 - d)) + b with q = 1 - rate
            let (q, alpha) = (1.0 - rate, -1.0507009873554805 * 1.6732632423543772);
            let a = (q + alpha * alpha * q * (1.0 - q)).powf(-0.5);
            let b = -a * (1.0 - q) * alpha;
            if drops(rate) { (a * alpha + b, 0.0) } else { (a * x + b, a) }
        }
        Noise::Gaussian { std } => (x + std * quantile((f64::from(draw) + 0.5) / f64::from(1 << 23)), 1.0),
    }
}

struct Table<T> {
    data: Vec<T>,
    stride: usize,
}

/// Rows with zeros as padding, canaries behind it.
fn output<T: Real>(rows: usize, columns: usize) -> Table<T> {
    let stride = padded::<T>(columns) + 3;
    Table { data: vec![T::from_f64(CANARY); rows * stride], stride }
}

fn run<T: Real>(isa: Isa, team: &Team, noise: Noise, back: bool, x: &[T], rows: usize, columns: usize) -> Table<T> {
    let mut out = output::<T>(rows, columns);
    let view = View::new(x, rows, columns, columns);
    let y = ViewMut::new(&mut out.data, rows, columns, out.stride);
    let step = if back { noise_gradient } else { add_noise };
    step(isa, team, noise, DRAW, view, y);
    out
}

fn input<T: Real>(rows: usize, columns: usize) -> Vec<T> {
    (0..rows * columns).map(|i| T::from_f64(((i * 37 % 101) as f64 - 50.0) / 20.0)).collect()
}

fn noise_follows_its_twin<T: Real>() {
    let epsilon = if T::NAME == "float32" { f64::from(f32::EPSILON) } else { f64::EPSILON };
    for columns in (1..=70).chain([128, 131]) {
        let (rows, team) = (3, Team::solo());
        let x = input::<T>(rows, columns);
        for noise in KINDS {
            for isa in Isa::available() {
                let (y, back) =
                    (run(isa, &team, noise, false, &x, rows, columns), run(isa, &team, noise, true, &x, rows, columns));
                // Quantiles are as good as a float32, in both types.
                let tolerance = if let Noise::Gaussian { .. } = noise { 4e-6 } else { 8.0 * epsilon };
                for i in 0..rows {
                    for j in 0..y.stride {
                        let (got, slope) = (y.data[i * y.stride + j].to_f64(), back.data[i * y.stride + j].to_f64());
                        if j >= columns {
                            let expected = if j < padded::<T>(columns) { 0.0 } else { CANARY };
                            assert!(got == expected && slope == expected, "padding of {columns}");
                            continue;
                        }
                        let at = x[i * columns + j].to_f64();
                        let (value, factor) = twin(noise, at, draw(i, j));
                        let what = format!("{noise:?} {} {isa:?} {columns}: ({i}, {j})", T::NAME);
                        assert!((got - value).abs() <= tolerance * (1.0 + value.abs()), "{what}: {got}, not {value}");
                        let delta = factor * at;
                        assert!((slope - delta).abs() <= 8.0 * epsilon * delta.abs(), "{what}: {slope}, not {delta}");
                    }
                }
                let first = run(Isa::SCALAR, &team, noise, false, &x, rows, columns);
                assert!(first.data == y.data, "{noise:?} {} {isa:?} {columns}: other bits than scalar", T::NAME);
            }
        }
    }
}

#[test]
fn noise_follows_its_twin_in_every_set_and_at_every_tail() {
    noise_follows_its_twin::<f32>();
    noise_follows_its_twin::<f64>();
}

#[test]
fn both_types_have_the_same_noise() {
    let (rows, columns, team) = (4, 50, Team::solo());
    for noise in [Noise::Dropout { rate: 0.5 }, Noise::AlphaDropout { rate: 0.5 }] {
        let isa = Isa::available()[0];
        let single = run::<f32>(isa, &team, noise, true, &vec![1.0; rows * columns], rows, columns);
        let double = run::<f64>(isa, &team, noise, true, &vec![1.0; rows * columns], rows, columns);
        for i in 0..rows {
            for j in 0..columns {
                let kept = (single.data[i * single.stride + j] != 0.0, double.data[i * double.stride + j] != 0.0);
                assert_eq!(kept.0, kept.1);
            }
        }
    }
}

#[test]
fn threads_and_blocks_of_rows_do_not_change_the_noise() {
    let (rows, columns) = (600, 300);
    let x = input::<f32>(rows, columns);
    let isa = Isa::available()[0];
    for noise in KINDS {
        let whole = run(isa, &Team::solo(), noise, false, &x, rows, columns);
        let threads = run(isa, &Team::exactly(3), noise, false, &x, rows, columns);
        assert!(whole.data == threads.data);
        let mut cut = output::<f32>(rows, columns);
        for start in (0..rows).step_by(512) {
            let part = rows.min(start + 512) - start;
            let view = View::new(&x[start * columns..], part, columns, columns);
            let y = ViewMut::new(&mut cut.data[start * cut.stride..], part, columns, cut.stride);
            let draw = Draw { first_row: DRAW.first_row + start, ..DRAW };
            add_noise(isa, &Team::solo(), noise, draw, view, y);
        }
        assert!(whole.data == cut.data);
    }
}

#[test]
fn mean_and_variance_are_what_they_should_be() {
    let (rows, columns) = (1000, 1000);
    let n = (rows * columns) as f64;
    let moments = |noise: Noise, x: &[f64]| {
        let y = run(Isa::available()[0], &Team::solo(), noise, false, x, rows, columns);
        let values = (0..rows).flat_map(|i| y.data[i * y.stride..][..columns].iter());
        let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), y| (sum + y, squares + y * y));
        (sum / n, squares / n - (sum / n).powi(2))
    };
    // Of a million draws a mean errs by 0.001 standard deviations; five of them.
    let ones = vec![1.0; rows * columns];
    let (mean, variance) = moments(Noise::Dropout { rate: 0.3 }, &ones);
    assert!((mean - 1.0).abs() < 0.005 && (variance - 0.3 / 0.7).abs() < 0.005, "{mean} {variance}");
    let (mean, variance) = moments(Noise::Gaussian { std: 2.0 }, &ones);
    assert!((mean - 1.0).abs() < 0.01 && (variance - 4.0).abs() < 0.03, "{mean} {variance}");
    // What has mean 0 and variance 1 keeps them.
    let signs: Vec<f64> = (0..rows * columns).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let (mean, variance) = moments(Noise::AlphaDropout { rate: 0.25 }, &signs);
    assert!(mean.abs() < 0.005 && (variance - 1.0).abs() < 0.01, "{mean} {variance}");
}

#[test]
fn neighbours_in_any_direction_are_drawn_apart() {
    // Dropped or kept, +1 and -1: products of neighbours by row, column, batch and key have mean 0.
    let (rows, columns) = (256, 256);
    let isa = Isa::available()[0];
    let mask = |draw: Draw| {
        let mut y = output::<f32>(rows, columns);
        let ones = vec![1.0; rows * columns];
        let (x, out) =
            (View::new(&ones, rows, columns, columns), ViewMut::new(&mut y.data, rows, columns, columns + 3));
        add_noise(isa, &Team::solo(), Noise::Dropout { rate: 0.5 }, draw, x, out);
        move |i: usize, j: usize| if y.data[i * (columns + 3) + j] == 0.0 { -1.0 } else { 1.0 }
    };
    let here = mask(DRAW);
    type Mask = Box<dyn Fn(usize, usize) -> f64>;
    let others: [(&str, Mask); 4] = [
        ("batch", Box::new(mask(Draw { batch: DRAW.batch + 1, ..DRAW }))),
        ("key", Box::new(mask(Draw { key: DRAW.key + 1, ..DRAW }))),
        ("row", Box::new(mask(Draw { first_row: DRAW.first_row + 1, ..DRAW }))),
        ("column", {
            let here = mask(DRAW);
            Box::new(move |i, j| here(i, (j + 1) % 256))
        }),
    ];
    for (direction, other) in others {
        let products =
            (0..rows * columns).map(|at| here(at / columns, at % columns) * other(at / columns, at % columns));
        // The mean of 65536 signs errs by 0.004; five of that.
        let mean = products.sum::<f64>() / (rows * columns) as f64;
        assert!(mean.abs() < 0.02, "{direction}: {mean}");
    }
}

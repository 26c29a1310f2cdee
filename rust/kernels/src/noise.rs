//! Noise on rows: dropout, alpha dropout, Gaussian noise.
//!
//! In: rows, what kind of noise, and which draw. Out: the rows with noise, or a delta on its way back through it.
//! The numbers are those of Philox4x32-10 (Salmon, Moraes, Dror and Shaw: Parallel random numbers: as easy as 1, 2, 3;
//! 2011), a function of the draw, the row and the column: nothing is stored between the way forward and the way back,
//! and nothing depends on who computes a row. It is integer arithmetic, so all sets have the same bits.

use crate::Real;
use crate::dense::{Shared, View, ViewMut};
use crate::each::{check, in_parts};
use crate::isa::Isa;
use crate::math;
use crate::pool::Team;
use crate::simd::{Kernel, Vector, function, run};

/// What is done to the elements of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// 0 with probability `rate`, else x / (1 - rate), which keeps the mean (Srivastava et al., 2014; "inverted")
    Dropout {
        /// In [0, 1).
        rate: f64,
    },
    /// The lowest value of selu with probability `rate`, else x; then scaled and shifted so that mean 0 and variance 1
    /// stay (Klambauer et al., 2017)
    AlphaDropout {
        /// In [0, 1).
        rate: f64,
    },
    /// x + std n with a standard normal n
    Gaussian {
        /// Not negative.
        std: f64,
    },
}

/// Which numbers are drawn: the same draw gives the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Of the stream.
    pub key: u64,
    /// Of the batch within the stream.
    pub batch: u64,
    /// Place in its batch of the first row; the last row is below 2^32.
    pub first_row: usize,
}

/// Counters side by side: a word of 32 bits has 64 to itself, so that its products fit.
const SIDE: usize = 8;
/// Columns that a group of counters serves: a counter gives four words, each for one column.
const GROUP: usize = 4 * SIDE;
/// Vectors of draws for a group: two of float32, four of float64.
const MAX_VECTORS: usize = 4;
const LOW: u64 = 0xffff_ffff;

function! {
    /// Ten rounds of Philox4x32; each counter is at one place of the four vectors. The upper words of the result mean nothing.
    fn philox<V: Vector>(counter: [V; 4], key: u64) -> [V; 4] {
        // The multipliers and the steps of the key (golden ratio, sqrt(3) - 1) are those of the paper.
        let (mut key_0, mut key_1) = (key as u32, (key >> 32) as u32);
        let mut counter = counter;
        for _ in 0..10 {
            let [x0, x1, x2, x3] = counter;
            let product_0 = x0.mul_words(V::splat_bits(0xd251_1f53));
            let product_1 = x2.mul_words(V::splat_bits(0xcd9e_8d57));
            let (k0, k1) = (V::splat_bits(u64::from(key_0)), V::splat_bits(u64::from(key_1)));
            let first = product_1.upper_words().xor(x1).xor(k0);
            let third = product_0.upper_words().xor(x3).xor(k1);
            counter = [first, product_1, third, product_0];
            key_0 = key_0.wrapping_add(0x9e37_79b9);
            key_1 = key_1.wrapping_add(0xbb67_ae85);
        }
        counter
    }
}

/// A draw is 23 bits of a word: with an exponent in front of them they are a float32.
const BITS: i32 = 23;
const DRAW: u64 = (1 << BITS) - 1;

function! {
    /// Numbers k / 2^23 in [0, 1) for columns `32 group ..` of a row, the same in both types: word w of counter i serves
    /// column `16 (w / 2) + 2 i + w % 2` of the group.
    fn draws<V: Vector>(draw: Draw, row: usize, group: usize) -> [V; MAX_VECTORS] {
        let places: [u64; SIDE] = [0, 1, 2, 3, 4, 5, 6, 7];
        // SAFETY: a vector of any type has 64 bytes, and any bits are a number.
        let places = unsafe { V::load(places.as_ptr().cast()) };
        let counter = [
            places.or(V::splat_bits((SIDE * group) as u64 & LOW)),
            V::splat_bits((draw.first_row + row) as u64 & LOW),
            V::splat_bits(draw.batch & LOW),
            V::splat_bits(draw.batch >> 32),
        ];
        let [w0, w1, w2, w3] = philox(counter, draw.key);
        if V::FRACTION_BITS == BITS {
            [number_of_pair(w0, w1), number_of_pair(w2, w3), V::zero(), V::zero()]
        } else {
            let (n0, n1, n2, n3) = (number_of_word(w0), number_of_word(w1), number_of_word(w2), number_of_word(w3));
            [n0.zip_low(n1), n0.zip_high(n1), n2.zip_low(n3), n2.zip_high(n3)]
        }
    }
}

/// Two words side by side are two float32: 1 + k / 2^23, less 1.
#[inline(always)]
fn number_of_pair<V: Vector>(a: V, b: V) -> V {
    let draw = V::splat_bits(DRAW);
    a.and(draw).or(b.and(draw).lift_words()).or(V::num(1.0)).sub(V::num(1.0))
}

/// A word in the place of a float64: 2^52 + k, less 2^52; in units of 2^-23.
#[inline(always)]
fn number_of_word<V: Vector>(word: V) -> V {
    let big = V::num(f64::from(V::FRACTION_BITS).exp2());
    word.and(V::splat_bits(DRAW)).or(big).sub(big).mul(V::num(f64::from(-BITS).exp2()))
}

function! {
    /// The standard normal quantile of (1 + x) / 2, to the accuracy of a float32 (Giles: Approximating the erfinv function;
    /// 2010).
    fn normal<V: Vector>(x: V) -> V {
        const MIDDLE: [f64; 9] = [
            2.81022636e-08,
            3.43273939e-07,
            -3.5233877e-06,
            -4.39150654e-06,
            0.00021858087,
            -0.00125372503,
            -0.00417768164,
            0.246640727,
            1.50140941,
        ];
        const TAIL: [f64; 9] = [
            -0.000200214257,
            0.000100950558,
            0.00134934322,
            -0.00367342844,
            0.00573950773,
            -0.0076224613,
            0.00943887047,
            1.00167406,
            2.83297682,
        ];
        let one = V::num(1.0);
        let w = math::log(one.sub(x).mul(one.add(x))).neg();
        let (near, far) = (w.sub(V::num(2.5)), w.sqrt().sub(V::num(3.0)));
        let (mut middle, mut tail) = (V::num(MIDDLE[0]), V::num(TAIL[0]));
        for k in 1..9 {
            middle = middle.fma(near, V::num(MIDDLE[k]));
            tail = tail.fma(far, V::num(TAIL[k]));
        }
        V::select(w.lt(V::num(5.0)), middle, tail).mul(x).mul(V::num(std::f64::consts::SQRT_2))
    }
}

/// What a draw decides, with the constants worked out.
#[derive(Clone, Copy)]
enum Rule<T> {
    /// Below `rate` x becomes `dropped`, else `scale x + shift`.
    Drop { rate: T, dropped: T, scale: T, shift: T },
    /// `x + std n`
    Add { std: T },
}

impl<T: Real> Rule<T> {
    fn forward(noise: Noise) -> Rule<T> {
        let num = T::from_f64;
        // As a whole number of units of a draw, the same in both types.
        let unit = f64::from(-BITS).exp2();
        let met = |rate: f64| num((rate / unit).round() * unit);
        match noise {
            Noise::Dropout { rate } => {
                Rule::Drop { rate: met(rate), dropped: T::ZERO, scale: num(1.0 / (1.0 - rate)), shift: T::ZERO }
            }
            Noise::AlphaDropout { rate } => {
                // -lambda alpha of selu, its lowest value; scale and shift are a and b of the paper.
                let lowest = -1.758_099_340_847_376_6;
                let scale = ((1.0 - rate) * (1.0 + rate * lowest * lowest)).powf(-0.5);
                let shift = -scale * rate * lowest;
                Rule::Drop {
                    rate: met(rate),
                    dropped: num(scale * lowest + shift),
                    scale: num(scale),
                    shift: num(shift),
                }
            }
            Noise::Gaussian { std } => Rule::Add { std: num(std) },
        }
    }

    /// What it does to a delta on the way back.
    fn backward(noise: Noise) -> Rule<T> {
        match Rule::forward(noise) {
            Rule::Drop { rate, scale, .. } => Rule::Drop { rate, dropped: T::ZERO, scale, shift: T::ZERO },
            Rule::Add { .. } => Rule::Add { std: T::ZERO },
        }
    }
}

struct Noisy<T> {
    rule: Rule<T>,
    draw: Draw,
    rows: usize,
    columns: usize,
    x: *const T,
    x_stride: usize,
    y: *mut T,
    y_stride: usize,
}

impl<T: Real> Kernel<T> for Noisy<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for i in 0..self.rows {
            for group in 0..self.columns.div_ceil(GROUP) {
                let draws = draws::<V>(self.draw, i, group);
                for (at, &draws) in draws.iter().enumerate().take(GROUP / T::LANES) {
                    let j = GROUP * group + at * T::LANES;
                    if j >= self.columns {
                        break;
                    }
                    let width = T::LANES.min(self.columns - j);
                    // SAFETY: `j + width <= columns`; the caller vouches for the rows, and for the padding of y.
                    unsafe {
                        let x = V::load_up_to(self.x.add(i * self.x_stride + j), width);
                        let mut y = self.at(x, draws);
                        if width < T::LANES {
                            y = V::select(V::first_lanes(width), y, V::zero());
                        }
                        y.store(self.y.add(i * self.y_stride + j));
                    }
                }
            }
        }
    }
}

impl<T: Real> Noisy<T> {
    /// x with the noise of as many draws.
    #[inline(always)]
    fn at<V: Vector<Elem = T>>(&self, x: V, draws: V) -> V {
        match self.rule {
            Rule::Drop { rate, dropped, scale, shift } => {
                let kept = x.fma(V::splat(scale), V::splat(shift));
                V::select(draws.lt(V::splat(rate)), V::splat(dropped), kept)
            }
            Rule::Add { std } => {
                // (2 k + 1) / 2^23 - 1, exactly: the middle of the draw's part of (-1, 1). At most 5.3 sigma come out.
                let place = draws.fma(V::num(2.0), V::num(f64::from(-BITS).exp2() - 1.0));
                V::splat(std).fma(normal(place), x)
            }
        }
    }
}

fn run_noise<T: Real>(isa: Isa, team: &Team, rule: Rule<T>, draw: Draw, x: View<T>, y: ViewMut<T>) {
    check([x], &y);
    let (rows, columns) = (y.rows, y.columns);
    assert!(draw.first_row.checked_add(rows).is_some_and(|end| end as u64 <= LOW), "rows have numbers of 32 bits");
    assert!(columns as u64 <= LOW, "columns have numbers of 32 bits");
    let (x_stride, y_stride) = (x.stride, y.stride);
    let (x_data, y_data) = (x.data, Shared(y.data.as_mut_ptr()));
    in_parts(team, rows, 1, columns, 2, &|part| {
        let x = x_data.as_ptr().wrapping_add(part.start * x_stride);
        let y = y_data.get().wrapping_add(part.start * y_stride);
        let draw = Draw { first_row: draw.first_row + part.start, ..draw };
        // SAFETY: shapes and lengths were checked above; the parts are apart from each other.
        unsafe { run(isa, Noisy { rule, draw, rows: part.len(), columns, x, x_stride, y, y_stride }) }
    });
}

/// `y = x` with noise.
///
/// # Shapes
/// x and y are (rows, n); y is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data, or there are 2^32 rows or columns.
pub fn add_noise<T: Real>(isa: Isa, team: &Team, noise: Noise, draw: Draw, x: View<T>, y: ViewMut<T>) {
    run_noise(isa, team, Rule::forward(noise), draw, x, y);
}

/// `out = delta dy/dx` of [`add_noise`] with the same noise and draw.
///
/// # Shapes
/// delta and out are (rows, n); out is padded, and its padding becomes 0.
///
/// # Panics
/// As [`add_noise`].
pub fn noise_gradient<T: Real>(isa: Isa, team: &Team, noise: Noise, draw: Draw, delta: View<T>, out: ViewMut<T>) {
    if let Noise::Gaussian { .. } = noise {
        return crate::activate_rows(isa, team, crate::Activation::Identity, delta, out);
    }
    run_noise(isa, team, Rule::backward(noise), draw, delta, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Block([u64; 4], u64);
    impl<T: Real> Kernel<T> for Block {
        type Output = [u64; 4];
        #[inline(always)]
        unsafe fn run<V: Vector<Elem = T>>(self) -> [u64; 4] {
            philox(self.0.map(V::splat_bits), self.1).map(|words| {
                let mut all = [0u64; SIDE];
                // SAFETY: a vector of any type has 64 bytes.
                unsafe { words.store(all.as_mut_ptr().cast()) };
                assert!(all.iter().all(|&word| word == all[0]), "every place has the same counter");
                all[0] & LOW
            })
        }
    }

    #[test]
    fn philox_gives_the_published_numbers_in_every_set() {
        // Known answers of Random123 (kat_vectors: philox4x32 10), by the authors of the paper.
        let cases = [
            ([0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([LOW; 4], [LOW; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            for isa in Isa::available() {
                let key = key[0] | (key[1] << 32);
                // SAFETY: nothing outside is read or written.
                let found =
                    unsafe { (run::<f32, _>(isa, Block(counter, key)), run::<f64, _>(isa, Block(counter, key))) };
                assert_eq!(found, (expected, expected), "{isa:?}");
            }
        }
    }

    #[test]
    fn the_normal_quantile_follows_its_table() {
        struct Quantile(f64);
        impl Kernel<f64> for Quantile {
            type Output = f64;
            #[inline(always)]
            unsafe fn run<V: Vector<Elem = f64>>(self) -> f64 {
                normal(V::splat(self.0)).to_lanes()[0]
            }
        }
        // Quantiles of the standard normal distribution, by Python's statistics.NormalDist().inv_cdf.
        let table = [
            (0.5, 0.0),
            (0.75, 0.6744897501960817),
            (0.975, 1.9599639845400536),
            (0.999, 3.090232306167813),
            (0.99999, 4.26489079392384),
            (0.0000001, -5.199337582192816),
        ];
        for (below, quantile) in table {
            // SAFETY: nothing is read or written.
            let found = unsafe { run(Isa::SCALAR, Quantile(2.0 * below - 1.0)) };
            // A few float32 roundings of the coefficients.
            assert!((found - quantile).abs() <= 1e-6 * quantile.abs(), "{below}: {found}, not {quantile}");
        }
    }
}

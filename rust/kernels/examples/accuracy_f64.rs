//! The largest error of each elementary function in `f64`, over random and structured arguments.
//!
//! `cargo run --release --example accuracy_f64 -p dnn-kernels [millions]`, on the set that `DNN_ISA` names. The judge
//! is arithmetic with pairs of `f64` (about 31 digits): slow, and simple enough to be believed.
#![expect(clippy::print_stdout, reason = "it reports")]

use dnn_kernels::{Elementary, Isa, evaluate};

/// An unevaluated sum of two numbers, the second below half a unit of the last place of the first.
#[derive(Clone, Copy)]
struct Pair(f64, f64);

const ONE: Pair = Pair(1.0, 0.0);
/// ln 2 to 32 digits
const LN_2: Pair = Pair(std::f64::consts::LN_2, 2.3190468138462996e-17);

impl Pair {
    /// a + b for |a| >= |b|.
    fn of_sum(a: f64, b: f64) -> Pair {
        let sum = a + b;
        Pair(sum, b - (sum - a))
    }
    fn add(self, b: Pair) -> Pair {
        let sum = self.0 + b.0;
        let part = sum - self.0;
        let lost = (self.0 - (sum - part)) + (b.0 - part);
        Pair::of_sum(sum, lost + (self.1 + b.1))
    }
    fn neg(self) -> Pair {
        Pair(-self.0, -self.1)
    }
    fn mul(self, b: Pair) -> Pair {
        let product = self.0 * b.0;
        let lost = self.0.mul_add(b.0, -product);
        Pair::of_sum(product, lost + (self.0 * b.1 + self.1 * b.0))
    }
    fn div(self, b: Pair) -> Pair {
        let q = self.0 / b.0;
        let rest = self.add(b.mul(Pair(q, 0.0)).neg());
        let q2 = rest.0 / b.0;
        let rest = rest.add(b.mul(Pair(q2, 0.0)).neg());
        Pair::of_sum(q, q2).add(Pair(rest.0 / b.0, 0.0))
    }
    /// Times a power of two, exactly.
    fn scale(self, by: f64) -> Pair {
        Pair(self.0 * by, self.1 * by)
    }
}

/// (e^x - 1, n) with the true argument x + n ln 2.
fn expm1_reduced(x: f64) -> (Pair, i32) {
    let n = (x / std::f64::consts::LN_2).round();
    let r = Pair(x, 0.0).add(LN_2.mul(Pair(-n, 0.0)));
    // A Taylor series at r/16, then e^2y - 1 = (e^y - 1)(e^y - 1 + 2), four times.
    let y = r.scale(1.0 / 16.0);
    let mut sum = Pair(0.0, 0.0);
    for k in (1..=16).rev() {
        sum = y.mul(sum.add(ONE)).div(Pair(f64::from(k), 0.0));
    }
    for _ in 0..4 {
        sum = sum.mul(sum.add(Pair(2.0, 0.0)));
    }
    (sum, n as i32)
}

/// e^x as a pair and a power of two apart, so that subnormal results keep their digits.
fn exp(x: f64) -> (Pair, i32) {
    let (em1, n) = expm1_reduced(x);
    (em1.add(ONE), n)
}

fn expm1(x: f64) -> (Pair, i32) {
    let (em1, n) = expm1_reduced(x);
    if n > 200 {
        return (em1.add(ONE), n);
    }
    let power = f64::from(n).exp2();
    (em1.scale(power).add(Pair(power, 0.0).add(ONE.neg())), 0)
}

/// By Newton's method for e^y = x, from the standard library's y, which has half of the digits and more.
fn log_of(x: Pair, y: f64) -> (Pair, i32) {
    let (e, n) = exp(y);
    let shrink = f64::from(-n).exp2();
    // log(x/e^y), by its series: |q| is tiny.
    let q = x.scale(shrink).add(e.neg()).div(e);
    (Pair(y, 0.0).add(q).add(q.mul(q).scale(-0.5)), 0)
}

fn log(x: f64) -> (Pair, i32) {
    // A subnormal power of two would not shrink exactly.
    let shift: f64 = if x < 1e-300 {
        256.0
    } else if x > 1e300 {
        -256.0
    } else {
        0.0
    };
    let (found, _) = log_of(Pair(x * shift.exp2(), 0.0), (x * shift.exp2()).ln());
    (found.add(LN_2.mul(Pair(-shift, 0.0))), 0)
}

fn log1p(x: f64) -> (Pair, i32) {
    if x.abs() < 1e-8 {
        // x - x^2/2 + x^3/3 - x^4/4
        let p = Pair(x, 0.0);
        let series = p.mul(p.mul(p.scale(-0.25).add(ONE.div(Pair(3.0, 0.0)))).add(Pair(-0.5, 0.0)));
        return (p.add(p.mul(series)), 0);
    }
    if x > 1e300 {
        return log(x);
    }
    let u = if x.abs() > 1.0 { Pair::of_sum(x, 1.0) } else { Pair::of_sum(1.0, x) };
    log_of(u, x.ln_1p())
}

fn tanh(x: f64) -> (Pair, i32) {
    if x.abs() > 300.0 {
        return (Pair(x.signum(), 0.0), 0);
    }
    let (e, _) = expm1(2.0 * x);
    (e.div(e.add(Pair(2.0, 0.0))), 0)
}

fn sigmoid(x: f64) -> (Pair, i32) {
    if x < -200.0 {
        return exp(x);
    }
    if x > 200.0 {
        return (ONE, 0);
    }
    let (e, n) = exp(-x);
    (ONE.div(ONE.add(e.scale(f64::from(n).exp2()))), 0)
}

fn softplus(x: f64) -> (Pair, i32) {
    if x < -200.0 {
        return exp(x);
    }
    if x > 200.0 {
        return (Pair(x, 0.0), 0);
    }
    let (e, n) = exp(-x.abs());
    let t = e.scale(f64::from(n).exp2());
    let log = if t.0 < 1e-8 {
        t.add(t.mul(t).mul(t.scale(-1.0 / 3.0).add(Pair(0.5, 0.0))).neg())
    } else {
        log_of(ONE.add(t), t.0.ln_1p()).0
    };
    (Pair(x.max(0.0), 0.0).add(log), 0)
}

/// |found - exact 2^n| in units of the last place of the `f64` next to it.
fn ulps(found: f64, exact: Pair, n: i32) -> f64 {
    if found.is_infinite() {
        // Right if the exact value rounds to it.
        let nearest = exact.0 * (f64::from(n) / 2.0).floor().exp2() * (f64::from(n) / 2.0).ceil().exp2();
        return if nearest.is_infinite() { 0.0 } else { f64::INFINITY };
    }
    let exponent = (exact.0.abs().to_bits() >> 52) as i32 - 1023;
    // One unit of the last place, before the power of two.
    let place = f64::from((exponent - 52).max(-1074 - n)).exp2();
    // found / 2^n in two steps, since 2^-n may be no normal number.
    let found = found * f64::from(-n / 2).exp2() * f64::from(-(n - n / 2)).exp2();
    (((found - exact.0) - exact.1) / place).abs()
}

/// A linear congruential generator (Knuth's constants).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 ^ (self.0 >> 29)
    }
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.bits() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

type Case = (&'static str, Elementary, fn(f64) -> (Pair, i32), f64, f64);
const CASES: [Case; 7] = [
    ("exp", Elementary::Exp, exp, -746.0, 710.0),
    ("expm1", Elementary::Expm1, expm1, -40.0, 710.0),
    ("log", Elementary::Log, log, 0.0, f64::INFINITY),
    ("log1p", Elementary::Log1p, log1p, -1.0, f64::INFINITY),
    ("tanh", Elementary::Tanh, tanh, -20.0, 20.0),
    ("sigmoid", Elementary::Sigmoid, sigmoid, -746.0, 40.0),
    ("softplus", Elementary::Softplus, softplus, -746.0, 60.0),
];

/// The next argument: of any exponent, or uniform in the whole range or in a small one, or near a multiple of ln(2)/4,
/// where the reductions turn.
fn argument(random: &mut Random, low: f64, high: f64) -> f64 {
    loop {
        let x = match random.bits() >> 61 {
            0 => f64::from_bits(random.bits()),
            1 | 2 => random.between(low, high.min(1e4)),
            3 | 4 => random.between(-2.0, 2.0),
            5 => 1.0 + random.between(-0.5, 0.5) * f64::from(-((random.bits() >> 59) as i32)).exp2(),
            6 => random.between(-0.7, 0.7) * f64::from(-((random.bits() >> 60) as i32)).exp2(),
            _ => {
                let turn = random.between(-40.0, 40.0).round() * std::f64::consts::LN_2 / 4.0;
                turn + random.between(-1e-9, 1e-9)
            }
        };
        if x > low && x < high {
            return x;
        }
    }
}

fn worst(isa: Isa, case: Case, count: usize, seed: u64) -> (f64, f64) {
    let (_, function, exact, low, high) = case;
    let mut random = Random(seed);
    let mut worst = (0.0, 0.0);
    for _ in 0..count.div_ceil(1024) {
        let x: Vec<f64> = (0..1024).map(|_| argument(&mut random, low, high)).collect();
        let mut y = vec![0.0; x.len()];
        evaluate(isa, function, &x, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            // Below 1e-290 the judge's own low parts would be subnormal.
            if x.abs() < 1e-290 && function != Elementary::Log {
                continue;
            }
            let (value, n) = exact(x);
            let error = ulps(y, value, n);
            if error.is_nan() || error > worst.0 {
                worst = (error, x);
            }
        }
    }
    worst
}

fn main() {
    let isa = Isa::preferred().expect("DNN_ISA names a set that this machine has");
    let millions: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    println!("{}: function, largest error in ulp over {millions} million arguments, where", isa.name());
    for case in CASES {
        let parts = std::thread::available_parallelism().map_or(1, |n| n.get());
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..parts)
                .map(|i| scope.spawn(move || worst(isa, case, millions * 1_000_000 / parts, i as u64 + 1)))
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().expect("no panics"))
                .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
        });
        println!("{:10} {:.3} ulp at {:e}", case.0, found.0, found.1);
    }
}

//! The largest error of each elementary function over every one of the 2^32 arguments of `f32`, and its speed.
//!
//! `cargo run --release --example accuracy -p dnn-kernels [function ...]`, on the set that `DNN_ISA` names.
//! With `SPEED_ONLY` set in the environment, the speed alone.
//! The judge is the `f64` function of the standard library, or this crate's own in `f64` for the normal distribution.
#![expect(clippy::print_stdout, reason = "it reports")]

use dnn_kernels::{Elementary, Isa, Real, evaluate};
use std::time::Instant;

/// The function in `f64`; None where the standard library lacks it.
type Judge = Option<fn(f64) -> f64>;
const FUNCTIONS: [(&str, Elementary, Judge); 9] = [
    ("exp", Elementary::Exp, Some(f64::exp)),
    ("expm1", Elementary::Expm1, Some(f64::exp_m1)),
    ("log", Elementary::Log, Some(f64::ln)),
    ("log1p", Elementary::Log1p, Some(f64::ln_1p)),
    ("tanh", Elementary::Tanh, Some(f64::tanh)),
    ("sigmoid", Elementary::Sigmoid, Some(sigmoid)),
    ("softplus", Elementary::Softplus, Some(softplus)),
    ("normal_cdf", Elementary::NormalCdf, None),
    ("normal_pdf", Elementary::NormalDensity, Some(density)),
];

fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn density(x: f64) -> f64 {
    0.3989422804014327 * (-0.5 * x * x).exp()
}

/// |found - exact| in units of the last place of the `f32` next to `exact`; 0 for NaN where NaN is due.
fn ulps(found: f32, exact: f64) -> f64 {
    if exact.is_nan() || found.is_nan() {
        return if exact.is_nan() && found.is_nan() { 0.0 } else { f64::INFINITY };
    }
    // An exact value that rounds to infinity may be found as infinity or as the largest number.
    if found.is_infinite() || exact.is_infinite() {
        let same = found == exact as f32;
        let near = f64::from(f32::MAX) * (1.0 + f64::from(f32::EPSILON));
        return if same { 0.0 } else { (exact.abs() - near).abs() / (near * f64::from(f32::EPSILON)) };
    }
    let exponent = (exact.abs().to_bits() >> 52) as i32 - 1023;
    let place = f64::from(exponent.max(-126) - 23).exp2();
    (f64::from(found) - exact).abs() / place
}

fn worst(isa: Isa, function: Elementary, judge: Judge, from: u64, to: u64) -> (f64, f32) {
    const BLOCK: usize = 4096;
    let (mut x, mut y) = (vec![0.0f32; BLOCK], vec![0.0f32; BLOCK]);
    let (mut wide, mut exact) = (vec![0.0f64; BLOCK], vec![0.0f64; BLOCK]);
    let mut worst = (0.0, 0.0);
    for start in (from..to).step_by(BLOCK) {
        for i in 0..BLOCK {
            x[i] = f32::from_bits((start + i as u64) as u32);
            wide[i] = x[i].into();
        }
        evaluate(isa, function, &x, &mut y);
        match judge {
            Some(f) => exact.iter_mut().zip(&wide).for_each(|(exact, &x)| *exact = f(x)),
            None => evaluate(isa, function, &wide, &mut exact),
        }
        for i in 0..BLOCK {
            let error = ulps(y[i], exact[i]);
            if error > worst.0 {
                worst = (error, x[i]);
            }
        }
    }
    worst
}

/// Nanoseconds for an element of a slice that stays in the first-level cache: the best of many runs.
fn nanoseconds<T: Real>(isa: Isa, function: Elementary) -> f64 {
    let n = 1024;
    // Positive, so that the logarithm works too.
    let x: Vec<T> = (0..n).map(|i| T::from_f64(0.01 + i as f64 * 8.0 / n as f64)).collect();
    let mut y = vec![T::ZERO; n];
    let mut best = f64::INFINITY;
    for _ in 0..300 {
        let start = Instant::now();
        for _ in 0..20 {
            evaluate(isa, function, std::hint::black_box(&x), std::hint::black_box(&mut y));
        }
        best = best.min(start.elapsed().as_secs_f64() / (20 * n) as f64 * 1e9);
    }
    best
}

fn main() {
    let isa = Isa::preferred().expect("DNN_ISA names a set that this machine has");
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let speed_only = std::env::var_os("SPEED_ONLY").is_some();
    println!(
        "{}: function, largest error in ulp over 2^32 arguments, where; ns per element of f32 and f64",
        isa.name()
    );
    for (name, function, judge) in FUNCTIONS {
        if !asked.is_empty() && !asked.iter().any(|a| a == name) {
            continue;
        }
        let speed = format!("{:.3} ns {:.3} ns", nanoseconds::<f32>(isa, function), nanoseconds::<f64>(isa, function));
        if speed_only {
            println!("{name:10} {speed}");
            continue;
        }
        let parts = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let part = (1u64 << 32) / parts;
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..parts)
                .map(|i| scope.spawn(move || worst(isa, function, judge, i * part, (i + 1) * part)))
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().expect("no panics"))
                .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
        });
        println!("{name:10} {:.3} ulp at {:e} ({:#010x})   {speed}", found.0, found.1, found.1.to_bits());
    }
}

//! How near the three products of a dense layer come to the ceiling of the machine, measured in the same run.
//!
//! `cargo run --release --example products -p dnn-kernels [threads] [f64 | bf16 | split | whole] [512x784-100 ...]`: rows, inputs
//! and outputs, or a list of shapes that matter; in float32, float64, or float32 with factors in bfloat16, one, two or three.
//! Each figure is the best of several turns, as a share of what loops of multiply-adds without memory reached beside it,
//! on as many threads at once: two processors that share a core have no more than its units.
#![expect(clippy::print_stdout, reason = "it reports")]

use dnn_kernels::{
    Activation, Buffer, Isa, Real, Team, View, ViewMut, ceiling, forward, input_gradient, row_stride, weight_gradient,
};
use std::time::Instant;

/// Rows, inputs, outputs.
const SHAPES: [(usize, usize, usize); 14] = [
    (32, 64, 128),
    (32, 128, 64),
    (128, 64, 64),
    (256, 256, 256),
    (256, 20, 256),
    (256, 256, 1),
    (10, 784, 30),
    (128, 784, 512),
    (128, 512, 512),
    (128, 512, 10),
    (512, 1024, 4096),
    (512, 4096, 4096),
    (512, 4096, 1000),
    (1, 512, 512),
];

fn seconds(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// What `threads` loops without memory reach together.
fn ceiling_of(isa: Isa, threads: usize) -> f64 {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| ceiling(isa))).collect();
        let own = ceiling(isa);
        own + others.into_iter().map(|other| other.join().unwrap_or(0.0)).sum::<f64>()
    })
}

/// Rows, inputs and outputs of `512x784-100`.
fn shape(text: &str) -> Option<(usize, usize, usize)> {
    let (rows, layer) = text.split_once('x')?;
    let (n_in, n_out) = layer.split_once('-')?;
    Some((rows.parse().ok()?, n_in.parse().ok()?, n_out.parse().ok()?))
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let threads = asked.first().and_then(|n| n.parse().ok()).unwrap_or(1);
    let shapes: Vec<_> = asked.iter().filter_map(|text| shape(text)).collect();
    let shapes = if shapes.is_empty() { SHAPES.to_vec() } else { shapes };
    let asked_for = |what: &str| asked.iter().any(|text| text == what);
    let isa = Isa::preferred().expect("DNN_ISA names a set of this machine");
    if asked_for("f64") {
        table::<f64>(isa, threads, &shapes);
    } else {
        let isa = if asked_for("bf16") { isa.with_bf16() } else { isa };
        let isa = if asked_for("whole") { isa.with_whole() } else { isa };
        table::<f32>(if asked_for("split") { isa.with_split() } else { isa }, threads, &shapes);
    }
}

fn table<T: Real>(isa: Isa, threads: usize, shapes: &[(usize, usize, usize)]) {
    let team = Team::of(threads);
    let factors = if isa.has_bf16() { " with factors in bfloat16" } else { "" };
    println!(
        "{} on {} threads, {}{factors}; GF/s (share of the ceiling without bfloat16)",
        isa.name(),
        team.threads(),
        T::NAME
    );
    for &(rows, n_in, n_out) in shapes {
        let filled = |rows: usize, columns: usize| {
            let mut buffer = Buffer::<T>::zeroed(rows * row_stride::<T>(columns)).expect("memory");
            buffer.fill(T::from_f64(0.01));
            buffer
        };
        let (si, so) = (row_stride::<T>(n_in), row_stride::<T>(n_out));
        let (x, w, delta) = (filled(rows, n_in), filled(n_in, n_out), filled(rows, n_out));
        let (mut a, mut dx, mut dw) = (filled(rows, n_out), filled(rows, n_in), filled(n_in, n_out));
        let bias = vec![T::from_f64(0.1); so];
        let flops = 2.0 * rows as f64 * n_in as f64 * n_out as f64;
        let turns = ((2e9 / flops) as usize).clamp(3, 2000);
        let mut best = [f64::MAX; 3];
        let mut peak = 0.0;
        for _ in 0..7 {
            peak =
                f64::max(peak, ceiling_of(isa, team.threads()) * (size_of::<f32>() as f64) / (size_of::<T>() as f64));
            for _ in 0..turns.div_ceil(7) {
                let view = |data, rows, columns, stride| View::new(data, rows, columns, stride);
                best[0] = best[0].min(seconds(|| {
                    let out = ViewMut::new(&mut a, rows, n_out, so);
                    let (x, w) = (view(&x, rows, n_in, si), view(&w, n_in, n_out, so));
                    forward(isa, &team, x, w, Some(&bias), Activation::Relu, None, out);
                }));
                best[1] = best[1].min(seconds(|| {
                    let out = ViewMut::new(&mut dx, rows, n_in, si);
                    let (d, w) = (view(&delta, rows, n_out, so), view(&w, n_in, n_out, so));
                    input_gradient(isa, &team, d, w, None, out);
                }));
                best[2] = best[2].min(seconds(|| {
                    let out = ViewMut::new(&mut dw, n_in, n_out, so);
                    let (x, d) = (view(&x, rows, n_in, si), view(&delta, rows, n_out, so));
                    weight_gradient(isa, &team, x, d, false, out);
                }));
            }
        }
        let shape = format!("{rows} x {n_in} -> {n_out}");
        let figure = |seconds: f64| {
            let rate = flops / seconds / 1e9;
            format!("{rate:7.1} ({:3.0} %)", 100.0 * rate / peak)
        };
        let [forward, input, weight] = best.map(figure);
        println!("{shape:>20}: forward {forward}  input gradient {input}  weight gradient {weight}  ceiling {peak:.0}");
    }
}

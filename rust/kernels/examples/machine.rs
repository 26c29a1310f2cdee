//! What the machine costs, to see what bounds a training step:
//! `cargo run --release --example machine -p dnn-kernels -- [PARAMETERS...]`.
//!
//! Prints one line of JSON, everything in float32: operations in a nanosecond where nothing is read, on one thread and on
//! two at once; nanoseconds to hand a job over and get it back, and to bring over a cache line that the other thread has
//! written; and for each number of parameters that is asked for, nanoseconds for one of them in a step of plain gradient
//! descent and of Adam, on one thread, again and again. `benchmarks/bounds.py` does the sums.
#![expect(clippy::print_stdout, reason = "it reports")]

use dnn_kernels::{Adam, Change, Isa, Sgd, Team, ceiling, change, sum_of_squares};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Nanoseconds of the fastest of several turns.
fn best(turns: usize, mut turn: impl FnMut() -> f64) -> f64 {
    (0..turns).map(|_| turn()).fold(f64::INFINITY, f64::min)
}

fn nanoseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9
}

/// What two loops without memory reach together.
fn both_ceilings(isa: Isa) -> f64 {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| ceiling(isa));
        ceiling(isa) + other.join().unwrap_or(0.0)
    })
}

/// A job of two tiles with nothing to do that both threads take part in, as far as the slower one.
fn hand_over(team: &Team) -> f64 {
    const JOBS: usize = 2000;
    let job = || {
        let arrived = AtomicUsize::new(0);
        team.run(2, 1_000_000, |_| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 {
                std::hint::spin_loop();
            }
        });
    };
    best(20, || nanoseconds(|| (0..JOBS).for_each(|_| job())) / JOBS as f64)
}

/// A line of 64 bytes that the other thread has just written, read in order: each thread writes its half of 64 KiB, then
/// reads the other's. What the same takes on one thread is taken off.
fn line(isa: Isa, team: &Team) -> f64 {
    const NUMBERS: usize = 8 * 1024;
    const TURNS: usize = 500;
    let mut halves = [vec![1.0f32; NUMBERS], vec![1.0f32; NUMBERS]];
    let mut turn = |swapped: bool| {
        nanoseconds(|| {
            for _ in 0..TURNS {
                team.run_each(&mut halves, 1_000_000, |_, half| half.iter_mut().for_each(|x| *x += 1.0));
                let read = [&halves[usize::from(swapped)], &halves[usize::from(!swapped)]];
                team.run(2, 1_000_000, |i| {
                    std::hint::black_box(sum_of_squares(isa, read[i]));
                });
            }
        }) / TURNS as f64
    };
    let (own, others) = (best(10, || turn(false)), best(10, || turn(true)));
    (others - own) / (NUMBERS * size_of::<f32>() / 64) as f64
}

/// A parameter of `n`, on one thread.
fn step(isa: Isa, rule: Change, has: [bool; 3], n: usize) -> f64 {
    let (mut p, g) = (vec![1.0f32; n], vec![0.5f32; n]);
    let mut memories = has.map(|has| vec![0.1f32; if has { n } else { 0 }]);
    let jobs = (4_000_000 / n).max(1);
    best(10, || {
        let took = nanoseconds(|| {
            for _ in 0..jobs {
                let [first, second, third] = &mut memories;
                change(isa, &Team::solo(), rule, &mut p, &g, [first, second, third]);
            }
        });
        took / (n * jobs) as f64
    })
}

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let isa = Isa::preferred().expect("DNN_ISA names a set of this machine");
    let (one, two) = (best(3, || -ceiling(isa)), best(3, || -both_ceilings(isa)));
    let team = Team::exactly(2);
    let (job, line) = (hand_over(&team), line(isa, &team));
    drop(team);
    let adam = Change::Adam(Adam { beta_1: 0.9, beta_2: 0.999, size: 1e-3, scale: 1.0, epsilon: 1e-8 });
    let sgd = Change::Sgd(Sgd::Plain, 1e-3);
    let of_each = |rule, has| {
        let each = sizes.iter().map(|&n| format!("\"{n}\": {:.3}", step(isa, rule, has, n)));
        each.collect::<Vec<_>>().join(", ")
    };
    println!(
        "{{\"set\": \"{}\", \"ceiling\": [{:.1}, {:.1}], \"job\": {job:.0}, \"line\": {line:.2}, \"sgd\": {{{}}}, \
         \"adam\": {{{}}}}}",
        isa.name(),
        -one,
        -two,
        of_each(sgd, [false; 3]),
        of_each(adam, [true, true, false])
    );
}

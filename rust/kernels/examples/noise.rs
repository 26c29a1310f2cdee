//! How long noise takes: `cargo run --release --example noise -p dnn-kernels`.
#![expect(clippy::print_stdout, reason = "it reports")]

use dnn_kernels::{Draw, Isa, Noise, Team, View, ViewMut, add_noise};
use std::time::Instant;

fn main() {
    for (rows, columns) in [(128, 512), (128, 32), (32, 10)] {
        let x = vec![1.0f32; rows * columns];
        let mut y = vec![0.0f32; rows * columns.next_multiple_of(16)];
        for isa in Isa::available() {
            for noise in [Noise::Dropout { rate: 0.5 }, Noise::AlphaDropout { rate: 0.5 }, Noise::Gaussian { std: 1.0 }]
            {
                let mut best = f64::INFINITY;
                for batch in 0..200 {
                    let draw = Draw { key: 1, batch, first_row: 0 };
                    let (x, stride) = (View::new(&x, rows, columns, columns), columns.next_multiple_of(16));
                    let start = Instant::now();
                    add_noise(isa, &Team::solo(), noise, draw, x, ViewMut::new(&mut y, rows, columns, stride));
                    best = best.min(start.elapsed().as_secs_f64() * 1e6);
                }
                println!("{rows} x {columns} {isa:?} {noise:?}: {best:.1} us");
            }
        }
    }
}

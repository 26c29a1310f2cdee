//! The ceiling of the machine: multiply-adds without memory.

use crate::isa::Isa;
use crate::simd::{Kernel, Vector, run};
use std::time::Instant;

struct Chains {
    turns: usize,
    x: f32,
}

impl Chains {
    #[inline(always)]
    fn side_by_side<V: Vector<Elem = f32>, const CHAINS: usize>(&self) -> f64 {
        let (x, mut chains) = (V::splat(self.x), [V::zero(); CHAINS]);
        for _ in 0..self.turns / CHAINS {
            for chain in &mut chains {
                *chain = x.fma(*chain, x);
            }
        }
        let mut sum = 0.0;
        for chain in chains {
            sum += chain.sum_lanes();
        }
        sum
    }
}

impl Kernel<f32> for Chains {
    type Output = f64;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = f32>>(self) -> f64 {
        // Twelve registers of sums hide the latency of four cycles on two units. Where a vector is a pair of registers,
        // of which there are sixteen, those are six.
        if V::TILE_VECTORS == 1 { self.side_by_side::<V, 6>() } else { self.side_by_side::<V, 12>() }
    }
}

/// Float32 operations of one thread in a nanosecond: the best of a few short turns.
pub fn ceiling(isa: Isa) -> f64 {
    const TURNS: usize = 240_000;
    let turn = |_| {
        let start = Instant::now();
        // SAFETY: the kernel touches no memory.
        std::hint::black_box(unsafe { run(isa, Chains { turns: TURNS, x: std::hint::black_box(0.5) }) });
        (TURNS * 16 * 2) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(turn).fold(0.0, f64::max)
}

//! The instructions against their twin, bit for bit.
//!
//! A processor without AMX gets it from a handler of the signal that an unknown instruction raises: it decodes what stands
//! there and does what Intel's manual says, so that encodings, addresses, strides and the configuration are those that a
//! processor would see.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod emulated;

use super::instructions::{Amx, is_permitted, is_there};
use super::*;
use crate::isa::{Factors, Isa, Name};
use crate::simd::Real;
use crate::{Activation, Below, Team, View, ViewMut, forward, input_gradient, padded, row_stride, weight_gradient};

/// Makes instructions of AMX do what they should on a processor that lacks them; false where it has them and the system
/// does not let us.
fn with_amx() -> bool {
    if !is_there() {
        emulated::begin();
    } else if !is_permitted() {
        return false;
    }
    true
}

/// Numbers of both signs and of very different sizes, and zeros behind each row.
fn numbers(rows: usize, columns: usize, stride: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = vec![0.0; rows * stride];
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let x = ((state >> 33) as f32 / (1u64 << 30) as f32 - 1.0) * 1.7;
        all[row * stride + column] = x * 2f32.powi((state >> 20) as i32 % 9 - 4);
    }
    all
}

fn same(found: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(found.len(), wanted.len());
    for (i, (x, y)) in found.iter().zip(wanted).enumerate() {
        assert!(x.to_bits() == y.to_bits() || x == y || (x.is_nan() && y.is_nan()), "{what}: {x:e} for {y:e} at {i}");
    }
}

/// A block with vectors of plain Rust: what is different are the tiles alone.
fn block<U: Unit>(m: usize, n: usize, k: usize, parts: usize, transposed: bool, special: Option<f32>) -> Vec<f32> {
    type V = <f32 as crate::simd::sealed::Lanes>::Scalar;
    let width = padded::<f32>(n);
    let mut a = numbers(m, k, k, 1);
    if let Some(special) = special {
        a[k / 2] = special;
    }
    let b_stride = if transposed { padded::<f32>(k) } else { width };
    let b = if transposed { numbers(width, k, b_stride, 2) } else { numbers(k, n, b_stride, 2) };
    let bias = numbers(1, n, width, 3);
    let mut c = numbers(m, n, width, 4);
    let block = Block {
        m,
        n: width,
        k,
        a: a.as_ptr(),
        a_strides: (k, 1),
        b: b.as_ptr(),
        b_stride,
        b_layout: if transposed { Layout::Transposed { columns: n } } else { Layout::Rows },
        pack: true,
        look_ahead: false,
        pack_a: false,
        factors: Factors::Tiles { parts },
        c: c.as_mut_ptr(),
        c_stride: width,
        start: if transposed { Start::Accumulate } else { Start::Row(bias.as_ptr()) },
        finish: Finish::Check,
    };
    // SAFETY: the shapes are those of the buffers, and there is AMX, or what emulates it.
    unsafe { Tiled { block, parts }.run_on::<V, U>() };
    assert!(!emulated::are_configured(), "tiles are released");
    c
}

#[test]
fn instructions_have_the_bits_of_their_twin_at_every_tail() {
    if !with_amx() {
        return;
    }
    let shapes = (1..=3)
        .map(|i| (31 * i, 33, 70))
        .chain([1, 15, 16, 17, 32, 47, 48, 64, 65].map(|n| (17, n, 33)))
        .chain([1, 2, 31, 32, 33, 63, 64, 255, 256, 257, 513].map(|k| (5, 20, k)));
    for (m, n, k) in shapes {
        for (parts, transposed) in (1..=3).flat_map(|parts| [(parts, false), (parts, true)]) {
            let what = format!("{m} x {n} x {k} in {parts} parts, transposed: {transposed}");
            let wanted = block::<Twin>(m, n, k, parts, transposed, None);
            same(&block::<Amx>(m, n, k, parts, transposed, None), &wanted, &what);
        }
    }
}

#[test]
fn instructions_treat_special_numbers_as_their_twin_does() {
    if !with_amx() {
        return;
    }
    let least = f32::MIN_POSITIVE;
    for special in [0.0, -0.0, least, least / 2.0, -1e-45, 1e-38, 1e-37, f32::MAX, -3.39e38, f32::INFINITY, f32::NAN] {
        for parts in 1..=3 {
            let what = format!("{special:e} in {parts} parts");
            let wanted = block::<Twin>(4, 18, 40, parts, false, Some(special));
            same(&block::<Amx>(4, 18, 40, parts, false, Some(special)), &wanted, &what);
        }
    }
}

/// AVX-512 with factors in tiles, where the processor has the vectors.
fn avx512(parts: usize) -> Option<Isa> {
    let there = std::arch::is_x86_feature_detected!("avx512bf16");
    let found = Isa::available().into_iter().find(|isa| isa.name == Name::Avx512 && there);
    found.map(|isa| Isa { tiles: true, factors: Factors::Tiles { parts }, ..isa })
}

/// The three products of a layer, whose rows are shared out.
fn layer(isa: Isa, team: &Team, rows: usize, n_in: usize, n_out: usize) -> [Vec<f32>; 3] {
    let (si, so) = (row_stride::<f32>(n_in), row_stride::<f32>(n_out));
    let (x, w, delta) = (numbers(rows, n_in, si, 5), numbers(n_in, n_out, so, 6), numbers(rows, n_out, so, 7));
    let bias = numbers(1, n_out, so, 8);
    let (mut a, mut dx, mut dw) = (vec![0.0; rows * so], vec![0.0; rows * si], numbers(n_in, n_out, so, 9));
    let (x, w, delta) =
        (View::new(&x, rows, n_in, si), View::new(&w, n_in, n_out, so), View::new(&delta, rows, n_out, so));
    let out = ViewMut::new(&mut a, rows, n_out, so);
    forward(isa, team, x, w, Some(&bias), Activation::Tanh, None, out);
    let below = Below { activation: Activation::Relu, a: x, z: x };
    input_gradient(isa, team, delta, w, Some(below), ViewMut::new(&mut dx, rows, n_in, si));
    weight_gradient(isa, team, x, delta, true, ViewMut::new(&mut dw, n_in, n_out, so));
    [a, dx, dw]
}

#[test]
fn layers_have_the_bits_of_the_twin_for_any_team() {
    let (Some(rounded), Some(split), Some(whole)) = (avx512(1), avx512(2), avx512(3)) else {
        return;
    };
    if !with_amx() {
        return;
    }
    let twins = [Isa::SCALAR_AMX.with_bf16(), Isa::SCALAR_AMX.with_split(), Isa::SCALAR_AMX.with_whole()];
    for (rows, n_in, n_out) in [(32, 33, 100), (70, 300, 96), (130, 64, 530), (130, 100, 530)] {
        for (isa, twin) in [rounded, split, whole].into_iter().zip(twins) {
            // Fewer are not worth three parts.
            if twin.parts() == 3 && rows.min(n_in) < 96 {
                continue;
            }
            let wanted = layer(twin, &Team::solo(), rows, n_in, n_out);
            let exact = layer(Isa::SCALAR, &Team::solo(), rows, n_in, n_out);
            for threads in [1, 3] {
                let found = layer(isa, &Team::exactly(threads), rows, n_in, n_out);
                for ((found, wanted), exact) in found.iter().zip(&wanted).zip(&exact) {
                    same(found, wanted, &format!("{rows} x {n_in} -> {n_out} on {threads} threads"));
                    // Three parts are so exact that activations of both may be the same.
                    let differs = found != exact || (twin.parts() == 3 && found.iter().all(|x| x.abs() <= 1.0));
                    assert!(differs, "nothing went through tiles");
                }
            }
        }
    }
}

#[test]
fn sets_with_tiles_are_found_by_name() {
    assert_eq!(Isa::named("scalar-amx"), Ok(Isa::SCALAR_AMX));
    assert_eq!(Isa::named("amx").is_ok(), is_there() && avx512(1).is_some());
    assert_eq!(Isa::SCALAR_AMX.name(), "scalar-amx");
    assert!(Isa::SCALAR_AMX.with_split().parts() == 2 && Isa::SCALAR_AMX.with_bf16().parts() == 1);
    assert_eq!(Isa::SCALAR_AMX.with_split().without_bf16(), Isa::SCALAR_AMX);
    assert!(!Isa::SCALAR.with_split().has_bf16());
    assert_eq!(f32::LANES, PAIRS);
}

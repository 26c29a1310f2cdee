//! Products of float32 whose factors are rounded to bfloat16: half the bytes, and two multiply-adds an instruction.
//!
//! In: a [`Block`] of float32. Out: the same block of C, its sums in float32. The tile is the one of `tile.rs`; what is
//! different stands here: both operands are packed as pairs of neighbours in the sum, k and k + 1 in the halves of 32
//! bits, and a vector multiplies and adds pairs. Pieces, their order, and so the independence of bits from threads, are
//! the same; an odd last term has a zero beside it. The tiles of `amx.rs` take operands that are packed here too, and
//! may ask for more than the rounded number: for the part of it that so many roundings have left.

use crate::amx::{self, Tiled};
use crate::few::Dots;
use crate::isa::{Factors, Isa};
use crate::narrow::{DOTS_INPUTS, is_turned};
use crate::pack::{Operand, Products};
use crate::padded;
use crate::simd::{Bf16, Bf16Kernel, MAX_LANES, Real, run, run_pairs};
use crate::tile::{Block, KC};

/// Rows of a block at most: twice as many as in float32, for half the bytes.
pub(crate) const MAX_BLOCK_ROWS: usize = 528;
/// From row to row of the packed A: a piece of the sum, and a cache line more, so that rows don't share their places in
/// the cache.
pub(crate) const A_STRIDE: usize = KC / 2 + MAX_LANES;

/// Products with less of anything lose more by packing than they win.
const WORTH: usize = 16;
/// Columns of C up to which turning an A that lies in columns costs more than it wins.
const WORTH_TURNING: usize = 64;

/// What a product of (m, n, k) does with its factors on this set: bfloat16 where that is faster; `turned` where A lies
/// in columns.
fn worth(isa: Isa, m: usize, n: usize, k: usize, turned: bool) -> Factors {
    let least = m.min(n).min(k);
    if least < WORTH || (turned && n <= WORTH_TURNING) {
        return Factors::Exact;
    }
    match isa.factors {
        Factors::Tiles { parts: 1 } if least < amx::WORTH => Factors::Pairs,
        Factors::Tiles { .. } if least < amx::WORTH => Factors::Exact,
        factors => factors,
    }
}

/// The same in this type.
pub(crate) fn factors<T: Real>(isa: Isa, m: usize, n: usize, k: usize, turned: bool) -> Factors {
    if size_of::<T>() == size_of::<f32>() { worth(isa, m, n, k, turned) } else { Factors::Exact }
}

/// Whether factors become bfloat16 in the three products of a layer with `rows` rows, on this set: forward, gradient of the
/// input, gradient of the weights.
pub fn rounds_factors(isa: Isa, rows: usize, n_in: usize, n_out: usize) -> [bool; 3] {
    let (of_in, of_out) = (padded::<f32>(n_in), padded::<f32>(n_out));
    let rounds = |m, n, k, turned| worth(isa, m, n, k, turned) != Factors::Exact;
    [
        // Dot products have none.
        rounds(rows, of_out, n_in, false) && !(is_turned(n_in, n_out) && n_in >= DOTS_INPUTS),
        rounds(rows, of_in, n_out, false) && !Dots::<f32>::suits(rows, n_in, n_out),
        rounds(n_in, of_out, rows, true),
    ]
}

/// A block in float32, in pairs or in tiles, as it says.
///
/// # Safety
/// As [`Block`] says; what is no float32 needs a set that has it.
pub(crate) unsafe fn run_block(isa: Isa, block: Block<f32>) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        match block.factors {
            Factors::Exact => run(isa, block),
            Factors::Pairs => run_pairs(isa, block),
            Factors::Tiles { parts } => run_pairs(isa, Tiled { block, parts }),
        }
    }
}

impl Bf16Kernel for Block<f32> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run_pairs<V: Bf16>(self) -> bool {
        // SAFETY: the caller's word.
        unsafe { self.run_with::<V, Pairs>() }
    }
}

/// Two terms of the sum in an element of A and in a lane of B.
pub(crate) struct Pairs;

/// What is left of `x` after it was rounded to bfloat16 `part` times, each time what the one before had left.
#[inline(always)]
fn left<V: Bf16>(x: V, part: usize) -> V {
    (0..part).fold(x, |x, _| x.sub(x.rounded_to_bf16()))
}

/// The first `n` numbers from `from` on as pairs, zeros behind; 32 at most.
///
/// # Safety
/// `n` numbers can be read.
#[inline(always)]
unsafe fn neighbours<V: Bf16>(from: *const f32, n: usize, part: usize) -> V {
    let lanes = f32::LANES;
    // SAFETY: the caller's word; of the second vector only what is there.
    unsafe {
        let first = V::load_up_to(from, n.min(lanes));
        let second = V::load_up_to(from.wrapping_add(lanes), n.saturating_sub(lanes));
        left(first, part).pair_neighbours(left(second, part))
    }
}

/// A square of pairs before it is turned, on a cache line.
#[repr(align(64))]
struct Square([[f32; MAX_LANES]; MAX_LANES]);

impl Square {
    #[inline(always)]
    fn row(&mut self, i: usize) -> *mut f32 {
        self.0[i].as_mut_ptr()
    }
}

/// The rows of B in pairs: [`Products::pack_rows`].
///
/// # Safety
/// As said there.
#[inline(always)]
pub(crate) unsafe fn pack_rows<V: Bf16>(
    from: *const f32,
    stride: usize,
    depth: usize,
    vectors: usize,
    panel: *mut f32,
    part: usize,
) {
    let lanes = f32::LANES;
    for k in (0..depth).step_by(2) {
        for j in 0..vectors {
            // SAFETY: the caller vouches for `depth` rows of `vectors` vectors, and half as many in the panel.
            unsafe {
                let row = from.add(k * stride + j * lanes);
                let next = if k + 1 < depth { V::load(row.add(stride)) } else { V::zero() };
                let pairs = left(V::load(row), part).pair_with(left(next, part));
                pairs.store(panel.add((k / 2 * vectors + j) * lanes));
            }
        }
    }
}

/// The same from a transposed B: [`Products::pack_transposed`].
///
/// # Safety
/// As said there.
#[inline(always)]
pub(crate) unsafe fn pack_transposed<V: Bf16>(
    from: *const f32,
    stride: usize,
    depth: usize,
    width: usize,
    columns: usize,
    panel: *mut f32,
    part: usize,
) {
    let lanes = f32::LANES;
    let mut square = Square([[0.0; MAX_LANES]; MAX_LANES]);
    for j0 in (0..width).step_by(lanes) {
        let there = lanes.min(columns.saturating_sub(j0));
        for k0 in (0..depth).step_by(2 * lanes) {
            let terms = (2 * lanes).min(depth - k0);
            // SAFETY: rows j0.. of B are there as far as `depth`; the panel has half of `depth` rows of `width`.
            unsafe {
                for j in 0..there {
                    neighbours::<V>(from.add((j0 + j) * stride + k0), terms, part).store(square.row(j));
                }
                let to = panel.add(k0 / 2 * width + j0);
                V::turn(square.row(0), MAX_LANES, there, to, width, terms.div_ceil(2));
            }
        }
    }
}

/// `depth` columns of A in rows of pairs, with zeros up to 16 of them: [`Products::pack_a`].
///
/// # Safety
/// As said there.
#[inline(always)]
pub(crate) unsafe fn pack_a<V: Bf16>(block: &Block<f32>, k0: usize, depth: usize, room: *mut f32, part: usize) {
    let (lanes, (row, column)) = (f32::LANES, block.a_strides);
    let mut square = Square([[0.0; MAX_LANES]; MAX_LANES]);
    for i0 in (0..block.m).step_by(lanes) {
        let rows = lanes.min(block.m - i0);
        for k in (0..depth).step_by(2 * lanes) {
            let terms = (2 * lanes).min(depth - k);
            let from = block.a.wrapping_add(i0 * row + (k0 + k) * column);
            let to = room.wrapping_add(i0 * A_STRIDE + k / 2);
            // SAFETY: the rows and columns are those of A; the room has A_STRIDE numbers for each row.
            unsafe {
                if column == 1 {
                    for i in 0..rows {
                        neighbours::<V>(from.add(i * row), terms, part).store(to.add(i * A_STRIDE));
                    }
                    continue;
                }
                for k in 0..lanes {
                    let term = |k: usize| {
                        let x = if k < terms { V::load_up_to(from.add(k * column), rows) } else { V::zero() };
                        left(x, part)
                    };
                    term(2 * k).pair_with(term(2 * k + 1)).store(square.row(k));
                }
                V::turn(square.row(0), MAX_LANES, lanes, to, A_STRIDE, rows);
            }
        }
    }
}

impl<V: Bf16> Products<V> for Pairs {
    const TERMS: usize = 2;

    #[inline(always)]
    fn add_product(c: V, x: V, b: V) -> V {
        x.add_products(b, c)
    }

    #[inline(always)]
    unsafe fn pack_rows(from: *const f32, stride: usize, depth: usize, vectors: usize, panel: *mut f32) {
        // SAFETY: the caller's word.
        unsafe { pack_rows::<V>(from, stride, depth, vectors, panel, 0) }
    }

    #[inline(always)]
    unsafe fn pack_transposed(
        from: *const f32,
        stride: usize,
        depth: usize,
        width: usize,
        columns: usize,
        panel: *mut f32,
    ) {
        // SAFETY: the caller's word.
        unsafe { pack_transposed::<V>(from, stride, depth, width, columns, panel, 0) }
    }

    #[inline(always)]
    fn room_of_a(rows: usize, _depth: usize, _wanted: bool) -> usize {
        rows * A_STRIDE
    }

    #[inline(always)]
    unsafe fn pack_a(block: &Block<f32>, k0: usize, depth: usize, room: *mut f32) -> Operand {
        // SAFETY: the caller's word.
        unsafe { pack_a::<V>(block, k0, depth, room, 0) };
        Operand::Rows { stride: A_STRIDE }
    }
}

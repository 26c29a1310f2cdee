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
use crate::simd::{Bf16, Bf16Kernel, MAX_LANES, Real, run, run_pairs, run_pairs_apart};
use crate::tile::{Block, KC, Layout};

/// Rows of a block at most: twice as many as in float32, for half the bytes.
pub(crate) const MAX_BLOCK_ROWS: usize = 528;
/// From row to row of the packed A: a piece of the sum, and a cache line more, so that rows don't share their places in
/// the cache.
pub(crate) const A_STRIDE: usize = KC / 2 + MAX_LANES;

/// Products with less of anything lose more by packing than they win.
const WORTH: usize = 16;
/// Columns of C up to which turning an A that lies in columns costs more than it wins.
const WORTH_TURNING: usize = 64;

/// Rows, inputs and outputs that are worth three parts, and multiply-adds: 128 rows of 128 -> 128 took 5 to 15 % longer
/// than in float32, 256 rows of the same 15 % less time, 64 rows of 512 -> 512 as long, 96 rows of them 10 % less.
const WORTH_THREE: (usize, usize) = (96, 1 << 22);

/// Weights of a layer, padded, from which on it is worth three parts whatever else the machine does. Hyperthreads of a core
/// share its tiles: what goes through them takes two to four times as long in some minutes as in others. In busy ones a step of
/// two square layers took 1.1 to 1.45 times as long as in float32 with 1024 units, 0.92 to 1.67 times with 1536, 0.6 to 1.42
/// with 2048, 0.79 to 1.2 with 3072, 0.68 to 1.27 with 4096 (`steps 1024-1024-1024-10x512 2 adam highest`, and `strict`).
const WORTH_SPLITTING: usize = 4_000_000;

/// Whether a layer of this shape is so large that three numbers of bfloat16 should stand for a factor of its products.
pub fn may_be_split(n_in: usize, n_out: usize) -> bool {
    let (n_in, n_out) = (padded::<f32>(n_in), padded::<f32>(n_out));
    n_in.min(n_out) >= WORTH_THREE.0 && n_in.saturating_mul(n_out) >= WORTH_SPLITTING
}

/// What a product of (m, n, k) does with its factors on this set: bfloat16 where that is faster; `turned` where A lies
/// in columns.
fn worth(isa: Isa, m: usize, n: usize, k: usize, turned: bool) -> Factors {
    let least = m.min(n).min(k);
    if least < WORTH || (turned && n <= WORTH_TURNING) {
        return Factors::Exact;
    }
    match isa.factors {
        // Where there are tiles, pairs at fewer rows take up to 1.5 times as long as factors that stay as they are.
        Factors::Tiles { .. } if least < amx::WORTH => Factors::Exact,
        Factors::Tiles { parts: 3 }
            if least < WORTH_THREE.0 || m.saturating_mul(n).saturating_mul(k) < WORTH_THREE.1 =>
        {
            Factors::Exact
        }
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

/// Numbers of bfloat16 that stand for one of float32: each is what the ones before have left, rounded.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub count: usize,
    /// From where the first of a number lies to where the second does.
    pub plane: usize,
    /// What numbers are multiplied by before: a power of 2.
    pub scale: f32,
}

impl Parts {
    pub const ONE: Parts = Parts { count: 1, plane: 0, scale: 1.0 };
    pub const MAX: usize = 3;
}

/// The pairs of two vectors, part by part: of two rows, one above the other, or of the neighbours in one.
///
/// # Safety
/// A vector of each part can be written.
#[inline(always)]
unsafe fn put_pairs<V: Bf16, const OF_ROWS: bool>(x: V, y: V, parts: Parts, to: *mut f32) {
    let scale = V::splat(parts.scale);
    let (mut x, mut y) = (x.mul(scale), y.mul(scale));
    for part in 0..parts.count {
        let neighbours = x.pair_neighbours(y);
        let pairs = if OF_ROWS { neighbours.of_both() } else { neighbours };
        // SAFETY: the caller's word.
        unsafe { pairs.store(to.add(part * parts.plane)) };
        if part + 1 < parts.count {
            let (lower, upper) = neighbours.of_both().of_pairs();
            (x, y) = (x.sub(lower), y.sub(upper));
        }
    }
}

/// The first `n` numbers from `from` on as pairs, part by part, zeros behind; 32 at most.
///
/// # Safety
/// `n` numbers can be read, and a vector of each part written.
#[inline(always)]
unsafe fn put_neighbours<V: Bf16>(from: *const f32, n: usize, parts: Parts, to: *mut f32) {
    let lanes = f32::LANES;
    // SAFETY: the caller's word; of the second vector only what is there.
    unsafe {
        let first = V::load_up_to(from, n.min(lanes));
        let second = V::load_up_to(from.wrapping_add(lanes), n.saturating_sub(lanes));
        put_pairs::<V, false>(first, second, parts, to);
    }
}

/// Squares of pairs before they are turned, one for each part, on cache lines.
#[repr(align(64))]
struct Squares([[[f32; MAX_LANES]; MAX_LANES]; Parts::MAX]);

impl Squares {
    const SIZE: usize = MAX_LANES * MAX_LANES;

    /// Where the squares begin; that of the next part is [`Squares::SIZE`] further on.
    #[inline(always)]
    fn begin(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// The rows of B in pairs: [`Products::pack_rows`].
///
/// # Safety
/// As said there.
#[inline(always)]
unsafe fn pack_rows<V: Bf16>(
    from: *const f32,
    stride: usize,
    depth: usize,
    vectors: usize,
    panel: *mut f32,
    parts: Parts,
) {
    let lanes = f32::LANES;
    for k in (0..depth).step_by(2) {
        for j in 0..vectors {
            // SAFETY: the caller vouches for `depth` rows of `vectors` vectors, and half as many in the panel.
            unsafe {
                let row = from.add(k * stride + j * lanes);
                let next = if k + 1 < depth { V::load(row.add(stride)) } else { V::zero() };
                put_pairs::<V, true>(V::load(row), next, parts, panel.add((k / 2 * vectors + j) * lanes));
            }
        }
    }
}

/// The same from a transposed B: [`Products::pack_transposed`].
///
/// # Safety
/// As said there.
#[inline(always)]
unsafe fn pack_transposed<V: Bf16>(
    from: *const f32,
    stride: usize,
    depth: usize,
    width: usize,
    columns: usize,
    panel: *mut f32,
    parts: Parts,
) {
    let lanes = f32::LANES;
    let mut squares = Squares([[[0.0; MAX_LANES]; MAX_LANES]; Parts::MAX]);
    let square = squares.begin();
    for j0 in (0..width).step_by(lanes) {
        let there = lanes.min(columns.saturating_sub(j0));
        for k0 in (0..depth).step_by(2 * lanes) {
            let terms = (2 * lanes).min(depth - k0);
            // SAFETY: rows j0.. of B are there as far as `depth`; the panel has half of `depth` rows of `width`.
            unsafe {
                for j in 0..there {
                    let row = Parts { plane: Squares::SIZE, ..parts };
                    put_neighbours::<V>(from.add((j0 + j) * stride + k0), terms, row, square.add(j * lanes));
                }
                for part in 0..parts.count {
                    let to = panel.add(part * parts.plane + k0 / 2 * width + j0);
                    V::turn(square.add(part * Squares::SIZE), lanes, there, to, width, terms.div_ceil(2));
                }
            }
        }
    }
}

/// `depth` columns of A in rows of pairs, with zeros up to 16 of them: [`Products::pack_a`].
///
/// # Safety
/// As said there.
#[inline(always)]
unsafe fn pack_a<V: Bf16>(block: &Block<f32>, k0: usize, depth: usize, room: *mut f32, parts: Parts) {
    let (lanes, (row, column)) = (f32::LANES, block.a_strides);
    let mut squares = Squares([[[0.0; MAX_LANES]; MAX_LANES]; Parts::MAX]);
    let square = squares.begin();
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
                        put_neighbours::<V>(from.add(i * row), terms, parts, to.add(i * A_STRIDE));
                    }
                    continue;
                }
                for k in 0..lanes {
                    let x = if 2 * k < terms { V::load_up_to(from.add(2 * k * column), rows) } else { V::zero() };
                    let next = from.wrapping_add((2 * k + 1) * column);
                    let next = if 2 * k + 1 < terms { V::load_up_to(next, rows) } else { V::zero() };
                    put_pairs::<V, true>(x, next, Parts { plane: Squares::SIZE, ..parts }, square.add(k * lanes));
                }
                for part in 0..parts.count {
                    let to = to.add(part * parts.plane);
                    V::turn(square.add(part * Squares::SIZE), lanes, lanes, to, A_STRIDE, rows);
                }
            }
        }
    }
}

/// A B in rows or transposed.
#[derive(Clone, Copy)]
pub(crate) struct FromB {
    pub b: *const f32,
    pub stride: usize,
    pub layout: Layout,
}

/// Packs columns of B, as a function of its own: `vectors` vectors from (`k0`, `j0`) on, and zeros up to whole tiles below.
/// The panel has `depth / 2` rows of as many vectors, and those up to a multiple of 16.
pub(crate) struct PackB {
    pub from: FromB,
    pub k0: usize,
    pub depth: usize,
    pub j0: usize,
    pub vectors: usize,
    pub parts: Parts,
    pub panel: *mut f32,
}

impl Bf16Kernel for PackB {
    type Output = ();
    #[inline(always)]
    unsafe fn run_pairs<V: Bf16>(self) {
        let PackB { from: FromB { b, stride, layout }, k0, depth, j0, vectors, parts, panel } = self;
        let lanes = f32::LANES;
        // SAFETY: the caller's word.
        unsafe {
            match layout {
                Layout::Transposed { columns } => {
                    let (from, columns) = (b.add(j0 * stride + k0), columns.saturating_sub(j0));
                    pack_transposed::<V>(from, stride, depth, vectors * lanes, columns, panel, parts);
                }
                _ => pack_rows::<V>(b.add(k0 * stride + j0), stride, depth, vectors, panel, parts),
            }
            for part in 0..parts.count {
                for at in depth.div_ceil(2) * vectors..depth.next_multiple_of(2 * amx::PAIRS) / 2 * vectors {
                    V::zero().store(panel.add(part * parts.plane + at * lanes));
                }
            }
        }
    }
}

/// Packs rows of A, as a function of its own: the columns are those of A, and the room has `A_STRIDE` numbers for each row.
pub(crate) struct PackA<'a> {
    pub block: &'a Block<f32>,
    pub k0: usize,
    pub depth: usize,
    pub room: *mut f32,
    pub parts: Parts,
}

impl Bf16Kernel for PackA<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run_pairs<V: Bf16>(self) {
        // SAFETY: the caller's word.
        unsafe { pack_a::<V>(self.block, self.k0, self.depth, self.room, self.parts) }
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
        let from = FromB { b: from, stride, layout: Layout::Rows };
        // SAFETY: the caller's word.
        unsafe { run_pairs_apart(V::SET, PackB { from, k0: 0, depth, j0: 0, vectors, parts: Parts::ONE, panel }) }
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
        let from = FromB { b: from, stride, layout: Layout::Transposed { columns } };
        let vectors = width / f32::LANES;
        // SAFETY: the caller's word.
        unsafe { run_pairs_apart(V::SET, PackB { from, k0: 0, depth, j0: 0, vectors, parts: Parts::ONE, panel }) }
    }

    #[inline(always)]
    fn room_of_a(rows: usize, _depth: usize, _wanted: bool) -> usize {
        rows * A_STRIDE
    }

    #[inline(always)]
    unsafe fn pack_a(block: &Block<f32>, k0: usize, depth: usize, room: *mut f32) -> Operand {
        // SAFETY: the caller's word.
        unsafe { run_pairs_apart(V::SET, PackA { block, k0, depth, room, parts: Parts::ONE }) };
        Operand::Rows { stride: A_STRIDE }
    }
}

//! Products of float32 in the tiles of AMX, which multiply numbers of bfloat16 and add up in float32.
//!
//! In: a [`Block`] of float32, and how many numbers of bfloat16 stand for a factor. Out: the same block of C.
//! With one, a factor is rounded; with two, the second is what the rounding left, and the product of the two seconds is
//! left out, some 2^-17 of the whole. Pieces of a sum and their order are those of `tile.rs`, and so the bits do not
//! depend on threads. Both operands are packed as in `bf16.rs`, with zeros up to whole tiles.
//!
//! What tiles do is said twice, by the instructions and by their [`Twin`] in plain Rust, with which the tests compare.
//! Each block configures the tiles of its thread and releases them at its end: other libraries use them too.

#[cfg(target_arch = "x86_64")]
mod instructions;
#[cfg(test)]
mod tests;

use crate::activation::Activation;
use crate::bf16::{A_STRIDE, pack_a, pack_rows, pack_transposed};
use crate::pack::{MAX_VECTORS, Panel, Use, room};
use crate::simd::{Bf16, Bf16Kernel, MAX_LANES, Vector, flushed};
use crate::tile::{Block, Finish, KC, Layout, Start};
#[cfg(target_arch = "x86_64")]
pub(crate) use instructions::{Amx, is_permitted, is_there};
use std::mem::MaybeUninit;

/// Numbers of bfloat16 for a factor, at most.
const MAX_PARTS: usize = 2;
/// Products of parts: of two, all but that of the second with the second.
const MAX_PRODUCTS: usize = 3;
/// Rows and columns of two by two tiles.
pub(crate) const SIDE: usize = 32;
/// Pairs of terms in a row of a tile.
const PAIRS: usize = 16;
/// Products with less of anything pay more for packing than they win, by drafts that were measured beforehand.
pub(crate) const WORTH: usize = 32;

/// The sums of two by two tiles.
#[repr(align(64))]
pub(crate) struct Sums([[f32; SIDE]; SIDE]);

/// Where a part of A and one of B begin: pairs of neighbours in the sum.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Factor {
    a: *const f32,
    b: *const f32,
}

/// What is multiplied at once: a piece of the sums of two by two tiles.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    factors: &'a [Factor],
    /// From row to row of each B.
    b_stride: usize,
    /// Rows of 16 pairs of terms.
    steps: usize,
    /// Sums that are wanted: rows, and vectors of 16 columns.
    rows: usize,
    vectors: usize,
}

/// What multiplies tiles: made ready for this thread, until it is dropped.
pub(crate) trait Unit {
    /// # Safety
    /// The processor has the instructions.
    unsafe fn begin() -> Self;

    /// The products of all factors of a piece, added up one after the other. At least the sums that are wanted are written.
    ///
    /// # Safety
    /// Each A has 32 rows, `A_STRIDE` apart, and each B 16 rows of 32 columns for each step.
    unsafe fn multiply(&self, piece: Piece, sums: &mut Sums);
}

/// Plain Rust. (Where a result below the smallest normal number would round up to it, a processor may still have 0.)
pub(crate) struct Twin;

impl Unit for Twin {
    unsafe fn begin() -> Self {
        Twin
    }

    unsafe fn multiply(&self, Piece { factors, b_stride, steps, rows, vectors }: Piece, sums: &mut Sums) {
        let lower = |x: f32| flushed(f32::from_bits(x.to_bits() << 16));
        let upper = |x: f32| flushed(f32::from_bits(x.to_bits() & 0xffff_0000));
        sums.0 = [[0.0; SIDE]; SIDE];
        for (factor, step) in factors.iter().flat_map(|factor| (0..steps).map(move |step| (factor, step))) {
            for (i, row) in sums.0.iter_mut().enumerate().take(rows) {
                for (j, sum) in row.iter_mut().enumerate().take(vectors * MAX_LANES) {
                    // Lower and upper halves are added up apart, and then to what is there.
                    let (mut lowers, mut uppers) = (0.0f32, 0.0f32);
                    for k in step * PAIRS..(step + 1) * PAIRS {
                        // SAFETY: the caller's word.
                        let (x, y) = unsafe { (*factor.a.add(i * A_STRIDE + k), *factor.b.add(k * b_stride + j)) };
                        lowers = flushed(lower(x).mul_add(lower(y), lowers));
                        uppers = flushed(upper(x).mul_add(upper(y), uppers));
                    }
                    *sum = flushed(*sum + flushed(lowers + uppers));
                }
            }
        }
    }
}

/// A block whose factors are so many numbers of bfloat16.
pub(crate) struct Tiled {
    pub block: Block<f32>,
    pub parts: usize,
}

impl Bf16Kernel for Tiled {
    /// As for a [`Block`].
    type Output = bool;

    #[inline(always)]
    unsafe fn run_pairs<V: Bf16>(self) -> bool {
        // SAFETY: the caller's word.
        unsafe { self.run_on::<V, V::Unit>() }
    }
}

impl Tiled {
    /// # Safety
    /// As [`Block`] says, and the processor has the instructions of the vectors and of the unit.
    #[inline(always)]
    pub(crate) unsafe fn run_on<V: Bf16, U: Unit>(self) -> bool {
        let Tiled { block, parts } = self;
        debug_assert!((1..=MAX_PARTS).contains(&parts), "{parts} parts");
        let (lanes, width) = (MAX_LANES, V::TILE_VECTORS.next_multiple_of(2) * MAX_LANES);
        let (plane_of_a, plane_of_b) = (block.m.next_multiple_of(SIDE) * A_STRIDE, KC / 2 * MAX_VECTORS * lanes);
        let a_room = room::<f32>(Use::Rows, parts * plane_of_a);
        assert!(!a_room.is_null(), "there is no memory for the rows of a product");
        let mut panel = Panel::<f32>(MaybeUninit::uninit());
        let panel = panel.0.as_mut_ptr().cast::<f32>();
        let mut sums = Sums([[0.0; SIDE]; SIDE]);
        let mut squares = V::zero();
        // SAFETY: the caller's word.
        let unit = unsafe { U::begin() };
        // A depth of zero still has to write the start value.
        let mut k0 = 0;
        loop {
            let depth = KC.min(block.k - k0);
            let last = k0 + depth == block.k;
            let steps = depth.div_ceil(2 * PAIRS);
            let whole = Whole::<V>::new(&block, k0 == 0, last);
            for part in 0..parts {
                // SAFETY: the room has a plane for each part; the columns are those of A.
                unsafe { pack_a::<V>(&block, k0, depth, a_room.add(part * plane_of_a), part) }
            }
            for j0 in (0..block.n).step_by(width) {
                let vectors = (width / lanes).min((block.n - j0) / lanes);
                for part in 0..parts {
                    // SAFETY: the panel has a plane for each part, of `KC / 2` rows of as many vectors.
                    unsafe { pack_b::<V>(&block, k0, depth, j0, vectors, part, panel.add(part * plane_of_b)) }
                }
                for (i0, j) in (0..block.m).step_by(SIDE).flat_map(|i0| (0..vectors).step_by(2).map(move |j| (i0, j))) {
                    let (rows, across) = (SIDE.min(block.m - i0), (vectors - j).min(2));
                    let (a, b) = (a_room.wrapping_add(i0 * A_STRIDE), panel.wrapping_add(j * lanes));
                    let of = |p: usize, q: usize| Factor {
                        a: a.wrapping_add(p * plane_of_a),
                        b: b.wrapping_add(q * plane_of_b),
                    };
                    // What is small comes first.
                    let all: [Factor; MAX_PRODUCTS] = [of(1, 0), of(0, 1), of(0, 0)];
                    let factors = if parts == 1 { &all[2..] } else { &all[..] };
                    // SAFETY: rows, columns and terms are packed, with zeros or any number up to whole tiles; what lies
                    // beside the last vector of a row is the next row, or room.
                    unsafe {
                        let piece = Piece { factors, b_stride: vectors * lanes, steps, rows, vectors: across };
                        unit.multiply(piece, &mut sums);
                        whole.put(&sums, (i0, j0 + j * lanes), (rows, across), &mut squares);
                    }
                }
                if last && !whole.rectify && whole.open.is_null() {
                    // SAFETY: the columns are those of the block.
                    unsafe { block.finish_panel::<V>(j0, vectors * lanes) };
                }
            }
            k0 += depth;
            if last {
                break;
            }
        }
        squares.sum_lanes().is_finite()
    }
}

/// Packs `vectors` vectors of columns of B from (`k0`, `j0`) on, and zeros up to whole tiles below.
///
/// # Safety
/// The columns are those of B, and the panel has `KC / 2` rows of as many vectors.
#[inline(always)]
unsafe fn pack_b<V: Bf16>(
    block: &Block<f32>,
    k0: usize,
    depth: usize,
    j0: usize,
    vectors: usize,
    part: usize,
    panel: *mut f32,
) {
    let (lanes, stride) = (MAX_LANES, block.b_stride);
    // SAFETY: the caller's word.
    unsafe {
        match block.b_layout {
            Layout::Transposed { columns } => {
                let (from, columns) = (block.b.add(j0 * stride + k0), columns.saturating_sub(j0));
                pack_transposed::<V>(from, stride, depth, vectors * lanes, columns, panel, part);
            }
            Layout::Rows => pack_rows::<V>(block.b.add(k0 * stride + j0), stride, depth, vectors, panel, part),
            Layout::Packed { .. } => unreachable!("weights are packed for predictions, which are exact"),
        }
        for at in depth.div_ceil(2) * vectors..depth.next_multiple_of(2 * PAIRS) / 2 * vectors {
            V::zero().store(panel.add(at * lanes));
        }
    }
}

/// What becomes of the sums of a piece, as at the end of the tiles of `tile.rs`.
struct Whole<V: Vector> {
    c: *mut f32,
    c_stride: usize,
    /// What is added to the sums; null is zero.
    bias: *const f32,
    /// Whether C as it stands is added to them.
    add: bool,
    rectify: bool,
    floor: V,
    /// Sums stay where these are positive; null for all.
    open: *const f32,
    open_stride: usize,
    check: bool,
}

impl<V: Vector<Elem = f32>> Whole<V> {
    #[inline(always)]
    fn new(block: &Block<f32>, first: bool, last: bool) -> Whole<V> {
        let rectify = matches!(block.finish, Finish::Activate { activation: Activation::Relu, a, .. } if a == block.c);
        let (open, open_stride) = match block.finish {
            Finish::Slope { activation: Activation::Relu, a, stride, .. } => (a, stride),
            _ => (std::ptr::null(), 0),
        };
        Whole {
            c: block.c,
            c_stride: block.c_stride,
            bias: match block.start {
                Start::Row(row) if first => row,
                _ => std::ptr::null(),
            },
            add: !first || matches!(block.start, Start::Accumulate),
            rectify,
            floor: V::splat(if last && rectify { 0.0 } else { f32::NEG_INFINITY }),
            open: if last { open } else { std::ptr::null() },
            open_stride,
            check: last && matches!(block.finish, Finish::Check),
        }
    }

    /// # Safety
    /// So many rows and vectors from (`i`, `j`) on are of the block.
    #[inline(always)]
    unsafe fn put(&self, sums: &Sums, (i, j): (usize, usize), (rows, vectors): (usize, usize), squares: &mut V) {
        for (row, sums) in sums.0.iter().enumerate().take(rows) {
            for at in (0..vectors * MAX_LANES).step_by(MAX_LANES) {
                // SAFETY: the caller's word.
                unsafe {
                    let c = self.c.add((i + row) * self.c_stride + j + at);
                    let mut sum = V::load(sums.as_ptr().add(at));
                    if !self.bias.is_null() {
                        sum = V::load(self.bias.add(j + at)).add(sum);
                    }
                    if self.add {
                        sum = V::load(c).add(sum);
                    }
                    if !self.open.is_null() {
                        let gate = V::load(self.open.add((i + row) * self.open_stride + j + at));
                        sum = V::select(V::zero().lt(gate), sum, V::zero());
                    }
                    if self.check {
                        *squares = sum.fma(sum, *squares);
                    }
                    // `max` gives its second operand where either is NaN: a NaN passes.
                    self.floor.max(sum).store(c);
                }
            }
        }
    }
}

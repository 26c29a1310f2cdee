//! Operands copied to where a tile reads them one number after the other.
//!
//! In: pieces of A and B, `KC` deep, as pointers and strides. Out: panels. A panel of B is as wide as a tile, one of A as
//! high; the room of B is on the stack, that of A, and of both for tiles, belongs to the thread.

use crate::Real;
use crate::buffer::Buffer;
use crate::simd::{MAX_LANES, Vector};
use crate::tile::{Block, KC};
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Vectors side by side in the widest tile of any set.
pub(crate) const MAX_VECTORS: usize = 4;

/// Room for a packed panel, on the stack: on a cache line, because a vector across two lines costs two loads.
#[repr(align(64))]
pub(crate) struct Panel<T>(pub MaybeUninit<[[T; MAX_LANES]; KC * MAX_VECTORS]>);

/// Copies `depth` rows and `vectors` vectors of a B in rows into `panel`, one row after the other.
///
/// # Safety
/// The rows can be read, and as many numbers written.
#[inline(always)]
pub(crate) unsafe fn pack_rows<V: Vector>(
    from: *const V::Elem,
    stride: usize,
    depth: usize,
    vectors: usize,
    panel: *mut V::Elem,
) {
    let lanes = V::Elem::LANES;
    for k in 0..depth {
        for j in 0..vectors {
            // SAFETY: the caller vouches for `depth` rows of `vectors` vectors on both sides.
            unsafe { V::load(from.add(k * stride + j * lanes)).store(panel.add((k * vectors + j) * lanes)) }
        }
    }
}

/// The same from a transposed B: its row j becomes column j of the panel; columns from `columns` on are zero.
///
/// A square of lanes x lanes at a time, turned in registers.
///
/// # Safety
/// Rows of B are padded: whole vectors can be read as far as `depth` rounded up.
#[inline(always)]
pub(crate) unsafe fn pack_transposed<V: Vector>(
    from: *const V::Elem,
    stride: usize,
    depth: usize,
    width: usize,
    columns: usize,
    panel: *mut V::Elem,
) {
    let lanes = V::Elem::LANES;
    for j0 in (0..width).step_by(lanes) {
        let there = lanes.min(columns.saturating_sub(j0));
        for k0 in (0..depth).step_by(lanes) {
            // SAFETY: rows j0.. of B exist and are padded; the panel has `depth` rows of `width`.
            unsafe {
                let (from, to) = (from.add(j0 * stride + k0), panel.add(k0 * width + j0));
                V::turn(from, stride, there, to, width, lanes.min(depth - k0));
            }
        }
    }
}

/// How a tile finds the rows of A.
#[derive(Clone, Copy)]
pub(crate) enum Operand {
    InPlace,
    /// Packed: the rows of a tile side by side, one tile after the other.
    Tiles,
    /// Packed: row after row.
    Rows {
        stride: usize,
    },
}

/// How elements of A and vectors of B become products, and how both are packed: one number at a time, or in pairs.
pub(crate) trait Products<V: Vector> {
    /// Terms of the sum in an element.
    const TERMS: usize;

    /// `c` plus the product of x and b.
    fn add_product(c: V, x: V, b: V) -> V;

    /// [`pack_rows`]
    ///
    /// # Safety
    /// As said there.
    unsafe fn pack_rows(from: *const V::Elem, stride: usize, depth: usize, vectors: usize, panel: *mut V::Elem);

    /// [`pack_transposed`]
    ///
    /// # Safety
    /// As said there.
    unsafe fn pack_transposed(
        from: *const V::Elem,
        stride: usize,
        depth: usize,
        width: usize,
        columns: usize,
        panel: *mut V::Elem,
    );

    /// Numbers of a packed A of so many rows and terms, if that is `wanted`; 0 to read it where it is.
    fn room_of_a(rows: usize, depth: usize, wanted: bool) -> usize;

    /// Packs `depth` columns of A from `k0` on.
    ///
    /// # Safety
    /// The columns are those of A, and `room` has as many numbers as [`Products::room_of_a`] said.
    unsafe fn pack_a(block: &Block<V::Elem>, k0: usize, depth: usize, room: *mut V::Elem) -> Operand;
}

/// Numbers as they are.
pub(crate) struct Exact;

impl<V: Vector> Products<V> for Exact {
    const TERMS: usize = 1;

    #[inline(always)]
    fn add_product(c: V, x: V, b: V) -> V {
        x.fma(b, c)
    }

    #[inline(always)]
    unsafe fn pack_rows(from: *const V::Elem, stride: usize, depth: usize, vectors: usize, panel: *mut V::Elem) {
        // SAFETY: the caller's word.
        unsafe { pack_rows::<V>(from, stride, depth, vectors, panel) }
    }

    #[inline(always)]
    unsafe fn pack_transposed(
        from: *const V::Elem,
        stride: usize,
        depth: usize,
        width: usize,
        columns: usize,
        panel: *mut V::Elem,
    ) {
        // SAFETY: the caller's word.
        unsafe { pack_transposed::<V>(from, stride, depth, width, columns, panel) }
    }

    #[inline(always)]
    fn room_of_a(rows: usize, depth: usize, wanted: bool) -> usize {
        if wanted { rows * depth } else { 0 }
    }

    #[inline(always)]
    unsafe fn pack_a(block: &Block<V::Elem>, k0: usize, depth: usize, room: *mut V::Elem) -> Operand {
        // SAFETY: the caller's word.
        unsafe { block.pack_rows_of_a::<V>(k0, depth, room) };
        Operand::Tiles
    }
}

/// What a thread has room for.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    /// The rows of A of a block, and behind them a panel of B where it is in tiles.
    Rows,
    /// A block of a gradient, of weights or of inputs.
    Gradient,
    /// What all threads of a job write or read.
    Job,
}

thread_local! {
    /// Of a thread, for as long as it lives: asking for it anew would cost more than a small product.
    static ROOMS: RefCell<[Option<Buffer<f64>>; 3]> = const { RefCell::new([None, None, None]) };
}

/// Room for `len` numbers that belongs to this thread until it asks again for this use; null where there is no memory
/// for it.
pub(crate) fn room<T: Real>(of: Use, len: usize) -> *mut T {
    let doubles = (len * size_of::<T>()).div_ceil(size_of::<f64>());
    ROOMS.with_borrow_mut(|rooms| {
        let room = &mut rooms[of as usize];
        if room.as_ref().is_none_or(|room| room.len() < doubles) {
            *room = None;
            *room = Buffer::zeroed(doubles);
        }
        room.as_mut().map_or(std::ptr::null_mut(), |room| room.as_mut_ptr().cast())
    })
}

/// Copies `HEIGHT` numbers that lie side by side in each of `depth` rows, `stride` apart.
///
/// # Safety
/// The rows can be read, and `HEIGHT * depth` numbers written.
#[inline(always)]
pub(crate) unsafe fn pack_across<T: Real, const HEIGHT: usize>(
    from: *const T,
    stride: usize,
    depth: usize,
    panel: *mut T,
) {
    for k in 0..depth {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(from.add(k * stride), panel.add(k * HEIGHT), HEIGHT) }
    }
}

/// Cache lines of what is packed next, asked for a few at a time while what was packed before is used: its rows lie far
/// apart, where no hardware looks ahead, and packing would wait for each of them.
pub(crate) struct Ahead {
    /// The next line, and how many are left in its row.
    at: *const u8,
    left: usize,
    /// Lines of a row, and bytes from the last of one to the first of the next.
    lines: usize,
    jump: usize,
    /// Lines that were not asked for yet, and how many to ask for after each tile.
    total: usize,
    each: usize,
}

impl Ahead {
    const LINE: usize = 64;

    /// `rows` rows of so many bytes, `stride` bytes apart, in the time of so many tiles.
    pub fn new(at: *const u8, rows: usize, bytes: usize, stride: usize, tiles: usize) -> Ahead {
        let lines = bytes.div_ceil(Ahead::LINE);
        let (total, jump) = (rows * lines, stride.wrapping_sub(lines * Ahead::LINE));
        Ahead { at, left: lines, lines, jump, total, each: total.div_ceil(tiles.max(1)) }
    }

    /// Nothing to fetch.
    pub fn nothing() -> Ahead {
        Ahead { at: std::ptr::null(), left: 0, lines: 0, jump: 0, total: 0, each: 0 }
    }

    #[inline(always)]
    pub fn some<V: Vector>(&mut self) {
        let now = self.each.min(self.total);
        self.total -= now;
        for _ in 0..now {
            V::prefetch(self.at);
            self.at = self.at.wrapping_add(Ahead::LINE);
            self.left -= 1;
            if self.left == 0 {
                self.left = self.lines;
                self.at = self.at.wrapping_add(self.jump);
            }
        }
    }
}

//! Products of float32 in the tiles of AMX, which multiply numbers of bfloat16 and add up in float32.
//!
//! In: a [`Block`] of float32, and how many numbers of bfloat16 stand for a factor. Out: the same block of C.
//! With one, a factor is rounded; with two, the second is what the rounding left, and the product of the two seconds is
//! left out, some 2^-17 of the whole; three add up to the factor, and what is left out of their products is below the last
//! bit of float32. Pieces of a sum and their order are those of `tile.rs`, and so the bits do not depend on threads. Both
//! operands are packed as in `bf16.rs`, with zeros up to whole tiles.
//!
//! Several parts are those of a number times a power of 2, so that none is too small for a tile. What then is too large
//! ends as infinite or NaN, as do numbers that are neither: such sums, and no others, are added up anew in float32.
//!
//! What tiles do is said twice, by the instructions and by their [`Twin`] in plain Rust, with which the tests compare.
//! Each block configures the tiles of its thread and releases them at its end: other libraries use them too.

#[cfg(target_arch = "x86_64")]
mod instructions;
#[cfg(test)]
mod tests;

use crate::activation::Activation;
use crate::bf16::{A_STRIDE, FromB, PackA, PackB, Parts};
use crate::buffer::LARGE_PAGE;
use crate::isa::Isa;
use crate::pack::{Use, room};
use crate::simd::{Bf16, Bf16Kernel, Kernel, MAX_LANES, Vector, flushed, run_apart, run_pairs_apart};
use crate::tile::{Block, Finish, KC, Layout, Start};
#[cfg(target_arch = "x86_64")]
pub(crate) use instructions::{Amx, is_permitted, is_there};

/// Which parts of A and of B are multiplied, by how many there are: what is left out is smaller than what rounds a
/// number of float32. Neighbours share one of the two, whose tiles stay where they are.
#[rustfmt::skip]
const PRODUCTS: [&[(usize, usize)]; Parts::MAX + 1] = [
    &[],
    &[(0, 0)],
    &[(1, 0), (0, 0), (0, 1)],
    &[(0, 2), (0, 1), (1, 1), (1, 0), (2, 0), (0, 0)],
];
/// What numbers are multiplied by where several parts stand for them. The last bit of the smallest number of float32 is
/// then above the smallest normal one, so that no part of any is lost.
const SCALE: f32 = (1u32 << 24) as f32;
/// Rows and columns of two by two tiles.
pub(crate) const SIDE: usize = 32;
/// Pairs of terms in a row of a tile.
pub(crate) const PAIRS: usize = 16;
/// Products with less of anything pay more for packing than they win, by drafts that were measured beforehand.
pub(crate) const WORTH: usize = 32;

/// The sums of two by two tiles.
#[repr(align(64))]
pub(crate) struct Sums([[f32; SIDE]; SIDE]);

/// What is multiplied at once: a piece of the sums of two by two tiles.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// Where its first parts begin, and how far the next are.
    a: *const f32,
    a_plane: usize,
    b: *const f32,
    b_plane: usize,
    /// From row to row of each B.
    b_stride: usize,
    parts: usize,
    /// Rows of 16 pairs of terms.
    steps: usize,
}

/// Sums that are wanted: rows and vectors of 16 columns, from a row and a column of a block on.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    column: usize,
    rows: usize,
    vectors: usize,
}

/// What multiplies tiles: made ready for this thread, until it is dropped.
pub(crate) trait Unit {
    /// # Safety
    /// The processor has the instructions.
    unsafe fn begin() -> Self;

    /// From now on sums are 0.
    ///
    /// # Safety
    /// The processor has the instructions, as below.
    unsafe fn clear(&self, sums: &mut Sums);

    /// Adds one step of a piece to the sums: all [`PRODUCTS`], one after the other.
    ///
    /// # Safety
    /// Each part of A has 32 rows, `A_STRIDE` apart, and each of B 16 rows of 32 columns for each step.
    unsafe fn add_up(&self, piece: &Piece, step: usize, sums: &mut Sums);

    /// The sums, which may have been elsewhere.
    ///
    /// # Safety
    /// As above.
    unsafe fn store(&self, sums: &mut Sums);
}

/// Plain Rust. (Where a result below the smallest normal number would round up to it, a processor may still have 0.)
pub(crate) struct Twin;

impl Unit for Twin {
    unsafe fn begin() -> Self {
        Twin
    }

    unsafe fn clear(&self, sums: &mut Sums) {
        sums.0 = [[0.0; SIDE]; SIDE];
    }

    unsafe fn add_up(&self, piece: &Piece, step: usize, sums: &mut Sums) {
        let &Piece { a, a_plane, b, b_plane, b_stride, parts, .. } = piece;
        let lower = |x: f32| flushed(f32::from_bits(x.to_bits() << 16));
        let upper = |x: f32| flushed(f32::from_bits(x.to_bits() & 0xffff_0000));
        for &(p, q) in PRODUCTS[parts] {
            for (i, row) in sums.0.iter_mut().enumerate() {
                for (j, sum) in row.iter_mut().enumerate() {
                    // Lower and upper halves are added up apart, and then to what is there.
                    let (mut lowers, mut uppers) = (0.0f32, 0.0f32);
                    for k in step * PAIRS..(step + 1) * PAIRS {
                        // SAFETY: the caller's word.
                        let x = unsafe { *a.add(p * a_plane + i * A_STRIDE + k) };
                        // SAFETY: as above.
                        let y = unsafe { *b.add(q * b_plane + k * b_stride + j) };
                        lowers = flushed(lower(x).mul_add(lower(y), lowers));
                        uppers = flushed(upper(x).mul_add(upper(y), uppers));
                    }
                    *sum = flushed(*sum + flushed(lowers + uppers));
                }
            }
        }
    }

    unsafe fn store(&self, _: &mut Sums) {}
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
        debug_assert!((1..=Parts::MAX).contains(&parts), "{parts} parts");
        let (lanes, width) = (MAX_LANES, PANEL);
        let of_b = parts_of_b(parts, block.k);
        let of_a = Parts { plane: block.m.next_multiple_of(SIDE) * A_STRIDE, ..of_b };
        let a_room = room::<f32>(Use::Rows, in_pages(parts * (of_a.plane + of_b.plane)));
        assert!(!a_room.is_null(), "there is no memory for the rows of a product");
        let from = FromB { b: block.b, stride: block.b_stride, layout: block.b_layout };
        let mut sums = [const { Sums([[0.0; SIDE]; SIDE]) }; 2];
        let mut finite = true;
        // SAFETY: the caller's word.
        let unit = unsafe { U::begin() };
        // A depth of zero still has to write the start value.
        let mut k0 = 0;
        loop {
            let depth = KC.min(block.k - k0);
            let last = k0 + depth == block.k;
            let at_end = AtEnd::new(&block, (k0, depth), parts > 1);
            // SAFETY: the room has a plane for each part; the columns are those of A.
            unsafe { run_pairs_apart(V::SET, PackA { block: &block, k0, depth, room: a_room, parts: of_a }) };
            for j0 in (0..block.n).step_by(width) {
                let vectors = (width / lanes).min((block.n - j0) / lanes);
                let panel = match block.b_layout {
                    Layout::InTiles { at, panels } => {
                        at.wrapping_add((k0 / KC * panels + j0 / PANEL) * parts * of_b.plane).cast_mut()
                    }
                    _ => {
                        let panel = a_room.wrapping_add(parts * of_a.plane);
                        // SAFETY: the panel has a plane for each part, of as many vectors as a piece has rows.
                        unsafe { run_pairs_apart(V::SET, PackB { from, k0, depth, j0, vectors, parts: of_b, panel }) };
                        panel
                    }
                };
                // Sums are put where they belong while the next ones are added up.
                let mut before: Option<Place> = None;
                let mut turn = 0;
                for (row, j) in
                    (0..block.m).step_by(SIDE).flat_map(|row| (0..vectors).step_by(2).map(move |j| (row, j)))
                {
                    let piece = Piece {
                        a: a_room.wrapping_add(row * A_STRIDE),
                        a_plane: of_a.plane,
                        b: panel.wrapping_add(j * lanes),
                        b_plane: of_b.plane,
                        b_stride: vectors * lanes,
                        parts,
                        steps: depth.div_ceil(2 * PAIRS),
                    };
                    let (rows, across) = (SIDE.min(block.m - row), (vectors - j).min(2));
                    let here = Place { row, column: j0 + j * lanes, rows, vectors: across };
                    let [first, second] = &mut sums;
                    let (now, then) = if turn == 0 { (first, second) } else { (second, first) };
                    // SAFETY: rows, columns and terms are packed, with zeros or any number up to whole tiles; what lies
                    // beside the last vector of a row is the next row, or room.
                    unsafe {
                        unit.clear(now);
                        match before.replace(here) {
                            Some(place) => {
                                let mut put = at_end.put::<V>(then, place);
                                for step in 0..piece.steps {
                                    unit.add_up(&piece, step, now);
                                    put.some::<V>(SIDE.div_ceil(piece.steps));
                                }
                                finite &= put.rest::<V>();
                            }
                            None => (0..piece.steps).for_each(|step| unit.add_up(&piece, step, now)),
                        }
                        unit.store(now);
                    }
                    turn = 1 - turn;
                }
                if let Some(place) = before {
                    // SAFETY: as above.
                    finite &= unsafe { at_end.put::<V>(&mut sums[1 - turn], place).rest::<V>() };
                }
                if last && !at_end.rectify && at_end.open.is_null() {
                    // SAFETY: the columns are those of the block.
                    unsafe { block.finish_panel::<V>(j0, vectors * lanes) };
                }
            }
            k0 += depth;
            if last {
                break;
            }
        }
        finite
    }
}

/// So many numbers, or a few large pages of them: tiles read from many small ones at once (steps of `wide` were 4 % longer).
fn in_pages(len: usize) -> usize {
    let page = LARGE_PAGE / size_of::<f32>();
    if len >= page / 2 { len.next_multiple_of(page) } else { len }
}

/// Columns of a panel of B.
pub(crate) const PANEL: usize = 4 * MAX_LANES;

/// A B of (`k`, `n`) that is packed once for many blocks: pieces of a sum one after the other, panels in each.
pub(crate) struct Packing {
    from: FromB,
    k: usize,
    n: usize,
    parts: usize,
    /// Where the panels are: in the room of the thread that began.
    all: *mut f32,
}

// SAFETY: each panel is written by one tile of a job, and then all are only read.
unsafe impl Sync for Packing {}

impl Packing {
    /// Panels from `all` on.
    pub fn new(from: FromB, k: usize, n: usize, parts: usize, all: *mut f32) -> Packing {
        Packing { from, k, n, parts, all }
    }

    /// Numbers that panels of (`k`, `n`) take.
    pub fn size(k: usize, n: usize, parts: usize) -> usize {
        k.div_ceil(KC) * n.div_ceil(PANEL) * parts * parts_of_b(parts, k).plane
    }

    /// Room for so many numbers of this thread, for a job; those of the job before are gone.
    pub fn room(len: usize) -> *mut f32 {
        let room = room::<f32>(Use::Job, len);
        assert!(!room.is_null(), "there is no memory for the columns of products");
        room
    }

    /// Panels of a piece.
    fn across(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// Panels of all pieces.
    pub fn panels(&self) -> usize {
        self.k.div_ceil(KC) * self.across()
    }

    /// What a block of these columns, all of them, has for its B.
    pub fn layout(&self) -> Layout {
        Layout::InTiles { at: self.all, panels: self.across() }
    }

    /// Packs one of the panels.
    ///
    /// # Safety
    /// B reaches as far as it says, and `isa` has tiles.
    #[inline(never)]
    pub unsafe fn pack(&self, isa: Isa, index: usize) {
        let (k0, j0) = (index / self.across() * KC, index % self.across() * PANEL);
        let (depth, vectors) = (KC.min(self.k - k0), (PANEL / MAX_LANES).min((self.n - j0) / MAX_LANES));
        let parts = parts_of_b(self.parts, self.k);
        let panel = self.all.wrapping_add(index * parts.count * parts.plane);
        let pack = PackB { from: self.from, k0, depth, j0, vectors, parts, panel };
        // SAFETY: the caller's word.
        unsafe { run_pairs_apart(isa.name, pack) }
    }
}

/// The parts of a panel of a B of `k` rows, as long as the longest of its pieces.
fn parts_of_b(parts: usize, k: usize) -> Parts {
    let rows = KC.min(k.next_multiple_of(2 * PAIRS)) / 2;
    Parts { count: parts, plane: rows * PANEL, scale: if parts > 1 { SCALE } else { 1.0 } }
}

/// What becomes of the sums of a piece, as at the end of the tiles of `tile.rs`.
#[derive(Clone, Copy)]
struct AtEnd<'a> {
    block: &'a Block<f32>,
    /// Terms of the piece, from which on and how many.
    terms: (usize, usize),
    /// Whether factors were multiplied by [`SCALE`].
    scaled: bool,
    rectify: bool,
    /// Sums stay where these are positive; null for all.
    open: *const f32,
    open_stride: usize,
    check: bool,
}

impl<'a> AtEnd<'a> {
    fn new(block: &'a Block<f32>, terms: (usize, usize), scaled: bool) -> AtEnd<'a> {
        let last = terms.0 + terms.1 == block.k;
        let rectify = matches!(block.finish, Finish::Activate { activation: Activation::Relu, a, .. } if a == block.c);
        let (open, open_stride) = match block.finish {
            Finish::Slope { activation: Activation::Relu, a, stride, .. } if last => (a, stride),
            _ => (std::ptr::null(), 0),
        };
        let check = last && matches!(block.finish, Finish::Check);
        AtEnd { block, terms, scaled, rectify: last && rectify, open, open_stride, check }
    }

    /// # Safety
    /// The place is in the block, and vectors of this set run already.
    #[inline(always)]
    unsafe fn put<'s, V: Vector<Elem = f32>>(&'s self, sums: &'s mut Sums, place: Place) -> Put<'s> {
        let mut scale = if self.scaled { 1.0 / (SCALE * SCALE) } else { 1.0 };
        // SAFETY: the caller's word.
        unsafe {
            if self.scaled && !run_apart(V::SET, AreFinite(sums, place)) {
                run_apart(V::SET, Fused { block: self.block, terms: self.terms, place, sums });
                scale = 1.0;
            }
        }
        Put { at_end: self, sums, place, scale, done: 0, finite: true }
    }
}

/// Whether the sums that are wanted are finite.
struct AreFinite<'a>(&'a Sums, Place);

impl Kernel<f32> for AreFinite<'_> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = f32>>(self) -> bool {
        let mut zeros = (V::zero(), V::zero());
        for row in &self.0.0[..self.1.rows] {
            // SAFETY: a row has two vectors; where one is wanted, it is read twice.
            unsafe {
                zeros.0 = V::load(row.as_ptr()).fma(V::zero(), zeros.0);
                zeros.1 = V::load(row.as_ptr().add((self.1.vectors - 1) * MAX_LANES)).fma(V::zero(), zeros.1);
            }
        }
        zeros.0.add(zeros.1).sum_lanes() == 0.0
    }
}

/// Sums on their way to where they belong, multiplied by a scale.
struct Put<'a> {
    at_end: &'a AtEnd<'a>,
    sums: &'a Sums,
    place: Place,
    scale: f32,
    /// Rows that are there.
    done: usize,
    /// Whether their squares are finite, if that is asked for.
    finite: bool,
}

impl Put<'_> {
    /// # Safety
    /// As for [`AtEnd::put`].
    #[inline(always)]
    unsafe fn some<V: Vector<Elem = f32>>(&mut self, rows: usize) {
        let end = self.place.rows.min(self.done + rows);
        if self.done < end {
            // SAFETY: the caller's word.
            self.finite &= unsafe { run_apart(V::SET, PutRows(self, end)) };
            self.done = end;
        }
    }

    /// # Safety
    /// As for [`AtEnd::put`].
    #[inline(always)]
    unsafe fn rest<V: Vector<Elem = f32>>(mut self) -> bool {
        // SAFETY: the caller's word.
        unsafe { self.some::<V>(SIDE) };
        self.finite
    }
}

/// The rows from those that are done to this one.
struct PutRows<'a, 'b>(&'a Put<'b>, usize);

impl Kernel<f32> for PutRows<'_, '_> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = f32>>(self) -> bool {
        let &Put { at_end, sums, place: Place { row: i, column: j, vectors, .. }, scale, done, .. } = self.0;
        let (block, scale, zero) = (at_end.block, V::splat(scale), V::zero());
        let (rows, stride) = (done..self.1, block.c_stride);
        // SAFETY: the caller's word; where nothing is added there is one row for all.
        unsafe {
            let c = block.c.add(i * stride + j);
            let (start, start_stride) = match block.start {
                Start::Zero if at_end.terms.0 == 0 => (ZEROS.0.as_ptr(), 0),
                Start::Row(row) if at_end.terms.0 == 0 => (row.add(j), 0),
                _ => (c.cast_const(), stride),
            };
            // Once for a single vector, and once for both, which is the rule. The scaled sum is rounded before it is added,
            // as where shares of a batch are added up.
            if vectors == 1 {
                for row in rows.clone() {
                    let sum = V::load(sums.0[row].as_ptr()).mul(scale).add(V::load(start.add(row * start_stride)));
                    sum.store(c.add(row * stride));
                }
            } else {
                for row in rows.clone() {
                    let (sums, start, c) = (sums.0[row].as_ptr(), start.add(row * start_stride), c.add(row * stride));
                    V::load(sums).mul(scale).add(V::load(start)).store(c);
                    let (sums, start) = (sums.add(MAX_LANES), start.add(MAX_LANES));
                    V::load(sums).mul(scale).add(V::load(start)).store(c.add(MAX_LANES));
                }
            }
            if !at_end.open.is_null() {
                for (row, at) in rows.clone().flat_map(|row| (0..vectors).map(move |at| (row, at * MAX_LANES))) {
                    let c = c.add(row * stride + at);
                    let gate = V::load(at_end.open.add((i + row) * at_end.open_stride + j + at));
                    V::select(zero.lt(gate), V::load(c), zero).store(c);
                }
            }
            let mut squares = zero;
            if at_end.rectify || at_end.check {
                let floor = V::splat(if at_end.rectify { 0.0 } else { f32::NEG_INFINITY });
                for (row, at) in rows.flat_map(|row| (0..vectors).map(move |at| (row, at * MAX_LANES))) {
                    let c = c.add(row * stride + at);
                    let sum = V::load(c);
                    squares = sum.fma(sum, squares);
                    // `max` gives its second operand where either is NaN: a NaN passes.
                    floor.max(sum).store(c);
                }
            }
            !at_end.check || squares.sum_lanes().is_finite()
        }
    }
}

/// What sums begin with that begin with nothing.
#[repr(align(64))]
struct Zeros([f32; SIDE]);

static ZEROS: Zeros = Zeros([0.0; SIDE]);

/// Takes back the scale of finite sums, and adds the others up anew, one fused multiply-add after the other: a factor was
/// not finite, or a scaled sum too large.
///
/// The place is in the block, and the terms, from which on and how many, are.
struct Fused<'a> {
    block: &'a Block<f32>,
    terms: (usize, usize),
    place: Place,
    sums: &'a mut Sums,
}

impl Kernel<f32> for Fused<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = f32>>(self) {
        let Fused { block, terms: (k0, depth), place, sums } = self;
        let (row_of_a, column_of_a) = block.a_strides;
        for (i, at) in (0..place.rows).flat_map(|i| (0..place.vectors).map(move |at| (i, at * MAX_LANES))) {
            let column = place.column + at;
            // Beyond the last column of a transposed B there is nothing.
            let there = match block.b_layout {
                Layout::Transposed { columns } => columns.saturating_sub(column).min(MAX_LANES),
                _ => MAX_LANES,
            };
            // SAFETY: the caller's word.
            unsafe {
                let to = sums.0[i].as_mut_ptr().add(at);
                let found = V::load(to);
                let is_finite = found.mul(V::zero()).not_nan();
                let mut sum = V::zero();
                for k in k0..k0 + depth {
                    let x = V::splat(*block.a.add((place.row + i) * row_of_a + k * column_of_a));
                    let y = match block.b_layout {
                        Layout::Transposed { .. } => {
                            let mut lanes = [0.0; MAX_LANES];
                            for (j, lane) in lanes.iter_mut().enumerate().take(there) {
                                *lane = *block.b.add((column + j) * block.b_stride + k);
                            }
                            V::load(lanes.as_ptr())
                        }
                        _ => V::load(block.b.add(k * block.b_stride + column)),
                    };
                    sum = x.fma(y, sum);
                }
                let sum = V::select(is_finite, found.mul(V::splat(1.0 / (SCALE * SCALE))), sum);
                V::select(V::first_lanes(there), sum, V::zero()).store(to);
            }
        }
    }
}

//! The one register tile: a broadcast operand times a contiguous operand, with what is fused before and after it.
//!
//! In: a block of `C = start + A B` as pointers and strides. Out: the block of C, and whether it is finite.
//! It never splits the sum over the depth between threads: an element of C is a chain of fused multiply-adds in the order
//! of k, in pieces of `KC` that are added up in order, whatever the tile, the block or the instruction set. That is why
//! the bits are the same on every set and for any number of threads, and why the scalar twin is a plain triple loop.
//! (In pieces, because the rounding error of a sum of n terms grows with n: a batch of 60000 rows in one chain of
//! float32 would lose two digits, in pieces of 256 it does not.)
//!
//! All three products of a dense layer have this form (`dense.rs`): A is read one element at a time, so any two strides
//! will do; B is read in vectors along its rows, which are asked for ahead where they are far apart, or packed first where
//! it comes transposed.

use crate::Real;
use crate::activation::{Activation, Curve, Visit};
use crate::isa::Factors;
use crate::pack::{Ahead, Exact, Operand, Panel, Products, Use, pack_across, room};
use crate::simd::{Kernel, Vector, run_apart};
use std::mem::MaybeUninit;

/// Terms of a piece of a sum, and the depth of a packed panel. 256 x 64 float32 are 64 KiB: a panel streams from the
/// second-level cache, and C is read and written half as often as with 128, which fits the first and was slower in
/// products of 512 x 4096 -> 4096; 384 was no faster than 256. Another number gives other bits.
pub(crate) const KC: usize = 256;
/// Rows of a block from which looking ahead to the next panel is worth it, where that is copied first.
const PREFETCH_ROWS: usize = 48;
/// Vectors side by side for one row, half as many for two: on AVX2 they are eight registers.
const FEW_VECTORS: usize = 4;
/// How many rows of B before one is needed it is asked for, where they are far apart.
const ROWS_AHEAD: usize = 16;
/// Bytes of a piece of B that a first-level cache holds.
const NEAR_BYTES: usize = 32 << 10;

/// What C is before the products are added.
#[derive(Clone, Copy)]
pub enum Start<T> {
    Zero,
    /// Every row starts as this one: the bias.
    Row(*const T),
    /// C as it stands.
    Accumulate,
}

/// How B lies in memory: `b[k * stride + j]`, or transposed, `b[j * stride + k]` with `columns` of j.
#[derive(Clone, Copy)]
pub enum Layout {
    Rows,
    Transposed {
        columns: usize,
    },
    /// In rows, and also in panels of tiles from `at` on, as `amx.rs` makes them: so many for each piece of a sum.
    InTiles {
        at: *const f32,
        panels: usize,
    },
}

/// What happens to a tile of C while it is in the first-level cache.
#[derive(Clone, Copy)]
pub enum Finish<T> {
    Keep,
    /// Tell whether the squares of all elements are finite, and so their sum in a norm, and a step along them.
    Check,
    /// `a = f(c)`; `a` may be C itself.
    Activate {
        activation: Activation,
        a: *mut T,
        stride: usize,
    },
    /// `c = c * f'(z)` given `a = f(z)`.
    Slope {
        activation: Activation,
        a: *const T,
        z: *const T,
        stride: usize,
    },
}

/// A block of C: `m` rows and `n` columns, `n` a multiple of the lanes.
///
/// A is (m, k) with any strides, B is (k, n), C is (m, n), all of them within their buffers with `n` rounded up.
pub struct Block<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const T,
    /// Between rows of A, and between its columns.
    pub a_strides: (usize, usize),
    pub b: *const T,
    pub b_stride: usize,
    pub b_layout: Layout,
    /// Copy those panels of B before they are used to which tiles can't look ahead (a transposed B always is).
    pub pack: bool,
    /// Whether tiles may look ahead in rows of B instead.
    pub look_ahead: bool,
    /// Copy the rows of A before they are used: its columns lie side by side, and a tile would read a few numbers of each.
    pub pack_a: bool,
    /// Whether they become bfloat16: `bf16.rs` and `amx.rs`.
    pub factors: Factors,
    pub c: *mut T,
    pub c_stride: usize,
    pub start: Start<T>,
    pub finish: Finish<T>,
}

/// A tile's share of a block: rows x vectors are the const parameters of [`tile`].
struct Tile<T> {
    /// Elements of the sum: terms, or pairs of them.
    k: usize,
    a: *const T,
    a_strides: (usize, usize),
    b: *const T,
    b_stride: usize,
    c: *mut T,
    c_stride: usize,
    /// What the accumulators start with; null is zero.
    bias: *const T,
    /// Whether C as it stands is added to the sum.
    add: bool,
    /// Every element is raised to at least this much: 0 is the rectifier, minus infinity nothing.
    floor: T,
    /// Elements stay where these are positive, and are 0 elsewhere: the derivative of the rectifier. Null for all.
    open: *const T,
    open_stride: usize,
}

/// Computes one tile, and adds the square of every element to `squares`, if asked to `check`. `AHEAD` rows of B before one is
/// needed it is asked for; 0 is never.
///
/// # Safety
/// The pointers reach `MR` rows, `k` columns and `NV` vectors as the strides say.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "i and j are the row and the vector of the tile, in several arrays at once"
)]
unsafe fn tile<V: Vector, P: Products<V>, const MR: usize, const NV: usize, const AHEAD: usize>(
    t: &Tile<V::Elem>,
    check: bool,
    squares: V,
) -> V {
    let lanes = V::Elem::LANES;
    // SAFETY: all offsets are within the tile that the caller vouches for.
    unsafe {
        let mut acc = [[V::zero(); NV]; MR];
        if !t.bias.is_null() {
            for j in 0..NV {
                let bias = V::load(t.bias.add(j * lanes));
                for i in 0..MR {
                    acc[i][j] = bias;
                }
            }
        }
        let (mut a, mut b) = (t.a, t.b);
        let (a_row, a_column) = t.a_strides;
        for k in 0..t.k {
            let mut row = [V::zero(); NV];
            // Nothing behind the last row: it may be another thread's to write.
            let ahead = if k + AHEAD < t.k { AHEAD * t.b_stride } else { 0 };
            for j in 0..NV {
                row[j] = V::load(b.add(j * lanes));
                if AHEAD > 0 {
                    V::prefetch(b.add(ahead + j * lanes).cast());
                }
            }
            for i in 0..MR {
                let x = V::splat(*a.add(i * a_row));
                for j in 0..NV {
                    acc[i][j] = P::add_product(acc[i][j], x, row[j]);
                }
            }
            // One step past the end after the last turn, never read.
            a = a.wrapping_add(a_column);
            b = b.wrapping_add(t.b_stride);
        }
        // A loop for each question: the compiler unrolls short loops only, and sums that are indexed by a counter would
        // live in memory instead of registers (with one loop for all, 32 instead of 90 % of the ceiling on AVX-512).
        let mut squares = squares;
        if t.add {
            for i in 0..MR {
                for j in 0..NV {
                    acc[i][j] = V::load(t.c.add(i * t.c_stride + j * lanes)).add(acc[i][j]);
                }
            }
        }
        if !t.open.is_null() {
            for i in 0..MR {
                for j in 0..NV {
                    let gate = V::load(t.open.add(i * t.open_stride + j * lanes));
                    acc[i][j] = V::select(V::zero().lt(gate), acc[i][j], V::zero());
                }
            }
        }
        if check {
            for i in 0..MR {
                for j in 0..NV {
                    squares = acc[i][j].fma(acc[i][j], squares);
                }
            }
        }
        let floor = V::splat(t.floor);
        for i in 0..MR {
            for j in 0..NV {
                // `max` gives its second operand where either is NaN: a NaN passes.
                floor.max(acc[i][j]).store(t.c.add(i * t.c_stride + j * lanes));
            }
        }
        squares
    }
}

/// `f` or `f'` over a tile, the choice decoded once.
struct OverTile<T> {
    rows: usize,
    columns: usize,
    c: *mut T,
    c_stride: usize,
    a: *mut T,
    z: *const T,
    stride: usize,
    slope: bool,
}

/// `f` or `f'` over some columns of a block, in a function of its own: with all activations it is large, and every kind
/// of product would have one.
struct FinishPanel<T>(OverTile<T>, Activation);

impl<T: Real> Kernel<T> for FinishPanel<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        self.1.with(FinishTile::<V>(&self.0, std::marker::PhantomData));
    }
}

struct FinishTile<'t, V: Vector>(&'t OverTile<V::Elem>, std::marker::PhantomData<V>);

impl<V: Vector> Visit for FinishTile<'_, V> {
    type Output = ();
    #[inline(always)]
    fn visit<C: Curve>(self, curve: C) {
        let t = self.0;
        for i in 0..t.rows {
            for j in (0..t.columns).step_by(V::Elem::LANES) {
                // SAFETY: the tile lies within its buffers, as the maker of `OverTile` vouched.
                unsafe {
                    let c = t.c.add(i * t.c_stride + j);
                    let other = i * t.stride + j;
                    if t.slope {
                        let f = curve.slope(V::load(t.a.add(other)), V::load(t.z.add(other)));
                        V::load(c).mul(f).store(c);
                    } else {
                        curve.value(V::load(c)).store(t.a.add(other));
                    }
                }
            }
        }
    }
}

impl<T: Real> Block<T> {
    /// The lines of the panel from row `k0` and column `j0` of B on; `tiles` is how many tiles come before it.
    #[inline(always)]
    fn ahead<V: Vector<Elem = T>>(&self, k0: usize, j0: usize, tiles: usize) -> Ahead {
        let (depth, width) = (KC.min(self.k - k0), (V::TILE_VECTORS * T::LANES).min(self.n - j0));
        let size = size_of::<T>();
        let (offset, rows, columns) = match self.b_layout {
            Layout::Rows => (k0 * self.b_stride + j0, depth, width),
            Layout::Transposed { columns } => (j0 * self.b_stride + k0, width.min(columns.saturating_sub(j0)), depth),
            Layout::InTiles { .. } => return Ahead::nothing(),
        };
        Ahead::new(self.b.wrapping_add(offset).cast(), rows, columns * size, self.b_stride * size, tiles)
    }

    /// Whether every tile asks for rows of B ahead: where they lie far apart, the processor does not see that they follow each
    /// other. (With copies instead, 32 rows of 1000 -> 1000 took 107 instead of 140 GF/s, on AVX2 65 instead of 77.)
    #[inline(always)]
    fn looks_ahead<V: Vector<Elem = T>>(&self) -> bool {
        let bytes = KC.min(self.k) * self.n * size_of::<T>();
        let is_far = bytes > NEAR_BYTES && self.b_stride > V::TILE_VECTORS * T::LANES;
        let suits = self.m > 2 && self.k > ROWS_AHEAD && matches!(self.b_layout, Layout::Rows);
        self.look_ahead && suits && is_far && !V::CALLS
    }

    /// The height of the next tile where `left` rows are left.
    ///
    /// Tiles of three rows and less leave the units for multiply-adds waiting: seven to nine rows at the end are better in two
    /// tiles of even height, where a tile has six at most.
    #[inline(always)]
    fn height<V: Vector<Elem = T>, const MR: usize>(left: usize) -> usize {
        match left {
            // One tile is enough code for a set that calls its functions.
            _ if V::CALLS => 1,
            9 if V::TILE_VECTORS == 1 => 5,
            7 | 8 if MR == 6 => 4,
            _ => left.min(MR),
        }
    }

    /// The rows of a panel, tile by tile. With `packed`, A is what [`Block::pack_rows_of_a`] made of it.
    ///
    /// # Safety
    /// `first` is the uppermost tile of some columns of this block, `NV` vectors wide.
    #[inline(always)]
    unsafe fn rows<V: Vector<Elem = T>, P: Products<V>, const MR: usize, const NV: usize, const AHEAD: usize>(
        &self,
        first: Tile<T>,
        packed: bool,
        check: bool,
        squares: &mut V,
        mut ahead: Ahead,
    ) {
        let mut t = first;
        let mut left = self.m;
        // SAFETY: rows 0..m of the panel lie within the block.
        unsafe {
            while left > 0 {
                let height = Self::height::<V, MR>(left);
                if packed {
                    t.a_strides = (1, height);
                }
                // A short tile has its exact height, so that its rows keep their vectors busy together; 3 rows to look ahead.
                debug_assert!(AHEAD == 0 || height > 2);
                *squares = match height {
                    1 if AHEAD == 0 => tile::<V, P, 1, NV, AHEAD>(&t, check, *squares),
                    2 if AHEAD == 0 => tile::<V, P, 2, NV, AHEAD>(&t, check, *squares),
                    3 => tile::<V, P, 3, NV, AHEAD>(&t, check, *squares),
                    4 => tile::<V, P, 4, NV, AHEAD>(&t, check, *squares),
                    5 => tile::<V, P, 5, NV, AHEAD>(&t, check, *squares),
                    6 if MR > 6 => tile::<V, P, 6, NV, AHEAD>(&t, check, *squares),
                    7 if MR > 6 => tile::<V, P, 7, NV, AHEAD>(&t, check, *squares),
                    _ => tile::<V, P, MR, NV, AHEAD>(&t, check, *squares),
                };
                ahead.some::<V>();
                t.a = t.a.wrapping_add(height * if packed { t.k } else { t.a_strides.0 });
                t.c = t.c.wrapping_add(height * self.c_stride);
                t.open = t.open.wrapping_add(height * t.open_stride);
                left -= height;
            }
        }
    }

    /// One row or two, which use every number of B once or twice: what counts is how fast B comes in. A tile as wide
    /// as the registers allow has sums enough that don't wait for each other, and reads long pieces of the rows of B.
    ///
    /// # Safety
    /// As for [`Block::rows`]; `vectors` are within the block.
    #[inline(always)]
    unsafe fn few_rows<V: Vector<Elem = T>, P: Products<V>>(
        &self,
        t: Tile<T>,
        check: bool,
        squares: &mut V,
        vectors: usize,
    ) {
        // SAFETY: rows 0..m and as many vectors lie within the block.
        *squares = unsafe {
            match (self.m, vectors) {
                (1, 1) => tile::<V, P, 1, 1, 0>(&t, check, *squares),
                (1, 2) => tile::<V, P, 1, 2, 0>(&t, check, *squares),
                (1, 3) => tile::<V, P, 1, 3, 0>(&t, check, *squares),
                (1, _) => tile::<V, P, 1, FEW_VECTORS, 0>(&t, check, *squares),
                (2, 1) => tile::<V, P, 2, 1, 0>(&t, check, *squares),
                (2, _) => tile::<V, P, 2, { FEW_VECTORS / 2 }, 0>(&t, check, *squares),
                _ => *squares,
            }
        };
    }
}

/// The height of the tiles for which A is packed.
const PACKED_HEIGHT: usize = 6;

impl<T: Real> Block<T> {
    /// Copies `depth` columns of A from `k0` on, tile by tile of [`Block::height`].
    ///
    /// # Safety
    /// The columns are those of A, and `to` is valid for writes of `depth` numbers for each row.
    #[inline(always)]
    pub(crate) unsafe fn pack_rows_of_a<V: Vector<Elem = T>>(&self, k0: usize, depth: usize, to: *mut T) {
        let (mut row, stride) = (0, self.a_strides.1);
        // SAFETY: all rows and columns lie within A, and the room is for `m` rows of `depth`.
        unsafe {
            while row < self.m {
                let height = Self::height::<V, PACKED_HEIGHT>(self.m - row);
                let (from, panel) = (self.a.add(row + k0 * stride), to.add(row * depth));
                match height {
                    1 => pack_across::<T, 1>(from, stride, depth, panel),
                    2 => pack_across::<T, 2>(from, stride, depth, panel),
                    3 => pack_across::<T, 3>(from, stride, depth, panel),
                    4 => pack_across::<T, 4>(from, stride, depth, panel),
                    5 => pack_across::<T, 5>(from, stride, depth, panel),
                    _ => pack_across::<T, PACKED_HEIGHT>(from, stride, depth, panel),
                }
                row += height;
            }
        }
    }

    /// What follows the last product, over the columns `j0..j0 + columns`.
    ///
    /// # Safety
    /// The columns are those of the block.
    #[inline(always)]
    pub(crate) unsafe fn finish_panel<V: Vector<Elem = T>>(&self, j0: usize, columns: usize) {
        let (activation, a, z, stride, slope) = match self.finish {
            Finish::Keep | Finish::Check => return,
            Finish::Activate { activation, a, stride } => (activation, a, self.c.cast_const(), stride, false),
            Finish::Slope { activation, a, z, stride } => (activation, a.cast_mut(), z, stride, true),
        };
        let (a, z) = (a.wrapping_add(j0), z.wrapping_add(j0));
        let c = self.c.wrapping_add(j0);
        let over = OverTile { rows: self.m, columns, c, c_stride: self.c_stride, a, z, stride, slope };
        // SAFETY: vectors of this set run already; the rest is the caller's word.
        unsafe { run_apart(V::SET, FinishPanel(over, activation)) };
    }

    /// The whole block. Whether the squares of all elements have a finite sum, where [`Finish::Check`] asks; else true.
    ///
    /// # Safety
    /// As [`Block`] says.
    #[inline(always)]
    pub(crate) unsafe fn run_with<V: Vector<Elem = T>, P: Products<V>>(self) -> bool {
        let lanes = T::LANES;
        let mut panel = Panel::<T>(MaybeUninit::uninit());
        let panel = panel.0.as_mut_ptr().cast::<T>();
        let check = matches!(self.finish, Finish::Check);
        let rectify = matches!(self.finish, Finish::Activate { activation: Activation::Relu, a, .. } if a == self.c);
        // The derivative of the rectifier needs no pass of its own.
        let (open, open_stride) = match self.finish {
            Finish::Slope { activation: Activation::Relu, a, stride, .. } => (a, stride),
            _ => (std::ptr::null(), 0),
        };
        let minus_infinity = T::from_f64(f64::NEG_INFINITY);
        let mut squares = V::zero();
        let pairs = P::TERMS > 1;
        // B in rows that are read where they are and only once or twice: wider tiles, see `few_rows`.
        let few = !V::CALLS && !pairs && self.m <= 2 && matches!(self.b_layout, Layout::Rows) && !self.pack;
        let width = if few { FEW_VECTORS / self.m.max(1) } else { V::TILE_VECTORS };
        let looks_ahead = !pairs && self.looks_ahead::<V>();
        let a_room = match P::room_of_a(self.m, KC.min(self.k), self.pack_a) {
            0 => std::ptr::null_mut(),
            len => room::<T>(Use::Rows, len),
        };
        assert!(!pairs || !a_room.is_null(), "there is no memory for the rows of a product");
        // A depth of zero still has to write the start value.
        let mut k0 = 0;
        loop {
            let depth = KC.min(self.k - k0);
            let last = k0 + depth == self.k;
            let operand = if a_room.is_null() {
                Operand::InPlace
            } else {
                // SAFETY: the room is for as many numbers; offsets lie within the block, for which the caller vouches.
                unsafe { P::pack_a(&self, k0, depth, a_room) }
            };
            for j0 in (0..self.n).step_by(width * lanes) {
                let vectors = width.min((self.n - j0) / lanes);
                let looks_ahead = looks_ahead && vectors == V::TILE_VECTORS;
                let packs = pairs || (self.pack && !looks_ahead);
                // SAFETY: all offsets lie within the block, for which the caller vouches.
                unsafe {
                    let (b, b_stride) = match self.b_layout {
                        Layout::Transposed { columns } => {
                            let from = self.b.add(j0 * self.b_stride + k0);
                            let columns = columns.saturating_sub(j0);
                            P::pack_transposed(from, self.b_stride, depth, vectors * lanes, columns, panel);
                            (panel.cast_const(), vectors * lanes)
                        }
                        Layout::Rows if packs => {
                            P::pack_rows(self.b.add(k0 * self.b_stride + j0), self.b_stride, depth, vectors, panel);
                            (panel.cast_const(), vectors * lanes)
                        }
                        // Those of tiles never come here.
                        Layout::Rows | Layout::InTiles { .. } => (self.b.add(k0 * self.b_stride + j0), self.b_stride),
                    };
                    let first = Tile {
                        k: depth.div_ceil(P::TERMS),
                        a: self.a.add(k0 * self.a_strides.1),
                        a_strides: self.a_strides,
                        b,
                        b_stride,
                        c: self.c.add(j0),
                        c_stride: self.c_stride,
                        bias: match self.start {
                            Start::Row(row) if k0 == 0 => row.add(j0),
                            _ => std::ptr::null(),
                        },
                        add: k0 > 0 || matches!(self.start, Start::Accumulate),
                        floor: if last && rectify { T::ZERO } else { minus_infinity },
                        open: if last && !open.is_null() { open.wrapping_add(j0) } else { std::ptr::null() },
                        // A null pointer stays one from tile to tile.
                        open_stride: if last { open_stride } else { 0 },
                    };
                    let check = check && last;
                    // Only tiles of that height can read it; the others, in the last columns of a block, read A itself.
                    let packed = matches!(operand, Operand::Tiles) && (V::TILE_VECTORS == 1 || vectors > 2);
                    let first = match operand {
                        Operand::Rows { stride } => Tile { a: a_room, a_strides: (stride, 1), ..first },
                        Operand::Tiles if packed => Tile { a: a_room, ..first },
                        _ => first,
                    };
                    let next = j0 + vectors * lanes;
                    let packs = packs || !matches!(self.b_layout, Layout::Rows);
                    let ahead = match (packs && self.m >= PREFETCH_ROWS, next < self.n) {
                        (true, true) => self.ahead::<V>(k0, next, self.m / 8),
                        (true, false) if !last => self.ahead::<V>(k0 + depth, 0, self.m / 8),
                        _ => Ahead::nothing(),
                    };
                    match vectors {
                        _ if few => self.few_rows::<V, P>(first, check, &mut squares, vectors),
                        1 if looks_ahead => {
                            self.rows::<V, P, 6, 1, ROWS_AHEAD>(first, packed, check, &mut squares, ahead)
                        }
                        _ if looks_ahead => {
                            self.rows::<V, P, 6, 4, ROWS_AHEAD>(first, packed, check, &mut squares, ahead)
                        }
                        // Sets of 16 registers: 6 x 2 accumulators, a vector of B and an element of A.
                        _ if V::TILE_VECTORS == 1 => {
                            self.rows::<V, P, 6, 1, 0>(first, packed, check, &mut squares, ahead)
                        }
                        1 => self.rows::<V, P, 8, 1, 0>(first, packed, check, &mut squares, ahead),
                        2 => self.rows::<V, P, 8, 2, 0>(first, packed, check, &mut squares, ahead),
                        3 => self.rows::<V, P, 6, 3, 0>(first, packed, check, &mut squares, ahead),
                        _ => self.rows::<V, P, 6, 4, 0>(first, packed, check, &mut squares, ahead),
                    }
                    if last && !rectify && open.is_null() {
                        self.finish_panel::<V>(j0, vectors * lanes);
                    }
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

impl<T: Real> Kernel<T> for Block<T> {
    /// What [`Finish::Check`] asks for; else true.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        // SAFETY: the caller's word.
        unsafe { self.run_with::<V, Exact>() }
    }
}

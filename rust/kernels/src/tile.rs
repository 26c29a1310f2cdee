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
//! will do; B is read in vectors along its rows, or packed first where its rows are far apart or it comes transposed.

use crate::Real;
use crate::activation::{Activation, Curve, Visit};
use crate::simd::{Kernel, MAX_LANES, Vector};
use std::mem::MaybeUninit;

/// Terms of a piece of a sum, and the depth of a packed panel. 256 x 64 float32 are 64 KiB: a panel streams from the
/// second-level cache, and C is read and written half as often as with 128, which fits the first. Measured on products
/// of 512 x 4096 -> 4096, as shares of the ceiling: 128 reached 77, 75 and 71 % (forward, input and weight gradient),
/// 256 reached 81, 80 and 72 %, 384 reached 84, 83 and 70 %; in another turn of a noisy machine 384 was below 256. Not
/// settled between those two; small products are the same. Another number gives other bits.
pub(crate) const KC: usize = 256;
/// Rows of a block from which looking ahead is worth it.
const PREFETCH_ROWS: usize = 48;
/// Vectors side by side in the widest tile of any set.
const MAX_VECTORS: usize = 4;
/// Vectors side by side for one row, half as many for two: on AVX2 they are eight registers.
const FEW_VECTORS: usize = 4;

/// Room for a packed panel, on the stack: on a cache line, because a vector across two lines costs two loads.
#[repr(align(64))]
struct Panel<T>(MaybeUninit<[[T; MAX_LANES]; KC * MAX_VECTORS]>);

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
    Transposed { columns: usize },
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
    /// Copy each panel of B before it is used (a transposed B always is).
    pub pack: bool,
    pub c: *mut T,
    pub c_stride: usize,
    pub start: Start<T>,
    pub finish: Finish<T>,
}

/// A tile's share of a block: rows x vectors are the const parameters of [`tile`].
struct Tile<T> {
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

/// Computes one tile, and adds the square of every element to `squares`, if asked to `check`.
///
/// # Safety
/// The pointers reach `MR` rows, `k` columns and `NV` vectors as the strides say.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "i and j are the row and the vector of the tile, in several arrays at once"
)]
unsafe fn tile<V: Vector, const MR: usize, const NV: usize>(t: &Tile<V::Elem>, check: bool, squares: V) -> V {
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
        for _ in 0..t.k {
            let mut row = [V::zero(); NV];
            for j in 0..NV {
                row[j] = V::load(b.add(j * lanes));
            }
            for i in 0..MR {
                let x = V::splat(*a.add(i * a_row));
                for j in 0..NV {
                    acc[i][j] = x.fma(row[j], acc[i][j]);
                }
            }
            // One step past the end after the last turn, never read.
            a = a.wrapping_add(a_column);
            b = b.wrapping_add(t.b_stride);
        }
        if !t.open.is_null() {
            // A loop of its own: with the question inside, the sums would not stay in registers.
            for i in 0..MR {
                for j in 0..NV {
                    let c = t.c.add(i * t.c_stride + j * lanes);
                    let sum = if t.add { V::load(c).add(acc[i][j]) } else { acc[i][j] };
                    let gate = V::load(t.open.add(i * t.open_stride + j * lanes));
                    V::select(V::zero().lt(gate), sum, V::zero()).store(c);
                }
            }
            return squares;
        }
        let floor = V::splat(t.floor);
        let mut squares = squares;
        for i in 0..MR {
            for j in 0..NV {
                let c = t.c.add(i * t.c_stride + j * lanes);
                let sum = if t.add { V::load(c).add(acc[i][j]) } else { acc[i][j] };
                // `max` gives its second operand where either is NaN: a NaN passes.
                floor.max(sum).store(c);
                if check {
                    squares = sum.fma(sum, squares);
                }
            }
        }
        squares
    }
}

/// Copies `depth` rows and `NV` vectors of a B in rows into `panel`, one row after the other.
#[inline(always)]
unsafe fn pack_rows<V: Vector>(from: *const V::Elem, stride: usize, depth: usize, vectors: usize, panel: *mut V::Elem) {
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
unsafe fn pack_transposed<V: Vector>(
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

/// Cache lines of the panel that is packed next, asked for a few at a time while this one is used: its rows lie far
/// apart, where no hardware looks ahead, and packing would wait for each of them.
struct Ahead {
    at: *const u8,
    /// Bytes from row to row, and lines of a row.
    stride: usize,
    lines: usize,
    /// Lines asked for, and all.
    done: usize,
    total: usize,
    /// Lines to ask for after each tile.
    each: usize,
}

impl Ahead {
    const LINE: usize = 64;

    /// Nothing to fetch.
    fn nothing() -> Ahead {
        Ahead { at: std::ptr::null(), stride: 0, lines: 1, done: 0, total: 0, each: 0 }
    }

    #[inline(always)]
    fn some<V: Vector>(&mut self) {
        let end = self.total.min(self.done + self.each);
        while self.done < end {
            let (row, line) = (self.done / self.lines, self.done % self.lines);
            V::prefetch(self.at.wrapping_add(row * self.stride + line * Ahead::LINE));
            self.done += 1;
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
        };
        let lines = (columns * size).div_ceil(Ahead::LINE);
        let total = rows * lines;
        let at = self.b.wrapping_add(offset).cast();
        Ahead { at, stride: self.b_stride * size, lines, done: 0, total, each: total.div_ceil(tiles.max(1)) }
    }

    /// The rows of a panel, tile by tile.
    #[inline(always)]
    unsafe fn rows<V: Vector<Elem = T>, const MR: usize, const NV: usize>(
        &self,
        first: Tile<T>,
        check: bool,
        squares: &mut V,
        mut ahead: Ahead,
    ) {
        let mut t = first;
        let mut row = 0;
        // SAFETY: rows 0..m of the panel lie within the block.
        unsafe {
            // With 6 x 2 registers, tiles of three rows and less leave the units for multiply-adds waiting: seven to nine
            // rows at the end are better in two tiles of even height.
            let even = V::TILE_VECTORS == 1 && matches!(self.m % MR, 1..=3) && self.m > MR;
            let full = if even { self.m - self.m % MR - MR } else { self.m - self.m % MR };
            while row < full {
                *squares = tile::<V, MR, NV>(&t, check, *squares);
                ahead.some::<V>();
                self.step::<MR>(&mut t);
                row += MR;
            }
            if even {
                if self.m - row == 9 {
                    *squares = tile::<V, 5, NV>(&t, check, *squares);
                    self.step::<5>(&mut t);
                    row += 5;
                } else {
                    *squares = tile::<V, 4, NV>(&t, check, *squares);
                    self.step::<4>(&mut t);
                    row += 4;
                }
            }
            let left = self.m - row;
            // The rest in one tile of its exact height, so that a short tile's rows keep their vectors busy together.
            *squares = match left {
                1 => tile::<V, 1, NV>(&t, check, *squares),
                2 => tile::<V, 2, NV>(&t, check, *squares),
                3 => tile::<V, 3, NV>(&t, check, *squares),
                4 => tile::<V, 4, NV>(&t, check, *squares),
                5 => tile::<V, 5, NV>(&t, check, *squares),
                6 if MR > 6 => tile::<V, 6, NV>(&t, check, *squares),
                7 if MR > 6 => tile::<V, 7, NV>(&t, check, *squares),
                _ => *squares,
            }
        }
    }

    /// One row or two, which use every number of B once or twice: what counts is how fast B comes in. A tile as wide
    /// as the registers allow has sums enough that don't wait for each other, and reads long pieces of the rows of B.
    #[inline(always)]
    unsafe fn few_rows<V: Vector<Elem = T>>(&self, t: Tile<T>, check: bool, squares: &mut V, vectors: usize) {
        // SAFETY: rows 0..m and as many vectors lie within the block.
        *squares = unsafe {
            match (self.m, vectors) {
                (1, 1) => tile::<V, 1, 1>(&t, check, *squares),
                (1, 2) => tile::<V, 1, 2>(&t, check, *squares),
                (1, 3) => tile::<V, 1, 3>(&t, check, *squares),
                (1, _) => tile::<V, 1, FEW_VECTORS>(&t, check, *squares),
                (2, 1) => tile::<V, 2, 1>(&t, check, *squares),
                (2, _) => tile::<V, 2, { FEW_VECTORS / 2 }>(&t, check, *squares),
                _ => *squares,
            }
        };
    }

    #[inline(always)]
    fn step<const MR: usize>(&self, t: &mut Tile<T>) {
        t.a = t.a.wrapping_add(MR * self.a_strides.0);
        t.c = t.c.wrapping_add(MR * self.c_stride);
        t.open = t.open.wrapping_add(MR * t.open_stride);
    }
}

impl<T: Real> Block<T> {
    /// What follows the last product, over the columns `j0..j0 + columns`.
    #[inline(always)]
    unsafe fn finish_panel<V: Vector<Elem = T>>(&self, j0: usize, columns: usize) {
        let (activation, a, z, stride, slope) = match self.finish {
            Finish::Keep | Finish::Check => return,
            Finish::Activate { activation, a, stride } => (activation, a, self.c.cast_const(), stride, false),
            Finish::Slope { activation, a, z, stride } => (activation, a.cast_mut(), z, stride, true),
        };
        let (a, z) = (a.wrapping_add(j0), z.wrapping_add(j0));
        let c = self.c.wrapping_add(j0);
        let over = OverTile { rows: self.m, columns, c, c_stride: self.c_stride, a, z, stride, slope };
        activation.with(FinishTile::<V>(&over, std::marker::PhantomData));
    }
}

impl<T: Real> Kernel<T> for Block<T> {
    /// What [`Finish::Check`] asks for; else true.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
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
        // B in rows that are read where they are and only once or twice: wider tiles, see `few_rows`.
        let few = self.m <= 2 && matches!(self.b_layout, Layout::Rows) && !self.pack;
        let width = if few { FEW_VECTORS / self.m.max(1) } else { V::TILE_VECTORS };
        // A depth of zero still has to write the start value.
        let mut k0 = 0;
        loop {
            let depth = KC.min(self.k - k0);
            let last = k0 + depth == self.k;
            for j0 in (0..self.n).step_by(width * lanes) {
                let vectors = width.min((self.n - j0) / lanes);
                // SAFETY: all offsets lie within the block, for which the caller vouches.
                unsafe {
                    let (b, b_stride) = match self.b_layout {
                        Layout::Transposed { columns } => {
                            let from = self.b.add(j0 * self.b_stride + k0);
                            let columns = columns.saturating_sub(j0);
                            pack_transposed::<V>(from, self.b_stride, depth, vectors * lanes, columns, panel);
                            (panel.cast_const(), vectors * lanes)
                        }
                        Layout::Rows if self.pack => {
                            pack_rows::<V>(self.b.add(k0 * self.b_stride + j0), self.b_stride, depth, vectors, panel);
                            (panel.cast_const(), vectors * lanes)
                        }
                        Layout::Rows => (self.b.add(k0 * self.b_stride + j0), self.b_stride),
                    };
                    let first = Tile {
                        k: depth,
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
                    let next = j0 + vectors * lanes;
                    let packs = self.pack || !matches!(self.b_layout, Layout::Rows);
                    let ahead = match (packs && self.m >= PREFETCH_ROWS, next < self.n) {
                        (true, true) => self.ahead::<V>(k0, next, self.m / 8),
                        (true, false) if !last => self.ahead::<V>(k0 + depth, 0, self.m / 8),
                        _ => Ahead::nothing(),
                    };
                    match vectors {
                        _ if few => self.few_rows(first, check, &mut squares, vectors),
                        // Sets of 16 registers: 6 x 2 accumulators, a vector of B and an element of A.
                        _ if V::TILE_VECTORS == 1 => self.rows::<V, 6, 1>(first, check, &mut squares, ahead),
                        1 => self.rows::<V, 8, 1>(first, check, &mut squares, ahead),
                        2 => self.rows::<V, 8, 2>(first, check, &mut squares, ahead),
                        3 => self.rows::<V, 6, 3>(first, check, &mut squares, ahead),
                        _ => self.rows::<V, 6, 4>(first, check, &mut squares, ahead),
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

//! The three products of a dense layer.
//!
//! In: views of rows and a [`Team`]. Out: activations, deltas, gradients, written in place.
//! They never split a sum: threads share out blocks of the result (see `tile.rs`), so the bits do not depend on them.

use crate::activation::Activation;
use crate::amx;
use crate::bf16;
use crate::crosswise::Crosswise;
use crate::few::{Dots, Outer};
use crate::isa::{Factors, Isa};
use crate::pointwise::multiply_slope_rows;
use crate::pool::Team;
use crate::tile::{Block, Finish, Layout, Start};
use crate::{Real, padded};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of numbers: `rows` x `columns`, row i from `i * stride` on.
///
/// Where a kernel says so, each row is padded: the numbers up to [`padded`]`(columns)` belong to the view too.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// Number of rows.
    pub rows: usize,
    /// Numbers that mean something in a row.
    pub columns: usize,
    /// From one row to the next.
    pub stride: usize,
}

/// A [`View`] that can be written.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    /// The numbers.
    pub data: &'a mut [T],
    /// Number of rows.
    pub rows: usize,
    /// Numbers that mean something in a row.
    pub columns: usize,
    /// From one row to the next.
    pub stride: usize,
}

impl<'a, T: Real> View<'a, T> {
    /// A view of rows that lie `stride` apart.
    pub fn new(data: &'a [T], rows: usize, columns: usize, stride: usize) -> Self {
        View { data, rows, columns, stride }
    }

    /// Panics unless every row, `width` numbers long, lies in the data.
    pub(crate) fn check(&self, width: usize) {
        check(self.data.len(), self.rows, width, self.stride);
    }

    /// Row `i`, without its padding.
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.columns]
    }
}

impl<'a, T: Real> ViewMut<'a, T> {
    /// A view of rows that lie `stride` apart.
    pub fn new(data: &'a mut [T], rows: usize, columns: usize, stride: usize) -> Self {
        ViewMut { data, rows, columns, stride }
    }

    pub(crate) fn check(&self, width: usize) {
        check(self.data.len(), self.rows, width, self.stride);
    }

    /// The same rows, to read.
    pub fn as_view(&self) -> View<'_, T> {
        View { data: self.data, rows: self.rows, columns: self.columns, stride: self.stride }
    }
}

#[inline]
fn check(len: usize, rows: usize, width: usize, stride: usize) {
    assert!(width <= stride || rows <= 1, "rows of {width} do not fit a stride of {stride}");
    let end = rows.checked_sub(1).map_or(Some(0), |r| r.checked_mul(stride)?.checked_add(width));
    assert!(end.is_some_and(|end| end <= len), "{rows} rows of {width}, {stride} apart, do not fit {len} numbers");
}

/// A pointer that tiles of a job share; every tile writes elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub *mut T);
// SAFETY: used only inside `Team::run` by tiles that write disjoint elements.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer; a method, so that closures capture the wrapper and not its field.
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// Multiply-adds in a nanosecond, roughly, on one thread of the sets with vectors: to guess what a job costs.
pub(crate) const WORK_PER_NANOSECOND: u64 = 60;
/// Multiply-adds of a block that are worth handing to a thread that has none yet: some 2 us. The hand-over itself takes 0.5 us, and
/// what one core has written reaches another at 3 to 20 ns a cache line; but weights that both have changed are read by both in
/// half the time. (At 24 rows, on two threads, 200-200-200-10 by gradient descent takes 83 instead of 110 us a step, 128-128-128-128-10
/// 58 instead of 72, 256-256-256-10 by Adam 171 instead of 227: `steps 200-200-200-10x24 2 sgd`.)
const MIN_BLOCK_WORK: usize = 1 << 17;
/// The same for more blocks than threads, so that nobody waits long for the last one: some 20 us. (With 2^17 400-400-400-10 by Adam took
/// as long at 40 and at 100 rows.)
const MIN_BLOCK_WORK_OF_MORE: usize = 1 << 20;
/// And for those where weights do not change. (With less predictions took as long, or up to 4 % longer: 256-256-256 at 16 rows.)
const MIN_BLOCK_WORK_OF_KEPT: usize = 1 << 19;
/// Rows whose multiply-adds take as long as reading B once does: fewer are not faster.
pub(crate) const FEW_ROWS: usize = 16;
/// Rows of a block at most: as many pieces of rows of A, `KC` long, are 264 KiB, half of a second-level cache of 512 KiB,
/// and stay there while B passes by. (With 528 rows, products of 512 x 4096 -> 4096 reached 75 instead of 81 GF/s.)
const MAX_BLOCK_ROWS: usize = 264;
/// Bytes of a block's columns at most.
const MAX_BLOCK_BYTES: usize = 2048;
/// Columns of B from which its rows lie too far apart to be read in place without being asked for (rows of 1024 fell from 160 to
/// 25-116 GF/s on AVX-512): where tiles do not look ahead.
const PACK_COLUMNS: usize = 320;
/// Rows of C over which the cost of packing B is spread.
const PACK_ROWS: usize = 32;

/// Columns of C over which the cost of packing A is spread.
const PACK_A_COLUMNS: usize = 128;

/// Multiply-adds of a block that are worth handing to another thread of this team, which has so many blocks so far.
pub(crate) fn least_work(team: &Team, blocks: usize) -> usize {
    match team.keeps_weights() {
        _ if blocks < team.threads() => MIN_BLOCK_WORK,
        true => MIN_BLOCK_WORK_OF_KEPT,
        false => MIN_BLOCK_WORK_OF_MORE,
    }
}

/// Rows and columns of the blocks into which a product of (m, n, k) is cut for so many threads.
fn block_size<T: Real>((m, n, k): (usize, usize, usize), factors: Factors, team: &Team) -> (usize, usize) {
    let threads = team.threads();
    let panel = 4 * T::LANES;
    // Even shares: a last block of a few rows would pay for packing B like a full one.
    let share = |whole: usize, largest: usize, unit: usize| match whole.div_ceil(largest) {
        0 | 1 => whole,
        blocks => whole.div_ceil(blocks).next_multiple_of(unit),
    };
    // Tiles are 6 or 12 rows high, or 32.
    let (most, unit) = match factors {
        Factors::Exact => (MAX_BLOCK_ROWS, 12),
        Factors::Pairs => (bf16::MAX_BLOCK_ROWS, 12),
        Factors::Tiles { .. } => (bf16::MAX_BLOCK_ROWS, amx::SIDE),
    };
    let mut rows = share(m, most, unit);
    let mut columns = share(n, MAX_BLOCK_BYTES / size_of::<T>(), panel);
    let count = |rows: usize, columns: usize| m.div_ceil(rows.max(1)) * n.div_ceil(columns.max(1));
    let work = |rows: usize, columns: usize| rows.max(FEW_ROWS) * columns * k.max(1);
    // Halve what is longer until every thread has so many blocks, as long as a block stays worth its hand-over. Of those in
    // tiles one will do: each packs its rows anew (784-512-512-10 at 128 rows: 5 to 10 % shorter steps). Of weights
    // that stay a block of any size needs no copy, and threads wait less for the last of many small ones: predictions of
    // 784-512-512-10 take 14 % less at 64 rows than with two for a thread, 13 % at 128 where blocks keep 96 rows.
    let (each, least_rows) = match factors {
        Factors::Tiles { .. } => (1, 2 * unit),
        _ if team.keeps_weights() => (8, 8 * unit),
        _ => (2, 2 * unit),
    };
    let are_too_few = |rows: usize, columns: usize| {
        let blocks = count(rows, columns);
        blocks < each * threads && work(rows, columns) >= 2 * least_work(team, blocks)
    };
    while threads > 1 && are_too_few(rows, columns) {
        if columns > panel && (columns >= rows || rows <= least_rows) {
            columns = (columns / 2).next_multiple_of(panel);
        } else if rows > least_rows {
            rows = rows.div_ceil(2).next_multiple_of(unit);
        } else {
            break;
        }
    }
    (rows, columns)
}

/// One of the three products, before it is cut into blocks. `n` is padded.
pub(crate) struct Product<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Whether its factors become bfloat16.
    pub factors: Factors,
    pub a: *const T,
    pub a_strides: (usize, usize),
    pub b: *const T,
    pub b_stride: usize,
    pub b_layout: Layout,
    /// Whether B are weights that several threads have just stepped, whose lines come slowly then: copying them brings more at a time
    /// (512-512-512-512-512-10 at 32 rows on two threads: 1.42 ms a step with a copy, 1.52 without).
    pub b_is_fresh: bool,
    pub c: *mut T,
    pub c_stride: usize,
    pub start: Start<T>,
    pub finish: Finish<T>,
}

// SAFETY: the blocks of a product write disjoint elements of C (and of `finish`), and only read the rest.
unsafe impl<T> Sync for Product<T> {}

impl<T: Real> Product<T> {
    /// # Safety
    /// A, B, C and what `start` and `finish` point to reach as far as (m, n, k) and the strides say.
    pub unsafe fn run(&self, isa: Isa, team: &Team) -> bool {
        let (rows, columns) = block_size::<T>((self.m, self.n, self.k), self.factors, team);
        let across = self.n.div_ceil(columns.max(1));
        let blocks = self.m.div_ceil(rows.max(1)) * across;
        if blocks <= 1 {
            // SAFETY: the caller's word.
            return unsafe { T::run_block(isa, self.block(0, self.m, 0, self.n)) };
        }
        let finite = AtomicBool::new(true);
        let work = (self.m.max(FEW_ROWS) as u64).saturating_mul(self.n as u64).saturating_mul(self.k as u64);
        team.run(blocks, work / WORK_PER_NANOSECOND, |index| {
            let (i, j) = (index / across * rows, index % across * columns);
            let block = self.block(i, rows.min(self.m - i), j, columns.min(self.n - j));
            // SAFETY: the caller's word; a block lies within its product.
            let ok = unsafe { T::run_block(isa, block) };
            if !ok {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }

    /// Rows `i..i + m` and columns `j..j + n`.
    pub(crate) fn block(&self, i: usize, m: usize, j: usize, n: usize) -> Block<T> {
        let b_offset = match self.b_layout {
            Layout::Rows => j,
            Layout::Transposed { .. } => j * self.b_stride,
            Layout::InTiles { .. } => unreachable!("a block of its own"),
        };
        let at = |stride: usize| i * stride + j;
        Block {
            m,
            n,
            k: self.k,
            a: self.a.wrapping_add(i * self.a_strides.0),
            a_strides: self.a_strides,
            b: self.b.wrapping_add(b_offset),
            b_stride: self.b_stride,
            b_layout: match self.b_layout {
                layout @ (Layout::Rows | Layout::InTiles { .. }) => layout,
                Layout::Transposed { columns } => Layout::Transposed { columns: columns.saturating_sub(j) },
            },
            pack: m >= PACK_ROWS && self.b_stride >= PACK_COLUMNS && matches!(self.b_layout, Layout::Rows),
            look_ahead: !self.b_is_fresh || m < PACK_ROWS,
            pack_a: self.a_strides.0 == 1 && n >= PACK_A_COLUMNS && m > 2,
            factors: self.factors,
            c: self.c.wrapping_add(at(self.c_stride)),
            c_stride: self.c_stride,
            start: match self.start {
                Start::Row(row) => Start::Row(row.wrapping_add(j)),
                start => start,
            },
            finish: match self.finish {
                Finish::Activate { activation, a, stride } => {
                    Finish::Activate { activation, a: a.wrapping_add(at(stride)), stride }
                }
                Finish::Slope { activation, a, z, stride } => {
                    let (a, z) = (a.wrapping_add(at(stride)), z.wrapping_add(at(stride)));
                    Finish::Slope { activation, a, z, stride }
                }
                finish => finish,
            },
        }
    }
}

/// `a = f(x w + bias)`, and `z = x w + bias` where it is kept.
///
/// # Shapes
/// x is (rows, n_in), w is (n_in, n_out), bias is (n_out), z and a are (rows, n_out).
/// w, bias, z and a are padded; x is not.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn forward<T: Real>(
    isa: Isa,
    team: &Team,
    x: View<T>,
    w: View<T>,
    bias: Option<&[T]>,
    activation: Activation,
    z: Option<ViewMut<T>>,
    a: ViewMut<T>,
) {
    w.check(padded::<T>(w.columns));
    check_forward(&x, (w.rows, w.columns), bias, &a);
    let layout = Layout::Rows;
    let w = Weights { b: w.data.as_ptr(), stride: w.stride, layout, n_in: w.rows, n_out: w.columns };
    forward_with(isa, team, x, w, bias, activation, z, a);
}

/// Panics unless the shapes of a forward product with weights of (n_in, n_out) fit each other and their data.
pub(crate) fn check_forward<T: Real>(x: &View<T>, (n_in, n_out): (usize, usize), bias: Option<&[T]>, a: &ViewMut<T>) {
    let n = padded::<T>(n_out);
    x.check(x.columns);
    a.check(n);
    assert_eq!((x.columns, x.rows, n_out), (n_in, a.rows, a.columns), "shapes of x, w and a");
    assert!(bias.is_none_or(|b| b.len() >= n), "the bias is padded");
}

/// The weights of a forward product, checked.
pub(crate) struct Weights<T> {
    pub b: *const T,
    pub stride: usize,
    pub layout: Layout,
    pub n_in: usize,
    pub n_out: usize,
}

/// [`forward`] with weights in any layout, which reach as far as their shape says.
///
/// # Panics
/// When the other shapes do not fit theirs or their data.
pub(crate) fn forward_with<T: Real>(
    isa: Isa,
    team: &Team,
    x: View<T>,
    w: Weights<T>,
    bias: Option<&[T]>,
    activation: Activation,
    z: Option<ViewMut<T>>,
    a: ViewMut<T>,
) {
    let n = padded::<T>(w.n_out);
    check_forward(&x, (w.n_in, w.n_out), bias, &a);
    let a_out = a.data.as_mut_ptr();
    let (c, c_stride) = match z {
        Some(z) => {
            z.check(n);
            assert_eq!((z.rows, z.columns), (a.rows, a.columns), "shapes of z and a");
            (z.data.as_mut_ptr(), z.stride)
        }
        None => (a_out, a.stride),
    };
    let in_place = c == a_out;
    let product = Product {
        m: x.rows,
        n,
        k: x.columns,
        factors: bf16::factors::<T>(isa, x.rows, n, x.columns, false),
        a: x.data.as_ptr(),
        a_strides: (x.stride, 1),
        b: w.b,
        b_stride: w.stride,
        b_layout: w.layout,
        b_is_fresh: team.threads() > 1 && !team.keeps_weights(),
        c,
        c_stride,
        start: bias.map_or(Start::Zero, |b| Start::Row(b.as_ptr())),
        finish: match activation {
            Activation::Identity if in_place => Finish::Keep,
            activation => Finish::Activate { activation, a: a_out, stride: a.stride },
        },
    };
    // SAFETY: shapes and lengths were checked above; z and a are different buffers or the same one.
    unsafe { product.run(isa, team) };
}

/// The layer below, as its delta needs it: `f'(z)` comes from these.
#[derive(Clone, Copy, Debug)]
pub struct Below<'a, T> {
    /// The activation of the layer below.
    pub activation: Activation,
    /// Its output, padded.
    pub a: View<'a, T>,
    /// What went into its activation, where [`Activation::needs_z`]; else anything with the stride of `a`.
    pub z: View<'a, T>,
}

/// `out = (delta w^T) * f'(z of the layer below)`: the delta of the layer below, or dL/dx where there is none.
///
/// # Shapes
/// delta is (rows, n_out), w is (n_in, n_out) and padded, `below` and out are (rows, n_in) and padded. The padding of
/// out becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn input_gradient<T: Real>(
    isa: Isa,
    team: &Team,
    delta: View<T>,
    w: View<T>,
    below: Option<Below<T>>,
    out: ViewMut<T>,
) {
    let n = padded::<T>(w.rows);
    delta.check(delta.columns);
    w.check(padded::<T>(w.columns));
    out.check(n);
    assert_eq!((delta.columns, delta.rows, w.rows), (w.columns, out.rows, out.columns), "shapes of delta, w and out");
    if Dots::<T>::suits(delta.rows, w.rows, delta.columns) {
        let dots = Dots {
            rows: delta.rows,
            n_in: w.rows,
            n_out: delta.columns,
            delta: delta.data.as_ptr(),
            delta_stride: delta.stride,
            w: w.data.as_ptr(),
            w_stride: w.stride,
            out: out.data.as_mut_ptr(),
            out_stride: out.stride,
        };
        // SAFETY: shapes and lengths were checked above.
        unsafe { dots.shared_out(isa, team) };
        if let Some(Below { activation, a, z }) = below {
            multiply_slope_rows(isa, team, activation, out, a, z);
        }
        return;
    }
    let product = Product {
        m: delta.rows,
        n,
        k: delta.columns,
        factors: bf16::factors::<T>(isa, delta.rows, n, delta.columns, false),
        a: delta.data.as_ptr(),
        a_strides: (delta.stride, 1),
        b: w.data.as_ptr(),
        b_stride: w.stride,
        b_layout: Layout::Transposed { columns: w.rows },
        b_is_fresh: false,
        c: out.data.as_mut_ptr(),
        c_stride: out.stride,
        start: Start::Zero,
        finish: slope_of(below, &out),
    };
    let crosswise = Crosswise { product: &product, n_in: w.rows };
    let is_padded = delta.stride >= padded::<T>(delta.columns) && delta.data.len() >= delta.rows * delta.stride;
    // SAFETY: shapes and lengths were checked above.
    unsafe {
        if !(is_padded && crosswise.pays(team) && crosswise.run(isa, team)) {
            product.run(isa, team);
        }
    }
}

/// What is left to do for a delta that lies in `out`: to multiply by the slope of the layer below.
///
/// # Panics
/// When the shapes below do not fit it or their data.
pub(crate) fn slope_of<T: Real>(below: Option<Below<T>>, out: &ViewMut<T>) -> Finish<T> {
    match below {
        None | Some(Below { activation: Activation::Identity, .. }) => Finish::Keep,
        Some(Below { activation, a, z }) => {
            let n = padded::<T>(out.columns);
            a.check(n);
            z.check(n);
            assert_eq!(
                (a.rows, a.columns, z.rows, z.stride),
                (out.rows, out.columns, a.rows, a.stride),
                "shapes below"
            );
            Finish::Slope { activation, a: a.data.as_ptr(), z: z.data.as_ptr(), stride: a.stride }
        }
    }
}

/// `dw = x^T delta`, or added to what `dw` holds. Returns whether the squares of all elements have a finite sum.
///
/// # Shapes
/// x is (rows, n_in), delta is (rows, n_out) and padded, dw is (n_in, n_out) and padded.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn weight_gradient<T: Real>(
    isa: Isa,
    team: &Team,
    x: View<T>,
    delta: View<T>,
    accumulate: bool,
    dw: ViewMut<T>,
) -> bool {
    let factors = bf16::factors::<T>(isa, x.columns, padded::<T>(delta.columns), x.rows, true);
    weight_gradient_with(isa, factors, team, x, delta, accumulate, dw)
}

/// [`weight_gradient`], whose factors are as for the whole of which this may be a part.
pub(crate) fn weight_gradient_with<T: Real>(
    isa: Isa,
    factors: Factors,
    team: &Team,
    x: View<T>,
    delta: View<T>,
    accumulate: bool,
    dw: ViewMut<T>,
) -> bool {
    let n = padded::<T>(delta.columns);
    x.check(x.columns);
    delta.check(n);
    dw.check(n);
    assert_eq!((x.columns, x.rows, delta.columns), (dw.rows, delta.rows, dw.columns), "shapes of x, delta and dw");
    if Outer::<T>::suits(x.rows) {
        let outer = Outer {
            rows: x.rows,
            n_in: x.columns,
            n_out: delta.columns,
            x: x.data.as_ptr(),
            x_stride: x.stride,
            delta: delta.data.as_ptr(),
            delta_stride: delta.stride,
            dw: dw.data.as_mut_ptr(),
            dw_stride: dw.stride,
            accumulate,
        };
        // SAFETY: shapes and lengths were checked above.
        return unsafe { outer.shared_out(isa, team) };
    }
    let product = Product {
        m: x.columns,
        n,
        k: x.rows,
        factors,
        a: x.data.as_ptr(),
        a_strides: (1, x.stride),
        b: delta.data.as_ptr(),
        b_stride: delta.stride,
        b_layout: Layout::Rows,
        b_is_fresh: false,
        c: dw.data.as_mut_ptr(),
        c_stride: dw.stride,
        start: if accumulate { Start::Accumulate } else { Start::Zero },
        finish: Finish::Check,
    };
    // SAFETY: shapes and lengths were checked above.
    unsafe { product.run(isa, team) }
}

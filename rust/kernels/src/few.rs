//! The two products of the backward pass for a batch of very few rows, where a register tile has nothing to reuse, and that
//! of a layer with very few inputs, where it is mostly empty.
//!
//! In: the delta, with x or w, as for any number of rows. Out: the gradients. What counts here is to read the weights, or
//! to write their gradient, once and in order.
//! A weight gradient has the bits of the tile. An input gradient has not: each element is a dot product along a row of w,
//! and its sum runs in the lanes of a vector, then over the lanes, the same on every set.

use crate::Real;
use crate::buffer::padded;
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Kernel, Vector, run};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows at most of [`Dots`], and vectors of outputs at least, of which more rows need more: the sums of the lanes take
/// their time, while a tile has to turn w, whatever the rows. For 784 -> 512 in float32 on one thread of AVX-512, 4 rows
/// rise from 59 to 119 GF/s and 8 from 95 to 132; 8 rows of 128 -> 32 would fall from 94 to 82.
const DOTS_ROWS: usize = 8;
const DOTS_VECTORS: usize = 2;
/// Numbers of w, or of its gradient, that a thread takes at a time, at least: some 10 us from the last-level cache.
const WORTH_SHARING: usize = 64 * 1024;
/// Rows of w side by side: as many sums do not wait for each other.
const TOGETHER: usize = 4;
/// Inputs whose sums are taken at a time.
const INPUTS: usize = 2 * TOGETHER;
/// With inputs for half a vector at most, dot products are the way for any number of rows, from so many vectors of outputs
/// on: 13 rows of 3 -> 1768 in float32 rise from 12 to 59 GF/s, 512 of 8 -> 128 from 56 to 71.
const DOTS_VECTORS_OF_FEW: usize = 4;
/// Bytes of w at most, as each row of delta reads all of it: 512 rows of 8 -> 1024 rise from 56 to 66 GF/s and of 3 -> 4096
/// from 21 to 36, but those of 8 -> 2048 would fall from 56 to 45.
const MOST_OF_FEW: usize = 48 << 10;

/// Runs `work` on rows `i..i + n` of w, for parts of `rows` rows of `width` numbers that are shared out; returns whether
/// all did.
fn share_out(team: &Team, rows: usize, width: usize, work: impl Fn(usize, usize) -> bool + Sync) -> bool {
    let most = rows.saturating_mul(width) / WORTH_SHARING;
    let parts = most.min(2 * team.threads());
    if team.threads() == 1 || parts < 2 {
        return work(0, rows);
    }
    let each = rows.div_ceil(parts).next_multiple_of(8);
    let all = AtomicBool::new(true);
    team.run(rows.div_ceil(each), (rows * width / 8) as u64, |part| {
        if !work(part * each, each.min(rows - part * each)) {
            all.store(false, Ordering::Relaxed);
        }
    });
    all.into_inner()
}

/// dw = x^T delta, or added to it; x is (rows, n_in), delta (rows, n_out) and padded, dw (n_in, n_out) and padded.
#[derive(Clone, Copy)]
pub(crate) struct Outer<T> {
    pub rows: usize,
    pub n_in: usize,
    pub n_out: usize,
    pub x: *const T,
    pub x_stride: usize,
    pub delta: *const T,
    pub delta_stride: usize,
    pub dw: *mut T,
    pub dw_stride: usize,
    pub accumulate: bool,
}

// SAFETY: parts of it write rows of dw that are apart from each other, and only read the rest.
unsafe impl<T> Sync for Outer<T> {}

impl<T: Real> Kernel<T> for Outer<T> {
    /// Whether the squares of all elements have a finite sum.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            match self.rows {
                1 => self.of_rows::<V, 1>(),
                2 => self.of_rows::<V, 2>(),
                _ => self.of_rows::<V, 4>(),
            }
        }
    }
}

impl<T: Real> Outer<T> {
    /// Whether this is the way for so many rows: each number is code of its own, and from eight on the tile is as fast.
    pub(crate) fn suits(rows: usize) -> bool {
        matches!(rows, 1 | 2 | 4)
    }

    /// Columns, padded.
    pub(crate) fn width(&self) -> usize {
        padded::<T>(self.n_out)
    }

    /// The whole gradient, rows of dw being shared out. Returns whether the squares of all elements have a finite sum.
    ///
    /// # Safety
    /// The pointers reach as far as the shapes and strides say; their number [suits](Outer::suits).
    pub(crate) unsafe fn shared_out(self, isa: Isa, team: &Team) -> bool {
        share_out(team, self.n_in, padded::<T>(self.n_out), |i, n_in| {
            let (whole, dw) = (&self, self.dw.wrapping_add(i * self.dw_stride));
            // SAFETY: the caller's word; the part lies within the whole.
            unsafe { run(isa, Outer { n_in, x: whole.x.wrapping_add(i), dw, ..*whole }) }
        })
    }

    /// # Safety
    /// As for [`Outer::shared_out`]; there are `K` rows.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "k is the row, of x and of delta")]
    unsafe fn of_rows<V: Vector<Elem = T>, const K: usize>(&self) -> bool {
        let width = self.width();
        let mut squares = V::zero();
        for i in 0..self.n_in {
            let mut x = [V::zero(); K];
            // SAFETY: rows, inputs and padded outputs exist.
            unsafe {
                for k in 0..K {
                    x[k] = V::splat(*self.x.add(k * self.x_stride + i));
                }
                for j in (0..width).step_by(T::LANES) {
                    let mut sum = V::zero();
                    for k in 0..K {
                        sum = x[k].fma(V::load(self.delta.add(k * self.delta_stride + j)), sum);
                    }
                    let to = self.dw.add(i * self.dw_stride + j);
                    let sum = if self.accumulate { V::load(to).add(sum) } else { sum };
                    sum.store(to);
                    squares = sum.fma(sum, squares);
                }
            }
        }
        squares.sum_lanes().is_finite()
    }
}

/// out = delta w^T; delta is (rows, n_out), w (n_in, n_out) and padded, out (rows, n_in) and padded.
#[derive(Clone, Copy)]
pub(crate) struct Dots<T> {
    pub rows: usize,
    pub n_in: usize,
    pub n_out: usize,
    pub delta: *const T,
    pub delta_stride: usize,
    pub w: *const T,
    pub w_stride: usize,
    pub out: *mut T,
    pub out_stride: usize,
}

// SAFETY: parts of it write columns, or rows, of out that are apart from each other, and only read the rest.
unsafe impl<T> Sync for Dots<T> {}

impl<T: Real> Kernel<T> for Dots<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for j in (0..self.n_in).step_by(INPUTS) {
            let count = INPUTS.min(self.n_in - j);
            for i in 0..self.rows {
                // SAFETY: the caller's word; `count` rows of w exist from j on.
                unsafe {
                    let delta = self.delta.add(i * self.delta_stride);
                    // The last row again where there is no other.
                    let w = |r: usize| self.w.wrapping_add((j + r.min(count - 1)) * self.w_stride);
                    // Eight sums are as many as `sum_each` takes.
                    let [a, b, c, d] = self.dots_with::<V>(delta, [w(0), w(1), w(2), w(3)]);
                    let mut others = [V::zero(); TOGETHER];
                    if count > TOGETHER {
                        others = self.dots_with::<V>(delta, [w(4), w(5), w(6), w(7)]);
                    }
                    let [e, f, g, h] = others;
                    let sums = V::sum_each([a, b, c, d, e, f, g, h]);
                    std::ptr::copy_nonoverlapping(sums.as_ptr(), self.out.add(i * self.out_stride + j), count);
                }
            }
        }
    }
}

impl<T: Real> Dots<T> {
    /// Whether this is the way for so many rows, inputs and outputs.
    pub(crate) fn suits(rows: usize, n_in: usize, n_out: usize) -> bool {
        let few_rows = rows <= DOTS_ROWS && n_out >= DOTS_VECTORS.max(rows / 2) * T::LANES;
        let is_near = n_in.saturating_mul(n_out).saturating_mul(size_of::<T>()) <= MOST_OF_FEW;
        few_rows || (2 * n_in <= T::LANES && n_out >= DOTS_VECTORS_OF_FEW * T::LANES && is_near)
    }

    /// All of out, inputs being shared out, or rows where there are few inputs.
    ///
    /// # Safety
    /// The pointers reach as far as the shapes and strides say; the padding of w is finite.
    pub(crate) unsafe fn shared_out(self, isa: Isa, team: &Team) {
        let whole = &self;
        if self.n_in <= INPUTS {
            share_out(team, self.rows, self.n_in * padded::<T>(self.n_out), |i, rows| {
                let delta = whole.delta.wrapping_add(i * whole.delta_stride);
                // SAFETY: the caller's word; the part lies within the whole.
                unsafe { run(isa, Dots { rows, delta, out: whole.out.wrapping_add(i * whole.out_stride), ..*whole }) };
                true
            });
        } else {
            share_out(team, self.n_in, padded::<T>(self.n_out), |j, n_in| {
                let w = whole.w.wrapping_add(j * whole.w_stride);
                // SAFETY: as above.
                unsafe { run(isa, Dots { n_in, w, out: whole.out.wrapping_add(j), ..*whole }) };
                true
            });
        }
        for i in 0..self.rows {
            for j in self.n_in..padded::<T>(self.n_in) {
                // SAFETY: the rows of out are padded.
                unsafe { *self.out.add(i * self.out_stride + j) = T::ZERO }
            }
        }
    }

    /// The products of a row of delta with some rows of w, the sums still in lanes.
    ///
    /// # Safety
    /// There are `n_out` numbers at `delta`, and as many, padded, at each `w`.
    #[inline(always)]
    unsafe fn dots_with<V: Vector<Elem = T>>(&self, delta: *const T, w: [*const T; TOGETHER]) -> [V; TOGETHER] {
        let mut sums = [V::zero(); TOGETHER];
        let whole = self.n_out / T::LANES * T::LANES;
        // SAFETY: the caller's word.
        unsafe {
            for k in (0..whole).step_by(T::LANES) {
                let d = V::load(delta.add(k));
                for r in 0..TOGETHER {
                    sums[r] = d.fma(V::load(w[r].add(k)), sums[r]);
                }
            }
            if whole < self.n_out {
                let d = V::load_first(delta.add(whole), self.n_out - whole, T::ZERO);
                for r in 0..TOGETHER {
                    sums[r] = d.fma(V::load(w[r].add(whole)), sums[r]);
                }
            }
        }
        sums
    }
}

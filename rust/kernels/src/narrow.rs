//! A layer with few outputs, which would leave most lanes of a vector of outputs empty: vectors run over the inputs.
//!
//! In: x, with w or the delta, as for any layer. Out: the outputs, or the gradient of w.
//! The gradient, `dw^T = delta^T x`, has the bits of the tile: each element is the same chain in the order of the rows, in
//! pieces of `KC`. The outputs have not: they are dot products along the rows of x, whose sums run in the lanes of a
//! vector, then over the lanes, piece by piece, the same on every set and for any number of rows.

use crate::activation::Activation;
use crate::dense::{View, ViewMut};
use crate::isa::Isa;
use crate::pointwise::{activate_rows, activate_rows_in_place};
use crate::pool::Team;
use crate::simd::{Kernel, MAX_LANES, Vector, run};
use crate::tile::KC;
use crate::{Real, padded};
use std::sync::atomic::{AtomicBool, Ordering};

/// Outputs at most. With four, x is read once for all of them, and their sums are twelve registers of AVX2 at most.
pub(crate) const NARROW: usize = 4;

/// Inputs at least for which [`Dots`] pay, and above the widths of networks that have a kernel of their own.
pub(crate) const DOTS_INPUTS: usize = 64;

/// z = x w + bias; x is (rows, n_in), w (n_in, n_out), bias (n_out) or null, z (rows, n_out) and padded.
#[derive(Clone, Copy)]
pub(crate) struct Dots<T> {
    pub rows: usize,
    pub n_in: usize,
    pub n_out: usize,
    pub x: *const T,
    pub x_stride: usize,
    pub w: *const T,
    pub w_stride: usize,
    pub bias: *const T,
    pub z: *mut T,
    pub z_stride: usize,
}

impl<T: Real> Kernel<T> for Dots<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        // SAFETY: the caller's word.
        unsafe { if self.n_out == 1 { self.outputs::<V, 1>() } else { self.outputs::<V, NARROW>() } }
    }
}

// SAFETY: parts of it write rows of z that are apart from each other, and only read the rest.
unsafe impl<T> Sync for Dots<T> {}

/// Sums at a time: enough that they do not wait for each other.
const SUMS: usize = 8;

impl<T: Real> Dots<T> {
    /// All of z, rows being shared out.
    ///
    /// # Safety
    /// The pointers reach as far as the shapes and strides say.
    pub(crate) unsafe fn shared_out(self, isa: Isa, team: &Team) {
        let elements = self.rows.saturating_mul(self.n_in);
        if team.threads() == 1 || elements < 2 * WORTH_SHARING {
            // SAFETY: the caller's word.
            return unsafe { run(isa, self) };
        }
        let height = self.rows.div_ceil(2 * team.threads()).next_multiple_of(SUMS);
        team.run(self.rows.div_ceil(height), elements as u64 / 10, |part| {
            let (whole, i) = (&self, part * height);
            let (x, z) = (whole.x.wrapping_add(i * whole.x_stride), whole.z.wrapping_add(i * whole.z_stride));
            // SAFETY: the caller's word; the part lies within the whole.
            unsafe { run(isa, Dots { rows: height.min(whole.rows - i), x, z, ..*whole }) }
        });
    }

    /// All rows, several at a time, for at most `N` outputs.
    ///
    /// # Safety
    /// As for [`Dots::shared_out`].
    #[inline(always)]
    unsafe fn outputs<V: Vector<Elem = T>, const N: usize>(&self) {
        let together = SUMS / N;
        for k0 in (0..self.n_in).step_by(KC) {
            let count = KC.min(self.n_in - k0);
            // Columns of w, with zeros behind.
            let mut columns = [[T::ZERO; KC]; N];
            for (o, column) in columns.iter_mut().enumerate().take(self.n_out) {
                for (k, to) in column.iter_mut().enumerate().take(count) {
                    // SAFETY: the inputs and outputs exist.
                    *to = unsafe { *self.w.add((k0 + k) * self.w_stride + o) };
                }
            }
            for i in (0..self.rows).step_by(together) {
                let rows = together.min(self.rows - i);
                // SAFETY: the rows and inputs exist.
                unsafe {
                    let sums = self.sums_of_rows::<V, N>(self.x.add(i * self.x_stride + k0), rows, count, &columns);
                    self.store::<V, N>(i, rows, &sums, k0 == 0);
                }
            }
        }
    }

    /// The products of up to `SUMS / N` rows with the columns, the sum of row r and column o at `r * N + o`.
    ///
    /// # Safety
    /// There are `count` numbers in each of so many `rows` from x on.
    #[inline(always)]
    unsafe fn sums_of_rows<V: Vector<Elem = T>, const N: usize>(
        &self,
        x: *const T,
        rows: usize,
        count: usize,
        columns: &[[T; KC]; N],
    ) -> [T; SUMS] {
        // The last row again where there is no other.
        let row = |r: usize| x.wrapping_add(r.min(rows - 1) * self.x_stride);
        let mut sums = [V::zero(); SUMS];
        for k in (0..count).step_by(T::LANES) {
            let width = T::LANES.min(count - k);
            for o in 0..N {
                // SAFETY: columns have a whole number of vectors; the caller's word of x.
                unsafe {
                    let w = V::load(columns[o].as_ptr().add(k));
                    for r in 0..SUMS / N {
                        sums[r * N + o] = V::load_up_to(row(r).wrapping_add(k), width).fma(w, sums[r * N + o]);
                    }
                }
            }
        }
        V::sum_each(sums)
    }

    /// Writes what came of `rows` rows from i on, on top of the bias, or adds it, and zeros to the padding.
    ///
    /// # Safety
    /// As for [`Dots::shared_out`]; the rows exist.
    #[inline(always)]
    unsafe fn store<V: Vector<Elem = T>, const N: usize>(&self, i: usize, rows: usize, sums: &[T; SUMS], first: bool) {
        for r in 0..rows {
            // SAFETY: the caller's word; the outputs fill a vector at most.
            unsafe {
                let z = self.z.add((i + r) * self.z_stride);
                if first {
                    V::zero().store(z);
                }
                for (o, &sum) in sums[r * N..][..N].iter().enumerate().take(self.n_out) {
                    let before = if !first {
                        *z.add(o)
                    } else if self.bias.is_null() {
                        T::ZERO
                    } else {
                        *self.bias.add(o)
                    };
                    *z.add(o) = before.plus(sum);
                }
            }
        }
    }
}

/// [`crate::forward`] for few outputs, whose shapes it has checked.
pub(crate) fn forward<T: Real>(
    isa: Isa,
    team: &Team,
    x: View<T>,
    w: View<T>,
    bias: Option<&[T]>,
    activation: Activation,
    z: Option<ViewMut<T>>,
    a: ViewMut<T>,
) {
    // In place where z is not kept.
    let (z, a) = match z {
        Some(z) => (z, Some(a)),
        None => (a, None),
    };
    z.check(padded::<T>(w.columns));
    assert_eq!((z.rows, z.columns), (x.rows, w.columns), "shapes of z and a");
    let dots = Dots {
        rows: x.rows,
        n_in: x.columns,
        n_out: w.columns,
        x: x.data.as_ptr(),
        x_stride: x.stride,
        w: w.data.as_ptr(),
        w_stride: w.stride,
        bias: bias.map_or(std::ptr::null(), <[T]>::as_ptr),
        z: z.data.as_mut_ptr(),
        z_stride: z.stride,
    };
    // SAFETY: shapes and lengths were checked.
    unsafe { dots.shared_out(isa, team) };
    match (a, activation) {
        (Some(a), _) => activate_rows(isa, team, activation, z.as_view(), a),
        (None, Activation::Identity) => {}
        (None, _) => activate_rows_in_place(isa, team, activation, z),
    }
}

/// The gradient; x is (rows, n_in), delta (rows, n_out), dw (n_in, n_out) and padded.
#[derive(Clone, Copy)]
pub(crate) struct Narrow<T> {
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

impl<T: Real> Kernel<T> for Narrow<T> {
    /// Whether the squares of all elements have a finite sum.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        // SAFETY: the caller's word.
        unsafe { if self.n_out == 1 { self.outputs::<V, 1, 4>() } else { self.outputs::<V, NARROW, 1>() } }
    }
}

// SAFETY: parts of it write rows of dw that are apart from each other, and only read the rest.
unsafe impl<T> Sync for Narrow<T> {}

/// Elements of x that are worth handing to another thread: it takes in some ten in a nanosecond.
const WORTH_SHARING: usize = 256 * 1024;

impl<T: Real> Narrow<T> {
    /// The whole gradient, the inputs being shared out. Returns whether the squares of all elements have a finite sum.
    ///
    /// # Safety
    /// The pointers reach as far as the shapes and strides say.
    pub(crate) unsafe fn shared_out(self, isa: Isa, team: &Team) -> bool {
        let elements = self.rows.saturating_mul(self.n_in);
        if team.threads() == 1 || elements < 2 * WORTH_SHARING {
            // SAFETY: the caller's word.
            return unsafe { run(isa, self) };
        }
        let width = self.n_in.div_ceil(2 * team.threads()).next_multiple_of(4 * T::LANES);
        let finite = AtomicBool::new(true);
        team.run(self.n_in.div_ceil(width), elements as u64 / 10, |part| {
            let (whole, j) = (&self, part * width);
            let (x, dw) = (whole.x.wrapping_add(j), whole.dw.wrapping_add(j * whole.dw_stride));
            let part = Narrow { n_in: width.min(whole.n_in - j), x, dw, ..*whole };
            // SAFETY: the caller's word; the part lies within the whole.
            if !unsafe { run(isa, part) } {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }

    /// All inputs, `NV` vectors of them at a time; the rest of them one at a time, and the tail apart.
    ///
    /// # Safety
    /// As for [`Narrow::shared_out`]; there are at most `N` outputs.
    #[inline(always)]
    unsafe fn outputs<V: Vector<Elem = T>, const N: usize, const NV: usize>(&self) -> bool {
        let (mut j, mut squares) = (0, V::zero());
        // SAFETY: inputs `j..` up to `n_in` exist in every row.
        unsafe {
            while j + NV * T::LANES <= self.n_in {
                self.inputs::<V, N, NV>(j, NV * T::LANES, |x, _| V::load(x), &mut squares);
                j += NV * T::LANES;
            }
            while j < self.n_in {
                let width = T::LANES.min(self.n_in - j);
                self.inputs::<V, N, 1>(j, width, |x, width| V::load_up_to(x, width), &mut squares);
                j += width;
            }
        }
        squares.sum_lanes().is_finite()
    }

    /// Inputs `j..j + width`: `NV` whole vectors, or a part of one.
    ///
    /// # Safety
    /// As for [`Narrow::shared_out`]; the inputs are among its own, and `load` takes from x as many as there are.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "o and v are the output and the vector, in several arrays at once")]
    unsafe fn inputs<V: Vector<Elem = T>, const N: usize, const NV: usize>(
        &self,
        j: usize,
        width: usize,
        load: impl Fn(*const T, usize) -> V,
        squares: &mut V,
    ) {
        let mut k0 = 0;
        loop {
            let end = self.rows.min(k0 + KC);
            let mut sums = [[V::zero(); NV]; N];
            // SAFETY: rows and inputs exist; deltas are padded.
            unsafe {
                for k in k0..end {
                    let (x, delta) = (self.x.add(k * self.x_stride + j), self.delta.add(k * self.delta_stride));
                    let mut row = [V::zero(); NV];
                    for v in 0..NV {
                        row[v] = load(x.add(v * T::LANES), width);
                    }
                    for o in 0..N {
                        let d = V::splat(*delta.add(o));
                        for v in 0..NV {
                            sums[o][v] = d.fma(row[v], sums[o][v]);
                        }
                    }
                }
                for v in 0..NV {
                    let (j, width) = (j + v * T::LANES, width.min(T::LANES));
                    let mut columns = [[T::ZERO; MAX_LANES]; N];
                    for o in 0..N.min(self.n_out) {
                        let mut sum = sums[o][v];
                        if k0 > 0 || self.accumulate {
                            sum = V::load(self.before(j, width, o).as_ptr()).add(sum);
                        }
                        *squares = sum.fma(sum, *squares);
                        columns[o] = sum.to_lanes();
                    }
                    self.store(j, width, &columns);
                }
            }
            k0 = end;
            if k0 >= self.rows {
                return;
            }
        }
    }

    /// What the gradient of output `o` has for inputs `j..j + width` so far.
    ///
    /// # Safety
    /// As for [`Narrow::shared_out`]; the inputs and the output are among its own.
    // Not inlined, as `store`.
    #[inline(never)]
    unsafe fn before(&self, j: usize, width: usize, o: usize) -> [T; MAX_LANES] {
        let mut before = [T::ZERO; MAX_LANES];
        for (i, before) in before.iter_mut().enumerate().take(width) {
            // SAFETY: the caller's word.
            *before = unsafe { *self.dw.add((j + i) * self.dw_stride + o) };
        }
        before
    }

    /// Writes the gradient of inputs `j..j + width`, a column for each output, and zeros to the padding.
    ///
    /// # Safety
    /// As for [`Narrow::shared_out`]; the inputs are among its own.
    // Not inlined: it takes no vectors, and would be in the library 24 times.
    #[inline(never)]
    #[expect(clippy::needless_range_loop, reason = "i and o are the input and the output, in two tables at once")]
    unsafe fn store(&self, j: usize, width: usize, columns: &[[T; MAX_LANES]]) {
        for i in 0..width {
            // SAFETY: the caller's word; rows of dw are padded.
            unsafe {
                let row = self.dw.add((j + i) * self.dw_stride);
                row.write_bytes(0, T::LANES);
                for o in 0..self.n_out {
                    *row.add(o) = columns[o][i];
                }
            }
        }
    }
}

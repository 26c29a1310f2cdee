//! A layer with few outputs, which would leave most lanes of a vector of outputs empty: vectors run over the inputs.
//!
//! In: x, with w or the delta. Out: the outputs, or a gradient. w and its gradient are turned: (n_out, n_in), a padded row
//! for each output, so that 4096 -> 1 has 4096 weights and not 16 times as many, of which 15 are padding.
//! The gradients have the bits of the tile: each element is the same chain in the order of the rows, in pieces of `KC`, or
//! of the outputs. The outputs of many inputs have not: they are dot products along the rows of x, whose sums run in the
//! lanes of a vector, then over the lanes, piece by piece, the same on every set and for any number of rows.

use crate::activation::Activation;
use crate::dense::{Below, Product, View, ViewMut, Weights, check_forward, forward_with, slope_of};
use crate::isa::{Factors, Isa};
use crate::pointwise::{activate_rows, activate_rows_in_place};
use crate::pool::Team;
use crate::simd::{Kernel, MAX_LANES, Starts, Vector, run};
use crate::tile::{KC, Layout, Start};
use crate::{Real, padded};
use std::sync::atomic::{AtomicBool, Ordering};

/// Outputs at most. With four, x is read once for all of them, and their sums are twelve registers of AVX2 at most.
pub(crate) const NARROW: usize = 4;

/// Inputs from which on sums run in lanes. Fewer are added up in their order, as in the kernel of narrow networks.
pub(crate) const DOTS_INPUTS: usize = 33;

/// Whether the weights of a layer lie turned.
pub fn is_turned(n_in: usize, n_out: usize) -> bool {
    n_out <= NARROW && n_out < n_in
}

/// z = x w + bias; x is (rows, n_in), w (n_out, n_in) and padded, bias (n_out) or null, z (rows, n_out) and padded.
#[derive(Clone, Copy)]
struct Dots<T> {
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
    unsafe fn shared_out(self, isa: Isa, team: &Team) {
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
            for i in (0..self.rows).step_by(together) {
                let rows = together.min(self.rows - i);
                // SAFETY: the rows and inputs exist.
                unsafe {
                    let sums = self.sums_of_rows::<V, N>(i, rows, k0, count);
                    self.store::<V, N>(i, rows, &sums, k0 == 0);
                }
            }
        }
    }

    /// The products of up to `SUMS / N` rows from i on with those of w, over `count` inputs from k0 on: the sum of row r and
    /// output o at `r * N + o`.
    ///
    /// # Safety
    /// As for [`Dots::shared_out`]; the rows and inputs are among its own.
    #[inline(always)]
    unsafe fn sums_of_rows<V: Vector<Elem = T>, const N: usize>(
        &self,
        i: usize,
        rows: usize,
        k0: usize,
        count: usize,
    ) -> [T; SUMS] {
        // The last one again where there is no other.
        let x = |r: usize| self.x.wrapping_add((i + r.min(rows - 1)) * self.x_stride + k0);
        let w = |o: usize| self.w.wrapping_add(o.min(self.n_out - 1) * self.w_stride + k0);
        let mut sums = [V::zero(); SUMS];
        // One way of loading is code enough where functions are called.
        let whole = if V::CALLS { 0 } else { count / T::LANES * T::LANES };
        // SAFETY: the caller's word; rows of w are padded.
        unsafe {
            for k in (0..whole).step_by(T::LANES) {
                self.add_products::<V, N>(&mut sums, |o| V::load(w(o).add(k)), |r| V::load(x(r).add(k)));
            }
            for k in (Starts { next: whole, end: count, by: T::LANES }) {
                let load = |r: usize| V::load_up_to(x(r).add(k), T::LANES.min(count - k));
                self.add_products::<V, N>(&mut sums, |o| V::load(w(o).add(k)), load);
            }
        }
        V::sum_each(sums)
    }

    /// Adds the products of a vector of each row with one of each output.
    #[inline(always)]
    fn add_products<V: Vector<Elem = T>, const N: usize>(
        &self,
        sums: &mut [V; SUMS],
        w: impl Fn(usize) -> V,
        x: impl Fn(usize) -> V,
    ) {
        for o in 0..N {
            let w = w(o);
            for r in 0..SUMS / N {
                sums[r * N + o] = x(r).fma(w, sums[r * N + o]);
            }
        }
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

/// [`crate::forward`] with weights that are turned.
///
/// # Shapes
/// x is (rows, n_in), w is (n_out, n_in), bias is (n_out), z and a are (rows, n_out).
/// w, bias, z and a are padded; x is not.
///
/// # Panics
/// When the shapes do not fit each other or their data, or the weights of such a layer are not [turned](is_turned).
pub fn forward_turned<T: Real>(
    isa: Isa,
    team: &Team,
    x: View<T>,
    w: View<T>,
    bias: Option<&[T]>,
    activation: Activation,
    z: Option<ViewMut<T>>,
    a: ViewMut<T>,
) {
    let (n_in, n_out) = check_turned(&w);
    if n_in < DOTS_INPUTS {
        let mut table = [T::ZERO; DOTS_INPUTS * MAX_LANES];
        for (o, row) in w.data.chunks(w.stride).enumerate().take(n_out) {
            for (to, &w) in table.chunks_exact_mut(T::LANES).zip(&row[..n_in]) {
                to[o] = w;
            }
        }
        let w = Weights { b: table.as_ptr(), stride: T::LANES, layout: Layout::Rows, n_in, n_out };
        return forward_with(isa, team, x, w, bias, activation, z, a);
    }
    check_forward(&x, (n_in, n_out), bias, &a);
    // In place where z is not kept.
    let (z, a) = match z {
        Some(z) => (z, Some(a)),
        None => (a, None),
    };
    z.check(padded::<T>(n_out));
    assert_eq!((z.rows, z.columns), (x.rows, n_out), "shapes of z and a");
    let dots = Dots {
        rows: x.rows,
        n_in,
        n_out,
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

/// (n_in, n_out) of turned weights. Panics unless they fit their data, and are of a layer that is turned.
fn check_turned<T: Real>(w: &View<T>) -> (usize, usize) {
    let (n_in, n_out) = (w.columns, w.rows);
    w.check(padded::<T>(n_in));
    assert!(is_turned(n_in, n_out), "weights of {n_in} inputs and {n_out} outputs are not turned");
    (n_in, n_out)
}

/// [`crate::input_gradient`] with weights that are turned: w is (n_out, n_in) and padded.
///
/// # Panics
/// When the shapes do not fit each other or their data, or the weights of such a layer are not [turned](is_turned).
pub fn input_gradient_turned<T: Real>(
    isa: Isa,
    team: &Team,
    delta: View<T>,
    w: View<T>,
    below: Option<Below<T>>,
    out: ViewMut<T>,
) {
    let (n_in, n_out) = check_turned(&w);
    let n = padded::<T>(n_in);
    delta.check(n_out);
    out.check(n);
    assert_eq!((delta.columns, delta.rows, n_in), (n_out, out.rows, out.columns), "shapes of delta, w and out");
    let product = Product {
        m: delta.rows,
        n,
        k: n_out,
        factors: Factors::Exact,
        a: delta.data.as_ptr(),
        a_strides: (delta.stride, 1),
        b: w.data.as_ptr(),
        b_stride: w.stride,
        b_layout: Layout::Rows,
        b_is_fresh: false,
        c: out.data.as_mut_ptr(),
        c_stride: out.stride,
        start: Start::Zero,
        finish: slope_of(below, &out),
    };
    // SAFETY: shapes and lengths were checked above.
    unsafe { product.run(isa, team) };
}

/// [`crate::weight_gradient`] of weights that are turned: dw is (n_out, n_in) and padded.
///
/// # Panics
/// When the shapes do not fit each other or their data, or the weights of such a layer are not [turned](is_turned).
pub fn weight_gradient_turned<T: Real>(
    isa: Isa,
    team: &Team,
    x: View<T>,
    delta: View<T>,
    accumulate: bool,
    dw: ViewMut<T>,
) -> bool {
    let (n_in, n_out) = check_turned(&dw.as_view());
    x.check(n_in);
    delta.check(padded::<T>(n_out));
    assert_eq!((x.columns, x.rows, delta.columns), (n_in, delta.rows, n_out), "shapes of x, delta and dw");
    let narrow = Narrow {
        rows: x.rows,
        n_in,
        n_out,
        x: x.data.as_ptr(),
        x_stride: x.stride,
        delta: delta.data.as_ptr(),
        delta_stride: delta.stride,
        dw: dw.data.as_mut_ptr(),
        dw_stride: dw.stride,
        accumulate,
    };
    // SAFETY: shapes and lengths were checked above.
    unsafe { narrow.shared_out(isa, team) }
}

/// The gradient of w; x is (rows, n_in), delta (rows, n_out), dw (n_out, n_in), all but x padded.
#[derive(Clone, Copy)]
struct Narrow<T> {
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

// SAFETY: parts of it write columns of dw that are apart from each other, and only read the rest.
unsafe impl<T> Sync for Narrow<T> {}

/// Elements of x that are worth handing to another thread: it takes in some ten in a nanosecond.
const WORTH_SHARING: usize = 256 * 1024;

impl<T: Real> Narrow<T> {
    /// The whole gradient, the inputs being shared out. Returns whether the squares of all elements have a finite sum.
    ///
    /// # Safety
    /// The pointers reach as far as the shapes and strides say.
    unsafe fn shared_out(self, isa: Isa, team: &Team) -> bool {
        let elements = self.rows.saturating_mul(self.n_in);
        if team.threads() == 1 || elements < 2 * WORTH_SHARING {
            // SAFETY: the caller's word.
            return unsafe { run(isa, self) };
        }
        let width = self.n_in.div_ceil(2 * team.threads()).next_multiple_of(4 * T::LANES);
        let finite = AtomicBool::new(true);
        team.run(self.n_in.div_ceil(width), elements as u64 / 10, |part| {
            let (whole, j) = (&self, part * width);
            let (x, dw) = (whole.x.wrapping_add(j), whole.dw.wrapping_add(j));
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
            while !V::CALLS && j + NV * T::LANES <= self.n_in {
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
                    for o in 0..N.min(self.n_out) {
                        // What is beyond the inputs is 0, as x there is.
                        let to = self.dw.add(o * self.dw_stride + j + v * T::LANES);
                        let mut sum = sums[o][v];
                        if k0 > 0 || self.accumulate {
                            sum = V::load(to).add(sum);
                        }
                        *squares = sum.fma(sum, *squares);
                        sum.store(to);
                    }
                }
            }
            k0 = end;
            if k0 >= self.rows {
                return;
            }
        }
    }
}

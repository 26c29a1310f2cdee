//! The weight gradient of a layer with few outputs, which would leave most lanes of a vector of outputs empty.
//!
//! In: x and the delta, as for any layer. Out: the gradient, with the bits of the tile: each element is the same chain in
//! the order of the rows, in pieces of `KC`. Vectors run over the inputs instead: `dw^T = delta^T x`.

use crate::Real;
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Kernel, MAX_LANES, Vector, run};
use crate::tile::KC;
use std::sync::atomic::{AtomicBool, Ordering};

/// Outputs at most. With four, x is read once for all of them, and their sums are twelve registers of AVX2 at most.
pub(crate) const NARROW: usize = 4;

/// x is (rows, n_in), delta (rows, n_out), dw (n_in, n_out) and padded.
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
    /// Whether the square of every element is finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            match self.n_out {
                1 => self.outputs::<V, 1, 4>(),
                2 => self.outputs::<V, 2, 2>(),
                3 => self.outputs::<V, 3, 1>(),
                _ => self.outputs::<V, NARROW, 1>(),
            }
        }
    }
}

// SAFETY: parts of it write rows of dw that are apart from each other, and only read the rest.
unsafe impl<T> Sync for Narrow<T> {}

/// Elements of x that are worth handing to another thread: it takes in some ten in a nanosecond.
const WORTH_SHARING: usize = 256 * 1024;

impl<T: Real> Narrow<T> {
    /// The whole gradient, the inputs being shared out. Returns whether the square of every element is finite.
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

    /// All inputs, `NV` vectors of them at a time; the tail of the inputs apart.
    ///
    /// # Safety
    /// As for [`Narrow::shared_out`]; there are `N` outputs.
    #[inline(always)]
    unsafe fn outputs<V: Vector<Elem = T>, const N: usize, const NV: usize>(&self) -> bool {
        let lanes = T::LANES;
        let (mut j, mut squares) = (0, V::zero());
        // SAFETY: inputs `j..` up to `n_in` exist in every row.
        unsafe {
            while j + NV * lanes <= self.n_in {
                squares = self.inputs::<V, N, NV>(j, NV * lanes, squares);
                j += NV * lanes;
            }
            while j + lanes <= self.n_in {
                squares = self.inputs::<V, N, 1>(j, lanes, squares);
                j += lanes;
            }
            if j < self.n_in {
                squares = self.inputs::<V, N, 1>(j, self.n_in - j, squares);
            }
        }
        squares.sum_lanes().is_finite()
    }

    /// Inputs `j..j + width`: `NV` whole vectors, or a part of one.
    ///
    /// # Safety
    /// As for [`Narrow::shared_out`]; the inputs are among its own, and there are `N` outputs.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "o and v are the output and the vector, in several arrays at once")]
    unsafe fn inputs<V: Vector<Elem = T>, const N: usize, const NV: usize>(
        &self,
        j: usize,
        width: usize,
        squares: V,
    ) -> V {
        let lanes = T::LANES;
        let mut squares = squares;
        let mut k0 = 0;
        loop {
            let end = self.rows.min(k0 + KC);
            let mut sums = [[V::zero(); NV]; N];
            // SAFETY: rows and inputs exist; whole vectors are read only where they are.
            unsafe {
                for k in k0..end {
                    let (x, delta) = (self.x.add(k * self.x_stride + j), self.delta.add(k * self.delta_stride));
                    let mut row = [V::zero(); NV];
                    for v in 0..NV {
                        row[v] = V::load_up_to(x.add(v * lanes), lanes.min(width - v * lanes));
                    }
                    for o in 0..N {
                        let d = V::splat(*delta.add(o));
                        for v in 0..NV {
                            sums[o][v] = d.fma(row[v], sums[o][v]);
                        }
                    }
                }
                squares = self.store::<V, N, NV>(j, width, sums, k0 > 0 || self.accumulate, squares);
            }
            k0 = end;
            if k0 >= self.rows {
                return squares;
            }
        }
    }

    /// Sums of some inputs, added to what is there or in its place, and zeros in the padding; their squares join the others.
    ///
    /// # Safety
    /// As for [`Narrow::shared_out`]; the inputs are among its own, and there are `N` outputs.
    #[inline(always)]
    unsafe fn store<V: Vector<Elem = T>, const N: usize, const NV: usize>(
        &self,
        j: usize,
        width: usize,
        sums: [[V; NV]; N],
        add: bool,
        squares: V,
    ) -> V {
        let mut squares = squares;
        let mut columns = [[[T::ZERO; MAX_LANES]; NV]; N];
        for (column, sums) in columns.iter_mut().zip(sums) {
            for (lanes, sum) in column.iter_mut().zip(sums) {
                *lanes = sum.to_lanes();
            }
        }
        for i in 0..width {
            let mut row = [T::ZERO; MAX_LANES];
            for (to, column) in row.iter_mut().zip(&columns) {
                *to = column[i / T::LANES][i % T::LANES];
            }
            // SAFETY: the row is padded to a vector, and the array as long as the longest one.
            unsafe {
                let to = self.dw.add((j + i) * self.dw_stride);
                let sum = V::load(row.as_ptr());
                let sum = if add { V::load(to).add(sum) } else { sum };
                sum.store(to);
                squares = sum.fma(sum, squares);
            }
        }
        squares
    }
}

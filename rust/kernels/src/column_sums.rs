//! The sums of columns: the gradient of a bias.
//!
//! In: padded rows. Out: a padded row, the rows added up in their order.

use crate::dense::{Shared, View};
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Kernel, Vector, run};
use crate::{Real, padded};
use std::sync::atomic::{AtomicBool, Ordering};

struct ColumnSums<T> {
    x: *const T,
    rows: usize,
    columns: usize,
    stride: usize,
    accumulate: bool,
    sums: *mut T,
}

impl<T: Real> ColumnSums<T> {
    /// The sums of `NV` vectors of columns from `j` on: as many chains side by side, since each waits for its last
    /// addition.
    ///
    /// # Safety
    /// As for `run`; the columns lie within the padded rows.
    #[inline(always)]
    unsafe fn columns<V: Vector<Elem = T>, const NV: usize>(&self, j: usize, squares: V) -> V {
        let mut chains = [V::zero(); NV];
        let mut squares = squares;
        // SAFETY: the caller vouches for `rows` padded rows and a padded row of sums.
        unsafe {
            for i in 0..self.rows {
                let row = self.x.add(i * self.stride + j);
                for (v, chain) in chains.iter_mut().enumerate() {
                    *chain = chain.add(V::load(row.add(v * T::LANES)));
                }
            }
            for (v, chain) in chains.into_iter().enumerate() {
                let to = self.sums.add(j + v * T::LANES);
                // The rows among themselves first, as in a product: it makes no difference then who holds the rest.
                let sum = if self.accumulate { V::load(to).add(chain) } else { chain };
                sum.store(to);
                squares = sum.fma(sum, squares);
            }
        }
        squares
    }
}

impl<T: Real> Kernel<T> for ColumnSums<T> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        let mut squares = V::zero();
        let mut j = 0;
        // SAFETY: the caller's word; columns are padded to whole vectors.
        unsafe {
            while j + 4 * T::LANES <= self.columns {
                squares = self.columns::<V, 4>(j, squares);
                j += 4 * T::LANES;
            }
            while j < self.columns {
                squares = self.columns::<V, 1>(j, squares);
                j += T::LANES;
            }
        }
        squares.sum_lanes().is_finite()
    }
}

/// `sums = sum over rows of x`, or added to what `sums` holds; the order of the rows. Returns whether their squares have a finite sum.
///
/// # Shapes
/// x is (rows, columns) and padded, sums is (columns) and padded.
///
/// # Panics
/// When the shapes do not fit their data.
pub fn column_sums<T: Real>(isa: Isa, team: &Team, x: View<T>, accumulate: bool, sums: &mut [T]) -> bool {
    let columns = padded::<T>(x.columns);
    x.check(columns);
    assert!(sums.len() >= columns, "the sums are padded");
    let (rows, stride, data, sums) = (x.rows, x.stride, x.data, Shared(sums.as_mut_ptr()));
    let sum = |start: usize, columns: usize| {
        let x = data[start..].as_ptr();
        // SAFETY: shapes and lengths were checked above; the ranges of columns are apart from each other.
        unsafe { run(isa, ColumnSums { x, rows, columns, stride, accumulate, sums: sums.get().wrapping_add(start) }) }
    };
    // 16 numbers are summed in a nanosecond or so.
    let worth_sharing = team.threads() > 1 && rows * columns >= 512 * 1024;
    if !worth_sharing {
        return sum(0, columns);
    }
    let width = columns.div_ceil(4 * team.threads()).next_multiple_of(4 * T::LANES);
    let finite = AtomicBool::new(true);
    team.run(columns.div_ceil(width), (rows * columns / 16) as u64, |i| {
        if !sum(i * width, width.min(columns - i * width)) {
            finite.store(false, Ordering::Relaxed);
        }
    });
    finite.into_inner()
}

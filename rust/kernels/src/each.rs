//! Loops over rows of several operands, element by element, and sums over such rows.
//!
//! In: operands, which need no padding. Out: padded rows, or a padded row of sums, the padding 0.
//! Threads share out rows, or the columns of a sum; an element, and the chain of a sum, never depend on how.

use crate::dense::{Shared, View, ViewMut};
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Kernel, Vector, run};
use crate::{Real, padded};
use std::ops::Range;

/// Elements that one thread takes at least: some 10 us, as for a product.
const CHUNK: usize = 32 * 1024;

/// Calls `part` for ranges that make up `0..n`, each worth a thread, and a multiple of `unit` long; one of them is `size`
/// elements, of which a thread does `per_nanosecond`, roughly. (A pointer to what is done: with a copy of this for each of
/// 200 kernels the library was at least 5 KB larger, compressed.)
pub(crate) fn in_parts(
    team: &Team,
    n: usize,
    unit: usize,
    size: usize,
    per_nanosecond: u64,
    part: &(dyn Fn(Range<usize>) + Sync),
) {
    let enough = CHUNK.div_ceil(size.max(1));
    let length = n.div_ceil(2 * team.threads()).max(enough).next_multiple_of(unit);
    if team.threads() == 1 || n <= length {
        return part(0..n);
    }
    let nanoseconds = (n as u64).saturating_mul(size as u64) / per_nanosecond;
    team.run(n.div_ceil(length), nanoseconds, |index| part(index * length..n.min((index + 1) * length)));
}

/// What is done at a place, with the operands there.
pub(crate) trait Each<const N: usize>: Copy + Sync {
    fn each<V: Vector>(self, x: [V; N]) -> V;
}

/// Where the operand of a place is found.
#[derive(Clone, Copy)]
pub(crate) struct Operand<T> {
    from: *const T,
    /// From one row to the next.
    stride: usize,
    /// One number serves for all columns of a row.
    is_column: bool,
}

impl<T: Real> Operand<T> {
    /// Rows: a number for each place. They may be written in place, if each by the thread that reads it.
    pub(crate) fn rows(x: View<T>) -> Self {
        Operand { from: x.data.as_ptr(), stride: x.stride, is_column: false }
    }
    /// The rows that are written.
    pub(crate) fn in_place(x: &mut ViewMut<T>) -> Self {
        // Of a mutable borrow, as the writes come from one: those would end what a shared one may read.
        Operand { from: x.data.as_mut_ptr(), stride: x.stride, is_column: false }
    }
    /// A number for each column, the same in all rows.
    pub(crate) fn row(x: &[T]) -> Self {
        Operand { from: x.as_ptr(), stride: 0, is_column: false }
    }
    /// A number for each row, the same in all columns.
    pub(crate) fn column(x: &[T]) -> Self {
        Operand { from: x.as_ptr(), stride: 1, is_column: true }
    }

    /// The operand from (i, j) on.
    fn moved(self, i: usize, j: usize) -> Self {
        let column = if self.is_column { 0 } else { j };
        Operand { from: self.from.wrapping_add(i * self.stride + column), ..self }
    }

    /// # Safety
    /// The operand has `width` numbers at (i, j), or one where it is a column.
    #[inline(always)]
    unsafe fn load<V: Vector<Elem = T>>(self, i: usize, j: usize, width: usize) -> V {
        // SAFETY: the caller's word.
        unsafe {
            if self.is_column {
                V::splat(*self.from.add(i * self.stride))
            } else {
                V::load_up_to(self.from.add(i * self.stride + j), width)
            }
        }
    }
}

/// The operands of a place. A loop, since a closure would be a function of its own, without the instructions of a set.
///
/// # Safety
/// As [`Operand::load`].
#[inline(always)]
unsafe fn load_all<V: Vector, const N: usize>(
    from: &[Operand<V::Elem>; N],
    i: usize,
    j: usize,
    width: usize,
) -> [V; N] {
    let mut x = [V::zero(); N];
    for k in 0..N {
        // SAFETY: the caller's word.
        x[k] = unsafe { from[k].load(i, j, width) };
    }
    x
}

/// Operands that threads share: they are only read, or each row by one thread only.
struct Operands<T, const N: usize>([Operand<T>; N]);
// SAFETY: used only inside `Team::run` by parts that write elements of their own and read none that others write.
unsafe impl<T, const N: usize> Sync for Operands<T, N> {}

impl<T: Real, const N: usize> Operands<T, N> {
    /// A method, so that closures capture the wrapper and not its field.
    fn moved(&self, i: usize, j: usize) -> [Operand<T>; N] {
        self.0.map(|operand| operand.moved(i, j))
    }
}

struct Rows<T, F, const N: usize> {
    f: F,
    rows: usize,
    columns: usize,
    from: [Operand<T>; N],
    to: *mut T,
    stride: usize,
}

impl<T: Real, F: Each<N>, const N: usize> Kernel<T> for Rows<T, F, N> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for i in 0..self.rows {
            for j in (0..self.columns).step_by(T::LANES) {
                let width = T::LANES.min(self.columns - j);
                // SAFETY: `j + width <= columns`; the caller vouches for the operands, and for the padding of `to`.
                unsafe {
                    let mut y = self.f.each(load_all::<V, N>(&self.from, i, j, width));
                    if width < T::LANES {
                        y = V::select(V::first_lanes(width), y, V::zero());
                    }
                    y.store(self.to.add(i * self.stride + j));
                }
            }
        }
    }
}

/// `to = f(from)` at every place.
///
/// # Safety
/// Every operand reaches as far as `to`, which is padded and was checked; one may be `to` itself.
pub(crate) unsafe fn each<T: Real, F: Each<N>, const N: usize>(
    isa: Isa,
    team: &Team,
    f: F,
    from: [Operand<T>; N],
    to: ViewMut<T>,
) {
    let (rows, columns, stride) = (to.rows, to.columns, to.stride);
    let (from, to) = (Operands(from), Shared(to.data.as_mut_ptr()));
    in_parts(team, rows, 1, columns, 4, &|part| {
        let (from, to) = (from.moved(part.start, 0), to.get().wrapping_add(part.start * stride));
        // SAFETY: the caller's word; the parts are apart from each other.
        unsafe { run(isa, Rows { f, rows: part.len(), columns, from, to, stride }) }
    });
}

struct Sums<T, F, const N: usize> {
    f: F,
    rows: usize,
    columns: usize,
    from: [Operand<T>; N],
    accumulate: bool,
    sums: *mut T,
}

impl<T: Real, F: Each<N>, const N: usize> Kernel<T> for Sums<T, F, N> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        let mut squares = V::zero();
        for j in (0..self.columns).step_by(T::LANES) {
            let width = T::LANES.min(self.columns - j);
            // SAFETY: `j + width <= columns`; the caller vouches for the operands and for a padded row of sums.
            unsafe {
                let mut sum = if self.accumulate { V::load(self.sums.add(j)) } else { V::zero() };
                for i in 0..self.rows {
                    sum = sum.add(self.f.each(load_all::<V, N>(&self.from, i, j, width)));
                }
                if width < T::LANES {
                    sum = V::select(V::first_lanes(width), sum, V::zero());
                }
                sum.store(self.sums.add(j));
                squares = sum.fma(sum, squares);
            }
        }
        squares.sum_lanes().is_finite()
    }
}

/// `sums = sum over the rows of f(from)`, or added to what `sums` holds; in the order of the rows. Returns whether their
/// squares are finite.
///
/// # Safety
/// Every operand has (rows, columns).
pub(crate) unsafe fn sums<T: Real, F: Each<N>, const N: usize>(
    isa: Isa,
    team: &Team,
    f: F,
    from: [Operand<T>; N],
    (rows, columns): (usize, usize),
    accumulate: bool,
    sums: &mut [T],
) -> bool {
    assert!(sums.len() >= padded::<T>(columns), "the sums are padded");
    let finite = std::sync::atomic::AtomicBool::new(true);
    let (from, sums) = (Operands(from), Shared(sums.as_mut_ptr()));
    in_parts(team, columns, T::LANES, rows, 4, &|part| {
        let (from, sums) = (from.moved(0, part.start), sums.get().wrapping_add(part.start));
        // SAFETY: the caller's word; the parts are whole vectors apart from each other, and the last is padded.
        if !unsafe { run(isa, Sums { f, rows, columns: part.len(), from, accumulate, sums }) } {
            finite.store(false, std::sync::atomic::Ordering::Relaxed);
        }
    });
    finite.into_inner()
}

/// Panics unless all have the shape of `to` and fit their data; `to` is padded.
pub(crate) fn check<T: Real, const N: usize>(from: [View<T>; N], to: &ViewMut<T>) {
    to.check(padded::<T>(to.columns));
    for from in from {
        from.check(from.columns);
        assert_eq!((from.rows, from.columns), (to.rows, to.columns), "shapes of the operands and the result");
    }
}

/// Panics unless each has a number for each column.
pub(crate) fn check_rows<T, const N: usize>(columns: usize, rows: [&[T]; N]) {
    assert!(rows.iter().all(|row| row.len() >= columns), "a number for each of {columns} columns");
}

/// Panics unless each has a number for each row.
pub(crate) fn check_columns<T, const N: usize>(rows: usize, columns: [&[T]; N]) {
    assert!(columns.iter().all(|column| column.len() >= rows), "a number for each of {rows} rows");
}

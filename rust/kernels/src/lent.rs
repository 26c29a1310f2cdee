//! Numbers in memory of somebody else, who may write them while we read: a user's array during a call.
//!
//! In: a slice, once. Out: copies of parts of it. No reference to the numbers is kept, and nothing is decided by reading
//! one of them twice: whoever writes meanwhile changes which number is copied, and nothing else. Every pattern of bits
//! is a number of our types.

use crate::Real;
use crate::dense::ViewMut;
use crate::isa::Isa;
use crate::rows::finite_at;
use crate::simd::{Kernel, Vector, ask_to_read, run};
use std::marker::PhantomData;
use std::ops::Range;

/// A slice that is read by copying only.
///
/// # Examples
/// ```
/// use dnn_kernels::Lent;
/// let numbers = [1.0f32, 2.0, 3.0];
/// let mut copy = [0.0; 2];
/// Lent::from(&numbers[..]).copy_to(1, &mut copy);
/// assert_eq!(copy, [2.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lent<'a, T> {
    start: *const T,
    len: usize,
    /// The memory stays where it is for so long.
    lasts: PhantomData<&'a [T]>,
}

// SAFETY: the memory may be read by any thread; what may be written meanwhile is copied, never referred to.
unsafe impl<T: Real> Send for Lent<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Real> Sync for Lent<'_, T> {}

impl<'a, T: Real> From<&'a [T]> for Lent<'a, T> {
    fn from(numbers: &'a [T]) -> Lent<'a, T> {
        Lent { start: numbers.as_ptr(), len: numbers.len(), lasts: PhantomData }
    }
}

impl<T: Real> Lent<'_, T> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the numbers from `start` on, as many as `to` takes.
    ///
    /// # Panics
    /// When there are not so many.
    #[inline]
    pub fn copy_to(&self, start: usize, to: &mut [T]) {
        let fits = start.checked_add(to.len()).is_some_and(|end| end <= self.len);
        assert!(fits, "{} numbers from {start} on, of {}", to.len(), self.len);
        // SAFETY: the numbers lie within those of the slice, whose memory lasts as long as `self`. `to` is ours alone.
        unsafe { std::ptr::copy_nonoverlapping(self.start.add(start), to.as_mut_ptr(), to.len()) }
    }

    /// Copies rows of a table of (`n_rows`, `columns`), those of these numbers in this order, to rows `stride` apart; where
    /// some are `picked`, `rows` counts among those.
    ///
    /// # Panics
    /// When there is no such table or row, or `to` has not so many.
    pub fn copy_rows(
        &self,
        isa: Isa,
        (n_rows, columns): (usize, usize),
        (rows, picked): (&[u32], Option<&[u32]>),
        to: &mut [T],
        stride: usize,
    ) {
        ViewMut::new(&mut *to, rows.len(), columns, stride).check(columns);
        assert!(n_rows.checked_mul(columns).is_some_and(|end| end <= self.len), "{n_rows} rows of {columns}");
        let copy = CopyRows { from: self.start, n_rows, columns, rows, picked, to: to.as_mut_ptr(), stride };
        // SAFETY: `CopyRows::row` lets no row pass that is not in the table, which lies within the slice, whose memory lasts
        // as long as `self`; they fit `to`, which is ours alone.
        unsafe { run(isa, copy) }
    }

    /// Asks for rows of such a table that [will be copied](Lent::copy_rows) some time later, where the table is larger than the caches
    /// that are near. Those that are not there are not asked for.
    pub fn ask_for_rows(&self, (n_rows, columns): (usize, usize), (rows, picked): (&[u32], Option<&[u32]>)) {
        let bytes = columns.saturating_mul(size_of::<T>());
        if self.len * size_of::<T>() <= NEAR {
            return;
        }
        for &row in &rows[..rows.len().min(MOST_ASKED / bytes.max(1))] {
            let row = picked.map_or(Some(row), |picked| picked.get(row as usize).copied());
            if let Some(row) = row.map(|row| row as usize).filter(|&row| row < n_rows) {
                let start = self.start.wrapping_add(row.wrapping_mul(columns)).cast::<u8>();
                // The last byte too: rows begin anywhere in a line.
                (0..bytes).step_by(LINE).chain(bytes.checked_sub(1)).for_each(|at| ask_to_read(start.wrapping_add(at)));
            }
        }
    }

    /// Whether none of these is infinite or NaN.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn all_finite(&self, isa: Isa, range: Range<usize>) -> bool {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: the range lies within the slice, whose memory lasts as long as `self`.
        unsafe { finite_at(isa, self.start.add(range.start), range.len()) }
    }
}

/// Rows ahead that are asked for: rows in any order are new to every cache.
const AHEAD: usize = 8;
/// Bytes of a row that are asked for; the others follow in order.
const ASKED: usize = 512;

/// Bytes of a table that are near after they were read once, and need not be asked for.
const NEAR: usize = 1 << 20;
/// Bytes of rows that are asked for long before they are copied, at most; they have to stay beside the weights. (784-30-10 at ten
/// rows of 50 000: 16.0 us a step, 17.5 where the rows of a batch are new when it begins: `steps mnist-small 1`.)
const MOST_ASKED: usize = 128 << 10;
/// Bytes that come and go together between caches.
const LINE: usize = 64;

struct CopyRows<'a, T> {
    from: *const T,
    n_rows: usize,
    columns: usize,
    rows: &'a [u32],
    picked: Option<&'a [u32]>,
    to: *mut T,
    stride: usize,
}

impl<T: Real> CopyRows<'_, T> {
    /// Where row number `i` of those that are wanted begins.
    ///
    /// # Panics
    /// When there is none.
    #[inline(always)]
    fn row(&self, i: usize) -> *const T {
        let row = self.rows[i] as usize;
        let row = self.picked.map_or(row, |picked| picked[row] as usize);
        assert!(row < self.n_rows, "row {row} of {}", self.n_rows);
        self.from.wrapping_add(row * self.columns)
    }
}

impl<T: Real> Kernel<T> for CopyRows<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let asked = (self.columns * size_of::<T>()).min(ASKED);
        for i in 0..self.rows.len() {
            let (from, to) = (self.row(i), self.to.wrapping_add(i * self.stride));
            if i + AHEAD < self.rows.len() {
                let ahead = self.row(i + AHEAD).cast::<u8>();
                (0..asked).step_by(LINE).for_each(|at| V::prefetch(ahead.wrapping_add(at)));
            }
            // SAFETY: the caller's word.
            unsafe {
                if self.columns == 1 {
                    *to = *from;
                    continue;
                }
                if self.columns < T::LANES {
                    V::load_up_to(from, self.columns).store_up_to(to, self.columns);
                    continue;
                }
                // The last vector ends with the row, over what is there from the one before.
                let last = self.columns - T::LANES;
                for k in (0..last).step_by(T::LANES) {
                    V::load(from.add(k)).store(to.add(k));
                }
                V::load(from.add(last)).store(to.add(last));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_copied_in_their_order_and_nothing_beyond_them_is_touched() {
        let rows: Vec<u32> = (0..23).map(|i| i * 7 % 23).collect();
        for isa in Isa::available() {
            for columns in 1..=70 {
                let numbers: Vec<f32> = (0..23 * columns).map(|i| i as f32 + 0.5).collect();
                let stride = columns + 3;
                for picked in [None, Some(&rows[..])] {
                    let mut to = vec![-1.0; rows.len() * stride];
                    Lent::from(&numbers[..]).copy_rows(isa, (23, columns), (&rows, picked), &mut to, stride);
                    for (i, &row) in rows.iter().enumerate() {
                        let row = picked.map_or(row, |picked| picked[row as usize]) as usize;
                        assert_eq!(
                            to[i * stride..][..columns],
                            numbers[row * columns..][..columns],
                            "{isa:?} {columns}"
                        );
                        assert_eq!(to[i * stride + columns..][..3], [-1.0; 3], "{isa:?} {columns}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_that_is_not_there_is_not_read() {
        let numbers = [1.0f64; 12];
        let copies = |n_rows: usize, rows: [u32; 2], room: usize| {
            let copy = || {
                let mut to = vec![0.0; room];
                Lent::from(&numbers[..]).copy_rows(Isa::SCALAR, (n_rows, 4), (&rows, None), &mut to, 4);
            };
            std::panic::catch_unwind(copy).is_ok()
        };
        assert!(copies(3, [0, 2], 8));
        assert!(!copies(3, [0, 3], 8) && !copies(3, [u32::MAX, 0], 8));
        assert!(!copies(4, [0, 2], 8) && !copies(usize::MAX, [0, 2], 8) && !copies(3, [0, 2], 7));
    }

    #[test]
    fn to_ask_for_rows_that_are_not_there_is_no_mistake() {
        let numbers = vec![1.0f32; NEAR / 4 + 8];
        let n_rows = numbers.len() / 7;
        let lent = Lent::from(&numbers[..]);
        lent.ask_for_rows((n_rows, 7), (&[0, n_rows as u32 - 1, n_rows as u32, u32::MAX], None));
        lent.ask_for_rows((n_rows, 7), (&[0, 1, 2, u32::MAX], Some(&[5, u32::MAX])));
        lent.ask_for_rows((usize::MAX, usize::MAX), (&[0, 1], None));
        lent.ask_for_rows((n_rows, 0), (&[0, 1], None));
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        let numbers = [1.0f64; 5];
        let lent = Lent::from(&numbers[..]);
        for (start, len) in [(0, 6), (5, 1), (usize::MAX, 2), (3, 3)] {
            let read = std::panic::catch_unwind(|| lent.copy_to(start, &mut vec![0.0; len]));
            assert!(read.is_err(), "{len} from {start} on");
            assert!(std::panic::catch_unwind(|| lent.all_finite(Isa::SCALAR, 0..6)).is_err());
        }
        lent.copy_to(5, &mut []);
        assert!(lent.all_finite(Isa::SCALAR, 5..5));
    }

    #[test]
    fn parts_are_finite_on_their_own() {
        let mut numbers = [1.0f32; 100];
        numbers[50] = f32::NAN;
        for isa in Isa::available() {
            let lent = Lent::from(&numbers[..]);
            assert!(lent.all_finite(isa, 0..50) && lent.all_finite(isa, 51..100) && !lent.all_finite(isa, 50..51));
        }
    }
}

//! Numbers in memory of somebody else, who may write them while we read: a user's array during a call.
//!
//! In: a slice, once. Out: copies of parts of it. No reference to the numbers is kept, and nothing is decided by reading
//! one of them twice: whoever writes meanwhile changes which number is copied, and nothing else. Every pattern of bits
//! is a number of our types.

use crate::Real;
use crate::isa::Isa;
use crate::rows::finite_at;
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

#[cfg(test)]
mod tests {
    use super::*;

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

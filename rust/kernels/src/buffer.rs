//! Storage that starts on a cache line and is zero at first.
//!
//! In: a length. Out: a slice. It never aborts: a length that can't be had is an error to be named by the caller.

use crate::Real;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a cache line, and of the longest vector.
const LINE: usize = 64;
/// Bytes of a large page. A block of several of them starts on one, so that the system can back it with large pages:
/// a panel of weights then needs a few entries of the address table where 4 KiB pages need one for every row.
const LARGE_PAGE: usize = 2 << 20;

/// `n` rounded up to whole vectors: the length of a padded row.
pub fn padded<T: Real>(n: usize) -> usize {
    n.next_multiple_of(T::LANES)
}

/// From one padded row to the next: [`padded`], and one vector more where rows would lie a multiple of 2 KiB apart.
///
/// Rows at such distances compete for the same few lines of the first-level cache (the draft of the tile fell from
/// 160 to 25 GF/s at 1024 columns).
pub fn row_stride<T: Real>(n: usize) -> usize {
    let n = padded::<T>(n);
    if n > 0 && (n * size_of::<T>()).is_multiple_of(2048) { n + T::LANES } else { n }
}

/// A fixed number of elements, aligned to 64 bytes, zero when made.
///
/// # Examples
/// ```
/// use dnn_kernels::Buffer;
/// let mut b = Buffer::<f32>::zeroed(3).expect("three numbers fit");
/// b[1] = 2.0;
/// assert_eq!(&b[..], [0.0, 2.0, 0.0]);
/// assert!(Buffer::<f64>::zeroed(usize::MAX).is_none());
/// ```
pub struct Buffer<T: Real> {
    start: NonNull<T>,
    len: usize,
}

impl<T: Real> Buffer<T> {
    /// `len` zeros; `None` where the system does not have the memory.
    pub fn zeroed(len: usize) -> Option<Buffer<T>> {
        if len == 0 {
            return Some(Buffer { start: NonNull::dangling(), len: 0 });
        }
        // SAFETY: the layout has a size, and all bits zero is the number zero.
        let start = unsafe { alloc_zeroed(Self::layout(len)?) };
        NonNull::new(start.cast()).map(|start| Buffer { start, len })
    }

    /// The same numbers in storage of their own; `None` as for [`Buffer::zeroed`].
    pub fn duplicate(&self) -> Option<Buffer<T>> {
        let mut copy = Buffer::zeroed(self.len)?;
        copy.copy_from_slice(self);
        Some(copy)
    }

    fn layout(len: usize) -> Option<Layout> {
        let bytes = len.checked_mul(size_of::<T>())?;
        let align = if bytes >= 2 * LARGE_PAGE { LARGE_PAGE } else { LINE };
        Layout::from_size_align(bytes, align).ok()
    }
}

impl<T: Real> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len > 0
            && let Some(layout) = Self::layout(self.len)
        {
            // SAFETY: allocated in `zeroed` with this layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) }
        }
    }
}

impl<T: Real> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised elements, owned by `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Real> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `len` initialised elements, owned by `self`, borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Real> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer of {} {}", self.len, T::NAME)
    }
}

// SAFETY: a buffer owns its elements, which are plain numbers.
unsafe impl<T: Real> Send for Buffer<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Real> Sync for Buffer<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_is_zero() {
        for len in [1, 15, 16, 17, 1000, 2_000_000] {
            let b = Buffer::<f32>::zeroed(len).expect("fits");
            assert_eq!(b.as_ptr() as usize % LINE, 0);
            assert!(b.iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn too_large_is_none_and_nothing_is_an_empty_slice() {
        assert!(Buffer::<f32>::zeroed(usize::MAX / 2).is_none());
        assert!(Buffer::<f32>::zeroed(0).expect("fits").is_empty());
    }
}

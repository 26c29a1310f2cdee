//! Storage that starts on a cache line and is zero at first.
//!
//! In: a length. Out: a slice. It never aborts: a length that can't be had is an error to be named by the caller.

use crate::Real;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a cache line, and of the longest vector.
const LINE: usize = 64;
/// Bytes of a large page. A block as long starts on one, so that the system can back it with large pages: a panel of
/// weights then needs a few entries of the address table where 4 KiB pages need one for every row. (A step of 784-512-512-10
/// whose weights are 2.7 MB takes 4 to 8 % less time than with pages of 4 KiB.)
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// `n` rounded up to whole vectors: the length of a padded row.
#[inline(always)]
pub fn padded<T: Real>(n: usize) -> usize {
    n.next_multiple_of(T::LANES)
}

/// From one padded row to the next: [`padded`], and one vector more where rows would lie a multiple of 2 KiB apart.
///
/// Rows at such distances compete for the same few lines of the first-level cache (a tile of 1024 columns fell from
/// 160 to 25 GF/s).
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
    /// What was allocated: `start` is its first address with the alignment.
    allocation: Option<(NonNull<u8>, Layout)>,
    /// Whether the system gave it, and not the allocator.
    is_mapped: bool,
}

impl<T: Real> Buffer<T> {
    /// No numbers.
    pub fn empty() -> Buffer<T> {
        Buffer { start: NonNull::dangling(), len: 0, allocation: None, is_mapped: false }
    }

    /// `len` zeros; `None` where the system does not have the memory.
    pub fn zeroed(len: usize) -> Option<Buffer<T>> {
        Buffer::make(len, true)
    }

    /// The same, for numbers few of which will be touched: what lies around those is not there. On Linux it comes from the
    /// system itself: the C library gives out again what a program has had and freed, however large, and zeroes it first (in
    /// fits of 11 steps of 2000-2000-1 at one row a gradient that nobody writes took a quarter of the time).
    pub fn sparse(len: usize) -> Option<Buffer<T>> {
        Buffer::make(len, false)
    }

    fn make(len: usize, in_large_pages: bool) -> Option<Buffer<T>> {
        if len == 0 {
            return Some(Buffer::empty());
        }
        let bytes = len.checked_mul(size_of::<T>())?;
        let in_pages = bytes.checked_next_multiple_of(LARGE_PAGE)?;
        // The last page is a large one where no more than a quarter of it is left over.
        let bytes = if in_pages - bytes <= LARGE_PAGE / 4 { in_pages } else { bytes };
        let align = if bytes >= LARGE_PAGE { LARGE_PAGE } else { LINE };
        // An ordinary alignment, and room to move the start: only then fresh memory of the system is known to be zero
        // and not written once more (157 MB took 120 ms, half of it that).
        let layout = Layout::from_size_align(bytes.checked_add(align)?, 16).ok()?;
        let is_mapped = align == LARGE_PAGE && !in_large_pages && system::MAPS;
        let base = if is_mapped {
            system::map(layout.size())?
        } else {
            // SAFETY: the layout has a size.
            NonNull::new(unsafe { alloc_zeroed(layout) })?
        };
        let offset = base.addr().get().next_multiple_of(align) - base.addr().get();
        // SAFETY: the offset is below `align`, by which the allocation is longer than the numbers; all bits zero is 0.
        let start = unsafe { base.add(offset) };
        if align == LARGE_PAGE {
            system::advise(start.as_ptr(), bytes, in_large_pages);
        }
        Some(Buffer { start: start.cast(), len, allocation: Some((base, layout)), is_mapped })
    }

    /// The same numbers in storage of their own; `None` as for [`Buffer::zeroed`].
    pub fn duplicate(&self) -> Option<Buffer<T>> {
        let mut copy = Buffer::zeroed(self.len)?;
        copy.copy_from_slice(self);
        Some(copy)
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod system {
    use super::LARGE_PAGE;
    use std::ffi::{c_int, c_long, c_void};
    use std::ptr::NonNull;

    /// Whether [`map`] gives memory.
    pub const MAPS: bool = true;
    /// From linux/mman.h, as on every processor that this module is for.
    const PROT_READ_WRITE: c_int = 3;
    const MAP_PRIVATE_ANONYMOUS: c_int = 0x22;
    const MADV_HUGEPAGE: c_int = 14;
    const MADV_NOHUGEPAGE: c_int = 15;

    unsafe extern "C" {
        // Of the C library that `std` is linked with.
        fn mmap(at: *mut c_void, bytes: usize, access: c_int, kind: c_int, file: c_int, from: c_long) -> *mut c_void;
        fn munmap(start: *mut c_void, bytes: usize) -> c_int;
        fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    }

    /// So many bytes of zeros; `None` where the system does not have them.
    pub fn map(bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: new memory, wherever the system puts it.
        let base = unsafe { mmap(std::ptr::null_mut(), bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0) };
        // All bits are set where it failed.
        if base.addr() == usize::MAX { None } else { NonNull::new(base.cast()) }
    }

    /// Gives back what [`map`] gave.
    ///
    /// # Safety
    /// It did, so many bytes of it, and nobody has them any more.
    pub unsafe fn unmap(base: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's word.
        let _cannot_fail = unsafe { munmap(base.as_ptr().cast(), bytes) };
    }

    /// Tells the system whether these bytes, not touched yet, are worth large pages. It may not listen.
    pub fn advise(start: *mut u8, bytes: usize, large_pages: bool) {
        let advice = if large_pages { MADV_HUGEPAGE } else { MADV_NOHUGEPAGE };
        // SAFETY: whole pages of an allocation of ours; the advice changes nothing that a program can see.
        let _may_be_refused = unsafe { madvise(start.cast(), bytes / LARGE_PAGE * LARGE_PAGE, advice) };
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod system {
    use std::ptr::NonNull;

    pub const MAPS: bool = false;
    pub fn map(_bytes: usize) -> Option<NonNull<u8>> {
        None
    }
    pub unsafe fn unmap(_base: NonNull<u8>, _bytes: usize) {}
    pub fn advise(_start: *mut u8, _bytes: usize, _large_pages: bool) {}
}

impl<T: Real> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some((base, layout)) = self.allocation {
            // SAFETY: allocated in `make` with this layout, in one of the two ways.
            unsafe { if self.is_mapped { system::unmap(base, layout.size()) } else { dealloc(base.as_ptr(), layout) } }
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

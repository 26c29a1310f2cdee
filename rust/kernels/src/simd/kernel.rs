//! Kernels, and how they are run: compiled once for every instruction set, one of which is chosen here.
//!
//! In: a [`Kernel`]. Out: what its `run` returns.

use super::{Real, Vector, starts};
use crate::isa::{Isa, Name};

/// An inner loop: a struct of its arguments, whose `run` is compiled once for every instruction set.
///
/// `run`, and everything it calls that takes a [`Vector`], must be `#[inline(always)]`: the instructions of a set may
/// only be inlined into a function that enables them, and [`run`] is where such functions are.
pub trait Kernel<T: Real> {
    type Output;
    /// # Safety
    /// As the implementor says; the safe entries of this crate check it.
    unsafe fn run<V: Vector<Elem = T>>(self) -> Self::Output;
}

/// A kernel that treats all vectors of some slices alike.
pub trait Each<T: Real> {
    /// Elements `i..i + n`, a whole vector or the tail.
    ///
    /// # Safety
    /// As for the kernel; `n` is at most the lanes.
    unsafe fn each<V: Vector<Elem = T>>(&self, i: usize, n: usize);

    /// Where the elements are, if any, that it changes and other threads read between two steps; else null.
    fn contended(&self) -> *mut T {
        std::ptr::null_mut()
    }
}

/// How many vectors before one is changed its cache line is asked for, where other cores may have it: stores wait for their
/// lines one after the other. (On two threads whose processors are far apart, the step of Adam of 64-128-64-10 took 20 us, where
/// one thread takes 9, and takes 6.6 now.)
const VECTORS_AHEAD: usize = 32;

/// Asks for the cache line at `at` to be brought nearer and for other cores to give it up. Changes nothing else.
#[inline(always)]
pub fn ask_to_write<T>(at: *mut T) {
    // The intrinsic asks for a line to read, unless the compiler is told that the processor has this instruction. Those
    // that do not have it take it for nothing.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, whatever the address.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Asks for the cache line at `at`, to be read soon but not next: not as near as to crowd out what is worked on. Changes nothing.
#[inline(always)]
pub fn ask_to_read(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, whatever the address; every processor of this architecture has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// All `len` elements. The tail is apart from the loop: with the question inside, vectors went through memory, and Adam
/// took 0.84 instead of 0.55 ns a parameter.
///
/// # Safety
/// As for the kernel.
#[inline(always)]
pub unsafe fn all_of<V: Vector, K: Each<V::Elem>>(kernel: &K, len: usize) {
    let lanes = V::Elem::LANES;
    let whole = len / lanes * lanes;
    // SAFETY: the caller's word; vectors lie within `len`.
    unsafe {
        if V::CALLS {
            // Once is code enough.
            for i in starts::<V::Elem>(len) {
                kernel.each::<V>(i, lanes.min(len - i));
            }
            return;
        }
        let contended = kernel.contended();
        for i in starts::<V::Elem>(whole) {
            let ahead = i + VECTORS_AHEAD * lanes;
            // Nothing behind the last one: it may be another thread's to change.
            if ahead < whole && !contended.is_null() {
                ask_to_write(contended.add(ahead));
            }
            kernel.each::<V>(i, lanes);
        }
        if whole < len {
            kernel.each::<V>(whole, len - whole);
        }
    }
}

/// Runs a kernel with the instructions of `isa`.
///
/// # Safety
/// As the kernel's `run` says.
#[inline]
pub unsafe fn run<T: Real, K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output {
    // SAFETY: an `Isa` exists only for a set that this processor has; the rest is the caller's word.
    unsafe { run_apart(isa.name, kernel) }
}

/// The same for a kernel that others run, when its code would be in each of them: it stays a function of its own.
///
/// # Safety
/// As the kernel's `run` says, and the processor has this set.
#[inline]
pub unsafe fn run_apart<T: Real, K: Kernel<T>>(set: Name, kernel: K) -> K::Output {
    // SAFETY: the caller's word.
    unsafe {
        match set {
            #[cfg(target_arch = "x86_64")]
            Name::Avx512 => with_avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Name::Avx2 => with_avx2(kernel),
            Name::Scalar => with_scalar(kernel),
        }
    }
}

/// A function of its own: callers that are compiled several times would each have another copy.
///
/// # Safety
/// As the kernel's `run` says.
#[inline(never)]
unsafe fn with_scalar<T: Real, K: Kernel<T>>(kernel: K) -> K::Output {
    // SAFETY: the caller's word.
    unsafe { kernel.run::<T::Scalar>() }
}

/// # Safety
/// As the kernel's `run` says, and the processor has these instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[inline(never)]
unsafe fn with_avx512<T: Real, K: Kernel<T>>(kernel: K) -> K::Output {
    // SAFETY: the caller's word.
    unsafe { kernel.run::<T::Avx512>() }
}

/// # Safety
/// As the kernel's `run` says, and the processor has these instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn with_avx2<T: Real, K: Kernel<T>>(kernel: K) -> K::Output {
    // SAFETY: the caller's word.
    unsafe { kernel.run::<T::Avx2>() }
}

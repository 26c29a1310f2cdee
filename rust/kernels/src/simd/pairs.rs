//! Pairs of bfloat16 in vectors of `f32`: which sets have them, and how a kernel for them is run.
//!
//! In: a [`Bf16Kernel`]. Out: what it returns, compiled for the sets that round to bfloat16; the others don't have the trait.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{Vector, scalar};
use crate::amx::Unit;
use crate::isa::Isa;
use crate::isa::Name;

/// A vector of `f32` that also holds 16 pairs of bfloat16, in its lower and upper halves of 32 bits.
///
/// Rounding to bfloat16 is to the nearest, ties to even; numbers below the smallest normal one count as 0, as the
/// instructions have it. Sets without such instructions don't have the trait.
pub(crate) trait Bf16: Vector<Elem = f32> {
    /// What multiplies tiles beside vectors of this set.
    type Unit: Unit;
    /// The pairs of neighbours: lanes 0 and 1, 2 and 3, ... of self, then those of `next`.
    fn pair_neighbours(self, next: Self) -> Self;
    /// Where there are pairs of neighbours in two vectors: in each lane the pair of what both had there, as of two rows, one
    /// above the other.
    fn of_both(self) -> Self;
    /// For pairs: the lower numbers and the upper ones, as `f32`.
    fn of_pairs(self) -> (Self, Self);
    /// For pairs: `c`, plus the product of the upper numbers, plus that of the lower ones, rounded after each.
    fn add_products(self, b: Self, c: Self) -> Self;
}

/// A kernel for vectors with pairs of bfloat16.
pub(crate) trait Bf16Kernel {
    type Output;
    /// # Safety
    /// As the implementor says.
    unsafe fn run_pairs<V: Bf16>(self) -> Self::Output;
}

/// Runs a kernel with the bfloat16 instructions of `isa`, which [has](Isa::has_bf16) them.
///
/// # Safety
/// As the kernel's `run_pairs` says.
pub(crate) unsafe fn run_pairs<K: Bf16Kernel>(isa: Isa, kernel: K) -> K::Output {
    debug_assert!(isa.has_bf16(), "the instructions are there");
    // SAFETY: `Isa::with_bf16` asked the processor, as `Isa::available` does for tiles; the rest is the caller's word.
    unsafe { run_pairs_apart(isa.name, kernel) }
}

/// The same for a kernel that others run: it stays a function of its own.
///
/// # Safety
/// As the kernel's `run_pairs` says, and the processor has the instructions.
pub(crate) unsafe fn run_pairs_apart<K: Bf16Kernel>(set: Name, kernel: K) -> K::Output {
    // SAFETY: the caller's word.
    unsafe {
        match set {
            #[cfg(target_arch = "x86_64")]
            Name::Avx512 => pairs_with_avx512(kernel),
            _ => pairs_with_scalar(kernel),
        }
    }
}

/// # Safety
/// As the kernel's `run_pairs` says.
#[inline(never)]
unsafe fn pairs_with_scalar<K: Bf16Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's word.
    unsafe { kernel.run_pairs::<scalar::F32x16>() }
}

/// # Safety
/// As the kernel's `run_pairs` says, and the processor has these instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
#[inline(never)]
unsafe fn pairs_with_avx512<K: Bf16Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's word.
    unsafe { kernel.run_pairs::<avx512::F32x16>() }
}

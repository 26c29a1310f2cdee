//! Long vectors: their dot product, their largest element, and a multiple of one added to another.
//!
//! In: slices of one length. Out: a number, or one of the slices. Products are added up in `f64`, in sixteen sums, one
//! for each place in a group of sixteen, then those in order; so the bits are the same on every instruction set.

use crate::Real;
use crate::isa::Isa;
use crate::rows::all_finite;
use crate::simd::{Kernel, Vector, run};

/// Places of a group: as many sums wait for no other, and fill the widest vector twice.
const PLACES: usize = 16;

struct Dot<'a, T> {
    a: &'a [T],
    b: &'a [T],
}

impl<T: Real> Kernel<T> for Dot<'_, T> {
    type Output = f64;
    // Plain loops, which the compiler turns into the vectors of the set: it may not reorder them, nor fuse.
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> f64 {
        let mut sums = [0.0f64; PLACES];
        let (a, b) = (self.a.chunks_exact(PLACES), self.b.chunks_exact(PLACES));
        let (a_rest, b_rest) = (a.remainder(), b.remainder());
        for (a, b) in a.zip(b) {
            for i in 0..PLACES {
                sums[i] += a[i].to_f64() * b[i].to_f64();
            }
        }
        for i in 0..a_rest.len() {
            sums[i] += a_rest[i].to_f64() * b_rest[i].to_f64();
        }
        sums.iter().sum()
    }
}

/// `sum of a_i b_i`, in `f64`.
///
/// # Panics
/// When the lengths differ.
pub fn dot<T: Real>(isa: Isa, a: &[T], b: &[T]) -> f64 {
    assert_eq!(a.len(), b.len(), "two vectors");
    // SAFETY: the kernel reads slices.
    unsafe { run(isa, Dot { a, b }) }
}

struct Largest<'a, T> {
    x: &'a [T],
}

impl<T: Real> Kernel<T> for Largest<'_, T> {
    type Output = f64;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> f64 {
        let mut most = [0.0f64; PLACES];
        for group in self.x.chunks(PLACES) {
            for (most, x) in most.iter_mut().zip(group) {
                let x = x.to_f64().abs();
                *most = if x > *most { x } else { *most };
            }
        }
        most.into_iter().fold(0.0, f64::max)
    }
}

/// The largest |x|, 0 of nothing; infinite where anything is infinite or NaN.
pub fn largest<T: Real>(isa: Isa, x: &[T]) -> f64 {
    if !all_finite(isa, x) {
        return f64::INFINITY;
    }
    // SAFETY: the kernel reads a slice.
    unsafe { run(isa, Largest { x }) }
}

struct AddMultiple<'a, T> {
    factor: f64,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> Kernel<T> for AddMultiple<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = T::from_f64(y.to_f64() + self.factor * x.to_f64());
        }
    }
}

/// `y <- y + factor x`, worked out in `f64` and rounded once to the type of the vectors.
///
/// # Panics
/// When the lengths differ.
pub fn add_multiple<T: Real>(isa: Isa, factor: f64, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "two vectors");
    // SAFETY: the kernel reads and writes slices.
    unsafe { run(isa, AddMultiple { factor, x, y }) }
}

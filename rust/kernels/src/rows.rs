//! Sums over slices, numbers of the other type, and whether all of a slice is finite.
//!
//! In: slices. Out: a number, or the converted numbers. The order of a sum is fixed, the same on every set.

use crate::Real;
use crate::isa::Isa;
use crate::simd::{Kernel, Vector, run};

/// The sum of x^2, in `f64`: sixteen sums, one for each place in a group of sixteen, then those in order.
pub(crate) struct SumOfSquares<'a, T>(pub &'a [T]);

impl<T: Real> Kernel<T> for SumOfSquares<'_, T> {
    type Output = f64;
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "an iterator over both arrays stays a call for each group: 1.7 ns a number"
    )]
    unsafe fn run<V: Vector<Elem = T>>(self) -> f64 {
        let mut sums = [0.0f64; 16];
        // Whole groups apart: the compiler makes vectors of those.
        let (groups, rest) = self.0.as_chunks::<16>();
        for group in groups {
            for i in 0..16 {
                let x = group[i].to_f64();
                sums[i] += x * x;
            }
        }
        for i in 0..rest.len() {
            let x = rest[i].to_f64();
            sums[i] += x * x;
        }
        let mut total = sums[0];
        for i in 1..16 {
            total += sums[i];
        }
        total
    }
}

/// The sum of the squares, in `f64`: sixteen sums, one for each place in a group of sixteen, then those in order.
pub fn sum_of_squares<T: Real>(isa: Isa, x: &[T]) -> f64 {
    // SAFETY: the kernel reads a slice.
    unsafe { run(isa, SumOfSquares(x)) }
}

struct AllFinite<T> {
    x: *const T,
    n: usize,
}

impl<T: Real> Kernel<T> for AllFinite<T> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        // 0 times a finite number is 0, times anything else NaN; four sums, so that they need not wait for each other.
        let mut sums = [V::zero(); 4];
        let group = 4 * T::LANES;
        let whole = self.n / group * group;
        // SAFETY: all reads lie within the `n` numbers for which the caller vouches.
        unsafe {
            for i in (0..whole).step_by(group) {
                for (part, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(self.x.add(i + part * T::LANES)).fma(V::zero(), *sum);
                }
            }
            for i in (whole..self.n).step_by(T::LANES) {
                sums[0] = V::load_up_to(self.x.add(i), T::LANES.min(self.n - i)).fma(V::zero(), sums[0]);
            }
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum_lanes() == 0.0
    }
}

/// Whether no number is infinite or NaN.
pub fn all_finite<T: Real>(isa: Isa, x: &[T]) -> bool {
    // SAFETY: pointer and length are those of the slice.
    unsafe { finite_at(isa, x.as_ptr(), x.len()) }
}

/// Whether none of the `n` numbers at `x` is infinite or NaN.
///
/// # Safety
/// `x` is valid for reads of `n` numbers.
pub(crate) unsafe fn finite_at<T: Real>(isa: Isa, x: *const T, n: usize) -> bool {
    // SAFETY: the caller's word.
    unsafe { run(isa, AllFinite { x, n }) }
}

struct Convert<'a, T: Real> {
    from: &'a [T::Other],
    to: &'a mut [T],
}

impl<T: Real> Kernel<T> for Convert<'_, T> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = T::from_f64(from.to_f64());
        }
        // SAFETY: pointer and length are those of the slice.
        unsafe { AllFinite { x: self.to.as_ptr(), n: self.to.len() }.run::<V>() }
    }
}

/// Writes the nearest numbers of this type, and tells whether all of them are finite.
///
/// # Panics
/// When the lengths differ.
pub fn convert<T: Real>(isa: Isa, from: &[T::Other], to: &mut [T]) -> bool {
    assert_eq!(from.len(), to.len(), "lengths of what is converted");
    // SAFETY: the kernel reads and writes slices.
    unsafe { run(isa, Convert { from, to }) }
}

struct Scale<'a, A, T> {
    from: &'a [A],
    center: &'a [f64],
    scale: &'a [f64],
    to: &'a mut [T],
}

impl<A: Real, T: Real> Kernel<T> for Scale<'_, A, T> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        for (to, from) in self.to.chunks_mut(self.center.len()).zip(self.from.chunks(self.center.len())) {
            let n = to.len();
            let (from, center, scale) = (&from[..n], &self.center[..n], &self.scale[..n]);
            for i in 0..n {
                to[i] = T::from_f64((from[i].to_f64() - center[i]) / scale[i]);
            }
        }
        // SAFETY: pointer and length are those of the slice.
        unsafe { AllFinite { x: self.to.as_ptr(), n: self.to.len() }.run::<V>() }
    }
}

/// Writes (x - center) / scale, computed in `f64`, centers and scales again and again, and tells whether all are finite.
///
/// # Panics
/// When the lengths differ, or there are no centers.
pub fn convert_scaled<A: Real, T: Real>(isa: Isa, from: &[A], center: &[f64], scale: &[f64], to: &mut [T]) -> bool {
    assert!(from.len() == to.len() && center.len() == scale.len(), "lengths of what is scaled");
    // SAFETY: the kernel reads and writes slices.
    unsafe { run(isa, Scale { from, center, scale, to }) }
}

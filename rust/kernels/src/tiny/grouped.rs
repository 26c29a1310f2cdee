//! Products and sums where a batch has four rows at most: a vector holds them for several units, a group of lanes for each.
//!
//! In: pointers and sizes that the entries have checked, as in `product.rs`. Out: tables of the same kind, or rows of a weight
//! gradient.
//! Rows alone would leave most lanes empty: an epoch of 2-4-1 on four rows took half as long again so.

use super::product::Product;
use crate::Real;
use crate::narrow::DOTS_INPUTS;
use crate::simd::{GROUP, MAX_LANES, Starts, Vector, starts};

impl<T: Real> Product<T> {
    /// `C = start + A B` where the rows of B and C are groups, one behind the other, and a row or a column of A is one of neighbours.
    ///
    /// # Safety
    /// As for [`run`](crate::simd::Kernel::run); whole vectors can be read at the start, and of rows of A groups.
    #[inline(always)]
    pub(super) unsafe fn run_grouped<V: Vector<Elem = T>>(&self) {
        let &Product { m, k, a, a_strides: (of_unit, of_input), start, b, c, .. } = self;
        debug_assert!(
            self.width == GROUP && [self.b_stride, self.c_stride] == [GROUP; 2] && !self.accumulate,
            "groups"
        );
        let units = T::LANES / GROUP;
        // SAFETY: the caller's word.
        unsafe {
            for i in (Starts { next: 0, end: m, by: units }) {
                let mut sum = if start.is_null() { V::zero() } else { V::spread(start.add(i)) };
                if of_unit == 1 {
                    for k in 0..k {
                        sum = V::spread(a.add(i + k * of_input)).fma(V::repeat(b.add(k * GROUP)), sum);
                    }
                } else {
                    for k0 in (Starts { next: 0, end: k, by: GROUP }) {
                        let a = V::rows_of_groups(a.add(i * of_unit + k0), of_unit, m - 1 - i);
                        // All of them by number, where a lane is known to an instruction.
                        for q in 0..if V::CALLS { GROUP.min(k - k0) } else { GROUP } {
                            if k0 + q < k {
                                sum = a.within(q).fma(V::repeat(b.add((k0 + q) * GROUP)), sum);
                            }
                        }
                    }
                }
                sum.store(c.add(i * GROUP));
            }
        }
    }

    /// The same of a way forward, with the bits of other kernels: where there is a row of many weights for each output, they sum in
    /// lanes, as `narrow.rs` does.
    ///
    /// # Safety
    /// As for `run_grouped`.
    #[inline(always)]
    pub(super) unsafe fn run_grouped_forward<V: Vector<Elem = T>>(&self) {
        // SAFETY: the caller's word.
        unsafe {
            if self.a_strides.1 == 1 && self.k >= DOTS_INPUTS { self.dots::<V>() } else { self.run_grouped::<V>() }
        }
    }

    /// Sums in the lanes that inputs have in a vector of them, which here is four vectors, and then of lanes in halves.
    ///
    /// # Safety
    /// As for `run_grouped`.
    #[inline(always)]
    unsafe fn dots<V: Vector<Elem = T>>(&self) {
        let &Product { m, k, a, a_strides: (of_unit, _), start, b, c, .. } = self;
        let units = T::LANES / GROUP;
        // SAFETY: the caller's word.
        unsafe {
            for i in 0..m {
                let mut sums = [V::zero(); GROUP];
                for k0 in starts::<T>(k) {
                    let end = if V::CALLS { (k - k0).div_ceil(units) } else { GROUP };
                    for (q, sum) in sums.iter_mut().enumerate().take(end) {
                        let k0 = k0 + q * units;
                        if k0 < k {
                            // Behind the last input anything may lie.
                            let real = V::first_lanes(T::LANES.min((k - k0) * GROUP));
                            let b = V::select(real, V::load(b.add(k0 * GROUP)), V::zero());
                            *sum = V::spread(a.add(i * of_unit + k0)).fma(b, *sum);
                        }
                    }
                }
                let mut sum = sums[0].add(sums[2]).add(sums[1].add(sums[3]));
                let mut lanes = [T::ZERO; 2 * MAX_LANES];
                let mut half = T::LANES / 2;
                while half >= GROUP {
                    sum.store(lanes.as_mut_ptr());
                    sum = sum.add(V::load(lanes.as_ptr().add(half)));
                    half /= 2;
                }
                let start = if start.is_null() { V::zero() } else { V::splat(*start.add(i)) };
                let (sum, to) = (start.add(sum), c.add(i * GROUP));
                // The table of a single unit has room for a vector, which is read again as one.
                if m > 1 { sum.store_first(to, GROUP) } else { sum.store(to) }
            }
        }
    }
}

/// `to[j] = sum over the rows of x delta[j]` for the groups of `n` units beside each other.
///
/// # Safety
/// Whole vectors can be read of delta, and written at `to`.
#[inline(always)]
pub(super) unsafe fn gradient_row<V: Vector>(
    x: V,
    delta: *const V::Elem,
    n: usize,
    accumulate: bool,
    to: *mut V::Elem,
) {
    let (lanes, units) = (V::Elem::LANES, V::Elem::LANES / GROUP);
    // SAFETY: the caller's word.
    unsafe {
        for j in starts::<V::Elem>(n) {
            let (delta, left) = (delta.add(j * GROUP), n - j);
            let first = x.mul(V::load(delta));
            let sums = if left <= units {
                V::sum_groups([first, V::zero(), V::zero(), V::zero()])
            } else {
                let mut all = [first, V::zero(), V::zero(), V::zero()];
                let end = if V::CALLS { left.div_ceil(units) } else { GROUP };
                for (q, part) in all.iter_mut().enumerate().take(end).skip(1) {
                    if q * units < left {
                        *part = x.mul(V::load(delta.add(q * lanes)));
                    }
                }
                V::sum_groups(all)
            };
            // Lanes that are padding have come from anything.
            let sums = V::select(V::first_lanes(lanes.min(left)), sums, V::zero());
            let to = to.add(j);
            (if accumulate { V::load(to).add(sums) } else { sums }).store(to);
        }
    }
}

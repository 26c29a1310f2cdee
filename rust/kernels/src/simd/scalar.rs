//! Vectors as arrays, in plain Rust: the twin that the other sets are tested against.
//!
//! `mul_add` is exact on every machine; where the processor lacks the instruction it is a slow call.
//! Its methods are functions of their own, and so is what is made of them (`function!`): unrolled over the lanes in
//! every kernel, this twin was 60 % of the library.

use super::{Bf16, GROUP, Vector};
use crate::amx::Twin;
use crate::isa::Name;

macro_rules! scalar_vector {
    ($vector:ident, $elem:ty, $lanes:literal, $bits:ty, $fraction:literal, $bias:literal) => {
        #[doc = concat!("An array of ", $lanes, " numbers.")]
        #[derive(Clone, Copy)]
        pub struct $vector([$elem; $lanes]);

        impl $vector {
            #[inline(always)]
            fn map2(self, b: Self, f: impl Fn($elem, $elem) -> $elem) -> Self {
                $vector(std::array::from_fn(|i| f(self.0[i], b.0[i])))
            }
            #[inline(always)]
            fn map_words(self, b: Self, f: impl Fn(u64, u64) -> u64) -> Self {
                // SAFETY: all vectors have 64 bytes, and any bits are a number.
                unsafe {
                    let words = |x: Self| std::mem::transmute::<Self, [u64; 8]>(x);
                    let (x, y) = (words(self), words(b));
                    std::mem::transmute::<[u64; 8], Self>(std::array::from_fn(|i| f(x[i], y[i])))
                }
            }
            #[inline(always)]
            fn map_bits(self, b: Self, f: impl Fn($bits, $bits) -> $bits) -> Self {
                self.map2(b, |x, y| <$elem>::from_bits(f(x.to_bits(), y.to_bits())))
            }
        }

        impl Vector for $vector {
            type Elem = $elem;
            type Mask = [bool; $lanes];
            const SET: Name = Name::Scalar;
            const TILE_VECTORS: usize = 1;
            const FRACTION_BITS: i32 = $fraction;
            const EXPONENT_BIAS: f64 = $bias;
            const CALLS: bool = true;

            #[inline(always)]
            fn splat(x: $elem) -> Self {
                $vector([x; $lanes])
            }
            #[inline(never)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the caller vouches for `from`; an array has the alignment of its element.
                $vector(unsafe { from.cast::<[$elem; $lanes]>().read() })
            }
            #[inline(never)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: as in `load`.
                unsafe { to.cast::<[$elem; $lanes]>().write(self.0) }
            }
            #[inline(never)]
            fn add(self, b: Self) -> Self {
                self.map2(b, |x, y| x + y)
            }
            #[inline(never)]
            fn sub(self, b: Self) -> Self {
                self.map2(b, |x, y| x - y)
            }
            #[inline(never)]
            fn mul(self, b: Self) -> Self {
                self.map2(b, |x, y| x * y)
            }
            #[inline(never)]
            fn div(self, b: Self) -> Self {
                self.map2(b, |x, y| x / y)
            }
            #[inline(never)]
            fn fma(self, b: Self, c: Self) -> Self {
                $vector(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
            }
            #[inline(never)]
            fn sqrt(self) -> Self {
                $vector(self.0.map(<$elem>::sqrt))
            }
            #[inline(never)]
            fn max(self, b: Self) -> Self {
                self.map2(b, |x, y| if x > y { x } else { y })
            }
            #[inline(never)]
            fn min(self, b: Self) -> Self {
                self.map2(b, |x, y| if x < y { x } else { y })
            }
            #[inline(never)]
            fn round(self) -> Self {
                $vector(self.0.map(<$elem>::round_ties_even))
            }
            #[inline(never)]
            fn lt(self, b: Self) -> Self::Mask {
                std::array::from_fn(|i| self.0[i] < b.0[i])
            }
            #[inline(never)]
            fn le(self, b: Self) -> Self::Mask {
                std::array::from_fn(|i| self.0[i] <= b.0[i])
            }
            #[inline(never)]
            fn not_nan(self) -> Self::Mask {
                self.0.map(|x| !x.is_nan())
            }
            #[inline(never)]
            fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
                $vector(std::array::from_fn(|i| if mask[i] { yes.0[i] } else { no.0[i] }))
            }
            #[inline(never)]
            fn and(self, b: Self) -> Self {
                self.map_bits(b, |x, y| x & y)
            }
            #[inline(never)]
            fn or(self, b: Self) -> Self {
                self.map_bits(b, |x, y| x | y)
            }
            #[inline(never)]
            fn xor(self, b: Self) -> Self {
                self.map_bits(b, |x, y| x ^ y)
            }
            #[inline(never)]
            fn shl_fraction(self) -> Self {
                self.map_bits(self, |x, _| x << $fraction)
            }
            #[inline(never)]
            fn shr_fraction(self) -> Self {
                self.map_bits(self, |x, _| x >> $fraction)
            }
            #[inline(never)]
            fn mul_words(self, b: Self) -> Self {
                self.map_words(b, |x, y| (x & 0xffff_ffff) * (y & 0xffff_ffff))
            }
            #[inline(never)]
            fn upper_words(self) -> Self {
                self.map_words(self, |x, _| x >> 32)
            }
            #[inline(never)]
            fn lift_words(self) -> Self {
                self.map_words(self, |x, _| x << 32)
            }
            #[inline(never)]
            unsafe fn spread(from: *const $elem) -> Self {
                // SAFETY: the caller vouches for a number for each group.
                $vector(std::array::from_fn(|i| unsafe { *from.add(i / GROUP) }))
            }
            #[inline(never)]
            unsafe fn repeat(from: *const $elem) -> Self {
                // SAFETY: the caller vouches for a group.
                $vector(std::array::from_fn(|i| unsafe { *from.add(i % GROUP) }))
            }
            #[inline(never)]
            unsafe fn rows_of_groups(from: *const $elem, stride: usize, last: usize) -> Self {
                // SAFETY: the caller vouches for the rows up to the last.
                let at = |i: usize| unsafe { *from.add((i / GROUP).min(last) * stride + i % GROUP) };
                $vector(std::array::from_fn(at))
            }
            #[inline(never)]
            fn within(self, k: usize) -> Self {
                $vector(std::array::from_fn(|i| self.0[i / GROUP * GROUP + k]))
            }
            #[inline(never)]
            fn sum_groups(vectors: [Self; GROUP]) -> Self {
                let groups = $lanes / GROUP;
                $vector(std::array::from_fn(|i| {
                    let x = &vectors[i / groups].0[i % groups * GROUP..][..GROUP];
                    (x[0] + x[2]) + (x[1] + x[3])
                }))
            }
            #[inline(always)]
            fn prefetch(_at: *const u8) {}
            #[inline(never)]
            unsafe fn turn(
                from: *const $elem,
                stride: usize,
                rows: usize,
                to: *mut $elem,
                to_stride: usize,
                columns: usize,
            ) {
                for k in 0..columns {
                    for j in 0..$lanes {
                        // SAFETY: the caller vouches for the rows of `from`, and for whole vectors at those of `to`.
                        unsafe {
                            *to.add(k * to_stride + j) = if j < rows { *from.add(j * stride + k) } else { 0.0 };
                        }
                    }
                }
            }
            #[inline(never)]
            unsafe fn load_first(from: *const $elem, n: usize, fill: $elem) -> Self {
                let mut lanes = [fill; $lanes];
                // SAFETY: `n <= LANES`, and the caller vouches for `from`.
                unsafe { std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n) };
                $vector(lanes)
            }
            #[inline(never)]
            unsafe fn store_first(self, to: *mut $elem, n: usize) {
                // SAFETY: `n <= LANES`, and the caller vouches for `to`.
                unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, n) }
            }
            #[inline(always)]
            unsafe fn load_up_to(from: *const $elem, n: usize) -> Self {
                // SAFETY: the caller's word.
                unsafe { Self::load_first(from, n, 0.0) }
            }
            #[inline(always)]
            unsafe fn store_up_to(self, to: *mut $elem, n: usize) {
                // SAFETY: the caller's word.
                unsafe { self.store_first(to, n) }
            }
            #[inline(never)]
            fn first_lanes(n: usize) -> Self::Mask {
                std::array::from_fn(|i| i < n)
            }
            #[inline(never)]
            fn neg(self) -> Self {
                $vector(self.0.map(|x| -x))
            }
            #[inline(never)]
            fn abs(self) -> Self {
                $vector(self.0.map(<$elem>::abs))
            }
            #[inline(never)]
            fn fnma(self, b: Self, c: Self) -> Self {
                $vector(std::array::from_fn(|i| (-self.0[i]).mul_add(b.0[i], c.0[i])))
            }
            #[inline(never)]
            fn fms(self, b: Self, c: Self) -> Self {
                $vector(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], -c.0[i])))
            }
            #[inline(never)]
            fn zip_low(self, b: Self) -> Self {
                $vector(std::array::from_fn(|i| if i % 2 == 0 { self.0[i / 2] } else { b.0[i / 2] }))
            }
            #[inline(never)]
            fn zip_high(self, b: Self) -> Self {
                let half = $lanes / 2;
                $vector(std::array::from_fn(|i| if i % 2 == 0 { self.0[half + i / 2] } else { b.0[half + i / 2] }))
            }
        }
    };
}

scalar_vector!(F32x16, f32, 16, u32, 23, 127.0);
scalar_vector!(F64x8, f64, 8, u64, 52, 1023.0);

/// The nearest bfloat16, ties to even, in the lower half of the result; numbers below the smallest normal one are 0.
fn to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) | 0x40;
    }
    if x.abs() < f32::MIN_POSITIVE {
        return (bits >> 16) & 0x8000;
    }
    (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
}

/// Numbers below the smallest normal one are 0.
pub(crate) fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

impl Bf16 for F32x16 {
    type Unit = Twin;

    #[inline(never)]
    fn pair_neighbours(self, next: Self) -> Self {
        let lane = |i: usize| if i < 16 { self.0[i] } else { next.0[i - 16] };
        F32x16(std::array::from_fn(|i| f32::from_bits(to_bf16(lane(2 * i)) | (to_bf16(lane(2 * i + 1)) << 16))))
    }
    #[inline(never)]
    fn of_both(self) -> Self {
        // Neighbour i is in lane i / 2, above where i is odd.
        let half = |i: usize| self.0[i / 2].to_bits() >> (i % 2 * 16) & 0xffff;
        F32x16(std::array::from_fn(|i| f32::from_bits(half(i) | half(i + 16) << 16)))
    }
    #[inline(never)]
    fn of_pairs(self) -> (Self, Self) {
        let (lower, upper) = (|x: f32| x.to_bits() << 16, |x: f32| x.to_bits() & 0xffff_0000);
        (F32x16(self.0.map(|x| f32::from_bits(lower(x)))), F32x16(self.0.map(|x| f32::from_bits(upper(x)))))
    }
    #[inline(never)]
    fn add_products(self, b: Self, c: Self) -> Self {
        let ((x_lower, x_upper), (y_lower, y_upper)) = (self.of_pairs(), b.of_pairs());
        F32x16(std::array::from_fn(|i| {
            let first = flushed(flushed(x_upper.0[i]).mul_add(flushed(y_upper.0[i]), flushed(c.0[i])));
            flushed(flushed(x_lower.0[i]).mul_add(flushed(y_lower.0[i]), first))
        }))
    }
}

//! AVX2 with FMA: a vector is two 256-bit registers, so that it has the lanes of an AVX-512 register.
//!
//! Every method is two or four instructions; they may only be reached through `simd::run` (see [`Vector`]).

use super::across::{sum_each_pd, sum_each_ps, sum_groups_pd, sum_groups_ps, turn_ps};
use super::{GROUP, Vector};
use crate::isa::Name;
use std::arch::x86_64::*;

/// All bits sixteen times, then none: from n before the middle on, what holds in the first n lanes.
static MASKS_OF_32_BITS: [[u32; 16]; 2] = [[u32::MAX; 16], [0; 16]];
/// As [`MASKS_OF_32_BITS`], for half as many lanes.
static MASKS_OF_64_BITS: [[u64; 8]; 2] = [[u64::MAX; 8], [0; 8]];

/// Twice 8 numbers in two registers.
#[derive(Clone, Copy)]
pub struct F32x16([__m256; 2]);

// SAFETY (every block): reached only through `simd::run`, which has a proof that the processor has AVX2 and FMA.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the same fact holds for each one-line block, and stands above")]
impl Vector for F32x16 {
    type Elem = f32;
    type Mask = [__m256; 2];
    const SET: Name = Name::Avx2;
    const TILE_VECTORS: usize = 1;
    const FRACTION_BITS: i32 = 23;
    const EXPONENT_BIAS: f64 = 127.0;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        F32x16(unsafe { [_mm256_set1_ps(x); 2] })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        F32x16(unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0[0]);
            _mm256_storeu_ps(to.add(8), self.0[1]);
        }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_add_ps(self.0[0], b.0[0]), _mm256_add_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_sub_ps(self.0[0], b.0[0]), _mm256_sub_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_mul_ps(self.0[0], b.0[0]), _mm256_mul_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_div_ps(self.0[0], b.0[0]), _mm256_div_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        F32x16(unsafe { [_mm256_fmadd_ps(self.0[0], b.0[0], c.0[0]), _mm256_fmadd_ps(self.0[1], b.0[1], c.0[1])] })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        F32x16(unsafe { [_mm256_sqrt_ps(self.0[0]), _mm256_sqrt_ps(self.0[1])] })
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_max_ps(self.0[0], b.0[0]), _mm256_max_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_min_ps(self.0[0], b.0[0]), _mm256_min_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn round(self) -> Self {
        F32x16(unsafe {
            [
                _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0[0]),
                _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0[1]),
            ]
        })
    }
    #[inline(always)]
    fn lt(self, b: Self) -> Self::Mask {
        unsafe { [_mm256_cmp_ps::<_CMP_LT_OQ>(self.0[0], b.0[0]), _mm256_cmp_ps::<_CMP_LT_OQ>(self.0[1], b.0[1])] }
    }
    #[inline(always)]
    fn le(self, b: Self) -> Self::Mask {
        unsafe { [_mm256_cmp_ps::<_CMP_LE_OQ>(self.0[0], b.0[0]), _mm256_cmp_ps::<_CMP_LE_OQ>(self.0[1], b.0[1])] }
    }
    #[inline(always)]
    fn not_nan(self) -> Self::Mask {
        unsafe {
            [_mm256_cmp_ps::<_CMP_ORD_Q>(self.0[0], self.0[0]), _mm256_cmp_ps::<_CMP_ORD_Q>(self.0[1], self.0[1])]
        }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        F32x16(unsafe { [_mm256_blendv_ps(no.0[0], yes.0[0], mask[0]), _mm256_blendv_ps(no.0[1], yes.0[1], mask[1])] })
    }
    #[inline(always)]
    fn and(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_and_ps(self.0[0], b.0[0]), _mm256_and_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn or(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_or_ps(self.0[0], b.0[0]), _mm256_or_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn xor(self, b: Self) -> Self {
        F32x16(unsafe { [_mm256_xor_ps(self.0[0], b.0[0]), _mm256_xor_ps(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn shl_fraction(self) -> Self {
        F32x16(unsafe {
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.0[0]))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn shr_fraction(self) -> Self {
        F32x16(unsafe {
            [
                _mm256_castsi256_ps(_mm256_srli_epi32::<23>(_mm256_castps_si256(self.0[0]))),
                _mm256_castsi256_ps(_mm256_srli_epi32::<23>(_mm256_castps_si256(self.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn mul_words(self, b: Self) -> Self {
        F32x16(unsafe {
            [
                _mm256_castsi256_ps(_mm256_mul_epu32(_mm256_castps_si256(self.0[0]), _mm256_castps_si256(b.0[0]))),
                _mm256_castsi256_ps(_mm256_mul_epu32(_mm256_castps_si256(self.0[1]), _mm256_castps_si256(b.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn upper_words(self) -> Self {
        F32x16(unsafe {
            [
                _mm256_castsi256_ps(_mm256_srli_epi64::<32>(_mm256_castps_si256(self.0[0]))),
                _mm256_castsi256_ps(_mm256_srli_epi64::<32>(_mm256_castps_si256(self.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn lift_words(self) -> Self {
        F32x16(unsafe {
            [
                _mm256_castsi256_ps(_mm256_slli_epi64::<32>(_mm256_castps_si256(self.0[0]))),
                _mm256_castsi256_ps(_mm256_slli_epi64::<32>(_mm256_castps_si256(self.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn zip_low(self, b: Self) -> Self {
        // Unpacking interleaves within each 128-bit half; then the halves are put in order.
        unsafe {
            let low = _mm256_unpacklo_ps(self.0[0], b.0[0]);
            let high = _mm256_unpackhi_ps(self.0[0], b.0[0]);
            F32x16([_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)])
        }
    }
    #[inline(always)]
    fn zip_high(self, b: Self) -> Self {
        // Unpacking interleaves within each 128-bit half; then the halves are put in order.
        unsafe {
            let low = _mm256_unpacklo_ps(self.0[1], b.0[1]);
            let high = _mm256_unpackhi_ps(self.0[1], b.0[1]);
            F32x16([_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)])
        }
    }
    #[inline(always)]
    unsafe fn spread(from: *const f32) -> Self {
        unsafe {
            let four = Self::repeat(from).0[0];
            let low = _mm256_permutevar_ps(four, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
            F32x16([low, _mm256_permutevar_ps(four, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3))])
        }
    }
    #[inline(always)]
    unsafe fn repeat(from: *const f32) -> Self {
        unsafe {
            let four = _mm_loadu_ps(from);
            F32x16([_mm256_set_m128(four, four); 2])
        }
    }
    #[inline(always)]
    unsafe fn rows_of_groups(from: *const f32, stride: usize, last: usize) -> Self {
        unsafe {
            let (a, b) = (_mm_loadu_ps(from), _mm_loadu_ps(from.add(last.min(1) * stride)));
            let (c, d) = (_mm_loadu_ps(from.add(last.min(2) * stride)), _mm_loadu_ps(from.add(last.min(3) * stride)));
            F32x16([_mm256_set_m128(b, a), _mm256_set_m128(d, c)])
        }
    }
    #[inline(always)]
    fn within(self, k: usize) -> Self {
        unsafe {
            let [a, b] = self.0;
            F32x16(match k {
                0 => [_mm256_permute_ps::<0x00>(a), _mm256_permute_ps::<0x00>(b)],
                1 => [_mm256_permute_ps::<0x55>(a), _mm256_permute_ps::<0x55>(b)],
                2 => [_mm256_permute_ps::<0xAA>(a), _mm256_permute_ps::<0xAA>(b)],
                _ => [_mm256_permute_ps::<0xFF>(a), _mm256_permute_ps::<0xFF>(b)],
            })
        }
    }
    #[inline(always)]
    fn sum_groups([a, b, c, d]: [Self; GROUP]) -> Self {
        unsafe {
            let low = sum_groups_ps([a.0[0], b.0[0], c.0[0], d.0[0]]);
            let high = sum_groups_ps([a.0[1], b.0[1], c.0[1], d.0[1]]);
            // Lane r of a group is the sum of that group of vector r: a square of four, to be turned.
            let (even, odd) = (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high));
            let (first, last) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
            F32x16([in_halves(first), in_halves(last)])
        }
    }
    #[inline(always)]
    fn sum_each(vectors: [Self; 8]) -> [f32; 8] {
        unsafe {
            let mut narrow = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                narrow[i] = _mm256_add_ps(vectors[i].0[0], vectors[i].0[1]);
            }
            sum_each_ps(narrow)
        }
    }
    #[inline(always)]
    fn flushed(self, limit: Self) -> Self {
        // Kept where the magnitude is not below the limit, NaN among them.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            let [a, b] = self.0;
            let keep_a = _mm256_cmp_ps::<_CMP_NLT_UQ>(_mm256_andnot_ps(sign, a), limit.0[0]);
            let keep_b = _mm256_cmp_ps::<_CMP_NLT_UQ>(_mm256_andnot_ps(sign, b), limit.0[1]);
            F32x16([_mm256_and_ps(a, keep_a), _mm256_and_ps(b, keep_b)])
        }
    }
    #[inline(always)]
    unsafe fn turn(from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize, columns: usize) {
        // Four squares of 8 x 8, each of which fits the registers.
        unsafe {
            let mut j = 0;
            while j < 16 {
                let mut k = 0;
                while k < columns {
                    let (from, to) = (from.add(j * stride + k), to.add(k * to_stride + j));
                    turn_ps(from, stride, rows.saturating_sub(j).min(8), to, to_stride, (columns - k).min(8));
                    k += 8;
                }
                j += 8;
            }
        }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize, fill: f32) -> Self {
        // A masked load does not touch what lies outside its mask.
        unsafe {
            let mask = Self::first_lanes(n);
            let low = _mm256_maskload_ps(from, _mm256_castps_si256(mask[0]));
            let high = _mm256_maskload_ps(from.wrapping_add(8), _mm256_castps_si256(mask[1]));
            Self::select(mask, Self([low, high]), Self::splat(fill))
        }
    }
    #[inline(always)]
    fn first_lanes(n: usize) -> Self::Mask {
        let masks = MASKS_OF_32_BITS.as_ptr().cast::<f32>();
        unsafe {
            let masks = masks.add(16 - n.min(16));
            [_mm256_loadu_ps(masks), _mm256_loadu_ps(masks.add(8))]
        }
    }
    #[inline(always)]
    fn prefetch(at: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

/// Twice 4 numbers in two registers.
#[derive(Clone, Copy)]
pub struct F64x8([__m256d; 2]);

// SAFETY (every block): reached only through `simd::run`, which has a proof that the processor has AVX2 and FMA.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the same fact holds for each one-line block, and stands above")]
impl Vector for F64x8 {
    type Elem = f64;
    type Mask = [__m256d; 2];
    const SET: Name = Name::Avx2;
    const TILE_VECTORS: usize = 1;
    const FRACTION_BITS: i32 = 52;
    const EXPONENT_BIAS: f64 = 1023.0;

    #[inline(always)]
    fn splat(x: f64) -> Self {
        F64x8(unsafe { [_mm256_set1_pd(x); 2] })
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        F64x8(unsafe { [_mm256_loadu_pd(from), _mm256_loadu_pd(from.add(4))] })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        unsafe {
            _mm256_storeu_pd(to, self.0[0]);
            _mm256_storeu_pd(to.add(4), self.0[1]);
        }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_add_pd(self.0[0], b.0[0]), _mm256_add_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_sub_pd(self.0[0], b.0[0]), _mm256_sub_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_mul_pd(self.0[0], b.0[0]), _mm256_mul_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_div_pd(self.0[0], b.0[0]), _mm256_div_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        F64x8(unsafe { [_mm256_fmadd_pd(self.0[0], b.0[0], c.0[0]), _mm256_fmadd_pd(self.0[1], b.0[1], c.0[1])] })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        F64x8(unsafe { [_mm256_sqrt_pd(self.0[0]), _mm256_sqrt_pd(self.0[1])] })
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_max_pd(self.0[0], b.0[0]), _mm256_max_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_min_pd(self.0[0], b.0[0]), _mm256_min_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn round(self) -> Self {
        F64x8(unsafe {
            [
                _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0[0]),
                _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0[1]),
            ]
        })
    }
    #[inline(always)]
    fn lt(self, b: Self) -> Self::Mask {
        unsafe { [_mm256_cmp_pd::<_CMP_LT_OQ>(self.0[0], b.0[0]), _mm256_cmp_pd::<_CMP_LT_OQ>(self.0[1], b.0[1])] }
    }
    #[inline(always)]
    fn le(self, b: Self) -> Self::Mask {
        unsafe { [_mm256_cmp_pd::<_CMP_LE_OQ>(self.0[0], b.0[0]), _mm256_cmp_pd::<_CMP_LE_OQ>(self.0[1], b.0[1])] }
    }
    #[inline(always)]
    fn not_nan(self) -> Self::Mask {
        unsafe {
            [_mm256_cmp_pd::<_CMP_ORD_Q>(self.0[0], self.0[0]), _mm256_cmp_pd::<_CMP_ORD_Q>(self.0[1], self.0[1])]
        }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        F64x8(unsafe { [_mm256_blendv_pd(no.0[0], yes.0[0], mask[0]), _mm256_blendv_pd(no.0[1], yes.0[1], mask[1])] })
    }
    #[inline(always)]
    fn and(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_and_pd(self.0[0], b.0[0]), _mm256_and_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn or(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_or_pd(self.0[0], b.0[0]), _mm256_or_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn xor(self, b: Self) -> Self {
        F64x8(unsafe { [_mm256_xor_pd(self.0[0], b.0[0]), _mm256_xor_pd(self.0[1], b.0[1])] })
    }
    #[inline(always)]
    fn shl_fraction(self) -> Self {
        F64x8(unsafe {
            [
                _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(self.0[0]))),
                _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(self.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn shr_fraction(self) -> Self {
        F64x8(unsafe {
            [
                _mm256_castsi256_pd(_mm256_srli_epi64::<52>(_mm256_castpd_si256(self.0[0]))),
                _mm256_castsi256_pd(_mm256_srli_epi64::<52>(_mm256_castpd_si256(self.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn mul_words(self, b: Self) -> Self {
        F64x8(unsafe {
            [
                _mm256_castsi256_pd(_mm256_mul_epu32(_mm256_castpd_si256(self.0[0]), _mm256_castpd_si256(b.0[0]))),
                _mm256_castsi256_pd(_mm256_mul_epu32(_mm256_castpd_si256(self.0[1]), _mm256_castpd_si256(b.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn upper_words(self) -> Self {
        F64x8(unsafe {
            [
                _mm256_castsi256_pd(_mm256_srli_epi64::<32>(_mm256_castpd_si256(self.0[0]))),
                _mm256_castsi256_pd(_mm256_srli_epi64::<32>(_mm256_castpd_si256(self.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn lift_words(self) -> Self {
        F64x8(unsafe {
            [
                _mm256_castsi256_pd(_mm256_slli_epi64::<32>(_mm256_castpd_si256(self.0[0]))),
                _mm256_castsi256_pd(_mm256_slli_epi64::<32>(_mm256_castpd_si256(self.0[1]))),
            ]
        })
    }
    #[inline(always)]
    fn zip_low(self, b: Self) -> Self {
        // Unpacking interleaves within each 128-bit half; then the halves are put in order.
        unsafe {
            let low = _mm256_unpacklo_pd(self.0[0], b.0[0]);
            let high = _mm256_unpackhi_pd(self.0[0], b.0[0]);
            F64x8([_mm256_permute2f128_pd::<0x20>(low, high), _mm256_permute2f128_pd::<0x31>(low, high)])
        }
    }
    #[inline(always)]
    fn zip_high(self, b: Self) -> Self {
        // Unpacking interleaves within each 128-bit half; then the halves are put in order.
        unsafe {
            let low = _mm256_unpacklo_pd(self.0[1], b.0[1]);
            let high = _mm256_unpackhi_pd(self.0[1], b.0[1]);
            F64x8([_mm256_permute2f128_pd::<0x20>(low, high), _mm256_permute2f128_pd::<0x31>(low, high)])
        }
    }
    #[inline(always)]
    unsafe fn spread(from: *const f64) -> Self {
        F64x8(unsafe { [_mm256_set1_pd(*from), _mm256_set1_pd(*from.add(1))] })
    }
    #[inline(always)]
    unsafe fn repeat(from: *const f64) -> Self {
        F64x8(unsafe { [_mm256_loadu_pd(from); 2] })
    }
    #[inline(always)]
    unsafe fn rows_of_groups(from: *const f64, stride: usize, last: usize) -> Self {
        F64x8(unsafe { [_mm256_loadu_pd(from), _mm256_loadu_pd(from.add(last.min(1) * stride))] })
    }
    #[inline(always)]
    fn within(self, k: usize) -> Self {
        unsafe {
            let [a, b] = self.0;
            F64x8(match k {
                0 => [_mm256_permute4x64_pd::<0x00>(a), _mm256_permute4x64_pd::<0x00>(b)],
                1 => [_mm256_permute4x64_pd::<0x55>(a), _mm256_permute4x64_pd::<0x55>(b)],
                2 => [_mm256_permute4x64_pd::<0xAA>(a), _mm256_permute4x64_pd::<0xAA>(b)],
                _ => [_mm256_permute4x64_pd::<0xFF>(a), _mm256_permute4x64_pd::<0xFF>(b)],
            })
        }
    }
    #[inline(always)]
    fn sum_groups([a, b, c, d]: [Self; GROUP]) -> Self {
        unsafe {
            let low = sum_groups_pd([a.0[0], b.0[0], c.0[0], d.0[0]]);
            let high = sum_groups_pd([a.0[1], b.0[1], c.0[1], d.0[1]]);
            let (even, odd) = (_mm256_unpacklo_pd(low, high), _mm256_unpackhi_pd(low, high));
            F64x8([_mm256_permute2f128_pd::<0x20>(even, odd), _mm256_permute2f128_pd::<0x31>(even, odd)])
        }
    }
    #[inline(always)]
    fn sum_each(vectors: [Self; 8]) -> [f64; 8] {
        unsafe {
            let mut narrow = [_mm256_setzero_pd(); 8];
            for i in 0..8 {
                narrow[i] = _mm256_add_pd(vectors[i].0[0], vectors[i].0[1]);
            }
            sum_each_pd(narrow)
        }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f64, n: usize, fill: f64) -> Self {
        // A masked load does not touch what lies outside its mask.
        unsafe {
            let mask = Self::first_lanes(n);
            let low = _mm256_maskload_pd(from, _mm256_castpd_si256(mask[0]));
            let high = _mm256_maskload_pd(from.wrapping_add(4), _mm256_castpd_si256(mask[1]));
            Self::select(mask, Self([low, high]), Self::splat(fill))
        }
    }
    #[inline(always)]
    fn first_lanes(n: usize) -> Self::Mask {
        let masks = MASKS_OF_64_BITS.as_ptr().cast::<f64>();
        unsafe {
            let masks = masks.add(8 - n.min(8));
            [_mm256_loadu_pd(masks), _mm256_loadu_pd(masks.add(4))]
        }
    }
    #[inline(always)]
    fn prefetch(at: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

/// Numbers in pairs: the first of the lower half, that of the upper, the second of the lower, and so on.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn in_halves(x: __m256) -> __m256 {
    // SAFETY: the caller's word.
    unsafe { _mm256_castpd_ps(_mm256_permute4x64_pd::<0xD8>(_mm256_castps_pd(x))) }
}

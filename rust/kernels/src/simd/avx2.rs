//! AVX2 with FMA: a vector is two 256-bit registers, so that it has the lanes of an AVX-512 register.
//!
//! Every method is two or four instructions; they may only be reached through `simd::run` (see [`Vector`]).

use super::Vector;
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

/// The sums of the lanes of eight registers, in order: i + (i + 4), then i + (i + 2), then i + (i + 1).
///
/// Written out: a closure would not be compiled for the set.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn sum_each_ps(v: [__m256; 8]) -> [f32; 8] {
    // SAFETY: the caller's word; the array has room for a register.
    unsafe {
        let mut quarters = [v[0]; 4];
        for i in 0..4 {
            let low = _mm256_permute2f128_ps::<0x20>(v[i], v[i + 4]);
            quarters[i] = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(v[i], v[i + 4]));
        }
        let [a, b, c, d] = quarters;
        let ab = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b));
        let cd = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(c, d), _mm256_shuffle_ps::<0xEE>(c, d));
        let sums = _mm256_add_ps(_mm256_shuffle_ps::<0x88>(ab, cd), _mm256_shuffle_ps::<0xDD>(ab, cd));
        let mut out = [0.0; 8];
        _mm256_storeu_ps(out.as_mut_ptr(), sums);
        out
    }
}

/// The sums of the lanes of eight registers, in order: i + (i + 2), then i + (i + 1).
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn sum_each_pd(v: [__m256d; 8]) -> [f64; 8] {
    // SAFETY: the caller's word; the array has room for two registers.
    unsafe {
        let mut halves = [v[0]; 4];
        for i in 0..4 {
            let (low, high) = (v[i / 2 * 4 + i % 2], v[i / 2 * 4 + i % 2 + 2]);
            let first = _mm256_permute2f128_pd::<0x20>(low, high);
            halves[i] = _mm256_add_pd(first, _mm256_permute2f128_pd::<0x31>(low, high));
        }
        let [a, b, c, d] = halves;
        let mut out = [0.0; 8];
        _mm256_storeu_pd(out.as_mut_ptr(), _mm256_add_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)));
        _mm256_storeu_pd(out.as_mut_ptr().add(4), _mm256_add_pd(_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d)));
        out
    }
}

/// `to[k][j] = from[j][k]` for a square of 8 x 8, of `rows` rows j, into `columns` rows k.
///
/// # Safety
/// The processor has AVX2; eight numbers can be read at each row of `from`, and written at each row of `to`.
#[inline(always)]
unsafe fn turn_ps(from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize, columns: usize) {
    // SAFETY: the caller's word.
    unsafe {
        let mut v = [_mm256_setzero_ps(); 8];
        if rows == 8 {
            for (j, v) in v.iter_mut().enumerate() {
                *v = _mm256_loadu_ps(from.add(j * stride));
            }
        } else {
            for (j, v) in v.iter_mut().enumerate().take(rows) {
                *v = _mm256_loadu_ps(from.add(j * stride));
            }
        }
        // Pairs of rows, then fours, then the halves of the registers.
        let (a, b) = (_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpackhi_ps(v[0], v[1]));
        let (c, d) = (_mm256_unpacklo_ps(v[2], v[3]), _mm256_unpackhi_ps(v[2], v[3]));
        let (e, f) = (_mm256_unpacklo_ps(v[4], v[5]), _mm256_unpackhi_ps(v[4], v[5]));
        let (g, h) = (_mm256_unpacklo_ps(v[6], v[7]), _mm256_unpackhi_ps(v[6], v[7]));
        let (p, q) = (_mm256_shuffle_ps::<0x44>(a, c), _mm256_shuffle_ps::<0xEE>(a, c));
        let (r, s) = (_mm256_shuffle_ps::<0x44>(b, d), _mm256_shuffle_ps::<0xEE>(b, d));
        let (t, u) = (_mm256_shuffle_ps::<0x44>(e, g), _mm256_shuffle_ps::<0xEE>(e, g));
        let (w, x) = (_mm256_shuffle_ps::<0x44>(f, h), _mm256_shuffle_ps::<0xEE>(f, h));
        let turned = [
            _mm256_permute2f128_ps::<0x20>(p, t),
            _mm256_permute2f128_ps::<0x20>(q, u),
            _mm256_permute2f128_ps::<0x20>(r, w),
            _mm256_permute2f128_ps::<0x20>(s, x),
            _mm256_permute2f128_ps::<0x31>(p, t),
            _mm256_permute2f128_ps::<0x31>(q, u),
            _mm256_permute2f128_ps::<0x31>(r, w),
            _mm256_permute2f128_ps::<0x31>(s, x),
        ];
        if columns == 8 {
            for (k, &turned) in turned.iter().enumerate() {
                _mm256_storeu_ps(to.add(k * to_stride), turned);
            }
        } else {
            for (k, &turned) in turned.iter().enumerate().take(columns) {
                _mm256_storeu_ps(to.add(k * to_stride), turned);
            }
        }
    }
}

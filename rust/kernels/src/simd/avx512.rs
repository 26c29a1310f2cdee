//! AVX-512: a vector is one 512-bit register.
//!
//! Every method is one or two instructions; they may only be reached through `simd::run` (see [`Vector`]).

use super::{Bf16, GROUP, Vector, across};
use crate::amx::Amx;
use crate::isa::Name;
use std::arch::x86_64::*;

/// 16 numbers in a register.
#[derive(Clone, Copy)]
pub struct F32x16(__m512);

// SAFETY (every block): reached only through `simd::run`, which has a proof that the processor has AVX-512.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the same fact holds for each one-line block, and stands above")]
impl Vector for F32x16 {
    type Elem = f32;
    type Mask = __mmask16;
    const SET: Name = Name::Avx512;
    const TILE_VECTORS: usize = 4;
    const FRACTION_BITS: i32 = 23;
    const EXPONENT_BIAS: f64 = 127.0;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        F32x16(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        F32x16(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        F32x16(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        F32x16(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_max_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_min_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        F32x16(unsafe { _mm512_roundscale_ps::<0>(self.0) })
    }
    #[inline(always)]
    fn mul_pow2(self, n: Self) -> Self {
        F32x16(unsafe { _mm512_scalef_ps(self.0, n.0) })
    }
    #[inline(always)]
    fn lt(self, b: Self) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn le(self, b: Self) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn not_nan(self) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_ORD_Q>(self.0, self.0) }
    }
    #[inline(always)]
    fn select(mask: __mmask16, yes: Self, no: Self) -> Self {
        F32x16(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
    }
    #[inline(always)]
    fn and(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_and_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn or(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_or_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn xor(self, b: Self) -> Self {
        F32x16(unsafe { _mm512_xor_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn shl_fraction(self) -> Self {
        F32x16(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(self.0))) })
    }
    #[inline(always)]
    fn shr_fraction(self) -> Self {
        F32x16(unsafe { _mm512_castsi512_ps(_mm512_srli_epi32::<23>(_mm512_castps_si512(self.0))) })
    }
    #[inline(always)]
    fn mul_words(self, b: Self) -> Self {
        let product = unsafe { _mm512_mul_epu32(_mm512_castps_si512(self.0), _mm512_castps_si512(b.0)) };
        F32x16(unsafe { _mm512_castsi512_ps(product) })
    }
    #[inline(always)]
    fn upper_words(self) -> Self {
        F32x16(unsafe { _mm512_castsi512_ps(_mm512_srli_epi64::<32>(_mm512_castps_si512(self.0))) })
    }
    #[inline(always)]
    fn lift_words(self) -> Self {
        F32x16(unsafe { _mm512_castsi512_ps(_mm512_slli_epi64::<32>(_mm512_castps_si512(self.0))) })
    }
    #[inline(always)]
    fn zip_low(self, b: Self) -> Self {
        F32x16(unsafe {
            _mm512_permutex2var_ps(
                self.0,
                _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
                b.0,
            )
        })
    }
    #[inline(always)]
    fn zip_high(self, b: Self) -> Self {
        F32x16(unsafe {
            _mm512_permutex2var_ps(
                self.0,
                _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
                b.0,
            )
        })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize, fill: f32) -> Self {
        F32x16(unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), Self::first_lanes(n), from) })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe { _mm512_mask_storeu_ps(to, Self::first_lanes(n), self.0) }
    }
    #[inline(always)]
    fn first_lanes(n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as __mmask16
    }
    #[inline(always)]
    unsafe fn spread(from: *const f32) -> Self {
        let order = unsafe { _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3) };
        F32x16(unsafe { _mm512_permutevar_ps(Self::repeat(from).0, order) })
    }
    #[inline(always)]
    unsafe fn repeat(from: *const f32) -> Self {
        F32x16(unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(from)) })
    }
    #[inline(always)]
    unsafe fn rows_of_groups(from: *const f32, stride: usize, last: usize) -> Self {
        unsafe {
            let rows = _mm512_castps128_ps512(_mm_loadu_ps(from));
            let rows = _mm512_insertf32x4::<1>(rows, _mm_loadu_ps(from.add(last.min(1) * stride)));
            let rows = _mm512_insertf32x4::<2>(rows, _mm_loadu_ps(from.add(last.min(2) * stride)));
            F32x16(_mm512_insertf32x4::<3>(rows, _mm_loadu_ps(from.add(last.min(3) * stride))))
        }
    }
    #[inline(always)]
    fn within(self, k: usize) -> Self {
        F32x16(unsafe {
            match k {
                0 => _mm512_permute_ps::<0x00>(self.0),
                1 => _mm512_permute_ps::<0x55>(self.0),
                2 => _mm512_permute_ps::<0xAA>(self.0),
                _ => _mm512_permute_ps::<0xFF>(self.0),
            }
        })
    }
    #[inline(always)]
    fn sum_groups([a, b, c, d]: [Self; GROUP]) -> Self {
        unsafe {
            let (a, b, c, d) = (a.0, b.0, c.0, d.0);
            let ab = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xEE>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(c, d), _mm512_shuffle_ps::<0xEE>(c, d));
            // Lane r of a group is the sum of that group of vector r: a square of four, to be turned.
            let sums = _mm512_add_ps(_mm512_shuffle_ps::<0x88>(ab, cd), _mm512_shuffle_ps::<0xDD>(ab, cd));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            F32x16(_mm512_permutexvar_ps(order, sums))
        }
    }
    #[inline(always)]
    fn sum_each(vectors: [Self; 8]) -> [f32; 8] {
        unsafe {
            let mut narrow = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                narrow[i] =
                    _mm256_add_ps(_mm512_castps512_ps256(vectors[i].0), _mm512_extractf32x8_ps::<1>(vectors[i].0));
            }
            across::sum_each_ps(narrow)
        }
    }
    #[inline(always)]
    fn prefetch(at: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}

// SAFETY (every block): reached only through `simd::run_pairs`, after the processor was asked for AVX512-BF16.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the same fact holds for each one-line block, and stands above")]
impl Bf16 for F32x16 {
    type Unit = Amx;

    #[inline(always)]
    fn pair_neighbours(self, next: Self) -> Self {
        F32x16(unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(next.0, self.0)) })
    }
    #[inline(always)]
    fn of_both(self) -> Self {
        let interleaved = unsafe {
            let lower = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            // In each 32 bits: i below and i + 16 above.
            let order = _mm512_or_si512(lower, _mm512_slli_epi32::<16>(_mm512_add_epi32(lower, _mm512_set1_epi32(16))));
            _mm512_permutexvar_epi16(order, _mm512_castps_si512(self.0))
        };
        F32x16(unsafe { _mm512_castsi512_ps(interleaved) })
    }
    #[inline(always)]
    fn of_pairs(self) -> (Self, Self) {
        let upper = unsafe { _mm512_set1_epi32(-0x1_0000) };
        let pairs = unsafe { _mm512_castps_si512(self.0) };
        let (lower, upper) = unsafe { (_mm512_slli_epi32::<16>(pairs), _mm512_and_si512(pairs, upper)) };
        unsafe { (F32x16(_mm512_castsi512_ps(lower)), F32x16(_mm512_castsi512_ps(upper))) }
    }
    #[inline(always)]
    fn add_products(self, b: Self, c: Self) -> Self {
        let pairs = |x: Self| unsafe { std::mem::transmute::<__m512, __m512bh>(x.0) };
        F32x16(unsafe { _mm512_dpbf16_ps(c.0, pairs(self), pairs(b)) })
    }
}

/// 8 numbers in a register.
#[derive(Clone, Copy)]
pub struct F64x8(__m512d);

// SAFETY (every block): reached only through `simd::run`, which has a proof that the processor has AVX-512.
#[expect(clippy::undocumented_unsafe_blocks, reason = "the same fact holds for each one-line block, and stands above")]
impl Vector for F64x8 {
    type Elem = f64;
    type Mask = __mmask8;
    const SET: Name = Name::Avx512;
    const TILE_VECTORS: usize = 4;
    const FRACTION_BITS: i32 = 52;
    const EXPONENT_BIAS: f64 = 1023.0;

    #[inline(always)]
    fn splat(x: f64) -> Self {
        F64x8(unsafe { _mm512_set1_pd(x) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        F64x8(unsafe { _mm512_loadu_pd(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        unsafe { _mm512_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_add_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_sub_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_mul_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_div_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        F64x8(unsafe { _mm512_fmadd_pd(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        F64x8(unsafe { _mm512_sqrt_pd(self.0) })
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_max_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_min_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        F64x8(unsafe { _mm512_roundscale_pd::<0>(self.0) })
    }
    #[inline(always)]
    fn mul_pow2(self, n: Self) -> Self {
        F64x8(unsafe { _mm512_scalef_pd(self.0, n.0) })
    }
    #[inline(always)]
    fn lt(self, b: Self) -> __mmask8 {
        unsafe { _mm512_cmp_pd_mask::<_CMP_LT_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn le(self, b: Self) -> __mmask8 {
        unsafe { _mm512_cmp_pd_mask::<_CMP_LE_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn not_nan(self) -> __mmask8 {
        unsafe { _mm512_cmp_pd_mask::<_CMP_ORD_Q>(self.0, self.0) }
    }
    #[inline(always)]
    fn select(mask: __mmask8, yes: Self, no: Self) -> Self {
        F64x8(unsafe { _mm512_mask_blend_pd(mask, no.0, yes.0) })
    }
    #[inline(always)]
    fn and(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_and_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn or(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_or_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn xor(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_xor_pd(self.0, b.0) })
    }
    #[inline(always)]
    fn shl_fraction(self) -> Self {
        F64x8(unsafe { _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(self.0))) })
    }
    #[inline(always)]
    fn shr_fraction(self) -> Self {
        F64x8(unsafe { _mm512_castsi512_pd(_mm512_srli_epi64::<52>(_mm512_castpd_si512(self.0))) })
    }
    #[inline(always)]
    fn mul_words(self, b: Self) -> Self {
        let product = unsafe { _mm512_mul_epu32(_mm512_castpd_si512(self.0), _mm512_castpd_si512(b.0)) };
        F64x8(unsafe { _mm512_castsi512_pd(product) })
    }
    #[inline(always)]
    fn upper_words(self) -> Self {
        F64x8(unsafe { _mm512_castsi512_pd(_mm512_srli_epi64::<32>(_mm512_castpd_si512(self.0))) })
    }
    #[inline(always)]
    fn lift_words(self) -> Self {
        F64x8(unsafe { _mm512_castsi512_pd(_mm512_slli_epi64::<32>(_mm512_castpd_si512(self.0))) })
    }
    #[inline(always)]
    fn zip_low(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_permutex2var_pd(self.0, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b.0) })
    }
    #[inline(always)]
    fn zip_high(self, b: Self) -> Self {
        F64x8(unsafe { _mm512_permutex2var_pd(self.0, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b.0) })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f64, n: usize, fill: f64) -> Self {
        F64x8(unsafe { _mm512_mask_loadu_pd(_mm512_set1_pd(fill), Self::first_lanes(n), from) })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f64, n: usize) {
        unsafe { _mm512_mask_storeu_pd(to, Self::first_lanes(n), self.0) }
    }
    #[inline(always)]
    fn first_lanes(n: usize) -> __mmask8 {
        ((1u32 << n) - 1) as __mmask8
    }
    #[inline(always)]
    unsafe fn spread(from: *const f64) -> Self {
        let order = unsafe { _mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1) };
        F64x8(unsafe { _mm512_permutexvar_pd(order, _mm512_castpd128_pd512(_mm_loadu_pd(from))) })
    }
    #[inline(always)]
    unsafe fn repeat(from: *const f64) -> Self {
        F64x8(unsafe { _mm512_broadcast_f64x4(_mm256_loadu_pd(from)) })
    }
    #[inline(always)]
    unsafe fn rows_of_groups(from: *const f64, stride: usize, last: usize) -> Self {
        unsafe {
            let rows = _mm512_castpd256_pd512(_mm256_loadu_pd(from));
            F64x8(_mm512_insertf64x4::<1>(rows, _mm256_loadu_pd(from.add(last.min(1) * stride))))
        }
    }
    #[inline(always)]
    fn within(self, k: usize) -> Self {
        F64x8(unsafe {
            match k {
                0 => _mm512_permutex_pd::<0x00>(self.0),
                1 => _mm512_permutex_pd::<0x55>(self.0),
                2 => _mm512_permutex_pd::<0xAA>(self.0),
                _ => _mm512_permutex_pd::<0xFF>(self.0),
            }
        })
    }
    #[inline(always)]
    fn sum_groups([a, b, c, d]: [Self; GROUP]) -> Self {
        unsafe {
            let (a, b, c, d) = (a.0, b.0, c.0, d.0);
            let ac = _mm512_add_pd(_mm512_shuffle_f64x2::<0x88>(a, c), _mm512_shuffle_f64x2::<0xDD>(a, c));
            let bd = _mm512_add_pd(_mm512_shuffle_f64x2::<0x88>(b, d), _mm512_shuffle_f64x2::<0xDD>(b, d));
            // Of a and b in the lower half, of c and d in the upper: first groups beside each other, then second ones.
            let sums = _mm512_add_pd(_mm512_unpacklo_pd(ac, bd), _mm512_unpackhi_pd(ac, bd));
            F64x8(_mm512_permutex_pd::<0xD8>(sums))
        }
    }
    #[inline(always)]
    fn sum_each(vectors: [Self; 8]) -> [f64; 8] {
        unsafe {
            let mut narrow = [_mm256_setzero_pd(); 8];
            for i in 0..8 {
                narrow[i] =
                    _mm256_add_pd(_mm512_castpd512_pd256(vectors[i].0), _mm512_extractf64x4_pd::<1>(vectors[i].0));
            }
            across::sum_each_pd(narrow)
        }
    }
    #[inline(always)]
    fn prefetch(at: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}

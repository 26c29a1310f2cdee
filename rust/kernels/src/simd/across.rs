//! Across the lanes of AVX2 registers: sums of lanes, and squares that are turned.
//!
//! In: registers, or where they are loaded from. Out: arrays and registers, or where they are stored.

use std::arch::x86_64::*;

/// The sums of the lanes of eight registers, in order: i + (i + 4), then i + (i + 2), then i + (i + 1).
///
/// Written out: a closure would not be compiled for the set.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub unsafe fn sum_each_ps(v: [__m256; 8]) -> [f32; 8] {
    // SAFETY: the caller's word; the array has room for a register.
    unsafe {
        let mut quarters = [v[0]; 4];
        for i in 0..4 {
            let low = _mm256_permute2f128_ps::<0x20>(v[i], v[i + 4]);
            quarters[i] = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(v[i], v[i + 4]));
        }
        let mut out = [0.0; 8];
        _mm256_storeu_ps(out.as_mut_ptr(), sum_groups_ps(quarters));
        out
    }
}

/// The sums of the lanes of eight registers, in order: i + (i + 2), then i + (i + 1).
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub unsafe fn sum_each_pd(v: [__m256d; 8]) -> [f64; 8] {
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

/// The sums of both halves of four registers: in each half the sum of that half of each, in order, i + (i + 2) and then
/// neighbours.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub unsafe fn sum_groups_ps([a, b, c, d]: [__m256; 4]) -> __m256 {
    // SAFETY: the caller's word.
    unsafe {
        let ab = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b));
        let cd = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(c, d), _mm256_shuffle_ps::<0xEE>(c, d));
        _mm256_add_ps(_mm256_shuffle_ps::<0x88>(ab, cd), _mm256_shuffle_ps::<0xDD>(ab, cd))
    }
}

/// The sums of four registers, in order: i + (i + 2), then neighbours.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub unsafe fn sum_groups_pd([a, b, c, d]: [__m256d; 4]) -> __m256d {
    // SAFETY: the caller's word.
    unsafe {
        let ac = _mm256_add_pd(_mm256_permute2f128_pd::<0x20>(a, c), _mm256_permute2f128_pd::<0x31>(a, c));
        let bd = _mm256_add_pd(_mm256_permute2f128_pd::<0x20>(b, d), _mm256_permute2f128_pd::<0x31>(b, d));
        _mm256_add_pd(_mm256_unpacklo_pd(ac, bd), _mm256_unpackhi_pd(ac, bd))
    }
}

/// `to[k][j] = from[j][k]` for a square of 8 x 8, of `rows` rows j, into `columns` rows k.
///
/// # Safety
/// The processor has AVX2; eight numbers can be read at each row of `from`, and written at each row of `to`.
#[inline(always)]
pub unsafe fn turn_ps(from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize, columns: usize) {
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

//! The vector trait: what a register can do, said once; the kernels are written against it.
//!
//! In: a [`Kernel`], which is a struct of a loop's arguments. Out: what its `run` returns, compiled for the wanted set.
//! A vector has the same number of lanes on every set (16 of `f32`, 8 of `f64`; AVX2 uses two registers for one
//! vector, `scalar` an array), so a reduction over lanes has the same order, and the same bits, everywhere.
//!
//! Nothing here may round differently from set to set: fused multiply-add is one rounding on all of them, division and
//! square root are the correctly rounded ones, and the approximate reciprocals are not offered.

#[cfg(target_arch = "x86_64")]
mod across;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernel;
mod pairs;
mod scalar;
mod starts;

use crate::bf16;
use crate::isa::{Isa, Name};
use crate::tile::Block;
pub(crate) use kernel::{Each, all_of, ask_to_read, ask_to_write, run_apart};
pub use kernel::{Kernel, run};
pub(crate) use pairs::{Bf16, Bf16Kernel, run_pairs, run_pairs_apart};
pub(crate) use scalar::flushed;
pub(crate) use starts::{Starts, starts};

/// `f32` or `f64`: the type of every number of a network.
pub trait Real:
    Copy + Default + PartialEq + PartialOrd + Send + Sync + std::fmt::Debug + std::fmt::Display + sealed::Lanes + 'static
{
    /// The other of the two.
    type Other: Real<Other = Self>;
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Lanes of a vector of this type, on every instruction set. Rows are padded to a multiple of it.
    const LANES: usize;
    /// `"float32"` or `"float64"`.
    const NAME: &'static str;
    /// The largest number of this type.
    const LARGEST: f64;

    /// The nearest value of this type.
    fn from_f64(x: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// The sum, rounded once.
    fn plus(self, b: Self) -> Self;
}

pub(crate) mod sealed {
    use crate::tile::Block;

    /// The vectors of an element type, one for each instruction set.
    pub trait Lanes: crate::math::Coefficients {
        type Scalar: super::Vector<Elem = Self>;
        #[cfg(target_arch = "x86_64")]
        type Avx2: super::Vector<Elem = Self>;
        #[cfg(target_arch = "x86_64")]
        type Avx512: super::Vector<Elem = Self>;

        /// [`super::run`] of the largest kernel. Not generic, so that it is compiled once, in this crate, and not
        /// again in every crate that names a type.
        ///
        /// # Safety
        /// As [`Block`] says.
        unsafe fn run_block(isa: crate::isa::Isa, block: Block<Self>) -> bool;
    }
}

macro_rules! real {
    ($elem:ty, $other:ty, $lanes:literal, $name:literal, $scalar:ty, $avx2:ty, $avx512:ty, $block:path) => {
        impl Real for $elem {
            type Other = $other;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LANES: usize = $lanes;
            const NAME: &'static str = $name;
            const LARGEST: f64 = <$elem>::MAX as f64;
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $elem
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                <$elem>::is_finite(self)
            }
            #[inline(always)]
            fn plus(self, b: Self) -> Self {
                self + b
            }
        }
        impl sealed::Lanes for $elem {
            type Scalar = $scalar;
            #[cfg(target_arch = "x86_64")]
            type Avx2 = $avx2;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = $avx512;

            unsafe fn run_block(isa: Isa, block: Block<Self>) -> bool {
                // SAFETY: the caller's word.
                unsafe { $block(isa, block) }
            }
        }
    };
}
real!(f32, f64, 16, "float32", scalar::F32x16, avx2::F32x16, avx512::F32x16, bf16::run_block);
real!(f64, f32, 8, "float64", scalar::F64x8, avx2::F64x8, avx512::F64x8, run);

/// A vector of [`Real::LANES`] numbers, and what can be done with it lane by lane.
///
/// The methods of the AVX types compile to instructions of their set, so they may only be reached through [`run`].
/// The trait is private to this crate for that reason.
pub trait Vector: Copy + 'static {
    type Elem: Real;
    /// Which lanes something holds for.
    type Mask: Copy;
    /// The set it is of.
    const SET: Name;
    /// Vectors side by side in the widest register tile of this set: `tile.rs` says why.
    const TILE_VECTORS: usize;
    /// Whether functions of vectors are called where they are inlined on other sets: see [`function`].
    const CALLS: bool = false;
    /// Bits of the fraction: 23 or 52.
    const FRACTION_BITS: i32;
    /// Added to the exponent: 127 or 1023.
    const EXPONENT_BIAS: f64;

    fn splat(x: Self::Elem) -> Self;
    /// # Safety
    /// `from` is valid for reads of [`Real::LANES`] elements.
    unsafe fn load(from: *const Self::Elem) -> Self;
    /// # Safety
    /// `to` is valid for writes of [`Real::LANES`] elements.
    unsafe fn store(self, to: *mut Self::Elem);

    /// Asks for the cache line at `at`, which may be anywhere, to be brought nearer. Changes nothing else.
    fn prefetch(at: *const u8);

    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// `self * b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    fn sqrt(self) -> Self;
    /// `self > b ? self : b`, so `b` where either is NaN.
    fn max(self, b: Self) -> Self;
    /// `self < b ? self : b`, so `b` where either is NaN.
    fn min(self, b: Self) -> Self;
    /// To the nearest whole number, ties to even.
    fn round(self) -> Self;

    /// `self < b`; false where either is NaN.
    fn lt(self, b: Self) -> Self::Mask;
    /// `self <= b`; false where either is NaN.
    fn le(self, b: Self) -> Self::Mask;
    /// `self == self`: false for NaN.
    fn not_nan(self) -> Self::Mask;
    /// `yes` where the mask holds, else `no`.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;

    fn and(self, b: Self) -> Self;
    fn or(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    /// The bits moved left by [`Vector::FRACTION_BITS`].
    fn shl_fraction(self) -> Self;
    /// The bits moved right by [`Vector::FRACTION_BITS`], zeros coming in.
    fn shr_fraction(self) -> Self;

    /// In each 64 bits: the product of the lower words of self and b (a word has 32 bits).
    fn mul_words(self, b: Self) -> Self;
    /// In each 64 bits: the upper word in the place of the lower, zeros above.
    fn upper_words(self) -> Self;
    /// In each 64 bits: the lower word in the place of the upper, zeros below.
    fn lift_words(self) -> Self;

    /// The lower halves interleaved: self 0, b 0, self 1, b 1, ...
    fn zip_low(self, b: Self) -> Self;
    /// The upper halves interleaved.
    fn zip_high(self, b: Self) -> Self;

    /// Each of the first numbers at `from` in a group of lanes of its own.
    ///
    /// # Safety
    /// `from` is valid for reads of a number for each group.
    unsafe fn spread(from: *const Self::Elem) -> Self;
    /// The first four numbers at `from` in every group.
    ///
    /// # Safety
    /// `from` is valid for reads of [`GROUP`] elements.
    unsafe fn repeat(from: *const Self::Elem) -> Self;
    /// Four numbers of a row for each group, the rows a `stride` apart; behind row `last` that one again.
    ///
    /// # Safety
    /// The rows up to the last, as many as there are groups, are valid for reads of [`GROUP`] elements.
    unsafe fn rows_of_groups(from: *const Self::Elem, stride: usize, last: usize) -> Self;
    /// Lane `k` of every group in all of its lanes.
    fn within(self, k: usize) -> Self;
    /// The sums of the groups of four vectors in order, of the first in the first lanes: i + (i + 2), then neighbours.
    fn sum_groups(vectors: [Self; GROUP]) -> Self;

    /// `to[k][j] = from[j][k]` for a square of lanes x lanes, turned in registers: of `rows` rows j, zeros for the others,
    /// into the first `columns` rows k.
    ///
    /// Rows i and i + half are interleaved into rows 2i and 2i + 1; after as many rounds as a lane's number has bits,
    /// every bit of the number has changed places between row and lane.
    ///
    /// # Safety
    /// Whole vectors can be read at `rows` rows of `from`, and written at `columns` rows of `to`.
    #[inline(always)]
    unsafe fn turn(
        from: *const Self::Elem,
        stride: usize,
        rows: usize,
        to: *mut Self::Elem,
        to_stride: usize,
        columns: usize,
    ) {
        let mut square = [Self::zero(); MAX_LANES];
        for (j, row) in square.iter_mut().enumerate().take(rows) {
            // SAFETY: the caller's word.
            *row = unsafe { Self::load(from.add(j * stride)) };
        }
        let half = Self::Elem::LANES / 2;
        let mut round = 1;
        while round < Self::Elem::LANES {
            let mut next = square;
            for i in 0..half {
                next[2 * i] = square[i].zip_low(square[i + half]);
                next[2 * i + 1] = square[i].zip_high(square[i + half]);
            }
            square = next;
            round *= 2;
        }
        for (k, row) in square.iter().enumerate().take(columns) {
            // SAFETY: the caller's word.
            unsafe { row.store(to.add(k * to_stride)) }
        }
    }

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(Self::Elem::ZERO)
    }
    /// The nearest number of the element type, in every lane.
    #[inline(always)]
    fn num(x: f64) -> Self {
        Self::splat(Self::Elem::from_f64(x))
    }
    /// `self`, or 0 where it is nearer to 0 than `limit`.
    #[inline(always)]
    fn flushed(self, limit: Self) -> Self {
        Self::select(self.abs().lt(limit), Self::zero(), self)
    }
    #[inline(always)]
    fn neg(self) -> Self {
        self.xor(Self::num(-0.0))
    }
    /// `c - self * b`, rounded once.
    #[inline(always)]
    fn fnma(self, b: Self, c: Self) -> Self {
        self.neg().fma(b, c)
    }
    /// `self * b - c`, rounded once.
    #[inline(always)]
    fn fms(self, b: Self, c: Self) -> Self {
        self.fma(b, c.neg())
    }
    /// The sign bit alone.
    #[inline(always)]
    fn sign_bit(self) -> Self {
        self.and(Self::num(-0.0))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.xor(self.sign_bit())
    }
    /// `self` (which must not be negative) with the sign of `b`.
    #[inline(always)]
    fn with_sign_of(self, b: Self) -> Self {
        self.or(b.sign_bit())
    }
    /// The same 64 bits over and over.
    #[inline(always)]
    fn splat_bits(bits: u64) -> Self {
        let all = [bits; 8];
        // SAFETY: a vector of any type has 64 bytes, and any bits are a number.
        unsafe { Self::load(all.as_ptr().cast()) }
    }
    /// 2^self for whole numbers within the exponents of normal numbers.
    ///
    /// Adding 1.5 x 2^23 (2^52) puts a whole number into the low bits of the fraction; the bias is added with it.
    #[inline(always)]
    fn pow2(self) -> Self {
        let magic = 1.5 * f64::from(Self::FRACTION_BITS).exp2() + Self::EXPONENT_BIAS;
        self.add(Self::num(magic)).shl_fraction()
    }
    /// self * 2^n, rounded once, for whole n up to twice the exponents of normal numbers, and self near 1.
    #[inline(always)]
    fn mul_pow2(self, n: Self) -> Self {
        // 2^n in two factors of which each is a normal number; the first product is exact.
        let half = n.mul(Self::num(0.5)).round();
        self.mul(half.pow2()).mul(n.sub(half).pow2())
    }
    /// For positive normal numbers: the fraction in [1, 2) and the exponent, so that `self = fraction * 2^exponent`.
    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        let two_to_fraction = f64::from(Self::FRACTION_BITS).exp2();
        let biased = self.shr_fraction().or(Self::num(two_to_fraction));
        let exponent = biased.sub(Self::num(two_to_fraction + Self::EXPONENT_BIAS));
        // x with its exponent field cleared and that of 1 put in: x ^ (exponent bits of x) ^ (bits of 1)
        let exponent_bits = self.shr_fraction().shl_fraction();
        (self.xor(exponent_bits).or(Self::num(1.0)), exponent)
    }
    /// The first `n` numbers at `from`, `fill` in the other lanes.
    ///
    /// # Safety
    /// `from` is valid for reads of `n` elements, and `n` is at most [`Real::LANES`].
    #[inline(always)]
    unsafe fn load_first(from: *const Self::Elem, n: usize, fill: Self::Elem) -> Self {
        let mut lanes = [fill; MAX_LANES];
        // SAFETY: `n <= LANES <= MAX_LANES`, and the caller vouches for `from`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }
    /// The first `n` lanes to `to`.
    ///
    /// # Safety
    /// `to` is valid for writes of `n` elements, and `n` is at most [`Real::LANES`].
    #[inline(always)]
    unsafe fn store_first(self, to: *mut Self::Elem, n: usize) {
        let lanes = self.to_lanes();
        // SAFETY: `n <= LANES <= MAX_LANES`, and the caller vouches for `to`.
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n) }
    }
    /// The first `n` numbers at `from` and zeros: a whole vector, or the tail of a slice.
    ///
    /// # Safety
    /// As for [`Vector::load_first`].
    #[inline(always)]
    unsafe fn load_up_to(from: *const Self::Elem, n: usize) -> Self {
        // SAFETY: the caller's word.
        unsafe { if n == Self::Elem::LANES { Self::load(from) } else { Self::load_first(from, n, Self::Elem::ZERO) } }
    }
    /// The first `n` lanes to `to`: a whole vector, or the tail of a slice.
    ///
    /// # Safety
    /// As for [`Vector::store_first`].
    #[inline(always)]
    unsafe fn store_up_to(self, to: *mut Self::Elem, n: usize) {
        // SAFETY: the caller's word.
        unsafe { if n == Self::Elem::LANES { self.store(to) } else { self.store_first(to, n) } }
    }
    /// True in the first `n` lanes.
    #[inline(always)]
    fn first_lanes(n: usize) -> Self::Mask {
        let mut lanes = [Self::Elem::ZERO; MAX_LANES];
        for lane in &mut lanes[..n] {
            *lane = Self::Elem::ONE;
        }
        // SAFETY: the array has room for the lanes of any vector.
        Self::zero().lt(unsafe { Self::load(lanes.as_ptr()) })
    }
    /// The lanes as an array; only the first [`Real::LANES`] mean anything.
    #[inline(always)]
    fn to_lanes(self) -> [Self::Elem; MAX_LANES] {
        let mut lanes = [Self::Elem::ZERO; MAX_LANES];
        // SAFETY: the array has room for the lanes of any vector.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }
    /// The sum of the lanes: halves added to halves, a fixed tree.
    #[inline(always)]
    fn sum_lanes(self) -> f64 {
        sum_lanes(self)
    }
    /// The sum of the lanes of each vector, in the type itself: halves added to halves, a fixed tree.
    #[inline(always)]
    fn sum_each(vectors: [Self; 8]) -> [Self::Elem; 8] {
        vectors.map(|vector| {
            let mut lanes = vector.to_lanes();
            let mut half = Self::Elem::LANES / 2;
            while half > 0 {
                for i in 0..half {
                    lanes[i] = lanes[i].plus(lanes[i + half]);
                }
                half /= 2;
            }
            lanes[0]
        })
    }
    /// The largest lane; NaN lanes may be lost.
    #[inline(always)]
    fn max_lane(self) -> Self::Elem {
        max_lane(self)
    }
}

/// Defines a function of vectors that is inlined, as it has to be where a set has instructions of its own, but called on
/// a set that says so: inlined wherever it is used, the arrays of `scalar` were 60 % of the library.
macro_rules! function {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$($g:ident: $bound:path),+>($($argument:ident: $type:ty),*) -> $result:ty
     $body:block) => {
        $(#[$meta])*
        #[inline(always)]
        $vis fn $name<$($g: $bound),+>($($argument: $type),*) -> $result {
            #[inline(always)]
            fn inlined<$($g: $bound),+>($($argument: $type),*) -> $result $body
            #[inline(never)]
            fn called<$($g: $bound),+>($($argument: $type),*) -> $result {
                inlined::<$($g),+>($($argument),*)
            }
            if V::CALLS { called::<$($g),+>($($argument),*) } else { inlined::<$($g),+>($($argument),*) }
        }
    };
}
pub(crate) use function;

/// Lanes of the longest vector.
pub(crate) const MAX_LANES: usize = 16;
/// Lanes of a group, of which a vector has two or four.
pub(crate) const GROUP: usize = 4;

function! {
    /// [`Vector::sum_lanes`]
    fn sum_lanes<V: Vector>(x: V) -> f64 {
        let lanes = x.to_lanes();
        let mut sums = [0.0f64; MAX_LANES];
        for i in 0..V::Elem::LANES {
            sums[i] = lanes[i].to_f64();
        }
        let mut half = V::Elem::LANES / 2;
        while half > 0 {
            for i in 0..half {
                sums[i] += sums[i + half];
            }
            half /= 2;
        }
        sums[0]
    }
}

function! {
    /// [`Vector::max_lane`]
    fn max_lane<V: Vector>(x: V) -> V::Elem {
        let mut lanes = x.to_lanes();
        let mut half = V::Elem::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = if lanes[i] > lanes[i + half] { lanes[i] } else { lanes[i + half] };
            }
            half /= 2;
        }
        lanes[0]
    }
}

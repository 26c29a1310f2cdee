//! The instructions of AMX: whether they may be used, and how.
//!
//! Rust has no stable functions for them, so they stand here as they are.

use super::{A_STRIDE, PAIRS, Piece, SIDE, Sums, Unit};
use std::arch::asm;
use std::sync::OnceLock;

/// Whether the processor has tiles, with bfloat16, and the kernel can keep them for threads.
pub(crate) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(has_tiles)
}

/// Whether this process may use them. The first who wants to asks the kernel, for the whole process and its children: from
/// then on it refuses signal stacks too small for tiles, so nobody else should ask. It refuses where there is one already.
pub(crate) fn is_permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| is_there() && may_use_tiles())
}

/// Intel's manual, volume 1, chapter 18: AMX-BF16 and AMX-TILE, saved by the kernel, and palette 1 as it is used here.
fn has_tiles() -> bool {
    use std::arch::x86_64::{__cpuid_count, _xgetbv};
    #[expect(unused_unsafe, reason = "the function is unsafe before Rust 1.94")]
    let ask = |leaf, part| {
        // SAFETY: every processor of this architecture has the instruction.
        unsafe { __cpuid_count(leaf, part) }
    };
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: asked for below before this is called.
        unsafe { _xgetbv(0) }
    }
    const OSXSAVE: u32 = 1 << 27;
    const BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    if ask(0, 0).eax < 0x1d || ask(1, 0).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = ask(7, 0).edx;
    // SAFETY: the bit of OSXSAVE says that there is such an instruction.
    if features & BF16_AND_TILE != BF16_AND_TILE || unsafe { saved() } & TILE_STATE != TILE_STATE {
        return false;
    }
    // Bytes of a row and tiles, and rows.
    let palette = ask(0x1d, 1);
    palette.ebx == (8 << 16 | 64) && palette.ecx & 0xffff == 16
}

/// Asks the kernel to keep tiles for the threads of this process.
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let answer: i64;
    // SAFETY: the call changes nothing but a permission, and no memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

/// Eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_row: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let (mut bytes_of_row, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        (bytes_of_row[tile], rows[tile]) = (64, 16);
        tile += 1;
    }
    Configuration { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_row, rows }
};

/// Tiles that are configured for this thread.
pub(crate) struct Amx(());

impl Drop for Amx {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: they were there to be configured.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

// Tiles 0 to 3 are the sums, 4 and 5 rows of A, 6 and 7 columns of B. Sums stay in their tiles from one block of
// instructions to the next: the compiler never uses tiles, so they are no clobbers of a block, and nothing else that this
// thread does meanwhile does.

/// The rows of a part of A, in tiles 4 and 5.
macro_rules! load_a {
    ($a:literal) => {
        concat!("tileloadd tmm4, [", $a, " + {a_stride}*1]\n tileloadd tmm5, [", $a, " + {a_stride}*1 + {half}]")
    };
}

/// The products of another part of A with the columns of B that are there.
macro_rules! with_a {
    ($a:literal) => {
        concat!(
            "tileloadd tmm4, [",
            $a,
            " + {a_stride}*1]\n tdpbf16ps tmm0, tmm4, tmm6\n tdpbf16ps tmm1, tmm4, tmm7\n",
            "tileloadd tmm5, [",
            $a,
            " + {a_stride}*1 + {half}]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n tdpbf16ps tmm3, tmm5, tmm7"
        )
    };
}

/// The products of another part of B with the rows of A that are there.
macro_rules! with_b {
    ($b:literal) => {
        concat!(
            "tileloadd tmm6, [",
            $b,
            " + {b_stride}*1]\n tdpbf16ps tmm0, tmm4, tmm6\n tdpbf16ps tmm2, tmm5, tmm6\n",
            "tileloadd tmm7, [",
            $b,
            " + {b_stride}*1 + 64]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n tdpbf16ps tmm3, tmm5, tmm7"
        )
    };
}

/// The products of one step.
macro_rules! add_up {
    ($a:ident, $b:ident, $b_stride:expr, $($products:expr),+) => {
        asm!(
            $($products,)+
            a_stride = in(reg) A_STRIDE * size_of::<f32>(),
            b_stride = in(reg) $b_stride * size_of::<f32>(),
            half = const SIDE / 2 * A_STRIDE * size_of::<f32>(),
            a0 = in(reg) $a(0),
            a1 = in(reg) $a(1),
            a2 = in(reg) $a(2),
            b0 = in(reg) $b(0),
            b1 = in(reg) $b(1),
            b2 = in(reg) $b(2),
            options(nostack, readonly, preserves_flags),
        )
    };
}

impl Unit for Amx {
    #[inline(always)]
    unsafe fn begin() -> Self {
        // SAFETY: the caller's word.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly)) }
        Amx(())
    }

    #[inline(always)]
    unsafe fn clear(&self, _: &mut Sums) {
        // SAFETY: the caller's word.
        unsafe { asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem)) }
    }

    #[inline(always)]
    unsafe fn add_up(&self, piece: &Piece, step: usize, _: &mut Sums) {
        let a = |part: usize| piece.a.wrapping_add(part * piece.a_plane + step * PAIRS);
        let b = |part: usize| piece.b.wrapping_add(part * piece.b_plane + step * PAIRS * piece.b_stride);
        // SAFETY: the caller's word: tiles lie within their operands. Parts that are not there are not read. The products
        // are `PRODUCTS`.
        unsafe {
            match piece.parts {
                1 => add_up!(a, b, piece.b_stride, "/* {a1} {a2} {b1} {b2} */", load_a!("{a0}"), with_b!("{b0}")),
                2 => add_up!(
                    a,
                    b,
                    piece.b_stride,
                    "/* {a2} {b2} */",
                    load_a!("{a1}"),
                    with_b!("{b0}"),
                    with_a!("{a0}"),
                    with_b!("{b1}")
                ),
                _ => add_up!(
                    a,
                    b,
                    piece.b_stride,
                    load_a!("{a0}"),
                    with_b!("{b2}"),
                    with_b!("{b1}"),
                    with_a!("{a1}"),
                    with_b!("{b0}"),
                    with_a!("{a2}"),
                    with_a!("{a0}")
                ),
            }
        }
    }

    #[inline(always)]
    unsafe fn store(&self, sums: &mut Sums) {
        // SAFETY: the caller's word: the sums are as large as four tiles.
        unsafe {
            asm!(
                "tilestored [{sums} + {stride}*1], tmm0",
                "tilestored [{sums} + {stride}*1 + 64], tmm1",
                "tilestored [{sums} + {stride}*1 + 2048], tmm2",
                "tilestored [{sums} + {stride}*1 + 2112], tmm3",
                sums = in(reg) sums.0.as_mut_ptr(),
                stride = in(reg) SIDE * size_of::<f32>(),
                options(nostack, preserves_flags),
            );
        }
    }
}

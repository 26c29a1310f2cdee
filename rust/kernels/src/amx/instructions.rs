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

impl Unit for Amx {
    #[inline(always)]
    unsafe fn begin() -> Self {
        // SAFETY: the caller's word.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly)) }
        Amx(())
    }

    /// Tiles 0 to 3 are the sums, 4 and 5 rows of A, 6 and 7 columns of B.
    #[inline(always)]
    unsafe fn multiply(&self, Piece { factors, b_stride, steps, .. }: Piece, sums: &mut Sums) {
        if steps == 0 || factors.is_empty() {
            sums.0 = [[0.0; SIDE]; SIDE];
            return;
        }
        // SAFETY: the caller's word: tiles lie within their operands, and the sums are as large as four of them.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "mov {a}, [{factor}]",
                "mov {b}, [{factor} + 8]",
                "lea {below}, [{a} + {half}]",
                "mov {left}, {steps}",
                "3:",
                "tileloadd tmm4, [{a} + {a_stride}*1]",
                "tileloadd tmm6, [{b} + {b_stride}*1]",
                "tileloadd tmm7, [{b} + {b_stride}*1 + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{below} + {a_stride}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 64",
                "add {below}, 64",
                "add {b}, {b_step}",
                "dec {left}",
                "jnz 3b",
                "add {factor}, 16",
                "dec {count}",
                "jnz 2b",
                "mov {left}, 128",
                "lea {below}, [{sums} + 2048]",
                "tilestored [{sums} + {left}*1], tmm0",
                "tilestored [{sums} + {left}*1 + 64], tmm1",
                "tilestored [{below} + {left}*1], tmm2",
                "tilestored [{below} + {left}*1 + 64], tmm3",
                factor = inout(reg) factors.as_ptr() => _,
                count = inout(reg) factors.len() => _,
                sums = in(reg) sums.0.as_mut_ptr(),
                steps = in(reg) steps,
                a_stride = in(reg) A_STRIDE * size_of::<f32>(),
                b_stride = in(reg) b_stride * size_of::<f32>(),
                b_step = in(reg) b_stride * size_of::<f32>() * PAIRS,
                half = const SIDE / 2 * A_STRIDE * size_of::<f32>(),
                a = out(reg) _,
                b = out(reg) _,
                below = out(reg) _,
                left = out(reg) _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

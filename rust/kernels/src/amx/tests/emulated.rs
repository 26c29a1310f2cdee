//! AMX for processors that lack it: instructions raise a signal, whose handler does what they should.
//!
//! Intel's manual, volume 2: LDTILECFG, TILEZERO, TILELOADD, TILESTORED, TDPBF16PS and TILERELEASE. Whatever is not as
//! the manual has it (an encoding, a configuration, tiles that are used before they are configured) is left to the signal,
//! which ends the process.

use std::cell::RefCell;
use std::sync::Once;

/// 16 rows of 64 bytes.
type Tile = [[u8; 64]; 16];

thread_local! {
    /// None before tiles are configured.
    static TILES: RefCell<Option<[Tile; 8]>> = const { RefCell::new(None) };
}

/// From now on, for all threads of this process.
pub(super) fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_illegal;
        // SAFETY: the handler has the signature that SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            assert_eq!(libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()), 0);
        }
    });
}

/// Whether tiles of this thread are configured, where they are emulated.
pub(super) fn are_configured() -> bool {
    TILES.with_borrow(Option::is_some)
}

extern "C" fn on_illegal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands over the registers of the thread, which stands at an instruction.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        match Instruction::at(registers[libc::REG_RIP as usize] as *const u8, registers).and_then(Instruction::run) {
            Some(length) => registers[libc::REG_RIP as usize] += length as i64,
            // As without a handler, at the same instruction once more.
            None => _ = libc::signal(libc::SIGILL, libc::SIG_DFL),
        }
    }
}

/// Registers in the order of their numbers.
const NUMBERED: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// An instruction of the map 0F38 with a prefix VEX of three bytes, 128 bits wide.
struct Instruction {
    /// Which of none, 66, F3 and F2.
    prefix: u8,
    opcode: u8,
    /// Register of ModRM, of VEX.vvvv, and of ModRM.rm where that is a register.
    register: usize,
    other: usize,
    third: Option<usize>,
    /// Base and displacement, and index times scale, where an operand is memory.
    address: u64,
    stride: u64,
    length: usize,
}

impl Instruction {
    /// # Safety
    /// `at` points to an instruction, and these are the registers of the thread.
    unsafe fn at(at: *const u8, registers: &[libc::greg_t]) -> Option<Instruction> {
        // SAFETY: the caller's word; instructions are 15 bytes long at most, and no more are read than they have.
        let byte = |i: usize| unsafe { *at.add(i) };
        let value = |number: u8| registers[NUMBERED[number as usize] as usize] as u64;
        // R, X and B are stored inverted.
        let extension = |bit: u8| if byte(1) >> bit & 1 == 0 { 8 } else { 0 };
        let (map, wide, long) = (byte(1) & 31, byte(2) >> 7, byte(2) >> 2 & 1);
        if byte(0) != 0xc4 || map != 2 || wide != 0 || long != 0 {
            return None;
        }
        let modrm = byte(4);
        let (mode, low) = (modrm >> 6, modrm & 7);
        let mut found = Instruction {
            prefix: byte(2) & 3,
            opcode: byte(3),
            register: usize::from(modrm >> 3 & 7) + usize::from(extension(7)),
            other: usize::from(!(byte(2) >> 3) & 15),
            third: (mode == 3).then_some(usize::from(low) + usize::from(extension(5))),
            address: 0,
            stride: 0,
            length: 5,
        };
        if mode == 3 {
            return Some(found);
        }
        let mut base = low;
        if low == 4 {
            let sib = byte(5);
            found.length += 1;
            base = sib & 7;
            let index = (sib >> 3 & 7) + extension(6);
            if index != 4 {
                found.stride = value(index) << (sib >> 6);
            }
        }
        if mode == 0 && base == 5 {
            return None;
        }
        let displacement = match mode {
            1 => i64::from(byte(found.length) as i8),
            2 => i64::from(i32::from_le_bytes(std::array::from_fn(|i| byte(found.length + i)))),
            _ => 0,
        };
        found.length += [0, 1, 4][mode as usize];
        found.address = value(base + extension(5)).wrapping_add(displacement as u64);
        Some(found)
    }

    /// Its length, once it is done.
    fn run(self) -> Option<usize> {
        const NONE: u8 = 0;
        const F3: u8 = 2;
        const F2: u8 = 3;
        TILES.with_borrow_mut(|tiles| {
            match (self.opcode, self.prefix, self.third) {
                (0x49, NONE, None) if self.register == 0 => {
                    // SAFETY: the processor would read these 64 bytes.
                    let wanted = unsafe { std::ptr::read_unaligned(self.address as *const [u8; 64]) };
                    *tiles = Some(configured(&wanted)?);
                }
                (0x49, NONE, Some(0)) if self.register == 0 => *tiles = None,
                (0x49, F2, Some(0)) => *tiles.as_mut()?.get_mut(self.register)? = [[0; 64]; 16],
                (0x4b, F2 | F3, None) => {
                    let tile = tiles.as_mut()?.get_mut(self.register)?;
                    for (i, row) in tile.iter_mut().enumerate() {
                        let at = self.address.wrapping_add(self.stride * i as u64) as *mut [u8; 64];
                        // SAFETY: the processor would read or write these bytes.
                        unsafe { if self.prefix == F2 { *row = at.read_unaligned() } else { at.write_unaligned(*row) } }
                    }
                }
                (0x5c, F3, Some(a)) => {
                    let (c, b) = (self.register, self.other);
                    if c == a || c == b || a == b || a.max(b).max(c) > 7 {
                        return None;
                    }
                    let tiles = tiles.as_mut()?;
                    tiles[c] = dot_products(&tiles[c], &tiles[a], &tiles[b]);
                }
                _ => return None,
            }
            Some(self.length)
        })
    }
}

/// Tiles of zeros, where the configuration is one of whole tiles without a bit where none may be.
fn configured(wanted: &[u8; 64]) -> Option<[Tile; 8]> {
    let mut whole = [0; 64];
    whole[0] = 1;
    for tile in 0..8 {
        whole[16 + 2 * tile] = 64;
        whole[48 + tile] = 16;
    }
    (*wanted == whole).then_some([[[0; 64]; 16]; 8])
}

/// TDPBF16PS: chains of fused multiply-adds over the first and the second numbers of pairs, from 0 on; their sum, and
/// that with what is there. All round to the nearest, ties to even, and have zeros for what is no normal number.
fn dot_products(c: &Tile, a: &Tile, b: &Tile) -> Tile {
    let flush = |x: f32| if x.is_subnormal() { 0.0f32.copysign(x) } else { x };
    let number =
        |row: &[u8; 64], i: usize| flush(f32::from_bits(u32::from(row[2 * i]) << 16 | u32::from(row[2 * i + 1]) << 24));
    let mut sums = [[0; 64]; 16];
    for m in 0..16 {
        for n in 0..16 {
            let mut halves = [0f32; 2];
            for (k, below) in b.iter().enumerate() {
                for (half, sum) in halves.iter_mut().enumerate() {
                    *sum = flush(number(&a[m], 2 * k + half).mul_add(number(below, 2 * n + half), *sum));
                }
            }
            let there = f32::from_le_bytes(std::array::from_fn(|i| c[m][4 * n + i]));
            let sum = flush(flush(there) + flush(halves[0] + halves[1]));
            sums[m][4 * n..4 * n + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    sums
}

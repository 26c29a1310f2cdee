//! CRC-32, the checksum of zip and PNG: of bytes, to tell whether any has changed.
//!
//! In: bytes, in one or several parts. Out: 32 bits. Eight bytes at a time ("slicing by 8", Kounavis and Berry 2005),
//! with tables that are made for each call, since they would be 8 KB of the library.

/// x^32 + x^26 + x^23 + ... + 1 over bits, the lowest bit standing for the highest power (ISO 3309).
const POLYNOMIAL: u32 = 0xedb8_8320;

/// The checksum of the `parts`, one after the other.
pub fn crc32(parts: &[&[u8]]) -> u32 {
    let tables = tables();
    let mut rest = !0;
    for part in parts {
        let mut eights = part.chunks_exact(8);
        for eight in &mut eights {
            let mut next = 0;
            for (i, &byte) in eight.iter().enumerate() {
                // The rest of what came before lies over the first four.
                let above = if i < 4 { (rest >> (8 * i)) as u8 } else { 0 };
                next ^= tables[7 - i][usize::from(byte ^ above)];
            }
            rest = next;
        }
        for &byte in eights.remainder() {
            rest = (rest >> 8) ^ tables[0][usize::from(rest as u8 ^ byte)];
        }
    }
    !rest
}

/// `tables[k][b]` is the remainder of byte b with k bytes of zeros behind it.
fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    for (byte, rest) in tables[0].iter_mut().enumerate() {
        *rest = (0..8).fold(byte as u32, |rest, _| (rest >> 1) ^ (POLYNOMIAL * (rest & 1)));
    }
    for k in 1..8 {
        for byte in 0..256 {
            let rest: u32 = tables[k - 1][byte];
            tables[k][byte] = (rest >> 8) ^ tables[0][usize::from(rest as u8)];
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the polynomial is divided by hand.
    fn plain(bytes: &[u8]) -> u32 {
        let bits = bytes.iter().flat_map(|byte| (0..8).map(move |i| u32::from(byte >> i & 1)));
        !bits.fold(!0, |rest, bit| (rest >> 1) ^ if (rest ^ bit) & 1 == 1 { POLYNOMIAL } else { 0 })
    }

    #[test]
    fn it_is_the_division_by_hand_at_every_length_in_one_part_or_two() {
        // The check value of the catalogue of CRCs.
        assert_eq!(crc32(&[b"123456789"]), 0xcbf4_3926);
        let bytes: Vec<u8> = (0..67u32).map(|i| (i * i * 37 + 11) as u8).collect();
        for end in 0..=bytes.len() {
            assert_eq!(crc32(&[&bytes[..end]]), plain(&bytes[..end]));
            assert_eq!(crc32(&[&bytes[..end], &bytes[end..]]), plain(&bytes));
        }
    }
}

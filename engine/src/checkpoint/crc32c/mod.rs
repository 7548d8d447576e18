//! CRC-32C (Castagnoli), the checksum of a checkpoint's blocks: every error burst of up to 32 bits
//! is found, and of longer ones all but one in four billion.

mod simd;

/// The polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What each byte does to the sum when so many bytes follow it: eight bytes are summed at once
/// (M. Kounavis and F. Berry, "A Systematic Approach to Building High Performance, Software-based,
/// CRC Generators", 2005).
const TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ POLYNOMIAL
            } else {
                sum >> 1
            };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut after = 1;
    while after < 8 {
        let mut byte = 0;
        while byte < 256 {
            let sum: u32 = tables[after - 1][byte];
            tables[after][byte] = tables[0][(sum & 0xff) as usize] ^ (sum >> 8);
            byte += 1;
        }
        after += 1;
    }
    tables
};

/// Returns the checksum of some bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    Crc32c::default().with(bytes).sum()
}

/// The checksum of bytes that come in pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc32c {
    /// Adds bytes: some 8 GB/s where the processor has the instruction, and 1.5 GB/s elsewhere.
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        Self(simd::add(self.0, bytes).unwrap_or_else(|| add(self.0, bytes)))
    }

    /// Returns the checksum of all bytes so far.
    pub(super) fn sum(self) -> u32 {
        !self.0
    }
}

/// Adds bytes without the instruction.
fn add(mut sum: u32, bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let word = u64::from_le_bytes(*eight) ^ u64::from(sum);
        let mixed = word.to_le_bytes();
        sum = 0;
        for (table, byte) in TABLES.iter().rev().zip(mixed) {
            sum ^= table[usize::from(byte)];
        }
    }
    let step = |sum: u32, byte: &u8| TABLES[0][usize::from((sum & 0xff) as u8 ^ byte)] ^ (sum >> 8);
    rest.iter().fold(sum, step)
}

#[cfg(test)]
mod tests {
    use super::{Crc32c, POLYNOMIAL, add, crc32c, simd};

    #[test]
    fn it_is_the_published_checksum() {
        // RFC 3720, B.4, and the check value of the catalogue of CRC algorithms.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&[]), 0);
    }

    /// The oracle: the definition, bit by bit.
    fn bit_by_bit(bytes: &[u8]) -> u32 {
        let mut sum = !0_u32;
        for byte in bytes {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
            }
        }
        !sum
    }

    #[test]
    fn every_way_comes_to_the_same_at_every_length_and_cut() {
        let bytes: Vec<u8> = (0..300_u32).map(|at| (at * at * 31 >> 3) as u8).collect();
        for length in 0..bytes.len() {
            let (from, bytes) = (length % 9, &bytes[..length]);
            let bytes = bytes.get(from..).unwrap_or(bytes);
            let expected = bit_by_bit(bytes);
            assert_eq!(!add(!0, bytes), expected, "{length}");
            if let Some(sum) = simd::add(!0, bytes) {
                assert_eq!(!sum, expected, "{length}");
            }
            let (head, tail) = bytes.split_at(bytes.len() / 3);
            assert_eq!(
                Crc32c::default().with(head).with(tail).sum(),
                expected,
                "{length}"
            );
        }
    }
}

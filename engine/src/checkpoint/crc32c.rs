//! CRC-32C (Castagnoli), the checksum of a checkpoint's blocks: every error burst of up to 32 bits
//! is found, and of longer ones all but one in four billion.

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
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut sum = !0;
    for eight in eights {
        let word = u64::from_le_bytes(*eight) ^ u64::from(sum);
        let mixed = word.to_le_bytes();
        sum = 0;
        for (table, byte) in TABLES.iter().rev().zip(mixed) {
            sum ^= table[usize::from(byte)];
        }
    }
    let step = |sum: u32, byte: &u8| TABLES[0][usize::from((sum & 0xff) as u8 ^ byte)] ^ (sum >> 8);
    !rest.iter().fold(sum, step)
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn it_is_the_published_checksum() {
        // RFC 3720, B.4, and the check value of the catalogue of CRC algorithms.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&[]), 0);
    }
}

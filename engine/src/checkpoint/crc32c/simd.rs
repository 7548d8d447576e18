//! CRC-32C by the instruction that processors have for it: eight bytes in three cycles.
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "a function with a target feature is called once that is detected"
    )
)]

/// Adds bytes to a sum; nothing where the processor has no instruction for it.
#[cfg(target_arch = "x86_64")]
pub(super) fn add(sum: u32, bytes: &[u8]) -> Option<u32> {
    if !std::arch::is_x86_feature_detected!("sse4.2") {
        return None;
    }
    // SAFETY: the processor has SSE 4.2, as was just asked; the function takes nothing but values
    // and a slice.
    Some(unsafe { add_sse(sum, bytes) })
}

/// No instruction is known here.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn add(_sum: u32, _bytes: &[u8]) -> Option<u32> {
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn add_sse(sum: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut wide = u64::from(sum);
    for eight in eights {
        wide = _mm_crc32_u64(wide, u64::from_le_bytes(*eight));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the upper half is zero")]
    let sum = wide as u32;
    rest.iter().fold(sum, |sum, byte| _mm_crc32_u8(sum, *byte))
}

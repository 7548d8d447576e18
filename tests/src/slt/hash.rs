//! SQLite's digest of long results.

use md5::{Digest, Md5};

/// Digests values as SQLite's runner does: each followed by a newline.
pub(super) fn digest<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut md5 = Md5::new();
    for value in values {
        md5.update(value.as_bytes());
        md5.update(b"\n");
    }
    md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `30 values hashing to 3c13dee48d9356ae19af2515e05e6b54`: the count and the digest.
pub(super) fn parse(line: &str) -> Option<(usize, &str)> {
    let (count, digest) = line.trim().split_once(" values hashing to ")?;
    Some((count.parse().ok()?, digest.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_md5_of_lines() {
        // printf '1\n2\n' | md5sum
        assert_eq!(digest(["1", "2"].into_iter()), "6ddb4095eb719e2a9f0a3f95677d24e0");
        assert_eq!(parse("30 values hashing to ab"), Some((30, "ab")));
        assert_eq!(parse("30 rows"), None);
    }
}

//! What a broker of our own has on disk of a topic: which batches, of whom, and how transactions ended.
//!
//! For failures alone: whether a record that came twice was committed, or taken back and shown all the same,
//! is told by the marks between the batches, which no client hands out.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// The bytes of a batch before its records, and of those before what its length counts.
const HEADER: usize = 61;
const COUNTED_FROM: usize = 12;

/// Describes the batches of a partition that begin within these offsets, one a line.
pub(super) fn describe(folder: &Path, offsets: &Range<i64>) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return format!("{} cannot be read", folder.display());
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let bytes = fs::read(path).unwrap_or_default();
        let mut rest = bytes.as_slice();
        while let Some(length) = describe_first(rest, offsets, &mut text) {
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    text
}

/// Describes the first batch of a segment; returns its length, none at the end.
fn describe_first(bytes: &[u8], offsets: &Range<i64>, text: &mut String) -> Option<usize> {
    let header = bytes.get(..HEADER)?;
    let base = i64::from_be_bytes(header[..8].try_into().ok()?);
    let counted = i32::from_be_bytes(header[8..COUNTED_FROM].try_into().ok()?);
    let counted = usize::try_from(counted).ok().filter(|counted| *counted > 0)?;
    let attributes = i16::from_be_bytes(header[21..23].try_into().ok()?);
    let last = i32::from_be_bytes(header[23..27].try_into().ok()?);
    let producer = i64::from_be_bytes(header[43..51].try_into().ok()?);
    let epoch = i16::from_be_bytes(header[51..53].try_into().ok()?);
    let sequence = i32::from_be_bytes(header[53..57].try_into().ok()?);
    if offsets.contains(&base) {
        let kind = match attributes & 0x20 {
            0 => "records",
            // A mark's one record: length, attributes, time, offset, the key's length; then version and type.
            _ => match bytes.get(HEADER + 5..HEADER + 9) {
                Some([_, _, _, 0]) => "ABORT",
                Some([_, _, _, 1]) => "COMMIT",
                _ => "another mark",
            },
        };
        let end = base + i64::from(last);
        let _ = writeln!(
            text,
            "  {base}..={end} {kind}, producer {producer} epoch {epoch} from {sequence}"
        );
    }
    Some(COUNTED_FROM + counted)
}

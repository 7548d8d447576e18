//! Gather loops for texts and binaries with offsets.
//!
//! A short value is copied as one chunk of a fixed width, which is two instructions where a copy
//! of its own length is a call:
//!
//! ```text
//!  values   … ▏SYM17SYM4SYM900…       a chunk from the value's start, whatever follows it
//!  copied   … ▏SYM17▒▒▒▒▒▒▒▒▒▒▒▏      the next value overwrites what is too much
//! ```

use arrow_array::types::ByteArrayType;
use arrow_array::{Array, GenericByteArray};
use arrow_buffer::{ArrowNativeType, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;

use super::fixed::gather_nulls;
use super::picks::Picks;
use crate::KernelError;

/// The width of a chunk, and the mean length up to which copying by chunks is worth it.
const CHUNK_BYTES: usize = 16;

/// Gathers values where they are short on average; `None` where they are long.
pub(super) fn gather_short<T: ByteArrayType>(
    column: &GenericByteArray<T>,
    picks: &Picks<'_>,
) -> Result<Option<GenericByteArray<T>>, KernelError> {
    let starts = column.value_offsets();
    let values = column.value_data();
    let mut offsets = Vec::with_capacity(picks.rows.len() + 1);
    let mut end = 0_usize;
    offsets.push(T::Offset::usize_as(0));
    for row in picks.rows {
        // A missing row is past the end, and has no bytes.
        let span = starts.get(*row as usize..).and_then(|rest| rest.first_chunk());
        let length = span.map_or(0, |[start, stop]| stop.as_usize() - start.as_usize());
        end += length;
        offsets.push(T::Offset::usize_as(end));
    }
    if end > CHUNK_BYTES * picks.rows.len() {
        return Ok(None);
    }
    if T::Offset::from_usize(end).is_none() {
        return Err(ArrowError::OffsetOverflowError(end).into());
    }

    let mut copied = vec![0; end + CHUNK_BYTES];
    for (row, target) in picks.rows.iter().zip(offsets.windows(2)) {
        let (at, length) = (target[0].as_usize(), (target[1] - target[0]).as_usize());
        if length == 0 {
            continue;
        }
        let start = starts[*row as usize].as_usize();
        let chunks = (
            copied[at..].first_chunk_mut::<CHUNK_BYTES>(),
            values[start..].first_chunk::<CHUNK_BYTES>(),
        );
        match chunks {
            (Some(to), Some(from)) if length <= CHUNK_BYTES => *to = *from,
            _ => copied[at..at + length].copy_from_slice(&values[start..start + length]),
        }
    }
    copied.truncate(end);

    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let nulls = gather_nulls(column.nulls(), picks);
    Ok(Some(GenericByteArray::try_new(offsets, copied.into(), nulls)?))
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, BinaryArray, LargeStringArray, StringArray};

    use super::gather_short;
    use crate::NO_ROW;
    use crate::gather::Picks;

    #[test]
    fn copies_short_and_long_values_in_any_order() {
        let long = "x".repeat(40);
        let texts = [
            Some("a"),
            None,
            Some(""),
            Some(long.as_str()),
            Some("zürich"),
            Some("0123456789abcdef"),
        ];
        let rows = [5, 3, 0, NO_ROW, 1, 4, 2, 0, 5, 4, 4, 0];
        let expected = rows.map(|row| texts.get(row as usize).copied().flatten());

        let column = StringArray::from(texts.to_vec());
        let gathered = gather_short(&column, &Picks::new(&rows)).unwrap().unwrap();
        assert_eq!(gathered, StringArray::from(expected.to_vec()));
        let column = LargeStringArray::from(texts.to_vec()).slice(0, 6);
        let gathered = gather_short(&column, &Picks::new(&rows)).unwrap().unwrap();
        assert_eq!(gathered, LargeStringArray::from(expected.to_vec()));
    }

    #[test]
    fn stays_within_a_slice() {
        let column = StringArray::from(vec!["aa", "bbb", "c", "dddd"]).slice(1, 2);
        let gathered = gather_short(&column, &Picks::new(&[1, 0, 1])).unwrap().unwrap();
        assert_eq!(gathered, StringArray::from(vec!["c", "bbb", "c"]));
    }

    #[test]
    fn leaves_long_values_to_others() {
        let column = BinaryArray::from(vec![[7; 17].as_slice()]);
        assert!(gather_short(&column, &Picks::new(&[0, 0])).unwrap().is_none());
        let gathered = gather_short(&column, &Picks::new(&[0, NO_ROW])).unwrap().unwrap();
        assert_eq!(gathered.value(0), [7; 17]);
        assert!(gathered.is_null(1));
    }
}

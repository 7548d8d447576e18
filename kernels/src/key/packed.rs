//! Packed strings: short strings and binaries as the bytes of a key word.
//!
//! ```text
//!   "AAPL"   ──►  41 41 50 4C 00 00 00 00     padded with zeros to the table's longest key
//! ```
//!
//! Padding tells strings apart as long as none ends in a zero byte. So a build side can be packed
//! if its keys are short and none of them does; a probe string that is longer or does matches
//! nothing there (it is a *misfit*), and every other one matches where its word does.

use arrow_array::cast::AsArray;
use arrow_array::types::ByteArrayType;
use arrow_array::{Array, ArrayRef, GenericByteArray};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer};
use arrow_schema::DataType;

use super::words::KeyWord;
use crate::prefetch::prefetch_range;

/// The longest string that fits a word.
const PACKED_BYTES_MAX: usize = 16;

/// The longest string that lies within its view.
const INLINE_BYTES_MAX: usize = 12;

/// The bits of a word's first bytes, by their number.
const FIRST_BYTES: [u128; PACKED_BYTES_MAX + 1] = {
    let mut masks = [u128::MAX; PACKED_BYTES_MAX + 1];
    let mut bytes = 0;
    while bytes < PACKED_BYTES_MAX {
        masks[bytes] = (1 << (8 * bytes)) - 1;
        bytes += 1;
    }
    masks
};

/// Strings of a column, however stored.
enum Strings<'a> {
    Offsets32(&'a [i32], &'a [u8]),
    Offsets64(&'a [i64], &'a [u8]),
    Views(&'a [u128], &'a [Buffer]),
}

impl<'a> Strings<'a> {
    fn of(column: &'a ArrayRef) -> Option<Self> {
        fn parts<T: ByteArrayType>(array: &GenericByteArray<T>) -> (&[T::Offset], &[u8]) {
            (array.value_offsets(), array.value_data())
        }
        Some(match column.data_type() {
            DataType::Utf8 => {
                let (offsets, bytes) = parts(column.as_string::<i32>());
                Self::Offsets32(offsets, bytes)
            }
            DataType::Binary => {
                let (offsets, bytes) = parts(column.as_binary::<i32>());
                Self::Offsets32(offsets, bytes)
            }
            DataType::LargeUtf8 => {
                let (offsets, bytes) = parts(column.as_string::<i64>());
                Self::Offsets64(offsets, bytes)
            }
            DataType::LargeBinary => {
                let (offsets, bytes) = parts(column.as_binary::<i64>());
                Self::Offsets64(offsets, bytes)
            }
            DataType::Utf8View => {
                let views = column.as_string_view();
                Self::Views(views.views(), views.data_buffers())
            }
            DataType::BinaryView => {
                let views = column.as_binary_view();
                Self::Views(views.views(), views.data_buffers())
            }
            _ => return None,
        })
    }

    /// Calls back with each row's packed word and length; no word where it cannot be packed into
    /// `width` bytes.
    #[inline(always)]
    fn pack<W: KeyWord>(&self, width: usize, each: impl FnMut(usize, Option<(W, usize)>)) {
        match self {
            Self::Offsets32(offsets, bytes) => pack_offsets(offsets, bytes, width, each),
            Self::Offsets64(offsets, bytes) => pack_offsets(offsets, bytes, width, each),
            Self::Views(views, buffers) => pack_views(views, buffers, width, each),
        }
    }
}

#[inline(always)]
fn pack_offsets<O: ArrowNativeType, W: KeyWord>(
    offsets: &[O],
    bytes: &[u8],
    width: usize,
    mut each: impl FnMut(usize, Option<(W, usize)>),
) {
    for (row, pair) in offsets.windows(2).enumerate() {
        let (from, end) = (pair[0].as_usize(), pair[1].as_usize());
        each(row, pack_one(bytes, from, end.wrapping_sub(from), width));
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a view apart")]
fn pack_views<W: KeyWord>(
    views: &[u128],
    buffers: &[Buffer],
    width: usize,
    mut each: impl FnMut(usize, Option<(W, usize)>),
) {
    for (row, view) in views.iter().enumerate() {
        let length = *view as u32 as usize;
        let packed = if length <= INLINE_BYTES_MAX {
            let word = W::cut(view >> 32).first_bytes(length);
            (length <= width && !word.ends_in_zero(length)).then_some((word, length))
        } else {
            buffers
                .get((view >> 64) as u32 as usize)
                .and_then(|bytes| pack_one(bytes, (view >> 96) as u32 as usize, length, width))
        };
        each(row, packed);
    }
}

#[inline(always)]
fn pack_one<W: KeyWord>(bytes: &[u8], from: usize, length: usize, width: usize) -> Option<(W, usize)> {
    if length > width {
        return None;
    }
    let word = W::load(bytes, from)?.first_bytes(length);
    (!word.ends_in_zero(length)).then_some((word, length))
}

/// Returns the bytes that a build side's column needs when packed, or nothing where it cannot be.
pub(crate) fn packed_width(column: &ArrayRef, valid: Option<&NullBuffer>) -> Option<u32> {
    let strings = Strings::of(column)?;
    let mut width = 0;
    let mut packable = true;
    strings.pack::<u128>(PACKED_BYTES_MAX, |row, packed| match packed {
        Some((_, length)) => width = width.max(length),
        None => packable &= valid.is_some_and(|valid| valid.is_null(row)),
    });
    packable.then(|| u32::try_from(width).ok()).flatten()
}

/// Views packed at a time.
const BLOCK_ROWS: usize = 128;

/// Views between two requests for what comes later.
const CHUNK_ROWS: usize = 16;

/// Hands over packed views, a block at a time: nearly always the strings of a block all fit the width, and
/// are all held by their views, or all by the same buffer; then no row needs a branch of its own. The word of
/// a misfit is nothing.
fn pack_view_blocks<W: KeyWord>(
    views: &[u128],
    buffers: &[Buffer],
    width: usize,
    misfits: &mut Vec<u32>,
    mut each: impl FnMut(&[W]),
) {
    let mut packed = [W::default(); BLOCK_ROWS];
    let mut first = 0;
    for block in views.chunks(BLOCK_ROWS) {
        let ahead = views.get(first + 2 * BLOCK_ROWS..).unwrap_or_default();
        let packed = &mut packed[..block.len()];
        if !pack_alike(block, ahead, buffers, width, packed) {
            pack_views::<W>(block, buffers, width, |row, word| {
                packed[row] = word.map_or_else(W::default, |(word, _)| word);
                if word.is_none() {
                    note_misfit(misfits, first + row);
                }
            });
        }
        each(packed);
        first += block.len();
    }
}

/// Packs views that are all of one kind; returns false where they are not, or one is a misfit.
///
/// As in `chunks_ahead`, what comes a page later is asked for meanwhile: of the views `ahead`, and of the
/// buffer from the first one's string on.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a view apart")]
fn pack_alike<W: KeyWord>(
    views: &[u128],
    ahead: &[u128],
    buffers: &[Buffer],
    width: usize,
    packed: &mut [W],
) -> bool {
    let (mut shortest, mut longest) = (usize::MAX, 0);
    for (chunk, views) in views.chunks(CHUNK_ROWS).enumerate() {
        let from = BLOCK_ROWS + chunk * CHUNK_ROWS;
        prefetch_range(ahead, from..from + CHUNK_ROWS);
        for view in views {
            let length = *view as u32 as usize;
            (shortest, longest) = (length.min(shortest), length.max(longest));
        }
    }
    if longest > width.min(PACKED_BYTES_MAX) {
        return false;
    }
    if longest <= INLINE_BYTES_MAX {
        let mut ends_in_zero = false;
        for (packed, view) in packed.iter_mut().zip(views) {
            *packed = W::cut(view >> 32);
            // A string with a zero at its end uses fewer bytes than it has.
            ends_in_zero |= packed.used_bytes() != *view as u32 as usize;
        }
        return !ends_in_zero;
    }
    if shortest <= INLINE_BYTES_MAX {
        return false;
    }
    let buffer_of = |view: &u128| (view >> 64) as u32;
    let buffer = views.first().map_or(0, buffer_of);
    let Some(bytes) = buffers.get(buffer as usize) else {
        return false;
    };
    let ahead = ahead
        .first()
        .map_or(bytes.len(), |view| (view >> 96) as u32 as usize);
    let mut is_packed = true;
    let chunks = packed.chunks_mut(CHUNK_ROWS).zip(views.chunks(CHUNK_ROWS));
    for (chunk, (packed, views)) in chunks.enumerate() {
        let from = ahead + chunk * CHUNK_ROWS * longest;
        prefetch_range(bytes, from..from + CHUNK_ROWS * longest);
        for (packed, view) in packed.iter_mut().zip(views) {
            let (from, length) = ((view >> 96) as u32 as usize, *view as u32 as usize);
            // Sixteen bytes are loaded, and those that are not the string's go.
            let loaded = u128::load(bytes, from).unwrap_or_default();
            let word = loaded & FIRST_BYTES[length];
            *packed = W::cut(word);
            is_packed &= (buffer_of(view) == buffer) & (word & !FIRST_BYTES[length - 1] != 0);
        }
    }
    is_packed
}

/// Packs the views of a column that is a key by itself, and notes the misfits; nothing where it has none.
pub(crate) fn packed_views<W: KeyWord>(
    column: &ArrayRef,
    width: u32,
    misfits: &mut Vec<u32>,
) -> Option<Vec<W>> {
    let Strings::Views(views, buffers) = Strings::of(column)? else {
        return None;
    };
    let mut words = Vec::with_capacity(views.len());
    pack_view_blocks(views, buffers, width as usize, misfits, |block| {
        words.extend_from_slice(block);
    });
    Some(words)
}

/// Adds the packed strings of a column to words and notes the misfits.
pub(crate) fn place_packed<W: KeyWord>(
    words: &mut [W],
    column: &ArrayRef,
    shift: u32,
    width: u32,
    nulls: Option<&NullBuffer>,
    misfits: &mut Vec<u32>,
) {
    let Some(strings) = Strings::of(column) else {
        return;
    };
    if let (Strings::Views(views, buffers), None) = (&strings, nulls) {
        let mut words = words.iter_mut();
        return pack_view_blocks::<W>(views, buffers, width as usize, misfits, |block| {
            for (packed, into) in block.iter().zip(&mut words) {
                into.join(*packed, shift);
            }
        });
    }
    let mut words = words.iter_mut();
    let Some(nulls) = nulls else {
        strings.pack::<W>(width as usize, |row, packed| {
            if let Some(into) = words.next() {
                match packed {
                    Some((word, _)) => into.join(word, shift),
                    None => note_misfit(misfits, row),
                }
            }
        });
        return;
    };
    strings.pack::<W>(width as usize, |row, packed| {
        if let Some(into) = words.next()
            && nulls.is_valid(row)
        {
            match packed {
                Some((word, _)) => into.join(word, shift),
                None => note_misfit(misfits, row),
            }
        }
    });
}

/// Kept out of the loop, which then is short enough to be inlined whole.
#[cold]
pub(super) fn note_misfit(misfits: &mut Vec<u32>, row: usize) {
    misfits.extend(u32::try_from(row));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::StringViewBuilder;
    use arrow_array::{ArrayRef, BinaryArray, LargeStringArray, StringArray, StringViewArray};

    use super::{packed_views, packed_width, place_packed};

    fn pack(column: &ArrayRef, width: u32) -> (Vec<u128>, Vec<u32>) {
        let (mut words, mut misfits) = (vec![0_u128; column.len()], Vec::new());
        place_packed(&mut words, column, 0, width, None, &mut misfits);
        (words, misfits)
    }

    #[test]
    fn all_encodings_pack_alike() {
        let texts = [
            "",
            "a",
            "AAPL",
            "twelve bytes",
            "thirteen byte",
            "sixteen bytes ok",
        ];
        let plain: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let large: ArrayRef = Arc::new(LargeStringArray::from_iter_values(texts));
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        for column in [&plain, &large, &views] {
            assert_eq!(packed_width(column, None), Some(16));
            let (words, misfits) = pack(column, 16);
            for (word, text) in words.iter().zip(texts) {
                assert_eq!(&word.to_le_bytes()[..text.len()], text.as_bytes());
                assert!(word.to_le_bytes()[text.len()..].iter().all(|byte| *byte == 0));
            }
            assert!(misfits.is_empty());
            // Narrower words leave the long ones out.
            assert_eq!(pack(column, 4).1, [3, 4, 5]);
            assert_eq!(pack(&column.slice(1, 3), 4).1, [2]);
        }
    }

    #[test]
    fn a_block_of_views_with_a_misfit_packs_like_others() {
        let text = |row: usize| match row % 130 {
            129 => "nine byte".to_owned(),
            _ => format!("{row}"),
        };
        for rows in [127, 128, 129, 130, 400] {
            let plain: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(text)));
            let views: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..rows).map(text)));
            let (from_views, misfits) = pack(&views, 8);
            assert_eq!((&from_views, &misfits), (&pack(&plain, 8).0, &pack(&plain, 8).1));
            assert_eq!(misfits.len(), rows / 130);
        }
    }

    #[test]
    fn blocks_of_views_into_buffers_pack_like_others() {
        let long = |row: usize| "0123456789abcdef"[..13 + row % 4].replacen('0', &(row % 10).to_string(), 1);
        let check = |text: &dyn Fn(usize) -> String, width: u32, buffer_bytes: u32| {
            let texts: Vec<String> = (0..400).map(text).collect();
            let plain: ArrayRef = Arc::new(StringArray::from_iter_values(&texts));
            let mut views = StringViewBuilder::new().with_fixed_block_size(buffer_bytes);
            texts.iter().for_each(|text| views.append_value(text));
            let views: ArrayRef = Arc::new(views.finish());
            assert_eq!(pack(&views, width), pack(&plain, width));
            assert_eq!(
                packed_views::<u128>(&views, width, &mut Vec::new()),
                Some(pack(&plain, width).0)
            );
        };
        for buffer_bytes in [1 << 20, 1000] {
            check(&long, 16, buffer_bytes);
            // Some too long, some with a zero at the end, some held by their views.
            check(&long, 14, buffer_bytes);
            check(
                &|row| long(row).replace('c', if row == 252 { "\0" } else { "c" }),
                16,
                buffer_bytes,
            );
            check(
                &|row| if row == 130 { "short".into() } else { long(row) },
                16,
                buffer_bytes,
            );
        }
    }

    #[test]
    fn zeros_at_the_end_and_long_keys_are_no_words() {
        let zeros: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"a\0", b"\0", b"\0b", b"a"]));
        assert_eq!(packed_width(&zeros, None), None);
        assert_eq!(pack(&zeros, 8).1, [0, 1]);
        let long: ArrayRef = Arc::new(StringViewArray::from_iter_values(["seventeen bytes !"]));
        assert_eq!(packed_width(&long, None), None);
        let null: ArrayRef = Arc::new(StringArray::from(vec![None, Some("ab")]));
        assert_eq!(packed_width(&null, null.nulls()), Some(2));
    }
}

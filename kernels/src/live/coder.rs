//! Key coder: key columns → the words that the index of a live table knows.
//!
//! ```text
//!   form       keys                                               a word is …
//!   Narrow     fixed widths and short texts, at most 8 bytes      the key, in a u64
//!   Wide       the same, at most 16 bytes                         the key, in a u128
//!   Numbered   anything else                                      a number of its arrow-row bytes
//! ```
//!
//! A table does not know its later keys, so texts get all the room that is left in a word. A text
//! that still does not fit (a *misfit*) cannot be in the table; when a row with one comes, the
//! index changes to a coder with more room, which happens twice at most for a single text.

use std::borrow::Cow;

use arrow_array::{Array, ArrayRef};
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;

use super::interner::Interner;
use crate::KernelError;
use crate::index::plain_columns;
use crate::key::class::{KeyClass, key_type};
use crate::key::packed::packed_width;
use crate::key::words::{Place, WordPlan};

/// Words of keys, a word for each row.
pub(super) enum Words<'a> {
    Narrow(Cow<'a, [u64]>),
    Wide(Cow<'a, [u128]>),
}

impl<'a> Words<'a> {
    /// Puts words of one coder in a row.
    pub(super) fn concat(parts: Vec<Words<'a>>) -> Self {
        if parts.iter().any(|part| matches!(part, Self::Wide(_))) {
            let words = parts.iter().filter_map(|part| match part {
                Self::Wide(words) => Some(words.as_ref()),
                Self::Narrow(_) => None,
            });
            return Self::Wide(Cow::Owned(words.collect::<Vec<_>>().concat()));
        }
        let words = parts.iter().filter_map(|part| match part {
            Self::Narrow(words) => Some(words.as_ref()),
            Self::Wide(_) => None,
        });
        Self::Narrow(Cow::Owned(words.collect::<Vec<_>>().concat()))
    }

    /// Picks the words at some positions.
    pub(super) fn pick(&self, positions: &[u32]) -> Words<'static> {
        fn pick<W: Copy>(words: &[W], positions: &[u32]) -> Vec<W> {
            positions.iter().map(|at| words[*at as usize]).collect()
        }
        match self {
            Self::Narrow(words) => Words::Narrow(Cow::Owned(pick(words, positions))),
            Self::Wide(words) => Words::Wide(Cow::Owned(pick(words, positions))),
        }
    }
}

/// Turns keys of some types into words.
pub(super) struct KeyCoder {
    types: Vec<DataType>,
    /// The bytes that the longest text of each column takes when packed; none where one cannot be.
    text_bytes: Vec<Option<u32>>,
    form: Form,
}

enum Form {
    Narrow(WordPlan),
    Wide(WordPlan),
    Numbered(RowConverter, Interner),
}

impl KeyCoder {
    /// Makes the coder of keys of which none has come yet.
    pub(super) fn new(types: &[DataType]) -> Result<Self, KernelError> {
        let types = types.iter().enumerate();
        let types = types
            .map(|(position, data_type)| key_type(position, data_type))
            .collect::<Result<Vec<_>, _>>()?;
        let text = |plain: &DataType| matches!(plain, DataType::Utf8View | DataType::BinaryView).then_some(0);
        let text_bytes = types.iter().map(text).collect();
        Self::with_texts(types, text_bytes)
    }

    /// Makes a coder like this one that has room for more keys, given as decoded columns.
    pub(super) fn widened(&self, columns: &[ArrayRef]) -> Result<Self, KernelError> {
        let bytes = self.text_bytes.iter().zip(columns);
        let bytes = bytes.map(|(bytes, column)| Some((*bytes)?.max(packed_width(column, column.nulls())?)));
        Self::with_texts(self.types.clone(), bytes.collect())
    }

    /// Makes a coder like this one that has seen no key.
    pub(super) fn emptied(&self) -> Result<Self, KernelError> {
        Self::with_texts(self.types.clone(), self.text_bytes.clone())
    }

    fn with_texts(types: Vec<DataType>, text_bytes: Vec<Option<u32>>) -> Result<Self, KernelError> {
        let form = match word_plan(&types, &text_bytes) {
            Some(plan) if plan.bytes() <= 8 => Form::Narrow(plan),
            Some(plan) => Form::Wide(plan),
            None => {
                let fields = types.iter().map(|plain| SortField::new(plain.clone()));
                Form::Numbered(RowConverter::new(fields.collect())?, Interner::new())
            }
        };
        Ok(Self {
            types,
            text_bytes,
            form,
        })
    }

    pub(super) fn types(&self) -> &[DataType] {
        &self.types
    }

    pub(super) fn is_narrow(&self) -> bool {
        !matches!(self.form, Form::Wide(_))
    }

    /// Encodes decoded columns to look them up; rows that cannot be in the table are noted.
    pub(super) fn look<'a>(
        &self,
        columns: &'a [ArrayRef],
        misfits: &mut Vec<u32>,
    ) -> Result<Words<'a>, KernelError> {
        let rows = columns.first().map_or(0, |column| column.len());
        Ok(match &self.form {
            Form::Narrow(plan) => Words::Narrow(plan.encode(columns, rows, misfits)),
            Form::Wide(plan) => Words::Wide(plan.encode(columns, rows, misfits)),
            Form::Numbered(converter, interner) => {
                let keys = converter.convert_columns(&plain_columns(columns)?)?;
                let number = |(row, key): (u32, arrow_row::Row<'_>)| {
                    interner.get(key.as_ref()).unwrap_or_else(|| {
                        misfits.push(row);
                        0
                    })
                };
                Words::Narrow(Cow::Owned((0..).zip(keys.iter()).map(number).collect()))
            }
        })
    }

    /// Encodes decoded columns without NULLs to put them into the index; nothing where a key
    /// needs a wider coder.
    pub(super) fn admit<'a>(&self, columns: &'a [ArrayRef]) -> Result<Option<Words<'a>>, KernelError> {
        if let Form::Numbered(converter, interner) = &self.form {
            let keys = converter.convert_columns(&plain_columns(columns)?)?;
            let numbers = keys.iter().map(|key| interner.intern(key.as_ref()));
            return Ok(Some(Words::Narrow(Cow::Owned(numbers.collect()))));
        }
        let mut misfits = Vec::new();
        let words = self.look(columns, &mut misfits)?;
        Ok(misfits.is_empty().then_some(words))
    }

    /// Says whether most of what the coder remembers is of keys that are there no more.
    pub(super) fn is_wasteful(&self, live_rows: usize) -> bool {
        /// So few forgotten keys are not worth a new index.
        const KEYS_MIN: usize = 1 << 16;
        match &self.form {
            Form::Numbered(_, interner) => interner.key_count() > 2 * live_rows + KEYS_MIN,
            _ => false,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Numbered(converter, interner) => converter.size() + interner.heap_bytes(),
            _ => 0,
        }
    }
}

/// Plans words of 8 bytes, or else of 16, whose first text gets the room that is left.
fn word_plan(types: &[DataType], text_bytes: &[Option<u32>]) -> Option<WordPlan> {
    let mut widths = Vec::with_capacity(types.len());
    let mut first_text = None;
    for (at, plain) in types.iter().enumerate() {
        widths.push(match KeyClass::of(plain) {
            KeyClass::Bytes => {
                first_text.get_or_insert(at);
                Some(text_bytes[at]?)
            }
            class => Some(class.word_bytes()?),
        });
    }
    let bytes: u32 = widths.iter().flatten().sum();
    let room = if bytes <= 8 { 8 } else { 16 };
    if let Some(at) = first_text {
        widths[at] = widths[at].map(|width| width + room.max(bytes) - bytes);
    }
    let places: Vec<_> = widths.into_iter().map(|width| width.map(Place::Whole)).collect();
    WordPlan::new(&places, false)
}

/// Brings key columns to plain arrays, one for each type, after checking them.
pub(super) fn decode_keys(types: &[DataType], keys: &[ArrayRef]) -> Result<Vec<ArrayRef>, KernelError> {
    crate::index::check_key_types(types, keys)?;
    crate::index::common_length(keys)?;
    keys.iter().map(crate::key::class::decode).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int32Array, StringArray};
    use arrow_schema::DataType;

    use super::{Form, KeyCoder};

    fn texts(texts: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(texts.to_vec()))
    }

    #[test]
    fn widens_step_by_step() {
        let coder = KeyCoder::new(&[DataType::Utf8]).unwrap();
        assert!(matches!(coder.form, Form::Narrow(_)));
        assert!(coder.admit(&[texts(&["", "eight by"])]).unwrap().is_some());
        let longer = [texts(&["nine byte"])];
        assert!(coder.admit(&longer).unwrap().is_none());
        let coder = coder.widened(&longer).unwrap();
        assert!(matches!(coder.form, Form::Wide(_)));
        assert!(coder.admit(&[texts(&["sixteen bytes ok"])]).unwrap().is_some());
        let longest = [texts(&["more than sixteen bytes"])];
        let coder = coder.widened(&longest).unwrap();
        assert!(matches!(coder.form, Form::Numbered(..)) && coder.is_narrow());
        assert!(coder.admit(&longest).unwrap().is_some());
        let mut misfits = Vec::new();
        coder
            .look(&[texts(&["more than sixteen bytes", "a"])], &mut misfits)
            .unwrap();
        assert_eq!(misfits, [1]);
        assert!(coder.heap_bytes() > 0 && !coder.is_wasteful(0));
    }

    #[test]
    fn shares_a_word_between_numbers_and_texts() {
        let coder = KeyCoder::new(&[DataType::Int32, DataType::Utf8, DataType::Utf8View]).unwrap();
        let number: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let columns = [number.clone(), texts(&["four"]), texts(&[""])];
        assert!(matches!(coder.form, Form::Narrow(_)) && coder.admit(&columns).unwrap().is_some());
        let columns = [number, texts(&["fo"]), texts(&["seven b"])];
        assert!(coder.admit(&columns).unwrap().is_none());
        let coder = coder.widened(&columns).unwrap();
        assert!(matches!(coder.form, Form::Wide(_)) && coder.admit(&columns).unwrap().is_some());
    }
}

//! Columns of scalars that grow by one text at a time, and shrink again where a record is refused.

use std::sync::Arc;

use arrow::array::builder::{BooleanBufferBuilder, NullBufferBuilder, make_view};
use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, StringViewArray};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use fletching::{Error, Result};

use crate::file::text::reading::{Reading, Reason, boolean, read_as};
use crate::file::text::values::{BadCell, parse_column};

/// A column of scalars that is being read.
pub(super) trait Leaf: Send {
    /// Returns how many rows there are.
    fn len(&self) -> usize;

    /// Adds a value; one that is not of the type becomes NULL and is noted as bad.
    fn put(&mut self, text: &str);

    /// Adds NULL.
    fn put_null(&mut self);

    /// Forgets all but the first rows.
    fn truncate(&mut self, rows: usize);

    /// Takes the rows and the bad ones among them, and begins anew.
    fn finish(&mut self, bad: &mut Vec<BadCell>) -> Result<ArrayRef>;
}

/// Makes an empty column of a type.
pub(super) fn leaf(data_type: &DataType) -> Result<Box<dyn Leaf>> {
    read_as(data_type, NewLeaf)
}

struct NewLeaf;

impl Reading for NewLeaf {
    type Output = Box<dyn Leaf>;

    fn primitives<T, F>(self, data_type: &DataType, parse: F) -> Box<dyn Leaf>
    where
        T: ArrowPrimitiveType,
        F: Fn(&str) -> Result<T::Native, Reason> + Send + 'static,
    {
        Box::new(Primitives::<T, F> {
            data_type: data_type.clone(),
            parse,
            values: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            bad: BadCells::default(),
        })
    }

    fn booleans(self) -> Box<dyn Leaf> {
        Box::new(Booleans {
            values: BooleanBufferBuilder::new(0),
            nulls: NullBufferBuilder::new(0),
            bad: BadCells::default(),
        })
    }

    fn texts(self) -> Box<dyn Leaf> {
        Box::new(Texts::new())
    }

    fn others(self, data_type: &DataType) -> Result<Box<dyn Leaf>> {
        Ok(Box::new(Others {
            data_type: data_type.clone(),
            texts: Texts::new(),
        }))
    }
}

/// The bad cells of a column, in the order of its rows.
#[derive(Default)]
struct BadCells(Vec<BadCell>);

impl BadCells {
    fn note(&mut self, row: usize, found: &str, reason: Reason) {
        self.0.push(BadCell {
            row,
            found: found.to_owned(),
            reason,
        });
    }

    fn truncate(&mut self, rows: usize) {
        while self.0.last().is_some_and(|bad| bad.row >= rows) {
            self.0.pop();
        }
    }
}

/// Takes the nulls, if there are any left.
pub(super) fn taken(nulls: &mut NullBufferBuilder) -> Option<NullBuffer> {
    nulls.finish().filter(|nulls| nulls.null_count() > 0)
}

pub(super) fn broken(error: ArrowError) -> Error {
    Error::internal(format!("a JSON column is broken: {error}"))
}

struct Primitives<T: ArrowPrimitiveType, F> {
    data_type: DataType,
    parse: F,
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    bad: BadCells,
}

impl<T, F> Leaf for Primitives<T, F>
where
    T: ArrowPrimitiveType,
    F: Fn(&str) -> Result<T::Native, Reason> + Send,
{
    fn len(&self) -> usize {
        self.values.len()
    }

    fn put(&mut self, text: &str) {
        match (self.parse)(text) {
            Ok(value) => {
                self.values.push(value);
                self.nulls.append_non_null();
            }
            Err(reason) => {
                self.bad.note(self.values.len(), text, reason);
                self.put_null();
            }
        }
    }

    fn put_null(&mut self) {
        self.values.push(T::default_value());
        self.nulls.append_null();
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
        self.bad.truncate(rows);
    }

    fn finish(&mut self, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
        let room = Vec::with_capacity(self.values.len());
        let values = ScalarBuffer::from(std::mem::replace(&mut self.values, room));
        bad.append(&mut self.bad.0);
        let array = PrimitiveArray::<T>::try_new(values, taken(&mut self.nulls)).map_err(broken)?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

struct Booleans {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
    bad: BadCells,
}

impl Leaf for Booleans {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn put(&mut self, text: &str) {
        let value = boolean(text);
        if value.is_none() {
            self.bad.note(self.values.len(), text, "");
        }
        self.values.append(value.unwrap_or_default());
        self.nulls.append(value.is_some());
    }

    fn put_null(&mut self) {
        self.values.append(false);
        self.nulls.append_null();
    }

    fn truncate(&mut self, rows: usize) {
        if rows < self.values.len() {
            self.values.truncate(rows);
            self.nulls.truncate(rows);
            self.bad.truncate(rows);
        }
    }

    fn finish(&mut self, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
        bad.append(&mut self.bad.0);
        let values = self.values.finish();
        Ok(Arc::new(BooleanArray::new(values, taken(&mut self.nulls))))
    }
}

/// How many bytes of text one block holds; a view names a place in it by 32 bits.
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// How long text may be that its view holds itself.
const INLINE_BYTES: usize = 12;

/// Text as views, as tables hold it.
struct Texts {
    views: Vec<u128>,
    /// The bytes of longer texts. Those of rows that were taken back stay, unseen.
    blocks: Vec<Vec<u8>>,
    nulls: NullBufferBuilder,
}

impl Texts {
    fn new() -> Self {
        Self {
            views: Vec::new(),
            blocks: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        }
    }

    /// Keeps the bytes of a longer text, and returns its view.
    fn keep(&mut self, text: &[u8]) -> u128 {
        let is_full = |block: &Vec<u8>| block.len() + text.len() > BLOCK_BYTES_MAX;
        if self.blocks.last().is_none_or(is_full) {
            self.blocks.push(Vec::new());
        }
        let (last, blocks) = (self.blocks.len() - 1, &mut self.blocks);
        let block = &mut blocks[last];
        // Places fit 32 bits by the size of a block; one that did not would be refused at the end.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let view = make_view(text, place(last), place(block.len()));
        block.extend_from_slice(text);
        view
    }

    fn take(&mut self) -> Result<StringViewArray> {
        let room = Vec::with_capacity(self.views.len());
        let views = ScalarBuffer::from(std::mem::replace(&mut self.views, room));
        let used = self.blocks.last().map_or(0, Vec::len);
        let blocks: Vec<Buffer> = self.blocks.drain(..).map(Buffer::from).collect();
        if used > 0 {
            self.blocks.push(Vec::with_capacity(used));
        }
        StringViewArray::try_new(views, blocks, taken(&mut self.nulls)).map_err(broken)
    }
}

impl Leaf for Texts {
    fn len(&self) -> usize {
        self.views.len()
    }

    fn put(&mut self, text: &str) {
        let text = text.as_bytes();
        let view = match text.len() <= INLINE_BYTES {
            true => make_view(text, 0, 0),
            false => self.keep(text),
        };
        self.views.push(view);
        self.nulls.append_non_null();
    }

    fn put_null(&mut self) {
        self.views.push(0);
        self.nulls.append_null();
    }

    fn truncate(&mut self, rows: usize) {
        self.views.truncate(rows);
        self.nulls.truncate(rows);
    }

    fn finish(&mut self, _: &mut Vec<BadCell>) -> Result<ArrayRef> {
        Ok(Arc::new(self.take()?))
    }
}

/// A rarer type: kept as text, and read when all of it is there.
struct Others {
    data_type: DataType,
    texts: Texts,
}

impl Leaf for Others {
    fn len(&self) -> usize {
        self.texts.len()
    }

    fn put(&mut self, text: &str) {
        self.texts.put(text);
    }

    fn put_null(&mut self) {
        self.texts.put_null();
    }

    fn truncate(&mut self, rows: usize) {
        self.texts.truncate(rows);
    }

    fn finish(&mut self, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
        parse_column(&self.texts.take()?, &self.data_type, bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;

    #[test]
    fn rows_that_are_taken_back_leave_nothing() {
        for data_type in [
            DataType::Int64,
            DataType::Boolean,
            DataType::Utf8View,
            DataType::Binary,
        ] {
            let mut column = leaf(&data_type).unwrap();
            column.put("1");
            column.put("not of the type, and longer than a view holds");
            column.put_null();
            column.truncate(5);
            assert_eq!(column.len(), 3);
            column.truncate(1);
            let mut bad = Vec::new();
            let array = column.finish(&mut bad).unwrap();
            assert_eq!(array.len(), 1);
            // Bytes are read when all are there: "1" is half a byte.
            assert_eq!(bad.len(), usize::from(data_type == DataType::Binary));
            assert_eq!(column.len(), 0);
        }
    }

    #[test]
    fn bad_cells_are_null_and_named() {
        let mut column = leaf(&DataType::Int64).unwrap();
        ["1", "x", "3"].iter().for_each(|text| column.put(text));
        let mut bad = Vec::new();
        let array = column.finish(&mut bad).unwrap();
        let values: Vec<_> = array.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(values, [Some(1), None, Some(3)]);
        assert_eq!((bad[0].row, bad[0].found.as_str()), (1, "x"));
    }
}

//! Columns of any type that grow by one JSON value at a time: scalars, objects, lists, maps.
//!
//! ```text
//!  LIST<STRUCT<price DECIMAL, note VARCHAR>>
//!
//!  List   ends [2, 2, 5]        each list ends where the next begins
//!   └ Struct   5 rows           its keys in the order in which they come
//!      ├ price 5 values
//!      └ note  5 values
//! ```
//!
//! A row may be taken back, wherever its reading has stopped: a parent's length rules, and children
//! that are ahead are cut to it. So the last of equal keys counts, and a refused record leaves
//! nothing.

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, StructArray, make_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use fletching::{Error, Result};

use super::keys::Keys;
use super::leaf::{Leaf, broken, leaf, taken};
use super::scan::{Scanner, Syntax, Token};
use crate::file::text::values::BadCell;

/// What was found in the place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Value,
    Null,
    /// Something of another shape than the type's; why.
    Differs(&'static str),
}

const NOT_NULL: &str = "has NULL where its type says NOT NULL";
const SHAPE: &str = "has another shape than its type";
const SIZE: &str = "has another number of items than its type";

/// A column that is being read.
pub(super) enum Column {
    Leaf(Box<dyn Leaf>),
    Struct(StructColumn),
    List(Box<ListColumn>),
    Map(Box<MapColumn>),
}

impl Column {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Struct(fields) => Self::Struct(StructColumn::new(fields)?),
            DataType::List(item) => Self::List(Box::new(ListColumn::new(ListKind::Short, item)?)),
            DataType::LargeList(item) => Self::List(Box::new(ListColumn::new(ListKind::Long, item)?)),
            DataType::FixedSizeList(item, size) => {
                Self::List(Box::new(ListColumn::new(ListKind::Fixed(*size), item)?))
            }
            DataType::Map(entries, sorted) => Self::Map(Box::new(MapColumn::new(entries, *sorted)?)),
            scalar => Self::Leaf(leaf(scalar)?),
        })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Struct(column) => column.rows,
            Self::List(column) => column.ends.len(),
            Self::Map(column) => column.ends.len(),
        }
    }

    pub(super) fn put_null(&mut self) {
        match self {
            Self::Leaf(leaf) => leaf.put_null(),
            Self::Struct(column) => column.put_null(),
            Self::List(column) => column.put_null(),
            Self::Map(column) => column.put_null(),
        }
    }

    /// Forgets all but the first rows, also what there is of a row that is half read.
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Leaf(leaf) => leaf.truncate(rows),
            Self::Struct(column) => column.truncate(rows),
            Self::List(column) => {
                truncate_lists(&mut column.ends, &mut column.nulls, rows);
                column.items.truncate(column.ends.last().copied().unwrap_or(0));
            }
            Self::Map(column) => {
                truncate_lists(&mut column.ends, &mut column.nulls, rows);
                let entries = column.ends.last().copied().unwrap_or(0);
                column.keys.truncate(entries);
                column.values.truncate(entries);
            }
        }
    }

    /// Reads one value as one row.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>, scratch: &mut String) -> Result<Found, Syntax> {
        let token = scanner.token()?;
        match (&mut *self, token) {
            (Self::Leaf(leaf), Token::Text) => leaf.put(scanner.text(scratch)?),
            (Self::Leaf(leaf), Token::Number(text)) => leaf.put(text),
            (Self::Leaf(leaf), Token::True) => leaf.put("true"),
            (Self::Leaf(leaf), Token::False) => leaf.put("false"),
            (column, Token::Null) => {
                column.put_null();
                return Ok(Found::Null);
            }
            (Self::Struct(column), Token::Object) => return column.read(scanner, scratch),
            (Self::List(column), Token::List) => return column.read(scanner, scratch),
            (Self::Map(column), Token::Object) => return column.read(scanner, scratch),
            (column, token) => {
                scanner.skip_rest(token)?;
                column.put_null();
                return Ok(Found::Differs(SHAPE));
            }
        }
        Ok(Found::Value)
    }

    /// Takes the rows and the bad cells among them, and begins anew.
    pub(super) fn finish(&mut self, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
        match self {
            Self::Leaf(leaf) => leaf.finish(bad),
            Self::Struct(column) => Ok(Arc::new(column.finish(bad)?)),
            Self::List(column) => column.finish(bad),
            Self::Map(column) => column.finish(bad),
        }
    }
}

fn truncate_lists(ends: &mut Vec<usize>, nulls: &mut NullBufferBuilder, rows: usize) {
    ends.truncate(rows);
    nulls.truncate(rows);
}

/// Takes a child's rows. A bad cell makes its record a bad one; until that is left out, it must not
/// be NULL where the type allows none.
fn finish_child(child: &mut Column, field: &Field, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
    let before = bad.len();
    let array = child.finish(bad)?;
    if field.is_nullable() || bad.len() == before {
        return Ok(array);
    }
    let data = array.to_data().into_builder().nulls(None).build();
    Ok(make_array(data.map_err(broken)?))
}

/// Objects as rows of a type.
pub(super) struct StructColumn {
    fields: Fields,
    pub(super) columns: Vec<Column>,
    keys: Keys,
    nulls: NullBufferBuilder,
    pub(super) rows: usize,
    /// The fields of the row that is being read whose value is not as the type says, and why.
    pub(super) differing: Vec<(usize, &'static str)>,
}

impl StructColumn {
    pub(super) fn new(fields: &Fields) -> Result<Self> {
        let columns = fields.iter().map(|field| Column::new(field.data_type()));
        Ok(Self {
            fields: fields.clone(),
            columns: columns.collect::<Result<_>>()?,
            keys: Keys::new(fields.iter().map(|field| field.name().as_str())),
            nulls: NullBufferBuilder::new(0),
            rows: 0,
            differing: Vec::new(),
        })
    }

    fn put_null(&mut self) {
        self.columns.iter_mut().for_each(Column::put_null);
        self.nulls.append_null();
        self.rows += 1;
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        self.nulls.truncate(rows);
        self.rows = self.rows.min(rows);
    }

    /// Reads an object whose opening brace is passed. A key without a value is NULL, of equal keys
    /// the last counts, others are walked over.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>, scratch: &mut String) -> Result<Found, Syntax> {
        let row = self.rows;
        let (mut cursor, mut found) = (self.keys.begin(), 0);
        self.differing.clear();
        while scanner.next_key()? {
            let field = match self.keys.guess(&mut cursor, scanner.rest()) {
                Some((field, bytes)) => {
                    scanner.pass(bytes);
                    field
                }
                None => match scanner.plain_text()? {
                    Some(name) => self.keys.find(&mut cursor, name),
                    None => self.keys.find_escaped(scanner.text(scratch)?),
                },
            };
            scanner.colon()?;
            let Some(field) = field else {
                scanner.skip()?;
                continue;
            };
            let column = &mut self.columns[field];
            if column.len() > row {
                column.truncate(row);
                self.differing.retain(|(differing, _)| *differing != field);
            } else {
                found += 1;
            }
            match column.read(scanner, scratch)? {
                Found::Null if !self.fields[field].is_nullable() => self.differing.push((field, NOT_NULL)),
                Found::Differs(why) => self.differing.push((field, why)),
                _ => {}
            }
        }
        if found < self.columns.len() {
            self.fill(row);
        }
        self.nulls.append_non_null();
        self.rows += 1;
        let first = self.differing.first();
        Ok(first.map_or(Found::Value, |differing| Found::Differs(differing.1)))
    }

    /// Makes the fields NULL that a row has no value for.
    fn fill(&mut self, row: usize) {
        for (at, column) in self.columns.iter_mut().enumerate() {
            if column.len() == row {
                column.put_null();
                if !self.fields[at].is_nullable() {
                    self.differing.push((at, NOT_NULL));
                }
            }
        }
    }

    /// Returns how many rows there are and counts from none again.
    pub(super) fn begin_anew(&mut self) -> usize {
        self.nulls = NullBufferBuilder::new(0);
        std::mem::take(&mut self.rows)
    }

    fn finish(&mut self, bad: &mut Vec<BadCell>) -> Result<StructArray> {
        let nulls = taken(&mut self.nulls);
        let rows = self.begin_anew();
        let mut children = Vec::with_capacity(self.columns.len());
        for (column, field) in self.columns.iter_mut().zip(&self.fields) {
            children.push(finish_child(column, field, bad)?);
        }
        StructArray::try_new_with_length(self.fields.clone(), children, nulls, rows).map_err(broken)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListKind {
    Short,
    Long,
    Fixed(i32),
}

/// Lists as rows of a type.
pub(super) struct ListColumn {
    kind: ListKind,
    item: FieldRef,
    items: Column,
    ends: Vec<usize>,
    nulls: NullBufferBuilder,
}

impl ListColumn {
    fn new(kind: ListKind, item: &FieldRef) -> Result<Self> {
        Ok(Self {
            kind,
            item: Arc::clone(item),
            items: Column::new(item.data_type())?,
            ends: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        })
    }

    /// How many items each list has, where that is fixed.
    fn size(&self) -> Option<usize> {
        match self.kind {
            ListKind::Fixed(size) => Some(usize::try_from(size).unwrap_or(0)),
            _ => None,
        }
    }

    fn put_null(&mut self) {
        for _ in 0..self.size().unwrap_or(0) {
            self.items.put_null();
        }
        self.ends.push(self.items.len());
        self.nulls.append_null();
    }

    /// Reads a list whose opening bracket is passed.
    fn read(&mut self, scanner: &mut Scanner<'_>, scratch: &mut String) -> Result<Found, Syntax> {
        let start = self.items.len();
        let mut found = Found::Value;
        while scanner.next_item()? {
            match self.items.read(scanner, scratch)? {
                Found::Null if !self.item.is_nullable() => found = Found::Differs(NOT_NULL),
                Found::Differs(why) => found = Found::Differs(why),
                _ => {}
            }
        }
        if self.size().is_some_and(|size| self.items.len() - start != size) {
            found = Found::Differs(SIZE);
        }
        self.ends.push(self.items.len());
        self.nulls.append_non_null();
        Ok(found)
    }

    fn finish(&mut self, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
        let ends = std::mem::take(&mut self.ends);
        let mut bad_items = Vec::new();
        let items = finish_child(&mut self.items, &self.item, &mut bad_items)?;
        bad.extend(lifted(bad_items, &ends));
        let (item, nulls) = (Arc::clone(&self.item), taken(&mut self.nulls));
        let array: ArrayRef = match self.kind {
            ListKind::Short => Arc::new(list::<i32>(item, &ends, items, nulls)?),
            ListKind::Long => Arc::new(list::<i64>(item, &ends, items, nulls)?),
            ListKind::Fixed(size) => {
                let array = FixedSizeListArray::try_new_with_length(item, size, items, nulls, ends.len());
                Arc::new(array.map_err(broken)?)
            }
        };
        Ok(array)
    }
}

fn list<O: OffsetSizeTrait>(
    item: FieldRef,
    ends: &[usize],
    items: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<GenericListArray<O>> {
    GenericListArray::try_new(item, offsets(ends)?, items, nulls).map_err(broken)
}

/// Makes offsets of ends, which never go back.
fn offsets<O: OffsetSizeTrait>(ends: &[usize]) -> Result<OffsetBuffer<O>> {
    let starts = std::iter::once(&0).chain(ends);
    let offsets: Option<Vec<O>> = starts.map(|end| O::from_usize(*end)).collect();
    let offsets = offsets.ok_or_else(|| Error::internal("a batch has more list items than offsets count"))?;
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}

/// Gives the bad items of lists the rows of their lists.
fn lifted(bad: Vec<BadCell>, ends: &[usize]) -> impl Iterator<Item = BadCell> {
    bad.into_iter().map(|cell| BadCell {
        row: ends.partition_point(|end| *end <= cell.row),
        ..cell
    })
}

/// Objects as rows of a map. Equal keys stay side by side.
pub(super) struct MapColumn {
    entries: FieldRef,
    sorted: bool,
    key: FieldRef,
    value: FieldRef,
    keys: Column,
    values: Column,
    ends: Vec<usize>,
    nulls: NullBufferBuilder,
}

impl MapColumn {
    fn new(entries: &FieldRef, sorted: bool) -> Result<Self> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(Error::internal("a map has no entries"));
        };
        let [key, value] = fields.as_ref() else {
            return Err(Error::internal("a map's entry is no pair"));
        };
        Ok(Self {
            entries: Arc::clone(entries),
            sorted,
            key: Arc::clone(key),
            value: Arc::clone(value),
            keys: Column::new(key.data_type())?,
            values: Column::new(value.data_type())?,
            ends: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        })
    }

    fn put_null(&mut self) {
        self.ends.push(self.keys.len());
        self.nulls.append_null();
    }

    /// Reads an object whose opening brace is passed.
    fn read(&mut self, scanner: &mut Scanner<'_>, scratch: &mut String) -> Result<Found, Syntax> {
        let mut found = Found::Value;
        while scanner.next_key()? {
            let key = scanner.text(scratch)?;
            match &mut self.keys {
                Column::Leaf(leaf) => leaf.put(key),
                column => {
                    column.put_null();
                    found = Found::Differs(SHAPE);
                }
            }
            scanner.colon()?;
            match self.values.read(scanner, scratch)? {
                Found::Null if !self.value.is_nullable() => found = Found::Differs(NOT_NULL),
                Found::Differs(why) => found = Found::Differs(why),
                _ => {}
            }
        }
        self.ends.push(self.keys.len());
        self.nulls.append_non_null();
        Ok(found)
    }

    fn finish(&mut self, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
        let ends = std::mem::take(&mut self.ends);
        let mut bad_entries = Vec::new();
        let children = vec![
            finish_child(&mut self.keys, &self.key, &mut bad_entries)?,
            finish_child(&mut self.values, &self.value, &mut bad_entries)?,
        ];
        bad.extend(lifted(bad_entries, &ends));
        let fields: Fields = vec![Arc::clone(&self.key), Arc::clone(&self.value)].into();
        let length = children[0].len();
        let entries = StructArray::try_new_with_length(fields, children, None, length).map_err(broken)?;
        let nulls = taken(&mut self.nulls);
        let entry = Arc::clone(&self.entries);
        let array = MapArray::try_new(entry, offsets(&ends)?, entries, nulls, self.sorted);
        Ok(Arc::new(array.map_err(broken)?))
    }
}

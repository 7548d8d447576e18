//! Columns within columns: messages, lists and maps.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, MapArray, NullBufferBuilder, StructArray, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use fletching::{Error, Result};

use super::super::BadMessage;
use super::super::fit::fit;
use super::columns::{Flaw, Found, MessageColumns, OTHER_KIND, joined};
use super::leaves::LeafColumn;
use super::shape::Shape;
use super::wire::{Wire, WireReader};

/// A column.
pub(super) enum Column {
    Leaf(Box<LeafColumn>),
    Message(MessageColumns, NullBufferBuilder),
    List(Box<Column>, Offsets),
    Map(Box<MapColumn>),
}

pub(super) struct MapColumn {
    key: LeafColumn,
    value: Column,
    offsets: Offsets,
}

/// Where each list begins and ends among the elements of all.
pub(super) struct Offsets {
    ends: Vec<i32>,
    valid: NullBufferBuilder,
    len: i32,
}

impl Offsets {
    fn new() -> Self {
        Self {
            ends: vec![0],
            valid: NullBufferBuilder::new(0),
            len: 0,
        }
    }

    fn push(&mut self, elements: usize, is_valid: bool) {
        let elements = i32::try_from(elements).unwrap_or(i32::MAX);
        self.len = self.len.saturating_add(elements);
        self.ends.push(self.len);
        self.valid.append(is_valid);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        self.len = 0;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        (offsets, self.valid.finish())
    }
}

impl Column {
    pub(super) fn new(shape: &Shape) -> Self {
        match shape {
            Shape::One(leaf) => Self::Leaf(Box::new(LeafColumn::new(leaf))),
            Shape::Message(fields) => Self::Message(MessageColumns::new(fields), NullBufferBuilder::new(0)),
            Shape::List { item, .. } => Self::List(Box::new(Self::new(item)), Offsets::new()),
            Shape::Map { key, value } => Self::Map(Box::new(MapColumn {
                key: LeafColumn::new(key),
                value: Self::new(value),
                offsets: Offsets::new(),
            })),
        }
    }

    pub(super) fn push_null(&mut self) {
        match self {
            Self::Leaf(column) => column.push_null(),
            Self::Message(columns, valid) => {
                columns.push_nulls();
                valid.append_null();
            }
            Self::List(_, offsets) => offsets.push(0, false),
            Self::Map(map) => map.offsets.push(0, false),
        }
    }

    /// Adds what a field is that a message leaves out.
    pub(super) fn push_zero(&mut self) {
        match self {
            Self::Leaf(column) => column.push_zero(),
            Self::Message(..) => self.push_null(),
            Self::List(_, offsets) => offsets.push(0, true),
            Self::Map(map) => map.offsets.push(0, true),
        }
    }

    /// Adds what was found of a field, of which there is something.
    pub(super) fn push(&mut self, all: &[u8], found: &[Found]) -> Result<(), Flaw> {
        match self {
            Self::Leaf(column) => {
                let pushed = match found {
                    [one] => column.push(one.wire(all)),
                    // A message that is one value: its parts are put together, as of any message.
                    parts => joined_parts(all, parts).and_then(|whole| column.push(Wire::Bytes(&whole))),
                };
                pushed.map_err(|why| {
                    column.push_null();
                    Flaw::new(why)
                })
            }
            Self::Message(columns, valid) => push_message(columns, valid, all, found),
            Self::List(item, offsets) => push_list(item, offsets, all, found),
            Self::Map(map) => map.push(all, found),
        }
    }

    pub(super) fn finish(&mut self, declared: &Field, bad: &mut Vec<BadMessage>) -> Result<ArrayRef> {
        let mut cells = Vec::new();
        let column = match (self, declared.data_type()) {
            (Self::Leaf(column), _) => {
                let column = fit(&column.finish(), declared, &mut cells)?;
                // The path is put together from here on up.
                cells.iter_mut().for_each(|cell| cell.column = None);
                column
            }
            (Self::Message(columns, valid), DataType::Struct(fields)) => {
                let arrays = columns.finish(fields, &mut cells)?;
                let made = StructArray::try_new(fields.clone(), arrays, valid.finish());
                Arc::new(made.map_err(broken)?) as ArrayRef
            }
            (Self::List(item, offsets), DataType::List(field) | DataType::LargeList(field)) => {
                let items = item.finish(field, &mut cells)?;
                let (offsets, valid) = offsets.finish();
                lift(&mut cells, &offsets, "[]");
                let made = ListArray::try_new(Arc::clone(field), offsets, items, valid).map_err(broken)?;
                match declared.data_type() {
                    DataType::List(_) => Arc::new(made),
                    large => cast(&made, large).map_err(broken)?,
                }
            }
            (Self::Map(map), DataType::Map(entries, is_sorted)) => {
                Arc::new(map.finish((entries, *is_sorted), &mut cells)?)
            }
            (_, other) => return Err(Error::internal(format!("a Protobuf field was to become {other}"))),
        };
        bad.append(&mut cells);
        Ok(column)
    }
}

/// Makes flaws of elements those of the rows they are in.
fn lift(cells: &mut [BadMessage], offsets: &OffsetBuffer<i32>, path: &str) {
    for cell in cells {
        let element = i32::try_from(cell.message).unwrap_or(i32::MAX);
        let after = offsets.partition_point(|begin| *begin <= element);
        cell.message = after.saturating_sub(1);
        let rest = cell.column.take().unwrap_or_default();
        cell.column = Some(joined(path, &rest));
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("Protobuf columns do not go together: {error}"))
}

fn joined_parts(all: &[u8], parts: &[Found]) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    for part in parts {
        match part.wire(all) {
            Wire::Bytes(bytes) => whole.extend_from_slice(bytes),
            _ => return Err(OTHER_KIND.to_owned()),
        }
    }
    Ok(whole)
}

/// Adds a message that is put together of all its occurrences.
fn push_message(
    columns: &mut MessageColumns,
    valid: &mut NullBufferBuilder,
    all: &[u8],
    found: &[Found],
) -> Result<(), Flaw> {
    columns.clear();
    for part in found {
        let read = match part {
            Found::Bytes(range) => columns.read(all, range.clone()),
            _ => Err(OTHER_KIND),
        };
        if let Err(why) = read {
            columns.push_nulls();
            valid.append_null();
            return Err(Flaw::new(why));
        }
    }
    valid.append_non_null();
    columns.push_found(all)
}

/// Adds the elements of a list, which stand alone or, where they are numbers, in pieces.
fn push_list(item: &mut Column, offsets: &mut Offsets, all: &[u8], found: &[Found]) -> Result<(), Flaw> {
    let (mut elements, mut first) = (0, Ok(()));
    for part in found {
        if let (Column::Leaf(column), Found::Bytes(range)) = (&mut *item, part)
            && column.packs()
        {
            let mut reader = WireReader::new(&all[range.clone()]);
            let unpacked = loop {
                match column.next_packed(&mut reader) {
                    Ok(None) => break Ok(()),
                    Ok(Some(value)) => match column.push(value) {
                        Ok(()) => elements += 1,
                        Err(why) => break Err(why),
                    },
                    Err(why) => break Err(why),
                }
            };
            if first.is_ok() {
                first = unpacked.map_err(Flaw::new);
            }
            continue;
        }
        let pushed = item.push(all, std::slice::from_ref(part));
        elements += 1;
        if first.is_ok() {
            first = pushed;
        }
    }
    offsets.push(elements, true);
    first.map_err(|flaw| flaw.within("[]"))
}

impl MapColumn {
    /// Adds the entries; of those with one key the last counts.
    fn push(&mut self, all: &[u8], found: &[Found]) -> Result<(), Flaw> {
        let mut entries: Vec<(Option<Found>, Option<Found>)> = Vec::with_capacity(found.len());
        for part in found {
            let entry = match part {
                Found::Bytes(range) => entry(all, range.clone()),
                _ => Err(OTHER_KIND),
            };
            match entry {
                Ok(entry) => entries.push(entry),
                Err(why) => {
                    self.offsets.push(0, false);
                    return Err(Flaw::new(why));
                }
            }
        }
        let key_of = |key: &Option<Found>| match key {
            Some(key) => key.wire(all),
            None => self.key.zero(),
        };
        let keys: Vec<Wire<'_>> = entries.iter().map(|(key, _)| key_of(key)).collect();
        let last: HashMap<Wire<'_>, usize> = keys.iter().enumerate().map(|(at, key)| (*key, at)).collect();
        let (mut pushed, mut first) = (0, Ok(()));
        for (at, (key, value)) in entries.iter().enumerate() {
            if last.get(&keys[at]) != Some(&at) {
                continue;
            }
            let entered = self.push_entry(all, key.as_ref(), value.as_ref());
            pushed += 1;
            if first.is_ok() {
                first = entered;
            }
        }
        self.offsets.push(pushed, true);
        first
    }

    fn push_entry(&mut self, all: &[u8], key: Option<&Found>, value: Option<&Found>) -> Result<(), Flaw> {
        let mut keyed = Ok(());
        match key.map(|key| self.key.push(key.wire(all))) {
            None => self.key.push_zero(),
            Some(Ok(())) => {}
            Some(Err(why)) => {
                // A map has no NULL for a key; the message is left out anyway.
                self.key.push_zero();
                keyed = Err(Flaw::new(why).within("[key]"));
            }
        }
        let valued = match (value, &self.value) {
            (Some(value), _) => self.value.push(all, std::slice::from_ref(value)),
            // A message that is left out of an entry is one without fields.
            (None, Column::Message(..)) => self.value.push(all, &[Found::Bytes(0..0)]),
            (None, _) => {
                self.value.push_zero();
                Ok(())
            }
        };
        keyed.and(valued.map_err(|flaw| flaw.within("[]")))
    }

    fn finish(
        &mut self,
        (entries, is_sorted): (&FieldRef, bool),
        cells: &mut Vec<BadMessage>,
    ) -> Result<MapArray> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(Error::internal("a map has no entries"));
        };
        let [key, value] = fields.as_ref() else {
            return Err(Error::internal("an entry of a map is a key and a value"));
        };
        let (offsets, valid) = self.offsets.finish();
        let keys = fit(&self.key.finish(), key, cells)?;
        cells.iter_mut().for_each(|cell| cell.column = None);
        lift(cells, &offsets, "[key]");
        let mut in_values = Vec::new();
        let values = self.value.finish(value, &mut in_values)?;
        lift(&mut in_values, &offsets, "[]");
        cells.append(&mut in_values);
        // A key that was lost is a NULL, which a map cannot have.
        let keys = match keys.null_count() {
            0 => keys,
            _ => new_empty_array(keys.data_type()),
        };
        if keys.len() != values.len() {
            let rows = offsets.len() - 1;
            let made = MapArray::try_new(
                Arc::clone(entries),
                OffsetBuffer::new_zeroed(rows),
                StructArray::new_null(fields.clone(), 0),
                Some(NullBuffer::new_null(rows)),
                is_sorted,
            );
            return made.map_err(broken);
        }
        let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None).map_err(broken)?;
        MapArray::try_new(Arc::clone(entries), offsets, pairs, valid, is_sorted).map_err(broken)
    }
}

/// Finds key and value of an entry.
fn entry(all: &[u8], range: Range<usize>) -> Result<(Option<Found>, Option<Found>), &'static str> {
    let mut reader = WireReader::new(&all[range.clone()]);
    let (mut key, mut value) = (None, None);
    while let Some((number, wire)) = reader.next_field()? {
        let found = Found::of(wire, range.end - reader.rest().len());
        match number {
            1 => key = Some(found),
            2 => value = Some(found),
            _ => {}
        }
    }
    Ok((key, value))
}

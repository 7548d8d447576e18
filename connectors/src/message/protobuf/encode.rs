//! Writes rows as Protobuf messages of a schema: messages within, lists and maps as well.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::*;
use fletching::{Error, Result};
use prost_reflect::{Kind, MessageDescriptor};

use super::super::fit::fit;
use super::super::registry::MAGIC;
use super::super::schema_text::SchemaOrigin;
use super::super::{MessageEncoder, Payloads, unwritable};
use super::columns::joined;
use super::leaves::packs;
use super::plan::{find, joined_path, refused, unknown};
use super::schema::unusable;
use super::shape::{Leaf, Presence, ProtoField, Shape, fields};
use super::wire::{Wire, put_field, put_varint, zigzag};
use crate::spelling::type_name;

/// Encodes rows as one message.
pub(super) struct ProtobufEncoder {
    /// What each message begins with: the schema's number and the message's place, with a registry.
    head: Vec<u8>,
    message: MessageWriter,
}

impl ProtobufEncoder {
    pub(super) fn new(
        origin: &Arc<SchemaOrigin>,
        message: &MessageDescriptor,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let mut head = Vec::new();
        let writer = MessageWriter::new(&fields(message), schema.fields(), "")?;
        if let Some(registry) = &origin.registry {
            let found = origin.reader("protobuf")?;
            let id = match found.id {
                Some(id) => id,
                None => registry.register(&origin.subject, "PROTOBUF", &found.text)?,
            };
            head.push(MAGIC);
            head.extend_from_slice(&id.to_be_bytes());
            put_place(message, &mut head)?;
        }
        Ok(Self {
            head,
            message: writer,
        })
    }
}

/// Writes where a message is declared: how deep, then the number at each depth.
fn put_place(message: &MessageDescriptor, head: &mut Vec<u8>) -> Result<()> {
    // A path in a file's description has the number of a list before each place in it.
    let path = message.path().iter().skip(1).step_by(2);
    let path: Vec<i64> = path.map(|at| i64::from(*at)).collect();
    if path.is_empty() {
        return Err(unusable("its message has no place in it", "name another message"));
    }
    // The first message of the file is written short.
    if path == [0] {
        head.push(0);
        return Ok(());
    }
    put_varint(zigzag(path.len() as i64), head);
    path.iter().for_each(|at| put_varint(zigzag(*at), head));
    Ok(())
}

impl MessageEncoder for ProtobufEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()> {
        let cells = self.message.prepare(batch.columns(), None)?;
        for row in 0..batch.num_rows() {
            out.push_with(|bytes| {
                bytes.extend_from_slice(&self.head);
                self.message.put(&cells, row, bytes)
            })?;
        }
        Ok(())
    }
}

/// How the columns of a message become its fields.
struct MessageWriter {
    fields: Vec<FieldWriter>,
    /// The fields of each `oneof`, of which one at most may be there.
    oneofs: Vec<(String, Vec<usize>)>,
}

struct FieldWriter {
    number: u32,
    path: String,
    presence: Presence,
    value: ValueWriter,
}

enum ValueWriter {
    Leaf(Leaf),
    Message(MessageWriter),
    List { item: Box<ValueWriter>, is_packed: bool },
    Map { key: Leaf, value: Box<ValueWriter> },
}

/// A batch's column, its single values of the types that are written.
enum Cells {
    Leaf(ArrayRef),
    Message(Option<NullBuffer>, Vec<Cells>),
    List(Option<NullBuffer>, OffsetBuffer<i32>, Box<Cells>),
    Map(Option<NullBuffer>, OffsetBuffer<i32>, ArrayRef, Box<Cells>),
}

impl Cells {
    fn is_null(&self, row: usize) -> bool {
        let nulls = match self {
            Self::Leaf(array) => return array.is_null(row),
            Self::Message(nulls, _) | Self::List(nulls, _, _) | Self::Map(nulls, _, _, _) => nulls,
        };
        nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

fn wrong(path: &str, why: &str) -> Error {
    unwritable("protobuf", &format!("column '{path}' {why}"))
}

impl MessageWriter {
    fn new(found: &[ProtoField], columns: &Fields, path: &str) -> Result<Self> {
        let mut oneofs: Vec<(String, Vec<usize>)> = Vec::new();
        let mut fields = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            let Some(field) = find(found, column.name()) else {
                return Err(unknown(found, column.name(), path));
            };
            if let Some((name, _)) = &field.oneof {
                match oneofs.iter_mut().find(|(other, _)| other == name) {
                    Some((_, members)) => members.push(at),
                    None => oneofs.push((name.clone(), vec![at])),
                }
            }
            let path = joined_path(path, &field.name);
            fields.push(FieldWriter {
                number: field.number,
                presence: field.presence,
                value: ValueWriter::new(&field.shape, column.data_type(), &path)?,
                path,
            });
        }
        let is_written = |field: &&ProtoField| fields.iter().any(|other| other.number == field.number);
        let mut required = found.iter().filter(|field| field.presence == Presence::Required);
        if let Some(lacking) = required.find(|field| !is_written(field)) {
            let path = joined_path(path, &lacking.name);
            let message = format!("its field '{path}' is required, and the query has no column for it");
            return Err(refused(message, format!("add a column {}", lacking.name)));
        }
        Ok(Self { fields, oneofs })
    }

    /// Prepares columns, of which only the rows that are not NULL `around` count.
    fn prepare(&self, columns: &[ArrayRef], around: Option<&NullBuffer>) -> Result<Vec<Cells>> {
        let pairs = self.fields.iter().zip(columns);
        pairs
            .map(|(field, column)| {
                if field.presence != Presence::Explicit
                    && matches!(field.value, ValueWriter::Leaf(_))
                    && has_null(column, around)
                {
                    return Err(wrong(&field.path, "is NULL, but its field is not optional"));
                }
                field.value.prepare(column, &field.path)
            })
            .collect()
    }

    fn put(&self, cells: &[Cells], row: usize, out: &mut Vec<u8>) -> Result<()> {
        for (name, members) in &self.oneofs {
            let mut there = members.iter().filter(|at| !cells[**at].is_null(row));
            if let (Some(one), Some(other)) = (there.next(), there.next()) {
                let other = &self.fields[*other].path;
                let why = format!("and '{other}' are both there, but are of one oneof, '{name}'");
                return Err(wrong(&self.fields[*one].path, &why));
            }
        }
        for (field, cells) in self.fields.iter().zip(cells) {
            if !cells.is_null(row) {
                field.value.put((field.number, &field.path), cells, row, out)?;
            } else if field.presence == Presence::Required {
                return Err(wrong(&field.path, "is NULL, but its field is required"));
            }
        }
        Ok(())
    }
}

/// Says whether a column is NULL in a row that is there.
fn has_null(column: &ArrayRef, around: Option<&NullBuffer>) -> bool {
    let Some(nulls) = column.logical_nulls() else {
        return false;
    };
    match around {
        None => nulls.null_count() > 0,
        Some(around) => (0..column.len()).any(|row| around.is_valid(row) && nulls.is_null(row)),
    }
}

impl ValueWriter {
    fn new(shape: &Shape, column: &DataType, path: &str) -> Result<Self> {
        Ok(match (shape, column) {
            (Shape::One(leaf), column)
                if !column.is_nested() && can_cast_types(column, &leaf.data_type()) =>
            {
                Self::Leaf(leaf.clone())
            }
            (Shape::Message(fields), DataType::Struct(columns)) => {
                Self::Message(MessageWriter::new(fields, columns, path)?)
            }
            (
                Shape::List { item, is_packed },
                DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _),
            ) => Self::List {
                item: Box::new(Self::new(item, field.data_type(), &joined(path, "[]"))?),
                is_packed: *is_packed && matches!(&**item, Shape::One(leaf) if packs(leaf)),
            },
            (Shape::Map { key, value }, DataType::Map(entries, _)) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => Self::Map {
                    key: key.clone(),
                    value: Box::new(Self::new(value, pair[1].data_type(), &joined(path, "[]"))?),
                },
                _ => return Err(Error::internal("an entry of a map is a key and a value")),
            },
            _ => {
                let (is, name) = (type_name(column), type_name(&shape.data_type()));
                let message = format!("column '{path}' is {is}, which cannot become {name}");
                return Err(refused(message, format!("make it {name} in the query")));
            }
        })
    }

    fn prepare(&self, column: &ArrayRef, path: &str) -> Result<Cells> {
        Ok(match self {
            Self::Leaf(leaf) => Cells::Leaf(fitted(column, leaf, path)?),
            Self::Message(writer) => {
                let column = column.as_struct();
                let inner = writer.prepare(column.columns(), column.nulls())?;
                Cells::Message(column.nulls().cloned(), inner)
            }
            Self::List { item, .. } => {
                let column = match column.data_type() {
                    DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                        cast(column, &DataType::List(Arc::clone(field)))?
                    }
                    _ => Arc::clone(column),
                };
                let list = column.as_list::<i32>();
                let items = Box::new(item.prepare(list.values(), &joined(path, "[]"))?);
                Cells::List(list.nulls().cloned(), list.offsets().clone(), items)
            }
            Self::Map { key, value } => {
                let map = column.as_map();
                let keys = fitted(map.keys(), key, &joined(path, "[key]"))?;
                let values = Box::new(value.prepare(map.values(), &joined(path, "[]"))?);
                Cells::Map(map.nulls().cloned(), map.offsets().clone(), keys, values)
            }
        })
    }

    /// Writes a value that is there as a field of this number.
    fn put(&self, (number, path): (u32, &str), cells: &Cells, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match (self, cells) {
            (Self::Leaf(leaf), Cells::Leaf(array)) => put_leaf((number, leaf), array, (row, path), out),
            (Self::Message(writer), Cells::Message(_, cells)) => {
                let mut inner = Vec::new();
                writer.put(cells, row, &mut inner)?;
                put_field(number, Wire::Bytes(&inner), out);
                Ok(())
            }
            (Self::List { item, is_packed }, Cells::List(_, offsets, items)) => {
                let range = range(offsets, row);
                if let Some(null) = range.clone().find(|at| items.is_null(*at)) {
                    let why = format!(
                        "has a NULL as element {}, which cannot be written",
                        null - range.start
                    );
                    return Err(wrong(path, &why));
                }
                match (&**item, &**items) {
                    (Self::Leaf(leaf), Cells::Leaf(array)) if *is_packed && !range.is_empty() => {
                        let (mut packed, mut inner) = (Vec::new(), Vec::new());
                        for at in range {
                            put_bare(wire(leaf, array, (at, path), &mut inner)?, &mut packed);
                        }
                        put_field(number, Wire::Bytes(&packed), out);
                        Ok(())
                    }
                    _ => range
                        .into_iter()
                        .try_for_each(|at| item.put((number, path), items, at, out)),
                }
            }
            (Self::Map { key, value }, Cells::Map(_, offsets, keys, values)) => {
                for at in range(offsets, row) {
                    if values.is_null(at) {
                        return Err(wrong(path, "has a NULL as a value, which cannot be written"));
                    }
                    let mut entry = Vec::new();
                    put_leaf((1, key), keys, (at, path), &mut entry)?;
                    value.put((2, path), values, at, &mut entry)?;
                    put_field(number, Wire::Bytes(&entry), out);
                }
                Ok(())
            }
            _ => Err(Error::internal("a column is not as it was prepared")),
        }
    }
}

fn range(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    let at = |row: usize| usize::try_from(offsets[row]).unwrap_or(0);
    at(row)..at(row + 1)
}

/// Casts a column to what is written; a value that does not survive is an error.
fn fitted(column: &ArrayRef, leaf: &Leaf, path: &str) -> Result<ArrayRef> {
    let mut lost = Vec::new();
    let fitted = fit(column, &Field::new(path, leaf.data_type(), true), &mut lost)?;
    match lost.first() {
        Some(lost) => Err(unwritable(
            "protobuf",
            &format!("column '{path}': {}", lost.reason),
        )),
        None => Ok(fitted),
    }
}

fn put_leaf(
    (number, leaf): (u32, &Leaf),
    array: &ArrayRef,
    (row, path): (usize, &str),
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut inner = Vec::new();
    let value = wire(leaf, array, (row, path), &mut inner)?;
    if matches!(leaf, Leaf::Empty) && !array.as_boolean().value(row) {
        // A message that is said not to be there.
        return Ok(());
    }
    put_field(number, value, out);
    Ok(())
}

/// Writes a value without a field's number.
fn put_bare(value: Wire<'_>, out: &mut Vec<u8>) {
    match value {
        Wire::Varint(value) => put_varint(value, out),
        Wire::Fixed64(bytes) => out.extend_from_slice(&bytes),
        Wire::Fixed32(bytes) => out.extend_from_slice(&bytes),
        Wire::Bytes(bytes) => out.extend_from_slice(bytes),
    }
}

/// Returns a value as it stands in a message; a message is put together in `inner`.
fn wire<'a>(
    leaf: &Leaf,
    column: &'a ArrayRef,
    (row, path): (usize, &str),
    inner: &'a mut Vec<u8>,
) -> Result<Wire<'a>> {
    Ok(match leaf {
        Leaf::Plain(kind) => plain(kind, column, (row, path))?,
        Leaf::Wrapped(kind) => {
            inner.clear();
            put_field(1, plain(kind, column, (row, path))?, inner);
            Wire::Bytes(inner)
        }
        Leaf::Time => {
            let time = column.as_primitive::<TimestampNanosecondType>().value(row);
            let (seconds, nanos) = (time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000));
            inner.clear();
            put_field(1, Wire::Varint(seconds.cast_unsigned()), inner);
            put_field(2, Wire::Varint(nanos.cast_unsigned()), inner);
            Wire::Bytes(inner)
        }
        Leaf::Empty => Wire::Bytes(&[]),
    })
}

fn plain<'a>(kind: &Kind, column: &'a ArrayRef, (row, path): (usize, &str)) -> Result<Wire<'a>> {
    let int32 = || i64::from(column.as_primitive::<Int32Type>().value(row));
    let int64 = || column.as_primitive::<Int64Type>().value(row);
    Ok(match kind {
        Kind::Double => Wire::Fixed64(column.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        Kind::Float => Wire::Fixed32(column.as_primitive::<Float32Type>().value(row).to_le_bytes()),
        Kind::Int32 => Wire::Varint(int32().cast_unsigned()),
        Kind::Sint32 => Wire::Varint(zigzag(int32())),
        Kind::Sfixed32 => Wire::Fixed32(column.as_primitive::<Int32Type>().value(row).to_le_bytes()),
        Kind::Int64 => Wire::Varint(int64().cast_unsigned()),
        Kind::Sint64 => Wire::Varint(zigzag(int64())),
        Kind::Sfixed64 => Wire::Fixed64(int64().to_le_bytes()),
        Kind::Uint32 => Wire::Varint(u64::from(column.as_primitive::<UInt32Type>().value(row))),
        Kind::Fixed32 => Wire::Fixed32(column.as_primitive::<UInt32Type>().value(row).to_le_bytes()),
        Kind::Uint64 => Wire::Varint(column.as_primitive::<UInt64Type>().value(row)),
        Kind::Fixed64 => Wire::Fixed64(column.as_primitive::<UInt64Type>().value(row).to_le_bytes()),
        Kind::Bool => Wire::Varint(u64::from(column.as_boolean().value(row))),
        Kind::String => Wire::Bytes(column.as_string_view().value(row).as_bytes()),
        Kind::Bytes => Wire::Bytes(column.as_binary_view().value(row)),
        Kind::Enum(values) => {
            let name = column.as_string_view().value(row);
            let number = values.get_value_by_name(name).map(|value| value.number());
            let number = number.or_else(|| name.parse().ok()).ok_or_else(|| {
                let why = format!("is '{name}', which is no value of the enum {}", values.name());
                wrong(path, &why)
            })?;
            Wire::Varint(i64::from(number).cast_unsigned())
        }
        Kind::Message(_) => return Err(Error::internal("a message is no single value")),
    })
}

//! Columns of single values, built from the wire.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::builder::{
    BinaryViewBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int32Builder, Int64Builder,
    StringViewBuilder, TimestampNanosecondBuilder, UInt32Builder, UInt64Builder,
};
use prost_reflect::Kind;

use super::columns::OTHER_KIND;
use super::shape::Leaf;
use super::wire::{Wire, WireReader, unzigzag};

/// A column being built.
pub(super) struct LeafColumn {
    leaf: Leaf,
    cells: Cells,
}

enum Cells {
    I32(Int32Builder),
    I64(Int64Builder),
    U32(UInt32Builder),
    U64(UInt64Builder),
    F32(Float32Builder),
    F64(Float64Builder),
    Bool(BooleanBuilder),
    Text(StringViewBuilder),
    Bytes(BinaryViewBuilder),
    Time(TimestampNanosecondBuilder),
}

impl LeafColumn {
    pub(super) fn new(leaf: &Leaf) -> Self {
        let cells = match leaf {
            Leaf::Time => Cells::Time(TimestampNanosecondBuilder::new()),
            Leaf::Empty => Cells::Bool(BooleanBuilder::new()),
            Leaf::Plain(kind) | Leaf::Wrapped(kind) => match kind {
                Kind::Double => Cells::F64(Float64Builder::new()),
                Kind::Float => Cells::F32(Float32Builder::new()),
                Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Cells::I32(Int32Builder::new()),
                Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Cells::I64(Int64Builder::new()),
                Kind::Uint32 | Kind::Fixed32 => Cells::U32(UInt32Builder::new()),
                Kind::Uint64 | Kind::Fixed64 => Cells::U64(UInt64Builder::new()),
                Kind::Bool => Cells::Bool(BooleanBuilder::new()),
                Kind::Bytes | Kind::Message(_) => Cells::Bytes(BinaryViewBuilder::new()),
                Kind::String | Kind::Enum(_) => Cells::Text(StringViewBuilder::new()),
            },
        };
        Self {
            leaf: leaf.clone(),
            cells,
        }
    }

    pub(super) fn push_null(&mut self) {
        match &mut self.cells {
            Cells::I32(builder) => builder.append_null(),
            Cells::I64(builder) => builder.append_null(),
            Cells::U32(builder) => builder.append_null(),
            Cells::U64(builder) => builder.append_null(),
            Cells::F32(builder) => builder.append_null(),
            Cells::F64(builder) => builder.append_null(),
            Cells::Bool(builder) => builder.append_null(),
            Cells::Text(builder) => builder.append_null(),
            Cells::Bytes(builder) => builder.append_null(),
            Cells::Time(builder) => builder.append_null(),
        }
    }

    /// Returns what a field is that a message leaves out.
    pub(super) fn zero(&self) -> Wire<'static> {
        match &self.leaf {
            Leaf::Plain(kind) | Leaf::Wrapped(kind) => zero(kind),
            Leaf::Time | Leaf::Empty => Wire::Bytes(&[]),
        }
    }

    /// Adds what a field is that a message leaves out; a NULL where there is no such thing.
    pub(super) fn push_zero(&mut self) {
        let zero = match &self.leaf {
            Leaf::Plain(kind) => zero(kind),
            Leaf::Wrapped(_) | Leaf::Time | Leaf::Empty => return self.push_null(),
        };
        if self.push(zero).is_err() {
            self.push_null();
        }
    }

    /// Adds a value. Where it cannot be read, nothing is added.
    pub(super) fn push(&mut self, value: Wire<'_>) -> Result<(), String> {
        let Self { leaf, cells } = self;
        match (&*leaf, value) {
            (Leaf::Plain(kind), value) => cells.push(kind, value),
            (Leaf::Wrapped(kind), Wire::Bytes(message)) => {
                let mut inner = zero(kind);
                let mut reader = WireReader::new(message);
                while let Some((number, value)) = reader.next_field()? {
                    if number == 1 {
                        inner = value;
                    }
                }
                cells.push(kind, inner)
            }
            (Leaf::Time, Wire::Bytes(message)) => {
                let nanos = nanos(message)?;
                cells.push_time(nanos)
            }
            (Leaf::Empty, Wire::Bytes(_)) => cells.push(&Kind::Bool, Wire::Varint(1)),
            _ => Err(OTHER_KIND.to_owned()),
        }
    }

    /// Returns the column and begins anew.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match &mut self.cells {
            Cells::I32(builder) => Arc::new(builder.finish()),
            Cells::I64(builder) => Arc::new(builder.finish()),
            Cells::U32(builder) => Arc::new(builder.finish()),
            Cells::U64(builder) => Arc::new(builder.finish()),
            Cells::F32(builder) => Arc::new(builder.finish()),
            Cells::F64(builder) => Arc::new(builder.finish()),
            Cells::Bool(builder) => Arc::new(builder.finish()),
            Cells::Text(builder) => Arc::new(builder.finish()),
            Cells::Bytes(builder) => Arc::new(builder.finish()),
            Cells::Time(builder) => Arc::new(builder.finish()),
        }
    }

    /// Says whether values of it may stand in one piece, one after the other.
    pub(super) fn packs(&self) -> bool {
        packs(&self.leaf)
    }

    /// Reads the next of values that stand in one piece.
    pub(super) fn next_packed<'a>(&self, reader: &mut WireReader<'a>) -> Result<Option<Wire<'a>>, String> {
        let Leaf::Plain(kind) = &self.leaf else {
            return Err(OTHER_KIND.to_owned());
        };
        if reader.rest().is_empty() {
            return Ok(None);
        }
        Ok(Some(match zero(kind) {
            Wire::Fixed64(_) => Wire::Fixed64(reader.fixed()?),
            Wire::Fixed32(_) => Wire::Fixed32(reader.fixed()?),
            _ => Wire::Varint(reader.varint()?),
        }))
    }
}

/// Says whether values of a leaf may stand in one piece: numbers, truth values and enums may.
pub(super) fn packs(leaf: &Leaf) -> bool {
    matches!(leaf, Leaf::Plain(kind) if !matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_)))
}

impl Cells {
    fn push_time(&mut self, nanos: i64) -> Result<(), String> {
        match self {
            Self::Time(builder) => builder.append_value(nanos),
            _ => return Err(OTHER_KIND.to_owned()),
        }
        Ok(())
    }

    fn push(&mut self, kind: &Kind, value: Wire<'_>) -> Result<(), String> {
        match (self, kind, value) {
            (Self::I32(builder), Kind::Int32, Wire::Varint(value)) => {
                builder.append_value(narrowed(value.cast_signed())?);
            }
            (Self::I32(builder), Kind::Sint32, Wire::Varint(value)) => {
                builder.append_value(narrowed(unzigzag(value))?);
            }
            (Self::I32(builder), Kind::Sfixed32, Wire::Fixed32(bytes)) => {
                builder.append_value(i32::from_le_bytes(bytes));
            }
            (Self::I64(builder), Kind::Int64, Wire::Varint(value)) => {
                builder.append_value(value.cast_signed());
            }
            (Self::I64(builder), Kind::Sint64, Wire::Varint(value)) => builder.append_value(unzigzag(value)),
            (Self::I64(builder), Kind::Sfixed64, Wire::Fixed64(bytes)) => {
                builder.append_value(i64::from_le_bytes(bytes));
            }
            (Self::U32(builder), Kind::Uint32, Wire::Varint(value)) => {
                builder.append_value(narrowed(value.cast_signed())?);
            }
            (Self::U32(builder), Kind::Fixed32, Wire::Fixed32(bytes)) => {
                builder.append_value(u32::from_le_bytes(bytes));
            }
            (Self::U64(builder), Kind::Uint64, Wire::Varint(value)) => builder.append_value(value),
            (Self::U64(builder), Kind::Fixed64, Wire::Fixed64(bytes)) => {
                builder.append_value(u64::from_le_bytes(bytes));
            }
            (Self::F32(builder), Kind::Float, Wire::Fixed32(bytes)) => {
                builder.append_value(f32::from_le_bytes(bytes));
            }
            (Self::F64(builder), Kind::Double, Wire::Fixed64(bytes)) => {
                builder.append_value(f64::from_le_bytes(bytes));
            }
            (Self::Bool(builder), Kind::Bool, Wire::Varint(value)) => builder.append_value(value != 0),
            (Self::Bytes(builder), Kind::Bytes, Wire::Bytes(bytes)) => builder.append_value(bytes),
            (Self::Text(builder), Kind::String, Wire::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => builder.append_value(text),
                Err(error) => return Err(format!("is not UTF-8 text at byte {}", error.valid_up_to() + 1)),
            },
            (Self::Text(builder), Kind::Enum(values), Wire::Varint(value)) => {
                let number = narrowed(value.cast_signed())?;
                match values.get_value(number) {
                    Some(value) => builder.append_value(value.name()),
                    // A newer writer's value is kept by its number.
                    None => builder.append_value(number.to_string()),
                }
            }
            _ => return Err(OTHER_KIND.to_owned()),
        }
        Ok(())
    }
}

/// Makes a number of 32 bits of one that is sent as 64, with its sign extended. A wider one, of a writer
/// whose schema has a wider type, is not cut: it would be another number.
fn narrowed<T: TryFrom<i64>>(value: i64) -> Result<T, String> {
    T::try_from(value).map_err(|_| format!("expected a number of 32 bits, found '{value}'"))
}

/// What a field is that a message leaves out.
fn zero(kind: &Kind) -> Wire<'static> {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Wire::Fixed64([0; 8]),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Wire::Fixed32([0; 4]),
        Kind::String | Kind::Bytes | Kind::Message(_) => Wire::Bytes(&[]),
        _ => Wire::Varint(0),
    }
}

/// Reads seconds and nanoseconds since 1970.
#[expect(
    clippy::cast_possible_truncation,
    reason = "numbers of 32 bits are sent as 64 with their sign extended, and cut again, by definition"
)]
fn nanos(message: &[u8]) -> Result<i64, String> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut reader = WireReader::new(message);
    while let Some((number, value)) = reader.next_field()? {
        match (number, value) {
            (1, Wire::Varint(value)) => seconds = value.cast_signed(),
            (2, Wire::Varint(value)) => nanos = i64::from(value as i32),
            _ => {}
        }
    }
    let whole = seconds.checked_mul(1_000_000_000);
    let time = whole.and_then(|whole| whole.checked_add(nanos));
    time.ok_or_else(|| format!("is a time out of range: {seconds} seconds since 1970"))
}

//! What becomes of a message's fields: a tree of columns.
//!
//! ```text
//!  message Order {
//!    int64 id = 1;                        BIGINT, zero where it is not there
//!    optional string note = 2;            VARCHAR, NULL where it is not there
//!    Customer customer = 3;               STRUCT(…), NULL where it is not there
//!    repeated Line lines = 4;             STRUCT(…)[], empty where there are none
//!    map<string, double> rates = 5;       MAP(VARCHAR, DOUBLE), empty where there are none
//!    oneof pay { Card card = 6;           a column each, of which one at most is not NULL
//!                string iban = 7; }
//!  }
//! ```
//!
//! A message that holds itself would be a column of endless type: the field by which it does is left
//! out. So are proto2's groups.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

/// How deep messages may lie within each other; more is left out.
const DEPTH_MAX: usize = 32;

/// What it means that a message does not have a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has no value: NULL.
    Explicit,
    /// It is zero, false, no text, no element.
    Implicit,
    /// The message is a bad one: proto2's `required`.
    Required,
}

/// A field that can be a column.
#[derive(Debug, Clone)]
pub(super) struct ProtoField {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) presence: Presence,
    /// The `oneof` it is in, and the numbers of the others there.
    pub(super) oneof: Option<(String, Vec<u32>)>,
}

/// What a field holds.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    One(Leaf),
    Message(Vec<ProtoField>),
    List { item: Box<Shape>, is_packed: bool },
    Map { key: Leaf, value: Box<Shape> },
}

/// A single value.
#[derive(Debug, Clone)]
pub(super) enum Leaf {
    /// A number, truth value, text, bytes or enum (as text).
    Plain(Kind),
    /// One of `google.protobuf`'s wrappers: a message with the value as its field 1.
    Wrapped(Kind),
    /// `google.protobuf.Timestamp`.
    Time,
    /// A message of which no field can be a column: whether it is there.
    Empty,
}

impl Leaf {
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, None),
            Self::Empty => DataType::Boolean,
            Self::Plain(kind) | Self::Wrapped(kind) => match kind {
                Kind::Double => DataType::Float64,
                Kind::Float => DataType::Float32,
                Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => DataType::Int32,
                Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => DataType::Int64,
                Kind::Uint32 | Kind::Fixed32 => DataType::UInt32,
                Kind::Uint64 | Kind::Fixed64 => DataType::UInt64,
                Kind::Bool => DataType::Boolean,
                Kind::String | Kind::Enum(_) => DataType::Utf8View,
                Kind::Bytes | Kind::Message(_) => DataType::BinaryView,
            },
        }
    }
}

impl Shape {
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::One(leaf) => leaf.data_type(),
            Self::Message(fields) => {
                let inner = fields
                    .iter()
                    .map(|field| Field::new(&field.name, field.shape.data_type(), true));
                DataType::Struct(inner.collect())
            }
            Self::List { item, .. } => {
                DataType::List(Arc::new(Field::new_list_field(item.data_type(), true)))
            }
            Self::Map { key, value } => {
                // DataFusion looks keys up by literals, which are no views.
                let key = match key.data_type() {
                    DataType::Utf8View => DataType::Utf8,
                    other => other,
                };
                let entry = vec![
                    Field::new("key", key, false),
                    Field::new("value", value.data_type(), true),
                ];
                let entries = Field::new("entries", DataType::Struct(entry.into()), false);
                DataType::Map(Arc::new(entries), false)
            }
        }
    }
}

impl ProtoField {
    /// Returns the column that it is where none is declared.
    pub(super) fn column(&self) -> Field {
        let is_nullable = self.presence == Presence::Explicit;
        Field::new(&self.name, self.shape.data_type(), is_nullable)
    }
}

/// Returns the fields of a message that can be columns.
pub(super) fn fields(message: &MessageDescriptor) -> Vec<ProtoField> {
    fields_within(message, &mut Vec::new())
}

fn fields_within(message: &MessageDescriptor, around: &mut Vec<String>) -> Vec<ProtoField> {
    around.push(message.full_name().to_owned());
    let found = message.fields().filter_map(|field| proto_field(&field, around));
    let found = found.collect();
    around.pop();
    found
}

fn proto_field(field: &FieldDescriptor, around: &mut Vec<String>) -> Option<ProtoField> {
    let oneof = field.containing_oneof().map(|oneof| {
        let others = oneof.fields().filter(|other| other.number() != field.number());
        (
            oneof.name().to_owned(),
            others.map(|other| other.number()).collect(),
        )
    });
    let presence = match field.cardinality() {
        Cardinality::Required => Presence::Required,
        _ if field.supports_presence() => Presence::Explicit,
        _ => Presence::Implicit,
    };
    Some(ProtoField {
        number: field.number(),
        name: field.name().to_owned(),
        shape: shape(field, around)?,
        presence,
        // An `optional` of proto3 is written as a oneof of its own.
        oneof: oneof.filter(|(_, others): &(_, Vec<u32>)| !others.is_empty()),
    })
}

fn shape(field: &FieldDescriptor, around: &mut Vec<String>) -> Option<Shape> {
    if field.is_group() {
        return None;
    }
    let kind = field.kind();
    if field.is_map() {
        let entry = kind.as_message()?;
        let value = single(entry.map_entry_value_field().kind(), around)?;
        return Some(Shape::Map {
            key: Leaf::Plain(entry.map_entry_key_field().kind()),
            value: Box::new(value),
        });
    }
    let one = single(kind, around)?;
    Some(match field.is_list() {
        true => Shape::List {
            item: Box::new(one),
            is_packed: field.is_packed(),
        },
        false => one,
    })
}

fn single(kind: Kind, around: &mut Vec<String>) -> Option<Shape> {
    let Kind::Message(inner) = &kind else {
        return Some(Shape::One(Leaf::Plain(kind)));
    };
    let name = inner.full_name();
    if name == "google.protobuf.Timestamp" {
        return Some(Shape::One(Leaf::Time));
    }
    if let Some(wrapped) = wrapped(name) {
        return Some(Shape::One(Leaf::Wrapped(wrapped)));
    }
    if around.len() >= DEPTH_MAX || around.iter().any(|other| other == name) {
        return None;
    }
    let fields = fields_within(inner, around);
    Some(match fields.is_empty() {
        true => Shape::One(Leaf::Empty),
        false => Shape::Message(fields),
    })
}

fn wrapped(name: &str) -> Option<Kind> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "DoubleValue" => Kind::Double,
        "FloatValue" => Kind::Float,
        "Int64Value" => Kind::Int64,
        "UInt64Value" => Kind::Uint64,
        "Int32Value" => Kind::Int32,
        "UInt32Value" => Kind::Uint32,
        "BoolValue" => Kind::Bool,
        "StringValue" => Kind::String,
        "BytesValue" => Kind::Bytes,
        _ => return None,
    })
}

/// Says why a field of a message cannot be a column; `None` where the message has no such field.
pub(super) fn left_out(message: &MessageDescriptor, name: &str) -> Option<&'static str> {
    let field = message
        .fields()
        .find(|field| field.name().eq_ignore_ascii_case(name))?;
    Some(match field.is_group() {
        true => "is a group, which no column can be",
        false => "holds a message within itself, which no column can be",
    })
}

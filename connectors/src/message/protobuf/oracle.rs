//! Random messages of a schema with everything in it, against prost's own reading of their bytes.
#![allow(
    clippy::cast_possible_truncation,
    reason = "a number that is cut is as random as it was"
)]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::*;
use fletching::connector::Options;
use prost_reflect::prost::Message;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};
use serde_json::json;

use super::super::{MessageFormat, Payloads};
use super::ProtobufMessages;

const SCHEMA: &str = r#"
    syntax = "proto3";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    enum Side { NONE = 0; BUY = 1; SELL = 2; }
    message Point { double x = 1; optional double y = 2; sint32 z = 200; }
    message Empty {}
    message All {
      int32 a = 1; sint64 b = 2; fixed32 c = 3; sfixed64 d = 4; float e = 5; bool f = 6;
      optional uint64 g = 7; optional string h = 8; bytes i = 9; Side side = 10;
      Point point = 11;
      repeated sint32 numbers = 12;
      repeated fixed64 loose = 13 [packed = false];
      repeated string texts = 14;
      repeated Point points = 15;
      map<string, int64> counts = 16;
      map<uint32, Point> places = 17;
      repeated Side sides = 18;
      oneof pay { Point card = 19; string iban = 20; uint32 cash = 21; }
      google.protobuf.Timestamp at = 22;
      google.protobuf.Int64Value maybe = 23;
      google.protobuf.StringValue name = 24;
      Empty empty = 25;
      repeated google.protobuf.DoubleValue wrapped = 26;
      Deep deep = 27;
      message Deep { repeated Deeper deeper = 1; message Deeper { map<string, Point> points = 1; Side side = 2; } }
    }"#;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn random(message: &MessageDescriptor, dice: &mut Dice) -> DynamicMessage {
    let mut made = DynamicMessage::new(message.clone());
    for field in message.fields() {
        if dice.below(3) == 0 {
            continue;
        }
        let value = if field.is_map() {
            let entry = field.kind().as_message().unwrap().clone();
            let pairs = (0..dice.below(4)).map(|_| {
                let key = match entry.map_entry_key_field().kind() {
                    Kind::String => MapKey::String(format!("k{}", dice.below(5))),
                    _ => MapKey::U32(dice.below(5) as u32),
                };
                (key, value(&entry.map_entry_value_field(), dice))
            });
            Value::Map(pairs.collect())
        } else if field.is_list() {
            Value::List((0..dice.below(4)).map(|_| value(&field, dice)).collect())
        } else {
            value(&field, dice)
        };
        made.set_field(&field, value);
    }
    made
}

fn value(field: &FieldDescriptor, dice: &mut Dice) -> Value {
    let number = match dice.below(3) {
        0 => dice.below(3),
        1 => dice.below(1000),
        _ => dice.next(),
    };
    match field.kind() {
        Kind::Double => Value::F64(number as f64 / 4.0),
        Kind::Float => Value::F32(number as f32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Bool => Value::Bool(number % 2 == 0),
        Kind::String => Value::String(format!("text {number}")),
        Kind::Bytes => Value::Bytes(number.to_le_bytes().to_vec().into()),
        Kind::Enum(_) => Value::EnumNumber((number % 3) as i32),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            let mut time = DynamicMessage::new(inner);
            time.set_field_by_name("seconds", Value::I64((number % 4_000_000_000) as i64));
            time.set_field_by_name("nanos", Value::I32((number % 1_000_000_000) as i32));
            Value::Message(time)
        }
        Kind::Message(inner) => Value::Message(random(&inner, dice)),
    }
}

/// What a field comes to, by prost; NULL where it has presence and is not there.
fn expected(message: &DynamicMessage, field: &FieldDescriptor) -> serde_json::Value {
    if field.supports_presence() && !message.has_field(field) {
        return serde_json::Value::Null;
    }
    let shown = message.get_field(field);
    match &*shown {
        Value::List(items) => items.iter().map(|item| plain(item, &field.kind())).collect(),
        Value::Map(entries) => {
            let kind = field.kind();
            let of_value = kind.as_message().unwrap().map_entry_value_field().kind();
            let pairs = entries.iter().map(|(key, value)| {
                let key = match key {
                    MapKey::String(text) => text.clone(),
                    MapKey::U32(number) => number.to_string(),
                    other => panic!("{other:?}"),
                };
                (key, plain(value, &of_value))
            });
            serde_json::Value::Object(pairs.collect())
        }
        one => plain(one, &field.kind()),
    }
}

fn plain(value: &Value, kind: &Kind) -> serde_json::Value {
    match value {
        Value::Bool(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::U64(value) => json!(value),
        Value::F32(value) => json!(value),
        Value::F64(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => json!(value.to_vec()),
        Value::EnumNumber(number) => {
            let value = kind.as_enum().unwrap().get_value(*number);
            json!(value.map_or_else(|| number.to_string(), |value| value.name().to_owned()))
        }
        Value::Message(message) => match message.descriptor().full_name() {
            "google.protobuf.Timestamp" => {
                let part = |name| message.get_field_by_name(name).unwrap().into_owned();
                let seconds = part("seconds").as_i64().unwrap();
                json!(seconds * 1_000_000_000 + i64::from(part("nanos").as_i32().unwrap()))
            }
            name if name.starts_with("google.protobuf.") => {
                let inner = message.descriptor().get_field_by_name("value").unwrap();
                plain(&message.get_field(&inner), &inner.kind())
            }
            "Empty" => json!(true),
            _ => {
                let fields = message.descriptor().fields().collect::<Vec<_>>();
                let pairs = fields
                    .iter()
                    .map(|field| (field.name().to_owned(), expected(message, field)));
                serde_json::Value::Object(pairs.collect())
            }
        },
        other => panic!("{other:?}"),
    }
}

/// What a cell of a column is.
fn cell(column: &ArrayRef, row: usize) -> serde_json::Value {
    if column.is_null(row) {
        return serde_json::Value::Null;
    }
    match column.data_type() {
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => json!(column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => json!(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => json!(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(..) => json!(column.as_primitive::<TimestampNanosecondType>().value(row)),
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Utf8View => json!(column.as_string_view().value(row)),
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::BinaryView => json!(column.as_binary_view().value(row)),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            let pairs = fields.iter().zip(columns);
            let pairs = pairs.map(|(field, column)| (field.name().clone(), cell(column, row)));
            serde_json::Value::Object(pairs.collect())
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            (0..items.len()).map(|at| cell(&items, at)).collect()
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let pairs = (0..entries.len()).map(|at| {
                let key = cell(keys, at);
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                (key, cell(values, at))
            });
            serde_json::Value::Object(pairs.collect())
        }
        other => panic!("{other}"),
    }
}

fn format(message: &str) -> ProtobufMessages {
    let options = Options::new("stream s")
        .with("schema", SCHEMA)
        .with("schema.message", message);
    ProtobufMessages::from_options(&options, "t").unwrap()
}

/// Bytes of random messages, of which some are put together of two: what stands later then counts,
/// or is merged.
fn messages(descriptor: &MessageDescriptor, dice: &mut Dice, count: usize) -> Payloads {
    let mut made = Payloads::default();
    for _ in 0..count {
        let mut bytes = random(descriptor, dice).encode_to_vec();
        if dice.below(3) == 0 {
            bytes.extend(random(descriptor, dice).encode_to_vec());
        }
        made.push(&bytes);
    }
    made
}

#[test]
fn random_messages_are_read_as_prost_reads_them_and_written_back() {
    let format = format("All");
    let descriptor = format.message().unwrap();
    let fields = format.columns().unwrap().unwrap();
    let all: Vec<usize> = (0..fields.len()).collect();
    let mut decoder = format.decoder(&fields, &all).unwrap();
    let schema = Arc::new(Schema::new(fields));
    let mut encoder = format.encoder(&schema).unwrap();
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let made = messages(&descriptor, &mut dice, 50);
        let mut bad = Vec::new();
        let columns = decoder.decode(&made, &mut bad).unwrap();
        assert!(bad.is_empty(), "seed {seed}: {bad:?}");
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let mut back = Payloads::default();
        encoder.encode(&batch, &mut back).unwrap();
        for row in 0..made.len() {
            let read = DynamicMessage::decode(descriptor.clone(), made.get(row)).unwrap();
            let written = DynamicMessage::decode(descriptor.clone(), back.get(row)).unwrap();
            for (field, column) in descriptor.fields().zip(batch.columns()) {
                let name = field.name();
                assert_eq!(
                    cell(column, row),
                    expected(&read, &field),
                    "seed {seed}, row {row}: {name}"
                );
                assert_eq!(
                    expected(&written, &field),
                    expected(&read, &field),
                    "seed {seed}: {name}"
                );
            }
        }
    }
}

#[test]
fn a_few_fields_are_read_as_they_are_among_all() {
    let format = format("All");
    let descriptor = format.message().unwrap();
    let fields = format.columns().unwrap().unwrap();
    let made = messages(&descriptor, &mut Dice(7), 200);
    let mut bad = Vec::new();
    let all: Vec<usize> = (0..fields.len()).collect();
    let whole = format
        .decoder(&fields, &all)
        .unwrap()
        .decode(&made, &mut bad)
        .unwrap();
    for at in all {
        let alone = format
            .decoder(&fields, &[at])
            .unwrap()
            .decode(&made, &mut bad)
            .unwrap();
        assert_eq!(&alone[0], &whole[at], "{}", fields[at].name());
    }
}

#[test]
fn damaged_messages_are_bad_ones_with_even_columns() {
    let format = format("All");
    let descriptor = format.message().unwrap();
    let fields = format.columns().unwrap().unwrap();
    let all: Vec<usize> = (0..fields.len()).collect();
    let mut decoder = format.decoder(&fields, &all).unwrap();
    let mut dice = Dice(11);
    let mut found = 0;
    for _ in 0..200 {
        let good = messages(&descriptor, &mut dice, 1);
        let mut damaged = Payloads::default();
        for _ in 0..10 {
            let mut bytes = good.get(0).to_vec();
            if let Some(at) = dice.next().checked_rem(bytes.len() as u64) {
                let at = usize::try_from(at).unwrap();
                bytes[at] ^= 1_u8 << dice.below(8);
                bytes.truncate(bytes.len() - usize::try_from(dice.below(2)).unwrap());
            }
            damaged.push(&bytes);
        }
        let mut bad = Vec::new();
        let columns = decoder.decode(&damaged, &mut bad).unwrap();
        assert!(columns.iter().all(|column| column.len() == damaged.len()));
        for row in 0..damaged.len() {
            let is_bad = bad.iter().any(|bad| bad.message == row);
            found += usize::from(is_bad);
            if let Ok(read) = DynamicMessage::decode(descriptor.clone(), damaged.get(row))
                && !is_bad
            {
                for (field, column) in descriptor.fields().zip(&columns) {
                    assert_eq!(cell(column, row), expected(&read, &field), "{}", field.name());
                }
            }
        }
    }
    assert!(found > 100, "only {found} bad messages");
}

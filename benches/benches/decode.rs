//! Messages of Kafka's formats into Arrow columns, on one core: bytes a second.
//!
//! Names follow one order of parameters: `decode/format-size/way/batch=messages`. The rival of JSON
//! is Arrow's own reader, decoding straight into the types; it rounds what the exact way refuses.

#![expect(clippy::unwrap_used, reason = "a bench may stop where something is wrong")]

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_json::ReaderBuilder;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fletching::connector::Options;
use fletching_connectors::MessageReader;

/// The program's own allocator, so that the figures are the program's too.
#[global_allocator]
static ALLOCATOR: fletching_allocator::Allocator = fletching_allocator::Allocator;

const BATCH: usize = 8192;

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn trade_fields() -> Vec<Field> {
    vec![
        field("trade_id", DataType::Int64),
        field("user_id", DataType::Int64),
        field("symbol", DataType::Utf8View),
        field("quantity", DataType::Int32),
        field("price", DataType::Decimal128(18, 4)),
        field("ts", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ]
}

/// The cells of a trade, as text.
fn trade(at: usize) -> [String; 6] {
    [
        (10_000_000 + at).to_string(),
        (at * 7919 % 100_000).to_string(),
        format!("SYM{:03}", at % 500),
        (at % 1000).to_string(),
        format!("{}.{:02}", at % 900, at % 100),
        format!(
            "2026-11-25T12:{:02}:{:02}.{:03}",
            at / 60 % 60,
            at % 60,
            at % 1000
        ),
    ]
}

fn small_json(at: usize) -> String {
    let [id, user, symbol, quantity, price, ts] = trade(at);
    format!(
        r#"{{"trade_id":{id},"user_id":{user},"symbol":"{symbol}","quantity":{quantity},"price":{price},"ts":"{ts}"}}"#
    )
}

fn large_fields() -> Vec<Field> {
    let mut fields = trade_fields();
    for at in 0..8 {
        fields.push(field(&format!("amount_{at}"), DataType::Decimal128(18, 2)));
        fields.push(field(&format!("count_{at}"), DataType::Int64));
        fields.push(field(&format!("flag_{at}"), DataType::Boolean));
        fields.push(field(&format!("ratio_{at}"), DataType::Float64));
    }
    let row = |fields: Vec<Field>| DataType::Struct(fields.into());
    let geo = row(vec![
        field("lat", DataType::Float64),
        field("lon", DataType::Float64),
    ]);
    let leg = row(vec![
        field("n", DataType::Int32),
        field("px", DataType::Decimal128(9, 2)),
    ]);
    fields.push(field("note", DataType::Utf8View));
    fields.push(field(
        "address",
        row(vec![
            field("city", DataType::Utf8View),
            field("zip", DataType::Utf8View),
            field("geo", geo),
        ]),
    ));
    fields.push(Field::new_list("tags", field("item", DataType::Utf8View), true));
    fields.push(Field::new_list("legs", field("item", leg), true));
    fields
}

fn large_json(at: usize) -> String {
    let mut text = small_json(at);
    text.pop();
    for part in 0..8 {
        let amount = at * (part + 3) % 100_000;
        let ratio = 1.0 / f64::from(u32::try_from(at + part + 1).unwrap());
        write!(
            text,
            r#","amount_{part}":{amount}.{:02},"count_{part}":{},"flag_{part}":{},"ratio_{part}":{ratio}"#,
            (at + part) % 100,
            at % (1000 + part),
            at.is_multiple_of(part + 2),
        )
        .unwrap();
    }
    write!(
        text,
        r#","note":"settled by desk {} after \"review\"\n{}","address":{{"city":"City {}","zip":"{:05}","geo":{{"lat":40.{:05},"lon":-70.{:05}}}}},"tags":["alpha","beta-{}"],"legs":[{{"n":1,"px":10.25}},{{"n":2,"px":11.5}}],"unused":{{"a":[1,2,3],"b":"nobody asks for this"}}}}"#,
        at % 97,
        "x".repeat(60 + at % 40),
        at % 300,
        at % 99_999,
        at % 99_999,
        at * 7 % 99_999,
        at % 10,
    )
    .unwrap();
    text
}

const AVRO: &str = r#"{"type":"record","name":"trade","fields":[
    {"name":"trade_id","type":"long"},{"name":"user_id","type":"long"},{"name":"symbol","type":"string"},
    {"name":"quantity","type":"int"},{"name":"price","type":"double"},
    {"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

/// Appends a whole number as Avro writes it.
fn zigzag(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
}

fn avro(at: usize) -> Vec<u8> {
    let number = i64::try_from(at).unwrap();
    let mut out = Vec::new();
    zigzag(10_000_000 + number, &mut out);
    zigzag(number * 7919 % 100_000, &mut out);
    zigzag(6, &mut out);
    out.extend(format!("SYM{:03}", at % 500).bytes());
    zigzag(number % 1000, &mut out);
    out.extend(f64::from(u32::try_from(at % 900).unwrap()).to_le_bytes());
    zigzag(1_764_072_000_000_000 + number, &mut out);
    out
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

/// Decodes with Arrow's own reader.
fn rival(schema: &SchemaRef, messages: &[Vec<u8>]) -> usize {
    let mut decoder = ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(messages.len() + 1)
        .build_decoder()
        .unwrap();
    for message in messages {
        decoder.decode(message).unwrap();
    }
    decoder.flush().unwrap().unwrap().num_rows()
}

fn decode(criterion: &mut Criterion) {
    let bytes = |texts: Vec<String>| -> Vec<Vec<u8>> { texts.into_iter().map(String::into_bytes).collect() };
    let doubles = |fields: Vec<Field>| -> Vec<Field> {
        let price = |field: &Field| field.name() == "price";
        let double = |field: Field| field.with_data_type(DataType::Float64);
        fields
            .into_iter()
            .map(|field| if price(&field) { double(field) } else { field })
            .collect()
    };
    let cases = [
        (
            "json-100B",
            "json",
            schema(trade_fields()),
            bytes((0..BATCH).map(small_json).collect()),
        ),
        (
            "json-1KB",
            "json",
            schema(large_fields()),
            bytes((0..BATCH).map(large_json).collect()),
        ),
        (
            "csv",
            "csv",
            schema(trade_fields()),
            bytes((0..BATCH).map(|at| trade(at).join(",")).collect()),
        ),
        (
            "avro",
            "avro",
            schema(doubles(trade_fields())),
            (0..BATCH).map(avro).collect(),
        ),
    ];
    for (name, format, schema, messages) in cases {
        let mut group = criterion.benchmark_group(format!("decode/{name}"));
        let size: usize = messages.iter().map(Vec::len).sum();
        group.throughput(Throughput::Bytes(u64::try_from(size).unwrap()));
        let mut options = Options::new("bench").with("format", format);
        if format == "avro" {
            options = options.with("schema", AVRO);
        }
        let mut reader = MessageReader::new(&options, &schema).unwrap();
        group.bench_function(format!("fletching/batch={BATCH}"), |bencher| {
            bencher.iter(|| {
                let (batch, refused) = reader.decode(messages.iter().map(Vec::as_slice)).unwrap();
                assert!(refused.is_empty() && batch.num_rows() == BATCH);
                black_box(batch)
            });
        });
        if format == "json" {
            group.bench_function(format!("arrow-json/batch={BATCH}"), |bencher| {
                bencher.iter(|| assert_eq!(rival(&schema, &messages), BATCH));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);

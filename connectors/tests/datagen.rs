//! Generated rows: the same for the same seed, however they are read.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, SchemaRef, TimeUnit};
use fletching::connector::{Connector, FeedRequest, Polled, Position, RelationKind, ScanRequest, Source};
use fletching_connectors::DatagenConnector;
use support::{collect, rows, schema, spec};

fn source(schema: SchemaRef, options: &[(&str, &str)]) -> fletching::Result<Arc<dyn Source>> {
    DatagenConnector.source(&spec(RelationKind::Stream, Some(schema), options))
}

fn generate(schema: SchemaRef, options: &[(&str, &str)]) -> RecordBatch {
    collect(source(schema, options).unwrap().as_ref(), &ScanRequest::all()).unwrap()
}

fn refuse(schema: SchemaRef, options: &[(&str, &str)]) -> String {
    source(schema, options).unwrap_err().to_string()
}

fn wide() -> SchemaRef {
    schema(&[
        ("id", DataType::Int64),
        ("user", DataType::Utf8View),
        ("tiny", DataType::Int8),
        ("u", DataType::UInt64),
        ("price", DataType::Decimal128(38, 10)),
        ("small", DataType::Decimal128(4, 4)),
        ("old", DataType::Decimal256(40, 2)),
        ("ratio", DataType::Float32),
        ("flag", DataType::Boolean),
        ("day", DataType::Date32),
        ("clock", DataType::Time64(TimeUnit::Microsecond)),
        ("short", DataType::Time32(TimeUnit::Second)),
        (
            "at",
            DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())),
        ),
        ("word", DataType::Utf8),
        ("sku", DataType::LargeUtf8),
    ])
}

const WIDE: &[(&str, &str)] = &[
    ("rows", "30000"),
    ("seed", "7"),
    ("fields.id.kind", "sequence"),
    ("fields.user.kind", "zipf"),
    ("fields.user.prefix", "user_"),
    ("fields.user.n", "100"),
    ("fields.tiny.null_rate", "0.25"),
    ("fields.flag.null_rate", "0.5"),
    ("fields.price.min", "-0.0000000001"),
    ("fields.price.max", "999.99"),
    ("fields.word.kind", "choice"),
    ("fields.word.values", "A, B,C"),
    ("fields.word.weights", "8,1,1"),
    ("fields.at.kind", "sequence"),
    ("fields.at.step", "10ms"),
];

#[test]
fn rows_do_not_depend_on_how_they_are_read() {
    let source = source(wide(), WIDE).unwrap();
    let all = collect(source.as_ref(), &ScanRequest::all()).unwrap();
    assert_eq!(all.num_rows(), 30_000);
    assert_eq!(source.size().rows, Some(30_000));
    for (partitions, batch_rows) in [(3, 8192), (100, 1000), (2, 100_000)] {
        let mut request = ScanRequest::all();
        (request.partitions_max, request.batch_rows_max) = (partitions, batch_rows);
        assert_eq!(collect(source.as_ref(), &request).unwrap(), all);
        request.limit = Some(12_345);
        assert_eq!(collect(source.as_ref(), &request).unwrap(), all.slice(0, 12_345));
        request.projection = Some(vec![4, 1]);
        let some = collect(source.as_ref(), &request).unwrap();
        assert_eq!(some.column(0), &all.column(4).slice(0, 12_345));
        assert_eq!(some.column(1), &all.column(1).slice(0, 12_345));
        request.projection = Some(vec![]);
        assert_eq!(collect(source.as_ref(), &request).unwrap().num_rows(), 12_345);
    }
    let other = generate(wide(), &[("rows", "30000"), ("seed", "8")]);
    assert_ne!(other.column(4), all.column(4));
}

#[test]
fn distributions_are_as_told() {
    let all = generate(wide(), WIDE);
    let nulls = all.column(2).null_count();
    assert!((6500..8500).contains(&nulls), "{nulls}");
    let mut words: HashMap<String, u32> = HashMap::new();
    for word in all.column(13).as_string::<i32>().iter().flatten() {
        *words.entry(word.to_owned()).or_default() += 1;
    }
    assert!(
        (23_000..25_000).contains(&words["A"]) && words.len() == 3,
        "{words:?}"
    );
    let prices = all.column(4).as_primitive::<Decimal128Type>();
    assert!(
        prices
            .iter()
            .flatten()
            .all(|price| (-1..=9_999_900_000_000).contains(&price))
    );
    let users = all.column(1).as_string_view();
    let first = users.iter().flatten().filter(|user| *user == "user_1").count();
    let second = users.iter().flatten().filter(|user| *user == "user_2").count();
    assert!(first > second && second > 1000, "{first} {second}");
    let seen = rows(&all.project(&[0, 12]).unwrap());
    assert_eq!(seen[0], "1|2024-01-01T00:00:00Z");
    assert_eq!(seen[29_999], "30000|2024-01-01T00:04:59.990Z");
}

#[test]
fn sequences_cycle_and_step() {
    let columns = schema(&[
        ("a", DataType::Int32),
        ("b", DataType::Utf8View),
        ("c", DataType::Decimal128(9, 2)),
        ("d", DataType::Date32),
        ("e", DataType::Float64),
        ("f", DataType::Int8),
    ]);
    let batch = generate(
        columns,
        &[
            ("rows", "4"),
            ("fields.a.kind", "sequence"),
            ("fields.a.start", "10"),
            ("fields.a.end", "12"),
            ("fields.b.kind", "sequence"),
            ("fields.b.prefix", "u_"),
            ("fields.c.kind", "sequence"),
            ("fields.c.step", "-0.25"),
            ("fields.d.kind", "sequence"),
            ("fields.d.step", "7d"),
            ("fields.e.kind", "sequence"),
            ("fields.e.step", "0.5"),
            ("fields.f.kind", "sequence"),
            ("fields.f.start", "126"),
        ],
    );
    assert_eq!(
        rows(&batch),
        [
            "10|u_1|1.00|2024-01-01|1.0|126",
            "11|u_2|0.75|2024-01-08|1.5|127",
            "12|u_3|0.50|2024-01-15|2.0|126",
            "10|u_4|0.25|2024-01-22|2.5|127",
        ]
    );
}

#[test]
fn constants_and_defaults() {
    let columns = schema(&[
        ("a", DataType::Int64),
        ("b", DataType::Boolean),
        ("c", DataType::Float64),
        ("d", DataType::Utf8View),
    ]);
    let batch = generate(
        columns,
        &[
            ("rows", "2"),
            ("fields.a.kind", "constant"),
            ("fields.a.value", "42"),
            ("fields.b.kind", "constant"),
            ("fields.b.value", "true"),
            ("fields.c.kind", "choice"),
            ("fields.c.values", "1.5"),
        ],
    );
    assert!(rows(&batch)[0].starts_with("42|true|1.5|"));
    assert_eq!(batch.column(3).as_string_view().value(0).len(), 8);
    let numbers = generate(schema(&[("n", DataType::Int64)]), &[("rows", "10000")]);
    let numbers = numbers.column(0).as_primitive::<Int64Type>();
    assert!(numbers.values().iter().all(|n| (0..1_000_000).contains(n)));
}

#[test]
fn wrong_options_are_told() {
    let columns = || schema(&[("id", DataType::Int8), ("name", DataType::Utf8View)]);
    let with = |name: &str, text: &str| refuse(columns(), &[("rows", "1"), (name, text)]);
    let error = DatagenConnector.source(&spec(RelationKind::Table, Some(columns()), &[]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "table r: the option 'rows' is missing; add it, as in rows = '1000000'"
    );
    assert_eq!(
        refuse(columns(), &[("follow", "false")]),
        "stream r: option 'follow': a stream without rows has no end to be read to; \
         leave it out, or say how many rows"
    );
    assert_eq!(
        with("fields.idd.kind", "zipf"),
        "stream r: option 'fields.idd.kind': there is no column 'idd'; did you mean 'fields.id.kind'?"
    );
    assert_eq!(
        with("fields.id.knd", "zipf"),
        "stream r: option 'fields.id.knd': there is no attribute 'knd'; did you mean 'fields.id.kind'?"
    );
    assert_eq!(
        with("fields.id.max", "300"),
        "stream r: option 'fields.id.max': expected a whole number, found '300'"
    );
    assert_eq!(
        with("fields.id.prefix", "x"),
        "stream r: option 'fields.id.prefix': is for columns of text"
    );
    assert_eq!(
        with("fields.id.step", "1"),
        "stream r: option 'fields.id.step': has no meaning for the kind 'random'"
    );
    assert_eq!(
        with("fields.id.null_rate", "2"),
        "stream r: option 'fields.id.null_rate': expected a number from 0 to 1"
    );
    assert_eq!(
        with("row", "2"),
        "stream r: there is no option 'row'; did you mean 'rows'?"
    );
    let error = refuse(
        columns(),
        &[("rows", "1"), ("fields.id.min", "5"), ("fields.id.max", "4")],
    );
    assert_eq!(error, "stream r: option 'fields.id.max': is below min");
    let error = DatagenConnector
        .source(&spec(RelationKind::Stream, None, &[("rows", "1")]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "stream r: the connector 'datagen' needs declared columns; as in CREATE STREAM r (id BIGINT, …)"
    );
    assert!(
        DatagenConnector
            .sink(&spec(RelationKind::Sink, None, &[]))
            .is_err()
    );
}

#[test]
fn no_option_makes_it_panic() {
    let types = [
        DataType::Int8,
        DataType::Int64,
        DataType::UInt64,
        DataType::Decimal128(38, 0),
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Float64,
        DataType::Utf8View,
        DataType::Boolean,
    ];
    let texts = [
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999999999999999999999",
        "2262-04-11",
        "1677-09-22",
        "1d",
        "-1ns",
        "23:59:59.999999999",
        "NaN",
        "1e308",
        "-1e308",
        "true",
        "é",
    ];
    let attributes = [
        "min", "max", "start", "end", "step", "n", "exponent", "value", "values", "weights", "length",
    ];
    for data_type in types {
        for kind in ["random", "sequence", "zipf", "choice", "constant"] {
            for one in attributes {
                for two in ["max", "end", "step", "weights"] {
                    for text in texts {
                        for other in texts {
                            let name = format!("fields.c.{one}");
                            let also = format!("fields.c.{two}");
                            let options = [
                                ("rows", "3"),
                                ("fields.c.kind", kind),
                                (name.as_str(), text),
                                (also.as_str(), other),
                            ];
                            if one == "length" && text.len() > 5 {
                                continue;
                            }
                            if let Ok(source) = source(schema(&[("c", data_type.clone())]), &options) {
                                let _ = collect(source.as_ref(), &ScanRequest::all());
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Polls a feed to its end, or to so many rows, and returns them with where it then stands.
fn follow(source: &dyn Source, request: &FeedRequest, rows_max: usize) -> (Vec<String>, Vec<Position>) {
    let mut feed = source.feed(request).unwrap();
    let (mut seen, mut at) = (Vec::new(), request.from.clone());
    while seen.len() < rows_max {
        match feed.poll(Duration::from_millis(20)).unwrap() {
            Polled::Records(chunk) => {
                assert!(chunk.batch.num_rows() <= request.batch_rows_max);
                seen.extend(rows(&chunk.batch));
                at = vec![chunk.position];
            }
            Polled::End => break,
            _ => {}
        }
    }
    (seen, at)
}

#[test]
fn a_feed_gives_the_rows_of_a_scan_and_goes_on_where_it_was() {
    let options: Vec<_> = WIDE.iter().copied().chain([("follow", "true")]).collect();
    let source = source(wide(), &options).unwrap();
    assert!(source.is_unbounded());
    let expected = rows(&generate(wide(), WIDE));
    let mut request = FeedRequest::all();
    request.batch_rows_max = 1000;
    let mut seen = Vec::new();
    for rows_max in [1, 1500, 9000, usize::MAX, 1] {
        let (rows, at) = follow(source.as_ref(), &request, rows_max);
        seen.extend(rows);
        request.from = at;
    }
    assert_eq!(seen, expected);
    request.from = vec![Position {
        partition: "0".into(),
        place: "here".into(),
    }];
    assert!(source.feed(&request).is_err());
}

#[test]
fn a_pace_is_kept() {
    let columns = schema(&[("id", DataType::Int64), ("name", DataType::Utf8View)]);
    let source = source(columns, &[("rows.per_second", "2000")]).unwrap();
    assert_eq!(source.size().rows, None);
    let mut request = FeedRequest::all();
    request.projection = Some(vec![0]);
    let began = Instant::now();
    let (seen, _) = follow(source.as_ref(), &request, 400);
    assert!(
        began.elapsed() >= Duration::from_millis(195),
        "{:?}",
        began.elapsed()
    );
    assert!(seen.len() >= 400 && !seen[0].contains('|'));
}

#[test]
fn a_rate_holds_rows_back_and_changes_none() {
    let id = || schema(&[("id", DataType::Int64)]);
    let options = [("rows", "60"), ("seed", "3")];
    let paced = [options.as_slice(), &[("rows.per_second", "200")]].concat();
    let source = source(id(), &paced).unwrap();
    for partitions_max in [1, 3] {
        let began = std::time::Instant::now();
        let mut request = ScanRequest::all();
        request.partitions_max = partitions_max;
        let rows = collect(source.as_ref(), &request).unwrap();
        assert_eq!(rows, generate(id(), &options));
        let took = began.elapsed().as_secs_f64();
        assert!((0.29..5.0).contains(&took), "60 rows at 200/s took {took} s");
    }
    assert!(refuse(id(), &[("rows", "1"), ("rows.per_second", "0")]).contains("above 0"));
    assert!(refuse(id(), &[("rows", "1"), ("rows.per_second", "fast")]).contains("expected a whole number"));
}

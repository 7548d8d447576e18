//! What a sink writes, a source reads back: every format, packing and type.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit, i256};
use fletching::connector::ScanRequest;
use support::{collect, open, read, write};

/// A row of each scalar type, one of NULLs, and one of extremes.
fn scalars() -> RecordBatch {
    let decimal = Decimal128Array::from(vec![Some(-12_345), None, Some(10_i128.pow(38) - 1)]);
    let wide = Decimal256Array::from(vec![
        Some(i256::from_i128(7)),
        None,
        Some(i256::from_i128(i128::MAX)),
    ]);
    let utc = TimestampMicrosecondArray::from(vec![Some(1_704_164_645_678_901), None, Some(-1)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "tiny",
            Arc::new(Int8Array::from(vec![Some(1), None, Some(i8::MIN)])),
        ),
        (
            "small",
            Arc::new(Int16Array::from(vec![Some(1), None, Some(i16::MAX)])),
        ),
        (
            "int",
            Arc::new(Int32Array::from(vec![Some(-1), None, Some(i32::MAX)])),
        ),
        (
            "big",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MIN)])),
        ),
        (
            "ubig",
            Arc::new(UInt64Array::from(vec![Some(1), None, Some(u64::MAX)])),
        ),
        (
            "float",
            Arc::new(Float32Array::from(vec![Some(0.1), None, Some(f32::MAX)])),
        ),
        (
            "double",
            Arc::new(Float64Array::from(vec![Some(0.1), None, Some(5e-324)])),
        ),
        (
            "flag",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (
            "money",
            Arc::new(decimal.with_precision_and_scale(38, 2).unwrap()),
        ),
        ("wide", Arc::new(wide.with_precision_and_scale(60, 4).unwrap())),
        (
            "day",
            Arc::new(Date32Array::from(vec![Some(19_724), None, Some(-1)])),
        ),
        (
            "clock",
            Arc::new(Time64MicrosecondArray::from(vec![Some(1_500_000), None, Some(0)])),
        ),
        (
            "seen",
            Arc::new(TimestampNanosecondArray::from(vec![
                Some(1_704_164_645_678_901_234),
                None,
                Some(0),
            ])),
        ),
        ("seen_at", Arc::new(utc.with_timezone("+00:00"))),
        (
            "name",
            Arc::new(StringViewArray::from(vec![
                Some("a \"quoted\", long text\nover two lines é"),
                None,
                Some(""),
            ])),
        ),
        (
            "raw",
            Arc::new(BinaryViewArray::from(vec![
                Some(&b"\x00\xffabc"[..]),
                None,
                Some(b"long bytes past inline"),
            ])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
}

/// A list and a struct, which text cells cannot hold.
fn nested() -> RecordBatch {
    let item = Arc::new(Field::new_list_field(DataType::Decimal128(9, 2), true));
    let items = Decimal128Array::from(vec![Some(150), None, Some(-7)]);
    let items = Arc::new(items.with_precision_and_scale(9, 2).unwrap());
    let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
    let list = ListArray::new(item, offsets, items, None);
    let fields = Fields::from(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("n", DataType::Int32, true),
    ]);
    let parts = StructArray::new(
        fields,
        vec![
            Arc::new(TimestampMillisecondArray::from(vec![Some(5), None, Some(1)])),
            Arc::new(Int32Array::from(vec![None, Some(2), Some(3)])),
        ],
        Some(vec![true, false, true].into()),
    );
    RecordBatch::try_from_iter_with_nullable([
        ("list", Arc::new(list) as ArrayRef, true),
        ("parts", Arc::new(parts) as ArrayRef, true),
    ])
    .unwrap()
}

fn round_trip(name: &str, batch: &RecordBatch, compression: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let options: Vec<_> = compression.map(|c| ("compression", c)).into_iter().collect();
    let summary = write(&path, &[batch.clone(), batch.clone()], &batch.schema(), &options).unwrap();
    assert_eq!(summary.rows, 2 * batch.num_rows() as u64);
    assert_eq!(summary.bytes, Some(std::fs::metadata(&path).unwrap().len()));
    assert_eq!(summary.location, path.display().to_string());
    let is_text = name.contains("csv") || name.contains("json");
    let reading = if is_text { options } else { Vec::new() };
    let back = read(&path, Some(batch.schema()), &reading).unwrap();
    let twice = arrow::compute::concat_batches(&batch.schema(), [batch, batch]).unwrap();
    assert_eq!(back, twice, "{name} {compression:?}");
}

#[test]
fn scalars_survive_every_format_and_packing() {
    let batch = scalars();
    for compression in [
        None,
        Some("none"),
        Some("snappy"),
        Some("zstd"),
        Some("gzip"),
        Some("lz4"),
    ] {
        round_trip("a.parquet", &batch, compression);
    }
    for compression in [None, Some("lz4"), Some("zstd")] {
        round_trip("a.arrow", &batch, compression);
    }
    for compression in [None, Some("gzip"), Some("zstd")] {
        round_trip("a.csv", &batch, compression);
        round_trip("a.ndjson", &batch, compression);
    }
    for name in ["a.tsv", "a.csv.gz", "a.csv.zst", "a.json.gz", "a.jsonl.zst"] {
        round_trip(name, &batch, None);
    }
}

#[test]
fn nested_columns_survive_where_a_format_has_them() {
    for name in ["a.parquet", "a.arrow", "a.ndjson"] {
        round_trip(name, &nested(), None);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let error = write(&path, &[], &nested().schema(), &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("CSV cannot hold column 'list'"), "{error}");
    assert!(
        error.ends_with("; write parquet, json or arrow instead"),
        "{error}"
    );
}

#[test]
fn inferred_columns_have_views_and_the_files_types() {
    let folder = tempfile::tempdir().unwrap();
    let batch = scalars();
    for name in ["a.parquet", "a.arrow"] {
        let path = folder.path().join(name);
        write(&path, std::slice::from_ref(&batch), &batch.schema(), &[]).unwrap();
        let back = read(&path, None, &[]).unwrap();
        assert_eq!(back, batch, "{name}");
    }
}

#[test]
fn no_rows_still_make_a_file_with_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let schema = scalars().schema();
    for name in ["a.parquet", "a.arrow", "a.csv", "a.ndjson", "a.csv.gz"] {
        let path = folder.path().join(name);
        assert_eq!(write(&path, &[], &schema, &[]).unwrap().rows, 0);
        let back = read(&path, Some(Arc::clone(&schema)), &[]).unwrap();
        assert_eq!(
            (back.num_rows(), back.schema()),
            (0, Arc::clone(&schema)),
            "{name}"
        );
    }
}

#[test]
fn row_groups_are_read_in_parallel_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let ids = Int64Array::from_iter_values(0..10_000);
    let texts = StringViewArray::from_iter_values((0..10_000).map(|i| format!("a text that is long {i}")));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("text", Arc::new(texts) as ArrayRef),
    ])
    .unwrap();
    write(
        &path,
        std::slice::from_ref(&batch),
        &batch.schema(),
        &[("row_group_rows", "1000")],
    )
    .unwrap();
    let source = open(&path, None, &[]).unwrap();
    assert_eq!(source.size().rows, Some(10_000));
    let mut request = ScanRequest::all();
    request.partitions_max = 4;
    request.batch_rows_max = 300;
    assert_eq!(source.scan(&request).unwrap().len(), 4);
    assert_eq!(collect(source.as_ref(), &request).unwrap(), batch);
    assert!(request.report.bytes() > 0);

    request.projection = Some(vec![1, 0, 1]);
    let back = collect(source.as_ref(), &request).unwrap();
    assert_eq!((back.num_columns(), back.column(1)), (3, batch.column(0)));
    assert_eq!(back.column(0), back.column(2));

    request.projection = Some(Vec::new());
    assert_eq!(collect(source.as_ref(), &request).unwrap().num_rows(), 10_000);

    request.limit = Some(1500);
    request.projection = None;
    assert_eq!(collect(source.as_ref(), &request).unwrap(), batch.slice(0, 1500));
}

#[test]
fn the_stream_form_of_arrow_is_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrows");
    let batch = nested();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    assert_eq!(read(&path, None, &[]).unwrap(), batch);
}

#[test]
fn declared_types_are_cast_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let batch = RecordBatch::try_from_iter([
        ("ID", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        (
            "price",
            Arc::new(StringArray::from(vec!["1.50", "2.505"])) as ArrayRef,
        ),
    ])
    .unwrap();
    write(&path, std::slice::from_ref(&batch), &batch.schema(), &[]).unwrap();
    let declare = |scale| -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("price", DataType::Decimal128(9, scale), true),
        ]))
    };
    let back = read(&path, Some(declare(3)), &[]).unwrap();
    assert_eq!(support::rows(&back), ["1|1.500", "2|2.505"]);
    let error = read(&path, Some(declare(2)), &[]).unwrap_err().to_string();
    assert_eq!(
        error.replace(&path.display().to_string(), "a.parquet"),
        "a.parquet, row 2, column price: expected DECIMAL(9, 2), found '2.505' (row group 0); \
         declare the column as VARCHAR"
    );
    let wrong = support::schema(&[("prise", DataType::Utf8View)]);
    let error = read(&path, Some(wrong), &[]).unwrap_err().to_string();
    assert!(
        error.ends_with("has no column 'prise'; did you mean 'price'? its columns are ID, price"),
        "{error}"
    );
}

#[test]
fn damaged_files_are_told_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let batch = scalars();
    for (name, said) in [
        ("a.parquet", "is not a whole Parquet file"),
        ("a.arrow", "is not a whole Arrow IPC file"),
    ] {
        let path = folder.path().join(name);
        write(&path, std::slice::from_ref(&batch), &batch.schema(), &[]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 3, 8, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = read(&path, None, &[]).unwrap_err();
            assert!(error.to_string().contains(said), "{length}: {error}");
            assert_eq!(error.code(), "FILE");
        }
    }
}

//! Well-formed text in all its dialects: guessed types, options, large files.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::fmt::Write;

use arrow::datatypes::{DataType, TimeUnit};
use fletching::connector::ScanRequest;
use support::{collect, open, read_text, rows, schema};

fn types(batch: &arrow::array::RecordBatch) -> Vec<DataType> {
    batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect()
}

#[test]
fn csv_types_are_guessed() {
    let text = "\u{feff}id, zip ,amount,day,at,flag,note,empty\n\
        1,01234,1.5,2024-01-31,2024-01-31 10:00:00,true,hi,\n\
        2,98765,2,2024-02-01,2024-01-31T10:00:00.25,FALSE,\"\",\n";
    let batch = read_text("a.csv", text, None, &[]).unwrap();
    assert_eq!(
        types(&batch),
        [
            DataType::Int64,
            DataType::Utf8View,
            DataType::Float64,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Boolean,
            DataType::Utf8View,
            DataType::Utf8View,
        ]
    );
    assert_eq!(batch.schema().field(1).name(), "zip");
    assert_eq!(
        rows(&batch)[1],
        "2|98765|2.0|2024-02-01|2024-01-31T10:00:00.250|false||-"
    );
}

#[test]
fn json_types_are_guessed_in_the_order_of_the_keys() {
    let text = "{\"z\":1,\"a\":\"x\",\"list\":[1,2.5]}\n\n{\"z\":2,\"big\":18446744073709551615,\"a\":null,\"o\":{\"k\":true}}\n";
    let batch = read_text("a.json", text, None, &[]).unwrap();
    let names: Vec<String> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["z", "a", "list", "big", "o"]);
    assert_eq!(batch.schema().field(3).data_type(), &DataType::Utf8View);
    assert_eq!(
        rows(&batch),
        ["1|x|[1.0, 2.5]|-|-", "2|-|-|18446744073709551615|{k: true}"]
    );
}

#[test]
fn dialects_are_understood() {
    let options = [
        ("delimiter", ";"),
        ("quote", "'"),
        ("comment", "#"),
        ("null", "NA"),
    ];
    let text = "# exported\na;b\n'x;y';NA\n#\nNA;'NA'\n'it''s';two";
    let batch = read_text("a.csv", text, None, &options).unwrap();
    assert_eq!(rows(&batch), ["x;y|-", "-|NA", "it's|two"]);
    let batch = read_text("a.tsv", "a\tb\n1\t\"2\t3\"\n", None, &[]).unwrap();
    assert_eq!(rows(&batch), ["1|2\t3"]);
    let batch = read_text("a.csv", "a\n\"x\\\"y\"\n", None, &[("escape", "\\")]).unwrap();
    assert_eq!(rows(&batch), ["x\"y"]);
    let batch = read_text(
        "a.txt",
        "1,x\n2,y\n",
        None,
        &[("format", "csv"), ("header", "false")],
    )
    .unwrap();
    assert_eq!(batch.schema().field(1).name(), "column_2");
    assert_eq!(batch.num_rows(), 2);
    let named = schema(&[("id", DataType::Int32), ("name", DataType::Utf8)]);
    let batch = read_text("a.csv", "1,x\n2,y\n", Some(named), &[("header", "no")]).unwrap();
    assert_eq!(rows(&batch), ["1|x", "2|y"]);
    let batch = read_text(
        "a.csv",
        "\"a\"\n\"\"\n\"\"\n",
        Some(schema(&[("a", DataType::Int32)])),
        &[],
    )
    .unwrap();
    assert_eq!(rows(&batch), ["-", "-"]);
}

#[test]
fn options_of_one_character_are_checked() {
    let error = support::error_text("a.csv", "a\n", None, &[("delimiter", "::")]);
    assert_eq!(
        error,
        "stream r: option 'delimiter': expected one ASCII character, found '::'"
    );
    let error = support::error_text("a.json", "{}", None, &[("delimiter", ";")]);
    assert!(
        error.contains("has no meaning for sources of format json"),
        "{error}"
    );
}

#[test]
fn large_files_read_the_same_whatever_the_batches() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, json) = (folder.path().join("a.csv"), folder.path().join("a.json"));
    let (mut csv_text, mut json_text) = (String::from("id,note\n"), String::new());
    for id in 0..60_000 {
        // Past one block of a MiB, with line ends within quotes.
        writeln!(csv_text, "{id},\"a note\nof {id} \"\"words\"\"\"").unwrap();
        writeln!(
            json_text,
            "{{\"id\":{id},\"note\":\"a note\\nof {id} \\\"words\\\"\"}}"
        )
        .unwrap();
    }
    std::fs::write(&csv, csv_text).unwrap();
    std::fs::write(&json, json_text).unwrap();
    let mut request = ScanRequest::all();
    let expected = collect(open(&csv, None, &[]).unwrap().as_ref(), &request).unwrap();
    assert_eq!(expected.num_rows(), 60_000);
    assert_eq!(rows(&expected)[59_999], "59999|a note\nof 59999 \"words\"");
    for batch_rows_max in [1000, 7777] {
        request.batch_rows_max = batch_rows_max;
        for path in [&csv, &json] {
            let source = open(path, None, &[]).unwrap();
            assert_eq!(collect(source.as_ref(), &request).unwrap(), expected);
        }
    }
    request.limit = Some(10_001);
    let source = open(&json, None, &[]).unwrap();
    assert_eq!(
        collect(source.as_ref(), &request).unwrap(),
        expected.slice(0, 10_001)
    );
}

#[test]
fn a_line_far_into_a_file_has_its_number() {
    let mut text = String::from("id,n\n");
    for id in 0..150_000 {
        writeln!(text, "{id},{id}").unwrap();
    }
    text.push_str("150000,x\n");
    let error = support::error_text("a.csv", text, None, &[]);
    assert!(
        error.starts_with("a.csv, line 150002, column n: expected BIGINT, found 'x'"),
        "{error}"
    );
}

#[test]
fn files_of_a_folder_are_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("b.csv", "y,x\nb,2\n"),
        ("a.csv", "x,y\n1,a\n"),
        ("c.csv", "x,extra,y\n3,-,c\n"),
        ("_x.csv", "bad"),
        ("d.json", "{}"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut request = ScanRequest::all();
    request.partitions_max = 2;
    let source = open(folder.path(), None, &[]).unwrap();
    assert_eq!(
        rows(&collect(source.as_ref(), &request).unwrap()),
        ["1|a", "2|b", "3|c"]
    );
    request.projection = Some(vec![]);
    assert_eq!(collect(source.as_ref(), &request).unwrap().num_rows(), 3);
    let glob = folder.path().join("[ab].csv");
    assert_eq!(
        collect(open(&glob, None, &[]).unwrap().as_ref(), &request)
            .unwrap()
            .num_rows(),
        2
    );
    std::fs::write(folder.path().join("e.csv"), "x\n5\n").unwrap();
    let error = open(folder.path(), None, &[]).unwrap_err().to_string();
    assert!(
        error.ends_with("e.csv: has no column 'y'; did you mean 'x'? its columns are x"),
        "{error}"
    );
}

//! Text that is not as it should be: exact errors, rows left out, dead letters.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fletching::connector::ScanRequest;
use support::{collect, error_text, open, read_text, rows, schema};

fn prices() -> SchemaRef {
    schema(&[("id", DataType::Int64), ("price", DataType::Decimal128(9, 2))])
}

#[test]
fn a_bad_cell_names_file_line_column_value_and_type() {
    let text = "id,price\n1,1.50\n\n\"2\",\"x\ny\"\n";
    assert_eq!(
        error_text("p.csv", text, Some(prices()), &[]),
        "p.csv, line 4, column price: expected DECIMAL(9, 2), found 'x\ny'; \
         declare the column as VARCHAR, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error_text("p.csv", "id,price\r\n1,1.5\r\n1,1.555\r\n", Some(prices()), &[]),
        "p.csv, line 3, column price: expected DECIMAL(9, 2), found '1.555', \
         which has more digits after the point than the type holds; \
         declare the column as VARCHAR, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error_text(
            "p.ndjson",
            "{\"id\":1,\"price\":2}\n{\"id\":1.5,\"price\":2}",
            Some(prices()),
            &[]
        ),
        "p.ndjson, line 2, column id: expected BIGINT, found '1.5', \
         which has more digits after the point than the type holds; \
         declare the column as VARCHAR, or set on_bad_row = 'skip'"
    );
}

#[test]
fn a_bad_record_is_told_apart_from_a_bad_cell() {
    let error = |text: &[u8]| error_text("p.csv", text, Some(prices()), &[]);
    assert_eq!(
        error(b"id,price\n1\n"),
        "p.csv, line 2: expected 2 fields, found 1; \
         check that the line is whole and the option delimiter is right, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error(b"id,price\n1,2,3\n"),
        "p.csv, line 2: expected 2 fields, found 3; \
         check the options delimiter and quote, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error(b"id,price\n1,2\n1,\"2\n3,4\n"),
        "p.csv, line 3: a quote is opened and never closed; close it, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error(b"id,price\n1,\"2\"3\n"),
        "p.csv, line 2: expected a delimiter or the line's end after a closing quote; \
         double the quotes within a quoted cell, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error(b"id,price\n1,2\n1,\xff\n"),
        "p.csv, line 3: is not UTF-8 text at byte 3; \
         convert the file to UTF-8, or set on_bad_row = 'skip'"
    );
}

#[test]
fn a_bad_json_line_says_why() {
    let error = |text: &str| error_text("p.json", text, Some(prices()), &[("missing_columns", "null")]);
    assert_eq!(
        error("{\"id\":1}\n{\"id\":\n"),
        "p.json, line 2: is not a JSON object: EOF while parsing a value at character 6; \
         write one JSON object a line, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error("{\"id\":1}\n5\n"),
        "p.json, line 2: expected a JSON object, found a number; \
         write one JSON object a line, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error("{\"id\":1} {\"id\":2}\n"),
        "p.json, line 1: is not a JSON object: trailing characters at character 10; \
         write one JSON object a line, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error("{\"id\":1}\n{\"id\":[2]}\n"),
        "p.json, line 2, column id: expected BIGINT, found a list: '[2]'; \
         declare the column as it is in the file, or set on_bad_row = 'skip'"
    );
    assert_eq!(
        error("[{\"id\":1}]"),
        "p.json: is one JSON list; write one object a line, as with: jq -c '.[]'"
    );
}

#[test]
fn a_null_where_none_may_be_is_a_bad_row() {
    let strict: SchemaRef = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let expected = "column id: found NULL, but the column is declared NOT NULL; \
         leave out NOT NULL, or set on_bad_row = 'skip'";
    let error = error_text("p.csv", "id,b\n1,2\n,3\n", Some(Arc::clone(&strict)), &[]);
    assert_eq!(error, format!("p.csv, line 3, {expected}"));
    let error = error_text("p.json", "{\"id\":null}", Some(Arc::clone(&strict)), &[]);
    assert_eq!(error, format!("p.json, line 1, {expected}"));
    let skip = [("on_bad_row", "skip")];
    let kept = read_text("p.csv", "id,b\n1,2\n,3\n4,4\n", Some(strict), &skip).unwrap();
    assert_eq!(rows(&kept), ["1", "4"]);
}

const MIXED_CSV: &[u8] = b"id,price\n1,1.5\nx,2\n3,y\n4\n5,\xff\xfe\n6,6\n";

#[test]
fn rows_that_are_left_out_are_counted_whatever_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.csv");
    std::fs::write(&path, MIXED_CSV).unwrap();
    let source = open(&path, Some(prices()), &[("on_bad_row", "skip")]).unwrap();
    for projection in [None, Some(vec![]), Some(vec![1]), Some(vec![0])] {
        let mut request = ScanRequest::all();
        request.projection = projection;
        assert_eq!(collect(source.as_ref(), &request).unwrap().num_rows(), 2);
        assert_eq!(request.report.bad_rows(), 4);
        assert_eq!(request.report.bytes(), MIXED_CSV.len() as u64);
        let examples = request.report.bad_row_examples();
        assert!(
            examples[0].ends_with("line 3, column id: expected BIGINT, found 'x'"),
            "{examples:?}"
        );
    }
    assert_eq!(source.size().bytes, Some(MIXED_CSV.len() as u64));
}

#[test]
fn dead_letters_hold_place_reason_and_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.csv");
    let dead = folder.path().join("dead/p.ndjson");
    std::fs::write(&path, MIXED_CSV).unwrap();
    let options = [
        ("on_bad_row", "dead_letter"),
        ("dead_letter.path", dead.to_str().unwrap()),
    ];
    let source = open(&path, Some(prices()), &options).unwrap();
    let kept = collect(source.as_ref(), &ScanRequest::all()).unwrap();
    assert_eq!(rows(&kept), ["1|1.50", "6|6.00"]);
    let text = std::fs::read_to_string(&dead).unwrap();
    let text = text.replace(path.to_str().unwrap(), "p.csv");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"column":"id","line":3,"origin":"p.csv","raw":"x,2","reason":"expected BIGINT, found 'x'"}"#
    );
    assert_eq!(
        lines[3],
        r#"{"column":null,"line":6,"origin":"p.csv","raw_hex":"352cfffe","reason":"is not UTF-8 text at byte 3"}"#
    );
    assert_eq!(lines.len(), 4);
}

#[test]
fn bad_json_rows_are_left_out() {
    let text = b"{\"id\":1,\"price\":\"1.50\"}\nnot json\n\n{\"id\":\"x\"}\n{\"id\":{}}\n{\"id\":\"\xff\"}\n{\"id\":2}";
    for projection in [None, Some(vec![]), Some(vec![1])] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        std::fs::write(&path, text).unwrap();
        let source = open(&path, Some(prices()), &[("on_bad_row", "skip")]).unwrap();
        let mut request = ScanRequest::all();
        request.projection = projection;
        assert_eq!(collect(source.as_ref(), &request).unwrap().num_rows(), 2);
        assert_eq!(request.report.bad_rows(), 4);
    }
    let kept = read_text("p.json", text, Some(prices()), &[("on_bad_row", "skip")]).unwrap();
    assert_eq!(rows(&kept), ["1|1.50", "2|-"]);
}

#[test]
fn dead_letters_need_a_path() {
    let error = error_text("p.csv", "id\n1\n", None, &[("on_bad_row", "dead_letter")]);
    assert_eq!(
        error,
        "stream r: the option 'dead_letter.path' is missing; add it, as in dead_letter.path = 'dead/rows.ndjson'"
    );
    let error = error_text("p.csv", "id\n1\n", None, &[("dead_letter.path", "x")]);
    assert!(
        error.ends_with("nothing would go there; add on_bad_row = 'dead_letter'"),
        "{error}"
    );
}

#[test]
fn files_that_do_not_fit_the_declaration_are_refused() {
    assert_eq!(
        error_text("p.csv", "id,prize\n1,2\n", Some(prices()), &[]),
        "p.csv: has no column 'price'; did you mean 'prize'? its columns are id, prize"
    );
    assert_eq!(
        error_text("p.json", "{\"id\":1,\"cost\":2}\n", Some(prices()), &[]),
        "p.json: has no column 'price'; its columns are id, cost"
    );
    assert_eq!(
        error_text("p.csv", "1,2,3\n", Some(prices()), &[("header", "false")]),
        "p.csv: has 3 columns, but 2 are declared; \
         check the option delimiter, and declare each column in order"
    );
    assert_eq!(
        error_text("p.csv", "a,a\n", None, &[]),
        "p.csv: its header names the column 'a' twice; \
         rename one of them, or set header = 'false' and declare the columns"
    );
    assert_eq!(
        error_text("p.csv", "", None, &[]),
        "p.csv: is empty; expected a header; \
         set header = 'false' and declare the columns, or leave the file out"
    );
    assert_eq!(
        error_text(
            "p.csv",
            "i\0d\0".as_bytes().iter().fold(vec![0xff, 0xfe], |mut v, b| {
                v.push(*b);
                v
            }),
            None,
            &[]
        ),
        "p.csv: is UTF-16 text; convert it to UTF-8, as with: iconv -f UTF-16 -t UTF-8"
    );
    let nested = schema(&[(
        "a",
        DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))),
    )]);
    assert!(error_text("p.csv", "a\n1\n", Some(nested), &[]).contains("cannot be read from text"));
}

#[test]
fn packed_files_that_are_cut_short_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv.gz");
    let columns = schema(&[("id", DataType::Int64)]);
    support::write(&path, &[], &columns, &[]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    let error = support::read(&path, None, &[]).unwrap_err().to_string();
    assert!(error.contains("ends in the middle of its packed data"), "{error}");
    std::fs::write(&path, "id\n".repeat(100)).unwrap();
    let error = support::read(&path, None, &[]).unwrap_err().to_string();
    assert!(error.contains("check the option compression"), "{error}");
}

//! What results look like in a pipe and in a file.

use std::fs::File;
use std::process::Stdio;

use arrow_ipc::reader::StreamReader;

use crate::{Desk, RELATIONS};

const ROWS: &str = "SELECT * FROM (VALUES (1, 'a,b', 1.50), (2, '', 2.25), (3, NULL, NULL)) AS v (id, name, price) ORDER BY id";

fn shown(format: &str) -> String {
    Desk::new().run(&["--format", format, "-c", ROWS]).fine()
}

#[test]
fn csv_is_the_usual_form_in_a_pipe() {
    let expected = "id,name,price\n1,\"a,b\",1.50\n2,\"\",2.25\n3,,\n";
    assert_eq!(Desk::new().run(&["-c", ROWS]).fine(), expected);
    assert_eq!(shown("csv"), expected);
}

#[test]
fn json_has_every_column_on_every_line() {
    let text = shown("json");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].starts_with("{\"id\":1,\"name\":\"a,b\",\"price\":"),
        "{text}"
    );
    assert_eq!(lines[2], "{\"id\":3,\"name\":null,\"price\":null}");
}

#[test]
fn a_table_is_aligned_and_whole() {
    let expected = " id │ name │ price\n────┼──────┼───────\n  1 │ a,b  │  1.50\n  2 │      │  2.25\n  3 │ NULL │  NULL\n";
    assert_eq!(shown("table"), expected);
    let many = Desk::new()
        .run(&["--format", "table", "-c", "SELECT * FROM range(100)"])
        .fine();
    assert_eq!(many.lines().count(), 102, "{many}");
}

#[test]
fn arrow_is_a_stream_that_reads_back() {
    let desk = Desk::new();
    desk.run(&["-c", ROWS, "--format", "arrow", "--output", "rows.bin"])
        .fine();
    let file = File::open(desk.path("rows.bin")).expect("the file is there");
    let reader = StreamReader::try_new(file, None).expect("an IPC stream");
    assert_eq!(
        reader.schema().field(1).data_type(),
        &arrow::datatypes::DataType::Utf8
    );
    let rows: usize = reader.map(|batch| batch.expect("a batch").num_rows()).sum();
    assert_eq!(rows, 3);
}

#[test]
fn parquet_goes_through_a_pipe() {
    let desk = Desk::new();
    let file = File::create(desk.path("rows.parquet")).expect("a file can be made");
    let mut command = desk.command(&["-c", ROWS, "--format", "parquet"]);
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .status()
        .expect("the program runs");
    assert!(status.success());
    let back = "CREATE STREAM s WITH (path = 'rows.parquet'); SELECT count(*) AS n, sum(price) AS p FROM s";
    assert_eq!(desk.run(&["-c", back]).fine(), "n,p\n3,3.75\n");
}

#[test]
fn an_output_file_appears_when_everything_is_done() {
    let desk = Desk::new();
    desk.run(&["-c", ROWS, "--output", "rows.json"]).fine();
    assert_eq!(desk.read("rows.json").lines().count(), 3);
    assert_eq!(desk.added(), ["rows.json"]);

    let script = format!("{RELATIONS}SELECT trade_id FROM trades; SELECT 1 / (trade_id - 1) FROM trades");
    desk.run(&["-c", &script, "--output", "other.csv"]).failed(1);
    assert_eq!(desk.added(), ["rows.json"]);
}

#[test]
fn an_output_file_needs_rows() {
    let message = Desk::new()
        .run(&["-c", "CREATE TABLE t (a INT)", "--output", "a.csv"])
        .failed(2);
    assert!(
        message.contains("a.csv: no statement gives rows to write"),
        "{message}"
    );
}

#[test]
fn results_are_set_apart() {
    let desk = Desk::new();
    assert_eq!(
        desk.run(&["-c", "SELECT 1 AS a; SELECT 2 AS b"]).fine(),
        "a\n1\n\nb\n2\n"
    );
    let json = desk
        .run(&["--format", "json", "-c", "SELECT 1 AS a; SELECT 2 AS b"])
        .fine();
    assert_eq!(json, "{\"a\":1}\n{\"b\":2}\n");
}

#[test]
fn a_binary_format_holds_one_result() {
    let message = Desk::new()
        .run(&["--format", "parquet", "-c", "SELECT 1; SELECT 2"])
        .failed(2);
    assert!(
        message.contains("parquet holds one result, but 2 statements give rows"),
        "{message}"
    );
}

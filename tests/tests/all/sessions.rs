//! Sessions with a pushed stream and a table, and the rows of queries as sorted text.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fletching::Session;

/// Makes a session with stream `s` of these batches and table `t` of one.
pub(crate) fn session_with(stream: &[RecordBatch], table: &RecordBatch) -> Session {
    let session = Session::builder().threads(2).build().unwrap();
    session.create_stream("s", stream[0].schema()).unwrap();
    for batch in stream {
        session.push("s", batch.clone()).unwrap();
    }
    session.create_table("t", vec![table.clone()], &[]).unwrap();
    session
}

/// Runs a query to its end.
pub(crate) fn query(session: &Session, sql: &str) -> Vec<RecordBatch> {
    match session.sql(sql).and_then(fletching::Rows::collect_batches) {
        Ok(batches) => batches,
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// Shows rows as text, in their order.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<_> = columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            lines.push(cells.join("|"));
        }
    }
    lines
}

/// Shows rows as text, sorted: a multiset.
pub(crate) fn sorted_lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = lines(batches);
    lines.sort();
    lines
}

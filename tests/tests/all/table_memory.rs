//! What a table holds: `SHOW MEMORY FROM` with a line for each column and for what was built over them,
//! which add up to what `SHOW TABLES` says; and how rows that are added lie.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Schema, UInt64Type};
use fletching::Session;

use crate::sessions::query;

/// The parts of a table with their bytes.
fn parts(session: &Session, table: &str) -> Vec<(String, u64)> {
    let shown = query(session, &format!("SHOW MEMORY FROM {table}"));
    let text = |name: &str, row: usize| {
        let column = shown[0].column_by_name(name).unwrap().as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_string())
    };
    let bytes = shown[0]
        .column_by_name("bytes")
        .unwrap()
        .as_primitive::<UInt64Type>();
    (0..shown[0].num_rows())
        .map(|row| {
            let name = text("name", row).unwrap_or_default();
            (
                format!("{} {name}", text("part", row).unwrap())
                    .trim()
                    .to_string(),
                bytes.value(row),
            )
        })
        .collect()
}

fn bytes_of(parts: &[(String, u64)], name: &str) -> u64 {
    parts.iter().find(|(part, _)| part == name).unwrap().1
}

fn total_in_show_tables(session: &Session, table: &str) -> u64 {
    let shown: RecordBatch = query(session, "SHOW TABLES").remove(0);
    let names = shown.column_by_name("name").unwrap().as_string::<i32>();
    let row = (0..shown.num_rows())
        .find(|row| names.value(*row) == table)
        .unwrap();
    shown
        .column_by_name("bytes")
        .unwrap()
        .as_primitive::<UInt64Type>()
        .value(row)
}

fn check_adds_up(session: &Session, table: &str) -> Vec<(String, u64)> {
    let parts = parts(session, table);
    let (total, others) = parts.split_last().unwrap();
    assert_eq!(total.0, "total");
    assert_eq!(
        others.iter().map(|(_, bytes)| bytes).sum::<u64>(),
        total.1,
        "{parts:?}"
    );
    assert_eq!(total_in_show_tables(session, table), total.1);
    parts
}

#[test]
fn parts_add_up_to_what_show_tables_says() {
    let session = Session::builder().threads(2).build().unwrap();
    query(
        &session,
        "CREATE TABLE live (id BIGINT, tier VARCHAR, PRIMARY KEY (id)) WITH (changelog = 'upsert');
         CREATE TABLE plain (id BIGINT, tier VARCHAR, n BIGINT, PRIMARY KEY (id));
         CREATE TABLE rates (id BIGINT, ts BIGINT, rate BIGINT, PRIMARY KEY (id))
             WITH ('versioned' = 'true', version = 'ts');
         INSERT INTO live SELECT value, 'a tier of more than twelve bytes' FROM generate_series(1, 20000);
         INSERT INTO plain SELECT value, 'a tier of more than twelve bytes ' || value, value FROM generate_series(1, 100000);
         INSERT INTO rates SELECT value % 10, value, 1 FROM generate_series(1, 20000)",
    );
    let live = check_adds_up(&session, "live");
    assert!(bytes_of(&live, "column id") >= 20_000 * 8);
    assert!(bytes_of(&live, "column tier") >= 20_000 * 16);
    assert!(bytes_of(&live, "index") > 0);

    // What a prepared query needs is counted while it is there.
    let before = check_adds_up(&session, "plain");
    assert!(bytes_of(&before, "column tier") >= 100_000 * (16 + 32));
    let keys = query(&session, "SELECT value AS key FROM generate_series(1, 10)");
    let sql = "SELECT s.key, p.tier, p.n FROM s JOIN plain p ON s.key = p.id";
    let prepared = session.prepare_over("s", keys[0].schema(), sql).unwrap();
    prepared.enrich(&keys[0]).unwrap();
    let during = check_adds_up(&session, "plain");
    assert!(bytes_of(&during, "index") > 0);
    assert!(bytes_of(&during, "row-wise copy") > 0, "{during:?}");
    drop(prepared);
    assert_eq!(bytes_of(&check_adds_up(&session, "plain"), "row-wise copy"), 0);

    query(&session, "SELECT count(*) FROM rates");
    let rates = check_adds_up(&session, "rates");
    assert!(bytes_of(&rates, "newest rows") > 0);
}

/// One append after the other is what many at once must come to, in rows and in their order.
#[test]
fn batches_that_come_at_once_are_one_chunk_and_few_are_left_of_many_appends() {
    let numbers = |from: i64, rows: i64| -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap()
    };
    let batches: Vec<_> = [0, 3, 8, 8, 9, 20].map(|from| numbers(from, 5)).into();
    let session = Session::builder().threads(1).build().unwrap();
    session.create_table("at_once", batches.clone(), &[]).unwrap();
    session
        .create_table("one_by_one", batches[..1].to_vec(), &[])
        .unwrap();
    let one_by_one = session.table("one_by_one").unwrap();
    batches[1..]
        .iter()
        .for_each(|batch| one_by_one.append(batch).unwrap());

    let at_once = session.table("at_once").unwrap().snapshot().unwrap();
    assert_eq!((at_once.chunks().unwrap().len(), at_once.version()), (1, 1));
    let after = one_by_one.snapshot().unwrap();
    assert_eq!(at_once.rows().unwrap(), after.rows().unwrap());

    for n in 0..1000 {
        one_by_one.append(&numbers(n, 1)).unwrap();
    }
    let chunks = one_by_one.snapshot().unwrap().chunks().unwrap().len();
    assert!(chunks <= 11, "{chunks}");
    assert_eq!(one_by_one.snapshot().unwrap().row_count(), 1030);

    // Columns are looked at where there are no rows, too.
    assert!(
        one_by_one
            .append(&RecordBatch::new_empty(Arc::new(Schema::empty())))
            .is_err()
    );
    one_by_one.append(&numbers(0, 0)).unwrap();
    assert_eq!(one_by_one.version(), 1006);
}

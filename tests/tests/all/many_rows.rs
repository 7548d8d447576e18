//! The main job at its own size: a star of three tables over many trades, against DataFusion.
//!
//! A million trades by default; `FLETCHING_TEST_ROWS=10000000` for ten. Results are compared by
//! their number of rows and a checksum in which the order of rows does not count.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use fletching::Session;
use futures::StreamExt;

const ROWS_PER_BATCH: usize = 65_536;

fn trade_count() -> usize {
    std::env::var("FLETCHING_TEST_ROWS").map_or(1_000_000, |text| text.parse().unwrap())
}

/// A cheap generator: SplitMix64.
fn mixed(seed: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn below(seed: u64, limit: u64) -> i64 {
    i64::try_from(mixed(seed) % limit).unwrap()
}

/// Trades of 5,500 users, of whom one in eleven is not known, in 1,100 symbols.
fn trades(first: usize, rows: usize) -> RecordBatch {
    let ids = || (first..first + rows).map(|at| at as u64);
    let user_id: ArrayRef = Arc::new(
        ids()
            .map(|id| (id % 97 != 0).then(|| below(id * 3, 5_500)))
            .collect::<Int64Array>(),
    );
    let symbol: ArrayRef = Arc::new(
        ids()
            .map(|id| Some(symbol(below(id * 3 + 1, 1_100))))
            .collect::<StringArray>(),
    );
    let amount: ArrayRef = Arc::new(
        Decimal128Array::from_iter_values(ids().map(|id| i128::from(below(id * 3 + 2, 2_000_000))))
            .with_precision_and_scale(12, 2)
            .unwrap(),
    );
    let trade_id: ArrayRef = Arc::new(Int64Array::from_iter_values(ids().map(u64::cast_signed)));
    RecordBatch::try_from_iter_with_nullable([
        ("trade_id", trade_id, true),
        ("user_id", user_id, true),
        ("symbol", symbol, true),
        ("amount", amount, true),
    ])
    .unwrap()
}

fn symbol(number: i64) -> String {
    format!("SYMBOL-{number:08}")
}

/// Three tables: by a number, by a number, by a text; `(name, columns)`.
fn tables() -> Vec<(&'static str, &'static str, RecordBatch)> {
    let numbers = |rows: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..rows)) };
    let tiers: ArrayRef = Arc::new(
        (0..5_000)
            .map(|id| Some(["gold", "silver", "bronze"][id % 3]))
            .collect::<StringArray>(),
    );
    let limits: ArrayRef = Arc::new(Int64Array::from_iter_values((0..5_000).map(|id| id * 7)));
    let symbols: ArrayRef = Arc::new(
        (0..1_000)
            .map(|number| Some(symbol(number)))
            .collect::<StringArray>(),
    );
    let prices: ArrayRef = Arc::new(
        Decimal128Array::from_iter_values((0..1_000).map(|at| at * 31 + 5))
            .with_precision_and_scale(10, 2)
            .unwrap(),
    );
    let table = |columns: [(&str, ArrayRef); 2]| {
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    };
    vec![
        (
            "users",
            "user_id",
            table([("user_id", numbers(5_000)), ("tier", tiers)]),
        ),
        (
            "limits",
            "user_id",
            table([("user_id", numbers(5_000)), ("position_limit", limits)]),
        ),
        (
            "market",
            "symbol",
            table([("symbol", symbols), ("price", prices)]),
        ),
    ]
}

/// Rows and a checksum in which their order does not count.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Checksum {
    rows: usize,
    sum: u64,
}

impl Checksum {
    fn add(&mut self, batch: &RecordBatch) {
        let plain = |column: &ArrayRef| match column.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => cast(column, &DataType::Utf8).unwrap(),
            _ => Arc::clone(column),
        };
        let columns: Vec<ArrayRef> = batch.columns().iter().map(plain).collect();
        let fields = columns
            .iter()
            .map(|column| SortField::new(column.data_type().clone()))
            .collect();
        let rows = RowConverter::new(fields)
            .unwrap()
            .convert_columns(&columns)
            .unwrap();
        self.rows += batch.num_rows();
        for row in &rows {
            let mut hasher = DefaultHasher::new();
            row.as_ref().hash(&mut hasher);
            self.sum = self.sum.wrapping_add(hasher.finish());
        }
    }
}

fn batches(rows: usize) -> impl Iterator<Item = RecordBatch> {
    (0..rows)
        .step_by(ROWS_PER_BATCH)
        .map(move |first| trades(first, ROWS_PER_BATCH.min(rows - first)))
}

fn star(kind: &str) -> String {
    format!(
        "SELECT t.trade_id, t.symbol, t.amount, u.tier, l.position_limit, m.price FROM trades t \
         {kind} JOIN users u ON t.user_id = u.user_id {kind} JOIN limits l ON t.user_id = l.user_id \
         {kind} JOIN market m ON t.symbol = m.symbol WHERE t.amount > 1000"
    )
}

fn on_datafusion(rows: usize, queries: &[String]) -> Vec<Checksum> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let all: Vec<RecordBatch> = batches(rows).collect();
    let memory =
        |batches: Vec<RecordBatch>| Arc::new(MemTable::try_new(batches[0].schema(), vec![batches]).unwrap());
    context.register_table("trades", memory(all)).unwrap();
    for (name, _, table) in tables() {
        context.register_table(name, memory(vec![table])).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let run = |sql: &String| {
        runtime.block_on(async {
            let mut checksum = Checksum::default();
            let mut rows = context.sql(sql).await.unwrap().execute_stream().await.unwrap();
            while let Some(batch) = rows.next().await {
                checksum.add(&batch.unwrap());
            }
            checksum
        })
    };
    queries.iter().map(run).collect()
}

fn session() -> Session {
    let session = Session::builder().threads(2).build().unwrap();
    session.create_stream("trades", trades(0, 0).schema()).unwrap();
    for (name, key, table) in tables() {
        session.create_table(name, vec![table], &[key]).unwrap();
    }
    session
}

#[test]
fn a_star_over_many_trades_is_datafusions() {
    let rows = trade_count();
    let queries = [star("INNER"), star("LEFT")];
    let expected = on_datafusion(rows, &queries);
    assert!(expected[0].rows > 0 && expected[0].rows < expected[1].rows);

    let session = session();
    let prepared: Vec<_> = queries.iter().map(|sql| session.prepare(sql).unwrap()).collect();
    let mut enriched = [Checksum::default(); 2];
    for batch in batches(rows) {
        for (query, checksum) in prepared.iter().zip(&mut enriched) {
            checksum.add(&query.enrich(&batch).unwrap());
        }
        session.push("trades", batch).unwrap();
    }
    assert_eq!(enriched.as_slice(), expected, "prepared");

    for (sql, expected) in queries.iter().zip(expected) {
        let mut found = Checksum::default();
        for batch in session.sql(sql).unwrap() {
            found.add(&batch.unwrap());
        }
        assert_eq!(found, expected, "{sql}");
    }
}

//! `Prepared::enrich` end to end, and DataFusion's hash join over the same data as a naive rival.
//!
//! Names: `enrich/trades/batch=rows` is the three-table star join with a filter that keeps half;
//! `enrich/big/…` one table of a million rows with four payload columns. Output memory is fresh.

#![expect(clippy::unwrap_used, reason = "a bench may stop where something is wrong")]

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::RecordBatch;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use fletching::Session;
use fletching_benches::{Keys, TRADES_QUERY, payload, probe_keys, trade_tables, trades};

/// The program's own allocator, so that the figures are the program's too.
#[global_allocator]
static ALLOCATOR: fletching_allocator::Allocator = fletching_allocator::Allocator;

const BATCHES: [u64; 4] = [1, 1_024, 8_192, 65_536];

fn trade_session() -> Session {
    let session = Session::builder().threads(1).build().unwrap();
    for (name, key, rows) in trade_tables() {
        session.create_table(name, vec![rows], &[key]).unwrap();
    }
    session.create_stream("trades", trades(1, 0).schema()).unwrap();
    session
}

fn enrich_trades(c: &mut Criterion) {
    let query = trade_session().prepare(TRADES_QUERY).unwrap();
    let mut group = c.benchmark_group("enrich");
    for rows in BATCHES {
        let batches: Vec<_> = (0..16).map(|seed| trades(rows, seed)).collect();
        group.throughput(Throughput::Elements(rows));
        group.bench_function(BenchmarkId::new("trades", format!("batch={rows}")), |b| {
            let mut turn = 0;
            b.iter(|| {
                turn = (turn + 1) % batches.len();
                black_box(query.enrich(&batches[turn]).unwrap().num_rows())
            });
        });
    }
}

fn enrich_big_table(c: &mut Criterion) {
    const TABLE: u64 = 1_000_000;
    let session = Session::builder().threads(1).build().unwrap();
    let mut columns = vec![("id", Keys::Sparse.column(0..TABLE))];
    columns.extend(payload(TABLE));
    session
        .create_table("big", vec![RecordBatch::try_from_iter(columns).unwrap()], &["id"])
        .unwrap();
    let probe = |rows, seed| {
        RecordBatch::try_from_iter([("k", probe_keys(Keys::Sparse, rows, TABLE, 100, seed))]).unwrap()
    };
    session.create_stream("input", probe(1, 0).schema()).unwrap();
    let query = session
        .prepare("SELECT i.k, b.a, b.b, b.c, b.d FROM input i JOIN big b ON i.k = b.id")
        .unwrap();
    let mut group = c.benchmark_group("enrich");
    for rows in BATCHES {
        let batches: Vec<_> = (0..16).map(|seed| probe(rows, seed)).collect();
        group.throughput(Throughput::Elements(rows));
        group.bench_function(
            BenchmarkId::new("big", format!("i64/table={TABLE}/hit=100/batch={rows}")),
            |b| {
                let mut turn = 0;
                b.iter(|| {
                    turn = (turn + 1) % batches.len();
                    black_box(query.enrich(&batches[turn]).unwrap().num_rows())
                });
            },
        );
    }
}

/// The rival must plan and build its hash tables for every batch: it keeps none.
fn datafusion_trades(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for (name, _, rows) in trade_tables() {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    let mut group = c.benchmark_group("rival-datafusion");
    group.sample_size(10);
    for rows in BATCHES {
        let batch = trades(rows, 1);
        let expected = trade_session()
            .prepare(TRADES_QUERY)
            .unwrap()
            .enrich(&batch)
            .unwrap()
            .num_rows();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.deregister_table("trades").unwrap();
        context.register_table("trades", Arc::new(table)).unwrap();
        group.throughput(Throughput::Elements(rows));
        group.bench_function(BenchmarkId::new("trades", format!("batch={rows}")), |b| {
            b.iter(|| {
                let found = runtime.block_on(async {
                    let rows = context.sql(TRADES_QUERY).await.unwrap().collect().await.unwrap();
                    rows.iter().map(RecordBatch::num_rows).sum::<usize>()
                });
                assert_eq!(found, expected);
            });
        });
    }
}

criterion_group!(benches, enrich_trades, enrich_big_table, datafusion_trades);
criterion_main!(benches);

//! Tables that change: upserts, deletions, and lookups while another thread writes.
//!
//! Names follow one order of parameters: `kernel/key/table=rows/new=percent/batch=rows`.

#![expect(clippy::unwrap_used, reason = "a bench may stop where something is wrong")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fletching_benches::Numbers;
use fletching_kernels::{LiveOptions, LiveTable, NO_ROW};

/// The program's own allocator, so that the figures are the program's too.
#[global_allocator]
static ALLOCATOR: fletching_allocator::Allocator = fletching_allocator::Allocator;

const BATCH: u64 = 8192;
const TABLE: u64 = 1_000_000;

/// Batches made ahead: an iteration of a bench takes them all.
const BATCHES: u64 = 40;

fn key(number: u64) -> i64 {
    i64::try_from(number * 1_000_003 + 17).unwrap()
}

fn rows(numbers: &[u64]) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| key(*n))));
    let count: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| key(n + 1))));
    let ratio = numbers
        .iter()
        .map(|n| f64::from(u32::try_from(n % 1000).unwrap()) / 8.0);
    let ratio: ArrayRef = Arc::new(Float64Array::from_iter_values(ratio));
    let text = numbers.iter().map(|n| format!("text-{:07}", n % 10_000_000));
    let text: ArrayRef = Arc::new(StringViewArray::from_iter_values(text));
    let amount = Decimal128Array::from_iter_values(numbers.iter().map(|n| i128::from(*n) * 101));
    let amount: ArrayRef = Arc::new(amount.with_precision_and_scale(18, 4).unwrap());
    let columns = [
        ("id", id),
        ("count", count),
        ("ratio", ratio),
        ("text", text),
        ("amount", amount),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn loaded() -> LiveTable {
    let all: Vec<u64> = (0..TABLE).collect();
    let table = LiveTable::new(rows(&[]).schema(), &[0], LiveOptions::default()).unwrap();
    for numbers in all.chunks(1 << 16) {
        table.upsert(&rows(numbers)).unwrap();
    }
    assert_eq!(table.snapshot().row_count(), 1_000_000);
    table
}

/// Batches of which so many percent are keys that the table does not have.
fn batches(new: u64) -> Vec<RecordBatch> {
    let mut numbers = Numbers::new(new);
    let mut next = TABLE;
    (0..BATCHES)
        .map(|_| {
            let drawn = (0..BATCH).map(|_| {
                if numbers.below(100) < new {
                    next += 1;
                    next
                } else {
                    numbers.below(TABLE)
                }
            });
            rows(&drawn.collect::<Vec<_>>())
        })
        .collect()
}

/// The naive rival: a map of row vectors, filled row by row.
type Rows = HashMap<i64, (i64, f64, String, i128)>;

fn upsert_naively(map: &mut Rows, batch: &RecordBatch) {
    let id = batch.column(0).as_primitive::<Int64Type>();
    let count = batch.column(1).as_primitive::<Int64Type>();
    let ratio = batch.column(2).as_primitive::<Float64Type>();
    let text = batch.column(3).as_string_view();
    let amount = batch.column(4).as_primitive::<Decimal128Type>();
    for row in 0..batch.num_rows() {
        let values = (
            count.value(row),
            ratio.value(row),
            text.value(row).to_string(),
            amount.value(row),
        );
        map.insert(id.value(row), values);
    }
}

fn upsert(c: &mut Criterion) {
    let mut group = c.benchmark_group("live_upsert");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(BATCHES * BATCH));
    for new in [50, 0] {
        let batches = batches(new);
        let parameter = format!("table={TABLE}/new={new}/batch={BATCH}");
        group.bench_function(BenchmarkId::new("i64", &parameter), |b| {
            b.iter_batched_ref(
                loaded,
                |table| {
                    let changes = batches.iter().map(|batch| table.upsert(batch).unwrap());
                    let inserted: usize = changes.map(|change| change.inserted).sum();
                    assert_eq!(table.snapshot().row_count(), 1_000_000 + inserted);
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("i64-naive", &parameter), |b| {
            let full = || {
                let mut map = Rows::new();
                upsert_naively(&mut map, &rows(&(0..TABLE).collect::<Vec<_>>()));
                map
            };
            let upsert = |map: &mut Rows| batches.iter().for_each(|batch| upsert_naively(map, batch));
            b.iter_batched_ref(full, upsert, BatchSize::PerIteration);
        });
    }
    // A tick table: a thousand keys, over and over.
    let mut numbers = Numbers::new(3);
    let ticks: Vec<RecordBatch> = (0..BATCHES)
        .map(|_| rows(&(0..BATCH).map(|_| numbers.below(1000)).collect::<Vec<_>>()))
        .collect();
    let table = LiveTable::new(rows(&[]).schema(), &[0], LiveOptions::default()).unwrap();
    group.bench_function(
        BenchmarkId::new("i64", format!("table=1000/new=0/batch={BATCH}")),
        |b| {
            b.iter(|| {
                for batch in &ticks {
                    table.upsert(batch).unwrap();
                }
                assert_eq!(table.snapshot().row_count(), 1000);
            });
        },
    );
}

/// A table made of all its rows at once, as when it is restored; and batch after batch.
fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("live_load");
    group.sample_size(10).throughput(Throughput::Elements(TABLE));
    let numbers: Vec<u64> = (0..TABLE).collect();
    let batches: Vec<RecordBatch> = numbers.chunks(8192).map(rows).collect();
    let schema = batches[0].schema();
    let parameter = format!("table={TABLE}/batch={BATCH}");
    group.bench_function(BenchmarkId::new("i64", &parameter), |b| {
        let load = |batches| LiveTable::load(Arc::clone(&schema), &[0], LiveOptions::default(), batches);
        b.iter_batched(
            || batches.clone(),
            |batches| assert_eq!(load(batches).unwrap().snapshot().row_count(), 1_000_000),
            BatchSize::PerIteration,
        );
    });
    group.bench_function(BenchmarkId::new("i64-upserted", &parameter), |b| {
        b.iter(|| {
            let table = LiveTable::new(Arc::clone(&schema), &[0], LiveOptions::default()).unwrap();
            for batch in &batches {
                table.upsert(batch).unwrap();
            }
            assert_eq!(table.snapshot().row_count(), 1_000_000);
        });
    });
}

fn delete(c: &mut Criterion) {
    let mut group = c.benchmark_group("live_delete");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(BATCHES * BATCH));
    let mut numbers = Numbers::new(5);
    let keys: Vec<ArrayRef> = (0..BATCHES)
        .map(|_| {
            let drawn = (0..BATCH).map(|_| key(numbers.below(TABLE)));
            Arc::new(Int64Array::from_iter_values(drawn)) as ArrayRef
        })
        .collect();
    group.bench_function(
        BenchmarkId::new("i64", format!("table={TABLE}/batch={BATCH}")),
        |b| {
            b.iter_batched_ref(
                loaded,
                |table| {
                    let keys = keys.iter().map(std::slice::from_ref);
                    let deleted: usize = keys.map(|keys| table.delete(keys).unwrap().deleted).sum();
                    assert_eq!(table.snapshot().row_count() + deleted, 1_000_000);
                },
                BatchSize::PerIteration,
            );
        },
    );
}

/// Looks a batch of keys up in the current version and gathers two columns.
fn look_up(table: &LiveTable, probes: &[ArrayRef], turn: &mut usize) -> usize {
    *turn = (*turn + 1) % probes.len();
    let snapshot = table.snapshot();
    let mut heads = Vec::new();
    snapshot
        .locate(std::slice::from_ref(&probes[*turn]), None, &mut heads)
        .unwrap();
    black_box(snapshot.gather(1, &heads).unwrap());
    black_box(snapshot.gather(2, &heads).unwrap());
    heads.iter().filter(|head| **head != NO_ROW).count()
}

/// Lookups alone, and beside a writer that upserts as fast as it can.
fn probe(c: &mut Criterion) {
    let mut group = c.benchmark_group("live_lookup");
    group.sample_size(20).throughput(Throughput::Elements(BATCH));
    let mut numbers = Numbers::new(7);
    let probes: Vec<ArrayRef> = (0..16)
        .map(|_| {
            let drawn = (0..BATCH).map(|_| key(numbers.below(TABLE)));
            Arc::new(Int64Array::from_iter_values(drawn)) as ArrayRef
        })
        .collect();
    let batches = batches(0);
    for writers in [0, 1] {
        let table = loaded();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            if writers > 0 {
                scope.spawn(|| {
                    let (began, mut rows) = (Instant::now(), 0);
                    while !done.load(Ordering::Relaxed) {
                        for batch in &batches {
                            table.upsert(batch).unwrap();
                            rows += batch.num_rows();
                        }
                    }
                    let took = began.elapsed().max(Duration::from_nanos(1));
                    eprintln!(
                        "the writer upserted {:.2e} rows/s",
                        rows as f64 / took.as_secs_f64()
                    );
                });
            }
            let parameter = format!("table={TABLE}/hit=100/batch={BATCH}/writers={writers}");
            group.bench_function(BenchmarkId::new("i64", parameter), |b| {
                let mut turn = 0;
                b.iter(|| assert_eq!(look_up(&table, &probes, &mut turn), 8192));
            });
            done.store(true, Ordering::Relaxed);
        });
    }
}

criterion_group!(benches, upsert, load, delete, probe);
criterion_main!(benches);

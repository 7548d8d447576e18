//! Kernels alone: index build, locate, gather, star join.
//!
//! Names follow one order of parameters: `kernel/key/table=rows/hit=percent/batch=rows`.

#![expect(clippy::unwrap_used, reason = "a bench may stop where something is wrong")]

use std::hint::black_box;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringViewArray};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fletching_benches::{Keys, payload, probe_keys};
use fletching_kernels::{
    AsOfIndex, AsOfOp, BuildOptions, KernelError, KeyIndex, NO_ROW, StarArm, StarFinder, StarKind, StarProbe,
    StarRows, gather, star_join,
};

/// The program's own allocator, so that the figures are the program's too.
#[global_allocator]
static ALLOCATOR: fletching_allocator::Allocator = fletching_allocator::Allocator;

const BATCH: u64 = 8192;

fn index_of(keys: Keys, rows: u64) -> KeyIndex {
    KeyIndex::build(&[keys.column(0..rows)], &BuildOptions::default()).unwrap()
}

fn index_build(c: &mut Criterion) {
    let mut group = c.benchmark_group("index_build");
    group.sample_size(10);
    for keys in [Keys::Dense, Keys::Sparse, Keys::Text] {
        for rows in [5_000, 1_000_000_u64] {
            let column = keys.column(0..rows);
            group.throughput(Throughput::Elements(rows));
            group.bench_function(BenchmarkId::new(keys.name(), format!("table={rows}")), |b| {
                b.iter(|| {
                    KeyIndex::build(black_box(std::slice::from_ref(&column)), &BuildOptions::default())
                        .unwrap()
                });
            });
        }
    }
}

fn locate(c: &mut Criterion) {
    let mut group = c.benchmark_group("locate");
    group.throughput(Throughput::Elements(BATCH));
    for keys in [Keys::Dense, Keys::Sparse, Keys::Text] {
        for rows in [5_000, 1_000_000_u64] {
            let index = index_of(keys, rows);
            for hit in [100, 10] {
                let probes: Vec<ArrayRef> = (0..16)
                    .map(|seed| probe_keys(keys, BATCH, rows, hit, seed))
                    .collect();
                let name = format!("table={rows}/hit={hit}/batch={BATCH}");
                group.bench_function(BenchmarkId::new(keys.name(), name), |b| {
                    let (mut heads, mut turn) = (Vec::new(), 0);
                    b.iter(|| {
                        turn = (turn + 1) % probes.len();
                        index
                            .locate(std::slice::from_ref(&probes[turn]), None, &mut heads)
                            .unwrap();
                        black_box(heads.iter().filter(|&&row| row != NO_ROW).count())
                    });
                });
            }
        }
    }
}

fn gather_columns(c: &mut Criterion) {
    let mut group = c.benchmark_group("gather");
    group.throughput(Throughput::Elements(BATCH));
    for rows in [5_000, 1_000_000_u64] {
        let index = index_of(Keys::Dense, rows);
        let mut heads = Vec::new();
        index
            .locate(&[probe_keys(Keys::Dense, BATCH, rows, 100, 7)], None, &mut heads)
            .unwrap();
        for (name, column) in payload(rows) {
            let id = BenchmarkId::new(
                column.data_type().to_string(),
                format!("table={rows}/batch={BATCH}/{name}"),
            );
            group.bench_function(id, |b| b.iter(|| gather(black_box(&column), &heads).unwrap()));
        }
    }
}

struct SameKey(ArrayRef);

impl StarProbe for SameKey {
    type Error = KernelError;

    fn keys(&mut self, _arm: usize, rows: &StarRows) -> Result<Vec<ArrayRef>, KernelError> {
        Ok(vec![fletching_kernels::select(&self.0, rows.probe.as_deref())?])
    }

    fn has_residual(&self, _arm: usize) -> bool {
        false
    }

    fn residual(&mut self, _arm: usize, _rows: &StarRows) -> Result<Option<BooleanArray>, KernelError> {
        Ok(None)
    }
}

fn star(c: &mut Criterion) {
    let mut group = c.benchmark_group("star_join");
    group.throughput(Throughput::Elements(BATCH));
    for rows in [5_000, 1_000_000_u64] {
        let index = index_of(Keys::Sparse, rows);
        let arms = [StarArm {
            finder: StarFinder::Key(&index),
            kind: StarKind::Inner,
        }; 3];
        for hit in [100, 90] {
            let mut probe = SameKey(probe_keys(Keys::Sparse, BATCH, rows, hit, 11));
            let name = format!("table={rows}/hit={hit}/batch={BATCH}/arms=3");
            group.bench_function(BenchmarkId::new(Keys::Sparse.name(), name), |b| {
                b.iter(|| {
                    let mut joined = 0;
                    star_join(&arms, 8192, &mut probe, 8192, &mut |rows| {
                        joined += rows.len;
                        Ok(())
                    })
                    .unwrap();
                    black_box(joined)
                });
            });
        }
    }
}

/// Symbols and times of rows in the order of time.
fn ticks(rows: i64, symbols: i64, step: i64) -> (ArrayRef, ArrayRef) {
    // A multiplier of Knuth's: rows next to one another have symbols far apart.
    let symbol = |row: i64| row.wrapping_mul(2_654_435_761) % symbols;
    let names = StringViewArray::from_iter_values((0..rows).map(|row| format!("SYM{}", symbol(row))));
    let times = Int64Array::from_iter_values((0..rows).map(|row| row * step));
    (Arc::new(names), Arc::new(times))
}

fn as_of(c: &mut Criterion) {
    const QUOTES: i64 = 2_000_000;
    let (symbols, times) = ticks(QUOTES, 1000, 15);
    let options = BuildOptions::default();
    let build = || AsOfIndex::build(black_box(std::slice::from_ref(&symbols)), &times, &options).unwrap();
    let mut group = c.benchmark_group("as_of/build");
    group.sample_size(10);
    group.throughput(Throughput::Elements(QUOTES.unsigned_abs()));
    group.bench_function(format!("text/table={QUOTES}/keys=1000"), |b| b.iter(build));
    group.finish();

    let index = build();
    let (symbols, times) = ticks(2_000_000, 1000, 15);
    let bid: ArrayRef = Arc::clone(&times);
    let mut group = c.benchmark_group("as_of/locate");
    for batch in [8192, 65_536_usize] {
        group.throughput(Throughput::Elements(batch as u64));
        for (name, op) in [("before", AsOfOp::AtOrBefore), ("nearest", AsOfOp::Nearest)] {
            let id = format!("text/table={QUOTES}/keys=1000/{name}/batch={batch}");
            let (mut heads, mut at) = (Vec::new(), 0);
            group.bench_function(id, |b| {
                b.iter(|| {
                    at = (at + batch) % (2_000_000 - batch);
                    let keys = [symbols.slice(at, batch)];
                    index
                        .locate(&keys, &times.slice(at, batch), &op.into(), &mut heads)
                        .unwrap();
                    black_box(gather(&bid, &heads).unwrap())
                });
            });
        }
    }
}

criterion_group!(benches, index_build, locate, gather_columns, star, as_of);
criterion_main!(benches);

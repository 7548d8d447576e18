//! Tables made of many batches at once, against upserting one batch after the other.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow_select::concat::concat_batches;
use fletching_kernels::{KernelError, LiveOptions, LiveTable};

/// Numbers that follow from a seed (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What the keys of a table are like.
#[derive(Debug, Clone, Copy)]
enum Keys {
    Numbers,
    /// Texts of which few need a wide word, and fewer none.
    Texts,
    Both,
}

fn batch(numbers: &mut Numbers, rows: usize, domain: u64, keys: Keys, first: i64) -> RecordBatch {
    let drawn: Vec<u64> = (0..rows).map(|_| numbers.below(domain)).collect();
    let text = |key: &u64| match key % 1000 {
        0 => format!("a key of more than sixteen bytes {key}"),
        1 => format!("key {key:08}"),
        _ => format!("{key}"),
    };
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(drawn.iter().map(|key| *key as i64)));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(drawn.iter().map(text)));
    let payload: ArrayRef = Arc::new(Int64Array::from_iter_values((first..).take(rows)));
    let fields = match keys {
        Keys::Numbers => vec![("id", ids)],
        Keys::Texts => vec![("text", texts)],
        Keys::Both => vec![("id", ids), ("text", texts)],
    };
    RecordBatch::try_from_iter(fields.into_iter().chain([("payload", payload)])).unwrap()
}

fn contents(table: &LiveTable) -> RecordBatch {
    let batches = table.snapshot().scan().collect::<Result<Vec<_>, _>>().unwrap();
    concat_batches(table.schema(), &batches).unwrap()
}

/// Row by row the same, in the same order, and found by the same keys; also after more has changed.
#[test]
fn loading_is_upserting_batch_after_batch() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    // Garbage that is taken back moves rows to the end, which changes their order.
    let options = LiveOptions {
        garbage_rows_min: 1 << 30,
        ..LiveOptions::default()
    };
    let mut numbers = Numbers(0x9e37_79b9);
    for (keys, width) in [(Keys::Numbers, 1), (Keys::Texts, 1), (Keys::Both, 2)] {
        for (domain, batches) in [(300_000, 40), (5_000, 12), (10, 3)] {
            let key: Vec<usize> = (0..width).collect();
            let mut first = 0;
            let mut drawn = Vec::new();
            for _ in 0..batches {
                let rows = [0, 1, 700, 5000, 8192, 8192, 20_000][numbers.below(7) as usize];
                drawn.push(batch(&mut numbers, rows, domain, keys, first));
                first += rows as i64;
            }
            let schema = drawn[0].schema();
            let oracle = LiveTable::new(Arc::clone(&schema), &key, options).unwrap();
            for batch in &drawn {
                oracle.upsert(batch).unwrap();
            }
            let load = || LiveTable::load(schema, &key, options, drawn);
            let table = pool.install(load).unwrap();
            assert_eq!(contents(&table), contents(&oracle), "{keys:?} of {domain}");
            let before = (table.snapshot(), contents(&table));
            for _ in 0..4 {
                let rows = batch(&mut numbers, 6000, domain, keys, first);
                assert_eq!(
                    table.upsert(&rows).unwrap().inserted,
                    oracle.upsert(&rows).unwrap().inserted
                );
                let gone = rows.slice(0, 2000).columns()[..width].to_vec();
                assert_eq!(
                    table.delete(&gone).unwrap().deleted,
                    oracle.delete(&gone).unwrap().deleted
                );
                let (mut heads, mut expected) = (Vec::new(), Vec::new());
                let probes = &rows.columns()[..width];
                table.snapshot().locate(probes, None, &mut heads).unwrap();
                oracle.snapshot().locate(probes, None, &mut expected).unwrap();
                let found = table.snapshot().gather(width, &heads).unwrap();
                assert_eq!(&found, &oracle.snapshot().gather(width, &expected).unwrap());
            }
            let held = before.0.scan().collect::<Result<Vec<_>, _>>().unwrap();
            assert_eq!(concat_batches(table.schema(), &held).unwrap(), before.1);
        }
    }
}

/// Where pages as they come would use up the row ids, rows are packed.
#[test]
fn a_table_near_the_bound_of_row_ids_is_loaded_too() {
    let options = LiveOptions {
        page_rows: 64,
        row_ids_max: 1000,
        ..LiveOptions::default()
    };
    let rows = |numbers: std::ops::Range<i64>| {
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter([("id", id)]).unwrap()
    };
    let batches = |count: i64| {
        (0..count)
            .map(|at| rows(at * 33..at * 33 + 33))
            .collect::<Vec<_>>()
    };
    let schema = rows(0..1).schema();
    let table = LiveTable::load(Arc::clone(&schema), &[0], options, batches(20)).unwrap();
    assert_eq!(contents(&table), rows(0..660));
    let error = LiveTable::load(schema, &[0], options, batches(40)).unwrap_err();
    assert!(matches!(error, KernelError::TooManyRows { .. }), "{error}");
}

#[test]
fn what_cannot_be_a_row_is_refused() {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let rows = RecordBatch::try_from_iter_with_nullable([("id", id, true)]).unwrap();
    let load = |schema, key: &[usize], rows: &RecordBatch| {
        LiveTable::load(schema, key, LiveOptions::default(), vec![rows.clone()])
    };
    let error = load(rows.schema(), &[0], &rows).unwrap_err();
    assert!(matches!(error, KernelError::NullKey { row: 1 }), "{error}");
    let other: ArrayRef = Arc::new(StringViewArray::from(vec!["a"]));
    let other = RecordBatch::try_from_iter([("id", other)]).unwrap();
    let error = load(rows.schema(), &[0], &other).unwrap_err();
    assert!(
        matches!(error, KernelError::ColumnTypeMismatch { position: 0, .. }),
        "{error}"
    );
    assert!(load(rows.schema(), &[], &rows.slice(0, 1)).is_err());
}

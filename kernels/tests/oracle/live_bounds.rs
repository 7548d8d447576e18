//! What a `LiveTable` holds stays within bounds, and what it cannot hold is refused.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use fletching_kernels::{LiveOptions, LiveTable};

pub(crate) fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// Makes rows of an `id`, the key, and a `value`.
pub(crate) fn pairs(ids: Vec<i64>, values: Vec<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("id", ints(ids)), ("value", ints(values))]).unwrap()
}

#[test]
fn a_tick_table_keeps_its_size() {
    let options = LiveOptions {
        garbage_rows_min: 1 << 14,
        ..LiveOptions::default()
    };
    let table = LiveTable::new(pairs(vec![], vec![]).schema(), &[0], options).unwrap();
    let mut settled = 0;
    for turn in 0..400_i64 {
        let ids = (0..8192).map(|row| (row * 7 + turn) % 1000).collect();
        table.upsert(&pairs(ids, vec![turn; 8192])).unwrap();
        let memory = table.snapshot().memory();
        assert_eq!(memory.live_rows, 1000);
        assert!(memory.garbage_rows < (1 << 14) + 4 * 8192, "{memory:?}");
        if turn == 20 {
            settled = memory.total_bytes();
        }
    }
    let memory = table.snapshot().memory();
    assert!(
        memory.total_bytes() < 2 * settled,
        "{settled} bytes became {memory:?}"
    );
}

#[test]
fn deleting_all_leaves_next_to_nothing() {
    let table = LiveTable::new(pairs(vec![], vec![]).schema(), &[0], LiveOptions::default()).unwrap();
    for from in (0..400_000).step_by(50_000) {
        let ids: Vec<i64> = (from..from + 50_000).collect();
        table.upsert(&pairs(ids.clone(), ids)).unwrap();
    }
    let full = table.snapshot().memory();
    for from in (0..400_000).step_by(8_000) {
        assert_eq!(table.delete(&[ints(from..from + 8_000)]).unwrap().deleted, 8_000);
    }
    let left = table.snapshot().memory();
    assert_eq!(left.live_rows, 0);
    assert!(
        left.total_bytes() < full.total_bytes() / 20,
        "{left:?} of {full:?}"
    );
}

#[test]
fn garbage_stays_below_twice_the_rows() {
    let table = LiveTable::new(pairs(vec![], vec![]).schema(), &[0], LiveOptions::default()).unwrap();
    let mut number = 1_u64;
    let mut moved = 0;
    for _ in 0..300 {
        let ids = (0..8192).map(|_| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (number >> 33) as i64 % 300_000
        });
        let ids: Vec<i64> = ids.collect();
        moved += table.upsert(&pairs(ids.clone(), ids)).unwrap().moved;
        let memory = table.snapshot().memory();
        assert!(
            memory.garbage_rows <= memory.live_rows + (1 << 16) + 2 * 8192,
            "{memory:?}"
        );
    }
    // The greedy choice copies about a quarter of a row for each that dies.
    assert!(moved > 0 && moved < 300 * 8192 / 2, "{moved} rows were moved");
}

#[test]
fn refuses_what_does_not_fit() {
    let table = LiveTable::new(pairs(vec![], vec![]).schema(), &[0], LiveOptions::default()).unwrap();
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let narrow = RecordBatch::try_from_iter([("id", ints([1]))]).unwrap();
    assert_eq!(table.upsert(&narrow).unwrap_err().code(), "column_count");
    let other = RecordBatch::try_from_iter([("id", ints([1])), ("value", texts.clone())]).unwrap();
    assert_eq!(table.upsert(&other).unwrap_err().code(), "column_type_mismatch");
    assert_eq!(table.delete(&[texts]).unwrap_err().code(), "key_type_mismatch");
    assert_eq!(table.delete(&[]).unwrap_err().code(), "key_count");
    let small = LiveOptions {
        row_ids_max: 100,
        page_rows: 16,
        ..LiveOptions::default()
    };
    let table = LiveTable::new(pairs(vec![], vec![]).schema(), &[0], small).unwrap();
    let ids: Vec<i64> = (0..40).collect();
    table.upsert(&pairs(ids.clone(), ids.clone())).unwrap();
    assert_eq!(
        table.upsert(&pairs((40..80).collect(), ids)).unwrap_err().code(),
        "too_many_rows"
    );
    assert_eq!(table.snapshot().row_count(), 40);
}

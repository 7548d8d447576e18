//! The state of a table in a real folder, of whose calls each fails in turn: what is restored is a state
//! that was, and what was read since is read again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::kept::tests::{batch, contents, oracle, schema, table};
use super::kept::{Kept, StatePlace};
use super::records::Records;
use crate::checkpoint::{Failing, FailingStorage, Faults, Place};
use crate::connector::Position;

/// What the source gives, a batch after the other.
fn source() -> Vec<Vec<(i64, i64, i8)>> {
    let batch = |n: i64| {
        (0..4)
            .map(|at| ((n * 3 + at) % 11, n * 10 + at, i8::from(at == 3)))
            .collect()
    };
    (0..24).map(batch).collect()
}

/// A life of the table: restored, then fed and kept until its source has no more than so many batches; returns
/// whether it was restored.
fn live(place: &Place, pool: &rayon::ThreadPool, batches: usize, what: &str) -> bool {
    let source = &source()[..batches];
    let table = table();
    let state = StatePlace {
        place: place.clone(),
        interval: Duration::ZERO,
    };
    let (mut kept, restored) = match Kept::open(&table, &state, pool, true) {
        Some((kept, restored)) => (Some(kept), restored),
        // It cannot be kept, which is told; the table goes on without.
        None => (None, None),
    };
    let was_restored = restored.is_some();
    let (mut read, mut positions) = (0, BTreeMap::new());
    if let Some(restored) = restored {
        positions = restored.positions;
        let place = positions.values().next().map(|at: &Position| at.place.parse());
        read = place.map_or(0, |place| place.unwrap());
        table.publish_staged(restored.staged).unwrap();
    }
    assert_eq!(
        contents(&table),
        oracle(&source[..read]),
        "{what}, restored at {read}"
    );
    loop {
        if let Some(kept) = &mut kept {
            // What cannot be written is told, and tried again.
            let _ = kept.keep(&table, &positions);
        }
        let Some(next) = source.get(read) else { break };
        let records = batch(next);
        table
            .apply(&Records::of_source(&records, &schema(), true).unwrap())
            .unwrap();
        read += 1;
        let position = Position {
            partition: "p".into(),
            place: read.to_string(),
        };
        positions.insert("p".into(), position);
        if let Some(kept) = &mut kept {
            kept.note(&records);
        }
    }
    assert_eq!(contents(&table), oracle(source), "{what}");
    was_restored
}

fn sweep(base: &Path, pool: &rayon::ThreadPool, how: Failing) -> (u64, u64) {
    let (mut at, mut restores) = (0, 0);
    loop {
        at += 1;
        let what = format!("{how:?} at call {at}");
        let root = Place::from(&base.join(format!("{how:?}-{at}")));
        let faults = Faults::at(at, how);
        let failing = Place::from(FailingStorage::over(root.storage().clone(), &faults));
        assert!(!live(&root, pool, 3, &what));
        live(&failing, pool, 20, &what);
        let has_come = faults.have_come();
        // There is room again: what is there is restored, and read on from.
        restores += u64::from(live(&root, pool, 24, &what));
        if !has_come {
            return (at, restores);
        }
    }
}

#[test]
fn a_storage_that_fails_at_any_call_costs_a_look_at_the_source_at_most() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let base = std::env::temp_dir().join(format!("fletching-kept-failures-{}", std::process::id()));
    for how in Failing::ALL {
        let (calls, restores) = sweep(&base, &pool, how);
        assert!(calls > 15, "{how:?}: {calls}");
        // The state of the first life stands, whatever became of the second.
        assert_eq!(restores, calls, "{how:?}: {restores} of {calls}");
    }
    std::fs::remove_dir_all(&base).unwrap();
}

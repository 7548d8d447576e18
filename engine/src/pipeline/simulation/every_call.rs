//! The epoch loop over a real folder, of whose calls each fails in turn: the old checkpoint stands, no
//! position is committed beyond it, and the next life loses and repeats nothing.

use std::sync::Arc;

use super::world::{Shared, World, rows_of};
use super::{begin_over, by_partition, insist_on_letters, query};
use crate::checkpoint::{Failing, FailingStorage, Faults, Place, Storage, list};
use crate::error::Result;
use crate::prepared::Prepared;

/// Calls that a run comes to at most.
const CALLS_MAX: u64 = 2000;

/// A world in which nothing goes wrong by itself.
fn calm(seed: u64) -> Shared {
    let world = World::new(seed);
    {
        let mut world = world.lock();
        world.faults = 0;
        world.partitions = vec![700, 410];
    }
    world
}

/// Lives until the end or a failure, with a storage that may fail.
fn live(world: &Shared, query: &Arc<Prepared>, storage: &Arc<dyn Storage>) -> Result<()> {
    loop {
        let mut pipeline = begin_over(Arc::clone(storage), world, query, None)?;
        pipeline.run()?;
        if pipeline.state.is_finished {
            return Ok(());
        }
    }
}

/// Insists that all checkpoints are whole, and that none of the positions committed is beyond the newest.
fn insist_on_what_stands(world: &Shared, root: &Place, what: &str) {
    let stored = list(root).unwrap_or_default();
    for found in &stored {
        assert!(found.checkpoint.is_ok(), "{what}: {:?}", found.checkpoint);
    }
    let newest = stored.first().and_then(|found| found.checkpoint.as_ref().ok());
    for committed in &world.lock().committed {
        let standing = newest.and_then(|checkpoint| {
            let mut positions = checkpoint.positions.iter();
            positions.find(|position| position.partition == committed.partition)
        });
        let number = |place: &str| place.parse::<u64>().unwrap();
        assert!(
            standing.is_some_and(|standing| number(&committed.place) <= number(&standing.place)),
            "{what}: {committed:?} is committed, {standing:?} stands"
        );
    }
}

#[test]
fn a_storage_that_fails_at_any_call_loses_and_repeats_nothing() {
    let query = query();
    let base = std::env::temp_dir().join(format!("fletching-every-call-{}", std::process::id()));
    let mut failures = 0;
    for how in Failing::ALL {
        let mut has_come = true;
        let mut at = 0;
        while has_come {
            at += 1;
            assert!(at < CALLS_MAX);
            let what = format!("{how:?} at call {at}");
            let world = calm(7 + at);
            let root = Place::from(&base.join(format!("{how:?}-{at}")));
            let faults = Faults::at(at, how);
            let failing = FailingStorage::over(root.storage().folder("simulated"), &faults);
            if let Err(error) = live(&world, &query, &failing) {
                failures += 1;
                assert_eq!(error.code(), "CHECKPOINT", "{what}: {error}");
                assert!(faults.have_come(), "{what}: {error}");
            }
            has_come = faults.have_come();
            insist_on_what_stands(&world, &root, &what);
            // There is room again.
            live(&world, &query, &root.storage().folder("simulated")).unwrap();
            insist_on_what_stands(&world, &root, &what);
            let world = world.lock();
            let expected = rows_of(&query.enrich(&world.good_rows()).unwrap());
            let output = by_partition(world.published.values().flatten().copied());
            assert_eq!(output, by_partition(expected.into_iter()), "{what}");
            insist_on_letters(&world);
        }
    }
    std::fs::remove_dir_all(&base).unwrap();
    assert!(failures > 50, "{failures}");
}

//! Readers of a `LiveTable` on threads of their own, while it is written to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use fletching_kernels::{LiveOptions, LiveTable, NO_ROW, RowId};

use crate::live_bounds::{ints, pairs};

/// Readers look while the writer works: every version has all accounts, and money neither comes
/// nor goes.
fn transfer_while_reading(seed: u64, options: LiveOptions) {
    const ACCOUNTS: i64 = 2_000;
    let ids: Vec<i64> = (0..ACCOUNTS).collect();
    let table = LiveTable::new(pairs(vec![], vec![]).schema(), &[0], options).unwrap();
    table.upsert(&pairs(ids.clone(), vec![1_000; ids.len()])).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (table, ids, done) = (&table, &ids, &done);
            scope.spawn(move || {
                let keys = [ints(ids.iter().copied())];
                let mut held = table.snapshot();
                let mut heads = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let fresh = table.snapshot();
                    for snapshot in [&fresh, &held] {
                        snapshot.locate(&keys, None, &mut heads).unwrap();
                        assert!(
                            !heads.contains(&NO_ROW),
                            "reader {reader}, seed {seed}: a row is missing"
                        );
                        let distinct: BTreeSet<RowId> = heads.iter().copied().collect();
                        assert_eq!(distinct.len(), heads.len());
                        let values = snapshot.gather(1, &heads).unwrap();
                        let sum: i64 = values.as_primitive::<Int64Type>().values().iter().sum();
                        assert_eq!(sum, 1_000 * ACCOUNTS, "reader {reader}, seed {seed}");
                        let found = snapshot.gather(0, &heads).unwrap();
                        assert_eq!(found.as_primitive::<Int64Type>().values(), &ids[..]);
                    }
                    let scanned: usize = fresh.scan().map(|batch| batch.unwrap().num_rows()).sum();
                    assert_eq!(scanned, fresh.row_count());
                    if reader == 0 {
                        held = fresh;
                    }
                }
            });
        }
        let mut balances = vec![1_000_i64; ids.len()];
        let mut number = seed;
        let mut draw = |below: i64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (number >> 33) as i64 % below
        };
        for turn in 0..400_i64 {
            let mut changed = BTreeSet::new();
            for _ in 0..draw(400) {
                let (from, to, amount) = (draw(ACCOUNTS), draw(ACCOUNTS), draw(100));
                balances[from as usize] -= amount;
                balances[to as usize] += amount;
                changed.extend([from, to]);
            }
            let values = changed.iter().map(|id| balances[*id as usize]).collect();
            table
                .upsert(&pairs(changed.into_iter().collect(), values))
                .unwrap();
            // Other keys, without money, come and go, so that shards grow and are purged.
            let others: Vec<i64> = (0..draw(3_000)).map(|at| ACCOUNTS + turn * 3_000 + at).collect();
            table
                .upsert(&pairs(others.clone(), vec![0; others.len()]))
                .unwrap();
            if turn % 3 > 0 {
                table.delete(&[ints(others)]).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn readers_see_whole_versions() {
    let tiny = LiveOptions {
        page_rows: 64,
        shards: 4,
        garbage_rows_min: 100,
        ..LiveOptions::default()
    };
    let renumbering = LiveOptions {
        row_ids_max: 4_000_000,
        ..tiny
    };
    for seed in [1, 2] {
        for options in [LiveOptions::default(), tiny, renumbering] {
            transfer_while_reading(seed, options);
        }
    }
}

//! The epoch loop in a simulated world. A seed decides how records are cut and in which order they
//! come, what fails, and where the pipeline crashes; then the output must be what one run over all
//! records gives: each row once, in the order of its partition, and each bad record one dead letter.
//!
//! `FLETCHING_SIMULATIONS=5000` runs more seeds, `FLETCHING_SIMULATION_SEED=42` runs one again.

mod every_call;
mod letters;
mod sides;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use self::letters::{SimLetters, is_uncomputable, is_undecodable};
use self::sides::{MISSED, SideWay, is_missed};
use self::world::{Row, Shared, SimClock, SimInbox, SimSink, SimStorage, World, rows_of};
use super::counters::Counters;
use super::phase::Phase;
use super::sharing::Sharing;
use super::{BadRows, EpochLimits, EpochLoop, EventTime, LATE, Making, Resumed};
use crate::checkpoint::{Keeper, PipelineIdentity, Storage};
use crate::connector::{BadRowPolicy, LetterPlace, LetterWriter, OnBadRow};
use crate::error::{Error, Result};
use crate::prepared::Prepared;
use crate::session::Session;

const QUERY: &str = "SELECT s.p, s.k, t.v, s.k / (s.k % 13) AS d FROM s LEFT JOIN t ON s.k % 7 = t.id \
     JOIN u ON s.k % 17 = u.id WHERE s.k % 3 <> 1";
/// Lives after which a pipeline should long be done: faults are few.
const LIVES_MAX: usize = 200;

fn query() -> Arc<Prepared> {
    let session = Session::builder().threads(1).build().unwrap();
    session
        .sql(
            "CREATE STREAM s (p BIGINT, k BIGINT, ts TIMESTAMP);
             CREATE SINK missed WITH (connector = 'memory');
             CREATE TABLE u (id BIGINT, PRIMARY KEY (id))
                 WITH (on_miss = 'dead_letter', miss.dead_letter = 'missed');
             INSERT INTO u VALUES (0), (1), (2), (4), (5), (6), (7), (9), (10), (11), (12), (13), (14), (15), (16);
             CREATE TABLE t (id BIGINT, v BIGINT, PRIMARY KEY (id));
             INSERT INTO t VALUES (0, 10), (1, 11), (3, 13), (4, 14)",
        )
        .unwrap();
    Arc::new(session.prepare(QUERY).unwrap())
}

fn identity() -> PipelineIdentity {
    PipelineIdentity {
        name: "simulated".into(),
        fingerprint: 1,
        sql: QUERY.into(),
    }
}

/// Starts a life of the pipeline from what is in the world.
fn begin(world: &Shared, query: &Arc<Prepared>, limit: Option<u64>) -> Result<EpochLoop> {
    begin_over(Arc::new(SimStorage(Arc::clone(world))), world, query, limit)
}

/// Starts a life with its checkpoints in some storage.
fn begin_over(
    storage: Arc<dyn Storage>,
    world: &Shared,
    query: &Arc<Prepared>,
    limit: Option<u64>,
) -> Result<EpochLoop> {
    let (keeper, found) = Keeper::open(storage, identity(), 3)?;
    let partitions = world.lock().partitions.len();
    let mut writer = SimSink {
        world: Arc::clone(world),
        making: Vec::new(),
        letters: Vec::new(),
        branches: Vec::new(),
        positions: Vec::new(),
    };
    let resumed = Resumed::new(found.checkpoint.as_ref(), Some(&keeper), &mut writer)?;
    let sides = sides::open(world, &mut writer, query.input_schema());
    let is_timed = world.lock().is_timed;
    let event_time = is_timed.then(|| EventTime::new(sides::event_time_spec(), &resumed.watermarks));
    let mut next = vec![0; partitions];
    for position in resumed.state.positions() {
        next[position.partition.parse::<usize>().unwrap()] = position.place.parse().unwrap();
    }
    let limits = {
        let dice = &mut world.lock().dice;
        EpochLimits {
            rows_max: 1 + dice.roll(300),
            bytes_max: 1 << 20,
            us_max: dice.roll(20_000),
            interval_us: dice.roll(20_000),
            limit,
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let at_phase = {
        let (world, stop) = (Arc::clone(world), Arc::clone(&stop));
        move |phase: Phase| {
            let mut world = world.lock();
            if world.dice.roll(40) == 0 {
                world.log.push("stop".into());
                stop.store(true, Relaxed);
            }
            match world.fails(&format!("crash {phase:?}"), 25) {
                true => Err(Error::internal("simulated crash")),
                false => Ok(()),
            }
        }
    };
    Ok(EpochLoop {
        query: Arc::clone(query),
        inbox: Box::new(SimInbox {
            world: Arc::clone(world),
            next,
        }),
        writer: Box::new(writer),
        keeper: Some(keeper),
        limits,
        clock: Box::new(SimClock(Arc::clone(world), Mutex::new(0))),
        event_time,
        sides,
        bad_rows: bad_rows(world),
        counters: Arc::<Counters>::default(),
        stop,
        at_phase: Box::new(at_phase),
        state: resumed.state,
        making: Making::default(),
        sharing: Sharing::default(),
    })
}

/// Has bad records become letters: with the rows, or beside them.
fn bad_rows(world: &Shared) -> BadRows {
    let policy = BadRowPolicy {
        on_bad: OnBadRow::Letter(LetterPlace::File("letters".into())),
        rate_max: 1.0,
    };
    let beside = SimLetters {
        world: Arc::clone(world),
        making: Vec::new(),
    };
    let has_place = world.lock().has_letter_place;
    let writer: Option<Box<dyn LetterWriter>> = match has_place {
        true => Some(Box::new(beside)),
        false => None,
    };
    BadRows::new(policy, writer, Arc::default())
}

/// Lives and dies until the pipeline has come to its end.
fn live(world: &Shared, query: &Arc<Prepared>, limit: Option<u64>) {
    let mut crashed: Option<EpochLoop> = None;
    for _ in 0..LIVES_MAX {
        let mut pipeline = match begin(world, query, limit) {
            Ok(pipeline) => pipeline,
            Err(error) if error.code() == "CHECKPOINT" => continue,
            Err(error) => panic!("{error}"),
        };
        // The one that was taken for dead comes back: it must publish nothing.
        if let Some(mut older) = crashed.take()
            && older.making.rows > 0
        {
            older.at_phase = Box::new(|_| Ok(()));
            assert_eq!(older.publish().unwrap_err().code(), "FENCED");
        }
        match pipeline.run() {
            Ok(()) if pipeline.state.is_finished => return,
            // It was stopped, and has committed all that it took.
            Ok(()) => assert_eq!(pipeline.making.rows, 0),
            Err(_) => {
                world.lock().damage();
                crashed = Some(pipeline);
            }
        }
    }
    panic!("it does not come to its end");
}

fn by_partition(rows: impl Iterator<Item = Row>) -> BTreeMap<i64, Vec<Row>> {
    let mut partitions: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    for row in rows {
        partitions.entry(row.0).or_default().push(row);
    }
    partitions
}

/// Runs one seed.
fn simulate(seed: u64, query: &Arc<Prepared>) {
    let world = World::new(seed);
    let (expected, limit) = {
        let mut world = world.lock();
        let all = rows_of(&query.enrich(&world.good_rows()).unwrap());
        // What a transaction counted is known by a checkpoint that may have come to nothing.
        let is_limited = world.dice.roll(3) == 0 && world.shown.is_none();
        let limit = is_limited.then(|| world.dice.roll(500));
        (all, limit)
    };
    live(&world, query, limit);
    let world = world.lock();
    let output = by_partition(world.published.values().flatten().copied());
    let rows: usize = output.values().map(Vec::len).sum();
    let wanted = limit.map_or(expected.len(), |limit| {
        expected.len().min(usize::try_from(limit).unwrap())
    });
    assert_eq!(rows, wanted, "limit {limit:?}, {:?}", world.log);
    if limit.is_none() {
        insist_on_letters(&world);
        insist_on_sides(&world);
    }
    let expected = by_partition(expected.into_iter());
    for (partition, rows) in &output {
        let expected = &expected[partition];
        // With a LIMIT a partition has come as far as it had when the limit was reached.
        assert_eq!(
            rows[..],
            expected[..rows.len()],
            "partition {partition}, {:?}",
            world.log
        );
    }
}

/// Insists that each bad record became one letter.
fn insist_on_letters(world: &World) {
    let mut letters = world.letters.clone();
    letters.extend(world.sink_letters.values().flatten());
    letters.sort_unstable();
    let all = world.partitions.iter().enumerate();
    let all = all.flat_map(|(p, rows)| (0..*rows).map(move |k| (p as i64, k)));
    let mut bad: Vec<_> = all.filter(|(_, k)| is_undecodable(*k)).collect();
    let computed = world.on_time().into_iter();
    bad.extend(computed.filter(|(_, k)| is_uncomputable(*k) && !is_missed(*k)));
    bad.sort_unstable();
    assert_eq!(letters, bad, "letters, {:?}", world.log);
}

/// Insists that each late record, and each that has no match, went where it belongs: once, or at least once
/// where no more is promised.
fn insist_on_sides(world: &World) {
    let mut missed = world.on_time();
    missed.retain(|(_, k)| is_missed(*k));
    for (name, expected) in [(LATE, world.late()), (MISSED, missed)] {
        let own = world.sides.iter().filter(|((known, _), _)| *known == name);
        let mut found: Vec<_> = own.flat_map(|(_, records)| records).copied().collect();
        found.sort_unstable();
        if world.side_way == SideWay::Sooner {
            found.dedup();
        }
        assert_eq!(found, expected, "{name}, {:?}, {:?}", world.side_way, world.log);
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_row_comes_once_and_in_order_whatever_goes_wrong() {
    let query = query();
    if let Some(seed) = number("FLETCHING_SIMULATION_SEED") {
        return simulate(seed, &query);
    }
    let mut failed = Vec::new();
    for seed in 0..number("FLETCHING_SIMULATIONS").unwrap_or(1000) {
        let run = std::panic::AssertUnwindSafe(|| simulate(seed, &query));
        if std::panic::catch_unwind(run).is_err() {
            failed.push(seed);
        }
    }
    assert!(
        failed.is_empty(),
        "run again with FLETCHING_SIMULATION_SEED=: {failed:?}"
    );
}

#[test]
fn everything_that_can_go_wrong_does() {
    let query = query();
    let mut seen = BTreeMap::<String, usize>::new();
    for seed in 0..200 {
        let world = World::new(seed);
        live(&world, &query, None);
        for what in &world.lock().log {
            *seen.entry(what.clone()).or_default() += 1;
        }
    }
    let phases = Phase::ALL.map(|phase| format!("crash {phase:?}"));
    let others = [
        "source",
        "committed",
        "prepare",
        "commit",
        "disk",
        "answer",
        "remove",
        "damage",
        "stop",
        "letters prepare",
        "letters commit",
        "side prepare",
        "side commit",
    ];
    for what in phases.iter().map(String::as_str).chain(others) {
        assert!(seen.get(what).is_some_and(|times| *times > 3), "{what}: {seen:?}");
    }
}

//! Kills a pipeline from topic to topic at random moments and at every border between two phases: a
//! reader of what is committed finds each record once, in order per key.
//!
//! `FLETCHING_KILLS=200` kills more often, `FLETCHING_KILL_SEED` at other moments.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fletching_tests::broker::shared;
use fletching_tests::victim::{end, wait};

use crate::victim::Topics;

/// The places at which a debug build ends itself as a kill would, and how often it passes each at
/// most before. Each of three tables passes those of tables at least once.
const BORDERS: [(&str, u64); 12] = [
    ("loading", 5),
    ("restoring_table", 3),
    ("writing_table", 3),
    ("writing_checkpoint", 4),
    ("restoring", 1),
    ("restored", 1),
    ("polled", 9),
    ("computed", 9),
    ("written", 9),
    ("prepared", 4),
    ("checkpointed", 4),
    ("committed", 4),
];

/// Trades in all.
const TRADES: i64 = 1_000_000;

/// How long the last life may take for what the killed ones have left.
const PATIENCE: Duration = Duration::from_secs(240);

/// Numbers that follow from a seed (xorshift64).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Takes the state of all tables away, so that they are read from their topics.
fn forget_tables(checkpoints: &Path) {
    for entry in fs::read_dir(checkpoints).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("table.") {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

#[test]
fn no_kill_loses_or_repeats_a_record() {
    let Some(broker) = shared() else { return };
    let (kills, seed) = (
        number("FLETCHING_KILLS", 24),
        number("FLETCHING_KILL_SEED", 0x9e37_79b9),
    );
    eprintln!("FLETCHING_KILL_SEED={seed} FLETCHING_KILLS={kills}");
    let topics = Topics::new(broker, "kills");
    topics.send(0..TRADES);
    let checkpoints = tempfile::tempdir().unwrap();
    // Small epochs, each committed before the next begins, so that all the lives together do not come to the end.
    let rows_max = (1_000_000 / kills.max(1) / 100).max(1);
    let settings = format!(
        "SET batch.rows = {rows_max}; SET epoch.rows_max = {rows_max}; SET epoch.ms_max = 20; \
         SET checkpoint.interval = '0';"
    );
    let mut state = seed;
    let mut killed = 0;
    for at in 0..kills {
        let index = usize::try_from(at / 2).unwrap() % BORDERS.len();
        let victim = if at % 2 == 0 && cfg!(debug_assertions) {
            let (border, times) = BORDERS[index];
            if ["loading", "writing_table"].contains(&border) {
                // What has its state is not loaded, nor written whole.
                forget_tables(checkpoints.path());
            }
            let place = format!("{border}:{}", 1 + next(&mut state) % times);
            let victim = topics.start(
                broker,
                checkpoints.path(),
                &settings,
                &[("FLETCHING_ABORT_AT", &place)],
            );
            wait(victim, PATIENCE).unwrap_or_else(|| panic!("it does not come to {place}"))
        } else {
            let mut victim = topics.start(broker, checkpoints.path(), &settings, &[]);
            // From before the tables are loaded to many epochs later.
            sleep(Duration::from_millis(20 + next(&mut state) % 900));
            let _ = victim.kill();
            victim.wait_with_output().unwrap()
        };
        eprint!("life {at}: {}", String::from_utf8_lossy(&victim.stderr));
        match victim.status.code() {
            None => killed += 1,
            Some(code) => assert_eq!(code, 0, "{}", String::from_utf8_lossy(&victim.stderr)),
        }
    }
    assert_eq!(killed, kills, "one ended by itself: make it run longer");
    let before = topics.insist(TRADES, false);
    assert!(before > 0, "no life has committed anything");

    let victim = topics.start(broker, checkpoints.path(), "", &[]);
    let began = Instant::now();
    while !topics.enriched.has_committed(usize::try_from(TRADES).unwrap()) {
        assert!(began.elapsed() < PATIENCE, "the rest took too long");
        sleep(Duration::from_millis(200));
    }
    let (is_well, said) = end(victim);
    assert!(is_well, "{said}");
    assert_eq!(topics.insist(TRADES, true), usize::try_from(TRADES).unwrap());
}

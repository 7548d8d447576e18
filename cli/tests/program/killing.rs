//! Kills the program at random moments and at every border between two phases: what is published
//! in the end has each record once, in order.
//!
//! `FLETCHING_KILLS=200` kills more often.

use std::thread;
use std::time::Duration;

use crate::Desk;
use crate::pipelines::{insist_on_each_once, wait};

/// The borders at which a debug build ends itself as a kill would, and how often it passes each at
/// most before.
const BORDERS: [(&str, u64); 8] = [
    ("restoring", 1),
    ("restored", 1),
    ("polled", 9),
    ("computed", 9),
    ("written", 9),
    ("prepared", 4),
    ("checkpointed", 4),
    ("committed", 4),
];
/// Rows a second, and rows in all for each kill: more than are made until the next.
const RATE: u64 = 100_000;
const ROWS_A_KILL: usize = 12_000;

/// Numbers that follow from a seed (xorshift64).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[cfg(debug_assertions)]
#[test]
fn no_kill_loses_or_repeats_a_record() {
    let kills: usize = std::env::var("FLETCHING_KILLS").map_or(24, |text| text.parse().expect("a number"));
    let desk = Desk::new();
    let rows = kills * ROWS_A_KILL;
    desk.write_pipeline(RATE, &format!("LIMIT {rows}"));
    let mut state = 0x9e37_79b9_u64;
    let mut killed = 0;
    for at in 0..kills {
        let child = if at % 2 == 0 {
            let (border, times) = BORDERS[at / 2 % BORDERS.len()];
            let place = format!("{border}:{}", 1 + next(&mut state) % times);
            desk.start(&[("FLETCHING_ABORT_AT", &place)])
        } else {
            let mut child = desk.start(&[]);
            thread::sleep(Duration::from_millis(20 + next(&mut state) % 250));
            // It may have ended by itself.
            let _ = child.kill();
            child
        };
        let stopped = wait(child);
        match stopped.code {
            None => killed += 1,
            Some(code) => assert_eq!(code, 0, "{}", stopped.err),
        }
        insist_on_each_once(&desk.published());
    }
    assert!(
        killed * 10 >= kills * 9,
        "{killed} of {kills} were killed: make it run longer"
    );
    let ended = wait(desk.start(&[]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let ids = desk.published();
    assert_eq!(ids.len(), rows);
    insist_on_each_once(&ids);
}

//! A broker that dies and comes back, and a process that stands still: nothing is lost, nothing comes twice.

use std::thread::sleep;
use std::time::{Duration, Instant};

use fletching_tests::broker::{own, shared};
use fletching_tests::victim::{end, signal};

use crate::victim::Topics;

const TRADES: i64 = 60_000;
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Small epochs, so that many are committed meanwhile.
const SETTINGS: &str = "SET epoch.rows_max = 500; SET epoch.ms_max = 20;";

pub(crate) fn wait_for(topics: &Topics, count: usize) {
    let began = Instant::now();
    while !topics.enriched.has_committed(count) {
        assert!(began.elapsed() < PATIENCE, "{count} records took too long");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_broker_that_dies_and_comes_back_costs_no_record() {
    let Some(mut broker) = own() else { return };
    let topics = Topics::new(&broker, "outage");
    topics.send(0..TRADES / 2);
    let checkpoints = tempfile::tempdir().unwrap();
    let mut victim = topics.start(&broker, checkpoints.path(), SETTINGS, &[]);
    wait_for(&topics, 2000);
    for _ in 0..2 {
        broker.stop();
        sleep(Duration::from_secs(3));
        broker.start();
        sleep(Duration::from_secs(1));
        assert!(
            victim.try_wait().unwrap().is_none(),
            "it has not outlived its broker"
        );
    }
    topics.send(TRADES / 2..TRADES);
    wait_for(&topics, usize::try_from(TRADES).unwrap());
    let (is_well, said) = end(victim);
    assert!(is_well, "{said}");
    topics.insist(TRADES, true);
}

/// `FLETCHING_PAUSE_S=30` pauses for longer.
#[test]
fn a_process_that_stands_still_goes_on() {
    let Some(broker) = shared() else { return };
    let pause = std::env::var("FLETCHING_PAUSE_S").map_or(8, |text| text.parse().expect("a number"));
    let topics = Topics::new(broker, "pause");
    topics.send(0..TRADES / 2);
    let checkpoints = tempfile::tempdir().unwrap();
    let victim = topics.start(broker, checkpoints.path(), SETTINGS, &[]);
    wait_for(&topics, 1000);
    signal(&victim, "STOP");
    sleep(Duration::from_secs(pause));
    signal(&victim, "CONT");
    topics.send(TRADES / 2..TRADES);
    wait_for(&topics, usize::try_from(TRADES).unwrap());
    let (is_well, said) = end(victim);
    assert!(is_well, "{said}");
    topics.insist(TRADES, true);
}

/// Of two processes with one identity the older one is fenced, says so, and has done no harm.
#[test]
fn the_older_of_two_processes_is_fenced() {
    let Some(broker) = shared() else { return };
    let topics = Topics::new(broker, "fence");
    topics.send(0..TRADES / 2);
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // As on two machines: each has a folder of its own.
    let mut older = topics.start(broker, here.path(), SETTINGS, &[]);
    wait_for(&topics, 1000);
    let younger = topics.start(broker, there.path(), SETTINGS, &[]);
    let began = Instant::now();
    let _open = older.stdin.take();
    let mut sent = TRADES / 2;
    // It hears of it when it commits next.
    while older.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "the older one is not fenced");
        topics.send(sent..sent + 100);
        sent += 100;
        sleep(Duration::from_millis(50));
    }
    let (is_well, said) = end(older);
    assert!(!is_well && said.contains("fenced"), "{said}");
    wait_for(&topics, usize::try_from(sent).unwrap());
    let (is_well, said) = end(younger);
    assert!(is_well, "{said}");
    topics.insist(sent, true);
}

//! A broker that dies and comes back, and a process that stands still: nothing is lost, nothing comes twice.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fletching_tests::broker::{own, shared};
use fletching_tests::victim::{end, give_up, signal};

use crate::victim::Topics;

const TRADES: i64 = 60_000;
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Small epochs, so that many are committed meanwhile.
const SETTINGS: &str = "SET epoch.rows_max = 500; SET epoch.ms_max = 20;";

/// Waits until so many records have come out.
pub(crate) fn wait_for(topics: &Topics, count: usize) -> Result<(), String> {
    let began = Instant::now();
    while !topics.enriched.has_committed(count) {
        if began.elapsed() > PATIENCE {
            let came = topics.enriched.count_committed(count);
            return Err(format!("{came} of {count} records came in {PATIENCE:?}"));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits until so many records have come out of a process; tells what it said where they do not.
fn wait_for_all(topics: &Topics, count: i64, victim: &mut Child) {
    if let Err(why) = wait_for(topics, usize::try_from(count).unwrap()) {
        panic!("{why}; the process: {}", give_up(victim));
    }
}

/// `name` as seconds, where the environment has it.
fn seconds(name: &str, usual: u64) -> Duration {
    let told = std::env::var(name).map(|text| text.parse().expect("a number"));
    Duration::from_secs(told.unwrap_or(usual))
}

/// With `FLETCHING_OUTAGE_S=45` it is away for longer than an answer is waited for.
#[test]
fn a_broker_that_dies_and_comes_back_costs_no_record() {
    let Some(mut broker) = own() else { return };
    let topics = Topics::new(&broker, "outage");
    let outage = seconds("FLETCHING_OUTAGE_S", 3);
    topics.send(0..TRADES / 2);
    let checkpoints = tempfile::tempdir().unwrap();
    let mut victim = topics.start(&broker, checkpoints.path(), SETTINGS, &[]);
    wait_for_all(&topics, 2000, &mut victim);
    for _ in 0..2 {
        broker.stop();
        sleep(outage);
        broker.start();
        sleep(Duration::from_secs(1));
        let ended = victim.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "it has not outlived its broker: {}",
            give_up(&mut victim)
        );
    }
    topics.send(TRADES / 2..TRADES);
    wait_for_all(&topics, TRADES, &mut victim);
    let (is_well, said) = end(victim);
    assert!(is_well, "{said}");
    topics.insist(TRADES, true);
}

/// `FLETCHING_PAUSE_S=30` pauses for longer.
#[test]
fn a_process_that_stands_still_goes_on() {
    let Some(broker) = shared() else { return };
    let pause = seconds("FLETCHING_PAUSE_S", 8);
    let topics = Topics::new(broker, "pause");
    topics.send(0..TRADES / 2);
    let checkpoints = tempfile::tempdir().unwrap();
    let mut victim = topics.start(broker, checkpoints.path(), SETTINGS, &[]);
    wait_for_all(&topics, 1000, &mut victim);
    signal(&victim, "STOP");
    sleep(pause);
    signal(&victim, "CONT");
    topics.send(TRADES / 2..TRADES);
    wait_for_all(&topics, TRADES, &mut victim);
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
    wait_for_all(&topics, 1000, &mut older);
    let mut younger = topics.start(broker, there.path(), SETTINGS, &[]);
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
    wait_for_all(&topics, sent, &mut younger);
    let (is_well, said) = end(younger);
    assert!(is_well, "{said}");
    topics.insist(sent, true);
}

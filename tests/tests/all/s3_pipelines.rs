//! Pipelines whose checkpoints and tables are kept in a real object store: killed, damaged, cut off,
//! and started twice.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use fletching::checkpoint;
use fletching_tests::object_store::{own, shared};
use fletching_tests::victim::signal;

use crate::s3_victim::Desk;
use crate::seed::seed;

/// The borders at which a debug build ends itself as a kill would.
const BORDERS: [&str; 6] = [
    "prepared:2",
    "checkpointed:1",
    "committed:2",
    "restoring:1",
    "restored:1",
    "checkpointed:3",
];

/// Waits until the rows of the table are kept.
fn until_kept(desk: &Desk) {
    let place = desk.session().checkpoints(&desk.place).unwrap();
    let began = Instant::now();
    loop {
        let tables = checkpoint::tables(&place).unwrap();
        let rows = tables.first().map_or(0, |table| table.contents().unwrap().rows);
        if rows > 0 {
            assert_eq!((tables[0].table.as_str(), rows), ("users", 20));
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is kept");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_kill_loses_or_repeats_a_row_and_the_table_comes_back() {
    let Some(store) = shared() else { return };
    let desk = Desk::new(store, "kills");
    let mut sent = 0;
    let mut send = |files: usize| {
        for _ in 0..files {
            desk.send(sent..sent + 40);
            sent += 40;
        }
        sent
    };
    let all = send(5);
    let mut first = desk.victim("", &[]);
    desk.until_published(all);
    until_kept(&desk);
    first.kill().unwrap();
    first.wait().unwrap();
    // From now on the table's rows are in the store alone.
    fs::remove_file(desk.path("users").join("1.csv")).unwrap();
    let mut state = seed() | 1;
    for border in BORDERS {
        send(20);
        let mut victim = desk.victim("", &[("FLETCHING_ABORT_AT", border)]);
        if !cfg!(debug_assertions) {
            std::thread::sleep(Duration::from_millis(300));
            victim.kill().unwrap();
        }
        // Waiting closes its input, which would have it end well.
        let input = victim.stdin.take();
        assert!(!victim.wait().unwrap().success(), "{border}");
        drop(input);
        desk.published();
        send(20);
        let mut victim = desk.victim("", &[]);
        state ^= state << 13;
        state ^= state >> 7;
        std::thread::sleep(Duration::from_millis(state % 900));
        victim.kill().unwrap();
        victim.wait().unwrap();
        desk.published();
    }
    let all = send(1);
    let mut last = desk.victim("", &[]);
    desk.until_published(all);
    drop(last.stdin.take());
    assert!(last.wait().unwrap().success());
    assert_eq!(desk.published(), all);
}

#[test]
fn damage_is_gone_around_and_people_can_look_and_prune() {
    let Some(store) = shared() else { return };
    let desk = Desk::new(store, "damage");
    desk.send(0..500);
    let (session, pipeline) = desk.start("");
    desk.until_published(500);
    until_kept(&desk);
    pipeline.stop();
    pipeline.wait().unwrap();
    drop((session, pipeline));

    let place = desk.session().checkpoints(&desk.place).unwrap();
    let found = checkpoint::list(&place).unwrap();
    assert_eq!(found[0].pipeline, "enriched");
    assert_eq!(
        found[0].place,
        format!("{}/enriched/checkpoint-{:020}", desk.place, found[0].epoch)
    );
    assert_eq!(found[0].checkpoint.as_ref().unwrap().counter("rows_out"), 500);
    let folder = place.storage().folder("enriched");
    let name = format!("checkpoint-{:020}", found[0].epoch);
    let mut bytes = folder.read(&name).unwrap();
    assert_eq!(bytes.len() as u64, found[0].bytes);
    bytes[20] ^= 4;
    folder.write(&name, &bytes).unwrap();
    let listed = checkpoint::list(&place).unwrap();
    assert!(listed[0].checkpoint.as_ref().unwrap_err().contains("checksum"));

    desk.send(500..700);
    let (session, pipeline) = desk.start("");
    let warned = session.take_warnings();
    assert!(
        warned
            .iter()
            .any(|warning| warning.to_string().contains("the one before is used")),
        "{warned:?}"
    );
    assert_eq!(pipeline.stats().restored_epoch, found[0].epoch - 1);
    desk.until_published(700);
    pipeline.stop();
    pipeline.wait().unwrap();
    drop((session, pipeline));
    // The damaged one was written over by the epoch that took its number.
    assert!(
        checkpoint::list(&place)
            .unwrap()
            .iter()
            .all(|found| found.checkpoint.is_ok())
    );

    assert_eq!(checkpoint::prune(&place, 1).unwrap().len(), 2);
    assert_eq!(checkpoint::list(&place).unwrap().len(), 1);
    assert_eq!(checkpoint::prune(&place, 0).unwrap().len(), 1);
    let tables = checkpoint::tables(&place).unwrap();
    assert!(tables[0].bytes > 0 && tables[0].remove().unwrap() > 0);
    assert!(checkpoint::list(&place).unwrap().is_empty());
}

#[test]
fn a_store_that_goes_away_stops_the_pipeline_and_the_old_checkpoint_stands() {
    let Some(mut store) = own() else { return };
    let desk = Desk::new(&store, "away");
    desk.send(0..300);
    let (session, pipeline) = desk.start("SET s3.retry.timeout = '500ms';");
    desk.until_published(300);
    store.stop();
    desk.send(300..400);
    let error = pipeline.wait().unwrap_err();
    assert_eq!(error.code(), "CHECKPOINT", "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&desk.place) && text.contains("check that the store runs"),
        "{text}"
    );
    assert!(
        !text.contains(store.credentials().1) && !text.contains("Signature"),
        "{text}"
    );
    assert_eq!(desk.published(), 300);
    drop(session);
    // Nor can one be started now.
    let refused = desk.session();
    refused.set("s3.retry.timeout", "300ms").unwrap();
    let place = refused.checkpoints(&desk.place).unwrap();
    assert_eq!(checkpoint::list(&place).unwrap_err().code(), "CHECKPOINT");

    store.start();
    let (session, pipeline) = desk.start("");
    desk.until_published(400);
    // One that is away for a while is waited for.
    store.stop();
    desk.send(400..500);
    std::thread::sleep(Duration::from_secs(1));
    store.start();
    desk.until_published(500);
    pipeline.stop();
    pipeline.wait().unwrap();
    drop((session, pipeline));
}

#[test]
fn the_older_of_two_instances_is_fenced_even_if_it_stood_still() {
    let Some(store) = shared() else { return };
    let desk = Desk::new(store, "two");
    desk.send(0..200);
    let mut older = desk.victim("", &[]);
    desk.until_published(200);
    for at in 0..20 {
        desk.send(200 + at * 20..220 + at * 20);
    }
    signal(&older, "STOP");
    // It may have been stopped with the lock in its hand: then that has to lapse first.
    let (session, newer) = desk.start("");
    desk.until_published(600);
    signal(&older, "CONT");
    desk.send(600..700);
    desk.until_published(700);
    let mut said = String::new();
    older.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!older.wait().unwrap().success());
    assert!(said.contains("was started again elsewhere"), "{said}");
    newer.stop();
    newer.wait().unwrap();
    drop(session);
    assert_eq!(desk.published(), 700);
}

//! `fletching check`: everything that can be known without running.

use crate::{Desk, RELATIONS};

#[test]
fn a_good_script_is_told_to_be_fine_and_does_nothing() {
    let desk = Desk::new();
    let sink = "CREATE SINK s WITH (path = 'out.csv') AS SELECT trade_id FROM trades;";
    desk.write("a.sql", &format!("{RELATIONS}{sink}"));
    assert_eq!(
        desk.run(&["check", "a.sql"]).fine(),
        "a.sql: 3 statements are fine\n"
    );
    assert_eq!(desk.added(), ["a.sql"]);
    desk.write("b.sql", "SELECT 1");
    assert_eq!(
        desk.run(&["check", "b.sql"]).fine(),
        "b.sql: 1 statement is fine\n"
    );
}

#[test]
fn a_bad_script_ends_with_two() {
    let desk = Desk::new();
    desk.write("a.sql", &format!("{RELATIONS}SELECT nothing FROM trades;"));
    let message = desk.run(&["check", "a.sql"]).failed(2);
    assert!(message.contains("--> a.sql:3:8\n"), "{message}");
    desk.write("b.sql", "CREATE STREAM s WITH (path = 'none.csv')");
    assert!(desk.run(&["check", "b.sql"]).failed(2).contains("none.csv"));
}

#[test]
fn every_file_is_looked_at() {
    let desk = Desk::new();
    desk.write("a.sql", "SELEC 1;");
    desk.write("b.sql", "SELECT 1;");
    desk.write("c.sql", "SELECT oops;");
    let ended = desk.run(&["check", "a.sql", "b.sql", "c.sql"]);
    assert_eq!(ended.out, "b.sql: 1 statement is fine\n");
    let message = ended.failed(2);
    assert!(
        message.contains("--> a.sql:1:") && message.contains("--> c.sql:1:"),
        "{message}"
    );
}

#[test]
fn warnings_do_not_fail_a_script() {
    let desk = Desk::new();
    desk.write(
        "a.sql",
        &format!("{RELATIONS}SELECT t.trade_id FROM trades t JOIN users u ON t.amount > u.id;"),
    );
    let ended = desk.run(&["check", "a.sql"]);
    assert!(
        ended.err.contains("warning: ") && ended.err.contains("--> a.sql:3:1\n"),
        "{ended:?}"
    );
    assert_eq!(ended.fine(), "a.sql: 3 statements are fine\n");
}

#[test]
fn a_sample_tells_what_joins_will_find() {
    let desk = Desk::new();
    let sink = "CREATE SINK out WITH (path = 'out.csv') AS
                SELECT t.trade_id, u.tier FROM trades t JOIN users u ON t.user_id = u.id;";
    desk.write("a.sql", &format!("{RELATIONS}{sink}"));
    let ended = desk.run(&["check", "--sample", "100", "a.sql"]);
    assert!(ended.err.contains("33.3 % of the rows are left out"), "{ended:?}");
    assert!(
        ended.out.contains("match rate") && ended.out.contains("2 of 3 rows"),
        "{ended:?}"
    );
    assert!(ended.fine().ends_with("a.sql: 3 statements are fine\n"));
    assert_eq!(desk.added(), ["a.sql"]);
    assert!(
        desk.run(&["check", "--sample", "0", "a.sql"])
            .failed(2)
            .contains("--sample")
    );
}

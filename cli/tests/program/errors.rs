//! What is wrong is shown with its place, and told by the exit code.

use crate::{Desk, RELATIONS};

#[test]
fn bad_sql_is_marked_in_its_line() {
    let desk = Desk::new();
    desk.write("a.sql", "SELECT 1;\nSELECT 2 LIMIT 1 2;\n");
    let expected = "\
error: expected the end of the statement, found '2'
  --> a.sql:2:18
   |
 2 | SELECT 2 LIMIT 1 2;
   |                  ^
";
    assert_eq!(desk.run(&["run", "a.sql"]).failed(2), expected);
}

#[test]
fn nothing_runs_of_a_script_that_does_not_parse() {
    let desk = Desk::new();
    let script = "CREATE SINK s WITH (path = 'out.csv') AS SELECT 1 AS a; SELEC 2;";
    let ended = desk.run(&["-c", script]);
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    assert!(ended.err.contains("--> -c:1:57\n"), "{}", ended.err);
    assert_eq!(desk.added(), [""; 0]);
}

#[test]
fn an_unknown_column_is_marked_and_the_nearest_named() {
    let desk = Desk::new();
    desk.write("a.sql", &format!("{RELATIONS}SELECT t.amuont\nFROM trades t;\n"));
    let message = desk.run(&["run", "a.sql"]).failed(2);
    assert!(message.contains("--> a.sql:3:"), "{message}");
    assert!(message.contains("\n 3 | SELECT t.amuont\n"), "{message}");
    assert!(
        message.contains("did you mean") && message.contains("amount"),
        "{message}"
    );
}

#[test]
fn an_unknown_option_is_the_users_to_mend() {
    let desk = Desk::new();
    let message = desk
        .run(&["-c", "CREATE STREAM s WITH (path = 'trades.csv', fromat = 'csv')"])
        .failed(2);
    assert!(message.contains("did you mean 'format'?"), "{message}");
    assert!(message.contains("--> -c:1:"), "{message}");
}

#[test]
fn a_run_that_fails_ends_with_one() {
    let desk = Desk::new();
    let division = desk.run(&[
        "-c",
        &format!("{RELATIONS}SELECT trade_id / (user_id - 8) FROM trades"),
    ]);
    assert!(division.failed(1).starts_with("error: "));
    let missing = desk
        .run(&["-c", "CREATE STREAM s WITH (path = 'none.csv')"])
        .failed(1);
    assert!(
        missing.contains("none.csv") && missing.contains("help: "),
        "{missing}"
    );
}

#[test]
fn a_script_that_is_not_there_is_bad_usage() {
    let desk = Desk::new();
    assert!(
        desk.run(&["run", "none.sql"])
            .failed(2)
            .starts_with("error: none.sql: no such file")
    );
    assert!(desk.run(&["run"]).failed(2).contains("FILE.sql"));
    assert!(desk.run(&["--frmat", "csv"]).failed(2).contains("--format"));
    assert!(
        desk.run(&["-c", "SELECT 1", "run", "a.sql"])
            .failed(2)
            .contains("-c cannot be used")
    );
}

#[test]
fn a_script_that_is_no_text_is_told() {
    let desk = Desk::new();
    std::fs::write(desk.path("a.sql"), [0xff, 0xfe, 0x00]).expect("a file can be written");
    assert!(
        desk.run(&["run", "a.sql"])
            .failed(2)
            .contains("a.sql: is not a text in UTF-8")
    );
}

#[test]
fn colours_come_when_asked_for() {
    let desk = Desk::new();
    let plain = desk.run(&["-c", "SELEC"]).failed(2);
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    let painted = desk.run(&["--color", "always", "-c", "SELEC"]).failed(2);
    assert!(painted.contains("\u{1b}["), "{painted:?}");
}

//! Where scripts come from, and what they do.

use crate::{Desk, RELATIONS};

#[test]
fn a_script_is_run_from_a_file_and_its_sinks_are_told() {
    let desk = Desk::new();
    let sink = "CREATE SINK enriched WITH (path = 'enriched.csv') AS
        SELECT t.trade_id, u.tier FROM trades t JOIN users u ON t.user_id = u.id;";
    desk.write("enrich.sql", &format!("{RELATIONS}{sink}"));
    let ended = desk.run(&["run", "enrich.sql"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
    assert!(
        ended.err.starts_with("sink enriched: 2 rows to "),
        "{}",
        ended.err
    );
    assert_eq!(desk.read("enriched.csv").lines().count(), 3);
}

#[test]
fn quiet_leaves_the_summaries_out() {
    let desk = Desk::new();
    desk.write(
        "a.sql",
        "CREATE SINK s WITH (path = 'out.csv') AS SELECT 1 AS one;",
    );
    let ended = desk.run(&["run", "--quiet", "a.sql"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert_eq!(desk.read("out.csv"), "one\n1\n");
}

#[test]
fn a_script_is_read_from_standard_input() {
    let desk = Desk::new();
    let script = format!("{RELATIONS} SELECT count(*) AS n FROM trades;");
    assert_eq!(desk.run_with(&[], &script).fine(), "n\n3\n");
    assert_eq!(desk.run_with(&["run", "-"], &script).fine(), "n\n3\n");
}

#[test]
fn commands_share_one_session() {
    let desk = Desk::new();
    let arguments = [
        "-c",
        "CREATE TABLE t (a BIGINT)",
        "-c",
        "INSERT INTO t VALUES (5)",
        "-c",
        "SELECT a FROM t",
    ];
    assert_eq!(desk.run(&arguments).fine(), "a\n5\n");
}

#[test]
fn several_files_share_one_session() {
    let desk = Desk::new();
    desk.write("a.sql", RELATIONS);
    desk.write("b.sql", "SELECT count(*) AS n FROM users;");
    assert_eq!(desk.run(&["run", "a.sql", "b.sql"]).fine(), "n\n2\n");
}

#[test]
fn an_empty_script_is_fine() {
    let desk = Desk::new();
    assert_eq!(desk.run_with(&[], " -- nothing\n").fine(), "");
}

#[test]
fn timing_is_told_for_each_statement() {
    let desk = Desk::new();
    let ended = desk.run(&["--timing", "-c", "SELECT 1; SELECT 2"]);
    assert_eq!(ended.err.matches("time: ").count(), 2, "{}", ended.err);
}

#[test]
fn a_run_ends_with_what_its_lookups_missed() {
    let desk = Desk::new();
    let join = "SELECT t.trade_id, u.tier FROM trades t JOIN users u ON t.user_id = u.id";
    desk.write(
        "a.sql",
        &format!("{RELATIONS}CREATE SINK out WITH (path = 'out.csv') AS {join};"),
    );
    let ended = desk.run(&["run", "a.sql"]);
    assert!(
        ended
            .err
            .contains("lookup users: 2 matched, 1 missed; 1 dropped\n"),
        "{ended:?}"
    );
    // Of rows that are shown it is told only where somebody has said what is to become of misses.
    let with_null = join.replace("SELECT ", "SELECT /*+ ON_MISS(u, 'null') */ ");
    desk.write("b.sql", &format!("{RELATIONS}{join};{with_null};"));
    let ended = desk.run(&["run", "b.sql"]);
    assert_eq!(
        ended.err,
        "lookup users (on miss null): 2 matched, 1 missed; 1 padded with NULL\n"
    );
    assert_eq!(desk.run(&["run", "--quiet", "b.sql"]).err, "");
}

#[test]
fn the_financial_example_runs_to_its_end() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let desk = Desk::new();
    let letters = format!("letters={}", desk.path("missed.csv").display());
    let output = crate::program(
        &root,
        &["run", "examples/financial/financial.sql", "--set", &letters],
    )
    .output()
    .expect("the program ends");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{err}");
    assert!(out.contains("default,4,(unknown),1.0000,false,"), "{out}");
    assert!(out.contains("user_profiles,user_id = 999,"), "{out}");
    assert!(out.contains("wait,4,(unknown),unrated\n"), "{out}");
    // The late profile, the ticks, and the table that takes its time.
    assert!(out.contains("on_miss,trade_id,name\nsql,4,\n"), "{out}");
    assert!(out.contains("wait,4,a new client,true\n"), "{out}");
    let ticked = [
        "1,AAPL,191.2500,",
        "3,AAPL,191.2500,",
        "4,TSLA,250.2500,",
        "7,XYZ,10.0100,",
    ];
    for row in ticked {
        assert!(out.contains(&format!("after the ticks,{row}")), "{row}: {out}");
    }
    assert!(
        out.ends_with("trade_id,user_id\n1,101\n2,102\n4,999\n5,101\n6,\n7,102\n"),
        "{out}"
    );
    assert!(
        err.contains("after folding case: for example 'msft' would be 'MSFT'"),
        "{err}"
    );
    assert!(err.contains("(on miss wait then default): "), "{err}");
}

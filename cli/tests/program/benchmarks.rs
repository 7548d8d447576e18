//! `fletching bench`: what it lists, runs and writes. Without rivals, and on few rows.

use std::process::Output;

use crate::Desk;

fn bench(desk: &Desk, arguments: &[&str]) -> Output {
    let mut command = desk.command(arguments);
    command.env("FLETCHING_BENCH_DIR", desk.path("cache"));
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_a_name_scenarios_are_listed() {
    let output = bench(&Desk::new(), &["bench"]);
    let listed = text(&output.stdout);
    for name in [
        "seed",
        "trades",
        "big-table",
        "db-benchmark-join",
        "prepared-latency",
        "restart",
    ] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{listed}");
    }
}

#[test]
fn a_killed_pipeline_joins_again_from_its_checkpoint() {
    let desk = Desk::new();
    let arguments = [
        "bench", "restart", "--scale", "1000", "--rounds", "2", "--output", "found",
    ];
    let output = bench(&desk, &arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(
        out.contains("10000 rows in the table") && out.contains("killed, median of 2"),
        "{out}"
    );
    let found: serde_json::Value =
        serde_json::from_str(&desk.read("found/restart.json")).expect("it is JSON");
    assert_eq!(found["seconds"].as_array().map(Vec::len), Some(2), "{found}");
    assert!(found["state_bytes"].as_u64() > Some(400_000), "{found}");
    assert!(found["error"].is_null(), "{found}");
}

#[test]
fn a_scenario_gives_a_table_json_and_a_page() {
    let desk = Desk::new();
    let arguments = [
        "bench",
        "seed/users=5",
        "--scale",
        "1000",
        "--rounds",
        "2",
        "--output",
        "found",
    ];
    let output = bench(&desk, &arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(
        out.contains("p99 µs") && out.contains("µs a record called singly"),
        "{out}"
    );
    let found = desk.read("found/seed-users=5-threads=1.json");
    let found: serde_json::Value = serde_json::from_str(&found).expect("it is JSON");
    let cases = found["cases"].as_array().expect("there are cases");
    assert_eq!(cases.len(), 6);
    for case in cases {
        let ours = &case["contenders"][0];
        let records = match (case["name"].as_str(), &case["run"]["batch_rows"]) {
            // With so many users fewer calls are compared.
            (Some("seed/users=5M/single"), _) => 10,
            (_, batch_rows) if *batch_rows == 1 => 100,
            _ => 1000,
        };
        assert_eq!(ours["rows"], records, "every user is there: {case}");
        assert_eq!(ours["runs"].as_array().map(Vec::len), Some(2));
        assert!(ours["figures"]["batch_ns"]["p99"].as_u64() > Some(0), "{ours}");
    }
    let page = desk.read("found/seed-users=5-threads=1.html");
    assert!(page.contains("<svg") && !page.contains("<script"), "{page}");
}

#[test]
fn parquet_to_parquet_is_a_process() {
    let desk = Desk::new();
    let output = bench(
        &desk,
        &[
            "bench",
            "parquet-to-parquet",
            "--scale",
            "1000",
            "--rounds",
            "1",
            "--threads",
            "2",
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = desk.read("bench-results/parquet-to-parquet-threads=2.json");
    let found: serde_json::Value = serde_json::from_str(&found).expect("it is JSON");
    let rows = found["cases"][0]["contenders"][0]["rows"]
        .as_u64()
        .expect("a number");
    assert!((4_000..6_000).contains(&rows), "half of 10,000: {rows}");
}

#[test]
fn an_unknown_name_and_an_unknown_rival_are_told() {
    let desk = Desk::new();
    let output = bench(&desk, &["bench", "none"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no scenario 'none'"));
    let arguments = [
        "bench",
        "skew",
        "--scale",
        "1000",
        "--rivals=none",
        "--rounds",
        "1",
    ];
    let output = bench(&desk, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("left out: none: there is no rival 'none'"));
}

//! Runs `examples/kafka/run` and `fletching bench kafka` as a stranger would: a broker from its jars, topics,
//! the pipeline, its result.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says why the example cannot run here, where it cannot.
fn obstacle() -> Option<&'static str> {
    let runs = |program: &str, arguments: &[&str], said: &str| {
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        output.is_ok_and(|output| {
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains(said)
        })
    };
    if !runs("bash", &["--version"], "bash") {
        return Some("there is no bash");
    }
    if !runs("java", &["--list-modules"], "jdk.compiler") {
        return Some("there is no JDK");
    }
    let has_jars = target().join("kafka-4.3.1").is_dir();
    (!has_jars && !runs("mvn", &["--version"], "Maven")).then_some("there is no Maven")
}

/// Returns cargo's target folder, where the jars of the other tests of Kafka are.
fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_fletching"));
    let target = program.parent().and_then(Path::parent);
    target
        .expect("the program is in a folder of a folder")
        .to_path_buf()
}

/// Says, aloud, whether these tests cannot run here.
fn is_skipped() -> bool {
    let Some(why) = obstacle() else { return false };
    assert!(
        std::env::var_os("FLETCHING_REQUIRE_KAFKA").is_none(),
        "the example of Kafka must run here, but {why}"
    );
    eprintln!("\n*** SKIPPED: the example of Kafka, since {why}. ***\n");
    true
}

#[test]
fn the_kafka_bench_compares_results_and_takes_latency() {
    if is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_fletching"))
        .args(["bench", "kafka/json/100B", "kafka/avro/1KB", "kafka/latency"])
        .args(["--scale", "1000", "--rounds", "1", "--output", "found"])
        .env("FLETCHING_BENCH_DIR", folder.path().join("cache"))
        .env("TMPDIR", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}\n{err}");
    let found = std::fs::read(folder.path().join("found/kafka.json")).expect("it is written");
    let found: serde_json::Value = serde_json::from_slice(&found).expect("it is JSON");
    let copies = found["copies"].as_array().expect("there are copies");
    let ways: Vec<_> = copies.iter().filter_map(|copy| copy["way"].as_str()).collect();
    let all = ["raw loop", "at-least-once", "exactly-once"];
    assert_eq!(ways, [all, all].concat(), "{out}");
    for copy in copies {
        assert_eq!(copy["records"], 1000, "{out}");
        assert!(copy["error"].is_null(), "{out}");
        assert!(copy["bytes"].as_u64() > Some(50_000), "{out}");
    }
    for latency in found["latencies"].as_array().expect("there are latencies") {
        assert!(latency["p50_ms"].as_f64() > Some(0.0), "{out}");
        assert!(latency["p99_ms"].as_f64() >= latency["p50_ms"].as_f64(), "{out}");
    }
    assert_eq!(found["latencies"].as_array().map(Vec::len), Some(3));
}

#[test]
fn the_kafka_example_enriches_every_trade_once() {
    if is_skipped() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kafka/run");
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(script)
        .env("FLETCHING", env!("CARGO_BIN_EXE_fletching"))
        .env("CARGO_TARGET_DIR", target())
        .env("TMPDIR", folder.path())
        .env("TRADES", "20000")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs it");
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}\n{err}");
    // The last table: a tier, its trades, and how many different ones they are.
    let tiers: Vec<Vec<&str>> = out
        .lines()
        .filter(|line| {
            ["bronze,", "gold,", "silver,"]
                .iter()
                .any(|tier| line.starts_with(tier))
        })
        .map(|line| line.split(',').collect())
        .collect();
    let count = |column: usize| {
        let numbers = tiers
            .iter()
            .map(|row| row[column].parse::<u64>().expect("a number"));
        numbers.sum::<u64>()
    };
    assert_eq!((tiers.len(), count(1), count(2)), (3, 20_000, 20_000), "{out}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

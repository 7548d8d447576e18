//! A process that is to be killed: the test program itself, started once more to run one of its tests, which
//! finds a job there.
//!
//! ```text
//!  a test ──start("kills::runs_when_told", job)──▶ a process ──▶ runs_when_told ── job() ──▶ run(session.start(sink))
//!     └─ kill, signal, or end: closes what it reads, and it commits what it has taken in
//! ```

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fletching::Pipeline;
use serde_json::Value;

/// Where the process finds its job.
const JOB: &str = "FLETCHING_TEST_JOB";

/// Starts a process that runs the test `entry` with a job; `environment` is added to this one's.
///
/// # Panics
/// Panics where it cannot be started.
pub fn start(entry: &str, job: &Value, environment: &[(&str, &str)]) -> Child {
    let program = std::env::current_exe().expect("this program's path");
    Command::new(program)
        .args(["--exact", entry, "--nocapture"])
        .env(JOB, job.to_string())
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process")
}

/// Returns the job of this process; `None` where it is a run of tests like any other.
///
/// # Panics
/// Panics where the job is no JSON.
pub fn job() -> Option<Value> {
    let job = std::env::var(JOB).ok()?;
    Some(serde_json::from_str(&job).expect("JSON"))
}

/// Runs a pipeline until whoever started this process closes its input or kills it, and ends the process.
pub fn run(started: fletching::Result<Pipeline>) -> ! {
    let fail = |error: fletching::Error| -> ! {
        eprintln!("pipeline: {error}");
        std::process::exit(1);
    };
    let pipeline = match started {
        Ok(pipeline) => pipeline,
        Err(error) => fail(error),
    };
    let stats = pipeline.stats();
    eprintln!(
        "goes on after epoch {} at {:?}",
        stats.restored_epoch, stats.positions
    );
    let watched = pipeline.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        watched.stop();
    });
    match pipeline.wait() {
        Ok(stats) => eprintln!("rows out: {}", stats.rows_out),
        Err(error) => fail(error),
    }
    std::process::exit(0);
}

/// Waits for a process to end by itself, with its input left open, and returns what it said; one that takes
/// longer than `patience` is killed, and nothing is returned.
///
/// # Panics
/// Panics where it cannot be waited for.
pub fn wait(mut victim: Child, patience: Duration) -> Option<Output> {
    let _open = victim.stdin.take();
    let began = Instant::now();
    while victim.try_wait().expect("a state").is_none() {
        if began.elapsed() > patience {
            let _ = victim.kill();
            let _ = victim.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    victim.wait_with_output().ok()
}

/// Kills a process, and returns what it said.
///
/// # Panics
/// Panics where it cannot be killed.
pub fn give_up(victim: &mut Child) -> String {
    let ended = victim.try_wait().expect("a state");
    victim.kill().expect("an end");
    let mut said = ended.map_or_else(String::new, |status| format!("has ended by itself, {status}: "));
    if let Some(words) = &mut victim.stderr {
        words.read_to_string(&mut said).expect("text");
    }
    said
}

/// Asks a process to end as Ctrl-C does, by closing what it reads; returns whether it did so well, and what
/// it said.
///
/// # Panics
/// Panics where it cannot be waited for.
pub fn end(mut victim: Child) -> (bool, String) {
    drop(victim.stdin.take());
    let said = victim.wait_with_output().expect("an end");
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    (said.status.success(), words)
}

/// Sends a signal to a process, as `STOP`.
///
/// # Panics
/// Panics where it cannot be sent.
pub fn signal(victim: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &victim.id().to_string()])
        .status();
    assert!(sent.expect("the command kill").success());
}

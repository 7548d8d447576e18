//! How a run ends before its time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Desk;

/// Takes far longer than any test waits.
const ENDLESS: &str = "SELECT count(*) FROM n a CROSS JOIN n b CROSS JOIN n c WHERE a.i + b.i + c.i < 0";

fn numbers(desk: &Desk) {
    let lines: String = (0..5000).map(|number| format!("{number}\n")).collect();
    desk.write("n.csv", &format!("i\n{lines}"));
}

fn wait(mut child: Child) -> i32 {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            return status.code().expect("it ends by itself");
        }
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().expect("the program can be killed");
            panic!("the program did not end");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_run_quietly() {
    let desk = Desk::new();
    numbers(&desk);
    let script = "CREATE STREAM n WITH (path = 'n.csv'); SELECT a.i, b.i AS j FROM n a CROSS JOIN n b";
    let mut child = desk
        .command(&["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("a line");
    drop(stdout);
    assert_eq!(line, "i,j\n");
    let stderr = child.stderr.take().expect("it is piped");
    assert_eq!(wait(child), 0);
    let messages: Vec<String> = BufReader::new(stderr).lines().map_while(Result::ok).collect();
    assert!(
        messages.iter().all(|line| !line.starts_with("error")),
        "{messages:?}"
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_run_and_leaves_nothing_behind() {
    let desk = Desk::new();
    numbers(&desk);
    let script =
        format!("CREATE STREAM n WITH (path = 'n.csv'); CREATE SINK s WITH (path = 'out.csv') AS {ENDLESS}");
    let child = desk
        .command(&["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    thread::sleep(Duration::from_millis(700));
    let signal = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(signal.expect("kill is there").success());
    assert_eq!(wait(child), 130);
    assert_eq!(desk.added(), ["n.csv"]);
}

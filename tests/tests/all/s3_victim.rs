//! A process that runs a pipeline from files to files with its checkpoints in an object store, until
//! somebody ends it: this test program, started once more.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fletching::checkpoint::StorageScheme;
use fletching::{Pipeline, Session};
use fletching_connectors::S3Storage;
use fletching_tests::object_store::ObjectStore;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::following::publish;

/// What a victim is told to do.
const JOB: &str = "FLETCHING_TEST_S3_VICTIM";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
const USERS: usize = 20;

/// Files that come in, files that come out, and a table whose rows are kept in the store.
pub(crate) struct Desk {
    pub(crate) folder: TempDir,
    pub(crate) place: String,
    endpoint: String,
    credentials: (&'static str, &'static str),
}

impl Desk {
    pub(crate) fn new(store: &ObjectStore, name: &str) -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
            place: format!("s3://{}/some/prefix", store.bucket(name)),
            endpoint: store.endpoint(),
            credentials: store.credentials(),
        };
        for folder in ["trades", "users"] {
            fs::create_dir(desk.path(folder)).unwrap();
        }
        let users = (0..USERS).fold("id,tier\n".to_owned(), |mut text, id| {
            let _ = writeln!(text, "{id},{}", tier(id));
            text
        });
        publish(&desk.path("users"), "1.csv", &users);
        desk
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Publishes a file of trades.
    pub(crate) fn send(&self, ids: std::ops::Range<usize>) {
        let name = format!("{:08}.csv", ids.start);
        let text = ids.fold("id,user_id\n".to_owned(), |mut text, id| {
            let _ = writeln!(text, "{id},{}", id % USERS);
            text
        });
        publish(&self.path("trades"), &name, &text);
    }

    /// Makes a session that reaches the store.
    pub(crate) fn session(&self) -> Session {
        session(&self.endpoint, self.credentials)
    }

    fn script(&self, settings: &str) -> (String, String) {
        let at = |name: &str| self.path(name).display().to_string();
        let script = format!(
            "SET checkpoint.path = '{}'; SET checkpoint.interval = '0'; SET epoch.ms_max = 5;
             SET epoch.rows_max = 100; SET batch.rows = 40; SET s3.retry.timeout = '60s'; {settings}
             CREATE STREAM trades (id BIGINT, user_id BIGINT) WITH (path = '{}', format = 'csv', follow = true,
               follow.interval = '5ms');
             CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id)) WITH (path = '{}', format = 'csv',
               follow = true, follow.interval = '5ms', changelog = 'upsert');",
            self.place,
            at("trades"),
            at("users"),
        );
        let sink = format!(
            "CREATE SINK enriched WITH (path = '{}/', format = 'csv') AS
             SELECT t.id, u.tier FROM trades t LEFT JOIN users u ON t.user_id = u.id",
            at("out")
        );
        (script, sink)
    }

    /// Starts the pipeline in this process.
    pub(crate) fn start(&self, settings: &str) -> (Session, Pipeline) {
        let (script, sink) = self.script(settings);
        let session = self.session();
        session.sql(&script).unwrap();
        let pipeline = session.start(&sink).unwrap();
        (session, pipeline)
    }

    /// Starts the pipeline in a process of its own.
    pub(crate) fn victim(&self, settings: &str, environment: &[(&str, &str)]) -> Child {
        let (script, sink) = self.script(settings);
        let job = json!({
            "endpoint": self.endpoint,
            "key": self.credentials.0,
            "secret": self.credentials.1,
            "script": script,
            "sink": sink,
        });
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "s3_victim::runs_when_told", "--nocapture"])
            .env(JOB, job.to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Insists that each trade that came out did so once and as it should be, and returns how many did.
    pub(crate) fn published(&self) -> usize {
        let mut seen = BTreeSet::new();
        for path in shown(&self.path("out")) {
            // A file that is taken back between the two is gone.
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            for line in text.lines().skip(1) {
                let (id, found) = line.split_once(',').unwrap();
                let id: usize = id.parse().unwrap();
                assert_eq!(found, tier(id % USERS), "trade {id}");
                assert!(seen.insert(id), "trade {id} came twice");
            }
        }
        seen.len()
    }

    /// Waits until so many trades have come out.
    pub(crate) fn until_published(&self, count: usize) {
        let began = Instant::now();
        while self.published() < count {
            assert!(began.elapsed() < PATIENCE, "{} of {count} came", self.published());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.published(), count);
    }
}

fn tier(user: usize) -> String {
    format!("tier {}", user % 3)
}

fn shown(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_shown = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        !name.starts_with('.')
    };
    paths.filter(is_shown).collect()
}

fn session(endpoint: &str, (key, secret): (&str, &str)) -> Session {
    let storage = S3Storage::default().with_credentials(key, secret, None);
    let session = Session::builder()
        .threads(2)
        .connectors(fletching_connectors::all())
        .storages([Arc::new(storage) as Arc<dyn StorageScheme>])
        .build()
        .unwrap();
    session.set("s3.endpoint", endpoint).unwrap();
    session
}

/// Sends a signal to a process, as `STOP`.
pub(crate) fn signal(victim: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &victim.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// What a victim does; without a job it is no test.
#[test]
fn runs_when_told() {
    let Ok(job) = std::env::var(JOB) else { return };
    let job: Value = serde_json::from_str(&job).unwrap();
    let text = |name: &str| job[name].as_str().unwrap().to_string();
    let session = session(&text("endpoint"), (&text("key"), &text("secret")));
    session.sql(&text("script")).unwrap();
    let pipeline = match session.start(&text("sink")) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            eprintln!("pipeline: {error}");
            std::process::exit(1);
        }
    };
    let watched = pipeline.clone();
    // Whoever started it closes its input to have it end; then it commits what it has taken in.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        watched.stop();
    });
    match pipeline.wait() {
        Ok(stats) => eprintln!("rows out: {}", stats.rows_out),
        Err(error) => {
            eprintln!("pipeline: {error}");
            std::process::exit(1);
        }
    }
    std::process::exit(0);
}

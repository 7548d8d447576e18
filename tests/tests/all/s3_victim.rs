//! A process that runs a pipeline from files to files with its checkpoints in an object store, until
//! somebody ends it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fletching::checkpoint::StorageScheme;
use fletching::{Pipeline, Session};
use fletching_connectors::S3Storage;
use fletching_tests::object_store::ObjectStore;
use fletching_tests::victim;
use serde_json::json;
use tempfile::TempDir;

use crate::following::publish;

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
        victim::start("s3_victim::runs_when_told", &job, environment)
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

/// What a victim does; without a job it is no test.
#[test]
fn runs_when_told() {
    let Some(job) = victim::job() else { return };
    let text = |name: &str| job[name].as_str().unwrap().to_string();
    let session = session(&text("endpoint"), (&text("key"), &text("secret")));
    session.sql(&text("script")).unwrap();
    victim::run(session.start(&text("sink")))
}

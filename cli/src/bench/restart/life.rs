//! A life of the pipeline: `fletching run` as a child, from its start to its being killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::data::quoted;
use super::super::fault::{Fault, Result};
use super::Meeting;

/// How often it is looked whether something is there, and how long at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(900);

/// The folder that all lives share.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    threads: Option<usize>,
}

impl Place {
    /// Makes the folder, and the script that each life runs.
    pub(super) fn new(folder: PathBuf, table: &Path, threads: Option<usize>) -> Result<Self> {
        let place = Self { folder, threads };
        fs::create_dir_all(place.trades())?;
        fs::create_dir_all(place.output())?;
        let text = |path: &Path| quoted(&path.display().to_string());
        // A sink over a folder is one whose path ends as a folder's does.
        let output = quoted(&format!("{}/", place.output().display()));
        let script = format!(
            "SET checkpoint.path = {};\n\
             SET checkpoint.interval = '200ms';\n\
             CREATE STREAM trades (id BIGINT, k BIGINT)\n  \
               WITH (connector = 'file', path = {}, format = 'csv', follow = 'true', follow.interval = '20ms');\n\
             CREATE TABLE users (k BIGINT, number BIGINT, ratio DOUBLE, word VARCHAR, money DECIMAL(12,2),\n  \
               PRIMARY KEY (k))\n  \
               WITH (connector = 'file', path = {}, format = 'parquet', follow = 'true', changelog = 'upsert');\n\
             CREATE SINK enriched WITH (connector = 'file', path = {output}, format = 'csv') AS\n  \
               SELECT t.id, t.k, u.number FROM trades t JOIN users u ON t.k = u.k;\n",
            text(&place.checkpoints()),
            text(&place.trades()),
            text(table),
        );
        fs::write(place.script(), script)?;
        Ok(place)
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn trades(&self) -> PathBuf {
        self.folder.join("trades")
    }

    fn output(&self) -> PathBuf {
        self.folder.join("enriched")
    }

    fn script(&self) -> PathBuf {
        self.folder.join("run.sql")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Puts a row into the stream's folder, in a file that is there whole.
    pub(super) fn send(&self, meeting: Meeting) -> Result<()> {
        let hidden = self.trades().join(format!(".{}", meeting.id));
        fs::write(&hidden, format!("id,k\n{},{}\n", meeting.id, meeting.key()))?;
        Ok(fs::rename(
            hidden,
            self.trades().join(format!("{:06}.csv", meeting.id)),
        )?)
    }

    /// Returns the rows that are shown, without their heads.
    pub(super) fn results(&self) -> Result<Vec<String>> {
        let mut rows = Vec::new();
        for entry in fs::read_dir(self.output())? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "csv") {
                rows.extend(fs::read_to_string(path)?.lines().skip(1).map(str::to_owned));
            }
        }
        Ok(rows)
    }
}

/// A process at work; it is killed with this.
pub(super) struct Life<'a> {
    place: &'a Place,
    child: Child,
    began: Instant,
}

impl<'a> Life<'a> {
    pub(super) fn start(place: &'a Place) -> Result<Self> {
        let log = File::create(place.log())?;
        let began = Instant::now();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg(place.script());
        if let Some(threads) = place.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| Fault::from(error).during("starting fletching run"))?;
        Ok(Self { place, child, began })
    }

    /// Waits until so many rows are shown; returns the seconds since the process was started.
    pub(super) fn wait_for(&mut self, rows: usize) -> Result<f64> {
        let place = self.place;
        self.wait_until("the row is joined", || Ok(place.results()?.len() >= rows))?;
        Ok(self.began.elapsed().as_secs_f64())
    }

    /// Waits until something is so.
    pub(super) fn wait_until(&mut self, what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
        while !is_so()? {
            let log = || fs::read_to_string(self.place.log()).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                return Err(Fault::new(format!(
                    "fletching run has ended before {what}: {status}\n{}",
                    log()
                )));
            }
            if self.began.elapsed() > PATIENCE {
                return Err(Fault::new(format!("waited in vain until {what}\n{}", log())));
            }
            sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Returns the most memory that the process has held at once; 0 where the system does not say.
    pub(super) fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Ends it as `kill -9` does.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        // Nothing can be done about one that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

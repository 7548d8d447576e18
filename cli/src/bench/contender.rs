//! Contenders: which there are, and how one is asked.
//!
//! Each is a process of its own, so that none shares an allocator, a thread pool or a peak of
//! memory with another.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::data::quoted;
use super::fault::{Fault, Result};
use super::protocol::{Job, Ran, Reply, Request, peak_rss_bytes};
use super::rivals::Cache;
use super::scenario::Case;
use super::worker;

/// Who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contender {
    /// This program, with its tables kept.
    Ours,
    /// This program, with its tables made anew each run.
    OursBuilding,
    /// Another engine.
    Rival(String),
}

impl Contender {
    /// Returns how it is called in reports.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ours => "fletching",
            Self::OursBuilding => "fletching, build counted",
            Self::Rival(name) => name,
        }
    }

    /// Says whether it is this program.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self, Self::Rival(_))
    }

    /// Returns the modes to try, of those it offers.
    pub(super) fn modes(&self, offered: &[String]) -> Vec<String> {
        match self {
            Self::Ours => vec![worker::READY.to_owned()],
            Self::OursBuilding => vec![worker::BUILD.to_owned()],
            Self::Rival(_) => offered.to_vec(),
        }
    }

    /// Starts its worker.
    ///
    /// # Errors
    /// Fails where the process cannot be started.
    pub(super) fn start(&self, cache: &Cache, threads: usize) -> Result<Worker> {
        let command = match self {
            Self::Ours | Self::OursBuilding => {
                let mut command = Command::new(env::current_exe()?);
                command.arg("bench-worker");
                command
            }
            Self::Rival(name) => cache.rival(name)?,
        };
        let log = self.log(cache)?;
        Worker::start(command, threads, log)
    }

    fn log(&self, cache: &Cache) -> Result<PathBuf> {
        let word = self.name().replace([',', ' '], "");
        Ok(cache.folder("logs")?.join(format!("{word}.log")))
    }

    /// Runs a whole process, from its start to its end, and measures it from outside.
    ///
    /// # Errors
    /// Fails where the process does.
    pub(super) fn run_process(&self, cache: &Cache, case: &Case, job: &Job) -> Result<Ran> {
        let log = self.log(cache)?;
        let mut command = match self {
            Self::Rival(name) => {
                let mut command = cache.rival(name)?;
                command.arg("--process").arg(serde_json::to_string(job)?);
                command
            }
            Self::Ours | Self::OursBuilding => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["--quiet", "--command", &script(case, job)]);
                command
            }
        };
        use_threads(&mut command, job.threads);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let id = child.id().to_string();
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_rss_bytes(&id));
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_millis(2));
        };
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() {
            return Err(Fault::new(format!("{status}: {}", last_line(&log))));
        }
        Ok(Ran {
            seconds,
            input_rows: 0,
            rows: 0,
            output_bytes: job.output.as_ref().map_or(0, |path| length(path)),
            batch_ns: None,
            peak_rss_bytes: peak,
        })
    }
}

/// Returns how long a file is; 0 where it is not there.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The script that this program runs from Parquet to Parquet.
fn script(case: &Case, job: &Job) -> String {
    let path = |path: &Path| quoted(&path.display().to_string());
    let mut script = format!("CREATE STREAM input WITH (path = {});\n", path(&job.input));
    for table in &job.tables {
        let data = case.data.iter().find(|data| data.name == table.name);
        let columns = data.into_iter().flat_map(|data| &data.columns);
        let columns: Vec<String> = columns.map(|c| format!("{} {}", c.name, c.sql_type)).collect();
        script += &format!(
            "CREATE TABLE {} ({}, PRIMARY KEY ({})) WITH (path = {});\n",
            table.name,
            columns.join(", "),
            table.key.join(", "),
            path(&table.path)
        );
    }
    let output = job.output.as_deref().unwrap_or(Path::new("output.parquet"));
    script
        + &format!(
            "CREATE SINK output WITH (path = {}, format = 'parquet', compression = 'snappy') AS\n{}",
            path(output),
            job.query.sql
        )
}

/// Tells a process, in every way known, how many threads to use.
fn use_threads(command: &mut Command, threads: usize) {
    let variables = [
        "FLETCHING_THREADS",
        "RAYON_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "TOKIO_WORKER_THREADS",
        "OMP_NUM_THREADS",
    ];
    for variable in variables {
        command.env(variable, threads.to_string());
    }
}

/// A contender's process, which answers requests.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Worker {
    fn start(mut command: Command, threads: usize, log: PathBuf) -> Result<Self> {
        use_threads(&mut command, threads);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .map_err(|error| Fault::from(error).during(&program))?;
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::new("a process without pipes"));
        };
        Ok(Self {
            child,
            requests: Some(requests),
            replies: BufReader::new(replies),
            log,
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Fails with what the worker says, or with the last it wrote where it has ended.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T> {
        let mut line = String::new();
        let asked = match &mut self.requests {
            Some(requests) => writeln!(requests, "{}", serde_json::to_string(request)?),
            None => Ok(()),
        };
        if asked.is_err() || self.replies.read_line(&mut line)? == 0 {
            return Err(Fault::new(format!(
                "the process has ended: {}",
                last_line(&self.log)
            )));
        }
        match serde_json::from_str(&line)? {
            Reply::Done(done) => Ok(done),
            Reply::Error { error } => Err(Fault::new(error)),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input is the sign to go; nothing it holds is worth waiting for.
        drop(self.requests.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it left no word").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::scenario;
    use super::*;

    #[test]
    fn a_process_is_a_script_over_files() {
        let scenarios = scenario::embedded(1).unwrap();
        let case = &scenarios
            .iter()
            .find(|s| s.name == "parquet-to-parquet")
            .unwrap()
            .cases[0];
        let tables = case.data.iter().filter(|data| data.name != "input");
        let job = Job {
            threads: 1,
            mode: String::new(),
            input: "in.parquet".into(),
            tables: tables
                .map(|data| super::super::protocol::TableFile {
                    name: data.name.clone(),
                    path: format!("{}.parquet", data.name).into(),
                    key: data.key.clone(),
                })
                .collect(),
            query: case.query.clone(),
            run: case.run.clone(),
            compared_batches: 0,
            output: Some("out.parquet".into()),
        };
        let script = script(case, &job);
        assert!(
            fletching::Session::new().unwrap().parse(&script).is_ok(),
            "{script}"
        );
    }
}

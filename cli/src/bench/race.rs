//! Runs a case: starts the contenders, warms them up alike, runs them in turn, compares results.
//!
//! ```text
//!  each contender:  start ─▶ load ─▶ 2 runs in each mode; the fastest mode stays
//!  round 1:         ours, rival, rival, …        so that what the machine does meanwhile
//!  round 2:         ours, rival, rival, …        falls on all alike
//!  …
//!  each contender:  write the result of one run ─▶ compare
//! ```
//!
//! Where not all fit in memory at once, each is started and warmed up anew in each round.

use std::fs;
use std::path::PathBuf;

use super::contender::{Contender, Worker, length};
use super::data::DataFiles;
use super::fault::{Fault, Result};
use super::protocol::{Hello, Job, Loaded, Ran, Request};
use super::results::{CaseFindings, ContenderFindings, Figures, LeftOut, compare};
use super::rivals::Cache;
use super::scenario::{Case, RunKind, Scenario};
use super::verify::{Fingerprint, judge};

/// Runs before the timed ones, in each mode.
const WARM_UPS: usize = 2;

/// A warm-up that takes longer is not repeated.
const WARM_UP_ONCE_S: f64 = 10.0;

/// How a race is held.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Threads of each contender.
    pub(super) threads: usize,
    /// Timed runs of each contender.
    pub(super) rounds: usize,
    /// A contender's timed runs may take about so long; slow ones have fewer.
    pub(super) seconds: f64,
}

/// One contender on its way.
struct Entrant {
    contender: Contender,
    findings: ContenderFindings,
    /// Its process, where it stays.
    worker: Option<Worker>,
    job: Job,
    rounds: usize,
}

/// Runs a case. `tell` hears what is being done.
///
/// # Errors
/// Fails where this program itself cannot take part; what a rival cannot do is among the findings.
pub(super) fn run(
    scenario: &Scenario,
    case: &Case,
    files: &DataFiles,
    rivals: &[String],
    terms: &Terms,
    cache: &Cache,
    tell: &dyn Fn(&str),
) -> Result<CaseFindings> {
    let mut contenders = vec![Contender::Ours];
    if case.count_build {
        contenders.push(Contender::OursBuilding);
    }
    contenders.extend(rivals.iter().cloned().map(Contender::Rival));
    let (mut entrants, mut left_out) = (Vec::new(), Vec::new());
    for contender in contenders {
        tell(&format!("{}: warming up", contender.name()));
        let job = job(case, files, terms, &contender, cache)?;
        match enter(&contender, case, job, terms, cache) {
            Ok(entrant) => entrants.push(entrant),
            Err(fault) if contender.is_ours() => return Err(fault.during(&case.name)),
            Err(fault) => left_out.push(LeftOut {
                name: contender.name().to_owned(),
                why: fault.to_string(),
            }),
        }
    }
    for round in 0..terms.rounds {
        for entrant in entrants.iter_mut().filter(|entrant| round < entrant.rounds) {
            tell(&format!(
                "round {} of {}: {}",
                round + 1,
                terms.rounds,
                entrant.contender.name()
            ));
            let ran = entrant.run_once(case, terms, cache);
            entrant.note(ran);
        }
    }
    for entrant in &mut entrants {
        tell(&format!("{}: comparing results", entrant.contender.name()));
        entrant.finish(case, files, terms, cache);
    }
    let mut contenders: Vec<_> = entrants.into_iter().map(|entrant| entrant.findings).collect();
    let compared = judge(&mut contenders, case.expected.as_ref());
    for findings in &mut contenders {
        if findings.error.is_none() {
            findings.figures = Figures::of(&findings.runs, terms.threads);
        }
    }
    compare(&mut contenders);
    Ok(CaseFindings {
        name: case.name.clone(),
        title: scenario.title.clone(),
        about: scenario.about.clone(),
        sql: case.query.sql.trim().to_owned(),
        run: case.run.clone(),
        threads: terms.threads,
        input_rows: files.input_rows,
        compared,
        contenders,
        left_out,
    })
}

fn job(case: &Case, files: &DataFiles, terms: &Terms, contender: &Contender, cache: &Cache) -> Result<Job> {
    let shortened = case.run.shortened();
    let word = contender.name().replace([',', ' '], "");
    Ok(Job {
        threads: terms.threads,
        mode: String::new(),
        input: files.input.clone(),
        tables: files.tables.clone(),
        query: case.query.clone(),
        compared_batches: shortened.batches,
        run: if contender.is_ours() {
            case.run.clone()
        } else {
            shortened
        },
        output: Some(cache.folder("results")?.join(format!("{word}.parquet"))),
    })
}

/// Starts a contender, finds its fastest mode and warms it up.
fn enter(contender: &Contender, case: &Case, mut job: Job, terms: &Terms, cache: &Cache) -> Result<Entrant> {
    let hello: Hello = contender.start(cache, terms.threads)?.ask(&Request::Hello)?;
    let mut findings = ContenderFindings {
        name: contender.name().to_owned(),
        is_ours: contender.is_ours(),
        version: hello.version,
        mode: String::new(),
        modes_tried: Vec::new(),
        output_memory: "fresh",
        input_bytes: 0,
        rows: 0,
        checksum: String::new(),
        runs: Vec::new(),
        error: None,
        figures: None,
    };
    if case.run.kind == RunKind::Process {
        let warm = contender.run_process(cache, case, &job)?;
        let files = job.tables.iter().map(|table| &table.path).chain([&job.input]);
        findings.input_bytes = files.map(|path| length(path)).sum();
        return Ok(Entrant {
            contender: contender.clone(),
            findings,
            worker: None,
            job,
            rounds: rounds(terms, warm.seconds),
        });
    }
    let mut best: Option<(f64, String, Worker)> = None;
    let mut failed = None;
    for mode in contender.modes(&hello.modes) {
        job.mode.clone_from(&mode);
        let tried = warm_up(contender, &job, terms, cache);
        let (seconds, input_bytes, worker) = match tried {
            Ok(tried) => tried,
            // Another mode may do.
            Err(fault) => {
                failed = Some(fault);
                continue;
            }
        };
        findings.input_bytes = input_bytes;
        findings.modes_tried.push((mode.clone(), seconds));
        if best.as_ref().is_none_or(|(fastest, ..)| seconds < *fastest) {
            best = Some((seconds, mode, worker));
        }
    }
    let Some((seconds, mode, worker)) = best else {
        return Err(failed.unwrap_or_else(|| Fault::new("it has no mode")));
    };
    job.mode.clone_from(&mode);
    findings.mode = mode;
    Ok(Entrant {
        contender: contender.clone(),
        findings,
        worker: Some(worker).filter(|_| !case.one_at_a_time),
        job,
        rounds: rounds(terms, seconds),
    })
}

fn rounds(terms: &Terms, seconds: f64) -> usize {
    let mut rounds = 1;
    while rounds < terms.rounds && (rounds + 1) as f64 * seconds <= terms.seconds {
        rounds += 1;
    }
    rounds
}

/// Loads and runs until warm. Gives the time of the fastest run, and the bytes loaded.
fn warm_up(contender: &Contender, job: &Job, terms: &Terms, cache: &Cache) -> Result<(f64, u64, Worker)> {
    let mut worker = contender.start(cache, terms.threads)?;
    let job = Box::new(job.clone());
    let loaded: Loaded = worker.ask(&Request::Load { job })?;
    let mut seconds = f64::INFINITY;
    for _ in 0..WARM_UPS {
        let ran: Ran = worker.ask(&Request::Run)?;
        seconds = seconds.min(ran.seconds);
        if ran.seconds > WARM_UP_ONCE_S {
            break;
        }
    }
    Ok((seconds, loaded.input_bytes, worker))
}

impl Entrant {
    fn run_once(&mut self, case: &Case, terms: &Terms, cache: &Cache) -> Result<Ran> {
        if case.run.kind == RunKind::Process {
            return self.contender.run_process(cache, case, &self.job);
        }
        match &mut self.worker {
            Some(worker) => worker.ask(&Request::Run),
            None => warm_up(&self.contender, &self.job, terms, cache)?
                .2
                .ask(&Request::Run),
        }
    }

    fn note(&mut self, ran: Result<Ran>) {
        match ran {
            Ok(ran) => self.findings.runs.push(ran),
            Err(fault) => {
                self.findings.error = Some(fault.to_string());
                self.rounds = 0;
            }
        }
    }

    /// Takes a fingerprint of what it gives, and ends it.
    fn finish(&mut self, case: &Case, files: &DataFiles, terms: &Terms, cache: &Cache) {
        if self.findings.error.is_some() {
            return;
        }
        match self.fingerprint(case, terms, cache) {
            Ok(fingerprint) => {
                self.findings.rows = fingerprint.rows;
                self.findings.checksum = fingerprint.checksum();
            }
            Err(fault) => self.findings.error = Some(fault.to_string()),
        }
        self.worker = None;
        if case.run.kind == RunKind::Process {
            for run in &mut self.findings.runs {
                run.input_rows = files.input_rows;
                run.rows = self.findings.rows;
            }
        }
    }

    fn fingerprint(&mut self, case: &Case, terms: &Terms, cache: &Cache) -> Result<Fingerprint> {
        let path = match (&self.job.output, case.run.kind) {
            (Some(path), RunKind::Process) => path.clone(),
            _ => self.write(terms, cache)?,
        };
        let fingerprint = Fingerprint::of_file(&path);
        let _ = fs::remove_file(path);
        fingerprint
    }

    fn write(&mut self, terms: &Terms, cache: &Cache) -> Result<PathBuf> {
        let path = cache.folder("results")?.join("result.arrow");
        let request = Request::Write { path: path.clone() };
        let _: serde_json::Value = match &mut self.worker {
            Some(worker) => worker.ask(&request)?,
            None => {
                let mut worker = self.contender.start(cache, terms.threads)?;
                let job = Box::new(self.job.clone());
                let _: Loaded = worker.ask(&Request::Load { job })?;
                worker.ask(&request)?
            }
        };
        Ok(path)
    }
}

//! `fletching bench kafka`: the way of records from topic to topic, beside a loop that only copies them.
//!
//! ```text
//!  trades, 4 partitions ─▶ raw loop: consume, produce ───────────────▶ results, counted
//!                       ─▶ pipeline, three tables: at least once ────▶ results, compared with the
//!                       ─▶ pipeline, three tables: exactly once ─────▶ same joins without Kafka
//! ```
//!
//! Ways take turns, so that what else the machine does falls on all of them; a round's ratios are
//! those of runs that follow each other. A run lasts from the broker taking its first result to its
//! taking the last: the start of the clients is not counted.

mod broker;
mod latency;
mod pipeline;
mod raw;
mod report;
mod topics;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use self::broker::Broker;
use self::pipeline::Shape;
use self::report::{CopyFinding, Findings, LatencyFinding};
use self::topics::{Seen, Topics};
use super::fault::{Fault, Result};
use super::machine::Machine;
use super::rivals::Cache;
use crate::terminal::Terminal;

/// What this scenario is called, and said to be.
pub(super) const NAME: &str = "kafka";
pub(super) const TITLE: &str =
    "from topic to topic on a broker of the loopback, beside a plain copy; latency";

/// A size of records: the case's name, how many there are, and the text that brings them to it.
struct Size {
    case: &'static str,
    format: &'static str,
    records: u64,
    note_bytes: usize,
}

static SIZES: [Size; 4] = [
    Size {
        case: "kafka/json/100B",
        format: "json",
        records: 1_000_000,
        note_bytes: 0,
    },
    Size {
        case: "kafka/json/1KB",
        format: "json",
        records: 600_000,
        note_bytes: 900,
    },
    Size {
        case: "kafka/avro/100B",
        format: "avro",
        records: 1_000_000,
        note_bytes: 64,
    },
    Size {
        case: "kafka/avro/1KB",
        format: "avro",
        records: 600_000,
        note_bytes: 960,
    },
];

/// Seconds that records are sent at the steady rate.
const LATENCY_SECONDS: u64 = 12;

/// How records get from topic to topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Raw,
    AtLeastOnce,
    ExactlyOnce,
}

impl Way {
    const ALL: [Self; 3] = [Self::Raw, Self::AtLeastOnce, Self::ExactlyOnce];

    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw loop",
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }
}

/// The case of latency of each way that has one.
const LATENCIES: [(&str, Way); 3] = [
    ("kafka/latency/raw-loop", Way::Raw),
    ("kafka/latency/at-least-once", Way::AtLeastOnce),
    ("kafka/latency/exactly-once", Way::ExactlyOnce),
];

/// What is to be run, and how.
pub(super) struct Terms<'a> {
    /// What was asked for: beginnings of cases' names.
    pub(super) names: &'a [String],
    pub(super) broker: Option<&'a str>,
    pub(super) rounds: u16,
    /// What numbers of records are divided by.
    pub(super) scale: u32,
    pub(super) output: PathBuf,
    pub(super) is_quiet: bool,
}

/// Says whether a name means this scenario.
pub(super) fn is_meant(name: &str) -> bool {
    name == NAME || name.starts_with("kafka/")
}

/// Returns the cases' names.
pub(super) fn cases() -> impl Iterator<Item = &'static str> {
    SIZES
        .iter()
        .map(|size| size.case)
        .chain(LATENCIES.map(|(case, _)| case))
}

/// Runs the cases that are meant; says whether all results were right.
///
/// # Errors
/// Fails where there is no such case, or no broker.
pub(super) fn run(terms: &Terms<'_>, cache: &Cache, terminal: &Terminal) -> Result<bool> {
    let is_chosen = |case: &str| terms.names.iter().any(|name| case.starts_with(name.as_str()));
    if let Some(unknown) = terms
        .names
        .iter()
        .find(|name| !cases().any(|case| case.starts_with(name.as_str())))
    {
        let known: Vec<_> = cases().collect();
        return Err(Fault::new(format!(
            "there is no case '{unknown}'; there are {}",
            known.join(", ")
        )));
    }
    terminal.message("opening the broker");
    let broker = Broker::open(terms.broker, cache)?;
    let bench = Bench {
        topics: Topics::new(&broker.servers)?,
        checkpoints: cache
            .folder("kafka")?
            .join(format!("checkpoints-{}", std::process::id())),
        terms,
        terminal,
    };
    let mut findings = Findings::new(terms.scale, Machine::find());
    for size in SIZES.iter().filter(|size| is_chosen(size.case)) {
        let found = bench.size(size)?;
        report::copies(&found)?;
        findings.copies.extend(found);
    }
    for (case, way) in LATENCIES.iter().filter(|(case, _)| is_chosen(case)) {
        let found = bench.latency(case, *way)?;
        report::latency(&found)?;
        findings.latencies.push(found);
    }
    let path = findings.save(&terms.output)?;
    if !terms.is_quiet {
        terminal.message(&format!("wrote {}", path.display()));
    }
    Ok(findings.copies.iter().all(|found| found.error.is_none()))
}

struct Bench<'a> {
    topics: Topics,
    checkpoints: PathBuf,
    terms: &'a Terms<'a>,
    terminal: &'a Terminal,
}

impl Bench<'_> {
    /// Runs all ways in turn on records of one size.
    fn size(&self, size: &Size) -> Result<Vec<CopyFinding>> {
        let shape = Shape {
            format: size.format,
            note_bytes: size.note_bytes,
            is_timed: false,
        };
        let records = (size.records / u64::from(self.terms.scale)).max(1000);
        self.tell(&format!("{}: filling a topic with {records} records", size.case));
        let from = self.topics.create("trades")?;
        pipeline::fill(&shape, &self.topics.servers, &from, records)?;
        let given = self.topics.read(&from)?;
        let expected = pipeline::expected(&shape, records)?;
        let mut found =
            Way::ALL.map(|way| CopyFinding::new(size.case, way.name(), given.records, given.bytes));
        for round in 0..self.terms.rounds {
            for (way, found) in Way::ALL.into_iter().zip(&mut found) {
                self.tell(&format!("{}: round {}, {}", size.case, round + 1, way.name()));
                let (seen, error) = self.once(way, &shape, (&from, records), &expected)?;
                found.seconds.push(seen.seconds());
                found.error = found.error.take().or(error);
            }
        }
        self.topics.remove(&from);
        let raw = found[0].seconds.clone();
        found.iter_mut().for_each(|found| found.compare(&raw));
        Ok(found.into())
    }

    /// Runs one way once; returns what came out, and what is wrong with it.
    fn once(
        &self,
        way: Way,
        shape: &Shape,
        (from, records): (&str, u64),
        expected: &str,
    ) -> Result<(Seen, Option<String>)> {
        let to = self.topics.create("results")?;
        let servers = &self.topics.servers;
        if way == Way::Raw {
            raw::copy(&self.topics, from, &to, records)?;
        } else {
            let checkpoints = (way == Way::ExactlyOnce).then_some(self.checkpoints.as_path());
            let (_session, pipeline) =
                pipeline::start(shape, servers, (from, &to), checkpoints, Some(records))?;
            pipeline.wait()?;
        }
        let seen = self.topics.read(&to)?;
        let digest = match way {
            Way::Raw => expected.to_owned(),
            _ => pipeline::digest(shape, servers, &to)?,
        };
        let error = if seen.records != records {
            Some(format!("{} of {records} records came out", seen.records))
        } else if digest != expected {
            Some(format!("the results are {digest}, not {expected}"))
        } else {
            None
        };
        self.topics.remove(&to);
        self.forget()?;
        Ok((seen, error))
    }

    fn latency(&self, case: &'static str, way: Way) -> Result<LatencyFinding> {
        let seconds = (LATENCY_SECONDS / u64::from(self.terms.scale)).max(2);
        write_out();
        self.tell(&format!("{case}: {} records/s for {seconds} s", latency::RATE));
        let checkpoints = (way == Way::ExactlyOnce).then_some(self.checkpoints.as_path());
        let records = latency::RATE * seconds;
        let found = match way {
            Way::Raw => latency::measure_raw(&self.topics, records)?,
            _ => latency::measure(&self.topics, checkpoints, records)?,
        };
        self.forget()?;
        Ok(LatencyFinding {
            case,
            records_per_second: latency::RATE,
            p50_ms: found.percentile_ms(50),
            p99_ms: found.percentile_ms(99),
            max_ms: found.percentile_ms(100),
        })
    }

    /// Forgets the checkpoints of a run: the next one begins anew.
    fn forget(&self) -> Result<()> {
        match fs::remove_dir_all(&self.checkpoints) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn tell(&self, what: &str) {
        if !self.terms.is_quiet {
            self.terminal.message(what);
        }
    }
}

/// Has the system write out what the cases before have left in its caches: gigabytes, for which whoever
/// makes something durable would wait a second or more. Where there is no such command they stay.
fn write_out() {
    let _ = Command::new("sync").status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cases_are_those_of_this_scenario() {
        assert_eq!(cases().count(), 7);
        assert!(cases().all(is_meant) && is_meant(NAME) && !is_meant("kafkaesque"));
    }
}

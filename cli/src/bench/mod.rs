//! `fletching bench`: benchmarks that anyone can rerun, with rivals.
//!
//! ```text
//!  scenario.toml ─▶ cases ─▶ data files ─▶ race ─▶ findings ─▶ table, JSON, HTML
//!                                           │ │ │
//!                    fletching bench-worker ┘ │ └ python polars_rival.py …
//!                          python duckdb_rival.py
//! ```
//!
//! `kafka` and `restart` are no such scenarios: one needs a broker, the other kills processes. Each has
//! a module of its own.

mod contender;
mod data;
mod db_benchmark;
mod fault;
mod kafka;
mod machine;
mod protocol;
mod race;
mod report_html;
mod report_text;
mod restart;
mod results;
mod rivals;
mod scenario;
mod variables;
mod verify;
mod worker;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::ProgressBar;

use self::fault::{Fault, Result};
use self::machine::Machine;
use self::race::Terms;
use self::results::{CaseFindings, Findings};
use self::rivals::Cache;
use self::scenario::{Case, Scenario};
pub(crate) use self::worker::serve;
use crate::arguments::SessionArguments;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Examples in the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  fletching bench                                    list the scenarios
  fletching bench --setup                            install the rivals, in an environment of their own
  fletching bench trades --rivals                    run a scenario with all its rivals, on one thread
  fletching bench trades --rivals=duckdb,polars --threads 2
  fletching bench big-table/1M/int/hit=100/inner     run one case
  fletching bench seed trades --quick                try it out on a tenth of the rows
  fletching bench kafka                              from topic to topic, on a broker of its own
  fletching bench restart                            killed with a table of 10M rows
  fletching bench mine.toml --rivals                 run a scenario of your own

Data, rivals and logs are kept in the user's cache folder, or in FLETCHING_BENCH_DIR. The first run of a
scenario makes its data. Figures of a build without --release mean nothing.";

/// What `fletching bench` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArguments {
    /// Scenarios to run, cases of them (`trades/one-shot`, or `trades/batch` for all that begin
    /// so), or files of scenarios; without, all are listed
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Run the rivals too: all that are installed, or those named
    #[arg(long, value_name = "RIVAL,…", num_args = 0..=1, require_equals = true, value_delimiter = ',', default_missing_value = "all")]
    rivals: Option<Vec<String>>,

    /// Install the rivals' Python packages, in an environment of their own
    #[arg(long)]
    setup: bool,

    /// Time each contender so often, at most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Give slow contenders fewer rounds, so that those of one take about so long
    #[arg(long, value_name = "N", default_value_t = 60.0)]
    seconds: f64,

    /// Divide large numbers of rows by ten, for trying out
    #[arg(long)]
    quick: bool,

    /// Divide large numbers of rows by N
    #[arg(long, value_name = "N", hide = true, conflicts_with = "quick", value_parser = clap::value_parser!(u32).range(1..))]
    scale: Option<u32>,

    /// For `kafka`: use this broker; without, one is started from its jars, which needs bash, Java
    /// and, the first time, Maven
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<String>,

    /// Write the findings as JSON and HTML into FOLDER
    #[arg(long, short, value_name = "FOLDER", default_value = "bench-results")]
    output: PathBuf,

    /// Print what the scenarios' files are to expect of the results
    #[arg(long, hide = true)]
    expectations: bool,
}

/// Lists or runs scenarios.
pub(crate) fn run(
    arguments: &BenchArguments,
    session: &SessionArguments,
    terminal: &Terminal,
) -> std::result::Result<(), Failure> {
    match bench(arguments, session, terminal) {
        Ok(is_right) if is_right => Ok(()),
        Ok(_) => Err(Failure::outside("some results are wrong; see above")),
        Err(fault) => Err(Failure::from(fault)),
    }
}

/// Says whether every result was right.
fn bench(arguments: &BenchArguments, session: &SessionArguments, terminal: &Terminal) -> Result<bool> {
    let cache = Cache::open()?;
    if arguments.setup {
        terminal.message("installing the rivals");
        let environment = cache.set_up()?;
        terminal.message(&format!("the rivals are installed in {}", environment.display()));
    }
    let scale = arguments.scale.unwrap_or(if arguments.quick { 10 } else { 1 });
    if arguments.names.is_empty() {
        if !arguments.setup {
            report_text::list(
                &scenario::embedded(scale)?,
                terminal.paint,
                &mut io::stdout().lock(),
            )?;
        }
        return Ok(true);
    }
    let (kafka, names): (Vec<String>, Vec<String>) = arguments
        .names
        .iter()
        .cloned()
        .partition(|name| kafka::is_meant(name));
    let (restart, names): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| restart::is_meant(name));
    let chosen = choose(&names, scale)?;
    let is_optimized = !cfg!(debug_assertions);
    if !is_optimized {
        terminal.message("this build is not optimised: its figures mean nothing");
    }
    let mut is_right =
        kafka.is_empty() || bench_kafka(&kafka, arguments, session, (&cache, scale), terminal)?;
    if !restart.is_empty() {
        let terms = restart::Terms {
            rounds: arguments.rounds,
            scale,
            threads: session.threads.map(usize::from),
            output: arguments.output.clone(),
            is_quiet: session.quiet,
        };
        is_right &= restart::run(&terms, &cache, terminal)?;
    }
    if names.is_empty() {
        return Ok(is_right);
    }
    let began = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let mut findings = Findings {
        fletching: env!("CARGO_PKG_VERSION"),
        optimized: is_optimized,
        began_unix_s: began.as_secs(),
        machine: Machine::find(),
        scale,
        cases: Vec::new(),
    };
    for (scenario, cases) in &chosen {
        for case in cases {
            let found = run_case(scenario, case, arguments, session, &cache, terminal)?;
            report_text::case(&found, terminal.paint, &mut io::stdout().lock())?;
            findings.cases.push(found);
            // After each case, so that a run that is stopped has left what it found.
            save(&findings, arguments, terminal, false)?;
        }
    }
    let mut out = io::stdout().lock();
    report_text::gains(&findings.cases, &mut out)?;
    if arguments.expectations {
        report_text::expectations(&findings.cases, &mut out)?;
    }
    out.flush()?;
    save(&findings, arguments, terminal, !session.quiet)?;
    let mut contenders = findings.cases.iter().flat_map(|case| &case.contenders);
    Ok(is_right && contenders.all(|c| c.error.is_none()))
}

/// Runs the cases on Kafka; says whether every result was right.
fn bench_kafka(
    names: &[String],
    arguments: &BenchArguments,
    session: &SessionArguments,
    (cache, scale): (&Cache, u32),
    terminal: &Terminal,
) -> Result<bool> {
    let terms = kafka::Terms {
        names,
        broker: arguments.broker.as_deref(),
        rounds: arguments.rounds,
        scale,
        output: arguments.output.clone(),
        is_quiet: session.quiet,
    };
    kafka::run(&terms, cache, terminal)
}

fn run_case(
    scenario: &Scenario,
    case: &Case,
    arguments: &BenchArguments,
    session: &SessionArguments,
    cache: &Cache,
    terminal: &Terminal,
) -> Result<CaseFindings> {
    let spinner = if terminal.stderr_is_terminal && !session.quiet {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    spinner.enable_steady_tick(Duration::from_millis(200));
    let tell = |what: &str| spinner.set_message(format!("{}: {what}", case.name));
    let files = data::prepare(case, &cache.folder("data")?, tell)?;
    let threads = session.threads.map(usize::from).or(case.threads).unwrap_or(1);
    let terms = Terms {
        threads: if threads == 0 { machine::cores() } else { threads },
        rounds: usize::from(arguments.rounds),
        seconds: arguments.seconds,
    };
    let rivals: Vec<String> = match arguments.rivals.as_deref() {
        None => Vec::new(),
        Some([all]) if all == "all" => case.rivals.clone(),
        Some(named) => named.to_vec(),
    };
    let found = race::run(scenario, case, &files, &rivals, &terms, cache, &tell);
    spinner.finish_and_clear();
    found
}

/// Finds what names stand for: whole scenarios, or their cases that begin so.
fn choose(names: &[String], scale: u32) -> Result<Vec<(Scenario, Vec<Case>)>> {
    let embedded = scenario::embedded(scale)?;
    let mut chosen = Vec::new();
    for name in names {
        if Path::new(name).extension().is_some_and(|kind| kind == "toml") {
            let scenario = scenario::of_file(Path::new(name), scale)?;
            chosen.push((scenario.clone(), scenario.cases));
            continue;
        }
        let stem = name.split('/').next().unwrap_or(name);
        let scenario = embedded.iter().find(|scenario| scenario.name == stem);
        let scenario = scenario.ok_or_else(|| {
            let known: Vec<_> = embedded.iter().map(|scenario| scenario.name.as_str()).collect();
            Fault::new(format!(
                "there is no scenario '{stem}'; there are {}",
                known.join(", ")
            ))
        })?;
        // `batch=1` is that case, not also `batch=1024`.
        let is_case = scenario.cases.iter().any(|case| case.name == *name);
        let is_meant = |case: &&Case| match is_case {
            true => case.name == *name,
            false => case.name.starts_with(name.as_str()),
        };
        let cases: Vec<Case> = scenario.cases.iter().filter(is_meant).cloned().collect();
        if cases.is_empty() {
            let known: Vec<_> = scenario.cases.iter().map(|case| case.name.as_str()).collect();
            return Err(Fault::new(format!(
                "there is no case '{name}'; there are {}",
                known.join(", ")
            )));
        }
        chosen.push((scenario.clone(), cases));
    }
    Ok(chosen)
}

/// Writes JSON and HTML, named by what was asked for.
fn save(findings: &Findings, arguments: &BenchArguments, terminal: &Terminal, tell: bool) -> Result<()> {
    fs::create_dir_all(&arguments.output)?;
    let mut stem: String = arguments.names.join("+");
    stem = stem.replace(
        |letter: char| !(letter.is_alphanumeric() || "-+=.".contains(letter)),
        "-",
    );
    let threads = findings.cases.first().map_or(1, |case| case.threads);
    let path = |kind: &str| arguments.output.join(format!("{stem}-threads={threads}.{kind}"));
    fs::write(path("json"), serde_json::to_string_pretty(findings)?)?;
    fs::write(path("html"), report_html::page(findings))?;
    if tell {
        terminal.message(&format!(
            "wrote {} and {}",
            path("json").display(),
            path("html").display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_scenario_or_the_beginning_of_a_case() {
        let count = |name: &str| choose(&[name.to_owned()], 1).map(|chosen| chosen[0].1.len());
        assert_eq!(count("big-table"), Ok(24));
        assert_eq!(count("big-table/1M/int"), Ok(4));
        assert_eq!(count("big-table/1M/int/hit=100/inner"), Ok(1));
        assert_eq!(count("prepared-latency/batch=1"), Ok(1));
        assert!(count("big").is_err() && count("trades/none").is_err());
    }
}

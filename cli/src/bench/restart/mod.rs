//! `fletching bench restart`: how long a pipeline that joins with a large table takes to join again
//! after it was killed.
//!
//! ```text
//!  users.parquet ─▶ first life: reads the table, joins a row, keeps the table's state ─▶ kill -9
//!                                                                  │
//!                   next life: ◀── the state, a new row ───────────┘   time to its result, N rounds
//! ```
//!
//! A life is `fletching run` as a process of its own. Its time is from before the process starts to
//! the moment when the file with the row's result is there. The row is there before the process is.

mod life;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

use fletching::{Session, checkpoint};

use self::life::{Life, Place};
use self::report::Finding;
use super::data::quoted;
use super::fault::{Fault, Result};
use super::machine::Machine;
use super::rivals::Cache;
use crate::terminal::Terminal;

/// What this scenario is called, and said to be.
pub(super) const NAME: &str = "restart";
pub(super) const TITLE: &str =
    "a pipeline with a table of 10M rows, killed: the time until it joins again, from its checkpoint";

/// Rows of the table, before they are divided by the scale.
const ROWS: u64 = 10_000_000;

/// Changes whenever the table's rows do.
const VERSION: u32 = 1;

/// What is to be run, and how.
pub(super) struct Terms {
    pub(super) rounds: u16,
    /// What numbers of rows are divided by.
    pub(super) scale: u32,
    /// Threads of a life; those of the machine where none are said.
    pub(super) threads: Option<usize>,
    pub(super) output: PathBuf,
    pub(super) is_quiet: bool,
}

/// A row of the stream, and of the table that it meets.
#[derive(Debug, Clone, Copy)]
struct Meeting {
    id: u64,
    number: u64,
}

impl Meeting {
    /// Makes the `id`th, far from the one before.
    fn new(id: u64, rows: u64) -> Self {
        Self {
            id,
            number: id * 7_919_317 % rows,
        }
    }

    /// Returns the key of the table's row: scattered over 32 bits, and no two the same.
    fn key(self) -> u64 {
        self.number * 2_654_435_761 % (1 << 32)
    }
}

/// Says whether a name means this scenario.
pub(super) fn is_meant(name: &str) -> bool {
    name == NAME
}

/// Runs it; says whether all results were right.
///
/// # Errors
/// Fails where the table cannot be made, or a life ends or waits for too long.
pub(super) fn run(terms: &Terms, cache: &Cache, terminal: &Terminal) -> Result<bool> {
    let tell = |what: &str| {
        if !terms.is_quiet {
            terminal.message(what);
        }
    };
    let rows = ROWS / u64::from(terms.scale);
    let table = cache.folder("data")?.join(format!("restart-{rows}-v{VERSION}"));
    if !table.exists() {
        tell(&format!("making a table of {rows} rows"));
        make_table(&table, rows)?;
    }
    let place = Place::new(
        cache.folder(NAME)?.join(format!("run-{}", std::process::id())),
        &table,
        terms.threads,
    )?;
    let measured = measure(&place, rows, terms.rounds, tell);
    // Also after a failure: the state of such a table is half a gigabyte.
    fs::remove_dir_all(&place.folder)?;
    let finding = measured?;
    report::print(&finding)?;
    let path = report::save(&finding, terms.scale, &terms.output)?;
    tell(&format!("wrote {}", path.display()));
    Ok(finding.error.is_none())
}

fn measure(place: &Place, rows: u64, rounds: u16, tell: impl Fn(&str)) -> Result<Finding> {
    let mut meetings = vec![Meeting::new(0, rows)];
    place.send(meetings[0])?;
    tell("first life: reading the table, and keeping its state");
    let mut life = Life::start(place)?;
    let first_seconds = life.wait_for(meetings.len())?;
    life.wait_until("the table's state is kept", || {
        let tables = checkpoint::tables(&place.checkpoints())?;
        Ok(tables.iter().any(|table| table.base.is_some()))
    })?;
    let first_peak_bytes = life.peak_bytes();
    life.kill()?;
    let tables = checkpoint::tables(&place.checkpoints())?;
    let mut finding = Finding {
        machine: Machine::find(),
        rows,
        state_bytes: tables.iter().map(|table| table.bytes).sum(),
        first_seconds,
        first_peak_bytes,
        seconds: Vec::new(),
        peak_bytes: Vec::new(),
        error: None,
    };
    for round in 1..=u64::from(rounds) {
        let meeting = Meeting::new(round, rows);
        meetings.push(meeting);
        place.send(meeting)?;
        let mut life = Life::start(place)?;
        let seconds = life.wait_for(meetings.len())?;
        finding.seconds.push(seconds);
        finding.peak_bytes.push(life.peak_bytes());
        life.kill()?;
        tell(&format!("killed and joining again after {seconds:.2} s"));
    }
    finding.error = wrong_results(place, &meetings)?;
    Ok(finding)
}

/// Says what is wrong with the results of all lives together.
fn wrong_results(place: &Place, meetings: &[Meeting]) -> Result<Option<String>> {
    let mut expected: Vec<String> = meetings
        .iter()
        .map(|meeting| format!("{},{},{}", meeting.id, meeting.key(), meeting.number))
        .collect();
    let mut found = place.results()?;
    expected.sort();
    found.sort();
    Ok((found != expected).then(|| format!("the results are {found:?}, not {expected:?}")))
}

/// Writes the table as Parquet, under another name until it is whole.
fn make_table(folder: &Path, rows: u64) -> Result<()> {
    let unfinished = folder.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    let path = unfinished.join("users.parquet");
    let script = format!(
        "CREATE STREAM source (number BIGINT, ratio DOUBLE, word VARCHAR, money DECIMAL(12,2))
         WITH (connector = 'datagen', rows = {rows}, seed = 1, 'fields.number.kind' = 'sequence',
               'fields.number.start' = '0', 'fields.word.length' = '12', 'fields.ratio.min' = '0',
               'fields.ratio.max' = '1', 'fields.money.min' = '0.00', 'fields.money.max' = '1000000.00');
         CREATE SINK made WITH (path = {}, format = 'parquet') AS
         SELECT number * 2654435761 % 4294967296 AS k, number, ratio, word, money FROM source;",
        quoted(&path.display().to_string())
    );
    let builder = Session::builder().connectors(fletching_connectors::all());
    // One thread, so that the rows come in one order.
    builder.threads(1).build()?.sql(&script)?.collect_batches()?;
    fs::rename(&unfinished, folder).map_err(|error| Fault::from(error).during("making the table"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rows_meet_different_rows_of_the_table() {
        let meetings: Vec<Meeting> = (0..100).map(|id| Meeting::new(id, 1_000_000)).collect();
        assert!(meetings.iter().all(|meeting| meeting.number < 1_000_000));
        let keys: HashSet<u64> = meetings.iter().map(|meeting| meeting.key()).collect();
        assert_eq!(keys.len(), 100);
        assert!(is_meant("restart") && !is_meant("restarts"));
    }
}

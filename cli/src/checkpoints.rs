//! `fletching checkpoints`: looks at what pipelines keep, and removes what is no longer wanted.

use clap::Subcommand;
use fletching::checkpoint::{self, Place, StoredCheckpoint, StoredTable};
use fletching::connector::Position;

use crate::arguments::SessionArguments;
use crate::failure::Failure;
use crate::{figures, opening};

/// What may be done with checkpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointsCommand {
    /// List the checkpoints of each pipeline, the newest first, and the tables that are kept
    List {
        /// What checkpoint.path was set to, or the folder of one pipeline in it
        path: String,
    },
    /// Show what the newest checkpoint of each pipeline holds, or an older one, and what is kept of tables
    Inspect {
        /// What checkpoint.path was set to, or the folder of one pipeline in it
        path: String,

        /// Show the checkpoint of this epoch
        #[arg(long, value_name = "N")]
        epoch: Option<u64>,
    },
    /// Remove old checkpoints
    Prune {
        /// What checkpoint.path was set to, or the folder of one pipeline in it
        path: String,

        /// Keep so many of each pipeline
        #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "all")]
        keep: usize,

        /// Keep none, nor the tables: pipelines begin anew, and tables are read from their sources
        #[arg(long)]
        all: bool,
    },
}

/// Does what is asked for.
pub(crate) fn run(command: &CheckpointsCommand, arguments: &SessionArguments) -> Result<(), Failure> {
    let (CheckpointsCommand::List { path }
    | CheckpointsCommand::Inspect { path, .. }
    | CheckpointsCommand::Prune { path, .. }) = command;
    let session = opening::open(arguments)?;
    opening::apply(&session, arguments, |_| false)?;
    let place = &session
        .checkpoints(path)
        .map_err(|error| Failure::engine(&error, |_| None))?;
    let lines = match command {
        CheckpointsCommand::List { .. } => {
            let (checkpoints, tables) = found(place)?;
            let tables = tables.iter().map(table_line);
            checkpoints.iter().map(line).chain(tables).collect()
        }
        CheckpointsCommand::Inspect { epoch, .. } => inspect(place, *epoch)?,
        CheckpointsCommand::Prune { keep, all, .. } => {
            let keep = if *all { 0 } else { *keep };
            let removed =
                checkpoint::prune(place, keep).map_err(|error| Failure::engine(&error, |_| None))?;
            let mut lines = vec![format!(
                "{} removed",
                figures::counted(removed.len() as u64, "checkpoint")
            )];
            for table in tables(place).iter().filter(|_| *all) {
                let files = table
                    .remove()
                    .map_err(|error| Failure::engine(&error, |_| None))?;
                let files = figures::counted(files as u64, "file");
                lines.push(format!("table {}: {files} removed", table.table));
            }
            lines
        }
    };
    print(&lines)
}

/// Prints lines; a reader that has seen enough ends it quietly.
fn print(lines: &[String]) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            return Err(Failure::pipe_closed());
        }
    }
    Ok(())
}

/// Returns what there is; there must be something.
fn found(place: &Place) -> Result<(Vec<StoredCheckpoint>, Vec<StoredTable>), Failure> {
    let checkpoints = checkpoint::list(place).map_err(|error| Failure::engine(&error, |_| None))?;
    let tables = tables(place);
    if checkpoints.is_empty() && tables.is_empty() {
        return Err(Failure::outside(format!(
            "{}: there are no checkpoints",
            place.storage().place()
        )));
    }
    Ok((checkpoints, tables))
}

/// Returns the tables that are kept; the folder of a single pipeline has none.
fn tables(place: &Place) -> Vec<StoredTable> {
    checkpoint::tables(place).unwrap_or_default()
}

fn table_line(stored: &StoredTable) -> String {
    let what = match stored.base {
        Some(base) => {
            let deltas = figures::counted(stored.deltas as u64, "delta");
            format!("base {base} and {deltas}")
        }
        None => "nothing yet".into(),
    };
    format!("table {}  {} bytes  {what}", stored.table, stored.bytes)
}

fn table_contents(stored: &StoredTable) -> Vec<String> {
    let mut lines = vec![table_line(stored), format!("  folder      {}", stored.place)];
    match stored.contents() {
        Ok(contents) => {
            lines.push(format!("  rows        {}", contents.rows));
            lines.push(format!("  changes     {}", contents.changes));
            lines.extend(contents.positions.iter().map(position_line));
        }
        Err(error) => lines.push(format!("  {error}")),
    }
    lines
}

fn position_line(position: &Position) -> String {
    format!("  position    {} at {}", position.partition, position.place)
}

fn line(stored: &StoredCheckpoint) -> String {
    let what = match &stored.checkpoint {
        Ok(checkpoint) => {
            let rows = figures::counted(checkpoint.counter("rows_out"), "row");
            let end = if checkpoint.is_finished { ", finished" } else { "" };
            format!("{rows} out{end}")
        }
        Err(reason) => format!("damaged: {reason}"),
    };
    format!(
        "{}  epoch {}  {} bytes  {what}",
        stored.pipeline, stored.epoch, stored.bytes
    )
}

fn inspect(place: &Place, epoch: Option<u64>) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let mut seen = Vec::new();
    let (checkpoints, tables) = found(place)?;
    for stored in checkpoints {
        let is_wanted = match epoch {
            Some(epoch) => stored.epoch == epoch,
            None => !seen.contains(&stored.pipeline),
        };
        if is_wanted {
            lines.push(line(&stored));
            lines.push(format!("  file        {}", stored.place));
            lines.extend(contents(&stored));
            seen.push(stored.pipeline);
        }
    }
    if epoch.is_none() {
        lines.extend(tables.iter().flat_map(table_contents));
    }
    match (lines.is_empty(), epoch) {
        (true, Some(epoch)) => Err(Failure::outside(format!(
            "{}: there is no checkpoint of epoch {epoch}",
            place.storage().place()
        ))),
        _ => Ok(lines),
    }
}

fn contents(stored: &StoredCheckpoint) -> Vec<String> {
    let Ok(checkpoint) = &stored.checkpoint else {
        return Vec::new();
    };
    let sql = checkpoint
        .identity
        .sql
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let mut lines = vec![format!("  query       {sql}")];
    for (name, count) in &checkpoint.counters {
        lines.push(format!("  {name:<11} {count}"));
    }
    lines.extend(checkpoint.positions.iter().map(position_line));
    for (partition, time_us) in &checkpoint.watermarks {
        lines.push(format!("  event time  {partition} at {time_us} µs"));
    }
    lines
}

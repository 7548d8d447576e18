//! `fletching checkpoints`: looks at what pipelines keep, and removes what is no longer wanted.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use fletching::checkpoint::{self, StoredCheckpoint};

use crate::failure::Failure;
use crate::figures;

/// What may be done with checkpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointsCommand {
    /// List the checkpoints of each pipeline, the newest first
    List {
        /// What checkpoint.path was set to, or the folder of one pipeline in it
        path: PathBuf,
    },
    /// Show what the newest checkpoint of each pipeline holds, or an older one
    Inspect {
        /// What checkpoint.path was set to, or the folder of one pipeline in it
        path: PathBuf,

        /// Show the checkpoint of this epoch
        #[arg(long, value_name = "N")]
        epoch: Option<u64>,
    },
    /// Remove old checkpoints
    Prune {
        /// What checkpoint.path was set to, or the folder of one pipeline in it
        path: PathBuf,

        /// Keep so many of each pipeline
        #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "all")]
        keep: usize,

        /// Keep none: the pipelines begin anew
        #[arg(long)]
        all: bool,
    },
}

/// Does what is asked for.
pub(crate) fn run(command: &CheckpointsCommand) -> Result<(), Failure> {
    let lines = match command {
        CheckpointsCommand::List { path } => list(path)?.iter().map(line).collect(),
        CheckpointsCommand::Inspect { path, epoch } => inspect(path, *epoch)?,
        CheckpointsCommand::Prune { path, keep, all } => {
            let keep = if *all { 0 } else { *keep };
            let removed = checkpoint::prune(path, keep).map_err(|error| Failure::engine(&error, |_| None))?;
            vec![format!(
                "{} removed",
                figures::counted(removed.len() as u64, "checkpoint")
            )]
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

fn list(path: &Path) -> Result<Vec<StoredCheckpoint>, Failure> {
    let found = checkpoint::list(path).map_err(|error| Failure::engine(&error, |_| None))?;
    if found.is_empty() {
        return Err(Failure::outside(format!(
            "{}: there are no checkpoints",
            path.display()
        )));
    }
    Ok(found)
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

fn inspect(path: &Path, epoch: Option<u64>) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let mut seen = Vec::new();
    for stored in list(path)? {
        let is_wanted = match epoch {
            Some(epoch) => stored.epoch == epoch,
            None => !seen.contains(&stored.pipeline),
        };
        if is_wanted {
            lines.push(line(&stored));
            lines.push(format!("  file        {}", stored.path.display()));
            lines.extend(contents(&stored));
            seen.push(stored.pipeline);
        }
    }
    match (lines.is_empty(), epoch) {
        (true, Some(epoch)) => Err(Failure::outside(format!(
            "{}: there is no checkpoint of epoch {epoch}",
            path.display()
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
    for position in &checkpoint.positions {
        lines.push(format!(
            "  position    {} at {}",
            position.partition, position.place
        ));
    }
    for (partition, time_us) in &checkpoint.watermarks {
        lines.push(format!("  event time  {partition} at {time_us} µs"));
    }
    lines
}

//! What a check of joins found: rows for a reader, and warnings for what looks wrong.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use fletching_kernels::JoinKind;
use fletching_planner::LookupArm;

use super::keys::{KeySample, TableKeys};
use crate::error::Result;
use crate::session::rows::Rows;

/// A key that so large a share of the rows has is worth a warning.
const HOT_SHARE: f64 = 0.5;

/// How many examples are given.
const EXAMPLES_MAX: usize = 3;

/// Findings in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Findings {
    rows: Vec<[String; 4]>,
    warnings: Vec<String>,
}

impl Findings {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        self.warnings.iter().cloned()
    }

    /// Returns the findings as rows: join, check, value, note.
    pub(super) fn rows(&self) -> Result<Rows> {
        let names = ["join", "check", "value", "note"];
        let column = |at: usize| -> ArrayRef {
            let values = self.rows.iter().map(|row| Some(row[at].as_str()));
            Arc::new(values.collect::<StringArray>())
        };
        let columns = names.into_iter().enumerate().map(|(at, name)| (name, column(at)));
        let batch = RecordBatch::try_from_iter(columns)?;
        Ok(Rows::ready(batch.schema(), vec![batch]))
    }

    fn add(&mut self, join: &str, check: &str, value: impl ToString, note: impl Into<String>) {
        self.rows.push([
            join.to_string(),
            check.to_string(),
            value.to_string(),
            note.into(),
        ]);
    }

    fn warn(&mut self, join: &str, message: &str) {
        self.warnings.push(format!("{join}: {message}"));
    }

    /// Notes joins that are no lookups.
    pub(super) fn add_unchecked(&mut self, joins: usize) {
        let note = "joined with no table by key: nothing to look up";
        self.add("(others)", "not checked", joins, note);
    }

    /// Compares the keys of a sample with a table's.
    pub(super) fn add_keys(&mut self, join: &str, arm: &LookupArm, sample: &KeySample, table: &TableKeys) {
        let rows = sample.rows();
        self.add(join, "sampled rows", rows, "of the stream side");
        self.add(join, "table rows", table.rows, "");
        let (found, missing): (Vec<&str>, Vec<&str>) = sample.iter().partition(|key| table.rows_of(key) > 0);
        let condition = if arm.residual.is_some() {
            "; further conditions are not looked at"
        } else {
            ""
        };
        let note = format!("{} of {rows} rows find their key{condition}", found.len());
        self.add(join, "match rate", share(found.len(), rows), note);
        self.add(join, "null keys", sample.nulls(), "NULL matches nothing");
        self.add(join, "missing keys", missing.len(), examples(&missing));
        self.warn_of_misses(join, arm, sample, missing.len(), &examples(&missing));
        for (likeness, count, ours, theirs) in table.alike(&missing) {
            let word = likeness.word();
            let note = format!("'{ours}' would be '{theirs}'");
            let rows = if count == 1 { "row" } else { "rows" };
            self.warn(
                join,
                &format!("{count} {rows} more would match after {word}: for example {note} of the table"),
            );
            self.add(join, &format!("match after {word}"), count, note);
        }
        self.add_fan_out(join, &found, table);
        if let Some((key, count)) = sample.hottest() {
            let part = share(count, rows);
            self.add(
                join,
                "hottest key",
                part.clone(),
                format!("{count} rows have '{key}'"),
            );
            if rows > 1 && count as f64 / rows as f64 > HOT_SHARE {
                self.warn(join, &format!("{part} of the rows have one key, '{key}'"));
            }
        }
    }

    /// Warns of rows that are lost or padded without a word.
    fn warn_of_misses(
        &mut self,
        join: &str,
        arm: &LookupArm,
        sample: &KeySample,
        missing: usize,
        examples: &str,
    ) {
        let rows = missing + sample.nulls();
        if rows == 0 || arm.miss.is_some() {
            return;
        }
        let what = match arm.kind {
            JoinKind::Inner => "are left out",
            JoinKind::Left => "get NULL for every column of the table",
            _ => return,
        };
        let of = share(rows, sample.rows());
        let mut why = Vec::new();
        if missing > 0 {
            why.push(format!("{missing} for a key that is missing, {examples}"));
        }
        if sample.nulls() > 0 {
            why.push(format!("{} for a key that is NULL", sample.nulls()));
        }
        let why = why.join(", and ");
        self.warn(
            join,
            &format!("{of} of the rows {what}, {why}; say on_miss to choose"),
        );
    }

    fn add_fan_out(&mut self, join: &str, found: &[&str], table: &TableKeys) {
        let (duplicates, most) = table.duplicates();
        let note = most.map_or_else(String::new, |(key, rows)| format!("'{key}' has {rows} rows"));
        self.add(join, "duplicate table keys", duplicates, note.clone());
        let joined: usize = found.iter().map(|key| table.rows_of(key)).sum();
        let fan_out = if found.is_empty() {
            "-".to_string()
        } else {
            format!("{:.2}", joined as f64 / found.len() as f64)
        };
        self.add(
            join,
            "fan-out",
            &fan_out,
            "rows of the table for a row that finds its key",
        );
        if duplicates > 0 {
            let rows = if duplicates == 1 { "key has" } else { "keys have" };
            self.warn(
                join,
                &format!("{duplicates} {rows} several rows in the table, {note}: a row of the stream gives one for each"),
            );
        }
    }

    /// Compares how new both sides are; times are in microseconds.
    pub(super) fn add_age(&mut self, join: &str, stream: Option<i64>, table: Option<i64>, loaded: i64) {
        match (stream, table) {
            (Some(stream), Some(table)) => {
                let behind = stream.saturating_sub(table);
                let value = format!("{:.0} s", behind as f64 / 1e6);
                let note = "the newest time of the stream's rows minus the table's";
                self.add(join, "table behind stream", value, note);
            }
            _ => {
                let age = crate::clock::now_us().saturating_sub(loaded);
                let value = format!("{:.0} s", age as f64 / 1e6);
                self.add(
                    join,
                    "table age",
                    value,
                    "since it was loaded; no times to compare",
                );
            }
        }
    }
}

fn share(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "-".to_string();
    }
    format!("{:.1} %", part as f64 * 100.0 / whole as f64)
}

/// Names a few distinct keys.
fn examples(keys: &[&str]) -> String {
    let mut few: Vec<&str> = Vec::new();
    for key in keys {
        if few.len() < EXAMPLES_MAX && !few.contains(key) {
            few.push(key);
        }
    }
    if few.is_empty() {
        return String::new();
    }
    format!("for example '{}'", few.join("', '"))
}

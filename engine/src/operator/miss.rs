//! What is done with a row that a table has no match for: the part of a lookup's arm that
//! decides, counts, and tells of it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use fletching_kernels::{JoinKind, NO_ROW, RowId};
use fletching_planner::{MissPolicy, OnMiss};

use super::as_of::too_old;
use super::counters::{ArmCounters, LookupCounts};
use super::lookup_join::ArmSpec;
use super::pinned::PinnedArm;
use crate::error::{Error, Result};
use crate::table::Table;

/// An arm's policy and its counters.
#[derive(Debug, Clone)]
pub(crate) struct ArmMiss {
    pub(crate) on_miss: Option<OnMiss>,
    pub(crate) counters: Arc<ArmCounters>,
}

impl ArmMiss {
    pub(crate) fn new(on_miss: Option<OnMiss>) -> Self {
        Self {
            on_miss,
            counters: Arc::default(),
        }
    }

    /// Returns what is done with a row that waits no longer; none for SQL's own answer.
    pub(crate) fn settled(&self) -> Option<MissPolicy> {
        self.on_miss.and_then(OnMiss::settled)
    }

    /// Says whether rows without a match are to be seen one by one.
    pub(super) fn watches(&self, kind: JoinKind, has_residual: bool) -> bool {
        self.on_miss.is_some() || kind == JoinKind::Left && has_residual
    }

    /// Returns the counts of an arm.
    pub(super) fn counts(&self, table: &str, kind: JoinKind, has_residual: bool) -> LookupCounts {
        let is_watched = self.watches(kind, has_residual);
        self.counters.counts(table, self.on_miss, kind, is_watched)
    }

    /// Puts the default value of a table's column where there is no row.
    pub(super) fn fill(
        &self,
        table: Option<&Arc<Table>>,
        column: usize,
        rows: &[RowId],
        gathered: ArrayRef,
    ) -> Result<ArrayRef> {
        let Some(table) = table.filter(|_| self.settled() == Some(MissPolicy::Default)) else {
            return Ok(gathered);
        };
        let defaults = &table.options().miss.defaults;
        let Some(Some(default)) = defaults.get(column) else {
            return Ok(gathered);
        };
        if !rows.contains(&NO_ROW) {
            return Ok(gathered);
        }
        let is_missing: BooleanArray = rows.iter().map(|row| Some(*row == NO_ROW)).collect();
        Ok(zip(&is_missing, &Scalar::new(Arc::clone(default)), &gathered)?)
    }
}

/// Counts the rows of which some key is NULL. Free where no column has NULLs.
pub(super) fn null_keys(keys: &[ArrayRef]) -> usize {
    union_nulls(keys).map_or(0, |nulls| nulls.null_count())
}

/// Says which rows have no NULL in any of the columns; nothing where none has.
pub(super) fn union_nulls(keys: &[ArrayRef]) -> Option<NullBuffer> {
    let mut nulls: Option<NullBuffer> = None;
    for key in keys.iter().filter(|key| key.null_count() > 0) {
        nulls = NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref());
    }
    nulls
}

/// Rows without a match, as people are told of them: a text for each.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// The keys, see [`key_texts`].
    pub(super) keys: Vec<String>,
    /// Why there is no match.
    pub(super) reasons: Vec<&'static str>,
    /// The rows as JSON.
    pub(super) rows: Vec<String>,
}

/// Why a row has no match, where it is none of the others.
const NO_MATCH: &str = "no match";
const NULL_KEY: &str = "NULL key";
pub(super) const OLDER_THAN_RETENTION: &str = "older than the retention";

impl Missed {
    /// Tells of rows by the keys they were looked up with.
    pub(super) fn new(
        arm: &ArmSpec,
        table: &PinnedArm,
        keys: &[ArrayRef],
        rows: &RecordBatch,
    ) -> Result<Self> {
        let nulls = union_nulls(counted_nulls(arm, keys));
        let old = too_old(arm, table, keys)?;
        let reason = |row: usize| {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                NULL_KEY
            } else if old.as_ref().is_some_and(|old| old.value(row)) {
                OLDER_THAN_RETENTION
            } else {
                NO_MATCH
            }
        };
        Ok(Self {
            keys: key_texts(&arm.key.names(), arm.as_of.is_some(), keys)?,
            reasons: (0..rows.num_rows()).map(reason).collect(),
            rows: row_texts(rows)?,
        })
    }
}

/// Returns those of an arm's key columns in which a NULL matches nothing; the time, which is the
/// last one of an as-of arm, always is.
pub(super) fn counted_nulls<'a>(arm: &ArmSpec, keys: &'a [ArrayRef]) -> &'a [ArrayRef] {
    if !arm.key.null_equals_null() {
        return keys;
    }
    let times = usize::from(arm.as_of.is_some()).min(keys.len());
    &keys[keys.len() - times..]
}

/// Writes keys as `user_id = 7, asset_class = EQUITY`, a text for each row; where the last of them
/// is a time, as `symbol = A as of 17`.
fn key_texts(names: &[String], has_time: bool, keys: &[ArrayRef]) -> Result<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL");
    let columns = keys
        .iter()
        .map(|key| ArrayFormatter::try_new(key.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = keys.first().map_or(0, |key| key.len());
    let text = |row: usize| {
        let pairs = names.iter().zip(&columns);
        let pairs = pairs.map(|(name, column)| format!("{name} = {}", column.value(row)));
        let mut text = pairs.collect::<Vec<_>>().join(", ");
        if let Some(time) = columns.last().filter(|_| has_time) {
            let space = if text.is_empty() { "" } else { " " };
            text.push_str(&format!("{space}as of {}", time.value(row)));
        }
        text
    };
    Ok((0..rows).map(text).collect())
}

/// Writes rows as JSON objects, a text for each; NULLs are written out.
fn row_texts(rows: &RecordBatch) -> Result<Vec<String>> {
    if rows.num_columns() == 0 {
        return Ok(vec!["{}".to_string(); rows.num_rows()]);
    }
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    let text =
        String::from_utf8(writer.into_inner()).map_err(|_| Error::internal("a row as JSON is no UTF-8"))?;
    // A line break in a value is written as \n.
    let lines: Vec<String> = text.lines().map(str::to_string).collect();
    if lines.len() == rows.num_rows() {
        Ok(lines)
    } else {
        Err(Error::internal("a row as JSON is not one line"))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn keys_and_rows_are_told_in_words() {
        let id: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let name: ArrayRef = Arc::new(StringArray::from(vec!["a\nb", "c"]));
        assert_eq!(null_keys(&[Arc::clone(&id), Arc::clone(&name)]), 1);
        let both = [Arc::clone(&id), Arc::clone(&name)];
        let keys = key_texts(&["id".into(), "name".into()], false, &both).unwrap();
        assert_eq!(keys[1], "id = NULL, name = c");
        let keys = key_texts(&["name".into()], true, &[Arc::clone(&name), Arc::clone(&id)]).unwrap();
        assert_eq!(keys[1], "name = c as of NULL");
        assert_eq!(key_texts(&[], true, &[Arc::clone(&id)]).unwrap()[0], "as of 7");
        let rows = RecordBatch::try_from_iter([("id", id), ("name", name)]).unwrap();
        assert_eq!(
            row_texts(&rows).unwrap(),
            ["{\"id\":7,\"name\":\"a\\nb\"}", "{\"id\":null,\"name\":\"c\"}"]
        );
    }
}

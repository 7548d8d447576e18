//! What happens to records that cannot be decoded: the run ends, or they are left out and counted,
//! or they go to the dead letters.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Field;
use fletching::connector::{Options, SourceReport};
use fletching::{Error, RecordPlace, Result};

use super::Picked;
use super::buffer::Span;
use super::values::BadCell;
use crate::file::changes::Fault;
use crate::file::columns::batch_of;
use crate::file::dead_letters::DeadLetters;
use crate::spelling::type_name;

/// The option `on_bad_row`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnBadRow {
    Error,
    Skip,
    DeadLetter(PathBuf),
}

impl OnBadRow {
    /// Reads the options `on_bad_row` and `dead_letter.path`.
    pub(crate) fn from_options(options: &Options) -> Result<Self> {
        let policy = match options.choice("on_bad_row", &["error", "skip", "dead_letter"])? {
            Some(1) => Self::Skip,
            Some(2) => {
                let path = options.required("dead_letter.path", "dead/rows.ndjson")?;
                return Ok(Self::DeadLetter(PathBuf::from(path)));
            }
            _ => Self::Error,
        };
        if options.text("dead_letter.path").is_some() {
            let hint = "add on_bad_row = 'dead_letter'".to_owned();
            return Err(options.bad_value("dead_letter.path", "nothing would go there", Some(hint)));
        }
        Ok(policy)
    }
}

/// A record that cannot be decoded.
#[derive(Debug, Clone)]
pub(super) struct BadRow {
    /// Its place among the batch's records.
    pub(super) record: usize,
    /// The column at fault, where one is.
    pub(super) column: Option<String>,
    /// What was expected and what was found.
    pub(super) message: String,
    /// How to mend it, besides leaving it out.
    pub(super) hint: Option<&'static str>,
    /// Its bytes, where the batch's data no longer holds them.
    pub(super) raw: Option<Vec<u8>>,
}

impl BadRow {
    pub(super) fn new(record: usize, message: impl Into<String>) -> Self {
        Self {
            record,
            column: None,
            message: message.into(),
            hint: None,
            raw: None,
        }
    }
}

/// Deals with the bad rows of one file.
pub(super) struct BadRowDesk {
    pub(super) policy: OnBadRow,
    pub(super) origin: String,
    pub(super) report: Arc<SourceReport>,
    pub(super) letters: Option<Arc<DeadLetters>>,
}

impl BadRowDesk {
    /// Applies the policy and returns which records stay; `None` where all do.
    pub(super) fn settle(
        &self,
        mut bad: Vec<BadRow>,
        records: &[Span],
        data: &[u8],
    ) -> Result<Option<BooleanArray>> {
        if bad.is_empty() {
            return Ok(None);
        }
        bad.sort_by_key(|row| row.record);
        bad.dedup_by_key(|row| row.record);
        let mut stays = vec![true; records.len()];
        for row in bad {
            let Some(span) = records.get(row.record) else {
                return Err(Error::internal("a bad row is not of its batch"));
            };
            stays[row.record] = false;
            let place = RecordPlace {
                origin: self.origin.clone(),
                line: Some(span.line),
                row: None,
                column: row.column,
            };
            match &self.policy {
                OnBadRow::Error => {
                    let skip = "set on_bad_row = 'skip'";
                    let hint = match row.hint {
                        Some(hint) => format!("{hint}, or {skip}"),
                        None => format!("mend the line, or {skip}"),
                    };
                    return Err(Error::Record {
                        place,
                        message: row.message,
                        hint: Some(hint),
                    });
                }
                OnBadRow::Skip | OnBadRow::DeadLetter(_) => {
                    if let Some(letters) = &self.letters {
                        let raw = row.raw.as_deref().unwrap_or(&data[span.start..span.end]);
                        letters.add(&place, &row.message, raw)?;
                    }
                    self.report.add_bad_row(|| format!("{place}: {}", row.message));
                }
            }
        }
        Ok(Some(BooleanArray::from(stays)))
    }
}

/// How much of a value a message shows.
const SHOWN_CHARS: usize = 60;

/// Quotes a value for a message, cut where it is long.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => format!("'{text}'"),
        Some((cut, _)) => format!("'{}…'", &text[..cut]),
    }
}

/// Makes a batch of the rows that stay.
pub(super) fn finish(
    picked: &Picked,
    columns: Vec<ArrayRef>,
    rows: usize,
    stays: Option<&BooleanArray>,
) -> Result<RecordBatch> {
    let Some(stays) = stays else {
        return batch_of(&picked.output_schema, columns, rows);
    };
    let batch = batch_of(&picked.nullable_output, columns, rows)?;
    let batch = filter_record_batch(&batch, stays)
        .map_err(|error| Error::internal(format!("cannot leave rows out: {error}")))?;
    batch_of(
        &picked.output_schema,
        batch.columns().to_vec(),
        stays.true_count(),
    )
}

/// Says in words what is wrong with a cell.
pub(crate) fn cell_reason(field: &Field, cell: &BadCell) -> String {
    let (expected, found) = (type_name(field.data_type()), shown(&cell.found));
    format!("expected {expected}, found {found}{}", cell.reason)
}

/// Says what is wrong with a cell.
pub(super) fn cell_row(field: &Field, cell: BadCell) -> BadRow {
    let message = cell_reason(field, &cell);
    let hint = Some("declare the column as VARCHAR");
    BadRow {
        column: Some(field.name().clone()),
        hint,
        ..BadRow::new(cell.row, message)
    }
}

/// Says what is wrong with a record of a changelog.
pub(super) fn fault_of(fault: Fault) -> BadRow {
    BadRow {
        column: Some(fault.column),
        ..BadRow::new(fault.row, fault.message)
    }
}

/// Finds the rows that are NULL where the column is declared NOT NULL, but for rows known as bad.
pub(super) fn null_rows(field: &Field, column: &dyn Array, bad: &[BadRow]) -> Vec<BadRow> {
    if field.is_nullable() || column.logical_null_count() == 0 {
        return Vec::new();
    }
    let known: HashSet<usize> = bad.iter().map(|row| row.record).collect();
    (0..column.len())
        .filter(|row| column.is_null(*row) && !known.contains(row))
        .map(|row| BadRow {
            column: Some(field.name().clone()),
            hint: Some("leave out NOT NULL"),
            ..BadRow::new(row, "found NULL, but the column is declared NOT NULL")
        })
        .collect()
}

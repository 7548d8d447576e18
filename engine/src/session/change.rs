//! `DELETE` and `UPDATE`: rows found by a query, then changed by key, or the table rewritten.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use fletching_planner::{ChangeKind, TableChange};

use super::rows::{Outcome, Summary};
use super::{Entry, Session, StatementCatalog};
use crate::error::{Error, Result};
use crate::table::{Table, TableOrigin};

impl Session {
    pub(super) fn change(&self, change: &TableChange, catalog: &StatementCatalog) -> Result<Outcome> {
        let target = &change.target;
        let Some(Entry::Table { table, .. }) = catalog.registry.get(target) else {
            return Err(Error::internal(format!("{target} is no table")));
        };
        let word = match change.kind {
            ChangeKind::Delete => "DELETE",
            ChangeKind::Update => "UPDATE",
        };
        check_owned(table, word)?;
        // What is read must still be so when it is changed.
        let _writing = table.lock_for_writing();
        let rows = self.collect(&change.rows, catalog)?;
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if count > 0 && table.is_upsert() {
            change_by_key(table, change, &rows)?;
        } else if count > 0 {
            self.rewrite(table, change, rows, catalog)?;
        }
        let done = match (change.kind, count) {
            (ChangeKind::Delete, 1) => "row deleted",
            (ChangeKind::Delete, _) => "rows deleted",
            (ChangeKind::Update, 1) => "row updated",
            (ChangeKind::Update, _) => "rows updated",
        };
        Ok(Outcome::Done(Summary {
            message: format!("table {target}: {count} {done}"),
            rows: Some(count as u64),
        }))
    }

    /// Puts the rows that stay, and those that have changed, in the place of all.
    fn rewrite(
        &self,
        table: &Table,
        change: &TableChange,
        rows: Vec<RecordBatch>,
        catalog: &StatementCatalog,
    ) -> Result<()> {
        let Some(kept) = &change.kept else {
            return Err(Error::Option {
                subject: format!("table {}", change.target),
                message: "its rows have no unique key, and this condition does not say which rows stay"
                    .into(),
                hint: Some(
                    "create the table with a PRIMARY KEY and changelog = 'upsert', or write the condition \
                     without a subquery"
                        .into(),
                ),
                location: None,
            });
        };
        let mut all = self.collect(kept, catalog)?;
        if change.kind == ChangeKind::Update {
            all.extend(rows);
        }
        table.rewrite(all)?;
        self.note_duplicate_keys(table)
    }
}

/// Refuses a table that is filled by its connector.
pub(super) fn check_owned(table: &Table, word: &str) -> Result<()> {
    if table.derivation().is_some() {
        return Err(Error::Option {
            subject: format!("table {}", table.name()),
            message: format!("it is kept current by its query: {word} would be lost when it changes again"),
            hint: Some(
                "change what it is made from, or create it WITH (refresh = 'once') to have a copy that stays"
                    .into(),
            ),
            location: None,
        });
    }
    if matches!(table.origin(), TableOrigin::Memory) {
        return Ok(());
    }
    Err(Error::Option {
        subject: format!("table {}", table.name()),
        message: format!("it is filled by its connector: {word} would be lost when it is loaded again"),
        hint: Some("create the table without a connector, or from it with CREATE TABLE … WITH (refresh = 'once') AS SELECT".into()),
        location: None,
    })
}

/// Deletes or replaces rows of a table whose rows are unique by key.
fn change_by_key(table: &Table, change: &TableChange, rows: &[RecordBatch]) -> Result<()> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let all = concat_batches(first.schema_ref(), rows)?;
    match change.kind {
        ChangeKind::Delete => {
            let keys = table.primary_key().iter();
            let keys: Vec<ArrayRef> = keys.map(|at| Arc::clone(all.column(*at))).collect();
            table.delete(&keys)
        }
        ChangeKind::Update if change.sets_key => Err(Error::Option {
            subject: format!("table {}", change.target),
            message: "UPDATE cannot set a column of the PRIMARY KEY, by which rows are known".into(),
            hint: Some("insert the rows under their new keys, and delete the old ones".into()),
            location: None,
        }),
        ChangeKind::Update => table.update(&all),
    }
}

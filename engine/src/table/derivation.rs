//! Tables that a query makes: the hook by which they are kept current.
//!
//! ```text
//!   made from tables     pulled: whoever reads it has it brought to the versions he reads
//!   made from a stream   pushed: a pipeline changes it as records come
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Pins, Table, TableSnapshot, TableState};
use crate::error::{Error, Result};

/// What keeps a table current that a query makes.
pub(crate) trait Derivation: fmt::Debug + Send + Sync {
    /// Returns the tables that the query reads.
    fn inputs(&self) -> &[Arc<Table>];

    /// Says whether a pipeline pushes the rows, so that the version published last is the current
    /// one.
    fn is_pushed(&self) -> bool;

    /// Brings a table to the versions of its inputs that are pinned and returns it as it is then;
    /// none where it is ahead of them already.
    fn follow(&self, table: &Table, pins: &Pins) -> Result<Option<Arc<TableSnapshot>>>;

    /// Says whether an input has changed since.
    fn is_stale(&self) -> bool;

    /// Ends what runs for the table, which is dropped.
    fn stop(&self) {}
}

/// How often a reader tries to have a table at the versions that he has pinned, before he takes it
/// at the newer ones that other readers have brought it to.
const TRIES_MAX: usize = 64;

impl Table {
    /// Makes it a table that follows from a query.
    pub(crate) fn derived_by(mut self, derivation: Arc<dyn Derivation>) -> Self {
        self.derivation = Some(derivation);
        self
    }

    /// Returns what keeps it current, where a query makes it.
    pub(crate) fn derivation(&self) -> Option<&Arc<dyn Derivation>> {
        self.derivation.as_ref()
    }

    /// Says whether its rows are computed when it is read.
    pub(crate) fn is_pulled(&self) -> bool {
        let derivation = self.derivation.as_ref();
        derivation.is_some_and(|derivation| !derivation.is_pushed())
    }

    /// Returns the tables that its rows are computed from when it is read.
    pub(super) fn pulled_from(&self) -> &[Arc<Table>] {
        match &self.derivation {
            Some(derivation) if self.is_pulled() => derivation.inputs(),
            _ => &[],
        }
    }

    /// Brings it to the current versions of its inputs.
    pub(super) fn derived(&self, derivation: &dyn Derivation) -> Result<Arc<TableSnapshot>> {
        if !self.is_pulled() {
            return match self.state() {
                TableState::Loading => Err(Error::NotReady {
                    table: self.name.clone(),
                    message: "its stream is not read to where it stood when the table was created".into(),
                }),
                _ => self.published(),
            };
        }
        self.check_inputs()?;
        for _ in 0..TRIES_MAX {
            if let Some(snapshot) = derivation.follow(self, &Pins::take(derivation.inputs())?)? {
                return Ok(snapshot);
            }
        }
        self.published()
    }

    /// Says whether a version is the one that a reader would be given now.
    pub(crate) fn is_current(&self, version: u64) -> bool {
        self.version() == version && !self.is_stale()
    }

    /// Says whether it is made from tables that have changed since.
    pub(crate) fn is_stale(&self) -> bool {
        let derivation = self.derivation.as_ref();
        derivation.is_some_and(|derivation| derivation.is_stale() || self.check_inputs().is_err())
    }

    /// Fails where a table that it is made from is no longer the one of its name.
    pub(super) fn check_inputs(&self) -> Result<()> {
        let mut inputs = self.pulled_from().iter();
        let Some(gone) = inputs.find(|input| input.is_retired.load(Relaxed)) else {
            return Ok(());
        };
        Err(Error::Option {
            subject: format!("table {}", self.name),
            message: format!(
                "table {}, which it is made from, was replaced or dropped",
                gone.name
            ),
            hint: Some(format!(
                "create it again, with CREATE OR REPLACE TABLE {} AS …",
                self.name
            )),
            location: None,
        })
    }

    /// Fails where rows that somebody else puts would be lost.
    pub(super) fn check_underived(&self) -> Result<()> {
        match &self.derivation {
            None => Ok(()),
            Some(_) => Err(Error::Batch {
                message: format!(
                    "table {} is kept current by its query: rows put by hand would be lost; change what it \
                     is made from, or create it WITH (refresh = 'once')",
                    self.name
                ),
            }),
        }
    }

    /// Is told that its name is another table's now, or nobody's.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Relaxed);
        if let Some(derivation) = &self.derivation {
            derivation.stop();
        }
    }

    /// Returns the version published last, for what keeps it current.
    pub(crate) fn as_published(&self) -> Result<Arc<TableSnapshot>> {
        self.published()
    }

    /// Notes whether what keeps it current can, and tells those who wait for it.
    pub(crate) fn set_state(&self, state: TableState) {
        if self.readiness.set_state(state) {
            self.tell();
        }
    }

    /// Returns the keys that changed after one version and up to another, where that is known.
    pub(crate) fn changed_keys(&self, after: u64, upto: u64) -> Option<Vec<Vec<arrow::array::ArrayRef>>> {
        self.changed_keys.between(after, upto)
    }
}

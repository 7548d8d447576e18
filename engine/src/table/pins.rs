//! Pins: one version of each of several tables, all of one moment.
//!
//! ```text
//!   tables that change by themselves    read twice: where nothing moved in between, what was read
//!                                       was there at once, at the moment between the two
//!   tables made from them               brought to exactly these versions, those first that others
//!                                       are made from
//! ```
//!
//! So whatever a statement reads belongs together: a table and a sum over it agree. (The double
//! collect of Afek et al., "Atomic snapshots of shared memory", JACM 1993: version numbers only grow.)

use std::sync::Arc;

use super::{Table, TableSnapshot};
use crate::error::Result;

/// How often versions are read again because writers were faster. A writer takes microseconds for a
/// commit, a look at the versions nanoseconds: it is rarely more than twice.
const TRIES_MAX: usize = 1000;

/// The versions of tables that belong together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins(Vec<(Arc<Table>, Arc<TableSnapshot>)>);

impl Pins {
    /// Takes the current versions of tables, and of those that they are made from.
    ///
    /// # Errors
    /// Fails where a table is not loaded, or the query of one fails.
    pub(crate) fn take(tables: &[Arc<Table>]) -> Result<Self> {
        let mut order = Vec::with_capacity(tables.len());
        for table in tables {
            add(table, &mut order)?;
        }
        for _ in 0..TRIES_MAX {
            if let Some(pins) = Self::try_take(&order)? {
                return Ok(pins);
            }
        }
        // Each by itself is whole, if not all of one moment.
        let pin = |table: Arc<Table>| {
            let snapshot = table.published()?;
            Ok((table, snapshot))
        };
        order.into_iter().map(pin).collect::<Result<_>>().map(Self)
    }

    fn try_take(order: &[Arc<Table>]) -> Result<Option<Self>> {
        let mut pins = Self(Vec::with_capacity(order.len()));
        let is_base = |table: &&Arc<Table>| table.pulled_from().is_empty();
        for table in order.iter().filter(is_base) {
            pins.0.push((Arc::clone(table), table.published()?));
        }
        if order.len() == 1 && pins.0.len() == 1 {
            return Ok(Some(pins));
        }
        let has_moved = |(table, snapshot): &(Arc<Table>, Arc<TableSnapshot>)| {
            let now = table.snapshot.read();
            !Arc::ptr_eq(&now, snapshot)
        };
        if pins.0.iter().any(has_moved) {
            return Ok(None);
        }
        for table in order.iter().filter(|table| !is_base(table)) {
            let Some(derivation) = table.derivation() else {
                continue;
            };
            match derivation.follow(table, &pins)? {
                Some(snapshot) => pins.0.push((Arc::clone(table), snapshot)),
                None => return Ok(None),
            }
        }
        Ok(Some(pins))
    }

    /// Returns the version of a table; none where it is not among them.
    pub(crate) fn get(&self, table: &Table) -> Option<&Arc<TableSnapshot>> {
        let mut pins = self.0.iter();
        pins.find(|(pinned, _)| std::ptr::eq(Arc::as_ptr(pinned), table))
            .map(|(_, snapshot)| snapshot)
    }

    /// Says whether all of some tables are among them.
    pub(crate) fn hold(&self, tables: &[Arc<Table>]) -> bool {
        tables.iter().all(|table| self.get(table).is_some())
    }
}

/// Adds a table, after those that it is made from.
fn add(table: &Arc<Table>, order: &mut Vec<Arc<Table>>) -> Result<()> {
    if order.iter().any(|there| Arc::ptr_eq(there, table)) {
        return Ok(());
    }
    table.check_inputs()?;
    for input in table.pulled_from() {
        add(input, order)?;
    }
    order.push(Arc::clone(table));
    Ok(())
}

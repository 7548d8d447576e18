//! Row-wise copies of a table's columns, which lookups gather from: made when a query needs one,
//! shared by those that need the same, gone with the last of them.

use std::hash::Hash;
use std::sync::{Arc, Weak};

use arrow::array::ArrayRef;
use fletching_kernels::{ClusteredRows, Interleaved};
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::build::build;
use super::snapshot::{KeyLabel, KeySpec, TableSnapshot};
use crate::error::{Error, Result};

/// From this many bytes of gathered columns on, they are copied: what a core's second-level cache
/// holds is gathered as fast from columns, without a copy.
const COPY_BYTES_MIN: usize = 1 << 20;

/// A copy, for as long as a query uses it.
type CopySlot<T> = Arc<Mutex<Weak<T>>>;

/// Copies by what they are of.
type CopyMap<K, T> = Mutex<HashMap<K, CopySlot<T>>>;

/// The copies of one version of a table.
#[derive(Default)]
pub(super) struct Copies {
    /// By columns.
    interleaved: CopyMap<Vec<usize>, Interleaved>,
    /// By key and columns.
    clustered: CopyMap<(KeyLabel, Vec<usize>), ClusteredRows>,
}

impl Copies {
    /// Returns the bytes of those that are in use; one that is being made does not count yet.
    pub(super) fn heap_bytes(&self) -> usize {
        in_use(&self.interleaved, Interleaved::heap_bytes)
            + in_use(&self.clustered, ClusteredRows::heap_bytes)
    }
}

impl TableSnapshot {
    /// Returns those of some columns, ascending, that are worth interleaving; none for less than
    /// two, or for few rows.
    pub(crate) fn worth_interleaving(&self, columns: impl Iterator<Item = usize>) -> Vec<usize> {
        let (columns, bytes) = self.that_interleave(columns);
        if columns.len() < 2 || bytes < COPY_BYTES_MIN {
            return Vec::new();
        }
        columns
    }

    /// Returns those of some columns that can be interleaved, ascending, and their bytes.
    fn that_interleave(&self, columns: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
        let value_bytes = |&column: &usize| Interleaved::value_bytes(self.schema().field(column).data_type());
        let mut columns: Vec<usize> = columns.filter(|column| value_bytes(column).is_some()).collect();
        columns.sort_unstable();
        columns.dedup();
        let row_bytes: usize = columns.iter().filter_map(value_bytes).sum();
        (columns, self.row_count().saturating_mul(row_bytes))
    }

    /// Returns columns interleaved: the copy that another query uses, or a new one, made by at most
    /// so many threads.
    pub(crate) fn interleaved(&self, columns: &[usize], threads: usize) -> Result<Arc<Interleaved>> {
        let made = copy_once(&self.copies.interleaved, columns.to_vec(), || {
            let columns = self.columns(columns)?;
            let made = build(self.row_count(), threads, |parallel| {
                Ok(Interleaved::new(&columns, parallel)?)
            })?;
            Ok(Some(made))
        })?;
        made.ok_or_else(|| Error::internal("columns that are not interleaved"))
    }

    /// Says whether there are columns that rows in the order of a key could carry, and many rows.
    pub(crate) fn is_worth_clustering(&self, columns: &[usize]) -> bool {
        let (columns, bytes) = self.that_interleave(columns.iter().copied());
        !columns.is_empty() && bytes >= COPY_BYTES_MIN
    }

    /// Returns rows clustered by a key, with those of some columns that they carry: the copy that
    /// another query uses, or a new one. Nothing where that gains nothing: for few rows, and where the index is dense or its keys are long.
    pub(crate) fn clustered(
        &self,
        key: &KeySpec,
        columns: &[usize],
        threads: usize,
    ) -> Result<Option<(Arc<ClusteredRows>, Vec<usize>)>> {
        if !self.is_worth_clustering(columns) {
            return Ok(None);
        }
        let (columns, _) = self.that_interleave(columns.iter().copied());
        let slot = (key.label.clone(), columns.clone());
        let made = copy_once(&self.copies.clustered, slot, || {
            let index = self.index(key, threads)?;
            let keys = self.evaluate(&key.expressions)?;
            let columns = self.columns(&columns)?;
            Ok(ClusteredRows::new(&index, &keys, &columns)?)
        })?;
        Ok(made.map(|made| (made, columns)))
    }

    fn columns(&self, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let rows = self.rows()?;
        Ok(columns.iter().map(|at| Arc::clone(rows.column(*at))).collect())
    }
}

/// Returns the copy of a name that somebody uses, or makes it; two who ask at once make it once.
fn copy_once<K: Eq + Hash, T>(
    copies: &CopyMap<K, T>,
    name: K,
    make: impl FnOnce() -> Result<Option<T>>,
) -> Result<Option<Arc<T>>> {
    let slot = {
        let mut slots = copies.lock();
        // What no query uses or waits for is forgotten.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.lock().strong_count() > 0);
        Arc::clone(slots.entry(name).or_default())
    };
    let mut copy = slot.lock();
    if let Some(copy) = copy.upgrade() {
        return Ok(Some(copy));
    }
    let made = make()?.map(Arc::new);
    if let Some(made) = &made {
        *copy = Arc::downgrade(made);
    }
    Ok(made)
}

fn in_use<K, T>(copies: &CopyMap<K, T>, bytes: impl Fn(&T) -> usize) -> usize {
    let copies = copies.lock();
    let made = copies.values().filter_map(|slot| slot.try_lock()?.upgrade());
    made.map(|copy| bytes(&copy)).sum()
}

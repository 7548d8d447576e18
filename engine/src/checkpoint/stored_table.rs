//! What is kept of tables, for people to look at and to remove.

use std::sync::Arc;

use super::contract::{Storage, StorageError};
use super::place::{Place, unusable};
use super::table_format::Piece;
use super::table_keeper::{StateNames, read_state};
use crate::connector::Position;
use crate::error::{Error, Result};

/// How the folder of a table's state begins.
pub(super) const TABLE_PREFIX: &str = "table.";

/// The state of a table in a folder.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredTable {
    /// The table's name, as its folder has it.
    pub table: String,
    /// Where it is.
    pub place: String,
    /// The number of the newest base; none where there is none yet.
    pub base: Option<u64>,
    /// How many changes of it were written since.
    pub deltas: usize,
    /// The size of all its files.
    pub bytes: u64,
    storage: Arc<dyn Storage>,
}

/// What a table's state holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableContents {
    /// Rows of the base.
    pub rows: u64,
    /// Records that came after it.
    pub changes: u64,
    /// How far each partition of its source was read.
    pub positions: Vec<Position>,
}

/// Lists the tables whose state is kept in a place: the one that `checkpoint.path` was set to.
///
/// # Errors
/// Fails where a folder cannot be read.
///
/// ```
/// let folder = std::env::temp_dir().join("fletching-no-such-checkpoints");
/// assert!(fletching::checkpoint::tables(&folder).is_err());
/// ```
pub fn tables(place: impl Into<Place>) -> Result<Vec<StoredTable>> {
    let place = place.into();
    let storage = place.storage();
    let folders = storage.folders();
    let folders = folders.map_err(|error| unusable(&storage.place(), &error))?;
    let tables = folders
        .iter()
        .filter_map(|name| Some((name.strip_prefix(TABLE_PREFIX)?, storage.folder(name))));
    tables
        .map(|(table, folder)| StoredTable::of(table, folder))
        .collect()
}

impl StoredTable {
    fn of(table: &str, storage: Arc<dyn Storage>) -> Result<Self> {
        let place = storage.place();
        let objects = storage.objects().map_err(|error| unusable(&place, &error))?;
        let bytes = objects.iter().map(|object| object.bytes).sum();
        let names: Vec<_> = objects.into_iter().map(|object| object.name).collect();
        let state = StateNames::of(&names);
        Ok(Self {
            table: table.to_owned(),
            place,
            base: state.base,
            deltas: state.deltas.len(),
            bytes,
            storage,
        })
    }

    /// Reads what it holds, whole.
    ///
    /// # Errors
    /// Fails where a file cannot be read or is damaged.
    ///
    /// ```
    /// let folder = std::env::temp_dir().join(format!("fletching-tables-{}", std::process::id()));
    /// std::fs::create_dir_all(folder.join("table.users"))?;
    /// let tables = fletching::checkpoint::tables(&folder)?;
    /// assert_eq!(tables[0].table, "users");
    /// assert_eq!(tables[0].contents()?.rows, 0); // nothing was written yet
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contents(&self) -> Result<TableContents> {
        let storage = self.storage.as_ref();
        let names = storage.names().map_err(|error| unusable(&self.place, &error))?;
        let damaged = |reason: String| Error::Resource { message: reason };
        let mut contents = TableContents::default();
        let Some(state) = read_state(storage, &names).map_err(damaged)? else {
            return Ok(contents);
        };
        for piece in state.pieces {
            match piece {
                Piece::Rows(rows) => contents.rows += rows.num_rows() as u64,
                Piece::Changes(rows) => contents.changes += rows.num_rows() as u64,
                Piece::Ended(_) | Piece::Tombstones(_) => {}
            }
        }
        contents.positions = state.positions;
        Ok(contents)
    }

    /// Removes it: the table is read from its source again when it is loaded next.
    ///
    /// # Errors
    /// Fails where a program that runs holds it, or a file cannot be removed.
    ///
    /// ```
    /// let folder = std::env::temp_dir().join(format!("fletching-remove-{}", std::process::id()));
    /// std::fs::create_dir_all(folder.join("table.users"))?;
    /// let tables = fletching::checkpoint::tables(&folder)?;
    /// assert_eq!(tables[0].remove()?, 0); // files
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self) -> Result<usize> {
        let failed = |error: StorageError| unusable(&self.place, &error);
        let storage = &self.storage;
        let _lock = storage.lock().map_err(failed)?;
        let names = storage.names().map_err(failed)?;
        let state = StateNames::all(&names);
        for name in &state {
            storage.remove(name).map_err(failed)?;
        }
        Ok(state.len())
    }
}

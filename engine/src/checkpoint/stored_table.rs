//! What is kept of tables, for people to look at and to remove.

use std::fs;
use std::path::{Path, PathBuf};

use super::storage::{LocalFolder, Storage};
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
    /// The folder.
    pub path: PathBuf,
    /// The number of the newest base; none where there is none yet.
    pub base: Option<u64>,
    /// How many changes of it were written since.
    pub deltas: usize,
    /// The size of all its files.
    pub bytes: u64,
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

/// Lists the tables whose state is kept under a path: the one that `checkpoint.path` was set to.
///
/// # Errors
/// Fails where a folder cannot be read.
///
/// ```
/// let folder = std::env::temp_dir().join("fletching-no-such-checkpoints");
/// assert!(fletching::checkpoint::tables(&folder).is_err());
/// ```
pub fn tables(path: &Path) -> Result<Vec<StoredTable>> {
    let names = LocalFolder::at(path)
        .names()
        .map_err(|error| Error::file(path, &error))?;
    let mut found = Vec::new();
    for name in names {
        let folder = path.join(&name);
        if let Some(table) = name.strip_prefix(TABLE_PREFIX).filter(|_| folder.is_dir()) {
            found.push(StoredTable::at(table, folder)?);
        }
    }
    Ok(found)
}

impl StoredTable {
    fn at(table: &str, path: PathBuf) -> Result<Self> {
        let names = LocalFolder::at(&path)
            .names()
            .map_err(|error| Error::file(&path, &error))?;
        let size = |name: &String| fs::metadata(path.join(name)).map_or(0, |meta| meta.len());
        let bytes = names.iter().map(size).sum();
        let state = StateNames::of(&names);
        Ok(Self {
            table: table.to_owned(),
            path,
            base: state.base,
            deltas: state.deltas.len(),
            bytes,
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
        let storage = LocalFolder::at(&self.path);
        let names = storage.names().map_err(|error| Error::file(&self.path, &error))?;
        let damaged = |reason: String| Error::Resource { message: reason };
        let mut contents = TableContents::default();
        let Some(state) = read_state(&storage, &names).map_err(damaged)? else {
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
        let failed = |error: std::io::Error| Error::file(&self.path, &error);
        let storage = LocalFolder::at(&self.path);
        let _lock = storage.lock().map_err(failed)?;
        let names = storage.names().map_err(failed)?;
        let state = StateNames::all(&names);
        for name in &state {
            storage.remove(name).map_err(failed)?;
        }
        Ok(state.len())
    }
}

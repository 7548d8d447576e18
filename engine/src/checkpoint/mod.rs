//! Checkpoints: where a pipeline has come to, kept so that it goes on from there after any end.
//!
//! One is written for each epoch, between the moment its output is durable and the moment it is
//! shown: positions, counters and the number of the epoch stand or fall with the output. A
//! pipeline's checkpoints are objects in a folder of its name (`keeper.rs`), in a format whose every
//! block has a checksum (`format.rs`). The folder is one of the file system (`storage.rs`) or of any
//! storage that keeps the contract (`contract.rs`).

mod contract;
#[cfg(test)]
mod failing;
mod format;
mod keeper;
mod place;
mod storage;
mod stored_table;
mod table_format;
mod table_keeper;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use failing::{Failing, FailingStorage, Faults};
pub(crate) use keeper::{Keeper, Turn};
pub(crate) use place::{Schemes, unusable};
pub(crate) use table_format::Piece;
pub(crate) use table_keeper::{TableKeeper, table_folder};

pub use contract::{
    Storage, StorageError, StorageErrorKind, StorageLock, StorageResult, StorageScheme, StorageSetting,
    StoredObject,
};
pub use place::Place;
pub use stored_table::{StoredTable, TableContents, tables};

use crate::connector::Position;
use crate::error::Result;
use keeper::{checkpoints, expendable, read};
use stored_table::TABLE_PREFIX;

/// Which pipeline a checkpoint belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineIdentity {
    /// Its name: that of its sink.
    pub name: String,
    /// A hash of the words of its SQL.
    pub fingerprint: u64,
    /// Its SQL, for people.
    pub sql: String,
}

/// Where a pipeline stood after an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Whose it is.
    pub identity: PipelineIdentity,
    /// The epoch, counted from one.
    pub epoch: u64,
    /// Whether the pipeline has come to its end: its LIMIT, or that of its source.
    pub is_finished: bool,
    /// How far each partition was read.
    pub positions: Vec<Position>,
    /// What was counted from the beginning on.
    pub counters: Vec<(String, u64)>,
    /// The event time up to which each partition was seen, in microseconds since 1970.
    pub watermarks: Vec<(String, i64)>,
}

impl Checkpoint {
    /// Returns a counter; zero where it is not there.
    ///
    /// ```
    /// let checkpoint = fletching::checkpoint::Checkpoint::default();
    /// assert_eq!(checkpoint.counter("rows_out"), 0);
    /// ```
    pub fn counter(&self, name: &str) -> u64 {
        let found = self.counters.iter().find(|(known, _)| known == name);
        found.map_or(0, |(_, count)| *count)
    }
}

/// A checkpoint in a folder.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredCheckpoint {
    /// The pipeline's folder.
    pub pipeline: String,
    /// Where it is: the path of a file, or the name of an object.
    pub place: String,
    /// The epoch that its name tells.
    pub epoch: u64,
    /// Its size.
    pub bytes: u64,
    /// What is in it, or why it cannot be used.
    pub checkpoint: std::result::Result<Checkpoint, String>,
}

/// Lists the checkpoints in a place, those of each pipeline from the newest on. The place is one
/// that `checkpoint.path` was set to, or the folder of one pipeline in it.
///
/// # Errors
/// Fails where it cannot be read.
///
/// ```
/// let folder = std::env::temp_dir().join("fletching-no-such-checkpoints");
/// assert!(fletching::checkpoint::list(&folder).is_err());
/// ```
pub fn list(place: impl Into<Place>) -> Result<Vec<StoredCheckpoint>> {
    let mut found = Vec::new();
    for folder in folders(&place.into())? {
        let place = folder.place();
        let failed = |error: StorageError| unusable(&place, &error);
        let objects = folder.objects().map_err(failed)?;
        let names: Vec<_> = objects.iter().map(|object| object.name.clone()).collect();
        for (epoch, name) in checkpoints(&names) {
            let object = objects.iter().find(|object| object.name == *name);
            found.push(StoredCheckpoint {
                pipeline: last_of(&place).to_owned(),
                place: within(&place, name),
                epoch,
                bytes: object.map_or(0, |object| object.bytes),
                checkpoint: read(folder.as_ref(), name, epoch).map_err(failed)?,
            });
        }
    }
    Ok(found)
}

/// Removes all checkpoints in a place but the newest `keep` of each pipeline, and returns where those
/// were that it removed. With `keep` of zero the pipelines begin anew when they are started next.
///
/// # Errors
/// Fails where one cannot be removed.
///
/// ```
/// let folder = std::env::temp_dir().join(format!("fletching-prune-{}", std::process::id()));
/// std::fs::create_dir_all(&folder)?;
/// assert!(fletching::checkpoint::prune(&folder, 1)?.is_empty()); // no pipeline has written there
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prune(place: impl Into<Place>, keep: usize) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for folder in folders(&place.into())? {
        let place = folder.place();
        let failed = |error: StorageError| unusable(&place, &error);
        let _lock = folder.lock().map_err(failed)?;
        let names = folder.names().map_err(failed)?;
        for name in expendable(&names, keep) {
            folder.remove(&name).map_err(failed)?;
            removed.push(within(&place, &name));
        }
    }
    Ok(removed)
}

/// Returns the folders of pipelines: the place itself where it holds checkpoints, or else those in it.
fn folders(place: &Place) -> Result<Vec<Arc<dyn Storage>>> {
    let storage = place.storage();
    let failed = |error: StorageError| unusable(&storage.place(), &error);
    let names = storage.names().map_err(failed)?;
    if !checkpoints(&names).is_empty() {
        return Ok(vec![Arc::clone(storage)]);
    }
    let folders = storage.folders().map_err(failed)?;
    let pipelines = folders.iter().filter(|name| !name.starts_with(TABLE_PREFIX));
    Ok(pipelines.map(|name| storage.folder(name)).collect())
}

/// Returns the last part of a place's name.
fn last_of(place: &str) -> &str {
    let name = place.trim_end_matches(['/', '\\']);
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// Names an object in a place.
fn within(place: &str, name: &str) -> String {
    format!("{}/{name}", place.trim_end_matches('/'))
}

/// Returns the name of a pipeline's folder. A letter that a file name may not have is written as `%`
/// and its number.
pub(crate) fn folder_name(pipeline: &str) -> String {
    let mut name = String::new();
    for letter in pipeline.chars() {
        if letter.is_alphanumeric() || "_-".contains(letter) {
            name.push(letter);
        } else {
            name.push_str(&format!("%{:x}", u32::from(letter)));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::storage::LocalFolder;
    use super::*;
    use crate::error::Error;

    fn identity(sql: &str) -> PipelineIdentity {
        PipelineIdentity {
            name: "enriched".into(),
            fingerprint: sql.len() as u64,
            sql: sql.into(),
        }
    }

    fn checkpoint(epoch: u64) -> Checkpoint {
        Checkpoint {
            identity: identity("SELECT 1"),
            epoch,
            ..Checkpoint::default()
        }
    }

    fn open(folder: &Path, sql: &str) -> Result<(Keeper, keeper::Found)> {
        let storage = LocalFolder::at(&folder.join("enriched"));
        Keeper::open(Arc::new(storage), identity(sql), 3)
    }

    #[test]
    fn the_newest_is_found_and_old_ones_are_forgotten() {
        let folder = tempfile_folder();
        let (keeper, found) = open(&folder.0, "SELECT 1").unwrap();
        assert!(found.checkpoint.is_none() && found.damage.is_empty());
        for epoch in 1..=9 {
            let turn = keeper.turn().unwrap();
            keeper.write(&checkpoint(epoch), &turn).unwrap();
        }
        let epochs: Vec<_> = list(&folder.0).unwrap().iter().map(|found| found.epoch).collect();
        assert_eq!(epochs, [9, 8, 7]);
        let (_, found) = open(&folder.0, "SELECT 1").unwrap();
        assert_eq!(found.checkpoint, Some(checkpoint(9)));
        assert_eq!(prune(&folder.0, 1).unwrap().len(), 2);
        assert_eq!(list(&folder.0).unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_one_is_passed_over_and_told_of() {
        let folder = tempfile_folder();
        let (keeper, _) = open(&folder.0, "SELECT 1").unwrap();
        for epoch in 1..=3 {
            keeper.write(&checkpoint(epoch), &keeper.turn().unwrap()).unwrap();
        }
        for epoch in [3, 2] {
            let path = folder.0.join("enriched").join(format!("checkpoint-{epoch:020}"));
            let mut bytes = fs::read(&path).unwrap();
            bytes[20] ^= 4;
            fs::write(&path, bytes).unwrap();
            let (_, found) = open(&folder.0, "SELECT 1").unwrap();
            assert_eq!(found.checkpoint, Some(checkpoint(epoch - 1)));
            assert!(
                found.damage[0].contains("is damaged: the checksum"),
                "{:?}",
                found.damage
            );
        }
        let path = folder.0.join("enriched").join(format!("checkpoint-{:020}", 1));
        fs::write(path, b"FLCH").unwrap();
        let error = open(&folder.0, "SELECT 1").err().unwrap();
        assert!(error.to_string().contains("no checkpoint is whole"), "{error}");
    }

    #[test]
    fn another_query_is_refused_and_does_not_fence() {
        let folder = tempfile_folder();
        let (keeper, _) = open(&folder.0, "SELECT 1").unwrap();
        keeper.write(&checkpoint(1), &keeper.turn().unwrap()).unwrap();
        let error = open(&folder.0, "SELECT 1 + 1").err().unwrap().to_string();
        assert!(
            error.contains("was written by another query: SELECT 1"),
            "{error}"
        );
        keeper.turn().unwrap();
    }

    #[test]
    fn the_older_of_two_is_fenced() {
        let folder = tempfile_folder();
        let (older, _) = open(&folder.0, "SELECT 1").unwrap();
        older.write(&checkpoint(1), &older.turn().unwrap()).unwrap();
        let (newer, found) = open(&folder.0, "SELECT 1").unwrap();
        assert_eq!(found.checkpoint, Some(checkpoint(1)));
        assert_eq!(older.turn().err().unwrap().code(), "FENCED");
        // What its sink fails at then follows from that.
        assert_eq!(older.reason(Error::Cancelled).code(), "FENCED");
        assert_eq!(newer.reason(Error::Cancelled).code(), Error::Cancelled.code());
        newer.write(&checkpoint(2), &newer.turn().unwrap()).unwrap();
    }

    #[test]
    fn names_of_folders_are_plain() {
        assert_eq!(folder_name("a/../b"), "a%2f%2e%2e%2fb");
    }

    /// A folder that goes with the test; the engine has no other use for a crate of such folders.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn tempfile_folder() -> Folder {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("fletching-checkpoints-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

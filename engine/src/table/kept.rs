//! The state of a table that is fed continuously, kept beside the checkpoints of pipelines.
//!
//! ```text
//!   restored ─▶ staged ─▶ ready ─▶ a base, or nothing where one was restored
//!                           │
//!                           └─ each chunk: noted ─▶ every checkpoint.interval a delta, or a base
//! ```
//!
//! What the source gives is kept as it gave it, and taken again as it was taken: versions,
//! deletions and truncations then come to the same rows. A table has a rhythm of its own, apart
//! from the epochs of the pipelines that join with it: a lookup sees the table as it is when it
//! looks, and an epoch whose output is durable is never computed again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use super::records::Records;
use super::staged::Staged;
use super::store::Store;
use super::{Table, TableSnapshot};
use crate::checkpoint::{Piece, Place, TableKeeper, table_folder};
use crate::connector::Position;
use crate::error::{Error, Result};

/// Bytes of records that are noted before they are written, whatever the time.
const NOTED_BYTES: usize = 32 << 20;

/// Bytes of records that are held while they cannot be written, as while a restored table catches up
/// or another program has the lock; beyond them the whole table is written instead.
const UNWRITTEN_BYTES: usize = 8 * NOTED_BYTES;

/// Where a session keeps the state of its tables.
#[derive(Debug, Clone)]
pub(crate) struct StatePlace {
    pub(crate) place: Place,
    pub(crate) interval: Duration,
}

/// What keeps a table's state.
pub(super) struct Kept {
    keeper: TableKeeper,
    interval: Duration,
    noted: Vec<Piece>,
    bytes: usize,
    written: Instant,
}

/// A table as it was kept.
pub(super) struct Restored {
    pub(super) staged: Staged,
    pub(super) positions: BTreeMap<Arc<str>, Position>,
    pub(super) rows: usize,
}

impl Kept {
    /// Opens a table's state, and takes what is there. What cannot be used is told, and the table
    /// is then read from its source.
    pub(super) fn open(
        table: &Table,
        place: &StatePlace,
        pool: &rayon::ThreadPool,
        has_changes: bool,
    ) -> Option<(Self, Option<Restored>)> {
        let folder = place.place.storage().folder(&table_folder(&table.name));
        let tell = |message: String| table.note(format!("table {}: {message}", table.name));
        let opened = TableKeeper::open(Arc::clone(&folder), table.fingerprint?, pool);
        let (mut keeper, found, damage) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let hint = error
                    .hint
                    .as_ref()
                    .map_or_else(String::new, |hint| format!("; {hint}"));
                tell(format!(
                    "its state in {} cannot be used: {error}{hint}",
                    folder.place()
                ));
                return None;
            }
        };
        for damage in damage {
            let instead = if found.is_some() {
                "the state before is used"
            } else {
                "its source is read from the start"
            };
            tell(format!("{damage}; {instead}"));
        }
        let restored = found.map(|found| {
            let staged = pool.install(|| table.restage(found.pieces, has_changes))?;
            let rows = staged.rows();
            let positions = found.positions.into_iter();
            let positions = positions.map(|position| (Arc::clone(&position.partition), position));
            Ok::<_, Error>(Restored {
                staged,
                positions: positions.collect(),
                rows,
            })
        });
        let restored = restored.transpose().unwrap_or_else(|error| {
            keeper.restart();
            tell(format!(
                "its state cannot be taken: {error}; its source is read from the start"
            ));
            None
        });
        let kept = Self {
            keeper,
            interval: place.interval,
            noted: Vec::new(),
            bytes: 0,
            written: Instant::now(),
        };
        Some((kept, restored))
    }

    /// Forgets the state there is: the table is read from the start.
    pub(super) fn restart(&mut self) {
        self.keeper.restart();
        self.noted.clear();
        self.bytes = 0;
    }

    /// Notes records that the table has taken.
    pub(super) fn note(&mut self, records: &RecordBatch) {
        // A base has them anyway.
        if !self.keeper.needs_base() {
            self.bytes += records.get_array_memory_size();
            self.noted.push(Piece::Changes(records.clone()));
        }
        if self.bytes > UNWRITTEN_BYTES {
            self.noted.clear();
            self.bytes = 0;
            self.keeper.want_base();
        }
    }

    /// Writes what is noted, where it is time to.
    ///
    /// # Errors
    /// Fails where it cannot be written; the state before stands, and the next is a whole one.
    pub(super) fn keep(&mut self, table: &Table, positions: &BTreeMap<Arc<str>, Position>) -> Result<()> {
        let is_due = self.bytes >= NOTED_BYTES || self.written.elapsed() >= self.interval;
        let is_new = self.keeper.needs_base() || !self.noted.is_empty();
        if !is_due || !is_new || !self.keeper.may_write() {
            return Ok(());
        }
        self.written = Instant::now();
        let positions = positions.values().cloned().collect();
        let noted = std::mem::take(&mut self.noted);
        self.bytes = 0;
        if self.keeper.needs_base() {
            let (snapshot, rest) = table.whole()?;
            return match snapshot.live() {
                Some(live) => {
                    let rows = live.scan().map(|rows| Ok(rows?));
                    self.keeper.write_base(rows, rest, positions)
                }
                None => {
                    let rows = snapshot.chunks()?.iter().cloned().map(Ok);
                    self.keeper.write_base(rows, rest, positions)
                }
            };
        }
        self.keeper.write_delta(noted, positions)
    }
}

impl Table {
    /// Gives a new table what tells it apart from one that is declared otherwise.
    pub(crate) fn with_fingerprint(mut self, fingerprint: u64) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Returns all there is to keep: a version, and what is not among its rows.
    fn whole(&self) -> Result<(Arc<TableSnapshot>, Vec<Piece>)> {
        let changes = self.changes.lock();
        let snapshot = Arc::clone(&self.snapshot.read());
        let mut rest = Vec::new();
        if !snapshot.ended().is_empty() {
            rest.push(Piece::Ended(snapshot.ended().to_vec()));
        }
        if let Some(store) = &changes.live {
            rest.extend(store.tombstone_rows()?.into_iter().map(Piece::Tombstones));
        }
        Ok((snapshot, rest))
    }

    /// Makes of a state what it was made of.
    fn restage(&self, pieces: Vec<Piece>, has_changes: bool) -> Result<Staged> {
        let mut pieces = pieces.into_iter().peekable();
        let rows = std::iter::from_fn(|| match pieces.next_if(|piece| matches!(piece, Piece::Rows(_))) {
            Some(Piece::Rows(rows)) => Some(rows),
            _ => None,
        });
        let mut staged = self.stage_with(rows.collect())?;
        for piece in pieces {
            match (piece, &mut staged) {
                (Piece::Rows(rows), Staged::Store(store)) => drop(store.put(&rows)?),
                (Piece::Rows(rows), Staged::Rows { chunks, .. }) => chunks.push(rows),
                (Piece::Ended(rows), Staged::Rows { ended, .. }) => ended.extend(rows),
                (Piece::Tombstones(rows), Staged::Store(store)) => store.restore_tombstones(&rows)?,
                (Piece::Changes(rows), staged) => {
                    let records = Records::of_source(&rows, &self.schema, has_changes)?;
                    self.add_staged(staged, &records)?;
                }
                // They are of a table of the other kind, and say nothing of this one.
                (Piece::Ended(_) | Piece::Tombstones(_), _) => {}
            }
        }
        self.check_staged(&staged)?;
        Ok(staged)
    }

    /// Remembers what a person should be told of the table's load.
    pub(super) fn note(&self, message: String) {
        self.notes.lock().push(message);
    }

    /// Returns what was noted since it was asked for last.
    pub(super) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock())
    }
}

impl Store {
    /// Returns the versions of keys that are gone.
    fn tombstone_rows(&self) -> Result<Vec<RecordBatch>> {
        match self.tombstones() {
            Some(tombstones) => tombstones.rows(),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use arrow::array::{AsArray, Int8Array, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

    use super::*;
    use crate::table::{ChangeOptions, TableOrigin};

    pub(in crate::table) fn schema() -> SchemaRef {
        let field = |name| Field::new(name, DataType::Int64, true);
        Arc::new(Schema::new(vec![field("k"), field("v")]))
    }

    pub(in crate::table) fn table() -> Table {
        let options = ChangeOptions {
            is_upsert: true,
            ..ChangeOptions::default()
        };
        let table = Table::new("users", &schema(), &["k".to_string()], TableOrigin::Memory);
        table.unwrap().with_changes(options).unwrap().with_fingerprint(1)
    }

    /// Numbers that follow from a seed (xorshift64).
    fn next(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn below(state: &mut u64, bound: usize) -> usize {
        usize::try_from(next(state) % bound as u64).unwrap()
    }

    pub(in crate::table) fn batch(records: &[(i64, i64, i8)]) -> RecordBatch {
        let mut fields = schema().fields().to_vec();
        fields.push(Arc::new(Field::new("_change", DataType::Int8, false)));
        let keys = records.iter().map(|record| record.0).collect::<Int64Array>();
        let values = records.iter().map(|record| record.1).collect::<Int64Array>();
        let changes = records.iter().map(|record| record.2).collect::<Int8Array>();
        let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(keys), Arc::new(values), Arc::new(changes)];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    pub(in crate::table) fn contents(table: &Table) -> BTreeMap<i64, i64> {
        let snapshot = table.snapshot().unwrap();
        let mut rows = BTreeMap::new();
        for chunk in snapshot.chunks().unwrap() {
            let (keys, values) = (
                chunk.column(0).as_primitive::<Int64Type>(),
                chunk.column(1).as_primitive::<Int64Type>(),
            );
            rows.extend(keys.values().iter().copied().zip(values.values().iter().copied()));
        }
        rows
    }

    /// The oracle: the rows after so many batches of the source.
    pub(in crate::table) fn oracle(source: &[Vec<(i64, i64, i8)>]) -> BTreeMap<i64, i64> {
        let mut rows = BTreeMap::new();
        for &(key, value, change) in source.iter().flatten() {
            match change {
                0 => drop(rows.insert(key, value)),
                1 => drop(rows.remove(&key)),
                _ => rows.clear(),
            }
        }
        rows
    }

    /// Damages one of the files, as a bit that flips or a file cut short does.
    fn damage(folder: &std::path::Path, state: &mut u64) {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.retain(|path| !path.ends_with("lock"));
        let Some(path) = files.get(below(state, files.len().max(1))) else {
            return;
        };
        let mut bytes = fs::read(path).unwrap();
        if bytes.is_empty() {
            return;
        }
        let at = below(state, bytes.len());
        if next(state).is_multiple_of(2) {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << (next(state) % 8);
        }
        fs::write(path, bytes).unwrap();
    }

    /// Random changes, states kept, restarts and damage: a table that is restored and reads on has
    /// the rows of one that has read all.
    #[test]
    fn restored_and_read_on_is_as_read_from_the_start() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let mut restores = 0;
        for seed in 1..=500_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let path = std::env::temp_dir().join(format!("fletching-kept-{}-{seed}", std::process::id()));
            let place = StatePlace {
                place: Place::from(&path),
                interval: Duration::ZERO,
            };
            let source: Vec<Vec<_>> = (0..12)
                .map(|_| {
                    let record = |state: &mut u64| {
                        let change = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2][below(state, 10)];
                        (next(state) as i64 & 15, next(state) as i64, change)
                    };
                    (0..next(&mut state) % 6).map(|_| record(&mut state)).collect()
                })
                .collect();
            let mut read = 0;
            while read < source.len() {
                let table = table();
                let (mut kept, restored) = Kept::open(&table, &place, &pool, true).unwrap();
                read = 0;
                let mut positions = BTreeMap::new();
                if let Some(restored) = restored {
                    restores += 1;
                    positions = restored.positions;
                    read = positions
                        .values()
                        .next()
                        .map_or(0, |at| at.place.parse().unwrap());
                    table.publish_staged(restored.staged).unwrap();
                }
                assert_eq!(contents(&table), oracle(&source[..read]), "seed {seed} at {read}");
                loop {
                    kept.keep(&table, &positions).unwrap();
                    if read == source.len() || next(&mut state).is_multiple_of(5) {
                        break;
                    }
                    let records = batch(&source[read]);
                    table
                        .apply(&Records::of_source(&records, &schema(), true).unwrap())
                        .unwrap();
                    read += 1;
                    let position = Position {
                        partition: "p".into(),
                        place: read.to_string(),
                    };
                    positions.insert("p".into(), position);
                    kept.note(&records);
                }
                assert_eq!(contents(&table), oracle(&source[..read]), "seed {seed} at {read}");
                drop(kept);
                if next(&mut state).is_multiple_of(4) {
                    damage(&path.join(table_folder("users")), &mut state);
                }
            }
            fs::remove_dir_all(&path).unwrap();
        }
        assert!(restores > 500, "{restores}");
    }
}

//! Keeps the state of a table: a base, and after it what its source gave, so that the table need
//! not be read from its source again.
//!
//! ```text
//!  PATH/table.users/rows-00000000000000000007-000000   rows of base 7, in files of 32 MB or so
//!                   base-00000000000000000007          all up to number 7; written after its rows
//!                   delta-00000000000000000008         what came then
//!                   delta-00000000000000000009
//!                   lock                               held by the program that writes
//! ```
//!
//! A base is written anew once the deltas hold as much as it does. The base before it stays with
//! its deltas, so that what is damaged can be gone around: the state is then an older one, and the
//! source is read on from there. A program that does not get the lock reads, and writes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use rayon::prelude::*;

use super::contract::{Storage, StorageError, StorageLock, StorageResult};
use super::folder_name;
use super::keeper::{numbered, unwritable};
use super::stored_table::TABLE_PREFIX;
use super::table_format::{Piece, StateFile, decode, encode};
use crate::connector::Position;
use crate::error::{Error, Result};

const BASE: &str = "base-";
const DELTA: &str = "delta-";
const ROWS: &str = "rows-";
/// Bytes of rows that a file of a base holds before the next is begun.
const PART_BYTES: usize = 32 << 20;
/// Bytes that deltas may hold, however small the base is.
const DELTA_BYTES_MIN: usize = 16 << 20;
/// Deltas that there may be, and one more for each megabyte of the base.
const DELTAS_MIN: usize = 64;

/// Writes the state of one table.
pub(crate) struct TableKeeper {
    storage: Arc<dyn Storage>,
    fingerprint: u64,
    lock: Option<Box<dyn StorageLock>>,
    /// The number written last.
    last: u64,
    /// The newest base, where it is whole.
    base: Option<u64>,
    base_bytes: usize,
    delta_bytes: usize,
    deltas: usize,
    /// Whether nothing may be added to what is there.
    needs_base: bool,
}

/// A table's state as it was found.
pub(crate) struct FoundState {
    /// What to take, in this order.
    pub(crate) pieces: Vec<Piece>,
    /// Where its source was.
    pub(crate) positions: Vec<Position>,
}

/// Returns the name of the folder of a table's state; no pipeline's folder has such a name.
pub(crate) fn table_folder(table: &str) -> String {
    format!("{TABLE_PREFIX}{}", folder_name(table))
}

impl TableKeeper {
    /// Opens the state of a table: the newest that is whole, and what is to be told of damage.
    ///
    /// # Errors
    /// Fails where the place cannot be listed, or the lock cannot be asked for.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        fingerprint: u64,
        pool: &rayon::ThreadPool,
    ) -> StorageResult<(Self, Option<FoundState>, Vec<String>)> {
        storage.make()?;
        let lock = storage.try_lock()?;
        let names = storage.names()?;
        let mut keeper = Self {
            storage,
            fingerprint,
            lock,
            last: names.iter().filter_map(|name| number_of(name)).max().unwrap_or(0),
            base: None,
            base_bytes: 0,
            delta_bytes: 0,
            deltas: 0,
            needs_base: true,
        };
        let mut damage = Vec::new();
        let mut bases: Vec<u64> = names.iter().filter_map(|name| numbered(BASE, name)).collect();
        bases.sort_unstable();
        for base in bases.into_iter().rev() {
            match pool.install(|| keeper.read_base(base)) {
                Ok(None) => return Ok((keeper, None, damage)),
                Ok(Some((found, bytes))) => {
                    keeper.base = Some(base);
                    keeper.base_bytes = bytes;
                    let found = pool.install(|| keeper.with_deltas(base, found, &names, &mut damage));
                    return Ok((keeper, Some(found), damage));
                }
                Err(reason) => damage.push(reason),
            }
        }
        Ok((keeper, None, damage))
    }

    /// Reads a file; says whether it is one of this table.
    fn read(&self, name: &str, number: u64) -> Result<(StateFile, usize), String> {
        let told = |reason: &str| format!("{}/{name} is damaged: {reason}", self.storage.place());
        let (state, bytes) = read_file(self.storage.as_ref(), name).map_err(|reason| told(&reason))?;
        if state.number != number {
            return Err(told("it is one of another number"));
        }
        Ok((state, bytes))
    }

    /// Reads a base with its rows; none where it is one of a table declared otherwise.
    fn read_base(&self, base: u64) -> Result<Option<(FoundState, usize)>, String> {
        let (state, mut bytes) = self.read(&name_of(BASE, base), base)?;
        if state.fingerprint != self.fingerprint {
            return Ok(None);
        }
        let parts: Vec<_> = (0..state.parts)
            .into_par_iter()
            .map(|part| self.read(&part_name(base, part), base))
            .collect::<Result<_, _>>()?;
        let mut pieces = Vec::new();
        for (part, size) in parts {
            bytes += size;
            pieces.extend(part.pieces);
        }
        pieces.extend(state.pieces);
        let positions = state.positions;
        Ok(Some((FoundState { pieces, positions }, bytes)))
    }

    /// Adds the deltas that follow a base one after the other.
    fn with_deltas(
        &mut self,
        base: u64,
        mut found: FoundState,
        names: &[String],
        damage: &mut Vec<String>,
    ) -> FoundState {
        let there: HashSet<&String> = names.iter().collect();
        let deltas: Vec<u64> = (base + 1..)
            .take_while(|number| there.contains(&name_of(DELTA, *number)))
            .collect();
        let read = deltas.into_par_iter().map(|number| {
            let delta = self.read(&name_of(DELTA, number), number);
            (number, delta)
        });
        let mut number = base;
        for (next, delta) in read.collect::<Vec<_>>() {
            match delta {
                Ok((delta, bytes)) if delta.fingerprint == self.fingerprint => {
                    found.pieces.extend(delta.pieces);
                    found.positions = delta.positions;
                    self.delta_bytes += bytes;
                }
                Ok(_) => break,
                Err(reason) => {
                    damage.push(reason);
                    break;
                }
            }
            self.deltas += 1;
            number = next;
        }
        self.needs_base = number != self.last;
        found
    }

    /// Says whether this program may write, and takes the lock where another let go of it.
    pub(crate) fn may_write(&mut self) -> bool {
        if self.lock.as_ref().is_some_and(|lock| lock.is_held()) {
            return true;
        }
        // One that was lost is let go of before it is asked for again.
        self.lock = None;
        self.lock = self.storage.try_lock().ok().flatten();
        if self.lock.is_none() {
            return false;
        }
        // What the other has written is not what this one has.
        self.needs_base = true;
        self.base = None;
        let names = self.storage.names().unwrap_or_default();
        let newest = names.iter().filter_map(|name| number_of(name)).max();
        self.last = self.last.max(newest.unwrap_or(0));
        true
    }

    /// Says whether the whole table is to be written next.
    pub(crate) fn needs_base(&self) -> bool {
        self.needs_base
            || self.delta_bytes > self.base_bytes.max(DELTA_BYTES_MIN)
            || self.deltas > DELTAS_MIN + (self.base_bytes >> 20)
    }

    /// Has the whole table written next.
    pub(crate) fn want_base(&mut self) {
        self.needs_base = true;
    }

    /// Forgets what is there: the next state is a whole one.
    pub(crate) fn restart(&mut self) {
        self.needs_base = true;
        self.base = None;
    }

    /// Writes what has come since the state before.
    ///
    /// # Errors
    /// Fails where it cannot be written; the state before then stands.
    pub(crate) fn write_delta(&mut self, pieces: Vec<Piece>, positions: Vec<Position>) -> Result<()> {
        let number = self.last + 1;
        let written = self.write(
            &name_of(DELTA, number),
            StateFile {
                fingerprint: self.fingerprint,
                number,
                parts: 0,
                pieces,
                positions,
            },
        );
        // What was not written is missing from then on.
        self.needs_base |= written.is_err();
        self.delta_bytes += written?;
        self.deltas += 1;
        self.last = number;
        Ok(())
    }

    /// Writes the whole table, and removes what no state needs any more.
    ///
    /// # Errors
    /// Fails where it cannot be written; the state before then stands.
    pub(crate) fn write_base(
        &mut self,
        rows: impl Iterator<Item = Result<RecordBatch>>,
        rest: Vec<Piece>,
        positions: Vec<Position>,
    ) -> Result<()> {
        // A number of its own: files of a base that was never finished are not taken for its.
        let number = self.last + 1;
        self.last = number;
        self.needs_base = true;
        let (mut parts, mut bytes, mut held) = (0, 0, 0);
        let mut pieces = Vec::new();
        let file = |parts, pieces, positions| StateFile {
            fingerprint: self.fingerprint,
            number,
            parts,
            pieces,
            positions,
        };
        for batch in rows {
            let batch = batch?;
            held += batch.get_array_memory_size();
            pieces.push(Piece::Rows(batch));
            if held >= PART_BYTES {
                let part = file(0, std::mem::take(&mut pieces), Vec::new());
                bytes += self.write(&part_name(number, parts), part)?;
                parts += 1;
                held = 0;
            }
        }
        pieces.extend(rest);
        bytes += self.write(&name_of(BASE, number), file(parts, pieces, positions))?;
        let oldest = self.base.replace(number).unwrap_or(number);
        self.base_bytes = bytes;
        self.delta_bytes = 0;
        self.deltas = 0;
        self.needs_base = false;
        for name in self.storage.names().unwrap_or_default() {
            if number_of(&name).is_some_and(|number| number < oldest) {
                // What is left of it does no harm, and is tried again with the next.
                let _ = self.storage.remove(&name);
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, state: StateFile) -> Result<usize> {
        let bytes = encode(&state)?;
        let failed = |error: StorageError| -> Error { unwritable(&self.storage.place(), &error) };
        // Each has a name of its own: one that is there is another program's.
        self.storage.create(name, &bytes).map_err(failed)?;
        Ok(bytes.len())
    }
}

/// Reads a file, and tells its length.
fn read_file(storage: &dyn Storage, name: &str) -> Result<(StateFile, usize), String> {
    let (mut file, length) = storage.open(name).map_err(|error| error.to_string())?;
    let state = decode(file.as_mut(), length)?;
    Ok((state, usize::try_from(length).unwrap_or(usize::MAX)))
}

/// The files of a table's newest state.
#[derive(Debug, Default)]
pub(super) struct StateNames {
    pub(super) base: Option<u64>,
    /// The numbers of what was written since.
    pub(super) deltas: Vec<u64>,
}

impl StateNames {
    pub(super) fn of(names: &[String]) -> Self {
        let base = names.iter().filter_map(|name| numbered(BASE, name)).max();
        let mut deltas: Vec<u64> = names
            .iter()
            .filter_map(|name| numbered(DELTA, name))
            .filter(|number| base.is_some_and(|base| *number > base))
            .collect();
        deltas.sort_unstable();
        Self { base, deltas }
    }

    /// Returns the names of all files of state.
    pub(super) fn all(names: &[String]) -> Vec<String> {
        let all = names.iter().filter(|name| number_of(name).is_some());
        all.cloned().collect()
    }
}

/// Reads the newest state, whosever it is, or says what is wrong with it; nothing where there is none.
pub(super) fn read_state(storage: &dyn Storage, names: &[String]) -> Result<Option<FoundState>, String> {
    let read = |name: &str| -> Result<StateFile, String> {
        let told = |reason: String| format!("{}/{name} is damaged: {reason}", storage.place());
        let (state, _) = read_file(storage, name).map_err(told)?;
        Ok(state)
    };
    let state = StateNames::of(names);
    let Some(number) = state.base else {
        return Ok(None);
    };
    let base = read(&name_of(BASE, number))?;
    let mut pieces = Vec::new();
    for part in 0..base.parts {
        pieces.extend(read(&part_name(number, part))?.pieces);
    }
    pieces.extend(base.pieces);
    let mut positions = base.positions;
    for delta in state.deltas {
        let delta = read(&name_of(DELTA, delta))?;
        pieces.extend(delta.pieces);
        positions = delta.positions;
    }
    Ok(Some(FoundState { pieces, positions }))
}

fn name_of(kind: &str, number: u64) -> String {
    format!("{kind}{number:020}")
}

fn part_name(base: u64, part: u32) -> String {
    format!("{ROWS}{base:020}-{part:06}")
}

/// Returns the number in the name of any file of state.
fn number_of(name: &str) -> Option<u64> {
    let (kind, rest) = name.split_once('-')?;
    let number = rest.split('-').next()?;
    ["base", "delta", "rows"]
        .contains(&kind)
        .then(|| number.parse().ok())?
}

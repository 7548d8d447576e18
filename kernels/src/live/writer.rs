//! The writer of a live table: puts rows and deletions in place, and publishes versions.
//!
//! ```text
//!   upsert   check ─ encode keys ─ prepare pages │ install pages ─ put slots ─┐
//!   delete   encode keys ─ locate ─ prepare …    │                            ├─ compact ─ publish
//!                              what may fail     │ what may not               ┘
//! ```
//!
//! Readers see nothing of a commit before it is published: every slot put meanwhile names a row
//! that is not below the height of their version, and its history leads them back.

use std::sync::{Arc, Weak};

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::SchemaRef;
use rayon::prelude::*;

use super::build::{Filled, KeyedRows};
use super::coder::{KeyCoder, Words, decode_keys};
use super::garbage::Garbage;
use super::history::History;
use super::index::LiveIndex;
use super::memory::LiveMemory;
use super::options::LiveOptions;
use super::pages::{PageStore, Prepared, pages_of};
use super::slot::{DELETED, EMPTY, id_of, is_row};
use super::snapshot::Version;
use crate::index::{KeyLayout, union_nulls};
use crate::{KernelError, RowId, gather_columns};

/// Counts what a commit has done.
///
/// ```
/// let change = fletching_kernels::LiveChange::default();
/// assert_eq!((change.inserted, change.replaced, change.deleted), (0, 0, 0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveChange {
    /// Rows of keys that were not there.
    pub inserted: usize,
    /// Rows that replaced one of their key, of the same commit or an earlier one.
    pub replaced: usize,
    /// Rows that were deleted.
    pub deleted: usize,
    /// Rows that were written again so that their page could be dropped.
    pub moved: usize,
}

/// Everything that one commit after another changes.
pub(super) struct Writer {
    schema: SchemaRef,
    /// Positions of the key columns.
    key: Vec<usize>,
    options: LiveOptions,
    pages: PageStore,
    garbage: Garbage,
    index: LiveIndex,
    history: Arc<History>,
    /// Versions that may be held by someone, by ascending height.
    versions: Vec<(RowId, Weak<Version>)>,
    /// The next row id.
    next: RowId,
    live_rows: usize,
    commits: u64,
}

/// Whether new row ids are rows or stand for deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Putting {
    Rows,
    Deletions,
}

impl Writer {
    pub(super) fn new(schema: SchemaRef, key: &[usize], options: LiveOptions) -> Result<Self, KernelError> {
        let options = options.checked();
        let types = key.iter().map(|at| {
            let field = schema.fields().get(*at);
            field.map(|field| field.data_type().clone())
        });
        let types = types.collect::<Option<Vec<_>>>().unwrap_or_default();
        if types.is_empty() {
            return Err(KernelError::KeyCount {
                expected: key.len().max(1),
                found: 0,
            });
        }
        let coder = KeyCoder::new(&types)?;
        Ok(Self::with_coder(schema, key, options, coder))
    }

    fn with_coder(schema: SchemaRef, key: &[usize], options: LiveOptions, coder: KeyCoder) -> Self {
        Self {
            pages: PageStore::new(options.page_rows, schema.fields().len()),
            garbage: Garbage::new(options.page_rows),
            index: LiveIndex::new(coder, &options),
            history: Arc::new(History::new(options.page_rows)),
            versions: Vec::new(),
            next: 0,
            live_rows: 0,
            commits: 0,
            key: key.to_vec(),
            schema,
            options,
        }
    }

    /// Makes the writer of a table that has rows; of rows with one key the last stays.
    pub(super) fn loaded(
        schema: SchemaRef,
        key: &[usize],
        options: LiveOptions,
        batches: Vec<RecordBatch>,
    ) -> Result<Self, KernelError> {
        let mut writer = Self::new(schema, key, options)?;
        for batch in &batches {
            writer.check_columns(batch)?;
        }
        let page_rows = writer.options.page_rows;
        // Pages are half full on average at least; near the bound rows are packed.
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if 2 * rows + page_rows > writer.options.row_ids_max as usize {
            for batch in &batches {
                writer.upsert(batch)?;
            }
            return Ok(writer);
        }
        let pages = pages_of(batches, page_rows)?;
        let first = |page: usize| narrow(page * page_rows);
        let keys = pages.par_iter().enumerate().map(|(at, page)| {
            let columns = writer.keys_of(&page.columns)?;
            if let Some(nulls) = union_nulls(&columns) {
                let row = (!nulls.inner()).set_indices().next().unwrap_or(0);
                return Err(KernelError::NullKey { row });
            }
            let first = first(at);
            Ok(KeyedRows { first, columns })
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let replaced = writer.fill_index(&keys)?;
        for (at, page) in pages.iter().enumerate() {
            writer.garbage.adopt(first(at), page.rows);
        }
        writer.live_rows = rows - replaced.len();
        writer.next = first(pages.len());
        writer.pages.adopt(pages);
        replaced.into_iter().for_each(|row| writer.garbage.kill(row));
        writer.drop_empty();
        Ok(writer)
    }

    /// Fills the index, which is empty, with a coder that has room for every key.
    fn fill_index(&mut self, keys: &[KeyedRows]) -> Result<Vec<RowId>, KernelError> {
        loop {
            let misfits = match self.index.fill(keys)? {
                Filled::Whole(replaced) => return Ok(replaced),
                Filled::Misfits(misfits) => misfits,
            };
            let mut coder = self.index.coder().emptied()?;
            for page in misfits {
                coder = coder.widened(&keys[page].columns)?;
            }
            self.index = LiveIndex::new(coder, &self.options);
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Puts rows by their keys; of rows with one key the last stays.
    pub(super) fn upsert(&mut self, batch: &RecordBatch) -> Result<LiveChange, KernelError> {
        self.check_columns(batch)?;
        let mut change = LiveChange::default();
        if batch.num_rows() == 0 {
            return Ok(change);
        }
        let keys: Vec<ArrayRef> = self.key.iter().map(|at| Arc::clone(batch.column(*at))).collect();
        let columns = decode_keys(self.index.coder().types(), &keys)?;
        if let Some(nulls) = union_nulls(&columns) {
            let row = (!nulls.inner()).set_indices().next().unwrap_or(0);
            return Err(KernelError::NullKey { row });
        }
        self.make_room(batch.num_rows())?;
        if self.index.coder().admit(&columns)?.is_none() {
            self.change_index(self.index.coder().widened(&columns)?)?;
        }
        let words = admit(self.index.coder(), &columns)?;
        let prepared = self.pages.prepare(&[batch.columns().to_vec()])?;
        let gone = self.put(prepared, &words, batch.num_rows(), Putting::Rows);
        change.replaced = gone;
        change.inserted = batch.num_rows() - gone;
        self.compact(batch.num_rows(), &mut change)?;
        Ok(change)
    }

    /// Deletes the rows of keys; keys that are not there, or NULL, are passed over.
    pub(super) fn delete(&mut self, keys: &[ArrayRef]) -> Result<LiveChange, KernelError> {
        let columns = decode_keys(self.index.coder().types(), keys)?;
        let rows = columns.first().map_or(0, |column| column.len());
        let mut change = LiveChange::default();
        if rows == 0 {
            return Ok(change);
        }
        self.make_room(rows)?;
        let mut misfits = Vec::new();
        let words = self.index.coder().look(&columns, &mut misfits)?;
        let mut slots = vec![EMPTY; rows];
        self.index.view().locate(&words, &mut slots);
        for row in misfits {
            slots[row as usize] = EMPTY;
        }
        if let Some(nulls) = union_nulls(&columns) {
            (!nulls.inner()).set_indices().for_each(|row| slots[row] = EMPTY);
        }
        let found = (0_u32..).zip(&slots).filter(|(_, slot)| is_row(**slot));
        let positions: Vec<u32> = found.map(|(at, _)| at).collect();
        if positions.is_empty() {
            return Ok(change);
        }
        let words = words.pick(&positions);
        // A deletion takes a row id, and so a place in a page, where there is nothing.
        let fields = self.schema.fields().iter();
        let nothing = fields.map(|field| new_null_array(field.data_type(), positions.len()));
        let prepared = self.pages.prepare(&[nothing.collect()])?;
        change.deleted = self.put(prepared, &words, positions.len(), Putting::Deletions);
        self.compact(positions.len(), &mut change)?;
        Ok(change)
    }

    /// Installs prepared rows and puts their slots; returns how many rows have died of it.
    fn put(&mut self, prepared: Prepared, words: &Words<'_>, rows: usize, putting: Putting) -> usize {
        let first = self.next;
        let count = narrow(rows);
        self.versions.retain(|(_, version)| version.strong_count() > 0);
        let heights: Vec<RowId> = self.versions.iter().map(|(height, _)| *height).collect();
        let history = Arc::clone(&self.history);
        history.prepare(heights.first().copied().unwrap_or(first), first + count);
        let history = history.open();
        self.pages.install(prepared);
        self.garbage.add(first, rows, putting == Putting::Rows);
        let flag = if putting == Putting::Rows { 0 } else { DELETED };
        let garbage = &mut self.garbage;
        let mut gone = 0;
        let slot = |at: usize| flag | (first + narrow(at));
        self.index.put(words, slot, |slot, old| {
            history.note(id_of(slot), old);
            if is_row(old) {
                garbage.kill(old);
                gone += 1;
            }
            if old != EMPTY {
                history.shorten(id_of(old), &heights);
            }
        });
        self.next = first + count;
        if putting == Putting::Rows {
            self.live_rows += rows;
        }
        self.live_rows -= gone;
        self.drop_empty();
        gone
    }

    fn drop_empty(&mut self) {
        for number in self.garbage.take_empty() {
            self.pages.drop_page(number);
        }
    }

    /// Writes the live rows of the emptiest pages again, at most about as many as a commit had
    /// rows, while there is more garbage than there should be.
    fn compact(&mut self, rows: usize, change: &mut LiveChange) -> Result<(), KernelError> {
        let page_rows = self.options.page_rows;
        let mut budget = (rows + page_rows).min((self.options.row_ids_max - self.next) as usize);
        let bound = 2 * self.live_rows + self.options.garbage_rows_min;
        let mut stored = self.garbage.stored_rows();
        let mut pages = Vec::new();
        while stored > bound
            && let Some(number) = self.garbage.take_emptiest()
        {
            let live = self.garbage.live_rows_of(number);
            pages.push(number);
            if live > budget || live * 2 > page_rows {
                self.garbage.give_back(number);
                pages.pop();
                break;
            }
            budget -= live;
            stored -= page_rows - live;
        }
        if pages.is_empty() {
            return Ok(());
        }
        let moved = self.move_rows(&pages);
        if moved.is_err() {
            pages.iter().for_each(|number| self.garbage.give_back(*number));
        }
        change.moved = moved?;
        Ok(())
    }

    fn move_rows(&mut self, pages: &[usize]) -> Result<usize, KernelError> {
        let mut pieces = Vec::with_capacity(pages.len());
        let mut words = Vec::with_capacity(pages.len());
        for number in pages {
            let (_, piece) = self.live_piece(*number)?;
            pieces.push(piece);
        }
        let prepared = self.pages.prepare(&pieces)?;
        let keys: Vec<Vec<ArrayRef>> = pieces
            .iter()
            .map(|piece| self.keys_of(piece))
            .collect::<Result<_, _>>()?;
        for keys in &keys {
            words.push(admit(self.index.coder(), keys)?);
        }
        let words = Words::concat(words);
        let rows = pieces.iter().map(|piece| piece[0].len()).sum();
        Ok(self.put(prepared, &words, rows, Putting::Rows))
    }

    /// Returns the places of a page's live rows, and their columns.
    fn live_piece(&self, number: usize) -> Result<(Vec<u32>, Vec<ArrayRef>), KernelError> {
        let places = self.garbage.live_places(number);
        let columns = match self.pages.directory().page(number) {
            Some(page) => gather_columns(&page.columns, &places)?,
            None => Vec::new(),
        };
        Ok((places, columns))
    }

    fn keys_of(&self, piece: &[ArrayRef]) -> Result<Vec<ArrayRef>, KernelError> {
        let keys: Vec<ArrayRef> = self.key.iter().map(|at| Arc::clone(&piece[*at])).collect();
        decode_keys(self.index.coder().types(), &keys)
    }

    /// Makes sure that a commit of so many rows finds row ids, and that the index remembers few
    /// keys that are gone.
    fn make_room(&mut self, rows: usize) -> Result<(), KernelError> {
        if self.index.coder().is_wasteful(self.live_rows) {
            self.change_index(self.index.coder().emptied()?)?;
        }
        // As many again may be moved.
        let needed = 2 * rows + self.options.page_rows;
        let rows_max = self.options.row_ids_max as usize;
        if self.next as usize + needed <= rows_max {
            return Ok(());
        }
        if self.live_rows + needed > rows_max {
            return Err(KernelError::TooManyRows {
                rows: self.live_rows + needed,
                rows_max,
            });
        }
        self.renumber()
    }

    /// Writes all rows anew, from row id 0 on, into pages, index and history of their own; older
    /// versions keep theirs.
    fn renumber(&mut self) -> Result<(), KernelError> {
        let coder = self.index.coder().emptied()?;
        let mut fresh = Self::with_coder(Arc::clone(&self.schema), &self.key, self.options, coder);
        for number in self.garbage.live_pages() {
            let (places, piece) = self.live_piece(number)?;
            let keys = fresh.keys_of(&piece)?;
            let words = admit(fresh.index.coder(), &keys)?;
            let prepared = fresh.pages.prepare(std::slice::from_ref(&piece))?;
            fresh.put(prepared, &words, places.len(), Putting::Rows);
        }
        fresh.commits = self.commits;
        *self = fresh;
        Ok(())
    }

    /// Puts all live rows into an index of another coder.
    fn change_index(&mut self, coder: KeyCoder) -> Result<(), KernelError> {
        let mut index = LiveIndex::new(coder, &self.options);
        let directory = self.pages.directory();
        for number in self.garbage.live_pages() {
            let (places, piece) = self.live_piece(number)?;
            let keys = self.keys_of(&piece)?;
            let words = admit(index.coder(), &keys)?;
            index.put(&words, |at| directory.row_at(number, places[at]), |_, _| ());
        }
        self.index = index;
        Ok(())
    }

    /// Makes a version of what is there now.
    pub(super) fn publish(&mut self) -> Arc<Version> {
        self.commits += 1;
        let index = self.index.view();
        let memory = LiveMemory {
            column_bytes: self.pages.column_bytes().to_vec(),
            index_bytes: index.heap_bytes() + self.garbage.heap_bytes(),
            history_bytes: self.history.heap_bytes(),
            live_rows: self.live_rows,
            garbage_rows: self.garbage.stored_rows() - self.live_rows,
        };
        let version = Arc::new(Version {
            schema: Arc::clone(&self.schema),
            number: self.commits,
            height: self.next,
            pages: self.pages.directory().clone(),
            index,
            history: Arc::clone(&self.history),
            memory,
        });
        self.versions.push((self.next, Arc::downgrade(&version)));
        version
    }

    fn check_columns(&self, batch: &RecordBatch) -> Result<(), KernelError> {
        if batch.num_columns() != self.schema.fields().len() {
            return Err(KernelError::ColumnCount {
                expected: self.schema.fields().len(),
                found: batch.num_columns(),
            });
        }
        for (position, (column, field)) in batch.columns().iter().zip(self.schema.fields()).enumerate() {
            if column.data_type() != field.data_type() {
                return Err(KernelError::ColumnTypeMismatch {
                    position,
                    expected: field.data_type().clone(),
                    found: column.data_type().clone(),
                });
            }
        }
        Ok(())
    }
}

/// Encodes keys of which each is known to have a word.
fn admit<'a>(coder: &KeyCoder, columns: &'a [ArrayRef]) -> Result<Words<'a>, KernelError> {
    let words = coder.admit(columns)?;
    words.ok_or(KernelError::LayoutNotPossible {
        layout: KeyLayout::Fixed16,
        reason: "a key does not fit the words that were widened for it",
    })
}

/// Numbers of rows were checked to be row ids.
#[expect(clippy::cast_possible_truncation, reason = "row ids are 32 bits wide")]
fn narrow(rows: usize) -> u32 {
    rows as u32
}

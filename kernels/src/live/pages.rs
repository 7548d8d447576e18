//! Pages: the rows of a live table in columns, so many a page, addressed by row id.
//!
//! ```text
//!   row id   │ group │ page of 256 │ place in the page │
//!
//!   directory ─▶ group ─▶ page ─▶ columns (Arrow arrays)
//!             ─▶ group    page         immutable; the last page is replaced by a longer one
//!                         none         as rows are added, and dropped when no row of it lives
//! ```
//!
//! A version copies the directory, which has one pointer for two million rows; the writer copies
//! the groups it changes, 256 pointers each. So a commit costs no more in a large table.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_schema::DataType;
use arrow_select::concat::concat;
use rayon::prelude::*;

use crate::{KernelError, RowId};

/// Pages of a group.
const GROUP_PAGES: usize = 256;

/// Buffers of texts that the last page may share with the batches it came from.
const SHARED_BUFFERS_MAX: usize = 8;

/// Rows in columns.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) columns: Vec<ArrayRef>,
    pub(super) rows: usize,
    /// The bytes of each column.
    bytes: Box<[usize]>,
}

type Group = [Option<Arc<Page>>; GROUP_PAGES];

/// Finds a page by its number.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    groups: Vec<Arc<Group>>,
    shift: u32,
}

impl Directory {
    fn new(page_rows: usize) -> Self {
        Self {
            groups: Vec::new(),
            shift: page_rows.trailing_zeros(),
        }
    }

    /// Returns the number of a row's page, and its place there.
    #[inline(always)]
    pub(super) fn place_of(&self, row: RowId) -> (usize, usize) {
        (
            (row >> self.shift) as usize,
            row as usize & ((1 << self.shift) - 1),
        )
    }

    /// Returns the row id at a place of a page.
    pub(super) fn row_at(&self, page: usize, place: u32) -> RowId {
        u32::try_from(page << self.shift).map_or(crate::NO_ROW, |first| first + place)
    }

    /// Returns a page; none where it was dropped or never was.
    #[inline(always)]
    pub(super) fn page(&self, number: usize) -> Option<&Arc<Page>> {
        self.groups.get(number / GROUP_PAGES)?[number % GROUP_PAGES].as_ref()
    }

    /// Returns one more than the greatest page number there may be.
    pub(super) fn end(&self) -> usize {
        self.groups.len() * GROUP_PAGES
    }

    fn set(&mut self, number: usize, page: Option<Arc<Page>>) -> Option<Arc<Page>> {
        while self.groups.len() <= number / GROUP_PAGES {
            self.groups.push(Arc::new(std::array::from_fn(|_| None)));
        }
        let group = Arc::make_mut(&mut self.groups[number / GROUP_PAGES]);
        std::mem::replace(&mut group[number % GROUP_PAGES], page)
    }
}

/// The writer's pages.
#[derive(Debug)]
pub(super) struct PageStore {
    directory: Directory,
    page_rows: usize,
    /// The number of the page that is not full, and its rows.
    last: usize,
    last_rows: usize,
    /// Bytes of each column over all pages.
    column_bytes: Vec<usize>,
}

/// Pages that are made and not yet put in their places.
pub(super) struct Prepared {
    pages: Vec<Page>,
    last_rows: usize,
}

impl PageStore {
    pub(super) fn new(page_rows: usize, columns: usize) -> Self {
        Self {
            directory: Directory::new(page_rows),
            page_rows,
            last: 0,
            last_rows: 0,
            column_bytes: vec![0; columns],
        }
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(super) fn column_bytes(&self) -> &[usize] {
        &self.column_bytes
    }

    /// Makes the pages that the store has once pieces are added, each of columns of one length.
    /// Values are copied, so that nothing of a large batch is kept for a few rows.
    pub(super) fn prepare(&self, pieces: &[Vec<ArrayRef>]) -> Result<Prepared, KernelError> {
        let mut parts: Vec<Vec<ArrayRef>> = Vec::new();
        if self.last_rows > 0
            && let Some(page) = self.directory.page(self.last)
        {
            parts.push(page.columns.clone());
        }
        let mut filled = self.last_rows;
        let mut pages = Vec::new();
        for piece in pieces {
            let rows = piece.first().map_or(0, |column| column.len());
            let mut from = 0;
            while from < rows {
                let take = (self.page_rows - filled).min(rows - from);
                parts.push(piece.iter().map(|column| column.slice(from, take)).collect());
                (filled, from) = (filled + take, from + take);
                if filled == self.page_rows {
                    pages.push(merge(&parts, filled, true)?);
                    parts.clear();
                    filled = 0;
                }
            }
        }
        if !parts.is_empty() {
            pages.push(merge(&parts, filled, false)?);
        }
        Ok(Prepared {
            pages,
            last_rows: filled,
        })
    }

    /// Puts prepared pages in their places.
    pub(super) fn install(&mut self, prepared: Prepared) {
        let count = prepared.pages.len();
        for (offset, page) in prepared.pages.into_iter().enumerate() {
            add_bytes(&mut self.column_bytes, &page);
            let old = self.directory.set(self.last + offset, Some(Arc::new(page)));
            if let Some(old) = old {
                remove_bytes(&mut self.column_bytes, &old);
            }
        }
        self.last += count - usize::from(prepared.last_rows > 0);
        self.last_rows = prepared.last_rows;
    }

    /// Puts pages of rows in their places after those there are, each counted as full: the row ids
    /// that one has no rows for are never given out.
    pub(super) fn adopt(&mut self, pages: Vec<Page>) {
        debug_assert!(self.last_rows == 0, "a page that is not full takes the next rows");
        for page in pages {
            add_bytes(&mut self.column_bytes, &page);
            self.directory.set(self.last, Some(Arc::new(page)));
            self.last += 1;
        }
    }

    /// Drops a full page.
    pub(super) fn drop_page(&mut self, number: usize) {
        if let Some(old) = self.directory.set(number, None) {
            remove_bytes(&mut self.column_bytes, &old);
        }
    }
}

fn add_bytes(bytes: &mut [usize], page: &Page) {
    for (bytes, held) in bytes.iter_mut().zip(&page.bytes) {
        *bytes += held;
    }
}

fn remove_bytes(bytes: &mut [usize], page: &Page) {
    for (bytes, held) in bytes.iter_mut().zip(&page.bytes) {
        *bytes = bytes.saturating_sub(*held);
    }
}

/// Copies parts into one page.
fn merge(parts: &[Vec<ArrayRef>], rows: usize, is_full: bool) -> Result<Page, KernelError> {
    let width = parts.first().map_or(0, Vec::len);
    let columns: Vec<ArrayRef> = (0..width)
        .map(|at| {
            let mut arrays: Vec<&dyn Array> = parts.iter().map(|part| part[at].as_ref()).collect();
            // A single array would be shared instead of copied.
            let nothing = new_empty_array(arrays[0].data_type());
            if arrays.len() == 1 {
                arrays.push(nothing.as_ref());
            }
            Ok(own_texts(concat(&arrays)?, is_full))
        })
        .collect::<Result<_, KernelError>>()?;
    let bytes = columns.iter().map(|column| column.get_buffer_memory_size());
    Ok(Page {
        bytes: bytes.collect(),
        columns,
        rows,
    })
}

/// Batches that become one page.
struct Joined {
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Whether it is part of a longer batch, which it should not keep.
    is_cut: bool,
}

/// Makes pages of batches as they are, as far as they are no longer than a page; longer ones are
/// cut, and short ones that follow each other are put together, which both copies them. Of two
/// pages in a row at least one is half full.
pub(super) fn pages_of(batches: Vec<RecordBatch>, page_rows: usize) -> Result<Vec<Page>, KernelError> {
    let mut groups: Vec<Joined> = Vec::new();
    for batch in batches {
        let all = batch.num_rows();
        for from in (0..all).step_by(page_rows) {
            let rows = page_rows.min(all - from);
            let part = batch.slice(from, rows);
            match groups.last_mut() {
                Some(group) if group.rows + rows <= page_rows => {
                    group.batches.push(part);
                    group.rows += rows;
                }
                _ => groups.push(Joined {
                    batches: vec![part],
                    rows,
                    is_cut: all > page_rows,
                }),
            }
        }
    }
    groups.into_par_iter().map(page_of).collect()
}

fn page_of(group: Joined) -> Result<Page, KernelError> {
    if let [batch] = group.batches.as_slice()
        && !group.is_cut
    {
        let columns = batch.columns().to_vec();
        let bytes = columns.iter().map(|column| used_bytes(&column.to_data()));
        return Ok(Page {
            rows: group.rows,
            bytes: bytes.collect(),
            columns,
        });
    }
    let parts: Vec<Vec<ArrayRef>> = group
        .batches
        .iter()
        .map(|batch| batch.columns().to_vec())
        .collect();
    merge(&parts, group.rows, true)
}

/// Counts the bytes that a column uses. Its buffers may be parts of one allocation, which
/// `get_buffer_memory_size` would count once for each.
fn used_bytes(data: &ArrayData) -> usize {
    let own: usize = data.buffers().iter().map(Buffer::len).sum();
    let nulls = data.nulls().map_or(0, |nulls| nulls.buffer().len());
    own + nulls + data.child_data().iter().map(used_bytes).sum::<usize>()
}

/// Copies the bytes behind views that are shared with too many batches.
fn own_texts(column: ArrayRef, is_full: bool) -> ArrayRef {
    let is_shared = |buffers: usize| buffers > SHARED_BUFFERS_MAX || (is_full && buffers > 0);
    match column.data_type() {
        DataType::Utf8View if is_shared(column.as_string_view().data_buffers().len()) => {
            Arc::new(column.as_string_view().gc())
        }
        DataType::BinaryView if is_shared(column.as_binary_view().data_buffers().len()) => {
            Arc::new(column.as_binary_view().gc())
        }
        _ => column,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, Int32Array, StringViewArray};

    use super::PageStore;

    fn piece(values: std::ops::Range<i32>) -> Vec<ArrayRef> {
        let texts = values
            .clone()
            .map(|value| format!("a text of more than twelve bytes {value}"));
        let texts = Arc::new(StringViewArray::from_iter_values(texts));
        vec![Arc::new(Int32Array::from_iter_values(values)), texts]
    }

    #[test]
    fn batches_become_pages_and_share_what_is_theirs_alone() {
        let batch = |values: std::ops::Range<i32>| {
            let [numbers, texts]: [ArrayRef; 2] = piece(values).try_into().unwrap();
            arrow_array::RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).unwrap()
        };
        let batches = [0..7, 7..10, 10..10, 10..30, 30..32, 32..38, 38..46].map(batch);
        let pages = super::pages_of(batches.to_vec(), 8).unwrap();
        let rows: Vec<usize> = pages.iter().map(|page| page.rows).collect();
        assert_eq!(rows, [7, 3, 8, 8, 6, 6, 8]);
        let mut expected = 0;
        for page in &pages {
            for value in page.columns[0].as_primitive::<Int32Type>().values() {
                assert_eq!(*value, expected);
                expected += 1;
            }
        }
        let address = |column: &ArrayRef| column.as_primitive::<Int32Type>().values().as_ptr();
        assert_eq!(address(&pages[0].columns[0]), address(batches[0].column(0)));
        assert_ne!(address(&pages[2].columns[0]), address(batches[3].column(0)));
        // A page counts what it uses, not the allocation around it.
        assert_eq!(pages[0].bytes[0], 28);
    }

    #[test]
    fn fills_pages_and_copies_groups_only_when_shared() {
        let mut store = PageStore::new(8, 2);
        for from in [0, 5, 10] {
            let prepared = store.prepare(&[piece(from..from + 5)]).unwrap();
            store.install(prepared);
        }
        let before = store.directory().clone();
        let prepared = store.prepare(&[piece(15..16), piece(16..30)]).unwrap();
        store.install(prepared);
        assert!(before.page(2).is_none());
        assert_eq!(before.page(1).unwrap().rows, 7);
        for value in 0..30 {
            let (page, place) = store.directory().place_of(value);
            let page = store.directory().page(page).unwrap();
            assert_eq!(
                page.columns[0].as_primitive::<Int32Type>().value(place),
                value as i32
            );
            let text = page.columns[1].as_string_view().value(place);
            assert_eq!(text, format!("a text of more than twelve bytes {value}"));
        }
        let held = store.column_bytes()[0];
        store.drop_page(1);
        assert!(store.directory().page(1).is_none() && store.column_bytes()[0] < held);
        assert_eq!(store.directory().row_at(3, 5), 29);
    }
}

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
use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_schema::DataType;
use arrow_select::concat::concat;

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

    /// Drops a full page.
    pub(super) fn drop_page(&mut self, number: usize) {
        if let Some(old) = self.directory.set(number, None) {
            remove_bytes(&mut self.column_bytes, &old);
        }
    }
}

fn add_bytes(bytes: &mut [usize], page: &Page) {
    for (bytes, column) in bytes.iter_mut().zip(&page.columns) {
        *bytes += column.get_buffer_memory_size();
    }
}

fn remove_bytes(bytes: &mut [usize], page: &Page) {
    for (bytes, column) in bytes.iter_mut().zip(&page.columns) {
        *bytes = bytes.saturating_sub(column.get_buffer_memory_size());
    }
}

/// Copies parts into one page.
fn merge(parts: &[Vec<ArrayRef>], rows: usize, is_full: bool) -> Result<Page, KernelError> {
    let width = parts.first().map_or(0, Vec::len);
    let columns = (0..width)
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
    Ok(Page { columns, rows })
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

//! History: for each newer row, the row it replaced; how an older version finds its own rows.
//!
//! ```text
//!   slot of a key ─▶ row 90 ─▶ row 71 ─▶ row 12 ─▶ nothing
//!                                        a version of height 50 sees row 12
//! ```
//!
//! A version sees the rows below its *height*. The index names the newest row of a key; where that
//! is not below the height, the version follows the history until it is. Entries are needed only
//! for rows that some living version does not see, so the pages below the lowest height are
//! dropped, and a row that no living version could stop at is taken out of the chain: a chain has
//! about one entry for each living version, however often its key changes.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::slot::{EMPTY, id_of, row_or_none};
use crate::RowId;

/// What the rows of a table replaced, as far back as a version may ask.
#[derive(Debug)]
pub(super) struct History {
    pages: RwLock<Pages>,
}

#[derive(Debug)]
struct Pages {
    /// Bits of a row id that name a place in its page.
    shift: u32,
    /// The number of the first page.
    first: usize,
    pages: VecDeque<Arc<[AtomicU32]>>,
}

/// The history, open: pages are neither added nor dropped meanwhile. The writer opens it to note
/// what it replaces, and readers may look at the same time: entries are atomics, and a reader
/// comes to one only through a slot or an entry that was stored after it.
pub(super) struct OpenHistory<'a>(RwLockReadGuard<'a, Pages>);

impl History {
    pub(super) fn new(page_rows: usize) -> Self {
        Self {
            pages: RwLock::new(Pages {
                shift: page_rows.trailing_zeros(),
                first: 0,
                pages: VecDeque::new(),
            }),
        }
    }

    pub(super) fn open(&self) -> OpenHistory<'_> {
        OpenHistory(self.pages.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Drops what no version of at least this height asks for, and makes room for rows below
    /// `end`. For the writer.
    pub(super) fn prepare(&self, lowest_height: RowId, end: RowId) {
        let is_ready = {
            let open = self.open();
            let pages = &*open.0;
            let last = pages.first + pages.pages.len();
            lowest_height >> pages.shift <= widen(pages.first) && (end >> pages.shift) < widen(last)
        };
        if is_ready {
            return;
        }
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        let (shift, rows) = (pages.shift, 1_usize << pages.shift);
        while !pages.pages.is_empty() && widen(pages.first) < lowest_height >> shift {
            pages.pages.pop_front();
            pages.first += 1;
        }
        if pages.pages.is_empty() {
            pages.first = (lowest_height >> shift) as usize;
        }
        while widen(pages.first + pages.pages.len()) <= end >> shift {
            pages
                .pages
                .push_back((0..rows).map(|_| AtomicU32::new(EMPTY)).collect());
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let open = self.open();
        (open.0.pages.len() * size_of::<AtomicU32>()) << open.0.shift
    }
}

/// Page numbers fit row ids, of which they are parts.
fn widen(page: usize) -> u32 {
    u32::try_from(page).unwrap_or(u32::MAX)
}

impl OpenHistory<'_> {
    #[inline(always)]
    fn entry(&self, row: RowId) -> Option<&AtomicU32> {
        let pages = &*self.0;
        let page = ((row >> pages.shift) as usize).checked_sub(pages.first)?;
        pages
            .pages
            .get(page)?
            .get(row as usize & ((1 << pages.shift) - 1))
    }

    /// Notes what a row replaces.
    #[inline(always)]
    pub(super) fn note(&self, row: RowId, replaced: u32) {
        debug_assert!(
            self.entry(row).is_some(),
            "the history has room for every new row"
        );
        if let Some(entry) = self.entry(row) {
            entry.store(replaced, Relaxed);
        }
    }

    /// Returns what a row replaced, or `EMPTY`.
    #[inline(always)]
    fn replaced(&self, row: RowId) -> u32 {
        self.entry(row).map_or(EMPTY, |entry| entry.load(Relaxed))
    }

    /// Takes the predecessor of a row that was just replaced itself out of its chain, where none
    /// of the heights (ascending) stops there.
    #[inline]
    pub(super) fn shorten(&self, row: RowId, heights: &[RowId]) {
        if heights.first().is_none_or(|lowest| *lowest > row) {
            return;
        }
        let before = self.replaced(row);
        if before == EMPTY {
            return;
        }
        // A version stops at `before` if it sees that and not `row`.
        let from = heights.partition_point(|height| *height <= id_of(before));
        if heights.get(from).is_none_or(|height| *height > row) {
            self.note(row, self.replaced(id_of(before)));
        }
    }

    /// Returns the row that a version of some height sees of a slot, or `NO_ROW`.
    pub(super) fn resolve(&self, mut slot: u32, height: RowId) -> RowId {
        while slot != EMPTY && id_of(slot) >= height {
            slot = self.replaced(id_of(slot));
        }
        row_or_none(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::History;
    use crate::NO_ROW;
    use crate::live::slot::{DELETED, EMPTY};

    #[test]
    fn resolves_and_forgets() {
        let history = History::new(4);
        history.prepare(0, 20);
        let open = history.open();
        open.note(3, EMPTY);
        open.note(7, 3);
        open.note(9, DELETED | 7);
        assert_eq!(open.resolve(9, 10), 9);
        assert_eq!(open.resolve(9, 8), NO_ROW);
        assert_eq!(open.resolve(9, 7), 3);
        assert_eq!(open.resolve(9, 3), NO_ROW);
        drop(open);
        assert_eq!(history.heap_bytes(), 6 * 16);
        history.prepare(9, 20);
        assert_eq!(history.heap_bytes(), 4 * 16);
        assert_eq!(history.open().resolve(9, 9), NO_ROW);
    }

    #[test]
    fn shortens_chains_to_what_versions_see() {
        let history = History::new(64);
        history.prepare(0, 63);
        let open = history.open();
        // A key's rows 0 to 40; versions see what is below 5 and below 30.
        for row in 0..=40 {
            open.note(row, if row == 0 { EMPTY } else { row - 1 });
            if row > 0 {
                open.shorten(row - 1, &[5, 30]);
            }
        }
        for height in [5, 30, 41] {
            assert_eq!(open.resolve(40, height), height - 1);
        }
        let mut steps = 0;
        let mut row = 40;
        while row != EMPTY && row >= 5 {
            row = open.replaced(row);
            steps += 1;
        }
        assert!(steps <= 5, "{steps} steps");
    }
}

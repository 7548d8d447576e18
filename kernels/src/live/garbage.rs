//! Garbage: which rows are dead, and which page is the most worth writing anew.
//!
//! Rows are never overwritten, so a replaced or deleted one stays in its page until the page goes.
//! Once there are more dead rows than live ones, the emptiest pages are taken first: what lives in
//! them is written again at the end, and they are dropped. Taking the emptiest is the greedy
//! policy of log-structured file systems (Rosenblum and Ousterhout, "The design and implementation
//! of a log-structured file system", 1992): under random updates it copies about a quarter of a
//! row for each one that died, where taking every half-empty page would copy a whole one.

use crate::RowId;

/// Classes of pages by how many of their rows live.
const CLASSES: usize = 16;

/// What the writer knows of a page.
#[derive(Debug, Default)]
struct PageCount {
    rows: u32,
    live: u32,
    /// Whether the page is full: only then may it be dropped.
    is_sealed: bool,
    /// A bit for each row; empty for a page that was dropped.
    dead: Box<[u64]>,
}

/// Counts live and dead rows, page by page.
#[derive(Debug)]
pub(super) struct Garbage {
    shift: u32,
    pages: Vec<PageCount>,
    /// Sealed pages by class, as they entered it; one that has left it meanwhile is passed over.
    classes: [Vec<u32>; CLASSES + 1],
    /// Sealed pages without a live row.
    empty: Vec<u32>,
    stored_rows: usize,
    /// Pages that were not dropped.
    held: usize,
}

impl Garbage {
    pub(super) fn new(page_rows: usize) -> Self {
        Self {
            shift: page_rows.trailing_zeros(),
            pages: Vec::new(),
            classes: std::array::from_fn(|_| Vec::new()),
            empty: Vec::new(),
            stored_rows: 0,
            held: 0,
        }
    }

    /// Returns the rows in all pages, dead or alive.
    pub(super) fn stored_rows(&self) -> usize {
        self.stored_rows
    }

    /// Takes note of new rows, which live or, standing for deletions, do not.
    pub(super) fn add(&mut self, first: RowId, rows: usize, live: bool) {
        let page_rows = 1_usize << self.shift;
        self.stored_rows += rows;
        let (mut from, end) = (first as usize, first as usize + rows);
        while from < end {
            let (number, at) = (from >> self.shift, from & (page_rows - 1));
            let take = (page_rows - at).min(end - from);
            if self.pages.len() <= number {
                self.pages.resize_with(number + 1, PageCount::default);
            }
            let page = &mut self.pages[number];
            if page.dead.is_empty() {
                page.dead = vec![0; page_rows.div_ceil(64)].into();
                self.held += 1;
            }
            page.rows += narrow(take);
            if live {
                page.live += narrow(take);
            } else {
                (at..at + take).for_each(|row| page.dead[row / 64] |= 1 << (row % 64));
            }
            if page.rows as usize == page_rows {
                page.is_sealed = true;
                self.enter_class(number);
            }
            from += take;
        }
    }

    /// Takes note of a page that begins at a row id and is full with so many rows: the places
    /// after them count as dead.
    pub(super) fn adopt(&mut self, first: RowId, rows: usize) {
        let gap = first as usize + rows;
        self.add(first, rows, true);
        self.add(narrow(gap), (1 << self.shift) - rows, false);
    }

    /// Takes note that a live row has died.
    #[inline(always)]
    pub(super) fn kill(&mut self, row: RowId) {
        let number = (row >> self.shift) as usize;
        let row = row as usize & ((1 << self.shift) - 1);
        let page = &mut self.pages[number];
        let class = class_of(page.live, self.shift);
        page.dead[row / 64] |= 1 << (row % 64);
        page.live -= 1;
        if page.is_sealed && (page.live == 0 || class_of(page.live, self.shift) != class) {
            self.enter_class(number);
        }
    }

    fn enter_class(&mut self, number: usize) {
        let live = self.pages[number].live;
        if live == 0 {
            self.empty.push(narrow(number));
        } else {
            self.classes[class_of(live, self.shift)].push(narrow(number));
        }
    }

    /// Takes the page with the fewest live rows, to within a class; pages without any are not
    /// among them, nor is the last page while it has room.
    pub(super) fn take_emptiest(&mut self) -> Option<usize> {
        for class in 0..self.classes.len() {
            while let Some(number) = self.classes[class].pop() {
                let page = &self.pages[number as usize];
                if page.is_sealed && page.live > 0 && class_of(page.live, self.shift) == class {
                    return Some(number as usize);
                }
            }
        }
        None
    }

    /// Gives back a page that was taken and left as it is.
    pub(super) fn give_back(&mut self, number: usize) {
        self.enter_class(number);
    }

    pub(super) fn live_rows_of(&self, number: usize) -> usize {
        self.pages.get(number).map_or(0, |page| page.live as usize)
    }

    /// Returns the pages that have become empty, which are forgotten here.
    pub(super) fn take_empty(&mut self) -> Vec<usize> {
        let mut numbers = Vec::new();
        for number in std::mem::take(&mut self.empty) {
            let number = number as usize;
            let page = std::mem::take(&mut self.pages[number]);
            if page.rows > 0 {
                self.stored_rows -= page.rows as usize;
                self.held -= 1;
                numbers.push(number);
            }
        }
        numbers
    }

    /// Returns the places of a page's live rows, ascending.
    pub(super) fn live_places(&self, number: usize) -> Vec<u32> {
        let Some(page) = self.pages.get(number) else {
            return Vec::new();
        };
        let is_live = |place: &u32| page.dead[*place as usize / 64] >> (place % 64) & 1 == 0;
        (0..page.rows).filter(is_live).collect()
    }

    /// Returns the numbers of the pages that have live rows, ascending.
    pub(super) fn live_pages(&self) -> impl Iterator<Item = usize> {
        (0..self.pages.len()).filter(|number| self.pages[*number].live > 0)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let bits = 8 * (1_usize << self.shift).div_ceil(64);
        self.pages.len() * size_of::<PageCount>() + self.held * bits
    }
}

#[inline(always)]
fn class_of(live: u32, shift: u32) -> usize {
    (live as usize * CLASSES) >> shift
}

/// Numbers of rows and pages are parts of row ids.
#[expect(clippy::cast_possible_truncation, reason = "row ids are 32 bits wide")]
fn narrow(number: usize) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::Garbage;

    #[test]
    fn finds_the_emptiest_page_and_forgets_empty_ones() {
        let mut garbage = Garbage::new(64);
        garbage.add(0, 64 * 3 + 10, true);
        assert_eq!(garbage.stored_rows(), 202);
        (0..40).for_each(|row| garbage.kill(row));
        (64..120).for_each(|row| garbage.kill(row));
        // The last page is not full, however empty.
        (192..200).for_each(|row| garbage.kill(row));
        assert_eq!(garbage.take_emptiest(), Some(1));
        garbage.give_back(1);
        assert_eq!(garbage.live_places(1), (56..64).collect::<Vec<_>>());
        (120..128).for_each(|row| garbage.kill(row));
        assert_eq!(garbage.take_empty(), [1]);
        assert_eq!(garbage.take_emptiest(), Some(0));
        assert_eq!(garbage.live_rows_of(0), 24);
        assert_eq!(garbage.stored_rows(), 138);
        assert_eq!(garbage.live_pages().collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn a_page_that_was_never_full_is_sealed() {
        let mut garbage = Garbage::new(8);
        garbage.adopt(0, 5);
        garbage.adopt(8, 8);
        assert_eq!(garbage.stored_rows(), 16);
        assert_eq!(garbage.live_places(0), [0, 1, 2, 3, 4]);
        (0..5).for_each(|row| garbage.kill(row));
        assert_eq!(garbage.take_empty(), [0]);
    }

    #[test]
    fn deletions_are_dead_on_arrival() {
        let mut garbage = Garbage::new(8);
        garbage.add(0, 5, true);
        garbage.add(5, 20, false);
        assert_eq!(garbage.take_empty(), [1, 2]);
        assert_eq!(garbage.live_places(0), [0, 1, 2, 3, 4]);
        assert_eq!(garbage.stored_rows(), 9);
    }
}

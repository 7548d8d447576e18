//! Scans of a snapshot: its rows in batches, page by page.

use std::fmt;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_select::filter::filter_record_batch;

use super::slot::{EMPTY, id_of, row_or_none};
use super::snapshot::Version;
use crate::{KernelError, NO_ROW};

/// Gives the rows of a [`LiveSnapshot`](crate::LiveSnapshot), a page at a time; made by
/// [`LiveSnapshot::scan`](crate::LiveSnapshot::scan), which has an example.
pub struct LiveScan {
    version: Arc<Version>,
    /// A bit for each row of a page that the version sees; none for pages without one.
    seen: Vec<Option<Seen>>,
    next: usize,
}

#[derive(Clone)]
struct Seen {
    bits: Box<[u64]>,
    rows: usize,
}

impl fmt::Debug for LiveScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveScan")
            .field("next_page", &self.next)
            .finish_non_exhaustive()
    }
}

impl LiveScan {
    pub(super) fn new(version: &Arc<Version>) -> Self {
        let mut seen: Vec<Option<Seen>> = vec![None; version.pages.end()];
        let mut newer = Vec::new();
        for shard in 0..version.index.shard_count() {
            version.index.each_slot(shard, |slot| {
                if id_of(slot) >= version.height && slot != EMPTY {
                    newer.push(slot);
                } else {
                    mark(version, &mut seen, row_or_none(slot));
                }
            });
            // A shard at a time, so that the writer never waits long for the history.
            let history = version.history.open();
            for slot in newer.drain(..) {
                mark(version, &mut seen, history.resolve(slot, version.height));
            }
        }
        Self {
            version: Arc::clone(version),
            seen,
            next: 0,
        }
    }

    fn batch(&self, number: usize, seen: &Seen) -> Result<RecordBatch, KernelError> {
        let page = self
            .version
            .pages
            .page(number)
            .ok_or(KernelError::RowOutOfRange {
                row: self.version.pages.row_at(number, 0),
                rows: 0,
            })?;
        // A deletion's place holds NULLs in columns that may have none: so only rows that are
        // there become a batch.
        let columns = page.columns.clone();
        if seen.rows == page.rows {
            return Ok(RecordBatch::try_new(Arc::clone(&self.version.schema), columns)?);
        }
        let bits = Buffer::from_slice_ref(&*seen.bits);
        let keep = BooleanArray::new(BooleanBuffer::new(bits, 0, page.rows), None);
        let fields = self.version.schema.fields().iter();
        let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
        let loose = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
        let kept = filter_record_batch(&RecordBatch::try_new(loose, columns)?, &keep)?;
        let columns = kept.columns().to_vec();
        Ok(RecordBatch::try_new(Arc::clone(&self.version.schema), columns)?)
    }
}

fn mark(version: &Version, seen: &mut [Option<Seen>], row: u32) {
    if row == NO_ROW {
        return;
    }
    let (page, place) = version.pages.place_of(row);
    let Some(entry) = seen.get_mut(page) else {
        return;
    };
    let rows = version.pages.page(page).map_or(0, |page| page.rows);
    let entry = entry.get_or_insert_with(|| Seen {
        bits: vec![0; rows.div_ceil(64)].into(),
        rows: 0,
    });
    if let Some(word) = entry.bits.get_mut(place / 64) {
        *word |= 1 << (place % 64);
        entry.rows += 1;
    }
}

impl Iterator for LiveScan {
    type Item = Result<RecordBatch, KernelError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.seen.len() {
            let number = self.next;
            self.next += 1;
            if let Some(seen) = self.seen[number].take() {
                return Some(self.batch(number, &seen));
            }
        }
        None
    }
}

//! Sizes of a live table: right as they are, and small in tests so that every boundary is met.

/// One past the greatest row id: the top bit of a slot marks a deletion, and all ones mark
/// emptiness.
pub(super) const ROW_IDS_MAX: u32 = (1 << 31) - 1;

/// Says how large the parts of a live table are. The default is right outside tests.
///
/// ```
/// use fletching_kernels::LiveOptions;
/// let options = LiveOptions { page_rows: 1024, ..LiveOptions::default() };
/// assert_eq!(options.shards, 256);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveOptions {
    /// Rows of a page, a power of two (others are rounded up, to 65,536 at most). A commit copies
    /// the last page, so this bounds what a single row costs.
    pub page_rows: usize,
    /// Parts of the index, a power of two (others are rounded up, to 4,096 at most). One part is
    /// rebuilt at a time, so this bounds the longest pause of the writer.
    pub shards: usize,
    /// Dead rows that are left alone however few rows live.
    pub garbage_rows_min: usize,
    /// Row ids there are; once they are used up, all rows are written anew.
    pub row_ids_max: u32,
    /// Bits kept of every hash: all of them, or few to force collisions in tests.
    pub hash_mask: u64,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            page_rows: 8192,
            shards: 256,
            garbage_rows_min: 1 << 16,
            row_ids_max: ROW_IDS_MAX,
            hash_mask: u64::MAX,
        }
    }
}

impl LiveOptions {
    /// Brings the sizes to what the parts can work with.
    pub(super) fn checked(self) -> Self {
        Self {
            page_rows: self.page_rows.clamp(1, 1 << 16).next_power_of_two(),
            shards: self.shards.clamp(1, 1 << 12).next_power_of_two(),
            row_ids_max: self.row_ids_max.min(ROW_IDS_MAX),
            ..self
        }
    }
}

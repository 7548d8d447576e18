//! The memory account of a table: its columns, and what was built over them.
//!
//! Columns may share buffers: texts are views of the batches they came with, and a batch may be there
//! both by itself and put together with others. A buffer is counted once, with the first that has it.

use arrow::array::{ArrayData, ArrayRef};
use hashbrown::HashSet;

use super::{Table, TableSnapshot};
use crate::error::Result;

/// What a version of a table holds, in bytes and rows.
///
/// ```
/// use fletching::Session;
///
/// let session = Session::new()?;
/// session.sql(
///     "CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id));
///      INSERT INTO users VALUES (1, 'gold'), (2, 'silver')",
/// )?;
/// let users = session.table("users").expect("just created");
/// let memory = users.memory()?;
/// assert_eq!(memory.columns[1].0, "tier");
/// assert!(memory.columns.iter().all(|(_, bytes)| *bytes > 0));
/// assert_eq!(memory.total_bytes(), users.snapshot()?.memory_bytes());
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableMemory {
    /// Each column's name and bytes; of a table that changes in place with its dead rows.
    pub columns: Vec<(String, usize)>,
    /// Bytes of the indexes that were built, that by the key of a table that changes in place
    /// included.
    pub index_bytes: usize,
    /// Bytes of columns copied row by row for queries that run or are prepared.
    pub copy_bytes: usize,
    /// Bytes of the history by which older versions are read, of a table that changes in place.
    pub history_bytes: usize,
    /// Bytes of the newest row of each key, of a versioned table.
    pub newest_bytes: usize,
    /// Rows that are there.
    pub rows: usize,
    /// Rows, of a table that changes in place, that are dead and whose place is not taken back yet.
    pub garbage_rows: usize,
}

impl TableMemory {
    /// Returns all bytes together.
    ///
    /// ```
    /// # let session = fletching::Session::new()?;
    /// session.sql("CREATE TABLE none (id BIGINT)")?;
    /// assert_eq!(session.table("none").expect("just created").memory()?.total_bytes(), 0);
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn total_bytes(&self) -> usize {
        let columns = self.columns.iter().map(|(_, bytes)| bytes).sum::<usize>();
        columns + self.index_bytes + self.copy_bytes + self.history_bytes + self.newest_bytes
    }
}

impl Table {
    /// Returns what the table's current version holds.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub fn memory(&self) -> Result<TableMemory> {
        Ok(self.snapshot()?.memory())
    }
}

impl TableSnapshot {
    /// Returns what this version holds: columns, indexes, and columns copied for queries that now
    /// run or are prepared.
    pub fn memory(&self) -> TableMemory {
        self.memory_beside(&mut Buffers::default())
    }

    /// Returns the bytes held, all together.
    pub fn memory_bytes(&self) -> usize {
        self.memory().total_bytes()
    }

    /// Counts what is not counted yet.
    fn memory_beside(&self, counted: &mut Buffers) -> TableMemory {
        let live = self.live().map(fletching_kernels::LiveSnapshot::memory);
        let names = self.schema().fields().iter().map(|field| field.name().clone());
        let bytes = match &live {
            Some(live) => live.column_bytes.clone(),
            None => self.column_bytes(counted),
        };
        let newest = self.newest_built().map(|newest| newest.memory_beside(counted));
        let live = live.unwrap_or_default();
        TableMemory {
            columns: names.zip(bytes).collect(),
            index_bytes: live.index_bytes + self.built_bytes(),
            copy_bytes: self.copied_bytes(),
            history_bytes: live.history_bytes,
            newest_bytes: newest.map_or(0, |newest| newest.total_bytes()),
            rows: self.row_count(),
            garbage_rows: live.garbage_rows,
        }
    }

    /// Counts the columns of rows that are only added: in pieces, and as one batch once that is made.
    fn column_bytes(&self, counted: &mut Buffers) -> Vec<usize> {
        let mut bytes = vec![0; self.schema().fields().len()];
        for batch in self.chunks_built().iter().chain(self.rows_built()) {
            for (bytes, column) in bytes.iter_mut().zip(batch.columns()) {
                *bytes += counted.add(column);
            }
        }
        bytes
    }
}

/// The buffers that were counted, by where they are.
#[derive(Debug, Default)]
struct Buffers(HashSet<usize>);

impl Buffers {
    /// Counts the buffers of a column that are new.
    fn add(&mut self, column: &ArrayRef) -> usize {
        self.add_data(&column.to_data())
    }

    fn add_data(&mut self, data: &ArrayData) -> usize {
        let nulls = data.nulls().map(|nulls| nulls.buffer());
        let own = data.buffers().iter().chain(nulls);
        let own: usize = own
            .filter(|buffer| self.0.insert(buffer.data_ptr().as_ptr().addr()))
            .map(arrow::buffer::Buffer::capacity)
            .sum();
        let children = data.child_data().iter().map(|child| self.add_data(child));
        own + children.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringViewArray};

    use super::super::TableSnapshot;

    #[test]
    fn what_columns_share_is_counted_once() {
        let long = "a text that is longer than twelve bytes ".repeat(1000);
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str(), "short"]));
        let one = RecordBatch::try_from_iter([("a", Arc::clone(&texts))]).unwrap();
        let two = RecordBatch::try_from_iter([("a", Arc::clone(&texts)), ("b", texts)]).unwrap();
        let held = |batch: &RecordBatch, chunks: usize| {
            let schema = batch.schema();
            let snapshot = TableSnapshot::try_new(schema, vec![batch.clone(); chunks], 1, "t").unwrap();
            let before = snapshot.memory_bytes();
            snapshot.rows().unwrap();
            (before, snapshot.memory_bytes())
        };
        let (alone, put_together) = held(&one, 1);
        assert!(alone >= long.len() && put_together == alone);
        let both = held(&two, 1).0;
        assert_eq!(both, alone);
        // Put together, two pieces have views of their own and share the texts.
        let (pieces, put_together) = held(&one, 2);
        assert_eq!(pieces, alone);
        assert!(put_together > pieces && put_together < pieces + 1000);
    }
}

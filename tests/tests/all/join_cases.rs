//! One join as SQL and as columns: the same for Fletching, for DataFusion and for the oracle.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::key_values::{KeyType, as_compared, column};
use crate::nested_loop::{Condition, Kind, Pair, SideRow};

/// A join of stream `s` with table `t`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JoinCase {
    pub(crate) kind: Kind,
    pub(crate) keys: &'static [KeyType],
    pub(crate) condition: Condition,
}

impl JoinCase {
    /// Writes the join; `columns` is what it selects.
    pub(crate) fn sql(self, columns: &str) -> String {
        let mut conditions: Vec<String> = (0..self.keys.len())
            .map(|at| {
                if self.condition.null_equals_null {
                    format!("(s.k{at} IS NOT DISTINCT FROM t.k{at})")
                } else {
                    format!("s.k{at} = t.k{at}")
                }
            })
            .collect();
        if self.condition.has_residual {
            conditions.push("s.number < t.number".into());
        }
        format!(
            "SELECT {columns} FROM s {} t ON {}",
            self.kind.sql(),
            conditions.join(" AND ")
        )
    }

    /// Names the positions of the rows that a row of the result is made of.
    pub(crate) fn positions(self) -> &'static str {
        match self.kind {
            Kind::Inner | Kind::Left | Kind::Right | Kind::Full => "s.id, t.id",
            Kind::LeftSemi | Kind::LeftAnti => "s.id",
            Kind::RightSemi | Kind::RightAnti => "t.id",
        }
    }

    /// Reads those positions back.
    pub(crate) fn pairs(self, batches: &[RecordBatch]) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for batch in batches {
            let ids = |at: usize| batch.column(at).as_primitive::<Int64Type>().iter();
            match self.kind {
                Kind::Inner | Kind::Left | Kind::Right | Kind::Full => pairs.extend(ids(0).zip(ids(1))),
                Kind::LeftSemi | Kind::LeftAnti => pairs.extend(ids(0).map(|id| (id, None))),
                Kind::RightSemi | Kind::RightAnti => pairs.extend(ids(0).map(|id| (None, id))),
            }
        }
        pairs
    }

    /// Makes the columns of one side: `id`, `k0` …, `number`.
    pub(crate) fn side(self, rows: &[SideRow]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(
            0..i64::try_from(rows.len()).unwrap(),
        ));
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.number).collect::<Int64Array>());
        let keys: Vec<Option<u8>> = rows.iter().map(|row| row.key).collect();
        let mut columns = vec![("id".to_string(), ids, true)];
        for (at, kind) in self.keys.iter().enumerate() {
            columns.push((
                format!("k{at}"),
                column(*kind, &self.partly_null(at, &keys)),
                true,
            ));
        }
        columns.push(("number".to_string(), numbers, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    /// Of a key of several columns, NULL is in one column only, so that the others' values
    /// show whether NULL is looked at.
    fn partly_null(self, at: usize, keys: &[Option<u8>]) -> Vec<Option<u8>> {
        let is_last = at + 1 == self.keys.len();
        keys.iter()
            .map(|key| if is_last { *key } else { Some(key.unwrap_or(0)) })
            .collect()
    }

    /// Returns the rows as the oracle compares them.
    pub(crate) fn as_compared(self, rows: &[SideRow]) -> Vec<SideRow> {
        rows.iter()
            .map(|row| SideRow {
                key: as_compared(self.keys, row.key),
                ..*row
            })
            .collect()
    }
}

/// Cuts a batch into batches of so many rows, the last one shorter. An empty one stays itself.
pub(crate) fn cut(batch: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    if batch.num_rows() == 0 {
        return vec![batch.clone()];
    }
    (0..batch.num_rows())
        .step_by(rows)
        .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
        .collect()
}

/// Batch lengths that surround the places where things change.
pub(crate) const CUTS: [usize; 8] = [1, 2, 7, 49, 50, 51, 100, 8192];

//! What a prepared query keeps between calls, and how it is had: rows that wait for their keys, and
//! dead letters that are not published yet.

use std::sync::Arc;

use arrow::array::RecordBatch;
use fletching_planner::{Warning, WarningKind};

use super::outbox::Outbox;
use super::{Kind, Prepared};
use crate::connector::SinkSummary;
use crate::error::Result;
use crate::operator::Parking;

impl Prepared {
    /// Publishes the dead letters so far, sink by sink, and says what each sink now holds. A sink that
    /// no new letter is for is left as it is. They are published when the query is dropped, too; what
    /// goes wrong then becomes a warning of the session.
    ///
    /// Of a sink that is one file, the file has all dead letters of this query so far, and replaces
    /// what was there; they take memory until the query is dropped. Where the sink's path is a folder,
    /// each call writes one more file, and nothing is kept.
    ///
    /// # Errors
    /// Fails where a sink cannot be written; its letters are kept, and can be flushed again.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// session.sql("CREATE STREAM trades (user_id BIGINT); CREATE TABLE users (id BIGINT, PRIMARY KEY (id))")?;
    /// let query = session.prepare("SELECT t.user_id FROM trades t JOIN users u ON t.user_id = u.id")?;
    /// let user_id: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    /// query.enrich(&RecordBatch::try_from_iter([("user_id", user_id)])?)?;
    /// assert!(query.flush()?.is_empty()); // no table says on_miss = 'dead_letter'
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn flush(&self) -> Result<Vec<SinkSummary>> {
        self.outbox.as_ref().map_or_else(|| Ok(Vec::new()), Outbox::flush)
    }

    /// Returns how many rows wait for their keys.
    pub fn rows_waiting(&self) -> usize {
        let waiting = self.waiting.as_ref();
        waiting.map_or(0, |parkings| {
            parkings.lock().iter().flatten().map(Parking::rows).sum()
        })
    }

    /// Returns the rows that wait no longer: those whose key has come, and those that have waited for
    /// `miss.wait`, as `miss.then` says. What [`Prepared::enrich`] does with an empty batch.
    ///
    /// # Errors
    /// As [`Prepared::enrich`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// session.sql(
    ///     "CREATE STREAM trades (user_id BIGINT);
    ///      CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id)) WITH (on_miss = 'wait')",
    /// )?;
    /// let query = session.prepare("SELECT u.tier FROM trades t JOIN users u ON t.user_id = u.id")?;
    /// let user_id: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    /// let batch = RecordBatch::try_from_iter([("user_id", user_id)])?;
    /// assert_eq!(query.enrich(&batch)?.num_rows(), 0);
    /// assert_eq!((query.rows_waiting(), query.release()?.num_rows()), (1, 0));
    ///
    /// session.sql("INSERT INTO users VALUES (7, 'gold')")?;
    /// assert_eq!((query.release()?.num_rows(), query.rows_waiting()), (1, 0));
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn release(&self) -> Result<RecordBatch> {
        self.let_go(false)
    }

    /// Returns all rows that still wait: those whose key has come, and of the others, whatever their
    /// time, what `miss.then` says. The query can be called on.
    ///
    /// # Errors
    /// As [`Prepared::enrich`]; where `miss.then` is `error` and a key is still not there, the rows
    /// wait on.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// # let session = fletching::Session::new()?;
    /// # session.sql(
    /// #     "CREATE STREAM trades (user_id BIGINT);
    /// #      CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id))
    /// #          WITH (on_miss = 'wait', miss.then = 'null')",
    /// # )?;
    /// # let query = session.prepare("SELECT u.tier FROM trades t JOIN users u ON t.user_id = u.id")?;
    /// # let user_id: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    /// # let batch = RecordBatch::try_from_iter([("user_id", user_id)])?;
    /// assert_eq!(query.enrich(&batch)?.num_rows(), 0);
    /// assert_eq!(query.finish()?.num_rows(), 1); // miss.then = 'null'
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn finish(&self) -> Result<RecordBatch> {
        self.let_go(true)
    }

    fn let_go(&self, is_last: bool) -> Result<RecordBatch> {
        match &self.kind {
            Kind::Chain(chain) if self.waiting.is_some() => self.in_one_call(is_last, |call| {
                let nothing = RecordBatch::new_empty(Arc::clone(&self.input));
                self.one(chain.run(&nothing, call)?)
            }),
            _ => Ok(self.empty.clone()),
        }
    }

    fn warn_of_loss(&self, message: String) {
        self.session.warn(Warning::new(WarningKind::RowsLost, message));
    }
}

impl Drop for Prepared {
    /// Publishes dead letters. Rows that still wait are treated as if their time were over; those
    /// that come out of it have nobody to go to, which is warned of.
    fn drop(&mut self) {
        let waiting = self.rows_waiting();
        if waiting > 0 {
            let lost = match self.finish() {
                Ok(rows) if rows.num_rows() == 0 => None,
                Ok(rows) => Some(format!("{} rows came of them", rows.num_rows())),
                Err(error) => Some(error.to_string()),
            };
            if let Some(lost) = lost {
                self.warn_of_loss(format!(
                    "a prepared query ended while {waiting} rows waited for their keys, and nobody took them: {lost}; \
                     call finish before"
                ));
            }
        }
        if let Err(error) = self.flush() {
            self.warn_of_loss(format!(
                "dead letters of a prepared query that has ended are not published: {error}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::Session;

    fn batch(rows: &[(i64, i64)]) -> RecordBatch {
        let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let ids = column(rows.iter().map(|row| row.0).collect());
        let keys = column(rows.iter().map(|row| row.1).collect());
        RecordBatch::try_from_iter([("id", ids), ("k", keys)]).unwrap()
    }

    fn desk(options: &str) -> (Session, Prepared) {
        let session = Session::builder().threads(2).build().unwrap();
        session
            .sql(&format!(
                "CREATE STREAM s (id BIGINT, k BIGINT);
                 CREATE TABLE t (k BIGINT, v BIGINT, PRIMARY KEY (k))
                     WITH (on_miss = 'wait', miss.wait = '1h', default.v = -1, {options});
                 INSERT INTO t VALUES (1, 10)"
            ))
            .unwrap();
        let query = session.prepare("SELECT s.id, t.v, 6 / (s.id - 9) FROM s JOIN t ON s.k = t.k");
        (session, query.unwrap())
    }

    /// The rows as pairs of id and value; -9 for NULL.
    fn pairs(rows: &RecordBatch) -> Vec<(i64, i64)> {
        let column = |at: usize| rows.column(at).as_primitive::<Int64Type>();
        let value = |row: usize| {
            if column(1).is_null(row) {
                -9
            } else {
                column(1).value(row)
            }
        };
        (0..rows.num_rows())
            .map(|row| (column(0).value(row), value(row)))
            .collect()
    }

    #[test]
    fn rows_wait_for_their_time_by_the_clock_and_no_longer() {
        for (then, expected) in [
            ("miss.then = 'null'", vec![(2, -9), (3, -9)]),
            ("miss.then = 'default'", vec![(2, -1), (3, -1)]),
            ("miss.then = 'drop'", vec![]),
        ] {
            let (_session, query) = desk(then);
            let found = query.enrich(&batch(&[(1, 1), (2, 7), (3, 8)])).unwrap();
            assert_eq!(pairs(&found), [(1, 10)]);
            query.clock.advance(Duration::from_secs(59 * 60));
            assert_eq!(pairs(&query.enrich(&batch(&[(4, 7)])).unwrap()), []);
            query.clock.advance(Duration::from_secs(61));
            // The first two have had their hour; the third, of the second call, has not.
            let mut all = expected.clone();
            all.push((5, 10));
            assert_eq!(pairs(&query.enrich(&batch(&[(5, 1)])).unwrap()), all, "{then}");
            assert_eq!(query.rows_waiting(), 1);
            query.clock.advance(Duration::from_secs(60 * 60));
            assert_eq!(
                query.release().unwrap().num_rows(),
                usize::from(!expected.is_empty())
            );
            assert_eq!(query.rows_waiting(), 0);
            let counts = &query.lookup_counts()[0];
            assert_eq!((counts.parked, counts.released, counts.expired), (3, 0, 3));
        }
    }

    #[test]
    fn a_call_that_fails_parks_and_releases_nothing() {
        let (session, query) = desk("miss.then = 'null'");
        assert_eq!(query.enrich(&batch(&[(2, 7), (3, 8)])).unwrap().num_rows(), 0);
        session.sql("INSERT INTO t VALUES (7, 70)").unwrap();
        // Row 9 divides by zero, after row 2 was released and row 4 parked.
        assert!(query.enrich(&batch(&[(4, 8), (9, 1)])).is_err());
        assert_eq!(query.rows_waiting(), 2);
        assert_eq!(
            pairs(&query.enrich(&batch(&[(4, 8), (5, 1)])).unwrap()),
            [(2, 70), (5, 10)]
        );
        assert_eq!(query.rows_waiting(), 2);
        session.sql("INSERT INTO t VALUES (8, 80)").unwrap();
        assert!(
            query
                .enrich_batches(&[batch(&[(5, 1)]), batch(&[(9, 1)])])
                .is_err()
        );
        assert_eq!(pairs(&query.finish().unwrap()), [(3, 80), (4, 80)]);
        assert_eq!(query.rows_waiting(), 0);
    }

    #[test]
    fn rows_that_nobody_takes_are_warned_of() {
        for (then, warnings) in [
            ("miss.then = 'null'", 1),
            ("miss.then = 'drop'", 0),
            ("miss.then = 'error'", 1),
        ] {
            let (session, query) = desk(then);
            query.enrich(&batch(&[(2, 7)])).unwrap();
            drop(query);
            let found = session.take_warnings();
            assert_eq!(found.len(), warnings, "{then}: {found:?}");
            assert!(
                found.iter().all(|warning| warning.code() == "ROWS_LOST"),
                "{found:?}"
            );
        }
    }
}

//! `connector = 'memory'`: a stream that the program itself fills.
//!
//! ```text
//!   made by …        a query reads                     it goes on
//!   create_stream    the batches there when it begins  never: what reads it ends
//!   open_stream      the same                          until finish(): a feed is given what comes
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::{Condvar, Mutex};

use super::{Chunk, Feed, FeedRequest, Polled, Position, Reader, ScanRequest, Source, SourceSize};
use crate::error::{Error, Result};
use crate::fit::fit;

/// The one partition of such a stream.
const PARTITION: &str = "memory";

/// Batches kept in memory; every scan reads those that were there when it began.
#[derive(Debug)]
pub(crate) struct MemoryStream {
    schema: SchemaRef,
    log: Mutex<Log>,
    pushed: Condvar,
    /// Told when a feed has committed, or is gone.
    read: Condvar,
}

#[derive(Debug, Default)]
struct Log {
    batches: VecDeque<RecordBatch>,
    /// The number of the first batch that is kept.
    first: u64,
    /// Whether more is to come.
    is_open: bool,
    /// Up to where each feed has read.
    feeds: Vec<Weak<AtomicU64>>,
}

impl Log {
    /// Returns the number of the next batch to come.
    fn end(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    fn get(&self, number: u64) -> Option<&RecordBatch> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.batches.get(at)
    }
}

impl MemoryStream {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            log: Mutex::default(),
            pushed: Condvar::new(),
            read: Condvar::new(),
        }
    }

    /// Makes a stream that goes on until it is finished.
    pub(crate) fn open(schema: SchemaRef) -> Self {
        let stream = Self::new(schema);
        stream.log.lock().is_open = true;
        stream
    }

    /// Appends a batch that has the stream's columns by name.
    pub(crate) fn push(&self, batch: &RecordBatch) -> Result<()> {
        let batch = fit(batch, &self.schema)?.into_owned();
        self.log.lock().batches.push_back(batch);
        self.pushed.notify_all();
        Ok(())
    }
}

/// A stream that a program pushes batches to, and that goes on until it is finished; made by
/// [`Session::open_stream`](crate::Session::open_stream). Cheap to clone, shared by threads.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
/// use fletching::Session;
///
/// let batch = |symbols: &[i64], prices: &[i64]| -> fletching::Result<RecordBatch> {
///     let symbol: ArrayRef = Arc::new(Int64Array::from(symbols.to_vec()));
///     let price: ArrayRef = Arc::new(Int64Array::from(prices.to_vec()));
///     Ok(RecordBatch::try_from_iter([("symbol", symbol), ("price", price)])?)
/// };
/// let session = Session::new()?;
/// let quotes = session.open_stream("quotes", batch(&[], &[])?.schema())?;
/// session.sql("CREATE TABLE latest (symbol BIGINT, price BIGINT, PRIMARY KEY (symbol)) AS SELECT * FROM quotes")?;
///
/// quotes.push(&batch(&[1, 2, 1], &[10, 20, 11])?)?;
/// assert!(quotes.wait_until_read(std::time::Duration::from_secs(10)));
/// let rows = session.sql("SELECT price FROM latest WHERE symbol = 1")?.collect_batches()?;
/// assert_eq!(rows[0], batch(&[1], &[11])?.project(&[1])?);
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PushStream(Arc<MemoryStream>);

impl PushStream {
    pub(crate) fn new(stream: Arc<MemoryStream>) -> Self {
        Self(stream)
    }

    /// Appends a batch. Its columns are taken by name, in any order, and cast where their types
    /// differ. It waits for nobody: what is not read yet is kept.
    ///
    /// # Errors
    /// Fails where the batch has other columns, or the stream is finished.
    pub fn push(&self, batch: &RecordBatch) -> Result<()> {
        if !self.0.log.lock().is_open {
            return Err(Error::Batch {
                message: "the stream is finished: it takes no more batches".into(),
            });
        }
        self.0.push(batch)
    }

    /// Says that nothing more comes: those who follow the stream end when they have read what is
    /// there.
    pub fn finish(&self) {
        self.0.log.lock().is_open = false;
        self.0.pushed.notify_all();
    }

    /// Waits until everybody who follows the stream has taken in all that was pushed so far, but not
    /// longer than the time given; returns whether they have.
    pub fn wait_until_read(&self, longest: Duration) -> bool {
        let until = Instant::now() + longest;
        let mut log = self.0.log.lock();
        let end = log.end();
        loop {
            log.feeds.retain(|feed| feed.strong_count() > 0);
            let mut places = log.feeds.iter().filter_map(Weak::upgrade);
            if places.all(|place| place.load(Relaxed) >= end) {
                return true;
            }
            if self.0.read.wait_until(&mut log, until).timed_out() {
                return false;
            }
        }
    }

    /// Forgets the batches that everybody who follows the stream has read, and returns how many are
    /// still kept. Where nobody follows it, it forgets nothing. Queries that begin later read what
    /// is kept.
    pub fn forget_read(&self) -> usize {
        let mut log = self.0.log.lock();
        log.feeds.retain(|feed| feed.strong_count() > 0);
        let places = log.feeds.iter().filter_map(Weak::upgrade);
        let read = places.map(|place| place.load(Relaxed)).min();
        while log.first < read.unwrap_or(0) && log.batches.pop_front().is_some() {
            log.first += 1;
        }
        log.batches.len()
    }
}

impl Source for MemoryStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn size(&self) -> SourceSize {
        let log = self.log.lock();
        let rows = log.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        SourceSize {
            rows: Some(rows as u64),
            bytes: None,
        }
    }

    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        let shared = Arc::new(MemoryScan {
            batches: self.log.lock().batches.iter().cloned().collect(),
            next: AtomicUsize::new(0),
            rows_max: request.batch_rows_max.max(1),
        });
        let readers = request.partitions_max.min(shared.batches.len()).max(1);
        let reader = |_| -> Box<dyn Reader> {
            Box::new(MemoryReader {
                scan: Arc::clone(&shared),
                projection: request.projection.clone(),
                rest: None,
            })
        };
        Ok((0..readers).map(reader).collect())
    }

    fn is_unbounded(&self) -> bool {
        self.log.lock().is_open
    }
}

/// A source of a stream that others push to: a feed needs the stream to wait on.
#[derive(Debug)]
pub(crate) struct OpenStream(pub(crate) Arc<MemoryStream>);

impl Source for OpenStream {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn size(&self) -> SourceSize {
        self.0.size()
    }

    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        self.0.scan(request)
    }

    fn is_unbounded(&self) -> bool {
        self.0.is_unbounded()
    }

    fn feed(&self, request: &FeedRequest) -> Result<Box<dyn Feed>> {
        let (mut batch, row) = place_of(&request.from)?;
        let mut log = self.0.log.lock();
        // What was forgotten is not to be had again.
        batch = batch.max(log.first);
        let read = Arc::new(AtomicU64::new(batch));
        log.feeds.push(Arc::downgrade(&read));
        Ok(Box::new(MemoryFeed {
            stream: Arc::clone(&self.0),
            next: batch,
            row,
            opened_at: log.end(),
            read,
            projection: request.projection.clone(),
            rows_max: request.batch_rows_max.max(1),
        }))
    }
}

/// Reads a place as `batch+row`; the beginning where none is given.
fn place_of(from: &[Position]) -> Result<(u64, usize)> {
    let Some(position) = from.iter().find(|position| &*position.partition == PARTITION) else {
        return Ok((0, 0));
    };
    let parsed = position
        .place
        .split_once('+')
        .and_then(|(batch, row)| Some((batch.parse().ok()?, row.parse().ok()?)));
    parsed.ok_or_else(|| Error::Batch {
        message: format!("expected a place as in '3+0', found '{}'", position.place),
    })
}

struct MemoryFeed {
    stream: Arc<MemoryStream>,
    /// The batch to go on with, and the row of it.
    next: u64,
    row: usize,
    /// The end of the stream when the feed was opened.
    opened_at: u64,
    /// The batch up to which everything was committed.
    read: Arc<AtomicU64>,
    projection: Option<Vec<usize>>,
    rows_max: usize,
}

impl Feed for MemoryFeed {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let until = Instant::now() + wait;
        let mut log = self.stream.log.lock();
        while log.get(self.next).is_none() {
            if !log.is_open {
                return Ok(Polled::End);
            }
            if self.stream.pushed.wait_until(&mut log, until).timed_out() && log.get(self.next).is_none() {
                return Ok(if log.is_open { Polled::Idle } else { Polled::End });
            }
        }
        let Some(batch) = log.get(self.next).cloned() else {
            return Ok(Polled::Idle);
        };
        drop(log);
        let rows = self.rows_max.min(batch.num_rows().saturating_sub(self.row));
        let piece = batch.slice(self.row.min(batch.num_rows()), rows);
        self.row += rows;
        if self.row >= batch.num_rows() {
            (self.next, self.row) = (self.next + 1, 0);
        }
        let batch = match &self.projection {
            Some(columns) => piece.project(columns)?,
            None => piece,
        };
        Ok(Polled::Records(Chunk::new(
            batch,
            Position {
                partition: PARTITION.into(),
                place: format!("{}+{}", self.next, self.row),
            },
        )))
    }

    fn has_caught_up(&self) -> bool {
        self.next >= self.opened_at
    }

    fn committed(&mut self, positions: &[Position]) -> Result<()> {
        let batch = place_of(positions)?.0;
        let log = self.stream.log.lock();
        self.read.store(batch, Relaxed);
        drop(log);
        self.stream.read.notify_all();
        Ok(())
    }
}

impl Drop for MemoryFeed {
    fn drop(&mut self) {
        self.stream
            .log
            .lock()
            .feeds
            .retain(|feed| feed.as_ptr() != Arc::as_ptr(&self.read));
        self.stream.read.notify_all();
    }
}

/// What the readers of one scan share: each takes the next batch not yet taken.
struct MemoryScan {
    batches: Vec<RecordBatch>,
    next: AtomicUsize,
    rows_max: usize,
}

struct MemoryReader {
    scan: Arc<MemoryScan>,
    projection: Option<Vec<usize>>,
    rest: Option<RecordBatch>,
}

impl Reader for MemoryReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.scan.batches.get(self.scan.next.fetch_add(1, Relaxed)) {
                None => return Ok(None),
                Some(batch) => match &self.projection {
                    Some(columns) => batch.project(columns)?,
                    None => batch.clone(),
                },
            },
        };
        if batch.num_rows() > self.scan.rows_max {
            self.rest = Some(batch.slice(self.scan.rows_max, batch.num_rows() - self.scan.rows_max));
            return Ok(Some(batch.slice(0, self.scan.rows_max)));
        }
        Ok(Some(batch))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::{MemoryStream, OpenStream, PushStream};
    use crate::connector::{Feed, FeedRequest, Polled, Position, Source};

    fn numbers(values: std::ops::Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn take(feed: &mut dyn Feed) -> (RecordBatch, Position) {
        match feed.poll(Duration::ZERO).unwrap() {
            Polled::Records(chunk) => (chunk.batch, chunk.position),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_feed_goes_on_where_another_has_ended() {
        let stream = Arc::new(MemoryStream::open(numbers(0..0).schema()));
        let (source, handle) = (OpenStream(Arc::clone(&stream)), PushStream::new(stream));
        handle.push(&numbers(0..5)).unwrap();
        let small = FeedRequest {
            batch_rows_max: 3,
            ..FeedRequest::all()
        };
        let mut feed = source.feed(&small).unwrap();
        assert!(!feed.has_caught_up());
        let (first, position) = take(feed.as_mut());
        assert_eq!(first, numbers(0..3));
        let mut second = source
            .feed(&FeedRequest {
                from: vec![position],
                ..small.clone()
            })
            .unwrap();
        let (rest, position) = take(second.as_mut());
        assert_eq!(rest, numbers(3..5));
        assert!(second.has_caught_up());
        assert!(matches!(
            second.poll(Duration::from_millis(1)).unwrap(),
            Polled::Idle
        ));

        // Forgotten is what both have committed.
        handle.push(&numbers(5..6)).unwrap();
        second.committed(std::slice::from_ref(&position)).unwrap();
        assert_eq!(handle.forget_read(), 2);
        feed.committed(&[position]).unwrap();
        assert_eq!(handle.forget_read(), 1);
        assert_eq!(take(source.feed(&small).unwrap().as_mut()).0, numbers(5..6));

        handle.finish();
        assert!(handle.push(&numbers(0..1)).is_err());
        assert_eq!(take(second.as_mut()).0, numbers(5..6));
        assert!(matches!(second.poll(Duration::ZERO).unwrap(), Polled::End));
        assert!(!source.is_unbounded());
    }
}

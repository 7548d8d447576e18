//! Reads followed files one after the other, in the order of their names, and goes on where it was
//! left.
//!
//! ```text
//!  waiting: c.csv, d.csv     position of a.csv   "2400 end"   never opened again
//!  current: b.csv            position of b.csv   "512"        its first 512 rows are passed over
//! ```
//!
//! One batch is read ahead, so that the last of a file is known as its last. A file that was read and is
//! not there at two looks in a row is forgotten, so that whoever deletes what was read keeps positions few.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, max};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use fletching::connector::{Chunk, Feed, FeedRequest, Polled, Position, Reader, ReadyPoint, SourceReport};
use fletching::{Error, Result};

use super::dead_letters::{DeadLetterShare, DeadLetters};
use super::follow::Followed;
use super::paths::SourceFile;
use super::source::{Layout, Scan, batch_schema};

/// A reading of followed files.
pub(crate) struct FileFeed {
    followed: Arc<Followed>,
    /// Columns that are asked for.
    projection: Vec<usize>,
    batch_rows_max: usize,
    report: Arc<SourceReport>,
    until: ReadyPoint,
    /// Whether the snapshot, or the time, that was asked for has been passed.
    is_reached: bool,
    /// Rows of files that were begun before.
    begun: HashMap<String, u64>,
    /// Files that are read, being read, or waiting.
    seen: HashSet<String>,
    waiting: VecDeque<SourceFile>,
    current: Option<OpenFile>,
    /// Of the files that were there at first, those not yet read.
    first: HashSet<String>,
    listed: Instant,
    /// Files that were read and not found at the last look, and those whose position is to be forgotten.
    missed: HashSet<String>,
    gone: Vec<String>,
}

impl FileFeed {
    pub(crate) fn open(followed: Arc<Followed>, request: &FeedRequest) -> Result<Self> {
        let columns = followed.schema.fields().len();
        let projection = request.projection.clone();
        let mut feed = Self {
            projection: projection.unwrap_or_else(|| (0..columns).collect()),
            batch_rows_max: request.batch_rows_max,
            report: Arc::clone(&request.report),
            until: request.until,
            is_reached: false,
            begun: HashMap::new(),
            seen: HashSet::new(),
            waiting: VecDeque::new(),
            current: None,
            first: HashSet::new(),
            listed: Instant::now(),
            missed: HashSet::new(),
            gone: Vec::new(),
            followed,
        };
        for position in &request.from {
            match Place::parse(&position.place)? {
                Place { is_end: true, .. } => {
                    feed.seen.insert(position.partition.to_string());
                }
                Place { rows, .. } => {
                    feed.begun.insert(position.partition.to_string(), rows);
                }
            }
        }
        feed.list()?;
        feed.first = feed.waiting.iter().map(SourceFile::origin).collect();
        Ok(feed)
    }

    /// Looks for files not seen before.
    fn list(&mut self) -> Result<()> {
        self.listed = Instant::now();
        let files = self.followed.files()?;
        self.note_gone(&files);
        let fresh = files.into_iter().filter(|file| self.seen.insert(file.origin()));
        self.waiting.extend(fresh);
        self.waiting.make_contiguous().sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// Finds the files that were read and are gone. One look is not enough: a file may be replaced, or a
    /// folder away, just as it is listed.
    fn note_gone(&mut self, there: &[SourceFile]) {
        let there: HashSet<String> = there.iter().map(SourceFile::origin).collect();
        let at_hand = |name: &String| {
            self.current.as_ref().is_some_and(|file| file.origin == *name)
                || self.waiting.iter().any(|file| file.origin() == *name)
        };
        let known = self.seen.iter().chain(self.begun.keys());
        let missing: HashSet<String> = known
            .filter(|name| !there.contains(*name) && !at_hand(name))
            .cloned()
            .collect();
        for name in missing.intersection(&self.missed) {
            self.seen.remove(name);
            self.begun.remove(name);
            self.gone.push(name.clone());
        }
        self.missed = missing.difference(&self.missed).cloned().collect();
    }

    /// Lets go of a file that cannot be read, so that polling again tries the rest of it again.
    fn put_back(&mut self) {
        if let Some(file) = self.current.take() {
            self.begun.insert(file.origin.clone(), file.given);
            self.waiting.push_front(file.file);
        }
    }

    /// Returns the next records of the files that are known.
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        loop {
            if self.current.is_none() {
                let Some(file) = self.waiting.front().cloned() else {
                    return Ok(None);
                };
                let rows = self.begun.get(&file.origin()).copied().unwrap_or(0);
                self.current = Some(OpenFile::open(self, file, rows)?);
                self.waiting.pop_front();
            }
            let Some(file) = &mut self.current else {
                return Err(Error::internal("no file is open"));
            };
            let given = match file.next() {
                Ok(given) => given,
                Err(error) => {
                    self.put_back();
                    return Err(error);
                }
            };
            if given.as_ref().is_none_or(|given| given.place.is_end) {
                self.first.remove(&file.origin);
                if let Some(share) = file.share.take() {
                    share.finish()?;
                }
            }
            let Some(given) = given else {
                self.current = None;
                continue;
            };
            self.is_reached |= match self.until {
                ReadyPoint::Snapshot => given.is_snapshot_over,
                ReadyPoint::Timestamp(time_us) => given.time_us >= time_us,
                _ => false,
            };
            return Ok(Some(Chunk::new(
                given.batch,
                Position {
                    partition: file.origin.as_str().into(),
                    place: given.place.text(),
                },
            )));
        }
    }
}

impl Feed for FileFeed {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let until = Instant::now() + wait;
        loop {
            if let Some(name) = self.gone.pop() {
                return Ok(Polled::Gone(name.into()));
            }
            if let Some(chunk) = self.next_chunk()? {
                self.report.add_rows(chunk.batch.num_rows() as u64);
                return Ok(Polled::Records(chunk));
            }
            let due = self.followed.interval.saturating_sub(self.listed.elapsed());
            if due.is_zero() {
                self.list()?;
                if !self.waiting.is_empty() {
                    continue;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Polled::Idle);
            }
            let due = self.followed.interval.saturating_sub(self.listed.elapsed());
            thread::sleep(left.min(due));
        }
    }

    fn has_caught_up(&self) -> bool {
        match self.until {
            ReadyPoint::End => self.first.is_empty(),
            _ => self.is_reached,
        }
    }
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    rows: u64,
    is_end: bool,
}

impl Place {
    fn text(self) -> String {
        let end = if self.is_end { " end" } else { "" };
        format!("{}{end}", self.rows)
    }

    fn parse(text: &str) -> Result<Self> {
        let (number, is_end) = match text.strip_suffix(" end") {
            Some(number) => (number, true),
            None => (text, false),
        };
        match number.parse() {
            Ok(rows) => Ok(Self { rows, is_end }),
            Err(_) => Err(Error::External {
                message: format!("'{text}' is no position in a file"),
                source: None,
            }),
        }
    }
}

/// Records of a file, with what was noticed of them.
struct Given {
    batch: RecordBatch,
    place: Place,
    time_us: i64,
    is_snapshot_over: bool,
}

/// The file that is being read.
struct OpenFile {
    file: SourceFile,
    origin: String,
    layout: Arc<dyn Layout>,
    scan: Scan,
    units: Range<usize>,
    reader: Option<Box<dyn Reader>>,
    /// Which columns of a batch are given, and which is its time.
    kept: Vec<usize>,
    time: Option<usize>,
    /// Rows read so far, rows given, and rows to pass over first.
    rows: u64,
    given: u64,
    pass: u64,
    ahead: Option<Given>,
    /// Why there is nothing ahead.
    failed: Option<Error>,
    share: Option<DeadLetterShare>,
}

impl OpenFile {
    fn open(feed: &FileFeed, file: SourceFile, pass: u64) -> Result<Self> {
        let followed = &feed.followed;
        let origin = file.origin();
        let layout = followed.open_one(file.clone())?;
        let dead_letters = layout.dead_letters()?;
        let mut projection = feed.projection.clone();
        let time = followed.event_time.map(|time| {
            projection.iter().position(|at| *at == time).unwrap_or_else(|| {
                projection.push(time);
                projection.len() - 1
            })
        });
        let mut kept: Vec<usize> = (0..feed.projection.len()).collect();
        if followed.has_changes() {
            kept.push(projection.len());
        }
        let schema = batch_schema(&followed.schema, followed.has_changes());
        let scan = Scan::new(&schema, Some(&projection), feed.batch_rows_max, &feed.report)?;
        Ok(Self {
            units: 0..layout.units().len(),
            scan: Scan {
                dead_letters: dead_letters.clone(),
                ..scan
            },
            share: dead_letters.as_ref().map(DeadLetters::share),
            file,
            origin,
            layout,
            reader: None,
            kept,
            time,
            rows: 0,
            given: pass,
            pass,
            ahead: None,
            failed: None,
        })
    }

    /// Returns the next records; none at the file's end.
    fn next(&mut self) -> Result<Option<Given>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut given = match self.ahead.take() {
            Some(given) => given,
            None => match self.pull()? {
                Some(given) => given,
                None => return Ok(None),
            },
        };
        match self.pull() {
            Ok(Some(next)) => self.ahead = Some(next),
            Ok(None) => given.place.is_end = true,
            // What comes before the error is whole, and given first.
            Err(error) => self.failed = Some(error),
        }
        self.given = given.place.rows;
        Ok(Some(given))
    }

    fn pull(&mut self) -> Result<Option<Given>> {
        loop {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => match self.units.next() {
                    Some(unit) => self.reader.insert(self.layout.open(unit, &self.scan)?),
                    None => return Ok(None),
                },
            };
            let Some(batch) = reader.next_batch()? else {
                self.reader = None;
                continue;
            };
            let rows = batch.num_rows() as u64;
            let passed = rows.min(self.pass);
            self.pass -= passed;
            self.rows += rows;
            if passed == rows {
                continue;
            }
            let from = usize::try_from(passed).unwrap_or(0);
            let batch = batch.slice(from, batch.num_rows() - from);
            return self.told(&batch).map(Some);
        }
    }

    /// Adds what is known of records.
    fn told(&self, batch: &RecordBatch) -> Result<Given> {
        let marks = &self.scan.marks;
        let mut time_us = marks.time_us();
        if let Some(column) = self.time.map(|at| batch.column(at)) {
            let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let latest = max(times.as_primitive::<TimestampMicrosecondType>());
            time_us = latest.unwrap_or(time_us).max(time_us);
        }
        Ok(Given {
            batch: batch.project(&self.kept)?,
            place: Place {
                rows: self.rows,
                is_end: false,
            },
            time_us,
            is_snapshot_over: marks.is_snapshot_over(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_and_read() {
        for (text, rows, is_end) in [("0", 0, false), ("512", 512, false), ("2400 end", 2400, true)] {
            let place = Place { rows, is_end };
            assert_eq!(
                (place.text().as_str(), Place::parse(text).unwrap()),
                (text, place)
            );
        }
        assert!(Place::parse("end").is_err() && Place::parse("12 rows").is_err());
    }
}

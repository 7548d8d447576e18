//! Reads followed files one after the other, in the order of their names, and goes on where it was
//! left.
//!
//! ```text
//!  waiting: c.csv, d.csv     position of a.csv   "2400 end"   never opened again
//!  current: b.csv            position of b.csv   "512 bad 3"  its first 512 rows are passed over, and its
//! ```                                                        first 3 records that cannot be decoded
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
use fletching::connector::{
    BadRate, Chunk, DeadLetter, Feed, FeedRequest, OnBadRow, Polled, Position, Reader, ReadyPoint,
    SourceReport,
};
use fletching::{Error, RecordPlace, Result};

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
    /// Whether chunks carry dead letters and the numbers of their rows.
    hands_over: bool,
    /// How many records cannot be decoded, where chunks carry them.
    bad_rate: BadRate,
    /// Whether the snapshot, or the time, that was asked for has been passed.
    is_reached: bool,
    /// How far files were read that were begun before.
    begun: HashMap<String, Place>,
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
            hands_over: request.hands_over,
            bad_rate: BadRate::new(followed.policy.rate_max),
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
                place => {
                    feed.begun.insert(position.partition.to_string(), place);
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
                let fresh = Place {
                    bad: Some(0),
                    ..Place::default()
                };
                let place = self.begun.get(&file.origin()).copied().unwrap_or(fresh);
                self.current = Some(OpenFile::open(self, file, place)?);
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
            let position = Position {
                partition: file.origin.as_str().into(),
                place: given.place.text(),
            };
            let rows = given.batch.num_rows() as u64;
            let bad = given.letters.len() as u64;
            self.bad_rate.add(rows + bad, bad);
            if let (Some(counted), Some(last)) = (self.bad_rate.too_many(), given.letters.last()) {
                return Err(too_many(&counted, last));
            }
            let numbers = given.place.rows - rows + 1..=given.place.rows;
            return Ok(Some(Chunk {
                letters: match self.followed.keeps_letters() {
                    true => given.letters,
                    false => Vec::new(),
                },
                places: match self.hands_over {
                    true => numbers.map(u64::cast_signed).collect(),
                    false => Vec::new(),
                },
                ..Chunk::new(given.batch, position)
            }));
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

/// Makes the error that ends a pipeline when too many records cannot be decoded.
fn too_many(counted: &str, last: &DeadLetter) -> Error {
    Error::Record {
        place: RecordPlace {
            origin: last.partition.to_string(),
            line: last.place.parse().ok(),
            column: last.column.clone(),
            ..RecordPlace::default()
        },
        message: format!(
            "{counted} could not be decoded, more than bad_row.rate_max allows; one of them: {}",
            last.reason
        ),
        hint: Some("check that files and columns belong together, or raise bad_row.rate_max".into()),
    }
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) rows: u64,
    /// Records that could not be decoded and were handed over; none where that is not counted.
    pub(super) bad: Option<u64>,
    pub(super) is_end: bool,
}

impl Place {
    fn text(self) -> String {
        let bad = self.bad.map_or_else(String::new, |bad| format!(" bad {bad}"));
        let end = if self.is_end { " end" } else { "" };
        format!("{}{bad}{end}", self.rows)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let (numbers, is_end) = match text.strip_suffix(" end") {
            Some(numbers) => (numbers, true),
            None => (text, false),
        };
        let (rows, bad) = match numbers.split_once(" bad ") {
            Some((rows, bad)) => (rows, Some(bad.parse::<u64>())),
            None => (numbers, None),
        };
        match (rows.parse::<u64>(), bad.transpose()) {
            (Ok(rows), Ok(bad)) => Ok(Self { rows, bad, is_end }),
            _ => Err(Error::External {
                message: format!("'{text}' is no position in a file"),
                source: None,
            }),
        }
    }
}

/// Records of a file, with what was noticed of them.
struct Given {
    batch: RecordBatch,
    /// Records among them that could not be decoded.
    letters: Vec<DeadLetter>,
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
    /// Rows read so far, up to where they were given, and rows to pass over first.
    rows: u64,
    given: Place,
    pass: u64,
    /// Dead letters seen so far, where they are handed over; those to pass over first, where that is known,
    /// and those not handed over yet.
    bad: Option<u64>,
    pass_bad: Option<u64>,
    letters: Vec<DeadLetter>,
    ahead: Option<Given>,
    /// Why there is nothing ahead.
    failed: Option<Error>,
    share: Option<DeadLetterShare>,
}

impl OpenFile {
    fn open(feed: &FileFeed, file: SourceFile, begun: Place) -> Result<Self> {
        let followed = &feed.followed;
        let origin = file.origin();
        let layout = followed.open_one(file.clone())?;
        // Those that are left out are counted on the same way.
        let is_handed = feed.hands_over && followed.policy.on_bad != OnBadRow::Error;
        let dead_letters = match is_handed {
            true => Some(DeadLetters::handed()),
            false => layout.dead_letters()?,
        };
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
            bad: is_handed.then_some(0),
            pass_bad: begun.bad,
            letters: Vec::new(),
            file,
            origin,
            layout,
            reader: None,
            kept,
            time,
            rows: 0,
            given: begun,
            pass: begun.rows,
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
        self.given = given.place;
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
            self.take_letters(self.pass > 0);
            self.pass -= passed;
            self.rows += rows;
            if passed == rows && self.letters.is_empty() {
                continue;
            }
            let from = usize::try_from(passed).unwrap_or(0);
            let batch = batch.slice(from, batch.num_rows() - from);
            return self.told(&batch).map(Some);
        }
    }

    /// Takes the dead letters of the records read last, but for those handed over before.
    fn take_letters(&mut self, is_passing: bool) {
        let (Some(bad), Some(kept)) = (&mut self.bad, &self.scan.dead_letters) else {
            return;
        };
        for letter in kept.take() {
            let is_known = match self.pass_bad {
                Some(pass) => *bad < pass,
                // A position of before letters were counted.
                None => is_passing,
            };
            *bad += 1;
            if !is_known {
                self.letters.push(letter);
            }
        }
    }

    /// Adds what is known of records.
    fn told(&mut self, batch: &RecordBatch) -> Result<Given> {
        let marks = &self.scan.marks;
        let mut time_us = marks.time_us();
        if let Some(column) = self.time.map(|at| batch.column(at)) {
            let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let latest = max(times.as_primitive::<TimestampMicrosecondType>());
            time_us = latest.unwrap_or(time_us).max(time_us);
        }
        let is_snapshot_over = marks.is_snapshot_over();
        Ok(Given {
            batch: batch.project(&self.kept)?,
            letters: std::mem::take(&mut self.letters),
            place: Place {
                rows: self.rows,
                bad: self.bad,
                is_end: false,
            },
            time_us,
            is_snapshot_over,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_and_read() {
        for (text, rows, bad, is_end) in [
            ("0", 0, None, false),
            ("512", 512, None, false),
            ("2400 end", 2400, None, true),
            ("512 bad 0", 512, Some(0), false),
            ("2400 bad 3 end", 2400, Some(3), true),
        ] {
            let place = Place { rows, bad, is_end };
            assert_eq!(
                (place.text().as_str(), Place::parse(text).unwrap()),
                (text, place)
            );
        }
        assert!(Place::parse("end").is_err() && Place::parse("12 rows").is_err());
        assert!(Place::parse("12 bad x").is_err());
    }
}

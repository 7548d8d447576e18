//! A stream of made-up rows that goes on: row `n` is what it would be in any other reading, so a
//! position is the number of the next row, and a feed resumes exactly.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fletching::connector::{Chunk, Feed, FeedRequest, Options, Polled, Position};
use fletching::{Error, Result};

use super::field::FieldPlan;
use super::generate::BLOCK_ROWS;
use super::make_rows;

/// The one partition of a stream of made-up rows.
const PARTITION: &str = "0";

/// Whether a stream goes on, and how fast rows are given, as the options say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Whether it goes on at all, rather than being scanned.
    pub(super) follows: bool,
    /// Rows a second at most; as many as are taken where there is none.
    per_second: Option<NonZeroU64>,
}

impl Pace {
    /// Reads `follow` and `rows.per_second`. Without `rows` a stream has no end to be scanned to.
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let endless = options.text("rows").is_none();
        let follows = options.boolean("follow")?.unwrap_or(endless);
        let per_second: Option<u64> = options.parsed("rows.per_second", "a whole number above 0")?;
        let refuse = |name: &str, message: &str, hint: &str| {
            Err(options.bad_value(name, message, Some(hint.to_owned())))
        };
        if endless && !follows {
            return refuse(
                "follow",
                "a stream without rows has no end to be read to",
                "leave it out, or say how many rows",
            );
        }
        let per_second = match per_second.map(NonZeroU64::new) {
            None => None,
            Some(Some(rate)) => Some(rate),
            Some(None) => {
                return refuse(
                    "rows.per_second",
                    "expected a whole number above 0, found '0'",
                    "as in rows.per_second = '1000'",
                );
            }
        };
        Ok(Self { follows, per_second })
    }

    /// Returns the rows a second, where they are limited.
    pub(super) fn per_second(self) -> Option<f64> {
        self.per_second.map(|rate| rate.get() as f64)
    }
}

/// Gives rows one after the other, no faster than it may.
pub(super) struct DatagenFeed {
    schema: SchemaRef,
    fields: Arc<[FieldPlan]>,
    seed: u64,
    /// The next row, and the first that is not there.
    next: u64,
    end: u64,
    batch_rows_max: u64,
    per_second: Option<NonZeroU64>,
    began: Instant,
    began_at: u64,
    /// The block at hand, so that a trickle of rows does not make it anew for each.
    block: Option<(u64, RecordBatch)>,
    request: FeedRequest,
}

impl DatagenFeed {
    /// Opens a feed of some columns at the position asked for.
    pub(super) fn open(
        schema: SchemaRef,
        fields: Arc<[FieldPlan]>,
        seed: u64,
        rows: Option<u64>,
        pace: Pace,
        request: &FeedRequest,
    ) -> Result<Self> {
        let next = match request.from.iter().find(|at| at.partition.as_ref() == PARTITION) {
            None => 0,
            Some(position) => position.place.parse().map_err(|_| Error::Batch {
                message: format!(
                    "expected the number of a row as the position of a datagen stream, found '{}'",
                    position.place
                ),
            })?,
        };
        Ok(Self {
            schema,
            fields,
            seed,
            next,
            end: rows.unwrap_or(u64::MAX),
            batch_rows_max: request.batch_rows_max.max(1) as u64,
            per_second: pace.per_second,
            began: Instant::now(),
            began_at: next,
            block: None,
            request: request.clone(),
        })
    }

    /// Returns how many rows may be given now, or else how long it takes until one may.
    fn due(&self) -> std::result::Result<u64, Duration> {
        let Some(rate) = self.per_second else {
            return Ok(u64::MAX);
        };
        let given = u128::from(self.next - self.began_at);
        let elapsed_ns = self.began.elapsed().as_nanos();
        let allowed = elapsed_ns * u128::from(rate.get()) / 1_000_000_000;
        match allowed.saturating_sub(given) {
            0 => {
                let due_ns = ((given + 1) * 1_000_000_000).div_ceil(u128::from(rate.get()));
                let wait = u64::try_from(due_ns.saturating_sub(elapsed_ns)).unwrap_or(u64::MAX);
                Err(Duration::from_nanos(wait))
            }
            rows => Ok(u64::try_from(rows).unwrap_or(u64::MAX)),
        }
    }

    /// Makes rows from the next one on, at most so many, all of one block.
    fn take(&mut self, rows_max: u64) -> Result<RecordBatch> {
        let block = self.next / BLOCK_ROWS;
        let first = block * BLOCK_ROWS;
        let here = match self.block.take() {
            Some((at, batch)) if at == block => batch,
            _ => {
                let rows = usize::try_from(BLOCK_ROWS.min(self.end - first)).unwrap_or(0);
                make_rows(&self.schema, &self.fields, self.seed, block, rows)?
            }
        };
        let from = usize::try_from(self.next - first).unwrap_or(0);
        let rows = usize::try_from(rows_max)
            .unwrap_or(usize::MAX)
            .min(here.num_rows().saturating_sub(from));
        let taken = here.slice(from, rows);
        self.block = Some((block, here));
        self.next += rows as u64;
        Ok(taken)
    }
}

impl Feed for DatagenFeed {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        if self.next >= self.end {
            return Ok(Polled::End);
        }
        let due = match self.due() {
            Ok(rows) => rows,
            Err(until) => {
                std::thread::sleep(until.min(wait));
                match self.due() {
                    Ok(rows) => rows,
                    Err(_) => return Ok(Polled::Idle),
                }
            }
        };
        let batch = self.take(due.min(self.batch_rows_max))?;
        self.request.report.add_rows(batch.num_rows() as u64);
        Ok(Polled::Records(Chunk::new(
            batch,
            Position {
                partition: Arc::from(PARTITION),
                place: self.next.to_string(),
            },
        )))
    }

    fn has_caught_up(&self) -> bool {
        // What a second has not brought yet is not there yet.
        self.per_second.is_some() && self.due().is_err()
    }
}

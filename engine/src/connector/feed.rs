//! The contract for records that keep coming: feeds on one side, epochs on the other.
//!
//! ```text
//!  Source ──feed()──▶ Feed ──poll()──▶ Chunk, Chunk, …      each with the position after it
//!                      ▲                  │
//!                      └──committed()─────┤ an epoch: what was polled, computed and written as one
//!                                         ▼
//!  Sink ──epochs()──▶ EpochWriter ─restore()─▶ write()* ─▶ prepare() ─▶ (checkpoint) ─▶ commit()
//! ```
//!
//! A feed is polled by one thread and may block there for as long as it is told to wait, no longer.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;

use super::{DeadLetter, LetterPlace, ReadyPoint, SinkSummary, SourceReport};
use crate::error::{Error, Result};

/// The column that says what a change does to its row, where a source has
/// [changes](super::Source::has_changes): the last one of each batch, `Int8`, without NULL.
///
/// ```
/// use fletching::connector::{CHANGE_COLUMN, Change};
///
/// assert_eq!(CHANGE_COLUMN, "_change");
/// assert_eq!(Change::Delete as i8, 1);
/// ```
pub const CHANGE_COLUMN: &str = "_change";

/// What a record of a changelog does, as the values of [`CHANGE_COLUMN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Change {
    /// Puts a row in place of the one with its key, or adds it.
    Upsert = 0,
    /// Takes the row with its key away; of the other columns nothing is read but the version, where
    /// the table has one.
    Delete = 1,
    /// Takes all rows away; of the columns nothing is read.
    Truncate = 2,
}

impl Change {
    /// Returns what a value of [`CHANGE_COLUMN`] stands for; none for a value that stands for nothing.
    ///
    /// ```
    /// use fletching::connector::Change;
    ///
    /// assert_eq!(Change::of_code(2), Some(Change::Truncate));
    /// assert_eq!(Change::of_code(9), None);
    /// ```
    pub fn of_code(code: i8) -> Option<Self> {
        [Self::Upsert, Self::Delete, Self::Truncate]
            .into_iter()
            .find(|change| *change as i8 == code)
    }
}

/// How far one partition of a source was read, in the source's own words.
///
/// The engine stores positions and gives them back; it never reads meaning into them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition: a topic's partition, a file.
    pub partition: Arc<str>,
    /// The place up to which it was read.
    pub place: String,
}

/// What a sink that publishes positions with its records has shown; by default, nothing yet.
///
/// ```
/// use fletching::connector::{Position, Shown};
///
/// let nothing = Shown::default();
/// assert_eq!((nothing.epoch, nothing.positions.len()), (0, 0));
/// let position = Position { partition: "trades-3".into(), place: "17".into() };
/// let shown = Shown { epoch: 4, positions: vec![position] };
/// assert_eq!(shown.positions[0].place, "17");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The number of the epoch shown last; 0 before the first.
    pub epoch: u64,
    /// Where the sources stood after it.
    pub positions: Vec<Position>,
}

/// What the engine asks of a feed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeedRequest {
    /// The columns wanted, by position in the source's schema, in this order; `None` for all. The
    /// column of changes follows unasked.
    pub projection: Option<Vec<usize>>,
    /// At most this many rows go into a batch.
    pub batch_rows_max: usize,
    /// Where to go on, for the partitions known; a partition that is not named here begins where
    /// the source's options say.
    pub from: Vec<Position>,
    /// Who consumes: what a source that remembers its readers knows them by.
    pub consumer: String,
    /// Where the feed counts what it reads.
    pub report: Arc<SourceReport>,
    /// What [`Feed::has_caught_up`] tells of. A source is only asked for what it
    /// [can tell](super::Source::can_tell).
    pub until: ReadyPoint,
    /// Whether chunks carry the dead letters and the places of their rows, for somebody who commits
    /// both as one; else a feed puts dead letters where they belong by itself.
    pub hands_over: bool,
    /// Whether the sink shows positions with its rows, in the name of `consumer`: a source that remembers
    /// its readers must then note none in that name, since what it notes late would undo them.
    pub positions_are_shown: bool,
}

impl FeedRequest {
    /// Asks for all columns from where the source's options say, in batches of at most 8,192 rows.
    pub fn all() -> Self {
        Self {
            projection: None,
            batch_rows_max: 8192,
            from: Vec::new(),
            consumer: String::new(),
            report: Arc::default(),
            until: ReadyPoint::End,
            hands_over: false,
            positions_are_shown: false,
        }
    }
}

/// Some records of one partition, in its order.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The records.
    pub batch: RecordBatch,
    /// Where the partition stands after them.
    pub position: Position,
    /// Records among them that could not be decoded, where the feed is to hand them over.
    pub letters: Vec<DeadLetter>,
    /// The place of each record of the batch, where the feed knows it and is asked; else empty.
    pub places: Vec<i64>,
}

impl Chunk {
    /// Makes a chunk of which every record could be decoded.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::RecordBatch;
    /// use arrow::datatypes::Schema;
    /// use fletching::connector::{Chunk, Position};
    ///
    /// let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
    /// let position = Position { partition: "0".into(), place: "17".into() };
    /// assert!(Chunk::new(batch, position).letters.is_empty());
    /// ```
    pub fn new(batch: RecordBatch, position: Position) -> Self {
        Self {
            batch,
            position,
            letters: Vec::new(),
            places: Vec::new(),
        }
    }
}

/// How far a feed is behind what its source holds of a partition.
///
/// ```
/// use fletching::connector::Lag;
///
/// let lag = Lag { partition: "trades-0".into(), records: 17 };
/// assert_eq!(lag.records, 17);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The partition.
    pub partition: Arc<str>,
    /// Records that are there and were not read yet, as far as is known.
    pub records: u64,
}

/// What came of polling.
#[derive(Debug)]
#[non_exhaustive]
pub enum Polled {
    /// Records.
    Records(Chunk),
    /// A partition that is no longer there: its position need not be kept. Where it comes back under the
    /// same name it is another one, and read from its beginning.
    Gone(Arc<str>),
    /// Nothing within the time given. More may come.
    Idle,
    /// Partitions are to be given up to other members of a group ([`Source::is_shared`]). No records
    /// of them follow; those before may still be committed. The feed is polled again once that is
    /// done, or what came of them is taken back: only then are they given up.
    ///
    /// [`Source::is_shared`]: super::Source::is_shared
    Revoked,
    /// The source has ended.
    End,
}

/// An open reading of a source that need not end.
pub trait Feed: Send {
    /// Returns what has arrived, waiting for it at most as long as told.
    ///
    /// # Errors
    /// Fails where the source cannot be read, or a record cannot be decoded and the options say
    /// that this ends the run.
    fn poll(&mut self, wait: Duration) -> Result<Polled>;

    /// Says whether everything was read up to the point asked for in [`FeedRequest::until`]: at
    /// first all that the source held when the feed was opened.
    fn has_caught_up(&self) -> bool;

    /// Returns how far it is behind in each partition it reads, as it was told last: nothing is asked for
    /// it. Empty where that is not known.
    fn lag(&self) -> Vec<Lag> {
        Vec::new()
    }

    /// Is told that everything up to these positions was committed and is never asked for again.
    ///
    /// # Errors
    /// Fails where the source wants to remember it and cannot.
    fn committed(&mut self, positions: &[Position]) -> Result<()> {
        let _ = positions;
        Ok(())
    }

    /// Returns who this is in the group that shares the source; none where none does.
    fn membership(&self) -> Option<Membership> {
        None
    }

    /// Is told that what came of the records since the last commit was taken back: a shared source
    /// then gives up what it reads ([`Polled::Revoked`]), and begins anew where the group stands.
    ///
    /// # Errors
    /// Fails where the group cannot be joined again.
    fn rejoin(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Who a feed is in the group that shares its source: what it is made of is between a connector's
/// feeds and its sinks, which commit positions in the group's name.
///
/// ```
/// use std::sync::Arc;
/// use fletching::connector::Membership;
///
/// let membership: Membership = Arc::new("member 7".to_string());
/// assert_eq!(membership.downcast_ref::<String>().map(String::as_str), Some("member 7"));
/// ```
pub type Membership = Arc<dyn Any + Send + Sync>;

/// What a sink hands to the writer of another, so that this one writes its rows too and shows them
/// with its own: what it is made of is between a connector's sinks.
///
/// ```
/// use std::sync::Arc;
/// use fletching::connector::Branch;
///
/// let branch: Branch = Arc::new("topic 7".to_string());
/// assert_eq!(branch.downcast_ref::<String>().map(String::as_str), Some("topic 7"));
/// ```
pub type Branch = Arc<dyn Any + Send + Sync>;

/// A sink that publishes epoch after epoch, each whole or not at all.
pub trait EpochWriter: Send {
    /// Returns which epoch was shown last and where the sources stood after it, of a sink that publishes
    /// positions with the records and cannot show after a crash what it had prepared, as a transaction.
    /// That goes before what a checkpoint says.
    ///
    /// # Errors
    /// Fails where it cannot be told for certain.
    fn shown(&mut self) -> Result<Option<Shown>> {
        Ok(None)
    }

    /// Is told before anything is written which epoch was committed last; none yet is 0. An epoch
    /// that was prepared and not shown is shown now. What was published beyond it, by a run whose
    /// checkpoint is lost, is taken back where that can be: its records come again.
    ///
    /// # Errors
    /// Fails where it cannot be shown, or the place holds what is not this pipeline's.
    fn restore(&mut self, epoch: u64) -> Result<()> {
        if epoch > 0 {
            self.commit(epoch)?;
        }
        Ok(())
    }

    /// Says whether writing may spread over several threads: it is then done on the session's, so that
    /// it uses no more of them than it may. Others are spared the way there.
    fn is_parallel(&self) -> bool {
        true
    }

    /// Adds a batch to the epoch in the making.
    ///
    /// # Errors
    /// Fails where the batch cannot be encoded or written.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Makes what was written durable without showing it yet, so that [`commit`](Self::commit)
    /// can no longer fail but for the outside world. `positions` are those of the sources after
    /// the epoch, for a sink that can publish them with its records.
    ///
    /// # Errors
    /// Fails where it cannot be made durable; the epoch is then given up.
    fn prepare(&mut self, epoch: u64, positions: &[Position]) -> Result<()>;

    /// Shows the epoch that was prepared. Showing it again, after a restart, does no harm.
    ///
    /// # Errors
    /// Fails where it cannot be shown; it may be asked again.
    fn commit(&mut self, epoch: u64) -> Result<SinkSummary>;

    /// Takes back what was written since the epoch shown last, after `error`; returns whether it is
    /// gone for certain, and writing can go on. Asked only of a sink of a shared source.
    ///
    /// # Errors
    /// Fails where it is not known what became of the epoch.
    fn take_back(&mut self, error: &Error) -> Result<bool> {
        let _ = error;
        Ok(false)
    }

    /// Takes the rows of another sink into the epochs written here, where it can: returns the number
    /// by which [`write_branch`](Self::write_branch) knows them.
    ///
    /// # Errors
    /// Fails where the other sink's place cannot be reached.
    fn take_branch(&mut self, branch: &Branch) -> Result<Option<usize>> {
        let _ = branch;
        Ok(None)
    }

    /// Adds a batch for another sink to the epoch in the making, to be shown with its rows.
    ///
    /// # Errors
    /// Fails where the batch cannot be encoded or written.
    fn write_branch(&mut self, branch: usize, batch: &RecordBatch) -> Result<()> {
        let _ = (branch, batch);
        Err(Error::internal("this writer has no branches"))
    }

    /// Says whether dead letters for this place can be part of the epochs written here; then they
    /// are given to [`write_letters`](Self::write_letters).
    ///
    /// # Errors
    /// Fails where the place cannot be reached.
    fn takes_letters(&mut self, place: &LetterPlace) -> Result<bool> {
        let _ = place;
        Ok(false)
    }

    /// Adds dead letters to the epoch in the making, to be shown with its rows.
    ///
    /// # Errors
    /// Fails where they cannot be written.
    fn write_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        let _ = letters;
        Err(Error::internal("this writer takes no dead letters"))
    }
}

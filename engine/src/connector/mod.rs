//! The contract between the engine and what brings records in and takes them out.
//!
//! ```text
//!  CREATE … WITH (connector = 'x', …)
//!        │  RelationSpec: name, kind, declared columns, options
//!        ▼
//!    Connector ──source()──▶ Source ──scan()──▶ Reader, Reader, …   one a partition
//!        └───────sink()────▶ Sink ───create()─▶ SinkWriter          write* then commit
//! ```
//!
//! Everything here is synchronous: a reader runs on a worker thread of the session and may
//! block there. A writer that is dropped before `commit` leaves nothing behind.

mod feed;
mod letter;
mod memory;
mod options;
mod report;
mod results;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use feed::{
    Branch, CHANGE_COLUMN, Change, Chunk, EpochWriter, Feed, FeedRequest, Lag, Membership, Polled, Position,
    Shown,
};
pub use letter::{BadRate, BadRowPolicy, DeadLetter, LetterPlace, LetterWriter, OnBadRow};
pub use memory::PushStream;
pub(crate) use memory::{MemoryStream, OpenStream};
pub use options::{OptionSpec, Options};
pub(crate) use options::{nearest, parse_time_span};
pub use report::{Retry, SourceReport};
pub(crate) use results::MemorySink;
pub use results::Results;

use crate::error::{Error, Result};

/// What a relation is in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelationKind {
    /// Records that flow through once.
    Stream,
    /// Keyed reference data that is held and looked up.
    Table,
    /// Where results go.
    Sink,
}

impl RelationKind {
    /// Returns the SQL word, in lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Table => "table",
            Self::Sink => "sink",
        }
    }
}

/// A `CREATE STREAM | TABLE | SINK` statement as a connector sees it.
#[derive(Debug, Clone)]
pub struct RelationSpec {
    /// The relation's name.
    pub name: String,
    /// Stream, table or sink.
    pub kind: RelationKind,
    /// The columns where the statement declared them; of a sink, the columns of its query.
    pub schema: Option<SchemaRef>,
    /// The columns of `PRIMARY KEY (…)`; empty where there is none.
    pub primary_key: Vec<String>,
    /// The `WITH (…)` options, without those that the engine itself understands.
    pub options: Options,
}

impl RelationSpec {
    /// Names the relation in messages, as in `stream trades`.
    pub fn subject(&self) -> String {
        format!("{} {}", self.kind.word(), self.name)
    }
}

/// A kind of source and sink, named by the option `connector`.
pub trait Connector: Debug + Send + Sync {
    /// Returns the name that the option `connector` gives.
    fn name(&self) -> &'static str;

    /// Opens a source: checks the options, finds the schema. Reads no more than that needs.
    ///
    /// # Errors
    /// Fails where an option is unknown, missing or wrong, or the source cannot be opened.
    fn source(&self, spec: &RelationSpec) -> Result<Arc<dyn Source>>;

    /// Checks a sink's options. Nothing is written yet.
    ///
    /// # Errors
    /// Fails where an option is unknown, missing or wrong.
    fn sink(&self, spec: &RelationSpec) -> Result<Arc<dyn Sink>>;
}

/// How large a source is, as far as it knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceSize {
    /// Records.
    pub rows: Option<u64>,
    /// Encoded bytes, of the kind that [`SourceReport::add_bytes`] counts.
    pub bytes: Option<u64>,
}

/// How far a source is read before the table it fills is ready to be joined with.
///
/// ```
/// use fletching::connector::ReadyPoint;
///
/// assert_eq!(ReadyPoint::default(), ReadyPoint::End);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyPoint {
    /// All that the source holds when the scan begins.
    #[default]
    End,
    /// The end of the snapshot that the source begins with.
    Snapshot,
    /// Everything up to a time of the source's records, in microseconds since 1970 (UTC).
    Timestamp(i64),
}

/// What the engine asks of a source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ScanRequest {
    /// The columns wanted, by position in the source's schema, in this order; `None` for all.
    pub projection: Option<Vec<usize>>,
    /// At most this many rows are needed, over all readers together.
    pub limit: Option<usize>,
    /// At most this many readers are wanted.
    pub partitions_max: usize,
    /// At most this many rows go into a batch.
    pub batch_rows_max: usize,
    /// Where readers count what they read.
    pub report: Arc<SourceReport>,
    /// Where the scan may end. A source is only asked for what [`Source::can_tell`].
    pub until: ReadyPoint,
}

impl ScanRequest {
    /// Asks for all columns and rows with one reader and batches of at most 8,192 rows.
    pub fn all() -> Self {
        Self {
            projection: None,
            limit: None,
            partitions_max: 1,
            batch_rows_max: 8192,
            report: Arc::default(),
            until: ReadyPoint::End,
        }
    }
}

/// An origin of records.
pub trait Source: Debug + Send + Sync {
    /// Returns the columns of an unprojected scan.
    fn schema(&self) -> SchemaRef;

    /// Returns how large it is, as far as known without reading it.
    fn size(&self) -> SourceSize {
        SourceSize::default()
    }

    /// Says whether the source can tell when a scan has come to a point. Files cannot tell more
    /// than their end.
    fn can_tell(&self, point: ReadyPoint) -> bool {
        point == ReadyPoint::End
    }

    /// Opens readers that together give each record once.
    ///
    /// # Errors
    /// Fails where the source cannot be opened.
    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>>;

    /// Says whether records may come for ever, so that only a [feed](Self::feed) gives them all.
    fn is_unbounded(&self) -> bool {
        false
    }

    /// Says whether a feed reads only the partitions that a group gives it, beside those of other
    /// instances, from where the group stands.
    fn is_shared(&self) -> bool {
        false
    }

    /// Says whether a [scan](Self::scan) comes to an end: what goes on mostly has some records now, and
    /// those are read.
    fn has_end_now(&self) -> bool {
        true
    }

    /// Says whether its records are changes: each batch, of a scan and of a feed, then ends with
    /// the column [`CHANGE_COLUMN`], which [`schema`](Self::schema) does not show.
    fn has_changes(&self) -> bool {
        false
    }

    /// Opens a reading that goes on as records come.
    ///
    /// # Errors
    /// Fails where the source cannot be opened, or does not go on.
    fn feed(&self, request: &FeedRequest) -> Result<Box<dyn Feed>> {
        let _ = request;
        Err(refused("this source ends: it is scanned, not followed"))
    }

    /// Says what is done about records that cannot be decoded, and rows that cannot be computed.
    fn bad_rows(&self) -> BadRowPolicy {
        BadRowPolicy::default()
    }

    /// Opens the place of dead letters for a pipeline whose sink cannot take them into its epochs. Where
    /// other pipelines of the session read the source already, `further` is the pipeline's name: a place
    /// that has one writer is then one beside the first.
    ///
    /// # Errors
    /// Fails where the source has none, or it cannot be opened.
    fn letters(&self, further: Option<&str>) -> Result<Box<dyn LetterWriter>> {
        let _ = further;
        Err(refused("this source has no place for dead letters"))
    }
}

/// Reads one partition of a source, in order.
pub trait Reader: Send {
    /// Returns the next batch, with the projected columns in the order asked for, or `None` at
    /// the end. A batch may be empty. Counts bytes and bad rows in the request's report; the
    /// engine counts the rows.
    ///
    /// # Errors
    /// Fails where the source cannot be read, or a record cannot be decoded and the options say
    /// that this ends the run.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>>;
}

/// Where results go.
pub trait Sink: Debug + Send + Sync {
    /// Starts one output with the given columns.
    ///
    /// # Errors
    /// Fails where the output cannot be created or cannot hold these columns.
    fn create(&self, schema: &SchemaRef) -> Result<Box<dyn SinkWriter>>;

    /// Says whether a new output is put beside those before it, as a part in a folder or on a screen
    /// is, rather than in their place.
    fn keeps_outputs(&self) -> bool {
        false
    }

    /// Starts an output that is published epoch by epoch. `consumer` names the pipeline that
    /// writes it: a sink that fences an older writer of the same name knows it by that.
    ///
    /// # Errors
    /// Fails where the output cannot be opened, or the sink publishes nothing but whole outputs.
    fn epochs(&self, schema: &SchemaRef, consumer: &str) -> Result<Box<dyn EpochWriter>> {
        let _ = (schema, consumer);
        Err(refused(
            "this sink writes one output that ends, not epoch after epoch",
        ))
    }

    /// Returns the name by which a source that remembers its readers knows a pipeline that writes here.
    /// Pipelines of one name that write to different places must not be taken for one another.
    fn reader_name(&self, pipeline: &str) -> String {
        pipeline.to_owned()
    }

    /// Starts an output as [`epochs`](Self::epochs) does, for what pipelines write beside their rows, as
    /// dead letters: several may write here, each under a `consumer` of its own.
    ///
    /// # Errors
    /// As [`epochs`](Self::epochs).
    fn side_epochs(&self, schema: &SchemaRef, consumer: &str) -> Result<Box<dyn EpochWriter>> {
        self.epochs(schema, consumer)
    }

    /// Returns what the writer of another sink needs to write rows for this one into its own epochs,
    /// where that can be: [`EpochWriter::take_branch`].
    ///
    /// # Errors
    /// Fails where the sink cannot hold these columns.
    fn branch(&self, schema: &SchemaRef) -> Result<Option<Branch>> {
        let _ = schema;
        Ok(None)
    }

    /// Begins to write epochs for one of several instances that share a source
    /// ([`Source::is_shared`]), beside those of the others. `membership` is that of the feed.
    ///
    /// # Errors
    /// Fails where the sink cannot be opened, or cannot publish positions in a group's name: then a
    /// partition that moves to another instance would lose or repeat records.
    fn shared_epochs(
        &self,
        schema: &SchemaRef,
        consumer: &str,
        membership: &Membership,
    ) -> Result<Box<dyn EpochWriter>> {
        let _ = (schema, consumer, membership);
        Err(refused(
            "instances that share a stream's partitions cannot write to this sink exactly once: the \
             records of a partition that moves would come twice; write to a Kafka topic of the \
             stream's cluster, or read the stream with one instance, without group.share",
        ))
    }
}

/// One output in the making. Dropped before [`SinkWriter::commit`], it leaves nothing behind.
pub trait SinkWriter: Send {
    /// Appends a batch.
    ///
    /// # Errors
    /// Fails where the batch cannot be encoded or written.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Ends the output and publishes it.
    ///
    /// # Errors
    /// Fails where the rest cannot be written or the output cannot be published.
    fn commit(self: Box<Self>) -> Result<SinkSummary>;
}

/// What a sink wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkSummary {
    /// Records written.
    pub rows: u64,
    /// Encoded bytes, where the sink knows.
    pub bytes: Option<u64>,
    /// Where they are now, for a person to read.
    pub location: String,
}

/// What a connector answers that cannot do what is asked of it.
fn refused(message: &str) -> Error {
    Error::Option {
        subject: "connector".into(),
        message: message.into(),
        hint: None,
        location: None,
    }
}

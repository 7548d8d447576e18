//! What an epoch writes beside its rows: late records, and letters about rows without a match, each
//! into a sink of its own, shown with the epoch or not at all.
//!
//! ```text
//!  way       who writes             shown                          after a crash
//!  Branch    the pipeline's sink    with the rows, as one          gone with them
//!  Later     the other sink         once the rows are              shown where the rows are
//!  Sooner    the other sink         before the checkpoint          may come once more
//! ```
//!
//! `Sooner` is for a sink that cannot show after a crash what it had prepared, as a transaction of
//! another cluster: shown later it could be lost.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::connector::{BadRate, EpochWriter, Membership, Position, Sink};
use crate::error::{Error, RecordPlace, Result};

/// How rows get into a sink beside the pipeline's own.
enum Way {
    Branch(usize),
    Later(Box<dyn EpochWriter>),
    Sooner {
        writer: Box<dyn EpochWriter>,
        is_written: bool,
    },
}

/// The sinks beside a pipeline's own.
#[derive(Default)]
pub(crate) struct Sides(Vec<Open>);

/// An open one.
struct Open {
    name: String,
    way: Way,
    rate: BadRate,
    /// The option that holds its share of rows.
    rate_option: &'static str,
}

/// One sink to be opened beside a pipeline's own.
pub(crate) struct Side<'a> {
    /// What goes there, in a word, by which the pipeline's writes name it.
    pub(crate) name: String,
    pub(crate) sink: &'a Arc<dyn Sink>,
    pub(crate) schema: &'a SchemaRef,
    /// The share of rows that may go there, and the option that says so.
    pub(crate) rate_max: f64,
    pub(crate) rate_option: &'static str,
}

/// The name of late records among what goes to the side; the others have that of their sink.
pub(crate) const LATE: &str = "late records";

impl Sides {
    /// Opens a sink; `writer` is that of the rows, and `consumer` the pipeline.
    ///
    /// # Errors
    /// Fails where the sink cannot be opened, or instances share the stream and the rows cannot be
    /// shown with those of the pipeline's own sink.
    pub(crate) fn open(
        &mut self,
        side: &Side<'_>,
        writer: &mut dyn EpochWriter,
        (consumer, membership): (&str, Option<&Membership>),
    ) -> Result<()> {
        let branch = side.sink.branch(side.schema)?;
        let number = branch.map_or(Ok(None), |branch| writer.take_branch(&branch))?;
        let way = match number {
            Some(number) => Way::Branch(number),
            None if membership.is_some() => return Err(not_beside(&side.name)),
            None => {
                let consumer = match side.name.as_str() {
                    LATE => format!("{consumer}.late"),
                    // A sink of that name is another writer.
                    "late" => format!("{consumer}.late.missed"),
                    name => format!("{consumer}.{name}"),
                };
                let mut own = side.sink.side_epochs(side.schema, &consumer)?;
                match own.shown()? {
                    None => Way::Later(own),
                    Some(_) => Way::Sooner {
                        writer: own,
                        is_written: false,
                    },
                }
            }
        };
        self.0.push(Open {
            name: side.name.clone(),
            way,
            rate: BadRate::new(side.rate_max),
            rate_option: side.rate_option,
        });
        Ok(())
    }

    /// Says whether anything goes to the side.
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note of rows of which some may go to a side: late ones, or else those without a match.
    pub(super) fn saw(&mut self, rows: u64, is_of_lateness: bool) {
        let own = self
            .0
            .iter_mut()
            .filter(|open| (open.name == LATE) == is_of_lateness);
        own.for_each(|open| open.rate.add(rows, 0));
    }

    /// Adds a batch to the epoch in the making; `main` writes the rows.
    ///
    /// # Errors
    /// Fails where it cannot be written, or more rows go there than is allowed.
    pub(super) fn write(
        &mut self,
        name: &str,
        batch: &RecordBatch,
        main: &mut dyn EpochWriter,
    ) -> Result<()> {
        let Some(open) = self.0.iter_mut().find(|open| open.name == name) else {
            return Err(Error::internal(format!("nothing was opened for {name}")));
        };
        open.rate.add(0, batch.num_rows() as u64);
        if let Some(counted) = open.rate.too_many() {
            return Err(too_many(open, &counted));
        }
        match &mut open.way {
            Way::Branch(number) => main.write_branch(*number, batch),
            Way::Later(writer) => writer.write(batch),
            Way::Sooner { writer, is_written } => {
                *is_written = true;
                writer.write(batch)
            }
        }
    }

    /// Brings the sinks to where the pipeline goes on from.
    pub(super) fn restore(&mut self, epoch: u64) -> Result<()> {
        self.0.iter_mut().try_for_each(|open| match &mut open.way {
            Way::Later(writer) => writer.restore(epoch),
            Way::Branch(_) | Way::Sooner { .. } => Ok(()),
        })
    }

    /// Makes the epoch durable.
    pub(super) fn prepare(&mut self, epoch: u64, positions: &[Position]) -> Result<()> {
        self.0.iter_mut().try_for_each(|open| match &mut open.way {
            Way::Branch(_) => Ok(()),
            Way::Later(writer) => writer.prepare(epoch, positions),
            Way::Sooner { writer, is_written } => {
                if *is_written {
                    writer.prepare(epoch, &[])?;
                    writer.commit(epoch)?;
                    *is_written = false;
                }
                Ok(())
            }
        })
    }

    /// Shows the epoch, after its rows; doing it again changes nothing.
    pub(super) fn commit(&mut self, epoch: u64) -> Result<()> {
        self.0.iter_mut().try_for_each(|open| match &mut open.way {
            Way::Later(writer) => writer.commit(epoch).map(drop),
            Way::Branch(_) | Way::Sooner { .. } => Ok(()),
        })
    }
}

/// Makes the error that ends a run when too many rows go to a side.
fn too_many(open: &Open, counted: &str) -> Error {
    let (what, hint) = match open.name == LATE {
        true => (
            "came late".to_string(),
            "let the WATERMARK wait longer, or raise late.rate_max; what was not committed is read again",
        ),
        false => (
            format!("had no match and are dead letters for {}", open.name),
            "see whether the table is whole and the keys of both sides are alike, or raise miss.rate_max; what was \
             not committed is read again",
        ),
    };
    Error::Record {
        place: RecordPlace {
            origin: "the pipeline".into(),
            ..RecordPlace::default()
        },
        message: format!("{counted} {what}, more than {} allows", open.rate_option),
        hint: Some(hint.into()),
    }
}

fn not_beside(what: &str) -> Error {
    Error::Option {
        subject: match what {
            LATE => format!("the sink of {LATE}"),
            sink => format!("sink {sink}"),
        },
        message: "of a stream that instances share, what goes there must be committed with the rows: of an epoch \
                  that is taken back it would stay"
            .into(),
        hint: Some(
            "let it be a Kafka topic of the cluster that the rows go to, or read the stream with one instance, \
             without group.share"
                .into(),
        ),
        location: None,
    }
}

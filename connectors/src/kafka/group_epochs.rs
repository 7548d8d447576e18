//! Epochs of one of several instances: each a transaction, with the offsets of the group in it.
//!
//! ```text
//!  write* ─▶ prepare: flush, offsets and the member's generation into the transaction ─▶ commit
//!     └──────────┴── take_back: aborted; the records are read again where the group stands
//! ```
//!
//! The broker takes the offsets only of a member of the group's present generation (KIP-447), so an
//! instance that has lost its partitions without noticing commits nothing. Whoever has them next asks
//! for offsets that are certain, so it waits for a transaction that is about to be committed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::RecordBatch;
use fletching::connector::{Branch, DeadLetter, EpochWriter, LetterPlace, Position, SinkSummary};
use fletching::{Error, Result};
use rdkafka::Offset;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::group::Member;
use super::outlet::Outlet;
use super::start::offset_of;
use super::transaction;

/// Writes epochs exactly once, beside other instances.
pub(super) struct SharedEpochs {
    outlet: Outlet,
    member: Arc<Member>,
    is_open: bool,
}

impl SharedEpochs {
    /// Registers the writer under a name of its own.
    pub(super) fn open(outlet: Outlet, member: Arc<Member>) -> Result<Self> {
        let cluster = outlet.producer.client().fetch_cluster_id(outlet.cluster.timeout);
        if cluster.is_none() || cluster != member.cluster {
            return Err(Error::Option {
                subject: format!("kafka {}", outlet.cluster.servers),
                message: format!(
                    "the topic {} is not of the cluster of the stream that instances share: offsets and records \
                     cannot be committed as one",
                    outlet.topic
                ),
                hint: Some("write to a topic of that cluster, or set delivery = 'at-least-once'".into()),
                location: None,
            });
        }
        transaction::init(&outlet)?;
        member.is_transactional.store(true, Relaxed);
        Ok(Self {
            outlet,
            member,
            is_open: false,
        })
    }

    fn begin(&mut self) -> Result<()> {
        if !self.is_open {
            transaction::begin(&self.outlet)?;
            self.is_open = true;
        }
        Ok(())
    }

    /// Says what being fenced means here: the name is no other's.
    fn told(&self, error: Error) -> Error {
        match kafka_error(&error) {
            Some(inner) if transaction::is_fenced(inner) => Error::External {
                message: format!(
                    "kafka {}: this instance stood still for longer than a transaction may last, and is fenced: \
                     its partitions went to other instances, and what it had not committed is taken back; \
                     start it again, or raise 'kafka.transaction.timeout.ms' of the sink",
                    self.outlet.cluster.servers
                ),
                source: Some(Arc::new(inner.clone())),
            },
            _ => error,
        }
    }
}

/// Returns the client's error behind one of ours.
fn kafka_error(error: &Error) -> Option<&KafkaError> {
    match error {
        Error::External {
            source: Some(source), ..
        } => source.downcast_ref(),
        _ => None,
    }
}

/// Lists positions as offsets.
fn offsets(positions: &[Position]) -> Result<TopicPartitionList> {
    let internal = |what: &str| Error::internal(format!("a shared stream stands at no offset: {what}"));
    let mut list = TopicPartitionList::new();
    for position in positions {
        let (topic, partition, offset) = offset_of(position).ok_or_else(|| internal(&position.partition))?;
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(|error| internal(&error.to_string()))?;
    }
    Ok(list)
}

impl EpochWriter for SharedEpochs {
    /// What is shown stands in the group; epochs of other instances have the same numbers.
    fn restore(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn is_parallel(&self) -> bool {
        false
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = self.begin().and_then(|()| self.outlet.send(batch));
        written.map_err(|error| self.told(error))
    }

    fn prepare(&mut self, _: u64, positions: &[Position]) -> Result<()> {
        let begun = self.begin().and_then(|()| self.outlet.flush());
        begun.map_err(|error| self.told(error))?;
        let offsets = offsets(positions)?;
        if offsets.count() == 0 {
            return Ok(());
        }
        let Some(generation) = self.member.generation.lock().clone() else {
            return Err(Error::External {
                message: "kafka: the partitions are another instance's since".into(),
                source: None,
            });
        };
        let timeout = self.outlet.cluster.timeout;
        let sent = transaction::step(&self.outlet, "send offsets with a transaction on", || {
            self.outlet
                .producer
                .send_offsets_to_transaction(&offsets, &generation, timeout)
        });
        sent.map_err(|error| self.told(error))
    }

    fn commit(&mut self, _: u64) -> Result<SinkSummary> {
        if self.is_open {
            transaction::commit(&self.outlet).map_err(|error| self.told(error))?;
            self.is_open = false;
        }
        Ok(self.outlet.summary())
    }

    fn takes_letters(&mut self, place: &LetterPlace) -> Result<bool> {
        self.outlet.takes_letters(place)
    }

    fn write_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        let written = self.begin().and_then(|()| self.outlet.send_letters(letters));
        written.map_err(|error| self.told(error))
    }

    fn take_branch(&mut self, branch: &Branch) -> Result<Option<usize>> {
        self.outlet.take_branch(branch)
    }

    fn write_branch(&mut self, branch: usize, batch: &RecordBatch) -> Result<()> {
        let written = self.begin().and_then(|()| self.outlet.send_branch(branch, batch));
        written.map_err(|error| self.told(error))
    }

    fn take_back(&mut self, error: &Error) -> Result<bool> {
        let is_final = self.outlet.producer.client().fatal_error().is_some();
        if is_final || !matches!(error, Error::External { .. }) {
            return Ok(false);
        }
        if self.is_open {
            let aborted = transaction::step(&self.outlet, "take back a transaction on", || {
                self.outlet
                    .producer
                    .abort_transaction(self.outlet.cluster.timeout)
            });
            aborted.map_err(|error| self.told(error))?;
            self.is_open = false;
        }
        self.outlet.heard.lock().undelivered = None;
        // What was counted of it is not shown.
        let _ = self.outlet.summary();
        Ok(true)
    }
}

impl Drop for SharedEpochs {
    fn drop(&mut self) {
        if self.is_open {
            transaction::abort(&self.outlet);
        }
    }
}

//! Epochs on a topic: each a transaction, with the consumed offsets and the epoch's number in it.
//!
//! ```text
//!  write* ─▶ prepare: flush, offsets and number into the transaction ─▶ commit: shown, as one
//!     └─ the transaction begins with the epoch's first record
//! ```
//!
//! A transaction that was prepared and not committed when the writer ended is taken back by the
//! next writer of the name. So the topic, not a checkpoint, knows which epoch was the last to be
//! shown: its number is committed as the offset of the sink's own topic in the consumer's group,
//! and [`EpochWriter::published`] reads it.

use arrow::array::RecordBatch;
use fletching::connector::{EpochWriter, Position, SinkSummary};
use fletching::{Error, Result};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::Listener;
use super::outlet::Outlet;
use super::pull;
use super::start::offset_of;
use super::transaction;

/// Writes epochs whose records are there at least once: flushed, then the epoch counts as shown.
pub(super) struct SteadyEpochs(Outlet);

impl SteadyEpochs {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self(outlet)
    }
}

impl EpochWriter for SteadyEpochs {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.send(batch)
    }

    fn prepare(&mut self, _: u64, _: &[Position]) -> Result<()> {
        self.0.flush()
    }

    fn commit(&mut self, _: u64) -> Result<SinkSummary> {
        Ok(self.0.summary())
    }
}

/// Writes epochs exactly once.
pub(super) struct TransactionEpochs {
    outlet: Outlet,
    /// Speaks for the group that the offsets are of.
    group: BaseConsumer<Listener>,
    is_open: bool,
    /// The epoch that was prepared last, and whether it is shown.
    prepared: Option<(u64, bool)>,
}

impl TransactionEpochs {
    /// Registers the writer; an older one of its name is fenced.
    pub(super) fn open(outlet: Outlet, consumer: &str) -> Result<Self> {
        let (group, _) = pull::consumer(&outlet.cluster, consumer)?;
        transaction::init(&outlet)?;
        Ok(Self {
            outlet,
            group,
            is_open: false,
            prepared: None,
        })
    }

    fn begin(&mut self) -> Result<()> {
        if !self.is_open {
            transaction::begin(&self.outlet)?;
            self.is_open = true;
        }
        Ok(())
    }

    /// Lists the offsets of the cluster's own topics, and the epoch's number as the sink's.
    fn offsets(&self, epoch: u64, positions: &[Position]) -> Result<TopicPartitionList> {
        let internal = |error| Error::internal(format!("an offset is no offset: {error}"));
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in positions.iter().filter_map(offset_of) {
            if topic != self.outlet.topic && self.has(topic, partition)? {
                list.add_partition_offset(topic, partition, Offset::Offset(offset))
                    .map_err(internal)?;
            }
        }
        let number = i64::try_from(epoch).map_err(|_| Error::internal("an epoch past all numbers"))?;
        list.add_partition_offset(&self.outlet.topic, 0, Offset::Offset(number))
            .map_err(internal)?;
        Ok(list)
    }

    /// Says whether the cluster has a partition: positions may be of other sources.
    fn has(&self, topic: &str, partition: i32) -> Result<bool> {
        let timeout = self.outlet.cluster.timeout;
        let found = self.group.fetch_metadata(Some(topic), timeout);
        let found = found.map_err(|error| self.outlet.failed("find the sources of", &error))?;
        Ok(found
            .topics()
            .iter()
            .filter(|found| found.name() == topic && found.error().is_none())
            .any(|found| found.partitions().iter().any(|found| found.id() == partition)))
    }
}

impl EpochWriter for TransactionEpochs {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.begin()?;
        self.outlet.send(batch)
    }

    fn prepare(&mut self, epoch: u64, positions: &[Position]) -> Result<()> {
        self.begin()?;
        self.outlet.flush()?;
        let offsets = self.offsets(epoch, positions)?;
        let Some(group) = self.group.group_metadata() else {
            return Err(Error::internal("a consumer has no group"));
        };
        let timeout = self.outlet.cluster.timeout;
        transaction::step(&self.outlet, "send offsets with a transaction on", || {
            self.outlet
                .producer
                .send_offsets_to_transaction(&offsets, &group, timeout)
        })?;
        self.prepared = Some((epoch, false));
        Ok(())
    }

    fn commit(&mut self, epoch: u64) -> Result<SinkSummary> {
        if let Some((prepared, is_shown)) = self.prepared
            && prepared == epoch
        {
            if !is_shown {
                transaction::commit(&self.outlet)?;
                self.is_open = false;
                self.prepared = Some((epoch, true));
            }
            return Ok(self.outlet.summary());
        }
        if self.published()?.is_some_and(|shown| shown >= epoch) {
            return Ok(SinkSummary::default());
        }
        Err(Error::External {
            message: format!(
                "kafka {}: epoch {epoch} was taken back when the writer before this one ended; \
                 it must be written again",
                self.outlet.cluster.servers
            ),
            source: None,
        })
    }

    fn published(&mut self) -> Result<Option<u64>> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.outlet.topic, 0);
        let found = self.group.committed_offsets(list, self.outlet.cluster.timeout);
        let found = found.map_err(|error| self.outlet.failed("find the last epoch of", &error))?;
        let offsets = found.elements_for_topic(&self.outlet.topic);
        Ok(offsets.first().and_then(|element| match element.offset() {
            Offset::Offset(number) => u64::try_from(number).ok(),
            _ => None,
        }))
    }
}

impl Drop for TransactionEpochs {
    fn drop(&mut self) {
        if self.is_open {
            transaction::abort(&self.outlet);
        }
    }
}

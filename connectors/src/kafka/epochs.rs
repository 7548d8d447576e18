//! Epochs on a topic: each a transaction, with the consumed offsets and the epoch's number in it, and
//! the dead letters where their topic is of the same cluster.
//!
//! ```text
//!  write* ─▶ prepare: flush, offsets and number into the transaction ─▶ commit: shown, as one
//!     └─ the transaction begins with the epoch's first record
//! ```
//!
//! A transaction that was prepared and not committed when the writer ended is taken back by the
//! next writer of the name. So the topic, not a checkpoint, knows which epoch was shown last, and up
//! to where: its number is committed as the offset of the sink's own topic in the consumer's group,
//! with the names of the topics read and with positions that are no offsets of this cluster, and
//! [`EpochWriter::shown`] gives all of it back.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use fletching::connector::{Branch, DeadLetter, EpochWriter, LetterPlace, Position, Shown, SinkSummary};
use fletching::{Error, Result};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::TopicPartitionList;
use serde_json::{Value, json};

use super::client::Listener;
use super::committed::committed_offsets;
use super::outlet::Outlet;
use super::pull;
use super::start::{offset_of, partition_name};
use super::transaction;

/// How long the text beside an epoch's number may be: what brokers allow unless they are told
/// otherwise, which is 4,096, less some room.
const NOTE_BYTES_MAX: usize = 4_000;

/// Writes epochs whose records are there at least once: flushed, then the epoch counts as shown.
pub(super) struct SteadyEpochs(Outlet);

impl SteadyEpochs {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self(outlet)
    }
}

impl EpochWriter for SteadyEpochs {
    fn is_parallel(&self) -> bool {
        false
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.send(batch)
    }

    fn prepare(&mut self, _: u64, _: &[Position]) -> Result<()> {
        self.0.flush()
    }

    fn commit(&mut self, _: u64) -> Result<SinkSummary> {
        Ok(self.0.summary())
    }

    fn takes_letters(&mut self, place: &LetterPlace) -> Result<bool> {
        self.0.takes_letters(place)
    }

    fn write_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        self.0.send_letters(letters)
    }

    fn take_branch(&mut self, branch: &Branch) -> Result<Option<usize>> {
        self.0.take_branch(branch)
    }

    fn write_branch(&mut self, branch: usize, batch: &RecordBatch) -> Result<()> {
        self.0.send_branch(branch, batch)
    }
}

/// Writes epochs exactly once.
pub(super) struct TransactionEpochs {
    outlet: Outlet,
    /// Speaks for the group that the offsets are of.
    group: BaseConsumer<Listener>,
    /// Speaks for the group that earlier versions named after the pipeline alone, where what was shown last
    /// is known there and not in the present one.
    former: Option<BaseConsumer<Listener>>,
    is_open: bool,
    /// Partitions that the cluster was seen to have: they stay, so each is asked for once, not each epoch.
    seen: RefCell<BTreeSet<(String, i32)>>,
    /// The epoch that was prepared last, and whether it is shown.
    prepared: Option<(u64, bool)>,
}

impl TransactionEpochs {
    /// Registers the writer; an older one of its name is fenced.
    pub(super) fn open(outlet: Outlet, group: &str, former: &str) -> Result<Self> {
        let (group, _) = pull::consumer(&outlet.cluster, group)?;
        transaction::init(&outlet)?;
        let mut epochs = Self {
            outlet,
            group,
            former: None,
            is_open: false,
            seen: RefCell::default(),
            prepared: None,
        };
        if epochs.published()?.is_none() {
            epochs.former = Some(pull::consumer(&epochs.outlet.cluster, former)?.0);
            if epochs.published()?.is_none() {
                epochs.former = None;
            }
        }
        Ok(epochs)
    }

    fn begin(&mut self) -> Result<()> {
        if !self.is_open {
            transaction::begin(&self.outlet)?;
            self.is_open = true;
        }
        Ok(())
    }

    /// Lists the offsets of the cluster's own topics, and the epoch's number as the sink's, noting
    /// what else the next writer must know.
    fn offsets(&self, epoch: u64, positions: &[Position]) -> Result<TopicPartitionList> {
        let internal = |error| Error::internal(format!("an offset is no offset: {error}"));
        let mut list = TopicPartitionList::new();
        let (mut topics, mut others) = (Vec::new(), Vec::new());
        for position in positions {
            match offset_of(position) {
                Some((topic, partition, offset))
                    if topic != self.outlet.topic && self.has(topic, partition)? =>
                {
                    list.add_partition_offset(topic, partition, Offset::Offset(offset))
                        .map_err(internal)?;
                    if !topics.contains(&topic) {
                        topics.push(topic);
                    }
                }
                _ => others.push(json!([&*position.partition, position.place])),
            }
        }
        let note = json!({ "topics": topics, "others": others }).to_string();
        if note.len() > NOTE_BYTES_MAX {
            let places = others.len();
            return Err(Error::Resource {
                message: format!(
                    "kafka topic {}: {places} positions that are no offsets of its cluster do not fit beside an \
                     epoch; read fewer files, or set delivery = 'at-least-once'",
                    self.outlet.topic
                ),
            });
        }
        let number = i64::try_from(epoch).map_err(|_| Error::internal("an epoch past all numbers"))?;
        let mut mark = list.add_partition(&self.outlet.topic, 0);
        mark.set_offset(Offset::Offset(number)).map_err(internal)?;
        mark.set_metadata(note);
        Ok(list)
    }

    /// Returns the number of the epoch shown last, and what was noted with it.
    fn published(&self) -> Result<Option<(u64, Value)>> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.outlet.topic, 0);
        Ok(self.mark(&self.committed(&list)?))
    }

    /// Finds the number of the epoch shown last among offsets, and what was noted with it.
    fn mark(&self, found: &TopicPartitionList) -> Option<(u64, Value)> {
        let mark = found.find_partition(&self.outlet.topic, 0)?;
        let Offset::Offset(number) = mark.offset() else {
            return None;
        };
        let note = serde_json::from_str(mark.metadata()).unwrap_or_default();
        Some((u64::try_from(number).ok()?, note))
    }

    fn committed(&self, list: &TopicPartitionList) -> Result<TopicPartitionList> {
        let group = self.former.as_ref().unwrap_or(&self.group);
        committed_offsets(group, list, self.outlet.cluster.timeout)
            .map_err(|error| self.outlet.failed("find the last epoch of", &error))
    }

    /// Adds all partitions of a topic to a list.
    fn list_topic(&self, topic: &str, list: &mut TopicPartitionList) -> Result<()> {
        let timeout = self.outlet.cluster.timeout;
        let found = self.group.fetch_metadata(Some(topic), timeout);
        let found = found.map_err(|error| self.outlet.failed("find the sources of", &error))?;
        for partition in found.topics().iter().flat_map(|topic| topic.partitions()) {
            list.add_partition(topic, partition.id());
        }
        Ok(())
    }

    /// Says whether the cluster has a partition: positions may be of other sources.
    fn has(&self, topic: &str, partition: i32) -> Result<bool> {
        if self.seen.borrow().contains(&(topic.to_owned(), partition)) {
            return Ok(true);
        }
        let timeout = self.outlet.cluster.timeout;
        let found = self.group.fetch_metadata(Some(topic), timeout);
        let found = found.map_err(|error| self.outlet.failed("find the sources of", &error))?;
        let found = found
            .topics()
            .iter()
            .filter(|found| found.name() == topic && found.error().is_none());
        let ids = found
            .flat_map(|found| found.partitions())
            .map(|found| (topic.to_owned(), found.id()));
        let mut seen = self.seen.borrow_mut();
        seen.extend(ids);
        Ok(seen.contains(&(topic.to_owned(), partition)))
    }
}

impl EpochWriter for TransactionEpochs {
    /// The number and the offsets are of one answer, so that they are of one epoch: which topics to ask for
    /// is known from an answer before.
    fn shown(&mut self) -> Result<Option<Shown>> {
        let mut topics: Vec<String> = Vec::new();
        loop {
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.outlet.topic, 0);
            for topic in &topics {
                self.list_topic(topic, &mut list)?;
            }
            let found = self.committed(&list)?;
            let Some((epoch, note)) = self.mark(&found) else {
                // What a checkpoint says of a first epoch came to nothing.
                return Ok(Some(Shown::default()));
            };
            let noted_topics = topics_of(&note);
            if noted_topics == topics {
                let positions = positions_of(&self.outlet.topic, &found, &note);
                return Ok(Some(Shown { epoch, positions }));
            }
            topics = noted_topics;
        }
    }

    /// What was prepared and not shown is gone: [`shown`](EpochWriter::shown) leads back to
    /// before it.
    fn restore(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn is_parallel(&self) -> bool {
        false
    }

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
                self.former = None;
                self.prepared = Some((epoch, true));
            }
            return Ok(self.outlet.summary());
        }
        if self.published()?.is_some_and(|(shown, _)| shown >= epoch) {
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

    fn takes_letters(&mut self, place: &LetterPlace) -> Result<bool> {
        self.outlet.takes_letters(place)
    }

    fn write_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        self.begin()?;
        self.outlet.send_letters(letters)
    }

    fn take_branch(&mut self, branch: &Branch) -> Result<Option<usize>> {
        self.outlet.take_branch(branch)
    }

    fn write_branch(&mut self, branch: usize, batch: &RecordBatch) -> Result<()> {
        self.begin()?;
        self.outlet.send_branch(branch, batch)
    }
}

/// Reads of which topics the offsets are that were committed with a note.
fn topics_of(note: &Value) -> Vec<String> {
    let topics = note.get("topics").and_then(Value::as_array);
    let names = topics.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// Gathers the positions that were noted as they are and those that are offsets; `sink` is the topic whose
/// offset is an epoch's number.
fn positions_of(sink: &str, found: &TopicPartitionList, note: &Value) -> Vec<Position> {
    let mut positions: Vec<Position> = noted(note).collect();
    // What is noted is newer than an offset that was left beside it.
    let are_noted: BTreeSet<Arc<str>> = positions
        .iter()
        .map(|noted| Arc::clone(&noted.partition))
        .collect();
    let elements = found.elements();
    positions.extend(elements.iter().filter_map(|element| {
        let partition = partition_name(element.topic(), element.partition());
        let Offset::Offset(offset) = element.offset() else {
            return None;
        };
        let place = offset.to_string();
        (element.topic() != sink && !are_noted.contains(&partition)).then_some(Position { partition, place })
    }));
    positions.sort();
    positions
}

/// Reads the positions that were noted as they are.
fn noted(note: &Value) -> impl Iterator<Item = Position> {
    let others = note.get("others").and_then(Value::as_array);
    others.into_iter().flatten().filter_map(|pair| {
        Some(Position {
            partition: pair.get(0)?.as_str()?.into(),
            place: pair.get(1)?.as_str()?.to_owned(),
        })
    })
}

impl Drop for TransactionEpochs {
    fn drop(&mut self) {
        if self.is_open {
            transaction::abort(&self.outlet);
        }
    }
}

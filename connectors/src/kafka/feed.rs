//! A feed of topics: records as they come, each chunk with the offset after it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fletching::connector::{Chunk, Feed, Lag, Polled, Position, SourceReport};
use fletching::{Error, Result};
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::bad::Desk;
use super::client::Cluster;
use super::decode::Decoding;
use super::gather::Gathered;
use super::pull::{Puller, WAIT_STEP};
use super::start::{offset_of, partition_name};

/// How often a feed looks for partitions that were added.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How often it is said whether the cluster is away.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// How long one topic of several is waited for before the next is looked at.
const TURN: Duration = Duration::from_millis(5);

/// An open reading of topics.
pub(super) struct TopicFeed {
    pub(super) cluster: Cluster,
    /// Under which name offsets are committed; empty for none.
    pub(super) group: String,
    pub(super) pullers: Vec<Puller>,
    pub(super) ready: VecDeque<Gathered>,
    pub(super) decoding: Decoding,
    pub(super) desk: Desk,
    pub(super) report: Arc<SourceReport>,
    pub(super) batch_rows_max: usize,
    pub(super) looked_at: Instant,
    /// When it was said last whether the cluster is away.
    pub(super) told_at: Instant,
    /// Whether partitions come from a group, which finds added ones by itself.
    pub(super) is_shared: bool,
    /// Whether chunks carry dead letters and the offsets of their rows.
    pub(super) hands_over: bool,
}

impl TopicFeed {
    fn decode(&mut self, gathered: &Gathered) -> Result<Polled> {
        self.report.add_bytes(gathered.bytes() as u64);
        let batch = self.decoding.decode(gathered, &mut self.desk)?;
        let next = gathered.offsets.last().map_or(0, |last| last + 1);
        let position = Position {
            partition: partition_name(&gathered.topic, gathered.partition),
            place: next.to_string(),
        };
        let letters = self.desk.take();
        let mut places = Vec::new();
        // After a record was left out without a letter it is not known whose offset is whose.
        if self.hands_over && batch.num_rows() + letters.len() == gathered.rows() {
            let mut bad = letters.iter().peekable();
            places.reserve_exact(batch.num_rows());
            for offset in &gathered.offsets {
                let is_bad = bad.next_if(|letter| letter.place == offset.to_string());
                if is_bad.is_none() {
                    places.push(*offset);
                }
            }
        }
        Ok(Polled::Records(Chunk {
            letters,
            places,
            ..Chunk::new(batch, position)
        }))
    }

    /// Takes what is at hand of every topic, after waiting for each as long as told.
    fn pull(&mut self, wait: Duration) -> Result<()> {
        for puller in &mut self.pullers {
            puller.pull(self.batch_rows_max, wait)?;
            self.ready.extend(puller.take());
        }
        Ok(())
    }

    fn look_for_partitions(&mut self) -> Result<()> {
        if self.is_shared || self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked_at = Instant::now();
        self.pullers.iter_mut().try_for_each(Puller::look_for_partitions)
    }
}

impl TopicFeed {
    /// Says whether the cluster is away, twice a second at most.
    fn tell_retry(&mut self) {
        if self.told_at.elapsed() < TELL_EVERY {
            return;
        }
        self.told_at = Instant::now();
        let retry = self.pullers.iter().find_map(Puller::retry);
        self.report.set_retry(retry);
    }
}

impl Feed for TopicFeed {
    fn lag(&self) -> Vec<Lag> {
        let decoded = |lag: &mut Lag| {
            let ready = self
                .ready
                .iter()
                .filter(|gathered| lag.partition == partition_name(&gathered.topic, gathered.partition));
            lag.records += ready.map(|gathered| gathered.rows() as u64).sum::<u64>();
        };
        let mut lags: Vec<Lag> = self.pullers.iter().flat_map(Puller::lag).collect();
        lags.iter_mut().for_each(decoded);
        lags
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        self.tell_retry();
        let until = Instant::now() + wait;
        if self.ready.is_empty() {
            self.look_for_partitions()?;
            self.pull(Duration::ZERO)?;
        }
        loop {
            if let Some(gathered) = self.ready.pop_front() {
                return self.decode(&gathered);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left < WAIT_STEP {
                return Ok(Polled::Idle);
            }
            let turn = if self.pullers.len() == 1 {
                left
            } else {
                left.min(TURN)
            };
            self.pull(turn)?;
        }
    }

    fn has_caught_up(&self) -> bool {
        self.ready.is_empty() && self.pullers.iter().all(Puller::is_read)
    }

    fn committed(&mut self, positions: &[Position]) -> Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        for puller in &self.pullers {
            let mut list = TopicPartitionList::new();
            let mine = positions.iter().filter_map(offset_of);
            for (topic, partition, offset) in mine.filter(|(topic, _, _)| *topic == &*puller.topic) {
                list.add_partition_offset(topic, partition, Offset::Offset(offset))
                    .map_err(|error| Error::internal(format!("an offset is no offset: {error}")))?;
            }
            if list.count() > 0 {
                puller.consumer.commit(&list, CommitMode::Sync).map_err(|error| {
                    let doing = format!("commit the offsets of group {}", self.group);
                    self.cluster.error(&doing, &error, &parking_lot::Mutex::default())
                })?;
            }
        }
        Ok(())
    }
}

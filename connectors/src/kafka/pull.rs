//! Pulls the records of a topic's partitions out of a consumer, each partition by itself.
//!
//! There is a consumer for each topic, since the client's notice that a partition is read to its end
//! gives the partition's number but not the topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fletching::Result;
use fletching::connector::{Lag, Retry};
use parking_lot::Mutex;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::{Cluster, Heard, Listener};
use super::gather::{Gathered, Kept};
use super::start::{Part, partition_name};

/// How many bytes of records are gathered at once, whatever their number.
const BYTES_MAX: usize = 16 << 20;

/// One partition's records on their way.
struct Lane {
    gathered: Gathered,
    /// The offset after the last record that came.
    next: i64,
    /// The offset at which a scan ends, and a feed has caught up.
    end: i64,
    /// Whether everything up to `end` has come.
    is_read: bool,
}

/// A topic's partitions being read.
pub(super) struct Puller {
    cluster: Cluster,
    pub(super) consumer: BaseConsumer<Listener>,
    pub(super) heard: Arc<Mutex<Heard>>,
    pub(super) topic: Arc<str>,
    lanes: BTreeMap<i32, Lane>,
    kept: Kept,
    /// Whether nothing past the lanes' ends is wanted.
    is_bounded: bool,
    rows: usize,
    bytes: usize,
    /// How long was waited since the cluster last gave a sign of life.
    silent: Duration,
}

/// Makes a consumer that commits nothing by itself and tells when it is at a partition's end.
pub(super) fn consumer(
    cluster: &Cluster,
    group: &str,
) -> Result<(BaseConsumer<Listener>, Arc<Mutex<Heard>>)> {
    // The client needs some group even where it joins none and commits nothing.
    let group = if group.is_empty() { "fletching" } else { group };
    cluster.client(&[
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        ("fetch.wait.max.ms", "50"),
        // Tells how far the ends of partitions are, without asking for it.
        ("statistics.interval.ms", "1000"),
    ])
}

impl Puller {
    /// Begins to read partitions with a consumer of its own.
    pub(super) fn open(
        cluster: &Cluster,
        group: &str,
        (topic, parts): (&Arc<str>, &[Part]),
        kept: Kept,
        is_bounded: bool,
    ) -> Result<Self> {
        let (consumer, heard) = consumer(cluster, group)?;
        let mut puller = Self {
            cluster: cluster.clone(),
            consumer,
            heard,
            topic: Arc::clone(topic),
            lanes: BTreeMap::new(),
            kept,
            is_bounded,
            rows: 0,
            bytes: 0,
            silent: Duration::ZERO,
        };
        if !parts.is_empty() {
            puller.assign(parts)?;
        }
        Ok(puller)
    }

    /// Reads these partitions, and no others.
    pub(super) fn take_over(&mut self, parts: &[Part]) -> Result<()> {
        self.give_up();
        let list = self.list(parts)?;
        self.consumer.assign(&list).map_err(|error| self.failed(&error))
    }

    /// Forgets the partitions and what was gathered of them.
    pub(super) fn give_up(&mut self) {
        self.lanes.clear();
        (self.rows, self.bytes) = (0, 0);
    }

    /// Begins to read partitions besides those that are read.
    fn assign(&mut self, parts: &[Part]) -> Result<()> {
        let list = self.list(parts)?;
        self.consumer
            .incremental_assign(&list)
            .map_err(|error| self.failed(&error))
    }

    /// Opens a lane for each, and lists where it begins.
    fn list(&mut self, parts: &[Part]) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for part in parts {
            list.add_partition_offset(&self.topic, part.partition, Offset::Offset(part.begin))
                .map_err(|error| self.failed(&error))?;
            let lane = Lane {
                gathered: Gathered::new(&self.topic, part.partition),
                next: part.begin,
                end: part.end,
                is_read: part.begin >= part.end,
            };
            self.lanes.insert(part.partition, lane);
        }
        Ok(list)
    }

    fn failed(&self, error: &KafkaError) -> fletching::Error {
        let doing = format!("read the topic {}", self.topic);
        self.cluster.error(&doing, error, &self.heard)
    }

    /// Gathers records, at most `rows_max` of all partitions together, until there are no more at
    /// hand. Waits for the first of them no longer than told.
    pub(super) fn pull(&mut self, rows_max: usize, wait: Duration) -> Result<()> {
        let until = Instant::now() + wait;
        while self.rows < rows_max && self.bytes < BYTES_MAX && !(self.is_bounded && self.is_read()) {
            let wait = match self.rows {
                0 => until.saturating_duration_since(Instant::now()),
                _ => Duration::ZERO,
            };
            let problem = match self.consumer.poll(whole_ms(wait)) {
                None => {
                    self.silent += wait;
                    break;
                }
                Some(Ok(message)) => {
                    self.silent = Duration::ZERO;
                    let Some(lane) = self.lanes.get_mut(&message.partition()) else {
                        continue;
                    };
                    let offset = message.offset();
                    // What has come already is not taken again, should the client begin a fetch anew.
                    if offset < lane.next {
                        continue;
                    }
                    if !(self.is_bounded && offset >= lane.end) {
                        let before = lane.gathered.bytes();
                        lane.gathered.push(&message, self.kept);
                        self.bytes += lane.gathered.bytes() - before;
                        self.rows += 1;
                    }
                    lane.next = lane.next.max(offset + 1);
                    lane.is_read |= lane.next >= lane.end;
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.silent = Duration::ZERO;
                    if let Some(lane) = self.lanes.get_mut(&partition) {
                        lane.is_read = true;
                    }
                    continue;
                }
                Some(Err(problem)) => problem,
            };
            if is_final(&problem) || self.heard.lock().refused.is_some() {
                return Err(self.failed(&problem));
            }
            // The client tries again by itself, with backoff; what it says meanwhile is kept.
            self.heard.lock().last.get_or_insert_with(|| problem.to_string());
        }
        if self.is_bounded && !self.is_read() && self.silent > self.cluster.timeout {
            let code = RDKafkaErrorCode::OperationTimedOut;
            return Err(self.failed(&KafkaError::MessageConsumption(code)));
        }
        Ok(())
    }

    /// Hands over what was gathered, by partition.
    pub(super) fn take(&mut self) -> Vec<Gathered> {
        (self.rows, self.bytes) = (0, 0);
        let topic = &self.topic;
        let full = self.lanes.iter_mut().filter(|(_, lane)| lane.gathered.rows() > 0);
        full.map(|(partition, lane)| std::mem::replace(&mut lane.gathered, Gathered::new(topic, *partition)))
            .collect()
    }

    /// Returns how many records are left in each partition, as was told last.
    pub(super) fn lag(&self) -> Vec<Lag> {
        let heard = self.heard.lock();
        let lag = |(partition, lane): (&i32, &Lane)| {
            let (end, met) = heard.ends.get(partition)?;
            // What lies between the last record and an end that was met are the marks of transactions.
            let left = end.saturating_sub(lane.next.max(*met));
            Some(Lag {
                partition: partition_name(&self.topic, *partition),
                records: u64::try_from(left).unwrap_or(0),
            })
        };
        self.lanes.iter().filter_map(lag).collect()
    }

    /// Returns what the client tries again and again, where the cluster cannot be reached.
    pub(super) fn retry(&self) -> Option<Retry> {
        let heard = self.heard.lock();
        let failure = heard.failure.as_ref()?;
        Some(Retry {
            attempts: heard.failures,
            reason: format!("broker away: {failure}"),
        })
    }

    /// Says whether everything has come that was there when reading began.
    pub(super) fn is_read(&self) -> bool {
        self.lanes.values().all(|lane| lane.is_read)
    }

    /// Looks for partitions that were added to the topic since, and reads them from their start.
    pub(super) fn look_for_partitions(&mut self) -> Result<()> {
        // A cluster that does not answer now will do so another time.
        let Ok(found) = self.consumer.fetch_metadata(Some(&self.topic), LOOK_WAIT) else {
            return Ok(());
        };
        let topics = found.topics().iter().filter(|topic| topic.name() == &*self.topic);
        let ids = topics.flat_map(|topic| topic.partitions().iter().map(|partition| partition.id()));
        let fresh: Vec<Part> = ids
            .filter(|id| !self.lanes.contains_key(id))
            .map(|partition| Part {
                partition,
                begin: 0,
                end: 0,
            })
            .collect();
        if fresh.is_empty() {
            Ok(())
        } else {
            self.assign(&fresh)
        }
    }
}

/// How finely the client waits: it keeps a core busy during what is left of a wait below that.
pub(super) const WAIT_STEP: Duration = Duration::from_millis(1);

/// Cuts a wait to what the client can sleep through.
fn whole_ms(wait: Duration) -> Duration {
    wait - Duration::from_nanos(u64::from(wait.subsec_nanos() % 1_000_000))
}

/// How long a look for new partitions may hold up a feed.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// Says whether trying again is of no use.
fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return true;
    }
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::OffsetOutOfRange
                | Code::AutoOffsetReset
                | Code::InvalidMessage
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_cut_to_whole_milliseconds() {
        for (micros, expected_ms) in [(0, 0), (999, 0), (1_000, 1), (4_999, 4), (2_000_001, 2_000)] {
            let cut = whole_ms(Duration::from_micros(micros));
            assert_eq!(cut, Duration::from_millis(expected_ms), "{micros} µs");
        }
    }
}

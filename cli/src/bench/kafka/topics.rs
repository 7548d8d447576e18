//! Topics of a benchmark: made, read back, removed, by a plain client apart from what is measured.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, Offset};

use super::super::fault::{Fault, Result};

/// Partitions of every topic.
pub(super) const PARTITIONS: i32 = 4;
/// How long the broker may stay silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the fault of a client.
pub(super) fn fault(error: &KafkaError) -> Fault {
    Fault::new(format!("kafka: {error}"))
}

/// The way to the cluster.
pub(super) struct Topics {
    pub(super) servers: String,
    admin: AdminClient<DefaultClientContext>,
    /// Begins the name of every topic, so that runs do not meet.
    prefix: String,
    made: Cell<u32>,
}

/// What a reader of committed records finds in a topic.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// When the broker took the first and the last of them, in milliseconds since 1970.
    first_ms: i64,
    last_ms: i64,
}

impl Seen {
    /// Returns how long the broker took in records.
    pub(super) fn seconds(&self) -> f64 {
        let millis = u32::try_from(self.last_ms - self.first_ms).unwrap_or(0).max(1);
        f64::from(millis) / 1e3
    }
}

impl Topics {
    pub(super) fn new(servers: &str) -> Result<Self> {
        let admin = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .create()
            .map_err(|error| fault(&error))?;
        let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(Self {
            servers: servers.to_owned(),
            admin,
            prefix: format!(
                "fletching-bench-{}-{}",
                std::process::id(),
                began.unwrap_or_default().as_millis()
            ),
            made: Cell::new(0),
        })
    }

    /// Makes a topic; the broker gives its records the time at which it takes them.
    pub(super) fn create(&self, what: &str) -> Result<String> {
        self.made.set(self.made.get() + 1);
        let name = format!("{}-{}-{what}", self.prefix, self.made.get());
        let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = block_on(self.admin.create_topics([&topic], &options)).map_err(|error| fault(&error))?;
        match made.into_iter().next() {
            Some(Err((name, code))) => Err(Fault::new(format!("kafka: topic {name} is not made: {code}"))),
            _ => Ok(name),
        }
    }

    /// Removes a topic. One that stays does no harm but for its room.
    pub(super) fn remove(&self, name: &str) {
        let _ = block_on(self.admin.delete_topics(&[name], &AdminOptions::new()));
    }

    /// Returns a reader of a topic's committed records, from its beginning.
    pub(super) fn reader(&self, name: &str) -> Result<BaseConsumer> {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(name, partition, Offset::Beginning)
                .map_err(|error| fault(&error))?;
        }
        // As the connector's own consumers are set.
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("group.id", "fletching-bench")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "50")
            .create()
            .map_err(|error| fault(&error))?;
        consumer.assign(&list).map_err(|error| fault(&error))?;
        Ok(consumer)
    }

    /// Reads a topic to its end.
    pub(super) fn read(&self, name: &str) -> Result<Seen> {
        let reader = self.reader(name)?;
        let mut seen = Seen {
            first_ms: i64::MAX,
            ..Seen::default()
        };
        let (mut ended, mut heard) = (0, Instant::now());
        while ended < PARTITIONS {
            match reader.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    seen.records += 1;
                    seen.bytes += message.payload().map_or(0, <[u8]>::len) as u64;
                    let at = message.timestamp().to_millis().unwrap_or(0);
                    seen.first_ms = seen.first_ms.min(at);
                    seen.last_ms = seen.last_ms.max(at);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => return Err(fault(&error)),
                None if heard.elapsed() > PATIENCE => {
                    return Err(Fault::new(format!("kafka: {name} is not read to its end")));
                }
                None => {}
            }
        }
        Ok(seen)
    }
}

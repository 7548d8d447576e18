//! Topics of a test: made, filled, and read back by a plain client, apart from what is tested.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{Broker, segments};

/// How long the broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A record as a plain consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// Returns the value as text.
    ///
    /// # Panics
    /// Panics where there is none or it is no text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().expect("a value")).expect("text")
    }

    /// Returns a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// A topic of a test, under a name of its own.
pub struct Topic {
    /// Its name.
    pub name: String,
    servers: String,
    partitions: i32,
    logs: Option<PathBuf>,
    producer: OnceLock<BaseProducer>,
    counting: Mutex<Option<Counting>>,
}

/// Offsets in a transaction that is open.
pub struct HeldOffsets(BaseProducer);

impl std::fmt::Debug for HeldOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeldOffsets")
    }
}

impl HeldOffsets {
    /// Takes them back.
    ///
    /// # Panics
    /// Panics where the broker does not end the transaction.
    pub fn release(self) {
        self.0.abort_transaction(PATIENCE).expect("an end");
    }
}

/// A reader that counts.
struct Counting {
    consumer: BaseConsumer,
    count: usize,
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Makes a topic whose name begins with `name`.
    ///
    /// # Panics
    /// Panics where the broker does not make it.
    pub fn topic(&self, name: &str, partitions: i32) -> Topic {
        self.topic_with(name, partitions, &[])
    }

    /// Makes a topic with settings, as `("cleanup.policy", "compact")`.
    ///
    /// # Panics
    /// Panics where the broker does not make it.
    pub fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Topic {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let admin: AdminClient<DefaultClientContext> = config(self.servers()).create().expect("a client");
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let made = block_on(admin.create_topics([&topic], &options)).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        let topic = Topic {
            name,
            servers: self.servers().to_owned(),
            partitions,
            logs: self.logs(),
            producer: OnceLock::new(),
            counting: Mutex::default(),
        };
        topic.wait_for_leaders();
        topic
    }
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

impl Topic {
    /// Waits until every partition can be written to.
    fn wait_for_leaders(&self) {
        let consumer = self.consumer();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let found = consumer
                .fetch_metadata(Some(&self.name), PATIENCE)
                .expect("metadata");
            let topic = found.topics().first().expect("a topic");
            let led = topic
                .partitions()
                .iter()
                .filter(|partition| partition.leader() >= 0);
            if led.count() == usize::try_from(self.partitions).unwrap_or(0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{} has no leaders", self.name);
    }

    fn consumer(&self) -> BaseConsumer {
        config(&self.servers)
            .set("group.id", "fletching-tests")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            // An offset that is gone is told, not passed over.
            .set("auto.offset.reset", "error")
            .create()
            .expect("a consumer")
    }

    /// Sends keys and values, and waits until they are there.
    ///
    /// # Panics
    /// Panics where the broker does not take them.
    pub fn send(&self, records: &[(Option<&str>, Option<&str>)]) {
        let records = records
            .iter()
            .map(|(key, value)| (key.map(str::as_bytes), value.map(str::as_bytes)));
        self.send_all(records, None);
    }

    /// Sends values to partitions in turn, and waits until they are there.
    ///
    /// # Panics
    /// Panics where the broker does not take them.
    pub fn send_values<V: AsRef<[u8]>>(&self, values: impl IntoIterator<Item = V>) {
        let producer = self.producer();
        for (at, value) in values.into_iter().enumerate() {
            let partition = i32::try_from(at).unwrap_or(0) % self.partitions;
            let record = BaseRecord::<[u8], [u8]>::to(&self.name);
            send(producer, record.partition(partition).payload(value.as_ref()));
        }
        producer.flush(PATIENCE).expect("delivery");
    }

    /// Sends a record with everything it may have.
    ///
    /// # Panics
    /// Panics where the broker does not take it.
    pub fn send_one(&self, partition: i32, key: &[u8], value: &[u8], timestamp: i64, header: (&str, &str)) {
        let producer = self.producer();
        let (key_of_header, value_of_header) = header;
        let headers = OwnedHeaders::new().insert(Header {
            key: key_of_header,
            value: Some(value_of_header),
        });
        let record = BaseRecord::<[u8], [u8]>::to(&self.name)
            .partition(partition)
            .key(key)
            .payload(value)
            .timestamp(timestamp)
            .headers(headers);
        send(producer, record);
        producer.flush(PATIENCE).expect("delivery");
    }

    /// Sends keys and values of one's own, each to the partition of its key, and waits until they are there.
    ///
    /// # Panics
    /// Panics where the broker does not take them.
    pub fn send_keyed(&self, records: impl Iterator<Item = (String, String)>) {
        let producer = self.producer();
        for (key, value) in records {
            let record = BaseRecord::<[u8], [u8]>::to(&self.name);
            send(producer, record.key(key.as_bytes()).payload(value.as_bytes()));
        }
        producer.flush(PATIENCE).expect("delivery");
    }

    /// Says whether at least so many committed records can be read now.
    ///
    /// # Panics
    /// Panics where they cannot be read.
    pub fn has_committed(&self, wanted: usize) -> bool {
        self.count_committed(wanted) >= wanted
    }

    /// Counts the committed records that can be read now, up to as many as are wanted. Goes on counting where
    /// the last call on this topic's handle has ended.
    ///
    /// # Panics
    /// Panics where they cannot be read.
    pub fn count_committed(&self, wanted: usize) -> usize {
        let mut counting = self.counting.lock().expect("no panic before");
        let Counting { consumer, count } = counting.get_or_insert_with(|| {
            let consumer = self.consumer();
            let mut list = TopicPartitionList::new();
            for partition in 0..self.partitions {
                list.add_partition_offset(&self.name, partition, Offset::Beginning)
                    .expect("a partition");
            }
            consumer.assign(&list).expect("an assignment");
            Counting { consumer, count: 0 }
        });
        let began = Instant::now();
        while *count < wanted && began.elapsed() < PATIENCE {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(_)) => *count += 1,
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                    panic!("{}: the broker has lost what it held", self.name)
                }
                // The broker may be away just now.
                Some(Err(KafkaError::MessageConsumption(_))) | None => break,
                Some(Err(error)) => panic!("{}: {error}", self.name),
            }
        }
        *count
    }

    fn producer(&self) -> &BaseProducer {
        self.producer.get_or_init(|| {
            config(&self.servers)
                .set("partitioner", "murmur2_random")
                .set("linger.ms", "5")
                // No record twice, however busy the broker is.
                .set("enable.idempotence", "true")
                .create()
                .expect("a producer")
        })
    }

    fn send_all<'a>(
        &self,
        records: impl Iterator<Item = (Option<&'a [u8]>, Option<&'a [u8]>)>,
        partition: Option<i32>,
    ) {
        let producer = self.producer();
        for (key, value) in records {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.name);
            if let Some(key) = key {
                record = record.key(key);
            }
            if let Some(value) = value {
                record = record.payload(value);
            }
            if let Some(partition) = partition {
                record = record.partition(partition);
            }
            send(producer, record);
        }
        producer.flush(PATIENCE).expect("delivery");
    }

    /// Describes what lies on the broker's disk of a partition around these offsets: batches, and the marks by
    /// which transactions ended.
    pub fn batches(&self, partition: i32, offsets: Range<i64>) -> String {
        match &self.logs {
            Some(logs) => segments::describe(&logs.join(format!("{}-{partition}", self.name)), &offsets),
            None => "  (on the disk of a broker that runs elsewhere)".to_owned(),
        }
    }

    /// Reads all committed records, partition after partition.
    ///
    /// # Panics
    /// Panics where they cannot be read.
    pub fn records(&self) -> Vec<Record> {
        let consumer = self.consumer();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.name, partition, Offset::Beginning)
                .expect("a partition");
        }
        consumer.assign(&list).expect("an assignment");
        let (mut records, mut ended) = (Vec::new(), 0);
        let began = Instant::now();
        while ended < self.partitions {
            assert!(began.elapsed() < PATIENCE, "{} is not read to its end", self.name);
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    timestamp: message.timestamp().to_millis().unwrap_or(-1),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        let read = headers.iter();
                        read.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                            .collect()
                    }),
                }),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{}: {error}", self.name),
                None => {}
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// Begins a transaction that would commit this offset of every partition for a group, so that what the
    /// group has committed is not certain.
    ///
    /// # Panics
    /// Panics where the broker does not take it.
    pub fn hold_offsets(&self, group: &str, offset: i64) -> HeldOffsets {
        let producer: BaseProducer = config(&self.servers)
            .set("transactional.id", format!("hold-{}", self.name))
            .create()
            .expect("a producer");
        let member: BaseConsumer = config(&self.servers)
            .set("group.id", group)
            .create()
            .expect("a consumer");
        let mut offsets = TopicPartitionList::new();
        for partition in 0..self.partitions {
            offsets
                .add_partition_offset(&self.name, partition, Offset::Offset(offset))
                .expect("a partition");
        }
        let member = member.group_metadata().expect("a group");
        producer.init_transactions(PATIENCE).expect("a registration");
        producer.begin_transaction().expect("a transaction");
        producer
            .send_offsets_to_transaction(&offsets, &member, PATIENCE)
            .expect("offsets");
        HeldOffsets(producer)
    }

    /// Returns the offsets that a group has committed, by partition; -1 where there is none.
    ///
    /// # Panics
    /// Panics where the broker does not say.
    pub fn committed(&self, group: &str) -> Vec<i64> {
        let consumer: BaseConsumer = config(&self.servers)
            .set("group.id", group)
            // Those of a transaction that is still open are then not waited for.
            .set("isolation.level", "read_uncommitted")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.name, 0, self.partitions - 1);
        let found = consumer.committed_offsets(list, PATIENCE).expect("offsets");
        let offsets = found.elements();
        offsets
            .iter()
            .map(|element| match element.offset() {
                Offset::Offset(offset) => offset,
                _ => -1,
            })
            .collect()
    }
}

fn send(producer: &BaseProducer, record: BaseRecord<'_, [u8], [u8]>) {
    let mut record = record;
    while let Err((error, back)) = producer.send(record) {
        let is_full = error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::QueueFull);
        assert!(is_full, "{error}");
        producer.poll(Duration::from_millis(20));
        record = back;
    }
}

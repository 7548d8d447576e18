//! The measure: records consumed and produced as they are, by the same client with the same settings.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::super::fault::{Fault, Result};
use super::topics::{PATIENCE, Topics, fault};

/// How long a producer waits for more records where nobody asks for results soon: the client's default.
pub(super) const LINGER_MS: &str = "5";

/// The same where somebody does.
pub(super) const LINGER_MS_SOON: &str = "1";

/// Makes a producer as the connector does.
pub(super) fn producer(servers: &str, linger_ms: &str) -> Result<BaseProducer> {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("compression.type", "none")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", linger_ms)
        .set("enable.idempotence", "true")
        .create()
        .map_err(|error| fault(&error))
}

/// Hands a record on, waiting for room in the queue.
pub(super) fn send(producer: &BaseProducer, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(50));
            }
            Err((error, _)) => return Err(fault(&error)),
        }
    }
}

/// Copies so many records, keys and values, from topic to topic on one thread beside the client's own.
pub(super) fn copy(topics: &Topics, from: &str, to: &str, records: u64) -> Result<()> {
    let producer = producer(&topics.servers, LINGER_MS)?;
    copy_from(&topics.reader(from)?, &producer, to, records)
}

/// Copies so many records of a reader.
pub(super) fn copy_from(
    reader: &BaseConsumer,
    producer: &BaseProducer,
    to: &str,
    records: u64,
) -> Result<()> {
    let (mut copied, mut heard) = (0, Instant::now());
    while copied < records {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let mut record = BaseRecord::<[u8], [u8]>::to(to);
                if let Some(key) = message.key() {
                    record = record.key(key);
                }
                if let Some(value) = message.payload() {
                    record = record.payload(value);
                }
                send(producer, record)?;
                copied += 1;
                if copied % 1024 == 0 {
                    producer.poll(Duration::ZERO);
                    heard = Instant::now();
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(fault(&error)),
            None if heard.elapsed() > PATIENCE => return Err(Fault::new("kafka: records stay away")),
            None => {}
        }
    }
    producer.flush(PATIENCE).map_err(|error| fault(&error))
}

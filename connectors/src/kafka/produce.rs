//! Handing records to a producer whose queue may be full, and waiting until they are delivered.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::Listener;

/// How long is waited at once for room in a producer's queue.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// How long is waited at once for deliveries. Left to itself, the client's `flush` looks every 100 ms
/// whether all are done.
const FLUSH_WAIT: Duration = Duration::from_millis(1);

/// Hands a record on, waiting for room in the queue. The queue drains as records are delivered, or
/// given up after the client's own time limit, so this ends.
pub(super) fn send(
    producer: &BaseProducer<Listener>,
    mut record: BaseRecord<'_, [u8], [u8], ()>,
) -> Result<(), KafkaError> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(ROOM_WAIT);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Waits until every record is delivered or given up, at most as long as told.
pub(super) fn flush(producer: &BaseProducer<Listener>, timeout: Duration) -> Result<(), KafkaError> {
    let until = Instant::now() + timeout;
    loop {
        match producer.flush(FLUSH_WAIT) {
            Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) if Instant::now() < until => {}
            flushed => return flushed,
        }
    }
}

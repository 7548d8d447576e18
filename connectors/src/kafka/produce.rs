//! Handing a record to a producer whose queue may be full.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord};

use super::client::Listener;

/// How long is waited at once for room in a producer's queue.
const ROOM_WAIT: Duration = Duration::from_millis(50);

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

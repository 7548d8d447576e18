//! Handing records to a producer whose queue may be full, and waiting until they are delivered.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::Listener;

/// How long is slept at once while a producer's records are on their way.
const MOMENT: Duration = Duration::from_micros(300);

/// Which share of a full queue must be delivered before more is put into it.
const ROOM_SHARE: i32 = 8;

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
                make_room(producer);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Waits until some of a full queue is delivered, so that it is not full again at once.
fn make_room(producer: &BaseProducer<Listener>) {
    let full = producer.in_flight_count();
    while producer.in_flight_count() > full - full / ROOM_SHARE {
        hear(producer);
    }
}

/// Waits until every record is delivered or given up, at most as long as told.
pub(super) fn flush(producer: &BaseProducer<Listener>, timeout: Duration) -> Result<(), KafkaError> {
    let until = Instant::now() + timeout;
    while producer.in_flight_count() > 0 && Instant::now() < until {
        hear(producer);
    }
    producer.flush(Duration::ZERO)
}

/// Takes the news of deliveries that there are; sleeps a moment where there are none.
///
/// The client's own waiting is no use here: `poll` comes back only when its time is up, whatever it has
/// heard, and keeps a core busy for the last millisecond of it, which broker and client then lack.
fn hear(producer: &BaseProducer<Listener>) {
    let before = producer.in_flight_count();
    producer.poll(Duration::ZERO);
    if producer.in_flight_count() >= before {
        thread::sleep(MOMENT);
    }
}

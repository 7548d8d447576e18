//! The offsets that a group has committed, each of them for certain.
//!
//! While a transaction is being ended, its offsets are neither there nor not there. The client asks again
//! a few times only, then notes an error beside the partition; taken for "none", the partition would be
//! read anew from its start.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};

use super::client::Listener;

/// How long is waited before offsets that are not certain are asked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks for the offsets that the consumer's group has committed of these partitions, for at most so long.
///
/// # Errors
/// Fails where one of them cannot be told, or is not certain when the time is up.
pub(super) fn committed_offsets(
    consumer: &BaseConsumer<Listener>,
    list: &TopicPartitionList,
    wait: Duration,
) -> KafkaResult<TopicPartitionList> {
    let until = Instant::now() + wait;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(PAUSE);
        let found = consumer.committed_offsets(list.clone(), left)?;
        match all_told(&found) {
            Ok(()) => return Ok(found),
            Err(error) => {
                let may_pass = error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnstableOffsetCommit);
                if !may_pass || Instant::now() + PAUSE > until {
                    return Err(error);
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Fails with the first partition's error, where one could not be told.
pub(super) fn all_told(list: &TopicPartitionList) -> KafkaResult<()> {
    list.elements().iter().try_for_each(TopicPartitionListElem::error)
}

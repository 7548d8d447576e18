//! Who a consumer is in its group: what a sink needs to commit offsets in the group's name.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use rdkafka::consumer::ConsumerGroupMetadata;

/// A member of a consumer group, known to its feed and to the sink that its records go to.
pub(super) struct Member {
    /// The cluster, by the name it has given itself.
    pub(super) cluster: Option<String>,
    /// Member and generation as of when the partitions were assigned. A newer one would let an epoch
    /// through that was made of partitions which are another's since.
    pub(super) generation: Mutex<Option<Arc<ConsumerGroupMetadata>>>,
    /// Whether the sink commits the offsets, in its transactions.
    pub(super) is_transactional: AtomicBool,
}

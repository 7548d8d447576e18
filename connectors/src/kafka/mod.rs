//! `connector = 'kafka'`: topics as streams, tables and sinks.
//!
//! ```text
//!  broker ─▶ pull (a consumer a topic, a lane a partition) ─▶ gather ─▶ decode ─▶ batches
//!                                                                       └─▶ bad ─▶ letters
//!  batches ─▶ outlet (keys, values, headers) ─▶ producer ─▶ broker
//!                └── writer: flushed at commit        └── epochs: a transaction an epoch
//! ```

mod bad;
mod client;
mod columns;
mod decode;
mod epochs;
mod feed;
mod gather;
mod group;
mod group_epochs;
mod group_feed;
mod letters;
mod options;
mod outlet;
mod produce;
mod properties;
mod pull;
mod scan;
mod sink;
mod source;
mod start;
mod transaction;
mod writer;

use std::sync::Arc;

use fletching::Result;
use fletching::connector::{Connector, RelationSpec, Sink, Source};

use sink::TopicSink;
use source::TopicSource;

/// Reads and writes Kafka topics.
///
/// A scan ends at the offsets that were the topic's ends when it began; a feed goes on. A table
/// with a PRIMARY KEY takes a record without a value as the deletion of the row with its key.
///
/// # Errors
/// A source that cannot be reached is an error once the option `timeout` (30 s) has passed; until
/// then the client tries again, with backoff.
///
/// ```
/// use fletching::connector::{Connector, Options, RelationKind, RelationSpec};
/// use fletching_connectors::KafkaConnector;
///
/// let options = Options::new("stream trades")
///     .with("bootstrap.servers", "localhost:9092")
///     .with("topic", "trades")
///     .with("format", "json")
///     .with("kafka.ssl.ca.location", "/etc/passwd");
/// let spec = RelationSpec {
///     name: "trades".into(),
///     kind: RelationKind::Stream,
///     schema: None,
///     primary_key: Vec::new(),
///     options,
/// };
/// let error = KafkaConnector.source(&spec).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "stream trades: option 'kafka.ssl.ca.location': is refused: it would read a file of this \
///      machine; give the certificate itself as 'kafka.ssl.ca.pem'"
/// );
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KafkaConnector;

impl Connector for KafkaConnector {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn source(&self, spec: &RelationSpec) -> Result<Arc<dyn Source>> {
        spec.options.check(&options::specs(false))?;
        Ok(Arc::new(TopicSource::new(spec)?))
    }

    fn sink(&self, spec: &RelationSpec) -> Result<Arc<dyn Sink>> {
        spec.options.check(&options::specs(true))?;
        Ok(Arc::new(TopicSink::new(spec)?))
    }
}

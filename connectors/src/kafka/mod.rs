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
mod committed;
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
mod security;
mod sink;
mod source;
mod start;
mod transaction;
mod writer;

use std::sync::Arc;

use fletching::Result;
use fletching::connector::{Connector, Options, RelationSpec, Sink, Source};

use sink::TopicSink;
use source::TopicSource;

/// Reads and writes Kafka topics.
///
/// A scan ends at the offsets that were the topic's ends when it began; a feed goes on. A table
/// with a PRIMARY KEY takes a record without a value as the deletion of the row with its key.
///
/// One made by `default` opens no file of the machine, whatever the SQL says: certificates are given
/// as text (`'kafka.ssl.ca.pem'`), schemas as text or by a registry, dead letters go to a topic. One
/// made by [`with_files`](Self::with_files) takes paths as well.
///
/// # Errors
/// A source that cannot be reached is an error once the option `timeout` (30 s) has passed; until
/// then the client tries again, with backoff. A broker that refuses the certificate or the login is
/// one at once, with the option to set.
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
/// let error = KafkaConnector::default().source(&spec).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "stream trades: option 'kafka.ssl.ca.location': is refused: it would open a file of this \
///      machine; give the certificate itself as 'kafka.ssl.ca.pem'"
/// );
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KafkaConnector {
    opens_files: bool,
}

/// Options that name files, and what to do where files may not be opened.
const FILE_OPTIONS: &[(&str, &str)] = &[
    (
        "kafka.ssl.ca.location",
        "give the certificate itself as 'kafka.ssl.ca.pem'",
    ),
    (
        "kafka.ssl.certificate.location",
        "give the certificate itself as 'kafka.ssl.certificate.pem'",
    ),
    (
        "kafka.ssl.key.location",
        "give the key itself as 'kafka.ssl.key.pem'",
    ),
    ("schema.path", "give the schema itself as 'schema'"),
    (
        "schema.registry.ssl.ca.location",
        "give the certificate itself as 'schema.registry.ssl.ca.pem'",
    ),
    ("dead_letter.path", "name a topic as 'dead_letter.topic'"),
];

impl KafkaConnector {
    /// Makes one that also opens the files that SQL names: certificates and keys, schemas, dead
    /// letters. [`all`](crate::all) has such a one, beside the connector for files.
    ///
    /// ```
    /// use fletching::connector::Connector;
    ///
    /// assert_eq!(fletching_connectors::KafkaConnector::with_files().name(), "kafka");
    /// ```
    pub fn with_files() -> Self {
        Self { opens_files: true }
    }

    fn check_files(self, options: &Options) -> Result<()> {
        let named = |(name, _): &&(&str, &str)| options.text(name).is_some_and(|text| text != "probe");
        match FILE_OPTIONS.iter().find(named) {
            Some((name, instead)) if !self.opens_files => {
                let message = "is refused: it would open a file of this machine";
                Err(options.bad_value(name, message, Some((*instead).to_owned())))
            }
            _ => Ok(()),
        }
    }
}

impl Connector for KafkaConnector {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn source(&self, spec: &RelationSpec) -> Result<Arc<dyn Source>> {
        spec.options.check(&options::specs(false))?;
        self.check_files(&spec.options)?;
        Ok(Arc::new(TopicSource::new(spec)?))
    }

    fn sink(&self, spec: &RelationSpec) -> Result<Arc<dyn Sink>> {
        spec.options.check(&options::specs(true))?;
        self.check_files(&spec.options)?;
        Ok(Arc::new(TopicSink::new(spec)?))
    }
}

//! A topic as a sink: its options, and which columns go where in a record.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fletching::Result;
use fletching::connector::{
    Branch, CHANGE_COLUMN, EpochWriter, Membership, Options, RelationSpec, Sink, SinkWriter,
};
use parking_lot::Mutex;

use super::client::Cluster;
use super::columns::place;
use super::epochs::{SteadyEpochs, TransactionEpochs};
use super::group::Member;
use super::group_epochs::SharedEpochs;
use super::options::names;
use super::outlet::{BranchParts, Encoders, Outlet};
use super::writer::{SteadyWriter, TransactionWriter};
use crate::message::{KeyFormat, MessageFormat, value_format};
use crate::spelling::type_name;

/// How long the one transaction of an output that ends may last: as long as brokers allow unless
/// they are told otherwise.
const LONG_TRANSACTION: (&str, &str) = ("transaction.timeout.ms", "900000");

/// How long a transaction of a pipeline may last, and so how long a cluster may be away in the midst of one: as
/// long as the client waits where it writes without transactions. Where a pipeline dies and is not started
/// again, readers of committed records wait for as long.
const EPOCH_TRANSACTION: (&str, &str) = ("transaction.timeout.ms", "300000");

/// What is promised of each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

/// A sink of one topic.
#[derive(Debug)]
pub(super) struct TopicSink {
    name: String,
    pub(super) cluster: Cluster,
    pub(super) topic: String,
    /// `None` where it is not said: then an output that ends is written at least once, and one of
    /// epochs exactly once.
    delivery: Option<Delivery>,
    options: Options,
    key: Vec<String>,
    format: Arc<dyn MessageFormat>,
    /// What the producer is told besides how to reach the cluster.
    producer: Vec<(&'static str, &'static str)>,
}

/// Where the columns of a batch go, by position.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) key: Vec<usize>,
    pub(super) key_format: KeyFormat,
    pub(super) value: Vec<usize>,
    pub(super) headers: Vec<usize>,
    pub(super) partition: Option<usize>,
    pub(super) timestamp: Option<usize>,
    /// A truth value, or what a change does.
    pub(super) tombstone: Option<usize>,
}

impl TopicSink {
    pub(super) fn new(spec: &RelationSpec) -> Result<Self> {
        let options = &spec.options;
        let topic = options.required("topic", "enriched")?.to_owned();
        let key = match names(options, "key") {
            named if named.is_empty() => spec.primary_key.clone(),
            named => named,
        };
        let delivery = options.choice("delivery", &["at-least-once", "exactly-once"])?;
        let sink = Self {
            name: spec.name.clone(),
            cluster: Cluster::from_options(options)?,
            delivery: delivery.map(|at| [Delivery::AtLeastOnce, Delivery::ExactlyOnce][at]),
            options: options.clone(),
            key,
            format: value_format(options, &topic)?,
            producer: producer(options)?,
            topic,
        };
        if let Some(schema) = &spec.schema {
            sink.places(schema)?;
        }
        Ok(sink)
    }

    /// Finds where the columns go.
    fn places(&self, schema: &SchemaRef) -> Result<Places> {
        let options = &self.options;
        let one = |option: &str, fits: fn(&DataType) -> bool, expected: &str| -> Result<Option<usize>> {
            let Some(name) = options.text(option) else {
                return Ok(None);
            };
            let at = place(options, option, name, schema)?;
            let found = schema.field(at).data_type();
            if !fits(found) {
                let message = format!("column '{name}' is {}, not {expected}", type_name(found));
                return Err(options.bad_value(option, &message, None));
            }
            Ok(Some(at))
        };
        let many = |option: &str, names: &[String]| -> Result<Vec<usize>> {
            names
                .iter()
                .map(|name| place(options, option, name, schema))
                .collect()
        };
        let key = many("key", &self.key)?;
        let key_fields = key.iter().map(|at| Arc::clone(&schema.fields()[*at])).collect();
        let headers = many("headers", &names(options, "headers"))?;
        let partition = one("partition", DataType::is_integer, "a whole number")?;
        let is_time = |found: &DataType| matches!(found, DataType::Timestamp(_, _));
        let timestamp = one("timestamp", is_time, "a TIMESTAMP")?;
        let is_truth = |found: &DataType| matches!(found, DataType::Boolean);
        let changes = schema
            .fields()
            .iter()
            .position(|field| field.name() == CHANGE_COLUMN);
        let tombstone = one("tombstone", is_truth, "BOOLEAN")?.or(changes);
        let is_raw = options
            .text("format")
            .is_some_and(|f| f.eq_ignore_ascii_case("raw"));
        let is_elsewhere = |at: &usize| {
            headers.contains(at)
                || partition == Some(*at)
                || timestamp == Some(*at)
                || tombstone == Some(*at)
                || (is_raw && key.contains(at))
        };
        let value = (0..schema.fields().len())
            .filter(|at| !is_elsewhere(at))
            .collect();
        Ok(Places {
            key_format: KeyFormat::from_options(options, &key_fields)?,
            key,
            value,
            headers,
            partition,
            timestamp,
            tombstone,
        })
    }

    /// Opens the way out for batches of these columns; `more` is what the producer is told besides.
    fn outlet(&self, schema: &SchemaRef, more: &[(&str, &str)]) -> Result<Outlet> {
        let told: Vec<(&str, &str)> = self.producer.iter().chain(more).copied().collect();
        Outlet::open(&self.cluster, &self.topic, &told, self.encoders(schema)?)
    }

    /// Makes what turns batches of these columns into records.
    fn encoders(&self, schema: &SchemaRef) -> Result<Encoders> {
        let places = self.places(schema)?;
        let part = |columns: &[usize]| -> SchemaRef {
            let fields = columns.iter().map(|at| {
                let field = schema.field(*at);
                Field::new(field.name(), field.data_type().clone(), field.is_nullable())
            });
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        };
        let values = self.format.encoder(&part(&places.value))?;
        let keys = match places.key.is_empty() {
            true => None,
            false => Some(places.key_format.messages().encoder(&part(&places.key))?),
        };
        Ok((places, keys, values))
    }
}

/// Reads what the producer is told.
fn producer(options: &Options) -> Result<Vec<(&'static str, &'static str)>> {
    let packings = ["none", "gzip", "snappy", "lz4", "zstd"];
    let partitioners = ["murmur2", "consistent", "fnv1a", "random"];
    let told = ["murmur2_random", "consistent_random", "fnv1a_random", "random"];
    let packing = options.choice("compression", &packings)?.unwrap_or(0);
    // Java's own default, so that keys are where other programs put them.
    let partitioner = options.choice("partitioner", &partitioners)?.unwrap_or(0);
    let mut producer = vec![
        ("compression.type", packings[packing]),
        ("partitioner", told[partitioner]),
        ("linger.ms", "5"),
    ];
    let sets = ["kafka.acks", "kafka.request.required.acks"];
    if !sets.iter().any(|name| options.text(name).is_some()) {
        producer.push(("enable.idempotence", "true"));
    }
    Ok(producer)
}

impl Sink for TopicSink {
    fn create(&self, schema: &SchemaRef) -> Result<Box<dyn SinkWriter>> {
        if self.delivery == Some(Delivery::ExactlyOnce) {
            let name = format!("fletching-{}-{}", self.name, unique());
            let told = [("transactional.id", name.as_str()), LONG_TRANSACTION];
            let outlet = self.outlet(schema, &told)?;
            return Ok(Box::new(TransactionWriter::begin(outlet)?));
        }
        Ok(Box::new(SteadyWriter::new(self.outlet(schema, &[])?)))
    }

    fn keeps_outputs(&self) -> bool {
        true
    }

    fn epochs(&self, schema: &SchemaRef, consumer: &str) -> Result<Box<dyn EpochWriter>> {
        if self.delivery == Some(Delivery::AtLeastOnce) {
            return Ok(Box::new(SteadyEpochs::new(self.outlet(schema, &[])?)));
        }
        // A pipeline of the same name that fills another topic is another one.
        let name = format!("fletching-{consumer}-{}", self.topic);
        let outlet = self.outlet(schema, &[("transactional.id", name.as_str()), EPOCH_TRANSACTION])?;
        let group = self.reader_name(consumer);
        Ok(Box::new(TransactionEpochs::open(outlet, &group, consumer)?))
    }

    fn reader_name(&self, pipeline: &str) -> String {
        format!("{pipeline}-{}", self.topic)
    }

    fn branch(&self, schema: &SchemaRef) -> Result<Option<Branch>> {
        Ok(Some(Arc::new(BranchParts {
            servers: self.cluster.servers.clone(),
            topic: self.topic.clone(),
            encoders: Mutex::new(Some(self.encoders(schema)?)),
        })))
    }

    fn shared_epochs(
        &self,
        schema: &SchemaRef,
        consumer: &str,
        membership: &Membership,
    ) -> Result<Box<dyn EpochWriter>> {
        if self.delivery == Some(Delivery::AtLeastOnce) {
            return Ok(Box::new(SteadyEpochs::new(self.outlet(schema, &[])?)));
        }
        let Ok(member) = Arc::clone(membership).downcast::<Member>() else {
            return Err(self.options.bad_value(
                "delivery",
                "exactly once for instances that share a stream, the stream must be of Kafka",
                Some("set delivery = 'at-least-once'".into()),
            ));
        };
        let name = format!("fletching-{consumer}-{}-{}", self.name, unique());
        let outlet = self.outlet(schema, &[("transactional.id", name.as_str()), SHORT_TRANSACTION])?;
        Ok(Box::new(SharedEpochs::open(outlet, member)?))
    }
}

/// How long a transaction of one of several instances may last: when the instance dies, readers wait for
/// as long. Kafka Streams has the same.
const SHORT_TRANSACTION: (&str, &str) = ("transaction.timeout.ms", "10000");

/// Returns a name that no other run has.
fn unique() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{}-{}", std::process::id(), now.unwrap_or_default().as_nanos())
}

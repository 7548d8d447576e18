//! The way of batches out: keys, values and headers encoded, one record a row.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int8Type, Int32Type, TimeUnit, TimestampMillisecondType};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fletching::connector::{Branch, Change, DeadLetter, LetterPlace, SinkSummary};
use fletching::{Error, Result};
use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::{Cluster, Heard, Listener};
use super::letters::record_of;
use super::produce;
use super::sink::Places;
use crate::message::{MessageEncoder, Payloads};

/// How long a topic that is not there may take to appear where the broker makes topics by itself.
const APPEARANCE: Duration = Duration::from_secs(5);

/// A producer and how rows become its records.
pub(super) struct Outlet {
    pub(super) cluster: Cluster,
    pub(super) producer: Arc<BaseProducer<Listener>>,
    pub(super) heard: Arc<Mutex<Heard>>,
    pub(super) topic: String,
    /// The topic of dead letters that are written with the rows.
    letter_topic: Option<String>,
    /// How long its transactions may last, where it has any.
    pub(super) lifetime: Duration,
    /// Other topics that are written with the rows.
    branches: Vec<Outlet>,
    places: Places,
    key_encoder: Option<Box<dyn MessageEncoder>>,
    value_encoder: Box<dyn MessageEncoder>,
    keys: Payloads,
    values: Payloads,
    pub(super) rows: u64,
    bytes: u64,
}

pub(super) type Encoders = (Places, Option<Box<dyn MessageEncoder>>, Box<dyn MessageEncoder>);

/// What a sink of a topic hands to the writer of another: see [`Branch`].
pub(super) struct BranchParts {
    pub(super) servers: String,
    pub(super) topic: String,
    pub(super) encoders: Mutex<Option<Encoders>>,
}

impl Outlet {
    /// Makes the producer and sees that the topic is there.
    pub(super) fn open(
        cluster: &Cluster,
        topic: &str,
        told: &[(&str, &str)],
        (places, key_encoder, value_encoder): Encoders,
    ) -> Result<Self> {
        let (producer, heard) = cluster.client(told)?;
        let mut outlet = Self::with(
            (cluster, Arc::new(producer), heard),
            topic,
            (places, key_encoder, value_encoder),
        )?;
        let lifetime = cluster.told("transaction.timeout.ms", told);
        let lifetime_ms = lifetime.and_then(|ms| ms.trim().parse().ok());
        outlet.lifetime = Duration::from_millis(lifetime_ms.unwrap_or(0));
        Ok(outlet)
    }

    /// Makes another that sends by the same producer to a topic of the same cluster.
    fn beside(&self, topic: &str, encoders: Encoders) -> Result<Self> {
        let producer = (&self.cluster, Arc::clone(&self.producer), Arc::clone(&self.heard));
        Self::with(producer, topic, encoders)
    }

    fn with(
        (cluster, producer, heard): (&Cluster, Arc<BaseProducer<Listener>>, Arc<Mutex<Heard>>),
        topic: &str,
        (places, key_encoder, value_encoder): Encoders,
    ) -> Result<Self> {
        let outlet = Self {
            cluster: cluster.clone(),
            producer,
            heard,
            branches: Vec::new(),
            topic: topic.to_owned(),
            letter_topic: None,
            lifetime: Duration::ZERO,
            places,
            key_encoder,
            value_encoder,
            keys: Payloads::default(),
            values: Payloads::default(),
            rows: 0,
            bytes: 0,
        };
        outlet.find_topic(topic)?;
        Ok(outlet)
    }

    /// Waits for the topic: asking for it may have made it.
    fn find_topic(&self, topic: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let listen = || {
                self.producer.poll(Duration::from_millis(1));
            };
            let found = self
                .cluster
                .metadata((self.producer.client(), Some(topic)), &self.heard, listen)
                .map_err(|error| self.failed("find", &error))?;
            if found
                .topics()
                .iter()
                .any(|topic| topic.error().is_none() && !topic.partitions().is_empty())
            {
                return Ok(());
            }
            if began.elapsed() > APPEARANCE {
                return Err(Error::External {
                    message: format!(
                        "kafka {}: there is no topic '{}', and the broker does not make it; create it first",
                        self.cluster.servers, topic
                    ),
                    source: None,
                });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Makes an error of one of the producer's.
    pub(super) fn failed(&self, doing: &str, error: &KafkaError) -> Error {
        let doing = format!("{doing} the topic {}", self.topic);
        if let Some((_, reason)) = self.producer.client().fatal_error() {
            // The error itself then says no more than that there was one.
            self.heard.lock().last = Some(reason);
        }
        self.cluster.error(&doing, error, &self.heard)
    }

    /// Hands a batch's rows to the producer, in order.
    pub(super) fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        let pick = |columns: &[usize]| batch.project(columns).map_err(Error::from);
        self.values.clear();
        self.keys.clear();
        self.value_encoder
            .encode(&pick(&self.places.value)?, &mut self.values)?;
        if let Some(encoder) = &mut self.key_encoder {
            encoder.encode(&pick(&self.places.key)?, &mut self.keys)?;
        }
        let extras = Extras::of(batch, &self.places)?;
        for row in 0..batch.num_rows() {
            let mut record = BaseRecord::<[u8], [u8], ()>::to(&self.topic);
            if !extras.is_tombstone(row) {
                record = record.payload(self.values.get(row));
                self.bytes += self.values.range(row).len() as u64;
            }
            if self.key_encoder.is_some() && !extras.has_no_key(row) {
                record = record.key(self.keys.get(row));
            }
            if let Some(partition) = extras.partition(row) {
                record = record.partition(partition);
            }
            if let Some(time) = extras.timestamp(row) {
                record = record.timestamp(time);
            }
            if let Some(headers) = extras.headers(row)? {
                record = record.headers(headers);
            }
            produce::send(&self.producer, record).map_err(|error| self.failed("write to", &error))?;
            // Acknowledgements are taken now and then, so that they do not pile up.
            if row % 1024 == 0 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.rows += batch.num_rows() as u64;
        self.check_delivery()
    }

    /// Says whether dead letters for this place can go out by the same producer.
    pub(super) fn takes_letters(&mut self, place: &LetterPlace) -> Result<bool> {
        match place {
            LetterPlace::Topic { servers, topic } if *servers == self.cluster.servers => {
                self.find_topic(topic)?;
                self.letter_topic = Some(topic.clone());
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Takes another topic to be written by the same producer, where it is of the same cluster.
    pub(super) fn take_branch(&mut self, branch: &Branch) -> Result<Option<usize>> {
        let Some(parts) = branch.downcast_ref::<BranchParts>() else {
            return Ok(None);
        };
        if parts.servers != self.cluster.servers {
            return Ok(None);
        }
        let Some(encoders) = parts.encoders.lock().take() else {
            return Err(Error::internal("a topic is written beside two others"));
        };
        let beside = self.beside(&parts.topic, encoders)?;
        self.branches.push(beside);
        Ok(Some(self.branches.len() - 1))
    }

    /// Hands a batch for another topic to the producer.
    pub(super) fn send_branch(&mut self, branch: usize, batch: &RecordBatch) -> Result<()> {
        match self.branches.get_mut(branch) {
            Some(branch) => branch.send(batch),
            None => Err(Error::internal("a batch for a topic that nobody named")),
        }
    }

    /// Hands dead letters to the producer.
    pub(super) fn send_letters(&self, letters: &[DeadLetter]) -> Result<()> {
        let Some(topic) = &self.letter_topic else {
            return Err(Error::internal("a dead letter without a topic"));
        };
        for letter in letters {
            produce::send(&self.producer, record_of(topic, letter))
                .map_err(|error| self.failed("write dead letters beside", &error))?;
        }
        self.check_delivery()
    }

    /// Fails where a record could not be delivered.
    fn check_delivery(&self) -> Result<()> {
        // The lock is let go first: saying what failed takes it, too.
        let undelivered = self.heard.lock().undelivered.clone();
        match undelivered {
            Some(error) => Err(self.failed("write to", &error)),
            None => Ok(()),
        }
    }

    /// Waits until every record is delivered or given up.
    pub(super) fn flush(&self) -> Result<()> {
        loop {
            match produce::flush(&self.producer, self.cluster.timeout) {
                Ok(()) => return self.check_delivery(),
                // Records that are still on their way are given up by the client's own time limit.
                Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) => self.check_delivery()?,
                Err(error) => return Err(self.failed("write to", &error)),
            }
        }
    }

    /// Says what was written since it was asked last.
    pub(super) fn summary(&mut self) -> SinkSummary {
        SinkSummary {
            rows: std::mem::take(&mut self.rows),
            bytes: Some(std::mem::take(&mut self.bytes)),
            location: format!("kafka topic {}", self.topic),
        }
    }
}

/// What a record has besides key and value.
struct Extras<'a> {
    tombstones: Option<ArrayRef>,
    partitions: Option<ArrayRef>,
    timestamps: Option<ArrayRef>,
    headers: Vec<(&'a str, ArrayRef, ArrayFormatter<'a>)>,
    /// The column of a key of one column: where it is NULL, the record has no key.
    key: Option<ArrayRef>,
    /// The value of a format that is nothing but one column: where it is NULL, there is no value.
    only_value: Option<ArrayRef>,
}

/// How headers are written.
const SHOWN: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

impl<'a> Extras<'a> {
    fn of(batch: &'a RecordBatch, places: &Places) -> Result<Self> {
        let cast_to = |at: Option<usize>, data_type: &DataType| -> Result<Option<ArrayRef>> {
            let column = at.map(|at| cast(batch.column(at), data_type));
            column.transpose().map_err(|error: ArrowError| error.into())
        };
        let mut headers = Vec::with_capacity(places.headers.len());
        let schema = batch.schema_ref();
        for at in &places.headers {
            let column = batch.column(*at);
            let formatter = ArrayFormatter::try_new(column.as_ref(), &SHOWN)?;
            headers.push((schema.field(*at).name().as_str(), Arc::clone(column), formatter));
        }
        let only = |columns: &[usize]| match columns {
            [column] => Some(Arc::clone(batch.column(*column))),
            _ => None,
        };
        Ok(Self {
            tombstones: places.tombstone.map(|at| Arc::clone(batch.column(at))),
            partitions: cast_to(places.partition, &DataType::Int32)?,
            timestamps: cast_to(
                places.timestamp,
                &DataType::Timestamp(TimeUnit::Millisecond, None),
            )?,
            headers,
            key: only(&places.key),
            only_value: only(&places.value),
        })
    }

    fn is_tombstone(&self, row: usize) -> bool {
        if self.only_value.as_ref().is_some_and(|value| value.is_null(row)) {
            return true;
        }
        let Some(column) = &self.tombstones else {
            return false;
        };
        if column.is_null(row) {
            return false;
        }
        match column.as_boolean_opt() {
            Some(flags) => flags.value(row),
            None => column
                .as_primitive_opt::<Int8Type>()
                .is_some_and(|changes| changes.value(row) == Change::Delete as i8),
        }
    }

    fn has_no_key(&self, row: usize) -> bool {
        self.key.as_ref().is_some_and(|key| key.is_null(row))
    }

    fn partition(&self, row: usize) -> Option<i32> {
        let column = self.partitions.as_ref()?.as_primitive_opt::<Int32Type>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn timestamp(&self, row: usize) -> Option<i64> {
        let column = self
            .timestamps
            .as_ref()?
            .as_primitive_opt::<TimestampMillisecondType>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn headers(&self, row: usize) -> Result<Option<OwnedHeaders>> {
        if self.headers.is_empty() {
            return Ok(None);
        }
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len());
        for (name, column, formatter) in &self.headers {
            let text = match column.is_valid(row) {
                true => Some(formatter.value(row).try_to_string()?),
                false => None,
            };
            headers = headers.insert(Header {
                key: name,
                value: text.as_deref(),
            });
        }
        Ok(Some(headers))
    }
}

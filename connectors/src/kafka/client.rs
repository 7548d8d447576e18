//! The way to a cluster: clients made from options, and errors that say what can be done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fletching::connector::Options;
use fletching::{Error, Result};
use parking_lot::Mutex;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, Statistics};

use super::{properties, security};
use crate::spelling::{listed, nearest};

/// How long a cluster may take to answer when something is opened, unless an option says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long is waited for an answer before it is looked whether the cluster refuses to give one;
/// twice as long each further time.
const LOOK: Duration = Duration::from_millis(500);

/// A cluster and how to reach it.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) servers: String,
    properties: Vec<(String, String)>,
    pub(super) timeout: Duration,
}

impl fmt::Debug for Cluster {
    /// Leaves the properties out: there may be a password among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the options that say where the cluster is.
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        Ok(Self {
            servers: options
                .required("bootstrap.servers", "localhost:9092")?
                .to_owned(),
            properties: properties::read(options)?,
            timeout: super::options::duration(options, "timeout")?.unwrap_or(TIMEOUT),
        })
    }

    /// Makes a client's configuration: ours, then what the options say.
    fn config(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        for (name, value) in ours {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// Returns what a client is told: by the options, or else by us.
    pub(super) fn told<'a>(&'a self, name: &str, ours: &[(&str, &'a str)]) -> Option<&'a str> {
        let by_options = self.properties.iter().rev().find(|(told, _)| told == name);
        let by_us = ours.iter().rev().find(|(told, _)| *told == name);
        by_options
            .map(|(_, value)| value.as_str())
            .or(by_us.map(|(_, value)| *value))
    }

    /// Makes a client.
    pub(super) fn client<T>(&self, ours: &[(&str, &str)]) -> Result<(T, Arc<Mutex<Heard>>)>
    where
        T: FromClientConfigAndContext<Listener>,
    {
        let heard = Arc::<Mutex<Heard>>::default();
        let listener = Listener(Arc::clone(&heard));
        let client = self.config(ours).create_with_context(listener).map_err(|error| {
            let message = match &error {
                KafkaError::ClientConfig(_, description, name, _) => {
                    format!("kafka: the client property '{name}' is refused: {description}")
                }
                other => format!("kafka: cannot make a client: {other}"),
            };
            Error::Option {
                subject: format!("kafka {}", self.servers),
                message,
                hint: Some("check the options that begin with 'kafka.'".into()),
                location: None,
            }
        })?;
        Ok((client, heard))
    }

    /// Makes an error from one of the client's, with what the client was told last.
    pub(super) fn error(&self, doing: &str, error: &KafkaError, heard: &Mutex<Heard>) -> Error {
        let (told, refused) = {
            let mut heard = heard.lock();
            (heard.last.take(), heard.refused.take())
        };
        let servers = &self.servers;
        if let Some((told, advice)) = refused {
            return Error::Option {
                subject: format!("kafka {servers}"),
                message: format!("cannot {doing}: the connection is refused: {told}"),
                hint: Some(advice.to_owned()),
                location: None,
            };
        }
        let message = match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve,
            ) => {
                let told = told.unwrap_or_else(|| error.to_string());
                let (seconds, checks) = (self.timeout.as_secs_f64(), security::checks(&told));
                format!("kafka {servers}: cannot {doing}: no answer within {seconds} s ({told}); {checks}")
            }
            // How long is waited for a delivery is the client's matter, or the transaction's.
            Some(RDKafkaErrorCode::MessageTimedOut) => {
                let told = told.unwrap_or_else(|| error.to_string());
                let checks = security::checks(&told);
                format!(
                    "kafka {servers}: cannot {doing}: a record was not delivered in time ({told}); {checks}"
                )
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
            ) => format!("kafka {servers}: cannot {doing}: {error}; have the broker's access lists allow it"),
            _ => match told {
                Some(told) => format!("kafka {servers}: cannot {doing}: {error} ({told})"),
                None => format!("kafka {servers}: cannot {doing}: {error}"),
            },
        };
        Error::External {
            message,
            source: Some(Arc::new(error.clone())),
        }
    }

    /// Asks for what is known of a topic, or of all, until there is an answer, the time is up, or the
    /// cluster refuses the connection for good. `listen` has the client say what it has heard.
    pub(super) fn metadata(
        &self,
        (client, topic): (&Client<Listener>, Option<&str>),
        heard: &Mutex<Heard>,
        listen: impl Fn(),
    ) -> Result<Metadata, KafkaError> {
        let until = Instant::now() + self.timeout;
        let mut wait = LOOK;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let error = match client.fetch_metadata(topic, wait.min(left)) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            listen();
            let is_silence = matches!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::OperationTimedOut)
            );
            if !is_silence || left <= wait || heard.lock().refused.is_some() {
                return Err(error);
            }
            wait *= 2;
        }
    }

    /// Finds the partitions of a topic, and says which topics there are where it does not exist.
    ///
    /// The client tries to connect again and again, with backoff, until the time is up.
    pub(super) fn partitions(
        &self,
        consumer: &BaseConsumer<Listener>,
        heard: &Mutex<Heard>,
        topic: &str,
    ) -> Result<Vec<i32>> {
        let failed = |error: KafkaError| self.error(&format!("find the topic {topic}"), &error, heard);
        let found = self
            .metadata((consumer.client(), Some(topic)), heard, || listen(consumer))
            .map_err(failed)?;
        let found = found.topics().iter().find(|found| found.name() == topic);
        match found {
            Some(found) if found.error().is_none() && !found.partitions().is_empty() => Ok(found
                .partitions()
                .iter()
                .map(|partition| partition.id())
                .collect()),
            Some(found)
                if found.error().is_some_and(|error| {
                    !matches!(
                        error,
                        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                            | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                    )
                }) =>
            {
                let code = found.error().map(RDKafkaErrorCode::from);
                Err(failed(KafkaError::MetadataFetch(
                    code.unwrap_or(RDKafkaErrorCode::Unknown),
                )))
            }
            _ => {
                let names = self.topics(consumer, heard)?;
                let hint = match nearest(topic, names.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None if names.is_empty() => "there are no topics".to_owned(),
                    None => format!("there are {}", listed(names.iter().map(String::as_str))),
                };
                Err(Error::External {
                    message: format!("kafka {}: there is no topic '{topic}'; {hint}", self.servers),
                    source: None,
                })
            }
        }
    }

    /// Lists the topics of the cluster but for its own.
    pub(super) fn topics(
        &self,
        consumer: &BaseConsumer<Listener>,
        heard: &Mutex<Heard>,
    ) -> Result<Vec<String>> {
        let all = self
            .metadata((consumer.client(), None), heard, || listen(consumer))
            .map_err(|error| self.error("list the topics", &error, heard))?;
        let names = all.topics().iter().map(|topic| topic.name());
        let mut names: Vec<String> = names
            .filter(|name| !name.starts_with("__"))
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// Has a consumer that reads nothing yet say what it has heard.
fn listen(consumer: &BaseConsumer<Listener>) {
    while consumer.poll(Duration::from_millis(1)).is_some() {}
}

/// What a client was told since somebody looked.
#[derive(Default)]
pub(super) struct Heard {
    /// The last error, in the client's words.
    pub(super) last: Option<String>,
    /// Why the connection will not be had however often it is tried, and what can be done.
    pub(super) refused: Option<(String, &'static str)>,
    /// How often the cluster could not be reached since it last could, and what was said then.
    pub(super) failures: u64,
    pub(super) failure: Option<String>,
    /// Of each partition that a consumer reads: the offset after what may be read, and the one at which its
    /// end was met last.
    pub(super) ends: BTreeMap<i32, (i64, i64)>,
    /// The first record that could not be delivered.
    pub(super) undelivered: Option<KafkaError>,
    /// Whether a consumer answers changes of its partitions itself, and the one it is to answer.
    pub(super) answers: bool,
    pub(super) change: Option<GroupChange>,
    /// Member and generation as of when partitions were assigned last; none where they are lost again.
    pub(super) generation: Option<Arc<ConsumerGroupMetadata>>,
}

/// What a group does with the partitions of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GroupChange {
    Assigned(Vec<i32>),
    Revoked,
}

/// Listens to what a client says besides its answers.
#[derive(Clone, Default)]
pub(super) struct Listener(Arc<Mutex<Heard>>);

impl ClientContext for Listener {
    fn error(&self, error: KafkaError, reason: &str) {
        let text = if reason.is_empty() {
            error.to_string()
        } else {
            reason.to_owned()
        };
        let code = error.rdkafka_error_code();
        let mut heard = self.0.lock();
        if let Some(advice) = security::advice(code, &text) {
            heard.refused = Some((text.clone(), advice));
        }
        if let Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) = code {
            heard.failures += 1;
            heard.failure = Some(text.clone());
        }
        // That no broker is left tells less than why there is none.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) || heard.last.is_none() {
            heard.last = Some(text);
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut heard = self.0.lock();
        let mut brokers = statistics.brokers.values();
        if brokers.any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            heard.failures = 0;
            heard.failure = None;
        }
        let partitions = statistics.topics.into_values().flat_map(|topic| topic.partitions);
        let known = partitions.filter(|(id, partition)| *id >= 0 && partition.ls_offset >= 0);
        heard.ends = known
            .map(|(id, partition)| (id, (partition.ls_offset, partition.eof_offset)))
            .collect();
    }
}

impl ConsumerContext for Listener {
    /// Keeps a change for the one who polls, where it is said that it answers: the group waits until it
    /// does. Otherwise the client's own answer is given, which is to do as it is told.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_gain = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let answers = self.0.lock().answers;
        if answers {
            // Asked in this order: what names no member any more must not pass for what names this one.
            let generation = consumer.group_metadata().map(Arc::new);
            let generation = generation.filter(|_| !consumer.assignment_lost());
            let mut heard = self.0.lock();
            let partitions = list.elements().iter().map(|part| part.partition()).collect();
            heard.generation = generation.filter(|_| is_gain);
            heard.change = Some(if is_gain {
                GroupChange::Assigned(partitions)
            } else {
                GroupChange::Revoked
            });
            return;
        }
        // A failure is told by the consumer's next poll.
        let _ = if is_gain {
            consumer.assign(list)
        } else {
            consumer.unassign()
        };
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().undelivered.get_or_insert_with(|| error.clone());
        }
    }
}

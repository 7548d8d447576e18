//! Where the dead letters of a topic go: a file, or another topic, with the original bytes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fletching::{Error, RecordPlace, Result};
use parking_lot::Mutex;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::{Cluster, Heard, Listener};
use super::gather::Gathered;
use crate::file::{DeadLetterShare, DeadLetters, letter};

/// A place for dead letters.
pub(super) enum Letters {
    /// The file of a scan, which appears when all its readers have ended.
    Whole {
        letters: Arc<DeadLetters>,
        share: DeadLetterShare,
    },
    /// The file of a reading that goes on, which grows.
    Growing { file: File, path: PathBuf },
    /// A topic.
    Topic(Box<LetterTopic>),
}

/// A topic for dead letters: each has the key and the value of the record, and in its headers where
/// that was and what is wrong with it.
pub(super) struct LetterTopic {
    topic: String,
    cluster: Cluster,
    producer: BaseProducer<Listener>,
    heard: Arc<Mutex<Heard>>,
}

impl Letters {
    /// Takes a reader's share of a scan's file.
    pub(super) fn whole(letters: &Arc<DeadLetters>) -> Self {
        Self::Whole {
            letters: Arc::clone(letters),
            share: letters.share(),
        }
    }

    /// Opens a file to add to.
    pub(super) fn growing(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| Error::file(path, &error))?;
        let path = path.to_path_buf();
        Ok(Self::Growing { file, path })
    }

    /// Opens a topic.
    pub(super) fn topic(cluster: &Cluster, topic: &str) -> Result<Self> {
        let (producer, heard) = cluster.client(&[("enable.idempotence", "true")])?;
        Ok(Self::Topic(Box::new(LetterTopic {
            topic: topic.to_owned(),
            cluster: cluster.clone(),
            producer,
            heard,
        })))
    }

    /// Adds a record.
    pub(super) fn add(
        &mut self,
        place: &RecordPlace,
        reason: &str,
        gathered: &Gathered,
        row: usize,
    ) -> Result<()> {
        let raw = gathered.value(row).unwrap_or_default();
        match self {
            Self::Whole { letters, .. } => letters.add(place, reason, raw),
            Self::Growing { file, path } => {
                let mut line = letter(place, reason, raw).to_string();
                line.push('\n');
                file.write_all(line.as_bytes())
                    .map_err(|error| Error::file(path.as_path(), &error))
            }
            Self::Topic(topic) => topic.send(place, reason, gathered, row),
        }
    }

    /// Waits until what was added is where it belongs.
    pub(super) fn flush(&mut self) -> Result<()> {
        match self {
            Self::Whole { .. } => Ok(()),
            Self::Growing { file, path } => file
                .sync_data()
                .map_err(|error| Error::file(path.as_path(), &error)),
            Self::Topic(topic) => topic.flush(),
        }
    }

    /// Ends the letters.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Whole { share, .. } => share.finish(),
            Self::Growing { .. } | Self::Topic(_) => Ok(()),
        }
    }
}

impl LetterTopic {
    fn send(&self, place: &RecordPlace, reason: &str, gathered: &Gathered, row: usize) -> Result<()> {
        let (partition, offset) = (gathered.partition.to_string(), gathered.offsets[row].to_string());
        let mut headers = OwnedHeaders::new();
        for (key, value) in [
            ("fletching.reason", Some(reason)),
            ("fletching.topic", Some(&*gathered.topic)),
            ("fletching.partition", Some(partition.as_str())),
            ("fletching.offset", Some(offset.as_str())),
            ("fletching.column", place.column.as_deref()),
        ] {
            if value.is_some() {
                headers = headers.insert(Header { key, value });
            }
        }
        let mut record = BaseRecord::<[u8], [u8], ()>::to(&self.topic).headers(headers);
        if let Some(value) = gathered.value(row) {
            record = record.payload(value);
        }
        if let Some(key) = gathered.key(row) {
            record = record.key(key);
        }
        super::produce::send(&self.producer, record).map_err(|error| self.failed(&error))
    }

    fn flush(&self) -> Result<()> {
        let flushed = self.producer.flush(self.cluster.timeout);
        let undelivered = self.heard.lock().undelivered.take();
        match (flushed, undelivered) {
            (Ok(()), None) => Ok(()),
            (Err(error), _) | (_, Some(error)) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &rdkafka::error::KafkaError) -> Error {
        let doing = format!("write a dead letter to {}", self.topic);
        self.cluster.error(&doing, error, &self.heard)
    }
}

//! Where the dead letters of a topic go: a file, or another topic, with the original bytes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fletching::connector::{DeadLetter, LetterWriter, Position};
use fletching::{Error, RecordPlace, Result};
use parking_lot::Mutex;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord};

use super::client::{Cluster, Heard, Listener};
use super::gather::Gathered;
use super::produce;
use super::start::offset_of;
use crate::file::{BAD_RECORD, DeadLetterShare, DeadLetters, letter};

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
        Ok(Self::Topic(Box::new(LetterTopic::open(cluster, topic)?)))
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

/// What the headers of a letter say.
struct Heading<'a> {
    code: &'a str,
    reason: &'a str,
    topic: &'a str,
    partition: &'a str,
    offset: Option<&'a str>,
    column: Option<&'a str>,
}

impl Heading<'_> {
    fn headers(&self) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new();
        for (key, value) in [
            ("fletching.reason", Some(self.reason)),
            ("fletching.code", Some(self.code)),
            ("fletching.topic", Some(self.topic)),
            ("fletching.partition", Some(self.partition)),
            ("fletching.offset", self.offset),
            ("fletching.column", self.column),
        ] {
            if value.is_some() {
                headers = headers.insert(Header { key, value });
            }
        }
        headers
    }
}

/// Makes the record of a letter, with the key and the bytes of the record that it is about.
pub(super) fn record_of<'a>(topic: &'a str, letter: &'a DeadLetter) -> BaseRecord<'a, [u8], [u8], ()> {
    let position = Position {
        partition: Arc::clone(&letter.partition),
        place: "0".to_owned(),
    };
    let (source, partition) = match offset_of(&position) {
        Some((source, partition, _)) => (source, partition.to_string()),
        None => (&*letter.partition, String::new()),
    };
    let heading = Heading {
        code: &letter.code,
        reason: &letter.reason,
        topic: source,
        partition: &partition,
        offset: Some(letter.place.as_str()).filter(|place| !place.is_empty()),
        column: letter.column.as_deref(),
    };
    let mut record = BaseRecord::<[u8], [u8], ()>::to(topic).headers(heading.headers());
    if let Some(value) = &letter.value {
        record = record.payload(value);
    }
    if let Some(key) = &letter.key {
        record = record.key(key);
    }
    record
}

/// Writes a pipeline's letters to a topic, where they are before the epoch counts: each at least once.
impl LetterWriter for LetterTopic {
    fn restore(&mut self, _: &[Position]) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, letters: &[DeadLetter]) -> Result<()> {
        letters.iter().try_for_each(|letter| {
            produce::send(&self.producer, record_of(&self.topic, letter)).map_err(|error| self.failed(&error))
        })
    }

    fn prepare(&mut self, _: &[Position]) -> Result<()> {
        self.flush()
    }

    fn commit(&mut self) -> Result<()> {
        Ok(())
    }
}

impl LetterTopic {
    /// Opens a topic.
    pub(super) fn open(cluster: &Cluster, topic: &str) -> Result<Self> {
        let (producer, heard) = cluster.client(&[("enable.idempotence", "true")])?;
        Ok(Self {
            topic: topic.to_owned(),
            cluster: cluster.clone(),
            producer,
            heard,
        })
    }

    fn send(&self, place: &RecordPlace, reason: &str, gathered: &Gathered, row: usize) -> Result<()> {
        let (partition, offset) = (gathered.partition.to_string(), gathered.offsets[row].to_string());
        let heading = Heading {
            code: BAD_RECORD,
            reason,
            topic: &gathered.topic,
            partition: &partition,
            offset: Some(&offset),
            column: place.column.as_deref(),
        };
        let mut record = BaseRecord::<[u8], [u8], ()>::to(&self.topic).headers(heading.headers());
        if let Some(value) = gathered.value(row) {
            record = record.payload(value);
        }
        if let Some(key) = gathered.key(row) {
            record = record.key(key);
        }
        produce::send(&self.producer, record).map_err(|error| self.failed(&error))
    }

    fn flush(&self) -> Result<()> {
        let flushed = produce::flush(&self.producer, self.cluster.timeout);
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

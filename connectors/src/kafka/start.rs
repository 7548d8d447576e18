//! Where reading begins and, for a scan, ends: options and positions become offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, StringViewArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};
use fletching::connector::{Options, Position, ReadyPoint};
use fletching::{Error, Result};
use parking_lot::Mutex;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::{Cluster, Heard, Listener};
use super::committed::{all_told, committed_offsets};
use crate::file::text::values::parse_column;

/// The option `start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    Earliest,
    Latest,
    /// Where the group has committed, or at the earliest where it has not.
    Committed,
    /// At the first record of this time or later, in milliseconds since 1970.
    Timestamp(i64),
    /// At an offset a partition; at the earliest of the others.
    Offsets(BTreeMap<i32, i64>),
}

impl Start {
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let Some(text) = options.text("start").map(str::trim) else {
            return Ok(Self::Earliest);
        };
        match text.split_once(':') {
            None if text.eq_ignore_ascii_case("earliest") => return Ok(Self::Earliest),
            None if text.eq_ignore_ascii_case("latest") => return Ok(Self::Latest),
            None if text.eq_ignore_ascii_case("committed") => {
                options.required("group.id", "my-pipeline")?;
                return Ok(Self::Committed);
            }
            Some((word, time)) if word.eq_ignore_ascii_case("timestamp") => {
                if let Some(millis) = millis(time.trim()) {
                    return Ok(Self::Timestamp(millis));
                }
            }
            Some((word, list)) if word.eq_ignore_ascii_case("offsets") => {
                if let Some(offsets) = offsets(list) {
                    return Ok(Self::Offsets(offsets));
                }
            }
            _ => {}
        }
        let message = format!("expected a place to start at, found '{text}'");
        let hint =
            "as 'earliest', 'latest', 'committed', 'timestamp:2024-01-31T09:30:00Z' or 'offsets:0=12,1=40'";
        Err(options.bad_value("start", &message, Some(hint.into())))
    }
}

/// Reads a time: milliseconds since 1970, or text with UTC in place of no zone.
fn millis(text: &str) -> Option<i64> {
    if let Ok(millis) = text.parse() {
        return Some(millis);
    }
    let of_type = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    let mut bad = Vec::new();
    let parsed = parse_column(&StringViewArray::from(vec![text]), &of_type, &mut bad).ok()?;
    let parsed = parsed.as_primitive_opt::<TimestampMillisecondType>()?;
    bad.is_empty().then(|| parsed.value(0))
}

fn offsets(list: &str) -> Option<BTreeMap<i32, i64>> {
    list.split(',')
        .map(|pair| {
            let (partition, offset) = pair.split_once('=')?;
            let offset: i64 = offset.trim().parse().ok()?;
            Some((partition.trim().parse().ok()?, offset)).filter(|_| offset >= 0)
        })
        .collect()
}

/// A partition, from where to where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) partition: i32,
    /// The first offset to read.
    pub(super) begin: i64,
    /// The first offset that was not there, or was not to be read, when this was made.
    pub(super) end: i64,
}

/// Makes the name of a partition, as in `trades-3`.
pub(super) fn partition_name(topic: &str, partition: i32) -> Arc<str> {
    format!("{topic}-{partition}").into()
}

/// Reads a position of a topic's partition: topic, partition and offset; `None` where it is one of
/// another kind of source.
pub(super) fn offset_of(position: &Position) -> Option<(&str, i32, i64)> {
    let (topic, partition) = position.partition.rsplit_once('-')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || !topic.chars().all(is_name) {
        return None;
    }
    Some((topic, partition.parse().ok()?, position.place.parse().ok()?))
}

/// Finds offsets with one consumer.
pub(super) struct Finder<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) consumer: &'a BaseConsumer<Listener>,
    pub(super) heard: &'a Mutex<Heard>,
    pub(super) topic: &'a str,
}

impl Finder<'_> {
    /// Finds where each partition of the topic is read from and to. `known` are positions to go on
    /// from, by partition.
    pub(super) fn parts(
        &self,
        start: &Start,
        until: ReadyPoint,
        known: &BTreeMap<i32, i64>,
    ) -> Result<Vec<Part>> {
        let partitions = self.cluster.partitions(self.consumer, self.heard, self.topic)?;
        if let Start::Offsets(offsets) = start
            && let Some(lacking) = offsets.keys().find(|partition| !partitions.contains(partition))
        {
            return Err(self.refused(&format!("there is no partition {lacking} to start at")));
        }
        // Read from its start when it comes, its records would be there twice.
        if let Some(lacking) = known.keys().find(|partition| !partitions.contains(partition)) {
            return Err(self.gone(&format!(
                "{}-{lacking} is to be read on, but there is no such partition: the topic may have been made anew",
                self.topic
            )));
        }
        let begins = match start {
            Start::Committed => self.committed(&partitions)?,
            Start::Timestamp(millis) => self.at_time(&partitions, *millis)?,
            _ => BTreeMap::new(),
        };
        let ends = match until {
            ReadyPoint::Timestamp(micros) => {
                self.at_time(&partitions, micros.div_euclid(1000).saturating_add(1))?
            }
            _ => BTreeMap::new(),
        };
        let mut parts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let marks = self
                .consumer
                .fetch_watermarks(self.topic, partition, self.cluster.timeout);
            let (low, high) = marks.map_err(|error| self.failed("find its offsets", &error))?;
            let asked = match (known.get(&partition), start) {
                (Some(known), _) => Some(*known),
                (None, Start::Offsets(offsets)) => offsets.get(&partition).copied(),
                _ => None,
            };
            let begin = match (asked, start) {
                (Some(asked), _) => self.held(partition, asked, (low, high))?,
                (None, Start::Latest) => high,
                (None, Start::Timestamp(_)) => begins.get(&partition).copied().unwrap_or(high),
                (None, _) => begins.get(&partition).copied().unwrap_or(low).max(low),
            };
            let end = ends.get(&partition).copied().unwrap_or(high);
            parts.push(Part {
                partition,
                begin,
                end,
            });
        }
        Ok(parts)
    }

    /// Checks that an offset to go on from is still, or already, there.
    fn held(&self, partition: i32, asked: i64, (low, high): (i64, i64)) -> Result<i64> {
        let topic = self.topic;
        if asked < low {
            return Err(self.gone(&format!(
                "{topic}-{partition} is to be read from offset {asked}, but the first one kept is {low}: \
                 the records between are deleted"
            )));
        }
        if asked > high {
            return Err(self.gone(&format!(
                "{topic}-{partition} is to be read from offset {asked}, but it ends at {high}: \
                 the topic may have been made anew"
            )));
        }
        Ok(asked)
    }

    /// Makes the error by which a table is read from the start.
    fn gone(&self, message: &str) -> Error {
        match self.refused(message) {
            Error::External { message, .. } => Error::External {
                message,
                source: Some(Arc::new(fletching::PositionGone)),
            },
            other => other,
        }
    }

    fn refused(&self, message: &str) -> Error {
        Error::External {
            message: format!(
                "kafka {}: {message}; choose another start, or reset the positions",
                self.cluster.servers
            ),
            source: None,
        }
    }

    fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(self.topic, *partition);
        }
        let found = committed_offsets(self.consumer, &list, self.cluster.timeout);
        let found = found.map_err(|error| self.failed("find the group's offsets", &error))?;
        Ok(by_partition(&found))
    }

    fn at_time(&self, partitions: &[i32], millis: i64) -> Result<BTreeMap<i32, i64>> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(self.topic, *partition, Offset::Offset(millis.max(0)))
                .map_err(|error| self.failed("find offsets by time", &error))?;
        }
        let found = self.consumer.offsets_for_times(list, self.cluster.timeout);
        let told = found.and_then(|found| all_told(&found).map(|()| found));
        let found = told.map_err(|error| self.failed("find offsets by time", &error))?;
        Ok(by_partition(&found))
    }

    fn failed(&self, doing: &str, error: &KafkaError) -> Error {
        let doing = format!("{doing} of topic {}", self.topic);
        self.cluster.error(&doing, error, self.heard)
    }
}

pub(super) fn by_partition(list: &TopicPartitionList) -> BTreeMap<i32, i64> {
    let elements = list.elements();
    let offsets = elements.iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) => Some((element.partition(), offset)),
        _ => None,
    });
    offsets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Start> {
        Start::from_options(&Options::new("stream s").with("start", text).with("group.id", "g"))
    }

    #[test]
    fn places_to_start_at_are_read() {
        assert_eq!(read("Latest").unwrap(), Start::Latest);
        assert_eq!(read("committed").unwrap(), Start::Committed);
        assert_eq!(read("timestamp:1000").unwrap(), Start::Timestamp(1000));
        assert_eq!(
            read("timestamp: 1970-01-01T00:00:01Z").unwrap(),
            Start::Timestamp(1000)
        );
        assert_eq!(
            read("timestamp:1970-01-01 01:00:00+01:00").unwrap(),
            Start::Timestamp(0)
        );
        assert_eq!(
            read("offsets:0=12, 3=40").unwrap(),
            Start::Offsets(BTreeMap::from([(0, 12), (3, 40)]))
        );
        for wrong in [
            "first",
            "timestamp:yesterday",
            "offsets:0",
            "offsets:0=-1",
            "offsets:",
        ] {
            assert!(
                read(wrong).unwrap_err().to_string().contains("expected a place"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn positions_of_other_sources_are_told_apart() {
        let of = |partition: &str, place: &str| Position {
            partition: partition.into(),
            place: place.into(),
        };
        assert_eq!(offset_of(&of("a-b-3", "17")), Some(("a-b", 3, 17)));
        assert_eq!(offset_of(&of("data/part-3", "17")), None);
        assert_eq!(offset_of(&of("part", "17")), None);
        assert_eq!(offset_of(&of("t-1", "byte 5")), None);
    }
}

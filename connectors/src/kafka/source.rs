//! Topics as a source: scanned up to their ends, or fed on and on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use fletching::connector::{
    BadRowPolicy, Feed, FeedRequest, LetterWriter, Options, Reader, ReadyPoint, RelationKind, RelationSpec,
    ScanRequest, Source, SourceReport,
};
use fletching::{Error, Result};

use super::bad::{BadOptions, Desk, OnBad};
use super::client::Cluster;
use super::columns::Columns;
use super::decode::Decoding;
use super::feed::TopicFeed;
use super::gather::Kept;
use super::group_feed::SharedFeed;
use super::letters::{LetterTopic, Letters};
use super::pull::{Puller, consumer};
use super::scan::{Share, TopicReader, deal};
use super::start::{Finder, Start, offset_of};
use crate::file::{DeadLetters, LetterFile, LetterOrigin, beside};
use crate::message::value_format;
use crate::spelling::listed;

/// Which topics are read.
#[derive(Debug, Clone)]
enum Topics {
    One(String),
    Pattern(glob::Pattern),
}

impl Topics {
    fn from_options(options: &Options) -> Result<Self> {
        match (options.text("topic"), options.text("topic.pattern")) {
            (Some(_), Some(_)) => {
                let hint = "leave out one of topic and topic.pattern".to_owned();
                Err(options.bad_value("topic.pattern", "there is a topic as well", Some(hint)))
            }
            (None, Some(pattern)) => match glob::Pattern::new(pattern) {
                Ok(pattern) => Ok(Self::Pattern(pattern)),
                Err(error) => Err(options.bad_value("topic.pattern", error.msg, None)),
            },
            (_, None) => Ok(Self::One(options.required("topic", "trades")?.to_owned())),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::One(topic) => topic,
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }
}

/// A source of topics.
#[derive(Debug)]
pub(super) struct TopicSource {
    cluster: Cluster,
    topics: Topics,
    start: Start,
    group: String,
    is_shared: bool,
    columns: Arc<Columns>,
    bad: BadOptions,
}

impl TopicSource {
    /// Reads the options. The cluster is not asked for anything yet, a schema registry may be.
    pub(super) fn new(spec: &RelationSpec) -> Result<Self> {
        let options = &spec.options;
        let topics = Topics::from_options(options)?;
        let format = value_format(options, topics.name())?;
        Ok(Self {
            cluster: Cluster::from_options(options)?,
            start: Start::from_options(options)?,
            group: options.text("group.id").unwrap_or_default().to_owned(),
            is_shared: is_shared(spec, &topics)?,
            columns: Arc::new(Columns::find(spec, format)?),
            bad: BadOptions::from_options(options)?,
            topics,
        })
    }

    /// Finds the partitions of every topic and where they are read from and to.
    fn shares(
        &self,
        group: &str,
        until: ReadyPoint,
        known: &BTreeMap<(String, i32), i64>,
    ) -> Result<Vec<Share>> {
        let (consumer, heard) = consumer(&self.cluster, group)?;
        let names = match &self.topics {
            Topics::One(topic) => vec![topic.clone()],
            Topics::Pattern(pattern) => {
                let all = self.cluster.topics(&consumer, &heard)?;
                let names: Vec<String> = all.iter().filter(|name| pattern.matches(name)).cloned().collect();
                if names.is_empty() {
                    let there = listed(all.iter().map(String::as_str));
                    return Err(Error::External {
                        message: format!(
                            "kafka {}: no topic matches '{pattern}'; there are {there}",
                            self.cluster.servers
                        ),
                        source: None,
                    });
                }
                names
            }
        };
        let mut shares = Vec::with_capacity(names.len());
        for topic in names {
            let finder = Finder {
                cluster: &self.cluster,
                consumer: &consumer,
                heard: &heard,
                topic: &topic,
            };
            let mine = known.iter().filter(|((name, _), _)| *name == topic);
            let mine = mine
                .map(|((_, partition), offset)| (*partition, *offset))
                .collect();
            let parts = finder.parts(&self.start, until, &mine)?;
            shares.push((Arc::from(topic), parts));
        }
        Ok(shares)
    }

    fn decoding(&self, projection: Option<&Vec<usize>>) -> Result<(Decoding, Kept)> {
        let columns = self.columns.schema.fields().len();
        let projection = projection.cloned().unwrap_or_else(|| (0..columns).collect());
        if let Some(bad) = projection.iter().find(|at| **at >= columns) {
            return Err(Error::internal(format!(
                "column {bad} of {columns} was asked for"
            )));
        }
        let decoding = Decoding::new(&self.columns, projection, self.bad.is_strict())?;
        let mut kept = decoding.kept();
        kept.keys |= matches!(self.bad.on_bad, OnBad::Topic(_));
        Ok((decoding, kept))
    }

    /// Opens a feed of the partitions that the group gives.
    fn shared_feed(&self, request: &FeedRequest) -> Result<Box<dyn Feed>> {
        let topic: Arc<str> = self.topics.name().into();
        let (decoding, kept) = self.decoding(request.projection.as_ref())?;
        let puller = Puller::open(&self.cluster, &self.group, (&topic, &[]), kept, false)?;
        // A topic that is not there is said at once.
        self.cluster.partitions(&puller.consumer, &puller.heard, &topic)?;
        let feed = TopicFeed {
            cluster: self.cluster.clone(),
            group: self.group.clone(),
            pullers: vec![puller],
            ready: VecDeque::new(),
            decoding,
            desk: match request.hands_over {
                true => Desk::handing_over(&self.bad, &request.report),
                false => self.desk(&request.report, None)?,
            },
            report: Arc::clone(&request.report),
            batch_rows_max: request.batch_rows_max.max(1),
            looked_at: Instant::now(),
            told_at: Instant::now(),
            is_shared: true,
            hands_over: request.hands_over,
        };
        Ok(Box::new(SharedFeed::join(feed, self.start.clone())?))
    }

    fn desk(&self, report: &Arc<SourceReport>, whole: Option<&Arc<DeadLetters>>) -> Result<Desk> {
        let letters = match (&self.bad.on_bad, whole) {
            (_, Some(letters)) => Some(Letters::whole(letters)),
            (OnBad::File(path), None) => Some(Letters::growing(path)?),
            (OnBad::Topic(topic), None) => Some(Letters::topic(&self.cluster, topic)?),
            _ => None,
        };
        Ok(Desk::new(&self.bad, report, letters))
    }
}

/// Reads the option `group.share`.
fn is_shared(spec: &RelationSpec, topics: &Topics) -> Result<bool> {
    let options = &spec.options;
    if options.choice("group.share", &["false", "true"])? != Some(1) {
        return Ok(false);
    }
    let refused = |message: &str| Err(options.bad_value("group.share", message, None));
    if spec.kind != RelationKind::Stream {
        return refused("only a stream is shared: each instance has its tables whole");
    }
    if let Topics::Pattern(_) = topics {
        return refused("a stream that is shared is of one topic, not of a pattern");
    }
    options.required("group.id", "my-pipeline")?;
    Ok(true)
}

impl Source for TopicSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns.schema)
    }

    fn can_tell(&self, point: ReadyPoint) -> bool {
        matches!(point, ReadyPoint::End | ReadyPoint::Timestamp(_))
    }

    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        let shares = self.shares(&self.group, request.until, &BTreeMap::new())?;
        let letters = match &self.bad.on_bad {
            OnBad::File(path) => Some(DeadLetters::create(path)?),
            _ => None,
        };
        let mut readers: Vec<Box<dyn Reader>> = Vec::new();
        for topics in deal(shares, request.partitions_max) {
            let (decoding, kept) = self.decoding(request.projection.as_ref())?;
            readers.push(Box::new(TopicReader {
                cluster: self.cluster.clone(),
                group: self.group.clone(),
                topics: topics.into(),
                current: None,
                ready: VecDeque::new(),
                decoding,
                kept,
                desk: self.desk(&request.report, letters.as_ref())?,
                report: Arc::clone(&request.report),
                batch_rows_max: request.batch_rows_max.max(1),
                remaining: request.limit.unwrap_or(usize::MAX),
            }));
        }
        Ok(readers)
    }

    fn is_unbounded(&self) -> bool {
        true
    }

    fn has_changes(&self) -> bool {
        self.columns.has_changes
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn feed(&self, request: &FeedRequest) -> Result<Box<dyn Feed>> {
        if self.is_shared {
            return self.shared_feed(request);
        }
        let group = if self.group.is_empty() {
            &request.consumer
        } else {
            &self.group
        };
        let known = request.from.iter().filter_map(offset_of);
        let known = known.map(|(topic, partition, offset)| ((topic.to_owned(), partition), offset));
        let shares = self.shares(group, request.until, &known.collect())?;
        let (decoding, kept) = self.decoding(request.projection.as_ref())?;
        let mut pullers = Vec::with_capacity(shares.len());
        for (topic, parts) in &shares {
            pullers.push(Puller::open(&self.cluster, group, (topic, parts), kept, false)?);
        }
        // The sink's transactions commit offsets for this group. Committed here as well, and later than those
        // of the next transaction were sent, older ones would be taken for the newest.
        let commits_to = match request.positions_are_shown && *group == request.consumer {
            true => String::new(),
            false => group.clone(),
        };
        Ok(Box::new(TopicFeed {
            cluster: self.cluster.clone(),
            group: commits_to,
            pullers,
            ready: VecDeque::new(),
            decoding,
            desk: match request.hands_over {
                true => Desk::handing_over(&self.bad, &request.report),
                false => self.desk(&request.report, None)?,
            },
            hands_over: request.hands_over,
            report: Arc::clone(&request.report),
            batch_rows_max: request.batch_rows_max.max(1),
            looked_at: Instant::now(),
            told_at: Instant::now(),
            is_shared: false,
        }))
    }

    fn bad_rows(&self) -> BadRowPolicy {
        self.bad.policy(&self.cluster.servers)
    }

    fn letters(&self, further: Option<&str>) -> Result<Box<dyn LetterWriter>> {
        match &self.bad.on_bad {
            OnBad::File(path) => {
                let path = further.map_or_else(|| path.clone(), |name| beside(path, name));
                Ok(Box::new(LetterFile::new(&path, LetterOrigin::Topic)))
            }
            OnBad::Topic(topic) => Ok(Box::new(LetterTopic::open(&self.cluster, topic)?)),
            OnBad::Error | OnBad::Skip => Err(Error::internal("a source keeps no dead letters")),
        }
    }
}

//! What the tests of Kafka share: relations over a topic, and batches as rows of text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fletching::connector::{
    Connector, Feed, Options, Polled, Position, RelationKind, RelationSpec, ScanRequest, Sink, Source,
};
use fletching_connectors::KafkaConnector;
use fletching_tests::broker::{Broker, Topic};

/// Columns by name and type, all of which may be NULL.
pub(crate) fn columns(fields: &[(&str, DataType)]) -> SchemaRef {
    let fields = fields
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A relation over a topic.
pub(crate) struct Relation(pub(crate) RelationSpec);

impl Relation {
    pub(crate) fn new(kind: RelationKind, broker: &Broker, topic: &Topic, format: &str) -> Self {
        let options = Options::new(format!("{} t", kind.word()))
            .with("bootstrap.servers", broker.servers())
            .with("topic", &topic.name)
            .with("format", format)
            .with("timeout", "20s");
        Self(RelationSpec {
            name: "t".into(),
            kind,
            schema: None,
            primary_key: Vec::new(),
            options,
        })
    }

    pub(crate) fn stream(broker: &Broker, topic: &Topic, format: &str) -> Self {
        Self::new(RelationKind::Stream, broker, topic, format)
    }

    pub(crate) fn columns(mut self, fields: &[(&str, DataType)]) -> Self {
        self.0.schema = Some(columns(fields));
        self
    }

    pub(crate) fn key(mut self, names: &[&str]) -> Self {
        self.0.primary_key = names.iter().map(ToString::to_string).collect();
        self
    }

    pub(crate) fn with(mut self, name: &str, text: &str) -> Self {
        self.0.options = self.0.options.with(name, text);
        self
    }

    pub(crate) fn source(&self) -> Arc<dyn Source> {
        KafkaConnector::with_files().source(&self.0).unwrap()
    }

    pub(crate) fn refusal(&self) -> String {
        KafkaConnector::with_files()
            .source(&self.0)
            .unwrap_err()
            .to_string()
    }

    /// Says why it cannot be read: when it is made, or when it is opened.
    pub(crate) fn refusal_of_feed(&self) -> String {
        let made = KafkaConnector::with_files().source(&self.0);
        let opened = made.and_then(|source| source.feed(&fletching::connector::FeedRequest::all()));
        opened.err().expect("a refusal").to_string()
    }

    pub(crate) fn sink(&self) -> Arc<dyn Sink> {
        KafkaConnector::with_files().sink(&self.0).unwrap()
    }

    /// Scans with one reader and returns the rows.
    pub(crate) fn rows(&self) -> Vec<String> {
        scan(self.source().as_ref(), &ScanRequest::all()).unwrap()
    }

    /// Scans with one reader and returns the rows, sorted.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut rows = self.rows();
        rows.sort();
        rows
    }
}

/// Reads every reader of a scan to its end.
pub(crate) fn scan(source: &dyn Source, request: &ScanRequest) -> fletching::Result<Vec<String>> {
    let mut rows = Vec::new();
    for mut reader in source.scan(request)? {
        while let Some(batch) = reader.next_batch()? {
            rows.extend(texts(&batch));
        }
    }
    Ok(rows)
}

/// Writes each row of a batch as `a|b|c`, NULL as `-`.
pub(crate) fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<String> = columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            cells.join("|")
        })
        .collect()
}

/// Polls a feed until it has given so many rows; returns them and the position of each partition.
pub(crate) fn poll_rows(feed: &mut dyn Feed, rows_wanted: usize) -> (Vec<String>, Vec<Position>) {
    let (mut rows, mut positions) = (Vec::new(), Vec::<Position>::new());
    let began = Instant::now();
    while rows.len() < rows_wanted {
        assert!(began.elapsed() < Duration::from_secs(30), "only {rows:?} came");
        match feed.poll(Duration::from_millis(200)).unwrap() {
            Polled::Records(chunk) => {
                rows.extend(texts(&chunk.batch));
                positions.retain(|position| position.partition != chunk.position.partition);
                positions.push(chunk.position);
            }
            Polled::Idle => {}
            other => panic!("{other:?}"),
        }
    }
    positions.sort();
    (rows, positions)
}

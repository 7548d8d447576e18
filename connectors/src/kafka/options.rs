//! The options of Kafka sources and sinks, and the spans of time among them.

use std::time::Duration;

use fletching::Result;
use fletching::connector::{OptionSpec, Options};

macro_rules! specs {
    ($($name:literal: $help:literal),* $(,)?) => {
        &[$(OptionSpec { name: $name, help: $help }),*]
    };
}

/// What sources and sinks share.
const SHARED: &[OptionSpec] = specs! {
    "connector": "kafka",
    "bootstrap.servers": "brokers, as in 'host:port,host:port'",
    "topic": "the topic",
    "format": "of values: json, csv, raw, avro or protobuf; of tables also debezium-json",
    "key": "the columns that the message key holds, as in 'user_id' or 'a, b'",
    "key.format": "of keys: text, raw or json",
    "timeout": "how long the cluster may take to answer, as in '30s'",
    "kafka.*": "a property of the client",
    "delimiter": "of csv: what separates fields",
    "quote": "of csv: what encloses fields; '' for nothing",
    "null": "of csv: the text that stands for NULL",
    "schema": "of avro and protobuf: the schema itself",
    "schema.path": "of avro and protobuf: the file with the schema",
    "schema.registry": "of avro and protobuf: the registry's address",
    "schema.registry.user": "who asks the registry",
    "schema.registry.password": "the password for it",
    "schema.registry.ssl.ca.pem": "certificates of the authority that has signed the registry's",
    "schema.registry.ssl.ca.location": "the file with them",
    "schema.subject": "the schema's subject in the registry; else TOPIC-value",
    "schema.message": "of protobuf: the message's name",
};

const OF_SOURCES: &[OptionSpec] = specs! {
    "topic.pattern": "a pattern of topics, as in 'trades-*'",
    "start": "earliest, latest, committed, timestamp:…, or offsets:0=12,1=40",
    "group.id": "under which name offsets are committed",
    "group.share": "true to share the partitions with the other instances of the group",
    "metadata": "metadata columns beside those of the schema, as in '_offset, _timestamp'",
    "on_bad_row": "error, skip or dead_letter",
    "bad_row.rate_max": "the share of bad records past which the run ends, as in '0.01'",
    "dead_letter.path": "the file for records that cannot be decoded",
    "dead_letter.topic": "the topic for records that cannot be decoded",
};

const OF_SINKS: &[OptionSpec] = specs! {
    "delivery": "at-least-once or exactly-once",
    "compression": "none, gzip, snappy, lz4 or zstd",
    "partitioner": "murmur2, consistent, fnv1a or random",
    "partition": "the column with the number of the partition",
    "timestamp": "the column with the record's time",
    "headers": "columns that become headers, as in 'trace_id, source'",
    "tombstone": "a BOOLEAN column: where it is true, the record has no value",
};

/// Lists the options of sources, or of sinks.
pub(super) fn specs(is_sink: bool) -> Vec<OptionSpec> {
    let own = if is_sink { OF_SINKS } else { OF_SOURCES };
    SHARED.iter().chain(own).copied().collect()
}

/// Reads an option that lists columns.
pub(super) fn names(options: &Options, name: &str) -> Vec<String> {
    let text = options.text(name).unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Reads an option that is a span of time.
pub(super) fn duration(options: &Options, name: &str) -> Result<Option<Duration>> {
    let Some(text) = options.text(name).map(str::trim) else {
        return Ok(None);
    };
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim() {
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" | "min" => Some(60.0),
        _ => None,
    };
    let number: Option<f64> = number.parse().ok();
    let span = number
        .zip(unit)
        .map(|(number, unit)| Duration::try_from_secs_f64(number * unit));
    match span {
        Some(Ok(span)) if !span.is_zero() => Ok(Some(span)),
        _ => {
            let message = format!("expected a time span such as '30s' or '500ms', found '{text}'");
            Err(options.bad_value(name, &message, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_have_a_unit() {
        let read = |text: &str| duration(&Options::new("s").with("timeout", text), "timeout");
        assert_eq!(read("1.5s").unwrap(), Some(Duration::from_millis(1500)));
        assert_eq!(read("20 ms").unwrap(), Some(Duration::from_millis(20)));
        for wrong in ["5", "0s", "x", "-1s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_of_names_are_trimmed() {
        let options = Options::new("s").with("key", " a,b , ");
        assert_eq!(names(&options, "key"), ["a", "b"]);
        assert!(names(&options, "headers").is_empty());
    }
}

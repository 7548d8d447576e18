//! The time from producing a record to reading its result, at a steady rate.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer};

use super::super::fault::{Fault, Result};
use super::pipeline::{self, Shape};
use super::raw;
use super::topics::{PATIENCE, Topics, fault};

/// Records a second.
pub(super) const RATE: u64 = 10_000;
/// Records that are sent at once, each millisecond.
const AT_ONCE: u64 = RATE / 1000;
/// How long the first results may take to warm up, as a share of all: they are not counted.
const WARM: u64 = 4;

const SHAPE: Shape = Shape {
    format: "json",
    note_bytes: 0,
    is_timed: true,
};

/// Latencies of a run, in ascending order, in microseconds.
pub(super) struct Latencies(Vec<u64>);

impl Latencies {
    /// Returns the latency that a share of all records does not exceed, in milliseconds.
    pub(super) fn percentile_ms(&self, percent: usize) -> f64 {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        let micros = u32::try_from(self.0.get(at).copied().unwrap_or(0)).unwrap_or(u32::MAX);
        f64::from(micros) / 1e3
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Sends so many records at the rate, through the pipeline, and reads all results.
pub(super) fn measure(topics: &Topics, checkpoints: Option<&Path>, records: u64) -> Result<Latencies> {
    let (from, to) = (topics.create("timed")?, topics.create("timed-results")?);
    let (_session, pipeline) = pipeline::start(&SHAPE, &topics.servers, (&from, &to), checkpoints, None)?;
    let found = through(topics, (&from, &to), records);
    pipeline.stop();
    pipeline.wait()?;
    topics.remove(&from);
    topics.remove(&to);
    found
}

/// Sends so many records at the rate, through a plain copy, and reads all results.
pub(super) fn measure_raw(topics: &Topics, records: u64) -> Result<Latencies> {
    let (from, to) = (topics.create("timed")?, topics.create("timed-results")?);
    let found = thread::scope(|scope| {
        let producer = raw::producer(&topics.servers, raw::LINGER_MS_SOON)?;
        let (reader, to_copy) = (topics.reader(&from)?, to.clone());
        let copier = scope.spawn(move || raw::copy_from(&reader, &producer, &to_copy, records));
        let found = through(topics, (&from, &to), records);
        let copied = copier.join().map_err(|_| Fault::new("the copy panicked"));
        copied??;
        found
    });
    topics.remove(&from);
    topics.remove(&to);
    found
}

fn through(topics: &Topics, (from, to): (&str, &str), records: u64) -> Result<Latencies> {
    let servers = topics.servers.as_str();
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(servers, from, records));
        let latencies = receive(topics, to, records);
        let sent = sender.join().map_err(|_| Fault::new("the sender panicked"));
        sent??;
        latencies
    })
}

fn send(servers: &str, topic: &str, records: u64) -> Result<()> {
    // As most send: what a record waits there for others counts.
    let producer = raw::producer(servers, raw::LINGER_MS)?;
    let began = Instant::now();
    for id in 0..records {
        if id % AT_ONCE == 0 {
            let due = Duration::from_millis(id / AT_ONCE);
            thread::sleep(due.saturating_sub(began.elapsed()));
            producer.poll(Duration::ZERO);
        }
        let (user, symbol) = (id % 5000 + 1, id % 1000 + 1);
        let value = format!(
            r#"{{"trade_id":{id},"user_id":{user},"symbol":"SYM{symbol}","amount":1.50,"ts":"2026-01-02T09:30:00","sent_us":{}}}"#,
            now_us()
        );
        let key = user.to_string();
        raw::send(
            &producer,
            BaseRecord::to(topic)
                .key(key.as_bytes())
                .payload(value.as_bytes()),
        )?;
    }
    producer.flush(PATIENCE).map_err(|error| fault(&error))
}

fn receive(topics: &Topics, topic: &str, records: u64) -> Result<Latencies> {
    let reader = topics.reader(topic)?;
    let mut latencies = Vec::new();
    let (mut read, mut heard) = (0, Instant::now());
    while read < records {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let sent = message.payload().and_then(sent_us);
                let sent = sent.ok_or_else(|| Fault::new("a result does not say when its trade was sent"))?;
                read += 1;
                if read > records / WARM {
                    latencies.push(now_us().saturating_sub(sent));
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(fault(&error)),
            None if heard.elapsed() > PATIENCE => {
                return Err(Fault::new(format!("only {read} of {records} results came")));
            }
            None => {}
        }
    }
    latencies.sort_unstable();
    Ok(Latencies(latencies))
}

/// Reads when a result's trade was sent.
fn sent_us(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let rest = text.split_once("\"sent_us\":")?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let latencies = Latencies((1..=1000).map(|at| at * 1000).collect());
        assert!((latencies.percentile_ms(50) - 501.0).abs() < 1e-9);
        assert!((latencies.percentile_ms(99) - 991.0).abs() < 1e-9);
        assert!(Latencies(Vec::new()).percentile_ms(99) < 1e-9);
    }

    #[test]
    fn the_time_of_sending_is_found_wherever_it_stands() {
        assert_eq!(sent_us(br#"{"a":1,"sent_us":12,"b":2}"#), Some(12));
        assert_eq!(sent_us(br#"{"sent_us":7}"#), Some(7));
        assert_eq!(sent_us(br#"{"a":1}"#), None);
    }
}

//! Tests with a real Apache Kafka broker, which they share.

mod bad_records;
mod broker_away;
mod feeds;
mod formats;
mod scans;
mod sinks;
mod sql;
mod support;
mod transactions;

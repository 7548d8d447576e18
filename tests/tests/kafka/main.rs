//! Tests with a real Apache Kafka broker, which they share.

mod bad_records;
mod broker_away;
mod evolution;
mod feeds;
mod formats;
mod registry;
mod scans;
mod sinks;
mod sql;
mod support;
mod transactions;

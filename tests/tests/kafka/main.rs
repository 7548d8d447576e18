//! Tests with a real Apache Kafka broker, which they share.
#![allow(clippy::unwrap_used, reason = "a test ends where an unwrap fails")]

mod bad_records;
mod broker_away;
mod dead_letters;
mod debezium;
mod evolution;
mod fake_registry;
mod feeds;
mod formats;
mod group;
mod kills;
mod outages;
mod pipelines;
mod protobuf;
mod registry;
mod scans;
mod security;
mod sides;
mod sinks;
mod sql;
mod support;
mod transactions;
mod victim;

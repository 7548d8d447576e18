//! One binary for all tests of this crate: compiled and linked once.
#![allow(clippy::unwrap_used, reason = "a test ends where an unwrap fails")]

mod as_of_joins;
mod as_of_misses;
mod atomic_changes;
mod changelogs;
mod consistent_reads;
mod datafusion_oracle;
mod decimals;
mod dependencies;
mod derived_tables;
mod following;
mod join_cases;
mod kept_tables;
mod key_values;
mod large_tables;
mod licences;
mod live_tables;
mod many_rows;
mod misses;
mod nested_loop;
mod prepared_joins;
mod prepared_misses;
mod prepared_plans;
mod pushed_batches;
mod random_queries;
mod readiness;
mod scripts;
mod seed;
mod sessions;
mod stream_tables;
mod table_memory;
mod tidy;
mod trial_source;
mod waiting;

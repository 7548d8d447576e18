//! What lookups found and did not find, counted a batch at a time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fletching_kernels::JoinKind;
use fletching_planner::{MissPolicy, OnMiss};

/// What one table's lookups came to in a statement, or in all calls of a prepared query.
///
/// `looked_up` = `matched` + `null_keys` + `older_than_retention` + `missed`; and what was not matched
/// is one of `padded`, `dropped`, `defaulted` and `dead_lettered`, for INNER and LEFT joins.
///
/// ```
/// use fletching::Session;
///
/// let session = Session::new()?;
/// session.sql(
///     "CREATE TABLE t (k BIGINT);
///      INSERT INTO t VALUES (1), (2), (NULL);
///      CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id)) WITH (on_miss = 'null');
///      INSERT INTO users VALUES (1, 'gold')",
/// )?;
/// session.sql("SELECT t.k, u.tier FROM t JOIN users u ON t.k = u.id")?.collect_batches()?;
/// let counts = &session.lookup_counts()[0];
/// assert_eq!((counts.matched, counts.missed, counts.null_keys, counts.padded), (1, 1, 1, 2));
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookupCounts {
    /// The table's name.
    pub table: String,
    /// What its options or the query say of misses, where that is not SQL's own answer.
    pub on_miss: Option<String>,
    /// Rows that came to be joined with the table.
    pub looked_up: u64,
    /// Those that were joined. Of an INNER join without a policy, those whose key was found: what
    /// its further conditions or WHERE then reject is not told apart.
    pub matched: u64,
    /// Those whose key was NULL, or of an as-of or temporal join their time.
    pub null_keys: u64,
    /// Those whose key is not in the table, or not at their time, or whose matches the join's
    /// condition rejects.
    pub missed: u64,
    /// Those further back than the history that a versioned table promises by its `retention`: what
    /// was valid then is not known.
    pub older_than_retention: u64,
    /// Rows padded with NULL.
    pub padded: u64,
    /// Rows left out.
    pub dropped: u64,
    /// Rows given default values.
    pub defaulted: u64,
    /// Rows that went to the sink of dead letters.
    pub dead_lettered: u64,
    /// Rows that were parked to wait for their key.
    pub parked: u64,
    /// Those whose key came.
    pub released: u64,
    /// Those whose key did not come in time.
    pub expired: u64,
}

impl LookupCounts {
    /// Returns the counters with their names, those that are not zero and `looked_up`.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("looked_up", self.looked_up),
            ("matched", self.matched),
            ("null_keys", self.null_keys),
            ("missed", self.missed),
            ("older_than_retention", self.older_than_retention),
            ("padded", self.padded),
            ("dropped", self.dropped),
            ("defaulted", self.defaulted),
            ("dead_lettered", self.dead_lettered),
            ("parked", self.parked),
            ("released", self.released),
            ("expired", self.expired),
        ];
        let is_shown = |(name, count): &(&str, u64)| *count > 0 || *name == "looked_up";
        all.into_iter().filter(is_shown).collect()
    }
}

/// Rows of which it is known without a look at the table that they have no match.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hopeless {
    /// Those with a NULL in their key or time.
    pub(super) null_keys: usize,
    /// Others that are older than the table's history.
    pub(super) too_old: usize,
}

/// The counters of one arm, shared by all who run it.
#[derive(Debug, Default)]
pub(crate) struct ArmCounters {
    looked_up: AtomicU64,
    /// Rows whose key found nothing, those with a NULL key included.
    absent: AtomicU64,
    null_keys: AtomicU64,
    older_than_retention: AtomicU64,
    /// Rows without a match where that is watched, residual conditions counted in.
    missed: AtomicU64,
    pub(crate) parked: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) expired: AtomicU64,
}

impl ArmCounters {
    /// Counts rows just looked up, and those of them whose key found nothing.
    pub(super) fn note_looked_up(&self, looked_up: usize, absent: usize, hopeless: Hopeless) {
        self.looked_up.fetch_add(looked_up as u64, Relaxed);
        if absent > 0 {
            let Hopeless { null_keys, too_old } = hopeless;
            self.absent.fetch_add(absent as u64, Relaxed);
            self.null_keys.fetch_add(null_keys as u64, Relaxed);
            self.older_than_retention.fetch_add(too_old as u64, Relaxed);
        }
    }

    /// Counts rows of a watched arm that have no match.
    pub(super) fn note_missed(&self, rows: usize) {
        self.missed.fetch_add(rows as u64, Relaxed);
    }

    /// Says what the counts mean for an arm.
    pub(super) fn counts(
        &self,
        table: &str,
        on_miss: Option<OnMiss>,
        kind: JoinKind,
        is_watched: bool,
    ) -> LookupCounts {
        let absent = self.absent.load(Relaxed);
        let unmatched = if is_watched {
            self.missed.load(Relaxed)
        } else {
            absent
        };
        let null_keys = self.null_keys.load(Relaxed).min(unmatched);
        let too_old = self.older_than_retention.load(Relaxed);
        let too_old = too_old.min(unmatched - null_keys);
        let looked_up = self.looked_up.load(Relaxed);
        let mut counts = LookupCounts {
            table: table.to_string(),
            on_miss: on_miss.map(|on_miss| on_miss.to_string()),
            looked_up,
            matched: looked_up.saturating_sub(unmatched),
            null_keys,
            missed: unmatched - null_keys - too_old,
            older_than_retention: too_old,
            parked: self.parked.load(Relaxed),
            released: self.released.load(Relaxed),
            expired: self.expired.load(Relaxed),
            ..LookupCounts::default()
        };
        let outcome = match (on_miss.and_then(OnMiss::settled), kind) {
            (Some(MissPolicy::Default), _) => &mut counts.defaulted,
            (Some(MissPolicy::DeadLetter), _) => &mut counts.dead_lettered,
            (_, JoinKind::Left | JoinKind::Full) => &mut counts.padded,
            (_, JoinKind::Inner | JoinKind::Right) => &mut counts.dropped,
            _ => return counts,
        };
        *outcome = unmatched;
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_residual_that_rejects_counts_where_it_is_watched() {
        let counters = ArmCounters::default();
        let hopeless = Hopeless {
            null_keys: 1,
            too_old: 0,
        };
        counters.note_looked_up(4, 2, hopeless);
        let plain = counters.counts("t", None, JoinKind::Left, false);
        assert_eq!(
            (plain.matched, plain.null_keys, plain.missed, plain.padded),
            (2, 1, 1, 2)
        );
        counters.note_missed(3);
        let policy = OnMiss {
            policy: MissPolicy::Drop,
            then: None,
        };
        let watched = counters.counts("t", Some(policy), JoinKind::Inner, true);
        assert_eq!((watched.matched, watched.missed, watched.dropped), (1, 2, 3));
    }
}

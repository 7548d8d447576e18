//! Which keys the last commits of a table changed, for tables that follow it.
//!
//! Nothing is kept until a table that follows has asked; from then on the key columns of each
//! commit are, which its batch has made already, up to [`KEYS_MAX`] keys.

use std::collections::VecDeque;

use arrow::array::ArrayRef;
use parking_lot::Mutex;

/// Keys kept, at most. Whoever is further behind computes all rows anew, at about 0.1 µs each.
const KEYS_MAX: usize = 1 << 18;

/// Commits kept, at most: each costs a look.
const COMMITS_MAX: usize = 1 << 12;

/// The keys that commits changed, oldest first.
#[derive(Debug, Default)]
pub(super) struct ChangedKeys(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    /// Whether anybody has asked.
    is_kept: bool,
    /// The version from which on every commit is here.
    from: u64,
    /// The last version noted, kept or not.
    last: u64,
    commits: VecDeque<Commit>,
    keys: usize,
}

#[derive(Debug)]
struct Commit {
    version: u64,
    keys: Vec<ArrayRef>,
}

impl Commit {
    fn count(&self) -> usize {
        self.keys.first().map_or(0, |column| column.len())
    }
}

impl ChangedKeys {
    /// Notes the keys that a commit has changed, or some more, before it is published.
    pub(super) fn note(&self, version: u64, keys: &[ArrayRef]) {
        let mut log = self.0.lock();
        log.last = version;
        if !log.is_kept {
            return;
        }
        let commit = Commit {
            version,
            keys: keys.to_vec(),
        };
        log.keys += commit.count();
        log.commits.push_back(commit);
        while log.keys > KEYS_MAX || log.commits.len() > COMMITS_MAX {
            let Some(oldest) = log.commits.pop_front() else {
                break;
            };
            log.keys -= oldest.count();
            log.from = oldest.version;
        }
    }

    /// Forgets all, before a version is published whose rows are others altogether.
    pub(super) fn forget(&self, version: u64) {
        let mut log = self.0.lock();
        *log = Log {
            is_kept: log.is_kept,
            from: version,
            last: version,
            ..Log::default()
        };
    }

    /// Returns the keys that changed after one version and up to another, commit by commit; none
    /// where they are not known, as when this is asked for the first time.
    pub(super) fn between(&self, after: u64, upto: u64) -> Option<Vec<Vec<ArrayRef>>> {
        let mut log = self.0.lock();
        if !log.is_kept {
            log.is_kept = true;
            log.from = log.last;
        }
        if log.from > after {
            return None;
        }
        let commits = log.commits.iter();
        let commits = commits.filter(|commit| commit.version > after && commit.version <= upto);
        Some(commits.map(|commit| commit.keys.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::{COMMITS_MAX, ChangedKeys};

    fn keys(keys: &[i64]) -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from(keys.to_vec()))]
    }

    #[test]
    fn only_what_is_known_whole_is_told() {
        let changed = ChangedKeys::default();
        changed.note(1, &keys(&[1]));
        changed.note(2, &keys(&[2]));
        // Nothing was kept yet; what comes from now on is.
        assert_eq!(changed.between(1, 2), None);
        changed.note(3, &keys(&[3]));
        changed.note(4, &keys(&[4]));
        assert_eq!(changed.between(2, 3), Some(vec![keys(&[3])]));
        assert_eq!(changed.between(2, 4), Some(vec![keys(&[3]), keys(&[4])]));
        assert_eq!(changed.between(4, 4), Some(vec![]));
        assert_eq!(changed.between(1, 4), None);

        changed.forget(5);
        assert_eq!(changed.between(4, 5), None);
        changed.note(6, &keys(&[6]));
        assert_eq!(changed.between(5, 6), Some(vec![keys(&[6])]));
    }

    #[test]
    fn a_log_that_grows_loses_its_oldest_commits() {
        let changed = ChangedKeys::default();
        assert_eq!(changed.between(0, 0), Some(vec![]));
        for version in 1..=COMMITS_MAX as u64 + 1 {
            changed.note(version, &keys(&[7]));
        }
        assert_eq!(changed.between(0, 1), None);
        assert_eq!(changed.between(1, 2), Some(vec![keys(&[7])]));
    }
}

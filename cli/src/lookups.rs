//! What lookups found and did not find, told when a statement has ended.

use fletching::LookupCounts;

use crate::figures;

/// Says a line for each table that some rows had no match in: of all tables, or of those only
/// whose misses somebody has said something about.
pub(crate) fn lines(counts: &[LookupCounts], all: bool) -> Vec<String> {
    counts
        .iter()
        .filter(|counts| counts.missed + counts.null_keys + counts.older_than_retention + counts.parked > 0)
        .filter(|counts| all || counts.on_miss.is_some())
        .map(line)
        .collect()
}

fn line(counts: &LookupCounts) -> String {
    let mut words = vec![format!("{} matched", figures::count(counts.matched))];
    let mut add = |count: u64, word: &str| {
        if count > 0 {
            words.push(format!("{} {word}", figures::count(count)));
        }
    };
    add(counts.missed, "missed");
    add(counts.null_keys, "with a NULL key");
    add(counts.older_than_retention, "older than the retention");
    let found = words.len();
    let mut add = |count: u64, word: &str| {
        if count > 0 {
            words.push(format!("{} {word}", figures::count(count)));
        }
    };
    add(counts.padded, "padded with NULL");
    add(counts.dropped, "dropped");
    add(counts.defaulted, "given defaults");
    add(counts.dead_lettered, "sent to the dead letters");
    add(counts.parked, "parked");
    add(counts.released, "released");
    add(counts.expired, "expired");
    let done = words.split_off(found);
    let policy = counts.on_miss.as_ref();
    let policy = policy.map_or_else(String::new, |policy| format!(" (on miss {policy})"));
    format!(
        "lookup {}{policy}: {}; {}",
        counts.table,
        words.join(", "),
        done.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(
        clippy::field_reassign_with_default,
        reason = "the counts may get more fields: they cannot be written out"
    )]
    fn only_misses_are_told() {
        let mut counts = LookupCounts::default();
        counts.table = "users".into();
        counts.matched = 1200;
        assert!(lines(std::slice::from_ref(&counts), true).is_empty());
        counts.missed = 2;
        counts.null_keys = 1;
        counts.dropped = 3;
        assert!(lines(std::slice::from_ref(&counts), false).is_empty());
        assert_eq!(
            lines(&[counts], true),
            ["lookup users: 1,200 matched, 2 missed, 1 with a NULL key; 3 dropped"]
        );
    }
}

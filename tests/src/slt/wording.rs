//! What belongs to other engines alone: statements to skip, and the wording of their errors.

use sqllogictest::ExpectedError;

/// Statements that change no result, or show what only one engine has: they are skipped.
const SKIPPED: &[&str] = &[
    "PRAGMA",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "START TRANSACTION",
    "END",
    "VACUUM",
    "ANALYZE",
    "CHECKPOINT",
    "REINDEX",
    "CREATE INDEX",
    "CREATE UNIQUE INDEX",
    "DROP INDEX",
    "RESET",
    "LOAD",
    "INSTALL",
    "ATTACH",
    "DETACH",
    "USE",
    "SET SESSION",
    "SET GLOBAL",
    "CALL",
];

/// How other engines begin their messages. No other engine can be expected to say the same.
const FOREIGN: &[&str] = &[
    "DataFusion error",
    "Error during planning",
    "Schema error",
    "SQL error",
    "Arrow error",
    "Execution error",
    "External error",
    "Optimizer rule",
    "This feature is not implemented",
    "type_coercion",
    "Internal error",
    "Invalid Input Error",
    "Binder Error",
    "Catalog Error",
    "Parser Error",
    "Conversion Error",
    "Out of Range Error",
    "Constraint Error",
    "Not implemented Error",
    "Not Implemented Error",
    "INTERNAL Error",
    "Invalid Error",
    "<REGEX>",
    "<!REGEX>",
];

/// Says whether a statement means nothing to this engine, and nothing to the results of others.
pub(super) fn is_skipped(sql: &str) -> bool {
    let words: Vec<String> = sql
        .split_whitespace()
        .take(3)
        .map(|word| word.trim_end_matches(';').to_uppercase())
        .collect();
    let text = words.join(" ");
    SKIPPED
        .iter()
        .any(|start| text == *start || text.strip_prefix(start).is_some_and(|rest| rest.starts_with(' ')))
        || is_duckdb_setting(&words)
}

/// DuckDB's `SET name=value`; ours have a dot or are `threads`.
fn is_duckdb_setting(words: &[String]) -> bool {
    match words {
        [first, name, ..] if first == "SET" => {
            let name = name.split('=').next().unwrap_or("");
            const KNOWN: &[&str] = &[
                "DEFAULT_NULL_ORDER",
                "NULL_ORDER",
                "DEFAULT_ORDER",
                "DISABLED_OPTIMIZERS",
                "ENABLE_PROGRESS_BAR",
                "MEMORY_LIMIT",
                "PRESERVE_INSERTION_ORDER",
                "DEBUG_FORCE_EXTERNAL",
                "ENABLE_OBJECT_CACHE",
                "PERFECT_HT_THRESHOLD",
                "TEMP_DIRECTORY",
                "ORDERED_AGGREGATE_THRESHOLD",
                "DYNAMIC_OR_FILTER_THRESHOLD",
                "ASOF_LOOP_JOIN_THRESHOLD",
                "MERGE_JOIN_THRESHOLD",
                "NESTED_LOOP_JOIN_THRESHOLD",
                "SCALAR_SUBQUERY_ERROR_ON_MULTIPLE_ROWS",
                "EXPLAIN_OUTPUT",
                "DEBUG_VERIFY_VECTOR",
                "STORAGE_COMPATIBILITY_VERSION",
                "WORKER_THREADS",
            ];
            KNOWN.contains(&name)
        }
        _ => false,
    }
}

/// Says whether an error is the expected one. Another engine's wording is met by any error.
pub(super) fn is_expected(expected: &ExpectedError, found: &str) -> bool {
    match expected {
        ExpectedError::Multiline(text) => is_foreign(text) || squeeze(found).contains(&squeeze(text)),
        ExpectedError::Inline(regex) => is_foreign(regex.as_str()) || expected.is_match(found, None),
        ExpectedError::Empty | ExpectedError::SqlState(_) => true,
    }
}

fn is_foreign(text: &str) -> bool {
    let text = text.trim_start_matches(['^', '\\', '(', ' ']);
    FOREIGN.iter().any(|prefix| text.starts_with(prefix))
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_without_meaning_here_are_skipped() {
        assert!(is_skipped("PRAGMA enable_verification"));
        assert!(is_skipped("begin;"));
        assert!(is_skipped("SET default_null_order='nulls_first';"));
        assert!(!is_skipped("SET threads = 2"));
        assert!(!is_skipped("SELECT 1"));
        assert!(!is_skipped("WITH used AS (SELECT 1) SELECT * FROM used"));
    }

    #[test]
    fn our_own_wording_must_match() {
        let ours = ExpectedError::Multiline("division by zero".into());
        assert!(is_expected(&ours, "checked: division  by zero"));
        assert!(!is_expected(&ours, "overflow"));
        let theirs = ExpectedError::Multiline("Binder Error: no such table".into());
        assert!(is_expected(&theirs, "there is no relation 't'"));
    }
}

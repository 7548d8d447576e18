//! Cuts a script into records and hands each to the sqllogictest crate's parser.
//!
//! The crate knows one dialect; here the directives of the others are taken away first: DuckDB's
//! `require`, `mode`, `load` and connection names, its error blocks that end at one empty line
//! (the crate's end at two), and `include`.

use std::path::Path;

use sqllogictest::{DefaultColumnType, Record};

use super::loops::{Line, lines_of, unroll};
use super::step::{Body, Step};

/// Words that begin a record or a directive; anything else after an empty line is part of what
/// stands before it.
const OPENERS: &[&str] = &[
    "statement",
    "query",
    "skipif",
    "onlyif",
    "hash-threshold",
    "control",
    "include",
    "halt",
    "system",
    "let",
    "connection",
    "subtest",
    "sleep",
    "require",
    "require-env",
    "test-env",
    "mode",
    "load",
    "restart",
    "reconnect",
    "unzip",
    "tags",
    "template",
    "set",
    "reset",
    "continue",
    "loop",
    "foreach",
    "endloop",
];

/// What DuckDB's `require` may ask for that makes no difference here.
const HARMLESS: &[&str] = &[
    "vector_size",
    "exact_vector_size",
    "block_size",
    "skip_reload",
    "noforcestorage",
    "notwindows",
    "windows",
    "notmingw",
    "mingw",
    "notmusl",
    "longdouble",
    "64bit",
    "noalternativeverify",
    "no_alternative_verify",
    "no_block_verification",
    "no_vector_verification",
    "no_latest_storage",
    "strinline",
    "no_extension_autoloading",
    "ram",
    "core_functions",
];

/// Reads a script and what it includes.
pub(super) fn read_file(path: &Path) -> std::io::Result<Vec<Step>> {
    let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
    let mut steps = Vec::new();
    let folder = path.parent().unwrap_or(Path::new("."));
    for step in read(&text) {
        match &step.body {
            Body::Record(record) => match record.as_ref() {
                Record::Include { filename, .. } => match read_file(&folder.join(filename)) {
                    Ok(included) => steps.extend(included),
                    Err(error) => steps.push(Step {
                        line: step.line,
                        body: Body::Unreadable(format!("include {filename}: {error}")),
                    }),
                },
                _ => steps.push(step),
            },
            _ => steps.push(step),
        }
    }
    Ok(steps)
}

/// Reads a script.
pub(super) fn read(text: &str) -> Vec<Step> {
    let lines = unroll(&lines_of(text));
    let mut steps = Vec::new();
    let mut at = 0;
    let mut is_skipping = false;
    while at < lines.len() {
        let line = &lines[at];
        let words: Vec<&str> = line.text.split_whitespace().collect();
        let body = match words.as_slice() {
            [] => None,
            [first, ..] if first.starts_with('#') => None,
            ["require", what, ..] => (!HARMLESS.contains(what)).then_some(Body::SkipRest),
            ["require-env", ..] => Some(Body::SkipRest),
            ["mode", "skip"] => {
                is_skipping = true;
                None
            }
            ["mode", "unskip"] => {
                is_skipping = false;
                None
            }
            ["halt"] => Some(Body::Halt),
            [
                "mode" | "load" | "restart" | "reconnect" | "unzip" | "tags" | "template" | "set" | "reset"
                | "continue" | "test-env" | "subtest" | "sleep" | "connection" | "endloop",
                ..,
            ] => None,
            _ => {
                let end = end_of_record(&lines, at);
                let body = record(&lines[at..end]);
                at = end - 1;
                Some(if is_skipping { Body::Skip } else { body })
            }
        };
        steps.extend(body.map(|body| Step {
            line: line.number,
            body,
        }));
        at += 1;
    }
    steps
}

/// Returns the line after a record: after an empty line, or, where an error block goes on over
/// empty lines, before the next directive.
fn end_of_record(lines: &[Line], start: usize) -> usize {
    let is_empty = |at: usize| lines[at].text.trim().is_empty();
    let mut end = start;
    while end < lines.len() && !is_empty(end) {
        end += 1;
    }
    let expects_error = lines[start..end].iter().any(|line| {
        let mut words = line.text.split_whitespace();
        matches!(words.next(), Some("statement" | "query")) && words.next() == Some("error")
    });
    let has_block = lines[start..end]
        .iter()
        .any(|line| line.text.trim_end() == "----");
    if !(expects_error && has_block) {
        return end;
    }
    loop {
        let mut next = end;
        while next < lines.len() && is_empty(next) {
            next += 1;
        }
        if next == lines.len() || next > end + 1 || opens(&lines[next].text) {
            return end;
        }
        end = next;
        while end < lines.len() && !is_empty(end) {
            end += 1;
        }
    }
}

fn opens(line: &str) -> bool {
    line.starts_with('#')
        || line
            .split_whitespace()
            .next()
            .is_some_and(|word| OPENERS.contains(&word))
}

/// Reads one record, its conditions included.
fn record(lines: &[Line]) -> Body {
    let Some(header) = lines.iter().position(|line| {
        !["skipif", "onlyif"]
            .iter()
            .any(|word| line.text.starts_with(word))
    }) else {
        return Body::Unreadable("a condition without a record".into());
    };
    let rest: Vec<&str> = lines[header + 1..]
        .iter()
        .map(|line| line.text.as_str())
        .filter(|line| !line.starts_with('#') || lines[header].text.starts_with("query"))
        .collect();
    if lines[header].text.trim() == "statement maybe" {
        let sql: Vec<&str> = rest.into_iter().take_while(|line| *line != "----").collect();
        return Body::Maybe(sql.join("\n"));
    }
    let mut text = String::new();
    for line in &lines[..header] {
        let condition = line.text.split('#').next().unwrap_or_default();
        text.push_str(condition.trim_end());
        text.push('\n');
    }
    text.push_str(&plain_header(&lines[header].text));
    for line in &rest {
        text.push('\n');
        text.push_str(if line.trim_end() == "----" { "----" } else { line });
    }
    text.push('\n');
    match sqllogictest::parse::<DefaultColumnType>(&text) {
        Ok(records) => records
            .into_iter()
            .rfind(|record| {
                !matches!(
                    record,
                    Record::Newline | Record::Comment(_) | Record::Condition(_)
                )
            })
            .map_or_else(
                || Body::Unreadable(text.clone()),
                |record| Body::Record(Box::new(record)),
            ),
        Err(error) => Body::Unreadable(format!("{}\n{text}", error.kind())),
    }
}

/// Takes connection names off a header: there is one connection.
fn plain_header(header: &str) -> String {
    let mut words: Vec<&str> = header.split_whitespace().collect();
    let is_connection = |word: &str| {
        word.strip_prefix("con")
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if words.len() == 3 && words[0] == "statement" && is_connection(words[2]) {
        words.pop();
    }
    if words.first() == Some(&"query") && words.get(1) != Some(&"error") && !words.contains(&"retry") {
        words.truncate(4);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use sqllogictest::{ExpectedError, QueryExpect, StatementExpect};

    use super::*;

    fn records(text: &str) -> Vec<Record<DefaultColumnType>> {
        read(text)
            .into_iter()
            .map(|step| match step.body {
                Body::Record(record) => *record,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn an_error_block_ends_before_the_next_record() {
        let read = records(
            "statement error\nSELECT x\n----\nBinder Error: x\n\nand more\n\nquery I\nSELECT 1\n----\n1\n",
        );
        assert_eq!(read.len(), 2);
        let Record::Statement {
            expected: StatementExpect::Error(ExpectedError::Multiline(text)),
            ..
        } = &read[0]
        else {
            panic!("{:?}", read[0]);
        };
        assert_eq!(text, "Binder Error: x\n\nand more");
    }

    #[test]
    fn tabs_in_results_are_kept() {
        let read =
            records("# name: x\nrequire skip_reload\n\nquery II rowsort q1 con2\nSELECT 1, 2\n----\n1\t2\n");
        let Record::Query {
            expected: QueryExpect::Results { results, label, .. },
            ..
        } = &read[0]
        else {
            panic!("{:?}", read[0]);
        };
        assert_eq!(
            (results.as_slice(), label.as_deref()),
            (&["1\t2".to_string()][..], Some("q1"))
        );
    }

    #[test]
    fn conditions_belong_to_the_next_record() {
        let read = records("onlyif mysql # a comment\nskipif x\nstatement ok\nSELECT 1\n");
        let Record::Statement { conditions, .. } = &read[0] else {
            panic!("{:?}", read[0]);
        };
        assert_eq!(conditions.len(), 2);
    }

    #[test]
    fn what_needs_more_than_we_have_ends_the_file() {
        let steps = read("require parquet\n\nstatement ok\nSELECT 1\n");
        assert!(matches!(steps[0].body, Body::SkipRest));
    }
}

//! Puts values in the place of `${name}`, and remembers where, so that errors can name the place in
//! the script as it was written.
//!
//! `${name}` counts in code and in quoted text, not in comments. `$${name}` stands for the text
//! `${name}` itself. A name begins with a letter or `_`; so the `${1}` of a regular expression's
//! replacement stays what it is.

use std::ops::Range;

use super::scan::{Region, Scan};

/// A script with its values in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expansion {
    /// The text to run.
    pub(crate) text: String,
    /// The names that were replaced, in order; a name may be there twice.
    pub(crate) used: Vec<String>,
    /// What was replaced, in order.
    pieces: Vec<Piece>,
}

/// A stretch that differs between what was written and what runs.
#[derive(Debug, Clone)]
struct Piece {
    written: Range<usize>,
    run: Range<usize>,
}

/// A name that has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingValue {
    /// The name.
    pub(crate) name: String,
    /// Where its `$` stands in the script as written.
    pub(crate) offset: usize,
}

impl Expansion {
    /// Replaces every `${name}` of a script; a `${name:default}` without a value by its default.
    pub(crate) fn new(written: &str, values: &[(String, String)]) -> Result<Self, MissingValue> {
        let mut expansion = Self::default();
        let mut done = 0;
        for mark in marks(written) {
            expansion.text.push_str(&written[done..mark.range.start]);
            let from = expansion.text.len();
            if mark.is_escaped {
                expansion
                    .text
                    .push_str(&written[mark.range.start + 1..mark.range.end]);
            } else {
                // Of a name that is given twice the last value counts, as usual on command lines.
                let value = values.iter().rev().find(|(name, _)| name == mark.name);
                match (value, mark.default) {
                    (Some((name, value)), _) => {
                        expansion.text.push_str(value);
                        expansion.used.push(name.clone());
                    }
                    (None, Some(default)) => expansion.text.push_str(default),
                    (None, None) => {
                        return Err(MissingValue {
                            name: mark.name.to_owned(),
                            offset: mark.range.start,
                        });
                    }
                }
            }
            done = mark.range.end;
            expansion.pieces.push(Piece {
                written: mark.range,
                run: from..expansion.text.len(),
            });
        }
        expansion.text.push_str(&written[done..]);
        Ok(expansion)
    }

    /// Finds where a byte of the text that runs was written; all of a value was written at its `$`.
    pub(crate) fn written_offset(&self, offset: usize) -> usize {
        let (mut run, mut written) = (0, 0);
        for piece in &self.pieces {
            if offset < piece.run.start {
                break;
            }
            if piece.run.contains(&offset) {
                return piece.written.start;
            }
            (run, written) = (piece.run.end, piece.written.end);
        }
        written + offset.saturating_sub(run)
    }
}

/// A `${name}`, a `${name:default}` or a `$${name}`.
struct Mark<'a> {
    range: Range<usize>,
    name: &'a str,
    default: Option<&'a str>,
    is_escaped: bool,
}

fn marks(text: &str) -> Vec<Mark<'_>> {
    let scan = Scan::new(text);
    let comments: Vec<_> = scan
        .regions
        .iter()
        .filter(|(region, _)| *region == Region::Comment)
        .map(|(_, range)| range)
        .collect();
    let mut marks = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("${").map(|at| from + at) {
        from = at + 2;
        let Some(length) = text[from..].find('}') else {
            break;
        };
        let inside = &text[from..from + length];
        let (name, default) = match inside.split_once(':') {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) || comments.iter().any(|range| range.contains(&at)) {
            continue;
        }
        let is_escaped = text[..at].ends_with('$');
        from += length + 1;
        marks.push(Mark {
            range: at - usize::from(is_escaped)..from,
            name,
            default,
            is_escaped,
        });
    }
    marks
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<(String, String)> {
        vec![
            ("in".into(), "trades.csv".into()),
            ("n".into(), "10".into()),
            ("n".into(), "20".into()),
        ]
    }

    fn run(written: &str) -> String {
        Expansion::new(written, &values())
            .expect("every name has a value")
            .text
    }

    #[test]
    fn names_are_replaced_in_code_and_in_quotes() {
        assert_eq!(run("SELECT ${n} FROM '${in}'"), "SELECT 20 FROM 'trades.csv'");
    }

    #[test]
    fn comments_numbers_and_escapes_stay() {
        assert_eq!(
            run("-- ${other}\n'${1}' '$${n}' ${ 5"),
            "-- ${other}\n'${1}' '${n}' ${ 5"
        );
    }

    #[test]
    fn a_name_without_a_value_is_named_with_its_place() {
        assert_eq!(run("SELECT ${m:7}, ${n:7}"), "SELECT 7, 20");
        let error = Expansion::new("SELECT ${m}", &values()).expect_err("there is no m");
        assert_eq!(
            error,
            MissingValue {
                name: "m".into(),
                offset: 7
            }
        );
    }

    #[test]
    fn places_are_found_where_they_were_written() {
        let written = "a ${in} b ${n} c";
        let expansion = Expansion::new(written, &values()).expect("every name has a value");
        assert_eq!(expansion.text, "a trades.csv b 20 c");
        let found = |text: &str| {
            let at = expansion.text.rfind(text).expect("it is there");
            &written[expansion.written_offset(at)..][..1]
        };
        assert_eq!(
            [
                found("a trades"),
                found("csv"),
                found("b"),
                found("20"),
                found("c")
            ],
            ["a", "$", "b", "$", "c"]
        );
        assert_eq!(expansion.written_offset(expansion.text.len()), written.len());
    }
}

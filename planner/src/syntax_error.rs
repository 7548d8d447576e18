//! Errors of statements that cannot be read: what was expected, what was found, and where.

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::TokenWithSpan;

use crate::error::{Location, SqlError, SqlErrorKind, nearest};
use crate::parse::{NESTING_MAX, StatementParser};

/// Statements that may open a line here, for hints.
const OPENERS: &[&str] = &[
    "SELECT", "WITH", "VALUES", "CREATE", "DROP", "INSERT", "UPDATE", "DELETE", "SHOW", "DESCRIBE",
    "EXPLAIN", "CHECK", "SET", "FROM",
];

impl StatementParser<'_> {
    pub(crate) fn leftover(&self, token: &TokenWithSpan) -> SqlError {
        let text = token.token.to_string();
        let error = SqlError::new(
            SqlErrorKind::Syntax,
            format!("expected the end of the statement, found '{text}'"),
        )
        .at(Location::from_parser(token.span.start), &text);
        match text.to_uppercase().as_str() {
            "EMIT" => error.hint(
                "say EMIT CHANGES at the end of the query or before its LIMIT: rows are then given as they come",
            ),
            "ASOF" => error.hint("say ASOF JOIN, or ASOF LEFT JOIN to keep rows without a match"),
            "FOR" => {
                error.hint("the time comes before the alias: JOIN r FOR SYSTEM_TIME AS OF t.ts AS x ON …")
            }
            _ => error,
        }
    }

    pub(crate) fn expected(&self, what: &str, at: usize) -> SqlError {
        let (found, location) = match self.tokens.get(at) {
            Some(token) => (
                format!("'{}'", token.token),
                Location::from_parser(token.span.start),
            ),
            None => (
                "the end of the statement".to_string(),
                self.tokens
                    .last()
                    .and_then(|token| Location::from_parser(token.span.end)),
            ),
        };
        SqlError::new(SqlErrorKind::Syntax, format!("expected {what}, found {found}"))
            .at(location, found.trim_matches('\''))
    }

    /// Turns sqlparser's `… at Line: 1, Column: 8` into a placed error.
    pub(crate) fn syntax_error(&self, error: ParserError) -> SqlError {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
            ParserError::RecursionLimitExceeded => {
                return SqlError::new(
                    SqlErrorKind::Syntax,
                    format!("the statement nests more than {NESTING_MAX} levels deep"),
                )
                .at(
                    self.tokens
                        .first()
                        .and_then(|token| Location::from_parser(token.span.start)),
                    "",
                );
            }
        };
        let (mut message, mut location) = match text.rsplit_once(" at Line: ") {
            Some((message, place)) => (message.to_string(), parse_place(place)),
            None => (text, None),
        };
        if location.is_none() {
            location = self
                .tokens
                .last()
                .and_then(|token| Location::from_parser(token.span.end));
        }
        message = message
            .replace("Expected: ", "expected ")
            .replace("found: EOF", "found: the end of the statement");
        let found = message.rsplit_once("found: ").map(|(_, found)| found.to_string());
        if let Some(found) = &found {
            let quoted = if found.starts_with("the end") {
                found.clone()
            } else {
                format!("'{found}'")
            };
            message = message.replace(&format!("found: {found}"), &format!("found {quoted}"));
        }
        lower_first(&mut message);
        let mut error =
            SqlError::new(SqlErrorKind::Syntax, message).at(location, found.clone().unwrap_or_default());
        let first_word = self
            .tokens
            .first()
            .map(|token| token.token.to_string())
            .unwrap_or_default();
        if found.as_deref() == Some(first_word.as_str())
            && let Some(near) = nearest(&first_word, OPENERS.iter().copied())
        {
            error = error.hint(format!("did you mean {near}?"));
        }
        error
    }
}

/// Reads `1, Column: 8`.
fn parse_place(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Location {
        line: line.trim().parse().ok()?,
        column: column.trim().parse().ok()?,
    })
}

/// Makes the first letter a small one.
pub(crate) fn lower_first(text: &mut String) {
    if let Some(first) = text.get(..1) {
        let lower = first.to_lowercase();
        text.replace_range(..1, &lower);
    }
}

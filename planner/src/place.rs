//! Turns DataFusion's planning errors into errors with a place, the offending text and a hint.

use datafusion_common::{DataFusionError, Diagnostic, SchemaError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Location, SqlError, SqlErrorKind, nearest};
use crate::locate::{find_call, find_name, find_word};

/// Finds what an error is about and where that stands in the statement.
pub(crate) fn place(error: DataFusionError, tokens: &[TokenWithSpan]) -> SqlError {
    let span = diagnostic_place(&error);
    let mut placed = match unwrap(error) {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(error) => *error,
            Err(inner) => SqlError::planning(inner.to_string()),
        },
        DataFusionError::SchemaError(error, _) => schema_error(*error, tokens),
        DataFusionError::Plan(message) => plan_error(&message, tokens),
        DataFusionError::NotImplemented(message) => SqlError::unsupported(tidy(&message)),
        DataFusionError::SQL(error, _) => SqlError::new(SqlErrorKind::Syntax, tidy(&error.to_string())),
        DataFusionError::ArrowError(error, _) => SqlError::new(SqlErrorKind::Type, tidy(&error.to_string())),
        DataFusionError::Execution(message) => SqlError::new(SqlErrorKind::Type, tidy(&message)),
        other => SqlError::planning(tidy(&other.strip_backtrace())),
    };
    if placed.location.is_none() {
        placed.location = placed
            .text
            .as_deref()
            .filter(|text| !text.is_empty())
            .and_then(|text| find_word(tokens, text))
            .or(span)
            .or_else(|| quoted_in(&placed.message, tokens))
            .or_else(|| {
                tokens
                    .first()
                    .and_then(|token| Location::from_parser(token.span.start))
            });
    }
    if placed.text.is_none() {
        placed.text = placed.location.and_then(|location| text_at(location, tokens));
    }
    placed
}

/// Takes off what only wraps an error.
fn unwrap(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => unwrap(*inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => unwrap(errors.swap_remove(0)),
        DataFusionError::External(inner) => match inner.downcast::<DataFusionError>() {
            Ok(inner) => unwrap(*inner),
            Err(inner) => DataFusionError::External(inner),
        },
        DataFusionError::ArrowError(inner, text) => match *inner {
            arrow_schema::ArrowError::ExternalError(inner) => unwrap(DataFusionError::External(inner)),
            other => DataFusionError::ArrowError(Box::new(other), text),
        },
        other => other,
    }
}

fn diagnostic_place(error: &DataFusionError) -> Option<Location> {
    let diagnostic: &Diagnostic = error.diagnostic()?;
    let start = diagnostic.span?.start;
    Some(Location {
        line: start.line,
        column: start.column,
    })
}

fn schema_error(error: SchemaError, tokens: &[TokenWithSpan]) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let qualifier = field
                .relation
                .as_ref()
                .map(|relation| relation.table().to_string());
            let shown = field.flat_name();
            let place = find_name(tokens, qualifier.as_deref(), &field.name);
            let error = SqlError::new(SqlErrorKind::UnknownName, format!("there is no column '{shown}'"))
                .at(place, &shown);
            let known_qualifier = qualifier.as_deref().is_none_or(|qualifier| {
                valid_fields.iter().any(|valid| {
                    valid
                        .relation
                        .as_ref()
                        .is_some_and(|relation| relation.table() == qualifier)
                })
            });
            if !known_qualifier && let Some(qualifier) = &qualifier {
                let qualifiers: Vec<_> = valid_fields
                    .iter()
                    .filter_map(|valid| {
                        valid
                            .relation
                            .as_ref()
                            .map(|relation| relation.table().to_string())
                    })
                    .collect();
                let error = SqlError {
                    message: format!("there is no relation or alias '{qualifier}' in this query"),
                    ..error
                };
                return match nearest(qualifier, qualifiers.iter().map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean '{near}'?")),
                    None => error,
                };
            }
            let in_scope = valid_fields.iter().filter(|valid| {
                qualifier.as_deref().is_none_or(|qualifier| {
                    valid
                        .relation
                        .as_ref()
                        .is_some_and(|relation| relation.table() == qualifier)
                })
            });
            let names: Vec<_> = in_scope
                .map(|valid| (valid.name.clone(), valid.flat_name()))
                .collect();
            match nearest(&field.name, names.iter().map(|(name, _)| name.as_str())) {
                Some(near) => {
                    let full = names
                        .iter()
                        .find(|(name, _)| name == near)
                        .map_or(near, |(_, full)| full);
                    let quote = if near.chars().any(char::is_uppercase) {
                        " (upper case needs double quotes)"
                    } else {
                        ""
                    };
                    error.hint(format!("did you mean '{full}'?{quote}"))
                }
                None if names.is_empty() || names.len() > 20 => error,
                None => {
                    let list = names
                        .iter()
                        .map(|(name, _)| name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ");
                    error.hint(format!("there are {list}"))
                }
            }
        }
        SchemaError::AmbiguousReference { field } => {
            let place = find_name(tokens, None, &field.name);
            SqlError::new(
                SqlErrorKind::Ambiguous,
                format!(
                    "column '{}' is in more than one relation of this query",
                    field.name
                ),
            )
            .at(place, &field.name)
            .hint(format!("say which, as in t.{}", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::new(SqlErrorKind::Ambiguous, format!("column '{name}' occurs twice"))
                .at(find_name(tokens, None, &name), &name)
                .hint(format!("name one of them otherwise, as in {name} AS {name}_2"))
        }
    }
}

fn plan_error(message: &str, tokens: &[TokenWithSpan]) -> SqlError {
    if let Some(rest) = message.strip_prefix("Invalid function '")
        && let Some((name, rest)) = rest.split_once('\'')
    {
        let error = SqlError::new(
            SqlErrorKind::UnknownName,
            format!("there is no function '{name}'"),
        )
        .at(find_call(tokens, name), name);
        let near = rest
            .split_once("Did you mean '")
            .and_then(|(_, near)| near.split('\'').next());
        return match near {
            Some(near) if nearest(name, [near].into_iter()).is_some() => {
                error.hint(format!("did you mean '{near}'?"))
            }
            _ => error.hint("SHOW FUNCTIONS lists what there is"),
        };
    }
    let kind = if message.contains("coerc") || message.contains("type") {
        SqlErrorKind::Type
    } else {
        SqlErrorKind::Planning
    };
    let mut error = SqlError::new(kind, tidy(message));
    // Function signature errors name the function: `Failed to coerce arguments … 'abs' function`.
    if let Some((_, rest)) = message.split_once("call to '")
        && let Some((name, _)) = rest.split_once('(')
    {
        error = error.at(find_call(tokens, name), name);
    }
    error
}

/// Makes a one-line, lower-case message.
fn tidy(message: &str) -> String {
    let mut text = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "SQL error: ",
        "Optimizer rule ",
    ] {
        if let Some(rest) = text.strip_prefix(prefix) {
            text = rest.to_string();
        }
    }
    if let Some(at) = text.find("This issue was likely caused by a bug in DataFusion") {
        text.truncate(at);
    }
    let text = text.trim_end_matches([' ', '.']).to_string();
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text,
    }
}

/// Finds the first word of a message that also stands in the statement as a name.
fn quoted_in(message: &str, tokens: &[TokenWithSpan]) -> Option<Location> {
    message
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| word.len() > 1 && !word.chars().all(|c| c.is_ascii_digit()))
        .find_map(|word| {
            tokens
                .iter()
                .find(|token| {
                    matches!(&token.token, Token::Word(w)
                        if w.value == word && w.keyword == sqlparser::keywords::Keyword::NoKeyword)
                })
                .and_then(|token| Location::from_parser(token.span.start))
        })
}

fn text_at(location: Location, tokens: &[TokenWithSpan]) -> Option<String> {
    tokens
        .iter()
        .find(|token| Location::from_parser(token.span.start) == Some(location))
        .map(|token| token.token.to_string())
}

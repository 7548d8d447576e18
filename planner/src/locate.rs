//! Finds the place of a name in a statement's tokens.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::Location;

/// Returns where a word, quoted or not and without regard to case, or a text first stands.
pub(crate) fn find_word(tokens: &[TokenWithSpan], word: &str) -> Option<Location> {
    tokens
        .iter()
        .find(|token| match &token.token {
            Token::Word(w) => w.value.eq_ignore_ascii_case(word),
            Token::SingleQuotedString(text) => text == word,
            _ => false,
        })
        .and_then(|token| Location::from_parser(token.span.start))
}

/// Returns where `qualifier.name` or, without a qualifier, a bare `name` first stands; failing
/// that, where `name` does.
pub(crate) fn find_name(tokens: &[TokenWithSpan], qualifier: Option<&str>, name: &str) -> Option<Location> {
    let is = |at: usize, text: &str| matches!(tokens.get(at).map(|t| &t.token), Some(Token::Word(w)) if w.value.eq_ignore_ascii_case(text));
    let is_dot = |at: usize| matches!(tokens.get(at).map(|t| &t.token), Some(Token::Period));
    let found = (0..tokens.len()).find(|&at| match qualifier {
        Some(qualifier) => is(at, qualifier) && is_dot(at + 1) && is(at + 2, name),
        None => is(at, name) && (at == 0 || !is_dot(at - 1)) && !is_dot(at + 1),
    });
    match found {
        Some(at) => Location::from_parser(tokens[at].span.start),
        None => find_word(tokens, name),
    }
}

/// Returns where `name(` first stands.
pub(crate) fn find_call(tokens: &[TokenWithSpan], name: &str) -> Option<Location> {
    tokens
        .windows(2)
        .find(|pair| {
            matches!(&pair[0].token, Token::Word(w) if w.value.eq_ignore_ascii_case(name))
                && pair[1].token == Token::LParen
        })
        .and_then(|pair| Location::from_parser(pair[0].span.start))
        .or_else(|| find_word(tokens, name))
}

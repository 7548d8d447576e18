//! The token pass: every spelling of an as-of join as the one that sqlparser reads.
//!
//! ```text
//!   ASOF [INNER] JOIN q MATCH_CONDITION (c) …   ─▶  ASOF JOIN q MATCH_CONDITION (c) …
//!   ASOF LEFT [OUTER] JOIN q MATCH_CONDITION (c) …
//!   LEFT [OUTER] ASOF JOIN q MATCH_CONDITION (c) …  ─▶  ASOF JOIN q MATCH_CONDITION (__as_of_left(c)) …
//!   ASOF JOIN q ON e                            ─▶  ASOF JOIN q MATCH_CONDITION (__as_of_on) ON e
//! ```

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Location, SqlError, SqlErrorKind};
use crate::parse::is_word;

/// Wraps the condition of a LEFT as-of join.
pub(super) const LEFT: &str = "__as_of_left";

/// Stands for the condition of an as-of join that has it among those of ON.
pub(super) const IN_ON: &str = "__as_of_on";

/// Words that may stand before JOIN with ASOF, and what they make of it.
const INNER_WORDS: &[&str] = &["INNER"];
const LEFT_WORDS: &[&str] = &["LEFT", "OUTER"];
const OTHER_WORDS: &[&str] = &["RIGHT", "FULL", "CROSS", "SEMI", "ANTI", "NATURAL"];

/// Rewrites the as-of joins among a statement's tokens.
///
/// # Errors
/// Fails where one is of a kind that is not supported, or has no condition on time.
pub(crate) fn spell_as_of(tokens: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>, SqlError> {
    let mut spelt: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut wraps: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let words_after = join_words(&tokens[at + 1..]);
        let Some(words_after) = words_after.filter(|_| is_word(&token.token, "ASOF")) else {
            if wraps.last() == Some(&at) {
                // The end of a LEFT join's condition.
                spelt.push(like(token, ")"));
                wraps.pop();
            }
            spelt.push(token.clone());
            at += 1;
            continue;
        };
        let words_before = spelt
            .iter()
            .rev()
            .take_while(|token| is_kind_word(&token.token))
            .count();
        let before = spelt.split_off(spelt.len() - words_before);
        let kinds: Vec<&TokenWithSpan> = before.iter().chain(&tokens[at + 1..=at + words_after]).collect();
        let is_left = is_left(&kinds)?;
        let join = at + words_after + 1;
        spelt.extend([token.clone(), tokens[join].clone()]);
        let condition = find_condition(tokens, join + 1).ok_or_else(|| without_condition(token))?;
        let is_match = is_word(&tokens[condition].token, "MATCH_CONDITION");
        // What stands before the condition may hold as-of joins of its own.
        spelt.extend(spell_as_of(&tokens[join + 1..condition])?);
        let here = &tokens[condition];
        if !is_match {
            if is_word(&here.token, "USING") {
                return Err(without_condition(here));
            }
            let words: &[&str] = if is_left {
                &["MATCH_CONDITION", "(", LEFT, "(", IN_ON, ")", ")"]
            } else {
                &["MATCH_CONDITION", "(", IN_ON, ")"]
            };
            spelt.extend(words.iter().map(|word| like(here, word)));
            at = condition;
            continue;
        }
        spelt.push(here.clone());
        at = condition + 1;
        if is_left && let Some(end) = closing(tokens, at) {
            spelt.extend([like(here, "("), like(here, LEFT)]);
            wraps.push(end);
        }
    }
    Ok(spelt)
}

/// Returns how many words of a join's kind stand before JOIN; none where this is no join.
fn join_words(tokens: &[TokenWithSpan]) -> Option<usize> {
    let words = tokens
        .iter()
        .take_while(|token| is_kind_word(&token.token))
        .count();
    let join = tokens.get(words)?;
    is_word(&join.token, "JOIN").then_some(words)
}

fn is_kind_word(token: &Token) -> bool {
    [INNER_WORDS, LEFT_WORDS, OTHER_WORDS]
        .into_iter()
        .flatten()
        .any(|word| is_word(token, word))
}

/// Says whether the words make it a LEFT join.
fn is_left(words: &[&TokenWithSpan]) -> Result<bool, SqlError> {
    let has = |word: &str| words.iter().any(|token| is_word(&token.token, word));
    let is_known = |token: &Token| {
        let known = INNER_WORDS.iter().chain(LEFT_WORDS);
        known.into_iter().any(|word| is_word(token, word))
    };
    let odd = match words.iter().find(|token| !is_known(&token.token)) {
        Some(other) => Some(other),
        None if has("LEFT") && has("INNER") => words.first(),
        None if has("OUTER") && !has("LEFT") => words.first(),
        None => None,
    };
    match odd {
        None => Ok(has("LEFT")),
        Some(token) => {
            let word = token.token.to_string();
            let what = format!("an as-of join cannot be {}", word.to_uppercase());
            Err(SqlError::unsupported(what)
                .at(Location::from_parser(token.span.start), word)
                .hint("ASOF JOIN keeps the rows that have a match, ASOF LEFT JOIN keeps all"))
        }
    }
}

/// Finds MATCH_CONDITION, ON or USING of the join whose relation begins at `from`.
fn find_condition(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    const ENDS: &[&str] = &["JOIN", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION"];
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.checked_sub(1)?,
            Token::Comma if depth == 0 => return None,
            token if depth == 0 => {
                if ["MATCH_CONDITION", "ON", "USING"]
                    .iter()
                    .any(|word| is_word(token, word))
                {
                    return Some(at);
                }
                if ENDS.iter().any(|word| is_word(token, word)) {
                    return None;
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns where the parenthesis that opens at `open` closes.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn without_condition(token: &TokenWithSpan) -> SqlError {
    let message = "an as-of join needs a condition on time";
    SqlError::new(SqlErrorKind::Syntax, message)
        .at(Location::from_parser(token.span.start), token.token.to_string())
        .hint("as in t ASOF JOIN q MATCH_CONDITION (t.ts >= q.ts) ON t.symbol = q.symbol")
}

/// Makes a token that stands where another does.
fn like(token: &TokenWithSpan, text: &str) -> TokenWithSpan {
    let made = match text {
        "(" => Token::LParen,
        ")" => Token::RParen,
        word => Token::make_word(word, None),
    };
    TokenWithSpan {
        token: made,
        span: token.span,
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::tokenizer::{Token, Tokenizer};

    use super::spell_as_of;
    use crate::dialect::FletchingDialect;
    use crate::error::SqlError;

    fn spell(sql: &str) -> Result<String, SqlError> {
        let dialect = FletchingDialect::default();
        let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().unwrap();
        let tokens: Vec<_> = tokens
            .into_iter()
            .filter(|token| !matches!(token.token, Token::Whitespace(_)))
            .collect();
        let words = spell_as_of(&tokens)?;
        Ok(words
            .iter()
            .map(|token| token.token.to_string())
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn every_spelling_becomes_one() {
        let inner = "t ASOF JOIN q MATCH_CONDITION ( a >= b ) ON k = l";
        let left = "t ASOF JOIN q MATCH_CONDITION ( __as_of_left ( a >= b ) ) ON k = l";
        for (sql, spelt) in [
            ("t ASOF JOIN q MATCH_CONDITION (a >= b) ON k = l", inner),
            ("t ASOF INNER JOIN q MATCH_CONDITION (a >= b) ON k = l", inner),
            ("t INNER ASOF JOIN q MATCH_CONDITION (a >= b) ON k = l", inner),
            ("t ASOF LEFT JOIN q MATCH_CONDITION (a >= b) ON k = l", left),
            ("t LEFT ASOF JOIN q MATCH_CONDITION (a >= b) ON k = l", left),
            ("t ASOF LEFT OUTER JOIN q MATCH_CONDITION (a >= b) ON k = l", left),
            (
                "t ASOF LEFT JOIN q ON k = l AND a >= b",
                "t ASOF JOIN q MATCH_CONDITION ( __as_of_left ( __as_of_on ) ) ON k = l AND a >= b",
            ),
            (
                "t ASOF JOIN (SELECT x FROM y ASOF JOIN z ON 1) AS q ON k = l",
                "t ASOF JOIN ( SELECT x FROM y ASOF JOIN z MATCH_CONDITION ( __as_of_on ) ON 1 ) AS q \
                 MATCH_CONDITION ( __as_of_on ) ON k = l",
            ),
            (
                "t ASOF LEFT JOIN q MATCH_CONDITION (f(a) >= b) ASOF JOIN r MATCH_CONDITION (c > d)",
                "t ASOF JOIN q MATCH_CONDITION ( __as_of_left ( f ( a ) >= b ) ) \
                 ASOF JOIN r MATCH_CONDITION ( c > d )",
            ),
            ("SELECT asof FROM t", "SELECT asof FROM t"),
        ] {
            assert_eq!(spell(sql).unwrap(), spelt, "{sql}");
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let error = |sql| spell(sql).unwrap_err().to_string();
        assert!(error("t ASOF RIGHT JOIN q ON a > b").contains("cannot be RIGHT (line 1, column 8)"));
        assert!(error("t FULL ASOF JOIN q ON a > b").contains("cannot be FULL (line 1, column 3)"));
        assert!(error("t ASOF JOIN q WHERE a > b").contains("needs a condition on time (line 1, column 3)"));
        assert!(error("t ASOF JOIN q USING (k)").contains("needs a condition on time (line 1, column 15)"));
    }
}

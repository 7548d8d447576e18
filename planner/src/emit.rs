//! `EMIT CHANGES`: the rows of streams that do not end, as they come.
//!
//! Stock SQL has no word for it; others who query streams write it at the end of a query, before its LIMIT.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::parse::is_word;

/// Takes `EMIT CHANGES` off the end of a statement, or from before its LIMIT; returns whether it was there.
/// Anything else that begins with EMIT is left where it is, to be refused with its place.
pub(crate) fn cut_emit(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let mut depth = 0_usize;
    let mut found = None;
    for (at, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            word if depth == 0 && at > 0 && is_word(word, "EMIT") => found = Some(at),
            _ => {}
        }
    }
    let Some(at) = found else {
        return false;
    };
    let word = |at: usize, word: &str| {
        let token = tokens.get(at);
        token.is_some_and(|token| is_word(&token.token, word))
    };
    let is_last = tokens.len() == at + 2 || word(at + 2, "LIMIT");
    if !word(at + 1, "CHANGES") || !is_last {
        return false;
    }
    tokens.drain(at..at + 2);
    true
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;

    #[test]
    fn it_is_taken_off_the_end_and_from_before_a_limit() {
        let emits = |text: &str| {
            let parsed = parse(text).unwrap();
            (parsed[0].emits_changes(), parsed[0].without_limit().unwrap().1)
        };
        assert_eq!(emits("SELECT a FROM t emit changes"), (true, None));
        assert_eq!(emits("SELECT a FROM t x EMIT CHANGES LIMIT 3"), (true, Some(3)));
        assert_eq!(emits("SELECT a FROM t LIMIT 3 EMIT CHANGES"), (true, Some(3)));
        assert_eq!(
            emits("CREATE SINK s WITH (path = 'x/') AS SELECT a FROM t WHERE b > 1 EMIT CHANGES"),
            (true, None)
        );
        assert_eq!(emits("SELECT emit FROM t"), (false, None));
        assert_eq!(emits("SELECT emit AS changes FROM t"), (false, None));
    }

    #[test]
    fn anything_else_is_refused_where_it_stands() {
        for text in [
            "SELECT a FROM t EMIT FINAL",
            "SELECT a FROM t EMIT CHANGES WHERE a > 1",
            "SELECT a FROM (SELECT a FROM t EMIT CHANGES)",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("SELECT a FROM t EMIT FINAL").unwrap_err().to_string();
        assert_eq!(
            error,
            "expected the end of the statement, found 'EMIT' (line 1, column 17); say EMIT CHANGES at the end \
             of the query or before its LIMIT: rows are then given as they come"
        );
    }
}

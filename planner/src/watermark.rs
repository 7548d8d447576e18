//! `WATERMARK FOR ts AS ts - INTERVAL '5' SECOND` among the columns of a stream: taken out of the
//! tokens before the parser, which does not know it, sees them.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Location, SqlError, SqlErrorKind};
use crate::parse::is_word;

/// The event time of a stream: its column, and how much later than its successors a record may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The column.
    pub column: String,
    /// The delay, in microseconds.
    pub delay_us: i64,
    /// Where the clause names the column.
    pub location: Option<Location>,
}

/// Takes the clause out of a statement's tokens, where there is one.
pub(crate) fn cut(
    mut tokens: Vec<TokenWithSpan>,
) -> Result<(Vec<TokenWithSpan>, Option<Watermark>), SqlError> {
    let word = |at: usize, text: &str| tokens.get(at).is_some_and(|token| is_word(&token.token, text));
    let Some(first) = (1..tokens.len()).find(|&at| {
        word(at, "WATERMARK")
            && word(at + 1, "FOR")
            && matches!(tokens[at - 1].token, Token::Comma | Token::LParen)
    }) else {
        return Ok((tokens, None));
    };
    let end = end_of(&tokens, first);
    let watermark = read(&tokens[first..end])?;
    let is_alone = tokens[first - 1].token == Token::LParen;
    let ends_list = tokens.get(end).is_some_and(|token| token.token == Token::RParen);
    let cut = match (is_alone, ends_list) {
        // Nothing else is declared: the columns are those of the source.
        (true, true) => first - 1..end + 1,
        (true, false) => first..end + 1,
        (false, _) => first - 1..end,
    };
    tokens.drain(cut);
    if let Some(second) = (1..tokens.len()).find(|&at| {
        is_word(&tokens[at].token, "WATERMARK")
            && tokens.get(at + 1).is_some_and(|t| is_word(&t.token, "FOR"))
    }) {
        return Err(
            SqlError::planning("a stream has one watermark, and this is the second")
                .at(Location::from_parser(tokens[second].span.start), "WATERMARK"),
        );
    }
    Ok((tokens, Some(watermark)))
}

/// Returns where the clause ends: at the comma or parenthesis that is not its own.
fn end_of(tokens: &[TokenWithSpan], first: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(first) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return at,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 0 => return at,
            _ => {}
        }
    }
    tokens.len()
}

const FORM: &str = "expected WATERMARK FOR column AS column - INTERVAL '5' SECOND";

fn read(clause: &[TokenWithSpan]) -> Result<Watermark, SqlError> {
    let wrong = |at: usize, message: String| {
        let token = clause.get(at).or(clause.last());
        let location = token.and_then(|token| Location::from_parser(token.span.start));
        let text = token.map_or_else(String::new, |token| token.token.to_string());
        SqlError::new(SqlErrorKind::Syntax, message).at(location, text)
    };
    let name = |at: usize| match clause.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) => Some(match word.quote_style {
            Some(_) => word.value.clone(),
            None => word.value.to_lowercase(),
        }),
        _ => None,
    };
    let Some(column) = name(2) else {
        return Err(wrong(2, FORM.into()));
    };
    if !clause.get(3).is_some_and(|token| is_word(&token.token, "AS")) {
        return Err(wrong(3, FORM.into()));
    }
    if name(4).as_ref() != Some(&column) {
        return Err(wrong(4, format!("{FORM}: both columns are the same")));
    }
    let delay_us = match clause.get(5..).unwrap_or_default() {
        [] => 0,
        [minus, interval, rest @ ..]
            if minus.token == Token::Minus && is_word(&interval.token, "INTERVAL") =>
        {
            delay(rest).ok_or_else(|| wrong(7, format!("{FORM}, or INTERVAL '500 milliseconds'")))?
        }
        _ => return Err(wrong(5, FORM.into())),
    };
    Ok(Watermark {
        column,
        delay_us,
        location: clause
            .get(2)
            .and_then(|token| Location::from_parser(token.span.start)),
    })
}

/// Reads `'5' SECOND` and `'5 seconds'`.
fn delay(tokens: &[TokenWithSpan]) -> Option<i64> {
    let Token::SingleQuotedString(text) = &tokens.first()?.token else {
        return None;
    };
    let (number, unit) = match tokens {
        [_] => {
            let text = text.trim();
            let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            (text[..split].to_string(), text[split..].trim().to_string())
        }
        [_, unit] => (text.trim().to_string(), unit.token.to_string()),
        _ => return None,
    };
    let unit_us = match unit.to_lowercase().trim_end_matches('s') {
        "microsecond" | "u" => 1_f64,
        "millisecond" | "m" => 1e3,
        "second" | "sec" | "" => 1e6,
        "minute" | "min" => 60e6,
        "hour" | "h" => 3600e6,
        "day" | "d" => 86_400e6,
        _ => return None,
    };
    let delay = number.parse::<f64>().ok()? * unit_us;
    // Up to 2^53 microseconds, which is 285 years, a double is exact.
    #[expect(clippy::cast_possible_truncation, reason = "it is checked to be small enough")]
    (0.0..9e15).contains(&delay).then_some(delay.round() as i64)
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::GenericDialect;
    use sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn cut_text(text: &str) -> Result<(String, Option<Watermark>), SqlError> {
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
        let mut tokens = tokens.unwrap();
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        let (left, watermark) = cut(tokens)?;
        let left: Vec<_> = left.iter().map(|token| token.token.to_string()).collect();
        Ok((left.join(" "), watermark))
    }

    #[test]
    fn the_clause_is_taken_out_wherever_it_stands() {
        let clause = "WATERMARK FOR Ts AS ts - INTERVAL '5' SECOND";
        let cases = [
            (
                format!("CREATE STREAM s (a INT, {clause})"),
                "CREATE STREAM s ( a INT )",
            ),
            (
                format!("CREATE STREAM s ({clause}, a INT)"),
                "CREATE STREAM s ( a INT )",
            ),
            (
                format!("CREATE STREAM s (a INT, {clause}, b INT)"),
                "CREATE STREAM s ( a INT , b INT )",
            ),
            (
                format!("CREATE STREAM s ({clause}) WITH (x = 1)"),
                "CREATE STREAM s WITH ( x = 1 )",
            ),
        ];
        for (text, left) in cases {
            let (found, watermark) = cut_text(&text).unwrap();
            let watermark = watermark.unwrap();
            assert_eq!(found, left);
            assert_eq!((watermark.column.as_str(), watermark.delay_us), ("ts", 5_000_000));
        }
        assert_eq!(cut_text("CREATE STREAM s (watermark INT)").unwrap().1, None);
    }

    #[test]
    fn delays_have_units() {
        let delay = |text: &str| {
            let text = format!("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS ts{text})");
            cut_text(&text).map(|(_, watermark)| watermark.unwrap().delay_us)
        };
        assert_eq!(delay(""), Ok(0));
        assert_eq!(delay(" - INTERVAL '500 milliseconds'"), Ok(500_000));
        assert_eq!(delay(" - INTERVAL '1.5' MINUTE"), Ok(90_000_000));
        for wrong in [
            " - INTERVAL '5' LIGHTYEAR",
            " + INTERVAL '5' SECOND",
            " - 5",
            " - INTERVAL 5 SECOND",
        ] {
            delay(wrong).unwrap_err();
        }
        let error = cut_text("CREATE STREAM s (WATERMARK FOR ts AS tt)").unwrap_err();
        assert!(error.to_string().contains("line 1, column 38"), "{error}");
    }
}

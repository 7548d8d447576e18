//! Names of `WITH (…)` options that have dots, as the parser is to see them.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::parse::is_word;

/// Makes `a.b.c = …` in `WITH (…)` one name, as `'a.b.c' = …` is.
pub(crate) fn join_option_names(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut joined: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let (mut inside, mut depth) = (false, 0_usize);
    for token in tokens {
        match &token.token {
            Token::LParen if inside => depth += 1,
            Token::LParen if joined.last().is_some_and(|last| is_word(&last.token, "WITH")) => {
                (inside, depth) = (true, 1);
            }
            Token::RParen if inside => {
                depth -= 1;
                inside = depth > 0;
            }
            Token::Word(part) if inside && depth == 1 => {
                if let [
                    ..,
                    TokenWithSpan {
                        token: Token::Word(name),
                        ..
                    },
                    dot,
                ] = joined.as_mut_slice()
                    && dot.token == Token::Period
                {
                    name.value = format!("{}.{}", name.value, part.value);
                    name.quote_style = Some('"');
                    joined.pop();
                    continue;
                }
            }
            _ => {}
        }
        joined.push(token);
    }
    joined
}

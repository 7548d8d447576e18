//! What a pipeline that goes on needs to know of its statement: the LIMIT that ends it, and what
//! tells it apart from another.

use sqlparser::ast::{self, Expr, LimitClause, Query, Value};

use crate::error::SqlError;
use crate::locate::find_word;
use crate::parse::{Ast, ParsedStatement};
use crate::secrets::is_secret;

impl ParsedStatement {
    /// Takes the LIMIT off a query, or that of `CREATE … AS SELECT … LIMIT n`: over an unbounded stream it
    /// says after how many rows the pipeline ends, which is no part of the plan.
    ///
    /// # Errors
    /// Fails where the query has an OFFSET or FETCH, or its LIMIT is not a whole number.
    ///
    /// ```
    /// let parsed = fletching_planner::parse("CREATE SINK s WITH (path = 'x/') AS SELECT 1 LIMIT 5")?;
    /// assert_eq!(parsed[0].without_limit()?.1, Some(5));
    /// # Ok::<(), fletching_planner::SqlError>(())
    /// ```
    pub fn without_limit(&self) -> Result<(Self, Option<u64>), SqlError> {
        let mut statement = self.clone();
        let limit = match &mut statement.ast {
            Ast::Create { table, .. } => match &mut table.query {
                Some(query) => take_limit(query),
                None => Ok(None),
            },
            Ast::Sql(statement) => match &mut **statement {
                ast::Statement::Query(query) => take_limit(query),
                _ => Ok(None),
            },
            _ => Ok(None),
        };
        let limit = limit.map_err(|(what, word)| {
            SqlError::unsupported(format!("{what} over an unbounded stream is not supported"))
                .at(find_word(&self.tokens, word), word)
                .hint("say LIMIT and a whole number, or leave it out")
        })?;
        Ok((statement, limit))
    }

    /// Returns a number that is the same for the same words, however they are spaced. Stable
    /// between versions of this program: FNV-1a over the tokens. Secrets do not count: a pipeline with
    /// a new password is the same one.
    ///
    /// ```
    /// let parsed = fletching_planner::parse("SELECT 1;  SELECT\n1; SELECT 2")?;
    /// assert_eq!(parsed[0].fingerprint(), parsed[1].fingerprint());
    /// assert_ne!(parsed[0].fingerprint(), parsed[2].fingerprint());
    /// # Ok::<(), fletching_planner::SqlError>(())
    /// ```
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let words = self.tokens.iter().map(|token| token.token.to_string());
        let words: Vec<String> = words.collect();
        for (at, word) in words.iter().enumerate() {
            let is_value = at >= 2 && words[at - 1] == "=" && word.starts_with('\'');
            let word = match is_value && is_secret(words[at - 2].trim_matches(['\'', '"'])) {
                true => "'*'",
                false => word.as_str(),
            };
            for byte in word.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    }
}

/// Takes a query's LIMIT; fails with what it has instead, and the word that begins it.
fn take_limit(query: &mut Query) -> Result<Option<u64>, (&'static str, &'static str)> {
    if query.fetch.is_some() {
        return Err(("FETCH", "FETCH"));
    }
    match query.limit_clause.take() {
        None => Ok(None),
        Some(LimitClause::LimitOffset {
            limit,
            offset: None,
            limit_by,
        }) if limit_by.is_empty() => match limit {
            None => Ok(None),
            Some(Expr::Value(value)) => match value.value {
                Value::Number(text, _) => text.parse().map(Some).map_err(|_| ("this LIMIT", "LIMIT")),
                _ => Err(("this LIMIT", "LIMIT")),
            },
            Some(_) => Err(("an expression as LIMIT", "LIMIT")),
        },
        Some(_) => Err(("OFFSET", "OFFSET")),
    }
}

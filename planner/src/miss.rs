//! What becomes of a row whose key a table does not have, and the hint that says so for one query.

use std::collections::BTreeMap;
use std::fmt;

use fletching_kernels::JoinKind;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::dialect::FletchingDialect;
use crate::error::{Location, SqlError, SqlErrorKind, nearest};
use crate::parse::is_word;
use crate::planner::normalize_word;

/// What becomes of a stream row that a lookup finds no row for, where SQL's own answer (INNER
/// drops, LEFT pads) is not what is wanted.
///
/// ```
/// use fletching_planner::MissPolicy;
///
/// assert_eq!(MissPolicy::of_word("dead_letter"), Some(MissPolicy::DeadLetter));
/// assert_eq!(MissPolicy::Null.word(), "null");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissPolicy {
    /// The row stays; the table's columns are NULL.
    Null,
    /// The row is left out.
    Drop,
    /// The run fails.
    Error,
    /// The row stays; the table's columns have the values that its options give.
    Default,
    /// The row goes to a sink, and is left out of the result.
    DeadLetter,
    /// The row is parked until the key arrives, or for so long.
    Wait,
}

impl MissPolicy {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Null,
        Self::Drop,
        Self::Error,
        Self::Default,
        Self::DeadLetter,
        Self::Wait,
    ];

    /// Returns the word that options and hints use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Drop => "drop",
            Self::Error => "error",
            Self::Default => "default",
            Self::DeadLetter => "dead_letter",
            Self::Wait => "wait",
        }
    }

    /// Returns the policy of a word, in any case.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|policy| policy.word().eq_ignore_ascii_case(word))
    }
}

/// A policy with what follows it.
///
/// ```
/// use fletching_planner::{MissPolicy, OnMiss};
///
/// let wait = OnMiss { policy: MissPolicy::Wait, then: Some(MissPolicy::Drop) };
/// assert_eq!(wait.settled(), Some(MissPolicy::Drop));
/// assert_eq!(wait.to_string(), "wait then drop");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OnMiss {
    /// What is done.
    pub policy: MissPolicy,
    /// What is done with a row that has waited in vain; none for SQL's own answer.
    pub then: Option<MissPolicy>,
}

impl OnMiss {
    /// Returns what is done with a row that waits no longer; none for SQL's own answer.
    pub fn settled(self) -> Option<MissPolicy> {
        match self.policy {
            MissPolicy::Wait => self.then,
            policy => Some(policy),
        }
    }

    /// Returns how a join of this kind pairs rows under the policy.
    pub(crate) fn kind(self, kind: JoinKind) -> JoinKind {
        match (kind, self.settled()) {
            (JoinKind::Inner, Some(MissPolicy::Null | MissPolicy::Default)) => JoinKind::Left,
            (JoinKind::Left, Some(MissPolicy::Drop | MissPolicy::DeadLetter)) => JoinKind::Inner,
            _ => kind,
        }
    }
}

impl fmt::Display for OnMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.policy.word())?;
        match self.then {
            Some(then) if self.policy == MissPolicy::Wait => write!(f, " then {}", then.word()),
            _ => Ok(()),
        }
    }
}

/// A hint `/*+ ON_MISS(alias, 'policy') */`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissHint {
    pub(crate) policy: MissPolicy,
    pub(crate) location: Option<Location>,
}

/// The hints of a statement by the alias they name.
pub(crate) type MissHints = BTreeMap<String, MissHint>;

/// Reads the hints among a statement's tokens, whitespace included.
///
/// # Errors
/// Fails on a hint that does not follow SELECT, is not known, or names one table twice.
pub(crate) fn hints_of(tokens: &[TokenWithSpan]) -> Result<MissHints, SqlError> {
    let mut hints = MissHints::new();
    let mut before: Option<&Token> = None;
    for token in tokens {
        match &token.token {
            Token::Whitespace(Whitespace::MultiLineComment(text)) => {
                if let Some(text) = text.strip_prefix('+') {
                    let location = Location::from_parser(token.span.start);
                    if !before.is_some_and(|token| is_word(token, "SELECT")) {
                        return Err(
                            SqlError::new(SqlErrorKind::Syntax, "a hint stands right after SELECT")
                                .at(location, "/*+")
                                .hint("as in SELECT /*+ ON_MISS(u, 'null') */ t.id, u.tier FROM …"),
                        );
                    }
                    read_hints(text, location, &mut hints)?;
                }
            }
            Token::Whitespace(_) => {}
            other => before = Some(other),
        }
    }
    Ok(hints)
}

/// Reads what stands in one hint comment: `NAME(argument, …) NAME(…) …`.
fn read_hints(text: &str, location: Option<Location>, hints: &mut MissHints) -> Result<(), SqlError> {
    let wrong = |what: String| {
        SqlError::new(SqlErrorKind::Syntax, what)
            .at(location, "/*+")
            .hint("hints are written ON_MISS(alias, 'policy')")
    };
    let dialect = FletchingDialect::default();
    let tokens: Vec<Token> = Tokenizer::new(&dialect, text)
        .tokenize()
        .map_err(|error| wrong(format!("a hint cannot be read: {}", error.message)))?
        .into_iter()
        .filter(|token| !matches!(token, Token::Whitespace(_) | Token::Comma))
        .collect();
    let mut rest = tokens.as_slice();
    while let [first, after @ ..] = rest {
        if !is_word(first, "ON_MISS") {
            let name = first.to_string();
            let error = wrong(format!("there is no hint '{name}'"));
            return Err(match nearest(&name, ["ON_MISS"].into_iter()) {
                Some(near) => error.hint(format!("did you mean {near}(alias, 'policy')?")),
                None => error,
            });
        }
        let [
            Token::LParen,
            Token::Word(alias),
            Token::SingleQuotedString(word),
            Token::RParen,
            left @ ..,
        ] = after
        else {
            return Err(wrong("expected ON_MISS(alias, 'policy')".into()));
        };
        let Some(policy) = MissPolicy::of_word(word) else {
            let words: Vec<_> = MissPolicy::ALL.iter().map(|policy| policy.word()).collect();
            let error = wrong(format!(
                "ON_MISS: expected one of '{}', found '{word}'",
                words.join("', '")
            ));
            return Err(match nearest(word, words.into_iter()) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error,
            });
        };
        let alias = normalize_word(alias);
        if hints
            .insert(alias.clone(), MissHint { policy, location })
            .is_some()
        {
            return Err(wrong(format!("two hints say ON_MISS for '{alias}'")));
        }
        rest = left;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(sql: &str) -> Result<Vec<(String, MissPolicy)>, String> {
        let tokens = Tokenizer::new(&FletchingDialect::default(), sql)
            .tokenize_with_location()
            .unwrap();
        hints_of(&tokens)
            .map(|hints| {
                hints
                    .into_iter()
                    .map(|(alias, hint)| (alias, hint.policy))
                    .collect()
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn hints_follow_select() {
        let found = hints("SELECT /*+ ON_MISS(U, 'null') on_miss(l,'Drop') */ 1 /* +no */").unwrap();
        assert_eq!(
            found,
            [
                ("l".to_string(), MissPolicy::Drop),
                ("u".to_string(), MissPolicy::Null)
            ]
        );
        assert!(
            hints("SELECT 1 /*+ ON_MISS(u, 'null') */")
                .unwrap_err()
                .contains("right after SELECT")
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(
            hints("SELECT /*+ ONMISS(u, 'null') */ 1")
                .unwrap_err()
                .contains("did you mean ON_MISS")
        );
        assert!(
            hints("SELECT /*+ ON_MISS(u, 'nul') */ 1")
                .unwrap_err()
                .contains("did you mean 'null'")
        );
        assert!(
            hints("SELECT /*+ ON_MISS(u) */ 1")
                .unwrap_err()
                .contains("expected ON_MISS")
        );
        assert!(
            hints("SELECT /*+ ON_MISS(u,'null') ON_MISS(u,'drop') */ 1")
                .unwrap_err()
                .contains("two hints")
        );
    }
}

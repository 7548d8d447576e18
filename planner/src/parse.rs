//! SQL text to statements: cuts a script at its semicolons, takes what stock SQL does not know,
//! and leaves the rest to sqlparser. Leftover tokens are an error, never an alias.

use sqlparser::ast::{self, CreateTable, ObjectName};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use crate::as_of::spell_as_of;
use crate::dialect::FletchingDialect;
use crate::emit::cut_emit;
use crate::error::{Location, SqlError, SqlErrorKind};
use crate::miss::{MissHints, hints_of};
use crate::option_names::join_option_names;
use crate::refuse;
use crate::slice::{offset_of, slice};
use crate::statement::{RelationKind, ShowKind};
use crate::syntax_error::lower_first;
use crate::watermark::{self, Watermark};

/// How deep expressions and queries may nest.
pub(crate) const NESTING_MAX: usize = 256;

/// One parsed statement of a script.
#[derive(Debug, Clone)]
pub struct ParsedStatement {
    pub(crate) ast: Ast,
    pub(crate) tokens: Vec<TokenWithSpan>,
    pub(crate) hints: MissHints,
    emits_changes: bool,
    text: String,
}

impl ParsedStatement {
    /// Returns the statement's own text, without its semicolon.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says whether it ends with `EMIT CHANGES`: the rows of streams that do not end are wanted as they come.
    pub fn emits_changes(&self) -> bool {
        self.emits_changes
    }

    /// Returns the text from a token on, as it was written.
    pub(crate) fn text_from(&self, token: usize) -> &str {
        let (Some(first), Some(from)) = (self.tokens.first(), self.tokens.get(token)) else {
            return "";
        };
        let (first, from) = (first.span.start, from.span.start);
        let is_same_line = first.line == from.line;
        let column = from.column - if is_same_line { first.column - 1 } else { 0 };
        let at = offset_of(&self.text, from.line - first.line + 1, column);
        self.text.get(at..).unwrap_or("")
    }

    /// Says whether the statement gives rows back rather than changing something.
    pub fn is_query(&self) -> bool {
        match &self.ast {
            Ast::Explain { .. }
            | Ast::CheckJoin(_)
            | Ast::Show(_)
            | Ast::ShowSetting(_)
            | Ast::ShowMemory(_)
            | Ast::Describe(_) => true,
            Ast::Sql(statement) => matches!(**statement, ast::Statement::Query(_)),
            Ast::Create { .. } | Ast::Set { .. } | Ast::Drop { .. } => false,
        }
    }
}

/// What a statement is, before names are looked up.
#[derive(Debug, Clone)]
pub(crate) enum Ast {
    /// `CREATE STREAM | TABLE | SINK`.
    Create {
        kind: RelationKind,
        table: Box<CreateTable>,
        watermark: Option<Watermark>,
    },
    /// `DROP STREAM | TABLE | SINK | VIEW`.
    Drop {
        kind: Option<RelationKind>,
        names: Vec<ObjectName>,
        if_exists: bool,
    },
    /// `SHOW STREAMS | TABLES | SINKS | VIEWS | FUNCTIONS | SETTINGS`.
    Show(ShowKind),
    /// `SHOW name`.
    ShowSetting(String),
    /// `DESCRIBE name`.
    Describe(ObjectName),
    /// `SHOW MEMORY FROM name`.
    ShowMemory(ObjectName),
    /// `SET name = value`.
    Set { name: String, value: String },
    /// `EXPLAIN [ANALYZE] [VERBOSE] statement`.
    Explain {
        analyze: bool,
        verbose: bool,
        statement: Box<Ast>,
    },
    /// `CHECK JOIN query`.
    CheckJoin(Box<Ast>),
    /// Everything sqlparser understands by itself.
    Sql(Box<ast::Statement>),
}

/// Parses a script of statements separated by semicolons.
///
/// # Errors
/// Fails at the first token that does not fit, with its place.
///
/// ```
/// let statements = fletching_planner::parse("SET threads = 2; SELECT 1")?;
/// assert_eq!(statements[1].text(), "SELECT 1");
/// # Ok::<(), fletching_planner::SqlError>(())
/// ```
pub fn parse(script: &str) -> Result<Vec<ParsedStatement>, SqlError> {
    let dialect = FletchingDialect::default();
    let tokens = Tokenizer::new(&dialect, script)
        .with_unescape(true)
        .tokenize_with_location()
        .map_err(|error| {
            let mut message = error.message;
            lower_first(&mut message);
            SqlError::new(SqlErrorKind::Syntax, message).at(Location::from_parser(error.location), "")
        })?;
    let mut statements = Vec::new();
    for part in tokens.split(|token| token.token == Token::SemiColon) {
        let mut tokens: Vec<_> = part
            .iter()
            .filter(|token| !matches!(token.token, Token::Whitespace(_)))
            .cloned()
            .collect();
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            continue;
        };
        let text = slice(script, first.span.start, last.span.end);
        let hints = hints_of(part)?;
        let emits_changes = cut_emit(&mut tokens);
        let ast = StatementParser::new(&dialect, spell_as_of(&tokens)?).parse()?;
        refuse::check(&ast, &tokens)?;
        statements.push(ParsedStatement {
            ast,
            tokens,
            hints,
            emits_changes,
            text,
        });
    }
    Ok(statements)
}

/// Says whether a token is this unquoted word, in any case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Reads one statement from its tokens.
pub(crate) struct StatementParser<'a> {
    dialect: &'a FletchingDialect,
    pub(crate) tokens: Vec<TokenWithSpan>,
}

impl<'a> StatementParser<'a> {
    fn new(dialect: &'a FletchingDialect, tokens: Vec<TokenWithSpan>) -> Self {
        Self { dialect, tokens }
    }

    fn word_at(&self, at: usize, word: &str) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|token| is_word(&token.token, word))
    }

    fn parse(mut self) -> Result<Ast, SqlError> {
        if self.word_at(0, "CREATE") {
            return self.parse_create();
        }
        if self.word_at(0, "DROP") {
            return self.parse_drop();
        }
        if self.word_at(0, "SHOW") {
            return self.parse_show();
        }
        if self.word_at(0, "DESCRIBE") || self.word_at(0, "DESC") {
            return self.parse_describe();
        }
        if self.word_at(0, "EXPLAIN") {
            let mut skip = 1;
            let analyze = self.word_at(skip, "ANALYZE");
            skip += usize::from(analyze);
            let verbose = self.word_at(skip, "VERBOSE");
            skip += usize::from(verbose);
            if self.tokens.len() == skip {
                return Err(self.expected("a statement to explain", skip));
            }
            self.tokens.drain(..skip);
            let statement = Box::new(self.parse()?);
            return Ok(Ast::Explain {
                analyze,
                verbose,
                statement,
            });
        }
        if self.word_at(0, "CHECK") {
            return self.parse_check();
        }
        if self.word_at(0, "SET") {
            return self.parse_set();
        }
        let statement = self.with_parser(|parser| parser.parse_statement())?;
        Ok(Ast::Sql(Box::new(statement)))
    }

    fn parse_check(mut self) -> Result<Ast, SqlError> {
        if !self.word_at(1, "JOIN") || self.tokens.len() == 2 {
            return Err(self.expected(
                "JOIN and a query after CHECK",
                1 + usize::from(self.word_at(1, "JOIN")),
            ));
        }
        self.tokens.drain(..2);
        Ok(Ast::CheckJoin(Box::new(self.parse()?)))
    }

    /// Parses `CREATE [OR REPLACE] STREAM | SINK …` as the `CREATE TABLE` it looks like.
    fn parse_create(mut self) -> Result<Ast, SqlError> {
        let at = if self.word_at(1, "OR") { 3 } else { 1 };
        let kind = if self.word_at(at, "STREAM") {
            RelationKind::Stream
        } else if self.word_at(at, "SINK") {
            RelationKind::Sink
        } else {
            RelationKind::Table
        };
        if kind != RelationKind::Table
            && let Some(token) = self.tokens.get_mut(at)
        {
            token.token = Token::Word(Word {
                value: "TABLE".into(),
                quote_style: None,
                keyword: Keyword::TABLE,
            });
        }
        self.tokens = join_option_names(std::mem::take(&mut self.tokens));
        let watermark = match kind {
            RelationKind::Stream => {
                let (tokens, watermark) = watermark::cut(std::mem::take(&mut self.tokens))?;
                self.tokens = tokens;
                watermark
            }
            _ => None,
        };
        match self.with_parser(|parser| parser.parse_statement())? {
            ast::Statement::CreateTable(table) => Ok(Ast::Create {
                kind,
                table: Box::new(table),
                watermark,
            }),
            other => Ok(Ast::Sql(Box::new(other))),
        }
    }

    fn parse_drop(self) -> Result<Ast, SqlError> {
        let kind = match self.tokens.get(1).map(|token| &token.token) {
            Some(token) if is_word(token, "STREAM") => Some(RelationKind::Stream),
            Some(token) if is_word(token, "TABLE") => Some(RelationKind::Table),
            Some(token) if is_word(token, "SINK") => Some(RelationKind::Sink),
            Some(token) if is_word(token, "VIEW") => None,
            _ => return Err(self.expected("STREAM, TABLE, SINK or VIEW after DROP", 1)),
        };
        let (if_exists, names) = self.with_parser(|parser| {
            parser.next_token();
            parser.next_token();
            let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
            Ok((
                if_exists,
                parser.parse_comma_separated(|parser| parser.parse_object_name(false))?,
            ))
        })?;
        Ok(Ast::Drop {
            kind,
            names,
            if_exists,
        })
    }

    fn parse_show(self) -> Result<Ast, SqlError> {
        let Some(word) = self.tokens.get(1) else {
            return Err(self.expected(
                "STREAMS, TABLES, SINKS, VIEWS, FUNCTIONS, SETTINGS or MEMORY FROM after SHOW",
                1,
            ));
        };
        let text = word.token.to_string();
        if let Some(kind) = ShowKind::ALL
            .iter()
            .find(|kind| kind.word().eq_ignore_ascii_case(&text))
        {
            self.end_at(2)?;
            return Ok(Ast::Show(*kind));
        }
        if self.word_at(1, "MEMORY") && self.word_at(2, "FROM") {
            let name = self.with_parser(|parser| {
                for _ in 0..3 {
                    parser.next_token();
                }
                parser.parse_object_name(false)
            })?;
            return Ok(Ast::ShowMemory(name));
        }
        let words: String = self
            .tokens
            .iter()
            .skip(1)
            .map(|token| token.token.to_string())
            .collect();
        Ok(Ast::ShowSetting(words.to_lowercase()))
    }

    fn parse_describe(self) -> Result<Ast, SqlError> {
        let skip = if self.word_at(1, "TABLE") && self.tokens.len() > 2 {
            2
        } else {
            1
        };
        let name = self.with_parser(|parser| {
            for _ in 0..skip {
                parser.next_token();
            }
            parser.parse_object_name(false)
        })?;
        Ok(Ast::Describe(name))
    }

    /// Parses `SET a.b = value`, where the value is a literal, a word or several words.
    fn parse_set(self) -> Result<Ast, SqlError> {
        let split = self
            .tokens
            .iter()
            .position(|token| token.token == Token::Eq || is_word(&token.token, "TO"))
            .ok_or_else(|| self.expected("'=' and a value, as in SET threads = 2", self.tokens.len()))?;
        if split == 1 {
            return Err(self.expected("the name of a setting after SET", 1));
        }
        if split + 1 == self.tokens.len() {
            return Err(self.expected("a value after '='", split + 1));
        }
        let plain = |token: &Token| match token {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
            Token::Word(word) => word.value.clone(),
            other => other.to_string(),
        };
        let name = self.tokens[1..split]
            .iter()
            .map(|token| plain(&token.token))
            .collect::<String>();
        let mut value = String::new();
        for token in &self.tokens[split + 1..] {
            if !value.is_empty() && matches!(token.token, Token::Word(_)) {
                value.push(' ');
            }
            value.push_str(&plain(&token.token));
        }
        Ok(Ast::Set {
            name: name.to_lowercase(),
            value,
        })
    }

    /// Runs sqlparser over all tokens and insists that it takes every one.
    fn with_parser<T>(
        &self,
        parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<T, SqlError> {
        let mut parser = Parser::new(self.dialect)
            .with_recursion_limit(NESTING_MAX)
            .with_tokens_with_locations(self.tokens.clone());
        let parsed = parse(&mut parser).map_err(|error| self.syntax_error(error))?;
        let left = parser.peek_token();
        if left.token != Token::EOF {
            return Err(self.leftover(&left));
        }
        Ok(parsed)
    }

    fn end_at(&self, at: usize) -> Result<(), SqlError> {
        self.tokens
            .get(at)
            .map_or(Ok(()), |token| Err(self.leftover(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(sql: &str) -> String {
        parse(sql).unwrap_err().to_string()
    }

    #[test]
    fn a_script_is_cut_at_semicolons() {
        let script = "SET threads = 2;\n-- a comment; with one\nSELECT ';' ;;\n";
        let texts: Vec<_> = parse(script)
            .unwrap()
            .iter()
            .map(|s| s.text().to_string())
            .collect();
        assert_eq!(texts, ["SET threads = 2", "SELECT ';'"]);
    }

    #[test]
    fn leftover_tokens_are_never_an_alias() {
        assert_eq!(
            error("SELECT a FROM t EMIT"),
            "expected the end of the statement, found 'EMIT' (line 1, column 17); say EMIT CHANGES at the end \
             of the query or before its LIMIT: rows are then given as they come"
        );
        assert!(error("SELECT a FROM t x y").contains("found 'y' (line 1, column 19)"));
    }

    #[test]
    fn syntax_errors_have_a_place() {
        assert_eq!(
            error("SELECT a\nFROM"),
            "expected identifier, found the end of the statement (line 2, column 5)"
        );
        assert!(
            error("SELEC 1").ends_with("(line 1, column 1); did you mean SELECT?"),
            "{}",
            error("SELEC 1")
        );
        assert!(error("SELECT 'abc").contains("line 1, column 8"));
    }

    #[test]
    fn streams_and_sinks_look_like_tables() {
        let parsed = parse("CREATE STREAM s (a INT) WITH (connector = 'memory', 'a.b' = 3)").unwrap();
        assert!(matches!(
            &parsed[0].ast,
            Ast::Create {
                kind: RelationKind::Stream,
                ..
            }
        ));
        let parsed = parse("CREATE OR REPLACE SINK s WITH (path = 'x') AS SELECT 1").unwrap();
        assert!(matches!(
            &parsed[0].ast,
            Ast::Create {
                kind: RelationKind::Sink,
                ..
            }
        ));
    }

    #[test]
    fn settings_take_words_and_literals() {
        let parsed = parse("SET a.b = 'x y'; SET threads TO 4; SET c = -1").unwrap();
        let pairs: Vec<_> = parsed
            .iter()
            .map(|s| match &s.ast {
                Ast::Set { name, value } => (name.as_str(), value.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pairs, [("a.b", "x y"), ("threads", "4"), ("c", "-1")]);
    }

    #[test]
    fn option_names_may_have_dots() {
        let parsed = parse("CREATE STREAM s (a INT) WITH (x = 1, fields.a.kind = 'zipf')").unwrap();
        let Ast::Create { table, .. } = &parsed[0].ast else {
            panic!("no CREATE")
        };
        assert!(
            table.to_string().contains("\"fields.a.kind\" = 'zipf'"),
            "{table}"
        );
    }

    #[test]
    fn is_not_distinct_from_ends_at_and() {
        let parsed = parse("SELECT false IS NOT DISTINCT FROM false AND false").unwrap();
        let Ast::Sql(statement) = &parsed[0].ast else {
            panic!("no query")
        };
        let ast::Statement::Query(query) = statement.as_ref() else {
            panic!("no query")
        };
        let ast::SetExpr::Select(select) = query.body.as_ref() else {
            panic!("no select")
        };
        assert!(matches!(
            &select.projection[0],
            ast::SelectItem::UnnamedExpr(ast::Expr::BinaryOp {
                op: ast::BinaryOperator::And,
                ..
            })
        ));
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let sql = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
        assert!(error(&sql).contains("levels deep"));
    }
}

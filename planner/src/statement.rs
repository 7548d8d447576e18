//! Planned statements: what the engine carries out.

use arrow_schema::SchemaRef;
use datafusion_expr::LogicalPlan;

use crate::error::{Location, Warning};
use crate::watermark::Watermark;

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RelationKind {
    /// Records that flow through once.
    Stream,
    /// Keyed reference data that is held and looked up.
    Table,
    /// Where results go.
    Sink,
    /// A named query.
    View,
}

impl RelationKind {
    /// Returns the SQL word, in lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Table => "table",
            Self::Sink => "sink",
            Self::View => "view",
        }
    }
}

/// What `SHOW` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShowKind {
    /// `SHOW STREAMS`.
    Streams,
    /// `SHOW TABLES`.
    Tables,
    /// `SHOW SINKS`.
    Sinks,
    /// `SHOW VIEWS`.
    Views,
    /// `SHOW FUNCTIONS`.
    Functions,
    /// `SHOW SETTINGS`.
    Settings,
}

impl ShowKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Streams,
        Self::Tables,
        Self::Sinks,
        Self::Views,
        Self::Functions,
        Self::Settings,
    ];

    /// Returns the SQL word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Streams => "STREAMS",
            Self::Tables => "TABLES",
            Self::Sinks => "SINKS",
            Self::Views => "VIEWS",
            Self::Functions => "FUNCTIONS",
            Self::Settings => "SETTINGS",
        }
    }
}

/// A `WITH (…)` option as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithOption {
    /// Its name.
    pub name: String,
    /// Its value as text.
    pub value: String,
    /// Where its name stands.
    pub location: Option<Location>,
}

/// A relation to be created.
#[derive(Debug, Clone)]
pub struct CreateRelation {
    /// Stream, table or sink.
    pub kind: RelationKind,
    /// Its name.
    pub name: String,
    /// The declared columns, where there are any.
    pub schema: Option<SchemaRef>,
    /// The columns of `PRIMARY KEY (…)`; empty where there is none.
    pub primary_key: Vec<String>,
    /// The `WITH (…)` options, in the order written.
    pub options: Vec<WithOption>,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `OR REPLACE`.
    pub or_replace: bool,
    /// The query of `… AS SELECT`, optimised.
    pub query: Option<LogicalPlan>,
    /// `WATERMARK FOR … AS …` of a stream.
    pub watermark: Option<Watermark>,
}

/// What becomes of rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// They go.
    Delete,
    /// They change.
    Update,
}

/// Rows of a table to be deleted or updated.
#[derive(Debug, Clone)]
pub struct TableChange {
    /// The table.
    pub target: String,
    /// What becomes of the rows.
    pub kind: ChangeKind,
    /// The rows that are deleted, or the updated ones as they become; the table's columns in
    /// order.
    pub rows: LogicalPlan,
    /// The other rows, where the condition can be turned around.
    pub kept: Option<LogicalPlan>,
    /// Whether a column of the primary key is set.
    pub sets_key: bool,
}

/// A statement, checked and ready to be carried out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Statement {
    /// A query, optimised.
    Query(LogicalPlan),
    /// `CREATE STREAM | TABLE | SINK`, with or without a query.
    Create(Box<CreateRelation>),
    /// `CREATE VIEW name AS query`: the plan before optimisation.
    CreateView {
        /// Its name.
        name: String,
        /// Its query.
        plan: LogicalPlan,
        /// The query's text.
        text: String,
        /// `OR REPLACE`.
        or_replace: bool,
    },
    /// `INSERT INTO name query`: the query gives exactly the target's columns, in order.
    Insert {
        /// A table or a sink.
        target: String,
        /// The rows to add.
        plan: LogicalPlan,
    },
    /// `DELETE FROM` and `UPDATE`.
    Change(Box<TableChange>),
    /// `DROP`.
    Drop {
        /// What is to be dropped; a view where it says `VIEW`.
        kind: RelationKind,
        /// The names.
        names: Vec<String>,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `SHOW STREAMS` and the like.
    Show(ShowKind),
    /// `SHOW setting`.
    ShowSetting(String),
    /// `DESCRIBE name`.
    Describe(String),
    /// `SHOW MEMORY FROM name`: a table.
    ShowMemory(String),
    /// `SET name = value`.
    Set {
        /// The setting.
        name: String,
        /// Its new value.
        value: String,
    },
    /// `CHECK JOIN query`: the query, optimised.
    CheckJoin(LogicalPlan),
    /// `EXPLAIN`.
    Explain {
        /// Run it and show what was counted.
        analyze: bool,
        /// Show every plan.
        verbose: bool,
        /// The plan before optimisation.
        plan: LogicalPlan,
        /// The plan that would run.
        optimized: LogicalPlan,
    },
}

/// A planned statement with what deserves a look.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What to do.
    pub statement: Statement,
    /// What deserves a look.
    pub warnings: Vec<Warning>,
}

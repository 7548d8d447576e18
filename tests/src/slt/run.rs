//! Runs the steps of one script in a fresh session.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;

use fletching::{Outcome, RelationKind, Session};
use sqllogictest::{
    Condition, Control, DefaultColumnType, QueryExpect, Record, ResultMode, SortMode, StatementExpect,
};

use super::compare::{Expected, compare, fingerprint};
use super::show::{Shown, show};
use super::step::{Body, Step};
use super::wording::{is_expected, is_skipped};
use super::{Failure, FileReport, RunOptions};

/// How this engine is called in `skipif` and `onlyif`.
const ENGINE: &str = "fletching";

/// Runs a script's steps.
pub(super) fn run_steps(steps: &[Step], options: &RunOptions) -> FileReport {
    let mut report = FileReport::default();
    let mut run = match ScriptRun::new(options) {
        Ok(run) => run,
        Err(reason) => {
            report.failures.push(Failure { line: 0, reason });
            return report;
        }
    };
    for (at, step) in steps.iter().enumerate() {
        let verdict = match &step.body {
            Body::Halt => break,
            Body::SkipRest => {
                report.skipped += steps[at..].iter().filter(|step| counts(step)).count();
                break;
            }
            Body::Skip => Verdict::Skipped,
            Body::Unreadable(reason) => Verdict::Failed(reason.clone()),
            Body::Maybe(sql) => {
                let _ = run.guarded(sql);
                Verdict::Passed
            }
            Body::Record(record) => run.record(record),
        };
        match verdict {
            Verdict::Passed => report.passed += 1,
            Verdict::Skipped => report.skipped += 1,
            Verdict::Silent => {}
            Verdict::Failed(reason) => report.failures.push(Failure {
                line: step.line,
                reason,
            }),
        }
    }
    report
}

fn counts(step: &Step) -> bool {
    match &step.body {
        Body::Record(record) => {
            matches!(
                record.as_ref(),
                Record::Statement { .. } | Record::Query { .. } | Record::System { .. }
            )
        }
        Body::Maybe(_) | Body::Skip | Body::Unreadable(_) => true,
        Body::SkipRest | Body::Halt => false,
    }
}

enum Verdict {
    Passed,
    Skipped,
    Failed(String),
    /// A directive: nothing to count.
    Silent,
}

impl From<Result<(), String>> for Verdict {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(reason) => Self::Failed(reason),
        }
    }
}

/// What a statement gave: its rows, and the rows it wrote.
struct Given {
    shown: Shown,
    written: Option<u64>,
}

/// A script at work.
struct ScriptRun {
    session: Session,
    folder: tempfile::TempDir,
    sort: Option<SortMode>,
    is_value_wise: bool,
    is_sqlite: bool,
    /// The first result of each label.
    labelled: HashMap<String, Vec<String>>,
    /// Another engine's default order of NULLs is in force: rows are compared in any order.
    has_other_null_order: bool,
    /// What there was when a transaction began.
    at_begin: Option<BTreeSet<String>>,
}

impl ScriptRun {
    fn new(options: &RunOptions) -> Result<Self, String> {
        let mut builder = Session::builder().connectors(fletching_connectors::all());
        if let Some(threads) = options.threads {
            builder = builder.threads(threads);
        }
        Ok(Self {
            session: builder.build().map_err(|error| error.to_string())?,
            folder: tempfile::tempdir().map_err(|error| error.to_string())?,
            sort: None,
            is_value_wise: false,
            is_sqlite: false,
            labelled: HashMap::new(),
            has_other_null_order: false,
            at_begin: None,
        })
    }

    fn record(&mut self, record: &Record<DefaultColumnType>) -> Verdict {
        match record {
            Record::Statement {
                conditions,
                sql,
                expected,
                ..
            } => {
                if is_not_for_us(conditions) || is_skipped(sql) {
                    self.note_skipped(sql);
                    return Verdict::Skipped;
                }
                let given = self.guarded(sql);
                check_statement(expected, given)
                    .map_err(|reason| format!("{sql}\n{reason}"))
                    .into()
            }
            Record::Query {
                conditions,
                sql,
                expected,
                ..
            } => {
                let is_plan = sql
                    .trim_start()
                    .get(..7)
                    .is_some_and(|word| word.eq_ignore_ascii_case("explain"));
                if is_not_for_us(conditions) || is_skipped(sql) || is_plan {
                    return Verdict::Skipped;
                }
                let given = self.guarded(sql);
                self.check_query(expected, given)
                    .map_err(|reason| format!("{sql}\n{reason}"))
                    .into()
            }
            Record::Control(Control::SortMode(sort)) => {
                self.sort = Some(*sort);
                Verdict::Silent
            }
            Record::Control(Control::ResultMode(mode)) => {
                self.is_value_wise = *mode == ResultMode::ValueWise;
                Verdict::Silent
            }
            Record::HashThreshold { .. } => {
                self.is_sqlite = true;
                Verdict::Silent
            }
            Record::System { .. } | Record::Let { .. } => Verdict::Skipped,
            _ => Verdict::Silent,
        }
    }

    /// Does of a skipped statement what later records lean on: the order of NULLs, and the end of
    /// what was created since a transaction began. Changes of rows are not taken back.
    fn note_skipped(&mut self, sql: &str) {
        let text = sql.trim().to_uppercase();
        if text.contains("DEFAULT_NULL_ORDER") || text.contains("DEFAULT_ORDER") {
            self.has_other_null_order = true;
        } else if text.starts_with("BEGIN") || text.starts_with("START TRANSACTION") {
            self.at_begin = Some(self.session.names().into_iter().map(|(name, _)| name).collect());
        } else if text.starts_with("COMMIT") {
            self.at_begin = None;
        } else if text.starts_with("ROLLBACK")
            && let Some(before) = self.at_begin.take()
        {
            for (name, kind) in self.session.names() {
                if !before.contains(&name) {
                    let _ = self.session.sql(&format!("DROP {} \"{name}\"", kind_word(kind)));
                }
            }
        }
    }

    fn check_query(
        &mut self,
        expected: &QueryExpect<DefaultColumnType>,
        given: Result<Given, String>,
    ) -> Result<(), String> {
        let (types, sort_mode, result_mode, label, results) = match expected {
            QueryExpect::Error(wanted) => {
                return match given {
                    Err(found) if is_expected(wanted, &found) => Ok(()),
                    Err(found) => Err(format!("expected error {wanted}, found error {found}")),
                    Ok(_) => Err(format!("expected error {wanted}, but it went well")),
                };
            }
            QueryExpect::Results {
                types,
                sort_mode,
                result_mode,
                label,
                results,
            } => (types, sort_mode, result_mode, label, results),
        };
        let mut given = given.map_err(|error| format!("error: {error}"))?;
        if let (true, Some(rows)) = (given.shown.types.is_empty(), given.written) {
            given.shown = Shown {
                types: vec![arrow::datatypes::DataType::UInt64],
                rows: vec![vec![rows.to_string()]],
            };
        }
        let mut sort = sort_mode.or(self.sort).unwrap_or(SortMode::NoSort);
        if sort == SortMode::NoSort && self.has_other_null_order {
            sort = SortMode::RowSort;
        }
        if let Some(label) = label {
            let fingerprint = fingerprint(sort, &given.shown);
            if self
                .labelled
                .entry(label.clone())
                .or_insert_with(|| fingerprint.clone())
                != &fingerprint
            {
                return Err(format!("gives other rows than the first query labelled {label}"));
            }
            if results.is_empty() && !fingerprint.is_empty() {
                return Ok(());
            }
        }
        let expected = Expected {
            types,
            sort,
            lines: results,
            is_value_wise: self.is_value_wise || *result_mode == Some(ResultMode::ValueWise),
            is_sqlite: self.is_sqlite,
        };
        compare(&expected, &given.shown)
    }

    /// Runs SQL; a panic is an error like others.
    fn guarded(&self, sql: &str) -> Result<Given, String> {
        let folder = self.folder.path().to_string_lossy();
        let sql = sql
            .replace("${__TEST_DIR__}", &folder)
            .replace("$__TEST_DIR__", &folder)
            .replace("__TEST_DIR__", &folder);
        std::panic::catch_unwind(AssertUnwindSafe(|| self.run(&sql)))
            .unwrap_or_else(|_| Err("it panicked".into()))
    }

    fn run(&self, sql: &str) -> Result<Given, String> {
        let mut given = Given {
            shown: Shown::default(),
            written: None,
        };
        for statement in self.session.parse(sql).map_err(|error| error.to_string())? {
            given = match self
                .session
                .execute(&statement)
                .map_err(|error| error.to_string())?
            {
                Outcome::Done(summary) => Given {
                    shown: Shown::default(),
                    written: summary.rows,
                },
                Outcome::Rows(rows) => {
                    let types = rows
                        .schema()
                        .fields()
                        .iter()
                        .map(|field| field.data_type().clone())
                        .collect();
                    let batches = rows.collect_batches().map_err(|error| error.to_string())?;
                    let shown = show(types, &batches).map_err(|error| error.to_string())?;
                    Given { shown, written: None }
                }
            };
        }
        Ok(given)
    }
}

fn check_statement(expected: &StatementExpect, given: Result<Given, String>) -> Result<(), String> {
    match (expected, given) {
        (StatementExpect::Ok, Ok(_)) => Ok(()),
        (StatementExpect::Count(wanted), Ok(given)) => {
            let found = given.written.unwrap_or(given.shown.rows.len() as u64);
            if found == *wanted {
                Ok(())
            } else {
                Err(format!("expected {wanted} rows, found {found}"))
            }
        }
        (StatementExpect::Error(wanted), Err(found)) if is_expected(wanted, &found) => Ok(()),
        (StatementExpect::Error(wanted), Err(found)) => {
            Err(format!("expected error {wanted}, found error {found}"))
        }
        (StatementExpect::Error(wanted), Ok(_)) => Err(format!("expected error {wanted}, but it went well")),
        (_, Err(error)) => Err(format!("error: {error}")),
    }
}

fn kind_word(kind: RelationKind) -> String {
    kind.word().to_uppercase()
}

/// Says whether a condition leaves this record to other engines.
fn is_not_for_us(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| match condition {
        Condition::OnlyIf { label } => label != ENGINE,
        Condition::SkipIf { label } => label == ENGINE,
    })
}

//! Random queries of several joins, filters and subqueries: on pushed batches, on a prepared query
//! and on DataFusion's own session they give the same rows.
//!
//! A query is read off a list of bytes, each a choice; so a failing one shrinks to a short one.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{SessionConfig, SessionContext};
use fletching::Session;
use proptest::prelude::{any, prop, prop_assert_eq};
use proptest::test_runner::TestCaseError;

use crate::join_cases::cut;
use crate::nested_loop::{Kind, SideRow, side_rows};
use crate::seed::{runner, seed};
use crate::sessions::sorted_lines;

/// Random queries; about 15 ms each.
const QUERIES: u32 = 400;

/// The stream, then the tables, of which some declare a key.
const RELATIONS: [(&str, &[&str]); 4] = [("s", &[]), ("a", &["id"]), ("b", &["k"]), ("c", &[])];

/// Choices, one after the other; zero where they have run out.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % limit
    }

    fn of<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }
}

/// Makes the columns of a relation: `id` counts, `k` and `m` meet those of others, `name` is text.
fn relation(rows: &[SideRow]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(
        0..i64::try_from(rows.len()).unwrap(),
    ));
    let keys: ArrayRef = Arc::new(
        rows.iter()
            .map(|row| row.key.map(i64::from))
            .collect::<Int64Array>(),
    );
    let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.number).collect::<Int64Array>());
    let name = |row: &SideRow| row.number.map(|number| format!("n{}", number % 4));
    let names: ArrayRef = Arc::new(rows.iter().map(name).collect::<StringArray>());
    let columns = [("id", ids), ("k", keys), ("m", numbers), ("name", names)];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// Writes a query that reads the stream once.
fn write_query(choices: &mut Choices<'_>) -> String {
    let joins = 1 + choices.below(3);
    let stream_at = choices.below(4).min(joins);
    let mut sql = String::new();
    let mut visible = Vec::new();
    for at in 0..=joins {
        let name = if at == stream_at {
            "s"
        } else {
            choices.of(&["a", "b", "c"])
        };
        let side = match choices.below(6) {
            0 => format!("(SELECT * FROM {name} WHERE m > 2)"),
            1 => format!("(SELECT id, m AS k, k AS m, upper(name) AS name FROM {name})"),
            _ => name.to_string(),
        };
        if at == 0 {
            sql = format!("{side} x0");
            visible.push(0);
            continue;
        }
        let kind = choices
            .of(&[Kind::Inner, Kind::Left].map(Some))
            .filter(|_| choices.below(2) == 0);
        let kind = kind.unwrap_or_else(|| choices.of(&Kind::ALL));
        let condition = write_condition(choices, &visible, at);
        write!(sql, " {} {side} x{at} ON {condition}", kind.sql()).unwrap();
        match kind {
            Kind::LeftSemi | Kind::LeftAnti => {}
            Kind::RightSemi | Kind::RightAnti => visible = vec![at],
            _ => visible.push(at),
        }
    }
    let mut columns = Vec::new();
    for at in &visible {
        columns.extend(["id", "k", "m", "name"].map(|column| format!("x{at}.{column} AS x{at}_{column}")));
    }
    let filter = write_filter(choices, &visible);
    format!("SELECT {} FROM {sql}{filter}", columns.join(", "))
}

fn write_condition(choices: &mut Choices<'_>, visible: &[usize], at: usize) -> String {
    let other = choices.of(visible);
    let mut conditions = vec![match choices.below(8) {
        0 => format!("x{other}.m = x{at}.k"),
        1 => format!("x{at}.id = x{other}.k + 1"),
        2 => format!("x{other}.name = x{at}.name"),
        3 => format!("(x{other}.k IS NOT DISTINCT FROM x{at}.k)"),
        4 => format!("x{at}.k = x{other}.id"),
        _ => format!("x{other}.k = x{at}.k"),
    }];
    let third = choices.of(visible);
    conditions.extend(match choices.below(9) {
        0 => Some(format!("x{third}.m < x{at}.m")),
        1 => Some(format!("x{at}.m > 3")),
        2 => Some(format!("x{third}.m > 3")),
        3 => Some(format!("x{third}.name = x{at}.name")),
        4 => Some(format!("(x{third}.m IS NULL OR x{at}.m <> 2)")),
        _ => None,
    });
    conditions.join(" AND ")
}

fn write_filter(choices: &mut Choices<'_>, visible: &[usize]) -> String {
    let mut filters = Vec::new();
    for _ in 0..choices.below(3) {
        let (at, other) = (choices.of(visible), choices.of(visible));
        filters.push(match choices.below(8) {
            0 => format!("x{at}.m IS NULL"),
            1 => format!("x{at}.k > 2"),
            2 => format!("(x{at}.k < 5 OR x{other}.m > 4)"),
            3 => format!("x{at}.name = 'n1'"),
            4 => format!("coalesce(x{at}.k, 3) = 3"),
            5 => format!("x{at}.id IN (SELECT k FROM c)"),
            6 => format!("NOT EXISTS (SELECT 1 FROM b WHERE b.k = x{at}.m)"),
            _ => format!("x{at}.k = x{other}.m"),
        });
    }
    if filters.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", filters.join(" AND "))
    }
}

/// DataFusion without its physical filter push-down, which takes the wrong side's column where a
/// swapped join has two of one name.
fn sound_datafusion() -> SessionContext {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(SessionConfig::new().with_target_partitions(2))
        .with_physical_optimizer_rules(rules)
        .build();
    SessionContext::new_with_state(state)
}

fn on_datafusion(relations: &[RecordBatch], sql: &str) -> Result<Vec<String>, String> {
    let context = sound_datafusion();
    for ((name, _), batch) in RELATIONS.iter().zip(relations) {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).unwrap();
        context.register_table(*name, Arc::new(table)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let frame = context.sql(sql).await.map_err(|error| error.to_string())?;
        let batches = frame.collect().await.map_err(|error| error.to_string())?;
        Ok(sorted_lines(&batches))
    })
}

fn check(bytes: &[u8], rows: &[Vec<SideRow>]) -> Result<(), TestCaseError> {
    let sql = write_query(&mut Choices(bytes.iter()));
    let relations: Vec<RecordBatch> = rows.iter().map(|rows| relation(rows)).collect();
    // What DataFusion itself cannot plan proves nothing.
    let expected = on_datafusion(&relations, &sql).map_err(TestCaseError::reject)?;

    let failed = |error: fletching::Error| TestCaseError::fail(format!("{sql}\n{error}"));
    let session = Session::builder().threads(2).build().map_err(failed)?;
    session
        .create_stream("s", relations[0].schema())
        .map_err(failed)?;
    for ((name, key), batch) in RELATIONS.iter().zip(&relations).skip(1) {
        session
            .create_table(name, vec![batch.clone()], key)
            .map_err(failed)?;
    }
    match session
        .prepare(&sql)
        .and_then(|query| query.enrich(&relations[0]))
    {
        Ok(enriched) => prop_assert_eq!(&sorted_lines(&[enriched]), &expected, "prepared: {}", sql),
        // The optimizer found that the stream decides nothing, and took it out.
        Err(error) if error.to_string().contains("exactly one stream, found none") => {}
        Err(error) => return Err(failed(error)),
    }
    for batch in cut(&relations[0], 5) {
        session.push("s", batch).map_err(failed)?;
    }
    let found = session
        .sql(&sql)
        .and_then(fletching::Rows::collect_batches)
        .map_err(failed)?;
    prop_assert_eq!(&sorted_lines(&found), &expected, "pushed: {}", sql);
    Ok(())
}

#[test]
fn random_queries_are_datafusions() {
    let relations = prop::collection::vec(side_rows(14), RELATIONS.len());
    let cases = (prop::collection::vec(any::<u8>(), 40), relations);
    let outcome = runner("random queries", QUERIES).run(&cases, |(bytes, rows)| check(&bytes, &rows));
    if let Err(failure) = outcome {
        panic!("FLETCHING_TEST_SEED={}: {failure}", seed());
    }
}

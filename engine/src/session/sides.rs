//! What a pipeline writes beside its rows, and where: late records, letters about rows without a match,
//! and records that became no row.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use fletching_planner::{Warning, WarningKind};

use super::Session;
use super::event_time::{StreamTime, late_sink};
use crate::connector::{BadRowPolicy, EpochWriter, Membership, OnBadRow, Source, SourceReport};
use crate::error::{Error, Result};
use crate::operator::letter_schema;
use crate::pipeline::{BadRows, LATE, Side, Sides};
use crate::prepared::Prepared;

impl Session {
    /// Opens the sinks beside that of the rows, `writer`. `late` is the event time of the stream, and the
    /// columns that are read of it.
    pub(super) fn sides(
        &self,
        (stream, late): (&str, (Option<&StreamTime>, &SchemaRef)),
        query: &Prepared,
        writer: &mut dyn EpochWriter,
        (name, membership): (&str, Option<&Membership>),
    ) -> Result<Sides> {
        let mut sides = Sides::default();
        let (time, input) = late;
        if let Some((time, sink)) = time.and_then(|time| Some((time, time.dead_letter()?))) {
            let side = Side {
                name: LATE.to_string(),
                sink: &late_sink(&self.inner.registry.read(), stream, sink)?,
                schema: input,
                rate_max: time.late_rate_max(),
                rate_option: "late.rate_max",
            };
            sides.open(&side, writer, (name, membership))?;
        }
        let schema = letter_schema();
        for letters in query.letter_sinks() {
            let side = Side {
                name: letters.name,
                sink: &letters.sink,
                schema: &schema,
                rate_max: letters.rate_max,
                rate_option: "miss.rate_max",
            };
            sides.open(&side, writer, (name, membership))?;
        }
        Ok(sides)
    }
}

impl Session {
    /// Finds who writes the dead letters of a source: the sink with its rows, where it can. Of several
    /// pipelines over a stream the one started first writes those of records that cannot be decoded.
    pub(super) fn bad_rows(
        &self,
        (stream, source): (&str, &dyn Source),
        pipeline: &str,
        writer: &mut dyn EpochWriter,
        report: &Arc<SourceReport>,
    ) -> Result<BadRows> {
        let policy: BadRowPolicy = source.bad_rows();
        let pipelines = self.inner.pipelines.lock().clone();
        let is_further = pipelines.iter().any(|other| other.writes_letters_of(stream));
        let letters = match &policy.on_bad {
            OnBadRow::Letter(place) if !writer.takes_letters(place)? => {
                if source.is_shared() {
                    return Err(not_with_the_rows(stream));
                }
                Some(source.letters(is_further.then_some(pipeline))?)
            }
            _ => None,
        };
        let bad_rows = BadRows::new(policy, letters, Arc::clone(report));
        Ok(match is_further {
            true => bad_rows.of_a_further_pipeline(),
            false => bad_rows,
        })
    }
}

/// Warns where the query may fail for a row: what the stream says of bad records then goes for that row too.
pub(super) fn covers_computing(plan: &LogicalPlan, stream: &str, on_bad: &OnBadRow) -> Option<Warning> {
    let (word, what) = match on_bad {
        OnBadRow::Error => return None,
        OnBadRow::Skip => ("skip", "are left out and counted"),
        OnBadRow::Letter(_) => ("dead_letter", "become dead letters"),
    };
    let mut found: Option<String> = None;
    // The closure fails never, and so neither does the walk.
    let _ = plan.apply(|plan| {
        let inputs = plan.inputs();
        let mut expressions = plan.expressions().into_iter();
        found = expressions.find_map(|expression| failing_part(&expression, &inputs));
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    });
    let part = found?;
    Some(Warning::new(
        WarningKind::BadRows,
        format!(
            "stream {stream}: on_bad_row = '{word}' is also for rows that the query cannot compute, as by {part}: they \
             {what}; say on_bad_row = 'error' to have the first one end the pipeline"
        ),
    ))
}

/// Finds the part of an expression that fails for some values, in words.
fn failing_part(expression: &Expr, inputs: &[&LogicalPlan]) -> Option<String> {
    let is_text = |expression: &Expr| {
        let found = inputs
            .iter()
            .find_map(|input| expression.get_type(input.schema()).ok());
        found.is_some_and(|found| matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View))
    };
    let mut part = None;
    let _ = expression.apply(|expression| {
        part = match expression {
            Expr::ScalarFunction(call) => match call.func.name() {
                "checked_divide" | "checked_modulo" => Some("a division by zero"),
                "checked_add" | "checked_subtract" | "checked_multiply" | "checked_negate" => {
                    Some("an overflow")
                }
                _ => None,
            },
            Expr::Cast(cast) if is_text(&cast.expr) && !is_text(expression) => Some("a CAST of text"),
            _ => None,
        };
        Ok(match part {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    });
    part.map(str::to_string)
}

fn not_with_the_rows(stream: &str) -> Error {
    Error::Option {
        subject: format!("stream {stream}"),
        message: "dead letters of a stream that instances share must be committed with the rows: of an epoch that is \
                  taken back they would stay"
            .into(),
        hint: Some(
            "set dead_letter.topic to a topic of the cluster that the rows go to (the same 'bootstrap.servers'), or \
             say on_bad_row = 'skip'"
                .into(),
        ),
        location: None,
    }
}

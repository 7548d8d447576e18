//! The event time of a stream: its `WATERMARK FOR … AS …` and the options that go with it.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use fletching_planner::{CreateRelation, SqlError};

use super::Entry;
use super::registry::Registry;
use crate::connector::{Options, Sink, nearest};
use crate::error::{Error, Result};
use crate::pipeline::{EventTimeSpec, Late};

/// What a stream says of its event time.
#[derive(Debug, Clone)]
pub(crate) struct StreamTime {
    column: usize,
    delay_us: i64,
    late: LateOptions,
}

/// The options `late`, `late.dead_letter` and `late.rate_max`.
#[derive(Debug, Clone, Default)]
pub(super) struct LateOptions {
    late: Late,
    /// The sink that late records go to.
    dead_letter: Option<String>,
    /// The share of records that may be late; more end the pipeline.
    rate_max: Option<f64>,
    is_given: bool,
}

const WORDS: [&str; 3] = ["keep", "drop", "dead_letter"];

impl LateOptions {
    /// Takes the options out of those of a stream.
    pub(super) fn take(options: &mut Options) -> Result<Self> {
        let late = match options.choice("late", &WORDS)? {
            None | Some(0) => Late::Keep,
            Some(1) => Late::Drop,
            Some(_) => Late::Apart,
        };
        let dead_letter = options.text("late.dead_letter").map(str::to_lowercase);
        let wrong = |name: &str, message: &str, hint: &str| {
            Err(options.bad_value(name, message, Some(hint.to_string())))
        };
        if late == Late::Apart && dead_letter.is_none() {
            let hint = "add late.dead_letter = 'name of a sink'";
            return wrong("late", "dead_letter needs a sink to write to", hint);
        }
        if late != Late::Apart && dead_letter.is_some() {
            let hint = "add late = 'dead_letter'";
            return wrong("late.dead_letter", "late records do not go there", hint);
        }
        let rate_max = options.share("late.rate_max")?;
        if late != Late::Apart && rate_max.is_some() {
            let hint = "add late = 'dead_letter'";
            return wrong("late.rate_max", "late records do not go anywhere", hint);
        }
        let is_given = options.take("late").is_some();
        options.take("late.dead_letter");
        options.take("late.rate_max");
        Ok(Self {
            late,
            dead_letter,
            rate_max,
            is_given,
        })
    }
}

impl StreamTime {
    /// Reads what a statement says of event time; none where it says nothing.
    pub(super) fn new(
        create: &CreateRelation,
        schema: &SchemaRef,
        late: LateOptions,
    ) -> Result<Option<Self>> {
        let Some(watermark) = &create.watermark else {
            if late.is_given {
                return Err(Error::Option {
                    subject: format!("stream {}", create.name),
                    message: "option 'late': no record is late without a watermark".into(),
                    hint: Some("declare WATERMARK FOR column AS column - INTERVAL '5' SECOND".into()),
                    location: None,
                });
            }
            return Ok(None);
        };
        let wrong = |message: String| SqlError::planning(message).at(watermark.location, &watermark.column);
        let Ok(column) = schema.index_of(&watermark.column) else {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let error = wrong(format!(
                "WATERMARK FOR: there is no column '{}'",
                watermark.column
            ));
            return Err(Error::Sql(match nearest(&watermark.column, names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error,
            }));
        };
        let kind = schema.field(column).data_type();
        if !matches!(kind, DataType::Timestamp(..)) {
            let message = format!(
                "WATERMARK FOR: column '{}' is {kind}, and event time is a TIMESTAMP",
                watermark.column
            );
            return Err(Error::Sql(wrong(message)));
        }
        Ok(Some(Self {
            column,
            delay_us: watermark.delay_us,
            late,
        }))
    }

    /// Returns its column, by position in the stream.
    pub(super) fn column(&self) -> usize {
        self.column
    }

    /// Returns what a pipeline follows it by; `column` is where it stands in what is read.
    pub(super) fn spec(&self, column: usize, idle: Duration, ahead_max: Duration) -> EventTimeSpec {
        EventTimeSpec {
            column,
            delay_us: self.delay_us,
            ahead_max_us: i64::try_from(ahead_max.as_micros()).unwrap_or(i64::MAX),
            idle_us: u64::try_from(idle.as_micros()).unwrap_or(u64::MAX),
            late: self.late.late,
        }
    }

    /// Returns the share of records that may be late.
    pub(super) fn late_rate_max(&self) -> f64 {
        self.late.rate_max.unwrap_or(1.0)
    }

    /// Returns the name of the sink that late records go to.
    pub(super) fn dead_letter(&self) -> Option<&str> {
        self.late.dead_letter.as_deref()
    }
}

/// Finds the sink that a stream's late records go to.
pub(super) fn late_sink(registry: &Registry, stream: &str, sink: &str) -> Result<Arc<dyn Sink>> {
    let (message, hint) = match registry.get(sink) {
        Some(Entry::Sink(entry)) => return Ok(Arc::clone(&entry.sink)),
        Some(other) => (format!("'{sink}' is a {}", other.kind().word()), None),
        None => {
            let near = nearest(sink, registry.keys().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!(
                    "create it first, as in CREATE SINK {sink} WITH (path = '{sink}/', format = 'csv')"
                ),
            };
            (format!("there is no sink '{sink}'"), Some(hint))
        }
    };
    Err(Error::Option {
        subject: format!("stream {stream}"),
        message: format!("option 'late.dead_letter': {message}"),
        hint,
        location: None,
    })
}

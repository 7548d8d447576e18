//! The table options that the engine itself understands: when a table is ready, how its source is
//! tried again, and what becomes of rows that it has no match for.

use std::time::Duration;

use arrow::array::{Array, ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use fletching_planner::{MissPolicy, OnMiss};

use crate::connector::{Options, ReadyPoint, nearest};
use crate::error::Result;

/// Names that belong to the engine, for hints on misspelt ones.
pub(crate) const TABLE_OPTIONS: &[&str] = &[
    "ready",
    "ready.timeout",
    "ready.on_timeout",
    "ready.after",
    "retry.max",
    "retry.backoff",
    "retry.backoff_max",
    "stale.after",
    "on_miss",
    "miss.dead_letter",
    "miss.rate_max",
    "miss.wait",
    "miss.wait_rows_max",
    "miss.then",
    "changelog",
    "version",
    "tombstone.retention",
    "memory.max",
    "versioned",
    "retention",
    "refresh",
];

/// Those of them that say how a table changes and what its versions are, which are taken elsewhere.
const TAKEN_ELSEWHERE: &[&str] = &[
    "changelog",
    "version",
    "tombstone.retention",
    "memory.max",
    "versioned",
    "retention",
];

/// When a table may be joined with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Ready {
    /// When its source has given all it held, or as much as it can tell by itself.
    #[default]
    AtEnd,
    /// When its source says that it has come to this point.
    At(ReadyPoint),
    /// At once, with what is there; it loads on in the background.
    Immediately,
}

/// What is done when a table is not ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnTimeout {
    /// The statement fails.
    #[default]
    Fail,
    /// It waits on.
    Hold,
    /// It goes on with the version that is there: the last whole one, or none of the rows.
    Proceed,
}

/// How a source that fails is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// How often, after the first time.
    pub(crate) max: u32,
    /// The same, where an option says so: a table that is ready is followed for ever otherwise.
    pub(crate) max_set: Option<u32>,
    /// How long after the first failure; twice as long after each further one.
    pub(crate) backoff: Duration,
    /// But never longer than this.
    pub(crate) backoff_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max: 0,
            max_set: None,
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// Returns how long to wait after the failure of an attempt, counted from one.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        self.backoff.saturating_mul(1 << doublings).min(self.backoff_max)
    }
}

/// What becomes of rows that a table has no match for.
#[derive(Debug, Clone)]
pub(crate) struct MissOptions {
    pub(crate) on_miss: Option<OnMiss>,
    /// What follows a wait in vain.
    pub(crate) then: Option<MissPolicy>,
    /// For each column of the table, the value that stands in: an array of one.
    pub(crate) defaults: Vec<Option<ArrayRef>>,
    /// The sink for dead letters.
    pub(crate) dead_letter: Option<String>,
    /// The share of a pipeline's rows that may be dead letters, from 0 to 1; more end it.
    pub(crate) rate_max: f64,
    /// How long a row is parked.
    pub(crate) wait: Duration,
    /// How many rows may be parked at once.
    pub(crate) wait_rows_max: usize,
}

impl Default for MissOptions {
    fn default() -> Self {
        Self {
            on_miss: None,
            then: None,
            defaults: Vec::new(),
            dead_letter: None,
            rate_max: 1.0,
            wait: Duration::ZERO,
            wait_rows_max: 0,
        }
    }
}

/// What a table's options say to the engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableOptions {
    pub(crate) ready: Ready,
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_timeout: OnTimeout,
    /// Tables that must be ready before this one begins to load.
    pub(crate) after: Vec<String>,
    pub(crate) retry: Retry,
    /// How long a source that goes on may be silent.
    pub(crate) stale_after: Option<Duration>,
    pub(crate) miss: MissOptions,
    /// The texts of `default.COLUMN`, until the columns are known.
    default_texts: Vec<(String, String)>,
}

const WAIT: Duration = Duration::from_secs(10);
const WAIT_ROWS_MAX: usize = 100_000;

impl TableOptions {
    /// Takes the engine's options out of a table's, so that the connector sees only its own.
    ///
    /// # Errors
    /// Fails where one has a bad value, or is of no use without another.
    pub(crate) fn take(options: &mut Options) -> Result<Self> {
        options.set_engine_names(TABLE_OPTIONS);
        let taken = Self {
            ready: ready(options)?,
            timeout: options.time_span("ready.timeout")?,
            on_timeout: on_timeout(options)?,
            after: names(options.text("ready.after")),
            retry: retry(options)?,
            stale_after: options.time_span("stale.after")?,
            miss: miss(options)?,
            default_texts: options
                .iter()
                .filter_map(|(name, text)| {
                    let column = name.strip_prefix("default.")?;
                    Some((column.to_string(), text.to_string()))
                })
                .collect(),
        };
        if taken.timeout.is_none() && options.text("ready.on_timeout").is_some() {
            return Err(options.bad_value(
                "ready.on_timeout",
                "it means nothing without a timeout",
                Some("add ready.timeout = '30s'".into()),
            ));
        }
        let has_defaults = !taken.default_texts.is_empty();
        if taken.miss.is(MissPolicy::Default) && !has_defaults {
            let hint = "add default.COLUMN = 'value' for each column that is not to be NULL, or say on_miss = 'null'";
            return Err(options.bad_value("on_miss", "'default' needs values", Some(hint.into())));
        }
        Ok(taken)
    }

    /// Removes what has been taken from the options.
    pub(crate) fn remove_from(options: &mut Options) {
        for name in TABLE_OPTIONS
            .iter()
            .filter(|name| !TAKEN_ELSEWHERE.contains(name))
        {
            options.take(name);
        }
        let defaults: Vec<String> = options
            .iter()
            .filter(|(name, _)| name.starts_with("default."))
            .map(|(name, _)| name.to_string())
            .collect();
        for name in defaults {
            options.take(&name);
        }
    }

    /// Says whether an option asks for a source to wait for.
    pub(crate) fn needs_source(&self) -> Option<&'static str> {
        if self.ready != Ready::AtEnd {
            Some("ready")
        } else if self.timeout.is_some() {
            Some("ready.timeout")
        } else if !self.after.is_empty() {
            Some("ready.after")
        } else if self.retry != Retry::default() {
            Some("retry.max")
        } else if self.stale_after.is_some() {
            Some("stale.after")
        } else {
            None
        }
    }

    /// Gives the default values the types of the table's columns.
    ///
    /// # Errors
    /// Fails where there is no such column, or the value is none of its type.
    pub(crate) fn type_defaults(&mut self, schema: &Schema, options: &Options) -> Result<()> {
        let mut defaults = vec![None; schema.fields().len()];
        for (column, text) in &self.default_texts {
            let name = format!("default.{column}");
            let fields = schema.fields();
            let Some(at) = fields
                .iter()
                .position(|field| field.name().eq_ignore_ascii_case(column))
            else {
                let near = nearest(column, fields.iter().map(|field| field.name().as_str()));
                return Err(options.bad_value(
                    &name,
                    &format!("there is no column '{column}'"),
                    near.map(|near| format!("did you mean 'default.{near}'?")),
                ));
            };
            let kind = fields[at].data_type();
            let value = typed(text, kind).ok_or_else(|| {
                let expected = crate::session::sql_type(kind);
                options.bad_value(&name, &format!("expected a {expected}, found '{text}'"), None)
            })?;
            defaults[at] = Some(value);
        }
        self.miss.defaults = defaults;
        Ok(())
    }
}

impl MissOptions {
    /// Says whether a policy may come to be followed by itself, without a hint.
    fn is(&self, policy: MissPolicy) -> bool {
        self.on_miss
            .is_some_and(|on_miss| on_miss.policy == policy || on_miss.settled() == Some(policy))
    }

    /// Says whether there is any value that stands in for a row.
    pub(crate) fn has_defaults(&self) -> bool {
        self.defaults.iter().any(Option::is_some)
    }
}

fn ready(options: &Options) -> Result<Ready> {
    let Some(text) = options.text("ready").map(str::trim) else {
        return Ok(Ready::AtEnd);
    };
    if let Some(time) = text
        .strip_prefix("timestamp:")
        .or_else(|| text.strip_prefix("TIMESTAMP:"))
    {
        let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
        let value = typed(time.trim(), &kind);
        let value = value
            .as_ref()
            .and_then(|value| value.as_any().downcast_ref::<TimestampMicrosecondArray>());
        return match value {
            Some(value) => Ok(Ready::At(ReadyPoint::Timestamp(value.value(0)))),
            None => Err(options.bad_value(
                "ready",
                &format!("expected a time after 'timestamp:', found '{time}'"),
                Some("as in ready = 'timestamp:2026-11-25T09:30:00'".into()),
            )),
        };
    }
    let words = ["end", "immediately", "snapshot", "timestamp"];
    Ok(match options.choice("ready", &words)? {
        Some(1) => Ready::Immediately,
        Some(2) => Ready::At(ReadyPoint::Snapshot),
        Some(3) => {
            let hint = "as in ready = 'timestamp:2026-11-25T09:30:00'".to_string();
            return Err(options.bad_value("ready", "the time is missing", Some(hint)));
        }
        _ => Ready::AtEnd,
    })
}

fn on_timeout(options: &Options) -> Result<OnTimeout> {
    Ok(
        match options.choice("ready.on_timeout", &["fail", "hold", "proceed"])? {
            Some(1) => OnTimeout::Hold,
            Some(2) => OnTimeout::Proceed,
            _ => OnTimeout::Fail,
        },
    )
}

fn retry(options: &Options) -> Result<Retry> {
    let usual = Retry::default();
    let max_set = options.parsed("retry.max", "a whole number")?;
    Ok(Retry {
        max: max_set.unwrap_or(usual.max),
        max_set,
        backoff: options.time_span("retry.backoff")?.unwrap_or(usual.backoff),
        backoff_max: options
            .time_span("retry.backoff_max")?
            .unwrap_or(usual.backoff_max),
    })
}

fn miss(options: &Options) -> Result<MissOptions> {
    let words: Vec<_> = MissPolicy::ALL.iter().map(|policy| policy.word()).collect();
    let policy = options.choice("on_miss", &words)?.map(|at| MissPolicy::ALL[at]);
    let then = options.choice("miss.then", &words)?.map(|at| MissPolicy::ALL[at]);
    if then == Some(MissPolicy::Wait) {
        return Err(options.bad_value("miss.then", "a row cannot wait twice", None));
    }
    let dead_letter = options.text("miss.dead_letter").map(str::to_string);
    let on_miss = policy.map(|policy| OnMiss { policy, then });
    let miss = MissOptions {
        on_miss,
        then,
        defaults: Vec::new(),
        dead_letter,
        rate_max: options.share("miss.rate_max")?.unwrap_or(1.0),
        wait: options.time_span("miss.wait")?.unwrap_or(WAIT),
        wait_rows_max: options
            .parsed("miss.wait_rows_max", "a whole number")?
            .unwrap_or(WAIT_ROWS_MAX),
    };
    if miss.is(MissPolicy::DeadLetter) && miss.dead_letter.is_none() {
        let hint = "add miss.dead_letter = 'name of a sink'".to_string();
        return Err(options.bad_value("on_miss", "'dead_letter' needs a sink", Some(hint)));
    }
    Ok(miss)
}

/// Splits names at commas.
fn names(text: Option<&str>) -> Vec<String> {
    let names = text.unwrap_or_default().split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect()
}

/// Reads a text as a value of a type; none where it is not one.
fn typed(text: &str, kind: &DataType) -> Option<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(&StringArray::from(vec![text]), kind, &options)
        .ok()
        .filter(|value| value.is_valid(0))
}

#[cfg(test)]
mod tests {

    use arrow::datatypes::Field;

    use super::*;

    fn taken(pairs: &[(&str, &str)]) -> Result<TableOptions> {
        let mut options = Options::new("table t");
        for (name, value) in pairs {
            options.set(name, *value, None);
        }
        TableOptions::take(&mut options)
    }

    #[test]
    fn time_spans_have_units() {
        let read = |text| taken(&[("ready.timeout", text)]).map(|taken| taken.timeout);
        assert_eq!(read("200ms").unwrap(), Some(Duration::from_millis(200)));
        assert_eq!(read("1.5 s").unwrap(), Some(Duration::from_millis(1500)));
        assert_eq!(read("2min").unwrap(), Some(Duration::from_secs(120)));
        assert!(
            read("30")
                .unwrap_err()
                .to_string()
                .contains("expected a time span")
        );
    }

    #[test]
    fn a_pause_doubles_up_to_its_cap() {
        let retry = Retry {
            max: 9,
            max_set: Some(9),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_millis(350),
        };
        let pauses: Vec<_> = (1..5).map(|attempt| retry.pause(attempt).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 350, 350]);
    }

    #[test]
    fn what_is_of_no_use_alone_is_refused() {
        for (name, value) in [
            ("ready.on_timeout", "hold"),
            ("on_miss", "dead_letter"),
            ("on_miss", "default"),
            ("miss.then", "wait"),
            ("ready", "timestamp"),
        ] {
            assert!(taken(&[(name, value)]).is_err(), "{name} = {value}");
        }
    }

    #[test]
    fn defaults_have_their_columns_types() {
        let mut options = Options::new("table t");
        options.set("default.n", "7", None);
        let mut taken = TableOptions::take(&mut options).unwrap();
        let schema = Schema::new(vec![Field::new("n", DataType::Decimal128(9, 2), true)]);
        taken.type_defaults(&schema, &options).unwrap();
        let value = taken.miss.defaults[0].clone().unwrap();
        assert_eq!((value.len(), value.data_type()), (1, &DataType::Decimal128(9, 2)));
        let schema = Schema::new(vec![Field::new("m", DataType::Int64, true)]);
        let error = taken.type_defaults(&schema, &options).unwrap_err().to_string();
        assert!(
            error.contains("no column 'n'") && error.contains("default.m"),
            "{error}"
        );
    }
}

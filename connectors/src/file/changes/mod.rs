//! Changelogs in files: records of which each says what it does to the row of its key.
//!
//! ```text
//!  op = 'column'             a column says it       layout.rs    any format
//!  format = 'debezium-json'  an envelope says it    ../text/debezium.rs
//!
//!  record ─▶ operation ─▶ judged: is it known, is the key whole? ─▶ row + change code
//!            operation.rs       judge.rs                              the engine's CHANGE_COLUMN
//! ```

mod judge;
mod layout;
mod operation;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fletching::Result;
use fletching::connector::{CHANGE_COLUMN, OptionSpec, Options, RelationKind, RelationSpec};

pub(crate) use judge::{Fault, Judge};
pub(crate) use layout::{ChangesLayout, changes_of};
pub(crate) use operation::{Operation, envelope_operation};

/// The options of changelogs.
pub(crate) const CHANGE_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "op",
        help: "the column that says what each record does to the table",
    },
    OptionSpec {
        name: "event_time",
        help: "the column that ready = 'timestamp:…' goes by",
    },
];

/// How records say what they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Telling {
    /// By a column of this name.
    Column(String),
    /// By the envelope that Debezium puts around a row.
    Envelope,
}

/// What must be there of a record, by what it does.
#[derive(Debug, Clone)]
pub(crate) struct ChangeRules {
    pub(crate) telling: Telling,
    /// The columns of the primary key: never NULL.
    key: Vec<String>,
    /// The columns declared NOT NULL: never NULL in a row that is put.
    required: Vec<String>,
}

impl ChangeRules {
    /// Reads what a relation's options and columns say; none where its records are plain rows.
    ///
    /// # Errors
    /// Fails where the options contradict each other, or the relation is no table.
    pub(crate) fn from_spec(spec: &RelationSpec) -> Result<Option<Self>> {
        let options = &spec.options;
        let op = options.text("op").map(str::to_owned);
        let telling = match (op, is_debezium(options)) {
            (None, false) => return Ok(None),
            (Some(_), true) => {
                let hint = "leave it out: the envelope's own 'op' is read".to_owned();
                return Err(options.bad_value("op", "format 'debezium-json' says it already", Some(hint)));
            }
            (Some(column), false) => Telling::Column(column),
            (None, true) => Telling::Envelope,
        };
        let name = match telling {
            Telling::Column(_) => "op",
            Telling::Envelope => "format",
        };
        if spec.kind != RelationKind::Table {
            let message = format!("a changelog is kept as a table, not as a {}", spec.kind.word());
            let hint = "say CREATE TABLE … (…, PRIMARY KEY (…))".to_owned();
            return Err(options.bad_value(name, &message, Some(hint)));
        }
        if telling == Telling::Envelope && spec.schema.is_none() {
            let hint = "as in CREATE TABLE t (id BIGINT, …, PRIMARY KEY (id))".to_owned();
            let message = "the columns of 'debezium-json' must be declared";
            return Err(options.bad_value(name, message, Some(hint)));
        }
        let fields = spec.schema.iter().flat_map(|schema| schema.fields().iter());
        if let Telling::Column(op) = &telling
            && fields.clone().any(|field| field.name().eq_ignore_ascii_case(op))
        {
            let message = format!("the column '{op}' says what each record does, and is none of the table");
            let hint = "leave it out of the declared columns".to_owned();
            return Err(options.bad_value(name, &message, Some(hint)));
        }
        Ok(Some(Self {
            telling,
            key: spec.primary_key.clone(),
            required: fields
                .filter(|field| !field.is_nullable())
                .map(|field| field.name().clone())
                .collect(),
        }))
    }

    /// Returns the columns that a file has, of those that the table has: a column that says what
    /// records do comes last. A deletion may leave any of them NULL.
    pub(crate) fn file_columns(&self, declared: &Schema) -> SchemaRef {
        let mut fields: Vec<Field> = nullable(declared);
        if let Telling::Column(op) = &self.telling {
            fields.push(Field::new(op, DataType::Utf8View, true));
        }
        Arc::new(Schema::new(fields))
    }

    /// Finds the columns that are judged among those that a reader decodes.
    pub(crate) fn judge(&self, decoded: &Schema) -> Judge {
        let op = match &self.telling {
            Telling::Column(op) => super::columns::find(op, names(decoded)),
            Telling::Envelope => None,
        };
        let places = |wanted: &[String]| {
            let place = |name: &String| super::columns::find(name, names(decoded));
            wanted.iter().filter_map(place).collect()
        };
        Judge::new(decoded, op, places(&self.key), places(&self.required))
    }
}

fn names(schema: &Schema) -> impl Iterator<Item = &str> {
    schema.fields().iter().map(|field| field.name().as_str())
}

/// Copies a schema's fields as nullable.
pub(crate) fn nullable(schema: &Schema) -> Vec<Field> {
    let fields = schema.fields().iter();
    fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect()
}

/// Adds the engine's column of changes.
pub(crate) fn with_change_column(schema: &Schema) -> SchemaRef {
    let mut fields = nullable(schema);
    fields.push(Field::new(CHANGE_COLUMN, DataType::Int8, false));
    Arc::new(Schema::new(fields))
}

/// Says whether the option `format` asks for Debezium's envelopes.
pub(crate) fn is_debezium(options: &Options) -> bool {
    options.text("format").is_some_and(|text| {
        let text = text.trim();
        ["debezium-json", "debezium_json"]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(text))
    })
}

/// What a reader has noticed of the records it decoded last.
#[derive(Debug)]
pub(crate) struct Marks {
    /// The latest time of a record, in microseconds since 1970; `i64::MIN` for none.
    time_us: AtomicI64,
    /// Whether a record has shown that the snapshot is over.
    snapshot_over: AtomicBool,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            time_us: AtomicI64::new(i64::MIN),
            snapshot_over: AtomicBool::new(false),
        }
    }
}

impl Marks {
    pub(crate) fn note_time(&self, time_us: i64) {
        self.time_us.fetch_max(time_us, Relaxed);
    }

    pub(crate) fn note_snapshot_over(&self) {
        self.snapshot_over.store(true, Relaxed);
    }

    /// Returns the latest time so far.
    pub(crate) fn time_us(&self) -> i64 {
        self.time_us.load(Relaxed)
    }

    /// Says whether the snapshot is over.
    pub(crate) fn is_snapshot_over(&self) -> bool {
        self.snapshot_over.load(Relaxed)
    }
}

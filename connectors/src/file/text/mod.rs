//! Text formats: CSV and JSON lines.
//!
//! ```text
//!  file ─▶ buffer (blocks) ─▶ records (spans, line numbers) ─▶ cells of text ─▶ typed columns
//!                                   │                               │
//!                                   └────────── bad rows ◀──────────┘   error, skip, dead letter
//! ```
//!
//! A batch is decoded column by column. A cell that is not a value of its column's type is noted
//! with its row while the column is built, so that a bad row costs no second pass.

mod bad_rows;
mod buffer;
#[cfg(feature = "csv")]
mod csv;
#[cfg(feature = "csv")]
pub(crate) mod csv_split;
#[cfg(feature = "csv")]
mod csv_style;
#[cfg(feature = "csv")]
mod csv_write;
#[cfg(feature = "json")]
pub(crate) mod debezium;
#[cfg(feature = "csv")]
mod infer;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "json")]
mod json_infer;
#[cfg(feature = "json")]
pub(crate) mod json_shape;
pub(crate) mod reading;
mod times;
pub(crate) mod values;

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use fletching::Result;
use fletching::connector::{OptionSpec, Options, Reader, SourceReport};

pub(crate) use bad_rows::OnBadRow;
#[cfg(feature = "kafka")]
pub(crate) use bad_rows::cell_reason;
#[cfg(feature = "csv")]
pub(crate) use csv_style::CsvStyle;
#[cfg(feature = "csv")]
pub(crate) use csv_write::CsvWriter;
#[cfg(feature = "kafka")]
pub(crate) use json::shape_reason;
pub(crate) use values::cast_text;

use super::changes::{ChangeRules, Judge, Marks, Telling, nullable};
use super::columns::{find, missing_column, project};
use super::dead_letters::DeadLetters;
use super::format::{Packing, guess, packing_option};
use super::paths::{SourceFile, file_error};
use super::source::{Layout, Scan, Unit, UnitPlace};
use crate::spelling::type_name;

/// The options of both text formats.
pub(crate) const TEXT_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "compression",
        help: "how the text is packed: none, gzip, zstd",
    },
    OptionSpec {
        name: "infer_rows",
        help: "records that types are guessed from",
    },
    OptionSpec {
        name: "on_bad_row",
        help: "error, skip or dead_letter",
    },
    OptionSpec {
        name: "dead_letter.path",
        help: "the file for rows that cannot be decoded",
    },
];

/// The options that say how CSV is written.
pub(crate) const CSV_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "header",
        help: "whether the first line names the columns",
    },
    OptionSpec {
        name: "delimiter",
        help: "what separates fields",
    },
    OptionSpec {
        name: "quote",
        help: "what encloses fields; '' for nothing",
    },
    OptionSpec {
        name: "escape",
        help: "what makes the next character ordinary in quotes",
    },
    OptionSpec {
        name: "comment",
        help: "what begins a line that is passed over",
    },
    OptionSpec {
        name: "null",
        help: "the text that stands for NULL",
    },
];

/// The options of JSON alone.
pub(crate) const JSON_OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "missing_columns",
    help: "whether a declared column that no sampled line has is an error or null",
}];

/// Which text format, and how it is written.
#[derive(Debug, Clone)]
pub(crate) enum TextKind {
    #[cfg(feature = "csv")]
    Csv(CsvStyle),
    #[cfg(feature = "json")]
    Json { missing_is_null: bool },
}

/// How text files are read.
#[derive(Debug, Clone)]
pub(crate) struct TextOptions {
    pub(crate) kind: TextKind,
    packing: Option<Packing>,
    infer_rows: usize,
    on_bad_row: OnBadRow,
    /// What each record must have, where records are changes.
    changes: Option<ChangeRules>,
}

/// From how many records types are guessed, unless an option says otherwise.
const INFER_ROWS: usize = 10_000;

impl TextOptions {
    pub(crate) fn from_options(
        kind: TextKind,
        options: &Options,
        changes: Option<ChangeRules>,
    ) -> Result<Self> {
        Ok(Self {
            kind,
            packing: packing_option(options)?,
            infer_rows: options
                .parsed("infer_rows", "a whole number")?
                .unwrap_or(INFER_ROWS),
            on_bad_row: OnBadRow::from_options(options)?,
            changes,
        })
    }

    /// Says whether each line is an envelope around a row.
    fn has_envelopes(&self) -> bool {
        let rules = self.changes.as_ref();
        rules.is_some_and(|rules| rules.telling == Telling::Envelope)
    }

    /// Returns how a file is packed: as the options say, or as its name tells.
    fn packing_of(&self, file: &SourceFile) -> Packing {
        self.packing.unwrap_or_else(|| guess(&file.path).packing)
    }
}

/// Which columns of a source a reader decodes, and which of them it gives.
#[derive(Debug, Clone)]
struct Picked {
    /// Columns to decode, by position in the source's schema.
    decoded: Vec<usize>,
    schema: SchemaRef,
    /// Columns to give, by position among the decoded.
    output: Vec<usize>,
    output_schema: SchemaRef,
    /// The same with every column nullable, for a batch that still has its bad rows.
    nullable_output: SchemaRef,
    /// Judges records that are changes.
    judge: Option<Judge>,
    marks: Arc<Marks>,
}

impl Picked {
    /// Where bad rows are left out, all columns are decoded, so that the rows that stay do not
    /// depend on which columns a query reads.
    fn new(schema: &SchemaRef, scan: &Scan, options: &TextOptions) -> Self {
        let on_bad_row = &options.on_bad_row;
        let columns = schema.fields().len();
        let (decoded, output) = match on_bad_row {
            OnBadRow::Error => {
                let mut decoded = scan.projection.clone();
                decoded.sort_unstable();
                decoded.dedup();
                let place = |column: &usize| decoded.binary_search(column).unwrap_or(0);
                let output = scan.projection.iter().map(place).collect();
                (decoded, output)
            }
            _ => ((0..columns).collect(), scan.projection.clone()),
        };
        let decoded_schema = project(schema, &decoded);
        Self {
            judge: options.changes.as_ref().map(|rules| rules.judge(&decoded_schema)),
            marks: Arc::clone(&scan.marks),
            schema: decoded_schema,
            decoded,
            output,
            output_schema: Arc::clone(&scan.schema),
            nullable_output: Arc::new(Schema::new(nullable(&scan.schema))),
        }
    }
}

/// Text files of one format.
#[derive(Debug)]
pub(crate) struct TextLayout {
    files: Vec<SourceFile>,
    options: TextOptions,
    schema: SchemaRef,
    units: Vec<Unit>,
    /// For each file the places of the schema's columns in it.
    #[cfg(feature = "csv")]
    places: Vec<Vec<usize>>,
    /// For each file the keys of the schema's columns in it.
    #[cfg(feature = "json")]
    keys: Vec<Vec<String>>,
}

impl TextLayout {
    /// Finds the schema, where none is declared, and each column's place in each file.
    pub(crate) fn open(
        files: Vec<SourceFile>,
        options: TextOptions,
        declared: Option<&SchemaRef>,
    ) -> Result<Self> {
        let schema = match (declared, files.first()) {
            (Some(declared), _) => Arc::new(Schema::new(declared.fields().clone())),
            (None, Some(first)) => Arc::new(infer(first, &options)?),
            (None, None) => Arc::new(Schema::empty()),
        };
        let units = files
            .iter()
            .map(|file| Unit {
                bytes: file.bytes,
                rows: None,
            })
            .collect();
        let mut layout = Self {
            files,
            options,
            schema,
            units,
            #[cfg(feature = "csv")]
            places: Vec::new(),
            #[cfg(feature = "json")]
            keys: Vec::new(),
        };
        layout.check_types()?;
        layout.find_columns(declared.is_some())?;
        Ok(layout)
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn check_types(&self) -> Result<()> {
        for field in self.schema.fields() {
            let readable = match &self.options.kind {
                #[cfg(feature = "csv")]
                TextKind::Csv(_) => values::is_readable(field.data_type()),
                #[cfg(feature = "json")]
                TextKind::Json { .. } => json_shape::is_readable(field.data_type()),
            };
            if !readable {
                let path = self.files.first().map_or(Path::new(""), |file| &file.path);
                let message = format!(
                    "column '{}' is declared {}, which cannot be read from text",
                    field.name(),
                    type_name(field.data_type())
                );
                return Err(file_error(path, message, None));
            }
        }
        Ok(())
    }

    fn find_columns(&mut self, declared: bool) -> Result<()> {
        for file in &self.files {
            match &self.options.kind {
                #[cfg(feature = "csv")]
                TextKind::Csv(style) => {
                    let places = csv_places(file, &self.options, style, &self.schema, declared)?;
                    self.places.push(places);
                }
                #[cfg(feature = "json")]
                TextKind::Json { missing_is_null } => {
                    let found = if self.options.has_envelopes() {
                        json_infer::envelope_keys(file, &self.options)?
                    } else {
                        json_infer::keys(file, &self.options, &self.schema)?
                    };
                    let mut keys: Vec<String> = Vec::new();
                    for field in self.schema.fields() {
                        let names = || found.iter().map(String::as_str);
                        match find(field.name(), names()) {
                            Some(at) => keys.push(found[at].clone()),
                            None if *missing_is_null || !declared || found.is_empty() => {
                                keys.push(field.name().clone());
                            }
                            None => {
                                return Err(missing_column(&file.path, field.name(), names()));
                            }
                        }
                    }
                    self.keys.push(keys);
                }
            }
        }
        Ok(())
    }
}

/// Guesses a file's columns.
fn infer(file: &SourceFile, options: &TextOptions) -> Result<Schema> {
    match &options.kind {
        #[cfg(feature = "csv")]
        TextKind::Csv(style) => infer::infer_csv(file, options, style),
        #[cfg(feature = "json")]
        TextKind::Json { .. } => json_infer::infer_json(file, options),
    }
}

/// Finds the schema's columns in a CSV file: by name, or by position where there is no header.
#[cfg(feature = "csv")]
fn csv_places(
    file: &SourceFile,
    options: &TextOptions,
    style: &CsvStyle,
    schema: &SchemaRef,
    declared: bool,
) -> Result<Vec<usize>> {
    let (names, _) = csv::open_csv(file, options, style, &Arc::<SourceReport>::default())?;
    let columns = schema.fields().len();
    if !style.header {
        if names.len() != columns && !names.is_empty() {
            let known = if declared {
                "are declared"
            } else {
                "were found in the first file"
            };
            let message = format!("has {} columns, but {columns} {known}", names.len());
            let hint = "check the option delimiter, and declare each column in order".to_owned();
            return Err(file_error(&file.path, message, Some(hint)));
        }
        return Ok((0..columns).collect());
    }
    let names = || names.iter().map(String::as_str);
    schema
        .fields()
        .iter()
        .map(|field| {
            find(field.name(), names()).ok_or_else(|| missing_column(&file.path, field.name(), names()))
        })
        .collect()
}

impl Layout for TextLayout {
    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn place(&self, unit: usize) -> UnitPlace {
        UnitPlace {
            origin: self.files[unit].origin(),
            rows_before: 0,
        }
    }

    fn open(&self, unit: usize, scan: &Scan) -> Result<Box<dyn Reader>> {
        let file = &self.files[unit];
        let picked = Picked::new(&self.schema, scan, &self.options);
        let desk = bad_rows::BadRowDesk {
            policy: self.options.on_bad_row.clone(),
            origin: file.origin(),
            report: Arc::clone(&scan.report),
            letters: scan.dead_letters.clone(),
        };
        match &self.options.kind {
            #[cfg(feature = "csv")]
            TextKind::Csv(style) => {
                let (_, records) = csv::open_csv(file, &self.options, style, &scan.report)?;
                let places = &self.places[unit];
                let rest = (scan.batch_rows_max, desk);
                Ok(Box::new(csv::CsvReader::new(
                    records, style, places, picked, rest,
                )))
            }
            #[cfg(feature = "json")]
            TextKind::Json { .. } => {
                let packing = self.options.packing_of(file);
                let buffer = buffer::TextBuffer::open(file, packing, &scan.report)?;
                let keys = &self.keys[unit];
                let rest = (scan.batch_rows_max, desk);
                let has_envelopes = self.options.has_envelopes();
                let reader = json::JsonReader::new(buffer, keys, has_envelopes, picked, rest)?;
                Ok(Box::new(reader))
            }
        }
    }

    fn dead_letters(&self) -> Result<Option<Arc<DeadLetters>>> {
        match &self.options.on_bad_row {
            OnBadRow::DeadLetter(path) => DeadLetters::create(path).map(Some),
            _ => Ok(None),
        }
    }
}

/// Says whether a type can be written as text.
pub(crate) fn is_writable_csv(data_type: &DataType) -> bool {
    !data_type.is_nested() || matches!(data_type, DataType::Dictionary(_, value) if !value.is_nested())
}

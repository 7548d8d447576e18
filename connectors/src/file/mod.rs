//! `connector = 'file'`: files of records, read and written.

mod atomic;
pub(crate) mod changes;
mod columns;
mod dead_letters;
mod encode;
mod epochs;
mod feed;
mod follow;
mod format;
#[cfg(feature = "ipc")]
mod ipc_read;
mod letter_file;
mod packing;
#[cfg(feature = "parquet")]
mod parquet_read;
#[cfg(feature = "parquet")]
mod parquet_write;
mod paths;
mod sink;
mod source;
#[cfg(any(feature = "csv", feature = "json"))]
pub(crate) mod text;
#[cfg(feature = "parquet")]
mod text_bounds;
mod writeback;

use std::path::Path;
use std::sync::Arc;

use fletching::Result;
use fletching::connector::{
    Connector, LetterPlace, OnBadRow, OptionSpec, Options, RelationSpec, Sink, Source,
};

use arrow::datatypes::SchemaRef;

use changes::{CHANGE_OPTIONS, ChangeRules, ChangesLayout, Telling};
#[cfg(feature = "kafka")]
pub(crate) use columns::{batch_of, exact_decimals, find as find_column, may_round, viewed};
#[cfg(feature = "kafka")]
pub(crate) use dead_letters::{BAD_RECORD, DeadLetterShare, DeadLetters, letter};
use follow::{FOLLOW_OPTIONS, FollowedSource, is_followed};
use format::{Format, built, format_option, guess, unknown_format};
#[cfg(feature = "kafka")]
pub(crate) use letter_file::{LetterFile, LetterOrigin, beside};
use paths::{SourceFile, resolve};
use sink::{FileSink, SinkKind};
use source::{FileSource, Layout};

/// Reads and writes Parquet, CSV, JSON lines and Arrow IPC files.
///
/// A source is a file, a folder or a glob; its columns are those declared, or else found in the
/// first file. A sink is a file that appears, whole, when it is committed.
///
/// ```
/// use fletching::connector::{Connector, Options, RelationKind, RelationSpec};
/// use fletching_connectors::FileConnector;
///
/// let spec = RelationSpec {
///     name: "trades".into(),
///     kind: RelationKind::Stream,
///     schema: None,
///     primary_key: Vec::new(),
///     options: Options::new("stream trades").with("pth", "trades.parquet"),
/// };
/// let error = FileConnector.source(&spec).unwrap_err();
/// assert_eq!(error.to_string(), "stream trades: there is no option 'pth'; did you mean 'path'?");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FileConnector;

/// The options that all formats share.
const COMMON_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "connector",
        help: "file",
    },
    OptionSpec {
        name: "path",
        help: "a file; of sources also a folder or a glob",
    },
    OptionSpec {
        name: "format",
        help: "parquet, csv, json, arrow or debezium-json; else the name tells",
    },
];

/// The options of sinks of all formats.
const SINK_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "overwrite",
        help: "whether a file that exists is replaced",
    },
    OptionSpec {
        name: "compression",
        help: "how the file is packed",
    },
];

/// The options of Parquet sinks.
const PARQUET_SINK_OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "row_group_rows",
    help: "rows of a row group",
}];

#[cfg(any(feature = "csv", feature = "json"))]
use text::{CSV_OPTIONS, JSON_OPTIONS, TEXT_OPTIONS};
#[cfg(not(any(feature = "csv", feature = "json")))]
const CSV_OPTIONS: &[OptionSpec] = &[];
#[cfg(not(any(feature = "csv", feature = "json")))]
const JSON_OPTIONS: &[OptionSpec] = &[];
#[cfg(not(any(feature = "csv", feature = "json")))]
const TEXT_OPTIONS: &[OptionSpec] = &[];

/// Reads what is done about rows that cannot be decoded, in the engine's words.
#[cfg(any(feature = "csv", feature = "json"))]
fn on_bad_row(options: &Options) -> Result<OnBadRow> {
    Ok(match text::OnBadRow::from_options(options)? {
        text::OnBadRow::Error => OnBadRow::Error,
        text::OnBadRow::Skip => OnBadRow::Skip,
        text::OnBadRow::DeadLetter(path) => OnBadRow::Letter(LetterPlace::File(path)),
    })
}

#[cfg(not(any(feature = "csv", feature = "json")))]
fn on_bad_row(_: &Options) -> Result<OnBadRow> {
    Ok(OnBadRow::Error)
}

/// Lists the options of a format, or of all of them.
fn specs(format: Option<Format>, is_sink: bool) -> Vec<OptionSpec> {
    let of = |one: Format| format.is_none_or(|format| format == one);
    let mut specs = COMMON_OPTIONS.to_vec();
    if of(Format::Csv) {
        specs.extend(CSV_OPTIONS);
    }
    if is_sink {
        specs.extend(SINK_OPTIONS);
        if of(Format::Parquet) {
            specs.extend(PARQUET_SINK_OPTIONS);
        }
        return specs;
    }
    specs.extend(CHANGE_OPTIONS);
    specs.extend(FOLLOW_OPTIONS);
    if format.is_none_or(Format::is_text) {
        specs.extend(TEXT_OPTIONS);
    }
    if of(Format::Json) {
        specs.extend(JSON_OPTIONS);
    }
    specs
}

/// Refuses an option that another format has.
fn check_for_format(options: &Options, format: Format, is_sink: bool) -> Result<()> {
    let specs = specs(Some(format), is_sink);
    for (name, _) in options.iter() {
        if !specs.iter().any(|spec| spec.name == name) {
            let use_ = if is_sink { "sinks" } else { "sources" };
            let message = format!("has no meaning for {use_} of format {}", format.word());
            return Err(options.bad_value(name, &message, Some("leave it out".to_owned())));
        }
    }
    Ok(())
}

impl Connector for FileConnector {
    fn name(&self) -> &'static str {
        "file"
    }

    fn source(&self, spec: &RelationSpec) -> Result<Arc<dyn Source>> {
        let options = &spec.options;
        options.check(&specs(None, false))?;
        let path = options.required("path", "data/trades.parquet")?;
        if is_followed(options)? {
            return Ok(Arc::new(FollowedSource::open(spec, path)?));
        }
        if options.text("event_time").is_some() {
            let hint = "add follow = 'true', or leave it out".to_owned();
            return Err(options.bad_value("event_time", "a file that ends is read to its end", Some(hint)));
        }
        let (files, format) = resolve(path, format_option(options)?)?;
        let format = format.ok_or_else(|| unknown_format(options, path))?;
        let format = built(options, format)?;
        check_for_format(options, format, false)?;
        let rules = ChangeRules::from_spec(spec)?;
        let (found, layout) = open(files, format, spec, rules.as_ref())?;
        let schema = match (&spec.schema, &rules) {
            (Some(declared), Some(_)) => Arc::clone(declared),
            _ => found,
        };
        Ok(Arc::new(FileSource::new(schema, layout, rules.is_some())))
    }

    fn sink(&self, spec: &RelationSpec) -> Result<Arc<dyn Sink>> {
        let options = &spec.options;
        options.check(&specs(None, true))?;
        if changes::is_debezium(options) {
            let hint = "say format = 'json'".to_owned();
            return Err(options.bad_value("format", "'debezium-json' is read, not written", Some(hint)));
        }
        let text = options.required("path", "out/enriched.parquet")?;
        let path = Path::new(text);
        let format = match format_option(options)?.or(guess(path).format) {
            Some(format) => built(options, format)?,
            None => return Err(unknown_format(options, text)),
        };
        check_for_format(options, format, true)?;
        let kind = SinkKind::from_options(format, options, path)?;
        Ok(Arc::new(FileSink::new(text, format, kind, options)?))
    }
}

/// What a source is made of: its columns and its files.
type Opened = (SchemaRef, Arc<dyn Layout>);

/// Opens files of one format, whose records are plain rows or changes.
fn open(
    files: Vec<SourceFile>,
    format: Format,
    spec: &RelationSpec,
    rules: Option<&ChangeRules>,
) -> Result<Opened> {
    let Some(rules) = rules else {
        return open_format(files, format, spec, None);
    };
    let of_file = RelationSpec {
        schema: spec.schema.as_ref().map(|schema| rules.file_columns(schema)),
        ..spec.clone()
    };
    let (found, layout) = open_format(files, format, &of_file, Some(rules))?;
    let Telling::Column(op) = &rules.telling else {
        return Ok((found, layout));
    };
    let changes = ChangesLayout::new(layout, found, op, rules.clone(), &spec.subject())?;
    Ok((changes.schema(), Arc::new(changes)))
}

/// Opens files of one format, with the columns that the files have.
fn open_format(
    files: Vec<SourceFile>,
    format: Format,
    spec: &RelationSpec,
    rules: Option<&ChangeRules>,
) -> Result<Opened> {
    let declared = spec.schema.as_ref();
    match format {
        #[cfg(feature = "parquet")]
        Format::Parquet => {
            let layout = parquet_read::ParquetLayout::open(files, declared)?;
            Ok((layout.schema(), Arc::new(layout)))
        }
        #[cfg(feature = "ipc")]
        Format::Arrow => {
            let layout = ipc_read::IpcLayout::open(files, declared)?;
            Ok((layout.schema(), Arc::new(layout)))
        }
        #[cfg(feature = "csv")]
        Format::Csv => {
            let tabs = files.first().is_some_and(|file| guess(&file.path).tabs);
            let style = text::CsvStyle::from_options(&spec.options, tabs)?;
            open_text(files, text::TextKind::Csv(style), spec, rules)
        }
        #[cfg(feature = "json")]
        Format::Json => {
            let missing = spec.options.choice("missing_columns", &["error", "null"])?;
            let kind = text::TextKind::Json {
                missing_is_null: missing == Some(1),
            };
            open_text(files, kind, spec, rules)
        }
        #[cfg(not(all(feature = "parquet", feature = "csv", feature = "json", feature = "ipc")))]
        other => Err(built(&spec.options, other)
            .err()
            .unwrap_or(fletching::Error::Cancelled)),
    }
}

#[cfg(any(feature = "csv", feature = "json"))]
fn open_text(
    files: Vec<SourceFile>,
    kind: text::TextKind,
    spec: &RelationSpec,
    rules: Option<&ChangeRules>,
) -> Result<Opened> {
    let options = text::TextOptions::from_options(kind, &spec.options, rules.cloned())?;
    let layout = text::TextLayout::open(files, options, spec.schema.as_ref())?;
    Ok((layout.schema(), Arc::new(layout)))
}

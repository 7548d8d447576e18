//! `follow = true`: a folder or glob whose new files are read as they appear.
//!
//! A file is read once, whole, when it is first seen. So whoever writes it publishes it by renaming
//! it into place, as this connector's own sinks do; a file that is appended to is not followed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use fletching::connector::{
    BadRowPolicy, Feed, FeedRequest, LetterPlace, LetterWriter, OnBadRow, OptionSpec, Options, Reader,
    ReadyPoint, RelationKind, RelationSpec, ScanRequest, Source, SourceSize,
};
use fletching::{Error, Result};

use super::changes::{ChangeRules, Telling};
use super::columns::find;
use super::feed::FileFeed;
use super::format::{Format, built, format_option, guess, unknown_format};
use super::letter_file::{LetterFile, LetterOrigin, beside};
use super::paths::{SourceFile, find_now, is_glob};
use super::source::{FileSource, Layout};
use super::{check_for_format, open};

/// The options of sources that are followed.
pub(crate) const FOLLOW_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "follow",
        help: "whether new files of a folder or glob are read as they appear",
    },
    OptionSpec {
        name: "follow.interval",
        help: "how often new files are looked for",
    },
    OptionSpec {
        name: "bad_row.rate_max",
        help: "the share of bad records past which a pipeline ends",
    },
];

/// How often new files are looked for, unless an option says otherwise.
const INTERVAL: Duration = Duration::from_secs(1);

/// Files that are there, and those that will be.
#[derive(Debug)]
pub(crate) struct FollowedSource(Arc<Followed>);

/// What is followed, and how its files are read.
#[derive(Debug)]
pub(crate) struct Followed {
    path: String,
    format: Format,
    /// As the relation was declared, with the columns found where none were.
    spec: RelationSpec,
    rules: Option<ChangeRules>,
    /// What pipelines do about bad rows.
    pub(crate) policy: BadRowPolicy,
    pub(crate) schema: SchemaRef,
    /// The column of the records' time.
    pub(crate) event_time: Option<usize>,
    pub(crate) interval: Duration,
    /// What the files held when they were listed last.
    bytes: AtomicU64,
}

/// Says whether an option asks for following.
pub(crate) fn is_followed(options: &Options) -> Result<bool> {
    if options.boolean("follow")?.unwrap_or(false) {
        return Ok(true);
    }
    let needless = ["follow.interval", "bad_row.rate_max"];
    match needless.into_iter().find(|name| options.text(name).is_some()) {
        None => Ok(false),
        Some(name) => {
            let hint = Some("add follow = 'true'".into());
            Err(options.bad_value(name, "nothing is followed", hint))
        }
    }
}

impl FollowedSource {
    /// Looks at the files that are there for what the options do not say.
    ///
    /// # Errors
    /// Fails where an option is wrong, or neither options nor files say what the columns are.
    pub(crate) fn open(spec: &RelationSpec, path: &str) -> Result<Self> {
        let options = &spec.options;
        if !is_glob(path) && !Path::new(path).is_dir() {
            let (message, hint) = if Path::new(path).exists() {
                (
                    format!("'{path}' is one file, which is read once"),
                    "name its folder, or a glob such as 'in/*.csv'",
                )
            } else {
                (
                    format!("there is no folder '{path}' to follow"),
                    "create it first, or name a glob such as 'in/*.csv'",
                )
            };
            return Err(options.bad_value("path", &message, Some(hint.into())));
        }
        let (files, format) = find_now(path, format_option(options)?)?;
        let format = format.or(guess(Path::new(path)).format);
        let format = format.ok_or_else(|| unknown_format(options, path))?;
        let format = built(options, format)?;
        check_for_format(options, format, false)?;
        if files.is_empty() && spec.schema.is_none() {
            let message = format!("'{path}' holds no file yet to find the columns in");
            let hint = "declare the columns, as in (id BIGINT, …)".to_owned();
            return Err(options.bad_value("path", &message, Some(hint)));
        }
        let rules = ChangeRules::from_spec(spec)?;
        let (schema, _) = open(files.clone(), format, spec, rules.as_ref())?;
        let schema = spec.schema.clone().unwrap_or(schema);
        let bytes = AtomicU64::new(files.iter().map(|file| file.bytes).sum());
        Ok(Self(Arc::new(Followed {
            path: path.to_owned(),
            format,
            spec: RelationSpec {
                schema: Some(Arc::clone(&schema)),
                ..spec.clone()
            },
            rules,
            policy: policy(spec)?,
            event_time: event_time(options, &schema)?,
            schema,
            interval: interval(options)?,
            bytes,
        })))
    }
}

/// Reads what is done about bad rows.
fn policy(spec: &RelationSpec) -> Result<BadRowPolicy> {
    let options = &spec.options;
    let rate_max = options.share("bad_row.rate_max")?;
    if rate_max.is_some() && spec.kind != RelationKind::Stream {
        let message = "it is of streams that pipelines read";
        return Err(options.bad_value("bad_row.rate_max", message, None));
    }
    Ok(BadRowPolicy {
        on_bad: super::on_bad_row(options)?,
        rate_max: rate_max.unwrap_or(1.0),
    })
}

/// Finds the column of the records' time.
pub(crate) fn event_time(options: &Options, schema: &SchemaRef) -> Result<Option<usize>> {
    let Some(column) = options.text("event_time") else {
        return Ok(None);
    };
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let Some(at) = find(column, names) else {
        return Err(options.bad_value("event_time", &format!("there is no column '{column}'"), None));
    };
    if !matches!(
        schema.field(at).data_type(),
        DataType::Timestamp(..) | DataType::Date32
    ) {
        let hint = "take a column of type TIMESTAMP or DATE".to_owned();
        return Err(options.bad_value("event_time", &format!("column '{column}' is no time"), Some(hint)));
    }
    Ok(Some(at))
}

fn interval(options: &Options) -> Result<Duration> {
    let Some(text) = options.text("follow.interval") else {
        return Ok(INTERVAL);
    };
    let found = options.time_span("follow.interval")?;
    match found.filter(|interval| !interval.is_zero()) {
        Some(interval) => Ok(interval),
        None => {
            let message = format!("expected more than nothing, found '{text}'");
            Err(options.bad_value("follow.interval", &message, None))
        }
    }
}

impl Followed {
    /// Lists the files that are there now.
    pub(crate) fn files(&self) -> Result<Vec<SourceFile>> {
        let (files, _) = find_now(&self.path, Some(self.format))?;
        self.bytes
            .store(files.iter().map(|file| file.bytes).sum(), Relaxed);
        Ok(files)
    }

    /// Opens files with the columns that are known.
    pub(crate) fn open(&self, files: Vec<SourceFile>) -> Result<Arc<dyn Layout>> {
        open(files, self.format, &self.spec, self.rules.as_ref()).map(|(_, layout)| layout)
    }

    /// Opens one file. Its dead letters go to a file of their own, named after both.
    pub(crate) fn open_one(&self, file: SourceFile) -> Result<Arc<dyn Layout>> {
        let mut spec = self.spec.clone();
        if let Some(letters) = spec.options.text("dead_letter.path").map(str::to_owned) {
            let of = file.path.file_name().unwrap_or_default().to_string_lossy();
            let path = beside(Path::new(&letters), &of);
            spec.options.set("dead_letter.path", path.to_string_lossy(), None);
        }
        open(vec![file], self.format, &spec, self.rules.as_ref()).map(|(_, layout)| layout)
    }

    pub(crate) fn has_changes(&self) -> bool {
        self.rules.is_some()
    }

    /// Says whether rows that cannot be decoded are kept elsewhere.
    pub(crate) fn keeps_letters(&self) -> bool {
        matches!(self.policy.on_bad, OnBadRow::Letter(_))
    }
}

impl Source for FollowedSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn size(&self) -> SourceSize {
        SourceSize {
            rows: None,
            bytes: Some(self.0.bytes.load(Relaxed)),
        }
    }

    /// A snapshot's end is told by Debezium's envelopes, a time by them or a column.
    fn can_tell(&self, point: ReadyPoint) -> bool {
        let rules = self.0.rules.as_ref();
        let has_envelopes = rules.is_some_and(|rules| rules.telling == Telling::Envelope);
        match point {
            ReadyPoint::End => true,
            ReadyPoint::Snapshot => has_envelopes,
            ReadyPoint::Timestamp(_) => has_envelopes || self.0.event_time.is_some(),
            _ => false,
        }
    }

    /// Reads the files that are there now.
    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        let followed = &self.0;
        let layout = followed.open(followed.files()?)?;
        FileSource::new(Arc::clone(&followed.schema), layout, followed.has_changes()).scan(request)
    }

    fn is_unbounded(&self) -> bool {
        true
    }

    fn has_changes(&self) -> bool {
        self.0.has_changes()
    }

    fn bad_rows(&self) -> BadRowPolicy {
        self.0.policy.clone()
    }

    fn letters(&self, further: Option<&str>) -> Result<Box<dyn LetterWriter>> {
        let OnBadRow::Letter(LetterPlace::File(path)) = &self.0.policy.on_bad else {
            return Err(Error::internal("a source keeps no dead letters"));
        };
        let path = further.map_or_else(|| path.clone(), |name| beside(path, name));
        Ok(Box::new(LetterFile::new(&path, LetterOrigin::Files)))
    }

    fn feed(&self, request: &FeedRequest) -> Result<Box<dyn Feed>> {
        if !self.can_tell(request.until) {
            return Err(Error::internal("a source is asked for a point it cannot tell"));
        }
        Ok(Box::new(FileFeed::open(Arc::clone(&self.0), request)?))
    }
}

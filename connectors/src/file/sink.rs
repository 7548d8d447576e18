//! A sink that writes one file, which appears when it is committed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use fletching::connector::{EpochWriter, Options, Sink, SinkSummary, SinkWriter};
use fletching::{Error, Result};

use super::atomic::AtomicFile;
use super::encode::Encoder;
use super::epochs::EpochFiles;
use super::format::{Format, Packing, guess, packing_option};
use super::packing::Packer;
use super::paths::file_error;

/// What a format needs to know to write.
#[derive(Debug, Clone)]
pub(crate) enum SinkKind {
    #[cfg(feature = "parquet")]
    Parquet { packing: usize, row_group_rows: usize },
    #[cfg(feature = "csv")]
    Csv(super::text::CsvStyle),
    #[cfg(feature = "json")]
    Json,
    #[cfg(feature = "ipc")]
    Arrow { packing: usize },
}

/// Rows of a Parquet row group, unless an option says otherwise: enough for good encodings, few
/// enough that a file of some million rows is read in parallel.
const ROW_GROUP_ROWS: usize = 1 << 20;

impl SinkKind {
    /// Reads the options of a format.
    pub(crate) fn from_options(format: Format, options: &Options, path: &Path) -> Result<Self> {
        match format {
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                let words = super::parquet_write::ParquetPacking::WORDS;
                let packing = options.choice("compression", &words)?.unwrap_or(0);
                let rows = options.parsed("row_group_rows", "a whole number above 0")?;
                let row_group_rows = rows.unwrap_or(ROW_GROUP_ROWS);
                if row_group_rows == 0 {
                    let message = "expected a whole number above 0, found '0'";
                    return Err(options.bad_value("row_group_rows", message, None));
                }
                Ok(Self::Parquet {
                    packing,
                    row_group_rows,
                })
            }
            #[cfg(feature = "csv")]
            Format::Csv => {
                let tabs = guess(path).tabs;
                super::text::CsvStyle::from_options(options, tabs).map(Self::Csv)
            }
            #[cfg(feature = "json")]
            Format::Json => Ok(Self::Json),
            #[cfg(feature = "ipc")]
            Format::Arrow => {
                let words = super::encode::IpcEncoder::WORDS;
                Ok(Self::Arrow {
                    packing: options.choice("compression", &words)?.unwrap_or(0),
                })
            }
            #[cfg(not(all(feature = "parquet", feature = "csv", feature = "json", feature = "ipc")))]
            other => {
                let _ = (path, ROW_GROUP_ROWS);
                Err(super::format::built(options, other)
                    .err()
                    .unwrap_or(Error::Cancelled))
            }
        }
    }
}

/// A sink of one file, or of numbered files in a folder.
#[derive(Debug)]
pub(crate) struct FileSink {
    path: PathBuf,
    /// Whether the path is a folder to write parts into.
    parts: Option<AtomicUsize>,
    format: Format,
    kind: SinkKind,
    packing: Packing,
    /// Whether what is there may be replaced, where that is said.
    overwrite: Option<bool>,
}

impl FileSink {
    /// Reads the options that all formats share.
    pub(crate) fn new(text: &str, format: Format, kind: SinkKind, options: &Options) -> Result<Self> {
        let path = PathBuf::from(text);
        let packing = match format.is_text() {
            true => packing_option(options)?.unwrap_or(guess(&path).packing),
            false => Packing::None,
        };
        let parts = text.ends_with('/').then(AtomicUsize::default);
        let overwrite = options.boolean("overwrite")?;
        if !format.is_text() && guess(&path).packing != Packing::None {
            let message = format!("a {} file is packed inside, not as a whole", format.word());
            let hint = "leave out the ending, and set the option compression".to_owned();
            return Err(options.bad_value("path", &message, Some(hint)));
        }
        Ok(Self {
            path,
            parts,
            format,
            kind,
            packing,
            overwrite,
        })
    }

    fn target(&self) -> PathBuf {
        let Some(parts) = &self.parts else {
            return self.path.clone();
        };
        let number = parts.fetch_add(1, Relaxed);
        self.path.join(self.file_name(&format!("part-{number:04}")))
    }

    /// Returns the folder that files are written into, where it is one.
    pub(super) fn folder(&self) -> &Path {
        &self.path
    }

    /// Gives a file in the folder its ending.
    pub(super) fn file_name(&self, stem: &str) -> String {
        format!("{stem}.{}{}", self.format.extension(), self.packing.ending())
    }

    pub(super) fn check(&self, schema: &SchemaRef, target: &Path) -> Result<()> {
        for (at, field) in schema.fields().iter().enumerate() {
            if schema.fields()[..at]
                .iter()
                .any(|other| other.name() == field.name())
            {
                let message = format!("two columns are named '{}'", field.name());
                let hint = "name them apart with AS".to_owned();
                return Err(file_error(target, message, Some(hint)));
            }
            #[cfg(feature = "csv")]
            if self.format == Format::Csv && !super::text::is_writable_csv(field.data_type()) {
                let message = format!(
                    "CSV cannot hold column '{}' of type {}",
                    field.name(),
                    crate::spelling::type_name(field.data_type())
                );
                let hint = "write parquet, json or arrow instead".to_owned();
                return Err(file_error(target, message, Some(hint)));
            }
        }
        Ok(())
    }

    pub(super) fn encoder(
        &self,
        file: AtomicFile,
        schema: &SchemaRef,
    ) -> Result<Box<dyn Encoder>, ArrowError> {
        Ok(match &self.kind {
            #[cfg(feature = "parquet")]
            SinkKind::Parquet {
                packing,
                row_group_rows,
            } => Box::new(super::parquet_write::ParquetEncoder::new(
                file,
                schema,
                *packing,
                *row_group_rows,
            )?),
            #[cfg(feature = "csv")]
            SinkKind::Csv(style) => {
                let out = Packer::new(file, self.packing)?;
                Box::new(super::encode::CsvEncoder::new(out, style.clone(), schema)?)
            }
            #[cfg(feature = "json")]
            SinkKind::Json => Box::new(super::encode::JsonEncoder::new(Packer::new(file, self.packing)?)),
            #[cfg(feature = "ipc")]
            SinkKind::Arrow { packing } => Box::new(super::encode::IpcEncoder::new(file, schema, *packing)?),
        })
    }
}

impl Sink for FileSink {
    fn create(&self, schema: &SchemaRef) -> Result<Box<dyn SinkWriter>> {
        let path = self.target();
        self.check(schema, &path)?;
        let file = AtomicFile::create(&path, self.overwrite.unwrap_or(true))?;
        let encoder = self
            .encoder(file, schema)
            .map_err(|error| unwritable(&path, error))?;
        Ok(Box::new(FileWriter {
            encoder,
            path,
            rows: 0,
        }))
    }

    fn keeps_outputs(&self) -> bool {
        self.parts.is_some()
    }

    fn epochs(&self, schema: &SchemaRef, _consumer: &str) -> Result<Box<dyn EpochWriter>> {
        self.open_epochs(schema, None)
    }

    fn side_epochs(&self, schema: &SchemaRef, consumer: &str) -> Result<Box<dyn EpochWriter>> {
        self.open_epochs(schema, Some(consumer))
    }
}

impl FileSink {
    /// Opens the folder for epochs of a writer, which has a name where there may be others.
    fn open_epochs(&self, schema: &SchemaRef, name: Option<&str>) -> Result<Box<dyn EpochWriter>> {
        if self.parts.is_none() {
            let hint = format!("end the path with '/', as in path = '{}/'", self.path.display());
            let message = "is one file, and a stream that does not end needs a folder";
            return Err(file_error(&self.path, message, Some(hint)));
        }
        let sink = Self {
            path: self.path.clone(),
            parts: None,
            format: self.format,
            kind: self.kind.clone(),
            packing: self.packing,
            overwrite: self.overwrite,
        };
        let may_replace = self.overwrite == Some(true);
        let name = name.map(|name| name.replace(['/', '\\'], "_"));
        Ok(Box::new(EpochFiles::new(
            sink,
            schema,
            name.as_deref(),
            may_replace,
        )?))
    }
}

pub(super) fn unwritable(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => Error::file(path, &error),
        other => file_error(path, format!("cannot be written: {other}"), None),
    }
}

/// One file in the making.
struct FileWriter {
    encoder: Box<dyn Encoder>,
    path: PathBuf,
    rows: u64,
}

impl SinkWriter for FileWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder
            .write(batch)
            .map_err(|error| unwritable(&self.path, error))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<SinkSummary> {
        let Self { encoder, path, rows } = *self;
        let file = encoder.finish().map_err(|error| unwritable(&path, error))?;
        let bytes = file.commit()?;
        Ok(SinkSummary {
            rows,
            bytes: Some(bytes),
            location: path.display().to_string(),
        })
    }
}

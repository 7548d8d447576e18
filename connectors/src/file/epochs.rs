//! A folder that grows by a file an epoch, each whole or not there.
//!
//! ```text
//!  write      .epoch-000000000042.parquet.prepared.tmp-PID-n      (made with the first batch)
//!  prepare    .epoch-000000000042.parquet.prepared                fsync, rename, fsync the folder
//!  commit      epoch-000000000042.parquet                         rename, fsync the folder
//! ```
//!
//! An epoch without rows has no file. Hidden files are left out by whoever reads the folder as a
//! stream or table. An epoch that is repeated replaces its file.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fletching::connector::{EpochWriter, Position, SinkSummary};
use fletching::{Error, Result};

use super::atomic::{AtomicFile, sync_folder};
use super::encode::Encoder;
use super::paths::file_error;
use super::sink::{FileSink, unwritable};

/// Writes epoch after epoch into a folder.
pub(super) struct EpochFiles {
    sink: FileSink,
    schema: SchemaRef,
    /// What the names of its files begin with.
    stem: String,
    /// Whether files of another run may be replaced.
    may_replace: bool,
    /// The epoch in the making.
    next: u64,
    making: Option<Box<dyn Encoder>>,
    rows: u64,
    /// Rows and bytes of the epoch that was prepared last.
    prepared: (u64, u64),
}

impl EpochFiles {
    /// Opens a folder; nothing is written yet. Files of a writer that has a name begin with it: others
    /// may write here as well.
    pub(super) fn new(
        sink: FileSink,
        schema: &SchemaRef,
        name: Option<&str>,
        may_replace: bool,
    ) -> Result<Self> {
        sink.check(schema, sink.folder())?;
        Ok(Self {
            sink,
            schema: schema.clone(),
            stem: name.map_or("epoch-".into(), |name| format!("{name}-epoch-")),
            may_replace,
            next: 1,
            making: None,
            rows: 0,
            prepared: (0, 0),
        })
    }

    fn published(&self, epoch: u64) -> PathBuf {
        self.sink
            .folder()
            .join(self.sink.file_name(&format!("{}{epoch:012}", self.stem)))
    }

    fn hidden(&self, epoch: u64) -> PathBuf {
        let name = self.sink.file_name(&format!("{}{epoch:012}", self.stem));
        self.sink.folder().join(format!(".{name}.prepared"))
    }

    /// Lists the files of epochs in the folder, the hidden ones too.
    fn found(&self) -> Result<Vec<Found>> {
        let folder = self.sink.folder();
        let failed = |error: std::io::Error| Error::file(folder, &error);
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            found.extend(Found::new(path, &self.stem));
        }
        Ok(found)
    }
}

/// A file of an epoch.
struct Found {
    path: PathBuf,
    epoch: u64,
    is_hidden: bool,
    is_prepared: bool,
}

impl Found {
    fn new(path: PathBuf, stem: &str) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let plain = name.trim_start_matches('.');
        let number = plain.strip_prefix(stem)?.split('.').next()?;
        let epoch = number.parse().ok()?;
        let (is_hidden, is_prepared) = (name.starts_with('.'), name.ends_with(".prepared"));
        Some(Self {
            path,
            epoch,
            is_hidden,
            is_prepared,
        })
    }

    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.path).map_err(|error| Error::file(&self.path, &error))
    }
}

impl EpochWriter for EpochFiles {
    fn restore(&mut self, epoch: u64) -> Result<()> {
        let folder = self.sink.folder().to_path_buf();
        fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, &error))?;
        let found = self.found()?;
        let beyond = found.iter().find(|file| !file.is_hidden && file.epoch > epoch);
        if let Some(file) = beyond.filter(|_| epoch == 0 && !self.may_replace) {
            return Err(in_the_way(&file.path));
        }
        for file in &found {
            let is_awaited = file.is_prepared && file.epoch == epoch;
            if file.is_hidden && !is_awaited || file.epoch > epoch {
                file.remove()?;
            }
        }
        if epoch > 0 {
            self.commit(epoch)?;
        }
        self.next = epoch + 1;
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.hidden(self.next);
        let making = match &mut self.making {
            Some(making) => making,
            None => {
                let file = AtomicFile::create(&path, true)?;
                let encoder = self.sink.encoder(file, &self.schema);
                self.making
                    .insert(encoder.map_err(|error| unwritable(&path, error))?)
            }
        };
        making.write(batch).map_err(|error| unwritable(&path, error))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn prepare(&mut self, epoch: u64, _positions: &[Position]) -> Result<()> {
        if epoch != self.next {
            let message = format!("epoch {epoch} is prepared, but {} was to come", self.next);
            return Err(Error::internal(message));
        }
        self.next += 1;
        let rows = std::mem::take(&mut self.rows);
        self.prepared = match self.making.take() {
            None => (0, 0),
            Some(making) => {
                let path = self.hidden(epoch);
                let file = making.finish().map_err(|error| unwritable(&path, error))?;
                (rows, file.commit()?)
            }
        };
        Ok(())
    }

    fn commit(&mut self, epoch: u64) -> Result<SinkSummary> {
        let (hidden, published) = (self.hidden(epoch), self.published(epoch));
        match fs::rename(&hidden, &published) {
            Ok(()) => sync_folder(self.sink.folder()),
            // It was shown before, or has no rows.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file(&published, &error)),
        }
        let (rows, bytes) = self.prepared;
        Ok(SinkSummary {
            rows,
            bytes: Some(bytes),
            location: published.display().to_string(),
        })
    }
}

fn in_the_way(path: &Path) -> Error {
    let hint = "set checkpoint.path, so that a run goes on where the one before ended; or choose another \
                folder; or say overwrite = 'true' to replace what is there";
    file_error(
        path,
        "is an epoch of another run, and there is no checkpoint to go on from",
        Some(hint.to_owned()),
    )
}

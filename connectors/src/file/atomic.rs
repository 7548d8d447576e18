//! A file that appears whole or not at all.
//!
//! ```text
//!  create          .NAME.tmp-PID-n beside NAME       (missing folders are made)
//!  write …         every few MiB are sent to the disk meanwhile
//!  commit          fsync, rename to NAME, fsync the folder
//!  drop            the temporary file is removed
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fletching::{Error, Result};

use super::paths::file_error;
use super::writeback::Writeback;

/// A file in the making.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    file: File,
    temp: PathBuf,
    target: PathBuf,
    overwrite: bool,
    bytes: u64,
    /// Bytes that the disk was told of.
    bytes_sent: u64,
    writeback: Option<Writeback>,
    published: bool,
}

/// What is written before the disk is told of it: a fifth of a second's work for a slow one.
const SENT_TOGETHER: u64 = 8 << 20;

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl AtomicFile {
    /// Opens a temporary file beside `target`.
    pub(crate) fn create(target: &Path, overwrite: bool) -> Result<Self> {
        refuse_existing(target, overwrite)?;
        let Some(name) = target.file_name() else {
            return Err(file_error(target, "is not the name of a file", None));
        };
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder).map_err(|error| Error::file(folder, &error))?;
        let number = NUMBER.fetch_add(1, Relaxed);
        let temp = folder.join(format!(
            ".{}.tmp-{}-{number}",
            name.to_string_lossy(),
            std::process::id()
        ));
        let file = File::create(&temp).map_err(|error| Error::file(&temp, &error))?;
        let target = target.to_path_buf();
        Ok(Self {
            file,
            temp,
            target,
            overwrite,
            bytes: 0,
            bytes_sent: 0,
            writeback: None,
            published: false,
        })
    }

    /// Publishes the file and returns its size in bytes.
    pub(crate) fn commit(mut self) -> Result<u64> {
        let sent = self.writeback.take().map_or(Ok(()), Writeback::finish);
        sent.and_then(|()| self.file.sync_all())
            .map_err(|error| Error::file(&self.target, &error))?;
        refuse_existing(&self.target, self.overwrite)?;
        fs::rename(&self.temp, &self.target).map_err(|error| Error::file(&self.target, &error))?;
        self.published = true;
        if let Some(folder) = self.temp.parent() {
            sync_folder(folder);
        }
        Ok(self.bytes)
    }

    /// Has what was written sent to the disk beside the writing, so that little is left for the commit.
    fn send(&mut self) {
        if self.writeback.is_none() {
            self.writeback = Writeback::of(&self.file);
        }
        if self.writeback.as_ref().is_none_or(Writeback::send) {
            self.bytes_sent = self.bytes;
        }
    }
}

/// Makes a rename durable: it is on disk once its folder is. Not every file system lets a folder
/// be synced.
pub(super) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

fn refuse_existing(target: &Path, overwrite: bool) -> Result<()> {
    if target.is_dir() {
        let hint = "end the path with '/' to write files into it".to_owned();
        return Err(file_error(target, "is a folder", Some(hint)));
    }
    if overwrite || !target.exists() {
        return Ok(());
    }
    let hint = "choose another path, or set overwrite = 'true'".to_owned();
    Err(file_error(target, "exists already", Some(hint)))
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        if self.bytes - self.bytes_sent >= SENT_TOGETHER {
            self.send();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.temp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn nothing_is_left_of_a_dropped_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&folder.path().join("a"), true).unwrap();
        file.write_all(b"abc").unwrap();
        assert_eq!(entries(folder.path()), 1);
        drop(file);
        assert_eq!(entries(folder.path()), 0);
    }

    #[test]
    fn a_committed_file_has_its_name_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x/y/a");
        let mut file = AtomicFile::create(&target, false).unwrap();
        file.write_all(b"abc").unwrap();
        assert!(!target.exists());
        assert_eq!(file.commit().unwrap(), 3);
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        let text = AtomicFile::create(&target, false).unwrap_err().to_string();
        assert!(text.ends_with("exists already; choose another path, or set overwrite = 'true'"));
    }
}

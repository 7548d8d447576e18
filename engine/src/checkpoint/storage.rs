//! Checkpoints in a folder on a local disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contract::{Storage, StorageLock, StorageResult, StoredObject};
use crate::kill_points;

/// Checkpoints as files in a folder.
#[derive(Debug)]
pub(crate) struct LocalFolder(PathBuf);

const LOCK: &str = "lock";

/// The system lets go of it with the process, however that ends.
#[derive(Debug)]
struct LockedFile {
    _file: File,
}

impl StorageLock for LockedFile {}

/// Names the place where a file is being written.
fn place_of(name: &str) -> &'static str {
    match name.split('-').next() {
        Some("checkpoint") => "writing_checkpoint",
        Some("base" | "delta" | "rows") => "writing_table",
        _ => "writing",
    }
}

impl LocalFolder {
    /// Names a folder, which need not be there.
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    fn sync(&self) -> io::Result<()> {
        // A rename is durable once its folder is; not every system lets a folder be opened.
        match File::open(&self.0) {
            Ok(folder) => folder.sync_all(),
            Err(_) => Ok(()),
        }
    }
}

impl Storage for LocalFolder {
    fn place(&self) -> String {
        self.0.display().to_string()
    }

    fn folder(&self, name: &str) -> Arc<dyn Storage> {
        Arc::new(Self(self.0.join(name)))
    }

    fn make(&self) -> StorageResult<()> {
        Ok(fs::create_dir_all(&self.0)?)
    }

    fn folders(&self) -> StorageResult<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.path().is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn objects(&self) -> StorageResult<Vec<StoredObject>> {
        let mut objects = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == LOCK || name.ends_with(".tmp") {
                continue;
            }
            // One that is removed just now is gone.
            if let Ok(meta) = entry.metadata()
                && meta.is_file()
            {
                objects.push(StoredObject {
                    name,
                    bytes: meta.len(),
                });
            }
        }
        objects.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(objects)
    }

    fn read(&self, name: &str) -> StorageResult<Vec<u8>> {
        Ok(fs::read(self.0.join(name))?)
    }

    fn open(&self, name: &str) -> StorageResult<(Box<dyn Read>, u64)> {
        let file = File::open(self.0.join(name))?;
        let length = file.metadata()?.len();
        Ok((Box::new(file), length))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> StorageResult<()> {
        // Only whoever holds the lock writes, so one name for all will do.
        let temp = self.0.join(format!("{name}.tmp"));
        let written = File::create(&temp).and_then(|mut file| {
            let (half, rest) = bytes.split_at(bytes.len() / 2);
            file.write_all(half)?;
            kill_points::pass(place_of(name));
            file.write_all(rest)?;
            file.sync_all()
        });
        let written = written.and_then(|()| fs::rename(&temp, self.0.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&temp);
        }
        written?;
        Ok(self.sync()?)
    }

    /// Replaces what is there: the lock is the system's, and whoever has it is the only one.
    fn create(&self, name: &str, bytes: &[u8]) -> StorageResult<()> {
        self.write(name, bytes)
    }

    fn remove(&self, name: &str) -> StorageResult<()> {
        Ok(fs::remove_file(self.0.join(name))?)
    }

    fn try_lock(&self) -> StorageResult<Option<Box<dyn StorageLock>>> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.0.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(LockedFile { _file: file }))),
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
        }
    }
}

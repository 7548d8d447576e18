//! Where checkpoints are kept: a small trait, so that tests can make it fail, and a folder on a
//! local disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::kill_points;

/// A place for the checkpoints of one pipeline.
pub(crate) trait Storage: Send + Sync {
    /// Returns the place, for messages.
    fn place(&self) -> String;

    /// Lists what is there, temporary files left out.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Reads a file whole.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Opens a file to be read from its beginning, and tells its length.
    fn open(&self, name: &str) -> io::Result<(Box<dyn Read>, u64)> {
        let bytes = self.read(name)?;
        let length = bytes.len() as u64;
        Ok((Box::new(io::Cursor::new(bytes)), length))
    }

    /// Writes a file that is there whole, and durable, or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Takes the lock where nobody else has it.
    fn try_lock(&self) -> io::Result<Option<Box<dyn Send + Sync>>>;

    /// Keeps all others from publishing until the guard is dropped.
    fn lock(&self) -> io::Result<Box<dyn Send>>;
}

/// Checkpoints as files in a folder.
#[derive(Debug)]
pub(crate) struct LocalFolder(PathBuf);

const LOCK: &str = "lock";
/// How long another that publishes is waited for, and how often it is asked.
const LOCK_WAIT: Duration = Duration::from_secs(30);
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// Names the place where a file is being written.
fn place_of(name: &str) -> &'static str {
    match name.split('-').next() {
        Some("checkpoint") => "writing_checkpoint",
        Some("base" | "delta" | "rows") => "writing_table",
        _ => "writing",
    }
}

impl LocalFolder {
    /// Opens a folder, and makes it where it is not there.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(path.to_path_buf()))
    }

    /// Takes a folder that is there.
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

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != LOCK && !name.ends_with(".tmp") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(name))
    }

    fn open(&self, name: &str) -> io::Result<(Box<dyn Read>, u64)> {
        let file = File::open(self.0.join(name))?;
        let length = file.metadata()?.len();
        Ok((Box::new(file), length))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
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
        self.sync()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn try_lock(&self) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.0.join(LOCK))?;
        match file.try_lock() {
            // The system lets go of it with the process, however that ends.
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::Error(error)) => Err(error),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
        }
    }

    fn lock(&self) -> io::Result<Box<dyn Send>> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if waited >= LOCK_WAIT {
                let message = "another program has held the lock on it for 30 s";
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            thread::sleep(LOCK_INTERVAL);
            waited += LOCK_INTERVAL;
        }
    }
}

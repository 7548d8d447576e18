//! Where results go: standard output, or a file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

/// Takes the bytes of results.
#[derive(Debug)]
pub(crate) struct Destination {
    target: Target,
    results: usize,
    is_closed: bool,
}

#[derive(Debug)]
enum Target {
    /// A terminal: each line is seen at once.
    Terminal(Stdout),
    /// A pipe or a redirection.
    Pipe(BufWriter<Stdout>),
    /// A file in the making.
    File(BufWriter<PendingFile>),
}

/// A file under a temporary name. Dropped unpublished, it is removed.
#[derive(Debug)]
struct PendingFile {
    file: File,
    temp: PathBuf,
    path: PathBuf,
    is_published: bool,
}

/// How many bytes are gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

impl Destination {
    /// Writes to standard output.
    pub(crate) fn stdout(is_terminal: bool) -> Self {
        let target = if is_terminal {
            Target::Terminal(io::stdout())
        } else {
            Target::Pipe(BufWriter::with_capacity(BUFFER_BYTES, io::stdout()))
        };
        Self {
            target,
            results: 0,
            is_closed: false,
        }
    }

    /// Writes to a file, for now beside it.
    ///
    /// # Errors
    /// Fails where no file can be made there.
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        let name = match path.file_name() {
            Some(name) if !path.is_dir() => name.to_string_lossy().into_owned(),
            _ => return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")),
        };
        let temp = path.with_file_name(format!(".{name}.tmp-{}", std::process::id()));
        let file = File::create(&temp)?;
        let pending = PendingFile {
            file,
            temp,
            path: path.to_path_buf(),
            is_published: false,
        };
        let target = Target::File(BufWriter::with_capacity(BUFFER_BYTES, pending));
        Ok(Self {
            target,
            results: 0,
            is_closed: false,
        })
    }

    /// Says whether results have been written before.
    pub(crate) fn has_results(&self) -> bool {
        self.results > 0
    }

    /// Counts a result. On a terminal footers and prompts already set results apart.
    pub(crate) fn count_result(&mut self) {
        if !matches!(self.target, Target::Terminal(_)) {
            self.results += 1;
        }
    }

    /// Says whether the reader of a pipe has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Writes what is left; a file now gets its name.
    ///
    /// # Errors
    /// Fails where the rest cannot be written or the file cannot get its name.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        self.flush()?;
        if let Target::File(file) = &mut self.target {
            let pending = file.get_mut();
            pending.file.sync_all()?;
            fs::rename(&pending.temp, &pending.path)?;
            pending.is_published = true;
        }
        Ok(())
    }

    fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.is_closed = true;
        }
        result
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.target {
            Target::Terminal(out) => out.write(bytes),
            Target::Pipe(out) => out.write(bytes),
            Target::File(out) => out.write(bytes),
        };
        self.watch(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match &mut self.target {
            Target::Terminal(out) => out.flush(),
            Target::Pipe(out) => out.flush(),
            Target::File(out) => out.flush(),
        };
        self.watch(flushed)
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = fs::remove_file(&self.temp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_published() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.csv");
        let entries = || fs::read_dir(folder.path()).expect("the folder").count();

        let mut dropped = Destination::file(&path).expect("a file");
        dropped.write_all(b"a").expect("room");
        assert_eq!(entries(), 1);
        drop(dropped);
        assert_eq!(entries(), 0);

        let mut kept = Destination::file(&path).expect("a file");
        kept.write_all(b"abc").expect("room");
        assert!(!path.exists());
        kept.publish().expect("a rename");
        assert_eq!(
            (fs::read(&path).expect("the file"), entries()),
            (b"abc".to_vec(), 1)
        );
        assert!(Destination::file(folder.path()).is_err());
    }
}

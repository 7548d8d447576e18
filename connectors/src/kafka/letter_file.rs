//! The file of a pipeline's dead letters: it grows by the letters of an epoch when that is committed.
//!
//! ```text
//!  prepare    .dead.ndjson.prepared    first line: positions of the epoch, length of the file before
//!  commit      dead.ndjson             cut to that length, the lines added, fsync; the other removed
//! ```
//!
//! So a commit can be repeated, and letters that were prepared are shown after a crash only where the
//! pipeline goes on from their positions. A file is for one pipeline.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fletching::connector::{DeadLetter, LetterWriter, Position};
use fletching::{Error, RecordPlace, Result};
use serde_json::{Value, json};

use crate::file::{AtomicFile, letter};

/// A file of dead letters that grows epoch by epoch.
pub(super) struct LetterFile {
    path: PathBuf,
    hidden: PathBuf,
    /// The lines of the epoch in the making.
    lines: Vec<u8>,
    is_prepared: bool,
}

impl LetterFile {
    pub(super) fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            path: path.to_path_buf(),
            hidden: path.with_file_name(format!(".{name}.prepared")),
            lines: Vec::new(),
            is_prepared: false,
        }
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::file(&self.path, error)
    }

    fn length(&self) -> Result<u64> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Returns what was prepared: its first line, and the others.
    fn prepared(&self) -> Result<Option<(Value, Vec<u8>)>> {
        let mut bytes = match fs::read(&self.hidden) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file(&self.hidden, &error)),
        };
        let first = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(bytes.len());
        let head = serde_json::from_slice(&bytes[..first]).unwrap_or_default();
        bytes.drain(..bytes.len().min(first + 1));
        Ok(Some((head, bytes)))
    }

    fn let_go(&self) -> Result<()> {
        match fs::remove_file(&self.hidden) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file(&self.hidden, &error)),
            _ => Ok(()),
        }
    }

    /// Takes out the letters of records that will be read again, as after a damaged checkpoint.
    fn take_back(&self, positions: &[Position]) -> Result<()> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed(&error)),
        };
        let kept: Vec<&[u8]> = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| !comes_again(line, positions))
            .collect();
        let kept = kept.concat();
        if kept.len() == bytes.len() {
            return Ok(());
        }
        let mut file = AtomicFile::create(&self.path, true)?;
        file.write_all(&kept).map_err(|error| self.failed(&error))?;
        file.commit().map(drop)
    }

    fn show(&self) -> Result<()> {
        let Some((head, lines)) = self.prepared()? else {
            return Ok(());
        };
        let before = head["length"].as_u64().unwrap_or(u64::MAX);
        let add = || -> std::io::Result<()> {
            let mut file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(false)
                .open(&self.path)?;
            if file.metadata()?.len() > before {
                // An attempt to add them broke off.
                file.set_len(before)?;
            }
            file.seek(SeekFrom::End(0))?;
            file.write_all(&lines)?;
            file.sync_all()
        };
        add().map_err(|error| self.failed(&error))?;
        self.let_go()
    }
}

fn listed(positions: &[Position]) -> Value {
    let pairs = positions.iter();
    pairs
        .map(|position| json!([&*position.partition, position.place]))
        .collect()
}

/// Says whether a line is of a record that is not before the positions.
fn comes_again(line: &[u8], positions: &[Position]) -> bool {
    let letter: Value = serde_json::from_slice(line).unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().ok();
    let offset = letter["offset"].as_str().and_then(number);
    let partition = letter["partition"].as_str().unwrap_or_default();
    let topic = |partition: &str| partition.rsplit_once('-').map(|(topic, _)| topic.to_owned());
    match positions
        .iter()
        .find(|position| &*position.partition == partition)
    {
        Some(position) => {
            let next = number(&position.place);
            offset.zip(next).is_some_and(|(offset, next)| offset >= next)
        }
        // None of the partition had been read yet; that of a topic of others is left alone.
        None => positions
            .iter()
            .any(|position| topic(&position.partition) == topic(partition)),
    }
}

/// Writes a letter as a line.
fn line_of(dead: &DeadLetter) -> String {
    let place = RecordPlace {
        origin: match dead.place.is_empty() {
            true => dead.partition.to_string(),
            false => format!("{} at offset {}", dead.partition, dead.place),
        },
        column: dead.column.clone(),
        ..RecordPlace::default()
    };
    let mut object = letter(&place, &dead.reason, dead.value.as_deref().unwrap_or_default());
    object["code"] = dead.code.as_str().into();
    object["partition"] = (&*dead.partition).into();
    object["offset"] = dead.place.as_str().into();
    format!("{object}\n")
}

impl LetterWriter for LetterFile {
    fn restore(&mut self, positions: &[Position]) -> Result<()> {
        match self.prepared()? {
            Some((head, _)) if head["positions"] == listed(positions) => self.show()?,
            _ => self.let_go()?,
        }
        self.take_back(positions)
    }

    fn write(&mut self, letters: &[DeadLetter]) -> Result<()> {
        for letter in letters {
            self.lines.extend_from_slice(line_of(letter).as_bytes());
        }
        Ok(())
    }

    fn prepare(&mut self, positions: &[Position]) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let head = json!({ "positions": listed(positions), "length": self.length()? });
        let mut file = AtomicFile::create(&self.hidden, true)?;
        let written = writeln!(file, "{head}").and_then(|()| file.write_all(&self.lines));
        written.map_err(|error| Error::file(&self.hidden, &error))?;
        file.commit()?;
        self.lines.clear();
        self.is_prepared = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if self.is_prepared {
            self.show()?;
            self.is_prepared = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(place: &str) -> DeadLetter {
        DeadLetter {
            partition: "t-0".into(),
            place: place.into(),
            code: "BAD_RECORD".into(),
            column: None,
            reason: "bad".into(),
            key: None,
            value: Some(b"x".to_vec()),
        }
    }

    fn at(place: &str) -> Vec<Position> {
        vec![Position {
            partition: "t-0".into(),
            place: place.into(),
        }]
    }

    fn offsets(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| {
                let letter: Value = serde_json::from_str(line).unwrap();
                assert_eq!(letter["code"], "BAD_RECORD");
                letter["origin"]
                    .as_str()
                    .unwrap()
                    .rsplit(' ')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn letters_come_once_whenever_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        let mut file = LetterFile::new(&path);
        file.restore(&[]).unwrap();
        file.write(&[letter("1")]).unwrap();
        file.prepare(&at("5")).unwrap();
        assert!(offsets(&path).is_empty());
        file.commit().unwrap();
        file.commit().unwrap();
        assert_eq!(offsets(&path), ["1"]);
        file.write(&[letter("7")]).unwrap();
        file.prepare(&at("9")).unwrap();

        // The epoch came to nothing: its letter comes again.
        let mut file = LetterFile::new(&path);
        file.restore(&at("5")).unwrap();
        assert_eq!(offsets(&path), ["1"]);
        file.write(&[letter("7")]).unwrap();
        file.prepare(&at("9")).unwrap();

        // The epoch was shown; adding its letters broke off.
        let torn = fs::read(&path).unwrap();
        fs::write(&path, [torn.as_slice(), b"{\"cod"].concat()).unwrap();
        let mut file = LetterFile::new(&path);
        file.restore(&at("9")).unwrap();
        file.restore(&at("9")).unwrap();
        assert_eq!(offsets(&path), ["1", "7"]);

        // The pipeline goes on from an older checkpoint.
        LetterFile::new(&path).restore(&at("6")).unwrap();
        assert_eq!(offsets(&path), ["1"]);
    }
}

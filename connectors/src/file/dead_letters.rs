//! The file for records that cannot be decoded: one JSON object a line, with the record's place,
//! the reason and its text. It appears under its name when all readers of the scan have ended.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fletching::connector::DeadLetter;
use fletching::{Error, RecordPlace, Result};
use serde_json::{Map, Value};

use super::atomic::AtomicFile;

/// The code of a record that cannot be decoded, as that of the error.
pub(crate) const BAD_RECORD: &str = "BAD_RECORD";

/// Dead letters of one scan, shared by its readers: a file in the making, or letters that somebody else
/// is to write.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    path: PathBuf,
    file: Mutex<Option<BufWriter<AtomicFile>>>,
    handed: Option<Mutex<Vec<DeadLetter>>>,
    shares: AtomicUsize,
}

impl DeadLetters {
    /// Opens a temporary file beside `path`.
    pub(crate) fn create(path: &Path) -> Result<Arc<Self>> {
        let file = BufWriter::new(AtomicFile::create(path, true)?);
        let path = path.to_path_buf();
        Ok(Arc::new(Self {
            path,
            file: Mutex::new(Some(file)),
            handed: None,
            shares: AtomicUsize::new(0),
        }))
    }

    /// Keeps letters for whoever [takes](Self::take) them.
    pub(crate) fn handed() -> Arc<Self> {
        Arc::new(Self {
            path: PathBuf::new(),
            file: Mutex::new(None),
            handed: Some(Mutex::default()),
            shares: AtomicUsize::new(0),
        })
    }

    /// Returns the letters since it was asked last, where they are handed over.
    pub(crate) fn take(&self) -> Vec<DeadLetter> {
        let Some(handed) = &self.handed else {
            return Vec::new();
        };
        std::mem::take(&mut handed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes one reader's share; when the last of them finishes, the file is published.
    pub(crate) fn share(self: &Arc<Self>) -> DeadLetterShare {
        self.shares.fetch_add(1, Ordering::AcqRel);
        DeadLetterShare {
            letters: Arc::clone(self),
        }
    }

    /// Adds a record.
    pub(crate) fn add(&self, place: &RecordPlace, reason: &str, raw: &[u8]) -> Result<()> {
        if let Some(handed) = &self.handed {
            let letter = DeadLetter {
                partition: place.origin.as_str().into(),
                place: place.line.map(|line| line.to_string()).unwrap_or_default(),
                code: BAD_RECORD.to_owned(),
                column: place.column.clone(),
                reason: reason.to_owned(),
                key: None,
                value: Some(raw.to_vec()),
            };
            handed.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
            return Ok(());
        }
        let mut line = letter(place, reason, raw).to_string();
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match file.as_mut() {
            Some(file) => file
                .write_all(line.as_bytes())
                .map_err(|error| self.failed(&error)),
            None => Err(Error::internal("a dead letter came after the end of its scan")),
        }
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::file(&self.path, error)
    }
}

/// One reader's share of a file of dead letters.
#[derive(Debug)]
pub(crate) struct DeadLetterShare {
    letters: Arc<DeadLetters>,
}

impl DeadLetterShare {
    /// Says that the reader has reached its end.
    pub(crate) fn finish(self) -> Result<()> {
        if self.letters.shares.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let mut file = self.letters.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.take() else {
            return Ok(());
        };
        let file = file
            .into_inner()
            .map_err(|error| self.letters.failed(error.error()))?;
        file.commit().map(drop)
    }
}

/// Makes the object for one record. Bytes that are no text are written in hexadecimal.
pub(crate) fn letter(place: &RecordPlace, reason: &str, raw: &[u8]) -> Value {
    let mut object = Map::new();
    object.insert("origin".into(), place.origin.clone().into());
    object.insert("line".into(), place.line.into());
    object.insert("column".into(), place.column.clone().into());
    object.insert("reason".into(), reason.into());
    match std::str::from_utf8(raw) {
        Ok(text) => object.insert("raw".into(), text.into()),
        Err(_) => {
            let text: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert("raw_hex".into(), text.into())
        }
    };
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_appears_when_the_last_reader_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        let letters = DeadLetters::create(&path).unwrap();
        let (one, two) = (letters.share(), letters.share());
        let place = RecordPlace {
            origin: "f".into(),
            line: Some(2),
            ..RecordPlace::default()
        };
        letters.add(&place, "bad", b"a\xff").unwrap();
        one.finish().unwrap();
        assert!(!path.exists());
        two.finish().unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"column\":null,\"line\":2,\"origin\":\"f\",\"raw_hex\":\"61ff\",\"reason\":\"bad\"}\n"
        );
    }
}

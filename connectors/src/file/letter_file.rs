//! The file of a pipeline's dead letters: it grows by the letters of an epoch when that is committed.
//!
//! ```text
//!  prepare    .dead.ndjson.prepared    first line: positions of the epoch, length of the file before
//!  commit      dead.ndjson             cut to that length, the lines added, fsync; the other removed
//! ```
//!
//! So a commit can be repeated, and letters that were prepared are shown after a crash only where the
//! pipeline goes on from their positions. A file is for one pipeline: a second one that reads the same
//! stream writes [beside](beside) it.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fletching::connector::{DeadLetter, LetterWriter, Position};
use fletching::{Error, RecordPlace, Result};
use serde_json::{Value, json};

use super::atomic::AtomicFile;
use super::dead_letters::{BAD_RECORD, letter};
use super::feed::Place;

/// What the partitions are that letters are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LetterOrigin {
    /// Partitions of a topic: a letter's place is an offset.
    #[cfg_attr(
        not(feature = "kafka"),
        expect(dead_code, reason = "topics are of Kafka alone")
    )]
    Topic,
    /// Files: the place of one that cannot be decoded is a line, else the number of a row.
    Files,
}

/// Names the file of a further pipeline over a stream: `dead.NAME.ndjson` beside `dead.ndjson`.
pub(crate) fn beside(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or("ndjson".into(), |e| e.to_string_lossy());
    let name = name.replace(['/', '\\'], "_");
    path.with_file_name(format!("{stem}.{name}.{extension}"))
}

/// A file of dead letters that grows epoch by epoch.
pub(crate) struct LetterFile {
    origin: LetterOrigin,
    path: PathBuf,
    hidden: PathBuf,
    /// The lines of the epoch in the making.
    lines: Vec<u8>,
    is_prepared: bool,
}

impl LetterFile {
    pub(crate) fn new(path: &Path, origin: LetterOrigin) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            origin,
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
        let mut again = ComesAgain::new(self.origin, positions);
        let kept: Vec<&[u8]> = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| !again.is_so(line))
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

/// Tells the letters of records that are not before some positions, line after line.
struct ComesAgain<'a> {
    origin: LetterOrigin,
    positions: &'a [Position],
    /// Letters seen so far of records of a file that cannot be decoded: they stand in its order.
    seen: HashMap<String, u64>,
}

impl<'a> ComesAgain<'a> {
    fn new(origin: LetterOrigin, positions: &'a [Position]) -> Self {
        Self {
            origin,
            positions,
            seen: HashMap::new(),
        }
    }

    fn is_so(&mut self, line: &[u8]) -> bool {
        let letter: Value = serde_json::from_slice(line).unwrap_or_default();
        match self.origin {
            LetterOrigin::Topic => self.is_of_topic(&letter),
            LetterOrigin::Files => self.is_of_file(&letter),
        }
    }

    fn position(&self, partition: &str) -> Option<&'a Position> {
        let mut positions = self.positions.iter();
        positions.find(|position| &*position.partition == partition)
    }

    fn is_of_topic(&self, letter: &Value) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        let offset = letter["offset"].as_str().and_then(number);
        let partition = letter["partition"].as_str().unwrap_or_default();
        let topic = |partition: &str| partition.rsplit_once('-').map(|(topic, _)| topic.to_owned());
        match self.position(partition) {
            Some(position) => {
                let next = number(&position.place);
                offset.zip(next).is_some_and(|(offset, next)| offset >= next)
            }
            // None of the partition had been read yet; that of a topic of others is left alone.
            None => self
                .positions
                .iter()
                .any(|position| topic(&position.partition) == topic(partition)),
        }
    }

    fn is_of_file(&mut self, letter: &Value) -> bool {
        let partition = letter["partition"].as_str().unwrap_or_default();
        let Some(position) = self.position(partition) else {
            // One that is there is read from its beginning; one that is gone was read before.
            return Path::new(partition).exists();
        };
        let Ok(place) = Place::parse(&position.place) else {
            return false;
        };
        if let Some(row) = letter["row"].as_u64() {
            return row > place.rows;
        }
        let seen = self.seen.entry(partition.to_owned()).or_default();
        *seen += 1;
        place.bad.is_some_and(|bad| *seen > bad)
    }
}

/// Writes a letter as a line.
fn line_of(origin: LetterOrigin, dead: &DeadLetter) -> String {
    let is_topic = origin == LetterOrigin::Topic;
    let is_decoded = dead.code != BAD_RECORD;
    let number = dead.place.parse::<u64>().ok();
    let place = RecordPlace {
        origin: match is_topic && !dead.place.is_empty() {
            true => format!("{} at offset {}", dead.partition, dead.place),
            false => dead.partition.to_string(),
        },
        line: number.filter(|_| !is_topic && !is_decoded),
        column: dead.column.clone(),
        ..RecordPlace::default()
    };
    let mut object = letter(&place, &dead.reason, dead.value.as_deref().unwrap_or_default());
    object["code"] = dead.code.as_str().into();
    object["partition"] = (&*dead.partition).into();
    if is_topic {
        object["offset"] = dead.place.as_str().into();
    } else if is_decoded {
        object["row"] = number.into();
    }
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
            self.lines
                .extend_from_slice(line_of(self.origin, letter).as_bytes());
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
        let mut file = LetterFile::new(&path, LetterOrigin::Topic);
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
        let mut file = LetterFile::new(&path, LetterOrigin::Topic);
        file.restore(&at("5")).unwrap();
        assert_eq!(offsets(&path), ["1"]);
        file.write(&[letter("7")]).unwrap();
        file.prepare(&at("9")).unwrap();

        // The epoch was shown; adding its letters broke off.
        let torn = fs::read(&path).unwrap();
        fs::write(&path, [torn.as_slice(), b"{\"cod"].concat()).unwrap();
        let mut file = LetterFile::new(&path, LetterOrigin::Topic);
        file.restore(&at("9")).unwrap();
        file.restore(&at("9")).unwrap();
        assert_eq!(offsets(&path), ["1", "7"]);

        // The pipeline goes on from an older checkpoint.
        LetterFile::new(&path, LetterOrigin::Topic)
            .restore(&at("6"))
            .unwrap();
        assert_eq!(offsets(&path), ["1"]);
    }

    #[test]
    fn letters_of_files_are_told_by_line_and_row() {
        let folder = tempfile::tempdir().unwrap();
        let (path, read) = (folder.path().join("dead.ndjson"), folder.path().join("a.csv"));
        fs::write(&read, "").unwrap();
        let name: std::sync::Arc<str> = read.to_str().unwrap().into();
        let of = |code: &str, place: &str| DeadLetter {
            partition: std::sync::Arc::clone(&name),
            code: code.into(),
            ..letter(place)
        };
        let at = |place: &str| {
            vec![Position {
                partition: std::sync::Arc::clone(&name),
                place: place.into(),
            }]
        };
        let found = || -> Vec<(Option<u64>, Option<u64>)> {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let letters = text
                .lines()
                .map(|line| -> Value { serde_json::from_str(line).unwrap() });
            letters
                .map(|letter| (letter["line"].as_u64(), letter["row"].as_u64()))
                .collect()
        };
        let mut file = LetterFile::new(&path, LetterOrigin::Files);
        let letters = [
            of("BAD_RECORD", "3"),
            of("COMPUTE", "5"),
            of("BAD_RECORD", "9"),
            of("COMPUTE", "12"),
        ];
        file.write(&letters).unwrap();
        file.prepare(&at("20 bad 2")).unwrap();
        file.commit().unwrap();
        let all = [
            (Some(3), None),
            (None, Some(5)),
            (Some(9), None),
            (None, Some(12)),
        ];
        let restored = |place: &str| {
            LetterFile::new(&path, LetterOrigin::Files)
                .restore(&at(place))
                .unwrap();
            found()
        };
        assert_eq!(restored("20 bad 2"), all);
        assert_eq!(
            restored("20 end"),
            all,
            "a position of before letters were counted"
        );
        assert_eq!(restored("6 bad 1"), all[..2]);
        LetterFile::new(&path, LetterOrigin::Files).restore(&[]).unwrap();
        assert_eq!(found(), [], "the file is read from its beginning");
        assert_eq!(
            beside(Path::new("d/dead.ndjson"), "two/x"),
            Path::new("d/dead.two_x.ndjson")
        );
    }
}

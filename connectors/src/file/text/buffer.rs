//! Reads a text file in blocks and keeps the part that is not yet decoded.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use fletching::connector::SourceReport;
use fletching::{Error, Result};

use crate::file::format::Packing;
use crate::file::packing;
use crate::file::paths::{SourceFile, file_error};

/// How many bytes are read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// How long one record may be; a longer one most likely has a quote that is never closed.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 20;

/// How many bytes of records go into one batch, whatever their number.
pub(super) const BATCH_BYTES_MAX: usize = 16 << 20;

/// A window over a text file.
///
/// ```text
///   bytes  [ consumed | start … data … end | free ]
///                       └ `line` is the number of this line
/// ```
pub(super) struct TextBuffer {
    input: Box<dyn Read + Send>,
    path: PathBuf,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    /// One-based number of the line that the data begins with.
    pub(super) line: u64,
}

impl TextBuffer {
    /// Opens a file and passes over its byte order mark.
    pub(super) fn open(file: &SourceFile, packing: Packing, report: &Arc<SourceReport>) -> Result<Self> {
        let input = packing::open(file, packing, report)?;
        let path = file.path.clone();
        let (bytes, ended) = (Vec::new(), false);
        let mut buffer = Self {
            input,
            path,
            bytes,
            start: 0,
            end: 0,
            ended,
            line: 1,
        };
        buffer.fill()?;
        if buffer.data().starts_with(b"\xef\xbb\xbf") {
            buffer.consume(3);
        }
        if buffer.data().starts_with(b"\xff\xfe") || buffer.data().starts_with(b"\xfe\xff") {
            let hint = "convert it to UTF-8, as with: iconv -f UTF-16 -t UTF-8".to_owned();
            return Err(file_error(&file.path, "is UTF-16 text", Some(hint)));
        }
        Ok(buffer)
    }

    /// Returns what is read and not consumed.
    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Returns the same for changing.
    pub(super) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Says whether the whole file is read.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes `count` bytes off the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Reads another block behind the data.
    pub(super) fn fill(&mut self) -> Result<()> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        // Grow with the data, so that a long record is not read over and over in small steps.
        let wanted = self.end + BLOCK_BYTES.max(self.end / 2);
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        while !self.ended && self.end < wanted {
            match self.input.read(&mut self.bytes[self.end..wanted]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(())
    }

    fn broken(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let hint = "it is cut short, or the option compression is wrong".to_owned();
                file_error(&self.path, "ends in the middle of its packed data", Some(hint))
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
                let hint = "check the option compression against the file".to_owned();
                file_error(&self.path, format!("cannot be unpacked: {error}"), Some(hint))
            }
            _ => Error::file(&self.path, error),
        }
    }

    /// Makes the error for a record that is longer than any should be.
    pub(super) fn too_long(&self, line: u64) -> Error {
        let message = format!(
            "the record that begins on line {line} is longer than {} MiB",
            RECORD_BYTES_MAX >> 20
        );
        let hint = "check for a quote that is never closed".to_owned();
        file_error(&self.path, message, Some(hint))
    }
}

/// A record's place in a batch's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// First byte.
    pub(super) start: usize,
    /// Past the last byte, without the line's end.
    pub(super) end: usize,
    /// One-based line that it begins on.
    pub(super) line: u64,
}

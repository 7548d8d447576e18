//! Opens and makes text files that may be packed with gzip or zstd.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use fletching::connector::SourceReport;
use fletching::{Error, Result};

use super::atomic::AtomicFile;
use super::format::Packing;
use super::paths::SourceFile;

/// A file whose bytes are counted as they are read, before they are unpacked.
struct CountedFile {
    file: File,
    report: Arc<SourceReport>,
}

impl Read for CountedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.report.add_bytes(read as u64);
        Ok(read)
    }
}

/// Opens a file for reading, unpacked.
pub(crate) fn open(
    file: &SourceFile,
    packing: Packing,
    report: &Arc<SourceReport>,
) -> Result<Box<dyn Read + Send>> {
    let opened = File::open(&file.path).map_err(|error| Error::file(&file.path, &error))?;
    let counted = CountedFile {
        file: opened,
        report: Arc::clone(report),
    };
    Ok(match packing {
        Packing::None => Box::new(counted),
        Packing::Gzip => Box::new(MultiGzDecoder::new(counted)),
        Packing::Zstd => Box::new(
            zstd::stream::read::Decoder::new(counted).map_err(|error| Error::file(&file.path, &error))?,
        ),
    })
}

/// How many bytes are gathered before they are written.
const WRITE_BYTES: usize = 256 * 1024;

/// Packs what is written on its way to a file.
pub(crate) enum Packer {
    None(BufWriter<AtomicFile>),
    Gzip(GzEncoder<BufWriter<AtomicFile>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<AtomicFile>>),
}

impl Packer {
    /// Wraps a file.
    pub(crate) fn new(file: AtomicFile, packing: Packing) -> io::Result<Self> {
        let file = BufWriter::with_capacity(WRITE_BYTES, file);
        Ok(match packing {
            Packing::None => Self::None(file),
            Packing::Gzip => Self::Gzip(GzEncoder::new(file, Compression::default())),
            Packing::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(file, 0)?),
        })
    }

    /// Writes what is left and returns the file.
    pub(crate) fn finish(self) -> io::Result<AtomicFile> {
        let file = match self {
            Self::None(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

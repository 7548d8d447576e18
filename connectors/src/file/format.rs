//! Which format a file has, and how its text is packed: from options, or from the file's name.

use std::path::Path;

use fletching::Result;
use fletching::connector::Options;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Parquet,
    Csv,
    Json,
    Arrow,
}

/// The words of the option `format`; the last is of changelogs, whose lines are JSON.
const FORMATS: [(&str, Format); 5] = [
    ("parquet", Format::Parquet),
    ("csv", Format::Csv),
    ("json", Format::Json),
    ("arrow", Format::Arrow),
    ("debezium-json", Format::Json),
];

impl Format {
    /// Returns the word that the option `format` takes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
        }
    }

    /// Returns the extension that a new file of this format gets.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Json => "ndjson",
            other => other.word(),
        }
    }

    /// Says whether it is read as lines of text.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Json)
    }

    /// Says whether this build can read and write it.
    fn is_built(self) -> bool {
        match self {
            Self::Parquet => cfg!(feature = "parquet"),
            Self::Csv => cfg!(feature = "csv"),
            Self::Json => cfg!(feature = "json"),
            Self::Arrow => cfg!(feature = "ipc"),
        }
    }
}

/// How a text file is packed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// Returns the ending that a packed file's name gets.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// What a file's name says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guess {
    /// The format, where the name has a known extension.
    pub(crate) format: Option<Format>,
    /// Whether fields are separated by tabs.
    pub(crate) tabs: bool,
    /// How the file is packed.
    pub(crate) packing: Packing,
}

/// Reads a file's name, as in `trades.tsv.gz`.
pub(crate) fn guess(path: &Path) -> Guess {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase());
    let name = name.unwrap_or_default();
    let (stem, packing) = match name.rsplit_once('.') {
        Some((stem, "gz" | "gzip")) => (stem, Packing::Gzip),
        Some((stem, "zst" | "zstd")) => (stem, Packing::Zstd),
        _ => (name.as_str(), Packing::None),
    };
    let extension = stem.rsplit_once('.').map_or("", |(_, extension)| extension);
    let format = match extension {
        "parquet" | "pq" => Some(Format::Parquet),
        "csv" | "tsv" => Some(Format::Csv),
        "json" | "ndjson" | "jsonl" => Some(Format::Json),
        "arrow" | "feather" | "ipc" | "arrows" => Some(Format::Arrow),
        _ => None,
    };
    Guess {
        format,
        tabs: extension == "tsv",
        packing,
    }
}

/// Reads the option `format`.
pub(crate) fn format_option(options: &Options) -> Result<Option<Format>> {
    let words = FORMATS.map(|(word, _)| word);
    let found = match options
        .text("format")
        .map(|text| text.trim().to_ascii_lowercase())
    {
        Some(text)
            if matches!(
                text.as_str(),
                "ndjson" | "jsonl" | "debezium-json" | "debezium_json"
            ) =>
        {
            Some(Format::Json)
        }
        Some(text) if matches!(text.as_str(), "feather" | "ipc") => Some(Format::Arrow),
        _ => options.choice("format", &words)?.map(|at| FORMATS[at].1),
    };
    match found {
        Some(format) => built(options, format).map(Some),
        None => Ok(None),
    }
}

/// Refuses a format that this build leaves out.
pub(crate) fn built(options: &Options, format: Format) -> Result<Format> {
    if format.is_built() {
        return Ok(format);
    }
    let message = format!("this build cannot read or write {}", format.word());
    let feature = if format == Format::Arrow {
        "ipc"
    } else {
        format.word()
    };
    let hint = format!("build with the cargo feature '{feature}'");
    Err(options.bad_value("format", &message, Some(hint)))
}

/// Makes the error that a format is neither given nor to be guessed.
pub(crate) fn unknown_format(options: &Options, path: &str) -> fletching::Error {
    let hint = "add format = 'parquet', 'csv', 'json' or 'arrow'".to_owned();
    options.bad_value(
        "path",
        &format!("cannot tell the format of '{path}' from its name"),
        Some(hint),
    )
}

/// Reads the option `compression` of a text format.
pub(crate) fn packing_option(options: &Options) -> Result<Option<Packing>> {
    let at = options.choice("compression", &["none", "gzip", "zstd"])?;
    Ok(at.map(|at| [Packing::None, Packing::Gzip, Packing::Zstd][at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_packing() {
        let told = |name: &str| {
            let guess = guess(Path::new(name));
            (guess.format, guess.tabs, guess.packing)
        };
        assert_eq!(told("a/B.Parquet"), (Some(Format::Parquet), false, Packing::None));
        assert_eq!(told("a.tsv.gz"), (Some(Format::Csv), true, Packing::Gzip));
        assert_eq!(told("a.jsonl.zst"), (Some(Format::Json), false, Packing::Zstd));
        assert_eq!(told("a.feather"), (Some(Format::Arrow), false, Packing::None));
        assert_eq!(told("README"), (None, false, Packing::None));
    }
}

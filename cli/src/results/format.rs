//! The formats of results.

use std::path::Path;

use clap::ValueEnum;

/// A format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, for people
    Table,
    /// Comma-separated values with a header; NULL is empty, an empty text is ""
    Csv,
    /// One JSON object a line
    Json,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
}

impl Format {
    /// Returns the word that `--format` takes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// Finds a format by its word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::value_variants()
            .iter()
            .copied()
            .find(|format| format.word().eq_ignore_ascii_case(word))
    }

    /// Finds a format by a file's extension.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_string_lossy().to_ascii_lowercase();
        match extension.as_str() {
            "txt" => Some(Self::Table),
            "csv" => Some(Self::Csv),
            "json" | "ndjson" | "jsonl" => Some(Self::Json),
            "arrow" | "arrows" | "ipc" => Some(Self::Arrow),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// Says whether it is not text: no terminal shows it, and it holds one result only.
    pub(crate) fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_command_line() {
        for format in Format::value_variants() {
            let word = format.to_possible_value().expect("no variant is skipped");
            assert_eq!(word.get_name(), format.word());
            assert_eq!(Format::from_word(&format.word().to_uppercase()), Some(*format));
        }
    }

    #[test]
    fn extensions_tell_the_format() {
        assert_eq!(Format::of_file(Path::new("a/b.PARQUET")), Some(Format::Parquet));
        assert_eq!(Format::of_file(Path::new("b.jsonl")), Some(Format::Json));
        assert_eq!(Format::of_file(Path::new("b")), None);
    }
}

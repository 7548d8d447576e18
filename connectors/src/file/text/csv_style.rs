//! How a CSV file is written, from options.

use fletching::Result;
use fletching::connector::Options;

/// How a CSV file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CsvStyle {
    pub(crate) header: bool,
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
    /// The text that stands for NULL.
    pub(crate) null: String,
}

impl CsvStyle {
    /// Reads the options of CSV; `tabs` says that the file's name ends with `.tsv`.
    pub(crate) fn from_options(options: &Options, tabs: bool) -> Result<Self> {
        let quote = match options.text("quote") {
            Some("") => None,
            _ => Some(byte(options, "quote")?.unwrap_or(b'"')),
        };
        let usual = if tabs { b'\t' } else { b',' };
        let style = Self {
            header: options.boolean("header")?.unwrap_or(true),
            delimiter: byte(options, "delimiter")?.unwrap_or(usual),
            quote,
            escape: byte(options, "escape")?.filter(|escape| Some(*escape) != quote),
            comment: byte(options, "comment")?,
            null: options.text("null").unwrap_or_default().to_owned(),
        };
        if Some(style.delimiter) == style.quote {
            return Err(options.bad_value("delimiter", "is the same as the quote", None));
        }
        Ok(style)
    }
}

/// Reads an option that is one ASCII character, or a name of one.
fn byte(options: &Options, name: &str) -> Result<Option<u8>> {
    let Some(text) = options.text(name) else {
        return Ok(None);
    };
    let byte = match text {
        "\\t" | "tab" => b'\t',
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => *byte,
            _ => {
                let message = format!("expected one ASCII character, found '{text}'");
                return Err(options.bad_value(name, &message, None));
            }
        },
    };
    Ok(Some(byte))
}

//! Pieces of a SQL text, by lines and columns.

use sqlparser::tokenizer::Location;

/// Cuts the text between two places, the second exclusive.
pub(crate) fn slice(script: &str, start: Location, end: Location) -> String {
    let (from, to) = (
        offset_of(script, start.line, start.column),
        offset_of(script, end.line, end.column),
    );
    script.get(from..to).unwrap_or(script).trim_end().to_string()
}

/// Returns the byte at which a line and column, counted from one, begin.
pub(crate) fn offset_of(script: &str, line: u64, column: u64) -> usize {
    let mut at = 0;
    let mut lines = script.split_inclusive('\n');
    for _ in 1..line {
        at += lines.next().map_or(0, str::len);
    }
    let rest = lines.next().unwrap_or("");
    let skip = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    at + rest.char_indices().nth(skip).map_or(rest.len(), |(byte, _)| byte)
}

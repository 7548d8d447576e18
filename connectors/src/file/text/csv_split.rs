//! Cuts CSV text into records and cells, without copying.
//!
//! The rules are RFC 4180's, with the usual licence: a record ends at LF, CRLF or CR; a quoted
//! cell may hold delimiters and line ends; a doubled quote stands for one; blank lines are passed
//! over. A quote inside an unquoted cell is an ordinary character. Text after a closing quote, and
//! a quote that is never closed, are faults of the record.

use super::buffer::Span;
use super::csv_style::CsvStyle;
use super::values::Cells;

/// A cell's place in a batch's data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    start: u32,
    end: u32,
    quoted: bool,
    /// Whether it holds doubled quotes or escapes.
    rewritten: bool,
}

/// What is wrong with a record as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Unclosed,
    AfterQuote,
}

/// What [`CsvSplitter::split`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record; the next begins at `next`, `lines` lines further on.
    Record {
        span: Span,
        next: usize,
        lines: u64,
        cells: usize,
        fault: Option<Fault>,
    },
    /// The data ends within a record.
    Incomplete,
    /// There are no more records; blank lines and comments before the end are passed over.
    End,
}

/// Cuts records and keeps the cells of the columns that are wanted.
pub(crate) struct CsvSplitter {
    style: CsvStyle,
    /// By column, whether its cells are kept; empty for all.
    kept: Vec<bool>,
    /// By byte, whether an unquoted cell ends there.
    ends: [bool; 256],
}

impl CsvSplitter {
    pub(crate) fn new(style: CsvStyle, kept: Vec<bool>) -> Self {
        let mut ends = [false; 256];
        for byte in [style.delimiter, b'\n', b'\r'] {
            ends[usize::from(byte)] = true;
        }
        Self { style, kept, ends }
    }

    /// Reads the record that begins at `at`, on line `line`, and adds its cells to `out`.
    ///
    /// `ended` says that no more data will follow.
    pub(crate) fn split(&self, data: &[u8], at: usize, line: u64, ended: bool, out: &mut Vec<Cell>) -> Step {
        let (start, blank) = match self.skip_blank(data, at, ended) {
            Some(place) => place,
            None => return Step::Incomplete,
        };
        if start >= data.len() {
            return if ended { Step::End } else { Step::Incomplete };
        }
        let mut walk = Walk {
            at: start,
            lines: blank,
            cells: 0,
            fault: None,
        };
        let first_out = out.len();
        loop {
            let cell = if self.style.quote == data.get(walk.at).copied() && walk.at < data.len() {
                self.quoted_cell(data, &mut walk, ended)
            } else {
                self.plain_cell(data, &mut walk, ended)
            };
            let Some(cell) = cell else {
                out.truncate(first_out);
                return Step::Incomplete;
            };
            if self.kept.get(walk.cells).copied().unwrap_or(self.kept.is_empty()) {
                out.push(cell);
            }
            walk.cells += 1;
            if data.get(walk.at) != Some(&self.style.delimiter) {
                break;
            }
            walk.at += 1;
        }
        let end = walk.at;
        let Some(next) = line_end(data, end, ended) else {
            out.truncate(first_out);
            return Step::Incomplete;
        };
        let lines = walk.lines + u64::from(next > end);
        let span = Span {
            start,
            end,
            line: line + blank,
        };
        Step::Record {
            span,
            next,
            lines,
            cells: walk.cells,
            fault: walk.fault,
        }
    }

    /// Passes over blank lines and comments; returns where a record begins and how many lines
    /// come before it, or `None` where more data is needed to tell.
    fn skip_blank(&self, data: &[u8], mut at: usize, ended: bool) -> Option<(usize, u64)> {
        let mut lines = 0;
        loop {
            match data.get(at) {
                Some(b'\n' | b'\r') => at = line_end(data, at, ended)?,
                Some(byte) if Some(*byte) == self.style.comment => {
                    let length = data[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    match length {
                        Some(length) => at = line_end(data, at + length, ended)?,
                        None if ended => at = data.len(),
                        None => return None,
                    }
                }
                _ => return Some((at, lines)),
            }
            lines += 1;
        }
    }

    fn plain_cell(&self, data: &[u8], walk: &mut Walk, ended: bool) -> Option<Cell> {
        let start = walk.at;
        let length = data[start..]
            .iter()
            .position(|byte| self.ends[usize::from(*byte)]);
        walk.at = match length {
            Some(length) => start + length,
            None if ended => data.len(),
            None => return None,
        };
        Some(cell(start, walk.at))
    }

    fn quoted_cell(&self, data: &[u8], walk: &mut Walk, ended: bool) -> Option<Cell> {
        let quote = self.style.quote;
        let start = walk.at + 1;
        let mut at = start;
        let mut rewritten = false;
        let end = loop {
            let Some(byte) = data.get(at) else {
                if !ended {
                    return None;
                }
                walk.fault = Some(Fault::Unclosed);
                break at;
            };
            let next = data.get(at + 1);
            let here = Some(*byte);
            if here == self.style.escape || (here == quote && next.copied() == quote) {
                rewritten = true;
                walk.lines += u64::from(next == Some(&b'\n'));
                at += 2;
            } else if here == quote {
                if next.is_none() && !ended {
                    return None;
                }
                break at;
            } else {
                walk.lines += u64::from(*byte == b'\n');
                at += 1;
            }
        };
        // An escape as the very last byte steps past the end.
        let end = end.min(data.len());
        walk.at = (end + 1).min(data.len());
        if walk.fault.is_none()
            && data
                .get(walk.at)
                .is_some_and(|byte| !self.ends[usize::from(*byte)])
        {
            walk.fault = Some(Fault::AfterQuote);
            self.plain_cell(data, walk, ended)?;
        }
        Some(Cell {
            quoted: true,
            rewritten,
            ..cell(start.min(end), end)
        })
    }

    /// Returns a cell's text as it stands in the data.
    pub(crate) fn raw<'a>(&self, data: &'a str, cell: Cell) -> &'a str {
        data.get(cell.start as usize..cell.end as usize)
            .unwrap_or_default()
    }

    /// Returns a cell's text, or `None` for NULL. Of a text column a quoted cell is never NULL.
    pub(crate) fn text<'a>(
        &self,
        data: &'a str,
        cell: Cell,
        of_text: bool,
        scratch: &'a mut String,
    ) -> Option<&'a str> {
        let raw = self.raw(data, cell);
        if raw == self.style.null && !(cell.quoted && of_text) {
            return None;
        }
        if !cell.rewritten {
            return Some(raw);
        }
        scratch.clear();
        let (quote, escape) = (
            self.style.quote.map(char::from),
            self.style.escape.map(char::from),
        );
        let mut chars = raw.chars();
        while let Some(found) = chars.next() {
            let stands_for_next = Some(found) == escape || Some(found) == quote;
            match stands_for_next.then(|| chars.next()).flatten() {
                Some(next) => scratch.push(next),
                None => scratch.push(found),
            }
        }
        Some(scratch)
    }
}

/// Where the splitter stands within a record.
struct Walk {
    at: usize,
    lines: u64,
    cells: usize,
    fault: Option<Fault>,
}

fn cell(start: usize, end: usize) -> Cell {
    // A batch's data is far below 4 GiB: the buffer bounds records and batches.
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Cell {
        start: place(start),
        end: place(end),
        quoted: false,
        rewritten: false,
    }
}

/// Returns where the next line begins, or `None` where a CR may yet be followed by LF.
fn line_end(data: &[u8], at: usize, ended: bool) -> Option<usize> {
    match (data.get(at), data.get(at + 1)) {
        (Some(b'\n'), _) => Some(at + 1),
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        (Some(b'\r'), Some(_)) => Some(at + 1),
        (Some(b'\r'), None) => ended.then_some(at + 1),
        (None, _) => ended.then_some(at),
        (Some(_), _) => Some(at),
    }
}

/// One column's cells of a batch of records.
pub(crate) struct CsvCells<'a> {
    pub(crate) splitter: &'a CsvSplitter,
    pub(crate) data: &'a str,
    pub(crate) cells: &'a [Cell],
    /// Cells a record.
    pub(crate) stride: usize,
    /// The column's place among them.
    pub(crate) slot: usize,
    /// Whether the column holds text.
    pub(crate) of_text: bool,
}

impl Cells for CsvCells<'_> {
    fn rows(&self) -> usize {
        self.cells.len() / self.stride.max(1)
    }

    fn text<'a>(&'a self, row: usize, scratch: &'a mut String) -> Option<&'a str> {
        let cell = self.cells[row * self.stride + self.slot];
        self.splitter.text(self.data, cell, self.of_text, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletching::connector::Options;

    fn style() -> CsvStyle {
        CsvStyle::from_options(&Options::new("s"), false).unwrap()
    }

    /// Splits text that arrives in pieces of `piece` bytes; returns each record's line and cells.
    fn split(style: &CsvStyle, text: &str, piece: usize) -> Vec<(u64, Vec<Option<String>>)> {
        let splitter = CsvSplitter::new(style.clone(), Vec::new());
        let (mut at, mut line, mut have) = (0, 1, 0);
        let mut records = Vec::new();
        loop {
            let ended = have >= text.len();
            let data = &text.as_bytes()[..have.min(text.len())];
            let mut cells = Vec::new();
            match splitter.split(data, at, line, ended, &mut cells) {
                Step::Incomplete => {
                    assert!(!ended && cells.is_empty());
                    have += piece;
                }
                Step::End => return records,
                Step::Record {
                    span,
                    next,
                    lines,
                    fault,
                    ..
                } => {
                    assert_eq!(fault, None);
                    let texts = cells
                        .iter()
                        .map(|cell| {
                            let mut scratch = String::new();
                            splitter.text(text, *cell, true, &mut scratch).map(str::to_owned)
                        })
                        .collect();
                    records.push((span.line, texts));
                    (at, line) = (next, line + lines);
                }
            }
        }
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn records_are_the_same_however_the_text_arrives() {
        let text = "a,b\r\n\r\n\"x\ny\",\"say \"\"hi\"\"\"\n1,2\r3,\"\"\n\n4,last";
        let expected = [
            (1, some(&["a", "b"])),
            (3, some(&["x\ny", "say \"hi\""])),
            (5, some(&["1", "2"])),
            (6, some(&["3", ""])),
            (8, some(&["4", "last"])),
        ];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(split(&style(), text, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn an_unquoted_null_text_is_null() {
        let style = CsvStyle {
            null: "NA".into(),
            ..style()
        };
        let records = split(&style, "NA,\"NA\",\n", 100);
        assert_eq!(records[0].1, [None, Some("NA".into()), Some(String::new())]);
    }

    #[test]
    fn comments_and_escapes_are_understood() {
        let style = CsvStyle {
            comment: Some(b'#'),
            escape: Some(b'\\'),
            ..style()
        };
        let records = split(&style, "# one, two\na,\"b\\\"c\"\n# end", 1);
        assert_eq!(records, [(2, some(&["a", "b\"c"]))]);
    }

    #[test]
    fn faults_are_told_apart() {
        let splitter = CsvSplitter::new(style(), Vec::new());
        let fault = |text: &str| match splitter.split(text.as_bytes(), 0, 1, true, &mut Vec::new()) {
            Step::Record { fault, .. } => fault,
            step => panic!("{step:?}"),
        };
        assert_eq!(fault("\"a\"b,c\n"), Some(Fault::AfterQuote));
        assert_eq!(fault("a,\"b\nc,d\n"), Some(Fault::Unclosed));
        assert_eq!(fault("a\"b,c\n"), None);
    }
}

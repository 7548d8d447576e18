//! Tells SQL code from quoted text and comments, without parsing it.

use std::ops::Range;

/// What a stretch of a script is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Region {
    /// Words, numbers, operators.
    Code,
    /// Between quotes of either kind, with the quotes.
    Quoted,
    /// `-- …` or `/* … */`.
    Comment,
}

/// A script cut into its regions, which follow each other without gaps.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The regions.
    pub(crate) regions: Vec<(Region, Range<usize>)>,
    /// Whether a quote or a `/*` is still open at the end.
    is_open: bool,
}

impl Scan {
    /// Cuts a text.
    pub(crate) fn new(text: &str) -> Self {
        let mut regions = Vec::new();
        let mut is_open = false;
        let (mut at, mut code_from) = (0, 0);
        while let Some(next) = text[at..].chars().next() {
            let Some((region, length, closed)) = opening(&text[at..]) else {
                at += next.len_utf8();
                continue;
            };
            if code_from < at {
                regions.push((Region::Code, code_from..at));
            }
            regions.push((region, at..at + length));
            is_open |= !closed;
            at += length;
            code_from = at;
        }
        if code_from < text.len() {
            regions.push((Region::Code, code_from..text.len()));
        }
        Self { regions, is_open }
    }

    /// Says whether the text holds whole statements, each ended by a semicolon, and nothing more.
    pub(crate) fn is_complete(&self, text: &str) -> bool {
        let last = self.regions.iter().rev().find(|(region, range)| {
            *region == Region::Quoted || (*region == Region::Code && !text[range.clone()].trim().is_empty())
        });
        match last {
            None => !self.is_open,
            Some((region, range)) => {
                !self.is_open && *region == Region::Code && text[range.clone()].trim_end().ends_with(';')
            }
        }
    }

    /// Says whether the text ends within single quotes.
    pub(crate) fn is_in_text(&self, text: &str) -> bool {
        let last = self
            .regions
            .last()
            .filter(|(region, _)| self.is_open && *region == Region::Quoted);
        last.is_some_and(|(_, range)| text[range.clone()].starts_with('\''))
    }
}

/// Finds the quoted text or comment that begins here: its kind, its length, whether it ends.
fn opening(rest: &str) -> Option<(Region, usize, bool)> {
    let to = |end: &str, from: usize| rest[from..].find(end).map(|at| from + at + end.len());
    let closed = |region, end: Option<usize>| Some((region, end.unwrap_or(rest.len()), end.is_some()));
    if rest.starts_with("--") {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        return Some((Region::Comment, end, true));
    }
    if rest.starts_with("/*") {
        return closed(Region::Comment, to("*/", 2));
    }
    // A doubled quote closes one text and opens the next at once: that is as good.
    match rest.as_bytes().first() {
        Some(b'\'') => closed(Region::Quoted, to("'", 1)),
        Some(b'"') => closed(Region::Quoted, to("\"", 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_falls_into_regions() {
        let text = "a '-- ''x' -- it's\n/* ; */ \"b\"";
        let cut: Vec<_> = Scan::new(text)
            .regions
            .into_iter()
            .map(|(region, range)| (region, &text[range]))
            .collect();
        let expected = [
            (Region::Code, "a "),
            (Region::Quoted, "'-- '"),
            (Region::Quoted, "'x'"),
            (Region::Code, " "),
            (Region::Comment, "-- it's\n"),
            (Region::Comment, "/* ; */"),
            (Region::Code, " "),
            (Region::Quoted, "\"b\""),
        ];
        assert_eq!(cut, expected);
    }

    #[test]
    fn a_statement_is_complete_at_its_semicolon() {
        let complete = |text: &str| Scan::new(text).is_complete(text);
        for text in [
            "",
            "  \n",
            "-- note",
            "SELECT 1;",
            "SELECT 1; -- done",
            "SELECT 'a;b';\n",
            "SELECT 1; ;",
        ] {
            assert!(complete(text), "{text:?}");
        }
        for text in [
            "SELECT 1",
            "SELECT ';",
            "SELECT 1 -- ;",
            "/* ;",
            "SELECT 1; SELECT 2",
            "SELECT ';'",
        ] {
            assert!(!complete(text), "{text:?}");
        }
    }
}

//! Keys as texts: which are there, and which nearly are.

use arrow::array::ArrayRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use hashbrown::HashMap;

use crate::error::Result;

/// The keys of some rows.
pub(super) struct KeySample {
    /// A text for each row; none where the key is NULL.
    keys: Vec<Option<String>>,
}

impl KeySample {
    /// Writes the keys of rows as texts. A key of several columns is NULL where one of them is,
    /// unless NULL is to match NULL.
    pub(super) fn new(columns: &[ArrayRef], null_equals_null: bool) -> Result<Self> {
        let options = FormatOptions::new().with_null("NULL");
        let writers = columns
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        let nulls: Vec<_> = columns.iter().map(|column| column.logical_nulls()).collect();
        let rows = columns.first().map_or(0, |column| column.len());
        let key = |row: usize| {
            let is_null = nulls
                .iter()
                .flatten()
                .any(|nulls| nulls.is_null(row) && !null_equals_null);
            let parts = writers.iter().map(|writer| writer.value(row).to_string());
            (!is_null).then(|| parts.collect::<Vec<_>>().join(", "))
        };
        Ok(Self {
            keys: (0..rows).map(key).collect(),
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn nulls(&self) -> usize {
        self.keys.iter().filter(|key| key.is_none()).count()
    }

    /// Returns the keys that are not NULL.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().flatten().map(String::as_str)
    }

    /// Returns the most frequent key and its rows.
    pub(super) fn hottest(&self) -> Option<(&str, usize)> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for key in self.iter() {
            *counts.entry(key).or_default() += 1;
        }
        // Of keys as frequent, the smallest: what is told does not depend on chance.
        counts
            .into_iter()
            .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(a.0)))
    }
}

/// A way in which two keys may be the same though they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// But for spaces around them.
    Trimmed,
    /// But for upper and lower case.
    Folded,
    /// But for how a number is written.
    Number,
    /// But for several of these.
    Several,
}

impl Likeness {
    pub(super) const ALL: [Self; 4] = [Self::Trimmed, Self::Folded, Self::Number, Self::Several];

    /// Says what would make the keys equal.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Trimmed => "trimming spaces",
            Self::Folded => "folding case",
            Self::Number => "reading numbers",
            Self::Several => "trimming, folding case and reading numbers",
        }
    }

    /// Gives keys that are alike the same text.
    fn normal(self, key: &str) -> String {
        match self {
            Self::Trimmed => key.trim().to_string(),
            Self::Folded => key.to_lowercase(),
            Self::Number => number(key).unwrap_or_else(|| key.to_string()),
            Self::Several => {
                let key = key.trim().to_lowercase();
                number(&key).unwrap_or(key)
            }
        }
    }
}

/// Writes a number without leading zeros and trailing ones after its point.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let is_number = digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && digits.chars().filter(|c| *c == '.').count() <= 1
        && digits.chars().any(|c| c.is_ascii_digit());
    if !is_number {
        return None;
    }
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let rest = rest.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if rest.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{rest}"))
}

/// The keys of a table, each with its rows.
pub(super) struct TableKeys {
    counts: HashMap<String, usize>,
    pub(super) rows: usize,
}

impl TableKeys {
    pub(super) fn new(sample: &KeySample) -> Self {
        let mut counts = HashMap::new();
        for key in sample.iter() {
            *counts.entry(key.to_string()).or_insert(0) += 1;
        }
        Self {
            counts,
            rows: sample.rows(),
        }
    }

    /// Returns how many rows have a key.
    pub(super) fn rows_of(&self, key: &str) -> usize {
        self.counts.get(key).copied().unwrap_or(0)
    }

    /// Returns how many keys have several rows, and the one with the most.
    pub(super) fn duplicates(&self) -> (usize, Option<(&str, usize)>) {
        let several = self.counts.iter().filter(|(_, rows)| **rows > 1);
        let most = several
            .clone()
            .max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)))
            .map(|(key, rows)| (key.as_str(), *rows));
        (several.count(), most)
    }

    /// Groups keys that are not there by the first likeness under which they would be, with an
    /// example of each: the key and the table's.
    pub(super) fn alike<'a>(&self, missing: &[&'a str]) -> Vec<(Likeness, usize, &'a str, String)> {
        let mut left: Vec<&str> = missing.to_vec();
        let mut found = Vec::new();
        for likeness in Likeness::ALL {
            if left.is_empty() {
                break;
            }
            let mut normal: HashMap<String, &str> = HashMap::new();
            for key in self.counts.keys() {
                let example = normal.entry(likeness.normal(key)).or_insert(key);
                if key.as_str() < *example {
                    *example = key;
                }
            }
            let (like, unlike): (Vec<&str>, Vec<&str>) = left
                .into_iter()
                .partition(|key| normal.contains_key(&likeness.normal(key)));
            if let Some(first) = like.first() {
                let theirs = normal.get(&likeness.normal(first)).copied().unwrap_or_default();
                found.push((likeness, like.len(), *first, theirs.to_string()));
            }
            left = unlike;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::*;

    fn sample(keys: &[Option<&str>]) -> KeySample {
        let column: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        KeySample::new(&[column], false).unwrap()
    }

    #[test]
    fn keys_that_are_nearly_there_are_found() {
        let table = TableKeys::new(&sample(&[Some("AAPL"), Some("7"), Some("7")]));
        let missing = ["AAPL ", "aapl", "007", " 7.0", "none"];
        let alike = table.alike(&missing);
        let found: Vec<_> = alike.iter().map(|(like, count, ..)| (*like, *count)).collect();
        assert_eq!(
            found,
            [
                (Likeness::Trimmed, 1),
                (Likeness::Folded, 1),
                (Likeness::Number, 1),
                (Likeness::Several, 1)
            ]
        );
        assert_eq!(table.duplicates(), (1, Some(("7", 2))));
    }

    #[test]
    fn a_null_key_is_told_apart() {
        let sample = sample(&[Some("a"), None, Some("a"), Some("b")]);
        assert_eq!((sample.rows(), sample.nulls()), (4, 1));
        assert_eq!(sample.hottest(), Some(("a", 2)));
    }

    #[test]
    fn numbers_are_the_same_however_written() {
        let same = ["007", "7", "7.0", "+7", "7."];
        assert!(same.iter().all(|text| number(text).as_deref() == Some("7")));
        assert_eq!(
            (number("-0.50").as_deref(), number("1.2.3"), number("")),
            (Some("-0.5"), None, None)
        );
    }
}

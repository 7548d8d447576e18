//! `WITH (…)` options: typed reading, and errors that name the place and the fix.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fletching_planner::is_secret;

use crate::error::{Error, Result};

/// An option that a connector understands.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its name; a `*` stands for one part, as in `fields.*.kind`.
    pub name: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
}

/// One option's text and its place in the SQL.
#[derive(Clone, PartialEq, Eq)]
struct OptionValue {
    text: String,
    location: Option<(u64, u64)>,
}

/// The options of one relation. Names are matched without regard to case.
///
/// ```
/// use fletching::connector::Options;
///
/// let options = Options::new("stream s").with("rows", "10");
/// assert_eq!(options.parsed::<u64>("rows", "a whole number")?, Some(10));
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    subject: String,
    values: BTreeMap<String, OptionValue>,
    /// What the engine itself understands, for hints.
    engine_names: &'static [&'static str],
}

impl fmt::Debug for Options {
    /// Shows secrets as `…`, since what is shown may end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, text)| match is_secret(name) {
            true => (name, "…"),
            false => (name, text),
        });
        write!(f, "Options of {}: ", self.subject)?;
        f.debug_map().entries(shown).finish()
    }
}

impl Options {
    /// Makes an empty set for `subject`, as in `stream trades`.
    pub fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            values: BTreeMap::new(),
            engine_names: &[],
        }
    }

    /// Says which other names the engine would have understood, for the hint of an unknown one.
    pub(crate) fn set_engine_names(&mut self, names: &'static [&'static str]) {
        self.engine_names = names;
    }

    /// Adds an option.
    #[must_use]
    pub fn with(mut self, name: &str, text: impl Into<String>) -> Self {
        self.set(name, text, None);
        self
    }

    /// Adds an option found at a one-based line and column.
    pub fn set(&mut self, name: &str, text: impl Into<String>, location: Option<(u64, u64)>) {
        self.values.insert(
            name.to_ascii_lowercase(),
            OptionValue {
                text: text.into(),
                location,
            },
        );
    }

    /// Takes an option out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).map(|value| value.text)
    }

    /// Returns an option's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.text.as_str())
    }

    /// Returns the names and texts, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.text.as_str()))
    }

    /// Returns an option's text, or an error that says it is missing.
    ///
    /// # Errors
    /// Fails where the option is not set.
    pub fn required(&self, name: &str, example: &str) -> Result<&str> {
        self.text(name).ok_or_else(|| Error::Option {
            subject: self.subject.clone(),
            message: format!("the option '{name}' is missing"),
            hint: Some(format!("add it, as in {name} = '{example}'")),
            location: None,
        })
    }

    /// Returns an option as a value; `expected` says in words what its text should be.
    ///
    /// # Errors
    /// Fails where the text is not such a value.
    pub fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.bad_value(name, &format!("expected {expected}, found '{text}'"), None)),
        }
    }

    /// Returns an option that is a share, from 0 to 1.
    ///
    /// ```
    /// use fletching::connector::Options;
    ///
    /// let options = Options::new("stream s").with("late.rate_max", "0.01");
    /// assert_eq!(options.share("late.rate_max")?, Some(0.01));
    /// assert!(options.with("late.rate_max", "2").share("late.rate_max").is_err());
    /// # Ok::<(), fletching::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails where the text is none.
    pub fn share(&self, name: &str) -> Result<Option<f64>> {
        let expected = "a share from 0 to 1";
        match self.parsed::<f64>(name, expected)? {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                Err(self.bad_value(name, &format!("expected {expected}, found '{share}'"), None))
            }
            share => Ok(share),
        }
    }

    /// Returns an option that is a time span such as `200ms`, `30s`, `5min` or `1h`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use fletching::connector::Options;
    ///
    /// let options = Options::new("stream s").with("follow.interval", "200ms");
    /// assert_eq!(options.time_span("follow.interval")?, Some(Duration::from_millis(200)));
    /// # Ok::<(), fletching::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails where the text is none.
    pub fn time_span(&self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.text(name).map(str::trim) else {
            return Ok(None);
        };
        match parse_time_span(text) {
            Some(span) => Ok(Some(span)),
            None => {
                let message = format!("expected a time span such as '30s' or '200ms', found '{text}'");
                Err(self.bad_value(name, &message, None))
            }
        }
    }

    /// Returns an option that is `true` or `false`.
    ///
    /// # Errors
    /// Fails where the text is neither.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        match self.text(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("true" | "yes" | "on" | "1") => Ok(Some(true)),
            Some("false" | "no" | "off" | "0") => Ok(Some(false)),
            Some(other) => {
                Err(self.bad_value(name, &format!("expected true or false, found '{other}'"), None))
            }
        }
    }

    /// Returns an option that is one of a few words, by position in `words`.
    ///
    /// # Errors
    /// Fails where the text is none of them, with the nearest as a hint.
    pub fn choice(&self, name: &str, words: &[&str]) -> Result<Option<usize>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        if let Some(at) = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(text.trim()))
        {
            return Ok(Some(at));
        }
        let hint = nearest(text, words.iter().copied()).map(|word| format!("did you mean '{word}'?"));
        let listed = words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(", ");
        Err(self.bad_value(name, &format!("expected one of {listed}, found '{text}'"), hint))
    }

    /// Makes an error about an option's value, with its place.
    pub fn bad_value(&self, name: &str, message: &str, hint: Option<String>) -> Error {
        Error::Option {
            subject: self.subject.clone(),
            message: format!("option '{name}': {message}"),
            hint,
            location: self.values.get(name).and_then(|value| value.location),
        }
    }

    /// Checks that every option is one of `specs`.
    ///
    /// # Errors
    /// Fails on the first that is not, with the nearest name as a hint.
    pub fn check(&self, specs: &[OptionSpec]) -> Result<()> {
        for (name, value) in &self.values {
            if specs.iter().any(|spec| name_matches(spec.name, name)) {
                continue;
            }
            let hint = match nearest(
                name,
                specs
                    .iter()
                    .map(|spec| spec.name)
                    .filter(|name| !name.contains('*'))
                    .chain(self.engine_names.iter().copied()),
            ) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!(
                    "known options: {}",
                    specs.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ")
                ),
            };
            return Err(Error::Option {
                subject: self.subject.clone(),
                message: format!("there is no option '{name}'"),
                hint: Some(hint),
                location: value.location,
            });
        }
        Ok(())
    }
}

/// Reads a number and its unit of time.
pub(crate) fn parse_time_span(text: &str) -> Option<Duration> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit.trim().to_ascii_lowercase().as_str() {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// Says whether a name fits a pattern whose `*` stands for one or more characters.
fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => {
            name.len() > head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        }
    }
}

/// Returns the candidate that a misspelt word most likely means.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let options = Options::new("stream s")
            .with("kafka.sasl.password", "hush")
            .with("topic", "trades");
        let shown = format!("{options:?}");
        assert!(!shown.contains("hush") && shown.contains("trades"), "{shown}");
    }

    const SPECS: &[OptionSpec] = &[
        OptionSpec {
            name: "path",
            help: "",
        },
        OptionSpec {
            name: "format",
            help: "",
        },
        OptionSpec {
            name: "fields.*.kind",
            help: "",
        },
    ];

    #[test]
    fn an_unknown_option_names_the_nearest() {
        let mut options = Options::new("stream s");
        options.set("fromat", "csv", Some((2, 7)));
        let text = options.check(SPECS).unwrap_err().to_string();
        assert_eq!(
            text,
            "stream s: there is no option 'fromat' (line 2, column 7); did you mean 'format'?"
        );
    }

    #[test]
    fn a_pattern_covers_any_middle() {
        assert!(
            Options::new("s")
                .with("fields.user_id.kind", "zipf")
                .check(SPECS)
                .is_ok()
        );
        assert!(
            Options::new("s")
                .with("fields..kind", "zipf")
                .check(SPECS)
                .is_err()
        );
    }

    #[test]
    fn a_choice_is_matched_without_case() {
        let options = Options::new("s").with("format", "CSV");
        assert_eq!(options.choice("format", &["parquet", "csv"]).unwrap(), Some(1));
        assert!(options.choice("format", &["parquet", "json"]).is_err());
    }
}

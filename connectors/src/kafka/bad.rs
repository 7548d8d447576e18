//! What happens to records that cannot be decoded: the run ends, or they are left out and counted,
//! or they go to the dead letters; and past a share of bad ones the run ends all the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::BooleanArray;
use fletching::connector::{BadRowPolicy, DeadLetter, LetterPlace, OnBadRow, Options, SourceReport};
use fletching::{Error, RecordPlace, Result};

use super::gather::Gathered;
use super::letters::Letters;
use super::start::partition_name;
use crate::file::BAD_RECORD;

/// A record that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadRecord {
    pub(super) row: usize,
    pub(super) column: Option<String>,
    pub(super) reason: String,
}

/// Where bad records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OnBad {
    Error,
    Skip,
    File(PathBuf),
    Topic(String),
}

/// The options about bad records.
#[derive(Debug, Clone)]
pub(super) struct BadOptions {
    pub(super) on_bad: OnBad,
    rate_max: f64,
}

impl BadOptions {
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let (path, topic) = (
            options.text("dead_letter.path"),
            options.text("dead_letter.topic"),
        );
        let chosen = options.choice("on_bad_row", &["error", "skip", "dead_letter"])?;
        let on_bad = match (chosen, path, topic) {
            (Some(2), Some(_), Some(_)) => {
                let hint = "leave out one of dead_letter.path and dead_letter.topic".to_owned();
                return Err(options.bad_value("dead_letter.path", "there are two places", Some(hint)));
            }
            (Some(2), Some(path), None) => OnBad::File(PathBuf::from(path)),
            (Some(2), None, Some(topic)) => OnBad::Topic(topic.to_owned()),
            (Some(2), None, None) => {
                let hint = "add dead_letter.topic = 'dead' or dead_letter.path = 'dead.ndjson'".to_owned();
                return Err(options.bad_value("on_bad_row", "it is not said where to", Some(hint)));
            }
            (_, None, None) if chosen == Some(1) => OnBad::Skip,
            (_, None, None) => OnBad::Error,
            (_, path, _) => {
                let name = if path.is_some() {
                    "dead_letter.path"
                } else {
                    "dead_letter.topic"
                };
                let hint = "add on_bad_row = 'dead_letter'".to_owned();
                return Err(options.bad_value(name, "nothing would go there", Some(hint)));
            }
        };
        let rate_max: f64 = options
            .parsed("bad_row.rate_max", "a share from 0 to 1")?
            .unwrap_or(1.0);
        if !(0.0..=1.0).contains(&rate_max) {
            let message = format!("expected a share from 0 to 1, found '{rate_max}'");
            return Err(options.bad_value("bad_row.rate_max", &message, None));
        }
        Ok(Self { on_bad, rate_max })
    }

    /// Says the same in the engine's words; `servers` is the cluster of a topic.
    pub(super) fn policy(&self, servers: &str) -> BadRowPolicy {
        BadRowPolicy {
            on_bad: match &self.on_bad {
                OnBad::Error => OnBadRow::Error,
                OnBad::Skip => OnBadRow::Skip,
                OnBad::File(path) => OnBadRow::Letter(LetterPlace::File(path.clone())),
                OnBad::Topic(topic) => OnBadRow::Letter(LetterPlace::Topic {
                    servers: servers.to_owned(),
                    topic: topic.clone(),
                }),
            },
            rate_max: self.rate_max,
        }
    }

    /// Says whether bad records are kept somewhere.
    pub(super) fn keeps(&self) -> bool {
        matches!(self.on_bad, OnBad::File(_) | OnBad::Topic(_))
    }

    /// Says whether the first bad record ends the run.
    pub(super) fn is_strict(&self) -> bool {
        self.on_bad == OnBad::Error
    }
}

/// How many records are looked at before their share of bad ones counts.
const WINDOW_MIN: usize = 1_000;
/// After how many records the counting begins anew.
const WINDOW_MAX: usize = 10_000;

/// Deals with the bad records of one reading.
pub(super) struct Desk {
    options: BadOptions,
    report: Arc<SourceReport>,
    letters: Option<Letters>,
    /// Letters that somebody else is to write, where they are handed over.
    handed: Option<Vec<DeadLetter>>,
    seen: usize,
    bad: usize,
}

impl Desk {
    pub(super) fn new(options: &BadOptions, report: &Arc<SourceReport>, letters: Option<Letters>) -> Self {
        Self {
            options: options.clone(),
            report: Arc::clone(report),
            letters,
            handed: None,
            seen: 0,
            bad: 0,
        }
    }

    /// Makes one that hands letters over instead of writing them.
    pub(super) fn handing_over(options: &BadOptions, report: &Arc<SourceReport>) -> Self {
        Self {
            handed: options.keeps().then(Vec::new),
            ..Self::new(options, report, None)
        }
    }

    /// Returns the letters since it was asked last.
    pub(super) fn take(&mut self) -> Vec<DeadLetter> {
        self.handed.as_mut().map_or_else(Vec::new, std::mem::take)
    }

    /// Applies the options and returns which records stay; `None` where all do. Dead letters are
    /// where they belong when this returns.
    pub(super) fn settle(
        &mut self,
        bad: Vec<BadRecord>,
        gathered: &Gathered,
    ) -> Result<Option<BooleanArray>> {
        let bad: BTreeMap<usize, BadRecord> = bad.into_iter().rev().map(|bad| (bad.row, bad)).collect();
        self.seen += gathered.rows();
        self.bad += bad.len();
        let mut stays = vec![true; gathered.rows()];
        for record in bad.values() {
            stays[record.row] = false;
            let place = place(gathered, record);
            if self.options.is_strict() {
                return Err(Error::Record {
                    place,
                    message: record.reason.clone(),
                    hint: Some("set on_bad_row = 'skip' or 'dead_letter' to go on without it".into()),
                });
            }
            if let Some(letters) = &mut self.letters {
                letters.add(&place, &record.reason, gathered, record.row)?;
            }
            if let Some(handed) = &mut self.handed {
                handed.push(letter_of(gathered, record));
            }
            self.report.add_bad_row(|| format!("{place}: {}", record.reason));
        }
        if let (Some(letters), false) = (&mut self.letters, bad.is_empty()) {
            letters.flush()?;
        }
        self.check_rate(bad.values().next(), gathered)?;
        Ok((!bad.is_empty()).then(|| BooleanArray::from(stays)))
    }

    fn check_rate(&mut self, last: Option<&BadRecord>, gathered: &Gathered) -> Result<()> {
        let is_past = self.bad as f64 > self.seen as f64 * self.options.rate_max;
        if let (true, true, Some(record)) = (self.seen >= WINDOW_MIN, is_past, last) {
            let message = format!(
                "{} of the last {} records were bad, more than bad_row.rate_max allows; one of them {}",
                self.bad, self.seen, record.reason
            );
            return Err(Error::Record {
                place: place(gathered, record),
                message,
                hint: Some("check that topic and format belong together".into()),
            });
        }
        if self.seen >= WINDOW_MAX {
            (self.seen, self.bad) = (0, 0);
        }
        Ok(())
    }

    /// Says that the reading has come to its end.
    pub(super) fn finish(&mut self) -> Result<()> {
        match self.letters.take() {
            Some(letters) => letters.finish(),
            None => Ok(()),
        }
    }
}

fn letter_of(gathered: &Gathered, record: &BadRecord) -> DeadLetter {
    DeadLetter {
        partition: partition_name(&gathered.topic, gathered.partition),
        place: gathered.offsets[record.row].to_string(),
        code: BAD_RECORD.to_owned(),
        column: record.column.clone(),
        reason: record.reason.clone(),
        key: gathered.key(record.row).map(<[u8]>::to_vec),
        value: gathered.value(record.row).map(<[u8]>::to_vec),
    }
}

fn place(gathered: &Gathered, record: &BadRecord) -> RecordPlace {
    let offset = gathered.offsets[record.row];
    RecordPlace {
        origin: format!("{}-{} at offset {offset}", gathered.topic, gathered.partition),
        column: record.column.clone(),
        ..RecordPlace::default()
    }
}

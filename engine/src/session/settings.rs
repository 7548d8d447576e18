//! `SET name = value`: the session's settings, and DataFusion's under their own names.

use datafusion::common::config::ConfigOptions;

use crate::connector::nearest;
use crate::error::{Error, Result};

/// The settings of a session.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) threads: usize,
    pub(crate) batch_rows: usize,
    /// Whether lookups may copy columns of large tables row by row.
    pub(crate) interleaves: bool,
    /// Rows of a stream that `CHECK JOIN` looks at.
    pub(crate) check_sample_rows: usize,
    /// DataFusion's own, as set by name.
    pub(crate) datafusion: ConfigOptions,
}

/// A setting with its meaning, for `SHOW SETTINGS`.
pub(crate) struct SettingSpec {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
}

pub(crate) const SETTINGS: &[SettingSpec] = &[
    SettingSpec {
        name: "threads",
        help: "cores used at most; default all, or FLETCHING_THREADS",
    },
    SettingSpec {
        name: "batch.rows",
        help: "rows a batch at most (1 to 1048576)",
    },
    SettingSpec {
        name: "lookup.interleave",
        help: "copy the columns that a lookup takes from a large table row by row, up to 64 bytes a \
               row more, for one cache miss where there were several (on or off)",
    },
    SettingSpec {
        name: "check.sample_rows",
        help: "rows of each stream that CHECK JOIN looks at",
    },
];

const THREADS_MAX: usize = 1024;
const BATCH_ROWS_MAX: usize = 1 << 20;
const SAMPLE_ROWS_MAX: usize = 1 << 24;

impl Settings {
    /// Takes the defaults, and the number of threads from the environment.
    pub(crate) fn from_environment() -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut settings = Self {
            threads,
            batch_rows: 8192,
            interleaves: true,
            check_sample_rows: 10_000,
            datafusion: ConfigOptions::new(),
        };
        if let Ok(text) = std::env::var("FLETCHING_THREADS") {
            settings.threads = whole("FLETCHING_THREADS", &text, THREADS_MAX)?;
        }
        Ok(settings)
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "threads" => self.threads = whole("threads", value, THREADS_MAX)?,
            "batch.rows" => self.batch_rows = whole("batch.rows", value, BATCH_ROWS_MAX)?,
            "lookup.interleave" => self.interleaves = on_or_off("lookup.interleave", value)?,
            "check.sample_rows" => {
                self.check_sample_rows = whole("check.sample_rows", value, SAMPLE_ROWS_MAX)?;
            }
            _ if name.starts_with("datafusion.") => {
                self.datafusion.set(name, value).map_err(|error| Error::Option {
                    subject: format!("setting {name}"),
                    message: error
                        .strip_backtrace()
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_string(),
                    hint: None,
                    location: None,
                })?;
            }
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Result<String> {
        match name {
            "threads" => Ok(self.threads.to_string()),
            "batch.rows" => Ok(self.batch_rows.to_string()),
            "lookup.interleave" => Ok(if self.interleaves { "on" } else { "off" }.to_string()),
            "check.sample_rows" => Ok(self.check_sample_rows.to_string()),
            _ => match self
                .datafusion
                .entries()
                .into_iter()
                .find(|entry| entry.key == name)
            {
                Some(entry) => Ok(entry.value.unwrap_or_default()),
                None => Err(unknown(name)),
            },
        }
    }

    pub(crate) fn check_threads(threads: usize) -> Result<usize> {
        whole("threads", &threads.to_string(), THREADS_MAX)
    }
}

fn whole(name: &str, text: &str, max: usize) -> Result<usize> {
    match text.trim().parse::<usize>() {
        Ok(value) if (1..=max).contains(&value) => Ok(value),
        _ => Err(Error::Option {
            subject: format!("setting {name}"),
            message: format!("expected a whole number from 1 to {max}, found '{text}'"),
            hint: None,
            location: None,
        }),
    }
}

fn on_or_off(name: &str, text: &str) -> Result<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(Error::Option {
            subject: format!("setting {name}"),
            message: format!("expected on or off, found '{text}'"),
            hint: None,
            location: None,
        }),
    }
}

fn unknown(name: &str) -> Error {
    let near = nearest(name, SETTINGS.iter().map(|spec| spec.name));
    let hint = match near {
        Some(near) => format!("did you mean '{near}'?"),
        None => "SHOW SETTINGS lists what there is".to_string(),
    };
    Error::Option {
        subject: format!("setting {name}"),
        message: "there is no such setting".into(),
        hint: Some(hint),
        location: None,
    }
}

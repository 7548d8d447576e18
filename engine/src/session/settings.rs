//! `SET name = value`: the session's settings, and DataFusion's under their own names.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use datafusion::common::config::ConfigOptions;

use super::pipeline_settings::PipelineSettings;
use crate::checkpoint::Schemes;
use crate::connector::nearest;
use crate::error::{Error, Result};

/// The settings of a session.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) threads: usize,
    pub(crate) batch_rows: usize,
    /// Whether lookups may copy columns of large tables row by row.
    pub(crate) interleaves: bool,
    /// Bytes that a table may hold; 0 where there is no limit. The tables share it.
    pub(crate) memory_max: Arc<AtomicU64>,
    /// Rows of a stream that `CHECK JOIN` looks at.
    pub(crate) check_sample_rows: usize,
    /// What pipelines that go on are started with.
    pub(crate) pipelines: PipelineSettings,
    /// Where checkpoints may be kept beside folders.
    pub(crate) storages: Schemes,
    /// DataFusion's own, as set by name.
    pub(crate) datafusion: ConfigOptions,
}

/// A setting with its meaning, for `SHOW SETTINGS`.
struct SettingSpec {
    name: &'static str,
    help: &'static str,
}

const SETTINGS: &[SettingSpec] = &[
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
    SettingSpec {
        name: "memory.max",
        help: "bytes that a table may hold, as in '512MB'; more is refused (default none; a table's \
               option memory.max goes before)",
    },
    SettingSpec {
        name: "checkpoint.path",
        help: "the folder, or the place as in s3://bucket/prefix, where pipelines keep how far they have come, \
               to go on from there (default none)",
    },
    SettingSpec {
        name: "checkpoint.interval",
        help: "time from one epoch of a pipeline with checkpoints to the next at least (default 1s)",
    },
    SettingSpec {
        name: "checkpoint.keep",
        help: "checkpoints kept of each pipeline (default 3)",
    },
    SettingSpec {
        name: "epoch.rows_max",
        help: "records of an epoch, after which it is committed (default 1000000)",
    },
    SettingSpec {
        name: "epoch.bytes_max",
        help: "bytes of records of an epoch, after which it is committed (default 128MB)",
    },
    SettingSpec {
        name: "epoch.ms_max",
        help: "milliseconds from an epoch's first record to its commit (default 100)",
    },
    SettingSpec {
        name: "watermark.idle",
        help: "after how long without records a partition no longer holds the watermark back (default 30s)",
    },
    SettingSpec {
        name: "watermark.ahead_max",
        help: "how far ahead of the clock a record moves the watermark at most (default 1h)",
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
            memory_max: Arc::default(),
            check_sample_rows: 10_000,
            pipelines: PipelineSettings::default(),
            storages: Schemes::default(),
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
            "memory.max" => self.memory_max.store(memory_max(value)?, Relaxed),
            "check.sample_rows" => {
                self.check_sample_rows = whole("check.sample_rows", value, SAMPLE_ROWS_MAX)?;
            }
            _ if PipelineSettings::knows(name) => {
                if name == "checkpoint.path" {
                    self.storages.check(value.trim())?;
                }
                self.pipelines.set(name, value)?;
            }
            _ if self.storages.knows(name) => self.storages.set(name, value),
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
            _ => return Err(self.unknown(name)),
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Result<String> {
        match name {
            "threads" => Ok(self.threads.to_string()),
            "batch.rows" => Ok(self.batch_rows.to_string()),
            "memory.max" => Ok(match self.memory_max.load(Relaxed) {
                0 => "none".to_string(),
                bytes => bytes.to_string(),
            }),
            "lookup.interleave" => Ok(if self.interleaves { "on" } else { "off" }.to_string()),
            "check.sample_rows" => Ok(self.check_sample_rows.to_string()),
            _ if PipelineSettings::knows(name) => Ok(self.pipelines.get(name)),
            _ if self.storages.knows(name) => Ok(self.storages.get(name)),
            _ => match self
                .datafusion
                .entries()
                .into_iter()
                .find(|entry| entry.key == name)
            {
                Some(entry) => Ok(entry.value.unwrap_or_default()),
                None => Err(self.unknown(name)),
            },
        }
    }

    /// Lists all settings with their meaning, those of storages last.
    pub(crate) fn list(&self) -> Vec<(&'static str, &'static str)> {
        let own = SETTINGS.iter().map(|spec| (spec.name, spec.help));
        let storages = self.storages.settings();
        own.chain(storages.map(|setting| (setting.name, setting.help)))
            .collect()
    }

    fn unknown(&self, name: &str) -> Error {
        let near = nearest(name, self.list().into_iter().map(|(known, _)| known));
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

/// Reads a number of bytes, with or without a unit: of 1,024 each, as memory is counted.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_uppercase();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].trim_end_matches("IB").trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let number: u64 = digits.trim().parse().ok()?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

fn memory_max(text: &str) -> Result<u64> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(0);
    }
    parse_bytes(text).ok_or_else(|| Error::Option {
        subject: "setting memory.max".into(),
        message: format!("expected a number of bytes or none, found '{text}'"),
        hint: Some("as in '512MB', '2GB' or 1000000".into()),
        location: None,
    })
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

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("1000"), Some(1000));
        assert_eq!(parse_bytes(" 2 kb "), Some(2048));
        assert_eq!(parse_bytes("3MiB"), Some(3 << 20));
        assert_eq!(parse_bytes("1G"), Some(1 << 30));
        for text in ["", "0", "MB", "1.5GB", "2XB", "-1", "99999999999999999999"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}

//! The settings of pipelines that go on: how large an epoch grows, and what is kept of it.

use std::time::Duration;

use super::settings::parse_bytes;
use crate::connector::parse_time_span;
use crate::error::{Error, Result};

/// What pipelines are started with.
#[derive(Debug, Clone)]
pub(crate) struct PipelineSettings {
    /// Where checkpoints are kept; without it nothing is.
    pub(crate) checkpoint_path: Option<String>,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) checkpoint_keep: usize,
    pub(crate) rows_max: u64,
    pub(crate) bytes_max: u64,
    pub(crate) ms_max: u64,
    pub(crate) watermark_idle: Duration,
    pub(crate) watermark_ahead_max: Duration,
}

impl Default for PipelineSettings {
    fn default() -> Self {
        Self {
            checkpoint_path: None,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_keep: 3,
            rows_max: 1_000_000,
            bytes_max: 128 << 20,
            ms_max: 100,
            watermark_idle: Duration::from_secs(30),
            watermark_ahead_max: Duration::from_secs(3600),
        }
    }
}

const NAMES: &[&str] = &[
    "checkpoint.path",
    "checkpoint.interval",
    "checkpoint.keep",
    "epoch.rows_max",
    "epoch.bytes_max",
    "epoch.ms_max",
    "watermark.idle",
    "watermark.ahead_max",
];

impl PipelineSettings {
    pub(crate) fn knows(name: &str) -> bool {
        NAMES.contains(&name)
    }

    pub(crate) fn set(&mut self, name: &str, text: &str) -> Result<()> {
        let text = text.trim();
        let is_none = text.is_empty() || text.eq_ignore_ascii_case("none");
        match name {
            "checkpoint.path" => self.checkpoint_path = (!is_none).then(|| text.to_owned()),
            "checkpoint.interval" => self.checkpoint_interval = span(name, text)?,
            "checkpoint.keep" => self.checkpoint_keep = whole(name, text)?.try_into().unwrap_or(usize::MAX),
            "epoch.rows_max" => self.rows_max = whole(name, text)?,
            "epoch.bytes_max" => {
                let found = parse_bytes(text);
                self.bytes_max = found.ok_or_else(|| wrong(name, "a number of bytes, as in '64MB'", text))?;
            }
            "epoch.ms_max" => self.ms_max = whole(name, text)?,
            "watermark.idle" => self.watermark_idle = span(name, text)?,
            "watermark.ahead_max" => self.watermark_ahead_max = span(name, text)?,
            _ => return Err(Error::internal(format!("{name} is no setting of pipelines"))),
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> String {
        let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
        match name {
            "checkpoint.path" => match &self.checkpoint_path {
                Some(path) => path.clone(),
                None => "none".into(),
            },
            "checkpoint.interval" => milliseconds(self.checkpoint_interval),
            "checkpoint.keep" => self.checkpoint_keep.to_string(),
            "epoch.rows_max" => self.rows_max.to_string(),
            "epoch.bytes_max" => self.bytes_max.to_string(),
            "epoch.ms_max" => self.ms_max.to_string(),
            "watermark.idle" => milliseconds(self.watermark_idle),
            _ => milliseconds(self.watermark_ahead_max),
        }
    }
}

fn span(name: &str, text: &str) -> Result<Duration> {
    // A bare 0 needs no unit.
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    parse_time_span(text).ok_or_else(|| wrong(name, "a time span such as '30s' or '200ms'", text))
}

fn whole(name: &str, text: &str) -> Result<u64> {
    let number = text.parse().ok().filter(|number: &u64| *number > 0);
    number.ok_or_else(|| wrong(name, "a whole number above 0", text))
}

fn wrong(name: &str, expected: &str, text: &str) -> Error {
    Error::Option {
        subject: format!("setting {name}"),
        message: format!("expected {expected}, found '{text}'"),
        hint: None,
        location: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read_back() {
        let mut settings = PipelineSettings::default();
        let pairs = [
            ("checkpoint.path", "state/here", "state/here"),
            ("checkpoint.interval", "0", "0ms"),
            ("checkpoint.keep", "5", "5"),
            ("epoch.rows_max", "10", "10"),
            ("epoch.bytes_max", "1MB", "1048576"),
            ("epoch.ms_max", "7", "7"),
            ("watermark.idle", "1.5s", "1500ms"),
            ("watermark.ahead_max", "1d", "86400000ms"),
        ];
        assert_eq!(pairs.map(|(name, ..)| name), NAMES);
        for (name, text, read) in pairs {
            settings.set(name, text).unwrap();
            assert_eq!(settings.get(name), read, "{name}");
        }
        for (name, text) in [
            ("epoch.rows_max", "0"),
            ("epoch.bytes_max", "x"),
            ("watermark.idle", "5"),
        ] {
            assert_eq!(settings.set(name, text).unwrap_err().code(), "OPTION", "{name}");
        }
    }
}

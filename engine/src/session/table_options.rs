//! The options of a table that the engine reads itself, and among them those that say how it
//! changes: `changelog`, `version`, `memory.max`.

use std::sync::Arc;

use super::Session;
use super::settings::parse_bytes;
use crate::connector::Options;
use crate::error::Result;
use crate::table::ChangeOptions;

/// Options that say how a table changes.
const CHANGE_OPTIONS: &[&str] = &["changelog", "version", "tombstone.retention", "memory.max"];

impl Session {
    /// Returns how a table changes that says nothing of it.
    pub(super) fn default_changes(&self) -> ChangeOptions {
        ChangeOptions {
            session_memory_max: Arc::clone(&self.inner.settings.read().memory_max),
            ..ChangeOptions::default()
        }
    }

    /// Takes the options that say how a table changes out of its options.
    pub(super) fn take_changes(&self, options: &mut Options) -> Result<ChangeOptions> {
        let mut changes = self.default_changes();
        let refuse = |name: &str, message: String, hint: &str| {
            options.bad_value(name, &message, Some(hint.to_string()))
        };
        match options.text("changelog").map(str::to_ascii_lowercase).as_deref() {
            None | Some("append") => {}
            Some("upsert") => changes.is_upsert = true,
            Some(other) => {
                let message = format!("expected append or upsert, found '{other}'");
                return Err(refuse(
                    "changelog",
                    message,
                    "upsert replaces rows by PRIMARY KEY",
                ));
            }
        }
        let is_versioned = options.boolean("versioned")?.unwrap_or(false);
        if is_versioned {
            // Every row is kept, and a changelog says of a key from when it is so, or is no more.
            changes.is_upsert = false;
        }
        if let Some(version) = options.text("version").filter(|_| !is_versioned) {
            if !changes.is_upsert {
                let message = "it says which row of a key is the newer one".to_string();
                return Err(refuse(
                    "version",
                    message,
                    "add changelog = 'upsert' or 'versioned' = 'true'",
                ));
            }
            changes.version = Some(version.to_string());
        }
        changes.tombstones = options.time_span("tombstone.retention")?;
        if changes.tombstones.is_some() && changes.version.is_none() {
            let message = "without versions nothing is remembered of a row that is gone".to_string();
            let hint = "add changelog = 'upsert' and version = 'column'";
            return Err(refuse("tombstone.retention", message, hint));
        }
        if let Some(text) = options.text("memory.max") {
            let bytes = parse_bytes(text).ok_or_else(|| {
                let message = format!("expected a number of bytes, found '{text}'");
                refuse("memory.max", message, "as in '512MB', '2GB' or '1000000'")
            })?;
            changes.memory_max = Some(bytes);
        }
        // The version of a versioned table is read elsewhere.
        for name in CHANGE_OPTIONS
            .iter()
            .filter(|name| !is_versioned || **name != "version")
        {
            options.take(name);
        }
        Ok(changes)
    }
}

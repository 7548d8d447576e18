//! Where the schema of a format comes from: the statement, a file, a registry.

use std::path::Path;

use fletching::connector::Options;
use fletching::{Error, Result};

use super::avro_references::inlined;
use super::registry::{Registry, Schema};

/// A schema's origin, as options say.
#[derive(Debug)]
pub(super) struct SchemaOrigin {
    /// The schema itself, where the options give it.
    pub(super) text: Option<String>,
    pub(super) registry: Option<Registry>,
    /// What the schema is called in the registry.
    pub(super) subject: String,
}

impl SchemaOrigin {
    /// Reads the options. A file is read here; a registry is not yet asked.
    pub(super) fn from_options(options: &Options, topic: &str) -> Result<Self> {
        let text = match (options.text("schema"), options.text("schema.path")) {
            (Some(_), Some(_)) => {
                let hint = "leave out one of schema and schema.path".to_owned();
                return Err(options.bad_value("schema.path", "there is a schema as well", Some(hint)));
            }
            (Some(text), None) => Some(text.to_owned()),
            (None, Some(path)) => {
                let read = std::fs::read_to_string(path);
                Some(read.map_err(|error| Error::file(Path::new(path), &error))?)
            }
            (None, None) => None,
        };
        let subject = options.text("schema.subject");
        Ok(Self {
            text,
            registry: Registry::from_options(options)?,
            subject: subject.map_or_else(|| format!("{topic}-value"), str::to_owned),
        })
    }

    /// Returns the schema to read with: the one given, or else the newest of the registry.
    pub(super) fn reader(&self, format: &str) -> Result<Schema> {
        if let Some(text) = &self.text {
            return Ok(Schema::of_text(text));
        }
        let Some(registry) = &self.registry else {
            return Err(Error::Option {
                subject: format!("format {format}"),
                message: "there is no schema".into(),
                hint: Some("add schema, schema.path or schema.registry".into()),
                location: None,
            });
        };
        match registry.latest(&self.subject)? {
            Some(found) => Ok(found),
            None => Err(Error::Option {
                subject: format!("format {format}"),
                message: format!("the schema registry has no subject '{}'", self.subject),
                hint: Some("set schema.subject, or give the schema itself".into()),
                location: None,
            }),
        }
    }

    /// Returns the Avro schema to read with, with those it refers to written into it.
    pub(super) fn avro_reader(&self) -> Result<String> {
        inlined(&self.reader("avro")?).map_err(|why| super::avro::unusable(&why))
    }
}

//! Where each column of a Kafka source comes from: the value, the key, or what Kafka knows itself.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use fletching::Result;
use fletching::connector::{CHANGE_COLUMN, RelationKind, RelationSpec};
use fletching::{Error, connector::Options};

use super::options::names;
use crate::file::changes::ChangeRules;
use crate::message::{KeyFormat, MessageFormat};
use crate::spelling::{listed, nearest, type_name};

/// What Kafka knows of a record besides its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    Key,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

/// The metadata columns by name.
const META: [(&str, Meta); 6] = [
    ("_key", Meta::Key),
    ("_topic", Meta::Topic),
    ("_partition", Meta::Partition),
    ("_offset", Meta::Offset),
    ("_timestamp", Meta::Timestamp),
    ("_headers", Meta::Headers),
];

impl Meta {
    /// Returns the type that the column has unless the statement declares another.
    fn usual_type(self) -> DataType {
        match self {
            Self::Key => DataType::BinaryView,
            Self::Topic | Self::Headers => DataType::Utf8View,
            Self::Partition => DataType::Int32,
            Self::Offset => DataType::Int64,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
        }
    }

    /// Says whether the column may be declared with a type.
    fn fits(self, data_type: &DataType) -> bool {
        let is_text = matches!(
            data_type,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        );
        match self {
            Self::Key => {
                is_text
                    || matches!(
                        data_type,
                        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
                    )
            }
            Self::Topic | Self::Headers => is_text,
            Self::Partition => matches!(data_type, DataType::Int32 | DataType::Int64),
            Self::Offset => matches!(data_type, DataType::Int64),
            Self::Timestamp => matches!(data_type, DataType::Timestamp(_, _) | DataType::Int64),
        }
    }
}

/// Where a column comes from, by position among the fields of value and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Value(usize),
    Key(usize),
    Meta(Meta),
}

/// The columns of a source, and how its records are decoded.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    pub(super) origins: Vec<Origin>,
    pub(super) value_fields: Fields,
    pub(super) value_format: Arc<dyn MessageFormat>,
    /// The columns that the message key holds; empty where nobody needs to know.
    pub(super) key_fields: Fields,
    pub(super) key_format: KeyFormat,
    /// Whether the records are changes: a record without a value deletes the row with its key.
    pub(super) has_changes: bool,
    /// The columns of the key as places in the schema, in the order of `key_fields`.
    pub(super) key_columns: Vec<usize>,
}

impl Columns {
    /// Finds each column's origin.
    ///
    /// # Errors
    /// Fails where no columns are declared and the format tells none, a column of the key is not
    /// there, or a metadata column has a type that does not hold it.
    pub(super) fn find(spec: &RelationSpec, value_format: Arc<dyn MessageFormat>) -> Result<Self> {
        let options = &spec.options;
        if value_format.tells_operations() {
            check_changelog(spec)?;
        }
        let schema = schema(spec, value_format.as_ref())?;
        let named = names(options, "key");
        let has_changes = spec.kind == RelationKind::Table && !spec.primary_key.is_empty();
        let is_from_key = !named.is_empty();
        let key_names = if is_from_key { &named } else { &spec.primary_key };
        let mut key_columns = Vec::new();
        if is_from_key || has_changes {
            for name in key_names {
                key_columns.push(place(options, "key", name, &schema)?);
            }
        }
        if has_changes && let Some(lacking) = spec.primary_key.iter().find(|name| !key_names.contains(name)) {
            let message = format!("the column '{lacking}' of the PRIMARY KEY is not among them");
            let hint = "a record without a value tells by its key which row it deletes".to_owned();
            return Err(options.bad_value("key", &message, Some(hint)));
        }
        let (mut origins, mut value_fields) = (Vec::new(), Vec::new());
        for (at, field) in schema.fields().iter().enumerate() {
            let meta = META.iter().find(|(name, _)| name == field.name());
            origins.push(match meta {
                Some((_, meta)) => {
                    check_meta(options, *meta, field)?;
                    Origin::Meta(*meta)
                }
                None => match key_columns.iter().position(|key| *key == at) {
                    Some(key) if is_from_key => Origin::Key(key),
                    _ => {
                        value_fields.push(Arc::clone(field));
                        Origin::Value(value_fields.len() - 1)
                    }
                },
            });
        }
        let key_fields: Fields = key_columns
            .iter()
            .map(|at| Arc::clone(&schema.fields()[*at]))
            .collect();
        let key_format = KeyFormat::from_options(options, &key_fields)?;
        let columns = Self {
            schema,
            origins,
            value_fields: value_fields.into(),
            value_format,
            key_fields,
            key_format,
            has_changes,
            key_columns,
        };
        columns.check()?;
        Ok(columns)
    }

    /// Makes every decoder once, so that a column that cannot be read is found when it is declared.
    fn check(&self) -> Result<()> {
        let all: Vec<usize> = (0..self.value_fields.len()).collect();
        if !all.is_empty() {
            self.value_format.decoder(&self.value_fields, &all)?;
        }
        if !self.key_fields.is_empty() {
            let all: Vec<usize> = (0..self.key_fields.len()).collect();
            self.key_format.messages().decoder(&self.key_fields, &all)?;
        }
        Ok(())
    }

    /// Returns the schema of batches with some of the columns: of changes only the key is certain
    /// to be there, and what each does comes last.
    pub(super) fn batch_schema(&self, projection: &[usize]) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = Vec::with_capacity(projection.len() + 1);
        for at in projection {
            let field = &self.schema.fields()[*at];
            // Not even the key is there where all rows are taken away.
            let is_certain = self.key_columns.contains(at) && !self.value_format.tells_operations();
            fields.push(if self.has_changes && !is_certain {
                Arc::new(field.as_ref().clone().with_nullable(true))
            } else {
                Arc::clone(field)
            });
        }
        if self.has_changes {
            fields.push(Arc::new(Field::new(CHANGE_COLUMN, DataType::Int8, false)));
        }
        Arc::new(Schema::new(fields))
    }
}

/// Checks that records which are changes have a table to change.
fn check_changelog(spec: &RelationSpec) -> Result<()> {
    ChangeRules::from_spec(spec)?;
    if spec.primary_key.is_empty() {
        let hint = "say CREATE TABLE … (…, PRIMARY KEY (…))".to_owned();
        let message = "a changelog is kept by the key of its rows, and there is no PRIMARY KEY";
        return Err(spec.options.bad_value("format", message, Some(hint)));
    }
    Ok(())
}

/// Finds the columns: those declared, or else those of the format's own schema, of the key, and
/// the metadata asked for.
fn schema(spec: &RelationSpec, format: &dyn MessageFormat) -> Result<SchemaRef> {
    let asked = names(&spec.options, "metadata");
    let found = if spec.schema.is_none() {
        format.columns()?
    } else {
        None
    };
    let mut fields: Vec<Arc<Field>> = match (&spec.schema, found) {
        (Some(declared), _) => declared.fields().iter().cloned().collect(),
        (None, Some(found)) => found.iter().cloned().collect(),
        (None, None) => {
            let hint = "add them, as in (id BIGINT, name VARCHAR); only avro and protobuf tell their columns";
            return Err(Error::Option {
                subject: spec.subject(),
                message: "the columns of a topic must be declared".into(),
                hint: Some(hint.into()),
                location: None,
            });
        }
    };
    for name in asked {
        let Some((name, meta)) = META.iter().find(|(known, _)| *known == name) else {
            let words = META.map(|(name, _)| name);
            let message = format!("there is no metadata column '{name}'");
            let hint = match nearest(&name, words) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there are {}", words.join(", ")),
            };
            return Err(spec.options.bad_value("metadata", &message, Some(hint)));
        };
        if !fields.iter().any(|field| field.name() == name) {
            fields.push(Arc::new(Field::new(*name, meta.usual_type(), true)));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Finds a column that an option names.
pub(super) fn place(options: &Options, option: &str, name: &str, schema: &Schema) -> Result<usize> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    crate::file::find_column(name, names()).ok_or_else(|| {
        let hint = match nearest(name, names()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("there are {}", listed(names())),
        };
        options.bad_value(option, &format!("there is no column '{name}'"), Some(hint))
    })
}

fn check_meta(options: &Options, meta: Meta, field: &Field) -> Result<()> {
    if meta.fits(field.data_type()) {
        return Ok(());
    }
    let message = format!(
        "the column '{}' is declared {}, but holds {}",
        field.name(),
        type_name(field.data_type()),
        type_name(&meta.usual_type())
    );
    let hint = "declare it so, or name your own column otherwise".to_owned();
    Err(options.bad_value("metadata", &message, Some(hint)))
}

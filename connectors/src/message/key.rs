//! Formats of message keys: one value as text, or the formats of values.

use std::sync::Arc;

use arrow::array::builder::StringViewBuilder;
use arrow::array::{Array, ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fletching::connector::Options;
use fletching::{Error, Result};

use super::raw::RawMessages;
use super::{
    BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads, debezium, json, unfit, unwritable,
};
use crate::file::changes::is_debezium;
use crate::file::text::cell_reason;
use crate::file::text::values::{is_readable, parse_column};

/// How a message's key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyFormat {
    /// One value as text: `42`.
    Text,
    /// One value as it stands, numbers big-endian.
    Raw,
    /// An object of the key's columns: `{"user_id":42}`.
    Json,
    /// The same as Debezium writes it, with its schema or without.
    Envelope,
}

impl KeyFormat {
    /// Reads the option `key.format`. Unless it says otherwise, one column is text (bytes as they
    /// stand) and several are JSON; beside envelopes keys are JSON.
    ///
    /// # Errors
    /// Fails where the format cannot hold the columns.
    pub(crate) fn from_options(options: &Options, fields: &Fields) -> Result<Self> {
        let chosen = match options.choice("key.format", &["text", "raw", "json"])? {
            Some(0) => Self::Text,
            Some(1) => Self::Raw,
            Some(_) | None if is_debezium(options) => Self::Envelope,
            Some(_) => Self::Json,
            None => match fields.as_ref() {
                [field] if is_bytes(field.data_type()) => Self::Raw,
                [_] => Self::Text,
                _ => Self::Json,
            },
        };
        if !matches!(chosen, Self::Json | Self::Envelope) && fields.len() > 1 {
            let message = format!("it holds one value, but the key has {} columns", fields.len());
            return Err(options.bad_value("key.format", &message, Some("use 'json'".into())));
        }
        Ok(chosen)
    }

    /// Returns the format itself.
    pub(crate) fn messages(self) -> Arc<dyn MessageFormat> {
        match self {
            Self::Text => Arc::new(TextMessages),
            Self::Raw => Arc::new(RawMessages),
            Self::Json => Arc::new(json::JsonMessages),
            Self::Envelope => Arc::new(debezium::EnvelopeKeys),
        }
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

/// Messages that are one value each, as text.
#[derive(Debug, Clone, Copy)]
struct TextMessages;

impl MessageFormat for TextMessages {
    fn decoder(&self, fields: &Fields, _: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        let [field] = fields.as_ref() else {
            return Err(Error::internal("a key of text has one column"));
        };
        if !is_readable(field.data_type()) {
            return Err(unfit(
                "text",
                field.name(),
                field.data_type(),
                "use key.format = 'json'",
            ));
        }
        Ok(Box::new(TextDecoder(Arc::clone(field))))
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        for field in schema.fields() {
            if field.data_type().is_nested() {
                return Err(unfit(
                    "text",
                    field.name(),
                    field.data_type(),
                    "use key.format = 'json'",
                ));
            }
        }
        Ok(Box::new(TextEncoder))
    }
}

struct TextDecoder(Arc<Field>);

impl MessageDecoder for TextDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        let mut texts = StringViewBuilder::with_capacity(messages.len());
        for (row, message) in messages.iter().enumerate() {
            match std::str::from_utf8(message) {
                Ok(text) => texts.append_value(text),
                Err(error) => {
                    let reason = format!("the key is not UTF-8 text at byte {}", error.valid_up_to() + 1);
                    bad.push(BadMessage::new(row, reason));
                    texts.append_null();
                }
            }
        }
        let texts: StringViewArray = texts.finish();
        let mut cells = Vec::new();
        let column = parse_column(&texts, self.0.data_type(), &mut cells)?;
        bad.extend(cells.iter().map(|cell| BadMessage {
            column: Some(self.0.name().clone()),
            ..BadMessage::new(cell.row, cell_reason(&self.0, cell))
        }));
        Ok(vec![column])
    }
}

struct TextEncoder;

impl MessageEncoder for TextEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()> {
        let options = FormatOptions::default().with_display_error(false);
        let column = batch.column(0);
        let formatter =
            ArrayFormatter::try_new(column.as_ref(), &options).map_err(|error| unwritable("text", &error))?;
        let nulls = column.logical_nulls();
        let mut text = String::new();
        for row in 0..column.len() {
            text.clear();
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                formatter
                    .value(row)
                    .write(&mut text)
                    .map_err(|error| unwritable("text", &error))?;
            }
            out.push(text.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Decimal128Array, Int64Array};

    #[test]
    fn keys_of_text_come_back_as_they_were() {
        let decimals = Decimal128Array::from(vec![12_345])
            .with_precision_and_scale(9, 2)
            .unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![-42])),
            Arc::new(Date32Array::from(vec![20_000])),
            Arc::new(decimals),
            Arc::new(StringViewArray::from(vec!["a b"])),
        ];
        for column in columns {
            let batch = RecordBatch::try_from_iter([("k", Arc::clone(&column))]).unwrap();
            let mut out = Payloads::default();
            TextMessages
                .encoder(&batch.schema())
                .unwrap()
                .encode(&batch, &mut out)
                .unwrap();
            let mut decoder = TextMessages.decoder(batch.schema().fields(), &[0]).unwrap();
            let mut bad = Vec::new();
            let back = decoder.decode(&out, &mut bad).unwrap();
            assert!(bad.is_empty(), "{bad:?}");
            assert_eq!(&back[0], &column);
        }
    }

    #[test]
    fn the_format_follows_from_the_columns() {
        let options = Options::new("table t");
        let of = |types: &[DataType]| {
            let fields: Fields = types.iter().map(|t| Field::new("c", t.clone(), true)).collect();
            KeyFormat::from_options(&options, &fields).unwrap()
        };
        assert_eq!(of(&[DataType::Int64]), KeyFormat::Text);
        assert_eq!(of(&[DataType::BinaryView]), KeyFormat::Raw);
        assert_eq!(of(&[DataType::Int64, DataType::Utf8View]), KeyFormat::Json);
    }
}

//! Records of one partition as they came, before they are decoded.

use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Headers, Message};
use serde_json::{Map, Value};

use crate::message::Payloads;

/// Which parts of a record are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    pub(super) keys: bool,
    pub(super) headers: bool,
}

/// Some records of one partition, in its order.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offsets: Vec<i64>,
    /// Milliseconds since 1970, where the record has a time.
    pub(super) timestamps: Vec<Option<i64>>,
    pub(super) values: Payloads,
    /// The rows that have a value, in order.
    pub(super) value_rows: Vec<usize>,
    pub(super) keys: Payloads,
    /// The rows that have a key, in order.
    pub(super) key_rows: Vec<usize>,
    /// Headers as JSON objects.
    pub(super) headers: Vec<Option<String>>,
    bytes: usize,
}

impl Gathered {
    pub(super) fn new(topic: &Arc<str>, partition: i32) -> Self {
        Self {
            topic: Arc::clone(topic),
            partition,
            ..Self::default()
        }
    }

    /// Returns how many records there are.
    pub(super) fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// Returns how many bytes their keys and values have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a record.
    pub(super) fn push(&mut self, message: &BorrowedMessage<'_>, kept: Kept) {
        let row = self.rows();
        self.offsets.push(message.offset());
        self.timestamps.push(message.timestamp().to_millis());
        if let Some(value) = message.payload() {
            self.values.push(value);
            self.value_rows.push(row);
        }
        if kept.keys
            && let Some(key) = message.key()
        {
            self.keys.push(key);
            self.key_rows.push(row);
        }
        if kept.headers {
            self.headers.push(message.headers().map(headers_text));
        }
        self.bytes += message.key_len() + message.payload_len();
    }

    /// Returns a row's value.
    pub(super) fn value(&self, row: usize) -> Option<&[u8]> {
        let at = self.value_rows.binary_search(&row).ok()?;
        Some(self.values.get(at))
    }

    /// Returns a row's key, where keys are kept.
    pub(super) fn key(&self, row: usize) -> Option<&[u8]> {
        let at = self.key_rows.binary_search(&row).ok()?;
        Some(self.keys.get(at))
    }
}

/// Writes headers as a JSON object: text as it is, other bytes in hexadecimal after `0x`; of a name
/// that occurs twice the last counts.
fn headers_text<H: Headers>(headers: &H) -> String {
    let mut object = Map::new();
    for header in headers.iter() {
        let value = match header.value.map(std::str::from_utf8) {
            None => Value::Null,
            Some(Ok(text)) => text.into(),
            Some(Err(_)) => {
                let bytes = header.value.unwrap_or_default();
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("0x{hex}").into()
            }
        };
        object.insert(header.key.to_owned(), value);
    }
    Value::Object(object).to_string()
}

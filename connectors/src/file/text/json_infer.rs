//! Guesses the columns of a JSON lines file from its first lines.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow_json::reader::infer_json_schema_from_iterator;
use fletching::Result;
use fletching::connector::SourceReport;
use serde_json::Value;

use super::TextOptions;
use super::buffer::TextBuffer;
use super::json::JsonLines;
use crate::file::paths::{SourceFile, file_error};

/// How many lines are cut at a time.
const LINES: usize = 1024;

/// Calls `see` with each of a file's first lines until it returns false.
fn sample(file: &SourceFile, options: &TextOptions, mut see: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let report = Arc::<SourceReport>::default();
    let buffer = TextBuffer::open(file, options.packing_of(file), &report)?;
    if buffer.data().trim_ascii_start().starts_with(b"[") {
        let hint = "write one object a line, as with: jq -c '.[]'".to_owned();
        return Err(file_error(&file.path, "is one JSON list", Some(hint)));
    }
    let mut lines = JsonLines::new(buffer);
    let mut left = options.infer_rows;
    while left > 0 && lines.cut(left.min(LINES))? > 0 {
        left -= lines.spans.len();
        for span in &lines.spans {
            if !see(&lines.data()[span.start..span.end]) {
                return Ok(());
            }
        }
        lines.release();
    }
    Ok(())
}

/// Lists the keys of a file's first lines, in the order in which they come; stops early where
/// every one of the columns of `wanted` is found.
pub(super) fn keys(file: &SourceFile, options: &TextOptions, wanted: &Schema) -> Result<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    let mut missing: Vec<&str> = wanted.fields().iter().map(|f| f.name().as_str()).collect();
    sample(file, options, |line| {
        each_key(line, |key| {
            if !keys.contains(&key) {
                missing.retain(|name| *name != key);
                keys.push(key);
            }
        });
        !missing.is_empty()
    })?;
    Ok(keys)
}

/// Lists the keys of the rows that a file's first envelopes hold, sorted.
pub(super) fn envelope_keys(file: &SourceFile, options: &TextOptions) -> Result<Vec<String>> {
    let mut keys = BTreeSet::new();
    sample(file, options, |line| {
        if let Ok(value) = serde_json::from_slice::<Value>(line) {
            let level = value.get("payload").filter(|payload| payload.is_object());
            let level = level.unwrap_or(&value);
            let images = ["before", "after"]
                .iter()
                .filter_map(|image| level.get(*image)?.as_object());
            keys.extend(images.flat_map(|image| image.keys().cloned()));
        }
        true
    })?;
    Ok(keys.into_iter().collect())
}

/// Guesses the columns. Lines that are no objects are passed over; they are bad rows of the scan.
pub(super) fn infer_json(file: &SourceFile, options: &TextOptions) -> Result<Schema> {
    let mut order: Vec<String> = Vec::new();
    let mut objects = Vec::new();
    sample(file, options, |line| {
        if let Ok(value @ Value::Object(_)) = serde_json::from_slice(line) {
            each_key(line, |key| {
                if !order.contains(&key) {
                    order.push(key);
                }
            });
            objects.push(keep_digits(value));
        }
        true
    })?;
    let schema = infer_json_schema_from_iterator(objects.iter().map(Ok)).map_err(|error| {
        let hint = "declare the columns".to_owned();
        file_error(
            &file.path,
            format!("its columns cannot be guessed: {error}"),
            Some(hint),
        )
    })?;
    let fields: Vec<Field> = order
        .iter()
        .filter_map(|name| schema.field_with_name(name).ok())
        .map(|field| Field::new(field.name(), viewed(field.data_type()), true))
        .collect();
    Ok(Schema::new(fields))
}

/// Turns whole numbers past 64 bits into text, so that no DOUBLE is guessed for them.
fn keep_digits(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_u64().is_some() && number.as_i64().is_none() => {
            Value::String(number.to_string())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(keep_digits).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| (key, keep_digits(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Turns text into its view form at any depth; a column that is always null becomes text.
fn viewed(data_type: &DataType) -> DataType {
    let inside = |field: &FieldRef| -> FieldRef {
        Arc::new(field.as_ref().clone().with_data_type(viewed(field.data_type())))
    };
    match data_type {
        DataType::Utf8 | DataType::Null => DataType::Utf8View,
        DataType::List(field) => DataType::List(inside(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect()),
        other => other.clone(),
    }
}

/// Calls `see` with each key of a line's outermost object.
fn each_key(line: &[u8], mut see: impl FnMut(String)) {
    let mut depth = 0_usize;
    let mut is_key = false;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                is_key = depth == 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => is_key = depth == 1,
            b':' => is_key = false,
            b'"' => {
                let begin = at;
                at += 1;
                while line.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if line[at] == b'\\' { 2 } else { 1 };
                }
                if is_key
                    && let Some(quoted) = line.get(begin..=at)
                    && let Ok(key) = serde_json::from_slice::<String>(quoted)
                {
                    see(key);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outermost_keys_are_listed_in_order() {
        let line = br#"{"b": {"x": 1, "y": [{"z": 2}]}, "a\"q": "c\\", "c": ["d", "e"], "u\u00e9": 1}"#;
        let mut keys = Vec::new();
        each_key(line, |key| keys.push(key));
        assert_eq!(keys, ["b", "a\"q", "c", "ué"]);
    }

    #[test]
    fn broken_lines_do_no_harm() {
        for line in [&b"{\"a"[..], b"{\"a\\", b"}}{\"", b"", b"\"\"\"", b"{\"a\": \""] {
            each_key(line, |_| {});
        }
    }
}

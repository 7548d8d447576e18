//! The schema of Protobuf messages: a `.proto` text compiled, and its fields as columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use fletching::connector::Options;
use fletching::{Error, Result};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use crate::spelling::{listed, nearest};

/// The name that the schema has for its compiler.
const NAME: &str = "schema.proto";

/// Gives the compiler the one text there is.
struct OneText(String);

impl FileResolver for OneText {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name == NAME {
            true => File::from_source(name, &self.0),
            false => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// Makes the error for a schema that cannot be used.
pub(super) fn unusable(why: &str, hint: &str) -> Error {
    Error::Option {
        subject: "format protobuf".into(),
        message: format!("its schema cannot be used: {why}"),
        hint: Some(hint.to_owned()),
        location: None,
    }
}

/// Compiles a `.proto` text, which may import Google's own files, and picks a message: the one
/// named, or else the first.
pub(super) fn message(text: &str, name: Option<&str>) -> Result<MessageDescriptor> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(OneText(text.to_owned()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    if let Err(error) = compiler.open_file(NAME) {
        let why = error.to_string();
        return Err(unusable(&why, "give the text of a .proto file"));
    }
    let pool = compiler.descriptor_pool();
    let Some(file) = pool.get_file_by_name(NAME) else {
        return Err(Error::internal("a compiled schema is not there"));
    };
    let mut messages = file.messages();
    let Some(name) = name else {
        return messages.next().ok_or_else(|| {
            unusable(
                "it has no message",
                "add one, as in: message Trade { int64 id = 1; }",
            )
        });
    };
    let is_meant = |message: &MessageDescriptor| message.full_name() == name || message.name() == name;
    if let Some(found) = messages.find(is_meant) {
        return Ok(found);
    }
    let names: Vec<String> = file
        .messages()
        .map(|message| message.full_name().to_owned())
        .collect();
    let hint = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("it has {}", listed(names.iter().map(String::as_str))),
    };
    Err(unusable(&format!("it has no message '{name}'"), &hint))
}

/// Returns the option `schema.message`.
pub(super) fn message_name(options: &Options) -> Option<String> {
    options.text("schema.message").map(str::to_owned)
}

/// A field that can be a column.
#[derive(Debug, Clone)]
pub(super) struct ProtoField {
    pub(super) number: u32,
    pub(super) kind: Kind,
    /// Whether a message without the field has no value, rather than zero or no text.
    pub(super) is_nullable: bool,
    pub(super) column: Arc<Field>,
}

/// Returns the fields of a message that can be columns: single numbers, truth values, texts,
/// bytes, enums (as text) and `google.protobuf.Timestamp`.
pub(super) fn fields(message: &MessageDescriptor) -> Vec<ProtoField> {
    message.fields().filter_map(|field| proto_field(&field)).collect()
}

fn proto_field(field: &FieldDescriptor) -> Option<ProtoField> {
    if field.is_list() || field.is_map() || field.is_group() {
        return None;
    }
    let kind = field.kind();
    let data_type = match &kind {
        Kind::Double => DataType::Float64,
        Kind::Float => DataType::Float32,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => DataType::Int32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => DataType::Int64,
        Kind::Uint32 | Kind::Fixed32 => DataType::UInt32,
        Kind::Uint64 | Kind::Fixed64 => DataType::UInt64,
        Kind::Bool => DataType::Boolean,
        Kind::String | Kind::Enum(_) => DataType::Utf8View,
        Kind::Bytes => DataType::BinaryView,
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            DataType::Timestamp(TimeUnit::Nanosecond, None)
        }
        Kind::Message(_) => return None,
    };
    let is_nullable = field.supports_presence();
    Some(ProtoField {
        number: field.number(),
        kind,
        is_nullable,
        column: Arc::new(Field::new(field.name(), data_type, is_nullable)),
    })
}

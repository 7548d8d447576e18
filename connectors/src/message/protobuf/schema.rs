//! The schema of Protobuf messages: a `.proto` text compiled, with those it imports.

use fletching::connector::Options;
use fletching::{Error, Result};
use prost_reflect::MessageDescriptor;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::super::registry::Schema;
use crate::spelling::{listed, nearest};

/// The name that the schema has for its compiler.
const NAME: &str = "schema.proto";

/// Gives the compiler the texts there are, by the names that they are imported by.
struct Texts(Schema);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let mut referred = self.0.references.iter();
        let text = match name == NAME {
            true => Some(&self.0.text),
            false => referred.find(|other| other.name == name).map(|other| &other.text),
        };
        match text {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
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

/// Compiles a `.proto` text, which may import Google's own files and those that the registry says
/// it refers to, and picks a message: the one named, or else the first.
pub(super) fn message(schema: &Schema, name: Option<&str>) -> Result<MessageDescriptor> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(schema.clone()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    if let Err(error) = compiler.open_file(NAME) {
        let hint = match error.is_file_not_found() {
            true => "put the schema with what it imports into a registry, or write it as one text",
            false => "give the text of a .proto file",
        };
        return Err(unusable(&error.to_string(), hint));
    }
    let pool = compiler.descriptor_pool();
    let Some(file) = pool.get_file_by_name(NAME) else {
        return Err(Error::internal("a compiled schema is not there"));
    };
    let mut messages = Vec::new();
    file.messages()
        .for_each(|message| with_inner(message, &mut messages));
    let Some(name) = name else {
        return messages.into_iter().next().ok_or_else(|| {
            unusable(
                "it has no message",
                "add one, as in: message Trade { int64 id = 1; }",
            )
        });
    };
    let by_full_name = messages.iter().find(|message| message.full_name() == name);
    let found = by_full_name.or_else(|| messages.iter().find(|message| message.name() == name));
    if let Some(found) = found {
        return Ok(found.clone());
    }
    let names: Vec<&str> = messages.iter().map(MessageDescriptor::full_name).collect();
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("it has {}", listed(names.iter().copied())),
    };
    Err(unusable(&format!("it has no message '{name}'"), &hint))
}

/// Adds a message and those that are declared within it.
fn with_inner(message: MessageDescriptor, all: &mut Vec<MessageDescriptor>) {
    if message.is_map_entry() {
        return;
    }
    let inner: Vec<MessageDescriptor> = message.child_messages().collect();
    all.push(message);
    inner.into_iter().for_each(|message| with_inner(message, all));
}

/// Returns the option `schema.message`.
pub(super) fn message_name(options: &Options) -> Option<String> {
    options.text("schema.message").map(str::to_owned)
}

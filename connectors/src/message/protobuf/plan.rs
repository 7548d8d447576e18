//! Which fields are read for the columns that are declared: all the way down, by name.

use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Fields};
use fletching::{Error, Result};
use prost_reflect::MessageDescriptor;

use super::super::fit::NO_FIELD;
use super::columns::joined;
use super::shape::{Leaf, ProtoField, Shape, left_out};
use crate::file::find_column;
use crate::spelling::{listed, nearest, type_name};

/// Returns the fields for the declared columns, in their order, cut to the fields declared within.
pub(super) fn wanted(
    message: &MessageDescriptor,
    all: &[ProtoField],
    declared: &[Arc<Field>],
) -> Result<Vec<ProtoField>> {
    declared
        .iter()
        .map(|field| {
            if find(all, field.name()).is_none()
                && let Some(why) = left_out(message, field.name())
            {
                let hint = "leave the column out".to_owned();
                return Err(refused(format!("the field '{}' {why}", field.name()), hint));
            }
            one(all, field, "")
        })
        .collect()
}

/// Makes the error for columns that do not go with the schema.
pub(super) fn refused(message: String, hint: String) -> Error {
    Error::Option {
        subject: "format protobuf".into(),
        message,
        hint: Some(hint),
        location: None,
    }
}

/// Finds a field by its name, as columns are found.
pub(super) fn find<'a>(fields: &'a [ProtoField], name: &str) -> Option<&'a ProtoField> {
    let names = fields.iter().map(|field| field.name.as_str());
    find_column(name, names).map(|at| &fields[at])
}

/// Makes the error for a name that no field has.
pub(super) fn unknown(fields: &[ProtoField], name: &str, path: &str) -> Error {
    let names = || fields.iter().map(|field| field.name.as_str());
    let hint = match nearest(name, names()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("there are {}", listed(names())),
    };
    refused(format!("{NO_FIELD} '{}'", joined_path(path, name)), hint)
}

/// Puts a name at the end of a path.
pub(super) fn joined_path(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => joined(path, name),
    }
}

fn one(fields: &[ProtoField], declared: &Field, path: &str) -> Result<ProtoField> {
    let Some(found) = find(fields, declared.name()) else {
        return Err(unknown(fields, declared.name(), path));
    };
    let path = joined_path(path, declared.name());
    Ok(ProtoField {
        shape: cut(&found.shape, declared.data_type(), &path)?,
        ..found.clone()
    })
}

/// Cuts a shape to what is declared of it.
fn cut(shape: &Shape, declared: &DataType, path: &str) -> Result<Shape> {
    Ok(match (shape, declared) {
        (Shape::One(leaf), declared) if fits(leaf, declared) => shape.clone(),
        (Shape::Message(fields), DataType::Struct(inner)) => Shape::Message(within(fields, inner, path)?),
        (Shape::List { item, is_packed }, DataType::List(field) | DataType::LargeList(field)) => {
            Shape::List {
                item: Box::new(cut(item, field.data_type(), &joined(path, "[]"))?),
                is_packed: *is_packed,
            }
        }
        (Shape::Map { key, value }, DataType::Map(entries, _)) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 && fits(key, pair[0].data_type()) => Shape::Map {
                key: key.clone(),
                value: Box::new(cut(value, pair[1].data_type(), &joined(path, "[]"))?),
            },
            _ => return Err(other_type(shape, declared, path)),
        },
        _ => return Err(other_type(shape, declared, path)),
    })
}

fn within(fields: &[ProtoField], declared: &Fields, path: &str) -> Result<Vec<ProtoField>> {
    declared.iter().map(|field| one(fields, field, path)).collect()
}

fn fits(leaf: &Leaf, declared: &DataType) -> bool {
    !declared.is_nested() && can_cast_types(&leaf.data_type(), declared)
}

fn other_type(shape: &Shape, declared: &DataType, path: &str) -> Error {
    let name = type_name(&shape.data_type());
    let message = format!(
        "column '{path}' is {name}, which cannot become {}",
        type_name(declared)
    );
    refused(message, format!("declare it as {name}"))
}

//! The columns of a message's fields, built from the wire.
//!
//! ```text
//!  bytes ──read──▶ slots, one a field: what was found of it ──push──▶ columns, a value each
//! ```
//!
//! A field of a single value counts as it occurs last, a message within is put together of all its
//! occurrences, a list has them all. Of a `oneof` the last one found counts. Every `push` adds one
//! value to each column below it, a NULL where something is wrong, so that the columns stay even.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use fletching::Result;

use super::super::BadMessage;
use super::nested::Column;
use super::shape::{Leaf, Presence, ProtoField, Shape};
use super::wire::{Wire, WireReader};

/// What is wrong with a value, and where in its column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) path: String,
    pub(super) why: String,
}

impl Flaw {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            why: why.into(),
        }
    }

    pub(super) fn within(mut self, name: &str) -> Self {
        self.path = joined(name, &self.path);
        self
    }
}

/// Joins the parts of a path, as in `lines[].price`.
pub(super) fn joined(name: &str, rest: &str) -> String {
    match rest {
        "" => name.to_owned(),
        rest if rest.starts_with('[') => format!("{name}{rest}"),
        rest => format!("{name}.{rest}"),
    }
}

/// A field's value as it was found; bytes are a range of those of all messages.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Range<usize>),
}

pub(super) const OTHER_KIND: &str = "is of another kind than the schema says";

impl Found {
    /// Keeps a value that was just read; `end` is where it ends among all bytes.
    pub(super) fn of(value: Wire<'_>, end: usize) -> Self {
        match value {
            Wire::Varint(value) => Self::Varint(value),
            Wire::Fixed64(bytes) => Self::Fixed64(bytes),
            Wire::Fixed32(bytes) => Self::Fixed32(bytes),
            Wire::Bytes(bytes) => Self::Bytes(end - bytes.len()..end),
        }
    }

    pub(super) fn wire<'a>(&self, all: &'a [u8]) -> Wire<'a> {
        match self {
            Self::Varint(value) => Wire::Varint(*value),
            Self::Fixed64(bytes) => Wire::Fixed64(*bytes),
            Self::Fixed32(bytes) => Wire::Fixed32(*bytes),
            Self::Bytes(range) => Wire::Bytes(&all[range.clone()]),
        }
    }
}

/// A field of a message as it is read: into a slot, out of which others of its `oneof` are taken.
struct Route {
    number: u32,
    slot: Option<usize>,
    /// Whether every occurrence counts, and not the last one alone.
    gathers: bool,
    rivals: Vec<usize>,
}

/// A field of a message and its column.
struct FieldColumn {
    name: String,
    presence: Presence,
    column: Column,
}

/// The columns of a message's fields.
pub(super) struct MessageColumns {
    routes: Vec<Route>,
    fields: Vec<FieldColumn>,
    slots: Vec<Vec<Found>>,
}

impl MessageColumns {
    /// Makes the columns of some fields of a message.
    pub(super) fn new(wanted: &[ProtoField]) -> Self {
        let others = |field: &ProtoField| {
            field
                .oneof
                .as_ref()
                .map_or(&[][..], |(_, others)| others)
                .to_vec()
        };
        // Those of a `oneof` count although they are no columns here: they take out the ones that are.
        let mut numbers: Vec<u32> = wanted.iter().flat_map(others).collect();
        numbers.extend(wanted.iter().map(|field| field.number));
        numbers.sort_unstable();
        numbers.dedup();
        let routes = numbers.into_iter().map(|number| {
            let slot = wanted.iter().position(|field| field.number == number);
            let rivals = wanted.iter().enumerate();
            Route {
                number,
                slot,
                gathers: slot.is_some_and(|slot| !matches!(wanted[slot].shape, Shape::One(Leaf::Plain(_)))),
                rivals: rivals
                    .filter(|(_, field)| others(field).contains(&number))
                    .map(|(slot, _)| slot)
                    .collect(),
            }
        });
        let routes = routes.collect();
        let fields = wanted.iter().map(|field| FieldColumn {
            name: field.name.clone(),
            presence: field.presence,
            column: Column::new(&field.shape),
        });
        Self {
            routes,
            slots: vec![Vec::new(); wanted.len()],
            fields: fields.collect(),
        }
    }

    /// Forgets what was found before.
    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(Vec::clear);
    }

    /// Finds the fields of a message in a range of all bytes, besides those found so far.
    pub(super) fn read(&mut self, all: &[u8], range: Range<usize>) -> Result<(), &'static str> {
        let mut reader = WireReader::new(&all[range.clone()]);
        // Most writers write fields in the order of their numbers: the next one is looked at first.
        let mut next = 0;
        while let Some((number, value)) = reader.next_field()? {
            let at = match self.routes.get(next) {
                Some(route) if route.number == number => next,
                _ => match self.routes.binary_search_by_key(&number, |route| route.number) {
                    Ok(at) => at,
                    Err(_) => continue,
                },
            };
            next = at + 1;
            let route = &self.routes[at];
            for rival in &route.rivals {
                self.slots[*rival].clear();
            }
            let Some(slot) = route.slot else { continue };
            if !route.gathers {
                self.slots[slot].clear();
            }
            let end = range.end - reader.rest().len();
            self.slots[slot].push(Found::of(value, end));
        }
        Ok(())
    }

    /// Adds a message to every column, which lies in a range of all bytes.
    ///
    /// # Errors
    /// What is wrong with it, the first thing.
    pub(super) fn push(&mut self, all: &[u8], range: Range<usize>) -> Result<(), Flaw> {
        self.clear();
        if let Err(why) = self.read(all, range) {
            self.push_nulls();
            return Err(Flaw::new(why));
        }
        self.push_found(all)
    }

    /// Adds to every column what was found for it.
    pub(super) fn push_found(&mut self, all: &[u8]) -> Result<(), Flaw> {
        let mut first = Ok(());
        for (field, slot) in self.fields.iter_mut().zip(&self.slots) {
            let pushed = field.push(all, slot);
            if first.is_ok() {
                first = pushed;
            }
        }
        first
    }

    /// Adds a NULL to every column.
    pub(super) fn push_nulls(&mut self) {
        self.fields.iter_mut().for_each(|field| field.column.push_null());
    }

    /// Returns the columns and begins anew, each as the type that is declared; values that do not
    /// survive are added to `bad` by their rows here.
    pub(super) fn finish(
        &mut self,
        declared: &[FieldRef],
        bad: &mut Vec<BadMessage>,
    ) -> Result<Vec<ArrayRef>> {
        let columns = self.fields.iter_mut().zip(declared);
        columns
            .map(|(field, declared)| {
                let before = bad.len();
                let column = field.column.finish(declared, bad)?;
                for cell in &mut bad[before..] {
                    let path = cell.column.take().unwrap_or_default();
                    cell.column = Some(joined(declared.name(), &path));
                }
                Ok(column)
            })
            .collect()
    }
}

impl FieldColumn {
    fn push(&mut self, all: &[u8], slot: &[Found]) -> Result<(), Flaw> {
        let pushed = match (slot, self.presence) {
            ([], Presence::Required) => {
                self.column.push_null();
                Err(Flaw::new("is required, but the message does not have it"))
            }
            ([], Presence::Explicit) => {
                self.column.push_null();
                Ok(())
            }
            ([], Presence::Implicit) => {
                self.column.push_zero();
                Ok(())
            }
            _ => self.column.push(all, slot),
        };
        pushed.map_err(|flaw| flaw.within(&self.name))
    }
}

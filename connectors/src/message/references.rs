//! Schemas that refer to others: those are fetched, and those they refer to in their turn.
//!
//! ```text
//!  orders-value ──▶ common.Address (subject address, version 3) ──▶ common.Country (subject country, version 1)
//! ```

use fletching::{Error, Result};
use serde_json::Value;

use super::registry::{Referred, Registry};

/// How many schemas one may refer to, itself and through others, and how far away they may be.
const REFERENCES_MAX: usize = 1000;
const DEPTH_MAX: usize = 64;

/// What a schema calls another one, and where the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    name: String,
    subject: String,
    version: u64,
}

/// Fetches what the registry's answer for a schema refers to: each one after those that it refers to
/// itself.
pub(super) fn fetched(registry: &Registry, answer: &Value) -> Result<Vec<Referred>> {
    let mut found = Vec::new();
    follow(registry, answer, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn follow(
    registry: &Registry,
    answer: &Value,
    way: &mut Vec<Reference>,
    found: &mut Vec<Referred>,
) -> Result<()> {
    let listed = answer.get("references").and_then(Value::as_array);
    for entry in listed.into_iter().flatten() {
        let reference = read(entry).ok_or_else(|| registry.unclear(answer))?;
        let shown = |reference: &Reference| format!("{} ({})", reference.name, reference.subject);
        let is_same =
            |other: &Reference| other.subject == reference.subject && other.version == reference.version;
        if let Some(at) = way.iter().position(is_same) {
            let circle = way[at..].iter().chain([&reference]).map(shown);
            let circle = circle.collect::<Vec<_>>().join(", which refers to ");
            return Err(refused(
                registry,
                &format!("schemas refer to each other in a circle: {circle}"),
            ));
        }
        if let Some(known) = found.iter().find(|known| known.name == reference.name) {
            if (known.subject.as_str(), known.version) == (reference.subject.as_str(), reference.version) {
                continue;
            }
            return Err(refused(
                registry,
                &format!(
                    "'{}' is version {} of subject '{}' by one schema and version {} of '{}' by another",
                    known.name, known.version, known.subject, reference.version, reference.subject
                ),
            ));
        }
        if found.len() >= REFERENCES_MAX || way.len() >= DEPTH_MAX {
            return Err(refused(registry, "a schema refers to more than can be followed"));
        }
        let Reference {
            name,
            subject,
            version,
        } = reference.clone();
        let Some(answer) = registry.version(&subject, version)? else {
            let message = format!(
                "a schema refers to '{name}', version {version} of subject '{subject}', which is not there"
            );
            return Err(refused(registry, &message));
        };
        way.push(reference);
        follow(registry, &answer, way, found)?;
        way.pop();
        let text = answer.get("schema").and_then(Value::as_str);
        let text = text.ok_or_else(|| registry.unclear(&answer))?.to_owned();
        found.push(Referred {
            name,
            subject,
            version,
            text,
        });
    }
    Ok(())
}

fn read(entry: &Value) -> Option<Reference> {
    Some(Reference {
        name: entry.get("name")?.as_str()?.to_owned(),
        subject: entry.get("subject")?.as_str()?.to_owned(),
        version: entry.get("version")?.as_u64()?,
    })
}

fn refused(registry: &Registry, message: &str) -> Error {
    Error::External {
        message: format!("schema registry {}: {message}", registry.address()),
        source: None,
    }
}

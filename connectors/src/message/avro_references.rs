//! Writes the schemas that an Avro schema refers to into it, each where it is named first, so that it
//! stands alone.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::registry::Schema;

/// Types that need no definition.
const PRIMITIVE: &[&str] = &[
    "null", "boolean", "int", "long", "float", "double", "bytes", "string",
];

/// Returns a schema's text with those it refers to written into it; as it is where it refers to none.
pub(super) fn inlined(schema: &Schema) -> Result<String, String> {
    if schema.references.is_empty() {
        return Ok(schema.text.clone());
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    let mut writer = Inliner::default();
    for referred in &schema.references {
        let definition = parse(&referred.text).map_err(|why| format!("{}: {why}", referred.name))?;
        if let Some(name) = full_name(&definition, "") {
            writer.definitions.insert(name, definition.clone());
        }
        writer.definitions.insert(referred.name.clone(), definition);
    }
    let mut root = parse(&schema.text)?;
    writer.write(&mut root, "");
    Ok(root.to_string())
}

#[derive(Default)]
struct Inliner {
    definitions: HashMap<String, Value>,
    /// Names that have been defined so far: they may be used by name from then on.
    defined: HashSet<String>,
}

impl Inliner {
    /// Replaces names of definitions within a schema whose names are taken to be of a namespace.
    fn write(&mut self, schema: &mut Value, namespace: &str) {
        match schema {
            Value::String(name) => {
                if let Some(definition) = self.definition(name, namespace) {
                    *schema = definition;
                }
            }
            Value::Array(branches) => branches
                .iter_mut()
                .for_each(|branch| self.write(branch, namespace)),
            Value::Object(_) => self.write_object(schema, namespace),
            _ => {}
        }
    }

    fn write_object(&mut self, schema: &mut Value, namespace: &str) {
        let name = full_name(schema, namespace);
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "record" | "error" | "enum" | "fixed" => {
                let name = name.unwrap_or_default();
                let inner = name.rsplit_once('.').map_or("", |(inner, _)| inner).to_owned();
                // Before its fields, which may be of its own type.
                self.defined.insert(name);
                let fields = schema.get_mut("fields").and_then(Value::as_array_mut);
                for field in fields.into_iter().flatten() {
                    if let Some(of_field) = field.get_mut("type") {
                        self.write(of_field, &inner);
                    }
                }
            }
            "array" => self.write_part(schema, "items", namespace),
            "map" => self.write_part(schema, "values", namespace),
            _ => self.write_part(schema, "type", namespace),
        }
    }

    fn write_part(&mut self, schema: &mut Value, part: &str, namespace: &str) {
        if let Some(part) = schema.get_mut(part) {
            self.write(part, namespace);
        }
    }

    /// Returns the definition of a name that is used for the first time.
    fn definition(&mut self, name: &str, namespace: &str) -> Option<Value> {
        if PRIMITIVE.contains(&name) {
            return None;
        }
        let within = format!("{namespace}.{name}");
        let full = match name.contains('.') || namespace.is_empty() {
            false if self.definitions.contains_key(&within) || self.defined.contains(&within) => within,
            _ => name.to_owned(),
        };
        if self.defined.contains(&full) {
            return None;
        }
        let mut definition = self.definitions.get(&full)?.clone();
        if let Some(own) = full_name(&definition, "") {
            if self.defined.contains(&own) {
                return Some(Value::String(own));
            }
            // It stands within another namespace now than it was written in.
            if let Some((space, _)) = own.rsplit_once('.')
                && let Some(object) = definition.as_object_mut()
            {
                object.insert("namespace".into(), space.into());
            }
        }
        self.write(&mut definition, "");
        Some(definition)
    }
}

/// Returns the name of a definition with its namespace.
fn full_name(definition: &Value, namespace: &str) -> Option<String> {
    let name = definition.get("name")?.as_str()?;
    if name.contains('.') {
        return Some(name.to_owned());
    }
    let own = definition.get("namespace").and_then(Value::as_str);
    Some(match own.unwrap_or(namespace) {
        "" => name.to_owned(),
        space => format!("{space}.{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::registry::Referred;
    use super::*;
    use serde_json::json;

    fn schema(root: Value, references: &[(&str, Value)]) -> Schema {
        let references = references.iter().map(|(name, text)| Referred {
            name: (*name).to_owned(),
            subject: (*name).to_owned(),
            version: 1,
            text: text.to_string(),
        });
        Schema {
            references: references.collect(),
            ..Schema::of_text(&root.to_string())
        }
    }

    #[test]
    fn a_definition_is_written_where_it_is_named_first() {
        let address = json!({"type": "record", "name": "Address", "namespace": "geo", "fields": [
            {"name": "city", "type": "string"}, {"name": "country", "type": "Country"}]});
        let country = json!({"type": "enum", "name": "geo.Country", "symbols": ["DE", "FR"]});
        let root = json!({"type": "record", "name": "Order", "namespace": "shop", "fields": [
            {"name": "from", "type": "geo.Address"},
            {"name": "to", "type": ["null", "geo.Address"]},
            {"name": "via", "type": {"type": "array", "items": "geo.Country"}}]});
        let schema = schema(root, &[("geo.Country", country), ("geo.Address", address)]);
        let whole: Value = serde_json::from_str(&inlined(&schema).unwrap()).unwrap();
        assert_eq!(
            whole["fields"][0]["type"]["fields"][1]["type"]["symbols"],
            json!(["DE", "FR"])
        );
        assert_eq!(whole["fields"][1]["type"], json!(["null", "geo.Address"]));
        assert_eq!(whole["fields"][2]["type"]["items"], json!("geo.Country"));
    }

    #[test]
    fn a_type_may_hold_itself() {
        let node = json!({"type": "record", "name": "t.Node", "fields": [
            {"name": "next", "type": ["null", "t.Node"]}]});
        let root = json!({"type": "record", "name": "Root", "fields": [{"name": "n", "type": "t.Node"}]});
        let whole = inlined(&schema(root, &[("t.Node", node)])).unwrap();
        assert_eq!(whole.matches("next").count(), 1, "{whole}");
    }
}

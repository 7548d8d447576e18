//! `${name}` in a scenario: the values of its axes, put where they are named.
//!
//! ```text
//!  rows = "${table_rows}"           the whole text: becomes the value itself, here a number
//!  on   = "t.id < ${table_rows}"    part of a text: becomes text
//! ```

use toml::{Table, Value};

use super::fault::{Fault, Result};

/// Counts of rows below this are not scaled: a small table is small for a reason.
const SCALED_FROM_ROWS: i64 = 100_000;

/// The values that `${name}` stands for.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(Table);

impl Variables {
    /// Adds values; of one name the later wins.
    pub(super) fn add(&mut self, values: &Table) {
        for (name, value) in values {
            self.0.insert(name.clone(), value.clone());
        }
    }

    /// Divides large counts of rows, whose names end in `_rows`, by `scale`.
    pub(super) fn scale(&mut self, scale: u32) {
        for (name, value) in &mut self.0 {
            if let Value::Integer(rows) = value
                && name.ends_with("_rows")
                && *rows >= SCALED_FROM_ROWS
            {
                *rows = (*rows / i64::from(scale)).max(1);
            }
        }
    }

    /// Replaces every `${name}` in a value, however deep.
    ///
    /// # Errors
    /// Fails where a name stands for nothing.
    pub(super) fn put_into(&self, value: Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) => self.put_into_text(&text)?,
            Value::Array(values) => Value::Array(
                values
                    .into_iter()
                    .map(|v| self.put_into(v))
                    .collect::<Result<_>>()?,
            ),
            Value::Table(table) => {
                let put = |(name, value)| Ok((name, self.put_into(value)?));
                Value::Table(table.into_iter().map(put).collect::<Result<_>>()?)
            }
            other => other,
        })
    }

    fn put_into_text(&self, text: &str) -> Result<Value> {
        let get = |name: &str| {
            let none = || Fault::new(format!("${{{name}}} stands for nothing"));
            self.0.get(name).ok_or_else(none)
        };
        if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
            && !name.contains('}')
        {
            return get(name).cloned();
        }
        let mut put = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let closed = after.split_once('}');
            let (name, after) = closed.ok_or_else(|| Fault::new(format!("no }} after ${{ in {text:?}")))?;
            put.push_str(before);
            match get(name)? {
                Value::String(value) => put.push_str(value),
                other => put.push_str(&other.to_string()),
            }
            rest = after;
        }
        put.push_str(rest);
        Ok(Value::String(put))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Variables {
        Variables(text.parse().unwrap())
    }

    #[test]
    fn a_name_alone_keeps_its_type() {
        let put = variables("table_rows = 7").put_into(Value::String("${table_rows}".into()));
        assert_eq!(put, Ok(Value::Integer(7)));
        let put = variables("n = 7\nw = 'x'").put_into(Value::String("a ${n} ${w} b".into()));
        assert_eq!(put, Ok(Value::String("a 7 x b".into())));
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert!(variables("").put_into(Value::String("a ${n}".into())).is_err());
    }

    #[test]
    fn only_large_counts_of_rows_are_scaled() {
        let mut variables = variables("a_rows = 1000000\nb_rows = 5000\nspread = 1000000");
        variables.scale(10);
        let values: Vec<_> = variables.0.values().cloned().collect();
        assert_eq!(values, [100_000, 5_000, 1_000_000].map(Value::Integer));
    }
}

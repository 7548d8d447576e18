//! Versioned tables: each row is valid from its version until the next one of its primary key.
//!
//! ```text
//!   currency  valid_from  rate        CREATE TABLE rates (…, PRIMARY KEY (currency))
//!   EUR       09:00       114           WITH ('versioned' = 'true', version = 'valid_from')
//!   EUR       09:30       116
//!   USD       09:00       102         as of 09:10: EUR 114, USD 102     currently: EUR 116, USD 102
//! ```
//!
//! A query that names such a table sees its current rows, the newest of each key;
//! `FOR SYSTEM_TIME AS OF` and as-of joins see all of them. A row that ends a key without a
//! successor, as a deletion of a changelog does, is one more condition on the version found: see
//! [`TableSnapshot::ended`](super::TableSnapshot::ended).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int8Array, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;

use super::Table;
use super::records::Records;
use crate::connector::{CHANGE_COLUMN, Change, Options, nearest};
use crate::error::{Error, Result};

/// The options of `CREATE TABLE` that are read here, and not by the connector.
pub(crate) const VERSION_OPTIONS: [&str; 3] = ["versioned", "version", "retention"];

/// How a table's versions are told apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableVersions {
    /// The column that says from when a row is valid.
    pub(crate) column: usize,
    /// How far back from the newest version the history is complete.
    pub(crate) retention: Option<ScalarValue>,
}

/// What the options of a table say of its versions, before its columns are known.
#[derive(Debug, Clone)]
pub(crate) struct VersionOptions {
    column: String,
    retention: Option<ScalarValue>,
    options: Options,
}

impl VersionOptions {
    /// Takes the options out that are about versions; none where the table has none.
    pub(crate) fn take(options: &mut Options) -> Result<Option<Self>> {
        let given = options.clone();
        for name in VERSION_OPTIONS {
            options.take(name);
        }
        if !given.boolean("versioned")?.unwrap_or(false) {
            return match ["version", "retention"]
                .into_iter()
                .find(|name| given.text(name).is_some())
            {
                None => Ok(None),
                Some(name) => Err(given.bad_value(
                    name,
                    "the table is not versioned",
                    Some("add 'versioned' = 'true'".into()),
                )),
            };
        }
        let column = given.required("version", "valid_from")?.to_string();
        let retention = match given.text("retention") {
            None => None,
            Some(text) => Some(parse_retention(text).map_err(|found| {
                let hint = "say it as in '7 days', '12 hours' or '500 ms', or as a number where versions are numbers";
                given.bad_value("retention", &found, Some(hint.into()))
            })?),
        };
        Ok(Some(Self {
            column,
            retention,
            options: given,
        }))
    }

    /// Checks them against a table's columns and key.
    pub(crate) fn of_table(self, table: &Table) -> Result<TableVersions> {
        let bad =
            |message: String, hint: Option<String>| Err(self.options.bad_value("version", &message, hint));
        if table.primary_key().is_empty() {
            let hint = "add PRIMARY KEY (…): a version is one of a key";
            return bad("a versioned table needs a primary key".into(), Some(hint.into()));
        }
        let wanted = self.column.to_lowercase();
        let schema = table.schema();
        let found = schema
            .index_of(&self.column)
            .or_else(|_| schema.index_of(&wanted));
        let Ok(column) = found else {
            let near = nearest(&wanted, schema.fields().iter().map(|field| field.name().as_str()));
            let hint = near.map(|near| format!("did you mean '{near}'?"));
            return bad(format!("there is no column '{}'", self.column), hint);
        };
        let kind = schema.field(column).data_type();
        if !is_time(kind) {
            let hint = "take a column of type TIMESTAMP, DATE or a number";
            return bad(
                format!("column '{wanted}' is {kind}, which is no time"),
                Some(hint.into()),
            );
        }
        Ok(TableVersions {
            column,
            retention: self.retention,
        })
    }
}

fn is_time(kind: &DataType) -> bool {
    kind.is_integer()
        || kind.is_floating()
        || matches!(
            kind,
            DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(..)
                | DataType::Decimal32(..)
                | DataType::Decimal64(..)
                | DataType::Decimal128(..)
        )
}

/// Reads `7 days` as an interval, and `7` as a number.
fn parse_retention(text: &str) -> Result<ScalarValue, String> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Ok(number) = number.parse::<i64>() else {
        return Err(format!(
            "expected a whole number and a unit of time, found '{text}'"
        ));
    };
    let unit_ns: i64 = match unit.trim().trim_end_matches('s') {
        // `ms`, `us` and `ns` have lost their `s`, as `s` itself has.
        "" if unit.trim().is_empty() => return Ok(ScalarValue::Int64(Some(number))),
        "n" | "nanosecond" => 1,
        "u" | "microsecond" => 1000,
        "m" | "milli" | "millisecond" if unit.trim() != "m" => 1_000_000,
        "" | "sec" | "second" => 1_000_000_000,
        "m" | "min" | "minute" => 60_000_000_000,
        "h" | "hour" => 3_600_000_000_000,
        "d" | "day" => 86_400_000_000_000,
        "w" | "week" => 604_800_000_000_000,
        other => return Err(format!("there is no unit of time '{other}'")),
    };
    match number.checked_mul(unit_ns) {
        Some(ns) => Ok(ScalarValue::new_interval_mdn(0, 0, ns)),
        None => Err(format!("'{text}' is longer than 292 years")),
    }
}

impl Table {
    /// Makes it a table of versions.
    pub(crate) fn versioned(mut self, options: Option<VersionOptions>) -> Result<Self> {
        self.versions = match options {
            Some(options) => Some(options.of_table(&self)?),
            None => None,
        };
        Ok(self)
    }

    pub(crate) fn versions(&self) -> Option<&TableVersions> {
        self.versions.as_ref()
    }

    /// Ends keys of a versioned table: from each time on its key has no row, until a later version
    /// comes. What was valid before stays in the history.
    ///
    /// `keys` are one column for each column of the primary key, `from` the times, of the type of
    /// the table's `version` column or one that can be cast to it.
    ///
    /// # Errors
    /// Fails where the table is not versioned or not loaded yet, the columns are not the key's or have
    /// different lengths, or a time is NULL.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Int64Array, StringArray};
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// session.sql(
    ///     "CREATE TABLE rates (currency VARCHAR, since BIGINT, rate BIGINT, PRIMARY KEY (currency))
    ///      WITH ('versioned' = 'true', version = 'since');
    ///      INSERT INTO rates VALUES ('EUR', 900, 114), ('USD', 900, 102)",
    /// )?;
    /// let rates = session.table("rates").expect("just created");
    /// let currency: ArrayRef = Arc::new(StringArray::from(vec!["EUR"]));
    /// let from: ArrayRef = Arc::new(Int64Array::from(vec![930]));
    /// rates.delete_as_of(&[currency], &from)?;
    /// let left = session.sql("SELECT currency FROM rates")?.collect_batches()?;
    /// assert_eq!(left.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn delete_as_of(&self, keys: &[ArrayRef], from: &ArrayRef) -> Result<()> {
        let refuse = |message: String| Error::Batch {
            message: format!("table {}: {message}", self.name()),
        };
        let Some(versions) = &self.versions else {
            return Err(refuse("it is not versioned; say delete".into()));
        };
        self.check_underived()?;
        self.readiness.check_readable(self.name())?;
        if keys.len() != self.primary_key().len() {
            let (found, expected) = (keys.len(), self.primary_key().len());
            return Err(refuse(format!("expected {expected} key columns, found {found}")));
        }
        if let Some(column) = keys.iter().find(|column| column.len() != from.len()) {
            let (found, expected) = (column.len(), from.len());
            return Err(refuse(format!(
                "a key column has {found} rows, the times {expected}"
            )));
        }
        let column = |at: usize| -> Result<ArrayRef> {
            let kind = self.schema().field(at).data_type();
            let given = self.primary_key().iter().position(|key| *key == at);
            match given.and_then(|given| keys.get(given)) {
                Some(key) => Ok(cast(key, kind)?),
                None if at == versions.column => Ok(cast(from, kind)?),
                None => Ok(new_null_array(kind, from.len())),
            }
        };
        let columns = (0..self.schema().fields().len()).map(column);
        let mut columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        columns.push(Arc::new(Int8Array::from(vec![Change::Delete as i8; from.len()])));
        let fields = self.schema().fields().iter();
        let fields = fields.map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
        let change = Arc::new(Field::new(CHANGE_COLUMN, DataType::Int8, false));
        let schema = Schema::new(fields.chain([change]).collect::<Vec<_>>());
        let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
        self.apply(&Records::of_source(&batch, self.schema(), true)?)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;

    use super::parse_retention;

    #[test]
    fn a_retention_is_an_interval_or_a_number() {
        let interval = |ns| Ok(ScalarValue::new_interval_mdn(0, 0, ns));
        assert_eq!(parse_retention("7 days"), interval(7 * 86_400_000_000_000));
        assert_eq!(parse_retention("1 Hour"), interval(3_600_000_000_000));
        assert_eq!(parse_retention("500ms"), interval(500_000_000));
        assert_eq!(parse_retention("5 m"), interval(300_000_000_000));
        assert_eq!(parse_retention("3s"), interval(3_000_000_000));
        assert_eq!(parse_retention("20"), Ok(ScalarValue::Int64(Some(20))));
        assert!(parse_retention("a week").is_err());
        assert!(parse_retention("3 moons").unwrap_err().contains("moon"));
        assert!(parse_retention("300000 days").unwrap_err().contains("292"));
    }
}

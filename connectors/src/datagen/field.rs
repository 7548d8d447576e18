//! How a column is filled: its options `fields.NAME.…`, checked and in a form to run.

use arrow::datatypes::{Field, Schema};
use fletching::connector::Options;
use fletching::{Error, Result};

use super::domain::Domain;
use super::fill::{choice, constant, float_sequence, random, random_floats, random_text, sequence, zipf};
use crate::spelling::{listed, nearest, type_name};

/// A column, ready to be filled.
#[derive(Debug, Clone)]
pub(super) struct FieldPlan {
    pub(super) name: String,
    pub(super) data_type: arrow::datatypes::DataType,
    pub(super) null_rate: f64,
    pub(super) fill: Fill,
}

/// What fills a column.
#[derive(Debug, Clone)]
pub(super) enum Fill {
    /// Ticks of the column's type, or of the number in its text, after a prefix.
    Ticks {
        base: i128,
        offsets: Offsets,
        prefix: Option<String>,
    },
    /// Floats of a range.
    Floats { min: f64, max: f64 },
    /// Floats of a sequence.
    FloatSequence { start: f64, step: f64, cycle: u64 },
    /// Letters and digits.
    Letters { length: usize },
    /// Some values, each up to its share of the whole, in ascending order.
    Choice { values: Values, shares: Vec<f64> },
}

/// How far a row's ticks are from the base.
#[derive(Debug, Clone)]
pub(super) enum Offsets {
    Sequence { step: i64, cycle: u64 },
    Random { span: u64 },
    Zipf { n: f64, exponent: f64 },
}

/// The values of a choice.
#[derive(Debug, Clone)]
pub(super) enum Values {
    Ticks(Vec<i128>),
    Floats(Vec<f64>),
    Text(Vec<String>),
}

const KINDS: [&str; 5] = ["random", "sequence", "choice", "zipf", "constant"];

/// What each kind understands besides `kind` and `null_rate`.
const ATTRIBUTES: [(&str, &[&str]); 5] = [
    ("random", &["min", "max", "length", "prefix"]),
    ("sequence", &["start", "end", "step", "prefix"]),
    ("choice", &["values", "weights"]),
    ("zipf", &["min", "max", "n", "exponent", "prefix"]),
    ("constant", &["value"]),
];

/// Checks that the options `fields.NAME.…` name declared columns and known attributes.
pub(super) fn check_names(options: &Options, schema: &Schema) -> Result<()> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    for (option, _) in options.iter() {
        let Some(rest) = option.strip_prefix("fields.") else {
            continue;
        };
        let (name, attribute) = rest.rsplit_once('.').unwrap_or((rest, ""));
        if !names().any(|field| field.eq_ignore_ascii_case(name)) {
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean 'fields.{near}.{attribute}'?"),
                None => format!("the columns are {}", listed(names())),
            };
            return Err(options.bad_value(option, &format!("there is no column '{name}'"), Some(hint)));
        }
        let known = || {
            let all = ATTRIBUTES
                .iter()
                .flat_map(|(_, attributes)| attributes.iter().copied());
            ["kind", "null_rate"].into_iter().chain(all)
        };
        if !known().any(|known| known == attribute) {
            let hint = match nearest(attribute, known()) {
                Some(near) => format!("did you mean 'fields.{name}.{near}'?"),
                None => "known are kind and null_rate, and what each kind takes".to_owned(),
            };
            let message = format!("there is no attribute '{attribute}'");
            return Err(options.bad_value(option, &message, Some(hint)));
        }
    }
    Ok(())
}

/// The options of one column.
pub(super) struct FieldOptions<'a> {
    options: &'a Options,
    prefix: String,
    pub(super) domain: Domain,
}

impl FieldOptions<'_> {
    fn option(&self, attribute: &str) -> String {
        format!("{}.{attribute}", self.prefix)
    }

    pub(super) fn text(&self, attribute: &str) -> Option<&str> {
        self.options.text(&self.option(attribute))
    }

    pub(super) fn bad(&self, attribute: &str, message: &str) -> Error {
        self.options.bad_value(&self.option(attribute), message, None)
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, attribute: &str, expected: &str) -> Result<Option<T>> {
        self.options.parsed(&self.option(attribute), expected)
    }

    pub(super) fn ticks_of(&self, attribute: &str, text: &str) -> Result<i128> {
        self.domain.parse(text).ok_or_else(|| {
            self.bad(
                attribute,
                &format!("expected {}, found '{text}'", self.domain.expected()),
            )
        })
    }

    pub(super) fn ticks(&self, attribute: &str) -> Result<Option<i128>> {
        self.text(attribute)
            .map(|text| self.ticks_of(attribute, text))
            .transpose()
    }

    pub(super) fn float(&self, attribute: &str) -> Result<Option<f64>> {
        let value: Option<f64> = self.parsed(attribute, "a number")?;
        match value {
            Some(value) if !value.is_finite() => Err(self.bad(attribute, "expected a finite number")),
            value => Ok(value),
        }
    }

    pub(super) fn required(&self, attribute: &str, example: &str) -> Result<&str> {
        let name = self.option(attribute);
        self.options.required(&name, example)
    }
}

impl FieldPlan {
    /// Reads a column's options.
    pub(super) fn new(field: &Field, options: &Options) -> Result<Self> {
        let prefix = format!("fields.{}", field.name().to_ascii_lowercase());
        let Some(domain) = Domain::of(field.data_type()) else {
            let message = format!(
                "datagen cannot fill a column of type {}",
                type_name(field.data_type())
            );
            return Err(options.bad_value(&prefix, &message, None));
        };
        let of = FieldOptions {
            options,
            prefix,
            domain,
        };
        let kind = options.choice(&of.option("kind"), &KINDS)?.unwrap_or(0);
        check_attributes(&of, ATTRIBUTES[kind])?;
        let fill = match (KINDS[kind], &of.domain) {
            ("sequence", Domain::Float) => float_sequence(&of)?,
            ("sequence", Domain::Boolean) => {
                return Err(of.bad("kind", "a BOOLEAN column has no sequence"));
            }
            ("sequence", _) => sequence(&of)?,
            ("choice", _) => choice(&of)?,
            ("constant", _) => constant(&of)?,
            ("zipf", Domain::Float | Domain::Boolean) => {
                return Err(of.bad("kind", "zipf needs a column of whole numbers, times or text"));
            }
            ("zipf", _) => zipf(&of)?,
            (_, Domain::Float) => random_floats(&of)?,
            (_, Domain::Text) => random_text(&of)?,
            _ => random(&of)?,
        };
        let null_rate = of.float("null_rate")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&null_rate) {
            return Err(of.bad("null_rate", "expected a number from 0 to 1"));
        }
        if null_rate > 0.0 && !field.is_nullable() {
            return Err(of.bad("null_rate", "the column is declared NOT NULL"));
        }
        let (name, data_type) = (field.name().clone(), field.data_type().clone());
        Ok(Self {
            name,
            data_type,
            null_rate,
            fill,
        })
    }
}

fn check_attributes(of: &FieldOptions<'_>, (kind, known): (&str, &[&str])) -> Result<()> {
    for attribute in ATTRIBUTES.iter().flat_map(|(_, attributes)| attributes.iter()) {
        if of.text(attribute).is_some() && !known.contains(attribute) {
            let message = format!("has no meaning for the kind '{kind}'");
            return Err(of.bad(attribute, &message));
        }
    }
    if of.text("prefix").is_some() && of.domain != Domain::Text {
        return Err(of.bad("prefix", "is for columns of text"));
    }
    if of.text("length").is_some() && of.domain != Domain::Text {
        return Err(of.bad("length", "is for columns of text"));
    }
    Ok(())
}

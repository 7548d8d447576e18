//! Reads what fills a column: one function a kind.

use fletching::Result;

use super::domain::Domain;
use super::field::{FieldOptions, Fill, Offsets, Values};

/// How steep a Zipf distribution is unless an option says otherwise.
const EXPONENT: f64 = 1.1;

/// How steep it may be: past this nearly every value is the first.
const EXPONENT_MAX: f64 = 20.0;

/// How long random text is at most.
const LENGTH_MAX: usize = 65_536;

fn prefix(of: &FieldOptions<'_>) -> Option<String> {
    (of.domain == Domain::Text).then(|| of.text("prefix").unwrap_or_default().to_owned())
}

/// Returns the distance between two bounds, where it can be drawn from.
fn span(of: &FieldOptions<'_>, min: i128, max: i128) -> Result<u64> {
    if max < min {
        return Err(of.bad("max", "is below min"));
    }
    max.checked_sub(min)
        .and_then(|span| u64::try_from(span).ok())
        .ok_or_else(|| of.bad("max", "is too far from min: at most 2^64 values"))
}

pub(super) fn random(of: &FieldOptions<'_>) -> Result<Fill> {
    let usual = of.domain.usual();
    let (min, max) = (of.ticks("min")?, of.ticks("max")?);
    let base = min.unwrap_or_else(|| (*usual.start()).min(max.unwrap_or(*usual.start())));
    let max = max.unwrap_or_else(|| (*usual.end()).max(base));
    Ok(Fill::Ticks {
        base,
        offsets: Offsets::Random {
            span: span(of, base, max)?,
        },
        prefix: prefix(of),
    })
}

pub(super) fn random_text(of: &FieldOptions<'_>) -> Result<Fill> {
    if ["prefix", "min", "max"]
        .iter()
        .any(|attribute| of.text(attribute).is_some())
    {
        if of.text("length").is_some() {
            return Err(of.bad("length", "cannot be combined with prefix, min and max"));
        }
        return random(of);
    }
    let length = of.parsed("length", "a whole number")?.unwrap_or(8);
    if length > LENGTH_MAX {
        return Err(of.bad("length", &format!("is above {LENGTH_MAX}")));
    }
    Ok(Fill::Letters { length })
}

pub(super) fn random_floats(of: &FieldOptions<'_>) -> Result<Fill> {
    let min = of.float("min")?.unwrap_or(0.0);
    let max = of.float("max")?.unwrap_or_else(|| min.max(0.0) + 1.0);
    if max < min || !(max - min).is_finite() {
        return Err(of.bad("max", "is below min, or too far from it"));
    }
    Ok(Fill::Floats { min, max })
}

pub(super) fn sequence(of: &FieldOptions<'_>) -> Result<Fill> {
    let base = of.ticks("start")?.unwrap_or_else(|| of.domain.usual_start());
    let step = match of.text("step") {
        None => of.domain.usual_step(),
        Some(text) => of.domain.parse_step(text).ok_or_else(|| {
            of.bad(
                "step",
                &format!("expected {}, found '{text}'", of.domain.expected_step()),
            )
        })?,
    };
    let step = i64::try_from(step).map_err(|_| of.bad("step", "is out of range"))?;
    if step == 0 {
        return Err(of.bad("step", "expected a step other than 0"));
    }
    // Without an end the sequence runs on to the end of the type, and begins again there.
    let bounds = of.domain.bounds();
    let last = match of.ticks("end")? {
        Some(end) => end,
        None if step > 0 => *bounds.end(),
        None => *bounds.start(),
    };
    // Offsets are made as i64, and two decimals of 38 digits may be farther apart than i128 reaches.
    let reach = i128::from(i64::MAX);
    let distance = last.saturating_sub(base).clamp(-reach, reach);
    if distance.signum() * i128::from(step.signum()) < 0 {
        return Err(of.bad("end", "cannot be reached from start with this step"));
    }
    let cycle = u64::try_from(distance / i128::from(step)).unwrap_or(0) + 1;
    Ok(Fill::Ticks {
        base,
        offsets: Offsets::Sequence { step, cycle },
        prefix: prefix(of),
    })
}

pub(super) fn float_sequence(of: &FieldOptions<'_>) -> Result<Fill> {
    let start = of.float("start")?.unwrap_or(1.0);
    let step = of.float("step")?.unwrap_or(1.0);
    let cycle = match of.float("end")? {
        None => u64::MAX,
        Some(end) => {
            let steps = ((end - start) / step).floor();
            if !(0.0..9e15).contains(&steps) {
                return Err(of.bad("end", "cannot be reached from start with this step"));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the number of steps is whole and in range"
            )]
            let steps = steps as u64;
            steps + 1
        }
    };
    Ok(Fill::FloatSequence { start, step, cycle })
}

pub(super) fn zipf(of: &FieldOptions<'_>) -> Result<Fill> {
    let base = of.ticks("min")?.unwrap_or_else(|| of.domain.usual_start());
    let exponent = of.float("exponent")?.unwrap_or(EXPONENT);
    if !(0.0..=EXPONENT_MAX).contains(&exponent) {
        return Err(of.bad("exponent", &format!("expected a number from 0 to {EXPONENT_MAX}")));
    }
    let count: u64 = match (of.parsed("n", "a whole number above 0")?, of.ticks("max")?) {
        (Some(_), Some(_)) => return Err(of.bad("n", "cannot be combined with max")),
        (Some(count), None) => count,
        (None, Some(max)) => span(of, base, max)?.saturating_add(1),
        (None, None) => 1000,
    };
    let last = base + i128::from(count) - 1;
    if count == 0 || count > (1 << 53) || !of.domain.bounds().contains(&last) {
        return Err(of.bad(
            "n",
            "expected a whole number above 0 that the column's type can hold",
        ));
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
    let n = count as f64;
    Ok(Fill::Ticks {
        base,
        offsets: Offsets::Zipf { n, exponent },
        prefix: prefix(of),
    })
}

fn values<'a>(
    of: &FieldOptions<'_>,
    attribute: &str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Values> {
    Ok(match of.domain {
        Domain::Text => Values::Text(texts.map(str::to_owned).collect()),
        Domain::Float => {
            let parse = |text: &str| {
                text.trim()
                    .parse::<f64>()
                    .map_err(|_| of.bad(attribute, &format!("expected a number, found '{text}'")))
            };
            Values::Floats(texts.map(parse).collect::<Result<_>>()?)
        }
        _ => Values::Ticks(
            texts
                .map(|text| of.ticks_of(attribute, text))
                .collect::<Result<_>>()?,
        ),
    })
}

pub(super) fn constant(of: &FieldOptions<'_>) -> Result<Fill> {
    let text = of.required("value", "A")?;
    let values = values(of, "value", std::iter::once(text))?;
    Ok(Fill::Choice {
        values,
        shares: vec![1.0],
    })
}

pub(super) fn choice(of: &FieldOptions<'_>) -> Result<Fill> {
    let texts: Vec<&str> = of
        .required("values", "A,B,C")?
        .split(',')
        .map(str::trim)
        .collect();
    let count = texts.len();
    let values = values(of, "values", texts.into_iter())?;
    let weights: Vec<f64> = match of.text("weights") {
        None => vec![1.0; count],
        Some(text) => text
            .split(',')
            .map(|weight| match weight.trim().parse::<f64>() {
                Ok(weight) if weight >= 0.0 && weight.is_finite() => Ok(weight),
                _ => {
                    let message = format!("expected numbers from 0 on, found '{}'", weight.trim());
                    Err(of.bad("weights", &message))
                }
            })
            .collect::<Result<_>>()?,
    };
    let total: f64 = weights.iter().sum();
    if weights.len() != count || total <= 0.0 || !total.is_finite() {
        let message = format!("expected {count} weights, one a value, not all 0");
        return Err(of.bad("weights", &message));
    }
    let mut sum = 0.0;
    let shares = weights
        .iter()
        .map(|weight| {
            sum += weight;
            sum / total
        })
        .collect();
    Ok(Fill::Choice { values, shares })
}

//! Fills a block of a column.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::builder::StringViewBuilder;
use arrow::array::{Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, make_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use fletching::{Error, Result};
use rand::distr::Distribution;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;

use super::field::{FieldPlan, Fill, Offsets, Values};

/// How many rows are made from one seed. Part of what a seed means: do not change it.
pub(super) const BLOCK_ROWS: u64 = 8192;

/// What a generator of random numbers is for.
#[derive(Clone, Copy)]
enum Purpose {
    Values = 0,
    Nulls = 1,
}

/// Makes a generator for a block of a column: ChaCha's key holds the seed and the column's name,
/// its stream number the block.
fn generator(seed: u64, name: &str, block: u64, purpose: Purpose) -> ChaCha8Rng {
    // FNV-1a over the name, which is all the difference that columns need.
    let hash = name
        .to_ascii_lowercase()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&hash.to_le_bytes());
    key[16] = purpose as u8;
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(block);
    generator
}

/// Draws a number from 0 to `span`, both included.
fn draw(generator: &mut impl Rng, span: u64) -> u64 {
    let Some(count) = span.checked_add(1) else {
        return generator.next_u64();
    };
    // Lemire's multiply and shift; the bias is below span / 2^64. High half of the product.
    let product = u128::from(generator.next_u64()) * u128::from(count);
    u64::try_from(product >> 64).unwrap_or(span)
}

/// Makes the first `rows` rows of a block of a column.
pub(super) fn block_of(field: &FieldPlan, seed: u64, block: u64, rows: usize) -> Result<ArrayRef> {
    let mut generator = generator(seed, &field.name, block, Purpose::Values);
    let first = block * BLOCK_ROWS;
    let array = match &field.fill {
        Fill::Ticks {
            base,
            offsets,
            prefix: None,
        } if field.data_type.is_decimal() => {
            let offsets = make_offsets(offsets, first, rows, &mut generator)?;
            decimals(offsets.into_iter().map(|offset| base + offset), &field.data_type)
        }
        Fill::Ticks {
            base,
            offsets,
            prefix,
        } => {
            let offsets = make_offsets(offsets, first, rows, &mut generator)?;
            match prefix {
                Some(prefix) => numbered(prefix, *base, &offsets),
                None => whole(*base, &offsets),
            }
        }
        Fill::Floats { min, max } => {
            let floats = (0..rows).map(|_| min + (max - min) * generator.random::<f64>());
            Arc::new(Float64Array::from_iter_values(floats))
        }
        Fill::FloatSequence { start, step, cycle } => {
            #[expect(clippy::cast_precision_loss, reason = "a float sequence is approximate")]
            let at = |row: u64| start + step * (row % cycle) as f64;
            Arc::new(Float64Array::from_iter_values((first..).take(rows).map(at)))
        }
        Fill::Letters { length } => letters(*length, rows, &mut generator),
        Fill::Choice { values, shares } => chosen(values, shares, rows, &field.data_type, &mut generator),
    };
    let array = typed(array, &field.data_type)?;
    with_nulls(array, field, seed, block)
}

/// A column's offsets: of decimals they may take more than 64 bits.
fn make_offsets(offsets: &Offsets, first: u64, rows: usize, generator: &mut ChaCha8Rng) -> Result<Vec<i128>> {
    Ok(match offsets {
        Offsets::Sequence { step, cycle } => (first..)
            .take(rows)
            .map(|row| i128::from(row % cycle) * i128::from(*step))
            .collect(),
        Offsets::Random { span } => (0..rows).map(|_| i128::from(draw(generator, *span))).collect(),
        Offsets::Zipf { n, exponent } => {
            let zipf = Zipf::new(*n, *exponent)
                .map_err(|error| Error::internal(format!("no such distribution: {error}")))?;
            #[expect(clippy::cast_possible_truncation, reason = "a rank is whole and at most 2^53")]
            let rank = |value: f64| value as i64;
            (0..rows)
                .map(|_| i128::from(rank(zipf.sample(generator)) - 1))
                .collect()
        }
    })
}

/// The low 64 bits of ticks, which hold them: options are checked against the type's bounds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "all types but decimals hold 64 bits at most"
)]
fn low(ticks: i128) -> i64 {
    ticks as i64
}

fn whole(base: i128, offsets: &[i128]) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(
        offsets.iter().map(|offset| low(base + offset)),
    ))
}

fn decimals(ticks: impl Iterator<Item = i128>, data_type: &DataType) -> ArrayRef {
    let scale = match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    };
    let array = Decimal128Array::from_iter_values(ticks);
    Arc::new(array.with_data_type(DataType::Decimal128(38, scale.min(38))))
}

fn numbered(prefix: &str, base: i128, offsets: &[i128]) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(offsets.len());
    let mut text = prefix.to_owned();
    for offset in offsets {
        text.truncate(prefix.len());
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", low(base + offset));
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn letters(length: usize, rows: usize, generator: &mut ChaCha8Rng) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(rows);
    let mut text = String::with_capacity(length);
    let mut bytes = vec![0; length];
    for _ in 0..rows {
        generator.fill_bytes(&mut bytes);
        text.clear();
        text.extend(
            bytes
                .iter()
                .map(|byte| char::from(LETTERS[usize::from(byte & 31)])),
        );
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}

fn chosen(
    values: &Values,
    shares: &[f64],
    rows: usize,
    data_type: &DataType,
    generator: &mut ChaCha8Rng,
) -> ArrayRef {
    let mut pick = || {
        let at = generator.random::<f64>();
        shares
            .partition_point(|share| *share <= at)
            .min(shares.len().saturating_sub(1))
    };
    match values {
        Values::Text(texts) => {
            let mut builder = StringViewBuilder::with_capacity(rows);
            (0..rows).for_each(|_| builder.append_value(&texts[pick()]));
            Arc::new(builder.finish())
        }
        Values::Floats(floats) => Arc::new(Float64Array::from_iter_values((0..rows).map(|_| floats[pick()]))),
        Values::Ticks(ticks) if data_type.is_decimal() => {
            decimals((0..rows).map(|_| ticks[pick()]), data_type)
        }
        Values::Ticks(ticks) => Arc::new(Int64Array::from_iter_values(
            (0..rows).map(|_| low(ticks[pick()])),
        )),
    }
}

/// Gives ticks their column's type.
fn typed(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    let cast = match data_type {
        // Time of day and of 32 bits is reached by way of 32-bit numbers.
        DataType::Time32(_) => cast(&array, &DataType::Int32).and_then(|array| cast(&array, data_type)),
        _ => cast(&array, data_type),
    };
    cast.map_err(|error| Error::internal(format!("datagen cannot make {data_type}: {error}")))
}

fn with_nulls(array: ArrayRef, field: &FieldPlan, seed: u64, block: u64) -> Result<ArrayRef> {
    if field.null_rate <= 0.0 {
        return Ok(array);
    }
    let mut generator = generator(seed, &field.name, block, Purpose::Nulls);
    let valid = BooleanBuffer::collect_bool(array.len(), |_| generator.random::<f64>() >= field.null_rate);
    let nulls = Some(NullBuffer::new(valid));
    if let Some(booleans) = array.as_any().downcast_ref::<BooleanArray>() {
        return Ok(Arc::new(BooleanArray::new(booleans.values().clone(), nulls)));
    }
    let data = array.into_data().into_builder().nulls(nulls).build();
    data.map(make_array)
        .map_err(|error| Error::internal(format!("datagen nulls: {error}")))
}

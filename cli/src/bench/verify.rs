//! Whether two results are the same, however their rows are ordered and cut.
//!
//! ```text
//!  column values → 64-bit hashes → mixed over the columns of a row, in order → summed over rows
//! ```
//!
//! Values are brought to one form first, since engines choose their own types: whole numbers of
//! any width are the same, so are text in any layout, dictionaries and their values, decimals of
//! any precision and scale up to nine. Floats count bit for bit, but for -0.0 and NaN: what is
//! compared are columns passed through, which no engine may change.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use arrow_ipc::reader::FileReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::fault::{Fault, Result};
use super::results::ContenderFindings;
use super::scenario::Expected;

/// What there is to compare of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// How many rows.
    pub(super) rows: u64,
    /// The sum of their hashes.
    pub(super) sum: u64,
    /// How many columns.
    pub(super) columns: usize,
}

impl Fingerprint {
    /// Looks at a result in a file, by its name's ending: Arrow IPC or Parquet.
    ///
    /// # Errors
    /// Fails where the file cannot be read, or holds a column that cannot be compared.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let mut fingerprint = Self::default();
        if path.extension().is_some_and(|kind| kind == "parquet") {
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
            reader
                .into_iter()
                .try_for_each(|batch| fingerprint.add(&batch?))?;
        } else {
            let mut reader = FileReader::try_new_buffered(file, None)?;
            reader.try_for_each(|batch| fingerprint.add(&batch?))?;
        }
        Ok(fingerprint)
    }

    /// Adds the rows of a batch.
    ///
    /// # Errors
    /// Fails where a column cannot be compared.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut hashes = vec![0; batch.num_rows()];
        for column in batch.columns() {
            mix_column(column, &mut hashes)?;
        }
        self.rows += batch.num_rows() as u64;
        self.columns = batch.num_columns();
        self.sum = hashes.into_iter().fold(self.sum, u64::wrapping_add);
        Ok(())
    }

    /// Returns the checksum as scenarios write it.
    pub(super) fn checksum(&self) -> String {
        format!("{:016x}", self.sum)
    }
}

/// Marks as wrong whoever gives another result than the scenario says or, where it says nothing,
/// than most of the others. Says what results were compared with.
pub(super) fn judge(contenders: &mut [ContenderFindings], expected: Option<&Expected>) -> String {
    let of = |contender: &ContenderFindings| (contender.rows, contender.checksum.clone());
    let results: Vec<_> = contenders.iter().filter(|c| c.error.is_none()).map(of).collect();
    let (right, said) = match expected {
        Some(expected) => {
            let right = (expected.rows, expected.checksum.clone());
            (
                Some(right),
                "the same rows and checksum as the scenario says".to_owned(),
            )
        }
        None if results.len() < 2 => return "not compared: nobody else took part".to_owned(),
        None => {
            let votes = |result: &(u64, String)| results.iter().filter(|other| *other == result).count();
            let most = results.iter().max_by_key(|result| votes(result));
            // One against one is nobody's majority.
            let right = most.filter(|result| votes(result) * 2 > results.len()).cloned();
            (right, "the same rows and checksum from all contenders".to_owned())
        }
    };
    let mut is_same = true;
    for contender in contenders
        .iter_mut()
        .filter(|contender| contender.error.is_none())
    {
        if Some(of(contender)) == right {
            continue;
        }
        is_same = false;
        let gave = format!("{} rows with checksum {}", contender.rows, contender.checksum);
        contender.error = Some(match &right {
            Some((rows, sum)) => format!("gave {gave}; right are {rows} rows with {sum}"),
            None => format!("gave {gave}; no majority of the contenders agrees"),
        });
    }
    if is_same {
        said
    } else {
        "results differ".to_owned()
    }
}

/// NULL, as the hash of a value.
const NULL: u64 = 0x9e37_79b9_7f4a_7c15;

/// Digits behind the point that decimals are brought to.
const SCALE: i8 = 9;

fn mix_column(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    match column.data_type() {
        DataType::Utf8View => {
            let texts = column.as_string_view();
            mix(hashes, column, |row| bytes_hash(texts.value(row).as_bytes()));
        }
        DataType::Decimal128(_, SCALE) => {
            let decimals = column.as_primitive::<Decimal128Type>();
            mix(hashes, column, |row| {
                bytes_hash(&decimals.value(row).to_le_bytes())
            });
        }
        DataType::Int64 => {
            let numbers = column.as_primitive::<Int64Type>();
            mix(hashes, column, |row| {
                bytes_hash(&numbers.value(row).to_le_bytes())
            });
        }
        DataType::Float64 => {
            let numbers = column.as_primitive::<Float64Type>();
            mix(hashes, column, |row| {
                let number = numbers.value(row);
                let number = if number.is_nan() { f64::NAN } else { number + 0.0 };
                bytes_hash(&number.to_bits().to_le_bytes())
            });
        }
        other => {
            let form = match other {
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Dictionary(..) => DataType::Utf8View,
                other if other.is_integer() => DataType::Int64,
                other if other.is_decimal() => DataType::Decimal128(38, SCALE),
                DataType::Float16 | DataType::Float32 => DataType::Float64,
                DataType::Boolean => DataType::Int64,
                other => return Err(Fault::new(format!("a result of {other} cannot be compared"))),
            };
            return mix_column(&cast(column, &form)?, hashes);
        }
    }
    Ok(())
}

fn mix(hashes: &mut [u64], column: &dyn Array, value_hash: impl Fn(usize) -> u64) {
    let nulls = column.logical_nulls();
    for (row, hash) in hashes.iter_mut().enumerate() {
        let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let value = if is_null { NULL } else { value_hash(row) };
        // Rotated, so that exchanging two columns' values is seen.
        *hash = scramble(hash.rotate_left(17).wrapping_add(value));
    }
}

/// Mixes bits: the last step of splitmix64 (Steele, Lea, Flood, 2014).
fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Hashes bytes, eight at a time. Written here since it must stay the same for ever: its sums are
/// in the scenarios.
fn bytes_hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = scramble(hash.rotate_left(5) ^ u64::from_le_bytes(word));
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int32Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    fn fingerprint(columns: Vec<ArrayRef>) -> Fingerprint {
        let names = (0..columns.len()).map(|at| format!("c{at}"));
        let batch = RecordBatch::try_from_iter(names.zip(columns)).unwrap();
        let mut fingerprint = Fingerprint::default();
        fingerprint.add(&batch).unwrap();
        fingerprint
    }

    fn rows(rows: &[(i64, Option<&str>)]) -> Fingerprint {
        let ids: Int64Array = rows.iter().map(|row| Some(row.0)).collect();
        let words: StringArray = rows.iter().map(|row| row.1).collect();
        fingerprint(vec![Arc::new(ids), Arc::new(words)])
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_every_value_does() {
        let one = rows(&[(1, Some("a")), (2, None), (3, Some("c"))]);
        assert_eq!(one, rows(&[(3, Some("c")), (1, Some("a")), (2, None)]));
        assert_ne!(one, rows(&[(3, Some("a")), (1, Some("c")), (2, None)]));
        assert_ne!(one, rows(&[(1, Some("a")), (2, Some("")), (3, Some("c"))]));
        assert_ne!(one, rows(&[(1, Some("a")), (2, None)]));
        assert_ne!(rows(&[(1, Some("a")), (1, Some("a"))]), rows(&[(1, Some("a"))]));
    }

    #[test]
    fn layouts_of_one_value_are_the_same() {
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![7, -1]));
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![7, -1]));
        assert_eq!(fingerprint(vec![wide]), fingerprint(vec![narrow]));
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["a text beyond twelve bytes", ""]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["a text beyond twelve bytes", ""]));
        assert_eq!(fingerprint(vec![plain]), fingerprint(vec![view]));
        let decimal = |values: Vec<i128>, precision, scale| -> ArrayRef {
            let array = Decimal128Array::from(values);
            Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
        };
        assert_eq!(
            fingerprint(vec![decimal(vec![150], 9, 2)]),
            fingerprint(vec![decimal(vec![15_000], 38, 4)])
        );
    }

    #[test]
    fn exchanging_columns_is_seen() {
        let (a, b): (ArrayRef, ArrayRef) = (
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(Int64Array::from(vec![2])),
        );
        let swapped = fingerprint(vec![Arc::clone(&b), Arc::clone(&a)]);
        assert_ne!(fingerprint(vec![a, b]), swapped);
    }
}

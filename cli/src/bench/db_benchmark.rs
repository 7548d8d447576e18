//! The data of the join task of the H2O.ai/DuckDB Labs benchmark, as its `join-datagen.R` makes them.
//!
//! ```text
//!  for n of N/1e6, N/1e3 and N keys:  1.1 n numbers, shuffled
//!     ├─ 0.9 n  x  in both sides
//!     ├─ 0.1 n  l  in the left side only
//!     └─ 0.1 n  r  in the right side only
//!  x       N rows:      id1 id2 id3, each of its n numbers at least once; id4 id5 id6 the same as text; v1
//!  small   N/1e6 rows:  id1 id4 v2
//!  medium  N/1e3 rows:  id1 id2 id4 id5 v2
//!  big     N rows:      id1 … id6 v2
//! ```
//!
//! The random numbers are not R's, so the figures are comparable and the checksums are not.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow_ipc::writer::FileWriter;

use super::fault::{Fault, Result};

/// Rows of a batch in the file.
const BATCH_ROWS: usize = 1 << 16;

/// Fewer left rows would leave the small table without keys for each of its parts.
const SMALL_KEYS_MIN: usize = 10;

/// Writes one of the four tables of a left side of `rows` rows.
///
/// # Errors
/// Fails where there is no such table, or the file cannot be written.
pub(super) fn make(table: &str, rows: u64, seed: u64, path: &Path) -> Result<()> {
    let rows = usize::try_from(rows).map_err(|_| Fault::new("too many rows"))?;
    let counts = [
        (rows / 1_000_000).max(SMALL_KEYS_MIN),
        (rows / 1000).max(SMALL_KEYS_MIN),
        rows,
    ];
    let (levels, size, value) = match table {
        "x" => (3, rows, "v1"),
        "small" => (1, counts[0], "v2"),
        "medium" => (2, counts[1], "v2"),
        "big" => (3, rows, "v2"),
        other => return Err(Fault::new(format!("the join task has no table {other:?}"))),
    };
    let is_left = table == "x";
    let mut ids = Vec::with_capacity(levels);
    for (level, count) in counts.into_iter().enumerate().take(levels) {
        // Both sides split the same shuffled keys; only what is drawn from them is their own.
        let mut keys = Random::new(seed, level as u64).shuffled(count + count / 10);
        let (common, left) = (count - count / 10, count);
        if is_left {
            keys.truncate(left);
        } else {
            keys.drain(common..left);
        }
        let stream = 16 + 4 * level as u64 + table.len() as u64;
        ids.push(Random::new(seed, stream << 8).sample_all(keys, size));
    }
    let mut random = Random::new(seed, (table.len() as u64) << 32);
    let values: Vec<f64> = (0..size).map(|_| random.value()).collect();
    write(&ids, value, &values, path)
}

fn write(ids: &[Vec<i32>], value: &str, values: &[f64], path: &Path) -> Result<()> {
    let batch = |start: usize| -> Result<RecordBatch> {
        let rows = start..(start + BATCH_ROWS).min(values.len());
        let mut columns: Vec<(String, ArrayRef)> = Vec::with_capacity(7);
        for (level, ids) in ids.iter().enumerate() {
            let array = Int32Array::from(ids[rows.clone()].to_vec());
            columns.push((format!("id{}", level + 1), Arc::new(array)));
        }
        for (level, ids) in ids.iter().enumerate() {
            let texts = ids[rows.clone()].iter().map(|id| format!("id{id}"));
            let array = StringArray::from_iter_values(texts);
            columns.push((format!("id{}", level + 4), Arc::new(array)));
        }
        let array = Float64Array::from(values[rows].to_vec());
        columns.push((value.to_owned(), Arc::new(array)));
        Ok(RecordBatch::try_from_iter(columns)?)
    };
    // Under another name until it is whole.
    let unfinished = path.with_extension("unfinished");
    let first = batch(0)?;
    let file = BufWriter::new(File::create(&unfinished)?);
    let mut writer = FileWriter::try_new(file, first.schema_ref())?;
    for start in (0..values.len()).step_by(BATCH_ROWS) {
        writer.write(&batch(start)?)?;
    }
    writer.finish()?;
    drop(writer);
    std::fs::rename(unfinished, path)?;
    Ok(())
}

/// splitmix64 (Steele, Lea, Flood, 2014): small, and the same for ever.
struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Draws a number below `count`, by multiply and shift.
    fn below(&mut self, count: usize) -> usize {
        let product = u128::from(self.next()) * count as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Draws from 0 to 100, to six digits.
    fn value(&mut self) -> f64 {
        self.below(100_000_000) as f64 / 1e6
    }

    fn shuffle(&mut self, values: &mut [i32]) {
        for at in (1..values.len()).rev() {
            values.swap(at, self.below(at + 1));
        }
    }

    /// The numbers 1 to `count`, shuffled.
    fn shuffled(&mut self, count: usize) -> Vec<i32> {
        let mut values: Vec<i32> = (1..).take(count).collect();
        self.shuffle(&mut values);
        values
    }

    /// Draws `size` keys, each of them at least once, shuffled.
    fn sample_all(&mut self, mut keys: Vec<i32>, size: usize) -> Vec<i32> {
        let count = keys.len();
        keys.extend((count..size).map(|_| 0));
        for at in count..size {
            keys[at] = keys[self.below(count)];
        }
        self.shuffle(&mut keys);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_keys_in_ten_are_on_both_sides() {
        let side = |left: bool| -> std::collections::BTreeSet<i32> {
            let mut keys = Random::new(7, 0).shuffled(1100);
            if left {
                keys.truncate(1000);
            } else {
                keys.drain(900..1000);
            }
            Random::new(7, 1).sample_all(keys, 1000).into_iter().collect()
        };
        assert_eq!((side(true).len(), side(false).len()), (1000, 1000));
        assert_eq!(side(true).intersection(&side(false)).count(), 900);
    }
}

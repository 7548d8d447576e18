//! Which of several records of a key counts: the newest by a version column, or the last.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::take_record_batch;
use fletching_kernels::{BuildOptions, KeyIndex, LiveTable, NO_ROW};

use super::records::Records;
use crate::error::Result;

/// Leaves out rows that are older than what is there, and of rows of one key all but the newest.
pub(super) fn newer_rows(
    live: &LiveTable,
    key: &[usize],
    version: Option<usize>,
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let Some(version) = version else {
        return Ok(batch.clone());
    };
    let keys: Vec<ArrayRef> = key.iter().map(|at| Arc::clone(batch.column(*at))).collect();
    let mut kept = newest_of_each_key(&keys, Some(batch.column(version)))?;
    let snapshot = live.snapshot();
    let mut heads = Vec::new();
    snapshot.locate(&keys, None, &mut heads)?;
    if heads.iter().any(|head| *head != NO_ROW) {
        let there = snapshot.gather(version, &heads)?;
        // NULL, on either side, is older than nothing.
        let older = lt(batch.column(version), &there)?;
        kept.retain(|row| {
            let row = *row as usize;
            !(older.is_valid(row) && older.value(row))
        });
    }
    if kept.len() == batch.num_rows() {
        return Ok(batch.clone());
    }
    Ok(take_record_batch(batch, &UInt32Array::from(kept))?)
}

/// Returns, of rows with one key, the one of the greatest version, and of those the last; of rows
/// with a NULL in the key all. Ascending. Without versions all are of one.
pub(super) fn newest_of_each_key(keys: &[ArrayRef], versions: Option<&ArrayRef>) -> Result<Vec<u32>> {
    let index = KeyIndex::build(keys, &BuildOptions::default())?;
    let rows = u32::try_from(index.row_count()).unwrap_or(u32::MAX);
    if index.is_unique() {
        return Ok((0..rows).collect());
    }
    let mut heads = Vec::new();
    index.locate(keys, None, &mut heads)?;
    let mut newest: Vec<u32> = heads.clone();
    for row in 0..rows {
        let head = heads[row as usize];
        if head == NO_ROW {
            continue;
        }
        let best = &mut newest[head as usize];
        let Some(versions) = versions else {
            *best = row;
            continue;
        };
        let (a, b) = (versions.slice(*best as usize, 1), versions.slice(row as usize, 1));
        let is_older = gt(&a, &b)?;
        if !(is_older.is_valid(0) && is_older.value(0)) {
            *best = row;
        }
    }
    let mut kept: Vec<u32> = (0..rows)
        .filter_map(|row| match heads[row as usize] {
            NO_ROW => Some(row),
            head if head == row => Some(newest[row as usize]),
            _ => None,
        })
        .collect();
    kept.sort_unstable();
    Ok(kept)
}

/// Leaves out records of keys that the program has changed.
pub(super) fn untouched(records: &Records, touched: &LiveTable, key: &[usize]) -> Result<Records> {
    let keys: Vec<ArrayRef> = key
        .iter()
        .map(|at| Arc::clone(records.rows.column(*at)))
        .collect();
    let mut heads = Vec::new();
    touched.snapshot().locate(&keys, None, &mut heads)?;
    let kept = (0_u32..).zip(&heads).filter(|(_, head)| **head == NO_ROW);
    let kept: Vec<u32> = kept.map(|(row, _)| row).collect();
    records.take(&kept.into())
}

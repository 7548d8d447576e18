//! The walk of a star join: arm after arm, depth first, a chunk at a time.

use arrow_array::BooleanArray;

use super::finder::KnownHeads;
use super::found::found_among;
use super::{StarArm, StarFinder, StarKind, StarProbe, StarRows};
use crate::{
    AsOfCondition, JoinKind, JoinPairs, KernelError, NO_ROW, ProbeCursor, RowChains, RowId, join_pairs,
    missing_count,
};

/// Joins every probe row with all arms and hands the joined rows to `emit`.
///
/// Rows come in chunks, never empty: of at most `limit` rows (taken as 1 where it is 0), or the
/// whole batch where no arm has more than one match a row. Order: probe position, then the row
/// ids of arm 0, of arm 1, and so on, each ascending. Row ids are all found before anything is
/// gathered, and `probe` stays `None` while each row has kept its one place.
///
/// About 2 ns a probe row and arm for unique tables in cache, plus keys and residuals; holds at
/// most one chunk an arm.
///
/// # Errors
///
/// What [`StarFinder::locate`] refuses, [`KernelError::LengthMismatch`]
/// for keys or residuals of another length, and whatever `probe` and `emit` return.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, BooleanArray, Int64Array};
/// use fletching_kernels::{
///     BuildOptions, KernelError, KeyIndex, NO_ROW, StarArm, StarFinder, StarKind, StarProbe,
///     StarRows, select, star_join,
/// };
///
/// struct Orders { keys: [ArrayRef; 2] }
///
/// impl StarProbe for Orders {
///     type Error = KernelError;
///     fn keys(&mut self, arm: usize, rows: &StarRows) -> Result<Vec<ArrayRef>, KernelError> {
///         Ok(vec![select(&self.keys[arm], rows.probe.as_deref())?])
///     }
///     fn has_residual(&self, _arm: usize) -> bool { false }
///     fn residual(&mut self, _: usize, _: &StarRows) -> Result<Option<BooleanArray>, KernelError> {
///         Ok(None)
///     }
/// }
///
/// let column = |values: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
/// let customers = KeyIndex::build(&[column(&[1, 2])], &BuildOptions::default())?;
/// let products = KeyIndex::build(&[column(&[70, 80, 80])], &BuildOptions::default())?;
/// let arms = [
///     StarArm { finder: StarFinder::Key(&customers), kind: StarKind::Inner },
///     StarArm { finder: StarFinder::Key(&products), kind: StarKind::Left },
/// ];
/// let mut orders = Orders { keys: [column(&[2, 3, 1]), column(&[80, 70, 99])] };
/// let mut joined = Vec::new();
/// star_join(&arms, 3, &mut orders, 8192, &mut |rows| {
///     joined.push(rows);
///     Ok(())
/// })?;
/// assert_eq!(joined[0].probe, Some(vec![0, 0, 2]));
/// assert_eq!(joined[0].arms, [vec![1, 1, 0], vec![1, 2, NO_ROW]]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn star_join<P: StarProbe>(
    arms: &[StarArm<'_>],
    probe_rows: usize,
    probe: &mut P,
    limit: usize,
    emit: &mut dyn FnMut(StarRows) -> Result<(), P::Error>,
) -> Result<(), P::Error> {
    star_join_from(arms, StarRows::identity(probe_rows), probe, limit, emit)
}

/// Joins given rows with all arms, as [`star_join`] does: a selection of the probe rows, or rows
/// that earlier arms have joined, which then count as arms before `arms[0]` in `StarRows` alone.
///
/// # Errors
///
/// As [`star_join`].
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, BooleanArray, Int64Array};
/// use fletching_kernels::{KernelError, StarProbe, StarRows, star_join_from};
///
/// struct Nothing;
/// impl StarProbe for Nothing {
///     type Error = KernelError;
///     fn keys(&mut self, _: usize, _: &StarRows) -> Result<Vec<ArrayRef>, KernelError> {
///         Ok(Vec::new())
///     }
///     fn has_residual(&self, _: usize) -> bool { false }
///     fn residual(&mut self, _: usize, _: &StarRows) -> Result<Option<BooleanArray>, KernelError> {
///         Ok(None)
///     }
/// }
/// star_join_from(&[], StarRows::selected(vec![4, 6]), &mut Nothing, 10, &mut |rows| {
///     assert_eq!(rows.probe, Some(vec![4, 6]));
///     Ok(())
/// })
/// # ?; Ok::<(), KernelError>(())
/// ```
pub fn star_join_from<P: StarProbe>(
    arms: &[StarArm<'_>],
    start: StarRows,
    probe: &mut P,
    limit: usize,
    emit: &mut dyn FnMut(StarRows) -> Result<(), P::Error>,
) -> Result<(), P::Error> {
    if start.len > NO_ROW as usize {
        let rows = start.len;
        return Err(KernelError::TooManyRows {
            rows,
            rows_max: NO_ROW as usize,
        }
        .into());
    }
    Walk {
        arms,
        probe,
        limit: limit.max(1),
        emit,
        known: KnownHeads::default(),
    }
    .descend(0, start)
}

struct Walk<'a, 'e, P: StarProbe> {
    arms: &'a [StarArm<'a>],
    probe: &'a mut P,
    limit: usize,
    emit: &'a mut (dyn FnMut(StarRows) -> Result<(), P::Error> + 'e),
    known: KnownHeads<'a>,
}

impl<P: StarProbe> Walk<'_, '_, P> {
    /// Runs rows through the arms from `arm` on: straight through arms with one match a row at
    /// most, chunk by chunk where one may have more.
    fn descend(&mut self, mut arm: usize, mut rows: StarRows) -> Result<(), P::Error> {
        loop {
            if rows.len == 0 {
                return Ok(());
            }
            let Some(StarArm { finder, kind }) = self.arms.get(arm).copied() else {
                return (self.emit)(rows);
            };
            let keys = self.probe.keys(arm, &rows)?;
            let heads = match self.known.take() {
                Some(heads) => heads,
                None => {
                    let later = self.arms.get(arm + 1..).unwrap_or_default();
                    let alike = self.alike(arm);
                    self.known.locate(finder, &keys, &alike, later)?
                }
            };
            drop(keys);
            if heads.len() != rows.len {
                return Err(KernelError::LengthMismatch {
                    what: "a key column of an arm",
                    expected: rows.len,
                    found: heads.len(),
                }
                .into());
            }
            let missing = missing_count(&heads);
            self.probe.located(arm, heads.len(), missing)?;
            let is_simple = finder.is_unique() || !kind.emits_build();
            if !is_simple || self.probe.has_residual(arm) {
                return match finder {
                    StarFinder::Key(index) => self.descend_chunks(arm, &rows, &heads, index),
                    StarFinder::Live(snapshot) => self.descend_chunks(arm, &rows, &heads, snapshot),
                    StarFinder::AsOf(index, _) => self.descend_chunks(arm, &rows, &heads, index),
                };
            }
            if kind.emits_build() && self.probe.watches(arm) {
                let missed = positions_where(&heads, |head| head == NO_ROW);
                if !missed.is_empty() {
                    self.probe.missed(arm, &rows, &missed)?;
                }
            }
            if narrow_to_heads(&mut rows, heads, missing, kind) {
                self.known.forget();
            }
            arm += 1;
        }
    }

    /// Returns the conditions of the arms right after one that ask the same index for the same keys
    /// and times, as long as nothing but a missing row can come between.
    fn alike(&self, arm: usize) -> Vec<AsOfCondition> {
        let mut conditions = Vec::new();
        let Some(StarFinder::AsOf(index, _)) = self.arms.get(arm).map(|arm| arm.finder) else {
            return conditions;
        };
        for (at, next) in self.arms.iter().enumerate().skip(arm + 1) {
            if !self.arms[at - 1].kind.emits_build() || self.probe.has_residual(at - 1) {
                break;
            }
            match next.finder {
                StarFinder::AsOf(other, condition)
                    if std::ptr::eq(other, index) && self.probe.shares_keys(at, arm) =>
                {
                    conditions.push(condition);
                }
                _ => break,
            }
        }
        conditions
    }

    /// Joins one arm a chunk at a time, and runs each chunk through the arms after it.
    fn descend_chunks(
        &mut self,
        arm: usize,
        rows: &StarRows,
        heads: &[RowId],
        index: &impl RowChains,
    ) -> Result<(), P::Error> {
        self.known.forget();
        let kind = self.arms[arm].kind;
        let has_residual = self.probe.has_residual(arm);
        let is_watched = kind.emits_build() && self.probe.watches(arm);
        // What is watched is padded first, so that it can be seen before it is dropped.
        let pairing = if is_watched { JoinKind::Left } else { kind.into() };
        let mut cursor = ProbeCursor::default();
        let mut pairs = JoinPairs::default();
        let mut done = false;
        while !done {
            let is_first = cursor.position() == 0;
            let probe = &mut *self.probe;
            let mut residual = |pairs: &JoinPairs| -> Result<BooleanArray, P::Error> {
                let candidates = rows.joined(pairs.probe.as_slice().into(), pairs.build.clone(), false);
                let all = || BooleanArray::from(vec![true; pairs.len()]);
                Ok(probe.residual(arm, &candidates)?.unwrap_or_else(all))
            };
            done = join_pairs::<P::Error>(
                index,
                heads,
                pairing,
                &mut cursor,
                self.limit,
                if has_residual { Some(&mut residual) } else { None },
                None,
                &mut pairs,
            )?;
            let joined = if kind.emits_build() {
                std::mem::take(&mut pairs.build)
            } else {
                Vec::new()
            };
            let mut next = rows.joined(std::mem::take(&mut pairs.probe).into(), joined, is_first && done);
            if is_watched {
                self.settle_missed(arm, &mut next)?;
            }
            self.descend(arm + 1, next)?;
        }
        Ok(())
    }

    /// Tells of the rows that an arm, just added, has padded, and drops them where it is INNER.
    fn settle_missed(&mut self, arm: usize, rows: &mut StarRows) -> Result<(), P::Error> {
        let heads = rows.arms.last().map_or(&[][..], Vec::as_slice);
        let missed = positions_where(heads, |head| head == NO_ROW);
        if missed.is_empty() {
            return Ok(());
        }
        self.probe.missed(arm, rows, &missed)?;
        if self.arms[arm].kind == StarKind::Inner {
            let mut heads = rows.arms.pop().unwrap_or_default();
            let kept = positions_where(&heads, |head| head != NO_ROW);
            heads.retain(|head| *head != NO_ROW);
            rows.narrow(kept, heads);
        }
        Ok(())
    }
}

/// Joins an arm without residual whose heads, so many of them missing, say everything; says whether some
/// rows are gone.
fn narrow_to_heads(rows: &mut StarRows, heads: Vec<RowId>, missing: usize, kind: StarKind) -> bool {
    let before = rows.len;
    match kind {
        StarKind::Left => rows.push_arm(heads),
        StarKind::Inner if missing == 0 => rows.push_arm(heads),
        StarKind::Inner => {
            let (positions, found) = found_among(&heads, heads.len() - missing);
            rows.narrow(positions, found);
        }
        StarKind::LeftSemi => {
            rows.narrow(positions_where(&heads, |head| head != NO_ROW), Vec::new());
        }
        StarKind::LeftAnti => {
            rows.narrow(positions_where(&heads, |head| head == NO_ROW), Vec::new());
        }
    }
    rows.len < before
}

/// Returns the positions whose head passes, ascending.
fn positions_where(heads: &[RowId], keep: impl Fn(RowId) -> bool) -> Vec<u32> {
    let mut positions = vec![0; heads.len()];
    let mut kept = 0;
    for (position, head) in (0_u32..).zip(heads) {
        positions[kept] = position;
        kept += usize::from(keep(*head));
    }
    positions.truncate(kept);
    positions
}

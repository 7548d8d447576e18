//! The pair loop: walks the chains of the heads, up to a limit, and resumes.
//!
//! ```text
//!                       ┌───────────── next probe row ◄──────────────┐
//!                       ▼                                            │
//!   head is NO_ROW ── pad / anti ────────────────────────────────────┤
//!   head is a row  ── emit or mark, follow the chain ── end of it ───┘
//!                        │  limit reached: the cursor keeps (probe row, chain row, matched)
//! ```
//!
//! Without a residual every candidate is a match, and the loops here suffice; with one,
//! `residual.rs` judges candidates a chunk at a time.

use arrow_array::BooleanArray;

use super::residual::join_residual;
use super::{JoinKind, JoinPairs, RowChains, VisitedRows};
use crate::{KernelError, NO_ROW, RowId};

/// Judges candidate pairs: returns, for each, whether the rest of the join condition holds. NULL
/// counts as false. Both sides of the pairs are filled, whatever the kind of join.
///
/// ```
/// use arrow_array::BooleanArray;
/// use fletching_kernels::{JoinPairs, KernelError, join::Residual};
/// let even = &mut |pairs: &JoinPairs| -> Result<BooleanArray, KernelError> {
///     Ok(pairs.build.iter().map(|row| Some(row % 2 == 0)).collect())
/// };
/// let residual: &mut Residual<'_, KernelError> = even;
/// assert_eq!(residual(&JoinPairs { probe: vec![0], build: vec![2] })?.true_count(), 1);
/// # Ok::<(), KernelError>(())
/// ```
pub type Residual<'a, E> = dyn FnMut(&JoinPairs) -> Result<BooleanArray, E> + 'a;

/// Remembers where the next chunk of a probe batch resumes; starts at the first row.
///
/// ```
/// let cursor = fletching_kernels::ProbeCursor::default();
/// assert_eq!(cursor.position(), 0);
/// ```
#[derive(Debug, Default)]
pub struct ProbeCursor {
    /// The present probe row.
    pub(super) position: usize,
    /// The next candidate of the present probe row, where its chain was left half way.
    pub(super) candidate: Option<RowId>,
    /// Whether the present probe row has matched in an earlier chunk.
    pub(super) has_matched: bool,
    /// Candidates of a chunk; kept to reuse its memory.
    pub(super) candidates: JoinPairs,
}

impl ProbeCursor {
    /// Returns the present probe position: rows before it are done.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::ProbeCursor::default().position(), 0);
    /// ```
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Starts over for another probe batch, keeping memory.
    ///
    /// ```
    /// let mut cursor = fletching_kernels::ProbeCursor::default();
    /// cursor.reset();
    /// ```
    pub fn reset(&mut self) {
        self.position = 0;
        self.candidate = None;
        self.has_matched = false;
        self.candidates.clear();
    }

    /// Goes on to the next probe row.
    #[inline(always)]
    pub(super) fn advance(&mut self) {
        self.position += 1;
        self.candidate = None;
        self.has_matched = false;
    }
}

/// Makes the next chunk of joined rows from the heads of a probe batch.
///
/// Call it with the same arguments until it returns `true`, which means the batch is done; the
/// cursor then stands at the end. `out` is cleared and holds at most `limit` rows (taken as 1
/// where it is 0); it is empty only in the last chunk.
///
/// - **Order**: probe position, then ascending row id. A padded row stands where its pairs would.
/// - **Residual**: applied to candidates before padding. A probe row none of whose candidates
///   passes is padded exactly once, also where its candidates span several chunks.
/// - **Semi and anti**: [`LeftSemi`](JoinKind::LeftSemi) and [`LeftAnti`](JoinKind::LeftAnti)
///   fill `out.probe` alone; [`RightSemi`](JoinKind::RightSemi) and
///   [`RightAnti`](JoinKind::RightAnti) only mark rows in `visited`.
/// - **Visited**: `Right`, `Full`, `RightSemi` and `RightAnti` mark the rows that match; emit
///   the rest with [`finish_pairs`](super::finish_pairs) after the last batch.
///
/// About 1 ns a probe row for a unique index without a residual, else 2 to 5 ns a pair, plus the
/// residual.
///
/// # Errors
///
/// [`KernelError::VisitedRowsMissing`] and [`KernelError::LengthMismatch`] where `visited` is
/// needed and absent or shorter than the table, [`KernelError::TooManyRows`] for a batch whose
/// positions do not fit `u32`, and what the residual returns.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, BooleanArray, Int64Array};
/// use fletching_kernels::{
///     BuildOptions, JoinKind, JoinPairs, KernelError, KeyIndex, NO_ROW, ProbeCursor, join_pairs,
/// };
///
/// let table: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7, 7]));
/// let stream: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9]));
/// let index = KeyIndex::build(&[table], &BuildOptions::default())?;
/// let mut heads = Vec::new();
/// index.locate(&[stream], None, &mut heads)?;
///
/// // ON stream.key = table.key AND table.row >= 2, two pairs at a time
/// let mut late = |pairs: &JoinPairs| -> Result<BooleanArray, KernelError> {
///     Ok(pairs.build.iter().map(|row| Some(*row >= 2)).collect())
/// };
/// let (mut cursor, mut out, mut rows) = (ProbeCursor::default(), JoinPairs::default(), Vec::new());
/// loop {
///     let done = join_pairs(
///         &index, &heads, JoinKind::Left, &mut cursor, 2, Some(&mut late), None, &mut out,
///     )?;
///     rows.extend(out.probe.iter().copied().zip(out.build.iter().copied()));
///     if done {
///         break;
///     }
/// }
/// assert_eq!(rows, [(0, 2), (0, 3), (1, NO_ROW), (2, NO_ROW)]);
/// # Ok::<(), KernelError>(())
/// ```
#[expect(
    clippy::too_many_arguments,
    reason = "one call of the hot loop: inputs, resume state and output, each of another lifetime"
)]
pub fn join_pairs<E: From<KernelError>>(
    index: &impl RowChains,
    heads: &[RowId],
    kind: JoinKind,
    cursor: &mut ProbeCursor,
    limit: usize,
    residual: Option<&mut Residual<'_, E>>,
    visited: Option<&VisitedRows>,
    out: &mut JoinPairs,
) -> Result<bool, E> {
    check(index, heads, kind, visited)?;
    out.clear();
    if cursor.position >= heads.len() {
        return Ok(true);
    }
    let limit = limit.max(1);
    // Kinds without a mark to make ignore what they were given.
    let visited = visited.filter(|_| kind.needs_visited());
    if let Some(residual) = residual {
        let join = super::residual::ResidualJoin {
            index,
            heads,
            kind,
            limit,
            visited,
        };
        return join_residual(&join, cursor, residual, out);
    }
    match kind {
        JoinKind::LeftSemi => keep_probes(heads, cursor, limit, out, |head| head != NO_ROW),
        JoinKind::LeftAnti => keep_probes(heads, cursor, limit, out, |head| head == NO_ROW),
        JoinKind::RightSemi | JoinKind::RightAnti => mark_chains(index, heads, cursor, visited),
        JoinKind::Left if index.is_unique() => copy_heads(heads, cursor, limit, out),
        JoinKind::Inner if index.is_unique() => keep_matches(heads, cursor, limit, out),
        JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
            walk_chains(index, heads, kind, cursor, limit, visited, out);
        }
    }
    Ok(cursor.position >= heads.len())
}

fn check(
    index: &impl RowChains,
    heads: &[RowId],
    kind: JoinKind,
    visited: Option<&VisitedRows>,
) -> Result<(), KernelError> {
    if heads.len() > NO_ROW as usize {
        return Err(KernelError::TooManyRows {
            rows: heads.len(),
            rows_max: NO_ROW as usize,
        });
    }
    match visited {
        None if kind.needs_visited() => Err(KernelError::VisitedRowsMissing { kind }),
        Some(visited) if kind.needs_visited() && visited.len() < index.row_count() => {
            Err(KernelError::LengthMismatch {
                what: "the set of visited rows",
                expected: index.row_count(),
                found: visited.len(),
            })
        }
        _ => Ok(()),
    }
}

/// Emits every probe row with its head: a left join with a unique table.
#[expect(clippy::cast_possible_truncation, reason = "the number of heads was checked")]
fn copy_heads(heads: &[RowId], cursor: &mut ProbeCursor, limit: usize, out: &mut JoinPairs) {
    let start = cursor.position;
    let end = start.saturating_add(limit).min(heads.len());
    out.probe.extend(start as u32..end as u32);
    out.build.extend_from_slice(&heads[start..end]);
    cursor.position = end;
}

/// Emits the probe rows that have a head: an inner join with a unique table.
///
/// Writes every row and keeps it by moving the end on, so that no branch depends on the data.
#[expect(clippy::cast_possible_truncation, reason = "the number of heads was checked")]
fn keep_matches(heads: &[RowId], cursor: &mut ProbeCursor, limit: usize, out: &mut JoinPairs) {
    while out.probe.len() < limit && cursor.position < heads.len() {
        let start = cursor.position;
        let filled = out.probe.len();
        let rows = (limit - filled).min(heads.len() - start);
        out.probe.resize(filled + rows, 0);
        out.build.resize(filled + rows, NO_ROW);
        let mut kept = filled;
        for (offset, head) in heads[start..start + rows].iter().enumerate() {
            out.probe[kept] = (start + offset) as u32;
            out.build[kept] = *head;
            kept += usize::from(*head != NO_ROW);
        }
        out.probe.truncate(kept);
        out.build.truncate(kept);
        cursor.position += rows;
    }
}

/// Emits the probe rows whose head passes: semi and anti joins.
#[expect(clippy::cast_possible_truncation, reason = "the number of heads was checked")]
fn keep_probes(
    heads: &[RowId],
    cursor: &mut ProbeCursor,
    limit: usize,
    out: &mut JoinPairs,
    keep: impl Fn(RowId) -> bool,
) {
    while out.probe.len() < limit && cursor.position < heads.len() {
        let start = cursor.position;
        let filled = out.probe.len();
        let rows = (limit - filled).min(heads.len() - start);
        out.probe.resize(filled + rows, 0);
        let mut kept = filled;
        for (offset, head) in heads[start..start + rows].iter().enumerate() {
            out.probe[kept] = (start + offset) as u32;
            kept += usize::from(keep(*head));
        }
        out.probe.truncate(kept);
        cursor.position += rows;
    }
}

/// Marks all rows of all chains: right semi and anti joins, which emit at the end.
fn mark_chains(
    index: &impl RowChains,
    heads: &[RowId],
    cursor: &mut ProbeCursor,
    visited: Option<&VisitedRows>,
) {
    if let Some(visited) = visited {
        for head in &heads[cursor.position..] {
            // A chain is marked whole or not at all, so its head tells.
            let mut row = *head;
            if visited.contains(row) {
                continue;
            }
            while row != NO_ROW {
                visited.mark(row);
                row = index.next_row(row);
            }
        }
    }
    cursor.position = heads.len();
}

/// Chains that are asked for at once.
const CHAINS_ASKED: usize = 64;

/// Emits a pair for each row of each chain, a run of neighbouring rows at a time.
#[expect(clippy::cast_possible_truncation, reason = "the number of heads was checked")]
fn walk_chains(
    index: &impl RowChains,
    heads: &[RowId],
    kind: JoinKind,
    cursor: &mut ProbeCursor,
    limit: usize,
    visited: Option<&VisitedRows>,
    out: &mut JoinPairs,
) {
    let (mut filled, mut asked) = (0, cursor.position);
    let mut put = |probe: u32, first: RowId, rows: usize, filled: usize| {
        if out.probe.len() - filled < rows {
            // Room for a match of each probe row, and then for as many again.
            let room = filled + rows.max(filled).max(heads.len().min(limit));
            out.probe.resize(room, 0);
            out.build.resize(room, NO_ROW);
        }
        let slots = out.probe[filled..filled + rows].iter_mut();
        for (at, (position, row)) in slots.zip(&mut out.build[filled..filled + rows]).enumerate() {
            // Nothing wraps: padding is a single row, and others are rows of a table.
            (*position, *row) = (probe, first.wrapping_add(at as u32));
        }
        filled + rows
    };
    while cursor.position < heads.len() && filled < limit {
        if cursor.position == asked {
            asked = heads.len().min(asked + CHAINS_ASKED);
            index.ask_chains(&heads[cursor.position..asked]);
        }
        let probe = cursor.position as u32;
        let mut row = cursor.candidate.unwrap_or(heads[cursor.position]);
        if row == NO_ROW {
            if kind.pads_probe() {
                filled = put(probe, NO_ROW, 1, filled);
            }
            cursor.advance();
            continue;
        }
        while row != NO_ROW && filled < limit {
            let rows = (index.run(row) as usize).min(limit - filled);
            filled = put(probe, row, rows, filled);
            let last = row + (rows as u32 - 1);
            if let Some(visited) = visited {
                (row..=last).for_each(|row| visited.mark(row));
            }
            row = index.next_row(last);
        }
        match row {
            NO_ROW => cursor.advance(),
            row => cursor.candidate = Some(row),
        }
    }
    out.probe.truncate(filled);
    out.build.truncate(filled);
}

//! Residual conditions: candidates are collected, judged and only then emitted or padded.
//!
//! ```text
//!   heads ──► collect at most `limit` candidates ──► residual ──► settle, probe row by probe row
//!             (a row that pads counts as one)                     passed: emit / mark
//!                  ▲                                              chain done, none passed: pad
//!                  └───────── while nothing was emitted ─────────────┘
//! ```
//!
//! The last probe row of a chunk may be half way through its chain; whether it has matched so
//! far stays in the cursor, so it is padded once at the end of its chain or not at all.

use arrow_array::{Array, BooleanArray};

use super::pairs::{ProbeCursor, Residual};
use super::{JoinKind, JoinPairs, RowChains, VisitedRows};
use crate::{KernelError, NO_ROW, RowId};

/// The unchanging part of a join with a residual.
pub(super) struct ResidualJoin<'a, C> {
    pub(super) index: &'a C,
    pub(super) heads: &'a [RowId],
    pub(super) kind: JoinKind,
    pub(super) limit: usize,
    pub(super) visited: Option<&'a VisitedRows>,
}

/// Makes the next chunk and returns whether the batch is done.
pub(super) fn join_residual<E: From<KernelError>>(
    join: &ResidualJoin<'_, impl RowChains>,
    cursor: &mut ProbeCursor,
    residual: &mut Residual<'_, E>,
    out: &mut JoinPairs,
) -> Result<bool, E> {
    while out.is_empty() && cursor.position < join.heads.len() {
        let mut candidates = std::mem::take(&mut cursor.candidates);
        candidates.clear();
        let end = join.collect(cursor, &mut candidates);
        let passed = if candidates.is_empty() {
            BooleanArray::from(Vec::<bool>::new())
        } else {
            residual(&candidates)?
        };
        if passed.len() != candidates.len() {
            return Err(E::from(KernelError::LengthMismatch {
                what: "the residual's answer",
                expected: candidates.len(),
                found: passed.len(),
            }));
        }
        join.settle(cursor, &end, &candidates, &passed, out);
        cursor.candidates = candidates;
    }
    Ok(cursor.position >= join.heads.len())
}

/// Where collecting stopped: a probe row, and the candidate it goes on with if not its head.
struct End {
    position: usize,
    candidate: Option<RowId>,
}

impl<C: RowChains> ResidualJoin<'_, C> {
    /// Says whether an unmatched probe row is emitted.
    fn emits_unmatched(&self) -> bool {
        self.kind.pads_probe() || self.kind == JoinKind::LeftAnti
    }

    /// Says whether one match of a probe row is enough.
    fn needs_one_match(&self) -> bool {
        matches!(self.kind, JoinKind::LeftSemi | JoinKind::LeftAnti)
    }

    /// Says whether a candidate can still change the answer: a right semi or anti join has no
    /// use for a row already visited.
    fn wants(&self, row: RowId) -> bool {
        match (self.kind, self.visited) {
            (JoinKind::RightSemi | JoinKind::RightAnti, Some(visited)) => !visited.contains(row),
            _ => true,
        }
    }

    /// Collects candidates from the cursor on.
    #[expect(clippy::cast_possible_truncation, reason = "the number of heads was checked")]
    fn collect(&self, cursor: &ProbeCursor, candidates: &mut JoinPairs) -> End {
        let mut end = End {
            position: cursor.position,
            candidate: cursor.candidate,
        };
        let mut pads = 0;
        while end.position < self.heads.len() && candidates.len() + pads < self.limit {
            let mut row = end.candidate.unwrap_or(self.heads[end.position]);
            if row == NO_ROW {
                pads += usize::from(self.emits_unmatched());
            }
            while row != NO_ROW && candidates.len() + pads < self.limit {
                if self.wants(row) {
                    candidates.push(end.position as u32, row);
                }
                row = self.index.next_row(row);
            }
            if row != NO_ROW {
                end.candidate = Some(row);
                return end;
            }
            end = End {
                position: end.position + 1,
                candidate: None,
            };
        }
        end
    }

    /// Emits, marks and pads for the probe rows from the cursor to `end`, and moves the cursor.
    fn settle(
        &self,
        cursor: &mut ProbeCursor,
        end: &End,
        candidates: &JoinPairs,
        passed: &BooleanArray,
        out: &mut JoinPairs,
    ) {
        let mut judged = 0;
        while cursor.position < end.position {
            self.settle_row(cursor, candidates, passed, &mut judged, out);
            if !cursor.has_matched && self.emits_unmatched() {
                self.emit_unmatched(cursor.position, out);
            }
            cursor.advance();
        }
        if end.candidate.is_some() {
            self.settle_row(cursor, candidates, passed, &mut judged, out);
            cursor.candidate = end.candidate;
            if cursor.has_matched && self.needs_one_match() {
                cursor.advance();
            }
        }
    }

    /// Takes the judged candidates of the cursor's probe row.
    fn settle_row(
        &self,
        cursor: &mut ProbeCursor,
        candidates: &JoinPairs,
        passed: &BooleanArray,
        judged: &mut usize,
        out: &mut JoinPairs,
    ) {
        while let Some(&probe) = candidates.probe.get(*judged)
            && probe as usize == cursor.position
        {
            let row = candidates.build[*judged];
            if passed.is_valid(*judged) && passed.value(*judged) {
                if let Some(visited) = self.visited {
                    visited.mark(row);
                }
                if self.kind.emits_pairs() {
                    out.push(probe, row);
                } else if self.kind == JoinKind::LeftSemi && !cursor.has_matched {
                    out.probe.push(probe);
                }
                cursor.has_matched = true;
            }
            *judged += 1;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the number of heads was checked")]
    fn emit_unmatched(&self, position: usize, out: &mut JoinPairs) {
        out.probe.push(position as u32);
        if self.kind.pads_probe() {
            out.build.push(NO_ROW);
        }
    }
}

//! Rows of a star join: a probe position and a row id for each arm.

use std::borrow::Cow;

use crate::RowId;
use crate::gather::is_identity;

/// Holds joined rows of a star join as lists of row ids.
///
/// ```
/// use fletching_kernels::StarRows;
/// let rows = StarRows::identity(3);
/// assert_eq!((rows.len, rows.probe_position(2)), (3, Some(2)));
/// let rows = StarRows::selected(vec![5, 9]);
/// assert_eq!(rows.probe_position(1), Some(9));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StarRows {
    /// Probe positions; `None` is every probe row once, in order.
    pub probe: Option<Vec<u32>>,
    /// Row ids, a list for each arm located so far; empty for semi and anti arms.
    pub arms: Vec<Vec<RowId>>,
    /// Number of joined rows.
    pub len: usize,
}

impl StarRows {
    /// Starts from every probe row.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::StarRows::identity(3).probe, None);
    /// ```
    #[must_use]
    pub fn identity(rows: usize) -> Self {
        Self {
            probe: None,
            arms: Vec::new(),
            len: rows,
        }
    }

    /// Starts from some probe rows.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::StarRows::selected(vec![4]).len, 1);
    /// ```
    #[must_use]
    pub fn selected(positions: Vec<u32>) -> Self {
        Self {
            len: positions.len(),
            probe: Some(positions),
            arms: Vec::new(),
        }
    }

    /// Returns the probe position of a joined row.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::StarRows::identity(3).probe_position(3), None);
    /// ```
    #[must_use]
    pub fn probe_position(&self, row: usize) -> Option<u32> {
        match &self.probe {
            Some(positions) => positions.get(row).copied(),
            None => u32::try_from(row).ok().filter(|_| row < self.len),
        }
    }

    /// Adds an arm that keeps every row as it is.
    pub(super) fn push_arm(&mut self, rows: Vec<RowId>) {
        self.arms.push(rows);
    }

    /// Keeps the rows at ascending positions and adds an arm, whose row ids are given for them.
    pub(super) fn narrow(&mut self, positions: Vec<u32>, arm: Vec<RowId>) {
        if !is_identity(&positions, self.len) {
            for rows in self.arms.iter_mut().filter(|rows| !rows.is_empty()) {
                *rows = pick(rows, &positions);
            }
            self.len = positions.len();
            self.probe = Some(match &self.probe {
                Some(probe) => pick(probe, &positions),
                None => positions,
            });
        }
        self.arms.push(arm);
    }

    /// Returns the rows at some positions with an arm added, as [`narrow`](Self::narrow) without
    /// changing these; `whole` says that the positions cover these rows to their end, so that the
    /// identity may stay one.
    pub(super) fn joined(&self, positions: Cow<'_, [u32]>, arm: Vec<RowId>, whole: bool) -> Self {
        if whole && is_identity(&positions, self.len) {
            let mut rows = self.clone();
            rows.push_arm(arm);
            return rows;
        }
        let mut arms = Vec::with_capacity(self.arms.len() + 1);
        for rows in &self.arms {
            // Semi and anti arms have no rows.
            arms.push(if rows.is_empty() {
                Vec::new()
            } else {
                pick(rows, &positions)
            });
        }
        arms.push(arm);
        let len = positions.len();
        let probe = match &self.probe {
            Some(probe) => pick(probe, &positions),
            None => positions.into_owned(),
        };
        Self {
            probe: Some(probe),
            arms,
            len,
        }
    }
}

fn pick(values: &[u32], positions: &[u32]) -> Vec<u32> {
    positions
        .iter()
        .map(|position| values[*position as usize])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::StarRows;

    #[test]
    fn stays_the_identity_while_every_row_is_kept() {
        let mut rows = StarRows::identity(3);
        rows.narrow(vec![0, 1, 2], vec![7, 8, 9]);
        assert_eq!(rows.probe, None);
        rows.narrow(vec![0, 2], vec![1, 1]);
        assert_eq!(rows.probe, Some(vec![0, 2]));
        assert_eq!(rows.arms, [vec![7, 9], vec![1, 1]]);
    }

    #[test]
    fn widens_through_earlier_arms() {
        let mut rows = StarRows::selected(vec![10, 20]);
        rows.push_arm(vec![5, 6]);
        rows.push_arm(Vec::new());
        let joined = rows.joined(vec![1, 1].into(), vec![3, 4], true);
        assert_eq!(joined.probe, Some(vec![20, 20]));
        assert_eq!(joined.arms, [vec![6, 6], vec![], vec![3, 4]]);
    }
}

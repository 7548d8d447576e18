//! Fits a table's columns into a screen.

use super::cell::Cell;

/// One column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// How wide it is, without the space on either side.
    pub(crate) width: usize,
    /// Whether it is aligned to the right and never cut: half a number is a wrong number.
    pub(crate) is_number: bool,
}

/// The widths of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    columns: Vec<Column>,
    shown: usize,
    is_fitted: bool,
}

/// Text columns are cut to no less than this.
const WIDTH_MIN: usize = 10;

impl Layout {
    /// Finds widths that fit the screen: cuts the widest texts first, then leaves out columns at
    /// the end. A single column is left to the terminal, which wraps it.
    pub(crate) fn fit(mut columns: Vec<Column>, screen: Option<usize>) -> Self {
        let shown = columns.len();
        let Some(screen) = screen.filter(|_| shown > 1) else {
            return Self {
                columns,
                shown,
                is_fitted: false,
            };
        };
        let widest = columns
            .iter()
            .filter(|column| !column.is_number)
            .map(|column| column.width)
            .max();
        let mut limit = widest.unwrap_or(0).min(screen);
        while limit > WIDTH_MIN && total(&columns, limit) > screen {
            limit -= 1;
        }
        for column in columns.iter_mut().filter(|column| !column.is_number) {
            column.width = column.width.min(limit);
        }
        let fitting = (1..=shown)
            .rev()
            .find(|shown| total(&columns[..*shown], limit) <= screen);
        Self {
            columns,
            shown: fitting.unwrap_or(1),
            is_fitted: true,
        }
    }

    /// Returns the columns that are shown.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().take(self.shown)
    }

    /// Breaks a text of several lines to its column, where there is a screen to fit.
    pub(crate) fn wrap(&self, cell: &Cell, column: &Column) -> Cell {
        if self.is_fitted {
            cell.wrapped(column.width)
        } else {
            cell.clone()
        }
    }

    /// Returns the least width that a cell gets, be its column narrower: where there is no screen
    /// to fit nothing is cut, though a row may then stand out of line.
    pub(crate) fn width_min(&self, cell: &Cell) -> usize {
        if self.is_fitted { 0 } else { cell.width() }
    }
}

/// Returns how much of a screen columns take where texts are cut at `limit`.
fn total(columns: &[Column], limit: usize) -> usize {
    let width = |column: &Column| {
        if column.is_number {
            column.width
        } else {
            column.width.min(limit)
        }
    };
    columns
        .iter()
        .map(|column| width(column) + 3)
        .sum::<usize>()
        .saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(columns: &[(usize, bool)], screen: usize) -> Vec<usize> {
        let columns = columns.iter().map(|(width, is_number)| Column {
            width: *width,
            is_number: *is_number,
        });
        Layout::fit(columns.collect(), Some(screen))
            .shown()
            .map(|column| column.width)
            .collect()
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(fit(&[(30, false), (30, true)], 80), [30, 30]);
        assert_eq!(fit(&[(200, false)], 80), [200]);
    }

    #[test]
    fn the_widest_texts_are_cut_first_and_numbers_never() {
        assert_eq!(fit(&[(20, false), (90, false), (20, true)], 80), [20, 32, 20]);
    }

    #[test]
    fn columns_that_do_not_fit_at_all_are_left_out() {
        assert_eq!(fit(&[(20, true); 5], 80), [20, 20, 20]);
        assert_eq!(fit(&[(90, true), (5, true)], 80), [90]);
    }
}

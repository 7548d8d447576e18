//! Compares the rows a query gave with those its record expects.
//!
//! Expected results come in three shapes, told apart by their number of lines:
//!
//! ```text
//!  row per line      1 a          rows lines; cells by tabs, or by blanks where that fits
//!  value per line    1            rows × columns lines
//!                    a
//!  digest            30 values hashing to 3c13dee4…
//! ```
//!
//! Text is compared as text. Floats are compared as numbers, and so is any column whose record
//! says `R`: there `1.5` is `1.50`. Booleans may be written `1` and `0`.

use arrow::datatypes::DataType;
use sqllogictest::{DefaultColumnType as Declared, SortMode};

use super::hash;
use super::show::{Shown, show_float};

/// What a query's record expects.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) types: &'a [Declared],
    pub(super) sort: SortMode,
    pub(super) lines: &'a [String],
    /// `control resultmode valuewise`.
    pub(super) is_value_wise: bool,
    /// The file is one of SQLite's: values are printed by the declared types, as SQLite does.
    pub(super) is_sqlite: bool,
}

/// Returns a report of the difference where there is one.
pub(super) fn compare(expected: &Expected<'_>, shown: &Shown) -> Result<(), String> {
    let columns = shown.types.len();
    if !expected.types.is_empty() && expected.types.len() != columns {
        return Err(format!(
            "expected {} columns, found {columns}",
            expected.types.len()
        ));
    }
    let found = sorted(printed(expected, shown, expected.is_sqlite), expected.sort);
    if let [line] = expected.lines
        && let Some(wanted) = hash::parse(line)
    {
        // Of a digest one cannot see whose printing it is of.
        let is_printed = |as_sqlite| {
            let rows = sorted(printed(expected, shown, as_sqlite), expected.sort);
            let values = rows.iter().flatten().map(String::as_str);
            (values.clone().count(), hash::digest(values).as_str()) == wanted
        };
        return if is_printed(true) || is_printed(false) {
            Ok(())
        } else {
            Err(report(expected.lines, &found))
        };
    }
    let wanted = match cells(expected, shown.rows.len(), columns) {
        Some(rows) => sorted(canonical(expected, shown, rows), expected.sort),
        None => return compare_lines(expected, &found),
    };
    let found = sorted(canonical(expected, shown, found.clone()), expected.sort);
    let is_value_sorted = expected.sort == SortMode::ValueSort;
    let same_cell = |at: usize, left: &str, right: &str| {
        let (kind, declared) = if is_value_sorted {
            (None, None)
        } else {
            (shown.types.get(at), expected.types.get(at))
        };
        is_same(kind, declared, left, right)
    };
    let same_row = |left: &[String], right: &[String]| {
        left.len() == right.len()
            && left
                .iter()
                .zip(right)
                .enumerate()
                .all(|(at, (left, right))| same_cell(at, left, right))
    };
    let is_equal = wanted.len() == found.len()
        && wanted
            .iter()
            .zip(&found)
            .all(|(left, right)| same_row(left, right));
    if is_equal {
        Ok(())
    } else {
        Err(report(expected.lines, &found))
    }
}

/// Returns the canonical text of a result, by which queries of one label are compared.
pub(super) fn fingerprint(sort: SortMode, shown: &Shown) -> Vec<String> {
    sorted(shown.rows.clone(), sort).into_iter().flatten().collect()
}

/// Compares line by line and word by word, where cells cannot be told apart. Words that are
/// numbers compare as numbers: other engines leave the zeros at a decimal's end away.
fn compare_lines(expected: &Expected<'_>, found: &[Vec<String>]) -> Result<(), String> {
    let words = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let wanted: Vec<_> = expected.lines.iter().map(|line| words(line)).collect();
    let lines: Vec<_> = found.iter().map(|row| words(&row.join(" "))).collect();
    let (wanted, lines) = (sorted(wanted, expected.sort), sorted(lines, expected.sort));
    let same_line = |left: &Vec<String>, right: &Vec<String>| {
        left.len() == right.len()
            && left
                .iter()
                .zip(right)
                .all(|(left, right)| is_same(None, None, left, right))
    };
    if wanted.len() == lines.len()
        && wanted
            .iter()
            .zip(&lines)
            .all(|(left, right)| same_line(left, right))
    {
        Ok(())
    } else {
        Err(report(expected.lines, found))
    }
}

/// Prints cells as they are, or by their declared types as SQLite does.
fn printed(expected: &Expected<'_>, shown: &Shown, as_sqlite: bool) -> Vec<Vec<String>> {
    if !as_sqlite {
        return shown.rows.clone();
    }
    let print = |(at, cell): (usize, &String)| match (expected.types.get(at), cell.as_str()) {
        (_, "NULL" | "(empty)") => cell.clone(),
        (Some(Declared::Integer), "true") => "1".to_string(),
        (Some(Declared::Integer), "false") => "0".to_string(),
        (Some(Declared::Integer), text) => match text.parse::<f64>() {
            Ok(_) => text.split('.').next().unwrap_or(text).to_string(),
            Err(_) => "0".to_string(),
        },
        (Some(Declared::FloatingPoint), text) => match text.parse::<f64>() {
            Ok(value) => format!("{value:.3}"),
            Err(_) => text.to_string(),
        },
        _ => cell.clone(),
    };
    shown
        .rows
        .iter()
        .map(|row| row.iter().enumerate().map(print).collect())
        .collect()
}

fn sorted(mut rows: Vec<Vec<String>>, sort: SortMode) -> Vec<Vec<String>> {
    match sort {
        SortMode::NoSort => {}
        SortMode::RowSort => rows.sort(),
        SortMode::ValueSort => {
            rows = rows.into_iter().flatten().map(|value| vec![value]).collect();
            rows.sort();
        }
    }
    rows
}

/// Cuts the expected lines into rows of cells.
fn cells(expected: &Expected<'_>, rows: usize, columns: usize) -> Option<Vec<Vec<String>>> {
    let lines = expected.lines;
    if columns == 0 {
        return Some(lines.iter().map(|line| vec![line.clone()]).collect());
    }
    let is_value_wise = expected.is_value_wise || lines.len() == rows * columns;
    if columns == 1 || (is_value_wise && lines.len().is_multiple_of(columns)) {
        return Some(lines.chunks(columns).map(<[String]>::to_vec).collect());
    }
    let by_tabs = |line: &String| {
        line.trim_end_matches('\t')
            .split('\t')
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let by_blanks = |line: &String| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let cut = |cut: &dyn Fn(&String) -> Vec<String>| {
        let rows: Vec<_> = lines.iter().map(cut).collect();
        rows.iter().all(|row| row.len() == columns).then_some(rows)
    };
    cut(&by_tabs).or_else(|| cut(&by_blanks))
}

/// Gives cells that mean the same the same text, so that they sort alike.
fn canonical(expected: &Expected<'_>, shown: &Shown, rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let columns = shown.types.len();
    rows.into_iter()
        .map(|row| {
            let is_whole = row.len() == columns;
            row.into_iter()
                .enumerate()
                .map(|(at, cell)| {
                    let kind = shown.types.get(at).filter(|_| is_whole);
                    canonical_cell(kind, expected.types.get(at), &cell)
                })
                .collect()
        })
        .collect()
}

fn canonical_cell(kind: Option<&DataType>, declared: Option<&Declared>, cell: &str) -> String {
    let cell = cell.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_number =
        matches!(kind, Some(kind) if kind.is_floating()) || declared == Some(&Declared::FloatingPoint);
    match kind {
        Some(DataType::Boolean) => match cell.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => "true".into(),
            "0" | "f" | "false" => "false".into(),
            _ => cell,
        },
        Some(DataType::Timestamp(..) | DataType::Date64) => cell.replacen(' ', "T", 1),
        _ if is_number && cell.len() <= 15 => cell.parse::<f64>().map_or(cell, show_float),
        Some(DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) if cell.is_empty() => {
            "(empty)".into()
        }
        _ => cell,
    }
}

fn is_same(kind: Option<&DataType>, declared: Option<&Declared>, left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    let is_float = kind.is_none_or(DataType::is_floating);
    let is_real = declared == Some(&Declared::FloatingPoint);
    let (Ok(a), Ok(b)) = (left.parse::<f64>(), right.parse::<f64>()) else {
        return false;
    };
    if !(is_float || is_real) {
        return false;
    }
    let distance = (a - b).abs();
    // Sums of floats depend on their order in the last digits; SQLite and others print three
    // decimals of a real.
    distance <= 1e-9 * a.abs().max(b.abs()) || is_real && distance <= shown_precision(left, right)
}

/// Half of the last digit that the shorter of two numbers shows, where it shows three or more.
fn shown_precision(left: &str, right: &str) -> f64 {
    let decimals = |text: &str| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    match i32::try_from(decimals(left).min(decimals(right))) {
        Ok(digits @ 3..) => 0.5000001 * 10f64.powi(-digits),
        _ => 0.0,
    }
}

fn report(expected: &[String], found: &[Vec<String>]) -> String {
    const LINES_MAX: usize = 20;
    let shorten = |lines: Vec<String>| {
        let more = lines.len().saturating_sub(LINES_MAX);
        let mut text: Vec<String> = lines
            .into_iter()
            .take(LINES_MAX)
            .map(|line| format!("  {line}"))
            .collect();
        if more > 0 {
            text.push(format!("  … and {more} more"));
        }
        text.join("\n")
    };
    let found: Vec<String> = found.iter().map(|row| row.join(" ")).collect();
    format!(
        "expected {} lines:\n{}\nfound {} rows:\n{}",
        expected.len(),
        shorten(expected.to_vec()),
        found.len(),
        shorten(found)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(
        declared: &str,
        kinds: &[DataType],
        rows: &[&[&str]],
        sort: SortMode,
        lines: &[&str],
    ) -> bool {
        use sqllogictest::ColumnType;
        let types: Vec<_> = declared.chars().filter_map(Declared::from_char).collect();
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let rows = rows
            .iter()
            .map(|row| row.iter().map(ToString::to_string).collect())
            .collect();
        let shown = Shown {
            types: kinds.to_vec(),
            rows,
        };
        let expected = Expected {
            types: &types,
            sort,
            lines: &lines,
            is_value_wise: false,
            is_sqlite: false,
        };
        compare(&expected, &shown).is_ok()
    }

    const INT: DataType = DataType::Int64;
    const TEXT: DataType = DataType::Utf8View;

    #[test]
    fn rows_and_values_are_told_apart() {
        let rows: &[&[&str]] = &[&["1", "a"], &["2", "b"]];
        for lines in [&["1 a", "2 b"][..], &["1\ta", "2\tb"], &["1", "a", "2", "b"]] {
            assert!(
                compared("IT", &[INT, TEXT], rows, SortMode::NoSort, lines),
                "{lines:?}"
            );
        }
        assert!(!compared(
            "IT",
            &[INT, TEXT],
            rows,
            SortMode::NoSort,
            &["2 b", "1 a"]
        ));
        assert!(compared(
            "IT",
            &[INT, TEXT],
            rows,
            SortMode::RowSort,
            &["2 b", "1 a"]
        ));
        assert!(!compared("IT", &[INT, TEXT], rows, SortMode::RowSort, &["1 a"]));
    }

    #[test]
    fn texts_with_blanks_compare_as_lines() {
        let rows: &[&[&str]] = &[&["1", "a b"]];
        assert!(compared("IT", &[INT, TEXT], rows, SortMode::NoSort, &["1 a b"]));
        assert!(!compared("IT", &[INT, TEXT], rows, SortMode::NoSort, &["1 a c"]));
    }

    #[test]
    fn a_scale_counts_as_text_and_not_as_a_real() {
        let decimal = DataType::Decimal128(10, 2);
        assert!(!compared(
            "T",
            std::slice::from_ref(&decimal),
            &[&["1.50"]],
            SortMode::NoSort,
            &["1.5"]
        ));
        assert!(compared(
            "R",
            std::slice::from_ref(&decimal),
            &[&["1.50"]],
            SortMode::NoSort,
            &["1.5"]
        ));
        assert!(!compared(
            "R",
            &[decimal],
            &[&["1.51"]],
            SortMode::NoSort,
            &["1.5"]
        ));
        assert!(compared(
            "R",
            &[DataType::Float64],
            &[&["0.3333333333333333"]],
            SortMode::NoSort,
            &["0.333"]
        ));
    }

    #[test]
    fn booleans_may_be_numbers() {
        let rows: &[&[&str]] = &[&["true"], &["false"]];
        assert!(compared(
            "I",
            &[DataType::Boolean],
            rows,
            SortMode::NoSort,
            &["1", "0"]
        ));
        assert!(compared(
            "B",
            &[DataType::Boolean],
            rows,
            SortMode::NoSort,
            &["true", "false"]
        ));
        assert!(!compared(
            "I",
            &[DataType::Boolean],
            rows,
            SortMode::NoSort,
            &["0", "1"]
        ));
    }

    #[test]
    fn values_sort_over_columns() {
        let rows: &[&[&str]] = &[&["3", "1"], &["2", "0"]];
        assert!(compared(
            "II",
            &[INT, INT],
            rows,
            SortMode::ValueSort,
            &["0", "1", "2", "3"]
        ));
        let digest = "4 values hashing to e5f08d98bf18385e2f26b904cad23c734d530ffb";
        assert!(!compared("II", &[INT, INT], rows, SortMode::ValueSort, &[digest]));
    }
}

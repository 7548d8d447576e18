//! Numbers as a person reads them.

use std::time::Duration;

/// Writes a whole number with its thousands apart, as in `336,776`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a number and its noun, as in `1 row` and `2 rows`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// Writes about how many, as in `3.4M`.
pub(crate) fn about(number: f64) -> String {
    const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match STEPS.iter().find(|(step, _)| number >= *step) {
        Some((step, letter)) if number / step >= 100.0 => format!("{:.0}{letter}", number / step),
        Some((step, letter)) => format!("{:.1}{letter}", number / step),
        None => format!("{number:.0}"),
    }
}

/// Writes a time span, as in `0.412 s` and `2 min 5 s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.3} s")
    } else if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        rough_duration(time)
    }
}

/// Writes a time span to the second, as in `9 s` and `1 h 2 min`.
pub(crate) fn rough_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..100 => format!("{seconds} s"),
        100..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 999, 1000, 336_776, 1_000_000].map(count),
            ["0", "999", "1,000", "336,776", "1,000,000"]
        );
        assert_eq!(
            (counted(1, "row"), counted(0, "row")),
            ("1 row".into(), "0 rows".into())
        );
    }

    #[test]
    fn large_numbers_are_rounded() {
        assert_eq!(
            [7.0, 1234.0, 456_000.0, 2.5e9].map(about),
            ["7", "1.2k", "456k", "2.5G"]
        );
    }

    #[test]
    fn time_spans_keep_three_figures() {
        let spans = [0.0042, 12.34, 125.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(spans, ["0.004 s", "12.3 s", "2 min 5 s"]);
        assert_eq!(rough_duration(Duration::from_secs(3_725)), "1 h 2 min");
    }
}

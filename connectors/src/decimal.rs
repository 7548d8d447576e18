//! Reads decimal text exactly: no float on the way, no digit lost in silence.

use arrow::datatypes::i256;

/// Why text is not a decimal of a given precision and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecimalFault {
    /// It is not a number.
    NotANumber,
    /// It has more digits after the point than the scale holds, and they are not zeros.
    TooFine,
    /// It has more digits before the point than the precision leaves.
    TooLarge,
}

/// The parts of a decimal's text, before any arithmetic.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// How large an exponent may be before the number is certainly out of range.
const EXPONENT_MAX: i64 = 1 << 20;

fn parts(text: &str) -> Option<Parts<'_>> {
    let bytes = text.trim_ascii().as_bytes();
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let (mantissa, exponent) = match bytes.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&bytes[..at], exponent(&bytes[at + 1..])?),
        None => (bytes, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    (all_digits && whole.len() + fraction.len() > 0).then_some(Parts {
        negative,
        whole,
        fraction,
        exponent,
    })
}

fn exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |sum, digit| {
        (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX)
    });
    Some(if negative { -value } else { value })
}

/// Feeds the digits of `text × 10^scale`, most significant first and without leading zeros, to
/// `push`, and returns whether the number is negative.
fn scaled_digits(
    text: &str,
    precision: u8,
    scale: i8,
    mut push: impl FnMut(u8),
) -> Result<bool, DecimalFault> {
    let parts = parts(text).ok_or(DecimalFault::NotANumber)?;
    let length = parts.whole.len() + parts.fraction.len();
    let digit = |at: usize| match at.checked_sub(parts.whole.len()) {
        None => parts.whole[at] - b'0',
        Some(at) => parts.fraction[at] - b'0',
    };
    let Some(first) = (0..length).find(|at| digit(*at) != 0) else {
        return Ok(false);
    };
    // The text's digits, shifted by `shift` places, are the scaled number.
    let shift = parts.exponent + i64::from(scale) - parts.fraction.len() as i64;
    let kept = length as i64 + shift.min(0);
    let surplus = usize::try_from(kept.max(0)).unwrap_or(length);
    if (surplus.max(first)..length).any(|at| digit(at) != 0) {
        return Err(DecimalFault::TooFine);
    }
    if kept - (first as i64) + shift.max(0) > i64::from(precision) {
        return Err(DecimalFault::TooLarge);
    }
    (first..surplus).for_each(|at| push(digit(at)));
    (0..shift.max(0)).for_each(|_| push(0));
    Ok(parts.negative)
}

/// How many digits fit 64 bits whatever they are.
const SHORT_DIGITS: usize = 18;

/// Reads the common case in one pass: a few digits, no exponent, no more digits after the point
/// than the scale holds. `None` leaves everything else, also every fault, to the full parser.
fn parse_short(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        bytes => (false, bytes),
    };
    if digits.is_empty() || digits.len() > SHORT_DIGITS {
        return None;
    }
    let mut value = 0_u64;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() && digits.len() > 1 => point = Some(at),
            _ => return None,
        }
    }
    let fraction = point.map_or(0, |point| digits.len() - point - 1);
    let zeros = u32::from(u8::try_from(scale).ok()?).checked_sub(u32::try_from(fraction).ok()?)?;
    let scaled = i128::from(value).checked_mul(10_i128.checked_pow(zeros)?)?;
    if scaled >= 10_i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(if negative { -scaled } else { scaled })
}

/// Reads text as a decimal of at most 38 digits, scaled to an integer.
pub(crate) fn parse_i128(text: &str, precision: u8, scale: i8) -> Result<i128, DecimalFault> {
    if let Some(value) = parse_short(text, precision, scale) {
        return Ok(value);
    }
    let mut value = 0_i128;
    let negative = scaled_digits(text, precision.min(38), scale, |digit| {
        value = value.wrapping_mul(10).wrapping_add(i128::from(digit));
    })?;
    Ok(if negative { -value } else { value })
}

/// Reads text as a decimal of at most 76 digits, scaled to an integer.
pub(crate) fn parse_i256(text: &str, precision: u8, scale: i8) -> Result<i256, DecimalFault> {
    let ten = i256::from_i128(10);
    let mut value = i256::ZERO;
    let negative = scaled_digits(text, precision.min(76), scale, |digit| {
        value = value
            .wrapping_mul(ten)
            .wrapping_add(i256::from_i128(i128::from(digit)));
    })?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_kept_exactly() {
        assert_eq!(parse_i128("12.5", 9, 2), Ok(1250));
        assert_eq!(parse_i128("-0.07", 9, 2), Ok(-7));
        assert_eq!(parse_i128(".5", 9, 1), Ok(5));
        assert_eq!(parse_i128("5.", 9, 1), Ok(50));
        assert_eq!(parse_i128("+007", 3, 0), Ok(7));
        assert_eq!(parse_i128("0", 1, 1), Ok(0));
        assert_eq!(
            parse_i128("99999999999999999999999999999999999999", 38, 0),
            Ok(10_i128.pow(38) - 1)
        );
    }

    #[test]
    fn surplus_zeros_pass_and_surplus_digits_do_not() {
        assert_eq!(parse_i128("1.2300", 9, 2), Ok(123));
        assert_eq!(parse_i128("1.2301", 9, 2), Err(DecimalFault::TooFine));
        assert_eq!(parse_i128("0.001", 9, 2), Err(DecimalFault::TooFine));
        assert_eq!(parse_i128("1e-400000000000", 9, 2), Err(DecimalFault::TooFine));
    }

    #[test]
    fn exponents_shift_the_point() {
        assert_eq!(parse_i128("1.5e3", 9, 2), Ok(150_000));
        assert_eq!(parse_i128("15E-1", 9, 2), Ok(150));
        assert_eq!(
            parse_i128("1e99999999999999999999", 38, 0),
            Err(DecimalFault::TooLarge)
        );
        assert_eq!(parse_i128("0e99", 3, 0), Ok(0));
        assert_eq!(parse_i128("1200", 4, -2), Ok(12));
        assert_eq!(parse_i128("1250", 4, -2), Err(DecimalFault::TooFine));
    }

    #[test]
    fn the_precision_is_a_bound() {
        assert_eq!(parse_i128("9999.99", 6, 2), Ok(999_999));
        assert_eq!(parse_i128("10000.00", 6, 2), Err(DecimalFault::TooLarge));
        assert_eq!(parse_i128(&"9".repeat(400), 38, 0), Err(DecimalFault::TooLarge));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", ".", "-", "1.2.3", "12a", "0x1", "1e", "e5", "--1", "1 2"] {
            assert_eq!(parse_i128(text, 38, 0), Err(DecimalFault::NotANumber), "{text}");
        }
    }

    #[test]
    fn the_short_way_agrees_with_the_full_parser() {
        let texts = [
            "0",
            "-0",
            "1",
            ".5",
            "5.",
            "-12.34",
            "1.",
            ".",
            "-",
            "1.2.3",
            "00012.50",
            "123456789012345678",
        ];
        for text in texts {
            for (precision, scale) in [(38, 0), (38, 2), (9, 2), (2, 2), (1, 1), (38, 38), (5, -2)] {
                let full = parse_i256(text, precision, scale).map(|value| value.to_string());
                let short = parse_i128(text, precision, scale).map(|value| value.to_string());
                assert_eq!(short, full, "{text} as DECIMAL({precision}, {scale})");
            }
        }
    }

    #[test]
    fn long_decimals_fit_256_bits() {
        let text = "9".repeat(76);
        assert_eq!(parse_i256(&text, 76, 0).map(|value| value.to_string()), Ok(text));
        assert_eq!(parse_i256("-1.5", 76, 1), Ok(i256::from_i128(-15)));
    }
}

//! Exact decimals, with a limit on their size.
//!
//! A decimal is a whole coefficient times a power of ten. Both are bounded by [`MAX_DIGITS`], so a
//! hostile `1e999999999` is an error at once instead of a gigabyte of zeros later. Nothing that
//! fits a chain's 256 bits (78 digits) is anywhere near the limit.

pub use bigdecimal::BigDecimal;
pub use num_bigint::BigInt;
use num_bigint::Sign;
use num_traits::{Signed, Zero};

use crate::error::excerpt;
use crate::value::Value;

/// Most digits in a coefficient, and the largest exponent of ten either way.
pub const MAX_DIGITS: usize = 10_000;

/// Decimal places of a quotient when none are asked for.
pub const DEFAULT_DIVISION_PLACES: i32 = 16;

/// Whether the decimal is within the limits all of this crate keeps.
pub fn fits(number: &BigDecimal) -> bool {
    let (digits, scale) = number.as_bigint_and_scale();
    let limit = MAX_DIGITS as u64;
    scale.unsigned_abs() <= limit && digits.bits() <= limit * 3_322 / 1_000 // a digit is 3.3219 bits
}

/// Reads `12`, `-1.50`, `.5`, `5.`, `1e18`: no spaces, no hex, no separators.
pub fn parse(text: &str) -> Result<BigDecimal, String> {
    let refuse = |why: &str| {
        Err(format!(
            "can't convert {:?} to decimal: {why}",
            excerpt(text, 60)
        ))
    };
    let (number, exponent) = match text.find(['e', 'E']) {
        Some(at) => match text[at + 1..].parse::<i64>() {
            Ok(exponent) => (&text[..at], exponent),
            Err(_) => return refuse("exponent is not numeric"),
        },
        None => (text, 0),
    };
    let (sign, digits) = match number.as_bytes().first() {
        Some(b'-') => (Sign::Minus, &number[1..]),
        Some(b'+') => (Sign::Plus, &number[1..]),
        _ => (Sign::Plus, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let only_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !only_digits(whole) || !only_digits(fraction) {
        return refuse("it is not a decimal number");
    }
    // Written out, a number may have as many zeros again as it has digits.
    if whole.len() + fraction.len() > 2 * MAX_DIGITS + 1 {
        return refuse("it has too many digits");
    }
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let surplus = significant.len().saturating_sub(MAX_DIGITS);
    let (kept, zeros) = significant.split_at(significant.len() - surplus);
    if zeros.bytes().any(|b| b != b'0') {
        return refuse("it has too many digits");
    }
    let scale = (fraction.len() as i64)
        .saturating_sub(exponent)
        .saturating_sub(surplus as i64);
    if scale.unsigned_abs() > MAX_DIGITS as u64 {
        return refuse("its exponent is too large");
    }
    let magnitude = parse_int(if kept.is_empty() { "0" } else { kept });
    match magnitude {
        Some(n) if sign == Sign::Minus => Ok(BigDecimal::new(-n, scale)),
        Some(n) => Ok(BigDecimal::new(n, scale)),
        None => refuse("it is not a decimal number"),
    }
}

/// A whole number of bounded length.
pub(crate) fn parse_int(text: &str) -> Option<BigInt> {
    if text.len() > MAX_DIGITS + 1 {
        return None;
    }
    text.parse().ok()
}

/// The number a value stands for, where one does.
pub fn from_value(value: &Value) -> Result<BigDecimal, String> {
    Ok(match value {
        Value::Int(i) => BigDecimal::from(*i),
        Value::Uint(u) => BigDecimal::from(*u),
        Value::BigInt(n) => BigDecimal::new(n.clone(), 0),
        Value::Decimal(d) => d.clone(),
        Value::String(s) => parse(s)?,
        // Shortest digits that read back the same: what the number looked like in its source.
        Value::Float(f) if f.is_finite() => parse(&format!("{f:e}"))?,
        Value::Float(_) => return Err("an infinite or undefined number is no decimal".to_owned()),
        other => return Err(format!("expected a number, got {}", other.kind())),
    })
}

/// Without exponent and without trailing zeros.
pub fn to_text(number: &BigDecimal) -> String {
    let (digits, scale) = number.as_bigint_and_scale();
    if digits.is_zero() {
        return "0".to_owned();
    }
    let sign = if digits.is_negative() { "-" } else { "" };
    let mut text = digits.magnitude().to_string();
    if scale <= 0 {
        text.extend(std::iter::repeat_n('0', scale.unsigned_abs() as usize));
        return format!("{sign}{text}");
    }
    let places = scale as usize;
    if text.len() <= places {
        text.insert_str(0, &"0".repeat(places + 1 - text.len()));
    }
    let (whole, fraction) = text.split_at(text.len() - places);
    let fraction = fraction.trim_end_matches('0');
    match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

/// The quotient rounded half away from zero to `places` decimal places (negative: to tens,
/// hundreds, …). `None` when it would be larger than we hold. The divisor must not be zero.
pub fn divide(dividend: &BigDecimal, divisor: &BigDecimal, places: i32) -> Option<BigDecimal> {
    if i64::from(places).unsigned_abs() > MAX_DIGITS as u64 {
        return None;
    }
    let (a, a_scale) = dividend.as_bigint_and_scale();
    let (b, b_scale) = divisor.as_bigint_and_scale();
    // dividend / divisor · 10^places = a/b · 10^shift
    let shift = b_scale - a_scale + i64::from(places);
    let power = BigInt::from(10).pow(u32::try_from(shift.unsigned_abs()).ok()?);
    let (numerator, denominator) = if shift >= 0 {
        (a.as_ref() * power, b.into_owned())
    } else {
        (a.into_owned(), b.as_ref() * power)
    };
    let quotient = BigDecimal::new(round_half_away(&numerator, &denominator), i64::from(places));
    fits(&quotient).then_some(quotient)
}

fn round_half_away(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let quotient = numerator / denominator;
    let remainder = numerator % denominator;
    if remainder.magnitude() * 2u8 < *denominator.magnitude() {
        return quotient;
    }
    if numerator.is_negative() == denominator.is_negative() {
        quotient + 1
    } else {
        quotient - 1
    }
}

/// The whole part: `-1.9` becomes `-1`.
pub fn truncate(number: &BigDecimal) -> BigInt {
    let (digits, scale) = number.as_bigint_and_scale();
    let Ok(exponent) = u32::try_from(scale.unsigned_abs()) else {
        return BigInt::zero();
    };
    let power = BigInt::from(10).pow(exponent);
    if scale <= 0 {
        digits.as_ref() * power
    } else {
        digits.as_ref() / power
    }
}

/// The whole number a value stands for, or nothing when it has a fraction.
pub(crate) fn to_whole(number: &BigDecimal) -> Option<BigInt> {
    let whole = truncate(number);
    (BigDecimal::new(whole.clone(), 0) == *number).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> BigDecimal {
        parse(text).unwrap()
    }

    #[test]
    fn decimals_print_without_exponent_and_trailing_zeros() {
        for (given, text) in [
            ("1e3", "1000"),
            ("1.500", "1.5"),
            ("-0.0", "0"),
            ("-.05", "-0.05"),
            ("5.", "5"),
            ("100", "100"),
            ("1e-3", "0.001"),
            ("123.456E+1", "1234.56"),
            ("-120e-1", "-12"),
        ] {
            assert_eq!(to_text(&d(given)), text, "{given}");
        }
    }

    #[test]
    fn what_is_not_a_decimal_is_refused() {
        for text in [
            "",
            ".",
            "-",
            "+",
            "1.2.3",
            "0x10",
            " 1",
            "1 ",
            "1e",
            "e5",
            "1e1.5",
            "1_000",
            "NaN",
            "--1",
            "1e999999999",
            "1e99999999999999999999",
        ] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
        assert!(parse(&"1".repeat(1_000_000)).is_err());
    }

    #[test]
    fn whatever_is_written_is_read_again() {
        let nines = |count: usize| "9".repeat(count);
        for text in [
            format!("{}e9999", nines(31)),
            format!("{}e-10000", nines(31)),
            format!("10e{MAX_DIGITS}"),
            format!("{}e{MAX_DIGITS}", nines(MAX_DIGITS)),
            format!("{}e-{MAX_DIGITS}", nines(MAX_DIGITS)),
            format!("-1e-{MAX_DIGITS}"),
        ] {
            let number = d(&text);
            assert_eq!(parse(&to_text(&number)), Ok(number));
        }
        assert!(parse(&nines(MAX_DIGITS + 1)).is_err());
        assert!(parse(&format!("{}0", nines(MAX_DIGITS + 1))).is_err());
        assert!(parse(&"0".repeat(100_000)).is_err());
    }

    #[test]
    fn quotients_round_half_away_from_zero() {
        for (a, b, places, text) in [
            ("1", "3", 16, "0.3333333333333333"),
            ("2", "3", 16, "0.6666666666666667"),
            ("1", "8", 2, "0.13"),
            ("-1", "8", 2, "-0.13"),
            ("1", "-8", 2, "-0.13"),
            ("-1", "-8", 2, "0.13"),
            ("1250", "1", -2, "1300"),
            ("1249", "1", -2, "1200"),
            ("5", "1", -1, "10"),
            ("4", "1", -1, "0"),
            ("1e20", "1e-5", 0, "10000000000000000000000000"),
        ] {
            assert_eq!(
                to_text(&divide(&d(a), &d(b), places).unwrap()),
                text,
                "{a}/{b}"
            );
        }
        assert!(divide(&d("1"), &d("3"), i32::MAX).is_none());
    }

    #[test]
    fn truncation_is_toward_zero() {
        assert_eq!(truncate(&d("-1.9")), BigInt::from(-1));
        assert_eq!(truncate(&d("1.9")), BigInt::from(1));
        assert_eq!(truncate(&d("1e3")), BigInt::from(1000));
    }
}

//! Numbers as JSON writes them.

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::Value;
use crate::decimal::MAX_DIGITS;

/// Why a number cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// More digits than anything on a chain could use.
    #[error("a number has {digits} digits, more than {MAX_DIGITS}")]
    TooLong {
        /// How many.
        digits: usize,
    },
    /// Beyond what a 64-bit floating-point number can hold.
    #[error("the number {text} is out of range")]
    OutOfRange {
        /// The number, shortened.
        text: String,
    },
}

/// Reads the text of a JSON number: whole numbers exactly, anything with a fraction or an exponent
/// as a float. Peers in a network read it so, and their answers must agree.
pub(super) fn read_number(text: &str) -> Result<Value, NumberError> {
    let whole = !text.contains(['.', 'e', 'E']);
    if !whole {
        return read_float(text);
    }
    if let Ok(small) = text.parse::<i64>() {
        return Ok(Value::Int(small));
    }
    if text.len() > MAX_DIGITS {
        return Err(NumberError::TooLong { digits: text.len() });
    }
    let big = text
        .parse::<BigInt>()
        .map_err(|_| NumberError::OutOfRange {
            text: crate::error::excerpt(text, 40),
        })?;
    Ok(int_value(big))
}

/// The same, with every number as a float: how a JSON text given where a map is needed is read.
pub(super) fn read_float(text: &str) -> Result<Value, NumberError> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Value::Float(number)),
        _ => Err(NumberError::OutOfRange {
            text: crate::error::excerpt(text, 40),
        }),
    }
}

/// The smallest of the integer types that holds the number.
pub(crate) fn int_value(number: BigInt) -> Value {
    if let Some(small) = number.to_i64() {
        return Value::Int(small);
    }
    match number.to_u64() {
        Some(unsigned) => Value::Uint(unsigned),
        None => Value::BigInt(number),
    }
}

/// Writes a finite float as Go's JSON encoder does: shortest digits that read back the same, with
/// an exponent only below 1e-6 and from 1e21 on, and without padding in the exponent.
pub fn go_float(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    if (1e-6..1e21).contains(&size) {
        return format!("{number}");
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => match exponent.len() {
            1 => format!("{digits}e+0{exponent}"),
            _ => format!("{digits}e+{exponent}"),
        },
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_the_go_encoder_writes_them() {
        for (number, text) in [
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
            (1e20, "100000000000000000000"),
            (0.000001, "0.000001"),
            (1.5, "1.5"),
            (-0.0, "-0"),
            (1.25e-10, "1.25e-10"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(go_float(number), text);
        }
    }

    #[test]
    fn whole_numbers_keep_every_digit_and_fractions_become_floats() {
        assert_eq!(read_number("-5"), Ok(Value::Int(-5)));
        assert_eq!(
            read_number("18446744073709551615"),
            Ok(Value::Uint(u64::MAX))
        );
        assert_eq!(
            read_number("18446744073709551616"),
            Ok(Value::BigInt(BigInt::from(u64::MAX) + 1))
        );
        assert_eq!(read_number("1e18"), Ok(Value::Float(1e18)));
        assert!(read_number("1e999999999").is_err());
        assert!(read_number(&"9".repeat(10_000_000)).is_err());
    }
}

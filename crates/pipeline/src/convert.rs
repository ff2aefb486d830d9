//! What a value must be where a task needs it.
//!
//! Each function takes any value and gives the wanted type or `bad input for task`. What converts
//! into what is the same as in the reference node.

use std::borrow::Cow;
use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256};
use bigdecimal::BigDecimal;
use num_bigint::BigInt;
use num_traits::ToPrimitive;

use crate::decimal;
use crate::error::{TaskError, excerpt};
use crate::value::{JsonReader, Numbers, Value};

fn unfit(wanted: &str, value: &Value) -> TaskError {
    TaskError::bad_input(format!("expected {wanted}, got {}", value.kind()))
}

/// Text as Go reads a boolean.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

pub(crate) fn string(value: &Value) -> Result<String, TaskError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(TaskError::bad_input("the bytes are not UTF-8 text")),
        },
        other => Err(unfit("a string", other)),
    }
}

/// Bytes; a string counts as hex when it starts with `0x` and is valid hex, else as its UTF-8.
pub(crate) fn bytes(value: &Value) -> Result<Cow<'_, [u8]>, TaskError> {
    match value {
        Value::String(text) => Ok(match prefixed_hex(text).map(hex::decode) {
            Some(Ok(decoded)) => Cow::Owned(decoded),
            _ => Cow::Borrowed(text.as_bytes()),
        }),
        Value::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
        Value::Null => Ok(Cow::Borrowed(&[])),
        other => Err(unfit("bytes or a string", other)),
    }
}

pub(crate) fn owned_bytes(value: &Value) -> Result<Vec<u8>, TaskError> {
    bytes(value).map(Cow::into_owned)
}

/// What follows `0x` or `0X`.
pub(crate) fn prefixed_hex(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

pub(crate) fn boolean(value: &Value) -> Result<bool, TaskError> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) => parse_bool(text).ok_or_else(|| {
            TaskError::bad_input(format!("{:?} is neither true nor false", excerpt(text, 40)))
        }),
        other => Err(unfit("true or false", other)),
    }
}

pub(crate) fn number(value: &Value) -> Result<BigDecimal, TaskError> {
    decimal::from_value(value).map_err(TaskError::bad_input)
}

pub(crate) fn uint64(value: &Value) -> Result<u64, TaskError> {
    let found = match value {
        Value::Uint(n) => Some(*n),
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::Float(f) if f.is_finite() && *f >= 0.0 && *f < 18_446_744_073_709_551_616.0 => {
            Some(*f as u64)
        }
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        Value::String(_) | Value::Float(_) => None,
        other => return Err(unfit("a whole number", other)),
    };
    found.ok_or_else(|| {
        TaskError::bad_input(format!("{} is not an unsigned 64-bit number", shown(value)))
    })
}

/// Unset where the text is blank.
pub(crate) fn maybe<T>(
    convert: impl FnOnce(&Value) -> Result<T, TaskError>,
) -> impl FnOnce(&Value) -> Result<Option<T>, TaskError> {
    move |value| match value {
        Value::String(text) if text.trim().is_empty() => Ok(None),
        other => convert(other).map(Some),
    }
}

pub(crate) fn int32(value: &Value) -> Result<i32, TaskError> {
    let found = match value {
        Value::Int(n) => i32::try_from(*n).ok(),
        Value::Uint(n) => i32::try_from(*n).ok(),
        Value::Float(f) if f.is_finite() && f.abs() < 2_147_483_648.0 => Some(*f as i32),
        Value::String(text) => text.trim().parse().ok(),
        Value::Float(_) => None,
        other => return Err(unfit("a whole number", other)),
    };
    found.ok_or_else(|| TaskError::bad_input(format!("{} is not a 32-bit integer", shown(value))))
}

/// A price in wei.
pub(crate) fn wei(value: &Value) -> Result<U256, TaskError> {
    let number = match value {
        Value::Int(n) => BigInt::from(*n),
        Value::Uint(n) => BigInt::from(*n),
        Value::BigInt(n) => n.clone(),
        Value::String(text) => decimal::parse_int(text.trim()).ok_or_else(|| {
            TaskError::bad_input(format!("{} is not a whole number", shown(value)))
        })?,
        other => return Err(unfit("a whole number", other)),
    };
    let bytes = number
        .to_biguint()
        .map(|n| n.to_bytes_be())
        .filter(|b| b.len() <= 32);
    let bytes = bytes
        .ok_or_else(|| TaskError::bad_input(format!("{} does not fit 256 bits", shown(value))))?;
    Ok(U256::from_be_slice(&bytes))
}

pub(crate) fn address(value: &Value) -> Result<Address, TaskError> {
    match value {
        Value::Address(address) => Ok(*address),
        Value::String(text) => address_text(text)
            .ok_or_else(|| TaskError::bad_input(format!("{} is not an address", shown(value)))),
        Value::Bytes(bytes) if bytes.len() == 20 => Ok(Address::from_slice(bytes)),
        // As a source of bytes, text may also arrive as such.
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(address_text)
            .ok_or_else(|| {
                TaskError::bad_input(format!("{} bytes are not an address", bytes.len()))
            }),
        other => Err(unfit("an address", other)),
    }
}

fn address_text(text: &str) -> Option<Address> {
    let digits = prefixed_hex(text).filter(|digits| digits.len() == 40)?;
    Some(Address::from_slice(&hex::decode(digits).ok()?))
}

/// A list of addresses; text is a JSON list, or one address alone.
pub(crate) fn addresses(value: &Value) -> Result<Vec<Address>, TaskError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::List(items) => items.iter().map(address).collect(),
        Value::Address(one) => Ok(vec![*one]),
        Value::String(text) if address_text(text.trim()).is_some() => {
            Ok(address_text(text.trim()).into_iter().collect())
        }
        Value::String(text) => match json_text(text.as_bytes(), Numbers::Exact)? {
            list @ Value::List(_) => addresses(&list),
            other => Err(unfit("a JSON list of addresses", &other)),
        },
        other => Err(unfit("a list of addresses", other)),
    }
}

pub(crate) fn hashes(value: &Value) -> Result<Vec<B256>, TaskError> {
    let hash = |value: &Value| {
        let raw = match value {
            Value::Hash(hash) => return Ok(*hash),
            Value::String(text) => prefixed_hex(text).and_then(|digits| hex::decode(digits).ok()),
            other => other.as_raw_bytes().map(<[u8]>::to_vec),
        };
        raw.and_then(|raw| B256::try_from(raw.as_slice()).ok())
            .ok_or_else(|| TaskError::bad_input(format!("{} is not a 32-byte hash", shown(value))))
    };
    match value {
        Value::List(items) => items.iter().map(hash).collect(),
        Value::Null => Ok(Vec::new()),
        Value::String(_) | Value::Bytes(_) => {
            match json_text(&owned_bytes(value)?, Numbers::Exact)? {
                list @ Value::List(_) => hashes(&list),
                other => Err(unfit("a JSON list of hashes", &other)),
            }
        }
        other => Err(unfit("a list of hashes", other)),
    }
}

/// A map; text is read as a JSON object with all its numbers as floats.
pub(crate) fn map(value: &Value) -> Result<BTreeMap<String, Value>, TaskError> {
    match value {
        Value::Null => Ok(Default::default()),
        Value::Map(entries) => Ok(entries.clone()),
        Value::String(_) | Value::Bytes(_) => {
            let raw = match value {
                Value::String(text) => text.as_bytes(),
                other => other.as_raw_bytes().unwrap_or_default(),
            };
            match json_text(raw, Numbers::Floats)? {
                Value::Map(entries) => Ok(entries),
                Value::Null => Ok(Default::default()),
                other => Err(unfit("a JSON object", &other)),
            }
        }
        other => Err(unfit("a map", other)),
    }
}

/// A list of strings; text is a JSON list of strings.
pub(crate) fn strings(value: &Value) -> Result<Vec<String>, TaskError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::List(items) => items.iter().map(string).collect(),
        Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        Value::String(text) => match json_text(text.as_bytes(), Numbers::Exact)? {
            list @ Value::List(_) => strings(&list),
            other => Err(unfit("a JSON list of strings", &other)),
        },
        other => Err(unfit("a list of strings", other)),
    }
}

pub(crate) fn url(value: &Value) -> Result<url::Url, TaskError> {
    let text = string(value)?;
    let parsed = url::Url::parse(&text).map_err(|e| {
        TaskError::bad_input(format!("{:?} is not a URL ({e})", excerpt(&text, 200)))
    })?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
        return Err(TaskError::bad_input(format!(
            "{:?} is not an http or https URL",
            excerpt(&text, 200)
        )));
    }
    Ok(parsed)
}

pub(crate) fn json_text(raw: &[u8], numbers: Numbers) -> Result<Value, TaskError> {
    JsonReader::new(raw, numbers)
        .first()
        .map_err(TaskError::bad_input)
}

/// A value in a message: its written form, shortened.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::List(_) | Value::Map(_) => value.kind().to_owned(),
        other => excerpt(&other.to_output_json(), 80),
    }
}

/// A whole number of any size as text for `toString`-like uses.
pub(crate) fn whole(value: &Value) -> Option<BigInt> {
    match value {
        Value::Int(n) => Some(BigInt::from(*n)),
        Value::Uint(n) => Some(BigInt::from(*n)),
        Value::BigInt(n) => Some(n.clone()),
        Value::Decimal(d) => decimal::to_whole(d),
        Value::Float(f) if f.fract() == 0.0 => f.to_i128().map(BigInt::from),
        _ => None,
    }
}

//! `lowercase`, `uppercase`, `base64encode`, `base64decode`, `hexencode`, `hexdecode`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use num_bigint::Sign;

use crate::convert::{bytes, number, prefixed_hex, string, whole};
use crate::error::TaskError;
use crate::value::Value;

use super::{AT_MOST_ONE, Task};

pub(super) fn lowercase(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    let text = task.input_param().to(string)?;
    Ok(Value::String(
        text.chars().map(|c| single(c, c.to_lowercase())).collect(),
    ))
}

pub(super) fn uppercase(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    let text = task.input_param().to(string)?;
    Ok(Value::String(
        text.chars().map(|c| single(c, c.to_uppercase())).collect(),
    ))
}

/// Letter by letter, as the reference node: a letter whose other case takes two stays as it is.
fn single(original: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => original,
    }
}

pub(super) fn base64_encode(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    let raw = task.input_param().to(text_or_bytes)?;
    Ok(Value::String(STANDARD.encode(raw)))
}

pub(super) fn base64_decode(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    let text = task.input_param().to(string)?;
    // Line breaks are allowed inside, as the reference node's decoder does.
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let raw = STANDARD
        .decode(joined)
        .map_err(|e| TaskError::bad_input(format!("not base64 ({e})")).within("input"))?;
    Ok(Value::Bytes(raw.into()))
}

pub(super) fn hex_encode(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    task.input_param().to(|value| {
        if let Ok(raw) = text_or_bytes(value) {
            return Ok(Value::String(match raw.as_slice() {
                [] => String::new(),
                raw => format!("0x{}", hex::encode(raw)),
            }));
        }
        number(value)?;
        let whole = whole(value).ok_or_else(|| TaskError::bad_input("decimal input"))?;
        match whole.sign() {
            Sign::Minus => Err(TaskError::bad_input("negative integer")),
            _ => Ok(Value::String(format!("0x{}", whole.to_str_radix(16)))),
        }
    })
}

pub(super) fn hex_decode(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    task.input_param().to(|value| {
        let text = string(value)?;
        let digits =
            prefixed_hex(&text).ok_or_else(|| TaskError::new("hex string must have prefix 0x"))?;
        let raw = hex::decode(digits)
            .map_err(|e| TaskError::bad_input(format!("not hexadecimal ({e})")))?;
        Ok(Value::Bytes(raw.into()))
    })
}

/// Text as its UTF-8, even when it starts with `0x`.
fn text_or_bytes(value: &Value) -> Result<Vec<u8>, TaskError> {
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Null => Err(TaskError::bad_input("expected text or bytes, got null")),
        other => bytes(other).map(|raw| raw.into_owned()),
    }
}

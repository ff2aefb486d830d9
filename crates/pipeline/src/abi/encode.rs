//! Values to contract data.
//!
//! A number that does not fit its type fails the task. The reference node lets wide ones wrap
//! around silently; an answer on chain is worth an error.

use std::collections::BTreeMap;

use alloy::dyn_abi::DynSolValue;
use alloy::primitives::{Address, B256, I256, U256, keccak256};
use num_bigint::{BigInt, Sign};

use super::decode::fits_signed;
use super::{Function, Type};
use crate::convert::{boolean, number, prefixed_hex, shown};
use crate::decimal;
use crate::error::{TaskError, text};
use crate::value::Value;

/// Selector (when the function has a name) and arguments.
pub(crate) fn call(
    function: &Function,
    data: &BTreeMap<String, Value>,
) -> Result<Vec<u8>, TaskError> {
    let mut values = Vec::with_capacity(function.arguments.len());
    for argument in &function.arguments {
        let value = data.get(&argument.name).ok_or_else(|| {
            TaskError::bad_input(format!("argument '{}' is missing", argument.name))
        })?;
        values.push(convert(&argument.ty, value).map_err(|e| e.within(&argument.name))?);
    }
    let mut encoded = selector(function);
    encoded.extend(DynSolValue::Tuple(values).abi_encode_params());
    Ok(encoded)
}

fn selector(function: &Function) -> Vec<u8> {
    if function.name.is_empty() {
        return Vec::new();
    }
    let types: Vec<String> = function
        .arguments
        .iter()
        .map(|a| a.ty.to_string())
        .collect();
    keccak256(format!("{}({})", function.name, types.join(",")))[..4].to_vec()
}

fn convert(ty: &Type, value: &Value) -> Result<DynSolValue, TaskError> {
    Ok(match ty {
        Type::Bool => DynSolValue::Bool(boolean(value)?),
        Type::Uint(bits) => DynSolValue::Uint(unsigned(&integer(value)?, *bits)?, *bits),
        Type::Int(bits) => DynSolValue::Int(signed(&integer(value)?, *bits)?, *bits),
        Type::Address => DynSolValue::Address(address(value)?),
        Type::FixedBytes(size) => {
            let mut word = [0; 32];
            word[..*size].copy_from_slice(&fixed(value, *size)?);
            DynSolValue::FixedBytes(B256::from(word), *size)
        }
        Type::Bytes => DynSolValue::Bytes(blob(value)?),
        Type::String => match value {
            Value::String(text) => DynSolValue::String(text.clone()),
            // A Solidity string is any bytes; both are encoded alike.
            Value::Bytes(raw) => DynSolValue::Bytes(raw.to_vec()),
            other => return Err(unfit(ty, other)),
        },
        Type::Array(inner) => DynSolValue::Array(
            elements(ty, value)?
                .iter()
                .map(|v| convert(inner, v))
                .collect::<Result<_, _>>()?,
        ),
        Type::FixedArray(inner, count) => {
            let items = elements(ty, value)?;
            if items.len() != *count {
                return Err(TaskError::bad_input(format!(
                    "{ty} takes {count} elements, got {}",
                    items.len()
                )));
            }
            DynSolValue::FixedArray(
                items
                    .iter()
                    .map(|v| convert(inner, v))
                    .collect::<Result<_, _>>()?,
            )
        }
        Type::Tuple(parts) => DynSolValue::Tuple(tuple(ty, parts, value)?),
    })
}

fn unfit(ty: &Type, value: &Value) -> TaskError {
    TaskError::bad_input(format!("{} cannot be used as {ty}", value.kind()))
}

/// Truncated toward zero.
fn integer(value: &Value) -> Result<BigInt, TaskError> {
    number(value).map(|n| decimal::truncate(&n))
}

fn overflow(number: &BigInt, ty: &str, bits: usize) -> TaskError {
    let shown = crate::error::excerpt(&number.to_string(), 90);
    TaskError::bad_input(text::OVERFLOW).within(format!("{shown} does not fit {ty}{bits}"))
}

fn unsigned(number: &BigInt, bits: usize) -> Result<U256, TaskError> {
    if number.sign() == Sign::Minus || number.bits() > bits as u64 {
        return Err(overflow(number, "uint", bits));
    }
    Ok(U256::from_be_slice(&number.magnitude().to_bytes_be()))
}

fn signed(number: &BigInt, bits: usize) -> Result<I256, TaskError> {
    if !fits_signed(number, bits) {
        return Err(overflow(number, "int", bits));
    }
    let size = I256::from_raw(U256::from_be_slice(&number.magnitude().to_bytes_be()));
    Ok(if number.sign() == Sign::Minus {
        size.wrapping_neg()
    } else {
        size
    })
}

fn address(value: &Value) -> Result<Address, TaskError> {
    let wrong = || TaskError::bad_input(format!("{} is not an address", shown(value)));
    match value {
        Value::Address(address) => Ok(*address),
        Value::String(text) => match prefixed_hex(text) {
            Some(digits) if digits.len() == 40 => hex::decode(digits)
                .map(|raw| Address::from_slice(&raw))
                .map_err(|_| wrong()),
            _ if text.len() == 20 => Ok(Address::from_slice(text.as_bytes())),
            _ => Err(wrong()),
        },
        other => match fixed(other, 20) {
            Ok(raw) => Ok(Address::from_slice(&raw)),
            Err(_) => Err(wrong()),
        },
    }
}

/// Exactly `size` bytes: text must have that many, bytes are padded on the right or cut.
fn fixed(value: &Value, size: usize) -> Result<Vec<u8>, TaskError> {
    let exact = |raw: Vec<u8>| match raw.len() {
        n if n == size => Ok(raw),
        n => Err(TaskError::bad_input(format!("takes {size} bytes, got {n}"))),
    };
    if let Value::String(text) = value {
        return match prefixed_hex(text) {
            Some(digits) => exact(hex_digits(digits)?),
            None => exact(text.clone().into_bytes()),
        };
    }
    let mut raw = byte_array(value).ok_or_else(|| unfit(&Type::FixedBytes(size), value))?;
    raw.resize(size, 0);
    Ok(raw)
}

fn blob(value: &Value) -> Result<Vec<u8>, TaskError> {
    match value {
        Value::String(text) => match prefixed_hex(text) {
            Some(digits) => hex_digits(digits),
            None => Ok(text.clone().into_bytes()),
        },
        other => byte_array(other).ok_or_else(|| unfit(&Type::Bytes, other)),
    }
}

fn hex_digits(digits: &str) -> Result<Vec<u8>, TaskError> {
    hex::decode(digits).map_err(|e| {
        TaskError::bad_input(format!(
            "text that starts with 0x must be hexadecimal ({e})"
        ))
    })
}

/// Bytes of any kind, or a list of numbers that are bytes.
fn byte_array(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Value::Uint(n) => u8::try_from(*n).ok(),
                Value::Int(n) => u8::try_from(*n).ok(),
                _ => None,
            })
            .collect(),
        other => other.as_raw_bytes().map(<[u8]>::to_vec),
    }
}

fn elements(ty: &Type, value: &Value) -> Result<Vec<Value>, TaskError> {
    match value {
        Value::List(items) => Ok(items.clone()),
        other => match other.as_raw_bytes() {
            Some(raw) => Ok(raw.iter().map(|b| Value::Uint(u64::from(*b))).collect()),
            None => Err(unfit(ty, other)),
        },
    }
}

/// From a map by name, or from a list by position.
fn tuple(
    ty: &Type,
    parts: &[(String, Type)],
    value: &Value,
) -> Result<Vec<DynSolValue>, TaskError> {
    let wrong_size = |got: usize| {
        TaskError::bad_input(format!("{ty} has {} components, got {got}", parts.len()))
    };
    match value {
        Value::Map(entries) => {
            if entries.len() != parts.len() {
                return Err(wrong_size(entries.len()));
            }
            parts
                .iter()
                .map(|(name, ty)| {
                    let value = entries.get(name).ok_or_else(|| {
                        TaskError::bad_input(format!("component '{name}' is missing"))
                    })?;
                    convert(ty, value).map_err(|e| e.within(name))
                })
                .collect()
        }
        Value::List(items) => {
            if items.len() != parts.len() {
                return Err(wrong_size(items.len()));
            }
            parts
                .iter()
                .zip(items)
                .map(|((name, ty), value)| convert(ty, value).map_err(|e| e.within(name)))
                .collect()
        }
        other => Err(unfit(ty, other)),
    }
}

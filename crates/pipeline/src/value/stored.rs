//! The lossless form of a value for our own database.
//!
//! Plain JSON with one rule: a string that starts with `~` carries a type. Lists stay lists and
//! maps stay maps, so the form nests no deeper than the value and stays readable in `psql`.
//! Strings with a NUL character are carried as hex because PostgreSQL has no such character.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Value as Json;

use super::{MAX_DEPTH, Value};
use crate::decimal;

/// Why a stored value cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// The text behind a tag does not fit the tag.
    #[error("stored value {text:?} is damaged")]
    Damaged {
        /// What was found, shortened.
        text: String,
    },
    /// A number outside what we write as a bare number.
    #[error("stored value holds the bare number {0}, which this version never writes")]
    Number(String),
    /// Deeper than anything we write.
    #[error("stored value nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl Value {
    /// The value with its type, for the database. [`Value::from_stored`] gives it back unchanged.
    pub fn to_stored(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(i) => Json::from(*i),
            Self::String(s) => Json::String(store_text(s)),
            Self::Uint(u) => tagged('u', u),
            Self::BigInt(n) => tagged('n', n),
            Self::Float(f) => tagged('f', f),
            Self::Decimal(d) => {
                let (digits, scale) = d.as_bigint_and_scale();
                tagged('d', format_args!("{digits}e{}", -scale))
            }
            Self::Bytes(b) => tagged('b', hex::encode(b)),
            Self::FixedBytes(b) => tagged('x', hex::encode(b)),
            Self::Address(a) => tagged('a', hex::encode(a)),
            Self::Hash(h) => tagged('h', hex::encode(h)),
            Self::Uuid(u) => tagged('g', u),
            Self::List(items) => Json::Array(items.iter().map(Self::to_stored).collect()),
            Self::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(k, v)| (store_text(k), v.to_stored()))
                    .collect(),
            ),
        }
    }

    /// Reads what [`Value::to_stored`] wrote.
    pub fn from_stored(stored: &Json) -> Result<Self, StoredError> {
        read(stored, 0)
    }
}

fn tagged(tag: char, text: impl std::fmt::Display) -> Json {
    Json::String(format!("~{tag}:{text}"))
}

fn store_text(text: &str) -> String {
    if text.contains('\0') {
        format!("~s:{}", hex::encode(text))
    } else if text.starts_with('~') {
        format!("~{text}")
    } else {
        text.to_owned()
    }
}

fn read(stored: &Json, depth: usize) -> Result<Value, StoredError> {
    if depth > MAX_DEPTH {
        return Err(StoredError::TooDeep);
    }
    Ok(match stored {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => Value::Int(
            n.as_i64()
                .ok_or_else(|| StoredError::Number(n.to_string()))?,
        ),
        Json::String(s) => read_text(s).ok_or_else(|| damaged(s))?,
        Json::Array(items) => Value::List(
            items
                .iter()
                .map(|i| read(i, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Json::Object(entries) => Value::Map(
            entries
                .iter()
                .map(|(k, v)| match read_text(k) {
                    Some(Value::String(key)) => Ok((key, read(v, depth + 1)?)),
                    _ => Err(damaged(k)),
                })
                .collect::<Result<BTreeMap<_, _>, _>>()?,
        ),
    })
}

fn damaged(text: &str) -> StoredError {
    StoredError::Damaged {
        text: crate::error::excerpt(text, 60),
    }
}

fn read_text(text: &str) -> Option<Value> {
    let Some(rest) = text.strip_prefix('~') else {
        return Some(Value::String(text.to_owned()));
    };
    if rest.starts_with('~') {
        return Some(Value::String(rest.to_owned()));
    }
    let (tag, body) = rest.split_once(':')?;
    Some(match tag {
        "s" => Value::String(String::from_utf8(hex::decode(body).ok()?).ok()?),
        "u" => Value::Uint(body.parse().ok()?),
        "n" => Value::BigInt(decimal::parse_int(body)?),
        "f" => Value::Float(f64::from_str(body).ok()?),
        "d" => Value::Decimal(decimal::parse(body).ok()?),
        "b" => Value::Bytes(hex::decode(body).ok()?.into()),
        "x" => Value::FixedBytes(hex::decode(body).ok()?.into()),
        "a" => Value::Address(
            alloy::primitives::Address::try_from(hex::decode(body).ok()?.as_slice()).ok()?,
        ),
        "h" => {
            Value::Hash(alloy::primitives::B256::try_from(hex::decode(body).ok()?.as_slice()).ok()?)
        }
        "g" => Value::Uuid(body.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_look_like_tags_come_back_as_strings() {
        for text in [
            "~",
            "~u:5",
            "~~",
            "~~u:5",
            "",
            "plain",
            "with\0nul",
            "~s:00",
        ] {
            let value = Value::String(text.to_owned());
            assert_eq!(Value::from_stored(&value.to_stored()), Ok(value));
            let value = Value::map([(text, Value::Null)]);
            assert_eq!(Value::from_stored(&value.to_stored()), Ok(value));
        }
    }

    #[test]
    fn damaged_texts_are_refused_and_named() {
        for text in ["~u:x", "~a:00", "~?", "~q:1", "~d:1e999999999", "~b:0"] {
            let error = Value::from_stored(&Json::String(text.into())).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!(Value::from_stored(&serde_json::json!(1.5)).is_err());
    }
}

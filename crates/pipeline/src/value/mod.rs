//! What flows between tasks.
//!
//! A value has one type and three written forms, which look different on purpose:
//! [`Value::to_http_json`] for bodies sent to bridges and data sources, [`Value::to_output_json`]
//! for what people and the API see, [`Value::to_stored`] for our own database. Only the last one
//! is lossless: a resumed run sees exactly the types it saw before.

mod number;
mod read;
mod stored;
mod write;

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};
use bigdecimal::BigDecimal;
use bytes::Bytes;
use num_bigint::BigInt;
use uuid::Uuid;

pub use number::{NumberError, go_float};
pub use read::{JsonError, read_first_json, read_json};
pub use stored::StoredError;

pub(crate) use number::int_value;
pub(crate) use read::{JsonReader, Numbers, expression_at};

/// Lists and maps nest at most this deep, everywhere. Deeper data is refused when it is read, so
/// nothing that walks, writes or drops a value can exhaust the stack, and every JSON reader with
/// the usual limit of 128 can read back what we store.
pub const MAX_DEPTH: usize = 100;

/// A value of the job language.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// No value; JSON `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Text.
    String(String),
    /// A whole number that fits 64 bits with sign.
    Int(i64),
    /// An unsigned whole number: from CBOR, from ABI `uint8..uint64`, or too large for [`Value::Int`].
    Uint(u64),
    /// A whole number of any size (at most [`crate::decimal::MAX_DIGITS`] digits).
    BigInt(BigInt),
    /// A binary floating-point number, as JSON fractions are read.
    Float(f64),
    /// An exact decimal, as arithmetic tasks produce it.
    Decimal(BigDecimal),
    /// Bytes of any length.
    Bytes(Bytes),
    /// ABI `bytes1` to `bytes32`.
    FixedBytes(Bytes),
    /// An account or contract.
    Address(Address),
    /// A 32-byte hash, such as a topic.
    Hash(B256),
    /// A UUID, such as the external job id.
    Uuid(Uuid),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name, names in ascending order.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// A map from pairs; a later pair wins over an earlier one of the same name.
    pub fn map<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(pairs.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// What kind of value this is, in an operator's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Int(_) | Self::Uint(_) | Self::BigInt(_) => "an integer",
            Self::Float(_) => "a floating-point number",
            Self::Decimal(_) => "a decimal",
            Self::Bytes(_) => "bytes",
            Self::FixedBytes(_) => "fixed bytes",
            Self::Address(_) => "an address",
            Self::Hash(_) => "a hash",
            Self::Uuid(_) => "a UUID",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// How deep lists and maps nest; a scalar is 0.
    pub fn depth(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(entries) => 1 + entries.values().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The bytes of a value that is nothing but bytes.
    pub fn as_raw_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(b) | Self::FixedBytes(b) => Some(b),
            Self::Address(a) => Some(a.as_slice()),
            Self::Hash(h) => Some(h.as_slice()),
            Self::Uuid(u) => Some(u.as_bytes()),
            _ => None,
        }
    }

    /// Reads a JSON value that another library already parsed.
    ///
    /// Integers become [`Value::Int`] or [`Value::Uint`], everything else with a fraction or an
    /// exponent a float. Integers beyond 64 bits have lost their digits before they get here; use
    /// [`read_json`] on the text where that matters.
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::String(s) => Self::String(s.clone()),
            Json::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Self::Int(i),
                (None, Some(u)) => Self::Uint(u),
                (None, None) => n.as_f64().map_or(Self::Null, Self::Float),
            },
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Json::Object(entries) => {
                Self::map(entries.iter().map(|(k, v)| (k.clone(), Self::from_json(v))))
            }
        }
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

from! {
    bool => Bool, &str => String, String => String, i64 => Int, u64 => Uint, BigInt => BigInt,
    f64 => Float, BigDecimal => Decimal, Bytes => Bytes, Vec<u8> => Bytes, Address => Address,
    B256 => Hash, Uuid => Uuid, Vec<Value> => List, BTreeMap<String, Value> => Map,
}

impl From<alloy::primitives::Bytes> for Value {
    fn from(value: alloy::primitives::Bytes) -> Self {
        Self::Bytes(value.0)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

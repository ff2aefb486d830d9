//! What a value must look like, and what it means.
//!
//! The notations are those of the Chainlink node, so that files move over
//! unchanged. An amount that cannot be represented exactly is refused, never
//! rounded.

use std::net::IpAddr;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use url::Url;

use super::notation::{
    LINK_UNITS, WEI_UNITS, address, amount, bool_word, duration, net_address, size, whole_number,
};
use dodona_rpc::masked;

/// A value as it stands in a file or a variable, before anybody knew what it should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    Bool(bool),
    /// Digits as written, with sign and underscores.
    Integer(String),
    Float(String),
    Text(String),
    List(Vec<Raw>),
    /// A date, or a table where a value was expected.
    Other(&'static str),
}

impl Raw {
    /// What a person would call it.
    pub fn type_word(&self) -> &'static str {
        match self {
            Raw::Bool(_) => "true/false",
            Raw::Integer(_) => "a whole number",
            Raw::Float(_) => "a number",
            Raw::Text(_) => "text",
            Raw::List(_) => "a list",
            Raw::Other(word) => word,
        }
    }

    /// As it would be written in a file.
    pub fn to_toml(&self) -> String {
        match self {
            Raw::Bool(value) => value.to_string(),
            Raw::Integer(digits) | Raw::Float(digits) => digits.clone(),
            Raw::Text(text) => quoted(text),
            Raw::List(items) => format!(
                "[{}]",
                items
                    .iter()
                    .map(Raw::to_toml)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Raw::Other(word) => quoted(word),
        }
    }

    /// As it is quoted in a message: without quotation marks.
    pub fn shown(&self) -> String {
        match self {
            Raw::Text(text) => text.clone(),
            other => other.to_toml(),
        }
    }
}

/// Single quotes where that is enough, as in the Chainlink node's own files.
fn quoted(text: &str) -> String {
    if text.contains(['\'', '\n', '\r', '\t']) || text.chars().any(char::is_control) {
        format!("{text:?}")
    } else {
        format!("'{text}'")
    }
}

/// What a value means.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(u64),
    Float(f64),
    Text(String),
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// Wei or juels.
    Amount(U256),
    Address(Address),
    Url(Url),
    Ip(IpAddr),
    List(Vec<String>),
}

/// What a key's value must look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Bool,
    Int {
        min: u64,
        max: u64,
    },
    Float,
    Text,
    /// Text that is never shown.
    Secret,
    Choice(&'static [&'static str]),
    Duration,
    Size,
    Wei,
    Link,
    Address,
    /// An address on the net with one of these schemes.
    Url(&'static [&'static str]),
    Ip,
    List,
    ChainId,
    /// Not looked at.
    Any,
}

impl Kind {
    /// The word for it on the reference page.
    pub fn word(&self) -> String {
        match self {
            Kind::Bool => "true or false".into(),
            Kind::Int { min, max: u64::MAX }
            | Kind::Int {
                min,
                max: 0xffff_ffff,
            } => {
                if *min == 0 {
                    "whole number".into()
                } else {
                    format!("whole number from {min}")
                }
            }
            Kind::Int { min, max } => format!("whole number from {min} to {max}"),
            Kind::Float => "number".into(),
            Kind::Text => "text".into(),
            Kind::Secret => "secret text".into(),
            Kind::Choice(words) => words.join(", "),
            Kind::Duration => "duration".into(),
            Kind::Size => "size".into(),
            Kind::Wei => "amount in wei".into(),
            Kind::Link => "amount in LINK".into(),
            Kind::Address => "address".into(),
            Kind::Url(schemes) => format!("{} address", schemes.join(" or ")),
            Kind::Ip => "IP address".into(),
            Kind::List => "list of texts".into(),
            Kind::ChainId => "chain id".into(),
            Kind::Any => "any".into(),
        }
    }

    /// Reads a value from a file; the error is the end of a sentence that begins with the value.
    pub fn read(&self, raw: &Raw) -> Result<Value, String> {
        match (self, raw) {
            (Kind::Any, _) => Ok(Value::Text(raw.shown())),
            (Kind::Bool, Raw::Bool(value)) => Ok(Value::Bool(*value)),
            (Kind::Bool, _) => Err(wrong_type("true or false", raw)),
            (Kind::List, Raw::List(items)) => items
                .iter()
                .map(list_item)
                .collect::<Result<_, _>>()
                .map(Value::List),
            (Kind::List, _) => Err(wrong_type("a list of texts, as in ['a', 'b']", raw)),
            (Kind::Int { .. } | Kind::ChainId | Kind::Size, Raw::Integer(digits)) => {
                self.read_text(digits)
            }
            (Kind::ChainId | Kind::Size, Raw::Text(text)) => self.read_text(text),
            (Kind::Int { .. }, _) => Err(wrong_type("a whole number, without quotes", raw)),
            (Kind::Float, Raw::Integer(text) | Raw::Float(text) | Raw::Text(text)) => {
                self.read_text(text)
            }
            (Kind::Wei | Kind::Link, Raw::Integer(text) | Raw::Text(text)) => self.read_text(text),
            (Kind::Duration, Raw::Integer(digits)) if digits == "0" => {
                Ok(Value::Duration(Duration::ZERO))
            }
            (Kind::Duration, Raw::Integer(digits)) => {
                Err(format!("has no unit: write '{digits}s' for seconds"))
            }
            (_, Raw::Text(text)) => self.read_text(text),
            (_, _) => Err(wrong_type("text in quotes", raw)),
        }
    }

    /// Reads a value from a variable or a default, where everything is text.
    pub fn read_text(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Kind::Bool => bool_word(text).map(Value::Bool),
            Kind::Int { min, max } => whole_number(text, *min, *max).map(Value::Int),
            Kind::ChainId => whole_number(text, 1, u64::MAX).map(Value::Int),
            Kind::Float => match text.replace('_', "").parse::<f64>() {
                Ok(number) if number.is_finite() && number >= 0.0 => Ok(Value::Float(number)),
                _ => Err("is not a number of 0 or more".into()),
            },
            Kind::Text | Kind::Secret | Kind::Any => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) => {
                match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                    Some(word) => Ok(Value::Text((*word).to_owned())),
                    None => Err(format!("is not one of {}", words.join(", "))),
                }
            }
            Kind::Duration => duration(text).map(Value::Duration),
            Kind::Size => size(text).map(Value::Size),
            Kind::Wei => amount(text, WEI_UNITS).map(Value::Amount),
            Kind::Link => amount(text, LINK_UNITS).map(Value::Amount),
            Kind::Address => address(text).map(Value::Address),
            Kind::Url(schemes) => net_address(text, schemes).map(Value::Url),
            Kind::Ip => text
                .parse()
                .map(Value::Ip)
                .map_err(|_| "is not an IP address".into()),
            Kind::List => Ok(Value::List(list(text))),
        }
    }

    /// How a value of this kind may be shown to people: whole, masked or not at all.
    pub fn shown(&self, raw: &Raw) -> Raw {
        match (self, raw) {
            (Kind::Secret, _) => Raw::Text("xxxxx".into()),
            (Kind::Url(_), Raw::Text(text)) => match Url::parse(text) {
                Ok(url) if url.has_host() => Raw::Text(masked(&url)),
                _ if text.contains(['/', '@', '?']) => Raw::Text("•••".into()),
                _ => raw.clone(),
            },
            (_, raw) => raw.clone(),
        }
    }

    /// A variable's or default's text as the file would hold it.
    pub fn raw_of(&self, text: &str) -> Raw {
        let text = text.trim();
        match self {
            Kind::Bool => bool_word(text).map_or_else(|_| Raw::Text(text.into()), Raw::Bool),
            Kind::Int { .. } => match self.read_text(text) {
                Ok(Value::Int(number)) => Raw::Integer(number.to_string()),
                _ => Raw::Text(text.into()),
            },
            Kind::List => Raw::List(list(text).into_iter().map(Raw::Text).collect()),
            _ => Raw::Text(text.into()),
        }
    }
}

fn wrong_type(wanted: &str, raw: &Raw) -> String {
    format!("is {}, where {wanted} is expected", raw.type_word())
}

fn list_item(raw: &Raw) -> Result<String, String> {
    match raw {
        Raw::Text(text) => Ok(text.clone()),
        other => Err(format!(
            "holds {}, where texts in quotes are expected",
            other.type_word()
        )),
    }
}

/// `a,b` or `['a', 'b']`.
fn list(text: &str) -> Vec<String> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let items = inner
        .split(',')
        .map(|item| item.trim().trim_matches(['\'', '"']));
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let bool_from = |raw| Kind::Bool.read(&raw).unwrap_err();
        assert_eq!(
            bool_from(Raw::Text("yes".into())),
            "is text, where true or false is expected"
        );
        assert!(
            Kind::Int { min: 0, max: 10 }
                .read(&Raw::Text("3".into()))
                .is_err()
        );
        assert!(
            Kind::Duration
                .read(&Raw::Integer("15".into()))
                .unwrap_err()
                .contains("'15s'")
        );
        assert_eq!(
            Kind::ChainId.read(&Raw::Text("1".into())),
            Ok(Value::Int(1))
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(
            Kind::Secret.shown(&Raw::Text("hunter2".into())),
            Raw::Text("xxxxx".into())
        );
        let url = Raw::Text("wss://rpc.example.org/key".into());
        assert_eq!(
            Kind::Url(&["wss"]).shown(&url),
            Raw::Text("wss://rpc.example.org/•••".into())
        );
    }
}

//! Numbers as JSON-RPC writes them, read generously: hex with or without leading zeros, decimal
//! texts and bare numbers all occur in the wild.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};

struct Quantity;

impl Visitor<'_> for Quantity {
    type Value = u128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity such as \"0x1f\"")
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<u128, E> {
        Ok(v.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u128, E> {
        parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Reads a quantity; none if it is not one or exceeds 128 bits.
pub(crate) fn parse(text: &str) -> Option<u128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some("") => Some(0),
        Some(hex) if hex.starts_with('+') => None,
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

/// Writes a quantity, without its quotes.
pub(crate) fn push(text: &mut String, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push_str("0x");
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        text.push(char::from(DIGITS[(number >> (4 * at) & 0xf) as usize]));
    }
}

/// A quantity that has to be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Big(pub(crate) u128);

impl<'de> de::Deserialize<'de> for Big {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Quantity).map(Big)
    }
}

/// A quantity of at most 64 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Small(pub(crate) u64);

impl<'de> de::Deserialize<'de> for Small {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Big(wide) = Big::deserialize(d)?;
        wide.try_into()
            .map(Small)
            .map_err(|_| de::Error::custom(format!("{wide} does not fit into 64 bits")))
    }
}

pub(crate) fn small<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    <Small as de::Deserialize>::deserialize(d).map(|Small(n)| n)
}

pub(crate) fn maybe_small<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    <Option<Small> as de::Deserialize>::deserialize(d).map(|n| n.map(|Small(n)| n))
}

pub(crate) fn maybe_big<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u128>, D::Error> {
    <Option<Big> as de::Deserialize>::deserialize(d).map(|n| n.map(|Big(n)| n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_generously_and_garbage_is_refused() {
        for (text, value) in [
            ("0x0", 0),
            ("0x", 0),
            ("0x01f", 31),
            ("0X1F", 31),
            ("17", 17),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in [
            "",
            "x",
            "0x+1",
            "+1",
            "-1",
            "0xzz",
            "0x1ffffffffffffffffffffffffffffffff",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        for number in [0, 1, 15, 16, 0xff, 0x100, 0x0123_4567_89ab_cdef, u64::MAX] {
            let mut text = String::from("at ");
            push(&mut text, number);
            assert_eq!(text, format!("at {number:#x}"));
        }
        assert_eq!(serde_json::from_str::<Big>("12").unwrap().0, 12);
        assert!(serde_json::from_str::<Small>("\"0x10000000000000000\"").is_err());
    }
}

//! CBOR from request logs, written by whoever paid for the request.
//!
//! Our own reader: requests come without the delimiters around their outer map, numbers of any size
//! must stay exact, and neither depth nor announced lengths may be believed.

use std::collections::BTreeMap;

use num_bigint::{BigInt, BigUint, Sign};

use crate::decimal::MAX_DIGITS;
use crate::value::{MAX_DEPTH, Value};

/// The parameters of a request: a map whose outer delimiters may be missing. Empty data is an
/// empty map. Names must be text. What follows the map is ignored.
pub(crate) fn parse_diet(data: &[u8]) -> Result<Value, String> {
    let is_map = |b: &u8| b >> 5 == 5;
    let wrapped;
    let data = match data {
        [] => return Ok(Value::Map(BTreeMap::new())),
        [first, _, ..] if !is_map(first) => {
            wrapped = [&[0xbf], data, &[0xff]].concat();
            &wrapped
        }
        data => data,
    };
    match (Reader {
        data,
        at: 0,
        text_keys: true,
    })
    .item(0)?
    {
        map @ Value::Map(_) => Ok(map),
        other => Err(format!("the CBOR is {}, not a map", other.kind())),
    }
}

/// Any CBOR value. Empty data is null. Names of map entries that are not text become text.
pub(crate) fn parse(data: &[u8]) -> Result<Value, String> {
    if data.is_empty() {
        return Ok(Value::Null);
    }
    Reader {
        data,
        at: 0,
        text_keys: false,
    }
    .item(0)
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    text_keys: bool,
}

/// The argument of an item's first byte.
#[derive(Clone, Copy)]
enum Argument {
    Number(u64),
    Indefinite,
}

const BREAK: u8 = 0xff;

impl<'a> Reader<'a> {
    fn wrong(&self, what: &str) -> String {
        format!("malformed CBOR at byte {}: {what}", self.at)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.data.len());
        let end = end.ok_or_else(|| self.wrong("the data ends too early"))?;
        let taken = &self.data[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn unsigned(&mut self, bytes: usize) -> Result<u64, String> {
        Ok(self
            .take(bytes)?
            .iter()
            .fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn argument(&mut self, info: u8) -> Result<Argument, String> {
        match info {
            0..=23 => Ok(Argument::Number(u64::from(info))),
            24 => self.unsigned(1).map(Argument::Number),
            25 => self.unsigned(2).map(Argument::Number),
            26 => self.unsigned(4).map(Argument::Number),
            27 => self.unsigned(8).map(Argument::Number),
            31 => Ok(Argument::Indefinite),
            _ => Err(self.wrong("a reserved length")),
        }
    }

    fn number(&mut self, info: u8) -> Result<u64, String> {
        match self.argument(info)? {
            Argument::Number(n) => Ok(n),
            Argument::Indefinite => Err(self.wrong("a number without end")),
        }
    }

    fn at_break(&mut self) -> bool {
        let there = self.data.get(self.at) == Some(&BREAK);
        self.at += usize::from(there);
        there
    }

    fn item(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the CBOR nests deeper than {MAX_DEPTH} levels"));
        }
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        Ok(match major {
            0 => Value::Uint(self.number(info)?),
            1 => negative(BigInt::from(self.number(info)?)),
            2 => Value::Bytes(self.chunks(2, info)?.into()),
            3 => Value::String(
                String::from_utf8(self.chunks(3, info)?)
                    .map_err(|_| self.wrong("text that is not UTF-8"))?,
            ),
            4 => self.list(info, depth)?,
            5 => self.map(info, depth)?,
            6 => self.tagged(info, depth)?,
            _ => self.simple(first)?,
        })
    }

    /// A string in one piece or in several of the same kind.
    fn chunks(&mut self, major: u8, info: u8) -> Result<Vec<u8>, String> {
        if let Argument::Number(length) = self.argument(info)? {
            let length =
                usize::try_from(length).map_err(|_| self.wrong("the data ends too early"))?;
            return self.take(length).map(<[u8]>::to_vec);
        }
        let mut whole = Vec::new();
        while !self.at_break() {
            let first = self.take(1)?[0];
            if first >> 5 != major {
                return Err(self.wrong("a string in pieces of different kinds"));
            }
            let length = usize::try_from(self.number(first & 31)?)
                .map_err(|_| self.wrong("the data ends too early"))?;
            whole.extend_from_slice(self.take(length)?);
        }
        Ok(whole)
    }

    /// Whether there is another element, for a list or map of known or unknown length.
    fn more(&mut self, length: Argument, done: u64) -> bool {
        match length {
            Argument::Number(count) => done < count,
            Argument::Indefinite => !self.at_break(),
        }
    }

    fn list(&mut self, info: u8, depth: usize) -> Result<Value, String> {
        let length = self.argument(info)?;
        let mut items = Vec::new();
        while self.more(length, items.len() as u64) {
            items.push(self.item(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, info: u8, depth: usize) -> Result<Value, String> {
        let length = self.argument(info)?;
        let mut entries = BTreeMap::new();
        let mut done = 0;
        while self.more(length, done) {
            let key = match self.item(depth + 1)? {
                Value::String(text) => text,
                other if self.text_keys => {
                    return Err(self.wrong(&format!("a name that is {}", other.kind())));
                }
                other => other.to_output_json().trim_matches('"').to_owned(),
            };
            entries.insert(key, self.item(depth + 1)?);
            done += 1;
        }
        Ok(Value::Map(entries))
    }

    /// Big numbers; the value alone for any other tag.
    fn tagged(&mut self, info: u8, depth: usize) -> Result<Value, String> {
        let tag = self.number(info)?;
        let inner = self.item(depth + 1)?;
        match (tag, inner) {
            (2 | 3, Value::Bytes(raw)) if raw.len() > MAX_DIGITS * 2 / 5 => {
                Err(self.wrong("a number that is too long"))
            }
            (2, Value::Bytes(raw)) => Ok(Value::BigInt(BigInt::from_biguint(
                Sign::Plus,
                BigUint::from_bytes_be(&raw),
            ))),
            (3, Value::Bytes(raw)) => Ok(Value::BigInt(
                BigInt::from(-1) - BigInt::from_biguint(Sign::Plus, BigUint::from_bytes_be(&raw)),
            )),
            (2 | 3, other) => Err(self.wrong(&format!("a big number made of {}", other.kind()))),
            (_, inner) => Ok(inner),
        }
    }

    fn simple(&mut self, first: u8) -> Result<Value, String> {
        Ok(match first & 31 {
            20 => Value::Bool(false),
            21 => Value::Bool(true),
            // null and undefined
            22 | 23 => Value::Null,
            25 => Value::Float(half(self.unsigned(2)? as u16)),
            26 => Value::Float(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            27 => Value::Float(f64::from_bits(self.unsigned(8)?)),
            31 => return Err(self.wrong("an end without a beginning")),
            _ => return Err(self.wrong("a simple value nobody knows")),
        })
    }
}

/// −1 − n, as the smallest type that holds it.
fn negative(n: BigInt) -> Value {
    crate::value::int_value(BigInt::from(-1) - n)
}

/// A 16-bit float.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diet(hex_text: &str) -> Result<Value, String> {
        parse_diet(&hex::decode(hex_text).unwrap())
    }

    #[test]
    fn a_request_without_delimiters_is_a_map() {
        // "get": "x", "times": 100
        let expected = Value::map([("get", Value::from("x")), ("times", Value::Uint(100))]);
        assert_eq!(
            diet("636765746178657469 6d65731864".replace(' ', "").as_str()),
            Ok(expected.clone())
        );
        assert_eq!(diet("bf6367657461786574696d65731864ff"), Ok(expected));
        assert_eq!(diet(""), Ok(Value::Map(BTreeMap::new())));
        assert_eq!(diet("a0"), Ok(Value::Map(BTreeMap::new())));
    }

    #[test]
    fn numbers_of_any_size_stay_exact() {
        let n = |hex_text: &str| parse(&hex::decode(hex_text).unwrap()).unwrap();
        assert_eq!(n("1bffffffffffffffff"), Value::Uint(u64::MAX));
        assert_eq!(n("20"), Value::Int(-1));
        assert_eq!(
            n("3bffffffffffffffff"),
            Value::BigInt(-BigInt::from(u64::MAX) - 1)
        );
        assert_eq!(
            n("c249010000000000000000"),
            Value::BigInt(BigInt::from(u64::MAX) + 1)
        );
        assert_eq!(
            n("c349010000000000000000"),
            Value::BigInt(-BigInt::from(u64::MAX) - 2)
        );
        assert_eq!(n("f93e00"), Value::Float(1.5));
        assert_eq!(n("f90001"), Value::Float(5.960464477539063e-8));
        assert_eq!(n("fa47c35000"), Value::Float(100000.0));
        assert_eq!(n("fb3ff199999999999a"), Value::Float(1.1));
    }

    #[test]
    fn hostile_data_is_refused_in_no_time() {
        for hex_text in [
            "9bffffffffffffffff",
            "5bffffffffffffffff",
            "bbffffffffffffffff61",
            "ff",
            "1c",
            "6161",
            "616161",
            "bf0001ff",
        ] {
            assert!(diet(hex_text).is_err(), "{hex_text} was accepted");
        }
        assert!(parse(&[0x9f; 100_000]).is_err());
        assert!(parse(&[0xc1; 100_000]).is_err());
        assert!(parse(&[0xbf; 100_000]).is_err());
    }

    #[test]
    fn names_that_are_not_text_are_refused_in_requests_and_written_out_otherwise() {
        assert!(diet("a10102").is_err());
        assert!(diet("a16161a10102").is_err());
        assert_eq!(
            parse(&[0xa1, 1, 2]),
            Ok(Value::map([("1", Value::Uint(2))]))
        );
    }
}

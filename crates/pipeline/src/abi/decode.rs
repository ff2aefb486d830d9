//! Contract data to values.
//!
//! The data comes from strangers. Offsets may point anywhere, several may point at the same place,
//! so the number of values made from one piece of data is limited: time and memory stay in
//! proportion to what a block can hold.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};
use num_bigint::{BigInt, BigUint, Sign};
use num_traits::ToPrimitive;

use super::{Argument, Function, Type};
use crate::value::Value;

/// Most values made from one piece of data, and most bytes copied out of it.
const MAX_VALUES: usize = 200_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The arguments by name.
pub(crate) fn arguments(list: &[Argument], data: &[u8]) -> Result<Value, String> {
    let mut decoder = Decoder {
        values_left: MAX_VALUES,
        bytes_left: MAX_BYTES,
    };
    let mut found = BTreeMap::new();
    let types: Vec<&Type> = list.iter().map(|a| &a.ty).collect();
    let values = decoder
        .sequence(&types, data)
        .map_err(|(n, why)| format!("{}: {why}", list[n].name))?;
    for (argument, value) in list.iter().zip(values) {
        found.insert(argument.name.clone(), value);
    }
    Ok(Value::Map(found))
}

/// The arguments of an event: the indexed ones from the topics after the first, the others from the
/// data. Neither the name nor the first topic is checked.
pub(crate) fn log(event: &Function, data: &[u8], topics: &[B256]) -> Result<Value, String> {
    let (indexed, plain): (Vec<Argument>, Vec<Argument>) =
        event.arguments.iter().cloned().partition(|a| a.indexed);
    let mut found = BTreeMap::new();
    if !data.is_empty() {
        match arguments(&plain, data).map_err(|e| format!("data: {e}"))? {
            Value::Map(entries) => found = entries,
            _ => return Err("data: not a map".to_owned()),
        }
    }
    if indexed.is_empty() {
        return Ok(Value::Map(found));
    }
    if topics.len() != indexed.len() + 1 {
        return Err(format!(
            "topic/field count mismatch: {} topics for {} indexed fields and the event itself",
            topics.len(),
            indexed.len()
        ));
    }
    for (argument, topic) in indexed.iter().zip(&topics[1..]) {
        let value = match &argument.ty {
            Type::Bytes | Type::String | Type::Array(_) | Type::FixedArray(..) | Type::Tuple(_) => {
                Value::Hash(*topic)
            }
            word => read_word(word, &topic.0).map_err(|e| format!("{}: {e}", argument.name))?,
        };
        found.insert(argument.name.clone(), value);
    }
    Ok(Value::Map(found))
}

struct Decoder {
    values_left: usize,
    bytes_left: usize,
}

impl Decoder {
    fn charge(&mut self, bytes: usize) -> Result<(), String> {
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or("the data holds too many values")?;
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or("the data holds too many bytes")?;
        Ok(())
    }

    /// Values in a row, whose offsets count from the start of `data`.
    fn sequence(&mut self, types: &[&Type], data: &[u8]) -> Result<Vec<Value>, (usize, String)> {
        let mut at = 0;
        let mut values = Vec::new();
        for (n, ty) in types.iter().enumerate() {
            values.push(self.one(ty, data, at).map_err(|why| (n, why))?);
            at += ty.head_bytes();
        }
        Ok(values)
    }

    /// The value whose head stands at `at`.
    fn one(&mut self, ty: &Type, data: &[u8], at: usize) -> Result<Value, String> {
        self.charge(0)?;
        if !ty.is_dynamic() {
            let head = data.get(at..).ok_or(SHORT)?;
            return match ty {
                Type::FixedArray(inner, count) => self.repeated(inner, *count, head),
                Type::Tuple(parts) => self.tuple(parts, head),
                word => read_word(word, &word_at(data, at)?),
            };
        }
        let tail = data
            .get(length_at(data, at)?..)
            .ok_or("an offset points behind the end of the data")?;
        match ty {
            Type::Bytes => Ok(Value::Bytes(self.blob(tail)?.into())),
            Type::String => {
                // As in Go, a string is any bytes; what is not UTF-8 stays bytes.
                Ok(match String::from_utf8(self.blob(tail)?) {
                    Ok(text) => Value::String(text),
                    Err(raw) => Value::Bytes(raw.into_bytes().into()),
                })
            }
            Type::Array(inner) => {
                let count = length_at(tail, 0)?;
                self.repeated(inner, count, &tail[32..])
            }
            Type::FixedArray(inner, count) => self.repeated(inner, *count, tail),
            Type::Tuple(parts) => self.tuple(parts, tail),
            other => Err(format!("{other} has no tail")),
        }
    }

    fn repeated(&mut self, ty: &Type, count: usize, data: &[u8]) -> Result<Value, String> {
        let size = ty.head_bytes();
        if size
            .checked_mul(count)
            .is_none_or(|needed| needed > data.len())
        {
            return Err(SHORT.to_owned());
        }
        if count > self.values_left {
            return Err("the data holds too many values".to_owned());
        }
        (0..count)
            .map(|n| self.one(ty, data, n * size))
            .collect::<Result<_, _>>()
            .map(Value::List)
    }

    fn tuple(&mut self, parts: &[(String, Type)], data: &[u8]) -> Result<Value, String> {
        let types: Vec<&Type> = parts.iter().map(|(_, ty)| ty).collect();
        let values = self.sequence(&types, data).map_err(|(_, why)| why)?;
        Ok(Value::map(
            parts.iter().map(|(name, _)| name.clone()).zip(values),
        ))
    }

    fn blob(&mut self, tail: &[u8]) -> Result<Vec<u8>, String> {
        let length = length_at(tail, 0)?;
        let raw = tail[32..].get(..length).ok_or(SHORT)?;
        self.charge(length)?;
        Ok(raw.to_vec())
    }
}

const SHORT: &str = "the data is too short";

fn word_at(data: &[u8], at: usize) -> Result<[u8; 32], String> {
    let end = at.checked_add(32).ok_or(SHORT)?;
    data.get(at..end)
        .and_then(|word| word.try_into().ok())
        .ok_or_else(|| SHORT.to_owned())
}

/// A word that is an offset or a length.
fn length_at(data: &[u8], at: usize) -> Result<usize, String> {
    let word = word_at(data, at)?;
    let (high, low) = word.split_at(24);
    let low = u64::from_be_bytes(low.try_into().map_err(|_| SHORT)?);
    match usize::try_from(low) {
        Ok(length) if high.iter().all(|b| *b == 0) && length <= data.len() => Ok(length),
        _ => Err("an offset or a length points behind the end of the data".to_owned()),
    }
}

/// One word as what it stands for. Integers of 8, 16, 32 and 64 bits are native numbers, others
/// big ones, as in the reference node.
fn read_word(ty: &Type, word: &[u8; 32]) -> Result<Value, String> {
    Ok(match ty {
        Type::Bool => match BigUint::from_bytes_be(word).to_u8() {
            Some(0) => Value::Bool(false),
            Some(1) => Value::Bool(true),
            _ => return Err("a boolean is neither 0 nor 1".to_owned()),
        },
        Type::Address => Value::Address(Address::from_slice(&word[12..])),
        Type::FixedBytes(n) => Value::FixedBytes(word[..*n].to_vec().into()),
        Type::Uint(bits) => {
            let number = BigUint::from_bytes_be(word);
            if number.bits() > *bits as u64 {
                return Err(format!("the number does not fit uint{bits}"));
            }
            match (native(*bits), number.to_u64()) {
                (true, Some(n)) => Value::Uint(n),
                _ => Value::BigInt(BigInt::from_biguint(Sign::Plus, number)),
            }
        }
        Type::Int(bits) => {
            let number = BigInt::from_signed_bytes_be(word);
            if !fits_signed(&number, *bits) {
                return Err(format!("the number does not fit int{bits}"));
            }
            match (native(*bits), number.to_i64()) {
                (true, Some(n)) => Value::Int(n),
                _ => Value::BigInt(number),
            }
        }
        other => return Err(format!("{other} is more than one word")),
    })
}

fn native(bits: usize) -> bool {
    matches!(bits, 8 | 16 | 32 | 64)
}

/// Two's complement range of a width.
pub(super) fn fits_signed(number: &BigInt, bits: usize) -> bool {
    let half = BigInt::from(1) << (bits - 1);
    *number < half && *number >= -half
}

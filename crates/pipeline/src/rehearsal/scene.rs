//! The variables a run of each kind of job starts with.

use std::collections::BTreeMap;

use alloy::dyn_abi::DynSolValue;
use alloy::primitives::{Address, B256, U256, keccak256};

use crate::spec::{JobKind, JobSpec};
use crate::value::{Value, read_json};

/// Who asks in a rehearsal.
const REQUESTER: Address = Address::repeat_byte(0x11);
const REQUEST_ID: B256 = B256::repeat_byte(0x22);

pub(super) fn vars(spec: &JobSpec, input: &str) -> Result<BTreeMap<String, Value>, String> {
    let id = spec
        .external_job_id
        .unwrap_or_else(|| uuid::Uuid::from_u128(1));
    let mut job = vec![
        ("databaseID", Value::Int(0)),
        ("externalJobID", Value::Uuid(id)),
        ("name", Value::from(spec.name.as_str())),
    ];
    if let Some(chain) = spec.kind.evm_chain_id() {
        job.push(("evmChainID", Value::from(chain.to_string())));
    }
    let run = match &spec.kind {
        JobKind::DirectRequest(direct) => request(direct.contract_address, id, &object(input)?)?,
        JobKind::Webhook(_) => {
            Value::map([("requestBody", Value::from(input)), ("meta", Value::Null)])
        }
        JobKind::FluxMonitor(_) => Value::map([("meta", Value::Map(object(input)?))]),
        JobKind::Cron(_) => Value::map([("meta", Value::Map(BTreeMap::new()))]),
    };
    Ok(BTreeMap::from([
        ("jobSpec".to_owned(), Value::map(job)),
        ("jobRun".to_owned(), run),
    ]))
}

fn object(input: &str) -> Result<BTreeMap<String, Value>, String> {
    if input.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    match read_json(input) {
        Ok(Value::Map(entries)) => Ok(entries),
        Ok(other) => Err(format!(
            "the input is {}, and this job wants a JSON object",
            other.kind()
        )),
        Err(error) => Err(format!("the input is no JSON object: {error}")),
    }
}

/// A request as the oracle contract would log it.
fn request(
    contract: Address,
    id: uuid::Uuid,
    parameters: &BTreeMap<String, Value>,
) -> Result<Value, String> {
    let mut cbor = Vec::new();
    for (key, value) in parameters {
        write_cbor(&Value::from(key.as_str()), &mut cbor)?;
        write_cbor(value, &mut cbor)?;
    }
    let number = |n: u64| DynSolValue::Uint(U256::from(n), 256);
    let callback = B256::right_padding_from(&[0x33; 4]);
    let expires = 4_102_444_800; // 2100
    let data = DynSolValue::Tuple(vec![
        DynSolValue::Address(REQUESTER),
        DynSolValue::FixedBytes(REQUEST_ID, 32),
        DynSolValue::Uint(U256::from(10).pow(U256::from(18)), 256),
        DynSolValue::Address(REQUESTER),
        DynSolValue::FixedBytes(callback, 4),
        number(expires),
        number(1),
        DynSolValue::Bytes(cbor.clone()),
    ])
    .abi_encode_params();
    let spec_id = B256::right_padding_from(id.as_bytes());
    let event = keccak256(
        "OracleRequest(bytes32,address,bytes32,uint256,address,bytes4,uint256,uint256,bytes)",
    );
    let hex_text = |bytes: &[u8]| Value::from(format!("0x{}", hex::encode(bytes)));
    let meta = Value::map([
        ("specId", hex_text(spec_id.as_slice())),
        ("requester", Value::from(REQUESTER.to_checksum(None))),
        ("requestId", hex_text(REQUEST_ID.as_slice())),
        ("payment", Value::from("1000000000000000000")),
        ("callbackAddr", Value::from(REQUESTER.to_checksum(None))),
        ("callbackFunctionId", hex_text(&[0x33; 4])),
        ("cancelExpiration", Value::from(expires.to_string())),
        ("dataVersion", Value::from("1")),
        ("data", hex_text(&cbor)),
    ]);
    let hash = |byte| Value::Hash(B256::repeat_byte(byte));
    Ok(Value::map([
        ("logData", Value::from(data)),
        (
            "logTopics",
            Value::List(vec![Value::Hash(event), Value::Hash(spec_id)]),
        ),
        ("logBlockHash", hash(0x44)),
        ("logBlockNumber", Value::Uint(1)),
        ("logTxHash", hash(0x55)),
        ("logAddress", Value::Address(contract)),
        ("blockReceiptsRoot", hash(0x66)),
        ("blockTransactionsRoot", hash(0x77)),
        ("blockStateRoot", hash(0x88)),
        ("meta", Value::map([("oracleRequest", meta)])),
    ]))
}

/// What contracts write: text, whole numbers, floats, truth, bytes, lists and maps.
fn write_cbor(value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let head = |major: u8, n: u64, out: &mut Vec<u8>| {
        let major = major << 5;
        match n {
            0..=23 => out.push(major | n as u8),
            24..=0xff => out.extend([major | 24, n as u8]),
            0x100..=0xffff => {
                out.push(major | 25);
                out.extend((n as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                out.push(major | 26);
                out.extend((n as u32).to_be_bytes());
            }
            _ => {
                out.push(major | 27);
                out.extend(n.to_be_bytes());
            }
        }
    };
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(b) => out.push(if *b { 0xf5 } else { 0xf4 }),
        Value::Int(n) if *n >= 0 => head(0, n.unsigned_abs(), out),
        Value::Int(n) => head(1, (-(n + 1)).unsigned_abs(), out),
        Value::Uint(n) => head(0, *n, out),
        Value::BigInt(n) => {
            let (tag, size) = match n.sign() {
                num_bigint::Sign::Minus => (0xc3, (-n - 1u8).magnitude().to_bytes_be()),
                _ => (0xc2, n.magnitude().to_bytes_be()),
            };
            out.push(tag);
            head(2, size.len() as u64, out);
            out.extend(size);
        }
        Value::Float(f) => {
            out.push(0xfb);
            out.extend(f.to_be_bytes());
        }
        Value::String(text) => {
            head(3, text.len() as u64, out);
            out.extend(text.as_bytes());
        }
        Value::List(items) => {
            head(4, items.len() as u64, out);
            for item in items {
                write_cbor(item, out)?;
            }
        }
        Value::Map(entries) => {
            head(5, entries.len() as u64, out);
            for (key, item) in entries {
                write_cbor(&Value::from(key.as_str()), out)?;
                write_cbor(item, out)?;
            }
        }
        other => return Err(format!("{} cannot be part of a request", other.kind())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_cbor_is_read_as_it_was() {
        let text = r#"{"a": [1, -1, 23, 24, 255, 256, 65536, 4294967296, 1.5, true, null, "é"], "b": {"n": 18446744073709551616, "m": -18446744073709551617}}"#;
        let value = read_json(text).unwrap();
        let mut out = Vec::new();
        write_cbor(&value, &mut out).unwrap();
        let back = crate::cbor::parse(&out).unwrap();
        // Numbers from 0 are unsigned there.
        assert_eq!(back.to_output_json(), value.to_output_json());
    }
}

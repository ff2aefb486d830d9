//! What a contract says when it fails.

use alloy::primitives::{Bytes, hex};
use alloy::sol_types::{Panic, Revert, SolError};

/// Whether an error is the outcome of executing the call, and so the same at every endpoint.
pub(crate) fn is_execution_failure(code: i64, message: &str, data: Option<&str>) -> bool {
    const WORDS: &[&str] = &[
        "execution reverted",
        "vm execution error",
        "vm exception",
        "revert",
        "out of gas",
        "invalid opcode",
        "invalid jump",
        "stack underflow",
        "stack overflow",
        "stack limit reached",
        "gas required exceeds",
    ];
    if code == 3 {
        return true;
    }
    let lower = message.to_lowercase();
    WORDS.iter().any(|word| lower.contains(word))
        || data.is_some_and(|data| !self::data(data).is_empty())
}

/// The bytes in the `data` of an error: plain hex, or Nethermind's `Reverted 0x…`, or an object
/// with the hex somewhere under `data` (Ganache, Hardhat).
pub(crate) fn data(text: &str) -> Bytes {
    let text = text.trim().trim_start_matches("Reverted").trim();
    if let Some(bytes) = text
        .starts_with("0x")
        .then(|| hex::decode(text).ok())
        .flatten()
    {
        return bytes.into();
    }
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(object)) => match object.get("data") {
            Some(serde_json::Value::String(inner)) => hex::decode(inner).unwrap_or_default().into(),
            Some(inner @ serde_json::Value::Object(_)) => data(&inner.to_string()),
            _ => Bytes::new(),
        },
        _ => Bytes::new(),
    }
}

/// The words of `Error(string)` or the meaning of `Panic(uint256)`; none for errors of its own.
pub(crate) fn reason(data: &Bytes) -> Option<String> {
    if let Ok(Revert { reason }) = Revert::abi_decode(data) {
        return Some(reason);
    }
    Panic::abi_decode(data).ok().map(|panic| panic.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_OWNER: &str = "0x08c379a0000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000096e6f74206f776e65720000000000000000000000000000000000000000000000";

    #[test]
    fn reasons_are_read_in_the_shapes_clients_give_them() {
        for text in [
            NOT_OWNER.to_owned(),
            format!("Reverted {NOT_OWNER}"),
            format!(r#"{{"hash":"0x1","data":"{NOT_OWNER}"}}"#),
            format!(r#"{{"data":{{"message":"x","data":"{NOT_OWNER}"}}}}"#),
        ] {
            assert_eq!(reason(&data(&text)).as_deref(), Some("not owner"), "{text}");
        }
    }

    #[test]
    fn a_panic_is_named_and_a_custom_error_keeps_its_bytes() {
        let panic = format!("0x4e487b71{:064x}", 0x12);
        assert!(
            reason(&data(&panic)).unwrap().contains("0x12"),
            "{:?}",
            reason(&data(&panic))
        );
        let custom = data("0xdeadbeef");
        assert_eq!((custom.len(), reason(&custom)), (4, None));
    }

    #[test]
    fn an_endpoints_trouble_is_not_taken_for_a_revert() {
        assert!(is_execution_failure(3, "anything", None));
        assert!(is_execution_failure(
            -32015,
            "VM execution error.",
            Some("Reverted 0x")
        ));
        assert!(is_execution_failure(-32000, "out of gas", None));
        assert!(is_execution_failure(
            -32000,
            "gas required exceeds allowance (100)",
            None
        ));
        assert!(!is_execution_failure(-32000, "header not found", None));
        assert!(!is_execution_failure(
            -32603,
            "internal error",
            Some("see log")
        ));
    }
}

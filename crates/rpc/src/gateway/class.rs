//! What a refusal means for the question: ask another endpoint, ask for less, or pass it on.
//!
//! The codes mean five different things at five clients, so words decide before codes, and the
//! same tables are used as for the node's own questions.

use crate::error::RpcError;
use crate::refusal;
use crate::send_errors::Overrides;
use crate::wire::Refusal;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The outcome of executing the call: the same everywhere, so it is the answer.
    Final,
    /// The request is wrong; one endpoint of another dialect may see it differently.
    Params,
    /// Too much asked at once.
    RateLimited,
    /// The endpoint does not have the block.
    MissingBlock,
    /// The endpoint has the block and not its state any more.
    MissingState,
    /// The endpoint does not have the method.
    NoMethod,
    /// The range of logs has to be split.
    RangeTooLarge,
    /// The endpoint is in trouble.
    Internal,
}

const MISSING_STATE: &[&str] = &[
    "missing trie node",
    "historical state",
    "state is not available",
    "no state available",
    "state at block",
    "world state unavailable",
    "pruned history unavailable",
    "state histories haven't been",
    "old data not available",
    "has been pruned",
    "is pruned",
];
const NO_METHOD: &[&str] = &[
    "does not exist/is not available",
    "method not found",
    "method not enabled",
    "method is not enabled",
    "unsupported method",
    "method not supported",
    "not whitelisted",
    "namespace is disabled",
    "is not available on your plan",
];
/// What becomes of a transaction whose sender, fees or code do not allow it: the same at every endpoint
/// that has the block. Distinctive parts, lower case.
const NOT_ALLOWED: &[&str] = &[
    "insufficient funds for",
    "insufficient balance for",
    "insufficient sender balance",
    "upfront cost exceeds",
    "max fee per gas less than block base fee",
    "max priority fee per gas higher than max fee per gas",
    "intrinsic gas too low",
    "max initcode size exceeded",
    "max code size exceeded",
    "contract address collision",
    "write protection",
    "return data out of bounds",
    "gas uint64 overflow",
    "nonce uint64 overflow",
    "max nonce",
    "evm error",
];
const NOT_SYNCED: &[&str] = &["initial sync", "node is syncing", "still syncing"];

/// All words in use here.
pub(super) const WORDS: [&[&str]; 4] = [MISSING_STATE, NO_METHOD, NOT_ALLOWED, NOT_SYNCED];

pub(crate) fn class(method: &str, refusal: &Refusal, overrides: &Overrides) -> Class {
    let lower = refusal.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // Before all else: the reason of a revert is written by whoever wrote the contract, and may speak
    // of limits and missing blocks as it likes.
    if refusal::is_execution_failure(refusal) {
        return Class::Final;
    }
    if refusal.code == 4444 || says(MISSING_STATE) {
        return Class::MissingState;
    }
    match refusal::judge("", method, refusal.clone(), overrides) {
        RpcError::RateLimited { .. } => return Class::RateLimited,
        RpcError::UnknownBlock { .. } => return Class::MissingBlock,
        RpcError::TooManyResults { .. } => return Class::RangeTooLarge,
        _ => {}
    }
    if matches!(refusal.code, -32601 | -32604) || says(NO_METHOD) {
        return Class::NoMethod;
    }
    if says(NOT_SYNCED) {
        return Class::Internal;
    }
    if says(NOT_ALLOWED) {
        return Class::Final;
    }
    match refusal.code {
        -32602 | -32600 | -32700 => Class::Params,
        _ => Class::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_condition_in_every_dialect_is_one_class() {
        for (method, code, message, expected) in [
            // unknown block: geth, reth, Besu, by hash
            ("eth_call", -32000, "header not found", Class::MissingBlock),
            (
                "eth_call",
                -32000,
                "header for hash not found",
                Class::MissingBlock,
            ),
            (
                "eth_call",
                -32001,
                "block not found: 0x12",
                Class::MissingBlock,
            ),
            ("eth_call", -39001, "Unknown block", Class::MissingBlock),
            (
                "eth_call",
                -32000,
                "hash is not currently canonical",
                Class::MissingBlock,
            ),
            // state pruned: geth, reth, Nethermind, Besu, expired history
            (
                "eth_call",
                -32000,
                "missing trie node 00ff (path ) state is not available",
                Class::MissingState,
            ),
            (
                "eth_call",
                -32000,
                "required historical state unavailable (reexec=128)",
                Class::MissingState,
            ),
            (
                "eth_call",
                -32603,
                "state at block #5 is pruned",
                Class::MissingState,
            ),
            (
                "eth_call",
                -32002,
                "No state available for block 5",
                Class::MissingState,
            ),
            (
                "eth_call",
                -32000,
                "World state unavailable",
                Class::MissingState,
            ),
            (
                "eth_getBlockByNumber",
                4444,
                "pruned history unavailable",
                Class::MissingState,
            ),
            // reverts and other outcomes
            ("eth_call", 3, "execution reverted: not owner", Class::Final),
            ("eth_call", 3, "Execution reverted", Class::Final),
            ("eth_call", -32015, "VM execution error.", Class::Final),
            ("eth_call", -32000, "out of gas", Class::Final),
            (
                "eth_call",
                -32000,
                "EVM error: InvalidFEOpcode",
                Class::Final,
            ),
            (
                "eth_call",
                -32000,
                "err: insufficient funds for gas * price + value: address 0x1 have 0 want 1",
                Class::Final,
            ),
            (
                "eth_call",
                -32000,
                "max fee per gas less than block base fee: address 0x1",
                Class::Final,
            ),
            // a contract's own words
            (
                "eth_call",
                3,
                "execution reverted: rate limit exceeded, retry after 60 s",
                Class::Final,
            ),
            (
                "eth_estimateGas",
                3,
                "execution reverted: header not found",
                Class::Final,
            ),
            (
                "eth_call",
                -32000,
                "execution reverted: method not found",
                Class::Final,
            ),
            (
                "eth_call",
                3,
                "execution reverted: missing trie node",
                Class::Final,
            ),
            (
                "eth_estimateGas",
                -32000,
                "gas required exceeds allowance (0)",
                Class::Final,
            ),
            // methods
            (
                "trace_block",
                -32601,
                "the method trace_block does not exist/is not available",
                Class::NoMethod,
            ),
            ("trace_block", -32604, "Method not enabled", Class::NoMethod),
            (
                "trace_block",
                -32600,
                "trace_block: the namespace is disabled for this port",
                Class::NoMethod,
            ),
            // ranges
            (
                "eth_getLogs",
                -32005,
                "Requested range exceeds maximum RPC range limit",
                Class::RangeTooLarge,
            ),
            (
                "eth_getLogs",
                -32602,
                "query exceeds max results 20000, retry with the range 1-2",
                Class::RangeTooLarge,
            ),
            (
                "eth_getLogs",
                -32602,
                "block range extends beyond current head block",
                Class::MissingBlock,
            ),
            // limits
            ("eth_call", 429, "Too Many Requests", Class::RateLimited),
            (
                "eth_call",
                -32005,
                "daily request limit reached",
                Class::RateLimited,
            ),
            // ours
            (
                "eth_call",
                -32602,
                "invalid argument 0: hex string without 0x prefix",
                Class::Params,
            ),
            ("eth_call", -32603, "internal error", Class::Internal),
            ("eth_call", -32000, "node is syncing", Class::Internal),
        ] {
            let refusal = Refusal {
                code,
                message: message.to_owned(),
                data: None,
            };
            assert_eq!(
                class(method, &refusal, &Overrides::default()),
                expected,
                "{message}"
            );
        }
    }
}

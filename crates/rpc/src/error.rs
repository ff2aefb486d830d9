//! Why a question to the chain got no answer: one variant per thing a caller might do about it.

use std::time::Duration;

use alloy::primitives::Bytes;

use crate::gateway::said_wait;
use crate::revert;
use crate::rounded::Rounded;

/// A rate limit that does not say how long it lasts.
const WAIT_UNTOLD: Duration = Duration::from_secs(1);

/// The pool cannot be built as configured.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PoolError {
    /// All problems together, each a sentence.
    #[error("{}", problems.join("; "))]
    Config { problems: Vec<String> },
    #[error("the HTTP client could not be set up: {cause}")]
    Client { cause: String },
}

/// A request that got no usable answer. Names the endpoint; URLs in it are masked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RpcError {
    /// Nobody could be asked. `reasons` says for each endpoint why.
    #[error("no live nodes available for chain {chain_id}: {reasons}")]
    NoLiveNode { chain_id: u64, reasons: String },
    /// No connection, or it broke.
    #[error("{node} ({url}) cannot be reached: {cause}")]
    Unreachable {
        node: String,
        url: String,
        cause: String,
    },
    #[error("{node} did not answer {method} within {}", Rounded(*after))]
    Timeout {
        node: String,
        method: String,
        after: Duration,
    },
    /// Something answers there, but it does not speak JSON-RPC. `got` is its beginning.
    #[error("{node} ({url}) answers, but not as an Ethereum JSON-RPC endpoint: {got}")]
    NotJsonRpc {
        node: String,
        url: String,
        got: String,
    },
    /// The endpoint belongs to another chain and is not used.
    #[error(
        "{node} ({url}) is an endpoint of chain {got}, but chain {expected} is configured: correct its URL or the ChainID"
    )]
    WrongChain {
        node: String,
        url: String,
        expected: u64,
        got: u64,
    },
    /// HTTP 429 or the like: ask less, or later.
    #[error("{node} is out of quota for now (rate limit): {message}")]
    RateLimited { node: String, message: String },
    /// We ask it as much as it may be asked: another one, or later.
    #[error("{node} is asked as much as it may be for now")]
    Busy {
        node: String,
        /// When it makes sense to ask again.
        retry_after: std::time::Duration,
    },
    /// JSON-RPC, but not what the method promises.
    #[error("{node} gave an answer to {method} that cannot be read: {cause}; it begins {got:?}")]
    Decode {
        node: String,
        method: String,
        cause: String,
        got: String,
    },
    #[error("{node} takes no request as large as this one for {method} ({bytes} bytes; HTTP 413)")]
    RequestTooLarge {
        node: String,
        method: String,
        bytes: usize,
    },
    #[error("{node} answered {method} with more than {limit} bytes")]
    TooLarge {
        node: String,
        method: String,
        limit: usize,
    },
    /// The asked endpoints do not (yet) know the block: ask again later.
    #[error("{node} does not know the block: {message}")]
    UnknownBlock { node: String, message: String },
    /// The range of `eth_getLogs` was too wide for the endpoint: halve it and ask again.
    #[error("{node} finds the range of logs too large: {message}")]
    TooManyResults { node: String, message: String },
    /// Any other JSON-RPC error.
    #[error("{node} answered {method} with error {code}: {message}")]
    Refused {
        node: String,
        method: String,
        code: i64,
        message: String,
        data: Option<String>,
    },
}

impl RpcError {
    /// Whether another endpoint may well answer what this one did not.
    pub fn is_of_the_node(&self) -> bool {
        match self {
            Self::TooManyResults { .. } | Self::NoLiveNode { .. } => false,
            // invalid params, invalid request: our words, not their fault
            Self::Refused {
                code: -32602 | -32600,
                ..
            } => false,
            Self::Refused {
                code,
                message,
                data,
                ..
            } => !revert::is_execution_failure(*code, message, data.as_deref()),
            _ => true,
        }
    }

    /// How long the endpoint, or the line in front of it, wants not to be asked; none if that is not it.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { message, .. } => Some(said_wait(message).unwrap_or(WAIT_UNTOLD)),
            Self::Busy { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The bare cause, without the endpoint's name and URL, for sentences that have them already.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Unreachable { cause, .. } => cause.clone(),
            Self::NotJsonRpc { got, .. } => got.clone(),
            other => other.to_string(),
        }
    }

    /// Whether nothing usable came back at all: connection, time-out, not JSON-RPC.
    pub fn is_transport(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::NotJsonRpc { .. }
                | Self::NoLiveNode { .. }
        )
    }
}

/// Why a call returned no data.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The contract was executed and failed: the same everywhere, so nobody else was asked.
    /// Out of gas and invalid opcodes are here too, without data.
    #[error("{}", revert_sentence(reason.as_deref(), message))]
    Reverted {
        /// Decoded from `Error(string)` or `Panic(uint256)`.
        reason: Option<String>,
        /// The bytes the contract gave, for errors of its own; empty when there were none.
        data: Bytes,
        code: i64,
        /// The endpoint's words.
        message: String,
    },
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

fn revert_sentence(reason: Option<&str>, message: &str) -> String {
    match reason {
        Some(reason) => format!("the call reverted: {reason}"),
        None => format!("the call reverted: {message}"),
    }
}

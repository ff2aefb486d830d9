//! What tasks need from outside. The caller of [`crate::execute`] provides it, so this crate links
//! neither a database nor a chain client.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256};
use futures_util::future::BoxFuture;
use url::Url;
use uuid::Uuid;

use crate::egress::HttpError;
use crate::outcome::TaskResult;
use crate::value::Value;

/// Everything a task may ask for from outside.
pub trait Ports: Send + Sync + 'static {
    /// Sends a request; [`crate::egress::EgressClient::send`] does exactly what is asked for here.
    fn http(&self, call: HttpCall) -> BoxFuture<'_, Result<HttpReply, HttpError>>;

    /// Where a bridge is. The error is a sentence; it becomes the task's error.
    fn bridge(&self, name: &str) -> BoxFuture<'_, Result<BridgeTarget, String>>;

    /// Calls a contract without sending a transaction.
    fn eth_call(&self, call: EthCall) -> BoxFuture<'_, Result<Bytes, EthCallError>>;

    /// How much gas a transaction would take.
    fn estimate_gas(&self, call: EstimateGas) -> BoxFuture<'_, Result<u64, EthCallError>>;

    /// A non-GET `http` task or a `bridge` task has finished. Nothing that depends on it starts
    /// before the returned future is done, so storing the result here means that it is stored
    /// before anything later happens.
    fn finished<'a>(&'a self, task: &'a TaskResult) -> BoxFuture<'a, ()>;

    /// The answer a bridge gave last under this key, unless it is older than `max_age`.
    ///
    /// Without an implementation nothing is ever cached, and `cacheTTL` has no effect.
    fn cached_bridge_answer<'a>(
        &'a self,
        _key: &'a BridgeCacheKey,
        _max_age: Duration,
    ) -> BoxFuture<'a, Option<Value>> {
        Box::pin(std::future::ready(None))
    }

    /// Keeps a bridge's answer for the day it fails.
    fn cache_bridge_answer<'a>(
        &'a self,
        _key: &'a BridgeCacheKey,
        _answer: &'a Value,
    ) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Which answer of a bridge: one task of one pipeline source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BridgeCacheKey {
    /// The task's name.
    pub dot_id: String,
    /// See [`crate::Pipeline::source_hash`].
    pub source_hash: B256,
}

/// Which part of the network a call may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses only.
    Restricted,
    /// Private and loopback addresses too; cloud metadata addresses never.
    Unrestricted,
}

/// An HTTP request a task wants to make.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCall {
    /// Which addresses it may reach.
    pub reach: Reach,
    /// Sent as written.
    pub method: String,
    /// `http` or `https`.
    pub url: Url,
    /// Name and value in order; checked when the request is built.
    pub headers: Vec<(String, String)>,
    /// Sent whatever the method.
    pub body: Option<Vec<u8>>,
    /// Longest time for everything, redirects and body included. The engine also enforces it.
    pub timeout: Option<Duration>,
    /// Longest response body in bytes.
    pub max_response_bytes: usize,
    /// Sent as `Idempotency-Key` unless `headers` has one: the same for every attempt of one task
    /// run, so that the other side can recognise a repetition.
    pub idempotency_key: Option<Uuid>,
    /// Who asks.
    pub origin: CallOrigin,
}

/// On whose behalf a call is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallOrigin {
    /// `$(jobSpec.externalJobID)`, empty when there is none.
    pub external_job_id: String,
    /// The run.
    pub run_id: i64,
    /// The task's name.
    pub dot_id: String,
    /// The bridge that is asked; none for `http` tasks.
    pub bridge: Option<String>,
    /// The URL was computed from the request.
    pub requester_chose_url: bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// Of the last response, after redirects.
    pub status: u16,
    /// Name (lower case) and value; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// Complete.
    pub body: bytes::Bytes,
}

/// A bridge as the operator registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeTarget {
    /// Where it listens.
    pub url: Url,
}

/// Which state of the chain a read refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockChoice {
    /// The newest block.
    #[default]
    Latest,
    /// What the endpoint expects the next block to be.
    Pending,
}

/// A read from a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EthCall {
    /// The chain.
    pub evm_chain_id: u64,
    /// The contract.
    pub to: Address,
    /// Selector and arguments.
    pub data: Bytes,
    /// Zero address unless the task says otherwise.
    pub from: Address,
    /// No gas is sent when unset.
    pub gas: Option<u64>,
    /// In wei.
    pub gas_price: Option<U256>,
    /// In wei.
    pub gas_tip_cap: Option<U256>,
    /// In wei.
    pub gas_fee_cap: Option<U256>,
    /// Which state.
    pub block: BlockChoice,
}

/// A gas estimation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EstimateGas {
    /// The chain.
    pub evm_chain_id: u64,
    /// Sender.
    pub from: Address,
    /// Contract.
    pub to: Address,
    /// Selector and arguments.
    pub data: Bytes,
    /// Which state.
    pub block: BlockChoice,
}

/// Why a chain read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EthCallError {
    /// The node works on no such chain.
    #[error(
        "{}: the node is not configured for chain {evm_chain_id}",
        crate::error::text::INVALID_CHAIN
    )]
    UnknownChain {
        /// The id asked for.
        evm_chain_id: u64,
    },
    /// The endpoint answered with an error; for a revert `data` holds the reason.
    #[error("{message}")]
    Rpc {
        /// JSON-RPC error code.
        code: i64,
        /// JSON-RPC error text.
        message: String,
        /// JSON-RPC error data, usually the revert payload as hex.
        data: Option<String>,
    },
    /// No endpoint answered.
    #[error("{0}")]
    Unavailable(String),
}

//! Event logs and the question for them.

use alloy::primitives::{Address, B256, Bytes};
use serde::Deserialize;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::quantity::{self, Small};

/// One event log of a mined block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub address: Address,
    pub topics: Vec<B256>,
    pub data: Bytes,
    pub block_number: u64,
    pub block_hash: B256,
    pub tx_hash: B256,
    pub tx_index: u64,
    /// Position in the block.
    pub log_index: u64,
    /// The endpoint says the log's block left its chain. Never rely on hearing this.
    pub removed: bool,
}

/// Which blocks to look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// Exactly this block. An endpoint that does not know it says so
    /// ([`RpcError::UnknownBlock`](crate::RpcError::UnknownBlock)).
    Hash(B256),
    /// From the first to the last number, both included.
    Range(u64, u64),
}

/// What `eth_getLogs` is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    /// Any of these contracts; empty means every contract. Providers take about 1,000.
    pub addresses: Vec<Address>,
    /// Any of these events; empty means every event.
    pub topics0: Vec<B256>,
    pub blocks: Blocks,
}

impl Serialize for LogFilter {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("LogFilter", 4)?;
        match self.blocks {
            Blocks::Hash(hash) => out.serialize_field("blockHash", &hash)?,
            Blocks::Range(first, last) => {
                out.serialize_field("fromBlock", &format_args!("{first:#x}"))?;
                out.serialize_field("toBlock", &format_args!("{last:#x}"))?;
            }
        }
        if !self.addresses.is_empty() {
            out.serialize_field("address", &self.addresses)?;
        }
        if !self.topics0.is_empty() {
            out.serialize_field("topics", &[&self.topics0])?;
        }
        out.end()
    }
}

/// A log as it comes over the wire, where pending ones have no place yet.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireLog {
    address: Address,
    #[serde(default)]
    topics: Vec<B256>,
    #[serde(default)]
    data: Bytes,
    block_number: Option<Small>,
    block_hash: Option<B256>,
    transaction_hash: Option<B256>,
    #[serde(default, deserialize_with = "quantity::maybe_small")]
    transaction_index: Option<u64>,
    #[serde(default, deserialize_with = "quantity::maybe_small")]
    log_index: Option<u64>,
    #[serde(default)]
    removed: bool,
}

impl WireLog {
    /// The log, unless its block is not mined yet.
    pub(crate) fn mined(self) -> Option<Log> {
        Some(Log {
            address: self.address,
            topics: self.topics,
            data: self.data,
            block_number: self.block_number?.0,
            block_hash: self.block_hash?,
            tx_hash: self.transaction_hash?,
            tx_index: self.transaction_index?,
            log_index: self.log_index?,
            removed: self.removed,
        })
    }
}

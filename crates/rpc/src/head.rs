//! A block as far as a node has to know it, and the names a block can be asked for by.

use std::fmt;

use alloy::primitives::{B256, Bloom};
use serde::{Deserialize, Serialize, Serializer};

use crate::quantity;

/// A block header as an endpoint gave it. The hash is the endpoint's word and is never computed
/// from the other fields, because several chains hash more than we know of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    #[serde(deserialize_with = "quantity::small")]
    pub number: u64,
    pub hash: B256,
    pub parent_hash: B256,
    /// Seconds since 1970.
    #[serde(deserialize_with = "quantity::small")]
    pub timestamp: u64,
    /// Wei; absent before EIP-1559.
    #[serde(default, deserialize_with = "quantity::maybe_big")]
    pub base_fee_per_gas: Option<u128>,
    #[serde(default)]
    pub receipts_root: B256,
    #[serde(default)]
    pub transactions_root: B256,
    #[serde(default)]
    pub state_root: B256,
    /// Absent or all zero on some L2s even where there are logs.
    #[serde(default)]
    pub logs_bloom: Option<Box<Bloom>>,
    /// Arbitrum only.
    #[serde(default, deserialize_with = "quantity::maybe_small")]
    pub l1_block_number: Option<u64>,
    #[serde(default, deserialize_with = "quantity::small")]
    pub gas_limit: u64,
}

/// Which block a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockTag {
    Latest,
    Safe,
    Finalized,
    Pending,
    Earliest,
    Number(u64),
    /// Exactly this block, canonical or not (EIP-1898).
    Hash(B256),
}

impl From<u64> for BlockTag {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for BlockTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Safe => f.write_str("safe"),
            Self::Finalized => f.write_str("finalized"),
            Self::Pending => f.write_str("pending"),
            Self::Earliest => f.write_str("earliest"),
            Self::Number(number) => write!(f, "{number:#x}"),
            Self::Hash(hash) => write!(f, "{hash}"),
        }
    }
}

impl Serialize for BlockTag {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ByHash {
            block_hash: B256,
        }
        match self {
            Self::Hash(block_hash) => ByHash {
                block_hash: *block_hash,
            }
            .serialize(s),
            named => s.collect_str(named),
        }
    }
}

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};

/// One block of one chain: the height alone does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Height above genesis.
    pub number: u64,
    /// Hash as the RPC endpoint reported it; never computed here (several chains extend the header).
    pub hash: B256,
}

impl std::fmt::Display for BlockRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.number, self.hash)
    }
}

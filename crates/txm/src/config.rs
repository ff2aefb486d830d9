use std::time::Duration;

use alloy::primitives::Address;
use dodona_model::{ChainId, U256};

use crate::fees::FeeConfig;

/// How transactions of one chain are sent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The chain.
    pub chain_id: ChainId,
    /// Prices.
    pub fees: FeeConfig,
    /// Price limits of single keys, wei per gas.
    pub price_max_of: Vec<(Address, U256)>,
    /// Signed and not yet mined transactions of one key, at most; 0 means no limit.
    pub max_in_flight: u32,
    /// Blocks after which an unmined transaction is given a higher fee; 0 means never.
    pub bump_threshold: u64,
    /// Time after which an unmined transaction is sent again as it is; zero means never.
    pub resend_after: Duration,
    /// Whether a key that was used elsewhere has its nonce moved forward at start.
    pub nonce_auto_sync: bool,
    /// The LINK token, where its balances are to be shown.
    pub link: Option<Address>,
}

impl Config {
    /// The most this key may offer per unit of gas, wei.
    pub fn price_max(&self, key: Address) -> U256 {
        self.price_max_of
            .iter()
            .find(|(address, _)| *address == key)
            .map_or(self.fees.price_max, |(_, own)| {
                (*own).min(self.fees.price_max)
            })
    }
}

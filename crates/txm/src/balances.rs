use alloy::primitives::{Address, Bytes, U256};
use anyhow::Context;
use dodona_rpc::{BlockTag, CallRequest, Pool};
use dodona_runtime::Service;
use dodona_store::{Leader, keys};
use serde::Serialize;

use crate::Config;

/// `balanceOf(address)`.
const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];

/// What one round saw.
#[derive(Debug, Serialize)]
pub struct Balances {
    keys: usize,
    changed: usize,
}

/// Keeps the balances of a chain's keys in their rows, where the API and the metrics read them.
pub struct BalanceMonitor {
    pool: Pool,
    config: Config,
}

impl BalanceMonitor {
    /// A monitor of one chain.
    pub fn new(pool: Pool, config: Config) -> Self {
        Self { pool, config }
    }

    async fn link(&self, key: Address, token: Address) -> Option<U256> {
        let mut data = BALANCE_OF.to_vec();
        data.extend_from_slice(&[0; 12]);
        data.extend_from_slice(key.as_slice());
        let request = CallRequest::to(token, Bytes::from(data));
        // A chain without that token shows no LINK; it must not stop the native balance.
        let answer = self.pool.call(&request, BlockTag::Latest).await.ok()?;
        (answer.len() == 32).then(|| U256::from_be_slice(&answer))
    }
}

impl Service<Leader> for BalanceMonitor {
    type Report = Balances;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Balances> {
        let chain = self.config.chain_id;
        let enabled = keys::of_chain(&mut lead.store().read().await?, chain).await?;
        let addresses: Vec<Address> = enabled.iter().map(|state| state.address).collect();
        let balances = self
            .pool
            .balances(&addresses)
            .await
            .context("asking for balances")?;
        let mut changed = Vec::new();
        for (state, wei) in enabled.iter().zip(balances) {
            let link = match self.config.link {
                Some(token) => self.link(state.address, token).await,
                None => None,
            };
            if (state.balance_wei, state.link_juels) != (Some(wei), link) {
                changed.push((state.address, wei, link));
            }
        }
        let report = Balances {
            keys: addresses.len(),
            changed: changed.len(),
        };
        if changed.is_empty() {
            return Ok(report);
        }
        let mut tx = lead.begin().await?;
        for (address, wei, link) in &changed {
            keys::set_balance(&mut tx, chain, *address, *wei, *link).await?;
        }
        tx.commit().await?;
        Ok(report)
    }

    fn worked(_: &Balances) -> bool {
        false
    }
}

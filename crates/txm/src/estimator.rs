use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use dodona_model::{ChainId, U256};
use dodona_rpc::{BlockTag, Pool};
use dodona_store::{Store, heads};
use metrics::gauge;

use crate::fees::{FeeConfig, Market, Mode};

/// Tips and suggested prices are asked for again after this long; the base fee comes with each head.
const FRESH: Duration = Duration::from_secs(5);

/// Knows what the market pays, without asking for every transaction.
#[derive(Debug)]
pub struct Estimator {
    chain: ChainId,
    config: FeeConfig,
    known: Mutex<Option<(Instant, Market)>>,
}

impl Estimator {
    /// An estimator that knows nothing yet.
    pub fn new(chain: ChainId, config: FeeConfig) -> Self {
        Self {
            chain,
            config,
            known: Mutex::new(None),
        }
    }

    /// The market now. The base fee is that of the newest head row; in fixed mode nothing is asked.
    pub async fn market(&self, pool: &Pool, store: &Store) -> anyhow::Result<Market> {
        if self.config.mode == Mode::Fixed {
            return Ok(Market::default());
        }
        let mut market = match self.remembered() {
            Some(market) => market,
            None => self.ask(pool).await?,
        };
        if self.config.dynamic {
            let head = heads::latest(&mut store.read().await?, self.chain).await?;
            market.base_fee = head.and_then(|head| head.base_fee_wei).or(market.base_fee);
            if let Some(base_fee) = market.base_fee {
                gauge!("gas_updater_current_base_fee", "evmChainID" => self.chain.to_string())
                    .set(f64::from(base_fee));
            }
        }
        Ok(market)
    }

    fn remembered(&self) -> Option<Market> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .filter(|(asked, _)| asked.elapsed() < FRESH)
            .map(|(_, market)| market)
    }

    async fn ask(&self, pool: &Pool) -> anyhow::Result<Market> {
        let percentile = f64::from(self.config.percentile.min(100));
        let label = format!("{percentile}%");
        let chain = self.chain.to_string();
        let market = if self.config.dynamic {
            let blocks = self.config.history_blocks.max(1);
            let history = pool
                .fee_history(blocks, BlockTag::Latest, &[percentile])
                .await
                .context("asking what recent blocks paid (eth_feeHistory)")?;
            let tips: Vec<u128> = history
                .reward
                .iter()
                .filter_map(|block| block.first().copied())
                .filter(|tip| *tip > 0)
                .collect();
            let tip = middle(tips).map(U256::from);
            let base_fee = history.base_fee_per_gas.last().copied().map(U256::from);
            if let Some(tip) = tip {
                gauge!("gas_updater_set_tip_cap", "percentile" => label, "evmChainID" => chain)
                    .set(f64::from(tip));
            }
            Market {
                base_fee,
                tip,
                gas_price: None,
            }
        } else {
            let price = pool
                .gas_price()
                .await
                .context("asking for the gas price (eth_gasPrice)")?;
            let price = U256::from(price);
            gauge!("gas_updater_set_gas_price", "percentile" => label, "evmChainID" => chain)
                .set(f64::from(price));
            Market {
                gas_price: Some(price),
                ..Market::default()
            }
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), market));
        Ok(market)
    }
}

fn middle(mut tips: Vec<u128>) -> Option<u128> {
    tips.sort_unstable();
    tips.get(tips.len() / 2).copied()
}

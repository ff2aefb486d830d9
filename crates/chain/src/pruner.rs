use std::time::Duration;

use dodona_runtime::{Service, clock};
use dodona_store::{Leader, heads, logs};
use serde::Serialize;

use crate::Config;

/// Decided logs are kept at least this long, so that an operator can look at yesterday.
const KEEP_LOGS: Duration = Duration::from_secs(7 * 24 * 3600);

/// Forgets headers and decided logs that can no longer matter.
#[derive(Debug)]
pub struct Pruner {
    config: Config,
}

/// What one round did.
#[derive(Debug, Serialize)]
pub struct Pruned {
    heads: u64,
    logs: u64,
}

impl Pruner {
    /// A pruner for one chain.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Service<Leader> for Pruner {
    type Report = Pruned;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Pruned> {
        let chain = self.config.chain_id;
        let cursor = heads::cursor(&mut lead.store().read().await?, chain).await?;
        let Some(cursor) = cursor else {
            return Ok(Pruned { heads: 0, logs: 0 });
        };
        let below = cursor.finalized.saturating_sub(self.config.history_depth);
        let mut tx = lead.begin().await?;
        let heads = heads::prune(&mut tx, chain, below).await?;
        let logs = logs::prune(&mut tx, chain, below, clock::now().minus(KEEP_LOGS)).await?;
        tx.commit().await?;
        Ok(Pruned { heads, logs })
    }

    fn worked(_: &Pruned) -> bool {
        false
    }
}

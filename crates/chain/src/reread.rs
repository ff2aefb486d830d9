//! Final blocks are read a second time: what an endpoint left out while a block was new is found then, late but not
//! never.

use std::time::{Duration, Instant};

use anyhow::Context;
use dodona_model::ChainId;
use dodona_rpc::Pool;
use dodona_runtime::{Service, clock};
use dodona_store::logs::Log;
use dodona_store::{Leader, heads, logs};
use serde::Serialize;

use crate::fetch::{self, RangeError};
use crate::scanner::watched;
use crate::{Config, observe};

/// Blocks that are worth a question.
const WORTH: u64 = 32;
/// As soon as the oldest has waited for so long, fewer are worth one too.
const PATIENCE: Duration = Duration::from_secs(60);
/// Blocks in one question, at most.
const MOST: u64 = 500;

/// Reads final blocks a second time, a few at once.
pub struct Rereader {
    pool: Pool,
    config: Config,
    last: Instant,
    // Blocks in one question right now: halved on refusal.
    range: u64,
}

/// What one round did.
#[derive(Debug, Default, Serialize)]
pub struct Reread {
    /// The final block up to which everything was read twice.
    pub to: u64,
    /// Logs that were missing before.
    pub found: u64,
    more: bool,
}

impl Rereader {
    /// A reader that begins at what is final at its first round.
    pub fn new(pool: Pool, config: Config) -> Self {
        Self {
            pool,
            config,
            last: Instant::now(),
            range: MOST,
        }
    }

    async fn round(&mut self, lead: &Leader) -> anyhow::Result<Reread> {
        let (pool, config) = (self.pool.clone(), self.config.clone());
        let chain = config.chain_id;
        let (cursor, done) = {
            let mut conn = lead.store().read().await?;
            let cursor = heads::cursor(&mut conn, chain).await?;
            (cursor, heads::reread(&mut conn, chain).await?)
        };
        let Some(cursor) = cursor else {
            return Ok(Reread::default());
        };
        let Some(done) = done else {
            // A database of before, or a first start: from here on.
            self.note(lead, chain, cursor.finalized, &[]).await?;
            return Ok(Reread {
                to: cursor.finalized,
                ..Reread::default()
            });
        };
        let waiting = cursor.finalized.saturating_sub(done);
        let worth = waiting >= WORTH || (waiting > 0 && self.last.elapsed() >= PATIENCE);
        let idle = Reread {
            to: done,
            ..Reread::default()
        };
        if !worth {
            return Ok(idle);
        }
        let (from, to) = (done + 1, cursor.finalized.min(done + self.range));
        let contracts = watched(&mut lead.store().read().await?, &config).await?;
        let blocks = match fetch::range(&pool, from, to, &contracts).await {
            Ok(blocks) => blocks,
            Err(RangeError::TooMuch(_)) if to > from => {
                self.range = (to - from).div_ceil(2).max(1);
                return Ok(Reread { more: true, ..idle });
            }
            Err(RangeError::TooMuch(cause)) => {
                return Err(cause).context("one block alone has too many logs");
            }
            Err(RangeError::Other(cause)) => {
                return Err(cause).context("reading final blocks a second time");
            }
        };
        self.range = (self.range * 2).min(MOST);
        let now = clock::now();
        let found: Vec<Log> = blocks
            .iter()
            .flat_map(|block| &block.logs)
            .map(|log| fetch::log_row(log, now))
            .collect();
        let found = self.note(lead, chain, to, &found).await?;
        if found > 0 {
            observe::found_later(chain, from, to, found);
        }
        Ok(Reread {
            to,
            found,
            more: to < cursor.finalized,
        })
    }

    async fn note(
        &mut self,
        lead: &Leader,
        chain: ChainId,
        to: u64,
        found: &[Log],
    ) -> anyhow::Result<u64> {
        let mut tx = lead.begin().await?;
        let news = logs::insert_each(&mut tx, chain, found).await?;
        heads::set_reread(&mut tx, chain, to).await?;
        if news > 0 {
            tx.poke_on_commit("logs");
        }
        tx.commit().await?;
        self.last = Instant::now();
        Ok(news)
    }
}

impl Service<Leader> for Rereader {
    type Report = Reread;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Reread> {
        self.round(lead).await
    }

    fn worked(_: &Reread) -> bool {
        false
    }

    fn again(done: &Reread) -> bool {
        done.more
    }
}

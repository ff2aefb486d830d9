use anyhow::{Context, bail};
use dodona_model::{Address, BlockRef, Timestamp};
use dodona_rpc::{BlockTag, Head, Pool};
use dodona_runtime::{Service, clock};
use dodona_store::heads::Cursor;
use dodona_store::{Conn, Leader, heads, jobs, logs};
use serde::Serialize;
use tracing::debug;

use crate::ancestor::{self, Ancestor};
use crate::fetch::{self, Block, RangeError};
use crate::{Config, HeadWatch, observe};

/// Blocks below the head that are read one by one, linked by hash; what lies deeper goes by ranges.
const HOT_BLOCKS: u64 = 64;

/// What one round did.
#[derive(Debug, Serialize)]
pub struct Round {
    /// The block up to which logs are read, and whether the head is above it.
    pub at: Option<BlockRef>,
    /// New logs written.
    pub logs: usize,
    /// The position or the canonical chain changed.
    pub moved: bool,
    /// There is more to read at once.
    pub behind: bool,
}

/// Reads every block of a chain once, whatever the endpoints announce or forget to announce.
pub struct Scanner {
    pool: Pool,
    config: Config,
    watch: HeadWatch,
    // Blocks per range right now: halved on refusal, grown on success.
    range: u64,
    started: bool,
}

impl Scanner {
    /// A scanner that writes nothing until its first round.
    pub fn new(pool: Pool, config: Config, watch: HeadWatch) -> Self {
        let range = config.batch_size.max(1);
        Self {
            pool,
            config,
            watch,
            range,
            started: false,
        }
    }

    async fn round(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        let announced = self.watch.take();
        let (head, seen_at) = match announced {
            Some(announced) => announced,
            None => (
                self.pool
                    .latest_block()
                    .await
                    .context("asking for the latest block")?,
                clock::now(),
            ),
        };
        let (cursor, contracts, unread) = {
            let mut conn = lead.store().read().await?;
            let contracts = watched(&mut conn, &self.config).await?;
            let read = heads::filters(&mut conn, self.config.chain_id).await?;
            let unread: Vec<Address> = contracts
                .iter()
                .filter(|a| !read.contains(a))
                .copied()
                .collect();
            (
                heads::cursor(&mut conn, self.config.chain_id).await?,
                contracts,
                unread,
            )
        };
        let Some(cursor) = cursor else {
            return self.begin(lead, &head, seen_at, &contracts).await;
        };
        if !self.started && self.config.backfill_skip {
            let target = head.number.saturating_sub(self.config.backfill_depth);
            if target > cursor.block.number + 1 {
                return self.jump(lead, &cursor, target - 1).await;
            }
        }
        self.started = true;
        if !unread.is_empty() {
            self.read_past(lead, &cursor, &unread).await?;
        }
        if head.number <= cursor.block.number {
            return self.look_sideways(lead, &cursor, &head).await;
        }
        let hot = self.config.finality.unsettled(HOT_BLOCKS);
        if head.number - cursor.block.number > hot {
            return self
                .read_range(lead, &cursor, &head, head.number - hot, &contracts)
                .await;
        }
        match fetch::linked(&self.pool, cursor.block, head.clone(), &contracts).await? {
            Some(blocks) => {
                let finalized = self.finalized(&head, cursor.finalized).await?;
                let at = BlockRef {
                    number: head.number,
                    hash: head.hash,
                };
                let cursor = Cursor {
                    block: at,
                    finalized: finalized.min(at.number),
                    updated_at: clock::now(),
                };
                let logs = self.write(lead, &blocks, None, &cursor, seen_at).await?;
                Ok(Round {
                    at: Some(at),
                    logs,
                    moved: true,
                    behind: false,
                })
            }
            None => self.rewind(lead, &cursor, cursor.block.number).await,
        }
    }

    /// The first look at this chain: stand `backfill_depth` below the head and read from there.
    async fn begin(
        &mut self,
        lead: &Leader,
        head: &Head,
        seen_at: Timestamp,
        contracts: &[Address],
    ) -> anyhow::Result<Round> {
        let number = head.number.saturating_sub(self.config.backfill_depth);
        let first = if number == head.number {
            head.clone()
        } else {
            self.pool
                .block_by_number(number)
                .await?
                .context("the endpoint does not have its own recent blocks")?
        };
        let at = BlockRef {
            number: first.number,
            hash: first.hash,
        };
        let finalized = self.finalized(head, 0).await?.min(at.number);
        let mut tx = lead.begin().await?;
        heads::insert(
            &mut tx,
            self.config.chain_id,
            &fetch::head_row(&first, seen_at),
        )
        .await?;
        for contract in contracts {
            heads::add_filter(&mut tx, self.config.chain_id, *contract, at.number).await?;
        }
        let cursor = Cursor {
            block: at,
            finalized,
            updated_at: clock::now(),
        };
        heads::set_cursor(&mut tx, self.config.chain_id, &cursor).await?;
        tx.commit().await?;
        self.started = true;
        observe::begins(self.config.chain_id, at);
        Ok(Round {
            at: Some(at),
            logs: 0,
            moved: true,
            behind: head.number > at.number,
        })
    }

    /// Stands on `number` without having read what lies between, because the operator said so.
    async fn jump(&mut self, lead: &Leader, cursor: &Cursor, number: u64) -> anyhow::Result<Round> {
        // What was reorganised away meanwhile must not stay behind as canonical.
        if !self.still_stands(cursor).await? {
            return self.rewind(lead, cursor, cursor.block.number).await;
        }
        observe::skipped(self.config.chain_id, cursor.block.number + 1, number);
        let head = self
            .pool
            .block_by_number(number)
            .await?
            .context("the endpoint is behind")?;
        let at = BlockRef {
            number: head.number,
            hash: head.hash,
        };
        let cursor = Cursor {
            block: at,
            updated_at: clock::now(),
            ..*cursor
        };
        self.write(lead, &[], Some(&head), &cursor, clock::now())
            .await?;
        self.started = true;
        Ok(Round {
            at: Some(at),
            logs: 0,
            moved: true,
            behind: true,
        })
    }

    /// A head that is not above us: the same block, an endpoint behind, or another branch.
    async fn look_sideways(
        &mut self,
        lead: &Leader,
        cursor: &Cursor,
        head: &Head,
    ) -> anyhow::Result<Round> {
        let ours = {
            let mut conn = lead.store().read().await?;
            heads::canonical_at(&mut conn, self.config.chain_id, head.number).await?
        };
        let idle = Round {
            at: Some(cursor.block),
            logs: 0,
            moved: false,
            behind: false,
        };
        let differs = ours
            .as_ref()
            .is_some_and(|ours| ours.block.hash != head.hash);
        if head.number < cursor.finalized && ours.is_none() {
            observe::very_old_head(self.config.chain_id);
            bail!(
                "the endpoint's newest block {} is below block {}, which was final here: it is still syncing, or of another chain",
                head.number,
                cursor.finalized
            );
        }
        if head.number < cursor.finalized && differs {
            let final_here = {
                let mut conn = lead.store().read().await?;
                heads::canonical_up_to(&mut conn, self.config.chain_id, cursor.finalized).await?
            };
            let final_here = final_here.map_or(cursor.block, |head| head.block);
            return Err(ancestor::violated(self.config.chain_id, final_here));
        }
        if differs {
            return self.rewind(lead, cursor, head.number).await;
        }
        Ok(idle)
    }

    async fn rewind(&mut self, lead: &Leader, cursor: &Cursor, from: u64) -> anyhow::Result<Round> {
        let chain = self.config.chain_id;
        let found =
            ancestor::common(&self.pool, lead.store(), chain, from, cursor.finalized).await?;
        let (at, header) = match found {
            // Another endpoint showed another branch; the one we read from does not.
            Ancestor::Known(at) if at == cursor.block => {
                return Ok(Round {
                    at: Some(at),
                    logs: 0,
                    moved: false,
                    behind: false,
                });
            }
            Ancestor::Known(at) => (at, None),
            Ancestor::BelowAllSeen(head) => {
                let at = BlockRef {
                    number: head.number,
                    hash: head.hash,
                };
                (at, Some(head))
            }
        };
        let now = clock::now();
        let mut tx = lead.begin().await?;
        let gone = heads::rewind(&mut tx, chain, at.number, now).await?;
        if let Some(head) = header {
            heads::insert(&mut tx, chain, &fetch::head_row(&head, now)).await?;
        }
        let back = Cursor {
            block: at,
            updated_at: now,
            ..*cursor
        };
        heads::set_cursor(&mut tx, chain, &back).await?;
        tx.commit().await?;
        observe::reorganised(chain, cursor.block, at.number, gone);
        Ok(Round {
            at: Some(at),
            logs: 0,
            moved: true,
            behind: true,
        })
    }

    /// Whether the endpoint still has the block we stand on.
    async fn still_stands(&self, cursor: &Cursor) -> anyhow::Result<bool> {
        let shown = self.pool.block_by_number(cursor.block.number).await?;
        let shown = shown.context("the endpoint is behind")?;
        Ok(shown.hash == cursor.block.hash)
    }

    /// Catches up through settled blocks, as many at once as the endpoint allows.
    async fn read_range(
        &mut self,
        lead: &Leader,
        cursor: &Cursor,
        head: &Head,
        until: u64,
        contracts: &[Address],
    ) -> anyhow::Result<Round> {
        if !self.still_stands(cursor).await? {
            return self.rewind(lead, cursor, cursor.block.number).await;
        }
        let from = cursor.block.number + 1;
        let to = until.min(cursor.block.number + self.range);
        let blocks = match fetch::range(&self.pool, from, to, contracts).await {
            Ok(blocks) => blocks,
            Err(RangeError::TooMuch(error)) => {
                self.narrow(to - from + 1, error)?;
                return Ok(Round {
                    at: Some(cursor.block),
                    logs: 0,
                    moved: false,
                    behind: true,
                });
            }
            Err(RangeError::Other(error)) => return Err(error),
        };
        let last = self
            .pool
            .block_by_number(to)
            .await?
            .context("the endpoint is behind")?;
        let at = BlockRef {
            number: last.number,
            hash: last.hash,
        };
        let finalized = self.finalized(head, cursor.finalized).await?;
        let next = Cursor {
            block: at,
            finalized: finalized.min(at.number),
            updated_at: clock::now(),
        };
        let logs = self
            .write(lead, &blocks, Some(&last), &next, clock::now())
            .await?;
        self.widen();
        Ok(Round {
            at: Some(at),
            logs,
            moved: true,
            behind: true,
        })
    }

    /// An endpoint found this many blocks too many for one question.
    fn narrow(&mut self, asked: u64, error: dodona_rpc::RpcError) -> anyhow::Result<()> {
        if asked <= 1 {
            return Err(error).context("one block alone has too many logs");
        }
        self.range = asked / 2;
        debug!(
            chain.id = self.config.chain_id,
            "reading {} blocks at a time from now on: {error}", self.range
        );
        Ok(())
    }

    fn widen(&mut self) {
        self.range = (self.range + self.range / 4 + 1).min(self.config.batch_size.max(1));
    }

    /// The logs of `contracts` in a range of any width, in as many questions as the endpoint wants.
    async fn read_in_pieces(
        &mut self,
        mut from: u64,
        to: u64,
        contracts: &[Address],
    ) -> anyhow::Result<Vec<Block>> {
        let mut blocks = Vec::new();
        while from <= to {
            let until = to.min(from + self.range - 1);
            match fetch::range(&self.pool, from, until, contracts).await {
                Ok(piece) => {
                    blocks.extend(piece);
                    from = until + 1;
                    self.widen();
                }
                Err(RangeError::TooMuch(error)) => self.narrow(until - from + 1, error)?,
                Err(RangeError::Other(error)) => return Err(error),
            }
        }
        Ok(blocks)
    }

    /// A new job's contract: its recent past is read once, up to where everything else is read.
    async fn read_past(
        &mut self,
        lead: &Leader,
        cursor: &Cursor,
        unread: &[Address],
    ) -> anyhow::Result<()> {
        let from = cursor
            .block
            .number
            .saturating_sub(self.config.backfill_depth);
        let canonical = self
            .read_in_pieces(from, cursor.block.number, unread)
            .await
            .context("reading a new contract's recent blocks")?;
        for block in &canonical {
            let mut conn = lead.store().read().await?;
            let ours =
                heads::canonical_at(&mut conn, self.config.chain_id, block.head.number).await?;
            if ours.is_some_and(|ours| ours.block.hash != block.head.hash) {
                // Above a reorganisation we have not noticed yet, or from an endpoint on a wrong turn:
                // not read. The next round reads it again.
                return Ok(());
            }
        }
        let found = canonical.iter().map(|block| block.logs.len()).sum();
        let mut tx = lead.begin().await?;
        self.write_blocks(&mut tx, &canonical, clock::now()).await?;
        for address in unread {
            heads::add_filter(&mut tx, self.config.chain_id, *address, from).await?;
            observe::watching(self.config.chain_id, *address, from, found);
        }
        tx.poke_on_commit("logs");
        tx.commit().await?;
        Ok(())
    }

    /// The height that is final now; never lower than it was.
    async fn finalized(&self, head: &Head, before: u64) -> anyhow::Result<u64> {
        let finality = self.config.finality;
        let now = if finality.by_tag {
            let block = self
                .pool
                .block_by_number(BlockTag::Finalized)
                .await
                .context("asking for the finalized block")?;
            block
                .map_or(0, |block| block.number)
                .saturating_sub(finality.offset)
        } else {
            finality.by_depth(head.number)
        };
        Ok(now.max(before))
    }

    async fn write(
        &self,
        lead: &Leader,
        blocks: &[Block],
        last: Option<&Head>,
        cursor: &Cursor,
        seen_at: Timestamp,
    ) -> anyhow::Result<usize> {
        let mut tx = lead.begin().await?;
        let written = self.write_blocks(&mut tx, blocks, seen_at).await?;
        if let Some(last) = last {
            heads::insert(
                &mut tx,
                self.config.chain_id,
                &fetch::head_row(last, seen_at),
            )
            .await?;
        }
        heads::set_cursor(&mut tx, self.config.chain_id, cursor).await?;
        tx.poke_on_commit("heads");
        if written > 0 {
            tx.poke_on_commit("logs");
        }
        tx.commit().await?;
        observe::scanned(self.config.chain_id, cursor.block, written);
        Ok(written)
    }

    async fn write_blocks(
        &self,
        tx: &mut dodona_store::LeaderTx,
        blocks: &[Block],
        seen_at: Timestamp,
    ) -> anyhow::Result<usize> {
        let mut written = 0;
        for block in blocks {
            heads::insert(
                tx,
                self.config.chain_id,
                &fetch::head_row(&block.head, seen_at),
            )
            .await?;
            let rows = block.logs.iter();
            let rows: Vec<logs::Log> = rows.map(|log| fetch::log_row(log, seen_at)).collect();
            written += logs::insert_each(tx, self.config.chain_id, &rows).await? as usize;
        }
        Ok(written)
    }
}

/// The contracts whose logs are read: those of jobs, and what the settings add.
pub(crate) async fn watched(conn: &mut Conn, config: &Config) -> anyhow::Result<Vec<Address>> {
    let mut contracts = jobs::contracts(conn, config.chain_id).await?;
    for also in &config.also {
        if !contracts.contains(also) {
            contracts.push(*also);
        }
    }
    Ok(contracts)
}

impl Service<Leader> for Scanner {
    type Report = Round;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        self.round(lead).await
    }

    fn worked(round: &Round) -> bool {
        round.moved
    }

    fn again(round: &Round) -> bool {
        round.behind
    }
}

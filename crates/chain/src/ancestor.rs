//! Where the chain we believed in and the chain the endpoints show part ways.

use anyhow::{Context, bail};
use dodona_model::{BlockRef, ChainId};
use dodona_rpc::{Head, Pool};
use dodona_store::{Store, heads};

use crate::observe;

/// The highest block that both chains have.
pub(crate) enum Ancestor {
    /// One of those we stood on or read the logs of.
    Known(BlockRef),
    /// Everything we ever saw is gone: the endpoint's block right below it.
    BelowAllSeen(Head),
}

/// The highest block at or below `from` that both chains have. Refuses to go below `finalized`: that
/// is no reorganisation but a broken promise, of the chain or of an endpoint, and nothing is undone.
pub(crate) async fn common(
    pool: &Pool,
    store: &Store,
    chain: ChainId,
    from: u64,
    finalized: u64,
) -> anyhow::Result<Ancestor> {
    let mut number = from;
    loop {
        let ours = heads::canonical_up_to(&mut store.read().await?, chain, number).await?;
        let Some(ours) = ours else {
            return Ok(Ancestor::BelowAllSeen(shown(pool, number).await?));
        };
        if shown(pool, ours.block.number).await?.hash == ours.block.hash {
            return Ok(Ancestor::Known(ours.block));
        }
        if ours.block.number == 0 {
            bail!(
                "no block in common with the endpoint on chain {chain}: this database followed another chain with the same id (a development chain that was restarted?); give the node a fresh database or the old chain"
            );
        }
        if ours.block.number <= finalized {
            return Err(violated(chain, ours.block));
        }
        number = ours.block.number - 1;
    }
}

/// Finality was promised for `block`, and an endpoint shows a chain without it.
pub(crate) fn violated(chain: ChainId, block: BlockRef) -> anyhow::Error {
    observe::very_old_head(chain);
    anyhow::anyhow!(
        "finality violated on chain {chain}: block {block} was final here and the endpoint shows another chain; nothing is undone. Check that every endpoint is of this chain and fully synced (a development chain that was restarted needs a fresh database)"
    )
}

/// The endpoint's block at a height it must have. One without it is behind, which says nothing about
/// whose chain is right.
async fn shown(pool: &Pool, number: u64) -> anyhow::Result<Head> {
    let head = pool
        .block_by_number(number)
        .await
        .context("looking for the common ancestor")?;
    head.with_context(|| format!("the endpoint does not have block {number}: it is behind"))
}

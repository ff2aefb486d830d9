//! Where the chain we believed in and the chain the endpoints show part ways.

use anyhow::{Context, bail};
use dodona_model::{BlockRef, ChainId};
use dodona_rpc::Pool;
use dodona_store::{Store, heads};

/// The highest block at or below `from` that both chains have. Refuses to go below `finalized`: that
/// is no reorganisation but a broken promise, of the chain or of an endpoint, and nothing is undone.
pub(crate) async fn common(
    pool: &Pool,
    store: &Store,
    chain: ChainId,
    from: u64,
    finalized: u64,
) -> anyhow::Result<BlockRef> {
    let mut conn = store.read().await?;
    let mut number = from;
    loop {
        if let Some(ours) = heads::canonical_at(&mut conn, chain, number).await? {
            let theirs = pool
                .block_by_number(number)
                .await
                .context("looking for the common ancestor")?;
            if theirs.is_some_and(|theirs| theirs.hash == ours.block.hash) {
                return Ok(ours.block);
            }
            if number <= finalized {
                crate::observe::very_old_head(chain);
                bail!(
                    "finality violated on chain {chain}: block {} was final here and the endpoint shows another chain; nothing is undone. Check that every endpoint is of this chain and fully synced",
                    ours.block
                );
            }
        }
        if number == 0 {
            bail!(
                "no block in common with the endpoint on chain {chain}: this database followed another chain with the same id (a development chain that was restarted?); give the node a fresh database or the old chain"
            );
        }
        number -= 1;
    }
}

//! Block headers as they were seen, and how far their logs were read.

use dodona_model::{B256, BlockRef, ChainId, Timestamp, U256};

use crate::lease::LeaderTx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "heads.insert" =>
        "INSERT INTO heads (chain_id, hash, number, parent_hash, block_time, base_fee_wei, receipts_root,
            transactions_root, state_root, canonical, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10)
         ON CONFLICT (chain_id, hash) DO UPDATE SET canonical = 1";
    CANONICAL_AT = "heads.canonical_at" =>
        "SELECT * FROM heads WHERE chain_id = $1 AND number = $2 AND canonical = 1";
    CANONICAL_UP_TO = "heads.canonical_up_to" =>
        "SELECT * FROM heads WHERE chain_id = $1 AND number <= $2 AND canonical = 1 ORDER BY number DESC LIMIT 1";
    BY_HASH = "heads.by_hash" =>
        "SELECT * FROM heads WHERE chain_id = $1 AND hash = $2";
    LATEST = "heads.latest" =>
        "SELECT * FROM heads WHERE chain_id = $1 AND canonical = 1 ORDER BY number DESC LIMIT 1";
    UNCANONICAL = "heads.rewind" =>
        "UPDATE heads SET canonical = 0 WHERE chain_id = $1 AND number > $2 AND canonical = 1";
    CURSOR = "heads.cursor" =>
        "SELECT number, hash, finalized, updated_at FROM scan_cursors WHERE chain_id = $1";
    SET_CURSOR = "heads.set_cursor" =>
        "INSERT INTO scan_cursors (chain_id, number, hash, finalized, updated_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (chain_id) DO UPDATE SET number = excluded.number, hash = excluded.hash,
            finalized = excluded.finalized, updated_at = excluded.updated_at";
    REREAD = "heads.reread" =>
        "SELECT reread FROM scan_cursors WHERE chain_id = $1";
    SET_REREAD = "heads.set_reread" =>
        "UPDATE scan_cursors SET reread = $2 WHERE chain_id = $1 AND COALESCE(reread, -1) < $2";
    PRUNE = "heads.prune" =>
        "DELETE FROM heads WHERE chain_id = $1 AND number < $2";
    FILTERS = "heads.filters" =>
        "SELECT address FROM scan_filters WHERE chain_id = $1";
    ADD_FILTER = "heads.add_filter" =>
        "INSERT INTO scan_filters (chain_id, address, from_block) VALUES ($1, $2, $3)
         ON CONFLICT (chain_id, address) DO NOTHING";
}

/// A block header as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Height and hash.
    pub block: BlockRef,
    /// The block below.
    pub parent_hash: B256,
    /// The block's own time, seconds since 1970.
    pub block_time: u64,
    /// Base fee in wei, where the chain has one.
    pub base_fee_wei: Option<U256>,
    /// Roots that jobs may ask for.
    pub receipts_root: B256,
    /// See `receipts_root`.
    pub transactions_root: B256,
    /// See `receipts_root`.
    pub state_root: B256,
    /// Whether it is on the chain we believe in now.
    pub canonical: bool,
    /// When we saw it first.
    pub seen_at: Timestamp,
}

/// How far a chain's logs were read: everything up to and including this block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The last block whose logs are stored.
    pub block: BlockRef,
    /// Height of the newest block known to be final.
    pub finalized: u64,
    /// When it moved last.
    pub updated_at: Timestamp,
}

fn head(row: &Row) -> Result<Head> {
    Ok(Head {
        block: BlockRef {
            number: row.get("number")?,
            hash: row.get("hash")?,
        },
        parent_hash: row.get("parent_hash")?,
        block_time: row.get("block_time")?,
        base_fee_wei: row.get("base_fee_wei")?,
        receipts_root: row.get("receipts_root")?,
        transactions_root: row.get("transactions_root")?,
        state_root: row.get("state_root")?,
        canonical: row.get("canonical")?,
        seen_at: row.get("created_at")?,
    })
}

/// Stores a header as canonical; seen before, it becomes canonical again.
pub async fn insert(tx: &mut LeaderTx, chain: ChainId, head: &Head) -> Result<()> {
    let args = args![
        chain,
        head.block.hash,
        head.block.number,
        head.parent_hash,
        head.block_time,
        head.base_fee_wei,
        head.receipts_root,
        head.transactions_root,
        head.state_root,
        head.seen_at
    ];
    tx.run(&INSERT, args).await.map(drop)
}

/// The canonical header at a height, if we still hold it.
pub async fn canonical_at(conn: &mut Conn, chain: ChainId, number: u64) -> Result<Option<Head>> {
    conn.row(&CANONICAL_AT, args![chain, number])
        .await?
        .as_ref()
        .map(head)
        .transpose()
}

/// The highest canonical header at or below a height that we still hold.
pub async fn canonical_up_to(conn: &mut Conn, chain: ChainId, number: u64) -> Result<Option<Head>> {
    conn.row(&CANONICAL_UP_TO, args![chain, number])
        .await?
        .as_ref()
        .map(head)
        .transpose()
}

/// A header by hash, canonical or not.
pub async fn by_hash(conn: &mut Conn, chain: ChainId, hash: B256) -> Result<Option<Head>> {
    conn.row(&BY_HASH, args![chain, hash])
        .await?
        .as_ref()
        .map(head)
        .transpose()
}

/// The highest canonical header.
pub async fn latest(conn: &mut Conn, chain: ChainId) -> Result<Option<Head>> {
    conn.row(&LATEST, args![chain])
        .await?
        .as_ref()
        .map(head)
        .transpose()
}

/// How far the logs of `chain` were read; `None` before the first scan.
pub async fn cursor(conn: &mut Conn, chain: ChainId) -> Result<Option<Cursor>> {
    let Some(row) = conn.row(&CURSOR, args![chain]).await? else {
        return Ok(None);
    };
    Ok(Some(Cursor {
        block: BlockRef {
            number: row.get("number")?,
            hash: row.get("hash")?,
        },
        finalized: row.get("finalized")?,
        updated_at: row.get("updated_at")?,
    }))
}

/// Moves the cursor; in the same transaction as the logs of the blocks it moves over.
pub async fn set_cursor(tx: &mut LeaderTx, chain: ChainId, cursor: &Cursor) -> Result<()> {
    let args = args![
        chain,
        cursor.block.number,
        cursor.block.hash,
        cursor.finalized,
        cursor.updated_at
    ];
    tx.run(&SET_CURSOR, args).await.map(drop)
}

/// Everything above `ancestor` left the canonical chain: its headers, its logs, and with them the
/// incarnation of every request that was mined there. Returns how many logs went.
pub async fn rewind(
    tx: &mut LeaderTx,
    chain: ChainId,
    ancestor: u64,
    now: Timestamp,
) -> Result<u64> {
    tx.run(&UNCANONICAL, args![chain, ancestor]).await?;
    let logs = crate::logs::orphan_above(tx, chain, ancestor).await?;
    crate::requests::orphan_above(tx, chain, ancestor, now).await?;
    Ok(logs)
}

/// The final block up to which everything was read a second time.
pub async fn reread(conn: &mut Conn, chain: ChainId) -> Result<Option<u64>> {
    match conn.row(&REREAD, args![chain]).await? {
        Some(row) => row.get("reread"),
        None => Ok(None),
    }
}

/// Everything up to the final block `number` was read a second time.
pub async fn set_reread(tx: &mut LeaderTx, chain: ChainId, number: u64) -> Result<()> {
    tx.run(&SET_REREAD, args![chain, number]).await.map(drop)
}

/// Forgets headers below `number`. Returns how many.
pub async fn prune(tx: &mut LeaderTx, chain: ChainId, number: u64) -> Result<u64> {
    tx.run(&PRUNE, args![chain, number]).await
}

/// Contracts whose recent past was read.
pub async fn filters(conn: &mut Conn, chain: ChainId) -> Result<Vec<dodona_model::Address>> {
    conn.rows(&FILTERS, args![chain])
        .await?
        .iter()
        .map(|row| row.get("address"))
        .collect()
}

/// Remembers that the logs of `address` were read from `from_block` on.
pub async fn add_filter(
    tx: &mut LeaderTx,
    chain: ChainId,
    address: dodona_model::Address,
    from_block: u64,
) -> Result<()> {
    tx.run(&ADD_FILTER, args![chain, address, from_block])
        .await
        .map(drop)
}

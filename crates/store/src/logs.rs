//! Logs of the contracts our jobs watch, each until somebody decided what it means.

use dodona_model::{Address, B256, BlockRef, Bytes, ChainId, Timestamp, flux};

use crate::lease::LeaderTx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    // A log that left the chain with its block and came back with it is pending again.
    INSERT = "logs.insert" =>
        "INSERT INTO logs (chain_id, block_hash, log_index, block_number, address, topics, data, tx_hash, reader, state, note, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', '', $10)
         ON CONFLICT (chain_id, block_hash, log_index) DO UPDATE SET state = 'pending', note = ''
            WHERE logs.state = 'orphaned'";
    PENDING = "logs.pending" =>
        "SELECT * FROM logs WHERE chain_id = $1 AND state = 'pending' AND block_number <= $2 AND reader = $4
         ORDER BY block_number, log_index LIMIT $3";
    PENDING_AFTER = "logs.pending_after" =>
        "SELECT * FROM logs WHERE chain_id = $1 AND state = 'pending' AND block_number <= $2 AND reader = $4
            AND block_number >= $5 AND (block_number > $5 OR log_index > $6)
         ORDER BY block_number, log_index LIMIT $3";
    CONSUME = "logs.consume" =>
        "UPDATE logs SET state = 'consumed', note = $2 WHERE id = $1 AND state = 'pending'";
    ORPHAN = "logs.orphan_above" =>
        "UPDATE logs SET state = 'orphaned' WHERE chain_id = $1 AND block_number > $2 AND state <> 'orphaned'";
    COUNT_PENDING = "logs.count_pending" =>
        "SELECT COUNT(*) AS n FROM logs WHERE chain_id = $1 AND state = 'pending'";
    PRUNE = "logs.prune" =>
        "DELETE FROM logs WHERE chain_id = $1 AND block_number < $2 AND state <> 'pending' AND created_at < $3";
}

/// Read by whoever answers requests.
const REQUESTS: &str = "requests";
/// Read by flux monitors.
const ROUNDS: &str = "rounds";

/// Who decides what a log means.
fn reader(log: &Log) -> &'static str {
    match log.topics.first() {
        Some(event) if flux::EVENTS.contains(event) => ROUNDS,
        _ => REQUESTS,
    }
}

/// A log as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Row number; 0 before it is stored.
    pub id: i64,
    /// The block that carries it.
    pub block: BlockRef,
    /// Position in that block.
    pub log_index: u64,
    /// The contract that emitted it.
    pub address: Address,
    /// Up to four.
    pub topics: Vec<B256>,
    /// ABI-encoded fields that are not indexed.
    pub data: Bytes,
    /// The transaction that emitted it.
    pub tx_hash: B256,
    /// When we stored it.
    pub seen_at: Timestamp,
}

fn log(row: &Row) -> Result<Log> {
    let topics: Vec<u8> = row.get("topics")?;
    Ok(Log {
        id: row.get("id")?,
        block: BlockRef {
            number: row.get("block_number")?,
            hash: row.get("block_hash")?,
        },
        log_index: row.get("log_index")?,
        address: row.get("address")?,
        topics: topics.chunks_exact(32).map(B256::from_slice).collect(),
        data: row.get::<Vec<u8>>("data")?.into(),
        tx_hash: row.get("tx_hash")?,
        seen_at: row.get("created_at")?,
    })
}

/// Stores a log of a canonical block; known ones stay as they are. Returns whether it is news.
pub async fn insert(tx: &mut LeaderTx, chain: ChainId, log: &Log) -> Result<bool> {
    let topics: Vec<u8> = log.topics.iter().flat_map(|topic| topic.0).collect();
    let args = args![
        chain,
        log.block.hash,
        log.log_index,
        log.block.number,
        log.address,
        topics,
        log.data.to_vec(),
        log.tx_hash,
        reader(log),
        log.seen_at
    ];
    Ok(tx.run(&INSERT, args).await? > 0)
}

/// Canonical logs about requests that nobody decided about yet, up to block `until`, oldest first, at
/// most `limit`.
pub async fn pending(conn: &mut Conn, chain: ChainId, until: u64, limit: u32) -> Result<Vec<Log>> {
    unread(conn, chain, until, limit, REQUESTS).await
}

/// As [`pending`], behind the log at `after`: for whoever leaves some of them undecided and goes on.
pub async fn pending_after(
    conn: &mut Conn,
    chain: ChainId,
    until: u64,
    after: (u64, u64),
    limit: u32,
) -> Result<Vec<Log>> {
    let args = args![chain, until, limit, REQUESTS, after.0, after.1];
    conn.rows(&PENDING_AFTER, args)
        .await?
        .iter()
        .map(log)
        .collect()
}

/// Canonical logs about rounds of flux aggregators that nobody decided about yet, oldest first, at most
/// `limit`. They need no confirmations: what they lead to is decided again before it is sent.
pub async fn pending_rounds(conn: &mut Conn, chain: ChainId, limit: u32) -> Result<Vec<Log>> {
    unread(conn, chain, u64::MAX, limit, ROUNDS).await
}

async fn unread(
    conn: &mut Conn,
    chain: ChainId,
    until: u64,
    limit: u32,
    reader: &str,
) -> Result<Vec<Log>> {
    conn.rows(&PENDING, args![chain, until, limit, reader])
        .await?
        .iter()
        .map(log)
        .collect()
}

/// Marks a log as decided, with the reason where it led to nothing. `false`: it no longer was pending.
pub async fn consume(tx: &mut LeaderTx, id: i64, note: &str) -> Result<bool> {
    Ok(tx.run(&CONSUME, args![id, note]).await? == 1)
}

/// How many canonical logs nobody decided about yet.
pub async fn count_pending(conn: &mut Conn, chain: ChainId) -> Result<u64> {
    conn.one(&COUNT_PENDING, args![chain]).await?.get("n")
}

pub(crate) async fn orphan_above(tx: &mut LeaderTx, chain: ChainId, ancestor: u64) -> Result<u64> {
    tx.run(&ORPHAN, args![chain, ancestor]).await
}

/// Forgets decided logs below `number` that were stored before `stored_before`. Returns how many.
pub async fn prune(
    tx: &mut LeaderTx,
    chain: ChainId,
    number: u64,
    stored_before: Timestamp,
) -> Result<u64> {
    tx.run(&PRUNE, args![chain, number, stored_before]).await
}

//! Logs of the contracts our jobs watch, each until somebody decided what it means.

use alloy::hex::encode as hex;
use dodona_model::{Address, B256, BlockRef, Bytes, ChainId, Timestamp, flux};
use serde_json::json;

use crate::lease::LeaderTx;
use crate::sql::{Row, args, clean, declare, int};
use crate::{Conn, Result};

declare! {
    // A log that left the chain with its block and came back with it is pending again.
    INSERT = "logs.insert_each" =>
        "INSERT INTO logs (chain_id, block_hash, log_index, block_number, address, topics, data, tx_hash, reader, state, note, created_at)
         SELECT $2, unhex(value ->> 'block_hash'), value ->> 'log_index', value ->> 'block_number', unhex(value ->> 'address'),
            unhex(value ->> 'topics'), unhex(value ->> 'data'), unhex(value ->> 'tx_hash'), value ->> 'reader', 'pending', '',
            value ->> 'seen_at'
         FROM json_each($1) WHERE true
         ON CONFLICT (chain_id, block_hash, log_index) DO UPDATE SET state = 'pending', note = ''
            WHERE logs.state = 'orphaned'",
        "INSERT INTO logs (chain_id, block_hash, log_index, block_number, address, topics, data, tx_hash, reader, state, note, created_at)
         SELECT $2, decode(block_hash, 'hex'), log_index, block_number, decode(address, 'hex'), decode(topics, 'hex'),
            decode(data, 'hex'), decode(tx_hash, 'hex'), reader, 'pending', '', seen_at
         FROM json_to_recordset(CAST($1 AS JSON)) AS l(block_hash TEXT, log_index BIGINT, block_number BIGINT, address TEXT,
            topics TEXT, data TEXT, tx_hash TEXT, reader TEXT, seen_at BIGINT)
         ON CONFLICT (chain_id, block_hash, log_index) DO UPDATE SET state = 'pending', note = ''
            WHERE logs.state = 'orphaned'";
    PENDING = "logs.pending" =>
        "SELECT * FROM logs WHERE chain_id = $1 AND state = 'pending' AND block_number <= $2 AND reader = $4
         ORDER BY block_number, log_index LIMIT $3";
    PENDING_AFTER = "logs.pending_after" =>
        "SELECT * FROM logs WHERE chain_id = $1 AND state = 'pending' AND block_number <= $2 AND reader = $4
            AND block_number >= $5 AND (block_number > $5 OR log_index > $6)
         ORDER BY block_number, log_index LIMIT $3";
    CONSUME = "logs.consume_each" =>
        "UPDATE logs SET state = 'consumed', note = e.value ->> 'note' FROM json_each($1) AS e
         WHERE logs.id = e.value ->> 'id' AND logs.state = 'pending'",
        "UPDATE logs SET state = 'consumed', note = e.note FROM json_to_recordset(CAST($1 AS JSON)) AS e(id BIGINT, note TEXT)
         WHERE logs.id = e.id AND logs.state = 'pending'";
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

/// Stores logs of canonical blocks by one statement; known ones stay as they are. Returns how many are news.
/// A block's log must not be in it twice.
pub async fn insert_each(tx: &mut LeaderTx, chain: ChainId, logs: &[Log]) -> Result<u64> {
    if logs.is_empty() {
        return Ok(0);
    }
    let rows: Vec<serde_json::Value> = logs
        .iter()
        .map(|log| {
            let topics: Vec<u8> = log.topics.iter().flat_map(|topic| topic.0).collect();
            json!({
                "block_hash": hex(log.block.hash),
                "log_index": int(log.log_index),
                "block_number": int(log.block.number),
                "address": hex(log.address),
                "topics": hex(topics),
                "data": hex(&log.data),
                "tx_hash": hex(log.tx_hash),
                "reader": reader(log),
                "seen_at": log.seen_at.0,
            })
        })
        .collect();
    let text = serde_json::Value::from(rows).to_string();
    tx.run(&INSERT, args![text, chain]).await
}

/// Stores a log of a canonical block; a known one stays as it is. Returns whether it is news.
pub async fn insert(tx: &mut LeaderTx, chain: ChainId, log: &Log) -> Result<bool> {
    Ok(insert_each(tx, chain, std::slice::from_ref(log)).await? > 0)
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

/// Marks logs as decided by one statement, each with the reason where it led to nothing. Returns how many still
/// were pending.
pub async fn consume_each(tx: &mut LeaderTx, notes: &[(i64, String)]) -> Result<u64> {
    if notes.is_empty() {
        return Ok(0);
    }
    let rows: Vec<serde_json::Value> = notes
        .iter()
        .map(|(id, note)| json!({ "id": id, "note": clean(note.clone()) }))
        .collect();
    let text = serde_json::Value::from(rows).to_string();
    tx.run(&CONSUME, args![text]).await
}

/// As [`consume_each`], for one. `false`: it no longer was pending.
pub async fn consume(tx: &mut LeaderTx, id: i64, note: &str) -> Result<bool> {
    Ok(consume_each(tx, &[(id, note.to_owned())]).await? == 1)
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

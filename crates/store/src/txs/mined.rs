//! What became of transactions that are in blocks, and who was told.

use alloy::hex::encode as hex;
use dodona_model::tx::Event;
use dodona_model::{B256, BlockRef, ChainId, Timestamp, TxId};
use serde_json::json;

use super::{Tx, check, tx};
use crate::lease::LeaderTx;
use crate::sql::{args, ascending, clean, declare, int};
use crate::{Conn, Result};

declare! {
    // Thousands may wait to become final: only those come out for which there may be something to do.
    MINED_DUE = "txs.mined_due" =>
        "SELECT * FROM txs WHERE chain_id = $1 AND state = 'mined' AND (mined_block_number <= $2 OR succeeded = 0
            OR (signal_needed = 1 AND min_confirmations <= $3 - mined_block_number)
            OR mined_block_number IN (SELECT number FROM heads WHERE chain_id = $1 AND number > $2 AND canonical = 0))
         ORDER BY mined_block_number, id";
    INCLUDE = "txs.include_each" =>
        "UPDATE txs SET state = 'mined', mined_hash = unhex(e.value ->> 'hash'), mined_block_hash = unhex(e.value ->> 'block_hash'),
            mined_block_number = e.value ->> 'block_number', succeeded = e.value ->> 'succeeded', receipt = e.value ->> 'receipt',
            mined_at = $2, reason = e.value ->> 'remark'
         FROM json_each($1) AS e WHERE txs.id = e.value ->> 'id' AND txs.state = e.value ->> 'state' RETURNING id",
        "UPDATE txs SET state = 'mined', mined_hash = decode(e.hash, 'hex'), mined_block_hash = decode(e.block_hash, 'hex'),
            mined_block_number = e.block_number, succeeded = e.succeeded, receipt = e.receipt, mined_at = $2, reason = e.remark
         FROM json_to_recordset(CAST($1 AS JSON)) AS e(id BIGINT, state TEXT, hash TEXT, block_hash TEXT, block_number BIGINT,
            succeeded BIGINT, receipt TEXT, remark TEXT)
         WHERE txs.id = e.id AND txs.state = e.state RETURNING txs.id";
    REORGED = "txs.reorged" =>
        "UPDATE txs SET state = 'sent', mined_hash = NULL, mined_block_hash = NULL, mined_block_number = NULL, succeeded = NULL,
            receipt = NULL, mined_at = NULL, last_sent_at = NULL, reason = 'its block left the canonical chain'
         WHERE id = $1 AND state = 'mined'";
    FINALIZE = "txs.finalize_each" =>
        "UPDATE txs SET state = 'final' WHERE id IN (SELECT value FROM json_each($1)) AND state = 'mined' RETURNING id",
        "UPDATE txs SET state = 'final'
         WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON))) AND state = 'mined' RETURNING id";
    SIGNALLED = "txs.signalled_each" =>
        "UPDATE txs SET signal_needed = 0 WHERE id IN (SELECT value FROM json_each($1)) AND signal_needed = 1",
        "UPDATE txs SET signal_needed = 0
         WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON))) AND signal_needed = 1";
    AWAITED_DEAD = "txs.awaited_dead" =>
        "SELECT * FROM txs WHERE chain_id = $1 AND state IN ('dead', 'final') AND signal_needed = 1 ORDER BY id LIMIT $2";
}

/// In which block an attempt is.
#[derive(Debug, Clone)]
pub struct Inclusion {
    /// The attempt's hash.
    pub hash: B256,
    /// The block.
    pub block: BlockRef,
    /// Receipt status 1.
    pub succeeded: bool,
    /// The receipt as the endpoint gave it, JSON.
    pub receipt: String,
}

/// Mined transactions for which there may be something to do, by block: those up to the `finalized` one, those that
/// had no effect, those whose task waits for no more than the blocks up to `head`, those at the height of a
/// block that was left.
pub async fn mined_due(
    conn: &mut Conn,
    chain: ChainId,
    finalized: u64,
    head: u64,
) -> Result<Vec<Tx>> {
    conn.rows(&MINED_DUE, args![chain, finalized, head])
        .await?
        .iter()
        .map(tx)
        .collect()
}

/// One of a transaction's attempts that is in a block.
#[derive(Debug, Clone)]
pub struct Included<'a> {
    /// The transaction, as it was read.
    pub tx: &'a Tx,
    /// Where it is.
    pub inclusion: Inclusion,
    /// What the operator should know about it.
    pub remark: String,
}

/// Attempts are in blocks, by one statement. Returns the transactions that are mined by it, in order of their
/// numbers: what changed since it was read stays as it is.
pub async fn include_each(
    leader: &mut LeaderTx,
    included: &[Included<'_>],
    now: Timestamp,
) -> Result<Vec<TxId>> {
    if included.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Vec::with_capacity(included.len());
    for Included {
        tx,
        inclusion,
        remark,
    } in included
    {
        check(tx.state, Event::Included)?;
        rows.push(json!({
            "id": tx.id,
            "state": tx.state.as_str(),
            "hash": hex(inclusion.hash),
            "block_hash": hex(inclusion.block.hash),
            "block_number": int(inclusion.block.number),
            "succeeded": i64::from(inclusion.succeeded),
            "receipt": clean(inclusion.receipt.clone()),
            "remark": clean(remark.clone()),
        }));
    }
    let text = serde_json::Value::from(rows).to_string();
    ascending(&leader.rows(&INCLUDE, args![text, now]).await?, "id")
}

/// As [`include_each`], for one.
pub async fn include(
    leader: &mut LeaderTx,
    old: &Tx,
    inclusion: &Inclusion,
    remark: &str,
    now: Timestamp,
) -> Result<bool> {
    let included = Included {
        tx: old,
        inclusion: inclusion.clone(),
        remark: remark.to_owned(),
    };
    Ok(!include_each(leader, &[included], now).await?.is_empty())
}

/// Its block left the canonical chain.
pub async fn reorged(leader: &mut LeaderTx, old: &Tx) -> Result<bool> {
    check(old.state, Event::Reorged)?;
    Ok(leader.run(&REORGED, args![old.id]).await? == 1)
}

/// Their blocks are final. Returns those that became final by this, in order of their numbers.
pub async fn finalize_each(leader: &mut LeaderTx, txs: &[&Tx]) -> Result<Vec<TxId>> {
    if txs.is_empty() {
        return Ok(Vec::new());
    }
    let mut ids = Vec::with_capacity(txs.len());
    for tx in txs {
        check(tx.state, Event::Finalized)?;
        ids.push(tx.id);
    }
    let ids = crate::runs::id_list(&ids);
    ascending(&leader.rows(&FINALIZE, args![ids]).await?, "id")
}

/// The waiting tasks were told. Returns how many waited.
pub async fn signalled_each(leader: &mut LeaderTx, ids: &[TxId]) -> Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let ids = crate::runs::id_list(ids);
    leader.run(&SIGNALLED, args![ids]).await
}

/// As [`signalled_each`], for one. `false`: nobody waited.
pub async fn signalled(leader: &mut LeaderTx, id: TxId) -> Result<bool> {
    Ok(signalled_each(leader, &[id]).await? == 1)
}

/// Ended transactions whose task still waits.
pub async fn awaited_dead(conn: &mut Conn, chain: ChainId, limit: u32) -> Result<Vec<Tx>> {
    conn.rows(&AWAITED_DEAD, args![chain, limit])
        .await?
        .iter()
        .map(tx)
        .collect()
}

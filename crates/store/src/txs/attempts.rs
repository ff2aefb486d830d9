//! Every signature ever made for a transaction: whichever of them is mined counts.

use alloy::hex::encode as hex;
use dodona_model::{Address, B256, Bytes, ChainId, Timestamp, TxId, U256};
use serde_json::json;

use crate::lease::LeaderTx;
use crate::sql::{Row, args, declare, int};
use crate::{Conn, Result};

declare! {
    INSERT_ATTEMPT = "txs.insert_attempts" =>
        "INSERT INTO tx_attempts (tx_id, hash, raw, payload_version, tx_type, gas_price_wei, fee_cap_wei, tip_cap_wei, gas_limit,
            accepted, first_block, note, created_at)
         SELECT value ->> 'tx_id', unhex(value ->> 'hash'), unhex(value ->> 'raw'), value ->> 'payload_version', value ->> 'tx_type',
            unhex(value ->> 'gas_price_wei'), unhex(value ->> 'fee_cap_wei'), unhex(value ->> 'tip_cap_wei'), value ->> 'gas_limit', 0,
            value ->> 'first_block', '', $2
         FROM json_each($1)",
        "INSERT INTO tx_attempts (tx_id, hash, raw, payload_version, tx_type, gas_price_wei, fee_cap_wei, tip_cap_wei, gas_limit,
            accepted, first_block, note, created_at)
         SELECT tx_id, decode(hash, 'hex'), decode(raw, 'hex'), payload_version, tx_type, decode(gas_price_wei, 'hex'),
            decode(fee_cap_wei, 'hex'), decode(tip_cap_wei, 'hex'), gas_limit, 0, first_block, '', $2
         FROM json_to_recordset(CAST($1 AS JSON)) AS a(tx_id BIGINT, hash TEXT, raw TEXT, payload_version BIGINT, tx_type BIGINT,
            gas_price_wei TEXT, fee_cap_wei TEXT, tip_cap_wei TEXT, gas_limit BIGINT, first_block BIGINT)";
    ATTEMPTS = "txs.attempts" =>
        "SELECT * FROM tx_attempts WHERE tx_id = $1 ORDER BY id";
    ATTEMPTS_OF = "txs.attempts_of" =>
        "SELECT * FROM tx_attempts WHERE tx_id IN (SELECT value FROM json_each($1)) ORDER BY id",
        "SELECT * FROM tx_attempts WHERE tx_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))
         ORDER BY id";
    LIST_ATTEMPTS = "txs.list_attempts" =>
        "SELECT * FROM tx_attempts ORDER BY id DESC LIMIT $1 OFFSET $2";
    COUNT_ATTEMPTS = "txs.count_attempts" =>
        "SELECT COUNT(*) AS n FROM tx_attempts";
    OLDEST_FIRST_BLOCK = "txs.oldest_first_block" =>
        "SELECT MIN(a.first_block) AS n FROM txs t JOIN tx_attempts a ON a.tx_id = t.id
         WHERE t.chain_id = $1 AND t.state IN ('signed', 'sent')";
    ATTEMPTS_UNFINISHED = "txs.attempts_unfinished" =>
        "SELECT a.* FROM tx_attempts a JOIN txs t ON t.id = a.tx_id
         WHERE t.chain_id = $1 AND t.state IN ('signed', 'sent') ORDER BY a.id";
    ATTEMPTS_SIGNED = "txs.attempts_signed" =>
        "SELECT a.* FROM tx_attempts a JOIN txs t ON t.id = a.tx_id
         WHERE t.chain_id = $1 AND t.from_address = $2 AND t.state IN ('signed', 'sent') AND t.state = 'signed'
         ORDER BY t.nonce, a.id";
    ACCEPTED = "txs.attempts_accepted" =>
        "UPDATE tx_attempts SET accepted = 1, note = '' WHERE id IN (SELECT value FROM json_each($1))",
        "UPDATE tx_attempts SET accepted = 1, note = ''
         WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))";
    ATTEMPT_NOTED = "txs.attempt_noted" =>
        "UPDATE tx_attempts SET accepted = $2, note = $3 WHERE id = $1";
}

/// A signed attempt to be stored.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// The transaction.
    pub tx_id: TxId,
    /// Hash of `raw`.
    pub hash: B256,
    /// The signed bytes, as they are sent.
    pub raw: Bytes,
    /// The payload version it carries; 0 carries nothing (a cancellation to self).
    pub payload_version: u32,
    /// Fees.
    pub fee: Fee,
    /// Units of gas.
    pub gas_limit: u64,
    /// The head when it was made.
    pub first_block: Option<u64>,
}

/// What an attempt offers per unit of gas, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fee {
    /// Transaction type 0.
    Legacy {
        /// Price.
        gas_price: U256,
    },
    /// Transaction type 2 (EIP-1559).
    Dynamic {
        /// `maxFeePerGas`.
        fee_cap: U256,
        /// `maxPriorityFeePerGas`.
        tip_cap: U256,
    },
}

/// A signed attempt as a row.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Row number.
    pub id: i64,
    /// What was signed.
    pub signed: NewAttempt,
    /// Whether an endpoint took it.
    pub accepted: bool,
    /// What the endpoints said, where they refused.
    pub note: String,
    /// When it was signed.
    pub created_at: Timestamp,
}

fn attempt(row: &Row) -> Result<Attempt> {
    let fee = match row.get::<Option<U256>>("gas_price_wei")? {
        Some(gas_price) => Fee::Legacy { gas_price },
        None => Fee::Dynamic {
            fee_cap: row.get("fee_cap_wei")?,
            tip_cap: row.get("tip_cap_wei")?,
        },
    };
    Ok(Attempt {
        id: row.get("id")?,
        signed: NewAttempt {
            tx_id: row.get("tx_id")?,
            hash: row.get("hash")?,
            raw: row.get::<Vec<u8>>("raw")?.into(),
            payload_version: row.get("payload_version")?,
            fee,
            gas_limit: row.get("gas_limit")?,
            first_block: row.get("first_block")?,
        },
        accepted: row.get("accepted")?,
        note: row.get("note")?,
        created_at: row.get("created_at")?,
    })
}

/// Stores signatures, before they are sent.
pub(super) async fn insert_attempts<'a>(
    leader: &mut LeaderTx,
    new: impl IntoIterator<Item = &'a NewAttempt>,
    now: Timestamp,
) -> Result<()> {
    let rows: Vec<serde_json::Value> = new.into_iter().map(as_json).collect();
    let text = serde_json::Value::from(rows).to_string();
    leader
        .run(&INSERT_ATTEMPT, args![text, now])
        .await
        .map(drop)
}

/// Stores one more signature for a nonce, before it is sent.
pub async fn insert_attempt(leader: &mut LeaderTx, new: &NewAttempt, now: Timestamp) -> Result<()> {
    insert_attempts(leader, [new], now).await
}

fn as_json(new: &NewAttempt) -> serde_json::Value {
    let wei = |amount: U256| hex(amount.to_be_bytes::<32>());
    let (kind, gas_price, fee_cap, tip_cap) = match new.fee {
        Fee::Legacy { gas_price } => (0, Some(wei(gas_price)), None, None),
        Fee::Dynamic { fee_cap, tip_cap } => (2, None, Some(wei(fee_cap)), Some(wei(tip_cap))),
    };
    json!({
        "tx_id": new.tx_id,
        "hash": hex(new.hash),
        "raw": hex(&new.raw),
        "payload_version": new.payload_version,
        "tx_type": kind,
        "gas_price_wei": gas_price,
        "fee_cap_wei": fee_cap,
        "tip_cap_wei": tip_cap,
        "gas_limit": int(new.gas_limit),
        "first_block": new.first_block.map(int),
    })
}

/// Endpoints took these attempts.
pub(super) async fn accept(leader: &mut LeaderTx, attempts: &[i64]) -> Result<()> {
    let ids = crate::runs::id_list(attempts);
    leader.run(&ACCEPTED, args![ids]).await.map(drop)
}

/// Every attempt of a transaction, oldest first.
pub async fn attempts(conn: &mut Conn, id: TxId) -> Result<Vec<Attempt>> {
    conn.rows(&ATTEMPTS, args![id])
        .await?
        .iter()
        .map(attempt)
        .collect()
}

/// Every attempt of several transactions, oldest first.
pub async fn attempts_of(conn: &mut Conn, txs: &[TxId]) -> Result<Vec<Attempt>> {
    if txs.is_empty() {
        return Ok(Vec::new());
    }
    conn.rows(&ATTEMPTS_OF, args![crate::runs::id_list(txs)])
        .await?
        .iter()
        .map(attempt)
        .collect()
}

/// Attempts of all transactions, newest first.
pub async fn list_attempts(conn: &mut Conn, limit: u32, offset: u32) -> Result<Vec<Attempt>> {
    conn.rows(&LIST_ATTEMPTS, args![limit, offset])
        .await?
        .iter()
        .map(attempt)
        .collect()
}

/// How many attempts there are.
pub async fn count_attempts(conn: &mut Conn) -> Result<u64> {
    conn.one(&COUNT_ATTEMPTS, args![]).await?.get("n")
}

/// The head when the oldest attempt of a signed or sent transaction of a chain was made.
pub async fn oldest_first_block(conn: &mut Conn, chain: ChainId) -> Result<Option<u64>> {
    conn.one(&OLDEST_FIRST_BLOCK, args![chain]).await?.get("n")
}

/// Every attempt of every signed or sent transaction of a chain, oldest first.
pub async fn attempts_unfinished(conn: &mut Conn, chain: ChainId) -> Result<Vec<Attempt>> {
    conn.rows(&ATTEMPTS_UNFINISHED, args![chain])
        .await?
        .iter()
        .map(attempt)
        .collect()
}

/// The newest attempt of each of a key's transactions that no endpoint took yet, by nonce.
pub async fn newest_attempts_signed(
    conn: &mut Conn,
    chain: ChainId,
    from: Address,
) -> Result<Vec<Attempt>> {
    let mut newest: Vec<Attempt> = Vec::new();
    for row in conn.rows(&ATTEMPTS_SIGNED, args![chain, from]).await? {
        let next = attempt(&row)?;
        match newest.last_mut() {
            Some(last) if last.signed.tx_id == next.signed.tx_id => *last = next,
            _ => newest.push(next),
        }
    }
    Ok(newest)
}

/// Notes what the endpoints said to an attempt.
pub async fn note_attempt(
    leader: &mut LeaderTx,
    id: i64,
    accepted: bool,
    note: &str,
) -> Result<()> {
    leader
        .run(&ATTEMPT_NOTED, args![id, accepted, note])
        .await
        .map(drop)
}

//! The sealed key ring and which key works on which chain. No key material in the clear ever gets here.

use dodona_model::{Address, ChainId, Timestamp, U256};

use crate::engine::Tx;
use crate::lease::LeaderTx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    RING = "keys.ring" =>
        "SELECT sealed FROM key_rings WHERE id = 1";
    RING_FOR_UPDATE = "keys.ring_for_update" =>
        "SELECT sealed FROM key_rings WHERE id = 1",
        "SELECT sealed FROM key_rings WHERE id = 1 FOR UPDATE";
    FIRST_RING = "keys.first_ring" =>
        "INSERT INTO key_rings (id, sealed, updated_at) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING";
    SAVE_RING = "keys.save_ring" =>
        "INSERT INTO key_rings (id, sealed, updated_at) VALUES (1, $1, $2)
         ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at";
    ENABLE = "keys.enable" =>
        "INSERT INTO key_states (chain_id, address, disabled, next_nonce, last_used_at, reason, created_at, updated_at)
         VALUES ($1, $2, 0, 0, 0, '', $3, $3)
         ON CONFLICT (chain_id, address) DO UPDATE SET disabled = 0, updated_at = excluded.updated_at";
    DISABLE = "keys.disable" =>
        "UPDATE key_states SET disabled = 1, updated_at = $3 WHERE chain_id = $1 AND address = $2";
    FORGET = "keys.forget" =>
        "DELETE FROM key_states WHERE address = $1";
    LIST = "keys.list" =>
        "SELECT * FROM key_states ORDER BY disabled, chain_id, address";
    OF_CHAIN = "keys.of_chain" =>
        "SELECT * FROM key_states WHERE chain_id = $1 AND disabled = 0 ORDER BY address";
    FIND = "keys.find" =>
        "SELECT * FROM key_states WHERE chain_id = $1 AND address = $2";
    // In parts, each of which has its index.
    AT_WORK = "keys.at_work" =>
        "SELECT address FROM key_states WHERE chain_id = $1 AND (disabled = 0
            OR EXISTS (SELECT 1 FROM txs t WHERE t.chain_id = $1 AND t.from_address = key_states.address AND t.state = 'queued')
            OR EXISTS (SELECT 1 FROM txs t WHERE t.chain_id = $1 AND t.from_address = key_states.address
                AND t.state IN ('signed', 'sent') AND t.state = 'signed'))
         ORDER BY address";
    SENDERS = "keys.senders" =>
        "SELECT address FROM key_states WHERE chain_id = $1 AND disabled = 0 ORDER BY last_used_at, address";
    USED = "keys.used" =>
        "UPDATE key_states SET last_used_at = $3 WHERE chain_id = $1 AND address = $2";
    TAKE_NONCES = "keys.take_nonces" =>
        "UPDATE key_states SET next_nonce = $4 WHERE chain_id = $1 AND address = $2 AND next_nonce = $3";
    BALANCE = "keys.set_balance" =>
        "UPDATE key_states SET balance_wei = $3, link_juels = $4 WHERE chain_id = $1 AND address = $2";
    REASON = "keys.set_reason" =>
        "UPDATE key_states SET reason = $3 WHERE chain_id = $1 AND address = $2 AND reason <> $3";
}

/// A key's standing on one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// The chain.
    pub chain_id: ChainId,
    /// The key.
    pub address: Address,
    /// Kept, and not used for new transactions; what is queued for it already is still sent.
    pub disabled: bool,
    /// The nonce its next transaction will get.
    pub next_nonce: u64,
    /// Native balance when it was looked at last.
    pub balance_wei: Option<U256>,
    /// LINK balance when it was looked at last.
    pub link_juels: Option<U256>,
    /// Why it does not move; empty while it does.
    pub reason: String,
    /// When it was enabled first.
    pub created_at: Timestamp,
    /// When it was enabled or disabled last.
    pub updated_at: Timestamp,
}

fn key_state(row: &Row) -> Result<KeyState> {
    Ok(KeyState {
        chain_id: row.get("chain_id")?,
        address: row.get("address")?,
        disabled: row.get("disabled")?,
        next_nonce: row.get("next_nonce")?,
        balance_wei: row.get("balance_wei")?,
        link_juels: row.get("link_juels")?,
        reason: row.get("reason")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// The sealed key ring; `None` on a new database.
pub async fn ring(conn: &mut Conn) -> Result<Option<Vec<u8>>> {
    conn.row(&RING, args![])
        .await?
        .map(|row| row.get("sealed"))
        .transpose()
}

/// The sealed key ring, locked until the transaction ends: two replicas must not change it at once.
pub async fn ring_for_update(tx: &mut Tx) -> Result<Option<Vec<u8>>> {
    tx.row(&RING_FOR_UPDATE, args![])
        .await?
        .map(|row| row.get("sealed"))
        .transpose()
}

/// Stores a database's first sealed key ring. `false`: another replica was quicker, and its ring stays.
pub async fn first_ring(tx: &mut Tx, sealed: &[u8], now: Timestamp) -> Result<bool> {
    Ok(tx.run(&FIRST_RING, args![sealed, now]).await? == 1)
}

/// Stores the sealed key ring in place of the one that was read by [`ring_for_update`], in the same transaction as the key states it belongs to.
pub async fn save_ring(tx: &mut Tx, sealed: &[u8], now: Timestamp) -> Result<()> {
    tx.run(&SAVE_RING, args![sealed, now]).await.map(drop)
}

/// Enables a key on a chain, for the first time or again.
pub async fn enable(tx: &mut Tx, chain: ChainId, address: Address, now: Timestamp) -> Result<()> {
    tx.run(&ENABLE, args![chain, address, now]).await.map(drop)
}

/// Disables a key on a chain. `false`: it has no state there.
pub async fn disable(
    tx: &mut Tx,
    chain: ChainId,
    address: Address,
    now: Timestamp,
) -> Result<bool> {
    Ok(tx.run(&DISABLE, args![chain, address, now]).await? == 1)
}

/// Forgets a deleted key's states.
pub async fn forget(tx: &mut Tx, address: Address) -> Result<()> {
    tx.run(&FORGET, args![address]).await.map(drop)
}

/// Every key on every chain; disabled ones last.
pub async fn list(conn: &mut Conn) -> Result<Vec<KeyState>> {
    conn.rows(&LIST, args![])
        .await?
        .iter()
        .map(key_state)
        .collect()
}

/// The enabled keys of a chain.
pub async fn of_chain(conn: &mut Conn, chain: ChainId) -> Result<Vec<KeyState>> {
    conn.rows(&OF_CHAIN, args![chain])
        .await?
        .iter()
        .map(key_state)
        .collect()
}

/// A key's standing on a chain, enabled or not.
pub async fn find(conn: &mut Conn, chain: ChainId, address: Address) -> Result<Option<KeyState>> {
    conn.row(&FIND, args![chain, address])
        .await?
        .as_ref()
        .map(key_state)
        .transpose()
}

/// Keys that have something to send on a chain, or may get it: the enabled ones, and those that were disabled
/// while transactions were queued for them or signed and not sent.
pub async fn at_work(conn: &mut Conn, chain: ChainId) -> Result<Vec<Address>> {
    conn.rows(&AT_WORK, args![chain])
        .await?
        .iter()
        .map(|row| row.get("address"))
        .collect()
}

/// The enabled keys of a chain, least recently used first: the next transaction goes out from the first.
pub async fn senders(conn: &mut Conn, chain: ChainId) -> Result<Vec<Address>> {
    conn.rows(&SENDERS, args![chain])
        .await?
        .iter()
        .map(|row| row.get("address"))
        .collect()
}

/// Notes that a transaction goes out from this key.
pub async fn used(tx: &mut Tx, chain: ChainId, address: Address, now: Timestamp) -> Result<()> {
    tx.run(&USED, args![chain, address, now]).await.map(drop)
}

/// Moves the next nonce from `from` to `to`. `false`: somebody moved it meanwhile; commit nothing.
pub async fn take_nonces(
    tx: &mut LeaderTx,
    chain: ChainId,
    address: Address,
    from: u64,
    to: u64,
) -> Result<bool> {
    Ok(tx
        .run(&TAKE_NONCES, args![chain, address, from, to])
        .await?
        == 1)
}

/// Notes balances as they were just read.
pub async fn set_balance(
    tx: &mut LeaderTx,
    chain: ChainId,
    address: Address,
    wei: U256,
    link_juels: Option<U256>,
) -> Result<()> {
    tx.run(&BALANCE, args![chain, address, wei, link_juels])
        .await
        .map(drop)
}

/// Notes why a key does not move (empty: it does). Returns whether that is news.
pub async fn set_reason(
    tx: &mut LeaderTx,
    chain: ChainId,
    address: Address,
    reason: &str,
) -> Result<bool> {
    Ok(tx.run(&REASON, args![chain, address, reason]).await? == 1)
}

//! Bridges (external adapters): the operator's own services that jobs may call.

use dodona_model::{Timestamp, U256};

use crate::engine::Tx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "bridges.insert" =>
        "INSERT INTO bridges (name, url, confirmations, incoming_token_hash, salt, outgoing_token, min_payment_juels, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";
    UPDATE = "bridges.update" =>
        "UPDATE bridges SET url = $2, confirmations = $3, min_payment_juels = $4, updated_at = $5 WHERE name = $1";
    FIND = "bridges.find" =>
        "SELECT * FROM bridges WHERE name = $1";
    LIST = "bridges.list" =>
        "SELECT * FROM bridges ORDER BY name LIMIT $1 OFFSET $2";
    DEMANDING = "bridges.demanding" =>
        "SELECT * FROM bridges WHERE confirmations > 0 OR min_payment_juels IS NOT NULL ORDER BY name";
    COUNT = "bridges.count" =>
        "SELECT COUNT(*) AS n FROM bridges";
    DELETE = "bridges.delete" =>
        "DELETE FROM bridges WHERE name = $1";
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Lower case; letters, digits, `-`, `_`.
    pub name: String,
    /// Where it listens.
    pub url: String,
    /// Blocks a request must have whose job uses the bridge.
    pub confirmations: u32,
    /// SHA-256 hex of `<token>-<salt>`.
    pub incoming_token_hash: String,
    /// See `incoming_token_hash`.
    pub salt: String,
    /// Kept for compatibility; the TOML pipeline does not send it.
    pub outgoing_token: String,
    /// What a request must pay, in juels, whose job uses the bridge.
    pub min_payment_juels: Option<U256>,
    /// When created.
    pub created_at: Timestamp,
}

fn bridge(row: &Row) -> Result<Bridge> {
    Ok(Bridge {
        name: row.get("name")?,
        url: row.get("url")?,
        confirmations: row.get("confirmations")?,
        incoming_token_hash: row.get("incoming_token_hash")?,
        salt: row.get("salt")?,
        outgoing_token: row.get("outgoing_token")?,
        min_payment_juels: row.get("min_payment_juels")?,
        created_at: row.get("created_at")?,
    })
}

/// Creates a bridge; the same name twice is a duplicate.
pub async fn insert(tx: &mut Tx, new: &Bridge) -> Result<()> {
    let args = args![
        &new.name,
        &new.url,
        new.confirmations,
        &new.incoming_token_hash,
        &new.salt,
        &new.outgoing_token,
        new.min_payment_juels,
        new.created_at
    ];
    tx.run(&INSERT, args).await.map(drop)
}

/// Changes what may change. `false`: no such bridge.
pub async fn update(
    tx: &mut Tx,
    name: &str,
    url: &str,
    confirmations: u32,
    min_payment_juels: Option<U256>,
    now: Timestamp,
) -> Result<bool> {
    Ok(tx
        .run(
            &UPDATE,
            args![name, url, confirmations, min_payment_juels, now],
        )
        .await?
        == 1)
}

/// A bridge by its lower-case name.
pub async fn find(conn: &mut Conn, name: &str) -> Result<Option<Bridge>> {
    conn.row(&FIND, args![name])
        .await?
        .as_ref()
        .map(bridge)
        .transpose()
}

/// Bridges by name, `limit` from `offset`.
pub async fn list(conn: &mut Conn, limit: u32, offset: u32) -> Result<Vec<Bridge>> {
    conn.rows(&LIST, args![limit, offset])
        .await?
        .iter()
        .map(bridge)
        .collect()
}

/// Bridges that ask something of the requests whose jobs use them; most ask nothing.
pub async fn demanding(conn: &mut Conn) -> Result<Vec<Bridge>> {
    conn.rows(&DEMANDING, args![])
        .await?
        .iter()
        .map(bridge)
        .collect()
}

/// How many bridges there are.
pub async fn count(conn: &mut Conn) -> Result<u64> {
    conn.one(&COUNT, args![]).await?.get("n")
}

/// Deletes a bridge. `false`: no such bridge.
pub async fn delete(tx: &mut Tx, name: &str) -> Result<bool> {
    Ok(tx.run(&DELETE, args![name]).await? == 1)
}

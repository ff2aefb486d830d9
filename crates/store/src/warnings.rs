//! Findings that an operator should read: named, with one sentence each.

use dodona_model::Timestamp;

use crate::engine::Tx;
use crate::sql::{args, declare};
use crate::{Conn, Result};

declare! {
    SET = "warnings.set" =>
        "INSERT INTO warnings (name, text, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET text = excluded.text, updated_at = excluded.updated_at WHERE warnings.text <> excluded.text";
    CLEAR = "warnings.clear" =>
        "DELETE FROM warnings WHERE name = $1";
    LIST = "warnings.list" =>
        "SELECT name, text FROM warnings ORDER BY name";
}

/// Sets a finding. Returns whether it is news.
pub async fn set(tx: &mut Tx, name: &str, text: &str, now: Timestamp) -> Result<bool> {
    Ok(tx.run(&SET, args![name, text, now]).await? == 1)
}

/// The finding no longer holds. Returns whether it did.
pub async fn clear(tx: &mut Tx, name: &str) -> Result<bool> {
    Ok(tx.run(&CLEAR, args![name]).await? == 1)
}

/// All findings: name and sentence.
pub async fn list(conn: &mut Conn) -> Result<Vec<(String, String)>> {
    conn.rows(&LIST, args![])
        .await?
        .iter()
        .map(|row| Ok((row.get("name")?, row.get("text")?)))
        .collect()
}

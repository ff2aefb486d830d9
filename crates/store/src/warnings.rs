//! Findings that an operator should read: named, with one sentence each.

use dodona_model::Timestamp;

use crate::engine::Tx;
use crate::sql::{args, declare};
use crate::{Conn, Result};

declare! {
    SET = "warnings.set" =>
        "INSERT INTO warnings (name, text, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET text = excluded.text, updated_at = excluded.updated_at WHERE warnings.text <> excluded.text";
    CLEAR_OTHERS = "warnings.clear_others" =>
        "DELETE FROM warnings WHERE SUBSTR(name, 1, LENGTH(CAST($1 AS TEXT))) = $1 AND name NOT IN (SELECT value FROM json_each($2))",
        "DELETE FROM warnings WHERE SUBSTR(name, 1, LENGTH(CAST($1 AS TEXT))) = $1
            AND name NOT IN (SELECT value FROM json_array_elements_text(CAST($2 AS JSON)))";
    LIST = "warnings.list" =>
        "SELECT name, text FROM warnings ORDER BY name";
}

/// Sets a finding. Returns whether it is news.
pub async fn set(tx: &mut Tx, name: &str, text: &str, now: Timestamp) -> Result<bool> {
    Ok(tx.run(&SET, args![name, text, now]).await? == 1)
}

/// Findings whose name begins with `prefix` no longer hold, but for those named in `keep`. Returns how many went.
pub async fn clear_others(tx: &mut Tx, prefix: &str, keep: &[String]) -> Result<u64> {
    let keep = serde_json::json!(keep).to_string();
    tx.run(&CLEAR_OTHERS, args![prefix, keep]).await
}

/// All findings: name and sentence.
pub async fn list(conn: &mut Conn) -> Result<Vec<(String, String)>> {
    conn.rows(&LIST, args![])
        .await?
        .iter()
        .map(|row| Ok((row.get("name")?, row.get("text")?)))
        .collect()
}

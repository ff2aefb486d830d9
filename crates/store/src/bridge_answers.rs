//! The last good answer of each bridge task that may fall back on it when the bridge fails.

use dodona_model::{B256, Timestamp};

use crate::engine::Tx;
use crate::sql::{args, declare};
use crate::{Conn, Result};

declare! {
    SET = "bridge_answers.set" =>
        "INSERT INTO bridge_answers (source_hash, dot_id, value, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (source_hash, dot_id) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
    FIND = "bridge_answers.find" =>
        "SELECT value FROM bridge_answers WHERE source_hash = $1 AND dot_id = $2 AND updated_at >= $3";
    PRUNE = "bridge_answers.prune" =>
        "DELETE FROM bridge_answers WHERE updated_at < $1 OR updated_at < (SELECT updated_at FROM bridge_answers
            ORDER BY updated_at DESC LIMIT 1 OFFSET $2)";
}

/// Keeps an answer in place of the one before. `source_hash` and `dot_id` are the task's pipeline and
/// name; `value` is JSON text.
pub async fn set(
    tx: &mut Tx,
    source_hash: B256,
    dot_id: &str,
    value: &str,
    now: Timestamp,
) -> Result<()> {
    tx.run(&SET, args![source_hash, dot_id, value, now])
        .await
        .map(drop)
}

/// The answer kept for a task, unless it is older than `since`.
pub async fn find(
    conn: &mut Conn,
    source_hash: B256,
    dot_id: &str,
    since: Timestamp,
) -> Result<Option<String>> {
    conn.row(&FIND, args![source_hash, dot_id, since])
        .await?
        .map(|row| row.get("value"))
        .transpose()
}

/// Forgets answers from before `before`, and all but the newest `keep` and one. Returns how many.
pub async fn prune(tx: &mut Tx, before: Timestamp, keep: u32) -> Result<u64> {
    tx.run(&PRUNE, args![before, keep]).await
}

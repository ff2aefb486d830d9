//! What external initiators still have to be told: written with the job's creation or deletion, sent
//! afterwards, gone once it was told or given up.

use dodona_model::Timestamp;
use uuid::Uuid;

use crate::engine::Tx;
use crate::lease::LeaderTx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "notices.insert" =>
        "INSERT INTO notices (initiator_id, external_job_id, method, url, body, attempts, not_before, created_at)
         VALUES ($1, $2, $3, $4, $5, 0, $6, $6)";
    // In order: a job's end is not told before its beginning.
    DUE = "notices.due" =>
        "SELECT notices.*, initiators.name, outgoing_token, outgoing_secret
         FROM notices JOIN initiators ON initiators.id = notices.initiator_id
         WHERE not_before <= $1 AND NOT EXISTS (SELECT 1 FROM notices earlier WHERE earlier.initiator_id = notices.initiator_id
            AND earlier.external_job_id = notices.external_job_id AND earlier.id < notices.id)
         ORDER BY notices.id LIMIT $2";
    POSTPONE = "notices.postpone" =>
        "UPDATE notices SET attempts = attempts + 1, not_before = $2 WHERE id = $1";
    DELETE = "notices.delete" =>
        "DELETE FROM notices WHERE id = $1";
    DELETE_OF = "notices.delete_of" =>
        "DELETE FROM notices WHERE initiator_id = $1";
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotice {
    /// To whom.
    pub initiator_id: i64,
    /// About which job.
    pub external_job_id: Uuid,
    /// `POST` or `DELETE`.
    pub method: String,
    /// Where to.
    pub url: String,
    /// JSON text.
    pub body: Option<String>,
}

/// A message that waits to be sent, with what it is sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Row number.
    pub id: i64,
    /// What was stored.
    pub spec: NewNotice,
    /// The initiator's name.
    pub initiator: String,
    /// What we present to it.
    pub outgoing_token: String,
    /// See `outgoing_token`.
    pub outgoing_secret: String,
    /// How often it was tried in vain.
    pub attempts: u32,
}

fn notice(row: &Row) -> Result<Notice> {
    let external: String = row.get("external_job_id")?;
    Ok(Notice {
        id: row.get("id")?,
        spec: NewNotice {
            initiator_id: row.get("initiator_id")?,
            external_job_id: Uuid::parse_str(&external).unwrap_or(Uuid::nil()),
            method: row.get("method")?,
            url: row.get("url")?,
            body: row.get("body")?,
        },
        initiator: row.get("name")?,
        outgoing_token: row.get("outgoing_token")?,
        outgoing_secret: row.get("outgoing_secret")?,
        attempts: row.get("attempts")?,
    })
}

/// Stores a message to be sent at once.
pub async fn insert(tx: &mut Tx, new: &NewNotice, now: Timestamp) -> Result<()> {
    let args = args![
        new.initiator_id,
        new.external_job_id,
        &new.method,
        &new.url,
        new.body.clone(),
        now
    ];
    tx.run(&INSERT, args).await.map(drop)
}

/// Messages to be sent by `now`, at most `limit`; of each job and initiator the oldest only.
pub async fn due(conn: &mut Conn, now: Timestamp, limit: u32) -> Result<Vec<Notice>> {
    conn.rows(&DUE, args![now, limit])
        .await?
        .iter()
        .map(notice)
        .collect()
}

/// It was tried in vain and is tried again.
pub async fn postpone(tx: &mut LeaderTx, id: i64, not_before: Timestamp) -> Result<()> {
    tx.run(&POSTPONE, args![id, not_before]).await.map(drop)
}

/// It was told, or given up.
pub async fn delete(tx: &mut LeaderTx, id: i64) -> Result<()> {
    tx.run(&DELETE, args![id]).await.map(drop)
}

/// The initiator is going away.
pub async fn delete_of(tx: &mut Tx, initiator: i64) -> Result<()> {
    tx.run(&DELETE_OF, args![initiator]).await.map(drop)
}

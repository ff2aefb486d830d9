//! External initiators: programs outside that may start runs of the jobs that list them. What proves
//! who they are is kept as a hash; what proves to them who we are has to be sent and is kept as it is.

use dodona_model::{JobId, Timestamp};

use crate::engine::Tx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "initiators.insert" =>
        "INSERT INTO initiators (name, url, access_key, salt, secret_hash, outgoing_token, outgoing_secret, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id";
    FIND = "initiators.find" =>
        "SELECT * FROM initiators WHERE LOWER(name) = LOWER($1)";
    BY_KEY = "initiators.by_key" =>
        "SELECT * FROM initiators WHERE access_key = $1";
    LIST = "initiators.list" =>
        "SELECT * FROM initiators ORDER BY id LIMIT $1 OFFSET $2";
    COUNT = "initiators.count" =>
        "SELECT COUNT(*) AS n FROM initiators";
    DELETE = "initiators.delete" =>
        "DELETE FROM initiators WHERE id = $1";
    ATTACH = "initiators.attach" =>
        "INSERT INTO job_initiators (job_id, initiator_id, spec) VALUES ($1, $2, $3)";
    DETACH = "initiators.detach" =>
        "DELETE FROM job_initiators WHERE job_id = $1";
    OF_JOB = "initiators.of_job" =>
        "SELECT i.*, j.spec FROM job_initiators j JOIN initiators i ON i.id = j.initiator_id WHERE j.job_id = $1 ORDER BY i.id";
    IS_LISTED = "initiators.is_listed" =>
        "SELECT job_id FROM job_initiators WHERE job_id = $1 AND initiator_id = $2";
    JOBS_OF = "initiators.jobs_of" =>
        "SELECT job_id FROM job_initiators WHERE initiator_id = $1 ORDER BY job_id";
}

/// An external initiator to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInitiator {
    /// Letters, digits, `-`, `_`; as written, and one whatever its letter case.
    pub name: String,
    /// Where it wants to be told about jobs.
    pub url: Option<String>,
    /// What it presents to us, with a secret.
    pub access_key: String,
    /// Goes into the hash.
    pub salt: String,
    /// Hash of the secret.
    pub secret_hash: String,
    /// What we present to it.
    pub outgoing_token: String,
    /// See `outgoing_token`.
    pub outgoing_secret: String,
}

/// A stored external initiator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initiator {
    /// Row number.
    pub id: i64,
    /// What was stored.
    pub spec: NewInitiator,
    /// When created.
    pub created_at: Timestamp,
}

fn initiator(row: &Row) -> Result<Initiator> {
    Ok(Initiator {
        id: row.get("id")?,
        spec: NewInitiator {
            name: row.get("name")?,
            url: row.get("url")?,
            access_key: row.get("access_key")?,
            salt: row.get("salt")?,
            secret_hash: row.get("secret_hash")?,
            outgoing_token: row.get("outgoing_token")?,
            outgoing_secret: row.get("outgoing_secret")?,
        },
        created_at: row.get("created_at")?,
    })
}

/// Creates an initiator; the same name twice, in any letter case, is a duplicate.
pub async fn insert(tx: &mut Tx, new: &NewInitiator, now: Timestamp) -> Result<i64> {
    let args = args![
        &new.name,
        new.url.clone(),
        &new.access_key,
        &new.salt,
        &new.secret_hash,
        &new.outgoing_token,
        &new.outgoing_secret,
        now
    ];
    tx.one(&INSERT, args).await?.get("id")
}

/// An initiator by its name in any letter case.
pub async fn find(conn: &mut Conn, name: &str) -> Result<Option<Initiator>> {
    conn.row(&FIND, args![name])
        .await?
        .as_ref()
        .map(initiator)
        .transpose()
}

/// An initiator by the access key it presents.
pub async fn by_key(conn: &mut Conn, access_key: &str) -> Result<Option<Initiator>> {
    conn.row(&BY_KEY, args![access_key])
        .await?
        .as_ref()
        .map(initiator)
        .transpose()
}

/// Initiators as they came, `limit` from `offset`.
pub async fn list(conn: &mut Conn, limit: u32, offset: u32) -> Result<Vec<Initiator>> {
    conn.rows(&LIST, args![limit, offset])
        .await?
        .iter()
        .map(initiator)
        .collect()
}

/// How many initiators there are.
pub async fn count(conn: &mut Conn) -> Result<u64> {
    conn.one(&COUNT, args![]).await?.get("n")
}

/// Deletes an initiator. `false`: there was none. Jobs that list it must be gone before.
pub async fn delete(tx: &mut Tx, id: i64) -> Result<bool> {
    Ok(tx.run(&DELETE, args![id]).await? == 1)
}

/// The job lists the initiator and has this (JSON text) to say to it.
pub async fn attach(tx: &mut Tx, job: JobId, initiator: i64, spec: &str) -> Result<()> {
    tx.run(&ATTACH, args![job, initiator, spec]).await.map(drop)
}

/// The job lists nobody any more.
pub async fn detach(tx: &mut Tx, job: JobId) -> Result<()> {
    tx.run(&DETACH, args![job]).await.map(drop)
}

/// The initiators a job lists, each with what the job has to say to it.
pub async fn of_job(conn: &mut Conn, job: JobId) -> Result<Vec<(Initiator, String)>> {
    conn.rows(&OF_JOB, args![job])
        .await?
        .iter()
        .map(|row| Ok((initiator(row)?, row.get("spec")?)))
        .collect()
}

/// Whether the job lists the initiator.
pub async fn is_listed(conn: &mut Conn, job: JobId, initiator: i64) -> Result<bool> {
    Ok(conn.row(&IS_LISTED, args![job, initiator]).await?.is_some())
}

/// The jobs that list the initiator.
pub async fn jobs_of(conn: &mut Conn, initiator: i64) -> Result<Vec<JobId>> {
    conn.rows(&JOBS_OF, args![initiator])
        .await?
        .iter()
        .map(|row| row.get("job_id"))
        .collect()
}

//! When each cron job runs next.

use dodona_model::{JobId, Timestamp};

use crate::engine::Tx;
use crate::lease::LeaderTx;
use crate::runs::id_list;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "schedules.insert" =>
        "INSERT INTO schedules (job_id, schedule, next_at) VALUES ($1, $2, $3)";
    DELETE = "schedules.delete" =>
        "DELETE FROM schedules WHERE job_id = $1";
    DUE = "schedules.due" =>
        "SELECT * FROM schedules WHERE next_at <= $1 ORDER BY next_at, job_id LIMIT $2";
    NEXT = "schedules.next" =>
        "SELECT next_at FROM schedules ORDER BY next_at LIMIT 1";
    // Names the time it leaves: one tick is taken once.
    ADVANCE = "schedules.advance" =>
        "UPDATE schedules SET next_at = $3 WHERE job_id = $1 AND next_at = $2";
    OF_JOBS = "schedules.of_jobs" =>
        "SELECT * FROM schedules WHERE job_id IN (SELECT value FROM json_each($1)) ORDER BY job_id",
        "SELECT * FROM schedules WHERE job_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))
         ORDER BY job_id";
}

/// A job's schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// The job.
    pub job_id: JobId,
    /// As the operator wrote it.
    pub schedule: String,
    /// The tick that comes next.
    pub next_at: Timestamp,
}

fn scheduled(row: &Row) -> Result<Scheduled> {
    Ok(Scheduled {
        job_id: row.get("job_id")?,
        schedule: row.get("schedule")?,
        next_at: row.get("next_at")?,
    })
}

/// Gives a new job its schedule; its first tick is `first`.
pub async fn insert(tx: &mut Tx, job: JobId, schedule: &str, first: Timestamp) -> Result<()> {
    tx.run(&INSERT, args![job, schedule, first]).await.map(drop)
}

/// The job has no more ticks.
pub async fn delete(tx: &mut Tx, job: JobId) -> Result<()> {
    tx.run(&DELETE, args![job]).await.map(drop)
}

/// Schedules whose tick has come by `now`, the oldest first, at most `limit`.
pub async fn due(conn: &mut Conn, now: Timestamp, limit: u32) -> Result<Vec<Scheduled>> {
    conn.rows(&DUE, args![now, limit])
        .await?
        .iter()
        .map(scheduled)
        .collect()
}

/// The earliest tick of all.
pub async fn next(conn: &mut Conn) -> Result<Option<Timestamp>> {
    conn.row(&NEXT, args![])
        .await?
        .map(|row| row.get("next_at"))
        .transpose()
}

/// Takes the tick at `tick`; the one after it is at `next`. `false`: somebody took it, or the job is
/// gone.
pub async fn advance(
    tx: &mut LeaderTx,
    job: JobId,
    tick: Timestamp,
    next: Timestamp,
) -> Result<bool> {
    Ok(tx.run(&ADVANCE, args![job, tick, next]).await? == 1)
}

/// The schedules of these jobs, by job.
pub async fn of_jobs(conn: &mut Conn, jobs: &[JobId]) -> Result<Vec<Scheduled>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    conn.rows(&OF_JOBS, args![id_list(jobs)])
        .await?
        .iter()
        .map(scheduled)
        .collect()
}

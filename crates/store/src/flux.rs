//! Flux monitors: when each job looks at its aggregator next, and what its runs found and sent.
//!
//! Two tables for two writers. The leader of the chain keeps the monitors, whoever executes the run
//! keeps the answers, and neither waits for the other.

use dodona_model::{Address, ChainId, JobId, RunId, Timestamp};

use crate::engine::Tx;
use crate::lease::LeaderTx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "flux.insert" =>
        "INSERT INTO flux_monitors (job_id, chain_id, contract, due_at, standing, updated_at) VALUES ($1, $2, $3, 0, '', $4)";
    DELETE = "flux.delete" =>
        "DELETE FROM flux_monitors WHERE job_id = $1";
    DELETE_ANSWER = "flux.delete_answer" =>
        "DELETE FROM flux_answers WHERE job_id = $1";
    DUE = "flux.due" =>
        "SELECT * FROM flux_monitors WHERE chain_id = $1 AND run_id IS NULL AND due_at <= $2 ORDER BY due_at, job_id LIMIT $3";
    // The run has ended, or is gone because nothing came of it.
    RETURNED = "flux.returned" =>
        "SELECT flux_monitors.* FROM flux_monitors LEFT JOIN runs r ON r.id = flux_monitors.run_id
         WHERE flux_monitors.chain_id = $1 AND flux_monitors.run_id IS NOT NULL
            AND (r.id IS NULL OR r.state IN ('completed', 'errored'))
         ORDER BY flux_monitors.job_id LIMIT $2";
    OF_CONTRACT = "flux.of_contract" =>
        "SELECT * FROM flux_monitors WHERE chain_id = $1 AND contract = $2 ORDER BY job_id";
    OF_CHAIN = "flux.of_chain" =>
        "SELECT * FROM flux_monitors WHERE chain_id = $1 ORDER BY job_id";
    SAVE = "flux.save" =>
        "UPDATE flux_monitors SET due_at = $2, run_id = $3, seen_round = $4, standing = $5, updated_at = $6 WHERE job_id = $1";
    SEEN = "flux.seen" =>
        "INSERT INTO flux_answers (job_id, seen_value, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (job_id) DO UPDATE SET seen_value = excluded.seen_value, updated_at = excluded.updated_at";
    REPORTED = "flux.reported" =>
        "UPDATE flux_answers SET reported_run = $2, reported_round = $3, reported_value = $4, updated_at = $5 WHERE job_id = $1";
    ANSWER = "flux.answer" =>
        "SELECT * FROM flux_answers WHERE job_id = $1";
    FIGURES = "flux.figures" =>
        "SELECT flux_monitors.job_id, flux_monitors.seen_round, a.seen_value, a.reported_round, a.reported_value
         FROM flux_monitors LEFT JOIN flux_answers a ON a.job_id = flux_monitors.job_id ORDER BY flux_monitors.job_id";
}

/// The moment of a monitor that waits for nothing but logs.
pub const NEVER: Timestamp = Timestamp(i64::MAX);

/// A flux monitor as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// Its job.
    pub job_id: JobId,
    /// The aggregator.
    pub contract: Address,
    /// When there is something to do; [`NEVER`]: nothing the clock knows of.
    pub due_at: Timestamp,
    /// The run that looks for a number now; nothing else begins before it is over.
    pub run_id: Option<RunId>,
    /// The newest round anybody began.
    pub seen_round: Option<u32>,
    /// Its timers and what it has heard, as `jobs` writes them (JSON); empty before its first look.
    pub standing: String,
}

/// What the runs of a flux monitor found and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The number found last, as text.
    pub seen_value: String,
    /// The run that submitted last.
    pub reported_run: Option<RunId>,
    /// The round it submitted to.
    pub reported_round: Option<u32>,
    /// What it submitted, as text.
    pub reported_value: Option<String>,
}

/// What dashboards show of a flux monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Its job.
    pub job_id: JobId,
    /// The newest round anybody began.
    pub seen_round: Option<u32>,
    /// The number found last, as text.
    pub seen_value: Option<String>,
    /// The round submitted to last.
    pub reported_round: Option<u32>,
    /// What was submitted last, as text.
    pub reported_value: Option<String>,
}

fn monitor(row: &Row) -> Result<Monitor> {
    Ok(Monitor {
        job_id: row.get("job_id")?,
        contract: row.get("contract")?,
        due_at: row.get("due_at")?,
        run_id: row.get("run_id")?,
        seen_round: row.get("seen_round")?,
        standing: row.get("standing")?,
    })
}

fn monitors(rows: &[Row]) -> Result<Vec<Monitor>> {
    rows.iter().map(monitor).collect()
}

/// A new job's monitor: due at once.
pub(crate) async fn insert(
    tx: &mut Tx,
    job: JobId,
    chain: ChainId,
    contract: Address,
    now: Timestamp,
) -> Result<()> {
    tx.run(&INSERT, args![job, chain, contract, now])
        .await
        .map(drop)
}

/// The job is gone.
pub(crate) async fn delete(tx: &mut Tx, job: JobId) -> Result<()> {
    tx.run(&DELETE, args![job]).await?;
    tx.run(&DELETE_ANSWER, args![job]).await.map(drop)
}

/// Monitors with something to do and no run on its way, the longest due first, at most `limit`.
pub async fn due(
    conn: &mut Conn,
    chain: ChainId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Monitor>> {
    monitors(&conn.rows(&DUE, args![chain, now, limit]).await?)
}

/// Monitors whose run is over, at most `limit`.
pub async fn returned(conn: &mut Conn, chain: ChainId, limit: u32) -> Result<Vec<Monitor>> {
    monitors(&conn.rows(&RETURNED, args![chain, limit]).await?)
}

/// Monitors of one aggregator.
pub async fn of_contract(
    conn: &mut Conn,
    chain: ChainId,
    contract: Address,
) -> Result<Vec<Monitor>> {
    monitors(&conn.rows(&OF_CONTRACT, args![chain, contract]).await?)
}

/// All monitors of a chain.
pub async fn of_chain(conn: &mut Conn, chain: ChainId) -> Result<Vec<Monitor>> {
    monitors(&conn.rows(&OF_CHAIN, args![chain]).await?)
}

/// Stores where a monitor stands. `false`: its job was deleted.
pub async fn save(tx: &mut LeaderTx, monitor: &Monitor, now: Timestamp) -> Result<bool> {
    let args = args![
        monitor.job_id,
        monitor.due_at,
        monitor.run_id,
        monitor.seen_round,
        &monitor.standing,
        now
    ];
    Ok(tx.run(&SAVE, args).await? == 1)
}

/// Notes the number that a run found.
pub async fn note_seen(tx: &mut Tx, job: JobId, value: &str, now: Timestamp) -> Result<()> {
    tx.run(&SEEN, args![job, value, now]).await.map(drop)
}

/// Notes that `run` submits `value` to `round`; after [`note_seen`], in the same commit.
pub async fn note_reported(
    tx: &mut Tx,
    job: JobId,
    run: RunId,
    round: u32,
    value: &str,
    now: Timestamp,
) -> Result<()> {
    tx.run(&REPORTED, args![job, run, round, value, now])
        .await
        .map(drop)
}

/// What the runs of a job found and sent; `None` before the first number.
pub async fn answer(conn: &mut Conn, job: JobId) -> Result<Option<Answer>> {
    let Some(row) = conn.row(&ANSWER, args![job]).await? else {
        return Ok(None);
    };
    Ok(Some(Answer {
        seen_value: row.get("seen_value")?,
        reported_run: row.get("reported_run")?,
        reported_round: row.get("reported_round")?,
        reported_value: row.get("reported_value")?,
    }))
}

/// The figures of every flux monitor.
pub async fn figures(conn: &mut Conn) -> Result<Vec<Figures>> {
    conn.rows(&FIGURES, args![])
        .await?
        .iter()
        .map(|row| {
            Ok(Figures {
                job_id: row.get("job_id")?,
                seen_round: row.get("seen_round")?,
                seen_value: row.get("seen_value")?,
                reported_round: row.get("reported_round")?,
                reported_value: row.get("reported_value")?,
            })
        })
        .collect()
}

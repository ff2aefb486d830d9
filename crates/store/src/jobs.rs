//! Jobs as rows: what the operator wants done.

use std::collections::HashMap;
use std::time::Duration;

use alloy::hex::encode as hex;
use dodona_model::{Address, B256, ChainId, JobId, Timestamp, U256};
use serde_json::json;
use uuid::Uuid;

use crate::engine::Tx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "jobs.insert" =>
        "INSERT INTO jobs (external_job_id, name, type, schema_version, toml, dot, chain_id, contract_address,
            min_confirmations, min_payment_juels, requesters, gas_limit, forwarding_allowed, max_task_duration_us, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id";
    INSERT_TOPIC = "jobs.insert_topic" =>
        "INSERT INTO job_topics (chain_id, address, topic, job_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (chain_id, address, topic) DO UPDATE SET job_id = excluded.job_id";
    LIST = "jobs.list" =>
        "SELECT * FROM jobs WHERE deleted_at IS NULL ORDER BY id LIMIT $1 OFFSET $2";
    COUNT = "jobs.count" =>
        "SELECT COUNT(*) AS n FROM jobs WHERE deleted_at IS NULL";
    FIND = "jobs.find" =>
        "SELECT * FROM jobs WHERE id = $1";
    FIND_EXTERNAL = "jobs.find_external" =>
        "SELECT * FROM jobs WHERE external_job_id = $1 AND deleted_at IS NULL";
    FIND_BY_TOPICS = "jobs.find_by_topics" =>
        "SELECT j.*, t.address AS named_address, t.topic AS named_topic FROM json_each($2) AS e
            CROSS JOIN job_topics t ON t.chain_id = $1 AND t.address = unhex(e.value ->> 'address') AND t.topic = unhex(e.value ->> 'topic')
            CROSS JOIN jobs j ON j.id = t.job_id
         WHERE j.deleted_at IS NULL ORDER BY j.id, t.topic",
        "SELECT j.*, t.address AS named_address, t.topic AS named_topic
         FROM json_to_recordset(CAST($2 AS JSON)) AS e(address TEXT, topic TEXT)
            JOIN job_topics t ON t.chain_id = $1 AND t.address = decode(e.address, 'hex') AND t.topic = decode(e.topic, 'hex')
            JOIN jobs j ON j.id = t.job_id
         WHERE j.deleted_at IS NULL ORDER BY j.id, t.topic";
    // The external id is freed for a successor; runs keep pointing at this row.
    DELETE = "jobs.delete" =>
        "UPDATE jobs SET deleted_at = $2, external_job_id = external_job_id || ' deleted ' || CAST(id AS TEXT)
         WHERE id = $1 AND deleted_at IS NULL";
    DELETE_TOPICS = "jobs.delete_topics" =>
        "DELETE FROM job_topics WHERE job_id = $1";
    // Nobody reads the contract any more: a later job on it has its recent past read again.
    DELETE_FILTERS = "jobs.delete_filters" =>
        "DELETE FROM scan_filters WHERE (chain_id, address) IN (SELECT chain_id, contract_address FROM jobs WHERE id = $1)
            AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.deleted_at IS NULL AND j.chain_id = scan_filters.chain_id AND j.contract_address = scan_filters.address)";
    CONTRACTS = "jobs.contracts" =>
        "SELECT DISTINCT contract_address FROM jobs
         WHERE deleted_at IS NULL AND chain_id = $1 AND contract_address IS NOT NULL";
    FEWEST_CONFIRMATIONS = "jobs.fewest_confirmations" =>
        "SELECT COALESCE(MIN(COALESCE(min_confirmations, 0)), 0) AS n FROM jobs WHERE deleted_at IS NULL AND chain_id = $1";
    MENTIONING = "jobs.mentioning" =>
        "SELECT id, dot FROM jobs WHERE deleted_at IS NULL AND LOWER(dot) LIKE $1 ESCAPE '!' ORDER BY id";
    NOTE_ERROR = "jobs.note_error" =>
        "INSERT INTO job_errors (job_id, description, occurrences, created_at, updated_at) VALUES ($1, $2, 1, $3, $3)
         ON CONFLICT (job_id, description) DO UPDATE SET occurrences = job_errors.occurrences + 1, updated_at = excluded.updated_at";
    ERRORS = "jobs.errors" =>
        "SELECT * FROM job_errors WHERE job_id = $1 ORDER BY id";
    ALL_ERRORS = "jobs.all_errors" =>
        "SELECT * FROM job_errors ORDER BY job_id, id LIMIT $1";
    DISMISS = "jobs.dismiss_error" =>
        "DELETE FROM job_errors WHERE id = $1";
}

/// A job to be stored.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// How the world names it.
    pub external_job_id: Uuid,
    /// Label for people; may be empty.
    pub name: String,
    /// `directrequest`, …
    pub kind: String,
    /// 1 for every type.
    pub schema_version: u32,
    /// The spec as the operator wrote it.
    pub toml: String,
    /// Its `observationSource`.
    pub dot: String,
    /// The chain it works on, where it has one.
    pub chain_id: Option<ChainId>,
    /// The oracle contract it watches.
    pub contract_address: Option<Address>,
    /// The job's own confirmations; the larger of this and the chain's counts.
    pub min_confirmations: Option<u32>,
    /// The job's own minimum payment in juels; replaces the chain's.
    pub min_payment_juels: Option<U256>,
    /// Who may ask; empty means everyone.
    pub requesters: Vec<Address>,
    /// Gas limit of its transactions, units of gas.
    pub gas_limit: Option<u32>,
    /// Whether its transactions may go through a forwarder.
    pub forwarding_allowed: bool,
    /// Upper bound of one task attempt.
    pub max_task_duration: Option<Duration>,
}

/// A stored job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Row number.
    pub id: JobId,
    /// What was stored. Of a deleted job the external id is nil.
    pub spec: NewJob,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was deleted; its runs stay readable for a while.
    pub deleted_at: Option<Timestamp>,
}

/// An error that a job meets outside its runs, counted.
#[derive(Debug, Clone)]
pub struct JobError {
    /// Row number.
    pub id: i64,
    /// What happened.
    pub description: String,
    /// How often.
    pub occurrences: u64,
    /// First time.
    pub created_at: Timestamp,
    /// Last time.
    pub updated_at: Timestamp,
}

fn job(row: &Row) -> Result<Job> {
    let requesters: String = row.get("requesters")?;
    let external: String = row.get("external_job_id")?;
    Ok(Job {
        id: row.get("id")?,
        spec: NewJob {
            external_job_id: Uuid::parse_str(&external).unwrap_or(Uuid::nil()),
            name: row.get("name")?,
            kind: row.get("type")?,
            schema_version: row.get("schema_version")?,
            toml: row.get("toml")?,
            dot: row.get("dot")?,
            chain_id: row.get("chain_id")?,
            contract_address: row.get("contract_address")?,
            min_confirmations: row.get("min_confirmations")?,
            min_payment_juels: row.get("min_payment_juels")?,
            requesters: requesters
                .split_whitespace()
                .filter_map(|text| text.parse().ok())
                .collect(),
            gas_limit: row.get("gas_limit")?,
            forwarding_allowed: row.get("forwarding_allowed")?,
            max_task_duration: row
                .get::<Option<u64>>("max_task_duration_us")?
                .map(Duration::from_micros),
        },
        created_at: row.get("created_at")?,
        deleted_at: row.get("deleted_at")?,
    })
}

/// The type of jobs that get a row of their own in `flux`.
const FLUX_MONITOR: &str = "fluxmonitor";

/// Stores a job and what it is found by: the topics under which requests will name it, or a monitor. A second job with the same
/// external id is a duplicate ([`crate::StoreError::is_duplicate`]).
pub async fn insert(tx: &mut Tx, new: &NewJob, now: Timestamp) -> Result<JobId> {
    let requesters = new
        .requesters
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    let args = args![
        new.external_job_id,
        &new.name,
        &new.kind,
        new.schema_version,
        &new.toml,
        &new.dot,
        new.chain_id,
        new.contract_address,
        new.min_confirmations,
        new.min_payment_juels,
        requesters,
        new.gas_limit,
        new.forwarding_allowed,
        new.max_task_duration
            .map(|d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)),
        now
    ];
    let id: JobId = tx.one(&INSERT, args).await?.get("id")?;
    if let (Some(chain), Some(address)) = (new.chain_id, new.contract_address) {
        if new.kind == FLUX_MONITOR {
            crate::flux::insert(tx, id, chain, address, now).await?;
            return Ok(id);
        }
        for topic in dodona_model::oracle::spec_ids(new.external_job_id) {
            tx.run(&INSERT_TOPIC, args![chain, address, topic, id])
                .await?;
        }
    }
    Ok(id)
}

/// Living jobs by number, `limit` from `offset`.
pub async fn list(conn: &mut Conn, limit: u32, offset: u32) -> Result<Vec<Job>> {
    conn.rows(&LIST, args![limit, offset])
        .await?
        .iter()
        .map(job)
        .collect()
}

/// How many living jobs there are.
pub async fn count(conn: &mut Conn) -> Result<u64> {
    conn.one(&COUNT, args![]).await?.get("n")
}

/// A job by number, deleted ones included.
pub async fn find(conn: &mut Conn, id: JobId) -> Result<Option<Job>> {
    conn.row(&FIND, args![id])
        .await?
        .as_ref()
        .map(job)
        .transpose()
}

/// A living job by its external id.
pub async fn find_external(conn: &mut Conn, id: Uuid) -> Result<Option<Job>> {
    conn.row(&FIND_EXTERNAL, args![id])
        .await?
        .as_ref()
        .map(job)
        .transpose()
}

/// The living jobs that requests name, each by its contract and its topic; names of no job are left out.
pub async fn find_by_topics(
    conn: &mut Conn,
    chain: ChainId,
    names: &[(Address, B256)],
) -> Result<HashMap<(Address, B256), Job>> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let names = names
        .iter()
        .map(|(address, topic)| json!({ "address": hex(address), "topic": hex(topic) }));
    let text = names.collect::<serde_json::Value>().to_string();
    conn.rows(&FIND_BY_TOPICS, args![chain, text])
        .await?
        .iter()
        .map(|row| {
            let name = (row.get("named_address")?, row.get("named_topic")?);
            Ok((name, job(row)?))
        })
        .collect()
}

/// Deletes a job; its finished runs stay readable. `false`: there was none.
pub async fn delete(tx: &mut Tx, id: JobId, now: Timestamp) -> Result<bool> {
    tx.run(&DELETE_TOPICS, args![id]).await?;
    crate::flux::delete(tx, id).await?;
    let deleted = tx.run(&DELETE, args![id, now]).await? == 1;
    tx.run(&DELETE_FILTERS, args![id]).await?;
    Ok(deleted)
}

/// The oracle contracts that living jobs of a chain watch.
pub async fn contracts(conn: &mut Conn, chain: ChainId) -> Result<Vec<Address>> {
    conn.rows(&CONTRACTS, args![chain])
        .await?
        .iter()
        .map(|row| row.get("contract_address"))
        .collect()
}

/// The smallest confirmation count any living job of the chain asks for itself (0: says nothing).
pub async fn fewest_confirmations(conn: &mut Conn, chain: ChainId) -> Result<u32> {
    conn.one(&FEWEST_CONFIRMATIONS, args![chain])
        .await?
        .get("n")
}

/// Number and graph of living jobs whose graph mentions `word`, in any case of its ASCII letters.
pub async fn mentioning(conn: &mut Conn, word: &str) -> Result<Vec<(JobId, String)>> {
    let literal = word
        .to_ascii_lowercase()
        .replace('!', "!!")
        .replace('%', "!%")
        .replace('_', "!_");
    let pattern = format!("%{literal}%");
    conn.rows(&MENTIONING, args![pattern])
        .await?
        .iter()
        .map(|row| Ok((row.get("id")?, row.get("dot")?)))
        .collect()
}

/// Counts an error that a job met outside its runs.
pub async fn note_error(tx: &mut Tx, job: JobId, description: &str, now: Timestamp) -> Result<()> {
    tx.run(&NOTE_ERROR, args![job, description, now])
        .await
        .map(drop)
}

fn job_error(row: &Row) -> Result<JobError> {
    Ok(JobError {
        id: row.get("id")?,
        description: row.get("description")?,
        occurrences: row.get("occurrences")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// The errors counted for a job.
pub async fn errors(conn: &mut Conn, job: JobId) -> Result<Vec<JobError>> {
    conn.rows(&ERRORS, args![job])
        .await?
        .iter()
        .map(job_error)
        .collect()
}

/// The errors counted for all jobs, at most `limit`, job by job.
pub async fn all_errors(conn: &mut Conn, limit: u32) -> Result<Vec<(JobId, JobError)>> {
    conn.rows(&ALL_ERRORS, args![limit])
        .await?
        .iter()
        .map(|row| Ok((row.get("job_id")?, job_error(row)?)))
        .collect()
}

/// Forgets one counted error. `false`: there was none.
pub async fn dismiss_error(tx: &mut Tx, id: i64) -> Result<bool> {
    Ok(tx.run(&DISMISS, args![id]).await? == 1)
}

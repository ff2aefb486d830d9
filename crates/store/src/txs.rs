//! Transactions.

mod attempts;
mod mined;

use alloy::hex::encode as hex;
use dodona_model::tx::{Event, State};
use dodona_model::{
    Address, B256, BlockRef, Bytes, ChainId, JobId, RequestRow, RunId, Timestamp, TxId, U256,
};
use serde_json::json;
use uuid::Uuid;

use crate::engine::Tx as StoreTx;
use crate::lease::LeaderTx;
use crate::sql::{Row, args, clean, declare, int};
use crate::{Conn, Result};

pub(crate) use attempts::ALL as ATTEMPTS;
pub use attempts::{
    Attempt, Fee, NewAttempt, attempts, attempts_of, attempts_unfinished, count_attempts,
    insert_attempt, list_attempts, newest_attempts_signed, note_attempt, oldest_first_block,
};
pub(crate) use mined::ALL as MINED;

pub use mined::{
    Included, Inclusion, awaited_dead, finalize_each, include, include_each, mined_due, reorged,
    signalled, signalled_each,
};

declare! {
    INSERT = "txs.insert" =>
        "INSERT INTO txs (chain_id, from_address, to_address, payload, payload_version, value_wei, gas_limit, state, reason,
            task_run_id, superseded, run_id, job_id, request_row, min_confirmations, fail_on_revert, signal_needed, meta,
            not_before, checks_failed, created_at, simulate)
         VALUES ($1, $2, $3, $4, 1, $5, $6, 'queued', '', $7, 0, $8, $9, $10, $11, $12, $13, $14, 0, 0, $15, $16) RETURNING id";
    BY_TASK_RUN = "txs.by_task_run" =>
        "SELECT * FROM txs WHERE task_run_id = $1 AND superseded = 0",
        "SELECT * FROM txs WHERE task_run_id = $1 AND superseded = 0 FOR UPDATE";
    INSERT_EACH = "txs.insert_each" =>
        "INSERT INTO txs (chain_id, from_address, to_address, payload, payload_version, value_wei, gas_limit, state, reason,
            task_run_id, superseded, run_id, job_id, request_row, min_confirmations, fail_on_revert, signal_needed, meta,
            not_before, checks_failed, created_at, simulate)
         SELECT value ->> 'chain_id', unhex(value ->> 'from'), unhex(value ->> 'to'), unhex(value ->> 'payload'), 1,
            unhex(value ->> 'value_wei'), value ->> 'gas_limit', 'queued', '', value ->> 'task_run_id', 0, value ->> 'run_id',
            value ->> 'job_id', value ->> 'request_row', value ->> 'min_confirmations', value ->> 'fail_on_revert',
            value ->> 'signal_needed', value ->> 'meta', 0, 0, $2, value ->> 'simulate'
         FROM json_each($1)",
        "INSERT INTO txs (chain_id, from_address, to_address, payload, payload_version, value_wei, gas_limit, state, reason,
            task_run_id, superseded, run_id, job_id, request_row, min_confirmations, fail_on_revert, signal_needed, meta,
            not_before, checks_failed, created_at, simulate)
         SELECT chain_id, decode(\"from\", 'hex'), decode(\"to\", 'hex'), decode(payload, 'hex'), 1, decode(value_wei, 'hex'),
            gas_limit, 'queued', '', task_run_id, 0, run_id, job_id, request_row, min_confirmations, fail_on_revert, signal_needed,
            meta, 0, 0, $2, simulate
         FROM json_to_recordset(CAST($1 AS JSON)) AS t(chain_id BIGINT, \"from\" TEXT, \"to\" TEXT, payload TEXT, value_wei TEXT,
            gas_limit BIGINT, task_run_id TEXT, run_id BIGINT, job_id BIGINT, request_row BIGINT, min_confirmations BIGINT,
            fail_on_revert BIGINT, signal_needed BIGINT, meta TEXT, simulate BIGINT)";
    LIVING_OF = "txs.living_of_each" =>
        "SELECT task_run_id, state FROM txs WHERE task_run_id IN (SELECT value FROM json_each($1)) AND superseded = 0
         ORDER BY task_run_id",
        "SELECT task_run_id, state FROM txs WHERE task_run_id = ANY (ARRAY(SELECT value FROM json_array_elements_text(CAST($1 AS JSON))))
            AND superseded = 0 ORDER BY task_run_id COLLATE \"C\" FOR UPDATE";
    // Everything the payload was made for comes with it; a key only while no nonce of it was taken. No
    // attempt ever made carries the new version, also where the old one was given up (0).
    NEW_PAYLOAD = "txs.new_payload" =>
        "UPDATE txs SET payload = $2, to_address = $3, value_wei = $4, gas_limit = $5, min_confirmations = $6, fail_on_revert = $7,
            signal_needed = $8, meta = $9, simulate = $11, from_address = CASE WHEN state = 'queued' THEN $10 ELSE from_address END,
            payload_version = 1 + CASE WHEN payload_version > 0 THEN payload_version
                ELSE (SELECT COALESCE(MAX(a.payload_version), 0) FROM tx_attempts a WHERE a.tx_id = txs.id) END, not_before = 0, checks_failed = 0, reason = ''
         WHERE id = $1 AND state IN ('queued', 'signed', 'sent', 'mined')";
    AWAIT = "txs.await" =>
        "UPDATE txs SET signal_needed = $2 WHERE id = $1 AND signal_needed <> $2";
    GIVE_UP = "txs.give_up" =>
        "UPDATE txs SET payload_version = 0, reason = $2 WHERE id = $1 AND state IN ('signed', 'sent')";
    SUPERSEDE = "txs.supersede" =>
        "UPDATE txs SET superseded = 1, signal_needed = 0 WHERE id = $1";
    QUEUED = "txs.queued" =>
        "SELECT t.* FROM txs t LEFT JOIN requests r ON r.id = t.request_row
         WHERE t.chain_id = $1 AND t.from_address = $2 AND t.state = 'queued' AND t.not_before <= $3
            AND (r.id IS NULL OR r.state IN ('open', 'answered'))
         ORDER BY t.value_wei, t.created_at, t.id LIMIT $4";
    STRANDED = "txs.stranded" =>
        "SELECT t.* FROM txs t JOIN requests r ON r.id = t.request_row
         WHERE t.chain_id = $1 AND t.state = 'queued' AND r.state NOT IN ('open', 'answered') AND r.block_number <= $2
         ORDER BY t.id LIMIT $3";
    SIGN = "txs.sign_each" =>
        "UPDATE txs SET state = 'signed', nonce = e.value ->> 'nonce' FROM json_each($1) AS e
         WHERE txs.id = e.value ->> 'id' AND txs.state = 'queued' AND txs.payload_version = e.value ->> 'payload_version'",
        "UPDATE txs SET state = 'signed', nonce = e.nonce
         FROM json_to_recordset(CAST($1 AS JSON)) AS e(id BIGINT, payload_version BIGINT, nonce BIGINT)
         WHERE txs.id = e.id AND txs.state = 'queued' AND txs.payload_version = e.payload_version";
    BY_IDS = "txs.by_ids" =>
        "SELECT * FROM txs WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id",
        "SELECT * FROM txs WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON))) ORDER BY id";
    IN_FLIGHT = "txs.in_flight" =>
        "SELECT COUNT(*) AS n FROM txs WHERE chain_id = $1 AND from_address = $2 AND state IN ('signed', 'sent')";
    HANDED_OVER = "txs.handed_over" =>
        "UPDATE txs SET state = 'sent', reason = CASE WHEN payload_version = 0 THEN reason ELSE '' END,
            sent_at = COALESCE(sent_at, $2), last_sent_at = $2
         WHERE id IN (SELECT value FROM json_each($1)) AND state IN ('signed', 'sent') RETURNING created_at, sent_at",
        "UPDATE txs SET state = 'sent', reason = CASE WHEN payload_version = 0 THEN reason ELSE '' END,
            sent_at = COALESCE(sent_at, $2), last_sent_at = $2
         WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON))) AND state IN ('signed', 'sent')
         RETURNING created_at, sent_at";
    NOTE = "txs.note" =>
        "UPDATE txs SET reason = CASE WHEN payload_version = 0 THEN reason ELSE $2 END, last_sent_at = $3
         WHERE id = $1 AND state IN ('signed', 'sent')";
    POSTPONE = "txs.postpone" =>
        "UPDATE txs SET reason = $2, not_before = $3, checks_failed = checks_failed + $4 WHERE id = $1 AND state = 'queued'";
    DIE = "txs.die" =>
        "UPDATE txs SET state = 'dead', reason = $3 WHERE id = $1 AND state = $2";
    UNFINISHED = "txs.unfinished" =>
        "SELECT * FROM txs WHERE chain_id = $1 AND state IN ('signed', 'sent') ORDER BY from_address, nonce";
    FIND = "txs.find" =>
        "SELECT * FROM txs WHERE id = $1";
    BY_HASH = "txs.by_hash" =>
        "SELECT t.* FROM txs t JOIN tx_attempts a ON a.tx_id = t.id WHERE a.hash = $1";
    OF_REQUEST = "txs.of_request" =>
        "SELECT * FROM txs WHERE request_row = $1 AND superseded = 0 ORDER BY id";
    QUEUED_OF_JOB = "txs.queued_of_job" =>
        "SELECT * FROM txs WHERE chain_id = $1 AND from_address = $2 AND state = 'queued' AND job_id = $3 ORDER BY id";
    ANSWERED = "txs.answered" =>
        "SELECT DISTINCT request_row FROM txs WHERE request_row IN (SELECT value FROM json_each($1)) AND superseded = 0
            AND state <> 'dead' ORDER BY request_row",
        "SELECT DISTINCT request_row FROM txs
         WHERE request_row IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON))) AND superseded = 0
            AND state <> 'dead' ORDER BY request_row";
    LIST = "txs.list" =>
        "SELECT * FROM txs ORDER BY id DESC LIMIT $1 OFFSET $2";
    LIST_ATTEMPTED = "txs.list_attempted" =>
        "SELECT * FROM txs WHERE nonce IS NOT NULL ORDER BY id DESC LIMIT $1 OFFSET $2";
    COUNT = "txs.count_attempted" =>
        "SELECT COUNT(*) AS n FROM txs WHERE nonce IS NOT NULL";
    // In parts, each of which has its index.
    COUNT_BY_STATE = "txs.count_by_state" =>
        "SELECT from_address, state, COUNT(*) AS n, MIN(created_at) AS oldest FROM txs
            WHERE chain_id = $1 AND state = 'queued' GROUP BY from_address, state
         UNION ALL SELECT from_address, state, COUNT(*) AS n, MIN(created_at) AS oldest FROM txs
            WHERE chain_id = $1 AND state IN ('signed', 'sent') GROUP BY from_address, state
         UNION ALL SELECT from_address, state, COUNT(*) AS n, MIN(created_at) AS oldest FROM txs
            WHERE chain_id = $1 AND state = 'mined' GROUP BY from_address, state
         ORDER BY from_address, state";
    HIGHEST_NONCE = "txs.highest_nonce" =>
        "SELECT MAX(nonce) AS n FROM txs WHERE chain_id = $1 AND from_address = $2 AND nonce IS NOT NULL";
    OLD = "txs.old" =>
        "SELECT id FROM txs WHERE state IN ('final', 'dead') AND signal_needed = 0 AND created_at < $1 ORDER BY created_at LIMIT $2";
    DELETE = "txs.delete" =>
        "DELETE FROM txs WHERE id = $1 AND state IN ('final', 'dead')";
    DELETE_ATTEMPTS = "txs.delete_attempts" =>
        "DELETE FROM tx_attempts WHERE tx_id = $1";
}

/// A transaction to be queued.
#[derive(Debug, Clone)]
pub struct NewTx {
    /// The chain.
    pub chain_id: ChainId,
    /// The key that signs.
    pub from: Address,
    /// The contract or account called.
    pub to: Address,
    /// Call data.
    pub payload: Bytes,
    /// Native coin sent along, wei.
    pub value_wei: U256,
    /// Units of gas.
    pub gas_limit: u64,
    /// The task run that asked; it can have one living transaction only.
    pub task_run_id: Option<Uuid>,
    /// Its run.
    pub run_id: Option<RunId>,
    /// Its job.
    pub job_id: Option<JobId>,
    /// The request it answers.
    pub request_row: Option<RequestRow>,
    /// Blocks on top of the receipt's before the waiting task goes on; `None` means final.
    pub min_confirmations: Option<u64>,
    /// Whether a revert is the task's error.
    pub fail_on_revert: bool,
    /// Whether it is tried against the chain before its first signature, and given up if it would revert. An
    /// answer to a request always is.
    pub simulate: bool,
    /// Whether a task waits for it.
    pub signal_needed: bool,
    /// What the task said about it, JSON.
    pub meta: String,
}

/// A transaction as a row.
#[derive(Debug, Clone)]
pub struct Tx {
    /// Row number.
    pub id: TxId,
    /// What was asked for. `payload` is what should be sent now: see `payload_version`.
    pub spec: NewTx,
    /// Grows when the answer was encoded anew; attempts of an older version must be outbid.
    pub payload_version: u32,
    /// Once it has one, that nonce is only ever replaced, never returned.
    pub nonce: Option<u64>,
    /// Where it stands.
    pub state: State,
    /// Why it does not move, or why it was given up; empty while all is well.
    pub reason: String,
    /// Another transaction took over its task.
    pub superseded: bool,
    /// Consecutive looks at the chain that found its request not open.
    pub checks_failed: u32,
    /// The attempt that is in a block.
    pub mined: Option<Inclusion>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When an endpoint took it first.
    pub sent_at: Option<Timestamp>,
    /// When it was handed out last.
    pub last_sent_at: Option<Timestamp>,
}

fn tx(row: &Row) -> Result<Tx> {
    let block_hash: Option<B256> = row.get("mined_block_hash")?;
    let mined = match (row.get::<Option<B256>>("mined_hash")?, block_hash) {
        (Some(hash), Some(block_hash)) => Some(Inclusion {
            hash,
            block: BlockRef {
                number: row.get("mined_block_number")?,
                hash: block_hash,
            },
            succeeded: row.get("succeeded")?,
            receipt: row.get::<Option<String>>("receipt")?.unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(Tx {
        id: row.get("id")?,
        spec: NewTx {
            chain_id: row.get("chain_id")?,
            from: row.get("from_address")?,
            to: row.get("to_address")?,
            payload: row.get::<Vec<u8>>("payload")?.into(),
            value_wei: row.get("value_wei")?,
            gas_limit: row.get("gas_limit")?,
            task_run_id: row.get("task_run_id")?,
            run_id: row.get("run_id")?,
            job_id: row.get("job_id")?,
            request_row: row.get("request_row")?,
            min_confirmations: row.get("min_confirmations")?,
            fail_on_revert: row.get("fail_on_revert")?,
            simulate: row.get("simulate")?,
            signal_needed: row.get("signal_needed")?,
            meta: row.get("meta")?,
        },
        payload_version: row.get("payload_version")?,
        nonce: row.get("nonce")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        superseded: row.get("superseded")?,
        checks_failed: row.get("checks_failed")?,
        mined,
        created_at: row.get("created_at")?,
        sent_at: row.get("sent_at")?,
        last_sent_at: row.get("last_sent_at")?,
    })
}

/// The living transaction of a task run, locked. Once it has a nonce, what replaces it is sent by the
/// same key.
pub async fn living_of(store_tx: &mut StoreTx, task_run: Uuid) -> Result<Option<Tx>> {
    store_tx
        .row(&BY_TASK_RUN, args![task_run])
        .await?
        .as_ref()
        .map(tx)
        .transpose()
}

/// Queues a transaction, or finds that its task run has one: an equal one stays, one that can still
/// change takes the new payload (a signed one will be replaced at its nonce, by its own key), one that
/// is lost (dead, or mined and reverted) is superseded by a fresh one.
pub async fn queue(store_tx: &mut StoreTx, new: &NewTx, now: Timestamp) -> Result<TxId> {
    if let Some(task_run) = new.task_run_id
        && let Some(old) = living_of(store_tx, task_run).await?
    {
        let lost = match old.state {
            State::Dead => true,
            State::Mined | State::Final => !old.mined.as_ref().is_some_and(|mined| mined.succeeded),
            State::Queued | State::Signed | State::Sent => false,
        };
        if !lost {
            let asked = &old.spec;
            let changed = (&asked.payload, asked.to, asked.value_wei)
                != (&new.payload, new.to, new.value_wei);
            let given_up = old.payload_version == 0;
            if (changed || given_up) && old.state != State::Final {
                let args = args![
                    old.id,
                    new.payload.to_vec(),
                    new.to,
                    new.value_wei,
                    new.gas_limit,
                    new.min_confirmations,
                    new.fail_on_revert,
                    new.signal_needed,
                    &new.meta,
                    new.from,
                    new.simulate
                ];
                store_tx.run(&NEW_PAYLOAD, args).await?;
            } else {
                // The task waits again, although it may have been told once.
                store_tx
                    .run(&AWAIT, args![old.id, new.signal_needed])
                    .await?;
            }
            return Ok(old.id);
        }
        store_tx.run(&SUPERSEDE, args![old.id]).await?;
    }
    let args = args![
        new.chain_id,
        new.from,
        new.to,
        new.payload.to_vec(),
        new.value_wei,
        new.gas_limit,
        new.task_run_id,
        new.run_id,
        new.job_id,
        new.request_row,
        new.min_confirmations,
        new.fail_on_revert,
        new.signal_needed,
        &new.meta,
        now,
        new.simulate
    ];
    store_tx.one(&INSERT, args).await?.get("id")
}

/// Queues under a new nonce what `old` asks for today, which is lost and cannot be said with its own nonce any more.
/// `false`: its task has another transaction by now, or was given up; that one stands.
///
/// The row is read again, because its task may have encoded its answer anew since `old` was read: what is older must
/// never take the place of what is newer.
pub async fn queue_again(leader: &mut LeaderTx, old: &Tx, now: Timestamp) -> Result<bool> {
    let spec = match old.spec.task_run_id {
        None => old.spec.clone(),
        Some(task_run) => match living_of(leader, task_run).await? {
            Some(living) if living.id == old.id && living.payload_version != 0 => living.spec,
            _ => return Ok(false),
        },
    };
    queue(leader, &spec, now).await?;
    Ok(true)
}

/// Which of these task runs have a living transaction, and where it stands; those are locked.
pub async fn living_of_each(
    store_tx: &mut StoreTx,
    task_runs: &[Uuid],
) -> Result<Vec<(Uuid, State)>> {
    if task_runs.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = task_runs.iter().map(Uuid::to_string).collect();
    store_tx
        .rows(&LIVING_OF, args![json!(texts).to_string()])
        .await?
        .iter()
        .map(|row| Ok((row.get("task_run_id")?, row.get("state")?)))
        .collect()
}

/// Queues transactions whose task runs have none yet (see [`living_of_each`]), in this order. One that has
/// is a duplicate ([`crate::StoreError::is_duplicate`]), and then none is queued.
pub async fn queue_each(store_tx: &mut StoreTx, new: &[NewTx], now: Timestamp) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let rows: Vec<serde_json::Value> = new
        .iter()
        .map(|new| {
            json!({
                "chain_id": int(new.chain_id),
                "from": hex(new.from),
                "to": hex(new.to),
                "payload": hex(&new.payload),
                "value_wei": hex(new.value_wei.to_be_bytes::<32>()),
                "gas_limit": int(new.gas_limit),
                "task_run_id": new.task_run_id,
                "run_id": new.run_id,
                "job_id": new.job_id,
                "request_row": new.request_row,
                "min_confirmations": new.min_confirmations.map(int),
                "fail_on_revert": i64::from(new.fail_on_revert),
                "simulate": i64::from(new.simulate),
                "signal_needed": i64::from(new.signal_needed),
                "meta": clean(new.meta.clone()),
            })
        })
        .collect();
    let text = serde_json::Value::from(rows).to_string();
    store_tx.run(&INSERT_EACH, args![text, now]).await.map(drop)
}

/// Transactions of a key that may be signed now: their request (if any) is on the canonical chain.
/// In sending order, at most `limit`.
pub async fn queued(
    conn: &mut Conn,
    chain: ChainId,
    from: Address,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Tx>> {
    conn.rows(&QUEUED, args![chain, from, now, limit])
        .await?
        .iter()
        .map(tx)
        .collect()
}

/// Queued transactions whose request is not on the chain or closed, in a block at or below `finalized`: nobody
/// will sign them. At most `limit`.
pub async fn stranded(
    conn: &mut Conn,
    chain: ChainId,
    finalized: u64,
    limit: u32,
) -> Result<Vec<Tx>> {
    conn.rows(&STRANDED, args![chain, finalized, limit])
        .await?
        .iter()
        .map(tx)
        .collect()
}

fn check(state: State, event: Event) -> Result<State> {
    Ok(state.on(event)?)
}

/// A queued transaction, its nonce and its first signed attempt.
#[derive(Debug, Clone)]
pub struct Signing<'a> {
    /// As it was read.
    pub tx: &'a Tx,
    /// See [`Tx::nonce`].
    pub nonce: u64,
    /// Not sent yet.
    pub attempt: NewAttempt,
}

/// Gives queued transactions their nonces and stores their first attempts, by two statements. `false`: one of them
/// changed meanwhile; this database transaction must not be committed then.
pub async fn sign_each(
    leader: &mut LeaderTx,
    signings: &[Signing<'_>],
    now: Timestamp,
) -> Result<bool> {
    let mut rows = Vec::with_capacity(signings.len());
    for Signing { tx, nonce, .. } in signings {
        check(tx.state, Event::Signed)?;
        rows.push(json!({
            "id": tx.id,
            "payload_version": tx.payload_version,
            "nonce": int(*nonce),
        }));
    }
    let text = serde_json::Value::from(rows).to_string();
    if leader.run(&SIGN, args![text]).await? != signings.len() as u64 {
        return Ok(false);
    }
    let new = signings.iter().map(|signing| &signing.attempt);
    attempts::insert_attempts(leader, new, now).await?;
    Ok(true)
}

/// As [`sign_each`], for one.
pub async fn sign(
    leader: &mut LeaderTx,
    old: &Tx,
    nonce: u64,
    attempt: &NewAttempt,
    now: Timestamp,
) -> Result<bool> {
    let signing = Signing {
        tx: old,
        nonce,
        attempt: attempt.clone(),
    };
    sign_each(leader, &[signing], now).await
}

/// Several transactions by row number; unknown ones are left out.
pub async fn by_ids(conn: &mut Conn, ids: &[TxId]) -> Result<Vec<Tx>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    conn.rows(&BY_IDS, args![crate::runs::id_list(ids)])
        .await?
        .iter()
        .map(tx)
        .collect()
}

/// How many transactions of a key are signed and not yet mined.
pub async fn in_flight(conn: &mut Conn, chain: ChainId, from: Address) -> Result<u64> {
    conn.one(&IN_FLIGHT, args![chain, from]).await?.get("n")
}

/// What was signed can never be mined: from now on its nonce is only to be used up. A payload of
/// version 0 is nothing, to oneself; a new answer ([`queue`]) revives the transaction.
pub async fn give_up(leader: &mut LeaderTx, id: TxId, reason: &str) -> Result<bool> {
    Ok(leader.run(&GIVE_UP, args![id, reason]).await? == 1)
}

/// Endpoints have attempts (attempt, its transaction). Why a transaction was given up stays. Returns when those
/// that left for the first time had been queued.
pub async fn all_handed_over(
    leader: &mut LeaderTx,
    taken: &[(i64, TxId)],
    now: Timestamp,
) -> Result<Vec<Timestamp>> {
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let (attempts, txs): (Vec<i64>, Vec<TxId>) = taken.iter().copied().unzip();
    attempts::accept(leader, &attempts).await?;
    let sent = leader
        .rows(&HANDED_OVER, args![crate::runs::id_list(&txs), now])
        .await?;
    let mut queued_at = Vec::new();
    for row in &sent {
        if row.get::<Timestamp>("sent_at")? == now {
            queued_at.push(row.get("created_at")?);
        }
    }
    Ok(queued_at)
}

/// An endpoint has an attempt of it. Why it was given up stays.
pub async fn handed_over(leader: &mut LeaderTx, id: TxId, now: Timestamp) -> Result<bool> {
    let ids = crate::runs::id_list(&[id]);
    Ok(leader.rows(&HANDED_OVER, args![ids, now]).await?.len() == 1)
}

/// Says why a signed transaction does not move. Why it was given up stays.
pub async fn note(leader: &mut LeaderTx, id: TxId, reason: &str, now: Timestamp) -> Result<()> {
    leader.run(&NOTE, args![id, reason, now]).await.map(drop)
}

/// Leaves a queued transaction alone until `until`, with the reason; `failed_check` counts a look at
/// the chain that found its request not open.
pub async fn postpone(
    leader: &mut LeaderTx,
    id: TxId,
    reason: &str,
    until: Timestamp,
    failed_check: bool,
) -> Result<()> {
    leader
        .run(&POSTPONE, args![id, reason, until, failed_check])
        .await
        .map(drop)
}

/// Gives a transaction up. A waiting task is told by the confirmer.
pub async fn die(store_tx: &mut StoreTx, old: &Tx, event: Event, reason: &str) -> Result<bool> {
    check(old.state, event)?;
    Ok(store_tx
        .run(&DIE, args![old.id, old.state.as_str(), reason])
        .await?
        == 1)
}

/// Signed and sent transactions of a chain, by key and nonce.
pub async fn unfinished(conn: &mut Conn, chain: ChainId) -> Result<Vec<Tx>> {
    conn.rows(&UNFINISHED, args![chain])
        .await?
        .iter()
        .map(tx)
        .collect()
}

/// A transaction by row number.
pub async fn find(conn: &mut Conn, id: TxId) -> Result<Option<Tx>> {
    conn.row(&FIND, args![id])
        .await?
        .as_ref()
        .map(tx)
        .transpose()
}

/// A transaction by the hash of any of its attempts.
pub async fn by_hash(conn: &mut Conn, hash: B256) -> Result<Option<Tx>> {
    conn.row(&BY_HASH, args![hash])
        .await?
        .as_ref()
        .map(tx)
        .transpose()
}

/// The living transactions that answer a request.
pub async fn of_request(conn: &mut Conn, request: RequestRow) -> Result<Vec<Tx>> {
    conn.rows(&OF_REQUEST, args![request])
        .await?
        .iter()
        .map(tx)
        .collect()
}

/// What a job has queued for a key and nobody signed yet, oldest first.
pub async fn queued_of_job(
    conn: &mut Conn,
    chain: ChainId,
    from: Address,
    job: JobId,
) -> Result<Vec<Tx>> {
    conn.rows(&QUEUED_OF_JOB, args![chain, from, job])
        .await?
        .iter()
        .map(tx)
        .collect()
}

/// Which of these requests a living transaction answers, or may still answer.
pub async fn answered(conn: &mut Conn, requests: &[RequestRow]) -> Result<Vec<RequestRow>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    conn.rows(&ANSWERED, args![crate::runs::id_list(requests)])
        .await?
        .iter()
        .map(|row| row.get("request_row"))
        .collect()
}

/// Transactions, newest first; with `attempted` only those that have a signature.
pub async fn list(conn: &mut Conn, attempted: bool, limit: u32, offset: u32) -> Result<Vec<Tx>> {
    let statement = if attempted { &LIST_ATTEMPTED } else { &LIST };
    conn.rows(statement, args![limit, offset])
        .await?
        .iter()
        .map(tx)
        .collect()
}

/// How many transactions have a signature.
pub async fn count_attempted(conn: &mut Conn) -> Result<u64> {
    conn.one(&COUNT, args![]).await?.get("n")
}

/// Unfinished transactions of a chain: (key, state, how many, the oldest's creation).
pub async fn count_by_state(
    conn: &mut Conn,
    chain: ChainId,
) -> Result<Vec<(Address, State, u64, Timestamp)>> {
    conn.rows(&COUNT_BY_STATE, args![chain])
        .await?
        .iter()
        .map(|row| {
            Ok((
                row.get("from_address")?,
                row.get("state")?,
                row.get("n")?,
                row.get("oldest")?,
            ))
        })
        .collect()
}

/// The highest nonce any row of this key has.
pub async fn highest_nonce(conn: &mut Conn, chain: ChainId, from: Address) -> Result<Option<u64>> {
    conn.one(&HIGHEST_NONCE, args![chain, from]).await?.get("n")
}

/// Deletes ended transactions created before `before`, at most `limit`. Returns how many.
pub async fn prune(store_tx: &mut StoreTx, before: Timestamp, limit: u32) -> Result<u64> {
    let rows = store_tx.rows(&OLD, args![before, limit]).await?;
    let mut deleted = 0;
    for row in &rows {
        let id: TxId = row.get("id")?;
        if store_tx.run(&DELETE, args![id]).await? == 1 {
            store_tx.run(&DELETE_ATTEMPTS, args![id]).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

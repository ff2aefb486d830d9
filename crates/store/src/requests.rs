//! Requests: identity (chain, oracle, request id), life by life, with the current incarnation.

use std::collections::{BTreeMap, HashMap};

use alloy::hex::encode as hex;
use dodona_model::request::{Event, State};
use dodona_model::{Address, B256, BlockRef, ChainId, JobId, RequestRow, RunId, Timestamp, U256};
use serde_json::json;

use crate::engine::Tx;
use crate::lease::LeaderTx;
use crate::sql::{Row, args, clean, declare, int};
use crate::{Conn, Result, StoreError};

declare! {
    // Not while an earlier life may still be answered: two answers to one request cost gas and trust.
    INSERT = "requests.insert_each" =>
        "INSERT INTO requests (chain_id, oracle, request_id, life, state, reason, job_id, run_id, incarnation, block_hash,
            block_number, log_index, tx_hash, requester, payment_juels, expires_at_seconds, callback_address, terms, created_at, updated_at)
         SELECT e.value ->> 'chain_id', unhex(e.value ->> 'oracle'), unhex(e.value ->> 'request_id'), e.value ->> 'life',
            e.value ->> 'state', e.value ->> 'reason', e.value ->> 'job_id', e.value ->> 'run_id', 1, unhex(e.value ->> 'block_hash'),
            e.value ->> 'block_number', e.value ->> 'log_index', unhex(e.value ->> 'tx_hash'), unhex(e.value ->> 'requester'),
            unhex(e.value ->> 'payment_juels'), e.value ->> 'expires_at_seconds', unhex(e.value ->> 'callback_address'),
            unhex(e.value ->> 'terms'), $2, $2
         FROM json_each($1) AS e
         WHERE NOT EXISTS (SELECT 1 FROM requests r WHERE r.chain_id = e.value ->> 'chain_id' AND r.oracle = unhex(e.value ->> 'oracle')
            AND r.request_id = unhex(e.value ->> 'request_id') AND r.life < e.value ->> 'life'
            AND (r.state IN ('open', 'answered') OR (r.state = 'orphaned' AND r.run_id IS NOT NULL)))
         RETURNING id, oracle, request_id",
        "INSERT INTO requests (chain_id, oracle, request_id, life, state, reason, job_id, run_id, incarnation, block_hash,
            block_number, log_index, tx_hash, requester, payment_juels, expires_at_seconds, callback_address, terms, created_at, updated_at)
         SELECT e.chain_id, decode(e.oracle, 'hex'), decode(e.request_id, 'hex'), e.life, e.state, e.reason, e.job_id, e.run_id, 1,
            decode(e.block_hash, 'hex'), e.block_number, e.log_index, decode(e.tx_hash, 'hex'), decode(e.requester, 'hex'),
            decode(e.payment_juels, 'hex'), e.expires_at_seconds, decode(e.callback_address, 'hex'), decode(e.terms, 'hex'), $2, $2
         FROM json_to_recordset(CAST($1 AS JSON)) AS e(chain_id BIGINT, oracle TEXT, request_id TEXT, life BIGINT, state TEXT, reason TEXT,
            job_id BIGINT, run_id BIGINT, block_hash TEXT, block_number BIGINT, log_index BIGINT, tx_hash TEXT, requester TEXT,
            payment_juels TEXT, expires_at_seconds BIGINT, callback_address TEXT, terms TEXT)
         WHERE NOT EXISTS (SELECT 1 FROM requests r WHERE r.chain_id = e.chain_id AND r.oracle = decode(e.oracle, 'hex')
            AND r.request_id = decode(e.request_id, 'hex') AND r.life < e.life
            AND (r.state IN ('open', 'answered') OR (r.state = 'orphaned' AND r.run_id IS NOT NULL)))
         RETURNING id, oracle, request_id";
    NEWEST = "requests.newest_life" =>
        "SELECT * FROM requests WHERE chain_id = $1 AND oracle = $2 AND request_id = $3 ORDER BY life DESC LIMIT 1";
    NEWEST_EACH = "requests.newest_lives" =>
        "SELECT r.* FROM json_each($2) AS e CROSS JOIN requests r ON r.chain_id = $1 AND r.oracle = unhex(e.value ->> 'oracle')
            AND r.request_id = unhex(e.value ->> 'request_id')
         WHERE NOT EXISTS (SELECT 1 FROM requests n WHERE n.chain_id = $1 AND n.oracle = r.oracle AND n.request_id = r.request_id
            AND n.life > r.life)
         ORDER BY r.id",
        "SELECT r.* FROM json_to_recordset(CAST($2 AS JSON)) AS e(oracle TEXT, request_id TEXT)
         JOIN requests r ON r.chain_id = $1 AND r.oracle = decode(e.oracle, 'hex') AND r.request_id = decode(e.request_id, 'hex')
         WHERE NOT EXISTS (SELECT 1 FROM requests n WHERE n.chain_id = $1 AND n.oracle = r.oracle AND n.request_id = r.request_id
            AND n.life > r.life)
         ORDER BY r.id";
    FIND = "requests.find" =>
        "SELECT * FROM requests WHERE id = $1";
    // An event must not be lost because another replica's change was on its way.
    STATES_LOCKED = "requests.states_locked" =>
        "SELECT id, state FROM requests WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id",
        "SELECT id, state FROM requests WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))
         ORDER BY id FOR UPDATE";
    STATES = "requests.states" =>
        "SELECT id, state FROM requests WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id",
        "SELECT id, state FROM requests WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))
         ORDER BY id";
    BY_RUN = "requests.by_run" =>
        "SELECT * FROM requests WHERE run_id = $1";
    BY_RUNS_LOCKED = "requests.by_runs_locked" =>
        "SELECT * FROM requests WHERE run_id IN (SELECT value FROM json_each($1)) ORDER BY id",
        "SELECT * FROM requests WHERE run_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))
         ORDER BY id FOR UPDATE";
    SET_RUN = "requests.set_run" =>
        "UPDATE requests SET run_id = $2 WHERE id = $1";
    REINCARNATE = "requests.reincarnate" =>
        "UPDATE requests SET incarnation = incarnation + 1, state = $3, reason = '', block_hash = $4, block_number = $5, log_index = $6,
            tx_hash = $7, payment_juels = $8, expires_at_seconds = $9, callback_address = $10, terms = $11, updated_at = $12
         WHERE id = $1 AND state = $2";
    SET_STATES = "requests.set_states" =>
        "UPDATE requests SET state = e.value ->> 'to', reason = e.value ->> 'reason', updated_at = $2
         FROM json_each($1) AS e WHERE requests.id = e.value ->> 'id' AND requests.state = e.value ->> 'from'",
        "UPDATE requests SET state = e.\"to\", reason = e.reason, updated_at = $2
         FROM json_to_recordset(CAST($1 AS JSON)) AS e(id BIGINT, \"from\" TEXT, \"to\" TEXT, reason TEXT)
         WHERE requests.id = e.id AND requests.state = e.\"from\"";
    ORPHANED = "requests.carried_above" =>
        "SELECT id, state FROM requests WHERE chain_id = $1 AND block_number > $2 AND state IN ('open', 'answered', 'failed', 'refused')";
    LIST = "requests.list" =>
        "SELECT * FROM requests ORDER BY id DESC LIMIT $1";
    COUNT_BY_STATE = "requests.count_by_state" =>
        "SELECT state, COUNT(*) AS n FROM requests WHERE chain_id = $1 GROUP BY state ORDER BY state";
}

/// What the chain says about a request in one incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnation {
    /// The block that carries it.
    pub block: BlockRef,
    /// Position in that block.
    pub log_index: u64,
    /// The transaction that asked.
    pub tx_hash: B256,
    /// What was paid, in juels.
    pub payment_juels: U256,
    /// From when the requester may cancel, seconds since 1970 on the chain's clock.
    pub expires_at_seconds: u64,
    /// Whom the contract calls with the answer.
    pub callback_address: Address,
    /// Hash of everything the contract checks at fulfilment: when it changes, the answer must be encoded anew.
    pub terms: B256,
}

/// A request as a row.
#[derive(Debug, Clone)]
pub struct Request {
    /// Row number.
    pub id: RequestRow,
    /// The chain it was asked on.
    pub chain_id: ChainId,
    /// The oracle contract that was asked.
    pub oracle: Address,
    /// The id the contract knows it by.
    pub request_id: B256,
    /// 1 for the first use of that id, 2 after the first was closed for good, …
    pub life: u32,
    /// Where it stands.
    pub state: State,
    /// Why, where the state calls for a reason.
    pub reason: String,
    /// The job that answers.
    pub job_id: JobId,
    /// Its run; a refused request has none.
    pub run_id: Option<RunId>,
    /// Who asked.
    pub requester: Address,
    /// What the chain says now.
    pub incarnation: Incarnation,
    /// When it was seen first.
    pub created_at: Timestamp,
}

/// A request to be stored.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// See [`Request`].
    pub chain_id: ChainId,
    /// See [`Request`].
    pub oracle: Address,
    /// See [`Request`].
    pub request_id: B256,
    /// See [`Request`].
    pub life: u32,
    /// `Open`, or `Refused` with a reason.
    pub state: State,
    /// See [`Request`].
    pub reason: String,
    /// See [`Request`].
    pub job_id: JobId,
    /// Its run, where it has one already.
    pub run_id: Option<RunId>,
    /// See [`Request`].
    pub requester: Address,
    /// See [`Request`].
    pub incarnation: Incarnation,
}

fn request(row: &Row) -> Result<Request> {
    Ok(Request {
        id: row.get("id")?,
        chain_id: row.get("chain_id")?,
        oracle: row.get("oracle")?,
        request_id: row.get("request_id")?,
        life: row.get("life")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        job_id: row.get("job_id")?,
        run_id: row.get("run_id")?,
        requester: row.get("requester")?,
        incarnation: Incarnation {
            block: BlockRef {
                number: row.get("block_number")?,
                hash: row.get("block_hash")?,
            },
            log_index: row.get("log_index")?,
            tx_hash: row.get("tx_hash")?,
            payment_juels: row.get("payment_juels")?,
            expires_at_seconds: row.get("expires_at_seconds")?,
            callback_address: row.get("callback_address")?,
            terms: row.get("terms")?,
        },
        created_at: row.get("created_at")?,
    })
}

/// Stores new lives of requests by one statement, all or none. A second row of the same life is a duplicate
/// ([`crate::StoreError::is_duplicate`]); while an earlier life is open, answered or orphaned with a
/// run, it is [`crate::StoreError::StillAlive`]. Returns their rows, in that order.
pub async fn insert_each(
    tx: &mut LeaderTx,
    new: &[NewRequest],
    now: Timestamp,
) -> Result<Vec<RequestRow>> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<serde_json::Value> = new.iter().map(as_json).collect();
    let text = serde_json::Value::from(rows).to_string();
    let mut ids: HashMap<(Address, B256), RequestRow> = HashMap::new();
    for row in tx.rows(&INSERT, args![text, now]).await? {
        ids.insert((row.get("oracle")?, row.get("request_id")?), row.get("id")?);
    }
    let rows = new.iter().map(|new| {
        let id = ids.get(&(new.oracle, new.request_id)).copied();
        id.ok_or(StoreError::StillAlive {
            request_id: new.request_id,
            life: new.life,
        })
    });
    rows.collect()
}

/// As [`insert_each`], for one.
pub async fn insert(tx: &mut LeaderTx, new: &NewRequest, now: Timestamp) -> Result<RequestRow> {
    Ok(insert_each(tx, std::slice::from_ref(new), now).await?[0])
}

fn as_json(new: &NewRequest) -> serde_json::Value {
    let at = &new.incarnation;
    json!({
        "chain_id": int(new.chain_id),
        "oracle": hex(new.oracle),
        "request_id": hex(new.request_id),
        "life": new.life,
        "state": new.state.as_str(),
        "reason": clean(new.reason.clone()),
        "job_id": new.job_id,
        "run_id": new.run_id,
        "block_hash": hex(at.block.hash),
        "block_number": int(at.block.number),
        "log_index": int(at.log_index),
        "tx_hash": hex(at.tx_hash),
        "requester": hex(new.requester),
        "payment_juels": hex(at.payment_juels.to_be_bytes::<32>()),
        "expires_at_seconds": int(at.expires_at_seconds),
        "callback_address": hex(at.callback_address),
        "terms": hex(at.terms),
    })
}

/// The newest life of a request id on one contract.
pub async fn newest_life(
    conn: &mut Conn,
    chain: ChainId,
    oracle: Address,
    request_id: B256,
) -> Result<Option<Request>> {
    conn.row(&NEWEST, args![chain, oracle, request_id])
        .await?
        .as_ref()
        .map(request)
        .transpose()
}

/// The newest life of each of these request ids (contract, id), by one statement; unknown ones are left out.
pub async fn newest_lives(
    conn: &mut Conn,
    chain: ChainId,
    ids: &[(Address, B256)],
) -> Result<Vec<Request>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<serde_json::Value> = ids
        .iter()
        .map(|(oracle, id)| json!({ "oracle": hex(oracle), "request_id": hex(id) }))
        .collect();
    let text = serde_json::Value::from(rows).to_string();
    conn.rows(&NEWEST_EACH, args![chain, text])
        .await?
        .iter()
        .map(request)
        .collect()
}

/// A request by row number.
pub async fn find(conn: &mut Conn, id: RequestRow) -> Result<Option<Request>> {
    conn.row(&FIND, args![id])
        .await?
        .as_ref()
        .map(request)
        .transpose()
}

/// The request that a run answers.
pub async fn by_run(conn: &mut Conn, run: RunId) -> Result<Option<Request>> {
    conn.row(&BY_RUN, args![run])
        .await?
        .as_ref()
        .map(request)
        .transpose()
}

/// The requests that these runs answer, locked: nobody cancels them before this transaction is over.
pub async fn by_runs_locked(tx: &mut Tx, runs: &[RunId]) -> Result<Vec<Request>> {
    tx.rows(&BY_RUNS_LOCKED, args![crate::runs::id_list(runs)])
        .await?
        .iter()
        .map(request)
        .collect()
}

/// Ties a request to its run.
pub async fn set_run(tx: &mut LeaderTx, id: RequestRow, run: RunId) -> Result<()> {
    tx.run(&SET_RUN, args![id, run]).await.map(drop)
}

/// The orphaned request was mined again: same request, new incarnation. `false`: it is not orphaned.
pub async fn reincarnate(
    tx: &mut LeaderTx,
    id: RequestRow,
    from: State,
    to: State,
    at: &Incarnation,
    now: Timestamp,
) -> Result<bool> {
    let args = args![
        id,
        from.as_str(),
        to.as_str(),
        at.block.hash,
        at.block.number,
        at.log_index,
        at.tx_hash,
        at.payment_juels,
        at.expires_at_seconds,
        at.callback_address,
        at.terms,
        now
    ];
    Ok(tx.run(&REINCARNATE, args).await? == 1)
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub struct Happened {
    /// The request.
    pub request: RequestRow,
    /// What.
    pub event: Event,
    /// Why, for people.
    pub reason: String,
}

/// Lets events happen to requests, by two statements. Returns those that changed, with their new states: where the
/// arrows do not allow the event in the present state nothing changes.
pub async fn apply_each(
    tx: &mut Tx,
    happened: &[Happened],
    now: Timestamp,
) -> Result<Vec<(RequestRow, State)>> {
    if happened.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<RequestRow> = happened.iter().map(|it| it.request).collect();
    let mut present = HashMap::new();
    for row in tx
        .rows(&STATES_LOCKED, args![crate::runs::id_list(&ids)])
        .await?
    {
        let (id, state): (RequestRow, State) = (row.get("id")?, row.get("state")?);
        present.insert(id, state);
    }
    // One row for each request, whatever happens to it one after the other.
    let mut next: BTreeMap<RequestRow, (State, &str)> = BTreeMap::new();
    for it in happened {
        let Some(before) = present.get(&it.request) else {
            continue;
        };
        let state = next.get(&it.request).map_or(*before, |(state, _)| *state);
        if let Some(then) = state.on(it.event) {
            next.insert(it.request, (then, it.reason.as_str()));
        }
    }
    if next.is_empty() {
        return Ok(Vec::new());
    }
    let rows = next.iter().map(|(id, (state, reason))| {
        json!({
            "id": id,
            "from": present[id].as_str(),
            "to": state.as_str(),
            "reason": clean((*reason).to_owned()),
        })
    });
    let text = rows.collect::<serde_json::Value>().to_string();
    tx.run(&SET_STATES, args![text, now]).await?;
    Ok(next
        .into_iter()
        .map(|(id, (state, _))| (id, state))
        .collect())
}

/// As [`apply_each`], for one. `None`: nothing changed.
pub async fn apply(
    tx: &mut Tx,
    id: RequestRow,
    event: Event,
    reason: &str,
    now: Timestamp,
) -> Result<Option<State>> {
    let happened = Happened {
        request: id,
        event,
        reason: reason.to_owned(),
    };
    let changed = apply_each(tx, &[happened], now).await?;
    Ok(changed.first().map(|(_, state)| *state))
}

/// The states of several requests; unknown ones are left out.
pub async fn states(conn: &mut Conn, ids: &[RequestRow]) -> Result<HashMap<RequestRow, State>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    conn.rows(&STATES, args![crate::runs::id_list(ids)])
        .await?
        .iter()
        .map(|row| Ok((row.get("id")?, row.get("state")?)))
        .collect()
}

pub(crate) async fn orphan_above(
    tx: &mut LeaderTx,
    chain: ChainId,
    ancestor: u64,
    now: Timestamp,
) -> Result<()> {
    let rows = tx.rows(&ORPHANED, args![chain, ancestor]).await?;
    let happened = rows.iter().map(|row| {
        Ok(Happened {
            request: row.get("id")?,
            event: Event::Orphaned,
            reason: "its block left the canonical chain".to_owned(),
        })
    });
    let happened: Vec<Happened> = happened.collect::<Result<_>>()?;
    apply_each(tx, &happened, now).await.map(drop)
}

/// The newest requests.
pub async fn list(conn: &mut Conn, limit: u32) -> Result<Vec<Request>> {
    conn.rows(&LIST, args![limit])
        .await?
        .iter()
        .map(request)
        .collect()
}

/// How many requests of a chain stand where.
pub async fn count_by_state(conn: &mut Conn, chain: ChainId) -> Result<Vec<(State, u64)>> {
    conn.rows(&COUNT_BY_STATE, args![chain])
        .await?
        .iter()
        .map(|row| Ok((row.get("state")?, row.get("n")?)))
        .collect()
}

//! Runs and their tasks. Any replica may execute a run, under a claim that expires.

use std::collections::HashMap;
use std::time::Duration;

use dodona_model::run::State;
use dodona_model::{JobId, RunId, Timestamp};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::engine::Tx;
use crate::sql::{Row, args, ascending, clean, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "runs.insert_each" =>
        "INSERT INTO runs (job_id, state, generation, inputs, outputs, fatal_errors, all_errors, attempts, created_at)
         SELECT value ->> 'job_id', 'running', 1, value ->> 'inputs', '[]', '[]', '[]', 0, $2
         FROM json_each($1) WHERE true RETURNING id, inputs",
        "INSERT INTO runs (job_id, state, generation, inputs, outputs, fatal_errors, all_errors, attempts, created_at)
         SELECT job_id, 'running', 1, inputs, '[]', '[]', '[]', 0, $2
         FROM json_to_recordset(CAST($1 AS JSON)) AS r(job_id BIGINT, inputs TEXT) RETURNING id, inputs";
    CLAIM = "runs.claim" =>
        "UPDATE runs SET claimed_by = $1, attempts = attempts + 1,
            claim_expires_at = $2 + CAST(unixepoch('subsec') * 1000000 AS INTEGER)
         WHERE id IN (SELECT id FROM runs WHERE state = 'running'
            AND (claim_expires_at IS NULL OR claim_expires_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER))
            AND job_id NOT IN (SELECT value FROM json_each($4)) ORDER BY id LIMIT $3)
         RETURNING *",
        // Chosen first and once: a sub-select could be run again and would then skip its own locks.
        "WITH free AS MATERIALIZED (SELECT id FROM runs WHERE state = 'running'
            AND (claim_expires_at IS NULL OR claim_expires_at < CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT))
            AND job_id NOT IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($4 AS JSON)))
            ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
         UPDATE runs SET claimed_by = $1, attempts = attempts + 1,
            claim_expires_at = $2 + CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)
         FROM free WHERE runs.id = free.id RETURNING runs.*";
    RENEW = "runs.renew_claims" =>
        "UPDATE runs SET claim_expires_at = $2 + CAST(unixepoch('subsec') * 1000000 AS INTEGER)
         WHERE claimed_by = $1 AND state = 'running' AND id IN (SELECT value FROM json_each($3))",
        "UPDATE runs SET claim_expires_at = $2 + CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)
         WHERE claimed_by = $1 AND state = 'running'
            AND id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($3 AS JSON)))";
    RELEASE = "runs.release_claims" =>
        "UPDATE runs SET claimed_by = NULL, claim_expires_at = NULL, attempts = attempts - 1
         WHERE claimed_by = $1 AND state = 'running'";
    RELEASE_LEFT = "runs.release_left_claims" =>
        "UPDATE runs SET claimed_by = NULL, claim_expires_at = NULL
         WHERE state = 'running' AND claimed_by IS NOT NULL AND attempts <= 1";
    STILL_MINE = "runs.still_mine" =>
        "SELECT id, generation FROM runs WHERE id IN (SELECT value FROM json_each($1)) AND claimed_by = $2 AND state = 'running'
         ORDER BY id",
        "SELECT id, generation FROM runs WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))
            AND claimed_by = $2 AND state = 'running' ORDER BY id FOR UPDATE";
    FINISH_EACH = "runs.finish_each" =>
        "UPDATE runs SET state = e.value ->> 'state', outputs = e.value ->> 'outputs', fatal_errors = e.value ->> 'fatal_errors',
            all_errors = e.value ->> 'all_errors', finished_at = e.value ->> 'finished_at',
            claimed_by = NULL, claim_expires_at = NULL, attempts = 0
         FROM json_each($1) AS e
         WHERE runs.id = e.value ->> 'id' AND runs.claimed_by = $2 AND runs.generation = e.value ->> 'generation'
            AND runs.state = 'running'",
        "UPDATE runs SET state = e.state, outputs = e.outputs, fatal_errors = e.fatal_errors, all_errors = e.all_errors,
            finished_at = e.finished_at, claimed_by = NULL, claim_expires_at = NULL, attempts = 0
         FROM json_to_recordset(CAST($1 AS JSON)) AS e(id BIGINT, generation BIGINT, state TEXT, outputs TEXT, fatal_errors TEXT,
            all_errors TEXT, finished_at BIGINT)
         WHERE runs.id = e.id AND runs.claimed_by = $2 AND runs.generation = e.generation AND runs.state = 'running'";
    FINISH = "runs.finish" =>
        "UPDATE runs SET state = $4, outputs = $5, fatal_errors = $6, all_errors = $7, finished_at = $8,
            claimed_by = NULL, claim_expires_at = NULL, attempts = 0
         WHERE id = $1 AND claimed_by = $2 AND generation = $3 AND state = 'running'";
    // failEarly: the run is dropped as if it had never been.
    DROP_RUN = "runs.drop" =>
        "DELETE FROM runs WHERE id = $1 AND claimed_by = $2 AND state = 'running'";
    DROP_TASKS = "runs.drop_tasks" =>
        "DELETE FROM task_runs WHERE run_id = $1";
    RESUME = "runs.resume_each" =>
        "UPDATE runs SET state = 'running', claimed_by = NULL, claim_expires_at = NULL
         WHERE id IN (SELECT value FROM json_each($1)) AND state = 'suspended' RETURNING id",
        "UPDATE runs SET state = 'running', claimed_by = NULL, claim_expires_at = NULL
         WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON))) AND state = 'suspended'
         RETURNING id";
    AGAIN = "runs.again" =>
        "UPDATE runs SET state = 'running', generation = generation + 1, inputs = $2, outputs = '[]', fatal_errors = '[]',
            all_errors = '[]', claimed_by = NULL, claim_expires_at = NULL, finished_at = NULL, attempts = 0 WHERE id = $1";
    // What was fetched is kept; what was computed from the old incarnation is not.
    AGAIN_TASKS = "runs.again_tasks" =>
        "UPDATE task_runs SET value = NULL, output = NULL, error = NULL, finished_at = NULL
         WHERE run_id = $1 AND NOT (source = 1 AND error IS NULL AND finished_at IS NOT NULL)";
    SAVE_TASKS = "runs.save_tasks" =>
        "INSERT INTO task_runs (id, run_id, dot_id, type, task_index, source, value, output, error, attempts, created_at, finished_at)
         SELECT value ->> 'id', value ->> 'run_id', value ->> 'dot_id', value ->> 'type', value ->> 'task_index', value ->> 'source',
            value ->> 'value', value ->> 'output', value ->> 'error', value ->> 'attempts', value ->> 'created_at', value ->> 'finished_at'
         FROM json_each($1) WHERE true
         ON CONFLICT (id) DO UPDATE SET value = excluded.value, output = excluded.output, error = excluded.error,
            attempts = excluded.attempts, finished_at = excluded.finished_at WHERE task_runs.finished_at IS NULL",
        "INSERT INTO task_runs (id, run_id, dot_id, type, task_index, source, value, output, error, attempts, created_at, finished_at)
         SELECT id, run_id, dot_id, type, task_index, source, value, output, error, attempts, created_at, finished_at
         FROM json_to_recordset(CAST($1 AS JSON)) AS t(id TEXT, run_id BIGINT, dot_id TEXT, type TEXT, task_index BIGINT, source BIGINT,
            value TEXT, output TEXT, error TEXT, attempts BIGINT, created_at BIGINT, finished_at BIGINT)
         ON CONFLICT (id) DO UPDATE SET value = excluded.value, output = excluded.output, error = excluded.error,
            attempts = excluded.attempts, finished_at = excluded.finished_at WHERE task_runs.finished_at IS NULL";
    FINISH_TASKS = "runs.finish_tasks" =>
        "UPDATE task_runs SET value = e.value ->> 'value', output = e.value ->> 'output', error = e.value ->> 'error', finished_at = $2
         FROM json_each($1) AS e WHERE task_runs.id = e.value ->> 'id' AND finished_at IS NULL RETURNING run_id",
        "UPDATE task_runs SET value = e.value, output = e.output, error = e.error, finished_at = $2
         FROM json_to_recordset(CAST($1 AS JSON)) AS e(id TEXT, value TEXT, output TEXT, error TEXT)
         WHERE task_runs.id = e.id AND finished_at IS NULL RETURNING run_id";
    // Only bridges answer later; what a transaction waits for comes from the chain.
    AWAITED = "runs.awaited" =>
        "SELECT r.id, r.state, t.finished_at FROM task_runs t JOIN runs r ON r.id = t.run_id WHERE t.id = $1 AND t.type = 'bridge'",
        "SELECT r.id, r.state, t.finished_at FROM task_runs t JOIN runs r ON r.id = t.run_id WHERE t.id = $1 AND t.type = 'bridge'
         FOR UPDATE OF r";
    ANSWERED_AMONG = "runs.answered_among" =>
        "SELECT DISTINCT run_id FROM task_runs WHERE id IN (SELECT value FROM json_each($1)) AND finished_at IS NOT NULL
         ORDER BY run_id",
        "SELECT DISTINCT run_id FROM task_runs WHERE id = ANY (ARRAY(SELECT value FROM json_array_elements_text(CAST($1 AS JSON))))
            AND finished_at IS NOT NULL ORDER BY run_id";
    TASKS = "runs.tasks" =>
        "SELECT * FROM task_runs WHERE run_id = $1 ORDER BY task_index, created_at, dot_id";
    TASKS_OF = "runs.tasks_of" =>
        "SELECT * FROM task_runs WHERE run_id IN (SELECT value FROM json_each($1)) ORDER BY run_id, task_index, created_at, dot_id",
        "SELECT * FROM task_runs WHERE run_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))
         ORDER BY run_id, task_index, created_at, dot_id COLLATE \"C\"";
    UNFINISHED_TASKS = "runs.count_unfinished_tasks" =>
        "SELECT COUNT(*) AS n FROM runs r JOIN task_runs t ON t.run_id = r.id
         WHERE r.state IN ('running', 'suspended') AND t.finished_at IS NULL";
    FIND = "runs.find" =>
        "SELECT * FROM runs WHERE id = $1";
    LIST = "runs.list" =>
        "SELECT * FROM runs ORDER BY id DESC LIMIT $1 OFFSET $2";
    LIST_OF_JOB = "runs.list_of_job" =>
        "SELECT * FROM runs WHERE job_id = $1 ORDER BY id DESC LIMIT $2 OFFSET $3";
    COUNT = "runs.count" =>
        "SELECT COUNT(*) AS n FROM runs";
    COUNT_OF_JOB = "runs.count_of_job" =>
        "SELECT COUNT(*) AS n FROM runs WHERE job_id = $1";
    BY_STATE = "runs.count_by_job_and_state" =>
        "SELECT job_id, state, COUNT(*) AS n FROM runs GROUP BY job_id, state ORDER BY job_id, state";
    OLD = "runs.old" =>
        "SELECT id FROM runs WHERE state IN ('completed', 'errored') AND finished_at < $1 ORDER BY finished_at LIMIT $2";
    SURPLUS = "runs.surplus" =>
        "SELECT id FROM runs WHERE job_id = $1 AND state = 'completed' ORDER BY id DESC LIMIT $2 OFFSET $3";
    DELETE = "runs.delete" =>
        "DELETE FROM runs WHERE id = $1 AND state IN ('completed', 'errored')";
}

/// A run as a row.
#[derive(Debug, Clone)]
pub struct Run {
    /// Row number.
    pub id: RunId,
    /// The job it runs.
    pub job_id: JobId,
    /// Where it stands.
    pub state: State,
    /// Grows when a new incarnation of its request makes it encode its answer anew.
    pub generation: u64,
    /// Its variables, as the pipeline stores them (JSON text).
    pub inputs: String,
    /// JSON list: one value or null per terminal task.
    pub outputs: String,
    /// JSON list: one text or null per terminal task.
    pub fatal_errors: String,
    /// JSON list: one text or null per task.
    pub all_errors: String,
    /// Who executes it now.
    pub claimed_by: Option<String>,
    /// How often it was begun since it last got anywhere; counted before executing.
    pub attempts: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// One task of a run, as a row.
#[derive(Debug, Clone, Serialize)]
pub struct TaskRun {
    /// The task run's own id: idempotency key outwards, and the secret of an asynchronous answer.
    pub id: Uuid,
    /// The run.
    pub run_id: RunId,
    /// The task's name in the graph.
    pub dot_id: String,
    /// `http`, `multiply`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Place among the outputs.
    pub task_index: i64,
    /// Whether it fetched something (kept when the answer is encoded anew) rather than computed it.
    #[serde(serialize_with = "as_number")]
    pub source: bool,
    /// Its value without loss, as the pipeline stores it (JSON text).
    pub value: Option<String>,
    /// Its value as the API shows it (JSON text).
    pub output: Option<String>,
    /// Its error.
    pub error: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// When it began.
    #[serde(serialize_with = "as_micros")]
    pub created_at: Timestamp,
    /// When it ended; a pending task has not.
    #[serde(serialize_with = "as_optional_micros")]
    pub finished_at: Option<Timestamp>,
}

fn as_number<S: serde::Serializer>(
    flag: &bool,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_i64(i64::from(*flag))
}

fn as_micros<S: serde::Serializer>(
    time: &Timestamp,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.0)
}

fn as_optional_micros<S: serde::Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    time.map(|time| time.0).serialize(serializer)
}

/// How a run ended or paused.
#[derive(Debug, Clone)]
pub struct Finish {
    /// `Completed`, `Errored` or `Suspended`.
    pub state: State,
    /// See [`Run`].
    pub outputs: String,
    /// See [`Run`].
    pub fatal_errors: String,
    /// See [`Run`].
    pub all_errors: String,
}

fn run(row: &Row) -> Result<Run> {
    Ok(Run {
        id: row.get("id")?,
        job_id: row.get("job_id")?,
        state: row.get("state")?,
        generation: row.get("generation")?,
        inputs: row.get("inputs")?,
        outputs: row.get("outputs")?,
        fatal_errors: row.get("fatal_errors")?,
        all_errors: row.get("all_errors")?,
        claimed_by: row.get("claimed_by")?,
        attempts: row.get("attempts")?,
        created_at: row.get("created_at")?,
        finished_at: row.get("finished_at")?,
    })
}

fn task_run(row: &Row) -> Result<TaskRun> {
    Ok(TaskRun {
        id: row.get("id")?,
        run_id: row.get("run_id")?,
        dot_id: row.get("dot_id")?,
        kind: row.get("type")?,
        task_index: row.get("task_index")?,
        source: row.get("source")?,
        value: row.get("value")?,
        output: row.get("output")?,
        error: row.get("error")?,
        attempts: row.get("attempts")?,
        created_at: row.get("created_at")?,
        finished_at: row.get("finished_at")?,
    })
}

/// Creates pending runs by one statement: each job's number and the inputs of its run. Returns the numbers of the
/// runs, in that order. The inputs tell one run from another (each has a seed of its own).
pub async fn insert_each(
    tx: &mut Tx,
    new: &[(JobId, String)],
    now: Timestamp,
) -> Result<Vec<RunId>> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<serde_json::Value> = new
        .iter()
        .map(|(job_id, inputs)| json!({ "job_id": job_id, "inputs": clean(inputs.clone()) }))
        .collect();
    let text = serde_json::Value::from(rows).to_string();
    let mut ids: HashMap<String, Vec<RunId>> = HashMap::new();
    for row in tx.rows(&INSERT, args![text, now]).await? {
        let inputs: String = row.get("inputs")?;
        ids.entry(inputs).or_default().push(row.get("id")?);
    }
    // No engine promises in which order it returns what it wrote.
    new.iter()
        .map(|(_, inputs)| {
            let id = ids.get_mut(&clean(inputs.clone())).and_then(Vec::pop);
            id.ok_or_else(|| crate::StoreError::Unreadable {
                what: "inputs",
                text: "a run that was just stored did not come back".to_owned(),
            })
        })
        .collect()
}

/// Creates a pending run.
pub async fn insert(tx: &mut Tx, job: JobId, inputs: &str, now: Timestamp) -> Result<RunId> {
    let ids = insert_each(tx, &[(job, inputs.to_owned())], now).await?;
    Ok(ids[0])
}

/// Claims up to `limit` runs that nobody executes, oldest first, and counts the attempt before it is
/// made. The claim lasts `duration` on the database's clock unless renewed.
pub async fn claim(tx: &mut Tx, me: &str, duration: Duration, limit: u32) -> Result<Vec<Run>> {
    claim_except(tx, me, duration, limit, &[]).await
}

/// As [`claim`], leaving alone the runs of some jobs.
pub async fn claim_except(
    tx: &mut Tx,
    me: &str,
    duration: Duration,
    limit: u32,
    except: &[JobId],
) -> Result<Vec<Run>> {
    let mut runs = tx
        .rows(&CLAIM, args![me, micros(duration), limit, id_list(except)])
        .await?
        .iter()
        .map(run)
        .collect::<Result<Vec<_>>>()?;
    runs.sort_by_key(|run| run.id);
    Ok(runs)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Extends the claims of `me` on these runs. What it no longer works on runs out.
pub async fn renew_claims(
    tx: &mut Tx,
    me: &str,
    runs: &[RunId],
    duration: Duration,
) -> Result<u64> {
    tx.run(&RENEW, args![me, micros(duration), id_list(runs)])
        .await
}

/// Gives all claims of `me` back at a clean stop; the attempt does not count.
pub async fn release_claims(tx: &mut Tx, me: &str) -> Result<u64> {
    tx.run(&RELEASE, args![me]).await
}

/// Frees the claims of a process that is known to be dead, so that its runs need not wait for them to
/// expire. A run that was begun more than once keeps waiting: it may be what killed the process.
pub async fn release_left_claims(tx: &mut Tx) -> Result<u64> {
    tx.run(&RELEASE_LEFT, args![]).await
}

/// Ends or suspends a run under `me`'s claim. `false`: the claim is gone and nothing changed.
pub async fn finish(
    tx: &mut Tx,
    id: RunId,
    me: &str,
    generation: u64,
    end: &Finish,
    now: Timestamp,
) -> Result<bool> {
    let finished = end.state.is_finished().then_some(now);
    let args = args![
        id,
        me,
        generation,
        end.state.as_str(),
        &end.outputs,
        &end.fatal_errors,
        &end.all_errors,
        finished
    ];
    Ok(tx.run(&FINISH, args).await? == 1)
}

/// Locks the runs among `ids` whose claims `me` still holds: each with its generation.
pub async fn still_mine(tx: &mut Tx, ids: &[RunId], me: &str) -> Result<Vec<(RunId, u64)>> {
    tx.rows(&STILL_MINE, args![id_list(ids), me])
        .await?
        .iter()
        .map(|row| Ok((row.get("id")?, row.get("generation")?)))
        .collect()
}

/// Ends or suspends runs of these generations under `me`'s claims. Returns how many: one whose claim is
/// gone stays as it is.
pub async fn finish_each(
    tx: &mut Tx,
    me: &str,
    ends: &[(RunId, u64, Finish)],
    now: Timestamp,
) -> Result<u64> {
    if ends.is_empty() {
        return Ok(0);
    }
    let ends: Vec<serde_json::Value> = ends
        .iter()
        .map(|(id, generation, end)| {
            json!({
                "id": id,
                "generation": generation,
                "state": end.state.as_str(),
                // Here, because inside the JSON text below a NUL is an escape.
                "outputs": clean(end.outputs.clone()),
                "fatal_errors": clean(end.fatal_errors.clone()),
                "all_errors": clean(end.all_errors.clone()),
                "finished_at": end.state.is_finished().then_some(now.0),
            })
        })
        .collect();
    let text = serde_json::Value::from(ends).to_string();
    tx.run(&FINISH_EACH, args![text, me]).await
}

/// Drops a run that a `failEarly` task cancelled. `false`: the claim is gone and nothing changed.
pub async fn drop_run(tx: &mut Tx, id: RunId, me: &str) -> Result<bool> {
    if tx.run(&DROP_RUN, args![id, me]).await? == 0 {
        return Ok(false);
    }
    tx.run(&DROP_TASKS, args![id]).await?;
    Ok(true)
}

/// Suspended runs go on. Returns which of them were suspended, in order of their numbers.
pub async fn resume_each(tx: &mut Tx, ids: &[RunId]) -> Result<Vec<RunId>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    ascending(&tx.rows(&RESUME, args![id_list(ids)]).await?, "id")
}

/// As [`resume_each`], for one. `false`: it was not suspended.
pub async fn resume(tx: &mut Tx, id: RunId) -> Result<bool> {
    Ok(!resume_each(tx, &[id]).await?.is_empty())
}

/// Runs again with new inputs; what its tasks fetched is kept, what they computed is not.
pub async fn run_again(tx: &mut Tx, id: RunId, inputs: &str) -> Result<()> {
    tx.run(&AGAIN, args![id, inputs]).await?;
    tx.run(&AGAIN_TASKS, args![id]).await.map(drop)
}

/// Stores task results; one that already ended stays as it is.
pub async fn save_tasks(tx: &mut Tx, tasks: &[TaskRun]) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let cleaned: Vec<TaskRun> = tasks
        .iter()
        .map(|task| TaskRun {
            // Here, because inside the JSON text below a NUL is an escape.
            value: task.value.clone().map(clean),
            output: task.output.clone().map(clean),
            error: task.error.clone().map(clean),
            ..task.clone()
        })
        .collect();
    let text = serde_json::to_string(&cleaned).map_err(|cause| crate::StoreError::Unreadable {
        what: "task results",
        text: cause.to_string(),
    })?;
    tx.run(&SAVE_TASKS, args![text]).await.map(drop)
}

/// What a pending task gets.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The task run.
    pub id: Uuid,
    /// Its value, in the form the engine reads back.
    pub value: Option<String>,
    /// Its output, JSON.
    pub output: Option<String>,
    /// Why it has none.
    pub error: Option<String>,
}

/// Ends pending tasks, by one statement. Returns the runs of those that were pending, in order of their numbers.
pub async fn finish_tasks(
    tx: &mut Tx,
    finished: &[Finished],
    now: Timestamp,
) -> Result<Vec<RunId>> {
    if finished.is_empty() {
        return Ok(Vec::new());
    }
    let rows = finished.iter().map(|it| {
        json!({
            "id": it.id.to_string(),
            "value": it.value.clone().map(clean),
            "output": it.output.clone().map(clean),
            "error": it.error.clone().map(clean),
        })
    });
    let text = rows.collect::<serde_json::Value>().to_string();
    ascending(&tx.rows(&FINISH_TASKS, args![text, now]).await?, "run_id")
}

/// As [`finish_tasks`], for one. Returns its run, or `None` when it was not pending.
pub async fn finish_task(
    tx: &mut Tx,
    id: Uuid,
    value: Option<&str>,
    output: Option<&str>,
    error: Option<&str>,
    now: Timestamp,
) -> Result<Option<RunId>> {
    let finished = Finished {
        id,
        value: value.map(str::to_owned),
        output: output.map(str::to_owned),
        error: error.map(str::to_owned),
    };
    Ok(finish_tasks(tx, &[finished], now).await?.first().copied())
}

/// What became of an answer from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// No bridge task has this id.
    Unknown,
    /// The task has its result, or its run is over; nothing changed.
    TooLate,
    /// The run is still executing; it finds the answer when it gets to wait.
    Noted(RunId),
    /// The run waited for it and goes on.
    Resumed(RunId),
}

/// Stores what a bridge answered later: its value (both forms) or its error. The answer may come
/// before the run is stored as suspended.
pub async fn answer_task(
    tx: &mut Tx,
    id: Uuid,
    value: Option<&str>,
    output: Option<&str>,
    error: Option<&str>,
    now: Timestamp,
) -> Result<Answered> {
    let Some(row) = tx.row(&AWAITED, args![id]).await? else {
        return Ok(Answered::Unknown);
    };
    let (run, state): (RunId, State) = (row.get("id")?, row.get("state")?);
    let ended: Option<Timestamp> = row.get("finished_at")?;
    if state.is_finished() || ended.is_some() {
        return Ok(Answered::TooLate);
    }
    if finish_task(tx, id, value, output, error, now)
        .await?
        .is_none()
    {
        return Ok(Answered::TooLate);
    }
    Ok(match resume(tx, run).await? {
        true => Answered::Resumed(run),
        false => Answered::Noted(run),
    })
}

/// Forgets what the tasks of a run did; for runs of which only the outcome is kept.
pub async fn forget_tasks(tx: &mut Tx, run: RunId) -> Result<()> {
    tx.run(&DROP_TASKS, args![run]).await.map(drop)
}

/// The runs of those among these task runs that have ended.
pub async fn answered_among(conn: &mut Conn, tasks: &[Uuid]) -> Result<Vec<RunId>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = tasks.iter().map(Uuid::to_string).collect();
    conn.rows(&ANSWERED_AMONG, args![json!(texts).to_string()])
        .await?
        .iter()
        .map(|row| row.get("run_id"))
        .collect()
}

/// The tasks of a run, in output order.
pub async fn tasks(conn: &mut Conn, id: RunId) -> Result<Vec<TaskRun>> {
    conn.rows(&TASKS, args![id])
        .await?
        .iter()
        .map(task_run)
        .collect()
}

/// The tasks of several runs, run by run, each in output order.
pub async fn tasks_of(conn: &mut Conn, runs: &[RunId]) -> Result<Vec<TaskRun>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    conn.rows(&TASKS_OF, args![id_list(runs)])
        .await?
        .iter()
        .map(task_run)
        .collect()
}

/// Numbers as the JSON text that list-taking statements unfold.
pub(crate) fn id_list(ids: &[i64]) -> String {
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("[{}]", texts.join(","))
}

/// How many tasks of unfinished runs have begun and not ended.
pub async fn count_unfinished_tasks(conn: &mut Conn) -> Result<u64> {
    conn.one(&UNFINISHED_TASKS, args![]).await?.get("n")
}

/// A run by number.
pub async fn find(conn: &mut Conn, id: RunId) -> Result<Option<Run>> {
    conn.row(&FIND, args![id])
        .await?
        .as_ref()
        .map(run)
        .transpose()
}

/// Runs of one job or of all, newest first.
pub async fn list(
    conn: &mut Conn,
    job: Option<JobId>,
    limit: u32,
    offset: u32,
) -> Result<Vec<Run>> {
    let rows = match job {
        None => conn.rows(&LIST, args![limit, offset]).await?,
        Some(job) => conn.rows(&LIST_OF_JOB, args![job, limit, offset]).await?,
    };
    rows.iter().map(run).collect()
}

/// How many runs one job has, or all.
pub async fn count(conn: &mut Conn, job: Option<JobId>) -> Result<u64> {
    match job {
        None => conn.one(&COUNT, args![]).await?.get("n"),
        Some(job) => conn.one(&COUNT_OF_JOB, args![job]).await?.get("n"),
    }
}

/// How many runs of each job stand where.
pub async fn count_by_job_and_state(conn: &mut Conn) -> Result<Vec<(JobId, State, u64)>> {
    conn.rows(&BY_STATE, args![])
        .await?
        .iter()
        .map(|row| Ok((row.get("job_id")?, row.get("state")?, row.get("n")?)))
        .collect()
}

/// Deletes runs that ended before `before`, at most `limit`. Returns how many.
pub async fn prune_old(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64> {
    let rows = tx.rows(&OLD, args![before, limit]).await?;
    delete(tx, &rows).await
}

/// Deletes completed runs of a job beyond the newest `keep`, at most `limit`. Returns how many.
pub async fn prune_surplus(tx: &mut Tx, job: JobId, keep: u32, limit: u32) -> Result<u64> {
    let rows = tx.rows(&SURPLUS, args![job, limit, keep]).await?;
    delete(tx, &rows).await
}

async fn delete(tx: &mut Tx, rows: &[Row]) -> Result<u64> {
    let mut deleted = 0;
    for row in rows {
        let id: RunId = row.get("id")?;
        // One that runs again meanwhile keeps its tasks.
        if tx.run(&DELETE, args![id]).await? == 1 {
            tx.run(&DROP_TASKS, args![id]).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

//! What a run takes in and what comes out of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, Bytes};
use uuid::Uuid;

use crate::value::Value;

/// Everything one execution of a pipeline starts from.
#[derive(Debug, Clone, Default)]
pub struct RunInput {
    /// For attribution of calls and log lines.
    pub run_id: i64,
    /// `jobSpec` and `jobRun`.
    pub vars: BTreeMap<String, Value>,
    /// Results that stand, by task name: these tasks are not executed again. For an `ethtx` task
    /// this is the receipt as a JSON object; for a bridge that answered later the raw JSON text as
    /// [`Value::Bytes`].
    pub finished: BTreeMap<String, StoredResult>,
    /// The id of each task run by task name. A task that is not listed gets a new one.
    pub task_run_ids: BTreeMap<String, Uuid>,
    /// Bounds and settings.
    pub limits: Limits,
}

/// A result from an earlier execution.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredResult {
    /// The value, or the error's text.
    pub output: Result<Value, String>,
}

/// Bounds and settings of one execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest time of the whole execution.
    pub max_run_duration: Option<Duration>,
    /// Longest time of each attempt of each task, from the job.
    pub max_task_duration: Option<Duration>,
    /// Longest time of an attempt of an `http` or `bridge` task that has no `timeout` of its own.
    pub default_http_timeout: Option<Duration>,
    /// Longest response body in bytes.
    pub max_response_bytes: usize,
    /// Gas limit for tasks that name none.
    pub gas: GasLimits,
    /// How old a bridge's last good answer may be when the bridge fails and the task names no
    /// `cacheTTL`. Zero: no caching.
    pub bridge_cache_ttl: Duration,
    /// Where bridges that answer later send their answer, without the path.
    pub bridge_response_url: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_run_duration: Some(Duration::from_secs(600)),
            max_task_duration: None,
            default_http_timeout: Some(Duration::from_secs(15)),
            max_response_bytes: 32_768,
            gas: GasLimits::default(),
            bridge_cache_ttl: Duration::ZERO,
            bridge_response_url: None,
        }
    }
}

/// Gas for tasks that name no limit of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GasLimits {
    /// The job's, on whichever chain.
    pub of_job: Option<u64>,
    /// Where the job has none: each chain's for jobs of its type, by chain id.
    pub of_chains: BTreeMap<u64, u64>,
}

impl GasLimits {
    /// The limit on this chain, where there is one.
    pub fn on(&self, chain: u64) -> Option<u64> {
        self.of_job.or_else(|| self.of_chains.get(&chain).copied())
    }
}

/// How a run stands after an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Every task has finished and no terminal task failed.
    Completed,
    /// Every task has finished and a terminal task failed.
    Errored,
    /// Some tasks wait for something outside; execute again when it has come.
    Suspended,
    /// A task with `failEarly` failed: the run is to be forgotten, its trigger stays consumed.
    Dropped,
}

/// What one task did.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskResult {
    /// The task's name.
    pub dot_id: String,
    /// The task run.
    pub task_run_id: Uuid,
    /// As recorded: see [`crate::TaskType::recorded_name`].
    pub task_type: &'static str,
    /// Position among the outputs.
    pub index: i32,
    /// The value, when there is one. A value of null is `Some(Value::Null)`.
    pub output: Option<Value>,
    /// Why there is none.
    pub error: Option<String>,
    /// Start of the first attempt.
    pub started_at: SystemTime,
    /// End of the last attempt.
    pub finished_at: SystemTime,
    /// Attempts made; 0 for a task that was cancelled before its first one.
    pub attempts: u32,
}

/// A transaction a run asks for. The caller stores it together with the results.
#[derive(Debug, Clone, PartialEq)]
pub struct TxIntent {
    /// The task's name.
    pub dot_id: String,
    /// The idempotency key: a task run queues one transaction, whatever happens.
    pub task_run_id: Uuid,
    /// The contract.
    pub to: Address,
    /// Call data.
    pub data: Bytes,
    /// Keys that may send it; empty means any enabled key of the chain.
    pub from: Vec<Address>,
    /// From the task, else from [`Limits::gas`].
    pub gas_limit: Option<u64>,
    /// Confirmations to wait for; `Some(0)`: the run does not wait; unset: the chain's finality depth.
    pub min_confirmations: Option<u64>,
    /// A reverted transaction is an error of the task.
    pub fail_on_revert: bool,
    /// The chain.
    pub evm_chain_id: u64,
    /// Notes kept beside the transaction: an object.
    pub tx_meta: serde_json::Value,
    /// A check before the first send: an object, or null.
    pub transmit_checker: serde_json::Value,
    /// Whether that check is to try the transaction against the chain (`CheckerType` is `simulate`).
    pub simulate: bool,
}

/// What an execution achieved.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How the run stands.
    pub state: RunState,
    /// Tasks that got a result in this execution, in order of their numbers: those executed now
    /// and each `ethtx` whose receipt was handed in. Pending tasks and other tasks named in
    /// [`RunInput::finished`] are not here.
    pub results: Vec<TaskResult>,
    /// Tasks that wait for something outside, with their task runs.
    pub pending: Vec<(String, Uuid)>,
    /// Transactions to queue; none when the run was dropped.
    pub transactions: Vec<TxIntent>,
    /// Values of terminal tasks by index, then task number; `None` where one failed or waits.
    pub outputs: Vec<Option<Value>>,
    /// Errors of terminal tasks in the same order.
    pub fatal_errors: Vec<Option<String>>,
    /// Errors of all tasks by index, then task number.
    pub all_errors: Vec<Option<String>>,
}

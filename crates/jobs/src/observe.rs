//! All that jobs and runs tell the world. Names that dashboards know keep theirs.

use std::time::Duration;

use dodona_model::{Address, B256, BlockRef, ChainId, RunId};
use dodona_pipeline::TaskResult;
use dodona_store::jobs::Job;
use metrics::{counter, gauge};
use tracing::{debug, error, info, warn};

fn labels(job: &Job) -> (String, String) {
    (job.id.to_string(), job.spec.name.clone())
}

/// A request named a job that is not here.
pub(crate) fn unknown_job(chain: ChainId, oracle: Address, topic: B256) {
    counter!("dodona_jobs_unknown_requests_total", "evmChainID" => chain.to_string()).increment(1);
    debug!(chain.id = chain, contract = %oracle, "a request on {oracle} names job {topic}, which this node does not have");
}

/// A request is not run.
pub(crate) fn refused(job: &Job, request: B256, reason: &str) {
    counter!("dodona_jobs_refused_total", "job_id" => job.id.to_string()).increment(1);
    warn!(job.id = job.id, request.id = %request, "request {request} for job {} is not run: {reason}", job.id);
}

/// A request starts a run.
pub(crate) fn triggered(job: &Job, run: RunId, request: B256, block: BlockRef) {
    counter!("dodona_jobs_triggered_total", "job_id" => job.id.to_string()).increment(1);
    info!(job.id = job.id, run.id = run, request.id = %request, "request {request} in block {} starts run {run} of job {}", block.number, job.id);
}

/// A request is in another block now, on the same terms.
pub(crate) fn moved(request: B256, block: BlockRef) {
    info!(request.id = %request, "request {request} was mined again in block {block}; its answer stays right");
}

/// A request is in another block now, on other terms.
pub(crate) fn encoded_anew(request: B256, block: BlockRef) {
    info!(request.id = %request, "request {request} was mined again in block {block} on other terms; its answer is encoded anew");
}

/// The requester took the payment back.
pub(crate) fn cancelled(request: B256) {
    info!(request.id = %request, "request {request} was cancelled by its requester");
}

/// One task of a run is done.
pub(crate) fn task_finished(job: &Job, task: &TaskResult) {
    let (job_id, job_name) = labels(job);
    let took = task
        .finished_at
        .duration_since(task.started_at)
        .unwrap_or_default();
    let status = if task.error.is_some() {
        "error"
    } else {
        "completed"
    };
    let names = [
        ("job_id", job_id),
        ("job_name", job_name),
        ("task_id", task.dot_id.clone()),
        ("task_type", task.task_type.to_owned()),
    ];
    gauge!("pipeline_task_execution_time", &names).set(took.as_nanos() as f64);
    let [a, b, c, d] = names;
    counter!(
        "pipeline_tasks_total_finished",
        &[a, b, c, d, ("status", status.to_owned())]
    )
    .increment(1);
}

/// A run ended well or waits.
pub(crate) fn run_ended(job: &Job, run: RunId, state: &'static str, took: Duration) {
    let (job_id, job_name) = labels(job);
    gauge!("pipeline_run_total_time_to_completion", "job_id" => job_id, "job_name" => job_name)
        .set(took.as_nanos() as f64);
    debug!(
        job.id = job.id,
        run.id = run,
        "run {run} of job {} is {state} after {took:?}",
        job.id
    );
}

/// A run ended badly.
pub(crate) fn run_errored(job: &Job, run: RunId, what: &str) {
    let (job_id, job_name) = labels(job);
    counter!("pipeline_run_errors", "job_id" => job_id, "job_name" => job_name).increment(1);
    warn!(
        job.id = job.id,
        run.id = run,
        "run {run} of job {} ended errored: {what}",
        job.id
    );
}

/// Somebody else executes the run now; what we computed is dropped.
pub(crate) fn claim_lost(run: RunId) {
    info!(
        run.id = run,
        "run {run} was taken over or begun anew; this execution's results are dropped"
    );
}

/// A finished execution could not be stored.
pub(crate) fn not_stored(run: RunId, why: &str) {
    error!(
        run.id = run,
        "the results of run {run} could not be stored and the run will be executed again: {why}"
    );
}

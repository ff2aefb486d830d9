//! All that jobs and runs tell the world. Names that dashboards know keep theirs.

use std::time::Duration;

use dodona_model::{Address, B256, BlockRef, ChainId, JobId, RunId, Timestamp};
use dodona_store::jobs::Job;
use dodona_store::notices::Notice;
use metrics::counter;
use tracing::{debug, error, info, warn};

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

/// A request's id asks something else since a reorganisation.
pub(crate) fn displaced(request: B256, block: BlockRef) {
    info!(request.id = %request, "id {request} stands for another question since block {block}; nothing made for the first one answers it");
}

/// The requester took the payment back.
pub(crate) fn cancelled(request: B256) {
    info!(request.id = %request, "request {request} was cancelled by its requester");
}

/// A cron job's time has come.
pub(crate) fn ticked(job: &Job, run: RunId, tick: Timestamp) {
    counter!("dodona_jobs_ticks_total", "result" => "run").increment(1);
    info!(
        job.id = job.id,
        run.id = run,
        "the tick of {tick} starts run {run} of job {}",
        job.id
    );
}

/// A tick came while nobody kept the schedule; it is not made up for.
pub(crate) fn tick_missed(job: JobId, tick: Timestamp, next: Timestamp) {
    counter!("dodona_jobs_ticks_total", "result" => "missed").increment(1);
    warn!(
        job.id = job,
        "the tick of {tick} of job {job} was missed while no node kept the schedule; the next one is at {next}"
    );
}

/// A schedule that an earlier version accepted and this one cannot read.
pub(crate) fn schedule_unreadable(job: JobId, why: &str) {
    error!(
        job.id = job,
        "the schedule of job {job} cannot be read and the job does not run: {why}. Delete the job and create it with another schedule"
    );
}

/// An initiator knows what it should.
pub(crate) fn told(notice: &Notice) {
    counter!("dodona_jobs_notices_total", "result" => "told").increment(1);
    info!(initiator.name = %notice.initiator, "external initiator {} was told about job {} ({})", notice.initiator, notice.spec.external_job_id, notice.spec.method);
}

/// An initiator could not be told; the job works all the same.
pub(crate) fn not_told(notice: &Notice, why: &str, again: bool) {
    let result = if again { "postponed" } else { "given_up" };
    counter!("dodona_jobs_notices_total", "result" => result).increment(1);
    let then = if again {
        "it is told again"
    } else {
        "it is not tried again"
    };
    warn!(initiator.name = %notice.initiator, "external initiator {} could not be told about job {} ({}): {why}; {then}", notice.initiator, notice.spec.external_job_id, notice.spec.method);
}

/// The database was no help to a bridge task.
pub(crate) fn bridge_cache_failed(task: &str, what: &str, cause: &anyhow::Error) {
    warn!(
        task,
        "the last answer of bridge task {task} could not be {what}: {cause:#}"
    );
}

/// A run ended well or waits. (Its tasks and its time are told by the pipeline.)
pub(crate) fn run_ended(job: &Job, run: RunId, state: &'static str, took: Duration) {
    debug!(
        job.id = job.id,
        run.id = run,
        "run {run} of job {} is {state} after {took:?}",
        job.id
    );
}

/// A run ended badly; the pipeline counted it.
pub(crate) fn run_errored(job: &Job, run: RunId, what: &str) {
    warn!(
        job.id = job.id,
        run.id = run,
        "run {run} of job {} ended errored: {what}",
        job.id
    );
}

/// A run ended badly for a reason outside its pipeline, which therefore did not count it.
pub(crate) fn run_refused(job: &Job, run: RunId, what: &str) {
    counter!("pipeline_run_errors", "job_id" => job.id.to_string(), "job_name" => job.spec.name.clone())
        .increment(1);
    run_errored(job, run, what);
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

/// A flux monitor looks for its number.
pub(crate) fn flux_looks(job: &Job, run: RunId, occasion: &str, round: u32) {
    info!(
        job.id = job.id,
        run.id = run,
        "{occasion}: run {run} of job {} looks for the answer to round {round}",
        job.id
    );
}

/// A flux monitor has a reason to look, and a better one not to.
pub(crate) fn flux_declined(job: &Job, occasion: &str, why: &dyn std::fmt::Display) {
    debug!(
        job.id = job.id,
        "{occasion}: job {} does not look: {why}", job.id
    );
}

/// A number found by a flux monitor is not submitted, and nothing is wrong.
pub(crate) fn flux_not_submitted(job: &Job, run: RunId, why: &str) {
    debug!(
        job.id = job.id,
        run.id = run,
        "what run {run} of job {} found is not submitted: {why}",
        job.id
    );
}

/// A flux monitor submits.
pub(crate) fn flux_submitted(job: &Job, run: RunId, round: u32, answer: &dyn std::fmt::Display) {
    counter!("dodona_jobs_flux_submissions_total", "job_id" => job.id.to_string()).increment(1);
    info!(
        job.id = job.id,
        run.id = run,
        "run {run} of job {} submits {answer} to round {round}",
        job.id
    );
}

/// A flux monitor begins or ends to hibernate.
pub(crate) fn flux_hibernates(job: &Job, begins: bool) {
    let what = if begins {
        "is flagged and hibernates: it looks once a day and answers rounds that others begin"
    } else {
        "is no longer flagged and wakes up"
    };
    info!(job.id = job.id, "the aggregator of job {} {what}", job.id);
}

/// No endpoint could be asked; the next round asks again.
pub(crate) fn flux_unreachable(job: &Job, cause: &dyn std::error::Error) {
    debug!(job.id = job.id, "job {} waits: {cause}", job.id);
}

/// An aggregator does not behave as one.
pub(crate) fn flux_strange(job: &Job, cause: &dyn std::error::Error) {
    warn!(job.id = job.id, "job {} cannot work: {cause}", job.id);
}

/// A flux monitor whose job this version cannot read.
pub(crate) fn flux_unreadable(job: dodona_model::JobId, cause: &anyhow::Error) {
    warn!(
        job.id = job,
        "the flux monitor of job {job} stands still: {cause:#}"
    );
}

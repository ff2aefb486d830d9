//! All this crate tells the world: metrics under the names existing dashboards know, and log lines.

use std::time::Duration;

use metrics::{counter, gauge};
use tracing::{debug, info, warn};

use crate::egress::{Destination, HttpError};
use crate::error::TaskError;
use crate::graph::TaskDef;
use crate::outcome::{Outcome, RunState};
use crate::ports::{CallOrigin, HttpReply};
use crate::tasks::Done;
use crate::vars::Vars;

fn job_id(vars: &Vars) -> String {
    vars.label("jobSpec.databaseID").into_owned()
}

fn job_name(vars: &Vars) -> String {
    vars.label("jobSpec.name").into_owned()
}

/// A task has made its last attempt.
pub(crate) fn task_finished(
    def: &TaskDef,
    result: &Result<Done, TaskError>,
    vars: &Vars,
    took: Duration,
) {
    let (id, name) = (job_id(vars), job_name(vars));
    let (task, kind) = (def.dot_id.clone(), def.kind.recorded_name());
    gauge!("pipeline_task_execution_time", "job_id" => id.clone(), "job_name" => name.clone(), "task_id" => task.clone(), "task_type" => kind)
        .set(took.as_nanos() as f64);
    let status = match result {
        Ok(Done::Value(_)) => "completed",
        Ok(Done::Pending | Done::Transaction(_)) => "pending",
        Err(_) => "error",
    };
    if status != "pending" {
        counter!("pipeline_tasks_total_finished", "job_id" => id.clone(), "job_name" => name, "task_id" => task, "task_type" => kind, "status" => status)
            .increment(1);
    }
    match result {
        Err(error) => {
            info!(job.id = %id, task.id = %def.dot_id, task.r#type = kind, "task {} failed: {error}", def.dot_id)
        }
        Ok(_) => {
            debug!(job.id = %id, task.id = %def.dot_id, task.r#type = kind, "task {} {status}", def.dot_id)
        }
    }
}

/// An execution has gone as far as it goes.
pub(crate) fn run_finished(outcome: &Outcome, vars: &Vars, took: Duration) {
    let (id, name) = (job_id(vars), job_name(vars));
    if outcome.state == RunState::Errored {
        counter!("pipeline_run_errors", "job_id" => id.clone(), "job_name" => name.clone())
            .increment(1);
    }
    if matches!(outcome.state, RunState::Completed | RunState::Errored) {
        gauge!("pipeline_run_total_time_to_completion", "job_id" => id, "job_name" => name)
            .set(took.as_nanos() as f64);
    }
}

/// A data source has answered.
pub(crate) fn http_fetched(dot_id: &str, took: Duration, body_bytes: usize) {
    let id = dot_id.to_owned();
    gauge!("pipeline_task_http_fetch_time", "pipeline_task_spec_id" => id.clone())
        .set(took.as_nanos() as f64);
    gauge!("pipeline_task_http_response_body_size", "pipeline_task_spec_id" => id)
        .set(body_bytes as f64);
}

/// A contract has been read.
pub(crate) fn eth_called(dot_id: &str, took: Duration) {
    gauge!("pipeline_task_eth_call_execution_time", "pipeline_task_spec_id" => dot_id.to_owned())
        .set(took.as_nanos() as f64);
}

/// A bridge has answered.
pub(crate) fn bridge_answered(name: &str, took: Duration) {
    gauge!("bridge_latency_seconds", "name" => name.to_owned()).set(took.as_secs_f64());
}

/// A bridge has not answered, or not with success.
pub(crate) fn bridge_failed(name: &str, error: &TaskError) {
    counter!("bridge_errors_total", "name" => name.to_owned()).increment(1);
    warn!(bridge.name = name, "bridge {name} failed: {error}");
}

/// An earlier answer of a bridge stands in for one it did not give.
pub(crate) fn bridge_cache_used(name: &str) {
    counter!("bridge_cache_hits_total", "name" => name.to_owned()).increment(1);
    warn!(
        bridge.name = name,
        "bridge {name} failed; its last good answer is used instead"
    );
}

/// There was no earlier answer, or it is too old.
pub(crate) fn bridge_cache_missed(name: &str) {
    counter!("bridge_cache_errors_total", "name" => name.to_owned()).increment(1);
}

/// A call has left the node, or was not let out: whose it was, where it went and what became of it.
/// Without a result its caller stopped waiting, which is where most time limits end.
pub(crate) fn called_out(
    origin: &CallOrigin,
    to: &Destination,
    result: Option<&Result<HttpReply, HttpError>>,
) {
    let verdict = match result {
        Some(Ok(_)) => "answered",
        Some(Err(HttpError::Disallowed { .. })) => "refused_address",
        Some(Err(HttpError::NotListed { .. })) => "refused_list",
        Some(Err(HttpError::TooOften { .. })) => "refused_rate",
        Some(Err(HttpError::Invalid(_))) => "refused_invalid",
        Some(Err(HttpError::BadRedirect { .. } | HttpError::TooManyRedirects)) => {
            "refused_redirect"
        }
        Some(Err(HttpError::TooLarge { .. })) => "too_large",
        Some(Err(HttpError::TimedOut)) => "timed_out",
        Some(Err(HttpError::Failed { .. })) => "failed",
        None => "given_up",
    };
    let bridge = origin.bridge.as_deref().unwrap_or_default();
    // Not where to: a requester who chooses URLs would choose how many series there are. The log says it.
    counter!("dodona_pipeline_egress_calls_total", "external_job_id" => origin.external_job_id.clone(), "bridge" => bridge.to_owned(), "verdict" => verdict)
        .increment(1);
    let address = to.address.map(|a| a.to_string()).unwrap_or_default();
    let (job, run, task) = (&origin.external_job_id, origin.run_id, &origin.dot_id);
    let (host, port) = (to.host.as_str(), to.port);
    if verdict.starts_with("refused") {
        warn!(job.id = %job, run.id = run, task.id = %task, bridge.name = bridge, egress.host = host, egress.port = port, egress.address = %address, egress.verdict = verdict,
            "a call of task {task} to {host} was not let out: {verdict}");
    } else {
        info!(job.id = %job, run.id = run, task.id = %task, bridge.name = bridge, egress.host = host, egress.port = port, egress.address = %address, egress.verdict = verdict,
            "task {task} called {host}: {verdict}");
    }
}

/// On the way, a call was sent elsewhere.
pub(crate) fn redirected(origin: &CallOrigin, from: &Destination) {
    let address = from.address.map(|a| a.to_string()).unwrap_or_default();
    let (task, host, port) = (&origin.dot_id, from.host.as_str(), from.port);
    info!(job.id = %origin.external_job_id, run.id = origin.run_id, task.id = %task, egress.host = host, egress.port = port, egress.address = %address, egress.verdict = "redirected",
        "task {task} was sent on by {host}");
}

//! Every line and metric of the API.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use dodona_model::{Address, JobId, RunId};
use dodona_store::StoreError;
use tracing::{debug, error, info, warn};

/// One answered request.
pub(crate) struct Answered<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    /// The route's pattern: labels come from a closed list.
    pub(crate) route: &'a str,
    pub(crate) query: &'a str,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) status: StatusCode,
    pub(crate) took: Duration,
}

pub(crate) fn answered(request: &Answered<'_>) {
    let status = request.status.as_u16();
    debug!(
        method = %request.method,
        path = request.path,
        query = request.query,
        status,
        client.ip = request.peer.map(tracing::field::display),
        latency_ms = request.took.as_secs_f64() * 1e3,
        "{} {}",
        request.method,
        request.path
    );
    let labels = [
        ("code", status.to_string()),
        ("method", method_label(request.method).to_owned()),
        ("path", request.route.to_owned()),
    ];
    metrics::counter!("service_gonic_requests_total", &labels).increment(1);
    metrics::histogram!("service_gonic_request_duration", &labels[1..])
        .record(request.took.as_secs_f64());
}

/// Anybody can invent a method.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

pub(crate) fn panicked(path: &str) {
    error!(
        path,
        "the handler of {path} panicked; the request was answered with 500"
    );
}

pub(crate) fn database_failed(cause: &StoreError) {
    warn!("a request failed: {cause}");
}

pub(crate) fn listening(address: std::net::SocketAddr) {
    info!(listen = %address, "the API listens on http://{address}");
}

pub(crate) fn accept_failed(cause: &std::io::Error) {
    warn!("a connection could not be accepted: {cause}");
}

pub(crate) fn connection_failed(cause: &hyper::Error) {
    debug!("a connection ended early: {cause}");
}

pub(crate) fn first_user(email: &str) {
    info!(
        user = email,
        "created the first user {email} with the role admin"
    );
}

pub(crate) fn logged_in(email: &str) {
    info!(user = email, "{email} logged in");
}

/// `known`: there is such a user. What was typed otherwise is not repeated, because people type their
/// password into the wrong field.
pub(crate) fn log_in_refused(email: &str, known: bool) {
    metrics::counter!("dodona_api_log_ins_refused_total").increment(1);
    match known {
        true => warn!(
            user = email,
            "a log-in as {email} was refused: wrong password"
        ),
        false => warn!("a log-in was refused: there is no such user"),
    }
}

pub(crate) fn logged_out(email: &str) {
    info!(user = email, "{email} logged out");
}

pub(crate) fn job_created(id: JobId, name: &str, by: &str) {
    info!(
        job.id = id,
        job.name = name,
        user = by,
        "{by} created job {id} {name:?}"
    );
}

pub(crate) fn job_deleted(id: JobId, by: &str) {
    info!(job.id = id, user = by, "{by} deleted job {id}");
}

pub(crate) fn run_by_hand_refused(id: JobId, by: &str, why: &str) {
    debug!(
        job.id = id,
        user = by,
        "{by} asked for a run of job {id} in vain: {why}"
    );
}

pub(crate) fn run_started(job: JobId, run: RunId, by: &str) {
    metrics::counter!("dodona_api_runs_started_total").increment(1);
    info!(
        job.id = job,
        run.id = run,
        user = by,
        "{by} started run {run} of job {job}"
    );
}

pub(crate) fn task_answered(run: RunId) {
    debug!(run.id = run, "a waiting task of run {run} was answered");
}

pub(crate) fn initiator_changed(name: &str, what: &str, by: &str) {
    info!(
        initiator.name = name,
        user = by,
        "{by} {what} the external initiator {name}"
    );
}

pub(crate) fn bridge_changed(name: &str, what: &str, by: &str) {
    info!(
        bridge.name = name,
        user = by,
        "{by} {what} the bridge {name}"
    );
}

pub(crate) fn key_changed(address: Address, what: &str, by: &str) {
    info!(key.address = %address, user = by, "{by} {what} the key {address}");
}

pub(crate) fn user_changed(email: &str, what: &str) {
    info!(user = email, "{email} {what}");
}

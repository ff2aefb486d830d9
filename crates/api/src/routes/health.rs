//! How the parts of this process are doing. Open to everybody, as probes need it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use dodona_runtime::Check;
use serde_json::json;

use crate::http::{Resource, list};
use crate::page;
use crate::server::App;

/// 200 when all checks pass, 207 when one fails: the answer itself came about.
fn status(checks: &[Check]) -> StatusCode {
    if checks.iter().all(|check| check.passing) {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    }
}

fn asked_for(uri: &Uri, name: &str) -> bool {
    uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    })
}

fn chosen(checks: Vec<Check>, uri: &Uri) -> Vec<Check> {
    let only_failing = asked_for(uri, "failing");
    checks
        .into_iter()
        .filter(|check| !(only_failing && check.passing))
        .collect()
}

fn resources(checks: &[Check]) -> Vec<Resource> {
    checks
        .iter()
        .map(|check| {
            let status = if check.passing { "passing" } else { "failing" };
            let facts = json!({ "name": check.name, "status": status, "output": check.output });
            Resource::new("checks", &check.name, &facts)
        })
        .collect()
}

fn text(checks: &[Check]) -> String {
    let mut lines = String::new();
    for check in checks {
        let mark = if check.passing { "ok " } else { "!  " };
        lines.push_str(&format!("{mark}{}\n", check.name));
        for line in check.output.lines() {
            lines.push_str(&format!("\t{line}\n"));
        }
    }
    lines
}

pub(super) async fn health(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Response {
    let checks = app.health.checks();
    let status = status(&checks);
    let checks = chosen(checks, &uri);
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    if accept.contains("text/html") {
        page::health(status, &checks)
    } else if accept.contains("text/plain") {
        (status, text(&checks)).into_response()
    } else {
        list(status, resources(&checks))
    }
}

pub(super) async fn health_text(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let checks = app.health.checks();
    (status(&checks), text(&chosen(checks, &uri))).into_response()
}

/// 200 or 503 without a body; `?full=1` adds the list.
pub(super) async fn ready(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let checks = app.health.checks();
    let status = match status(&checks) {
        StatusCode::OK => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    if asked_for(&uri, "full") {
        list(status, resources(&checks))
    } else {
        status.into_response()
    }
}

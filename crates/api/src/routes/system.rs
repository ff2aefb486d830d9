//! Small facts about this build.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::auth::{Pinger, View};
use crate::http::{Resource, list};
use crate::server::App;

pub(super) async fn ping(_: Pinger) -> Json<Value> {
    Json(json!({ "message": "pong" }))
}

pub(super) async fn build_info(_: View, State(app): State<Arc<App>>) -> Json<Value> {
    let (version, commit) = (&app.config.version, &app.config.commit);
    Json(json!({ "version": version, "versionTag": format!("v{version}"), "commitSHA": commit }))
}

/// Switches that clients ask for; none of these features exists here.
pub(super) async fn features(_: View) -> Response {
    let features = ["csa", "feeds_manager", "multi_feeds_managers"];
    let off = json!({ "enabled": false });
    list(
        StatusCode::OK,
        features
            .map(|id| Resource::new("features", id, &off))
            .into(),
    )
}

//! Which path leads where, and what stands in front of it.

mod bridges;
mod chains;
mod health;
mod initiators;
mod jobs;
mod keys;
mod metrics;
mod resume;
mod run_now;
mod runs;
mod sessions;
mod status;
mod system;
mod txs;
mod user;

pub(crate) use runs::error_text;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};

use crate::http::{Bucket, Refusal, body_limit, catch_panics, check_origin, limit, record};
use crate::http::{security_headers, time_out};
use crate::page;
use crate::server::App;

/// Everything this process answers.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let limited = |bucket| from_fn_with_state((Arc::clone(app), bucket), limit);
    let api = api()
        .merge(log_in().layer(limited(Bucket::LogIn)))
        // It loads itself anew, perhaps in several windows behind one address.
        .route("/", get(page::home))
        .layer(limited(Bucket::Api));
    let pages = Router::new()
        .route("/login", get(page::log_in_form))
        .route("/entered", get(page::entered))
        .route("/logout", post(page::log_out))
        .merge(
            Router::new()
                .route("/login", post(page::log_in))
                .layer(limited(Bucket::LogIn)),
        )
        .fallback(nothing_here)
        .layer(limited(Bucket::Page));
    let assets = Router::new()
        .route("/assets/{file}", get(page::asset))
        .layer(limited(Bucket::Asset));
    Router::new()
        // Scrapers come often and from one address: no limit, no session.
        .route("/metrics", get(metrics::show))
        .merge(api)
        .merge(assets)
        .merge(pages)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(app), time_out))
        .layer(from_fn_with_state(Arc::clone(app), check_origin))
        .layer(from_fn(catch_panics))
        .layer(from_fn(record))
        .layer(from_fn_with_state(Arc::clone(app), body_limit))
        .layer(from_fn(security_headers))
        .with_state(Arc::clone(app))
}

fn log_in() -> Router<Arc<App>> {
    Router::new().route("/sessions", post(sessions::create))
}

fn api() -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/health", get(health::health))
        .route("/health.txt", get(health::health_text))
        .route("/readyz", get(health::ready))
        .route("/sessions", delete(sessions::destroy))
        .route("/v2/ping", get(system::ping))
        .route("/v2/build_info", get(system::build_info))
        .route("/v2/features", get(system::features))
        .route("/v2/status", get(status::show))
        .route("/v2/user/password", patch(user::change_password))
        .route("/v2/user/token", post(user::create_token))
        .route("/v2/user/token/delete", post(user::delete_token))
        .route("/v2/jobs", get(jobs::list).post(jobs::create))
        .route("/v2/jobs/{id}", get(jobs::show).delete(jobs::destroy))
        .route("/v2/jobs/{id}/runs", get(runs::of_job).post(run_now::start))
        .route("/v2/jobs/{id}/runs/{run}", get(runs::show_of_job))
        .route("/v2/resume/{task}", patch(resume::resume))
        .route("/v2/pipeline/runs", get(runs::list))
        .route("/v2/pipeline/runs/{run}", get(runs::show))
        .route(
            "/v2/pipeline/job_spec_errors/{id}",
            delete(jobs::dismiss_error),
        )
        .route("/v2/bridge_types", get(bridges::list).post(bridges::create))
        .route(
            "/v2/bridge_types/{name}",
            get(bridges::show)
                .patch(bridges::update)
                .delete(bridges::destroy),
        )
        .route(
            "/v2/external_initiators",
            get(initiators::list).post(initiators::create),
        )
        .route(
            "/v2/external_initiators/{name}",
            delete(initiators::destroy),
        )
        .route("/v2/transactions", get(txs::list))
        .route("/v2/transactions/{hash}", get(txs::show))
        .route("/v2/transactions/evm", get(txs::list))
        .route("/v2/transactions/evm/{hash}", get(txs::show))
        .route("/v2/tx_attempts", get(txs::attempts))
        .route("/v2/tx_attempts/evm", get(txs::attempts))
        .route("/v2/chains", get(chains::list))
        .route("/v2/chains/{network}", get(chains::of_network))
        .route("/v2/chains/{network}/{id}", get(chains::show))
        .route(
            "/v2/chains/{network}/{id}/nodes",
            get(chains::nodes_of_chain),
        )
        .route("/v2/nodes", get(chains::nodes))
        .route("/v2/nodes/{network}", get(chains::nodes_of_network));
    // The old name and the new one, in every respect the same.
    for family in ["/v2/keys/eth", "/v2/keys/evm"] {
        router = router
            .route(family, get(keys::list).post(keys::create))
            .route(&format!("{family}/import"), post(keys::import))
            .route(&format!("{family}/export/{{address}}"), post(keys::export))
            .route(&format!("{family}/chain"), post(keys::on_chain))
            .route(&format!("{family}/{{address}}"), delete(keys::destroy));
    }
    router
}

async fn wrong_method(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not understand this method", uri.path()),
    )
}

/// A person who mistyped gets a page, a program gets its kind of error.
async fn nothing_here(uri: Uri) -> Response {
    let path = uri.path();
    if path.starts_with("/v2/") || path.starts_with("/v1/") {
        return Refusal::not_found(format!("there is no route {path}")).into_response();
    }
    page::not_found(path)
}

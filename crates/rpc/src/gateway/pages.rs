//! What people and load balancers look at: health, readiness, metrics, the status page.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use maud::{DOCTYPE, html};
use serde_json::json;

use super::Core;
use super::envelope::Pieces;
use super::observe;
use super::server::{json, of_type, plain};
use crate::status::{NodeState, NodeStatus};

pub(crate) fn page(core: &Arc<Core>, request: &Request<Incoming>) -> Response<Pieces> {
    match request.uri().path() {
        "/health" | "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" | "/ready" => ready(core),
        "/metrics" => {
            observe::now(
                core.chain.tags().map(|tags| tags.latest),
                core.filters.count(),
            );
            of_type(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                Pieces::one((core.metrics)()),
            )
        }
        "/status" => json(StatusCode::OK, Pieces::one(status(core).to_string())),
        "/" => of_type(
            StatusCode::OK,
            "text/html; charset=utf-8",
            Pieces::one(screen(core)),
        ),
        _ => plain(
            StatusCode::NOT_FOUND,
            "JSON-RPC is POST /; there are also GET /, /status, /health, /readyz and /metrics\n",
        ),
    }
}

/// Ready: a chain is known, somebody answers for it, and nobody told us to stop.
fn ready(core: &Core) -> Response<Pieces> {
    if core.draining.load(Ordering::Relaxed) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if core.chain.tags().is_none() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "no block is known yet\n");
    }
    let usable = core.pool.nodes().iter().any(|node| {
        !node.send_only && matches!(node.state, NodeState::Alive | NodeState::OutOfSync)
    });
    match usable {
        true => plain(StatusCode::OK, "ready\n"),
        false => plain(StatusCode::SERVICE_UNAVAILABLE, "no upstream is usable\n"),
    }
}

/// Everything worth knowing about one upstream.
struct Upstream {
    status: NodeStatus,
    lag: Option<u64>,
    blemishes: Vec<String>,
    in_flight: u32,
}

fn upstreams(core: &Core) -> Vec<Upstream> {
    let latest = core.chain.tags().map(|tags| tags.latest);
    let nodes = core.pool.nodes().into_iter().zip(&core.pool.0.nodes);
    nodes
        .map(|(status, node)| {
            let at = node.condition().head.map(|head| head.number);
            Upstream {
                lag: latest.zip(at).map(|(tip, at)| tip.saturating_sub(at)),
                blemishes: node.fitness.blemishes(Instant::now()),
                in_flight: node.fitness.in_flight(),
                status,
            }
        })
        .collect()
}

fn error_percent(status: &NodeStatus) -> u64 {
    (status.failures * 100)
        .checked_div(status.calls)
        .unwrap_or(0)
}

fn status(core: &Core) -> serde_json::Value {
    let tags = core.chain.tags();
    let upstreams: Vec<_> = upstreams(core)
        .into_iter()
        .map(|upstream| {
            let status = &upstream.status;
            json!({
                "name": &*status.name,
                "url": status.url,
                "sendOnly": status.send_only,
                "state": status.state.word(),
                "reason": status.reason,
                "head": status.highest_head,
                "lagBlocks": upstream.lag,
                "headAgeSeconds": status.last_head_age.map(|age| age.as_secs()),
                "latencyMs": status.latency.map(|latency| latency.as_secs_f64() * 1000.0),
                "calls": status.calls,
                "failures": status.failures,
                "errorPercent": error_percent(status),
                "inFlight": upstream.in_flight,
                "notAsked": upstream.blemishes,
                "client": status.client_version,
            })
        })
        .collect();
    json!({
        "chainId": core.pool.chain_id(),
        "latest": tags.map(|tags| tags.latest),
        "safe": tags.and_then(|tags| tags.safe),
        "finalized": tags.and_then(|tags| tags.finalized),
        "upSeconds": core.started.elapsed().as_secs(),
        "filters": core.filters.count(),
        "upstreams": upstreams,
    })
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c2330;background:#fff}\
    h1{font-size:1.4rem}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #dde2ea;vertical-align:top}\
    td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.good{color:#116b35}.bad{color:#a3161c}.idle{color:#6a5200}small{color:#5b6573}\
    @media(prefers-color-scheme:dark){body{color:#e4e8ef;background:#14181f}th,td{border-color:#2c3440}.good{color:#63cf8b}.bad{color:#ff8a8a}.idle{color:#e2c05a}small{color:#98a3b3}}";

fn screen(core: &Core) -> String {
    let tags = core.chain.tags();
    let shown = |number: Option<u64>| number.map_or("unknown".to_owned(), |n| n.to_string());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="5";
                title { "Dodona gateway, chain " (core.pool.chain_id()) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "Dodona gateway, chain " (core.pool.chain_id()) }
                p {
                    "latest " b { (shown(tags.map(|tags| tags.latest))) }
                    ", safe " (shown(tags.and_then(|tags| tags.safe)))
                    ", finalized " (shown(tags.and_then(|tags| tags.finalized)))
                    ", up " (core.started.elapsed().as_secs()) " s"
                }
                table {
                    thead { tr {
                        th { "upstream" } th { "state" } th.n { "head" } th.n { "lag" } th.n { "head age" }
                        th.n { "latency" } th.n { "errors" } th.n { "in flight" } th { "client" }
                    } }
                    tbody { @for upstream in upstreams(core) { (row(&upstream)) } }
                }
                p { small { "Lag is in blocks behind what the gateway speaks about. Errors count all calls since the start. The page renews itself; " a href="/status" { "the same as JSON" } ", " a href="/metrics" { "metrics" } "." } }
            }
        }
    }
    .into_string()
}

fn row(upstream: &Upstream) -> maud::Markup {
    let status = &upstream.status;
    let class = match status.state {
        NodeState::Alive => "good",
        NodeState::Undialed | NodeState::Dialed | NodeState::OutOfSync => "idle",
        _ => "bad",
    };
    let number = |number: Option<u64>| number.map_or(String::new(), |n| n.to_string());
    html! {
        tr {
            td { b { (status.name) } @if status.send_only { " (send-only)" } br; small { (status.url) } }
            td {
                span class=(class) { (status.state.word()) }
                @if let Some(reason) = &status.reason { br; small { (reason) } }
                @for blemish in &upstream.blemishes { br; small { (blemish) } }
            }
            td.n { (number(status.highest_head)) }
            td.n { (number(upstream.lag)) }
            td.n { @if let Some(age) = status.last_head_age { (age.as_secs()) " s" } }
            td.n { @if let Some(latency) = status.latency { (format!("{:.1} ms", latency.as_secs_f64() * 1000.0)) } }
            td.n { (status.failures) " of " (status.calls) " (" (error_percent(status)) " %)" }
            td.n { (upstream.in_flight) }
            td { small { (status.client_version.as_deref().unwrap_or_default()) } }
        }
    }
}

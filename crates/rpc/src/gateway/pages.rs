//! What people and load balancers look at: health, readiness, metrics, the status page.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Response, StatusCode};
use maud::{DOCTYPE, html};
use serde_json::json;

use super::Core;
use super::envelope::Pieces;
use super::history::{KEPT, Sample};
use super::observe;
use super::server::{json, of_type, plain};
use crate::status::{NodeState, NodeStatus};

/// Pages that say nothing worth hiding and are asked for by machines that have no key.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, "/health" | "/healthz" | "/readyz" | "/ready")
}

pub(crate) fn page(core: &Arc<Core>, path: &str) -> Response<Pieces> {
    match path {
        "/health" | "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" | "/ready" => ready(core),
        "/metrics" => {
            let refused = core.kept.reload_failed.lock();
            observe::now(
                core.chain.tags().map(|tags| tags.latest),
                core.filters.count(),
                core.kept.generation.load(Ordering::Relaxed),
                refused.is_ok_and(|refused| refused.is_some()),
            );
            if let Some(tls) = &core.tls {
                observe::certificate(tls.left());
            }
            of_type(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                Pieces::one((core.kept.metrics)()),
            )
        }
        "/status" => json(StatusCode::OK, Pieces::one(status(core).to_string())),
        "/" => {
            let mut page = of_type(
                StatusCode::OK,
                "text/html; charset=utf-8",
                Pieces::one(screen(core)),
            );
            // Names and reasons come from outside; nothing of them may become active.
            page.headers_mut().insert(
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(
                    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
                ),
            );
            page
        }
        _ => plain(
            StatusCode::NOT_FOUND,
            "JSON-RPC is POST /; there are also GET /, /status, /health, /readyz and /metrics\n",
        ),
    }
}

/// Ready: a chain is known, somebody answers for it, and nobody told us to stop.
fn ready(core: &Core) -> Response<Pieces> {
    if core.kept.draining.load(Ordering::Relaxed) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if core.chain.tags().is_none() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "no block is known yet\n");
    }
    let usable = core
        .nodes()
        .iter()
        .any(|node| !node.send_only && node.state.is_readable());
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
    history: Vec<Sample>,
}

fn upstreams(core: &Core) -> Vec<Upstream> {
    let latest = core.chain.tags().map(|tags| tags.latest);
    let nodes = core.nodes().into_iter().zip(&core.pool.0.nodes);
    nodes
        .map(|(status, node)| {
            let at = node.condition().head.map(|head| head.number);
            Upstream {
                lag: latest.zip(at).map(|(tip, at)| tip.saturating_sub(at)),
                blemishes: node.fitness.blemishes(Instant::now()),
                in_flight: node.fitness.in_flight(),
                history: core.kept.history.of(&status.name),
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
        "upSeconds": core.kept.started.elapsed().as_secs(),
        "generation": core.kept.generation.load(Ordering::Relaxed),
        "reloadRefused": refused(core),
        "sockets": observe::sockets(),
        "certificateExpiresSeconds": core.tls.as_ref().map(|tls| tls.left().as_secs()),
        "filters": core.filters.count(),
        "upstreams": upstreams,
    })
}

/// What the last change of the settings was refused for, if it was.
fn refused(core: &Core) -> Option<String> {
    core.kept.reload_failed.lock().ok()?.clone()
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1c2330;background:#fff}\
    h1{font-size:1.4rem}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #dde2ea;vertical-align:top}\
    a{color:#1a55b0}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.good{color:#116b35}.bad{color:#a3161c}.idle{color:#6a5200}small{color:#5b6573}\
    tr.over td{border-bottom:none}tr.drawn td{padding-top:0}svg{display:block;width:100%;height:64px}svg text{font:11px system-ui,sans-serif;fill:#5b6573}\
    .s-good{fill:#2c9a56}.s-bad{fill:#d0343b}.s-idle{fill:#d8a400}.lat{fill:none;stroke:#2f6fd0;stroke-width:1.5;vector-effect:non-scaling-stroke}\
    .lag{fill:#d8a400;fill-opacity:.45}.err{fill:#d0343b}.base{stroke:#dde2ea;vector-effect:non-scaling-stroke}.refused{background:#fde8e8;color:#a3161c;padding:.6rem .8rem}\
    @media(prefers-color-scheme:dark){body{color:#e4e8ef;background:#14181f}a{color:#8ab8ff}th,td{border-color:#2c3440}.good{color:#63cf8b}.bad{color:#ff8a8a}.idle{color:#e2c05a}small{color:#98a3b3}\
    svg text{fill:#98a3b3}.lat{stroke:#7fb0ff}.base{stroke:#2c3440}.refused{background:#3a1a1c;color:#ff8a8a}}";

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
                @if let Some(why) = refused(core) {
                    p.refused { "The changed settings were refused, the ones before hold: " (why) }
                }
                p {
                    "latest " b { (shown(tags.map(|tags| tags.latest))) }
                    ", safe " (shown(tags.and_then(|tags| tags.safe)))
                    ", finalized " (shown(tags.and_then(|tags| tags.finalized)))
                    ", " (observe::sockets()) " WebSocket clients, up " (core.kept.started.elapsed().as_secs()) " s"
                    @if let Some(tls) = &core.tls { ", certificate good for " (tls.left().as_secs() / 86_400) " days" }
                }
                table {
                    thead { tr {
                        th { "upstream" } th { "state" } th.n { "head" } th.n { "lag" } th.n { "head age" }
                        th.n { "latency" } th.n { "errors" } th.n { "in flight" } th { "client" }
                    } }
                    tbody { @for upstream in upstreams(core) { (row(&upstream)) (drawing(&upstream)) } }
                }
                p { small { "Lag is in blocks behind what the gateway speaks about; errors count all calls since the start. Drawn: the last half hour, one look every 5 seconds, newest at the right: state (band), latency (line), lag (area), looks with failed calls (red). The page renews itself; " a href="status" { "the same as JSON" } ", " a href="metrics" { "metrics" } "." } }
            }
        }
    }
    .into_string()
}

fn class(state: NodeState) -> &'static str {
    match state {
        NodeState::Alive => "good",
        NodeState::Undialed | NodeState::Dialed | NodeState::OutOfSync => "idle",
        _ => "bad",
    }
}

fn row(upstream: &Upstream) -> maud::Markup {
    let status = &upstream.status;
    let number = |number: Option<u64>| number.map_or(String::new(), |n| n.to_string());
    html! {
        tr.over {
            td { b { (status.name) } @if status.send_only { " (send-only)" } br; small { (status.url) } }
            td {
                span class=(class(status.state)) { (status.state.word()) }
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

/// Units of the drawing: one look is one wide.
const HEIGHT: f64 = 48.0;
/// Blocks the drawing of a lag reaches up to, at least.
const LEAST_SCALE: u64 = 5;

fn drawing(upstream: &Upstream) -> maud::Markup {
    let samples = &upstream.history;
    let slowest = samples
        .iter()
        .filter_map(|sample| sample.latency)
        .map(|latency| latency.as_secs_f64() * 1000.0)
        .fold(1.0, f64::max);
    let furthest = samples
        .iter()
        .filter_map(|sample| sample.lag)
        .max()
        .unwrap_or(0);
    // Of one scale, so that a block or two do not look like a disaster.
    let scale = furthest.max(LEAST_SCALE);
    let (latency, lag) = (latency_line(samples, slowest), lag_area(samples, scale));
    let first = KEPT - samples.len().min(KEPT);
    html! {
        tr.drawn { td colspan="9" {
            svg viewBox=(format!("0 0 {KEPT} 64")) preserveAspectRatio="none" role="img"
                aria-label=(format!("{} over the last half hour", upstream.status.name)) {
                @for (from, length, state) in runs(samples) {
                    rect class=(format!("s-{}", class(state))) x=(first + from) y="0" width=(length) height="6" {}
                }
                line.base x1="0" y1="63" x2=(KEPT) y2="63" {}
                path.lag d=(lag) {}
                path.lat d=(latency) {}
                @for (at, sample) in samples.iter().enumerate() {
                    @if sample.failures > 0 { rect.err x=(first + at) y="58" width="1" height="6" {} }
                }
            }
            small { "up to " (format!("{slowest:.1}")) " ms, up to " (furthest) " blocks behind" }
        } }
    }
}

/// Looks in a row that saw the same state: from where, how many.
fn runs(samples: &[Sample]) -> Vec<(usize, usize, NodeState)> {
    let mut runs: Vec<(usize, usize, NodeState)> = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        match runs.last_mut() {
            Some((_, length, state)) if *state == sample.state => *length += 1,
            _ => runs.push((at, 1, sample.state)),
        }
    }
    runs
}

fn latency_line(samples: &[Sample], slowest: f64) -> String {
    let first = KEPT - samples.len().min(KEPT);
    let (mut path, mut pen_down) = (String::new(), false);
    for (at, sample) in samples.iter().enumerate() {
        let Some(latency) = sample.latency else {
            pen_down = false;
            continue;
        };
        let y = 62.0 - HEIGHT * latency.as_secs_f64() * 1000.0 / slowest;
        path.push_str(&format!(
            "{}{} {y:.1}",
            if pen_down { "L" } else { "M" },
            first + at
        ));
        pen_down = true;
    }
    path
}

#[allow(clippy::cast_precision_loss, reason = "blocks on a drawing")]
fn lag_area(samples: &[Sample], furthest: u64) -> String {
    if furthest == 0 {
        return String::new();
    }
    let first = KEPT - samples.len().min(KEPT);
    let mut path = format!("M{first} 63");
    for (at, sample) in samples.iter().enumerate() {
        let y = 63.0 - HEIGHT * sample.lag.unwrap_or(0) as f64 / furthest as f64;
        path.push_str(&format!("L{} {y:.1}L{} {y:.1}", first + at, first + at + 1));
    }
    path.push_str(&format!("L{KEPT} 63Z"));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(state: NodeState, lag: u64, latency: Option<u64>) -> Sample {
        Sample {
            state,
            lag: Some(lag),
            latency: latency.map(Duration::from_millis),
            calls: 1,
            failures: 0,
        }
    }

    #[test]
    fn what_was_seen_is_drawn_at_the_right_edge_and_a_silence_leaves_a_hole() {
        let samples = [
            sample(NodeState::Alive, 0, Some(10)),
            sample(NodeState::Alive, 5, None),
            sample(NodeState::Unreachable, 10, Some(20)),
        ];
        assert_eq!(
            runs(&samples),
            [(0, 2, NodeState::Alive), (2, 1, NodeState::Unreachable)]
        );
        assert_eq!(latency_line(&samples, 20.0), "M357 38.0M359 14.0");
        assert_eq!(
            lag_area(&samples, 10),
            "M357 63L357 63.0L358 63.0L358 39.0L359 39.0L359 15.0L360 15.0L360 63Z"
        );
        assert_eq!(lag_area(&samples[..1], 0), "");
    }
}

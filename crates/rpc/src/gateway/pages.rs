//! What people and load balancers look at: health, readiness, metrics, the status page.

mod drawing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Response, StatusCode};
use maud::{DOCTYPE, html};
use serde_json::json;

use super::Core;
use super::access::without_key;
use super::envelope::Pieces;
use super::history::{EVERY, Sample};
use super::observe;
use super::proofs::Counts;
use super::responses::{json, of_type, plain};
use crate::rounded::Rounded;
use crate::status::{NodeState, NodeStatus};
use drawing::drawing;

/// Looks the present error rate is made of: five minutes.
const LATELY: usize = 60;

/// Pages that say nothing worth hiding and are asked for by machines that have no key.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, "/health" | "/healthz" | "/readyz" | "/ready")
}

/// `path` is as it was asked for, with the key of whoever asked, if it has one.
pub(crate) fn page(core: &Arc<Core>, path: &str) -> Response<Pieces> {
    match without_key(path) {
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
                Pieces::one(screen(core, last_of(path))),
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

/// The last piece of a path, which links beside it have to begin with: the browser takes it for the
/// name of a page. Empty where the path ends with a slash.
fn last_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Ready: a chain is known, somebody answers for it, and nobody told us to stop.
fn ready(core: &Core) -> Response<Pieces> {
    if core.kept.draining.load(Ordering::Relaxed) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if core.pool.known_chain_id().is_none() {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "no upstream says which chain it belongs to\n",
        );
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
    lately: Lately,
    history: Vec<Sample>,
}

/// What became of the calls of the last minutes.
#[derive(Default)]
struct Lately {
    calls: u64,
    failures: u64,
}

impl Lately {
    fn of(history: &[Sample]) -> Self {
        let samples = history.iter().rev().take(LATELY);
        samples.fold(Self::default(), |sum, sample| Self {
            calls: sum.calls + sample.calls,
            failures: sum.failures + sample.failures,
        })
    }
}

fn upstreams(core: &Core) -> Vec<Upstream> {
    let latest = core.chain.tags().map(|tags| tags.latest);
    let nodes = core.nodes().into_iter().zip(&core.pool.0.nodes);
    nodes
        .map(|(status, node)| {
            let at = node.condition().head.map(|head| head.number);
            let history = core.kept.history.of(&status.name);
            Upstream {
                lag: latest.zip(at).map(|(tip, at)| tip.saturating_sub(at)),
                blemishes: node.fitness.blemishes(Instant::now()),
                in_flight: node.fitness.in_flight(),
                lately: Lately::of(&history),
                history,
                // Whose reason it is stands beside it.
                status: NodeStatus {
                    reason: status.reason_alone(),
                    ..status
                },
            }
        })
        .collect()
}

fn percent(failures: u64, calls: u64) -> u64 {
    (failures * 100).checked_div(calls).unwrap_or(0)
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
                "errorPercent": percent(status.failures, status.calls),
                "lately": {
                    "seconds": LATELY as u64 * EVERY.as_secs(),
                    "calls": upstream.lately.calls,
                    "failures": upstream.lately.failures,
                    "errorPercent": percent(upstream.lately.failures, upstream.lately.calls),
                },
                "inFlight": upstream.in_flight,
                "notAsked": upstream.blemishes,
                "client": status.client_version,
            })
        })
        .collect();
    json!({
        "chainId": core.pool.known_chain_id(),
        "latest": tags.map(|tags| tags.latest),
        "safe": tags.and_then(|tags| tags.safe),
        "finalized": tags.and_then(|tags| tags.finalized),
        "upSeconds": core.kept.started.elapsed().as_secs(),
        "generation": core.kept.generation.load(Ordering::Relaxed),
        "reloadRefused": refused(core),
        "sockets": observe::sockets(),
        "certificateExpiresSeconds": core.tls.as_ref().map(|tls| tls.left().as_secs()),
        "filters": core.filters.count(),
        "logs": logs(core),
        "upstreams": upstreams,
    })
}

/// How logs for subscribers and filters are made sure of.
fn logs(core: &Core) -> serde_json::Value {
    let why = core.why_logs_are_not_proven(None);
    let counts = core.proofs.counts();
    json!({
        "verified": why.is_none(),
        "whyNot": why.map(|why| why.to_string()),
        "blocksProven": counts.proven,
        "blocksNotProven": counts.unproven,
        "headersMakeTheirHash": core.seals.fit(),
    })
}

/// The same in words; nothing before somebody needed any.
fn logs_in_words(core: &Core) -> Option<String> {
    let counts = core.proofs.counts();
    Some(match core.why_logs_are_not_proven(None) {
        Some(why) => format!("logs are not proven by receipts: {why}"),
        None if counts == Counts::default() => return None,
        None => format!(
            "logs of {} blocks proven by their receipts, of {} not",
            counts.proven, counts.unproven
        ),
    })
}

/// What the last change of the settings was refused for, if it was.
fn refused(core: &Core) -> Option<String> {
    core.kept.reload_failed.lock().ok()?.clone()
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1c2330;background:#fff;overflow-wrap:anywhere}\
    h1{font-size:1.4rem}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #dde2ea;vertical-align:top}\
    td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td[data-of=client]{min-width:8rem}a{color:#1a55b0}.good{color:#116b35}.bad{color:#a3161c}.idle{color:#6a5200}small{color:#5b6573}\
    tr.over td{border-bottom:none}tr.drawn td{padding-top:0}svg{display:block;width:100%;height:64px}\
    .s-good{fill:#2c9a56}.s-bad{fill:#d0343b}.s-idle{fill:#d8a400}.lat{fill:none;stroke:#2f6fd0;stroke-width:1.5;vector-effect:non-scaling-stroke}\
    .lag{fill:#d8a400;fill-opacity:.45}.err{fill:#d0343b}.base{stroke:#dde2ea;vector-effect:non-scaling-stroke}.refused{background:#fde8e8;color:#a3161c;padding:.6rem .8rem}\
    @media(max-width:760px){body{margin:1rem auto}thead{display:none}table,tbody,tr,td{display:block}tr.over td{padding:.1rem 0}\
    tr.over td.n,td[data-of=client]{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 .6rem;text-align:right}td.n br{display:none}td.n small{flex-basis:100%}\
    td:empty,td[data-of=client]:has(small:empty){display:none!important}td[data-of]::before{content:attr(data-of);color:#5b6573}tr.drawn td{padding:.3rem 0 .8rem;margin-bottom:.8rem}}\
    @media(prefers-color-scheme:dark){body{color:#e4e8ef;background:#14181f}a{color:#8ab8ff}th,td{border-color:#2c3440}.good{color:#63cf8b}.bad{color:#ff8a8a}.idle{color:#e2c05a}\
    small,td[data-of]::before{color:#98a3b3}.lat{stroke:#7fb0ff}.base{stroke:#2c3440}.refused{background:#3a1a1c;color:#ff8a8a}}";

/// `beside` is what links begin with.
fn screen(core: &Core, beside: &str) -> String {
    let tags = core.chain.tags();
    let shown = |number: Option<u64>| number.map_or("unknown".to_owned(), |n| n.to_string());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="5";
                title { (title(core)) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { (title(core)) }
                @if let Some(why) = refused(core) {
                    p.refused { "The changed settings were refused, the ones before hold: " (why) }
                }
                p {
                    "latest " b { (shown(tags.map(|tags| tags.latest))) }
                    ", safe " (shown(tags.and_then(|tags| tags.safe)))
                    ", finalized " (shown(tags.and_then(|tags| tags.finalized)))
                    ", " (observe::sockets()) " WebSocket clients, up " (long(core.kept.started.elapsed()))
                    @if let Some(logs) = logs_in_words(core) { ", " (logs) }
                    @if let Some(tls) = &core.tls { ", certificate good for " (tls.left().as_secs() / 86_400) " days" }
                }
                table {
                    thead { tr {
                        th { "upstream" } th { "state" } th.n { "head" } th.n { "lag" } th.n { "head age" }
                        th.n { "latency" } th.n { "errors, 5 min" } th.n { "in flight" } th { "client" }
                    } }
                    tbody { @for upstream in upstreams(core) { (row(&upstream)) (drawing(&upstream.status.name, &upstream.history)) } }
                }
                p { small { "Lag is in blocks behind what the gateway speaks about; errors are those of all calls of the last five minutes, and since the start. Drawn: the last half hour, one look every 5 seconds, newest at the right: state (band), latency (line), lag (area), looks with failed calls (red). The page renews itself; " a href=(link(beside, "status")) { "the same as JSON" } ", " a href=(link(beside, "metrics")) { "metrics" } "." } }
            }
        }
    }
    .into_string()
}

fn title(core: &Core) -> String {
    match core.pool.known_chain_id() {
        Some(chain_id) => format!("Dodona gateway, chain {chain_id}"),
        None => "Dodona gateway, chain not known yet".to_owned(),
    }
}

fn link(beside: &str, page: &str) -> String {
    match beside {
        "" => page.to_owned(),
        beside => format!("{beside}/{page}"),
    }
}

/// How long something has been going on.
fn long(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..3 => format!("{} s", time.as_secs()),
        3..180 => format!("{minutes} min"),
        180..4320 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
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
            td.n data-of="head" { (number(status.highest_head)) }
            td.n data-of="lag" { (number(upstream.lag)) }
            td.n data-of="head age" { @if let Some(age) = status.last_head_age { (long(age)) } }
            td.n data-of="latency" { @if let Some(latency) = status.latency { (Rounded(latency)) } }
            td.n data-of="errors, 5 min" {
                (upstream.lately.failures) " of " (upstream.lately.calls)
                " (" (percent(upstream.lately.failures, upstream.lately.calls)) " %)"
                br; small { "since start " (status.failures) " of " (status.calls) }
            }
            td.n data-of="in flight" { (upstream.in_flight) }
            td data-of="client" { small { (status.client_version.as_deref().unwrap_or_default()) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_beside_the_page_also_behind_a_key_in_the_path() {
        for (path, to) in [
            ("/", "status"),
            ("/key/K", "K/status"),
            ("/key/K/", "status"),
        ] {
            assert_eq!(link(last_of(path), "status"), to, "{path}");
            let page = url::Url::parse(&format!("http://gw{path}")).unwrap();
            let led = page.join(to).unwrap();
            assert_eq!(without_key(led.path()), "/status", "{path}");
        }
    }

    #[test]
    fn a_long_time_is_told_in_the_unit_that_fits() {
        for (seconds, told) in [
            (0, "0 s"),
            (179, "179 s"),
            (180, "3 min"),
            (10_800, "3 h"),
            (300_000, "3 days"),
        ] {
            assert_eq!(long(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn the_error_rate_is_that_of_the_last_minutes_and_not_of_all_time() {
        let sample = |failures| Sample {
            state: NodeState::Alive,
            lag: None,
            latency: None,
            calls: 10,
            failures,
        };
        let history: Vec<_> = (0..LATELY)
            .map(|_| sample(10))
            .chain((0..LATELY).map(|_| sample(1)))
            .collect();
        let lately = Lately::of(&history);
        assert_eq!((lately.calls, lately.failures), (600, 60));
        assert_eq!(percent(lately.failures, lately.calls), 10);
        assert_eq!(percent(0, 0), 0);
    }
}

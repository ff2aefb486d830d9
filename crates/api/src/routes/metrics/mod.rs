//! `GET /metrics`: what this process counted, and what the rows say at this moment.
//!
//! Facts about the service are read when asked and written here, not kept as gauges: two replicas
//! tell the same story, and a key or job that is gone is gone from the answer too.

mod exposition;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dodona_store::flux::Figures;
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use crate::facts::{ChainFacts, Facts};
use crate::observe;
use crate::server::App;
use crate::written::ether;
use exposition::{Exposition, Kind};

fn permitted(app: &App, headers: &HeaderMap) -> bool {
    let Some(token) = &app.config.metrics_token else {
        return true;
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    given
        .as_bytes()
        .ct_eq(token.expose_secret().as_bytes())
        .into()
}

pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if !permitted(&app, &headers) {
        let text = "a bearer token is needed (Prometheus.AuthToken)\n";
        return (StatusCode::UNAUTHORIZED, text).into_response();
    }
    let mut out = Exposition::after((app.metrics_render)());
    process(&mut out, &app);
    match Facts::read(&app).await {
        Ok(facts) => {
            out.one(
                "dodona_database_up",
                Kind::Gauge,
                "1 while the database answers",
                1,
            );
            rows(&mut out, &facts);
        }
        // What the process counted is needed most when the database is gone.
        Err(error) => {
            observe::database_failed(&error);
            out.one(
                "dodona_database_up",
                Kind::Gauge,
                "1 while the database answers",
                0,
            );
        }
    }
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], out.into_text()).into_response()
}

fn process(out: &mut Exposition, app: &App) {
    out.one(
        "uptime_seconds",
        Kind::Counter,
        "seconds since this process began to serve",
        app.started.elapsed().as_secs(),
    );
    out.family("version", Kind::Counter, "the build; always 1")
        .sample(
            &[
                ("version", &app.config.version),
                ("commit", &app.config.commit),
            ],
            1,
        );
    let mut leading = out.family(
        "dodona_leading",
        Kind::Gauge,
        "1 where this replica leads the scope",
    );
    for (scope, held) in (app.leading)() {
        leading.sample(&[("scope", &scope)], u8::from(held));
    }
}

fn rows(out: &mut Exposition, facts: &Facts) {
    out.one(
        "pipeline_runs_queued",
        Kind::Gauge,
        "runs that are not finished",
        facts.runs_unfinished,
    );
    out.one(
        "pipeline_task_runs_queued",
        Kind::Gauge,
        "tasks of unfinished runs that began and did not end",
        facts.tasks_unfinished,
    );
    keys(out, facts);
    jobs(out, facts);
    rounds(out, facts);
    chains(out, &facts.chains);
    let mut warnings = out.family(
        "dodona_warnings",
        Kind::Gauge,
        "findings an operator should read",
    );
    for warning in &facts.warnings {
        warnings.sample(&[("name", &warning.name)], 1);
    }
}

fn keys(out: &mut Exposition, facts: &Facts) {
    let known = |key: &&dodona_store::keys::KeyState| key.balance_wei.is_some();
    let mut balances = out.family("eth_balance", Kind::Gauge, "native balance in ether");
    for key in facts.keys.iter().filter(known) {
        let (account, chain) = (key.address.to_string(), key.chain_id.to_string());
        balances.sample(
            &[("account", &account), ("evmChainID", &chain)],
            ether(key.balance_wei.unwrap_or_default()),
        );
    }
    let mut balances = out.family("node_balance", Kind::Gauge, "native balance in ether");
    for key in facts.keys.iter().filter(known) {
        let (account, chain) = (key.address.to_string(), key.chain_id.to_string());
        balances.sample(
            &[
                ("account", &account),
                ("chainID", &chain),
                ("chainFamily", "EVM"),
            ],
            ether(key.balance_wei.unwrap_or_default()),
        );
    }
    let mut stuck = out.family(
        "dodona_key_stuck",
        Kind::Gauge,
        "1 while a key does not move",
    );
    for key in &facts.keys {
        let (account, chain) = (key.address.to_string(), key.chain_id.to_string());
        stuck.sample(
            &[("account", &account), ("evmChainID", &chain)],
            u8::from(!key.reason.is_empty()),
        );
    }
}

fn jobs(out: &mut Exposition, facts: &Facts) {
    for (name, help, errored_only) in [
        ("dodona_runs", "runs kept in the database", false),
        (
            "dodona_runs_errored",
            "errored runs kept in the database",
            true,
        ),
    ] {
        let mut family = out.family(name, Kind::Gauge, help);
        for job in &facts.jobs {
            let n = if errored_only { job.errored } else { job.runs };
            let id = job.job.id.to_string();
            family.sample(&[("job_id", &id), ("job_name", &job.job.spec.name)], n);
        }
    }
}

/// The newest rounds and numbers of flux monitors.
fn rounds(out: &mut Exposition, facts: &Facts) {
    type Read = fn(&Figures) -> Option<f64>;
    fn number(text: &Option<String>) -> Option<f64> {
        text.as_ref()?.parse().ok()
    }
    let gauges: [(&'static str, &'static str, Read); 4] = [
        (
            "flux_monitor_seen_round",
            "the newest round anybody began",
            |it| it.seen_round.map(f64::from),
        ),
        ("flux_monitor_seen_value", "the number found last", |it| {
            number(&it.seen_value)
        }),
        (
            "flux_monitor_reported_round",
            "the round submitted to last",
            |it| it.reported_round.map(f64::from),
        ),
        (
            "flux_monitor_reported_value",
            "the number submitted last",
            |it| number(&it.reported_value),
        ),
    ];
    for (name, help, read) in gauges {
        let known = || facts.flux.iter().filter_map(|it| Some((it, read(it)?)));
        if known().next().is_none() {
            continue;
        }
        let mut family = out.family(name, Kind::Gauge, help);
        for (figures, value) in known() {
            family.sample(&[("job_spec_id", &figures.job_id.to_string())], value);
        }
    }
}

/// One gauge over all chains.
fn each_chain<V: std::fmt::Display>(
    out: &mut Exposition,
    chains: &[ChainFacts],
    name: &'static str,
    help: &'static str,
    value: impl Fn(&ChainFacts) -> Option<V>,
) {
    let mut family = out.family(name, Kind::Gauge, help);
    for chain in chains {
        if let Some(value) = value(chain) {
            family.sample(&[("evmChainID", &chain.chain_id.to_string())], value);
        }
    }
}

fn chains(out: &mut Exposition, chains: &[ChainFacts]) {
    each_chain(
        out,
        chains,
        "unconfirmed_transactions",
        "transactions signed and not mined",
        |chain| Some(chain.in_flight),
    );
    each_chain(
        out,
        chains,
        "max_unconfirmed_tx_age",
        "age of the oldest transaction not mined, seconds",
        |chain| Some(chain.oldest_in_flight.unwrap_or_default().as_secs_f64()),
    );
    each_chain(
        out,
        chains,
        "max_unconfirmed_blocks",
        "blocks since the oldest transaction not mined was signed",
        |chain| Some(chain.blocks_in_flight.unwrap_or_default()),
    );
    each_chain(
        out,
        chains,
        "dodona_head_age_seconds",
        "time since a new block was seen",
        |chain| chain.head.map(|head| head.age.as_secs_f64()),
    );
    each_chain(
        out,
        chains,
        "dodona_head_number",
        "highest canonical block in the database",
        |chain| chain.head.map(|head| head.number),
    );
    each_chain(
        out,
        chains,
        "dodona_logs_waiting",
        "logs nobody decided about yet",
        |chain| Some(chain.logs_waiting),
    );
    let mut requests = out.family("dodona_requests", Kind::Gauge, "requests by state");
    for chain in chains {
        let id = chain.chain_id.to_string();
        for (state, n) in &chain.requests {
            requests.sample(&[("evmChainID", &id), ("state", state.as_str())], n);
        }
    }
    let mut txs = out.family(
        "dodona_transactions",
        Kind::Gauge,
        "transactions that are not final, by state",
    );
    for chain in chains {
        let id = chain.chain_id.to_string();
        for (state, n) in &chain.txs {
            txs.sample(&[("evmChainID", &id), ("state", state)], n);
        }
    }
}

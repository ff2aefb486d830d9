//! The first page: what an operator looks at first.

use std::collections::BTreeMap;

use dodona_model::{request, run};
use dodona_rpc::{NodeState, NodeStatus};
use dodona_store::runs::{self, Run};
use dodona_store::{Engine, StoreError};
use maud::{Markup, html};

use super::layout;
use super::parts::{ago, badge, bar, count, nothing, section, tile};
use crate::facts::{ChainFacts, Facts};
use crate::routes::error_text;
use crate::server::App;
use crate::written::spoken;

/// Runs shown.
const RECENT_RUNS: u32 = 15;

pub(super) async fn recent_runs(app: &App) -> Result<Vec<Run>, StoreError> {
    runs::list(&mut app.store.read().await?, None, RECENT_RUNS, 0).await
}

pub(super) fn home(app: &App, facts: &Facts, recent: &[Run], email: &str) -> Markup {
    let failing: Vec<_> = app
        .health
        .checks()
        .into_iter()
        .filter(|check| !check.passing)
        .collect();
    let troubles = facts.warnings.len() + failing.len();
    let title = match troubles {
        0 => "Dodona".to_owned(),
        n => format!("({n}) Dodona"),
    };
    let body = html! {
        (layout::top_bar(&process(app), email))
        main {
            @if troubles > 0 {
                div.alerts {
                    @for warning in &facts.warnings {
                        p.alert role="alert" { (warning.text) }
                    }
                    @for check in &failing {
                        p.alert.bad role="alert" { b { (check.name) } " " (check.output) }
                    }
                }
            }
            (summary(facts))
            (chains(facts))
            (section("Keys", super::parts::keys(&facts.keys)))
            (section("Jobs", super::parts::jobs(&facts.jobs)))
            (section("Recent runs", runs_table(facts, recent)))
            footer {
                "Read at " (facts.at) " · "
                a href="/health" { "health" } " · " a href="/metrics" { "metrics" }
            }
        }
    };
    layout::document(&title, true, &body)
}

fn process(app: &App) -> Markup {
    let engine = match app.store.engine() {
        Engine::Sqlite => "SQLite",
        Engine::Postgres => "PostgreSQL",
    };
    html! {
        @for (scope, held) in (app.leading)() {
            @if held { (badge("good", &format!("leading {scope}"))) }
            @else { (badge("idle", &format!("standby for {scope}"))) }
        }
        span { "version " b { (app.config.version) } }
        span { b { (engine) } }
        span { "up " b { (spoken(app.started.elapsed())) } }
    }
}

fn requests_in(facts: &Facts, wanted: request::State) -> u64 {
    facts
        .chains
        .iter()
        .flat_map(|chain| &chain.requests)
        .filter(|(state, _)| *state == wanted)
        .map(|(_, n)| n)
        .sum()
}

/// The numbers that say whether all is well.
fn summary(facts: &Facts) -> Markup {
    use request::State as S;
    let queued: u64 = facts.chains.iter().map(|chain| chain.queued).sum();
    let in_flight: u64 = facts.chains.iter().map(|chain| chain.in_flight).sum();
    let errored: u64 = facts.jobs.iter().map(|job| job.errored).sum();
    let oldest = facts
        .chains
        .iter()
        .filter_map(|chain| chain.oldest_in_flight)
        .max();
    let states = [
        S::Fulfilled,
        S::Answered,
        S::Open,
        S::Orphaned,
        S::Failed,
        S::Refused,
        S::Cancelled,
    ];
    let by_state: Vec<(&str, u64)> = states
        .into_iter()
        .map(|state| (state.as_str(), requests_in(facts, state)))
        .collect();
    let answered = requests_in(facts, S::Fulfilled) + requests_in(facts, S::Answered);
    let waiting = queued + in_flight;
    html! {
        section.tiles {
            (tile("Requests answered", &count(answered), "good", "answered and fulfilled"))
            (tile("Requests open", &count(requests_in(facts, S::Open)), "plain", "seen, not answered yet"))
            (tile("Transactions waiting", &count(waiting), "plain", &match oldest {
                Some(age) => format!("{queued} queued, {in_flight} sent; oldest {}", spoken(age)),
                None => format!("{queued} queued, {in_flight} sent"),
            }))
            (tile("Runs errored", &count(errored), if errored > 0 { "bad" } else { "plain" }, "of all jobs, as far as kept"))
        }
        (bar("Requests by state", &by_state))
    }
}

fn chains(facts: &Facts) -> Markup {
    html! {
        @if facts.chains.is_empty() {
            (section("Chains", html! { p.empty { "No chain is configured." } }))
        }
        div.chains {
            @for chain in &facts.chains { (chain_card(chain)) }
        }
    }
}

fn chain_card(chain: &ChainFacts) -> Markup {
    html! {
        section.card.chain {
            div.head {
                h2 { "Chain " (chain.chain_id) }
                @match chain.head {
                    Some(head) => p {
                        span.number { (count(head.number)) }
                        span.quiet { "head, seen " (ago(head.age)) }
                    },
                    None => p.quiet { "no block seen yet" },
                }
                p.quiet {
                    "queued " (chain.queued) " · in flight " (chain.in_flight)
                    " · logs waiting " (chain.logs_waiting)
                }
            }
            @if chain.nodes.is_empty() {
                p.empty { "This process talks to no endpoint of this chain." }
            } @else {
                div.scroll { table {
                    thead { tr { th { "Endpoint" } th { "State" } th.n { "Head" } th.n { "Latency" } } }
                    tbody {
                        @for node in &chain.nodes {
                            tr {
                                td.wide {
                                    b { (node.name) } " "
                                    @match &node.reason {
                                        Some(reason) => p.reason { (reason) },
                                        None => span.quiet { (node.url) },
                                    }
                                }
                                td data-label="State" { (badge(node_kind(node), node.state.word())) }
                                td.n data-label="Head" { (node.highest_head.map_or_else(nothing, count)) }
                                td.n data-label="Latency" {
                                    (node.latency.map_or_else(nothing, |l| format!("{} ms", l.as_millis())))
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn runs_table(facts: &Facts, recent: &[Run]) -> Markup {
    let names: BTreeMap<_, _> = facts
        .jobs
        .iter()
        .map(|facts| (facts.job.id, facts.job.spec.name.as_str()))
        .collect();
    html! {
        @if recent.is_empty() {
            p.empty { "No run yet. A run begins with a request to a job's oracle contract." }
        } @else {
            div.scroll { table {
                thead { tr { th.n { "Run" } th { "Job" } th { "State" } th { "Began" } th.n { "Took" } th { "Error" } } }
                tbody {
                    @for run in recent {
                        tr {
                            td.n data-label="Run" { (run.id) }
                            td data-label="Job" { (run.job_id) " " span.quiet { (names.get(&run.job_id).copied().unwrap_or("deleted")) } }
                            td data-label="State" { (badge(run_kind(run.state), run.state.as_str())) }
                            td.when data-label="Began" {
                                time datetime=(run.created_at) title=(run.created_at) { (ago(facts.at.since(run.created_at))) }
                            }
                            td.n data-label="Took" {
                                (run.finished_at.map_or_else(nothing, |end| took(end.since(run.created_at))))
                            }
                            td.error.wide { (error_text(run).unwrap_or_default()) }
                        }
                    }
                }
            } }
        }
    }
}

fn took(duration: std::time::Duration) -> String {
    match duration.as_millis() {
        millis @ 0..10_000 => format!("{millis} ms"),
        _ => spoken(duration),
    }
}

fn node_kind(node: &NodeStatus) -> &'static str {
    match (node.state, &node.reason) {
        (NodeState::Alive, None) => "good",
        (NodeState::Alive | NodeState::Dialed | NodeState::Undialed, _) => "idle",
        _ => "bad",
    }
}

fn run_kind(state: run::State) -> &'static str {
    match state {
        run::State::Completed => "good",
        run::State::Errored => "bad",
        run::State::Running | run::State::Suspended => "idle",
    }
}

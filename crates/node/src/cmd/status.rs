//! `dodona status`: the node on one screen.

use std::fmt::Write as _;
use std::time::Duration;

use alloy::primitives::U256;
use alloy::primitives::utils::format_ether;
use serde::Deserialize;
use serde_json::Value;

use super::Out;
use crate::client::Client;
use crate::config::show_duration;

/// What `GET /v2/status` answers. Everything may be missing: an older node says less.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    version: String,
    uptime_seconds: u64,
    database: Database,
    leader: Vec<Scope>,
    chains: Vec<Chain>,
    keys: Vec<Key>,
    jobs: Vec<Job>,
    warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Database {
    engine: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Scope {
    scope: String,
    held: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Chain {
    #[serde(rename = "chainID")]
    chain_id: Value,
    head: Option<u64>,
    head_age_seconds: Option<f64>,
    queue: Queue,
    nodes: Vec<Node>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Queue {
    queued: u64,
    in_flight: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    name: String,
    state: String,
    reason: Option<String>,
    head: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Key {
    address: String,
    #[serde(rename = "chainID")]
    chain_id: Value,
    balance_wei: Option<Value>,
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Job {
    id: Value,
    name: Option<String>,
    runs: u64,
    errored: u64,
}

pub(super) async fn run(client: &Client, out: &mut Out<'_>) -> anyhow::Result<()> {
    let answer = client.get("/v2/status", &[]).await?;
    out.value(&answer.json()?)?;
    let status: Status = answer.json()?;
    out.text(&screen(&status, client.address()))
}

fn screen(status: &Status, url: &str) -> String {
    let mut text = String::new();
    let uptime = show_duration(Duration::from_secs(status.uptime_seconds));
    let _ = writeln!(
        text,
        "dodona {} at {url}, up {uptime}, {} database",
        status.version, status.database.engine
    );
    leading(&mut text, &status.leader);
    chains(&mut text, &status.chains);
    keys(&mut text, &status.keys);
    jobs(&mut text, &status.jobs);
    if status.warnings.is_empty() {
        text.push_str("\nNo warnings.\n");
    } else {
        let _ = writeln!(text, "\nWarnings");
        status.warnings.iter().for_each(|warning| {
            let _ = writeln!(text, "  ! {warning}");
        });
    }
    text
}

fn leading(text: &mut String, scopes: &[Scope]) {
    let names = |held: bool| {
        scopes
            .iter()
            .filter(|scope| scope.held == held)
            .map(|scope| scope.scope.as_str())
            .collect::<Vec<_>>()
    };
    let (held, others) = (names(true), names(false));
    if !held.is_empty() {
        let _ = writeln!(text, "leads {}", held.join(", "));
    }
    if !others.is_empty() {
        let _ = writeln!(text, "stands by for {}", others.join(", "));
    }
}

fn chains(text: &mut String, chains: &[Chain]) {
    let _ = writeln!(text, "\nChains");
    if chains.is_empty() {
        let _ = writeln!(text, "  none");
    }
    for chain in chains {
        let head = chain
            .head
            .map_or("no head yet".to_owned(), |head| format!("head {head}"));
        let age = chain
            .head_age_seconds
            .map_or(String::new(), |age| format!(", {age:.0} s old"));
        let queue = format!(
            "{} queued, {} in flight",
            chain.queue.queued, chain.queue.in_flight
        );
        let _ = writeln!(
            text,
            "  {:<12} {head}{age}; transactions: {queue}",
            crate::jsonapi::shown(&chain.chain_id)
        );
        for node in &chain.nodes {
            let head = node
                .head
                .map_or(String::new(), |head| format!("  head {head}"));
            let reason = node
                .reason
                .as_deref()
                .filter(|reason| !reason.is_empty())
                .map_or(String::new(), |reason| format!("  {reason}"));
            let _ = writeln!(
                text,
                "    {:<20} {:<14}{head}{reason}",
                node.name, node.state
            );
        }
    }
}

fn keys(text: &mut String, keys: &[Key]) {
    let _ = writeln!(text, "\nKeys");
    if keys.is_empty() {
        let _ = writeln!(text, "  none");
    }
    for key in keys {
        let balance = key
            .balance_wei
            .as_ref()
            .and_then(ether)
            .unwrap_or_else(|| "balance unknown".into());
        let reason = key
            .reason
            .as_deref()
            .filter(|reason| !reason.is_empty())
            .map_or(String::new(), |reason| format!("  {reason}"));
        let chain = crate::jsonapi::shown(&key.chain_id);
        let _ = writeln!(text, "  {}  chain {chain}  {balance}{reason}", key.address);
    }
}

/// Whole ether with the digits that matter.
fn ether(wei: &Value) -> Option<String> {
    let wei: U256 = crate::jsonapi::shown(wei).parse().ok()?;
    let text = format_ether(wei);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    Some(format!("{} ETH", if text.is_empty() { "0" } else { text }))
}

fn jobs(text: &mut String, jobs: &[Job]) {
    let _ = writeln!(text, "\nJobs");
    if jobs.is_empty() {
        let _ = writeln!(text, "  none");
    }
    for job in jobs {
        let name = job
            .name
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or("(no name)");
        let errored = if job.errored == 0 {
            String::new()
        } else {
            format!(", {} errored", job.errored)
        };
        let _ = writeln!(
            text,
            "  {:<6} {name:<32} {} runs{errored}",
            crate::jsonapi::shown(&job.id),
            job.runs
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_fits_one_screen() {
        let status: Status = serde_json::from_str(
            r#"{"version":"0.1.0","uptimeSeconds":11520,"database":{"engine":"postgres"},
                "leader":[{"scope":"chain:1","held":true},{"scope":"schedule","held":false}],
                "chains":[{"chainID":"1","head":21000000,"headAgeSeconds":4.2,"queue":{"queued":2,"inFlight":1},
                    "nodes":[{"name":"main","state":"Alive","reason":null,"head":21000000},
                             {"name":"second","state":"OutOfSync","reason":"34 blocks behind","head":20999966}]}],
                "keys":[{"address":"0x514910771AF9Ca656af840dff83E8264EcF986CA","chainID":"1","balanceWei":"998000000000000000","reason":null},
                        {"address":"0x404460C6A5EdE2D891e8297795264fDe62ADBB75","chainID":"1","balanceWei":"0","reason":"out of funds"}],
                "jobs":[{"id":1,"name":"Get > Uint256","runs":12,"errored":0},{"id":2,"name":null,"runs":3,"errored":3}],
                "warnings":["the owner of 0x40… is a sending key of this node"]}"#,
        )
        .unwrap();
        insta::assert_snapshot!(screen(&status, "http://localhost:6688"));
    }

    #[test]
    fn a_node_that_says_little_is_shown_all_the_same() {
        let status: Status =
            serde_json::from_str(r#"{"version":"0.0.9","database":{"engine":"sqlite"}}"#).unwrap();
        insta::assert_snapshot!(screen(&status, "http://localhost:6688"));
    }

    #[test]
    fn amounts_are_shown_in_ether() {
        let shown = |wei: &str| ether(&Value::String(wei.into())).unwrap();
        assert_eq!(shown("0"), "0 ETH");
        assert_eq!(shown("1500000000000000000"), "1.5 ETH");
        assert_eq!(shown("1"), "0.000000000000000001 ETH");
    }
}

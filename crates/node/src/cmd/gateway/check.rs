//! `dodona gateway check`: what the clients are, and what would make somebody get up at night.

use dodona_rpc::NodeConfig;
use dodona_rpc::gateway::{self, FeeCap, Finding, UpstreamVerdict};
use serde_json::json;

use super::settings;
use crate::cli::ClientArgs;
use crate::cmd::Out;
use crate::table::Table;

pub(super) async fn run(clients: &ClientArgs, out: &mut Out<'_>) -> anyhow::Result<()> {
    let settings = settings::of_clients(clients)?;
    let chain_id = match settings.chain_id {
        Some(chain_id) => chain_id,
        None => first_chain(&settings.nodes).await?,
    };
    let pool = settings::pool(chain_id, settings.nodes);
    let (verdicts, together) = gateway::probe(pool).await?;
    out.value(&json!({
        "chainId": chain_id,
        "upstreams": verdicts.iter().map(of_upstream).collect::<Vec<_>>(),
        "findings": together.iter().map(words).collect::<Vec<_>>(),
    }))?;
    out.text(&screen(chain_id, &verdicts, &together))?;
    let all = verdicts.iter().flat_map(|verdict| &verdict.findings);
    let failed = all
        .chain(&together)
        .filter(|finding| matches!(finding, Finding::Fail(_)))
        .count();
    anyhow::ensure!(
        failed == 0,
        "{failed} of the findings mean that it will not work like this"
    );
    Ok(())
}

async fn first_chain(nodes: &[NodeConfig]) -> anyhow::Result<u64> {
    let mut failures = Vec::new();
    for node in nodes.iter().filter(|node| !node.send_only) {
        match gateway::chain_of(node.clone()).await {
            Ok(chain_id) => return Ok(chain_id),
            Err(error) => failures.push(error.to_string()),
        }
    }
    anyhow::bail!(
        "no client says which chain it belongs to: {}",
        failures.join("; ")
    )
}

fn words(finding: &Finding) -> String {
    match finding {
        Finding::Fail(what) => format!("FAIL {what}"),
        Finding::Warn(what) => format!("WARN {what}"),
    }
}

fn of_upstream(verdict: &UpstreamVerdict) -> serde_json::Value {
    json!({
        "name": verdict.name,
        "url": verdict.url,
        "client": verdict.client,
        "chainId": verdict.chain_id,
        "head": verdict.head,
        "headAgeSeconds": verdict.head_age,
        "finalized": verdict.finalized,
        "gasCap": verdict.gas_cap,
        "feeCap": verdict.fee_cap.as_ref().map(fee_cap),
        "verdict": word(&verdict.findings),
        "findings": verdict.findings.iter().map(words).collect::<Vec<_>>(),
    })
}

fn fee_cap(cap: &FeeCap) -> &str {
    match cap {
        FeeCap::Lifted => "none",
        FeeCap::Capped(words) => words,
        FeeCap::NoTransactions(_) => "takes no transactions",
        FeeCap::Untold(_) => "not told",
    }
}

/// The worst of the findings, in a word.
fn word(findings: &[Finding]) -> &'static str {
    if findings.iter().any(|f| matches!(f, Finding::Fail(_))) {
        "FAIL"
    } else if findings.is_empty() {
        "good"
    } else {
        "WARN"
    }
}

fn screen(chain_id: u64, verdicts: &[UpstreamVerdict], together: &[Finding]) -> String {
    let mut table = Table::new(
        format!("Upstreams of chain {chain_id}"),
        &[
            "name",
            "client",
            "chain",
            "head",
            "head age",
            "finalized",
            "gas cap",
            "fee cap",
            "verdict",
        ],
    );
    let shown = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    for verdict in verdicts {
        let known = verdict.chain_id.is_some();
        table.row([
            verdict.name.clone(),
            verdict.client.clone().unwrap_or_else(|| "-".to_owned()),
            shown(verdict.chain_id),
            shown(verdict.head),
            verdict
                .head_age
                .map_or("-".to_owned(), |age| format!("{age} s")),
            shown(verdict.finalized),
            match verdict.gas_cap {
                None if known => "none".to_owned(),
                cap => shown(cap),
            },
            match &verdict.fee_cap {
                None => "-",
                Some(FeeCap::Lifted) => "none",
                Some(FeeCap::Capped(_)) => "capped",
                Some(FeeCap::NoTransactions(_)) => "takes none",
                Some(FeeCap::Untold(_)) => "not told",
            }
            .to_owned(),
            word(&verdict.findings).to_owned(),
        ]);
    }
    let mut text = table.render();
    for verdict in verdicts {
        for finding in &verdict.findings {
            text.push_str(&format!("{}: {}\n", verdict.name, words(finding)));
        }
    }
    for finding in together {
        text.push_str(&format!("{}\n", words(finding)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_a_table_and_the_findings_below_it() {
        let verdict = |name: &str, findings: Vec<Finding>| UpstreamVerdict {
            name: name.to_owned(),
            url: "http://10.0.0.1:8545".to_owned(),
            client: Some("Geth/v1.16.0".to_owned()),
            chain_id: Some(1),
            head: Some(21_000_000),
            findings,
            ..UpstreamVerdict::default()
        };
        let text = screen(
            1,
            &[
                verdict("a", vec![]),
                verdict("b", vec![Finding::Warn("it is still syncing".to_owned())]),
            ],
            &[Finding::Warn("all upstreams run geth".to_owned())],
        );
        assert!(text.contains("good") && text.contains("WARN"), "{text}");
        assert!(
            text.contains("b: WARN it is still syncing\nWARN all upstreams run geth\n"),
            "{text}"
        );
    }
}

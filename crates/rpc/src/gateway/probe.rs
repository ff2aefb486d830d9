//! Looking at upstreams once, before anything depends on them: what is there, what is missing, what
//! would make somebody get up at night.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use url::Url;

use crate::config::{NodeConfig, PoolConfig};
use crate::error::{PoolError, RpcError};
use crate::head::{BlockTag, Head};
use crate::node::Node;
use crate::pool::Pool;
use crate::quantity::Small;
use crate::status::NodeReport;
use futures_util::future::join_all;

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It will not work like this.
    Fail(String),
    /// It works, and may not when it matters.
    Warn(String),
}

/// What one upstream is.
#[derive(Debug, Clone)]
pub struct UpstreamVerdict {
    pub name: String,
    /// Masked.
    pub url: String,
    pub client: Option<String>,
    pub chain_id: Option<u64>,
    pub head: Option<u64>,
    pub finalized: Option<u64>,
    pub findings: Vec<Finding>,
}

/// Asks which chain a URL belongs to; the time-out is five seconds.
pub async fn chain_of(node: NodeConfig) -> Result<u64, RpcError> {
    let mut config = PoolConfig::new(0, vec![node]);
    config.request_timeout = Duration::from_secs(5);
    let pool = Pool::new(config).map_err(|error: PoolError| RpcError::NoLiveNode {
        chain_id: 0,
        reasons: error.to_string(),
    })?;
    let node = &pool.0.nodes[0];
    if let (None, Some(ws)) = (&node.http, &node.ws) {
        let (connection, driver) = ws.connect().await?;
        return tokio::select! {
            id = node.ask_on::<Small>(ws, &connection, "eth_chainId", [(); 0]) => id.map(|Small(id)| id),
            cause = driver.run(|_| {}) => Err(ws.unreachable(cause)),
        };
    }
    node.ask::<Small>("eth_chainId", [(); 0])
        .await
        .map(|Small(id)| id)
}

/// Methods a caller is likely to need, with harmless parameters.
fn wanted() -> Vec<(&'static str, Value)> {
    let zero = "0x0000000000000000000000000000000000000000";
    vec![
        ("eth_getBlockByNumber", json!(["latest", false])),
        ("eth_call", json!([{"to": zero, "data": "0x"}, "latest"])),
        ("eth_estimateGas", json!([{"from": zero, "to": zero}])),
        (
            "eth_getLogs",
            json!([{"fromBlock": "latest", "toBlock": "latest"}]),
        ),
        ("eth_getTransactionCount", json!([zero, "pending"])),
        (
            "eth_getTransactionReceipt",
            json!([format!("0x{:064x}", 0)]),
        ),
        ("eth_feeHistory", json!(["0x1", "latest", []])),
    ]
}

/// Asks every upstream of a pool everything once, and compares them.
pub async fn probe(pool: &Pool) -> (Vec<UpstreamVerdict>, Vec<Finding>) {
    let reports = pool.verify().await;
    let verdicts = join_all(
        reports
            .iter()
            .zip(&pool.0.nodes)
            .map(|(report, node)| upstream(report, node)),
    )
    .await;
    let together = together(&verdicts, pool);
    (verdicts, together)
}

async fn upstream(report: &NodeReport, node: &Node) -> UpstreamVerdict {
    let mut verdict = UpstreamVerdict {
        name: report.name.to_string(),
        url: report.url.clone(),
        client: None,
        chain_id: None,
        head: None,
        finalized: None,
        findings: Vec::new(),
    };
    let verified = match &report.verdict {
        Ok(verified) => verified,
        Err(error) => {
            verdict.findings.push(Finding::Fail(error.to_string()));
            return verdict;
        }
    };
    verdict.client.clone_from(&verified.client_version);
    verdict.chain_id = Some(verified.chain_id);
    verdict.head = verified.head.as_ref().map(|head| head.number);
    if let Some(problem) = &report.ws_problem {
        verdict.findings.push(Finding::Warn(format!(
            "its WebSocket does not work, heads would be polled: {problem}"
        )));
    }
    // Over a WebSocket alone nothing more can be asked before the pool runs.
    if node.send_only || node.http.is_none() {
        return verdict;
    }
    if let Ok(finalized) = node
        .ask::<Head>("eth_getBlockByNumber", (BlockTag::Finalized, false))
        .await
    {
        verdict.finalized = Some(finalized.number);
    } else {
        verdict.findings.push(Finding::Warn(
            "it knows no finalized block: is its consensus client attached?".to_owned(),
        ));
    }
    match node.ask::<Value>("eth_syncing", [(); 0]).await {
        Ok(Value::Bool(false)) | Err(_) => {}
        Ok(_) => verdict
            .findings
            .push(Finding::Warn("it is still syncing".to_owned())),
    }
    for (method, params) in wanted() {
        if let Err(error) = node.ask::<Value>(method, params).await {
            verdict
                .findings
                .push(Finding::Warn(format!("{method} fails: {}", brief(&error))));
        }
    }
    if matches!(node.ask::<Vec<String>>("eth_accounts", [(); 0]).await, Ok(accounts) if !accounts.is_empty())
    {
        verdict.findings.push(Finding::Warn(
            "it holds accounts (eth_accounts is not empty): whoever reaches it can spend from unlocked ones".to_owned(),
        ));
    }
    for method in ["admin_nodeInfo", "personal_listWallets"] {
        if node.ask::<Value>(method, [(); 0]).await.is_ok() {
            verdict.findings.push(Finding::Warn(format!(
                "it answers {method}: switch that namespace off"
            )));
        }
    }
    verdict
}

fn brief(error: &RpcError) -> String {
    match error {
        RpcError::Refused { code, message, .. } => format!("error {code}: {message}"),
        other => other.to_string(),
    }
}

/// Which program a version string speaks of.
pub(super) fn family(client: &str) -> String {
    client.split('/').next().unwrap_or_default().to_lowercase()
}

fn together(verdicts: &[UpstreamVerdict], pool: &Pool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let readable: Vec<&UpstreamVerdict> = verdicts
        .iter()
        .zip(&pool.0.nodes)
        .filter(|(verdict, node)| !node.send_only && verdict.chain_id.is_some())
        .map(|(verdict, _)| verdict)
        .collect();
    match readable.len() {
        0 => findings.push(Finding::Fail("no upstream can be read from".to_owned())),
        1 => findings.push(Finding::Warn(
            "only one upstream can be read from: its loss is an outage".to_owned(),
        )),
        _ => {
            let mut families: Vec<String> = readable
                .iter()
                .filter_map(|verdict| verdict.client.as_deref().map(family))
                .collect();
            families.sort();
            families.dedup();
            if let [only] = families.as_slice() {
                findings.push(Finding::Warn(format!(
                    "all upstreams run {only}: a bug of that program is a bug of all of them"
                )));
            }
        }
    }
    let heads = || readable.iter().filter_map(|verdict| verdict.head);
    if let (Some(lowest), Some(highest)) = (heads().min(), heads().max())
        && highest - lowest > pool.0.config.sync_threshold
    {
        findings.push(Finding::Warn(format!(
            "the upstreams are {} blocks apart",
            highest - lowest
        )));
    }
    let plain_public = pool.0.config.nodes.iter().filter(|node| {
        [&node.http_url, &node.ws_url]
            .into_iter()
            .flatten()
            .any(|url| matches!(url.scheme(), "http" | "ws") && is_public(url))
    });
    for node in plain_public {
        findings.push(Finding::Warn(format!(
            "{} is reached over the open network without TLS: use https or wss, or a VPN",
            node.name
        )));
    }
    findings
}

/// Whether a URL's host is an address of the open network. Names are not looked up.
fn is_public(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || (a == 100 && (64..128).contains(&b)))
        }
        Some(url::Host::Ipv6(ip)) => !(ip.is_loopback() || ip.is_unique_local()),
        _ => false,
    }
}

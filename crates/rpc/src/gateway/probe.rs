//! Looking at upstreams once, before anything depends on them: what is there, what is missing, what
//! would make somebody get up at night.

mod caps;
mod together;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy::primitives::B256;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

use crate::config::PoolConfig;
use crate::endpoints::Endpoints;
use crate::error::{PoolError, RpcError};
use crate::head::{BlockTag, Head};
use crate::node::Node;
use crate::status::{NodeReport, without_name};
use crate::ws::{Connection, WsEndpoint};
pub use caps::FeeCap;
use caps::{fee_cap, gas_cap};
use futures_util::future::join_all;
use together::together;

/// Blocks the two addresses of one client may differ by when they are asked one after the other.
const HEADS_APART: u64 = 2;
/// Less than this and calls of ordinary size fail; the usual cap of geth is five times as much.
const MUCH_GAS: u64 = 10_000_000;
const FORBIDDEN: &[&str] = &[
    "account", "admin", "clique", "debug", "engine", "miner", "personal",
];

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It will not work like this.
    Fail(String),
    /// It works, and may not when it matters.
    Warn(String),
}

/// What one upstream is.
#[derive(Debug, Clone, Default)]
pub struct UpstreamVerdict {
    pub name: String,
    /// Masked.
    pub url: String,
    pub send_only: bool,
    pub client: Option<String>,
    pub chain_id: Option<u64>,
    /// The hash of its first block; none where it does not show it.
    pub genesis: Option<B256>,
    pub head: Option<u64>,
    /// Seconds since the head's own time.
    pub head_age: Option<u64>,
    pub finalized: Option<u64>,
    /// Most gas a call is given, whatever it asks for; none if it tells nothing about that.
    pub gas_cap: Option<u64>,
    /// Whether a transaction with a very high fee would be taken: what it says if not.
    pub fee_cap: Option<FeeCap>,
    pub findings: Vec<Finding>,
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

/// Asks every upstream everything once, and compares them.
pub async fn probe(pool: PoolConfig) -> Result<(Vec<UpstreamVerdict>, Vec<Finding>), PoolError> {
    let pool = Endpoints::new(pool)?;
    let reports = pool.verify().await;
    let verdicts = join_all(
        reports
            .iter()
            .zip(&pool.0.nodes)
            .map(|(report, node)| upstream(report, node)),
    )
    .await;
    let together = together(&verdicts, &pool);
    Ok((verdicts, together))
}

/// The way an upstream is asked: over HTTP where it has that, else over its WebSocket.
struct Line<'a> {
    node: &'a Node,
    socket: Option<(&'a WsEndpoint, &'a Connection)>,
}

impl Line<'_> {
    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        match self.socket {
            Some((ws, connection)) => self.node.ask_on(ws, connection, method, params).await,
            None => self.node.ask(method, params).await,
        }
    }

    async fn genesis(&self) -> Option<Head> {
        self.ask("eth_getBlockByNumber", ("0x0", false)).await.ok()
    }
}

async fn upstream(report: &NodeReport, node: &Node) -> UpstreamVerdict {
    let mut verdict = UpstreamVerdict {
        name: report.name.to_string(),
        url: report.url.clone(),
        send_only: report.send_only,
        ..UpstreamVerdict::default()
    };
    let verified = match &report.verdict {
        Ok(verified) => verified,
        Err(error) => {
            let why = without_name(&error.to_string(), &report.name, &report.url);
            verdict.findings.push(Finding::Fail(why));
            return verdict;
        }
    };
    verdict.client.clone_from(&verified.client_version);
    verdict.chain_id = Some(verified.chain_id);
    verdict.head = verified.head.as_ref().map(|head| head.number);
    match &report.ws_problem {
        None => {}
        Some(RpcError::WrongChain { expected, got, .. }) => {
            verdict.findings.push(Finding::Fail(format!(
                "its WebSocket address belongs to chain {got} and its HTTP address to chain {expected}: correct one of them"
            )));
        }
        Some(problem) => verdict.warn(format!(
            "its WebSocket does not work, heads would be polled: {}",
            problem.cause()
        )),
    }
    let http = Line { node, socket: None };
    if node.send_only {
        transactions(&http, &mut verdict).await;
        return verdict;
    }
    let Some(ws) = node.ws.as_ref().filter(|_| report.ws_problem.is_none()) else {
        if node.ws.is_none() {
            verdict.warn("it has no WebSocket address: its heads are polled".to_owned());
        }
        look(&http, &mut verdict).await;
        return verdict;
    };
    let Ok((connection, driver)) = ws.connect().await else {
        verdict.warn("its WebSocket works sometimes only".to_owned());
        look(&http, &mut verdict).await;
        return verdict;
    };
    let socket = Line {
        node,
        socket: Some((ws, &connection)),
    };
    let looking = async {
        if node.http.is_some() {
            look(&http, &mut verdict).await;
            agree(&http, &socket, &mut verdict).await;
        } else {
            look(&socket, &mut verdict).await;
        }
        if let Err(error) = socket.ask::<Value>("eth_subscribe", ["newHeads"]).await {
            verdict.warn(format!(
                "it subscribes nobody to new heads: {}",
                brief(&error)
            ));
        }
    };
    let broken = tokio::select! {
        () = looking => None,
        cause = driver.run(|_| {}) => Some(cause),
    };
    if let Some(cause) = broken {
        verdict.warn(format!(
            "its WebSocket broke while it was looked at: {cause}"
        ));
    }
    verdict
}

impl UpstreamVerdict {
    fn warn(&mut self, what: String) {
        self.findings.push(Finding::Warn(what));
    }
}

/// Both addresses have to be those of one client.
async fn agree(http: &Line<'_>, socket: &Line<'_>, verdict: &mut UpstreamVerdict) {
    if let (Some(over_http), Some(over_socket)) = (http.genesis().await, socket.genesis().await)
        && over_http.hash != over_socket.hash
    {
        verdict.findings.push(Finding::Fail(
            "its HTTP and its WebSocket address belong to different chains".to_owned(),
        ));
        return;
    }
    let version = socket
        .ask::<String>("web3_clientVersion", [(); 0])
        .await
        .ok()
        .map(|version| socket.node.mask.hide_in(version));
    if let (Some(over_http), Some(over_socket)) = (&verdict.client, &version)
        && over_http != over_socket
    {
        let text = format!(
            "its HTTP address is {over_http} and its WebSocket address {over_socket}: they should be one client"
        );
        verdict.warn(text);
    }
    // Asked one right after the other; a block may come in between.
    let latest = (BlockTag::Latest, false);
    let over_http = http.ask::<Head>("eth_getBlockByNumber", latest).await;
    let over_socket = socket.ask::<Head>("eth_getBlockByNumber", latest).await;
    if let (Ok(over_http), Ok(over_socket)) = (over_http, over_socket)
        && over_http.number.abs_diff(over_socket.number) > HEADS_APART
    {
        let text = format!(
            "its HTTP address is at block {} and its WebSocket address at {}: they should be one client",
            over_http.number, over_socket.number
        );
        verdict.warn(text);
    }
}

/// Everything that is asked of any upstream that may be read from.
async fn look(line: &Line<'_>, verdict: &mut UpstreamVerdict) {
    verdict.genesis = line.genesis().await.map(|first| first.hash);
    let latest = line
        .ask::<Head>("eth_getBlockByNumber", (BlockTag::Latest, false))
        .await;
    if let Ok(head) = &latest {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        verdict.head_age = Some(now.saturating_sub(head.timestamp));
    }
    match line
        .ask::<Head>("eth_getBlockByNumber", (BlockTag::Finalized, false))
        .await
    {
        Ok(finalized) => verdict.finalized = Some(finalized.number),
        Err(_) => verdict
            .warn("it knows no finalized block: is its consensus client attached?".to_owned()),
    }
    match line.ask::<Value>("eth_syncing", [(); 0]).await {
        Ok(Value::Bool(false)) | Err(_) => {}
        Ok(_) => verdict.warn("it is still syncing".to_owned()),
    }
    for (method, params) in wanted() {
        if let Err(error) = line.ask::<Value>(method, params).await {
            verdict.warn(format!("{method} fails: {}", brief(&error)));
        }
    }
    forbidden(line, verdict).await;
    verdict.gas_cap = gas_cap(line).await;
    if let Some(cap) = verdict.gas_cap.filter(|cap| *cap < MUCH_GAS) {
        verdict.warn(format!(
            "calls get {cap} gas at most: estimates and simulations of larger transactions fail; lift it (geth: --rpc.gascap=0)"
        ));
    }
    transactions(line, verdict).await;
}

/// Whether it takes transactions, at any price.
async fn transactions(line: &Line<'_>, verdict: &mut UpstreamVerdict) {
    if let Some(chain_id) = verdict.chain_id {
        verdict.fee_cap = fee_cap(line, chain_id).await;
    }
    match &verdict.fee_cap {
        None | Some(FeeCap::Lifted) => {}
        Some(FeeCap::Capped(words)) => {
            let text = format!(
                "transactions with a high fee are refused ({words}): at a price peak they would be stuck; lift it (geth: --rpc.txfeecap=0)"
            );
            verdict.warn(text);
        }
        Some(FeeCap::NoTransactions(words)) => {
            let text = format!(
                "it takes no transactions: eth_sendRawTransaction is refused ({words}); others have to be there that take them"
            );
            verdict.findings.push(match verdict.send_only {
                true => Finding::Fail(text),
                false => Finding::Warn(text),
            });
        }
        Some(FeeCap::Untold(words)) => {
            let text = format!(
                "whether it takes transactions cannot be told: one from an account without funds is refused with other words ({words})"
            );
            verdict.warn(text);
        }
    }
}

/// What nobody should be able to ask of a client over a network.
async fn forbidden(line: &Line<'_>, verdict: &mut UpstreamVerdict) {
    if matches!(line.ask::<Vec<String>>("eth_accounts", [(); 0]).await, Ok(accounts) if !accounts.is_empty())
    {
        verdict.warn(
            "it holds accounts (eth_accounts is not empty): whoever reaches it can spend from unlocked ones".to_owned(),
        );
    }
    let mut open: Vec<String> = match line
        .ask::<BTreeMap<String, Value>>("rpc_modules", [(); 0])
        .await
    {
        Ok(modules) => modules.into_keys().collect(),
        Err(_) => Vec::new(),
    };
    open.retain(|module| FORBIDDEN.contains(&&**module));
    for (module, method) in [
        ("admin", "admin_nodeInfo"),
        ("personal", "personal_listWallets"),
    ] {
        if !open.iter().any(|open| open == module)
            && line.ask::<Value>(method, [(); 0]).await.is_ok()
        {
            open.push(module.to_owned());
        }
    }
    if !open.is_empty() {
        verdict.warn(format!(
            "it serves the namespaces {}: switch them off, or whoever reaches it can steer it",
            open.join(", ")
        ));
    }
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

//! Looking at upstreams once, before anything depends on them: what is there, what is missing, what
//! would make somebody get up at night.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::primitives::B256;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

use crate::config::{NodeConfig, PoolConfig};
use crate::endpoints::Endpoints;
use crate::error::{PoolError, RpcError};
use crate::head::{BlockTag, Head};
use crate::node::Node;
use crate::public::may_be_public;
use crate::quantity::Small;
use crate::status::{NodeReport, without_name};
use crate::ws::{Connection, WsEndpoint};
use futures_util::future::join_all;

/// Blocks the two addresses of one client may differ by when they are asked one after the other.
const HEADS_APART: u64 = 2;
/// A head older than this, in seconds, is spoken of.
const OLD_HEAD: u64 = 180;
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

/// What became of a transaction that offers a hundred whole coins as its fee, from an account that
/// has nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeeCap {
    /// Refused for another reason: fees of that size are let through.
    Lifted,
    /// In the client's words.
    Capped(String),
}

/// Why a client did not say which chain it belongs to.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// It could not be asked, and cannot be later.
    #[error(transparent)]
    Settings(#[from] PoolError),
    #[error(transparent)]
    Asked(#[from] RpcError),
}

/// Asks which chain a URL belongs to; the time-out is five seconds.
pub async fn chain_of(node: NodeConfig) -> Result<u64, ChainError> {
    let mut config = PoolConfig::new(0, vec![node]);
    config.request_timeout = Duration::from_secs(5);
    let pool = Endpoints::new(config)?;
    let node = &pool.0.nodes[0];
    if let (None, Some(ws)) = (&node.http, &node.ws) {
        let (connection, driver) = ws.connect().await?;
        return tokio::select! {
            id = node.ask_on::<Small>(ws, &connection, "eth_chainId", [(); 0]) => Ok(id?.0),
            cause = driver.run(|_| {}) => Err(ws.unreachable(cause).into()),
        };
    }
    Ok(node.ask::<Small>("eth_chainId", [(); 0]).await?.0)
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
        verdict.fee_cap = fee_cap(&http, verified.chain_id).await;
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
        .ok();
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
    if let Some(chain_id) = verdict.chain_id {
        verdict.fee_cap = fee_cap(line, chain_id).await;
    }
    if let Some(FeeCap::Capped(words)) = &verdict.fee_cap {
        let text = format!(
            "transactions with a high fee are refused ({words}): at a price peak they would be stuck; lift it (geth: --rpc.txfeecap=0)"
        );
        verdict.warn(text);
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

/// Most gas a call gets: a contract that is created for one call and says how much it has left.
async fn gas_cap(line: &Line<'_>) -> Option<u64> {
    /// `GAS PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN`
    const TELLS_GAS: &str = "0x5a60005260206000f3";
    const ASKED: u64 = 0xffff_ffff_ffff;
    let call = json!([{"data": TELLS_GAS, "gas": format!("{ASKED:#x}")}, "latest"]);
    let word = line.ask::<String>("eth_call", call).await.ok()?;
    let left = u64::try_from(crate::quantity::parse(&word)?).ok()?;
    // What creating costs was taken off; half of what was asked is no cap any more.
    (left < ASKED / 2).then_some(left)
}

/// Offers a fee of a hundred coins from an account made for this, which has none of them.
async fn fee_cap(line: &Line<'_>, chain_id: u64) -> Option<FeeCap> {
    use alloy::consensus::{SignableTransaction, TxLegacy};
    use alloy::eips::eip2718::Encodable2718;
    use alloy::primitives::{Address, TxKind, U256};
    use alloy::signers::SignerSync;

    const GAS: u64 = 21_000;
    const COINS: u128 = 100_000_000_000_000_000_000;
    let transaction = TxLegacy {
        chain_id: Some(chain_id),
        nonce: 0,
        gas_price: COINS / u128::from(GAS),
        gas_limit: GAS,
        to: TxKind::Call(Address::ZERO),
        value: U256::ZERO,
        input: Default::default(),
    };
    let signer = alloy::signers::local::PrivateKeySigner::random();
    let signature = signer.sign_hash_sync(&transaction.signature_hash()).ok()?;
    let raw = transaction.into_signed(signature).encoded_2718();
    let raw = alloy::primitives::Bytes::from(raw);
    match line.ask::<Value>("eth_sendRawTransaction", [raw]).await {
        Ok(_) => Some(FeeCap::Lifted),
        Err(RpcError::Refused { message, .. }) => {
            let lower = message.to_lowercase();
            Some(match lower.contains("cap") && lower.contains("exceed") {
                true => FeeCap::Capped(message),
                false => FeeCap::Lifted,
            })
        }
        Err(_) => None,
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

/// Chains of one number that begin with different blocks are different chains.
fn different_beginnings(upstreams: &[&UpstreamVerdict]) -> Option<Finding> {
    let mut beginnings: BTreeMap<B256, Vec<&str>> = BTreeMap::new();
    for upstream in upstreams {
        if let Some(genesis) = upstream.genesis {
            beginnings.entry(genesis).or_default().push(&upstream.name);
        }
    }
    (beginnings.len() > 1).then(|| {
        let sides: Vec<String> = beginnings
            .iter()
            .map(|(genesis, names)| format!("{genesis} at {}", names.join(", ")))
            .collect();
        Finding::Fail(format!(
            "the upstreams belong to different chains: their first block is {}; remove the strangers",
            sides.join(", and ")
        ))
    })
}

fn together(verdicts: &[UpstreamVerdict], pool: &Endpoints) -> Vec<Finding> {
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
    findings.extend(different_beginnings(&readable));
    let heads = || readable.iter().filter_map(|verdict| verdict.head);
    if let (Some(lowest), Some(highest)) = (heads().min(), heads().max())
        && highest - lowest > pool.0.config.sync_threshold
    {
        findings.push(Finding::Warn(format!(
            "the upstreams are {} blocks apart",
            highest - lowest
        )));
    }
    for verdict in &readable {
        if let Some(age) = verdict.head_age.filter(|age| *age > OLD_HEAD) {
            findings.push(Finding::Warn(format!(
                "the newest block of {} is {age} s old",
                verdict.name
            )));
        }
    }
    let plain_public = pool.0.config.nodes.iter().filter(|node| {
        [&node.http_url, &node.ws_url]
            .into_iter()
            .flatten()
            .any(|url| matches!(url.scheme(), "http" | "ws") && may_be_public(url))
    });
    for node in plain_public {
        findings.push(Finding::Warn(format!(
            "{} is reached over the open network without TLS: use https or wss, or a VPN",
            node.name
        )));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(urls: &[&str], verdicts: &[UpstreamVerdict]) -> Vec<Finding> {
        let nodes = urls
            .iter()
            .map(|url| NodeConfig::primary(*url, url.parse().unwrap()));
        let pool = Endpoints::new(PoolConfig::new(1, nodes.collect())).unwrap();
        together(verdicts, &pool)
    }

    fn verdict(name: &str, genesis: u8) -> UpstreamVerdict {
        UpstreamVerdict {
            name: name.to_owned(),
            chain_id: Some(1),
            genesis: Some(B256::repeat_byte(genesis)),
            ..UpstreamVerdict::default()
        }
    }

    #[test]
    fn a_plain_address_on_the_open_network_is_a_warning_whether_number_or_name() {
        let urls = [
            "http://geth.example.com",
            "ws://8.8.8.8",
            "http://10.0.0.1",
            "https://geth.example.com:1",
        ];
        let found = findings(&urls, &[]);
        for (url, warned) in urls.iter().zip([true, true, false, false]) {
            let warning = Finding::Warn(format!(
                "{url} is reached over the open network without TLS: use https or wss, or a VPN"
            ));
            assert_eq!(found.contains(&warning), warned, "{url}: {found:?}");
        }
    }

    #[test]
    fn upstreams_that_begin_with_different_blocks_are_a_failure_that_names_both_sides() {
        let urls = ["http://a", "http://b", "http://c"];
        let sides = [verdict("a", 1), verdict("b", 2), verdict("c", 1)];
        let found = findings(&urls, &sides);
        let fails = found.iter().filter_map(|finding| match finding {
            Finding::Fail(what) => Some(what),
            Finding::Warn(_) => None,
        });
        let fails: Vec<_> = fails.collect();
        assert_eq!(fails.len(), 1, "{found:?}");
        assert!(
            fails[0].contains("0101 at a, c, and 0x0202"),
            "{}",
            fails[0]
        );
        let same = findings(&urls, &[verdict("a", 1), verdict("b", 1), verdict("c", 1)]);
        assert!(
            same.iter()
                .all(|finding| matches!(finding, Finding::Warn(_)))
        );
    }
}

//! What an operator says about the endpoints of one chain.

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::masked::masked;
use crate::roots::EndpointTls;

/// No chain has this number: which one the endpoints belong to has yet to be heard from them.
pub const CHAIN_NOT_KNOWN: u64 = 0;

/// The endpoints of one chain and how they are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolConfig {
    /// The chain every endpoint has to answer for; [`CHAIN_NOT_KNOWN`] for a gateway whose upstreams have yet to say it.
    pub chain_id: u64,
    /// `ChainType` as configured (`arbitrum`, `metis`, …); empty for an ordinary chain. It only
    /// decides what a refused L2 fee means (see [`SendOutcome::FeeOutOfRange`](crate::SendOutcome)).
    pub chain_type: String,
    pub nodes: Vec<NodeConfig>,
    /// How long one request may take, connection included.
    pub request_timeout: Duration,
    /// How often a usable endpoint is asked whether it is still one; zero switches that off.
    pub poll_interval: Duration,
    /// After so many more failed than good polls an endpoint counts as unreachable; 0 = never.
    pub poll_failure_threshold: u32,
    /// An endpoint without a higher head for so long is out of sync; zero switches that off.
    pub no_new_heads_threshold: Duration,
    /// An endpoint without a higher finalized block for so long is out of sync; zero switches that
    /// off. Only where finalized blocks are looked at.
    pub no_new_finalized_heads_threshold: Duration,
    /// Whether endpoints are asked if they are syncing, and not preferred while they say so.
    pub check_syncing: bool,
    /// Blocks so far below the head do not change any more where no endpoint knows a finalized
    /// block: there endpoints have to agree.
    pub finality_depth: u64,
    /// An endpoint so many blocks behind the best of its pool is out of sync; 0 switches that off.
    pub sync_threshold: u64,
    /// Zero: heads come by subscription, and by polling each second where there is none.
    /// Otherwise heads are polled at this interval and nothing is subscribed.
    pub new_heads_poll_interval: Duration,
    /// Most calls put into one JSON-RPC batch.
    pub batch_size: usize,
    /// Largest answer accepted, in bytes; longer ones are an error, not memory.
    pub max_response_bytes: usize,
    /// The operator's own patterns for send errors (`NodePool.Errors.*`), tried before ours.
    pub send_error_overrides: Vec<SendErrorOverride>,
}

impl PoolConfig {
    /// The usual settings for a chain with these endpoints.
    pub fn new(chain_id: u64, nodes: Vec<NodeConfig>) -> Self {
        Self {
            chain_id,
            chain_type: String::new(),
            nodes,
            request_timeout: Duration::from_secs(10),
            poll_interval: Duration::from_secs(10),
            poll_failure_threshold: 5,
            no_new_heads_threshold: Duration::from_secs(180),
            no_new_finalized_heads_threshold: Duration::ZERO,
            check_syncing: false,
            finality_depth: 50,
            sync_threshold: 5,
            new_heads_poll_interval: Duration::ZERO,
            batch_size: 100,
            max_response_bytes: 64 << 20,
            send_error_overrides: Vec::new(),
        }
    }

    /// Everything that is wrong with these settings, not only the first thing.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.nodes.iter().any(|node| !node.send_only) {
            problems.push(format!(
                "chain {} has no primary endpoint: add one [[EVM.Nodes]] entry without SendOnly",
                self.chain_id
            ));
        }
        for (at, node) in self.nodes.iter().enumerate() {
            node.check(&mut problems);
            if self.nodes[..at].iter().any(|other| other.name == node.name) {
                problems.push(format!(
                    "two endpoints are called {:?}: give each its own Name",
                    node.name
                ));
            }
        }
        if self.request_timeout.is_zero() {
            problems.push("the request time-out is zero, so no request could succeed".to_owned());
        }
        if self.batch_size == 0 {
            problems.push("RPCDefaultBatchSize is 0: it has to be at least 1".to_owned());
        }
        problems
    }
}

/// One endpoint as configured (`[[EVM.Nodes]]`).
#[derive(Clone, PartialEq)]
pub struct NodeConfig {
    pub name: String,
    /// `ws://` or `wss://`. Head subscriptions use it; calls too where there is no HTTP URL.
    pub ws_url: Option<Url>,
    /// `http://` or `https://`. Calls and batches go here.
    pub http_url: Option<Url>,
    /// A second HTTP URL that signed transactions are sent to as well.
    pub http_url_extra_write: Option<Url>,
    /// Only ever receives signed transactions; never read from.
    pub send_only: bool,
    /// 1 – 100; among equally good endpoints the lowest is chosen.
    pub order: u32,
    /// Requests per second a gateway puts to it at most; none: as many as it takes.
    pub rate_per_second: Option<f64>,
    /// Requests under way at once; none: learned from what it takes.
    pub max_concurrent: Option<u32>,
    /// Whom it is verified against where it is reached over `https` or `wss`.
    pub tls: EndpointTls,
}

impl fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &Option<Url>| url.as_ref().map(masked);
        f.debug_struct("NodeConfig")
            .field("name", &self.name)
            .field("ws_url", &shown(&self.ws_url))
            .field("http_url", &shown(&self.http_url))
            .field("http_url_extra_write", &shown(&self.http_url_extra_write))
            .field("send_only", &self.send_only)
            .field("order", &self.order)
            .field("rate_per_second", &self.rate_per_second)
            .field("max_concurrent", &self.max_concurrent)
            .field("tls", &self.tls)
            .finish()
    }
}

impl NodeConfig {
    /// A primary with one URL, whose scheme says which kind it is.
    pub fn primary(name: impl Into<String>, url: Url) -> Self {
        let is_ws = matches!(url.scheme(), "ws" | "wss");
        let (ws_url, http_url) = if is_ws {
            (Some(url), None)
        } else {
            (None, Some(url))
        };
        Self {
            name: name.into(),
            ws_url,
            http_url,
            http_url_extra_write: None,
            send_only: false,
            order: 100,
            rate_per_second: None,
            max_concurrent: None,
            tls: EndpointTls::default(),
        }
    }

    pub(crate) fn speaks_tls(&self) -> bool {
        [&self.http_url, &self.ws_url, &self.http_url_extra_write]
            .into_iter()
            .flatten()
            .any(|url| matches!(url.scheme(), "https" | "wss"))
    }

    fn check(&self, problems: &mut Vec<String>) {
        let name = &self.name;
        if name.trim().is_empty() {
            problems.push("an endpoint has no Name".to_owned());
        }
        for (key, url, schemes) in [
            ("WSURL", &self.ws_url, ["ws", "wss"]),
            ("HTTPURL", &self.http_url, ["http", "https"]),
            (
                "HTTPURLExtraWrite",
                &self.http_url_extra_write,
                ["http", "https"],
            ),
        ] {
            let Some(url) = url else { continue };
            if !schemes.contains(&url.scheme()) {
                problems.push(format!(
                    "{key} of endpoint {name:?} begins with {}://; it has to be {}:// or {}://",
                    url.scheme(),
                    schemes[0],
                    schemes[1]
                ));
            }
            if url.host_str().is_none_or(str::is_empty) {
                problems.push(format!("{key} of endpoint {name:?} names no host"));
            }
        }
        if self.send_only && self.http_url.is_none() {
            problems.push(format!(
                "endpoint {name:?} is send-only and needs an HTTPURL"
            ));
        }
        if !self.send_only && self.http_url.is_none() && self.ws_url.is_none() {
            problems.push(format!(
                "endpoint {name:?} has neither an HTTPURL nor a WSURL"
            ));
        }
        if self
            .rate_per_second
            .is_some_and(|rate| !(rate > 0.0 && rate.is_finite()))
        {
            problems.push(format!(
                "the rate of endpoint {name:?} has to be more than 0 requests per second"
            ));
        }
        if self.max_concurrent == Some(0) {
            problems.push(format!(
                "endpoint {name:?} may have 0 requests under way, so it could never be asked"
            ));
        }
        if !(1..=100).contains(&self.order) {
            problems.push(format!(
                "Order of endpoint {name:?} is {}; it has to be 1 to 100",
                self.order
            ));
        }
    }
}

/// One pattern of `NodePool.Errors`: what the operator knows about the words of their provider.
#[derive(Debug, Clone, PartialEq)]
pub struct SendErrorOverride {
    pub class: crate::send_errors::ErrorClass,
    /// A regular expression, as the operator wrote it.
    pub pattern: String,
}

//! What an operator says about the gateway's own door.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The gateway's door and its limits.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    pub listen: SocketAddr,
    /// Methods refused, by name or by a beginning followed by `*`.
    pub deny: Vec<String>,
    /// Methods let through although `deny` names them.
    pub allow: Vec<String>,
    /// Origins of web pages that may use the gateway, exactly as browsers send them. A request
    /// with another `Origin` is refused; programs that are no browsers send none.
    pub origins: Vec<String>,
    /// Host names clients may address the gateway by, beside addresses and `localhost`; keeps a
    /// web page from reaching us through a name of its own.
    pub hosts: Vec<String>,
    /// Largest request body or WebSocket message accepted, in bytes.
    pub max_request_bytes: usize,
    /// Most requests in one batch.
    pub max_batch: usize,
    /// Requests of one batch or connection under way at once.
    pub max_concurrent: usize,
    /// Connections at the same time; further ones wait to be accepted.
    pub max_connections: usize,
    /// Subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Bytes waiting for a client that reads slowly; beyond that its connection is closed.
    pub max_queued_bytes: usize,
    /// Blocks one `eth_getLogs` may span.
    pub max_log_range: u64,
    /// Virtual filters, in all.
    pub max_filters: usize,
    /// Bytes of answers kept while they are true; 0 keeps none.
    pub cache_bytes: u64,
    /// How long answers in progress may take once the gateway is told to stop.
    pub drain: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8545)),
            deny: super::method::DENIED
                .iter()
                .map(|pattern| (*pattern).to_owned())
                .collect(),
            allow: Vec::new(),
            origins: Vec::new(),
            hosts: Vec::new(),
            max_request_bytes: 5 << 20,
            max_batch: 1000,
            max_concurrent: 64,
            max_connections: 16_384,
            max_subscriptions: 1000,
            max_queued_bytes: 8 << 20,
            max_log_range: 100_000,
            max_filters: 10_000,
            cache_bytes: 256 << 20,
            drain: Duration::from_secs(30),
        }
    }
}

impl GatewayConfig {
    /// Whether a client may ask this.
    pub(crate) fn permits(&self, method: &str) -> bool {
        let in_list = |list: &[String]| {
            list.iter()
                .any(|pattern| super::method::matches(pattern, method))
        };
        !in_list(&self.deny) || in_list(&self.allow)
    }
}

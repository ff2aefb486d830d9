//! What an operator says about the gateway's own door.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::access::Access;
use super::policy::MethodRules;
use super::proofs::LogsMode;
use super::tls::TlsFiles;

/// The gateway's door and its limits.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    pub listen: SocketAddr,
    /// The private or VPN interface `listen` belongs to; connections through others are not
    /// taken. Instead of TLS, where an address beyond loopback is listened on.
    pub interface: Option<String>,
    pub tls: Option<TlsFiles>,
    pub access: Access,
    /// What anybody may ask.
    pub methods: MethodRules,
    /// Origins of web pages that may use the gateway, exactly as browsers send them. A request
    /// with another `Origin` is refused; programs that are no browsers send none.
    pub origins: Vec<String>,
    /// Host names clients may address the gateway by, beside addresses and `localhost`; keeps a
    /// web page from reaching us through a name of its own.
    pub hosts: Vec<String>,
    /// Largest request body or WebSocket message accepted, in bytes.
    pub max_request_bytes: usize,
    /// Bytes of request bodies held at once, of all clients together; more is told to wait. Answers
    /// that a client over HTTP/1.1 does not take at once are held in the same room.
    pub max_held_bytes: usize,
    /// How deeply a request may nest arrays and objects.
    pub max_depth: usize,
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
    /// How logs for subscribers and filters are made sure of.
    pub logs_mode: LogsMode,
    /// Bytes of answers kept while they are true; 0 keeps none.
    pub cache_bytes: u64,
    /// Longest time until a connection's TLS is agreed on and a request's headers are complete.
    pub headers_within: Duration,
    /// Longest time a request's body may take to arrive, and a client to take nothing of an answer.
    pub body_within: Duration,
    /// How long load balancers get to notice that the gateway is about to stop: it says that it is
    /// not ready, and goes on answering. None: five seconds beyond loopback, none on it.
    pub drain_notice: Option<Duration>,
    /// How long answers in progress may take once the gateway stops; WebSocket clients are sent
    /// away spread over at most this time.
    pub drain: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8545)),
            interface: None,
            tls: None,
            access: Access::default(),
            methods: MethodRules {
                deny: super::method::DENIED
                    .iter()
                    .map(|pattern| (*pattern).to_owned())
                    .collect(),
                ..MethodRules::default()
            },
            origins: Vec::new(),
            hosts: Vec::new(),
            max_request_bytes: 5 << 20,
            max_held_bytes: 256 << 20,
            max_depth: 64,
            max_batch: 1000,
            max_concurrent: 64,
            max_connections: 16_384,
            max_subscriptions: 1000,
            max_queued_bytes: 8 << 20,
            max_log_range: 100_000,
            max_filters: 10_000,
            logs_mode: LogsMode::default(),
            cache_bytes: 256 << 20,
            headers_within: Duration::from_secs(15),
            body_within: Duration::from_secs(30),
            drain_notice: None,
            drain: Duration::from_secs(30),
        }
    }
}

impl GatewayConfig {
    pub(crate) fn notice(&self) -> Duration {
        self.drain_notice
            .unwrap_or(if self.listen.ip().to_canonical().is_loopback() {
                Duration::ZERO
            } else {
                Duration::from_secs(5)
            })
    }
}

//! What the pool thinks of an endpoint, for people and dashboards.

use std::sync::Arc;
use std::time::Duration;

/// The state of an endpoint, in the words operators know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Not looked at yet.
    Undialed,
    /// Connected, not verified.
    Dialed,
    /// Usable.
    Alive,
    /// No connection, or too many failed polls.
    Unreachable,
    /// Answers for another chain; never used.
    InvalidChainId,
    /// Behind the pool, or without new heads.
    OutOfSync,
    /// Shut down.
    Closed,
}

impl NodeState {
    pub const ALL: [Self; 7] = [
        Self::Undialed,
        Self::Dialed,
        Self::Alive,
        Self::Unreachable,
        Self::InvalidChainId,
        Self::OutOfSync,
        Self::Closed,
    ];

    /// The word used in the API and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Undialed => "Undialed",
            Self::Dialed => "Dialed",
            Self::Alive => "Alive",
            Self::Unreachable => "Unreachable",
            Self::InvalidChainId => "InvalidChainID",
            Self::OutOfSync => "OutOfSync",
            Self::Closed => "Closed",
        }
    }
}

/// One endpoint right now.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    pub name: Arc<str>,
    /// Its URL with credentials and tokens masked.
    pub url: String,
    pub send_only: bool,
    pub order: u32,
    pub state: NodeState,
    /// Why it is in that state, as a sentence; also set on an alive endpoint that runs degraded.
    pub reason: Option<String>,
    /// Whether reads go here at present.
    pub active: bool,
    pub highest_head: Option<u64>,
    /// Since its last new head.
    pub last_head_age: Option<Duration>,
    /// A moving average over its calls.
    pub latency: Option<Duration>,
    pub calls: u64,
    pub failures: u64,
    pub client_version: Option<String>,
}

/// What an endpoint said when it was asked once, at start.
#[derive(Debug, Clone)]
pub struct NodeReport {
    pub name: Arc<str>,
    /// Masked.
    pub url: String,
    pub send_only: bool,
    /// Over HTTP where there is an HTTP URL, else over WebSocket.
    pub verdict: Result<Verified, crate::RpcError>,
    /// The WebSocket URL beside the HTTP URL does not work; heads will be polled.
    pub ws_problem: Option<crate::RpcError>,
}

/// A verified endpoint.
#[derive(Debug, Clone)]
pub struct Verified {
    pub chain_id: u64,
    /// None where the endpoint does not tell.
    pub client_version: Option<String>,
    /// None on send-only endpoints.
    pub head: Option<crate::Head>,
}

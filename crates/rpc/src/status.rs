//! What the pool thinks of an endpoint, for people and dashboards.

use std::sync::Arc;
use std::time::Duration;

/// The state of an endpoint, in the words operators know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Not looked at yet.
    Undialed,
    /// Connected, not verified: also while it is out of quota from the first question on.
    Dialed,
    /// Usable.
    Alive,
    /// No connection, or too many failed polls.
    Unreachable,
    /// Answers for another chain; never used.
    InvalidChainId,
    /// Behind the pool, or without new heads or new finalized heads.
    OutOfSync,
    /// Says itself that it is still syncing.
    Syncing,
    /// Its first or its finalized blocks are not those of the others; never used.
    Forked,
    /// Shut down.
    Closed,
}

impl NodeState {
    pub const ALL: [Self; 9] = [
        Self::Undialed,
        Self::Dialed,
        Self::Alive,
        Self::Unreachable,
        Self::InvalidChainId,
        Self::OutOfSync,
        Self::Syncing,
        Self::Forked,
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
            Self::Syncing => "Syncing",
            Self::Forked => "Forked",
            Self::Closed => "Closed",
        }
    }

    /// Whether it answers for our chain, well or not so well, and goes on being watched.
    pub(crate) fn answers(self) -> bool {
        matches!(
            self,
            Self::Alive | Self::OutOfSync | Self::Syncing | Self::Forked
        )
    }

    /// Whether it may be read from when nobody better is there.
    pub(crate) fn is_readable(self) -> bool {
        matches!(self, Self::Alive | Self::OutOfSync | Self::Syncing)
    }

    /// Every way from one state to another, and what leads there. What is not listed does not
    /// happen.
    pub const ARROWS: &[(&[Self], Self, &str)] = &[
        (
            &[Self::Undialed, Self::Unreachable],
            Self::Dialed,
            "a connection is there, and its chain is not known yet: it was not asked, or says that it was asked too often",
        ),
        (
            &[
                Self::Undialed,
                Self::Dialed,
                Self::Unreachable,
                Self::InvalidChainId,
                Self::Closed,
            ],
            Self::Alive,
            "it answered for our chain, and its agreed blocks are ours",
        ),
        (
            &[Self::OutOfSync, Self::Syncing],
            Self::Alive,
            "every cause was gone at two looks in a row, with some distance to the limit",
        ),
        (
            &[Self::Forked],
            Self::Alive,
            "its agreed blocks were those of the others at three looks in a row",
        ),
        (
            &[Self::Alive, Self::Syncing],
            Self::OutOfSync,
            "it is too far behind the pool, or without a new head or a new finalized head for too long, or out of quota",
        ),
        (
            &[Self::Alive, Self::OutOfSync],
            Self::Syncing,
            "eth_syncing says that it is syncing",
        ),
        (
            &[
                Self::Undialed,
                Self::Dialed,
                Self::Alive,
                Self::OutOfSync,
                Self::Syncing,
                Self::Unreachable,
                Self::InvalidChainId,
                Self::Closed,
            ],
            Self::Forked,
            "block 0, or the finalized block, is another one than that of the others, who are more",
        ),
        (
            &[
                Self::Undialed,
                Self::Dialed,
                Self::Alive,
                Self::OutOfSync,
                Self::Syncing,
                Self::Forked,
                Self::Closed,
            ],
            Self::Unreachable,
            "no connection, too many failed polls, or too many calls in a row without an answer",
        ),
        (
            &[
                Self::Undialed,
                Self::Dialed,
                Self::Alive,
                Self::OutOfSync,
                Self::Syncing,
                Self::Forked,
                Self::Unreachable,
                Self::Closed,
            ],
            Self::InvalidChainId,
            "eth_chainId names another chain",
        ),
        (
            &[
                Self::Undialed,
                Self::Dialed,
                Self::Alive,
                Self::OutOfSync,
                Self::Syncing,
                Self::Forked,
                Self::Unreachable,
                Self::InvalidChainId,
            ],
            Self::Closed,
            "the pool is shut down",
        ),
    ];

    /// Whether there is a way from here to there; staying is always one.
    pub(crate) fn may_turn(self, to: Self) -> bool {
        self == to
            || Self::ARROWS
                .iter()
                .any(|(from, target, _)| *target == to && from.contains(&self))
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

impl NodeStatus {
    /// The reason where name and URL stand beside it.
    pub(crate) fn reason_alone(&self) -> Option<String> {
        let reason = self.reason.as_deref()?;
        Some(without_name(reason, &self.name, &self.url))
    }
}

/// A sentence about an endpoint, where it is clear which one it is about.
pub(crate) fn without_name(sentence: &str, name: &str, url: &str) -> String {
    let Some(rest) = sentence.strip_prefix(name) else {
        return sentence.to_owned();
    };
    let rest = rest.strip_prefix(&format!(" ({url})")).unwrap_or(rest);
    match rest.strip_prefix(' ') {
        Some(rest) => format!("it {rest}"),
        None => sentence.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_shows_the_states_and_arrows_that_are() {
        let mut table = String::from("| from | to | when |\n|---|---|---|\n");
        for (from, to, when) in NodeState::ARROWS {
            let from: Vec<&str> = from.iter().map(|state| state.word()).collect();
            table.push_str(&format!(
                "| {} | {} | {when} |\n",
                from.join(", "),
                to.word()
            ));
        }
        let page = include_str!("../../../docs/reference/endpoint-states.md");
        assert!(
            page.contains(&table),
            "docs/reference/endpoint-states.md has another table than this:\n{table}"
        );
    }

    #[test]
    fn beside_its_name_an_endpoint_is_it() {
        let alone = |sentence| without_name(sentence, "a", "http://x");
        assert_eq!(
            alone("a (http://x) cannot be reached: refused"),
            "it cannot be reached: refused"
        );
        assert_eq!(alone("a did not answer"), "it did not answer");
        assert_eq!(alone("another day"), "another day");
        assert_eq!(alone("it is behind"), "it is behind");
    }

    #[test]
    fn every_state_can_be_reached_and_left_and_a_stranger_never_becomes_unreachable_news() {
        for state in NodeState::ALL {
            let reached = NodeState::ALL
                .iter()
                .any(|from| *from != state && from.may_turn(state));
            let left = NodeState::ALL
                .iter()
                .any(|to| *to != state && state.may_turn(*to));
            assert!(reached || state == NodeState::Undialed, "{state:?}");
            assert!(left, "{state:?}");
        }
        assert!(!NodeState::InvalidChainId.may_turn(NodeState::Unreachable));
        assert!(!NodeState::Unreachable.may_turn(NodeState::OutOfSync));
    }
}

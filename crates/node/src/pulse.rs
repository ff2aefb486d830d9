//! Whether a chain can be seen at all. What fails here fails on the health page, on a standby too: probes and load
//! balancers look there.

use std::time::Duration;

use dodona_rpc::{NodeState, NodeStatus, Pool};
use dodona_runtime::Service;
use serde::Serialize;

/// Looks at a chain's endpoints and at the age of its newest head.
pub(crate) struct Pulse {
    pool: Pool,
    heads_within: Duration,
}

/// What one look saw.
#[derive(Debug, Serialize)]
pub(crate) struct Seen {
    alive: usize,
    head_age_seconds: Option<u64>,
}

impl Pulse {
    /// A chain without a new head for `heads_within` stands still; zero: it may.
    pub(crate) fn new(pool: Pool, heads_within: Duration) -> Self {
        Self { pool, heads_within }
    }
}

/// What the states of a chain's endpoints come to.
fn judge(nodes: &[NodeStatus], heads_within: Duration) -> anyhow::Result<Seen> {
    let primary = || nodes.iter().filter(|node| !node.send_only);
    let alive = primary().filter(|node| node.state == NodeState::Alive);
    let alive = alive.count();
    let age = primary().filter_map(|node| node.last_head_age).min();
    if let Some(age) = age.filter(|age| !heads_within.is_zero() && *age > heads_within) {
        anyhow::bail!(
            "no new head for {} s, and NoNewHeadsThreshold is {} s: the chain stands still, or its endpoints do; see: dodona status",
            age.as_secs(),
            heads_within.as_secs()
        );
    }
    if alive == 0 {
        let why = primary().find_map(|node| node.reason.clone());
        anyhow::bail!(
            "no live RPC node: 0 of {} are alive{}",
            primary().count(),
            why.map(|why| format!(" ({why})")).unwrap_or_default()
        );
    }
    Ok(Seen {
        alive,
        head_age_seconds: age.map(|age| age.as_secs()),
    })
}

impl Service<()> for Pulse {
    type Report = Seen;

    async fn tick(&mut self, (): &()) -> anyhow::Result<Seen> {
        judge(&self.pool.nodes(), self.heads_within)
    }

    fn worked(_: &Seen) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn node(state: NodeState, age: u64) -> NodeStatus {
        NodeStatus {
            name: "geth".into(),
            url: "http://127.0.0.1:8545".to_owned(),
            send_only: false,
            order: 1,
            state,
            reason: (state != NodeState::Alive).then(|| "it does not answer".to_owned()),
            active: false,
            highest_head: Some(7),
            last_head_age: Some(Duration::from_secs(age)),
            latency: None,
            calls: 0,
            failures: 0,
            client_version: None,
        }
    }

    #[test]
    fn a_chain_with_one_living_endpoint_and_a_young_head_is_well() {
        let nodes = [node(NodeState::Unreachable, 900), node(NodeState::Alive, 3)];
        let seen = judge(&nodes, MINUTE).unwrap();
        assert_eq!((seen.alive, seen.head_age_seconds), (1, Some(3)));
    }

    #[test]
    fn a_chain_without_a_living_endpoint_says_why() {
        let mut sender = node(NodeState::Alive, 1);
        sender.send_only = true;
        let error = judge(&[node(NodeState::Unreachable, 3), sender], MINUTE).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("no live RPC node: 0 of 1"), "{error}");
        assert!(error.contains("it does not answer"), "{error}");
    }

    #[test]
    fn a_chain_that_stands_still_is_not_well_unless_it_may() {
        let nodes = [node(NodeState::Alive, 61)];
        let error = judge(&nodes, MINUTE).unwrap_err().to_string();
        assert!(error.contains("no new head for 61 s"), "{error}");
        assert!(judge(&nodes, Duration::ZERO).is_ok());
    }
}

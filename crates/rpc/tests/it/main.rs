//! A pool against scripted endpoints, which do everything endpoints do at three in the morning,
//! and against a real chain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chain;
mod gateway;
mod metrics;
mod reads;
mod scripted;
mod sends;
mod states;
mod verify;
mod ws;

use std::time::Duration;

use dodona_rpc::{NodeConfig, NodeState, Pool, PoolConfig};
use dodona_testkit::until;
use scripted::{CHAIN, Scripted};

/// Settings under which a test need not wait long for anything.
fn config(nodes: Vec<NodeConfig>) -> PoolConfig {
    PoolConfig {
        request_timeout: Duration::from_secs(2),
        poll_interval: Duration::from_millis(100),
        poll_failure_threshold: 2,
        new_heads_poll_interval: Duration::from_millis(50),
        ..PoolConfig::new(CHAIN, nodes)
    }
}

fn pool(nodes: Vec<NodeConfig>) -> Pool {
    Pool::new(config(nodes)).unwrap()
}

/// A pool of HTTP primaries named a, b, c …, the first one preferred.
fn pool_of(servers: &[&Scripted]) -> Pool {
    pool(nodes_of(servers))
}

fn nodes_of(servers: &[&Scripted]) -> Vec<NodeConfig> {
    let names = ["a", "b", "c", "d"];
    names
        .iter()
        .zip(servers)
        .zip(1..)
        .map(|((name, server), order)| NodeConfig {
            order,
            ..NodeConfig::primary(*name, server.http())
        })
        .collect()
}

/// Watches the endpoints until dropped.
struct Watched(Pool, tokio::task::JoinHandle<()>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.abort();
    }
}

impl std::ops::Deref for Watched {
    type Target = Pool;
    fn deref(&self) -> &Pool {
        &self.0
    }
}

fn watched(pool: Pool) -> Watched {
    let running = tokio::spawn(pool.clone().run(std::future::pending()));
    Watched(pool, running)
}

/// Waits for the state of an endpoint and gives back its reason.
async fn reaches(pool: &Pool, node: &str, state: NodeState) -> Option<String> {
    until(&format!("{node} is {state:?}"), || async {
        let nodes = pool.nodes();
        let node = nodes.iter().find(|status| &*status.name == node).unwrap();
        (node.state == state).then(|| node.reason.clone())
    })
    .await
}

//! Which chain a gateway is for, where nobody has said so: its upstreams are asked.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::Core;
use super::reload::ReloadError;
use crate::config::{CHAIN_NOT_KNOWN, NodeConfig, PoolConfig};
use crate::endpoints::Endpoints;
use crate::error::{PoolError, RpcError};
use crate::node::Node;
use crate::quantity::Small;

/// Whoever does not say its chain within this time is asked again later.
const ASKED_FOR: Duration = Duration::from_secs(5);
/// Once somebody has said it, the others have so long.
const OTHERS_WITHIN: Duration = Duration::from_secs(1);

/// Why it is not known which chain a gateway is for, and asking again would not help.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// It could not be asked, and cannot be later.
    #[error(transparent)]
    Settings(#[from] PoolError),
    #[error(transparent)]
    Asked(#[from] RpcError),
    #[error(
        "{one} belongs to chain {chain_id} and {other} to chain {differs}: a gateway is for one chain; say which one with --chain-id (in a file: chain_id), or remove the stranger"
    )]
    Differ {
        one: String,
        chain_id: u64,
        other: String,
        differs: u64,
    },
    /// It is known, and the gateway cannot go on with it.
    #[error(transparent)]
    Begin(#[from] ReloadError),
}

/// Asks which chain a URL belongs to; the time-out is five seconds.
pub async fn chain_of(node: NodeConfig) -> Result<u64, ChainError> {
    let mut config = PoolConfig::new(CHAIN_NOT_KNOWN, vec![node]);
    config.request_timeout = ASKED_FOR;
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

/// What upstreams say about the chain they belong to.
pub(super) enum Heard {
    /// And why.
    Nothing(String),
    /// One chain, and whether all said it.
    Chain(u64, bool),
}

impl Core {
    /// Asks all upstreams which are read from. Why one does not say it is on the status page.
    pub(super) async fn ask_for_chain(&self) -> Result<Heard, ChainError> {
        let configs = &self.pool.0.config.nodes;
        let primaries = self.pool.0.nodes.iter().zip(configs);
        let mut asking: FuturesUnordered<_> = primaries
            .filter(|(node, _)| !node.send_only)
            .map(async |(node, config)| (node, chain_of(config.clone()).await))
            .collect();
        let (mut known, mut silent): (Vec<(&Node, u64)>, Vec<String>) = Default::default();
        let mut until = Instant::now() + 2 * ASKED_FOR;
        while let Ok(Some((node, said))) = timeout_at(until, asking.next()).await {
            match said {
                Ok(chain_id) => {
                    known.push((node, chain_id));
                    until = until.min(Instant::now() + OTHERS_WITHIN);
                }
                Err(ChainError::Asked(error)) => {
                    silent.push(error.to_string());
                    node.said_no_chain(error.to_string());
                }
                // Asking again would change nothing.
                Err(error) => return Err(error),
            }
        }
        let Some((one, chain_id)) = known.first() else {
            return Ok(Heard::Nothing(silent.join("; ")));
        };
        match known.iter().find(|(_, other)| other != chain_id) {
            None => Ok(Heard::Chain(
                *chain_id,
                asking.is_empty() && silent.is_empty(),
            )),
            Some((other, differs)) => Err(ChainError::Differ {
                one: one.name.to_string(),
                chain_id: *chain_id,
                other: other.name.to_string(),
                differs: *differs,
            }),
        }
    }
}

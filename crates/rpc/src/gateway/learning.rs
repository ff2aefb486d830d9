//! Which chain a gateway is for, where nobody has said so: its upstreams are asked.

use std::time::Duration;

use futures_util::future::join_all;

use super::reload::ReloadError;
use super::{Core, observe};
use crate::config::{CHAIN_NOT_KNOWN, NodeConfig, PoolConfig};
use crate::endpoints::Endpoints;
use crate::error::{PoolError, RpcError};
use crate::quantity::Small;

/// Whoever does not say its chain within this time is asked again later.
const ASKED_FOR: Duration = Duration::from_secs(5);

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

impl Core {
    /// The chain that all upstreams name which are read from and say one; none if nobody does.
    pub(super) async fn ask_for_chain(&self) -> Result<Option<u64>, ChainError> {
        let configs = &self.pool.0.config.nodes;
        let primaries = self.pool.0.nodes.iter().zip(configs);
        let primaries = primaries.filter(|(node, _)| !node.send_only);
        let said =
            join_all(primaries.map(async |(node, config)| (node, chain_of(config.clone()).await)));
        let (mut known, mut silent) = (Vec::new(), Vec::new());
        for (node, said) in said.await {
            match said {
                Ok(chain_id) => known.push((&node.name, chain_id)),
                Err(ChainError::Asked(error)) => {
                    silent.push(error.to_string());
                    node.said_no_chain(error.to_string());
                }
                // Asking again would change nothing.
                Err(error) => return Err(error),
            }
        }
        let Some((one, chain_id)) = known.first() else {
            observe::chain_not_known(&silent.join("; "));
            return Ok(None);
        };
        match known.iter().find(|(_, other)| other != chain_id) {
            None => Ok(Some(*chain_id)),
            Some((other, differs)) => Err(ChainError::Differ {
                one: one.to_string(),
                chain_id: *chain_id,
                other: other.to_string(),
                differs: *differs,
            }),
        }
    }
}

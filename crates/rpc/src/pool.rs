//! The endpoints of one chain behind one handle.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::config::PoolConfig;
use crate::error::{PoolError, RpcError};
use crate::head::Head;
use crate::send::SendReport;
use crate::status::{NodeReport, NodeStatus};

/// The endpoints of one chain. Cheap to clone; all clones are one pool.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    config: PoolConfig,
    heads: watch::Sender<Option<Head>>,
}

impl Pool {
    /// Builds the pool without touching the network.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        config.check()?;
        Ok(Self(Arc::new(Shared {
            config,
            heads: watch::Sender::new(None),
        })))
    }

    pub fn chain_id(&self) -> u64 {
        self.0.config.chain_id
    }

    /// Asks every endpoint once who it is, all at the same time. Takes at most the request time-out.
    pub async fn verify(&self) -> Vec<NodeReport> {
        todo!("verify")
    }

    /// Watches the endpoints until `stop` is done: subscriptions, polls, states. To be run once,
    /// by the supervisor; reads over HTTP work without it, WebSocket-only endpoints do not.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        stop.await;
        todo!("run")
    }

    /// The newest head any endpoint has shown. A hint to look: blocks may be skipped, and after a
    /// reorganisation the number may be lower than before.
    pub fn new_heads(&self) -> watch::Receiver<Option<Head>> {
        self.0.heads.subscribe()
    }

    /// Sends a signed transaction to all usable endpoints at once. The sending goes on when the
    /// caller stops waiting.
    pub async fn send_raw(&self, raw: &alloy::primitives::Bytes) -> SendReport {
        let _ = raw;
        todo!("send")
    }

    /// Several signed transactions, in order, as batches. One report each, in the same order.
    pub async fn send_raw_many(&self, raws: &[alloy::primitives::Bytes]) -> Vec<SendReport> {
        let _ = raws;
        todo!("send")
    }

    /// Every endpoint as it is now.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        todo!("nodes")
    }

    /// One question to the best endpoint, and to the next best should that fail.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        let _ = (method, serde_json::to_value(params));
        todo!("ask")
    }

    /// Many questions to one endpoint in batches; the answers in the order of the questions.
    pub(crate) async fn ask_many<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &[impl Serialize],
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        let _ = (method, serde_json::to_value(params));
        todo!("ask many")
    }
}

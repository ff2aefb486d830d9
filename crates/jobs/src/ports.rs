//! What tasks reach outside, fulfilled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Bytes;
use dodona_model::{ChainId, RunId};
use dodona_pipeline::egress::{EgressClient, HttpError};
use dodona_pipeline::{
    BlockChoice, BridgeCacheKey, BridgeTarget, EstimateGas, EthCall, EthCallError, HttpCall,
    HttpReply, Ports, TaskResult, Value,
};
use dodona_rpc::{BlockTag, CallError, CallRequest, Pool, RpcError};
use dodona_runtime::clock;
use dodona_store::runs::TaskRun;
use dodona_store::{Store, bridge_answers, bridges, runs};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tracing::warn;

use crate::{observe, outcome};

/// Everything outside that this process's runs share.
pub struct Outside {
    /// The database: bridges are looked up there, results of effects are stored there.
    pub store: Store,
    /// The endpoints of each chain.
    pub pools: BTreeMap<ChainId, Pool>,
    /// HTTP under the egress rules.
    pub egress: EgressClient,
}

/// One run's view of the outside.
pub(crate) struct RunPorts {
    pub(crate) outside: Arc<Outside>,
    pub(crate) run: RunId,
    /// Names of tasks whose results are kept when the answer is encoded anew.
    pub(crate) sources: Vec<String>,
    /// Rows of tasks whose answer may come later, by task name.
    pub(crate) may_wait: BTreeMap<String, TaskRun>,
}

impl RunPorts {
    fn pool(&self, chain: ChainId) -> Result<&Pool, EthCallError> {
        self.outside
            .pools
            .get(&chain)
            .ok_or(EthCallError::UnknownChain {
                evm_chain_id: chain,
            })
    }

    async fn look_up(&self, name: &str) -> Result<BridgeTarget, String> {
        let missing = || {
            format!(
                "could not find bridge with name '{name}'; create it with: dodona bridges create"
            )
        };
        let mut conn = self
            .outside
            .store
            .read()
            .await
            .map_err(|cause| cause.to_string())?;
        let bridge = bridges::find(&mut conn, &name.to_lowercase())
            .await
            .map_err(|cause| cause.to_string())?;
        let bridge = bridge.ok_or_else(missing)?;
        let url = bridge
            .url
            .parse()
            .map_err(|cause| format!("bridge '{name}' has an unreadable URL: {cause}"))?;
        Ok(BridgeTarget { url })
    }

    async fn store_waiting(&self, row: &TaskRun) -> Result<(), dodona_store::StoreError> {
        let row = TaskRun {
            created_at: clock::now(),
            ..row.clone()
        };
        let mut tx = self.outside.store.begin().await?;
        runs::save_tasks(&mut tx, &[row]).await?;
        tx.commit().await
    }

    async fn cached(
        &self,
        key: &BridgeCacheKey,
        max_age: Duration,
    ) -> anyhow::Result<Option<Value>> {
        let since = clock::now().minus(max_age);
        let mut conn = self.outside.store.read().await?;
        let kept = bridge_answers::find(&mut conn, key.source_hash, &key.dot_id, since).await?;
        let Some(kept) = kept else { return Ok(None) };
        Ok(Some(Value::from_stored(&serde_json::from_str(&kept)?)?))
    }

    async fn cache(
        &self,
        key: &BridgeCacheKey,
        answer: &Value,
    ) -> Result<(), dodona_store::StoreError> {
        let text = answer.to_stored().to_string();
        let mut tx = self.outside.store.begin().await?;
        bridge_answers::set(&mut tx, key.source_hash, &key.dot_id, &text, clock::now()).await?;
        tx.commit().await
    }

    async fn store_effect(&self, task: &TaskResult) -> Result<(), dodona_store::StoreError> {
        let row = outcome::task_row(self.run, task, self.sources.contains(&task.dot_id));
        let mut tx = self.outside.store.begin().await?;
        runs::save_tasks(&mut tx, &[row]).await?;
        tx.commit().await
    }
}

impl Ports for RunPorts {
    fn http(&self, call: HttpCall) -> BoxFuture<'_, Result<HttpReply, HttpError>> {
        async move {
            // Whoever answers later must find the row, however quick it is.
            if let Some(row) = self.may_wait.get(&call.origin.dot_id)
                && let Err(cause) = self.store_waiting(row).await
            {
                return Err(HttpError::Failed {
                    host: call.url.host_str().unwrap_or_default().to_owned(),
                    reason: format!(
                        "it was not asked, because its later answer could not be received: {cause}"
                    ),
                });
            }
            self.outside.egress.send(call).await
        }
        .boxed()
    }

    fn bridge(&self, name: &str) -> BoxFuture<'_, Result<BridgeTarget, String>> {
        let name = name.to_owned();
        async move { self.look_up(&name).await }.boxed()
    }

    fn eth_call(&self, call: EthCall) -> BoxFuture<'_, Result<Bytes, EthCallError>> {
        async move {
            let pool = self.pool(call.evm_chain_id)?;
            let price = call.gas_price.or(call.gas_fee_cap);
            let request = CallRequest {
                from: Some(call.from),
                gas: call.gas,
                gas_price: price.and_then(|price| u128::try_from(price).ok()),
                ..CallRequest::to(call.to, call.data)
            };
            pool.call(&request, tag(call.block))
                .await
                .map_err(call_error)
        }
        .boxed()
    }

    fn estimate_gas(&self, call: EstimateGas) -> BoxFuture<'_, Result<u64, EthCallError>> {
        async move {
            let pool = self.pool(call.evm_chain_id)?;
            let request = CallRequest {
                from: Some(call.from),
                ..CallRequest::to(call.to, call.data)
            };
            pool.estimate_gas(&request).await.map_err(call_error)
        }
        .boxed()
    }

    fn cached_bridge_answer<'a>(
        &'a self,
        key: &'a BridgeCacheKey,
        max_age: Duration,
    ) -> BoxFuture<'a, Option<Value>> {
        async move {
            self.cached(key, max_age).await.unwrap_or_else(|cause| {
                observe::bridge_cache_failed(&key.dot_id, "read", &cause);
                None
            })
        }
        .boxed()
    }

    fn cache_bridge_answer<'a>(
        &'a self,
        key: &'a BridgeCacheKey,
        answer: &'a Value,
    ) -> BoxFuture<'a, ()> {
        async move {
            if let Err(cause) = self.cache(key, answer).await {
                observe::bridge_cache_failed(&key.dot_id, "kept", &cause.into());
            }
        }
        .boxed()
    }

    fn finished<'a>(&'a self, task: &'a TaskResult) -> BoxFuture<'a, ()> {
        async move {
            if let Err(cause) = self.store_effect(task).await {
                // The effect has happened; the worst that follows is that it happens again, which its
                // idempotency key lets the other side notice.
                warn!(run.id = self.run, task = %task.dot_id, "the result of task {} could not be stored at once: {cause}", task.dot_id);
            }
        }
        .boxed()
    }
}

fn tag(block: BlockChoice) -> BlockTag {
    match block {
        BlockChoice::Latest => BlockTag::Latest,
        BlockChoice::Pending => BlockTag::Pending,
    }
}

fn call_error(error: CallError) -> EthCallError {
    match error {
        CallError::Reverted {
            reason,
            data,
            code,
            message,
        } => EthCallError::Rpc {
            code,
            message: match reason {
                Some(reason) if !message.ends_with(&reason) => format!("{message}: {reason}"),
                _ => message,
            },
            data: (!data.is_empty()).then(|| data.to_string()),
        },
        CallError::Rpc(RpcError::Refused {
            code,
            message,
            data,
            ..
        }) => EthCallError::Rpc {
            code,
            message,
            data,
        },
        CallError::Rpc(other) => EthCallError::Unavailable(other.to_string()),
    }
}

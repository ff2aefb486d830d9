//! What a node asks its chain through: the endpoints, and the core that puts questions to them, behind
//! one handle.

use std::fmt;
use std::future::Future;
use std::slice;
use std::sync::Arc;

use alloy::primitives::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::PoolConfig;
use crate::endpoints::Endpoints;
use crate::error::{PoolError, RpcError};
use crate::gateway::{Answer, Asked, Core, Method, Needs, Plan, Purse, Tags, method};
use crate::head::{BlockTag, Head};
use crate::log::LogFilter;
use crate::send::{SendOutcome, SendReport};
use crate::status::{NodeReport, NodeStatus};
use crate::{refusal, wire};

const LOGS: &str = "eth_getLogs";

/// The endpoints of one chain. Cheap to clone; all clones are one pool.
///
/// While it is run, every answer is about one chain that is the same whoever gives it and never goes
/// back but by a reorganisation. A pool that is not run has nobody who follows the chain: then each
/// answer is about whatever the endpoint that gives it stands on.
#[derive(Clone)]
pub struct Pool(Arc<Core>);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("config", &self.0.pool.0.config)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Builds the pool without touching the network. All problems of the settings come together.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        let core = Core::library(Endpoints::new(config)?);
        Ok(Self(Arc::new(core)))
    }

    pub fn chain_id(&self) -> u64 {
        self.0.pool.chain_id()
    }

    /// Asks every endpoint once who it is, all at the same time, over each of its URLs.
    pub async fn verify(&self) -> Vec<NodeReport> {
        self.0.pool.verify().await
    }

    /// Watches the endpoints and follows the chain until `stop` is done. To be run once, by the
    /// supervisor. Reads and sends over HTTP work without it, also after it has ended;
    /// WebSocket-only endpoints do not.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let following = Arc::clone(&self.0).follow();
        tokio::select! {
            () = self.0.pool.clone().run(stop) => {}
            () = following => {}
        }
    }

    /// The newest block of the chain, each time it is another one: higher by one or by several, or
    /// after a reorganisation perhaps lower than before.
    pub fn new_heads(&self) -> watch::Receiver<Option<Head>> {
        self.0.chain.tips()
    }

    /// Every endpoint as it is now, in the order of the configuration.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.0.nodes()
    }

    /// Texts endpoints refused transactions with that we have no meaning for: endpoint, text, how
    /// often. At most a few dozen are kept.
    pub fn unknown_send_errors(&self) -> Vec<(Arc<str>, String, u64)> {
        self.0.pool.unknown_send_errors()
    }

    /// Sends a signed transaction to all usable endpoints at once. Returns as soon as one primary
    /// took it, or all have answered, or 2 s after the first answer; the sending itself goes on
    /// even when the caller stops waiting, and to whoever comes back within a minute.
    pub async fn send_raw(&self, raw: &Bytes) -> SendReport {
        let mut reports = self.send_raw_many(slice::from_ref(raw)).await;
        reports.pop().unwrap_or_else(|| SendReport {
            outcome: SendOutcome::Retryable("nothing was sent".to_owned()),
            per_node: Vec::new(),
            refusal: None,
        })
    }

    /// Several signed transactions, in order, as one batch per endpoint. One report each, in the
    /// same order.
    pub async fn send_raw_many(&self, raws: &[Bytes]) -> Vec<SendReport> {
        self.0.send_many(raws).await
    }

    /// A block as it is known without asking; none if nobody who is there could have it.
    pub(crate) fn known(&self, block: BlockTag) -> Option<Head> {
        let core = &self.0;
        if !core.is_followed() || core.readable().next().is_none() {
            return None;
        }
        let tags = core.chain.tags()?;
        let number = match block {
            BlockTag::Latest => tags.latest,
            BlockTag::Safe => tags.safe?,
            BlockTag::Finalized => tags.finalized?,
            BlockTag::Number(number) => number,
            BlockTag::Hash(hash) => core.chain.number_of(hash)?,
            BlockTag::Pending | BlockTag::Earliest => return None,
        };
        let block = core.chain.block_at(number)?;
        (number <= tags.latest).then(|| block.head.clone())
    }

    /// One question, to whoever is best for it, and to others should that fail.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        name: &str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        let method = method::find(name);
        let params = encoded(name, &params)?;
        let asked = match self.0.view().await {
            Some(tags) => {
                let asked = self.0.read_at(method, name, &params, tags, Purse::OURS);
                asked.await
            }
            None => {
                self.0
                    .read(self.0.plan_loosely(method, name, &params))
                    .await
            }
        };
        self.settle(method, name, &params, asked).await
    }

    /// Many questions, in batches where endpoints take them; the answers in the order of the
    /// questions. The error is one that hit all of them.
    pub(crate) async fn ask_many<T: DeserializeOwned>(
        &self,
        name: &str,
        params: &[impl Serialize],
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        let method = method::find(name);
        let mut all = Vec::with_capacity(params.len());
        for params in params {
            all.push(encoded(name, params)?);
        }
        let view = self.0.view().await;
        if view.is_none() {
            // Who was never asked cannot be given a batch.
            self.0.meet_somebody().await;
        }
        let plans = all
            .iter()
            .map(|params| self.plan(view, method, name, params));
        let came = self.0.read_many(plans.collect()).await;
        let mut answers = Vec::with_capacity(came.len());
        for (params, asked) in all.iter().zip(came) {
            answers.push(self.settle(method, name, params, asked).await);
        }
        match answers.first() {
            Some(Err(first)) if answers.iter().all(is_lost) => Err(first.clone()),
            _ => Ok(answers),
        }
    }

    /// The logs of a filter, from as many endpoints and in as many parts as that takes.
    pub(crate) async fn ask_logs<T: DeserializeOwned>(
        &self,
        filter: &LogFilter,
    ) -> Result<T, RpcError> {
        let method = method::find(LOGS);
        let params = encoded(LOGS, &[filter])?;
        let asked = match self.0.view().await {
            Some(_) => self.0.logs(&params, None, Purse::OURS).await,
            None => self.0.read(self.plan(None, method, LOGS, &params)).await,
        };
        self.settle(method, LOGS, &params, asked).await
    }

    fn plan(&self, view: Option<Tags>, method: &'static Method, name: &str, params: &str) -> Plan {
        match view {
            Some(tags) => self.0.plan(method, name, params, tags),
            None => self.0.plan_loosely(method, name, params),
        }
    }

    /// What an answer says.
    async fn settle<T: DeserializeOwned>(
        &self,
        method: &'static Method,
        name: &str,
        params: &str,
        asked: Asked,
    ) -> Result<T, RpcError> {
        let core = &self.0;
        let asked = match core.is_followed() {
            true => core.up_to_the_tip(method, Needs::Nothing, asked).await,
            false => asked,
        };
        match (self.read(name, &asked), asked.from) {
            // What cannot be read is no answer: somebody else may give a better one.
            (Err(error @ RpcError::Decode { .. }), Some(from)) => {
                core.pool.0.nodes[from].fitness.failed(name, Instant::now());
                let plan = self.plan(core.view().await, method, name, params);
                let others = core
                    .ask_others(&plan.question, plan.repeatable, Some(from))
                    .await;
                match others.from {
                    Some(_) => self.read(name, &others),
                    None => Err(error),
                }
            }
            (said, _) => said,
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str, asked: &Asked) -> Result<T, RpcError> {
        let shared = &self.0.pool.0;
        let node = || match asked.from {
            Some(from) => shared.nodes[from].name.to_string(),
            None => format!("the pool of chain {}", shared.config.chain_id),
        };
        match (&asked.answer, &asked.lost) {
            (Answer::Result(result), _) => {
                serde_json::from_slice(result).map_err(|cause| RpcError::Decode {
                    node: node(),
                    method: name.to_owned(),
                    cause: cause.to_string(),
                    got: wire::quote(result),
                })
            }
            (_, Some(lost)) => Err(RpcError::clone(lost)),
            (Answer::Error(error) | Answer::Later(error, _) | Answer::Nameless(error), None) => {
                let words = wire::refusal(error);
                Err(refusal::judge(&node(), name, words, &shared.overrides))
            }
        }
    }
}

fn is_lost<T>(answer: &Result<T, RpcError>) -> bool {
    answer.as_ref().is_err_and(RpcError::is_transport)
}

fn encoded(name: &str, params: &impl Serialize) -> Result<String, RpcError> {
    serde_json::to_string(params).map_err(|cause| RpcError::Decode {
        node: "the caller".to_owned(),
        method: name.to_owned(),
        cause: format!("the request cannot be written: {cause}"),
        got: String::new(),
    })
}

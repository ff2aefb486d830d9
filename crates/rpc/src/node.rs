//! One endpoint: how it is asked, and what is known about it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{NodeConfig, PoolConfig};
use crate::error::RpcError;
use crate::head::{BlockTag, Head};
use crate::http::HttpEndpoint;
use crate::observe::Meters;
use crate::quantity::Small;
use crate::refusal;
use crate::send_errors::Overrides;
use crate::status::{NodeState, NodeStatus, Verified};
use crate::wire::{self, BatchReply, Refusal, Unreadable};
use crate::ws::{Connection, WsEndpoint};

/// So many calls in a row without any answer, and the endpoint counts as unreachable.
const FAILED_CALLS_LIMIT: u32 = 3;
/// A failed verification on a caller's behalf is not repeated sooner.
const VERIFY_PAUSE: Duration = Duration::from_secs(1);
/// Calls of one batch in flight over a WebSocket, which needs no batches.
const PIPELINED_CALLS: usize = 32;

pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) index: usize,
    pub(crate) order: u32,
    pub(crate) send_only: bool,
    pub(crate) http: Option<HttpEndpoint>,
    pub(crate) extra_write: Option<HttpEndpoint>,
    pub(crate) ws: Option<WsEndpoint>,
    pub(crate) meters: Meters,
    chain_id: u64,
    overrides: Arc<Overrides>,
    condition: Mutex<Condition>,
    verifying: tokio::sync::Mutex<Option<(Instant, RpcError)>>,
    revived: tokio::sync::Notify,
    next_id: AtomicU64,
    failed_in_a_row: AtomicU32,
    calls: AtomicU64,
    failures: AtomicU64,
    latency_micros: AtomicU64,
    batch_size: u64,
    /// Halved when the endpoint refuses a batch as too large, grows slowly while it does not.
    batch_limit: AtomicU64,
}

/// What is known about an endpoint and changes.
pub(crate) struct Condition {
    pub(crate) state: NodeState,
    pub(crate) reason: Option<String>,
    pub(crate) highest: Option<u64>,
    /// When `highest` rose last, or else when the endpoint became usable.
    pub(crate) risen: Instant,
    pub(crate) client_version: Option<String>,
}

impl Node {
    pub(crate) fn new(
        config: NodeConfig,
        index: usize,
        pool: &PoolConfig,
        client: &reqwest::Client,
        overrides: Arc<Overrides>,
    ) -> Self {
        let name: Arc<str> = config.name.into();
        let host = config
            .http_url
            .as_ref()
            .or(config.ws_url.as_ref())
            .and_then(|url| url.host_str())
            .unwrap_or_default()
            .to_owned();
        let http = |url| {
            HttpEndpoint::new(
                client.clone(),
                Arc::clone(&name),
                url,
                pool.request_timeout,
                pool.max_response_bytes,
            )
        };
        Self {
            index,
            order: config.order,
            send_only: config.send_only,
            http: config.http_url.map(http),
            extra_write: config.http_url_extra_write.map(http),
            // A send-only endpoint subscribes to nothing.
            ws: config.ws_url.filter(|_| !config.send_only).map(|url| {
                WsEndpoint::new(
                    Arc::clone(&name),
                    url,
                    pool.request_timeout,
                    pool.max_response_bytes,
                )
            }),
            meters: Meters::new(pool.chain_id, Arc::clone(&name), host, config.send_only),
            chain_id: pool.chain_id,
            overrides,
            condition: Mutex::new(Condition {
                state: NodeState::Undialed,
                reason: None,
                highest: None,
                risen: Instant::now(),
                client_version: None,
            }),
            verifying: tokio::sync::Mutex::new(None),
            revived: tokio::sync::Notify::new(),
            next_id: AtomicU64::new(1),
            failed_in_a_row: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            latency_micros: AtomicU64::new(0),
            batch_size: pool.batch_size as u64,
            batch_limit: AtomicU64::new(pool.batch_size as u64),
            name,
        }
    }

    pub(crate) fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> NodeState {
        self.condition().state
    }

    /// Masked.
    pub(crate) fn shown_url(&self) -> &str {
        match (&self.http, &self.ws) {
            (Some(http), _) => http.shown(),
            (None, Some(ws)) => ws.shown(),
            (None, None) => "",
        }
    }

    // ---- asking

    /// Asks one question.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body =
            wire::encode(id, method, params).map_err(|cause| self.unsendable(method, &cause))?;
        self.timed(method, self.exchange(id, method, body)).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        id: u64,
        method: &str,
        body: Bytes,
    ) -> Result<T, RpcError> {
        let answer = match (&self.http, &self.ws) {
            (Some(http), _) => http.post(method, body).await?,
            (None, Some(ws)) => ws.call(id, method, body).await?,
            (None, None) => return Err(self.no_url()),
        };
        self.read(method, &answer, wire::decode(id, &answer))
    }

    /// Asks over the second URL for sending.
    pub(crate) async fn ask_at<T: DeserializeOwned>(
        &self,
        http: &HttpEndpoint,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body =
            wire::encode(id, method, params).map_err(|cause| self.unsendable(method, &cause))?;
        self.timed(method, async {
            let answer = http.post(method, body).await?;
            self.read(method, &answer, wire::decode(id, &answer))
        })
        .await
    }

    /// Asks over a WebSocket connection nobody else knows yet.
    pub(crate) async fn ask_on<T: DeserializeOwned>(
        &self,
        ws: &WsEndpoint,
        connection: &Connection,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body =
            wire::encode(id, method, params).map_err(|cause| self.unsendable(method, &cause))?;
        let answer = ws.call_on(connection, id, method, body).await?;
        self.read(method, &answer, wire::decode(id, &answer))
    }

    /// Asks the same question with many parameters; the answers come in their order. The error is
    /// one that hit all of them.
    pub(crate) async fn ask_many<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &[impl Serialize],
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        match &self.http {
            Some(http) => self.ask_many_at(http, method, params).await,
            None => {
                let mut asked = Vec::with_capacity(params.len());
                for params in params {
                    asked.push(self.ask(method, params));
                }
                let answers: Vec<Result<T, RpcError>> = stream::iter(asked)
                    .buffered(PIPELINED_CALLS)
                    .collect()
                    .await;
                let all_lost = answers
                    .iter()
                    .all(|answer| answer.as_ref().is_err_and(RpcError::is_transport));
                match answers.first() {
                    Some(Err(first)) if all_lost => Err(first.clone()),
                    _ => Ok(answers),
                }
            }
        }
    }

    /// The same over a certain URL, in batches the endpoint accepts.
    pub(crate) async fn ask_many_at<T: DeserializeOwned>(
        &self,
        http: &HttpEndpoint,
        method: &str,
        params: &[impl Serialize],
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        let mut answers = Vec::with_capacity(params.len());
        while answers.len() < params.len() {
            let rest = &params[answers.len()..];
            let limit = self.batch_limit.load(Ordering::Relaxed);
            let part = &rest[..rest.len().min(usize::try_from(limit).unwrap_or(usize::MAX))];
            match self.timed(method, self.batch(http, method, part)).await? {
                Some(mut of_part) => {
                    answers.append(&mut of_part);
                    if part.len() as u64 == limit && limit < self.batch_size {
                        self.batch_limit.store(limit + 1, Ordering::Relaxed);
                    }
                }
                None => self
                    .batch_limit
                    .store((part.len() as u64 / 2).max(1), Ordering::Relaxed),
            }
        }
        Ok(answers)
    }

    /// One batch; none if it has to be split.
    async fn batch<T: DeserializeOwned, P: Serialize>(
        &self,
        http: &HttpEndpoint,
        method: &str,
        params: &[P],
    ) -> Result<Option<Vec<Result<T, RpcError>>>, RpcError> {
        let count = params.len() as u64;
        let first_id = self.next_id.fetch_add(count, Ordering::Relaxed);
        let body = wire::encode_batch(first_id, method, params)
            .map_err(|cause| self.unsendable(method, &cause))?;
        let answer = match http.post(method, body).await {
            Err(RpcError::TooLarge { .. }) if count > 1 => return Ok(None),
            other => other?,
        };
        match wire::decode_batch(first_id, params.len(), &answer) {
            Ok(BatchReply::Whole(_)) if count > 1 => Ok(None),
            Ok(BatchReply::Whole(refusal)) => Err(self.refused(method, refusal)),
            Ok(BatchReply::Each(each)) => {
                let split = |answer: &Option<Result<T, Refusal>>| match answer {
                    Some(Err(refusal)) => speaks_of_the_batch(refusal),
                    None => true,
                    Some(Ok(_)) => false,
                };
                if count > 1 && each.iter().any(split) {
                    return Ok(None);
                }
                Ok(Some(
                    each.into_iter()
                        .map(|answer| self.of_batch(method, answer))
                        .collect(),
                ))
            }
            Err(unreadable) => Err(self.unreadable(method, &answer, unreadable)),
        }
    }

    fn of_batch<T>(&self, method: &str, answer: Option<Result<T, Refusal>>) -> Result<T, RpcError> {
        match answer {
            Some(Ok(value)) => Ok(value),
            Some(Err(refusal)) => Err(self.refused(method, refusal)),
            None => Err(RpcError::Decode {
                node: self.name.to_string(),
                method: method.to_owned(),
                cause: "the batch came back without it".to_owned(),
                got: String::new(),
            }),
        }
    }

    fn read<T>(
        &self,
        method: &str,
        answer: &[u8],
        read: Result<Result<T, Refusal>, Unreadable>,
    ) -> Result<T, RpcError> {
        match read {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(refusal)) => Err(self.refused(method, refusal)),
            Err(unreadable) => Err(self.unreadable(method, answer, unreadable)),
        }
    }

    fn refused(&self, method: &str, refusal: Refusal) -> RpcError {
        refusal::judge(&self.name, method, refusal, &self.overrides)
    }

    fn unreadable(&self, method: &str, answer: &[u8], unreadable: Unreadable) -> RpcError {
        match (unreadable, &self.http) {
            (Unreadable::NotJsonRpc, Some(http)) => http.not_json_rpc("HTTP 200 OK", answer),
            (Unreadable::NotJsonRpc, None) => RpcError::NotJsonRpc {
                node: self.name.to_string(),
                url: self.shown_url().to_owned(),
                got: format!("{:?}", wire::quote(answer)),
            },
            (Unreadable::Content(cause), _) => RpcError::Decode {
                node: self.name.to_string(),
                method: method.to_owned(),
                cause,
                got: wire::quote(answer),
            },
        }
    }

    pub(crate) fn no_url(&self) -> RpcError {
        RpcError::Unreachable {
            node: self.name.to_string(),
            url: String::new(),
            cause: "it has no URL".to_owned(),
        }
    }

    fn unsendable(&self, method: &str, cause: &serde_json::Error) -> RpcError {
        RpcError::Decode {
            node: self.name.to_string(),
            method: method.to_owned(),
            cause: format!("the request cannot be written: {cause}"),
            got: String::new(),
        }
    }

    /// Measures an exchange and draws conclusions about the endpoint from it.
    async fn timed<T>(
        &self,
        method: &str,
        exchange: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        let started = Instant::now();
        let outcome = exchange.await;
        let took = started.elapsed();
        // A refusal is an answer: the endpoint did its part.
        let answered = !outcome
            .as_ref()
            .is_err_and(|error| error.is_transport() || matches!(error, RpcError::TooLarge { .. }));
        self.meters.called(method, took, outcome.is_ok());
        self.calls.fetch_add(1, Ordering::Relaxed);
        if answered {
            self.failed_in_a_row.store(0, Ordering::Relaxed);
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let before = self.latency_micros.load(Ordering::Relaxed);
            let average = if before == 0 {
                micros
            } else {
                before - before / 8 + micros / 8
            };
            self.latency_micros.store(average.max(1), Ordering::Relaxed);
        }
        if let Err(error) = &outcome {
            self.failures.fetch_add(1, Ordering::Relaxed);
            // A wide range of logs may take its time without anything being wrong.
            let slow_logs = method == "eth_getLogs" && matches!(error, RpcError::Timeout { .. });
            if error.is_transport() && !slow_logs && !self.send_only {
                let failed = self.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                if failed >= FAILED_CALLS_LIMIT
                    && matches!(self.state(), NodeState::Alive | NodeState::OutOfSync)
                {
                    self.turn(NodeState::Unreachable, Some(error.to_string()));
                }
            }
        }
        outcome
    }

    // ---- judging

    /// Puts the endpoint into a state.
    pub(crate) fn turn(&self, state: NodeState, reason: Option<String>) {
        let before = {
            let mut condition = self.condition();
            let before = condition.state;
            condition.state = state;
            condition.reason.clone_from(&reason);
            if state == NodeState::Alive
                && before != NodeState::OutOfSync
                && before != NodeState::Alive
            {
                condition.risen = Instant::now();
            }
            before
        };
        if before != state {
            if state == NodeState::Alive {
                self.failed_in_a_row.store(0, Ordering::Relaxed);
                self.revived.notify_one();
            }
            self.meters.turned(before, state, reason.as_deref());
        }
    }

    /// Keeps a head in mind; true if it is higher than all before.
    pub(crate) fn saw(&self, number: u64) -> bool {
        let mut condition = self.condition();
        let higher = condition.highest.is_none_or(|highest| number > highest);
        if higher {
            condition.highest = Some(number);
            condition.risen = Instant::now();
            drop(condition);
            self.meters.saw_block(number);
        }
        higher
    }

    /// Asks whose chain this is and sets the state accordingly.
    pub(crate) async fn check_chain(&self) -> Result<(), RpcError> {
        let answered = self.ask("eth_chainId", [(); 0]).await;
        let verdict = answered.and_then(|Small(got)| self.same_chain(got));
        self.meters.verified(verdict.is_ok());
        match &verdict {
            Ok(()) if matches!(self.state(), NodeState::Alive | NodeState::OutOfSync) => {}
            Ok(()) => self.turn(NodeState::Alive, None),
            Err(error @ RpcError::WrongChain { .. }) => {
                self.turn(NodeState::InvalidChainId, Some(error.to_string()))
            }
            Err(error) => self.lost(error),
        }
        verdict
    }

    /// It did not answer. That it belonged to another chain when it last did stays known.
    pub(crate) fn lost(&self, error: &RpcError) {
        if self.state() != NodeState::InvalidChainId {
            self.turn(NodeState::Unreachable, Some(error.to_string()));
        }
    }

    /// Waits until it becomes alive.
    pub(crate) async fn revived(&self) {
        self.revived.notified().await;
    }

    pub(crate) fn same_chain(&self, got: u64) -> Result<(), RpcError> {
        if got == self.chain_id {
            return Ok(());
        }
        Err(RpcError::WrongChain {
            node: self.name.to_string(),
            url: self.shown_url().to_owned(),
            expected: self.chain_id,
            got,
        })
    }

    /// Makes sure, before a caller's question, that the endpoint belongs to our chain.
    pub(crate) async fn ensure_verified(&self) -> Result<(), RpcError> {
        if matches!(self.state(), NodeState::Alive | NodeState::OutOfSync) {
            return Ok(());
        }
        let mut last = self.verifying.lock().await;
        if matches!(self.state(), NodeState::Alive | NodeState::OutOfSync) {
            return Ok(());
        }
        if let Some((at, error)) = &*last
            && at.elapsed() < VERIFY_PAUSE
        {
            return Err(error.clone());
        }
        let verdict = self.check_chain().await;
        *last = verdict
            .as_ref()
            .err()
            .map(|error| (Instant::now(), error.clone()));
        verdict
    }

    /// Asks everything worth knowing at the first meeting.
    pub(crate) async fn identify(&self) -> Result<Verified, RpcError> {
        self.check_chain().await?;
        let client_version = self.ask::<String>("web3_clientVersion", [(); 0]).await.ok();
        if let Some(version) = &client_version {
            self.meters.client_version(version);
            self.condition().client_version = Some(version.clone());
        }
        let head = match self.send_only {
            true => None,
            false => Some(self.latest().await?),
        };
        Ok(Verified {
            chain_id: self.chain_id,
            client_version,
            head,
        })
    }

    pub(crate) async fn latest(&self) -> Result<Head, RpcError> {
        let head: Head = self
            .ask("eth_getBlockByNumber", (BlockTag::Latest, false))
            .await?;
        self.saw(head.number);
        Ok(head)
    }

    pub(crate) fn status(&self, active: bool) -> NodeStatus {
        let condition = self.condition();
        let micros = self.latency_micros.load(Ordering::Relaxed);
        let without_ws = self
            .ws
            .as_ref()
            .and_then(|ws| ws.down_cause())
            .map(|cause| format!("its WebSocket is down ({cause}); heads are polled instead"));
        NodeStatus {
            name: Arc::clone(&self.name),
            url: self.shown_url().to_owned(),
            send_only: self.send_only,
            order: self.order,
            state: condition.state,
            reason: condition.reason.clone().or(without_ws),
            active,
            highest_head: condition.highest,
            last_head_age: condition.highest.map(|_| condition.risen.elapsed()),
            latency: (micros > 0).then(|| Duration::from_micros(micros)),
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            client_version: condition.client_version.clone(),
        }
    }
}

/// A refusal of one call that is really about the batch it came in.
fn speaks_of_the_batch(refusal: &Refusal) -> bool {
    let lower = refusal.message.to_lowercase();
    lower.contains("batch")
        || lower.contains("response too large")
        || matches!(refusal.code, -32010 | -32011)
}

//! Passing somebody else's questions on: bytes out, bytes in, nothing read but the envelope.

use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy::primitives::B256;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;

use super::Node;
use super::asking::speaks_of_the_batch;
use crate::error::RpcError;
use crate::gate::{Permit, Priority};
use crate::http::HttpEndpoint;
use crate::masked::Mask;
use crate::patience::Allowance;
use crate::wire::{self, Refusal, Split, SplitBatch};

/// Parts of one batch under way at an endpoint.
const PARTS: usize = 4;
/// Questions under way at once over a WebSocket.
const PIPELINED: usize = 32;

/// What came back for a question passed on.
#[derive(Debug, Clone)]
pub(crate) enum Forwarded {
    /// The bytes of `result`.
    Result(Bytes),
    /// The bytes of `error`, and what they say.
    Refused(Refusal, Bytes),
}

impl Forwarded {
    fn is_result(&self) -> bool {
        matches!(self, Self::Result(_))
    }
}

impl Forwarded {
    /// What came, without the secrets of whoever said it.
    fn of(split: Split, mask: &Mask) -> Self {
        match split {
            Ok(result) => Self::Result(result),
            Err((refusal, bytes)) => {
                Self::Refused(mask.hide_in_refusal(refusal), mask.hide_in_error(bytes))
            }
        }
    }
}

impl Node {
    /// Puts a question that is encoded already under this id, within a time that standing in line is
    /// part of. A JSON-RPC error is an answer here; the errors of this function
    /// are those of the endpoint.
    pub(crate) async fn forward(
        &self,
        id: u64,
        method: &str,
        body: Bytes,
        time: Allowance,
        priority: Priority,
    ) -> Result<Forwarded, RpcError> {
        let _in_flight = self.fitness.begin();
        let mut permit = self.enter(priority, time).await?;
        let started = permit.since();
        let outcome = self.put(id, method, &body, time.left_at(started)).await;
        let ended = self.judge(started, method, &outcome, Forwarded::is_result);
        permit.ends(ended);
        self.learn(&outcome);
        outcome
    }

    async fn put(
        &self,
        id: u64,
        method: &str,
        body: &Bytes,
        time: Allowance,
    ) -> Result<Forwarded, RpcError> {
        let answer = match (&self.http, &self.ws) {
            (Some(http), _) => http.post_within(method, body, time).await?,
            (None, Some(ws)) => {
                Box::pin(ws.call_within(id, method, body.clone(), time.within)).await?
            }
            (None, None) => return Err(self.no_url()),
        };
        wire::split(id, &answer)
            .map(|split| Forwarded::of(split, &self.mask))
            .map_err(|it| self.unreadable(method, self.http.as_ref(), &answer, it))
    }

    /// A place in front of the endpoint.
    async fn enter(&self, priority: Priority, time: Allowance) -> Result<Permit, RpcError> {
        self.gate
            .enter(priority, time)
            .await
            .map_err(|turned| RpcError::Busy {
                node: self.name.to_string(),
                retry_after: turned.0,
            })
    }

    fn learn<T>(&self, outcome: &Result<T, RpcError>) {
        match outcome {
            Ok(_) => self.gate.went_well(),
            Err(RpcError::RateLimited { .. } | RpcError::Timeout { .. }) => {
                self.gate.had_trouble(Instant::now());
            }
            Err(_) => {}
        }
    }

    /// Puts many encoded questions as batches, as large as the endpoint takes them; over a WebSocket,
    /// which needs no batches, one after another. What came of each, in their order.
    pub(crate) async fn forward_many(
        &self,
        method: &str,
        questions: &[(u64, Bytes)],
        within: Duration,
        priority: Priority,
    ) -> Vec<Result<Forwarded, RpcError>> {
        let Some(http) = &self.http else {
            let mut singly = Vec::with_capacity(questions.len());
            for (id, body) in questions {
                let body = body.clone();
                singly.push(async move {
                    let time = Allowance::from_now(within);
                    self.forward(*id, method, body, time, priority).await
                });
            }
            return stream::iter(singly).buffered(PIPELINED).collect().await;
        };
        let deadline = Instant::now() + within;
        let limit = self.batch_limit();
        let mut parts = Vec::new();
        for part in questions.chunks(limit) {
            parts.push(self.forward_split(http, method, part, deadline, Some(priority)));
        }
        let parts: Vec<_> = stream::iter(parts).buffered(PARTS).collect().await;
        parts.into_iter().flatten().collect()
    }

    /// Asks the same with each of these parameters (JSON) over a certain URL, none for the WebSocket;
    /// in order, without standing in line. The hashes the answers name, where they do.
    pub(crate) async fn send_many(
        &self,
        http: Option<&HttpEndpoint>,
        method: &str,
        params: &[String],
        within: Duration,
    ) -> Vec<Result<Option<B256>, RpcError>> {
        let deadline = Instant::now() + within;
        let questions: Vec<_> = params
            .iter()
            .map(|params| {
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                (id, wire::encode_raw(id, method, params))
            })
            .collect();
        let mut all = Vec::with_capacity(questions.len());
        while all.len() < questions.len() {
            let rest = &questions[all.len()..];
            match http {
                Some(http) => {
                    let part = &rest[..rest.len().min(self.batch_limit())];
                    all.extend(self.forward_split(http, method, part, deadline, None).await);
                }
                None => {
                    let mut asked = Vec::with_capacity(rest.len());
                    for (id, body) in rest {
                        asked.push(self.ask_encoded(*id, method, body, deadline));
                    }
                    let mut asked = stream::iter(asked).buffered(PIPELINED);
                    while let Some(answer) = asked.next().await {
                        all.push(answer);
                    }
                }
            }
        }
        let said = all.into_iter().map(|answer| match answer? {
            Forwarded::Result(result) => Ok(serde_json::from_slice(&result).ok()),
            Forwarded::Refused(refusal, _) => Err(self.refused(method, refusal)),
        });
        said.collect()
    }

    async fn ask_encoded(
        &self,
        id: u64,
        method: &str,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<Forwarded, RpcError> {
        let Some(ws) = &self.ws else {
            return Err(self.no_url());
        };
        self.timed_as(
            method,
            async {
                let left = deadline.saturating_duration_since(Instant::now());
                let answer = ws.call_within(id, method, body.clone(), left).await?;
                wire::split(id, &answer)
                    .map(|split| Forwarded::of(split, &self.mask))
                    .map_err(|it| self.unreadable(method, None, &answer, it))
            },
            Forwarded::is_result,
        )
        .await
    }

    /// Questions it takes in one batch.
    fn batch_limit(&self) -> usize {
        usize::try_from(self.batch_limit.load(Ordering::Relaxed))
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// A part of a batch, halved as often as it has to be.
    async fn forward_split(
        &self,
        http: &HttpEndpoint,
        method: &str,
        part: &[(u64, Bytes)],
        deadline: Instant,
        priority: Option<Priority>,
    ) -> Vec<Result<Forwarded, RpcError>> {
        let mut open = vec![part];
        let mut came = Vec::with_capacity(part.len());
        while let Some(part) = open.pop() {
            match self
                .forward_part(http, method, part, deadline, priority)
                .await
            {
                Some(answers) => came.extend(answers),
                None => {
                    let (first, second) = part.split_at(part.len().div_ceil(2));
                    open.push(second);
                    open.push(first);
                }
            }
        }
        came
    }

    /// One batch; none if it has to be split.
    async fn forward_part(
        &self,
        http: &HttpEndpoint,
        method: &str,
        part: &[(u64, Bytes)],
        deadline: Instant,
        priority: Option<Priority>,
    ) -> Option<Vec<Result<Forwarded, RpcError>>> {
        let nothing = |error: RpcError| Some(part.iter().map(|_| Err(error.clone())).collect());
        let left = || {
            let since = Instant::now();
            let within = deadline.saturating_duration_since(since);
            Allowance { since, within }
        };
        let _in_flight = self.fitness.begin();
        let _permit = match priority {
            None => None,
            Some(priority) => match self.enter(priority, left()).await {
                Ok(permit) => Some(permit),
                Err(busy) => return nothing(busy),
            },
        };
        let mut body = BytesMut::with_capacity(part.iter().map(|(_, it)| it.len() + 1).sum());
        for (_, question) in part {
            body.put_u8(if body.is_empty() { b'[' } else { b',' });
            body.put_slice(question);
        }
        body.put_u8(b']');
        let ids: Vec<u64> = part.iter().map(|(id, _)| *id).collect();
        let came = self
            .timed(method, async {
                let answer = http.post_within(method, &body, left()).await?;
                wire::split_batch(&ids, &answer)
                    .map_err(|it| self.unreadable(method, Some(http), &answer, it))
            })
            .await;
        self.learn(&came);
        let limit = self.batch_limit.load(Ordering::Relaxed);
        let count = part.len() as u64;
        let too_large = match &came {
            Err(RpcError::TooLarge { .. } | RpcError::RequestTooLarge { .. })
            | Ok(SplitBatch::Whole(_)) => true,
            Ok(SplitBatch::Each(each)) => each.iter().any(|answer| match answer {
                Some(Err((refusal, _))) => speaks_of_the_batch(refusal),
                Some(Ok(_)) => false,
                None => true,
            }),
            Err(error) => return nothing(error.clone()),
        };
        if too_large && count > 1 {
            self.batch_limit
                .fetch_min((count / 2).max(1), Ordering::Relaxed);
            return None;
        }
        if !too_large && count == limit && limit < self.batch_size {
            self.batch_limit.store(limit + 1, Ordering::Relaxed);
        }
        match came {
            Ok(SplitBatch::Each(each)) => Some(
                each.into_iter()
                    .map(|answer| {
                        answer
                            .map(|split| Forwarded::of(split, &self.mask))
                            .ok_or_else(|| self.left_out(method))
                    })
                    .collect(),
            ),
            Ok(SplitBatch::Whole(refusal)) => nothing(self.refused(method, refusal)),
            Err(error) => nothing(error),
        }
    }

    fn left_out(&self, method: &str) -> RpcError {
        RpcError::Decode {
            node: self.name.to_string(),
            method: method.to_owned(),
            cause: "the batch came back without it".to_owned(),
            got: String::new(),
        }
    }
}

//! Passing somebody else's questions on: bytes out, bytes in, nothing read but the envelope.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;

use super::Node;
use super::asking::speaks_of_the_batch;
use crate::error::RpcError;
use crate::gate::{Permit, Priority};
use crate::http::HttpEndpoint;
use crate::wire::{self, Refusal, SplitBatch};

/// Parts of one batch under way at an endpoint.
const PARTS: usize = 4;

/// What came back for a question passed on.
#[derive(Debug, Clone)]
pub(crate) enum Forwarded {
    /// The bytes of `result`.
    Result(Bytes),
    /// The bytes of `error`, and what they say.
    Refused(Refusal, Bytes),
}

impl From<Result<Bytes, (Refusal, Bytes)>> for Forwarded {
    fn from(split: Result<Bytes, (Refusal, Bytes)>) -> Self {
        match split {
            Ok(result) => Self::Result(result),
            Err((refusal, bytes)) => Self::Refused(refusal, bytes),
        }
    }
}

impl Node {
    /// Puts a question that is encoded already under this id, with a time-out of its own, which
    /// standing in line is part of. A JSON-RPC error is an answer here; the errors of this function
    /// are those of the endpoint.
    pub(crate) async fn forward(
        &self,
        id: u64,
        method: &str,
        body: Bytes,
        within: Duration,
        priority: Priority,
    ) -> Result<Forwarded, RpcError> {
        let _in_flight = self.fitness.begin();
        let deadline = Instant::now() + within;
        let _permit = self.enter(priority, deadline).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = self
            .timed(method, async {
                let answer = match (&self.http, &self.ws) {
                    (Some(http), _) => http.post_within(method, body, left).await?,
                    (None, Some(ws)) => ws.call_within(id, method, body, left).await?,
                    (None, None) => return Err(self.no_url()),
                };
                wire::split(id, &answer)
                    .map(Forwarded::from)
                    .map_err(|it| self.unreadable(method, self.http.as_ref(), &answer, it))
            })
            .await;
        self.learn(&outcome);
        outcome
    }

    /// A place in front of the endpoint.
    async fn enter(&self, priority: Priority, deadline: Instant) -> Result<Permit, RpcError> {
        self.gate
            .enter(priority, deadline)
            .await
            .map_err(|_| RpcError::Busy {
                node: self.name.to_string(),
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

    /// Puts many encoded questions as batches, as large as the endpoint takes them. None for each
    /// that got no answer of its own.
    pub(crate) async fn forward_many(
        &self,
        questions: &[(u64, Bytes)],
        within: Duration,
    ) -> Vec<Option<Forwarded>> {
        let Some(http) = &self.http else {
            return none(questions.len());
        };
        let limit = usize::try_from(self.batch_limit.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let deadline = Instant::now() + within;
        let mut parts = Vec::new();
        for part in questions.chunks(limit.max(1)) {
            parts.push(self.forward_split(http, part, deadline));
        }
        let mut parts = stream::iter(parts).buffered(PARTS);
        let mut all = Vec::with_capacity(questions.len());
        while let Some(part) = parts.next().await {
            all.extend(part);
        }
        all
    }

    /// A part of a batch, halved as often as it has to be.
    async fn forward_split(
        &self,
        http: &HttpEndpoint,
        part: &[(u64, Bytes)],
        deadline: Instant,
    ) -> Vec<Option<Forwarded>> {
        let mut open = vec![part];
        let mut came = Vec::with_capacity(part.len());
        while let Some(part) = open.pop() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.forward_part(http, part, deadline, left).await {
                Some(answers) => came.extend(answers),
                None if part.len() > 1 && !left.is_zero() => {
                    let (first, second) = part.split_at(part.len().div_ceil(2));
                    open.push(second);
                    open.push(first);
                }
                None => came.extend(none(part.len())),
            }
        }
        came
    }

    /// One batch; none if it has to be split.
    async fn forward_part(
        &self,
        http: &HttpEndpoint,
        part: &[(u64, Bytes)],
        deadline: Instant,
        left: Duration,
    ) -> Option<Vec<Option<Forwarded>>> {
        let nothing = || Some(none(part.len()));
        let _in_flight = self.fitness.begin();
        let Ok(_permit) = self.enter(Priority::Reads, deadline).await else {
            return nothing();
        };
        let mut body = BytesMut::new();
        for (_, question) in part {
            body.put_u8(if body.is_empty() { b'[' } else { b',' });
            body.put_slice(question);
        }
        body.put_u8(b']');
        let ids: Vec<u64> = part.iter().map(|(id, _)| *id).collect();
        let came = self
            .timed("batch", async {
                let answer = http.post_within("batch", body.freeze(), left).await?;
                wire::split_batch(&ids, &answer)
                    .map_err(|it| self.unreadable("batch", Some(http), &answer, it))
            })
            .await;
        self.learn(&came);
        let limit = self.batch_limit.load(Ordering::Relaxed);
        let count = part.len() as u64;
        let too_large = match &came {
            Err(RpcError::TooLarge { .. }) | Ok(SplitBatch::Whole) => true,
            Ok(SplitBatch::Each(each)) => each.iter().any(|answer| match answer {
                Some(Err((refusal, _))) => speaks_of_the_batch(refusal),
                Some(Ok(_)) => false,
                None => true,
            }),
            Err(_) => return nothing(),
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
                    .map(|answer| answer.map(Forwarded::from))
                    .collect(),
            ),
            _ => nothing(),
        }
    }
}

fn none(count: usize) -> Vec<Option<Forwarded>> {
    std::iter::repeat_with(|| None).take(count).collect()
}

//! Putting questions of our own to an endpoint, over whichever of its URLs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Node;
use crate::error::RpcError;
use crate::http::HttpEndpoint;
use crate::patience::Allowance;
use crate::refusal;
use crate::status::NodeState;
use crate::wire::{self, Refusal, Unreadable};
use crate::ws::{Connection, WsEndpoint};

/// So many calls in a row without any answer, and the endpoint counts as unreachable.
const FAILED_CALLS_LIMIT: u32 = 3;

impl Node {
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
            (Some(http), _) => {
                let within = self.patience(http.timeout());
                let time = Allowance::from_now(within);
                http.post_within(method, &body, time).await?
            }
            (None, Some(ws)) => {
                let within = self.patience(ws.timeout());
                ws.call_within(id, method, body, within).await?
            }
            (None, None) => return Err(self.no_url()),
        };
        self.read(
            method,
            self.http.as_ref(),
            &answer,
            wire::decode(id, &answer),
        )
    }

    /// Asks over one URL, none for the WebSocket, with a time-out of its own.
    pub(crate) async fn ask_at<T: DeserializeOwned>(
        &self,
        http: Option<&HttpEndpoint>,
        method: &str,
        params: impl Serialize,
        within: Duration,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body =
            wire::encode(id, method, params).map_err(|cause| self.unsendable(method, &cause))?;
        self.timed(method, async {
            let answer = match (http, &self.ws) {
                (Some(http), _) => {
                    let time = Allowance::from_now(within);
                    http.post_within(method, &body, time).await?
                }
                (None, Some(ws)) => ws.call_within(id, method, body, within).await?,
                (None, None) => return Err(self.no_url()),
            };
            self.read(method, http, &answer, wire::decode(id, &answer))
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
        self.read(method, None, &answer, wire::decode(id, &answer))
    }

    /// What an answer says; `http` is where it came from, none for the WebSocket.
    fn read<T>(
        &self,
        method: &str,
        http: Option<&HttpEndpoint>,
        answer: &[u8],
        read: Result<Result<T, Refusal>, Unreadable>,
    ) -> Result<T, RpcError> {
        match read {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(refusal)) => Err(self.refused(method, refusal)),
            Err(unreadable) => Err(self.unreadable(method, http, answer, unreadable)),
        }
    }

    pub(super) fn refused(&self, method: &str, refusal: Refusal) -> RpcError {
        let refusal = self.mask.hide_in_refusal(refusal);
        refusal::judge(&self.name, method, refusal, &self.overrides)
    }

    pub(super) fn unreadable(
        &self,
        method: &str,
        http: Option<&HttpEndpoint>,
        answer: &[u8],
        unreadable: Unreadable,
    ) -> RpcError {
        match (unreadable, http) {
            (Unreadable::NotJsonRpc, Some(http)) => http.not_json_rpc("HTTP 200 OK", answer),
            (Unreadable::NotJsonRpc, None) => RpcError::NotJsonRpc {
                node: self.name.to_string(),
                url: self
                    .ws
                    .as_ref()
                    .map(WsEndpoint::shown)
                    .unwrap_or_default()
                    .to_owned(),
                got: format!("{:?}", wire::quote_masked(answer, &self.mask)),
            },
            (Unreadable::Content(cause), _) => RpcError::Decode {
                node: self.name.to_string(),
                method: method.to_owned(),
                cause: self.mask.hide_in(cause),
                got: wire::quote_masked(answer, &self.mask),
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
    pub(super) async fn timed<T>(
        &self,
        method: &str,
        exchange: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        self.timed_as(method, exchange, |_| true).await
    }

    /// The same; of what came back it is said whether dashboards count it as a success.
    pub(super) async fn timed_as<T>(
        &self,
        method: &str,
        exchange: impl Future<Output = Result<T, RpcError>>,
        is_success: impl Fn(&T) -> bool,
    ) -> Result<T, RpcError> {
        let now = Instant::now();
        let outcome = exchange.await;
        self.judge(now, method, &outcome, is_success);
        outcome
    }

    /// Draws conclusions about the endpoint from what came of a question put at `started`; gives back
    /// the moment it ended, which is now.
    pub(super) fn judge<T>(
        &self,
        started: Instant,
        method: &str,
        outcome: &Result<T, RpcError>,
        is_success: impl Fn(&T) -> bool,
    ) -> Instant {
        let ended = Instant::now();
        let took = ended - started;
        // A refusal is an answer: the endpoint did its part.
        let answered = !outcome.as_ref().is_err_and(|error| {
            error.is_transport()
                || matches!(
                    error,
                    RpcError::TooLarge { .. } | RpcError::RequestTooLarge { .. }
                )
        });
        let succeeded = outcome.as_ref().is_ok_and(is_success);
        self.meters.called(method, took, succeeded);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let slow = matches!(outcome, Err(RpcError::Timeout { .. }));
        // Written only when it changes: others read what lies beside it all the time.
        if self.was_slow.load(Ordering::Relaxed) != slow {
            self.was_slow.store(slow, Ordering::Relaxed);
        }
        if answered {
            if self.failed_in_a_row.load(Ordering::Relaxed) != 0 {
                self.failed_in_a_row.store(0, Ordering::Relaxed);
            }
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let before = self.latency_micros.load(Ordering::Relaxed);
            let average = if before == 0 {
                micros
            } else {
                before - before / 8 + micros / 8
            };
            self.latency_micros.store(average.max(1), Ordering::Relaxed);
        }
        if let Err(error) = outcome {
            self.failures.fetch_add(1, Ordering::Relaxed);
            // A wide range of logs may take its time without anything being wrong.
            let slow_logs = method == "eth_getLogs" && slow;
            // Where there is nobody else, who is slow is better than nobody; polls find out who is dead.
            let excused = slow_logs || slow && self.is_last();
            if error.is_transport() && !excused && !self.send_only {
                let failed = self.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                if failed >= FAILED_CALLS_LIMIT && self.state().answers() {
                    self.turn(NodeState::Unreachable, Some(error.to_string()));
                }
            }
        }
        ended
    }
}

/// A refusal of one call that is really about the batch it came in.
pub(super) fn speaks_of_the_batch(refusal: &Refusal) -> bool {
    let lower = refusal.message.to_lowercase();
    lower.contains("batch")
        || lower.contains("response too large")
        || matches!(refusal.code, -32010 | -32011)
}

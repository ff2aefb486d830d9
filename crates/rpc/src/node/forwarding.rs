//! Passing somebody else's question on: bytes out, bytes in, nothing read but the envelope.

use std::time::Duration;

use bytes::Bytes;

use super::Node;
use crate::error::RpcError;
use crate::wire::{self, Refusal};

/// What came back for a question passed on.
#[derive(Debug, Clone)]
pub(crate) enum Forwarded {
    /// The bytes of `result`.
    Result(Bytes),
    /// The bytes of `error`, and what they say.
    Refused(Refusal, Bytes),
}

impl Node {
    /// Puts a question that is encoded already under this id, with a time-out of its own. A
    /// JSON-RPC error is an answer here; the errors of this function are those of the endpoint.
    pub(crate) async fn forward(
        &self,
        id: u64,
        method: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Forwarded, RpcError> {
        let _in_flight = self.fitness.begin();
        self.timed(method, async {
            let answer = match (&self.http, &self.ws) {
                (Some(http), _) => http.post_within(method, body, within).await?,
                (None, Some(ws)) => ws.call_within(id, method, body, within).await?,
                (None, None) => return Err(self.no_url()),
            };
            match wire::split(id, &answer) {
                Ok(Ok(result)) => Ok(Forwarded::Result(result)),
                Ok(Err((refusal, error))) => Ok(Forwarded::Refused(refusal, error)),
                Err(unreadable) => {
                    Err(self.unreadable(method, self.http.as_ref(), &answer, unreadable))
                }
            }
        })
        .await
    }
}

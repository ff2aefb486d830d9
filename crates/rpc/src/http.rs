//! One HTTP endpoint: bytes out, bytes in, within a time and a size.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

use crate::config::PoolConfig;
use crate::error::{PoolError, RpcError};
use crate::masked::Masked;
use crate::wire;

/// Idle connections kept per endpoint; more are opened when needed.
const IDLE_CONNECTIONS: usize = 16;

/// The client all HTTP endpoints of a pool share.
pub(crate) fn client(pool: &PoolConfig) -> Result<Client, PoolError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // The binary installs it first; losing a race to it is as good as winning.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let urls = pool
        .nodes
        .iter()
        .flat_map(|node| [&node.http_url, &node.http_url_extra_write])
        .flatten();
    let mut builder = Client::builder();
    if urls.into_iter().all(|url| url.scheme() == "http") {
        // Certificates cost memory, and a machine without any must not fail for want of them.
        builder = builder.tls_certs_only([]);
    }
    builder
        .http1_only()
        .no_proxy()
        .no_gzip()
        .redirect(Policy::none())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build()
        .map_err(|error| PoolError::Client {
            cause: root_cause(&error),
        })
}

/// Answers in place of a server, for simulations; the error is the cause of a broken connection.
#[cfg(test)]
pub(crate) trait Scripted: Send + Sync {
    fn post(&self, body: Bytes) -> futures_util::future::BoxFuture<'static, Result<Bytes, String>>;
}

pub(crate) struct HttpEndpoint {
    #[cfg(test)]
    scripted: Option<Arc<dyn Scripted>>,
    client: Client,
    url: Url,
    shown: String,
    node: Arc<str>,
    timeout: Duration,
    max_bytes: usize,
}

impl HttpEndpoint {
    pub(crate) fn new(
        client: Client,
        node: Arc<str>,
        url: Url,
        timeout: Duration,
        max_bytes: usize,
    ) -> Self {
        Self {
            #[cfg(test)]
            scripted: None,
            client,
            shown: Masked(&url).to_string(),
            url,
            node,
            timeout,
            max_bytes,
        }
    }

    #[cfg(test)]
    pub(crate) fn is_scripted(&mut self, scripted: Arc<dyn Scripted>) {
        self.scripted = Some(scripted);
    }

    #[cfg(test)]
    async fn post_scripted(
        &self,
        answer: impl Future<Output = Result<Bytes, String>>,
        method: &str,
        within: Duration,
    ) -> Result<Bytes, RpcError> {
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(cause)) => Err(RpcError::Unreachable {
                node: self.node.to_string(),
                url: self.shown.clone(),
                cause,
            }),
            Err(_) => Err(RpcError::Timeout {
                node: self.node.to_string(),
                method: method.to_owned(),
                after: within,
            }),
        }
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Posts a request and gives back the answer's bytes if they may be JSON-RPC.
    pub(crate) async fn post(&self, method: &str, body: Bytes) -> Result<Bytes, RpcError> {
        self.post_within(method, body, self.timeout).await
    }

    /// The same with a time-out of its own.
    pub(crate) async fn post_within(
        &self,
        method: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, RpcError> {
        #[cfg(test)]
        if let Some(scripted) = &self.scripted {
            return self
                .post_scripted(scripted.post(body), method, within)
                .await;
        }
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .timeout(within)
            .body(body);
        let mut response = request
            .send()
            .await
            .map_err(|error| self.failed(method, within, error))?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let too_large = || RpcError::TooLarge {
            node: self.node.to_string(),
            method: method.to_owned(),
            limit: self.max_bytes,
        };

        let announced = response
            .content_length()
            .and_then(|length| usize::try_from(length).ok());
        if announced.is_some_and(|length| length > self.max_bytes) {
            return Err(too_large());
        }
        // The usual answer is one chunk: no copy then.
        let mut first = response
            .chunk()
            .await
            .map_err(|error| self.failed(method, within, error))?
            .unwrap_or_default();
        if let Some(second) = response
            .chunk()
            .await
            .map_err(|error| self.failed(method, within, error))?
        {
            let mut whole =
                BytesMut::with_capacity(announced.unwrap_or(2 * (first.len() + second.len())));
            whole.extend_from_slice(&first);
            whole.extend_from_slice(&second);
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|error| self.failed(method, within, error))?
            {
                if whole.len() + chunk.len() > self.max_bytes {
                    return Err(too_large());
                }
                whole.extend_from_slice(&chunk);
            }
            first = whole.freeze();
        }
        self.judge(method, within, status, retry_after, first)
    }

    /// A status other than 200 is still an answer when its body is JSON-RPC.
    fn judge(
        &self,
        method: &str,
        within: Duration,
        status: StatusCode,
        retry_after: Option<String>,
        body: Bytes,
    ) -> Result<Bytes, RpcError> {
        if status.is_success() {
            return Ok(body);
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = retry_after
                .map(|wait| format!(", retry after {wait} s"))
                .unwrap_or_default();
            return Err(RpcError::RateLimited {
                node: self.node.to_string(),
                message: format!("HTTP 429{wait}"),
            });
        }
        if matches!(
            wire::decode::<serde::de::IgnoredAny>(0, &body),
            Ok(_) | Err(wire::Unreadable::Content(_))
        ) {
            return Ok(body);
        }
        if status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::GATEWAY_TIMEOUT {
            return Err(RpcError::Timeout {
                node: self.node.to_string(),
                method: method.to_owned(),
                after: within,
            });
        }
        Err(self.not_json_rpc(&format!("HTTP {status}"), &body))
    }

    pub(crate) fn not_json_rpc(&self, status: &str, body: &[u8]) -> RpcError {
        let beginning = wire::quote(body);
        let got = if beginning.is_empty() {
            format!("{status} with an empty body")
        } else {
            format!("{status}, {beginning:?}")
        };
        RpcError::NotJsonRpc {
            node: self.node.to_string(),
            url: self.shown.clone(),
            got,
        }
    }

    fn failed(&self, method: &str, within: Duration, error: reqwest::Error) -> RpcError {
        let node = self.node.to_string();
        if error.is_timeout() {
            return RpcError::Timeout {
                node,
                method: method.to_owned(),
                after: within,
            };
        }
        RpcError::Unreachable {
            node,
            url: self.shown.clone(),
            cause: root_cause(&error),
        }
    }
}

/// The innermost cause: the others only say that there is one, and the outermost shows the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = match error.source() {
        Some(source) => source,
        None => return "the request could not be made".to_owned(),
    };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

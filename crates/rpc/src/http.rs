//! One HTTP endpoint: bytes out, bytes in, within a time and a size.
//!
//! Connections are kept and used again by whoever asks next; one that broke or that somebody gave
//! up on is not. This is HTTP/1.1 and no more of it than JSON-RPC needs, written out because most
//! of what a question costs is spent here: no task, channel or timer beside the one that asks.

mod connection;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use bytes::Bytes;
use url::Url;

use crate::error::RpcError;
use crate::harmless::is_harmless;
use crate::lane;
use crate::masked::{Mask, masked, percent_decoded};
use crate::patience::{self, Allowance};
use crate::wire;
use connection::{Broken, Connection, Place, Reply, connector};

/// Idle connections kept per endpoint and lane; more are opened when needed.
const IDLE_CONNECTIONS: usize = 64;
const TOO_MANY_REQUESTS: u16 = 429;
const REQUEST_TIMEOUT: u16 = 408;
const CONTENT_TOO_LARGE: u16 = 413;
const GATEWAY_TIMEOUT: u16 = 504;

/// The one used last is at the end. On the heap, so that what a question under way takes in memory is
/// a pointer to its connection.
#[allow(clippy::vec_box, reason = "they are moved with every question")]
type Kept = Vec<Box<Connection>>;

/// Answers in place of a server, for simulations; the error is the cause of a broken connection.
#[cfg(test)]
pub(crate) trait Scripted: Send + Sync {
    fn post(&self, body: Bytes) -> futures_util::future::BoxFuture<'static, Result<Bytes, String>>;
}

pub(crate) struct HttpEndpoint {
    #[cfg(test)]
    scripted: Option<Arc<dyn Scripted>>,
    place: Place,
    /// Everything of a request's head but its length.
    head: Bytes,
    /// By lane: each is used again where it was opened.
    idle: [Mutex<Kept>; lane::LANES],
    shown: String,
    mask: Arc<Mask>,
    node: Arc<str>,
    timeout: Duration,
    max_bytes: usize,
}

/// Why there is no answer.
enum Failure {
    Io(std::io::Error),
    NotHttp(&'static str),
    TooLarge,
}

impl HttpEndpoint {
    /// The URL is `http` or `https` and has a host: the settings are checked before.
    pub(crate) fn new(
        tls: &Arc<rustls::ClientConfig>,
        node: Arc<str>,
        url: &Url,
        mask: Arc<Mask>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Self {
        let host = url.host_str().unwrap_or_default();
        let secure = url.scheme() == "https";
        Self {
            #[cfg(test)]
            scripted: None,
            place: Place {
                host: host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned(),
                port: url
                    .port_or_known_default()
                    .unwrap_or(if secure { 443 } else { 80 }),
                tls: secure.then(|| connector(Arc::clone(tls), host)).flatten(),
            },
            head: head(url),
            idle: Default::default(),
            shown: masked(url),
            mask,
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

    /// How long a request may take unless it is said.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Posts a request and gives back the answer's bytes if they may be JSON-RPC and come in time.
    pub(crate) async fn post_within(
        &self,
        method: &str,
        body: &[u8],
        time: Allowance,
    ) -> Result<Bytes, RpcError> {
        let (deadline, within) = (time.until(), time.within);
        #[cfg(test)]
        if let Some(scripted) = &self.scripted {
            return self
                .post_scripted(scripted.post(Bytes::copy_from_slice(body)), method, within)
                .await;
        }
        let length = body.len();
        let reply = match patience::by(deadline, pin!(self.exchange(method, body))).await {
            Some(Ok(reply)) => reply,
            Some(Err(failure)) => return Err(self.failed(method, failure)),
            None => return Err(self.late(method, within)),
        };
        if (200..300).contains(&reply.status) {
            return Ok(reply.body);
        }
        self.judge(method, length, within, reply)
    }

    async fn exchange(&self, method: &str, body: &[u8]) -> Result<Reply, Failure> {
        while let Some(mut kept) = self.kept() {
            match kept.exchange(&self.head, body, self.max_bytes).await {
                Ok(reply) => return Ok(self.done(kept, reply)),
                // The endpoint closed it as we began to write: most likely it has not seen the
                // request. The same transaction twice is one transaction.
                Err(Broken::Unanswered(_))
                    if method == "eth_sendRawTransaction" || is_harmless(method) => {}
                Err(broken) => return Err(broken.into()),
            }
        }
        // Rare and large: kept out of what every question under way takes in memory.
        let fresh = async {
            let mut fresh = Box::new(self.place.connect().await.map_err(Failure::Io)?);
            let reply = fresh.exchange(&self.head, body, self.max_bytes).await?;
            Ok(self.done(fresh, reply))
        };
        Box::pin(fresh).await
    }

    /// A kept connection that is still open, the one used last.
    fn kept(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle(lane::current());
        while let Some(connection) = idle.pop() {
            if connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    fn done(&self, connection: Box<Connection>, reply: Reply) -> Reply {
        if reply.keep {
            // Somebody of another lane may have seen its question through.
            let mut idle = self.idle(connection.lane);
            if idle.len() < IDLE_CONNECTIONS {
                idle.push(connection);
            }
        }
        reply
    }

    fn idle(&self, lane: usize) -> MutexGuard<'_, Kept> {
        self.idle[lane]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A status other than 200 is still an answer when its body is JSON-RPC.
    fn judge(
        &self,
        method: &str,
        asked: usize,
        within: Duration,
        reply: Reply,
    ) -> Result<Bytes, RpcError> {
        if reply.status == TOO_MANY_REQUESTS {
            let wait = reply.retry_after.map(|wait| in_seconds(&wait));
            let wait = wait
                .map(|wait| format!(", retry after {} s", self.mask.hide(&wait)))
                .unwrap_or_default();
            return Err(RpcError::RateLimited {
                node: self.node.to_string(),
                message: format!("HTTP 429{wait}"),
            });
        }
        if matches!(
            wire::decode::<serde::de::IgnoredAny>(0, &reply.body),
            Ok(_) | Err(wire::Unreadable::Content(_))
        ) {
            return Ok(reply.body);
        }
        if reply.status == CONTENT_TOO_LARGE {
            return Err(RpcError::RequestTooLarge {
                node: self.node.to_string(),
                method: method.to_owned(),
                bytes: asked,
            });
        }
        if matches!(reply.status, REQUEST_TIMEOUT | GATEWAY_TIMEOUT) {
            return Err(self.late(method, within));
        }
        let status = match hyper::StatusCode::from_u16(reply.status) {
            Ok(status) => format!("HTTP {status}"),
            Err(_) => format!("HTTP {}", reply.status),
        };
        Err(self.not_json_rpc(&status, &reply.body))
    }

    pub(crate) fn not_json_rpc(&self, status: &str, body: &[u8]) -> RpcError {
        let beginning = wire::quote_masked(body, &self.mask);
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

    fn late(&self, method: &str, after: Duration) -> RpcError {
        RpcError::Timeout {
            node: self.node.to_string(),
            method: method.to_owned(),
            after,
        }
    }

    fn failed(&self, method: &str, failure: Failure) -> RpcError {
        let node = self.node.to_string();
        let cause = match failure {
            Failure::TooLarge => {
                return RpcError::TooLarge {
                    node,
                    method: method.to_owned(),
                    limit: self.max_bytes,
                };
            }
            Failure::NotHttp(what) => format!("it answers with {what}"),
            Failure::Io(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
                "the connection was closed before the answer was complete".to_owned()
            }
            Failure::Io(cause) => cause.to_string(),
        };
        RpcError::Unreachable {
            node,
            url: self.shown.clone(),
            cause,
        }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Unanswered(cause) | Broken::Within(cause) => Self::Io(cause),
            Broken::Malformed(what) => Self::NotHttp(what),
            Broken::TooLarge => Self::TooLarge,
        }
    }
}

/// `Retry-After` may be a date; what is no date is given back as it is.
fn in_seconds(retry_after: &str) -> String {
    match httpdate::parse_http_date(retry_after) {
        Ok(date) => {
            let left = date.duration_since(SystemTime::now()).unwrap_or_default();
            left.as_secs_f64().ceil().to_string()
        }
        Err(_) => retry_after.to_owned(),
    }
}

/// Credentials in the URL become the header they stand for.
fn head(url: &Url) -> Bytes {
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
    );
    if !url.username().is_empty() || url.password().is_some() {
        let decoded = |text: &str| percent_decoded(text);
        let pair = [
            decoded(url.username()),
            b":".to_vec(),
            decoded(url.password().unwrap_or_default()),
        ]
        .concat();
        let pair = base64::prelude::BASE64_STANDARD.encode(pair);
        head.push_str(&format!("Authorization: Basic {pair}\r\n"));
    }
    head.push_str("Content-Length: ");
    head.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_back_at_is_a_number_of_seconds_from_now() {
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        let seconds: u64 = in_seconds(&date).parse().unwrap();
        assert!((25..=30).contains(&seconds), "{seconds}");
        assert_eq!(in_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), "0");
        assert_eq!((in_seconds("7"), in_seconds("x")), ("7".into(), "x".into()));
    }

    #[test]
    fn a_url_says_path_host_and_credentials() {
        let of = |url: &str| String::from_utf8(head(&url.parse().unwrap()).to_vec()).unwrap();
        assert_eq!(
            of("https://us%65r:p%40ss@rpc.example.com:8443/v3/key?x=1#y"),
            "POST /v3/key?x=1 HTTP/1.1\r\nHost: rpc.example.com:8443\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
             Authorization: Basic dXNlcjpwQHNz\r\nContent-Length: "
        );
        let bare = of("http://[::1]:8545");
        assert!(
            bare.starts_with("POST / HTTP/1.1\r\nHost: [::1]:8545\r\n"),
            "{bare}"
        );
        assert!(!bare.contains("Authorization"));
        assert_eq!(percent_decoded("a%2Fb%zz%"), b"a/b%zz%");
    }
}

//! One WebSocket endpoint: a connection that carries head subscriptions and, where there is no
//! HTTP URL, calls. The connection is driven by whoever watches the endpoint; callers only hold
//! a handle, and a broken connection answers all of them at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};
use url::Url;

use crate::error::RpcError;
use crate::masked::{Mask, masked};
use crate::rounded::Rounded;
use crate::wire::Envelope;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Requests waiting to be written to one connection; more callers wait in line.
const WRITE_QUEUE: usize = 256;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A connection without any message, pongs included, for so long is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct WsEndpoint {
    url: Url,
    tls: Arc<rustls::ClientConfig>,
    shown: String,
    mask: Arc<Mask>,
    node: Arc<str>,
    timeout: Duration,
    max_bytes: usize,
    link: watch::Sender<Link>,
    /// The highest head a notification brought over the present connection.
    notified: AtomicU64,
    silent: Notify,
}

/// Whether there is a verified connection.
#[derive(Clone)]
pub(crate) enum Link {
    /// Not tried yet, or lost: then why.
    Down(Option<String>),
    Up {
        connection: Connection,
        subscribed: bool,
    },
}

impl WsEndpoint {
    pub(crate) fn new(
        tls: Arc<rustls::ClientConfig>,
        node: Arc<str>,
        url: Url,
        mask: Arc<Mask>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Self {
        let shown = masked(&url);
        Self {
            url,
            tls,
            shown,
            mask,
            node,
            timeout,
            max_bytes,
            link: watch::Sender::new(Link::Down(None)),
            notified: AtomicU64::new(0),
            silent: Notify::new(),
        }
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Keeps in mind why no connection came up, unless somebody has one by now.
    pub(crate) fn not_up_because(&self, cause: String) {
        self.link.send_if_modified(|link| {
            let down = matches!(link, Link::Down(_));
            if down {
                *link = Link::Down(Some(cause));
            }
            down
        });
    }

    /// A notification, or what was asked right after subscribing, showed this block.
    pub(crate) fn notified(&self, number: u64) {
        self.notified.fetch_max(number, Ordering::Relaxed);
    }

    /// A subscription that has not brought by now what an earlier poll had found brings nothing
    /// more: subscriptions die silently while their connection answers pings.
    pub(crate) fn compare(&self, polled_before: Option<u64>) {
        if polled_before.is_some_and(|polled| polled > self.notified.load(Ordering::Relaxed)) {
            self.silent.notify_one();
        }
    }

    /// Waits until the subscription is found to be silent.
    pub(crate) async fn found_silent(&self) -> String {
        self.silent.notified().await;
        "its head subscription went silent while blocks went on".to_owned()
    }

    /// Heads come over the present connection.
    pub(crate) fn is_subscribed(&self) -> bool {
        matches!(
            *self.link.borrow(),
            Link::Up {
                subscribed: true,
                ..
            }
        )
    }

    /// Why there is no connection; none if there is one or it was not tried yet.
    pub(crate) fn down_cause(&self) -> Option<String> {
        match &*self.link.borrow() {
            Link::Down(cause) => cause.clone(),
            Link::Up { .. } => None,
        }
    }

    /// The connection, waiting for the very first one to come up.
    async fn connection(&self) -> Result<Connection, RpcError> {
        let mut link = self.link.subscribe();
        let tried = timeout(
            self.timeout,
            link.wait_for(|link| !matches!(link, Link::Down(None))),
        )
        .await;
        match tried {
            Ok(Ok(link)) => match &*link {
                Link::Up { connection, .. } => Ok(connection.clone()),
                Link::Down(cause) => Err(self.unreachable(cause.clone().unwrap_or_default())),
            },
            _ => Err(self.unreachable("nobody has connected to it yet".to_owned())),
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) async fn call_within(
        &self,
        id: u64,
        method: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, RpcError> {
        let connection = self.connection().await?;
        self.exchange(&connection, id, method, body, within).await
    }

    /// Asks over a certain connection, within the request time-out.
    pub(crate) async fn call_on(
        &self,
        connection: &Connection,
        id: u64,
        method: &str,
        body: Bytes,
    ) -> Result<Bytes, RpcError> {
        self.exchange(connection, id, method, body, self.timeout)
            .await
    }

    async fn exchange(
        &self,
        connection: &Connection,
        id: u64,
        method: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, RpcError> {
        let text =
            Utf8Bytes::try_from(body).map_err(|cause| self.unreachable(cause.to_string()))?;
        let deadline = Instant::now() + within;
        let late = |_| RpcError::Timeout {
            node: self.node.to_string(),
            method: method.to_owned(),
            after: within,
        };
        let closed = || self.unreachable("the WebSocket connection broke".to_owned());

        let answer = connection.waiting.enter(id);
        timeout_at(deadline, connection.requests.send(text))
            .await
            .map_err(late)?
            .map_err(|_| closed())?;
        let answer = timeout_at(deadline, answer.received())
            .await
            .map_err(late)?
            .ok_or_else(closed)?;
        Ok(answer.into())
    }

    /// Opens a connection. Nothing moves on it unless the driver is run.
    pub(crate) async fn connect(&self) -> Result<(Connection, Driver), RpcError> {
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = 16 << 10;
        config.write_buffer_size = 16 << 10;
        config.max_message_size = Some(self.max_bytes);
        config.max_frame_size = Some(self.max_bytes);
        let request = self
            .upgrade_request()
            .map_err(|error| self.failed(&error))?;
        let dialed = timeout(
            self.timeout,
            connect_async_tls_with_config(
                request,
                Some(config),
                true,
                Some(Connector::Rustls(Arc::clone(&self.tls))),
            ),
        )
        .await;
        let (socket, _) = dialed
            .map_err(|_| {
                self.unreachable(format!("no WebSocket within {}", Rounded(self.timeout)))
            })?
            .map_err(|error| self.failed(&error))?;

        let (requests, queue) = mpsc::channel(WRITE_QUEUE);
        let waiting = Arc::new(Waiting::default());
        let (sink, stream) = socket.split();
        let driver = Driver {
            sink,
            stream,
            queue,
            waiting: Arc::clone(&waiting),
            mask: Arc::clone(&self.mask),
        };
        Ok((Connection { requests, waiting }, driver))
    }

    /// Credentials in the URL become the header they stand for.
    fn upgrade_request(
        &self,
    ) -> Result<tokio_tungstenite::tungstenite::handshake::client::Request, Error> {
        let (user, password) = (
            self.url.username().to_owned(),
            self.url.password().map(str::to_owned),
        );
        let mut bare = self.url.clone();
        // These only fail for URLs that cannot have a host, which the configuration refuses.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        let mut request = bare.as_str().into_client_request()?;
        if !user.is_empty() || password.is_some() {
            let pair = format!("{user}:{}", password.unwrap_or_default());
            let value = format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(pair)
            );
            if let Ok(mut value) = HeaderValue::from_str(&value) {
                value.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, value);
            }
        }
        Ok(request)
    }

    pub(crate) fn unreachable(&self, cause: String) -> RpcError {
        RpcError::Unreachable {
            node: self.node.to_string(),
            url: self.shown.clone(),
            cause: self.mask.hide_in(cause),
        }
    }

    fn failed(&self, error: &Error) -> RpcError {
        match error {
            Error::Http(response) => RpcError::NotJsonRpc {
                node: self.node.to_string(),
                url: self.shown.clone(),
                got: format!("HTTP {} to the WebSocket upgrade", response.status()),
            },
            Error::Io(cause) => self.unreachable(cause.to_string()),
            other => self.unreachable(other.to_string()),
        }
    }
}

/// A handle to a connection that somebody drives.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: mpsc::Sender<Utf8Bytes>,
    waiting: Arc<Waiting>,
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting(Mutex<HashMap<u64, oneshot::Sender<Utf8Bytes>>>);

impl Waiting {
    fn enter(&self, id: u64) -> Expected<'_> {
        let (sender, answer) = oneshot::channel();
        self.map().insert(id, sender);
        Expected {
            waiting: self,
            id,
            answer,
        }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Utf8Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer somebody waits for; giving up leaves nothing behind.
struct Expected<'a> {
    waiting: &'a Waiting,
    id: u64,
    answer: oneshot::Receiver<Utf8Bytes>,
}

impl Expected<'_> {
    async fn received(mut self) -> Option<Utf8Bytes> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.waiting.map().remove(&self.id);
    }
}

/// Moves a connection's messages; dropping it ends the connection.
pub(crate) struct Driver {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    queue: mpsc::Receiver<Utf8Bytes>,
    waiting: Arc<Waiting>,
    mask: Arc<Mask>,
}

impl Driver {
    /// Runs until the connection ends and says why. `notified` gets what subscriptions bring.
    pub(crate) async fn run(mut self, mut notified: impl FnMut(&str)) -> String {
        let cause = tokio::select! {
            cause = write_all(&mut self.sink, &mut self.queue) => cause,
            cause = read_all(&mut self.stream, &self.waiting, &mut notified) => cause,
        };
        self.queue.close();
        self.waiting.map().clear();
        self.mask.hide_in(cause)
    }
}

async fn write_all(
    sink: &mut SplitSink<Socket, Message>,
    queue: &mut mpsc::Receiver<Utf8Bytes>,
) -> String {
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    loop {
        let message = tokio::select! {
            request = queue.recv() => match request {
                Some(text) => Message::Text(text),
                None => return "nobody uses the connection any more".to_owned(),
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        if let Err(error) = sink.send(message).await {
            return error.to_string();
        }
    }
}

async fn read_all(
    stream: &mut SplitStream<Socket>,
    waiting: &Waiting,
    notified: &mut impl FnMut(&str),
) -> String {
    loop {
        let text = match timeout(SILENCE_LIMIT, stream.next()).await {
            Err(_) => return format!("not a sign of life for {}", Rounded(SILENCE_LIMIT)),
            Ok(None) => return "the endpoint closed the connection".to_owned(),
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Binary(bytes)))) => match Utf8Bytes::try_from(bytes) {
                Ok(text) => text,
                Err(_) => continue,
            },
            Ok(Some(Ok(Message::Close(frame)))) => {
                let words = frame
                    .map(|frame| format!(": {} {}", frame.code, frame.reason))
                    .unwrap_or_default();
                return format!("the endpoint closed the connection{words}");
            }
            Ok(Some(Ok(_))) => continue,
        };
        // One message we cannot read must not end the connection.
        let Some(envelope) = Envelope::read(&text) else {
            continue;
        };
        if let Some(content) = envelope.notified() {
            notified(content);
        } else if let Some(id) = envelope.id() {
            let waiter = waiting.map().remove(&id);
            if let Some(waiter) = waiter {
                // The caller may have given up.
                let _ = waiter.send(text);
            }
        }
    }
}

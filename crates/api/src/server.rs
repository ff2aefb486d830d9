//! The listener and what every handler shares.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Uri};
use dodona_runtime::{Health, Poke};
use dodona_store::Store;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::auth::PasswordWork;
use crate::http::{Limits, Peer};
use crate::{ApiConfig, ChainView, Parts, Vault, observe, routes};

/// Connections at the same time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// Longest silence on a connection before the next request's headers are complete.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of headers, at most.
const HEADER_BYTES: usize = 64 * 1024;
/// How long a stopping server waits for answers in progress.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted (out of file handles, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Somebody else has the port.
    #[error(
        "cannot listen on {listen}: another program uses this port; stop it, or choose a free port with WebServer.HTTPPort (CHAINLINK_PORT where no configuration file is used)"
    )]
    InUse {
        /// The address.
        listen: SocketAddr,
    },
    /// No such address here.
    #[error(
        "cannot listen on {listen}: this machine has no such address; correct WebServer.ListenIP"
    )]
    NoSuchAddress {
        /// The address.
        listen: SocketAddr,
    },
    /// Ports below 1024, mostly.
    #[error(
        "cannot listen on {listen}: the operating system does not permit it; choose a port above 1023 with WebServer.HTTPPort"
    )]
    NotPermitted {
        /// The address.
        listen: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {listen}: {cause}")]
    Other {
        /// The address.
        listen: SocketAddr,
        /// What the operating system said.
        #[source]
        cause: std::io::Error,
    },
}

/// What handlers share.
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) health: Health,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) chains: Vec<ChainView>,
    pub(crate) leading: Arc<dyn Fn() -> Vec<(String, bool)> + Send + Sync>,
    pub(crate) run_ended: Poke,
    pub(crate) metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) config: ApiConfig,
    pub(crate) limits: Limits,
    pub(crate) passwords: PasswordWork,
    pub(crate) started: Instant,
}

impl App {
    pub(crate) fn chain(&self, id: dodona_model::ChainId) -> Option<&ChainView> {
        self.chains.iter().find(|chain| chain.chain_id == id)
    }
}

/// Takes the port before there is anything to serve, so that a port in use is known before anything is touched.
pub async fn take_port(listen: SocketAddr) -> Result<TcpListener, ApiError> {
    use std::io::ErrorKind as Kind;
    TcpListener::bind(listen)
        .await
        .map_err(|cause| match cause.kind() {
            Kind::AddrInUse => ApiError::InUse { listen },
            Kind::AddrNotAvailable => ApiError::NoSuchAddress { listen },
            Kind::PermissionDenied => ApiError::NotPermitted { listen },
            _ => ApiError::Other { listen, cause },
        })
}

/// The API of one process.
pub struct Api(Arc<App>);

impl Api {
    /// Touches nothing yet.
    pub fn new(parts: Parts, config: ApiConfig) -> Self {
        Self(Arc::new(App {
            limits: Limits::new(&config.rate_limits),
            passwords: PasswordWork::default(),
            started: Instant::now(),
            store: parts.store,
            health: parts.health,
            vault: parts.vault,
            chains: parts.chains,
            leading: parts.leading,
            run_ended: parts.run_ended,
            metrics_render: parts.metrics_render,
            config,
        }))
    }

    /// Takes the port its settings name: see [`take_port`].
    pub async fn bind(&self) -> Result<TcpListener, ApiError> {
        take_port(self.0.config.listen).await
    }

    /// Answers until `stop` is done, then finishes what it is answering, at most five seconds.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        if let Ok(address) = listener.local_addr() {
            observe::listening(address);
        }
        let router = routes::router(&self.0);
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let closing = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener, &slots) => accepted,
            };
            let Some((stream, peer, slot)) = accepted else {
                continue;
            };
            let answer = connection(stream, peer, router.clone(), closing.subscribe());
            connections.spawn(async move {
                answer.await;
                drop(slot);
            });
        }
        drop(listener);
        closing.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        // What is not answered by then is cut off with the set.
        let _ = tokio::time::timeout(GRACE, drained).await;
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<Accepted> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(cause) => {
            observe::accept_failed(&cause);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut closing: watch::Receiver<bool>,
) {
    // Small answers should leave at once.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            forgive_trailing_slash(request.uri_mut());
            Ok::<_, Infallible>(
                router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { closing.wait_for(|closing| *closing).await.map(drop).unwrap_or_default() } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(cause) = ended {
        observe::connection_failed(&cause);
    }
}

/// `/v2/users/` is what some clients ask for; it means `/v2/users`.
fn forgive_trailing_slash(uri: &mut Uri) {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() || trimmed.len() == path.len() || !trimmed.starts_with('/') {
        return;
    }
    let wanted = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    if let Ok(better) = wanted.parse() {
        *uri = better;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_changes_nothing() {
        for (given, expected) in [
            ("/v2/users/", "/v2/users"),
            ("/v2/jobs//?size=1", "/v2/jobs?size=1"),
            ("/", "/"),
            ("/v2/jobs", "/v2/jobs"),
            ("//", "//"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            forgive_trailing_slash(&mut uri);
            assert_eq!(uri.to_string(), expected);
        }
    }
}

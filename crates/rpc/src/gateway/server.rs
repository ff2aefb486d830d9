//! The door: one port for HTTP/1.1, HTTP/2 and WebSocket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CONNECTION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE, VARY,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Core;
use super::envelope::{Pieces, error_bytes};
use super::handle::From;
use super::{observe, pages, socket};

/// Longest silence before a request's headers are complete.
const HEADERS_WITHIN: Duration = Duration::from_secs(60);
/// Longest time a request's body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of headers, at most.
const HEADER_BYTES: usize = 16 << 10;
/// Pause after a connection could not be accepted (out of file handles, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the gateway does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Anybody could come in, and nobody would be asked who they are.
    #[error(
        "{listen} can be reached from outside this machine's private network, and the gateway's own port has neither TLS nor client authentication yet: listen on 127.0.0.1 or on a private address and put a TLS proxy in front"
    )]
    Open { listen: SocketAddr },
    #[error(
        "cannot listen on {listen}: another program uses this port; stop it, or choose another one with --listen"
    )]
    InUse { listen: SocketAddr },
    #[error("cannot listen on {listen}: {cause}")]
    Other {
        listen: SocketAddr,
        #[source]
        cause: std::io::Error,
    },
}

pub(crate) async fn bind(listen: SocketAddr) -> Result<TcpListener, ListenError> {
    if !is_private(listen) {
        return Err(ListenError::Open { listen });
    }
    TcpListener::bind(listen)
        .await
        .map_err(|cause| match cause.kind() {
            std::io::ErrorKind::AddrInUse => ListenError::InUse { listen },
            _ => ListenError::Other { listen, cause },
        })
}

fn is_private(listen: SocketAddr) -> bool {
    match listen.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback() || ip.is_private() || (a == 100 && (64..128).contains(&b))
        }
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// Answers until `stop` is done, then finishes what it is answering.
pub(crate) async fn serve(core: Arc<Core>, listener: TcpListener, stop: impl Future<Output = ()>) {
    if let Ok(address) = listener.local_addr() {
        observe::listening(address);
    }
    let slots = Arc::new(Semaphore::new(core.config.max_connections));
    let closing = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else {
            continue;
        };
        let serving = connection(Arc::clone(&core), stream, closing.clone());
        connections.spawn(async move {
            serving.await;
            drop(slot);
        });
    }
    core.draining.store(true, Ordering::Relaxed);
    observe::draining(connections.len());
    drop(listener);
    closing.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is not answered by then is cut off with the set.
    let _ = tokio::time::timeout(core.config.drain, drained).await;
    // Upgraded connections are tasks of their own; the last of them holds a receiver.
    let _ = tokio::time::timeout(Duration::from_secs(3), closing.closed()).await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(cause) => {
            observe::accept_failed(&cause);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(core: Arc<Core>, stream: TcpStream, closing: watch::Sender<bool>) {
    // Small answers should leave at once.
    let _ = stream.set_nodelay(true);
    let mut stop = closing.subscribe();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (core, closing) = (Arc::clone(&core), closing.clone());
        async move { Ok::<_, Infallible>(respond(core, request, closing).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADER_BYTES.max(64 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(16 << 10)
        .max_concurrent_streams(256)
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn respond(
    core: Arc<Core>,
    mut request: Request<Incoming>,
    closing: watch::Sender<bool>,
) -> Response<Pieces> {
    if let Some(refused) = stranger(&core, request.headers(), request.uri().host()) {
        return refused;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::POST => post(&core, request).await,
        Method::GET if asks_for_socket(request.headers()) => {
            upgrade(core, &mut request, closing.subscribe())
        }
        Method::GET | Method::HEAD => pages::page(&core, &request),
        Method::OPTIONS => {
            let mut response = plain(StatusCode::NO_CONTENT, "");
            let headers = response.headers_mut();
            headers.insert(
                ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("POST, GET"),
            );
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("content-type, authorization"),
            );
            response
        }
        _ => plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "JSON-RPC is POST here; GET / shows the status page\n",
        ),
    };
    if let Some(origin) = origin {
        // It was found in the list, or we would not be here.
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// Web pages and names that are not ours are refused.
fn stranger(core: &Core, headers: &HeaderMap, authority: Option<&str>) -> Option<Response<Pieces>> {
    if let Some(origin) = headers.get(ORIGIN) {
        let known = origin
            .to_str()
            .is_ok_and(|origin| core.config.origins.iter().any(|known| known == origin));
        if !known {
            return Some(plain(
                StatusCode::FORBIDDEN,
                "web pages of this origin may not use the gateway; allow it with --allow-origin\n",
            ));
        }
    }
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .or(authority)?;
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let known = name.parse::<std::net::IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || core
            .config
            .hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name));
    (!known).then(|| {
        plain(
            StatusCode::FORBIDDEN,
            "the gateway does not answer to this host name; allow it with --allow-host\n",
        )
    })
}

async fn post(core: &Arc<Core>, request: Request<Incoming>) -> Response<Pieces> {
    let body = match tokio::time::timeout(BODY_WITHIN, read(request, core.config.max_request_bytes))
        .await
    {
        Ok(Ok(body)) => body,
        Ok(Err(Unread::TooLarge)) => {
            let error = error_bytes(-32600, "request too large");
            let mut writer = super::envelope::Writer::default();
            writer.answer("null", super::envelope::Answer::Nameless(error));
            return json(StatusCode::PAYLOAD_TOO_LARGE, writer.done());
        }
        Ok(Err(Unread::Broken)) => {
            return plain(StatusCode::BAD_REQUEST, "the request broke off\n");
        }
        Err(_) => {
            return plain(
                StatusCode::REQUEST_TIMEOUT,
                "the request took too long to arrive\n",
            );
        }
    };
    match core.handle(&body, &From::Http).await {
        Some(pieces) => json(StatusCode::OK, pieces),
        None => plain(StatusCode::OK, ""),
    }
}

enum Unread {
    TooLarge,
    Broken,
}

async fn read(request: Request<Incoming>, most: usize) -> Result<Bytes, Unread> {
    let mut body = request.into_body();
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(Unread::TooLarge);
    }
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(frame) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
    {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        // The usual request is one piece: no copy then.
        match first.take() {
            None if whole.is_empty() => {
                first = Some(data);
                continue;
            }
            None => {}
            Some(before) => {
                whole.reserve(usize::try_from(announced).unwrap_or(0).min(most));
                whole.extend_from_slice(&before);
            }
        }
        if whole.len() + data.len() > most {
            return Err(Unread::TooLarge);
        }
        whole.extend_from_slice(&data);
    }
    let body = first.unwrap_or_else(|| whole.freeze());
    if body.len() > most {
        return Err(Unread::TooLarge);
    }
    Ok(body)
}

fn asks_for_socket(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn upgrade(
    core: Arc<Core>,
    request: &mut Request<Incoming>,
    closing: watch::Receiver<bool>,
) -> Response<Pieces> {
    let headers = request.headers();
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "a WebSocket upgrade needs Sec-WebSocket-Key\n",
        );
    };
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        let mut response = plain(
            StatusCode::UPGRADE_REQUIRED,
            "WebSocket version 13 is spoken here\n",
        );
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    let accept = derive_accept_key(key.as_bytes());
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            socket::serve(core, upgraded, closing).await;
        }
    });
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

pub(crate) fn json(status: StatusCode, pieces: Pieces) -> Response<Pieces> {
    of_type(status, "application/json", pieces)
}

pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<Pieces> {
    let pieces = match text {
        "" => Pieces::default(),
        text => Pieces::one(text),
    };
    of_type(status, "text/plain; charset=utf-8", pieces)
}

pub(crate) fn of_type(
    status: StatusCode,
    content_type: &'static str,
    pieces: Pieces,
) -> Response<Pieces> {
    let mut response = Response::new(pieces);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_open_door_is_refused_with_a_sentence() {
        for listen in ["0.0.0.0:0", "8.8.8.8:0", "[::]:0"] {
            let error = bind(listen.parse().unwrap()).await.unwrap_err();
            assert!(error.to_string().contains("TLS proxy"), "{error}");
        }
        assert!(bind("127.0.0.1:0".parse().unwrap()).await.is_ok());
        let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = bind(taken.local_addr().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}

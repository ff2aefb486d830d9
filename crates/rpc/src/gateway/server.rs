//! The door: one port for HTTP/1.1, HTTP/2 and WebSocket, with TLS or without.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    VARY,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Core;
use super::access::{Caller, Origin, Refused};
use super::envelope::Pieces;
use super::gone::Answering;
use super::handle::From;
use super::pace::{Limits, Pace, Paced, Room};
use super::responses::{json, nameless, no_room, plain, preflight, turned_away, wait_for};
use super::resumed::Resumed;
use super::socket::Guest;
use super::swift::{self, Outcome};
use super::teller::Tellers;
use super::workers::{Place, Workers};
use super::{access, observe, pages, socket, tls};

/// Bytes the general server reads ahead; heads may have fewer.
const READ_AHEAD: usize = 64 << 10;
/// Pause after a connection could not be accepted (out of file handles, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a request waits while more bodies are held than there is room for.
pub(crate) const ROOM_WITHIN: Duration = Duration::from_secs(2);
pub(crate) const NO_ROOM: &str = "the gateway holds as many requests as it has room for";
/// Bytes of a refused request's body that are read all the same, and for how long.
const FORGOTTEN: usize = 1 << 20;
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(2);
/// WebSocket clients are sent away at this pace, so that they do not all come back at once.
const FAREWELL_EACH: Duration = Duration::from_millis(2);
const FAREWELLS: Duration = Duration::from_secs(20);

/// The settings as they are now; changes come here.
pub(crate) type Cores = watch::Receiver<Arc<Core>>;

/// Answers until `stop` is done, then finishes what it is answering.
pub(crate) async fn serve(cores: Cores, listener: TcpListener, stop: impl Future<Output = ()>) {
    let core = cores.borrow().clone();
    if let Ok(address) = listener.local_addr() {
        observe::listening(address, core.tls.is_some());
    }
    let slots = Arc::new(Semaphore::new(core.config.max_connections));
    let closing = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let workers = Workers::start();
    let kept = Arc::clone(&core.kept);
    drop(core);
    let told = async {
        stop.await;
        kept.draining.store(true, Ordering::Relaxed);
        let notice = cores.borrow().config.notice();
        observe::draining(notice);
        // Balancers look at /readyz and send nobody any more; who comes meanwhile is answered.
        sleep(notice).await;
    };
    tokio::pin!(told);
    loop {
        let accepted = tokio::select! {
            () = &mut told => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else {
            continue;
        };
        if !cores.borrow().doorman.lets_near(peer) {
            observe::turned_away("address");
            continue;
        }
        let (worker, place) = workers.place();
        let seat = Seat(slot, place);
        let serving = arrive(cores.clone(), stream, peer, closing.clone(), seat);
        connections.spawn_on(serving, worker);
    }
    drop(listener);
    closing.send_replace(true);
    let patience = cores.borrow().config.drain;
    // What is not answered by then is cut off with the set. Upgraded connections are tasks of
    // their own; the last of them holds a receiver.
    let drained = async {
        while connections.join_next().await.is_some() {}
        closing.closed().await;
    };
    let _ = timeout(patience, drained).await;
}

type Slot = tokio::sync::OwnedSemaphorePermit;

/// What a connection takes up, of the connections there may be and at its worker, until it ends;
/// also when it has become a WebSocket.
struct Seat(
    #[allow(dead_code, reason = "kept to be dropped")] Slot,
    Place,
);

/// The next connection, of no runtime yet.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(std::net::TcpStream, IpAddr, Slot)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    let accepted = listener.accept().await;
    match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
        Ok((stream, peer)) => Some((stream, peer.ip(), slot)),
        Err(cause) => {
            observe::accept_failed(&cause);
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// A new connection: TLS first, if that is spoken here.
async fn arrive(
    cores: Cores,
    stream: std::net::TcpStream,
    peer: IpAddr,
    closing: watch::Sender<bool>,
    seat: Seat,
) {
    // From here on it belongs to the runtime of whoever serves it.
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(cause) => return observe::accept_failed(&cause),
    };
    // Small answers should leave at once.
    let _ = stream.set_nodelay(true);
    let core = cores.borrow().clone();
    let mut origin = Origin {
        peer,
        certificate: None,
    };
    let Some(tls) = &core.tls else {
        drop(core);
        let link = Link::new(cores, origin, closing, seat);
        let mut stop = link.closing.subscribe();
        if let Outcome::General(stream, read) = swift::serve(stream, &link, &mut stop).await {
            connection(link, Resumed::new(stream, read)).await;
        }
        return;
    };
    let hello = timeout(core.config.headers_within, tls.acceptor.accept(stream)).await;
    let stream = match hello {
        Ok(Ok(stream)) => stream,
        Ok(Err(cause)) => return observe::no_tls(peer, &cause),
        Err(_) => return observe::turned_away("tls_timeout"),
    };
    let shown = stream.get_ref().1.peer_certificates();
    if let Some(first) = shown.and_then(<[_]>::first) {
        origin.certificate = tls::name_of(first);
    }
    drop(core);
    connection(Link::new(cores, origin, closing, seat), stream).await;
}

/// What is known of a connection beside its settings.
pub(crate) struct Link {
    cores: Cores,
    origin: Origin,
    closing: watch::Sender<bool>,
    seat: Seat,
    /// Who it was found to be last, and by what.
    last: Mutex<Option<Last>>,
}

struct Last {
    core: Arc<Core>,
    shown: Shown,
    caller: Arc<Caller>,
}

#[derive(PartialEq, Eq, Default)]
struct Shown([Option<HeaderValue>; 3], Option<String>);

async fn connection<S>(link: Arc<Link>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stop = link.closing.subscribe();
    let settings = link.settings();
    let pace = Pace::new(Limits {
        headers: settings.config.headers_within,
        body: settings.config.body_within,
    });
    drop(settings);
    let paced = Paced::new(stream, Arc::clone(&pace));
    let watched = Arc::clone(&pace);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (link, pace) = (Arc::clone(&link), Arc::clone(&pace));
        let serving = pace.serves(request.version() == Version::HTTP_2);
        async move {
            let mut response = respond(&link, request).await;
            let room = response.extensions_mut().remove::<Room>();
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                pace.is_upgraded();
            }
            let response = response.map(|pieces| pace.answers(pieces, room));
            drop(serving);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Times are watched by ourselves: there they are several.
    builder
        .http1()
        .header_read_timeout(None)
        .max_buf_size(READ_AHEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(16 << 10)
        .max_concurrent_streams(256)
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(paced), service);
    let timer = sleep(Duration::ZERO);
    tokio::pin!(connection, timer);
    // Looked at whenever the connection was.
    let mut late = poll_fn(|context| {
        loop {
            let Some(until) = watched.until() else {
                return Poll::Pending;
            };
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            if timer.is_elapsed() || until < timer.deadline() {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    });
    tokio::select! {
        biased;
        _ = &mut connection => return,
        () = &mut late => if !watched.dismisses() {
            return;
        },
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        _ = connection => {}
        () = late => {}
    }
}

impl Link {
    fn new(cores: Cores, origin: Origin, closing: watch::Sender<bool>, seat: Seat) -> Arc<Self> {
        Arc::new(Self {
            cores,
            origin,
            closing,
            seat,
            last: Mutex::default(),
        })
    }

    /// The settings as they are now and as they come.
    pub(crate) fn cores(&self) -> Cores {
        self.cores.clone()
    }

    /// Whether the gateway stops.
    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Arc<Core> {
        Arc::clone(&self.cores.borrow())
    }

    /// Who this request is from; looked into only when something else is shown than before.
    pub(crate) fn admit(
        &self,
        core: &Arc<Core>,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Arc<Caller>, Refused> {
        let shown = if core.doorman.looks_at_headers() {
            // One of several addresses is not all that was shown.
            if headers.get_all("x-forwarded-for").iter().nth(1).is_some() {
                let caller = core.doorman.admit(&self.origin, headers, path)?;
                return Ok(Arc::new(caller));
            }
            let names = ["authorization", "x-api-key", "x-forwarded-for"];
            let path = (access::without_key(path) != path).then(|| path.to_owned());
            Shown(names.map(|name| headers.get(name).cloned()), path)
        } else {
            Shown::default()
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && Arc::ptr_eq(&last.core, core)
            && last.shown == shown
            && last.caller.is_still_good()
        {
            return Ok(Arc::clone(&last.caller));
        }
        let caller = Arc::new(core.doorman.admit(&self.origin, headers, path)?);
        *last = Some(Last {
            core: Arc::clone(core),
            shown,
            caller: Arc::clone(&caller),
        });
        Ok(caller)
    }
}

/// What somebody who stays showed when they came, so that it can be looked at again.
pub(crate) struct Pass {
    link: Arc<Link>,
    headers: HeaderMap,
    path: String,
    /// Of a request of HTTP/2, which has it instead of the header `Host`.
    authority: Option<String>,
}

impl Pass {
    fn of(link: &Arc<Link>, request: &Request<Incoming>) -> Self {
        // A socket is kept for days: only what is looked at is kept of the rest.
        const LOOKED_AT: [HeaderName; 5] = [
            AUTHORIZATION,
            HOST,
            ORIGIN,
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("x-forwarded-for"),
        ];
        let mut headers = HeaderMap::new();
        for name in LOOKED_AT {
            for value in request.headers().get_all(&name) {
                headers.append(&name, value.clone());
            }
        }
        Self {
            link: Arc::clone(link),
            headers,
            path: request.uri().path().to_owned(),
            authority: request.uri().host().map(str::to_owned),
        }
    }

    /// Who tell of heads and logs where this connection is served.
    pub(crate) fn tellers(&self) -> Tellers {
        self.link.seat.1.tellers.clone()
    }

    /// Who it is under these settings; the error is why they may not stay.
    pub(crate) fn shown_again(&self, core: &Core) -> Result<Arc<Caller>, &'static str> {
        if stranger(core, &self.headers, self.authority.as_deref()).is_some() {
            return Err("the gateway does not let in this origin or host name any more");
        }
        let origin = &self.link.origin;
        if !core.doorman.lets_near(origin.peer) {
            return Err("this address may not use the gateway any more");
        }
        match core.doorman.admit(origin, &self.headers, &self.path) {
            Ok(caller) => Ok(Arc::new(caller)),
            Err(Refused::Address) => Err("this address may not use the gateway any more"),
            Err(Refused::Nobody) => Err("an API key or a token is needed now"),
            Err(Refused::Credentials(why)) => Err(why),
        }
    }
}

async fn respond(link: &Arc<Link>, mut request: Request<Incoming>) -> Response<Pieces> {
    let core = link.settings();
    if let Some(refused) = stranger(&core, request.headers(), request.uri().host()) {
        return unheard(refused, request.version(), request.body_mut()).await;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => preflight(),
        Method::GET | Method::HEAD if pages::is_open(request.uri().path()) => {
            pages::page(&core, request.uri().path())
        }
        _ => match link.admit(&core, request.headers(), request.uri().path()) {
            Err(refused) => {
                let response = turned_away(refused);
                unheard(response, request.version(), request.body_mut()).await
            }
            Ok(caller) => match *request.method() {
                Method::POST => post(&core, request, caller).await,
                Method::GET if asks_for_socket(request.headers()) => {
                    upgrade(link, Arc::clone(&core), &mut request, caller)
                }
                Method::GET | Method::HEAD => pages::page(&core, request.uri().path()),
                _ => plain(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "JSON-RPC is POST here; GET / shows the status page\n",
                ),
            },
        },
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
    (!is_ours(core, host)).then(|| {
        plain(
            StatusCode::FORBIDDEN,
            "the gateway does not answer to this host name; allow it with --allow-host\n",
        )
    })
}

/// Whether the gateway answers to this host, with its port or without.
pub(crate) fn is_ours(core: &Core, host: &str) -> bool {
    let Some(name) = name_of(host) else {
        return false;
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || core
            .config
            .hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
}

/// A host's name without the port behind it; none where something else stands there, which makes it
/// another one: `localhost:x@elsewhere`.
fn name_of(host: &str) -> Option<&str> {
    let (name, behind) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = match behind {
        "" => "",
        behind => behind.strip_prefix(':')?,
    };
    port.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(name)
}

/// An answer to a request whose body is of no interest. A body that is left lying would break the
/// connection for the requests behind it, so a part of it is read and forgotten; if there is more,
/// the client is told that the connection ends here.
async fn unheard(
    mut response: Response<Pieces>,
    version: Version,
    body: &mut Incoming,
) -> Response<Pieces> {
    let forget = async {
        let mut left = FORGOTTEN;
        while let Some(frame) = next_frame(body).await {
            let length = match frame {
                Ok(frame) => frame.data_ref().map_or(0, Bytes::len),
                Err(_) => return false,
            };
            let Some(less) = left.checked_sub(length) else {
                return false;
            };
            left = less;
        }
        true
    };
    let all = timeout(FORGOTTEN_WITHIN, forget).await == Ok(true);
    if !all && version < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

async fn next_frame(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await
}

async fn post(
    core: &Arc<Core>,
    mut request: Request<Incoming>,
    caller: Arc<Caller>,
) -> Response<Pieces> {
    let most = core.config.max_request_bytes;
    let announced = request.body().size_hint().exact().unwrap_or(most as u64);
    let held = Arc::clone(&core.kept.held);
    let room = held.acquire_many_owned(room_for(announced, most));
    let Ok(Ok(room)) = timeout(ROOM_WITHIN, room).await else {
        return unheard(no_room(), request.version(), request.body_mut()).await;
    };
    let version = request.version();
    let incoming = request.body_mut();
    let body = match timeout(core.config.body_within, read(incoming, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(Unread::TooLarge)) => {
            let response = nameless(StatusCode::PAYLOAD_TOO_LARGE, -32600, "request too large");
            return unheard(response, version, incoming).await;
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
    let answers = Arc::clone(core);
    let (pieces, wait) = Answering::new(core, async move {
        let from = From {
            caller: &caller,
            socket: None,
            arrived: Instant::now(),
        };
        let handled = answers.handle(&body, &from).await;
        (handled.said.pieces(), handled.wait)
    })
    .await;
    let length = pieces.as_ref().map_or(0, Pieces::len);
    let Some(room) = room_of_answer(core, room, length) else {
        return no_room();
    };
    let mut response = match (pieces, wait) {
        (Some(pieces), Some(wait)) => wait_for(json(StatusCode::TOO_MANY_REQUESTS, pieces), wait),
        (Some(pieces), None) => json(StatusCode::OK, pieces),
        (None, _) => plain(StatusCode::OK, ""),
    };
    response.extensions_mut().insert(Room::from(room));
    response
}

/// The room of a request made that of its answer; none if there is not so much.
fn room_of_answer(
    core: &Core,
    mut room: OwnedSemaphorePermit,
    length: usize,
) -> Option<OwnedSemaphorePermit> {
    let most = core.config.max_held_bytes;
    // One that is larger than all the room there is may have it for itself.
    let due = room_for(length as u64, most).min(swift::whole_room(most)) as usize;
    match due.checked_sub(room.num_permits()) {
        None | Some(0) => {
            drop(room.split(room.num_permits() - due));
        }
        Some(more) => {
            let more = u32::try_from(more).ok()?;
            let held = Arc::clone(&core.kept.held);
            room.merge(held.try_acquire_many_owned(more).ok()?);
        }
    }
    Some(room)
}

/// In KiB; what is too large anyway is not waited for.
pub(crate) fn room_for(announced: u64, most: usize) -> u32 {
    let bytes = announced.min(most as u64);
    u32::try_from(bytes >> 10).unwrap_or(u32::MAX - 1) + 1
}

enum Unread {
    TooLarge,
    Broken,
}

async fn read(body: &mut Incoming, most: usize) -> Result<Bytes, Unread> {
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(Unread::TooLarge);
    }
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = next_frame(body).await {
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
    link: &Arc<Link>,
    core: Arc<Core>,
    request: &mut Request<Incoming>,
    caller: Arc<Caller>,
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
    let guest = Guest {
        pass: Pass::of(link, request),
        caller,
        core,
    };
    let upgraded = hyper::upgrade::on(request);
    let (cores, closing) = (link.cores.clone(), link.closing.subscribe());
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            socket::serve(cores, upgraded, guest, closing).await;
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

/// How long WebSocket clients are sent away for, all together.
pub(crate) fn farewells(sockets: u64) -> Duration {
    FAREWELLS.min(FAREWELL_EACH * u32::try_from(sockets).unwrap_or(u32::MAX))
}

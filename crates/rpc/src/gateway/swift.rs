//! The usual request, without ceremony: a POST of known length over HTTP/1.1 and no TLS.
//!
//! Nine of ten calls a gateway gets look the same, and taking them through a general HTTP server
//! costs more than answering them. Here the head is parsed where it lies, the body is answered from
//! the same buffer, and head and body of the answer leave in one piece. The first request that is
//! anything else (another method, an upgrade, HTTP/2, an `Origin`) goes to the general server, with
//! all that was read of it, and the connection stays there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task;
use tokio::time::{Instant, timeout, timeout_at};

use super::Core;
use super::access::{Caller, without_key};
use super::envelope::Response;
use super::gone::is_gone;
use super::handle::{From, Said};
use super::pace::Taking;
use super::responses::whole_seconds;
use super::server::{self, Link};

const HEADERS: usize = 48;
pub(crate) const HEAD_BYTES: usize = 16 << 10;
/// Room made for a request before its length is known.
const ROOM: usize = 2 << 10;
/// Answers up to this size leave in one piece with their heads.
const COPIED: usize = 16 << 10;
/// A connection on which nothing is asked is closed after this.
pub(crate) const IDLE: Duration = Duration::from_secs(75);

/// How long somebody gets to take a refusal.
const FAREWELL: Duration = Duration::from_secs(2);

/// What became of a connection.
pub(crate) enum Outcome {
    /// It is over.
    Done,
    /// Its next request is for the general server; with what has been read of it.
    General(TcpStream, Bytes),
}

/// What the next bytes of a connection are.
#[derive(Debug)]
enum Next {
    /// Not even the head is all there.
    More,
    /// The usual: where the body begins, and how long it is once it is all there.
    Usual { body: usize, length: usize },
    /// For somebody else.
    Unusual,
    /// How one request is hidden in another, or what nobody means well with.
    Refused(Refused),
}

/// What is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    TwoLengths,
    NoLength,
    NotChunked,
    TwoHosts,
    NoHost,
    OtherHost,
    BareLines,
    LargeHead,
    TooLate,
}

impl Refused {
    /// The answer, after which the connection ends.
    pub(crate) fn answer(self) -> Vec<u8> {
        let (status, text) = match self {
            Self::TwoLengths => (
                "400 Bad Request",
                "a request has a Content-Length or a Transfer-Encoding, and not both\n",
            ),
            Self::NoLength => ("400 Bad Request", "the Content-Length is not a number\n"),
            Self::NotChunked => (
                "400 Bad Request",
                "the one Transfer-Encoding is chunked, in well-formed chunks\n",
            ),
            Self::NoHost => ("400 Bad Request", "a request of HTTP/1.1 has a Host\n"),
            Self::OtherHost => (
                "400 Bad Request",
                "the request's target is of another host than its Host\n",
            ),
            Self::TwoHosts => ("400 Bad Request", "a request has one Host\n"),
            Self::BareLines => (
                "400 Bad Request",
                "the lines of a request's head end with CR LF\n",
            ),
            Self::LargeHead => (
                "431 Request Header Fields Too Large",
                "a request's head may have 16384 bytes at most\n",
            ),
            Self::TooLate => (
                "408 Request Timeout",
                "the request took too long to arrive\n",
            ),
        };
        let length = text.len();
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\r\n{text}"
        )
        .into()
    }

    /// Answers, for somebody who may not be listening.
    async fn say(self, stream: &mut TcpStream) {
        let answer = self.answer();
        let _ = timeout(FAREWELL, stream.write_all(&answer)).await;
    }
}

/// Serves a connection as long as it asks the usual.
pub(crate) async fn serve(
    mut stream: TcpStream,
    link: &Arc<Link>,
    stop: &mut watch::Receiver<bool>,
) -> Outcome {
    let mut buffer = BytesMut::new();
    // One timer for all: when it fires, it is seen what it was waiting for.
    let timer = tokio::time::sleep(IDLE);
    tokio::pin!(timer);
    let mut waiting_since = Instant::now();
    let mut arrived = waiting_since;
    let mut cores = link.cores();
    let mut settings = cores.borrow_and_update().clone();
    let mut known: Option<Known> = None;
    let mut out = BytesMut::new();
    // Waited for all the time, so that nobody has to get in line for each request.
    let stopped = async {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stopped);
    let mut leaving = false;
    // Of the request that is on its way: taken before its body is there.
    let mut room: Option<OwnedSemaphorePermit> = None;
    loop {
        let most = settings.config.max_request_bytes;
        let again = known.as_ref().and_then(|known| known.look(&buffer, most));
        let next = again.unwrap_or_else(|| look(&buffer, most));
        let usual = match next {
            Next::Unusual => return Outcome::General(stream, buffer.freeze()),
            Next::Refused(refused) => {
                refused.say(&mut stream).await;
                return Outcome::Done;
            }
            Next::Usual { body, length } => Some((body, length)),
            Next::More => None,
        };
        // What is to come of the request is waited for once there is room for it.
        let missing = match usual {
            None => Some(ROOM),
            Some((body, length)) if room.is_some() => {
                Some((body + length).saturating_sub(buffer.len())).filter(|missing| *missing > 0)
            }
            Some(_) => None,
        };
        if let Some(missing) = missing {
            if buffer.is_empty() && leaving {
                return Outcome::Done;
            }
            let patience = match (buffer.is_empty(), usual) {
                // Between requests there is more time than before the first one.
                (true, _) if known.is_some() => IDLE,
                (true, _) => settings.config.headers_within,
                (false, None) => settings.config.headers_within,
                (false, Some(_)) => settings.config.body_within,
            };
            // The beginning of a request is the beginning of a wait.
            let until = waiting_since + patience;
            if until < timer.deadline() {
                timer.as_mut().reset(until);
            }
            let began = buffer.is_empty();
            buffer.reserve(missing);
            tokio::select! {
                biased;
                read = stream.read_buf(&mut buffer) => match read {
                    Ok(0) | Err(_) => return Outcome::Done,
                    Ok(_) => {
                        arrived = Instant::now();
                        if began {
                            waiting_since = arrived;
                        }
                    }
                },
                () = &mut timer => {
                    if waiting_since + patience <= Instant::now() {
                        if !began {
                            Refused::TooLate.say(&mut stream).await;
                        }
                        return Outcome::Done;
                    }
                    timer.as_mut().reset(waiting_since + patience);
                }
                () = &mut stopped, if !leaving => leaving = true,
            }
            continue;
        }
        let Some((body, length)) = usual else {
            unreachable!("who knows nothing of a request waits for more of it, above")
        };
        if cores.has_changed().unwrap_or(false) {
            settings = cores.borrow_and_update().clone();
        }
        if !known
            .as_ref()
            .is_some_and(|known| known.holds(&settings, &buffer))
        {
            let Some(caller) = admit(link, &settings, &buffer[..body]) else {
                return Outcome::General(stream, buffer.freeze());
            };
            known = Some(Known {
                head: Bytes::copy_from_slice(&buffer[..body]),
                length,
                core: Arc::clone(&settings),
                caller,
            });
        }
        let Some(Known { caller, .. }) = &known else {
            unreachable!("it was filled above if it was not there")
        };
        if room.is_none() {
            let taken = Arc::clone(&settings.kept.held)
                .try_acquire_many_owned(server::room_for(length as u64, length));
            // Whoever waits for room waits there.
            let Ok(taken) = taken else {
                return Outcome::General(stream, buffer.freeze());
            };
            room = Some(taken);
            if buffer.len() < body + length {
                continue;
            }
        }
        let from = From {
            caller,
            socket: None,
            arrived,
        };
        let rest = {
            let handling = pin!(settings.handle(&buffer[body..body + length], &from));
            let handled = unless_gone(&stream, waiting_since, &settings, handling).await;
            let Some(handled) = handled else {
                return Outcome::Done;
            };
            leaving |= link.is_closing();
            let Ok(rest) = write(&stream, &mut out, handled, leaving) else {
                return Outcome::Done;
            };
            rest
        };
        room = None;
        buffer.advance(body + length);
        let is_written = rest.is_empty()
            || Box::pin(write_slowly(&mut stream, rest, &settings))
                .await
                .is_ok();
        if !is_written || leaving {
            return Outcome::Done;
        }
        waiting_since = Instant::now();
        arrived = waiting_since;
        if timer.is_elapsed() {
            timer.as_mut().reset(waiting_since + IDLE);
        }
    }
}

/// What becomes of a question unless its client goes away first. The work stays with the caller, see
/// `patience::by`. To be told of the client's going costs no call into the system, and a timer is there
/// only once the connection has something to say in the middle of a question.
fn unless_gone<T>(
    stream: &TcpStream,
    since: Instant,
    core: &Core,
    mut handling: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Option<T>> {
    let mut gone: Option<Pin<Box<_>>> = None;
    poll_fn(move |context| {
        if let Poll::Ready(handled) = handling.as_mut().poll(context) {
            return Poll::Ready(Some(handled));
        }
        if gone.is_none() {
            // An error is a connection that is no more, which is found out there as well.
            let _ = ready!(stream.poll_read_ready(context));
        }
        let gone = gone.get_or_insert_with(|| {
            Box::pin(async move {
                is_gone(stream, since).await;
                core.is_left(task::try_id()).await;
            })
        });
        gone.as_mut().poll(context).map(|()| None)
    })
}

/// The head of the last request and what was found out about it. A client's heads are mostly the
/// same to the byte, and what is the same need not be taken apart again.
struct Known {
    head: Bytes,
    /// Of the body.
    length: usize,
    core: Arc<Core>,
    caller: Arc<Caller>,
}

impl Known {
    /// What the bytes are if they begin with the same head.
    fn look(&self, bytes: &[u8], most: usize) -> Option<Next> {
        if self.length > most || !bytes.starts_with(&self.head) {
            return None;
        }
        let (body, length) = (self.head.len(), self.length);
        Some(Next::Usual { body, length })
    }

    /// Whether these bytes, under these settings, are from the same caller.
    fn holds(&self, core: &Arc<Core>, bytes: &[u8]) -> bool {
        Arc::ptr_eq(&self.core, core)
            && bytes.starts_with(&self.head)
            && self.caller.is_still_good()
    }
}

/// Looks at what has come. Decides and touches nothing.
fn look(bytes: &[u8], most: usize) -> Next {
    // The first letters tell most of what is not for us, before the head is complete.
    let beginning = &b"POST "[..bytes.len().min(5)];
    if !bytes.starts_with(beginning) {
        return Next::Unusual;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let body = match request.parse(bytes) {
        Ok(httparse::Status::Complete(body)) if body <= HEAD_BYTES => body,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES => return Next::More,
        Ok(_) => return Next::Refused(Refused::LargeHead),
        // What is not HTTP is told so by the general server.
        _ => return Next::Unusual,
    };
    if request.version != Some(1) {
        return Next::Unusual;
    }
    if has_bare_lines(&bytes[..body]) {
        return Next::Refused(Refused::BareLines);
    }
    let has = |name: &str| {
        let headers = request.headers.iter();
        headers
            .filter(|header| header.name.eq_ignore_ascii_case(name))
            .count()
    };
    let mut length = None;
    for header in request.headers.iter() {
        let name = header.name;
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            14 if is("content-length") => {
                let text = header.value.trim_ascii();
                // Signs are for others to make something else of.
                if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
                    return Next::Refused(Refused::NoLength);
                }
                let known = std::str::from_utf8(text)
                    .ok()
                    .and_then(|it| it.parse().ok());
                match (length, known) {
                    (Some(_), _) => return Next::Refused(Refused::TwoLengths),
                    (None, Some(known)) if known <= most => length = Some(known),
                    _ if has("transfer-encoding") > 0 => {
                        return Next::Refused(Refused::TwoLengths);
                    }
                    _ => return Next::Unusual,
                }
            }
            17 if is("transfer-encoding") && has("content-length") > 0 => {
                return Next::Refused(Refused::TwoLengths);
            }
            4 if is("host") && has("host") > 1 => return Next::Refused(Refused::TwoHosts),
            17 if is("transfer-encoding") => return Next::Unusual,
            7 if is("upgrade") => return Next::Unusual,
            6 if is("expect") || is("origin") => return Next::Unusual,
            10 if is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive") => {
                return Next::Unusual;
            }
            _ => {}
        }
    }
    match length {
        None => Next::Unusual,
        Some(length) => Next::Usual { body, length },
    }
}

/// Lines that end with LF alone: what stands behind such an end is another header to some and the
/// same one to others.
pub(crate) fn has_bare_lines(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter()
        .any(|byte| std::mem::replace(&mut before, *byte) != b'\r' && *byte == b'\n')
}

/// Where the body of a request begins that is served here, and how long it is.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn quick_request(bytes: &[u8], most: usize) -> Option<(usize, usize)> {
    match look(bytes, most) {
        Next::Usual { body, length } => Some((body, length)),
        Next::More | Next::Unusual | Next::Refused(_) => None,
    }
}

/// Who asks; none if somebody else has to say no.
fn admit(link: &Link, core: &Arc<Core>, head: &[u8]) -> Option<Arc<Caller>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?;
    let path = request.path?;
    let mut host = None;
    let mut shown = HeaderMap::new();
    let looks = core.doorman.looks_at_headers();
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("host") {
            host = std::str::from_utf8(header.value).ok();
        } else if looks && is_credential(header.name) {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            shown.append(name, HeaderValue::from_bytes(header.value).ok()?);
        }
    }
    if !server::is_ours(core, host?) {
        return None;
    }
    // A gateway of one chain answers on every path; keys in paths are the general server's.
    if without_key(path) != path {
        return None;
    }
    link.admit(core, &shown, path).ok()
}

fn is_credential(name: &str) -> bool {
    ["authorization", "x-api-key", "x-forwarded-for"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Writes as much of an answer as the connection takes at once, which mostly is all of it; gives
/// back the rest.
fn write(
    stream: &TcpStream,
    out: &mut BytesMut,
    handled: super::handle::Handled<'_>,
    leaving: bool,
) -> io::Result<VecDeque<Bytes>> {
    out.clear();
    match handled.wait {
        None => out.put_slice(b"HTTP/1.1 200 OK\r\n"),
        Some(wait) => {
            let seconds = whole_seconds(wait);
            let _ = write!(
                out.writer(),
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: {seconds}\r\n"
            );
        }
    }
    if leaving {
        out.put_slice(b"connection: close\r\n");
    }
    out.put_slice(b"content-type: application/json\r\ndate: ");
    date(out);
    let mut rest = VecDeque::new();
    // Small answers are one piece with their head: one copy is cheaper than a list of pieces.
    match handled.said {
        Said::Nothing => end_head(out, 0),
        Said::One(id, answer) => {
            let response = Response::new(id, answer);
            end_head(out, response.len());
            response.begin(out);
            if response.content.len() <= COPIED {
                out.put_slice(&response.content);
                out.put_slice(Response::END);
            } else {
                rest.extend([response.content, Bytes::from_static(Response::END)]);
            }
        }
        Said::Batch(pieces) => {
            end_head(out, pieces.len());
            rest = pieces.0;
            if let Some(first) = rest.front().filter(|first| first.len() <= COPIED) {
                out.put_slice(first);
                rest.pop_front();
            }
        }
    }
    let written = match stream.try_write(out) {
        Ok(written) => written,
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => 0,
        Err(cause) => return Err(cause),
    };
    if written < out.len() {
        rest.push_front(out.split_off(written).freeze());
    }
    Ok(rest)
}

/// The last line of a head, and what ends it.
fn end_head(out: &mut BytesMut, length: usize) {
    out.put_slice(b"\r\ncontent-length: ");
    out.put_slice(itoa::Buffer::new().format(length).as_bytes());
    out.put_slice(b"\r\n\r\n");
}

/// Writes what the connection did not take at once. It takes up room meanwhile like requests do, and
/// whoever takes nothing of it for too long is let go.
async fn write_slowly(
    stream: &mut (impl AsyncWrite + Unpin),
    pieces: VecDeque<Bytes>,
    settings: &Core,
) -> io::Result<()> {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let length: usize = pieces.iter().map(Bytes::len).sum();
    // One that is larger than all the room there is may have it for itself.
    let most = settings.config.max_held_bytes;
    let _room = Arc::clone(&settings.kept.held)
        .try_acquire_many_owned(server::room_for(length as u64, most).min(whole_room(most)))
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let taking = Taking::new(Instant::now(), settings.config.body_within, length);
    for mut piece in pieces {
        while piece.has_remaining() {
            let writing = stream.write_buf(&mut piece);
            if timeout_at(taking.until(Instant::now()), writing)
                .await
                .map_err(slow)??
                == 0
            {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }
    Ok(())
}

/// All the room there is, in KiB.
pub(crate) fn whole_room(most: usize) -> u32 {
    u32::try_from(most >> 10).unwrap_or(u32::MAX).max(1)
}

/// The time as HTTP writes it; made once a second.
fn date(into: &mut BytesMut) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(made, text)| {
        if *made != second {
            (*made, *text) = (second, httpdate::fmt_http_date(now));
        }
        into.put_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USUAL: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn the_usual_is_known_once_it_is_all_there() {
        let head = USUAL.len() - 5;
        for end in 0..USUAL.len() {
            let next = look(&USUAL.as_bytes()[..end], 100);
            let fits = match next {
                Next::More => end < head,
                Next::Usual { body, length } => end >= head && (body, length) == (head, 5),
                _ => false,
            };
            assert!(fits, "{end}: {next:?}");
        }
        let two = format!("{USUAL}{USUAL}");
        for bytes in [USUAL, &two] {
            let next = look(bytes.as_bytes(), 100);
            assert!(matches!(next, Next::Usual { body, length: 5 } if body == head));
        }
    }

    #[test]
    fn everything_else_is_for_the_general_server() {
        let with =
            |line: &str| USUAL.replace("Host: localhost", &format!("Host: localhost\r\n{line}"));
        for text in [
            "GET / HTTP/1.1\r\n".to_owned(),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            "\u{16}\u{3}\u{1}".to_owned(),
            USUAL.replace("HTTP/1.1", "HTTP/1.0"),
            USUAL.replace("Content-Length: 5\r\n", ""),
            USUAL.replace("Content-Length: 5", "Content-Length: 101"),
            USUAL.replace("Content-Length: 5", "Transfer-Encoding: chunked"),
            with("Connection: close"),
            with("Connection: Upgrade\r\nUpgrade: websocket"),
            with("Expect: 100-continue"),
            with("Origin: https://app.example"),
            with("Not a header"),
        ] {
            let next = look(text.as_bytes(), 100);
            assert!(matches!(next, Next::Unusual), "{text:?}: {next:?}");
        }
        assert!(matches!(
            look(with("Connection: keep-alive").as_bytes(), 100),
            Next::Usual { .. }
        ));
    }

    #[test]
    fn what_is_read_in_two_ways_is_refused() {
        let with =
            |line: &str| USUAL.replace("Host: localhost", &format!("Host: localhost\r\n{line}"));
        let length = |text: &str| USUAL.replace("Length: 5", &format!("Length: {text}"));
        let large = format!("X: {}", "x".repeat(HEAD_BYTES));
        for (text, refused) in [
            (with("Content-Length: 5"), Refused::TwoLengths),
            (with("Transfer-Encoding: chunked"), Refused::TwoLengths),
            (length("+5"), Refused::NoLength),
            (length("-5"), Refused::NoLength),
            (length(""), Refused::NoLength),
            (length("5, 5"), Refused::NoLength),
            (with("Host: elsewhere"), Refused::TwoHosts),
            (USUAL.replace("\r\n", "\n"), Refused::BareLines),
            (with("A: b\nC: d"), Refused::BareLines),
            (with(&large), Refused::LargeHead),
            (format!("POST / HTTP/1.1\r\n{large}"), Refused::LargeHead),
        ] {
            let next = look(text.as_bytes(), 100);
            assert!(
                matches!(next, Next::Refused(it) if it == refused),
                "{text:?}: {next:?}"
            );
            let answer = String::from_utf8(refused.answer()).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())));
        }
    }

    /// A core nobody asks, with a caller.
    fn known(head: &str, length: usize) -> Known {
        let node = crate::config::NodeConfig::primary("one", "http://localhost".parse().unwrap());
        let pool = crate::config::PoolConfig::new(1, vec![node]);
        let core = Core::library(crate::endpoints::Endpoints::new(pool).unwrap());
        let origin = super::super::access::Origin {
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
            certificate: None,
        };
        let caller = core.doorman.admit(&origin, &HeaderMap::new(), "/").unwrap();
        Known {
            head: Bytes::copy_from_slice(head.as_bytes()),
            length,
            core: Arc::new(core),
            caller: Arc::new(caller),
        }
    }

    #[test]
    fn a_head_like_the_last_one_is_known_without_a_look_and_any_other_is_not() {
        let head = USUAL.len() - 5;
        let known = known(&USUAL[..head], 5);
        for end in head..=USUAL.len() {
            let bytes = &USUAL.as_bytes()[..end];
            let (again, anew) = (known.look(bytes, 100).unwrap(), look(bytes, 100));
            assert_eq!(format!("{again:?}"), format!("{anew:?}"));
        }
        let other = USUAL.replace("localhost", "elsewhere");
        assert!(known.look(other.as_bytes(), 100).is_none());
        assert!(known.look(&USUAL.as_bytes()[..head - 1], 100).is_none());
        // A limit that was lowered meanwhile is looked at again.
        assert!(known.look(USUAL.as_bytes(), 4).is_none());
        assert!(known.holds(&known.core, USUAL.as_bytes()));
        assert!(!known.holds(&known.core, other.as_bytes()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_byte_now_and_then_does_not_hold_an_answer_for_ever() {
        let known = known("", 0);
        for (each, whole) in [(1, false), (32 << 10, true)] {
            let (mut ours, mut theirs) = tokio::io::duplex(64 << 10);
            let taking = tokio::spawn(async move {
                let mut some = vec![0; each];
                while theirs.read_exact(&mut some).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let answer = VecDeque::from([Bytes::from(vec![b'x'; 1 << 20])]);
            let began = Instant::now();
            let written = write_slowly(&mut ours, answer, &known.core).await;
            assert_eq!(written.is_ok(), whole);
            if !whole {
                assert_eq!(began.elapsed(), Duration::from_secs(30 + 64));
            }
            taking.abort();
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_looked_at_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = look(&bytes, 100);
            let mut after = b"POST / HTTP/1.1\r\n".to_vec();
            after.extend_from_slice(&bytes);
            let _ = look(&after, 100);
        }
    }
}

//! The usual request, without ceremony: a POST of known length over HTTP/1.1 and no TLS.
//!
//! Nine of ten calls a gateway gets look the same, and taking them through a general HTTP server
//! costs more than answering them. Here the head is parsed where it lies, the body is answered from
//! the same buffer, and head and body of the answer leave in one piece. The first request that is
//! anything else (another method, an upgrade, HTTP/2, an `Origin`) goes to the general server, with
//! all that was read of it, and the connection stays there.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task;
use tokio::time::Instant;

use super::Core;
use super::access::{Caller, without_key};
use super::gone::is_gone;
use super::handle::From;
use super::server::{self, Link};

mod answer;
mod look;

pub(crate) use answer::whole_room;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use look::quick_request;
pub(crate) use look::{HEAD_BYTES, Refused, has_bare_lines};

use answer::{write, write_slowly};
use look::{HEADERS, Next, look};

/// Room made for a request before its length is known.
const ROOM: usize = 2 << 10;
/// A connection on which nothing is asked is closed after this.
pub(crate) const IDLE: Duration = Duration::from_secs(75);

/// What became of a connection.
pub(crate) enum Outcome {
    /// It is over.
    Done,
    /// Its next request is for the general server; with what has been read of it.
    General(TcpStream, Bytes),
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

#[cfg(test)]
mod tests {
    use super::look::tests::USUAL;
    use super::*;

    /// A core nobody asks, with a caller.
    pub(super) fn known(head: &str, length: usize) -> Known {
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
}

//! One WebSocket client.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use futures_util::task::AtomicWaker;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::io::{AsyncRead, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::Core;
use super::access::Caller;
use super::envelope::{self, Answer, Body, Pieces, Writer};
use super::frames::{CONTROL_BYTES, Came, Dismissed, Fault, Kind, Reader};
use super::handle::From;
use super::line::Line;
use super::observe;
use super::pace::Paced;
use super::resumed::Resumed;
use super::server::{Cores, NO_ROOM, Pass, ROOM_WITHIN, farewells, room_for};
use super::subscriptions::{Client, Subscriber, TOO_SLOW};

const PING_EVERY: Duration = Duration::from_secs(20);
/// Without a sign of life for so long a client is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// What does not expire is looked at so often all the same, which changes nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 3600);
const EXPIRED: &str = "the token has expired";
const LATE: &str = "a message took too long to arrive";
/// Bytes read at once.
const INCOMING_BYTES: usize = 32 << 10;
/// How long a closing client gets to take its leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// The close code of a message that is too big.
const TOO_BIG: u16 = 1009;

/// Somebody who was let in under some settings and stays under others.
pub(crate) struct Guest {
    pub(crate) pass: Pass,
    pub(crate) caller: Arc<Caller>,
    pub(crate) core: Arc<Core>,
}

impl Guest {
    /// Goes over to the settings as they are now; the error is why the guest has to leave.
    fn follow(&mut self, cores: &mut Cores) -> Result<(), &'static str> {
        let core = cores.borrow_and_update().clone();
        if !Arc::ptr_eq(&core, &self.core) {
            self.caller = self.pass.shown_again(&core)?;
            self.core = core;
        }
        Ok(())
    }

    /// How long until what was shown has to be looked at again.
    fn good_for(&self) -> Duration {
        let seconds = self.caller.good_for_seconds();
        seconds.map_or(LOOK_AGAIN, Duration::from_secs)
    }
}

/// Settings that come later end the socket of somebody they do not let in, with code 1008.
pub(crate) async fn serve(
    mut cores: Cores,
    upgraded: Upgraded,
    mut guest: Guest,
    closing: watch::Receiver<bool>,
) {
    let Halves {
        mut source,
        out,
        mut other,
        read,
    } = apart(upgraded);
    let line = Line::new(out, guest.core.config.max_queued_bytes);
    let client = Client::new(line, guest.pass.tellers());
    let mut reader = Reader::default();
    reader.feed(&read);
    drop(read);
    let most = guest.core.config.max_concurrent;
    // What is under way is moved on by this task: nobody else is woken for an answer.
    let mut under_way = FuturesUnordered::new();
    let mut heard = Instant::now();
    // Once the gateway stops: until when answers are waited for.
    let mut leaving: Option<Instant> = None;
    // Sent away as soon as all is answered, and not listened to any more.
    let mut finishing: Option<Pin<Box<Sleep>>> = None;
    // They may have changed while the connection was agreed on.
    cores.mark_changed();
    // In line all the time, so that nobody has to get in line for each message; and looked at only
    // when one of them has something to say.
    let (bell, ring) = Bell::new();
    let changed = change_of(Some(cores.clone()));
    let stopped = end_of(closing.clone());
    let ending = client.ending.notified();
    let (expired, ping) = (sleep(guest.good_for()), sleep(PING_EVERY));
    tokio::pin!(changed, stopped, ending, expired, ping);
    let _counted = observe::SocketOpen::new();
    let mut waiting: Option<Waiting> = None;
    let mut arrival: Option<Box<Arrival>> = None;

    let ended = loop {
        if finishing.is_some() && under_way.is_empty() && waiting.is_none() {
            break Ended::ByUs;
        }
        let next = poll_fn(|context| {
            if bell.has_rung(context) && finishing.is_none() {
                let context = &mut Context::from_waker(&ring);
                if ending.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Next::Ending);
                }
                if leaving.is_none() && stopped.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Next::Stopped);
                }
                if let Poll::Ready(cores) = changed.as_mut().poll(context) {
                    return Poll::Ready(Next::Changed(cores));
                }
                if expired.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Next::Expired);
                }
                if ping.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Next::Ping);
                }
            }
            // A client with enough under way is not listened to until that is better. One that does not
            // read its answers is: its signs of life count however slow it is, and what it goes on to ask
            // soon has more wait for it than is kept.
            if waiting.is_none() && under_way.len() < most && finishing.is_none() {
                let came = source.poll_next(context, &mut reader, &guest.core, &mut arrival);
                if let Poll::Ready(came) = came {
                    return Poll::Ready(Next::Came(came));
                }
            } else if let Some(arrival) = &mut arrival {
                arrival.is_not_awaited = true;
            }
            if let Poll::Ready(Some(done)) = under_way.poll_next_unpin(context) {
                return Poll::Ready(Next::Done(done));
            }
            if let Poll::Ready(written) = client.line.poll_write(context, &mut other) {
                return Poll::Ready(Next::Written(written));
            }
            if let Some(until) = &mut finishing
                && until.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Next::Ending);
            }
            match &mut waiting {
                Some(waiting) => waiting.room.as_mut().poll(context).map(Next::Room),
                None => Poll::Pending,
            }
        })
        .await;
        match next {
            Next::Came(Err(End::Gone)) => break Ended::Gone,
            Next::Came(Err(End::NoRoom)) => {
                client.finish(1013, NO_ROOM);
                break Ended::ByUs;
            }
            Next::Came(Err(End::Late)) => {
                client.finish(1008, LATE);
                break Ended::ByUs;
            }
            Next::Came(Err(End::Fault(fault))) => {
                match fault {
                    Fault::TooLarge => client.finish(TOO_BIG, &too_large(&guest.core)),
                    Fault::Broken(code, why) => client.finish(code, why),
                }
                break Ended::ByUs;
            }
            Next::Came(Ok(came)) => {
                heard = Instant::now();
                let request = match came {
                    Came::Message(request) => request,
                    Came::Ping(payload) => {
                        // A client that is told too much already is told so elsewhere.
                        let _ = client.line.push(Kind::Pong, payload, false);
                        continue;
                    }
                    Came::Pong => continue,
                    Came::Close(code) => {
                        let code = Bytes::copy_from_slice(
                            &code.unwrap_or_default()[..code.map_or(0, |it| it.len())],
                        );
                        let _ = client.line.push(Kind::Close, code, false);
                        break Ended::Gone;
                    }
                };
                // A change that came before the request is in force for it.
                if cores.has_changed().unwrap_or(false)
                    && let Err(why) = guest.follow(&mut cores)
                {
                    client.finish(1008, why);
                    break Ended::ByUs;
                }
                if !guest.caller.is_still_good() {
                    client.finish(1008, EXPIRED);
                    break Ended::ByUs;
                }
                if leaving.is_none() && *closing.borrow() {
                    leaving = Some(answers_until(&guest.core));
                    send_away(&client);
                }
                if request.len() > guest.core.config.max_request_bytes {
                    client.finish(TOO_BIG, &too_large(&guest.core));
                    break Ended::ByUs;
                }
                let room = arrival.take().and_then(|arrival| arrival.room);
                match room.or_else(|| try_room(&guest.core, request.len())) {
                    Some(room) => under_way.push(answer(&guest, &client, request, room)),
                    None => waiting = Some(Waiting::new(&guest.core, request)),
                }
            }
            Next::Done(mut done) => loop {
                // Answers that are there together leave together.
                let next = match under_way.is_empty() {
                    true => None,
                    false => under_way.next().now_or_never().flatten(),
                };
                done.say(&client, next.is_some());
                match next {
                    Some(next) => done = next,
                    None => break,
                }
            },
            Next::Written(Ok(())) => {}
            Next::Written(Err(_)) => break Ended::Gone,
            // A client is not listened to while all messages and bodies together are as large as they may be.
            Next::Room(room) => {
                let Some(Waiting { request, .. }) = waiting.take() else {
                    continue;
                };
                match room {
                    Some(room) => under_way.push(answer(&guest, &client, request, room)),
                    None => client.push(no_room(&guest.core, &request), false),
                }
            }
            // Whoever is sent away because the gateway stops gets what it waits for before that.
            Next::Ending => match leaving {
                Some(until) if finishing.is_none() && client.is_going_away() => {
                    finishing = Some(Box::pin(sleep_until(until)));
                }
                _ => break Ended::ByUs,
            },
            Next::Stopped => {
                leaving = Some(answers_until(&guest.core));
                send_away(&client);
                bell.ring();
            }
            Next::Changed(next) => {
                changed.set(change_of(next));
                if let Err(why) = guest.follow(&mut cores) {
                    client.finish(1008, why);
                    break Ended::ByUs;
                }
                expired.as_mut().reset(Instant::now() + guest.good_for());
                bell.ring();
            }
            Next::Expired => {
                if !guest.caller.is_still_good() {
                    client.finish(1008, EXPIRED);
                    break Ended::ByUs;
                }
                expired.as_mut().reset(Instant::now() + guest.good_for());
                bell.ring();
            }
            Next::Ping => {
                if heard.elapsed() > SILENCE {
                    client.finish(1001, "not a sign of life");
                    break Ended::ByUs;
                }
                let _ = client.line.push(Kind::Ping, Bytes::new(), false);
                ping.as_mut().reset(Instant::now() + PING_EVERY);
                bell.ring();
            }
        }
    };
    // What was heard last may not have been begun, and only what is begun is known to be needed.
    while let Some(Some(_)) = under_way.next().now_or_never() {}
    if !under_way.is_empty() {
        let (core, task) = (Arc::clone(&guest.core), task::try_id());
        tokio::spawn(async move {
            let answers = async { while under_way.next().await.is_some() {} };
            tokio::select! {
                biased;
                () = core.is_left(task) => {}
                () = answers => {}
            }
        });
    }
    if matches!(ended, Ended::ByUs)
        && let Some((code, reason)) = client.end()
    {
        let farewell = farewell(&client, &mut source, &mut other, reader, code, &reason);
        let _ = tokio::time::timeout(FAREWELL, Box::pin(farewell)).await;
    }
    client.leave();
}

/// Says why it ends, and lets the client take its leave.
async fn farewell(
    client: &Client,
    source: &mut Source,
    other: &mut Option<WriteHalf<TokioIo<Upgraded>>>,
    reader: Reader,
    code: u16,
    reason: &str,
) {
    // What was said before the end is still said, unless the client does not listen.
    if reason == TOO_SLOW {
        client.line.forget();
    }
    let mut frame = code.to_be_bytes().to_vec();
    frame.extend_from_slice(reason.as_bytes());
    frame.truncate(CONTROL_BYTES);
    let _ = client.line.push(Kind::Close, frame.into(), false);
    while client.line.waits() {
        let written = poll_fn(|context| client.line.poll_write(context, other)).await;
        if written.is_err() {
            return;
        }
    }
    // Of a message that is not taken the rest is on its way. Closing on it would take our last words
    // from the client.
    if matches!(code, TOO_BIG | 1002 | 1007) {
        while poll_fn(|context| source.poll_forget(context)).await {}
    }
    let mut dismissed = Dismissed::default();
    let mut over = dismissed.has_closed(reader.unread());
    drop(reader);
    while !over {
        let heard = poll_fn(|context| source.poll_more(context, |it| dismissed.has_closed(it)));
        over = heard.await.unwrap_or(true);
    }
}

/// Until when the answers under way may be waited for once the gateway stops: there has to be time
/// for the farewell.
fn answers_until(core: &Core) -> Instant {
    Instant::now() + core.config.drain.saturating_sub(FAREWELL)
}

/// What a socket's task goes on with.
enum Next {
    Came(Result<Came, End>),
    Done(Done),
    Written(io::Result<()>),
    Room(Option<OwnedSemaphorePermit>),
    Ending,
    Stopped,
    Changed(Option<Cores>),
    Expired,
    Ping,
}

/// Why nothing more comes.
enum End {
    Gone,
    /// A message takes room that there is not.
    NoRoom,
    /// A message takes too long to arrive.
    Late,
    Fault(Fault),
}

/// Remembers that something rang, so that what seldom has something to say is not looked at each
/// time the task is woken.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self {
            rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        let ring = Waker::from(Arc::clone(&bell));
        (bell, ring)
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
    }

    /// Whether it has; the task of this context is woken the next time.
    fn has_rung(&self, context: &Context<'_>) -> bool {
        self.task.register(context.waker());
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
        self.task.wake();
    }
}

/// Where a client's bytes come from.
enum Source {
    Plain(OwnedReadHalf),
    Other(ReadHalf<TokioIo<Upgraded>>),
}

thread_local! {
    /// Where what comes is read into: nobody holds a buffer while nothing comes.
    static INCOMING: RefCell<Vec<u8>> = RefCell::new(vec![0; INCOMING_BYTES]);
}

impl Source {
    /// More bytes; none at the end.
    fn poll_more<T>(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<Option<T>> {
        INCOMING.with_borrow_mut(|room| {
            let mut buffer = ReadBuf::new(room);
            let read = match self {
                Self::Plain(source) => Pin::new(source).poll_read(context, &mut buffer),
                Self::Other(source) => Pin::new(source).poll_read(context, &mut buffer),
            };
            match ready!(read) {
                Ok(()) if !buffer.filled().is_empty() => Poll::Ready(Some(take(buffer.filled()))),
                _ => Poll::Ready(None),
            }
        })
    }

    /// What the client says next.
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut Reader,
        core: &Core,
        arrival: &mut Option<Box<Arrival>>,
    ) -> Poll<Result<Came, End>> {
        loop {
            match reader.next(core.config.max_request_bytes) {
                Ok(Some(came)) => return Poll::Ready(Ok(came)),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(End::Fault(fault))),
            }
            // What is read no further takes neither room nor time.
            match reader.takes() {
                0 => *arrival = None,
                bytes => {
                    let arrival = arrival.get_or_insert_with(|| Arrival::begins(core));
                    if !ready!(arrival.poll_room(context, core, bytes)) {
                        return Poll::Ready(Err(End::NoRoom));
                    }
                    reader.make_room();
                }
            }
            match self.poll_more(context, |bytes| reader.feed(bytes)) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(Err(End::Gone)),
                Poll::Pending => {
                    let late = arrival.as_mut().map(|arrival| arrival.late.as_mut());
                    let late = late.is_some_and(|late| late.poll(context).is_ready());
                    return match late {
                        true => Poll::Ready(Err(End::Late)),
                        false => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Reads and forgets; false at the end.
    fn poll_forget(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        self.poll_more(context, |_| ()).map(|read| read.is_some())
    }
}

/// A connection in two: where it can be, both ends are the plain ones of the system.
struct Halves {
    source: Source,
    out: Option<OwnedWriteHalf>,
    other: Option<WriteHalf<TokioIo<Upgraded>>>,
    /// Of what comes, so much has been read already.
    read: Bytes,
}

fn apart(upgraded: Upgraded) -> Halves {
    match downcast::<TokioIo<Paced<Resumed>>>(upgraded) {
        Ok(parts) => {
            let (stream, rest) = parts.io.into_inner().into_inner().into_parts();
            let read = match rest.is_empty() {
                true => parts.read_buf,
                false => [parts.read_buf, rest].concat().into(),
            };
            let (source, out) = stream.into_split();
            Halves {
                source: Source::Plain(source),
                out: Some(out),
                other: None,
                read,
            }
        }
        Err(upgraded) => {
            let (source, other) = tokio::io::split(TokioIo::new(upgraded));
            Halves {
                source: Source::Other(source),
                out: None,
                other: Some(other),
                read: Bytes::new(),
            }
        }
    }
}

/// Not everybody in the same moment, or they would all come back in the same moment.
fn send_away(client: &Arc<Client>) {
    let within = farewells(observe::sockets());
    let wait = within.mul_f64(rand::random::<f64>());
    let client = Arc::clone(client);
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        client.finish(1001, "the gateway is going away");
    });
}

/// How a conversation ended.
enum Ended {
    /// The client is not there any more.
    Gone,
    /// It is told why.
    ByUs,
}

/// A request that was seen through.
struct Done {
    answer: Option<Bytes>,
    subscriber: Subscriber,
    core: Arc<Core>,
}

impl Done {
    /// Says it; with `more`, more is said at once.
    fn say(self, client: &Client, more: bool) {
        if let Some(answer) = self.answer {
            client.push(answer, more);
        }
        self.subscriber.activate(&self.core);
    }
}

/// Has a request answered, which takes up room meanwhile.
fn answer(
    guest: &Guest,
    client: &Arc<Client>,
    request: Bytes,
    room: OwnedSemaphorePermit,
) -> impl Future<Output = Done> + use<> {
    let (core, caller) = (Arc::clone(&guest.core), Arc::clone(&guest.caller));
    let subscriber = Subscriber::new(Arc::clone(client));
    async move {
        let from = From {
            caller: &caller,
            socket: Some(&subscriber),
            arrived: Instant::now(),
        };
        let handled = core.handle(&request, &from).await;
        let answer = handled.said.pieces().map(Pieces::whole);
        drop(room);
        Done {
            answer,
            subscriber,
            core,
        }
    }
}

/// What a message takes that is not complete: room for as much as is known of it, and time. One that
/// is whole when it comes takes no more than its answer does.
struct Arrival {
    room: Option<OwnedSemaphorePermit>,
    /// Waited for: the rest of the room.
    more: Option<Room>,
    late: Pin<Box<Sleep>>,
    /// We are the ones it waits for.
    is_not_awaited: bool,
}

impl Arrival {
    fn begins(core: &Core) -> Box<Self> {
        Box::new(Self {
            room: None,
            more: None,
            late: Box::pin(sleep(core.config.body_within)),
            is_not_awaited: false,
        })
    }

    /// Whether there is room for so many bytes, once that is known.
    fn poll_room(&mut self, context: &mut Context<'_>, core: &Core, bytes: usize) -> Poll<bool> {
        if std::mem::take(&mut self.is_not_awaited) {
            let until = Instant::now() + core.config.body_within;
            self.late.as_mut().reset(until);
        }
        let due = room_for(bytes as u64, core.config.max_request_bytes) as usize;
        let has = self.room.as_ref().map_or(0, |room| room.num_permits());
        if self.more.is_none() && has < due {
            self.more = Some(room(core, u32::try_from(due - has).unwrap_or(u32::MAX)));
        }
        let Some(more) = &mut self.more else {
            return Poll::Ready(true);
        };
        let came = ready!(more.as_mut().poll(context));
        self.more = None;
        match (came, &mut self.room) {
            (None, _) => return Poll::Ready(false),
            (Some(came), Some(room)) => room.merge(came),
            (Some(came), none) => *none = Some(came),
        }
        Poll::Ready(true)
    }
}

/// Room that is waited for, and not for ever.
type Room = BoxFuture<'static, Option<OwnedSemaphorePermit>>;

fn room(core: &Core, kib: u32) -> Room {
    let room = Arc::clone(&core.kept.held).acquire_many_owned(kib);
    Box::pin(async { tokio::time::timeout(ROOM_WITHIN, room).await.ok()?.ok() })
}

/// A request that waits for room.
struct Waiting {
    request: Bytes,
    room: Room,
}

impl Waiting {
    fn new(core: &Core, request: Bytes) -> Self {
        let due = room_for(request.len() as u64, core.config.max_request_bytes);
        Self {
            request,
            room: room(core, due),
        }
    }
}

fn try_room(core: &Core, length: usize) -> Option<OwnedSemaphorePermit> {
    let room = room_for(length as u64, core.config.max_request_bytes);
    Arc::clone(&core.kept.held)
        .try_acquire_many_owned(room)
        .ok()
}

/// Said to a single request under its id.
fn no_room(core: &Core, request: &[u8]) -> Bytes {
    let id = match envelope::read(request, core.config.max_batch) {
        Ok(Body::One(Ok(request))) => request.id,
        _ => None,
    };
    let mut writer = Writer::default();
    writer.answer(id.unwrap_or("null"), Answer::error(-32005, NO_ROOM));
    writer.done().whole()
}

fn too_large(core: &Core) -> String {
    format!(
        "a message may have {} bytes at most",
        core.config.max_request_bytes
    )
}

/// Done when there are other settings; none if there never will be.
async fn change_of(cores: Option<Cores>) -> Option<Cores> {
    let Some(mut cores) = cores else {
        return std::future::pending().await;
    };
    cores.changed().await.ok()?;
    Some(cores)
}

/// Done when the gateway stops.
async fn end_of(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How large what such a function gives is.
    fn size<A, B, C, D, R>(_: impl FnOnce(A, B, C, D) -> R) -> usize {
        std::mem::size_of::<R>()
    }

    #[test]
    fn a_question_under_way_is_small() {
        let bytes = size::<&Guest, &Arc<Client>, Bytes, OwnedSemaphorePermit, _>(answer);
        assert!(bytes < 4 << 10, "{bytes} bytes");
    }
}

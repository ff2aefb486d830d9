//! One WebSocket client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::Core;
use super::access::Caller;
use super::envelope::{self, Answer, Body, Pieces, Writer};
use super::handle::From;
use super::observe;
use super::server::{Cores, NO_ROOM, Pass, ROOM_WITHIN, farewells, room_for};
use super::subscriptions::{Client, Subscriber};

const PING_EVERY: Duration = Duration::from_secs(20);
/// Without a sign of life for so long a client is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// What does not expire is looked at so often all the same, which changes nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 3600);
const EXPIRED: &str = "the token has expired";
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
    let mut socket = agree(upgraded, &guest.core).await;
    let most = guest.core.config.max_concurrent;
    let (client, mut queue) = Client::new(guest.core.config.max_queued_bytes);
    // What is under way is moved on by this task: nobody else is woken for an answer.
    let mut under_way = FuturesUnordered::new();
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    let mut heard = Instant::now();
    let mut leaving = false;
    let expired = sleep(guest.good_for());
    tokio::pin!(expired);
    // They may have changed while the connection was agreed on.
    cores.mark_changed();
    // In line all the time, so that nobody has to get in line for each message.
    let changed = change_of(Some(cores.clone()));
    let stopped = end_of(closing.clone());
    let ending = client.ending.notified();
    tokio::pin!(changed, stopped, ending);
    let _counted = observe::SocketOpen::new();
    let mut waiting: Option<Waiting> = None;

    let mut told = true;
    let ended = loop {
        // What is in the queue takes turns with what the client wants to know.
        let turn = std::mem::take(&mut told) || queue.is_empty();
        // What there is most of comes first; every request looks for what comes last by itself.
        let (message, fresh) = tokio::select! {
            biased;
            () = &mut ending => break Ended::ByUs,
            // A client with enough under way is not listened to until some of it is done. What it asks
            // comes before its answers, so that one that does not read them soon has too many.
            came = socket.next(), if turn && waiting.is_none() && under_way.len() < most => {
                let message = match came {
                    Some(Ok(message)) => message,
                    Some(Err(Error::Capacity(_))) => {
                        client.finish(TOO_BIG, &too_large(&guest.core));
                        break Ended::ByUs;
                    }
                    _ => break Ended::Gone,
                };
                heard = Instant::now();
                let request = match message {
                    Message::Text(text) => Bytes::from(text),
                    Message::Binary(bytes) => bytes,
                    Message::Close(_) => break Ended::Gone,
                    _ => continue,
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
                if !leaving && *closing.borrow() {
                    leaving = true;
                    send_away(&client);
                }
                if request.len() > guest.core.config.max_request_bytes {
                    client.finish(TOO_BIG, &too_large(&guest.core));
                    break Ended::ByUs;
                }
                match try_room(&guest.core, request.len()) {
                    Some(room) => under_way.push(answer(&guest, &client, request, room)),
                    None => {
                        let until = Instant::now() + ROOM_WITHIN;
                        waiting = Some(Waiting { request, until });
                    }
                }
                continue;
            }
            Some(done) = under_way.next(), if turn && !under_way.is_empty() => {
                let Done { answer, subscriber, core } = done;
                match answer.and_then(text) {
                    Some(message) => (message, Some((subscriber, core))),
                    None => {
                        subscriber.activate(&core);
                        continue;
                    }
                }
            }
            // A client is not listened to while all messages and bodies together are as large as they may be.
            room = room(&guest.core, waiting.as_ref()), if waiting.is_some() => {
                let Some(Waiting { request, .. }) = waiting.take() else { continue };
                match room {
                    Some(room) => under_way.push(answer(&guest, &client, request, room)),
                    None => client.push(no_room(&guest.core, &request)),
                }
                continue;
            }
            queued = queue.recv() => {
                told = true;
                let Some(bytes) = queued else { break Ended::ByUs };
                client.written(bytes.len());
                let Some(message) = text(bytes) else { continue };
                (message, None)
            }
            () = &mut stopped, if !leaving => {
                leaving = true;
                send_away(&client);
                continue;
            }
            next = &mut changed => {
                changed.set(change_of(next));
                if let Err(why) = guest.follow(&mut cores) {
                    client.finish(1008, why);
                    break Ended::ByUs;
                }
                expired.as_mut().reset(Instant::now() + guest.good_for());
                continue;
            }
            () = &mut expired => {
                if guest.caller.is_still_good() {
                    expired.as_mut().reset(Instant::now() + guest.good_for());
                    continue;
                }
                client.finish(1008, EXPIRED);
                break Ended::ByUs;
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE {
                    client.finish(1001, "not a sign of life");
                    break Ended::ByUs;
                }
                (Message::Ping(Bytes::new()), None)
            }
        };
        let sending = socket.send(message);
        tokio::pin!(sending);
        let sent = loop {
            tokio::select! {
                // What was taken from the queue is said before the end.
                biased;
                sent = &mut sending => break Some(sent),
                () = &mut ending => break None,
                // A client that does not read does not keep its questions from being answered: they
                // hold places at endpoints.
                Some(done) = under_way.next(), if !under_way.is_empty() => done.put_in_line(&client),
            }
        };
        match sent {
            Some(Ok(())) => {}
            Some(Err(_)) => break Ended::Gone,
            None => break Ended::ByUs,
        }
        if let Some((subscriber, core)) = fresh {
            subscriber.activate(&core);
        }
    };
    if !under_way.is_empty() {
        // Nobody waits for the answers, but a transaction that was taken is sent to everybody.
        tokio::spawn(async move { while under_way.next().await.is_some() {} });
    }
    if matches!(ended, Ended::Gone) {
        return;
    }
    if let Some((code, reason)) = client.end() {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        let farewell = async {
            // What was said before the end is still said, unless the client does not listen.
            if code != 1013 {
                while let Ok(bytes) = queue.try_recv() {
                    if let Ok(text) = Utf8Bytes::try_from(bytes) {
                        let _ = socket.send(Message::Text(text)).await;
                    }
                }
            }
            let _ = socket.send(Message::Close(Some(frame))).await;
            while let Some(Ok(_)) = socket.next().await {}
            // Of a message that is too large the rest is on its way. Closing on it would take our
            // last words from the client.
            if code == TOO_BIG {
                let mut forgotten = vec![0; 16 << 10];
                while matches!(socket.get_mut().read(&mut forgotten).await, Ok(1..)) {}
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
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

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn agree(upgraded: Upgraded, core: &Core) -> Socket {
    let mut config = WebSocketConfig::default();
    // Ten thousand idle clients should cost little.
    config.read_buffer_size = 4 << 10;
    config.write_buffer_size = 0;
    config.max_write_buffer_size = 2 * core.config.max_queued_bytes.max(1 << 20) + (512 << 20);
    config.max_message_size = Some(core.config.max_request_bytes);
    config.max_frame_size = Some(core.config.max_request_bytes);
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await
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
    /// Behind what waits already.
    fn put_in_line(self, client: &Client) {
        if let Some(answer) = self.answer {
            client.push(answer);
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
        };
        let handled = core.handle(&request, &from).await;
        drop(room);
        Done {
            answer: handled.pieces.map(Pieces::whole),
            subscriber,
            core,
        }
    }
}

/// A request that waits for room.
struct Waiting {
    request: Bytes,
    until: Instant,
}

fn try_room(core: &Core, length: usize) -> Option<OwnedSemaphorePermit> {
    let room = room_for(length as u64, core.config.max_request_bytes);
    Arc::clone(&core.kept.held)
        .try_acquire_many_owned(room)
        .ok()
}

/// Room for a request that came; none if there is none for too long.
async fn room(core: &Core, waiting: Option<&Waiting>) -> Option<OwnedSemaphorePermit> {
    let waiting = waiting?;
    let (length, most) = (waiting.request.len() as u64, core.config.max_request_bytes);
    let held = Arc::clone(&core.kept.held);
    let room = held.acquire_many_owned(room_for(length, most));
    timeout_at(waiting.until, room).await.ok()?.ok()
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

/// None for what cannot be a text message, which nothing of ours is.
fn text(bytes: Bytes) -> Option<Message> {
    Utf8Bytes::try_from(bytes).ok().map(Message::Text)
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

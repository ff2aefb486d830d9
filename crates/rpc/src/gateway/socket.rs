//! One WebSocket client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::Core;
use super::access::Caller;
use super::envelope::{self, Answer, Body, Writer};
use super::handle::From;
use super::observe;
use super::server::{Cores, NO_ROOM, Pass, ROOM_WITHIN, farewells, room_for};
use super::subscriptions::{Client, Subscriber};

const PING_EVERY: Duration = Duration::from_secs(20);
/// Without a sign of life for so long a client is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// What does not expire is looked at so often all the same, which changes nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 3600);
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
    mut closing: watch::Receiver<bool>,
) {
    let core = Arc::clone(&guest.core);
    let mut config = WebSocketConfig::default();
    // Ten thousand idle clients should cost little.
    config.read_buffer_size = 4 << 10;
    config.write_buffer_size = 0;
    config.max_write_buffer_size = 2 * core.config.max_queued_bytes.max(1 << 20) + (512 << 20);
    config.max_message_size = Some(core.config.max_request_bytes);
    config.max_frame_size = Some(core.config.max_request_bytes);
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (mut sink, mut stream) = socket.split();
    let (client, mut queue) = Client::new(core.config.max_queued_bytes);
    let slots = Arc::new(Semaphore::new(core.config.max_concurrent));
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    let mut heard = Instant::now();
    let (mut leaving, mut settled) = (false, false);
    drop(core);
    let expired = sleep(guest.good_for());
    tokio::pin!(expired);
    // They may have changed while the connection was agreed on.
    cores.mark_changed();
    let _counted = observe::SocketOpen::new();
    let mut waiting: Option<Waiting> = None;

    loop {
        let message = tokio::select! {
            () = client.ending.notified() => break,
            stop = closing.changed(), if !leaving => {
                if stop.is_err() || *closing.borrow() {
                    leaving = true;
                    send_away(&client);
                }
                continue;
            }
            changed = cores.changed(), if !settled => {
                settled = changed.is_err();
                if let Err(why) = guest.follow(&mut cores) {
                    client.finish(1008, why);
                    break;
                }
                expired.as_mut().reset(Instant::now() + guest.good_for());
                continue;
            }
            () = &mut expired => {
                if guest.caller.is_still_good() {
                    expired.as_mut().reset(Instant::now() + guest.good_for());
                    continue;
                }
                client.finish(1008, "the token has expired");
                break;
            }
            queued = queue.recv() => match queued {
                Some(bytes) => {
                    client.written(bytes.len());
                    match Utf8Bytes::try_from(bytes) {
                        Ok(text) => Message::Text(text),
                        Err(_) => continue,
                    }
                }
                None => break,
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE {
                    client.finish(1001, "not a sign of life");
                    break;
                }
                Message::Ping(Bytes::new())
            }
            // A client with enough under way is not listened to until some of it is done.
            came = next(&mut stream, &slots), if waiting.is_none() => {
                let (message, slot) = match came {
                    Came::Message(message, slot) => (message, slot),
                    Came::TooLarge => {
                        client.finish(TOO_BIG, &too_large(&guest.core));
                        break;
                    }
                    Came::Nothing => return,
                };
                heard = Instant::now();
                let text = match message {
                    Message::Text(text) => Bytes::from(text),
                    Message::Binary(bytes) => bytes,
                    Message::Close(_) => return,
                    _ => continue,
                };
                // A change that came before the request is in force for it.
                if let Err(why) = guest.follow(&mut cores) {
                    client.finish(1008, why);
                    break;
                }
                if text.len() > guest.core.config.max_request_bytes {
                    client.finish(TOO_BIG, &too_large(&guest.core));
                    break;
                }
                match try_room(&guest.core, text.len()) {
                    Some(room) => begin(&guest, &client, text, (slot, room)),
                    None => {
                        let until = Instant::now() + ROOM_WITHIN;
                        waiting = Some(Waiting { text, slot, until });
                    }
                }
                continue;
            }
            // Nor is it while all messages and bodies together are as large as they may be.
            room = room(&guest.core, waiting.as_ref()), if waiting.is_some() => {
                let Some(Waiting { text, slot, .. }) = waiting.take() else { continue };
                match room {
                    Some(room) => begin(&guest, &client, text, (slot, room)),
                    None => client.push(no_room(&guest.core, &text)),
                }
                continue;
            }
        };
        tokio::select! {
            // What was taken from the queue is said before the end.
            biased;
            sent = sink.send(message) => if sent.is_err() { return },
            () = client.ending.notified() => break,
        }
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
                        let _ = sink.send(Message::Text(text)).await;
                    }
                }
            }
            let _ = sink.send(Message::Close(Some(frame))).await;
            while let Some(Ok(_)) = stream.next().await {}
            // Of a message that is too large the rest is on its way. Closing on it would take our
            // last words from the client.
            if code == TOO_BIG
                && let Ok(mut socket) = stream.reunite(sink)
            {
                let mut forgotten = vec![0; 16 << 10];
                while matches!(socket.get_mut().read(&mut forgotten).await, Ok(1..)) {}
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

/// Has a request answered, which holds a slot and room meanwhile.
fn begin(
    guest: &Guest,
    client: &Arc<Client>,
    text: Bytes,
    held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
) {
    let (core, client) = (Arc::clone(&guest.core), Arc::clone(client));
    let caller = Arc::clone(&guest.caller);
    tokio::spawn(async move {
        let subscriber = Subscriber::new(Arc::clone(&client));
        let from = From {
            caller: &caller,
            socket: Some(&subscriber),
        };
        if let Some(answer) = core.handle(&text, &from).await.pieces {
            client.push(answer.whole());
        }
        subscriber.activate(&core);
        drop(held);
    });
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

/// What was read next.
enum Came {
    Message(Message, OwnedSemaphorePermit),
    /// More than one message may have.
    TooLarge,
    /// The end.
    Nothing,
}

/// A request that waits for room.
struct Waiting {
    text: Bytes,
    slot: OwnedSemaphorePermit,
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
    let (length, most) = (waiting.text.len() as u64, core.config.max_request_bytes);
    let held = Arc::clone(&core.kept.held);
    let room = held.acquire_many_owned(room_for(length, most));
    timeout_at(waiting.until, room).await.ok()?.ok()
}

/// Said to a single request under its id.
fn no_room(core: &Core, text: &[u8]) -> Bytes {
    let id = match envelope::read(text, core.config.max_batch) {
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

async fn next(
    stream: &mut (impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin),
    slots: &Arc<Semaphore>,
) -> Came {
    let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
        return Came::Nothing;
    };
    match stream.next().await {
        Some(Ok(message)) => Came::Message(message, slot),
        Some(Err(Error::Capacity(_))) => Came::TooLarge,
        _ => Came::Nothing,
    }
}

//! One WebSocket client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::access::Caller;
use super::handle::From;
use super::observe;
use super::server::{Cores, farewells};
use super::subscriptions::{Client, Subscriber};

const PING_EVERY: Duration = Duration::from_secs(20);
/// Without a sign of life for so long a client is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a closing client gets to take its leave.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) async fn serve(
    mut cores: Cores,
    upgraded: Upgraded,
    caller: Arc<Caller>,
    mut closing: watch::Receiver<bool>,
) {
    let mut core = cores.borrow_and_update().clone();
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
    let good_for = caller.good_for_seconds();
    let expired = async {
        match good_for {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(expired);
    let _counted = observe::SocketOpen::new();

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
                core = cores.borrow_and_update().clone();
                continue;
            }
            () = &mut expired => {
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
            came = next(&mut stream, &slots) => {
                let Some((message, slot)) = came else { return };
                heard = Instant::now();
                let text = match message {
                    Message::Text(text) => Bytes::from(text),
                    Message::Binary(bytes) => bytes,
                    Message::Close(_) => return,
                    _ => continue,
                };
                let (core, client) = (Arc::clone(&core), Arc::clone(&client));
                let caller = Arc::clone(&caller);
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
                    drop(slot);
                });
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

type Came = (Message, tokio::sync::OwnedSemaphorePermit);

async fn next(
    stream: &mut (impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin),
    slots: &Arc<Semaphore>,
) -> Option<Came> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    let message = stream.next().await?.ok()?;
    Some((message, slot))
}

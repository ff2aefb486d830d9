//! Callers, in a process of their own: as fast as they are answered, or at a rate; over HTTP or
//! WebSocket. They print what they saw as one line of JSON.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::upstream::{micros, whole};

/// What callers saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) worst_micros: f64,
}

/// How to call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) socket: bool,
    pub(crate) port: u16,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    /// Of all connections together; none: as fast as they are answered.
    pub(crate) per_second: Option<f64>,
}

/// A read of a contract, as clients send it: about 190 bytes. No two are the same, so that nothing
/// can be answered from what is known and every one goes to an upstream.
fn question(id: u64, caller: usize) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_call","params":[{{"to":"0x5f4ec3df9cbd43714fe2740f5e3616155c5b8419","data":"0xfeaf968c{caller:08x}{id:016x}00000000000000000000"}},"latest"]}}"#
    )
}

pub(crate) async fn call(calls: Calls) -> Result<Seen> {
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(calls.seconds);
    let mut callers = JoinSet::new();
    for at in 0..calls.connections {
        let pace = calls.per_second.map(|rate| {
            let every = Duration::from_secs_f64(calls.connections as f64 / rate);
            Pace {
                next: began + every.mul_f64(at as f64 / calls.connections as f64),
                every,
            }
        });
        callers.spawn(async move {
            let mut record = Record::default();
            // Whoever loses the connection opens another one: that call failed.
            while Instant::now() < until {
                let outcome = if calls.socket {
                    over_socket(calls.port, at, until, pace, &mut record).await
                } else {
                    over_http(calls.port, at, until, pace, &mut record).await
                };
                if outcome.is_err() {
                    record.failed += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            record
        });
    }
    let mut all = Record::default();
    while let Some(record) = callers.join_next().await {
        let record = record?;
        all.micros.extend(record.micros);
        all.failed += record.failed;
    }
    all.micros.sort_unstable();
    let at = |share: f64| {
        let rank = (share * all.micros.len() as f64).ceil() as usize;
        f64::from(all.micros.get(rank.saturating_sub(1)).copied().unwrap_or(0))
    };
    Ok(Seen {
        answered: all.micros.len() as u64,
        failed: all.failed,
        seconds: began.elapsed().as_secs_f64(),
        p50_micros: at(0.5),
        p99_micros: at(0.99),
        worst_micros: at(1.0),
    })
}

#[derive(Default)]
struct Record {
    micros: Vec<u32>,
    failed: u64,
}

impl Record {
    fn answered(&mut self, since: Instant) {
        self.micros
            .push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

/// When the next call is due. It counts from then, also if the one before took longer.
#[derive(Clone, Copy)]
struct Pace {
    next: Instant,
    every: Duration,
}

impl Pace {
    async fn turn(pace: &mut Option<Self>) -> Instant {
        let Some(pace) = pace else {
            return Instant::now();
        };
        // A connection that was lost does not make up for what it missed.
        let due = pace.next.max(Instant::now() - pace.every);
        pace.next = due + pace.every;
        tokio::time::sleep_until(due.into()).await;
        due
    }
}

async fn over_http(
    port: u16,
    caller: usize,
    until: Instant,
    mut pace: Option<Pace>,
    record: &mut Record,
) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4 << 10);
    let mut id = 1_u64;
    while Instant::now() < until {
        let since = Pace::turn(&mut pace).await;
        let body = question(id, caller);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let (head, length) = loop {
            if let Some(found) = whole(&buffer) {
                break found;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                bail!("closed");
            }
        };
        let answer = &buffer[head..head + length];
        if !is_right(&buffer[..head], answer, id) {
            record.failed += 1;
        } else {
            record.answered(since);
        }
        buffer.drain(..head + length);
        id += 1;
    }
    Ok(())
}

/// A result to this question; the length is always known in this benchmark.
fn is_right(head: &[u8], body: &[u8], id: u64) -> bool {
    head.starts_with(b"HTTP/1.1 200") && is_result(&String::from_utf8_lossy(body), id)
}

fn is_result(text: &str, id: u64) -> bool {
    text.contains(&format!("\"id\":{id},")) && text.contains("\"result\":\"0x")
}

async fn over_socket(
    port: u16,
    caller: usize,
    until: Instant,
    mut pace: Option<Pace>,
    record: &mut Record,
) -> Result<()> {
    let url = format!("ws://127.0.0.1:{port}/");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
    let mut id = 1_u64;
    while Instant::now() < until {
        let since = Pace::turn(&mut pace).await;
        socket.send(Message::text(question(id, caller))).await?;
        loop {
            match socket.next().await.context("closed")?? {
                Message::Text(text) if is_result(&text, id) => break record.answered(since),
                Message::Text(_) => {
                    record.failed += 1;
                    break;
                }
                Message::Close(_) => bail!("closed"),
                _ => {}
            }
        }
        id += 1;
    }
    Ok(())
}

/// What subscribers were told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) subscribers: usize,
    /// For each block: from when the upstream showed it to when so many had been told.
    pub(crate) half_ms: Vec<f64>,
    pub(crate) last_ms: Vec<f64>,
    /// Blocks somebody was not told of.
    pub(crate) missed: u64,
}

/// When subscribers were told of a block, after it was shown: by the moment it was shown.
type Delays = Arc<Mutex<BTreeMap<u64, Vec<u64>>>>;

/// So many subscribers to new heads; prints `ready` when all are, and counts some blocks then.
pub(crate) async fn subscribe(port: u16, subscribers: usize, blocks: usize) -> Result<Told> {
    let delays = Delays::default();
    let of_blocks = || delays.lock().unwrap_or_else(PoisonError::into_inner);
    let mut listening = JoinSet::new();
    let slots = Arc::new(tokio::sync::Semaphore::new(64));
    let (ready, mut readied) = tokio::sync::mpsc::unbounded_channel::<Result<()>>();
    for _ in 0..subscribers {
        let (delays, ready, slots) = (delays.clone(), ready.clone(), slots.clone());
        listening.spawn(async move {
            let slot = slots.acquire_owned().await;
            let opened = Subscriber::open(port, NEW_HEADS).await;
            drop(slot);
            let subscriber = match opened {
                Ok(subscriber) => subscriber,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            // Whose connection ends is told nothing more, and that is counted.
            let _ = subscriber.listen(&delays).await;
        });
    }
    for _ in 0..subscribers {
        readied.recv().await.context("a subscriber vanished")??;
    }
    crate::print_line("ready");
    // A moment for what opening stirred up.
    tokio::time::sleep(Duration::from_secs(2)).await;
    of_blocks().clear();
    let deadline = Instant::now() + Duration::from_secs(5 + 2 * blocks as u64);
    while Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let of_blocks = of_blocks();
        let whole = of_blocks.values().filter(|all| all.len() >= subscribers);
        if whole.count() > blocks {
            break;
        }
    }
    let of_blocks = std::mem::take(&mut *of_blocks());
    // The first may have been told to some before we looked; the last is still being told.
    let blocks: Vec<Vec<u64>> = of_blocks.into_values().skip(1).take(blocks).collect();
    let mut all = Told {
        subscribers,
        half_ms: Vec::new(),
        last_ms: Vec::new(),
        missed: 0,
    };
    for mut delays in blocks {
        all.missed += (subscribers - delays.len().min(subscribers)) as u64;
        delays.sort_unstable();
        let ms = |at: usize| delays.get(at).map_or(0.0, |micros| *micros as f64 / 1000.0);
        all.half_ms.push(ms(delays.len() / 2));
        all.last_ms.push(ms(delays.len().saturating_sub(1)));
    }
    Ok(all)
}

/// Clients that look for logs that never come, each of an address of its own; or of whom only the
/// first one does, and the others are there. Prints `ready` when all are, and has no end.
pub(crate) async fn look_for_logs(port: u16, clients: usize, only_one: bool) -> Result<()> {
    let mut there = Vec::new();
    for client in 0..clients {
        let question = match only_one && client > 0 {
            true => r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#.to_owned(),
            false => format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["logs",{{"address":"0x{client:040x}"}}]}}"#
            ),
        };
        there.push(Subscriber::open(port, &question).await?);
    }
    let nobody = Delays::default();
    let listening = there.into_iter().map(|client| client.listen(&nobody));
    let listening = futures_util::future::join_all(listening);
    crate::print_line("ready");
    let ended = listening.await;
    anyhow::bail!("{} clients were let go", ended.len())
}

const NEW_HEADS: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;

/// One who reads no more of WebSocket than it has to: ten thousand share two cores with what is
/// measured.
struct Subscriber {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A mask of zeros: a client's frames have one.
const MASK: [u8; 4] = [0; 4];

impl Subscriber {
    /// Asks this once it is in, under the number 1.
    async fn open(port: u16, question: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let buffer = Vec::with_capacity(2 << 10);
        let mut subscriber = Self { stream, buffer };
        let head = loop {
            if let Some((head, _)) = whole(&subscriber.buffer) {
                break head;
            }
            subscriber.more().await?;
        };
        ensure!(
            subscriber.buffer.starts_with(b"HTTP/1.1 101"),
            "no WebSocket: {}",
            String::from_utf8_lossy(&subscriber.buffer)
        );
        subscriber.buffer.drain(..head);
        subscriber.say(0x81, question).await?;
        loop {
            let text = subscriber.next().await?;
            let known = text.windows(6).any(|six| six == b"\"id\":1");
            subscriber.forget();
            if known {
                return Ok(subscriber);
            }
        }
    }

    async fn listen(mut self, delays: &Delays) -> Result<()> {
        let mut place = 0;
        loop {
            let text = self.next().await?;
            if let Some(shown) = shown(text, &mut place) {
                let now = micros();
                let mut of_blocks = delays.lock().unwrap_or_else(PoisonError::into_inner);
                let of_block = of_blocks.entry(shown).or_default();
                of_block.push(now.saturating_sub(shown));
            }
            self.forget();
        }
    }

    /// The payload of the next text message, which stays until it is forgotten.
    async fn next(&mut self) -> Result<&[u8]> {
        loop {
            match frame(&self.buffer) {
                None => self.more().await?,
                Some((1, begins, ends)) => return Ok(&self.buffer[begins..ends]),
                Some((8, ..)) => bail!("closed"),
                Some((code, ..)) => {
                    self.forget();
                    if code == 9 {
                        self.say(0x8a, "").await?;
                    }
                }
            }
        }
    }

    fn forget(&mut self) {
        if let Some((_, _, ends)) = frame(&self.buffer) {
            self.buffer.drain(..ends);
        }
    }

    async fn say(&mut self, kind: u8, text: &str) -> Result<()> {
        let length = u8::try_from(text.len())?;
        let head = match length {
            0..126 => vec![kind, 0x80 | length],
            126.. => vec![kind, 0x80 | 126, 0, length],
        };
        let frame = [&head[..], &MASK[..], text.as_bytes()].concat();
        Ok(self.stream.write_all(&frame).await?)
    }

    async fn more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => bail!("closed"),
            _ => Ok(()),
        }
    }
}

/// The first frame from a server: its kind, and where its payload begins and ends.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (begins, length) = match *bytes {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [_, 127, ref rest @ ..] => {
            let length = u64::from_be_bytes(*rest.first_chunk()?);
            (10, usize::try_from(length).ok()?)
        }
        [_, length @ 0..=125, ..] => (2, usize::from(length)),
        _ => return None,
    };
    let ends = begins + length;
    (bytes.len() >= ends).then(|| (bytes[0] & 0x0f, begins, ends))
}

/// When the upstream first showed the block a notification is about. It stands mostly where it
/// stood the last time.
fn shown(text: &[u8], place: &mut usize) -> Option<u64> {
    const NAME: &[u8] = b"\"shownMicros\":";
    let there = text.get(*place..);
    if !there.is_some_and(|there| there.starts_with(NAME)) {
        let mut windows = text.windows(NAME.len());
        *place = windows.position(|window| window == NAME)?;
    }
    let rest = &text[*place + NAME.len()..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_finds_frames_and_when_their_block_was_shown() {
        let text = br#"{"x":1,"shownMicros":1234,"y":2}"#;
        let bytes = [&[0x81, 32][..], text, &[0x89, 0]].concat();
        assert_eq!(frame(&bytes), Some((1, 2, 34)));
        assert_eq!(frame(&bytes[..33]), None);
        assert_eq!(frame(&bytes[34..]), Some((9, 2, 2)));
        let long = [&[0x81, 126, 1, 0][..], &[0; 256]].concat();
        assert_eq!(frame(&long), Some((1, 4, 260)));
        let mut place = 0;
        assert_eq!(shown(text, &mut place), Some(1234));
        assert_eq!((shown(text, &mut place), place), (Some(1234), 7));
        assert_eq!(shown(b"{}", &mut 9), None);
    }
}

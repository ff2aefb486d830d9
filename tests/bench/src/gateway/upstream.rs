//! A trivial Ethereum client: a chain that grows by the clock, answers that cost next to nothing.
//!
//! In a process of its own, so that what it uses is not counted as anybody else's. Told to by
//! `SIGUSR1`, its head freezes while it goes on answering.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;

/// What a read of a contract gives: a word.
const WORD: &str = "0x000000000000000000000000000000000000000000000000000000e8d4a51000";

/// Serves until it is killed. The chain's blocks come every `block` and are the same for all
/// upstreams of one run, because they are counted from `origin`.
pub(crate) async fn serve(port: u16, origin: u64, block: Duration) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let heads = watch::Sender::new(0);
    let chain = Arc::new(Chain {
        shown: Mutex::default(),
        heads,
    });
    let frozen = Arc::new(AtomicBool::new(false));
    let mut freeze = signal(SignalKind::user_defined1())?;
    let growing = async {
        loop {
            let now = millis();
            let number = 100 + now.saturating_sub(origin) / block.as_millis() as u64;
            if !frozen.load(Ordering::Relaxed) {
                chain.heads.send_if_modified(|head| {
                    let grew = *head != number;
                    *head = number;
                    grew
                });
            }
            let next = origin + (number - 99) * block.as_millis() as u64;
            let wait = Duration::from_millis(next.saturating_sub(millis()).max(1));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = freeze.recv() => frozen.store(true, Ordering::Relaxed),
            }
        }
    };
    let serving = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream, Arc::clone(&chain)));
            }
        }
    };
    tokio::join!(growing, serving);
    Ok(())
}

pub(crate) fn millis() -> u64 {
    micros() / 1000
}

pub(crate) fn micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}

const LOGS: u64 = 250;

struct Chain {
    /// When a block was first shown, in microseconds since 1970; part of the block, so that
    /// whoever is told of it at last can say how long that took.
    shown: Mutex<HashMap<u64, u64>>,
    heads: watch::Sender<u64>,
}

/// As many logs as a block of a busy chain has, of contracts nobody looks for.
fn logs(number: u64) -> Value {
    let word = |n: u64| format!("0x{n:064x}");
    let logs = (0..LOGS).map(|index| {
        json!({
            "address": format!("0x{:040x}", 0xffff_0000 + index),
            "topics": [word(index % 7), word(index), word(number)],
            "data": word(index),
            "blockHash": word(number),
            "blockNumber": format!("{number:#x}"),
            "transactionHash": word(index / 3),
            "transactionIndex": format!("{:#x}", index / 3),
            "logIndex": format!("{index:#x}"),
            "removed": false,
        })
    });
    logs.collect()
}

impl Chain {
    fn block(&self, number: u64) -> Value {
        let shown = *self
            .shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(number)
            .or_insert_with(micros);
        json!({
            "number": format!("{number:#x}"),
            "hash": format!("{number:#066x}"),
            "parentHash": format!("{:#066x}", number.saturating_sub(1)),
            "timestamp": format!("{:#x}", 1_700_000_000 + number),
            "gasLimit": "0x1c9c380",
            "gasUsed": "0x0",
            "baseFeePerGas": "0x7",
            "logsBloom": format!("0x{:0512}", 0),
            "receiptsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
            "transactions": [],
            "uncles": [],
            "size": "0x200",
            "shownMicros": shown,
        })
    }

    fn result(&self, method: &str, params: &Value) -> Value {
        let latest = *self.heads.borrow();
        let number = |reference: &Value| match reference.as_str().unwrap_or("latest") {
            "latest" | "pending" => latest,
            "safe" => latest.saturating_sub(2),
            "finalized" => latest.saturating_sub(4),
            "earliest" => 0,
            hex => u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap_or(u64::MAX),
        };
        match method {
            "eth_chainId" => json!("0x1092"),
            "net_version" => json!("4242"),
            "web3_clientVersion" => json!("Trivial/v1"),
            "eth_syncing" => json!(false),
            "eth_blockNumber" => json!(format!("{latest:#x}")),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => {
                let number = number(&params[0]);
                if number > latest {
                    return Value::Null;
                }
                self.block(number)
            }
            "eth_getLogs" => match &params[0]["blockHash"] {
                Value::String(hash) => {
                    let number = u64::from_str_radix(hash.trim_start_matches("0x"), 16);
                    logs(number.unwrap_or(0))
                }
                _ => json!([]),
            },
            _ => json!(WORD),
        }
    }

    /// The answer to a body, without taking the usual one apart.
    fn answer(&self, body: &[u8]) -> String {
        // The question of the load: its id is a number, and nothing of it is looked at but that.
        if body.windows(10).take(80).any(|ten| ten == b"\"eth_call\"")
            && let Some(id) = id_of(body)
        {
            return format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"{WORD}"}}"#);
        }
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Array(batch)) => {
                let all: Vec<Value> = batch.iter().map(|one| self.one(one)).collect();
                Value::Array(all).to_string()
            }
            Ok(one) => self.one(&one).to_string(),
            Err(_) => r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse"}}"#
                .to_owned(),
        }
    }

    fn one(&self, request: &Value) -> Value {
        let method = request["method"].as_str().unwrap_or_default();
        let result = self.result(method, &request["params"]);
        json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
    }
}

fn id_of(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("\"id\":")?;
    let end = rest.find([',', '}'])?;
    Some(rest[..end].trim())
}

async fn connection(stream: TcpStream, chain: Arc<Chain>) {
    let mut first = [0; 4];
    if stream.peek(&mut first).await.is_ok_and(|n| n >= 3) && first.starts_with(b"GET") {
        return socket(stream, chain).await;
    }
    let _ = http(stream, chain).await;
}

async fn http(mut stream: TcpStream, chain: Arc<Chain>) -> std::io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(16 << 10);
    let mut out = Vec::with_capacity(16 << 10);
    loop {
        while let Some((head, length)) = whole(&buffer) {
            let answer = chain.answer(&buffer[head..head + length]);
            buffer.drain(..head + length);
            out.extend_from_slice(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ",
            );
            out.extend_from_slice(answer.len().to_string().as_bytes());
            out.extend_from_slice(b"\r\n\r\n");
            out.extend_from_slice(answer.as_bytes());
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Where the body begins and how long it is, once a request is all there.
pub(crate) fn whole(buffer: &[u8]) -> Option<(usize, usize)> {
    let end = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..end]).ok()?;
    let length = head
        .split("\r\n")
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0);
    (buffer.len() >= end + length).then_some((end, length))
}

async fn socket(stream: TcpStream, chain: Arc<Chain>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    let mut heads = chain.heads.subscribe();
    let mut subscribed = false;
    loop {
        let message = tokio::select! {
            came = socket.next() => match came {
                Some(Ok(Message::Text(text))) => {
                    if text.contains("eth_subscribe") {
                        subscribed = true;
                        heads.mark_unchanged();
                        let id = id_of(text.as_bytes()).unwrap_or("null").to_owned();
                        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"0x1"}}"#)
                    } else {
                        chain.answer(text.as_bytes())
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            changed = heads.changed(), if subscribed => {
                if changed.is_err() {
                    return;
                }
                let number = *heads.borrow_and_update();
                let params = json!({ "subscription": "0x1", "result": chain.block(number) });
                json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": params }).to_string()
            }
        };
        if socket.send(Message::text(message)).await.is_err() {
            return;
        }
    }
}

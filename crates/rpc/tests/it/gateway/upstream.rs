//! Clients of one scripted chain, down to the bytes they put on the wire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use alloy::consensus::proofs::calculate_receipt_root;
use alloy::consensus::{Receipt, ReceiptEnvelope};
use alloy::primitives::{Address, B256, Bloom, BloomInput, Bytes, Log, LogData, keccak256};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use url::Url;

pub(crate) const CHAIN: u64 = 4242;

/// What an upstream does to whatever it is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    Well,
    /// Takes requests and never answers.
    Hangs,
    Slow(Duration),
    /// Closes the connection after so many bytes of its answer.
    BreaksAfter(usize),
    /// Answers with this status and these words.
    Says(u16, &'static str),
    /// Announces more than it sends.
    Truncates,
    /// Answers with this status and a page for people.
    Page(u16),
    /// Answers request 999999.
    WrongId,
    /// An error to this method.
    Fails(&'static str, i64, &'static str),
    /// An error to everything.
    Refuses(i64, &'static str),
    /// This method takes its time.
    SlowAt(&'static str, Duration),
    /// Status 429, and when to come back, in seconds.
    Limits(u64),
    /// The other end is gone without a word: nothing is read and nothing is written.
    HalfOpen,
}

/// How an upstream gives receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receipts {
    ByHash,
    ByNumber,
    Lacks,
    /// Its chain makes the root in a way of its own.
    OtherRoot,
}

/// Where an upstream stands: block `number` of `branch`. Branch 1 leaves branch 0 at `FORK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At(pub(crate) u64, pub(crate) u8);

#[derive(Debug)]
struct Script {
    at: At,
    /// Branch `n + 1` leaves branch `n` above this block.
    forks: Vec<u64>,
    chain_id: u64,
    fault: Fault,
    /// Says nothing of logs, as if there were none.
    hides_logs: bool,
    /// Each block has a second log, like the first but for its number.
    twins: bool,
    /// Of the two it says nothing of this one.
    hidden_twin: Option<usize>,
    /// It gives a log more than there are, like the last one.
    invents_a_log: bool,
    /// Its headers name the root of their receipts, and it gives receipts so.
    receipts: Option<Receipts>,
    /// What `eth_syncing` says.
    syncing: Value,
    /// Finalizes nothing above this.
    finalized_at_most: u64,
    other_genesis: bool,
    /// Subscriptions stay open and bring nothing.
    silent: bool,
    pending: Vec<B256>,
    asked: Vec<(String, Value)>,
    /// Requests in each batch that came.
    batches: Vec<usize>,
    /// Longer batches are refused as geth does.
    largest_batch: usize,
    known: Vec<String>,
    /// Its transactions are called by other hashes than those of their bytes.
    own_hashes: bool,
    /// Transactions and their blocks.
    mined: HashMap<B256, u64>,
    largest_range: u64,
    /// Sockets that were opened.
    sockets: usize,
}

pub(crate) struct Upstream {
    port: u16,
    script: Arc<Mutex<Script>>,
    /// Moves with the script, for subscriptions.
    moved: watch::Sender<u64>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.dies();
    }
}

impl Upstream {
    /// At block 100, well.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            port: listener.local_addr().unwrap().port(),
            script: Arc::new(Mutex::new(Script {
                at: At(100, 0),
                forks: Vec::new(),
                chain_id: CHAIN,
                fault: Fault::Well,
                hides_logs: false,
                twins: false,
                hidden_twin: None,
                invents_a_log: false,
                receipts: None,
                syncing: json!(false),
                finalized_at_most: u64::MAX,
                other_genesis: false,
                silent: false,
                pending: Vec::new(),
                asked: Vec::new(),
                batches: Vec::new(),
                largest_batch: usize::MAX,
                sockets: 0,
                mined: HashMap::new(),
                known: Vec::new(),
                own_hashes: false,
                largest_range: u64::MAX,
            })),
            moved: watch::Sender::new(0),
            serving: Mutex::new(None),
        };
        upstream.serve(listener);
        upstream
    }

    fn serve(&self, listener: TcpListener) {
        let script = Arc::clone(&self.script);
        let moved = self.moved.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                connections.spawn(connection(stream, Arc::clone(&script), moved.subscribe()));
            }
        });
        *self.serving.lock().unwrap() = Some(task);
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Changes the script, and tells subscribers.
    fn now(&self, change: impl FnOnce(&mut Script)) -> &Self {
        change(&mut self.script());
        self.moved.send_modify(|moved| *moved += 1);
        self
    }

    pub(crate) fn ws(&self) -> Url {
        format!("ws://127.0.0.1:{}", self.port).parse().unwrap()
    }

    pub(crate) fn is_syncing(&self, syncing: bool) -> &Self {
        self.now(|script| {
            script.syncing = match syncing {
                true => {
                    json!({"startingBlock": "0x0", "currentBlock": "0x10", "highestBlock": "0x64"})
                }
                false => json!(false),
            }
        })
    }

    pub(crate) fn finalizes_nothing_above(&self, number: u64) -> &Self {
        self.now(|script| script.finalized_at_most = number)
    }

    pub(crate) fn begins_elsewhere(&self, elsewhere: bool) -> &Self {
        self.now(|script| script.other_genesis = elsewhere)
    }

    pub(crate) fn has_hashes_of_its_own(&self) -> &Self {
        self.now(|script| script.own_hashes = true)
    }

    pub(crate) fn falls_silent(&self, silent: bool) -> &Self {
        self.now(|script| script.silent = silent)
    }

    pub(crate) fn takes_batches_of(&self, requests: usize) -> &Self {
        self.now(|script| script.largest_batch = requests)
    }

    /// A transaction is in this block.
    pub(crate) fn has_mined(&self, hash: B256, block: u64) -> &Self {
        self.now(|script| {
            script.mined.insert(hash, block);
        })
    }

    /// A transaction came into its pool.
    pub(crate) fn hears_of(&self, hash: B256) -> &Self {
        self.now(|script| script.pending.push(hash))
    }

    pub(crate) fn batches(&self) -> Vec<usize> {
        self.script().batches.clone()
    }

    pub(crate) fn sockets(&self) -> usize {
        self.script().sockets
    }

    pub(crate) fn url(&self) -> Url {
        format!("http://127.0.0.1:{}", self.port).parse().unwrap()
    }

    pub(crate) fn is_at(&self, number: u64) -> &Self {
        self.now(|script| script.at.0 = number)
    }

    /// Goes over to a new branch that leaves the present one above `fork`.
    pub(crate) fn reorganises(&self, fork: u64, number: u64) -> &Self {
        let mut script = self.script();
        script.forks.push(fork);
        script.at = At(number, u8::try_from(script.forks.len()).unwrap());
        drop(script);
        self.now(|_| {})
    }

    /// On the chain everybody began with again, as if it had never left it.
    pub(crate) fn comes_back(&self, number: u64) -> &Self {
        self.now(|script| {
            script.forks.clear();
            script.at = At(number, 0);
        })
    }

    pub(crate) fn suffers(&self, fault: Fault) -> &Self {
        self.script().fault = fault;
        self
    }

    pub(crate) fn belongs_to(&self, chain_id: u64) -> &Self {
        self.script().chain_id = chain_id;
        self
    }

    pub(crate) fn hides_logs(&self, hides: bool) -> &Self {
        self.script().hides_logs = hides;
        self
    }

    /// Its blocks have two logs that are alike.
    pub(crate) fn has_twins(&self) -> &Self {
        self.now(|script| script.twins = true)
    }

    pub(crate) fn hides_twin(&self, which: Option<usize>) -> &Self {
        self.now(|script| script.hidden_twin = which)
    }

    pub(crate) fn invents_a_log(&self) -> &Self {
        self.now(|script| script.invents_a_log = true)
    }

    /// Its headers name the root of their receipts.
    pub(crate) fn has_receipts(&self, how: Receipts) -> &Self {
        self.now(|script| script.receipts = Some(how))
    }

    pub(crate) fn takes_ranges_of(&self, blocks: u64) -> &Self {
        self.script().largest_range = blocks;
        self
    }

    /// Killed: the port is closed and every connection with it.
    pub(crate) fn dies(&self) {
        if let Some(task) = self.serving.lock().unwrap().take() {
            task.abort();
        }
    }

    pub(crate) async fn rises(&self) {
        let listener = dodona_testkit::until("the port is free again", || async {
            TcpListener::bind(("127.0.0.1", self.port)).await.ok()
        })
        .await;
        self.serve(listener);
    }

    /// Of any kind.
    pub(crate) fn questions(&self) -> usize {
        self.script().asked.len()
    }

    pub(crate) fn asked(&self, method: &str) -> usize {
        let script = self.script();
        script
            .asked
            .iter()
            .filter(|(asked, _)| asked == method)
            .count()
    }

    pub(crate) fn asked_with(&self, method: &str) -> Vec<Value> {
        let script = self.script();
        let of = script.asked.iter().filter(|(asked, _)| asked == method);
        of.map(|(_, params)| params.clone()).collect()
    }
}

async fn connection(
    mut stream: TcpStream,
    script: Arc<Mutex<Script>>,
    moved: watch::Receiver<u64>,
) {
    let mut buffer = Vec::new();
    loop {
        let body = match request(&mut stream, &mut buffer).await {
            Some(Came::Body(body)) => body,
            Some(Came::Upgrade(key)) => return socket(stream, &key, script, moved).await,
            None => return,
        };
        let (fault, answer) = {
            let mut script = script.lock().unwrap();
            (script.fault.clone(), answers(&mut script, &body))
        };
        let head = |length: usize| {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            )
        };
        let whole = format!("{}{answer}", head(answer.len()));
        let says = |status: u16, more: &str, page: &str| {
            format!(
                "HTTP/1.1 {status} Oh\r\ncontent-type: text/html\r\n{more}content-length: {}\r\n\r\n{page}",
                page.len()
            )
        };
        let page =
            |status: u16, more: &str| says(status, more, "<html><body>Bad day</body></html>");
        let out = match fault {
            Fault::Hangs | Fault::HalfOpen => return std::future::pending().await,
            Fault::Slow(by) => {
                tokio::time::sleep(by).await;
                whole
            }
            Fault::SlowAt(method, by) => {
                if String::from_utf8_lossy(&body).contains(method) {
                    tokio::time::sleep(by).await;
                }
                whole
            }
            Fault::BreaksAfter(bytes) => {
                let _ = stream.set_zero_linger();
                let _ = stream
                    .write_all(&whole.as_bytes()[..bytes.min(whole.len() - 1)])
                    .await;
                return;
            }
            Fault::Truncates => {
                let _ = stream
                    .write_all(format!("{}{answer}", head(answer.len() + 10)).as_bytes())
                    .await;
                return;
            }
            Fault::Page(status) => page(status, ""),
            Fault::Says(status, words) => says(status, "", words),
            Fault::Limits(seconds) => page(429, &format!("retry-after: {seconds}\r\n")),
            Fault::Well | Fault::WrongId | Fault::Fails(..) | Fault::Refuses(..) => whole,
        };
        if stream.write_all(out.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A connection that became a WebSocket.
async fn socket(
    mut stream: TcpStream,
    key: &str,
    script: Arc<Mutex<Script>>,
    mut moved: watch::Receiver<u64>,
) {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    script.lock().unwrap().sockets += 1;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (mut heads, mut pending) = (None, None);
    let mut told = script.lock().unwrap().pending.len();
    moved.mark_unchanged();
    loop {
        if script.lock().unwrap().fault == Fault::HalfOpen {
            return std::future::pending().await;
        }
        let mut out = Vec::new();
        tokio::select! {
            came = socket.next() => {
                let text = match came {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(_)) => continue,
                    _ => return,
                };
                let request: Value = serde_json::from_str(&text).unwrap();
                let answer = match (request["method"].as_str().unwrap(), request["params"][0].as_str()) {
                    ("eth_subscribe", Some("newHeads")) => {
                        heads = Some("0x1");
                        json!("0x1")
                    }
                    ("eth_subscribe", Some("newPendingTransactions")) => {
                        pending = Some("0x2");
                        told = script.lock().unwrap().pending.len();
                        json!("0x2")
                    }
                    ("eth_unsubscribe", Some("0x2")) => json!(pending.take().is_some()),
                    _ => {
                        let answer = answers(&mut script.lock().unwrap(), text.as_bytes());
                        if socket.send(Message::text(answer)).await.is_err() {
                            return;
                        }
                        continue;
                    }
                };
                out.push(json!({ "jsonrpc": "2.0", "id": request["id"], "result": answer }));
            }
            _ = moved.changed() => {
                let script = script.lock().unwrap();
                if script.silent {
                    continue;
                }
                let tell = |of: &str, what: Value| {
                    json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": { "subscription": of, "result": what } })
                };
                if let Some(id) = heads {
                    out.push(tell(id, block(&script, script.at.0)));
                }
                if let Some(id) = pending {
                    out.extend(script.pending[told..].iter().map(|hash| tell(id, json!(hash))));
                    told = script.pending.len();
                }
            }
        }
        for message in out {
            if socket
                .send(Message::text(message.to_string()))
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

enum Came {
    Body(Vec<u8>),
    /// To a WebSocket, with this key.
    Upgrade(String),
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Came> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let key = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
                is_key.then(|| value.trim().to_owned())
            });
            if let Some(key) = key {
                buffer.drain(..end + 4);
                return Some(Came::Upgrade(key));
            }
            let head = head.to_lowercase();
            let length: usize = head
                .split("content-length: ")
                .nth(1)?
                .lines()
                .next()?
                .trim()
                .parse()
                .ok()?;
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some(Came::Body(body));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn answers(script: &mut Script, body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body).unwrap() {
        Value::Array(batch) => {
            script.batches.push(batch.len());
            if batch.len() > script.largest_batch {
                // As geth does it: under the id of the first request alone.
                let refused = json!({
                    "jsonrpc": "2.0", "id": batch[0]["id"],
                    "error": { "code": -32600, "message": "batch too large" }
                });
                return json!([refused]).to_string();
            }
            let all: Vec<_> = batch
                .iter()
                .map(|request| answer(script, request))
                .collect();
            Value::Array(all).to_string()
        }
        request => answer(script, &request).to_string(),
    }
}

fn answer(script: &mut Script, request: &Value) -> Value {
    let method = request["method"].as_str().unwrap().to_owned();
    let params = request["params"].clone();
    script.asked.push((method.clone(), params.clone()));
    let mut answer = match &script.fault {
        Fault::Fails(name, code, message) if *name == method => {
            json!({ "error": { "code": code, "message": message } })
        }
        Fault::Refuses(code, message) => {
            json!({ "error": { "code": code, "message": message } })
        }
        _ => result(script, &method, &params),
    };
    answer["jsonrpc"] = json!("2.0");
    answer["id"] = match script.fault {
        Fault::WrongId => json!(999_999),
        _ => request["id"].clone(),
    };
    answer
}

fn error(code: i64, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}

fn result(script: &mut Script, method: &str, params: &Value) -> Value {
    let (at, finalized_at_most) = (script.at, script.finalized_at_most);
    let of = |reference: &Value| -> Option<u64> {
        match reference.as_str().unwrap_or("latest") {
            "latest" | "pending" => Some(at.0),
            "safe" => Some(at.0.saturating_sub(2)),
            "finalized" => Some(at.0.saturating_sub(4).min(finalized_at_most)),
            "earliest" => Some(0),
            number => u64::from_str_radix(number.strip_prefix("0x")?, 16).ok(),
        }
    };
    let block_at = |number: u64| (number <= at.0).then(|| block(script, number));
    let result = match method {
        "eth_chainId" => json!(format!("{:#x}", script.chain_id)),
        "web3_clientVersion" => json!("Scripted/v2"),
        "eth_getBlockByNumber" => of(&params[0]).and_then(block_at).into(),
        "eth_getBlockByHash" => {
            let hash: B256 = params[0].as_str().unwrap().parse().unwrap();
            block_at(number_of(hash))
                .filter(|block| block["hash"] == params[0])
                .into()
        }
        // Says which block it was asked about.
        "eth_call" | "eth_getBalance" => match of(&params[1]) {
            Some(number) if number <= at.0 => json!(format!("{number:#x}")),
            _ => return error(-32000, "header not found"),
        },
        "eth_getLogs" => {
            let filter = &params[0];
            let numbers: Vec<u64> = match filter["blockHash"].as_str() {
                Some(hash) => {
                    let hash: B256 = hash.parse().unwrap();
                    if hash != hash_at(script, number_of(hash)) || number_of(hash) > at.0 {
                        return error(-32000, "unknown block");
                    }
                    vec![number_of(hash)]
                }
                None => {
                    let (first, last) = (
                        of(&filter["fromBlock"]).unwrap(),
                        of(&filter["toBlock"]).unwrap(),
                    );
                    if last > at.0 {
                        return error(-32602, "block range extends beyond current head block");
                    }
                    if last - first >= script.largest_range {
                        return error(-32005, "query exceeds max block range");
                    }
                    (first..=last).collect()
                }
            };
            match script.hides_logs {
                true => json!([]),
                false => numbers
                    .into_iter()
                    .flat_map(|number| logs(script, number))
                    .filter(|log| {
                        let wanted = &filter["topics"][0];
                        wanted.is_null() || *wanted == log["topics"][0]
                    })
                    .collect(),
            }
        }
        "eth_getBlockReceipts" if !matches!(script.receipts, None | Some(Receipts::Lacks)) => {
            let asked = params[0].as_str().unwrap();
            let number = match asked.len() {
                66 if script.receipts == Some(Receipts::ByNumber) => {
                    return error(-32602, "number too large to fit in target type");
                }
                66 => {
                    let hash: B256 = asked.parse().unwrap();
                    Some(number_of(hash)).filter(|number| hash == hash_at(script, *number))
                }
                _ => of(&params[0]),
            };
            match number.filter(|number| *number <= at.0) {
                Some(number) => receipts(script, number),
                None => json!(null),
            }
        }
        "eth_syncing" => script.syncing.clone(),
        "eth_newPendingTransactionFilter" => {
            let next = script.pending.len();
            json!(format!("{next:#x}"))
        }
        // The id of a filter is where it began; what was told before is told again.
        "eth_getFilterChanges" => {
            let from = of(&params[0]).unwrap();
            json!(script.pending[usize::try_from(from).unwrap()..])
        }
        "eth_uninstallFilter" => json!(true),
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" => {
            let hash: B256 = params[0].as_str().unwrap().parse().unwrap();
            let block = script.mined.get(&hash).copied();
            match block.filter(|block| *block <= at.0) {
                Some(block) => json!({
                    "hash": hash,
                    "transactionHash": hash,
                    "blockNumber": format!("{block:#x}"),
                    "blockHash": hash_at(script, block),
                }),
                None if script.pending.contains(&hash) && method.ends_with("ByHash") => {
                    json!({ "hash": hash, "nonce": "0x5", "blockNumber": null, "blockHash": null })
                }
                None => json!(null),
            }
        }
        // Five are mined; those that wait are in its pool or not.
        "eth_getTransactionCount" if params[1] == "pending" => {
            json!(format!("{:#x}", 5 + script.pending.len()))
        }
        "eth_getTransactionCount" => json!("0x5"),
        "eth_sendRawTransaction" => {
            let raw = params[0].as_str().unwrap().to_owned();
            if script.known.contains(&raw) {
                return error(-32000, "already known");
            }
            let bytes: Bytes = raw.parse().unwrap();
            script.known.push(raw);
            match script.own_hashes {
                true => json!(own_hash(&bytes)),
                false => json!(keccak256(&bytes)),
            }
        }
        // Larger than some keep.
        "eth_feeHistory" => json!("0".repeat(10_000)),
        // Bytes nobody would write again in the same way.
        "eth_gasPrice" => json!("0x01"),
        _ => {
            return error(
                -32601,
                &format!("the method {method} does not exist/is not available"),
            );
        }
    };
    json!({ "result": result })
}

/// What a chain with hashes of its own calls a transaction.
pub(crate) fn own_hash(raw: &[u8]) -> B256 {
    keccak256([b"another", raw].concat())
}

/// The branch a block belongs to that an upstream counts as its own.
fn branch_at(script: &Script, number: u64) -> u8 {
    let mut branch = script.at.1;
    while branch > 0 && number <= script.forks[usize::from(branch) - 1] {
        branch -= 1;
    }
    branch
}

pub(crate) fn hash_of(number: u64, branch: u8) -> B256 {
    let mut hash = B256::ZERO;
    hash[0] = branch + 1;
    hash[24..].copy_from_slice(&number.to_be_bytes());
    hash
}

fn number_of(hash: B256) -> u64 {
    u64::from_be_bytes(hash[24..].try_into().unwrap())
}

fn hash_at(script: &Script, number: u64) -> B256 {
    if number == 0 && script.other_genesis {
        return hash_of(0, 99);
    }
    hash_of(number, branch_at(script, number))
}

fn block(script: &Script, number: u64) -> Value {
    let hash = hash_at(script, number);
    let mut bloom = Bloom::ZERO;
    bloom.accrue(BloomInput::Raw(Address::repeat_byte(0x11).as_slice()));
    bloom.accrue(BloomInput::Raw(hash.as_slice()));
    json!({
        "number": format!("{number:#x}"),
        "hash": hash,
        "parentHash": hash_at(script, number.saturating_sub(1)),
        "timestamp": format!("{:#x}", 1_700_000_000 + number),
        "gasLimit": "0x1c9c380",
        "logsBloom": bloom,
        "receiptsRoot": root(script, number),
        "transactions": [],
        "uncles": [],
        "size": "0x200"
    })
}

/// The root of the receipts there are, whatever it gives of them: one transaction has all logs.
fn root(script: &Script, number: u64) -> B256 {
    let Some(how) = script.receipts else {
        return B256::ZERO;
    };
    let all = 1 + u64::from(script.twins);
    let receipt = Receipt {
        status: true.into(),
        cumulative_gas_used: 21_000,
        logs: (0..all)
            .map(|_| Log {
                address: Address::repeat_byte(0x11),
                data: LogData::new_unchecked(vec![hash_at(script, number)], Bytes::new()),
            })
            .collect(),
    };
    let root = calculate_receipt_root(&[ReceiptEnvelope::Eip1559(receipt.with_bloom())]);
    match how {
        Receipts::OtherRoot => keccak256(root),
        _ => root,
    }
}

fn receipts(script: &Script, number: u64) -> Value {
    let hash = hash_at(script, number);
    json!([{
        "type": "0x2",
        "status": "0x1",
        "cumulativeGasUsed": "0x5208",
        "blockHash": hash,
        "blockNumber": format!("{number:#x}"),
        "transactionHash": hash,
        "transactionIndex": "0x0",
        "logs": match script.hides_logs {
            true => Vec::new(),
            false => logs(script, number),
        },
    }])
}

/// What it gives of the logs of a block.
fn logs(script: &Script, number: u64) -> Vec<Value> {
    let mut logs = vec![log(script, number)];
    if script.twins {
        let mut twin = logs[0].clone();
        twin["logIndex"] = json!("0x1");
        logs.push(twin);
        if let Some(hidden) = script.hidden_twin {
            logs.remove(hidden);
        }
    }
    if script.invents_a_log {
        let mut twin = logs[logs.len() - 1].clone();
        twin["logIndex"] = json!(format!("{:#x}", logs.len()));
        logs.push(twin);
    }
    logs
}

/// One log in each block, whose topic is the block's hash.
fn log(script: &Script, number: u64) -> Value {
    let hash = hash_at(script, number);
    json!({
        "address": Address::repeat_byte(0x11),
        "topics": [hash],
        "data": "0x",
        "blockNumber": format!("{number:#x}"),
        "blockHash": hash,
        "transactionHash": hash,
        "transactionIndex": "0x0",
        "logIndex": "0x0",
        "removed": false
    })
}

//! Clients of one scripted chain, down to the bytes they put on the wire.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bloom, BloomInput};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
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
    /// Announces more than it sends.
    Truncates,
    /// Answers with this status and a page for people.
    Page(u16),
    /// Answers request 999999.
    WrongId,
    /// An error to this method.
    Fails(&'static str, i64, &'static str),
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
    asked: Vec<(String, Value)>,
    known: Vec<String>,
    largest_range: u64,
}

pub(crate) struct Upstream {
    port: u16,
    script: Arc<Mutex<Script>>,
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
                asked: Vec::new(),
                known: Vec::new(),
                largest_range: u64::MAX,
            })),
            serving: Mutex::new(None),
        };
        upstream.serve(listener);
        upstream
    }

    fn serve(&self, listener: TcpListener) {
        let script = Arc::clone(&self.script);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                connections.spawn(connection(stream, Arc::clone(&script)));
            }
        });
        *self.serving.lock().unwrap() = Some(task);
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub(crate) fn url(&self) -> Url {
        format!("http://127.0.0.1:{}", self.port).parse().unwrap()
    }

    pub(crate) fn is_at(&self, number: u64) -> &Self {
        self.script().at.0 = number;
        self
    }

    /// Goes over to a new branch that leaves the present one above `fork`.
    pub(crate) fn reorganises(&self, fork: u64, number: u64) -> &Self {
        let mut script = self.script();
        script.forks.push(fork);
        script.at = At(number, u8::try_from(script.forks.len()).unwrap());
        drop(script);
        self
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

async fn connection(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut buffer = Vec::new();
    loop {
        let Some(body) = request(&mut stream, &mut buffer).await else {
            return;
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
        let out = match fault {
            Fault::Hangs => return std::future::pending().await,
            Fault::Slow(by) => {
                tokio::time::sleep(by).await;
                whole
            }
            Fault::BreaksAfter(bytes) => {
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
            Fault::Page(status) => {
                let page = "<html><body>Bad day</body></html>";
                format!(
                    "HTTP/1.1 {status} Oh\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}",
                    page.len()
                )
            }
            Fault::Well | Fault::WrongId | Fault::Fails(..) => whole,
        };
        if stream.write_all(out.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
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
                return Some(body);
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
    let at = script.at;
    let of = |reference: &Value| -> Option<u64> {
        match reference.as_str().unwrap_or("latest") {
            "latest" | "pending" => Some(at.0),
            "safe" => Some(at.0.saturating_sub(2)),
            "finalized" => Some(at.0.saturating_sub(4)),
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
                    .map(|number| log(script, number))
                    .collect(),
            }
        }
        "eth_getTransactionReceipt" => json!(null),
        "eth_sendRawTransaction" => {
            let raw = params[0].as_str().unwrap().to_owned();
            if script.known.contains(&raw) {
                return error(-32000, "already known");
            }
            script.known.push(raw);
            json!(format!("0x{:064x}", 7))
        }
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
        "receiptsRoot": B256::ZERO,
        "transactions": [],
        "uncles": [],
        "size": "0x200"
    })
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

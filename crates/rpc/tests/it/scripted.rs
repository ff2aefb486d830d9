//! An endpoint that does as it is told, over HTTP and WebSocket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use url::Url;

pub(crate) const CHAIN: u64 = 1337;

/// What the endpoint does with whatever comes.
#[derive(Clone)]
enum Mood {
    Well,
    /// Takes requests and never answers.
    Hangs,
    /// Answers everything with this.
    Says(StatusCode, String),
}

struct Behaviour {
    mood: Mood,
    chain_id: u64,
    head: u64,
    /// From here on it has other blocks than everybody else.
    forked_at: Option<u64>,
    /// Answers to methods that have no answer of their own here.
    answers: HashMap<String, Value>,
    /// More calls in one batch are refused.
    batch_limit: usize,
    asked: Vec<(String, Value)>,
    credentials: Option<String>,
    subscribers: usize,
}

enum ToSockets {
    Head(Value),
    Text(String),
    Close,
}

#[derive(Clone)]
struct Shared {
    behaviour: Arc<Mutex<Behaviour>>,
    sockets: broadcast::Sender<Arc<ToSockets>>,
}

pub(crate) struct Scripted {
    port: u16,
    shared: Shared,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Scripted {
    /// An endpoint of [`CHAIN`] at block 100 that is well.
    pub(crate) async fn start() -> Self {
        let behaviour = Behaviour {
            mood: Mood::Well,
            chain_id: CHAIN,
            head: 100,
            forked_at: None,
            answers: HashMap::new(),
            batch_limit: usize::MAX,
            asked: Vec::new(),
            credentials: None,
            subscribers: 0,
        };
        let shared = Shared {
            behaviour: Arc::new(Mutex::new(behaviour)),
            sockets: broadcast::Sender::new(64),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new()
            .route("/", get(over_ws).post(over_http))
            .with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            port,
            shared,
            serving,
        }
    }

    pub(crate) fn http(&self) -> Url {
        format!("http://127.0.0.1:{}", self.port).parse().unwrap()
    }

    pub(crate) fn ws(&self) -> Url {
        format!("ws://127.0.0.1:{}", self.port).parse().unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, Behaviour> {
        self.shared.behaviour.lock().unwrap()
    }

    // ---- what it is to do

    pub(crate) fn belongs_to(&self, chain_id: u64) -> &Self {
        self.lock().chain_id = chain_id;
        self
    }

    pub(crate) fn answers(&self, method: &str, result: Value) -> &Self {
        self.lock()
            .answers
            .insert(method.to_owned(), json!({ "result": result }));
        self
    }

    pub(crate) fn refuses(&self, method: &str, code: i64, message: &str) -> &Self {
        self.refuses_with(method, json!({ "code": code, "message": message }))
    }

    pub(crate) fn refuses_with(&self, method: &str, error: Value) -> &Self {
        self.lock()
            .answers
            .insert(method.to_owned(), json!({ "error": error }));
        self
    }

    pub(crate) fn hangs(&self) -> &Self {
        self.lock().mood = Mood::Hangs;
        self
    }

    pub(crate) fn says(&self, status: u16, body: impl Into<String>) -> &Self {
        self.lock().mood = Mood::Says(StatusCode::from_u16(status).unwrap(), body.into());
        self
    }

    pub(crate) fn recovers(&self) -> &Self {
        self.lock().mood = Mood::Well;
        self
    }

    pub(crate) fn takes_batches_of(&self, calls: usize) -> &Self {
        self.lock().batch_limit = calls;
        self
    }

    /// Has this newest block and tells nobody.
    pub(crate) fn is_at(&self, number: u64) -> &Self {
        self.lock().head = number;
        self
    }

    /// Has this newest block and tells its subscribers.
    pub(crate) fn shows(&self, number: u64) -> &Self {
        self.is_at(number);
        let _ = self
            .shared
            .sockets
            .send(Arc::new(ToSockets::Head(block(number))));
        self
    }

    /// The blocks from this one on are replaced by others, up to its newest one; subscribers are
    /// told of that one.
    pub(crate) fn reorganises(&self, from: u64) -> &Self {
        let newest = {
            let mut behaviour = self.lock();
            behaviour.forked_at = Some(from);
            behaviour.block(behaviour.head)
        };
        let _ = self.shared.sockets.send(Arc::new(ToSockets::Head(newest)));
        self
    }

    pub(crate) fn tells_sockets(&self, text: &str) -> &Self {
        let _ = self
            .shared
            .sockets
            .send(Arc::new(ToSockets::Text(text.to_owned())));
        self
    }

    pub(crate) fn closes_sockets(&self) -> &Self {
        let _ = self.shared.sockets.send(Arc::new(ToSockets::Close));
        self
    }

    // ---- what it has seen

    pub(crate) fn asked(&self, method: &str) -> usize {
        self.lock()
            .asked
            .iter()
            .filter(|(asked, _)| asked == method)
            .count()
    }

    pub(crate) fn last_params(&self, method: &str) -> Value {
        let behaviour = self.lock();
        let last = behaviour
            .asked
            .iter()
            .rev()
            .find(|(asked, _)| asked == method);
        last.unwrap_or_else(|| panic!("{method} was not asked"))
            .1
            .clone()
    }

    pub(crate) fn credentials(&self) -> Option<String> {
        self.lock().credentials.clone()
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.lock().subscribers
    }
}

/// A block whose hash tells its number; with more fields than we know.
pub(crate) fn block(number: u64) -> Value {
    json!({
        "number": format!("{number:#x}"),
        "hash": format!("0x{number:064x}"),
        "parentHash": format!("0x{:064x}", number.saturating_sub(1)),
        "timestamp": "0x65f00000",
        "baseFeePerGas": "0x3b9aca00",
        "gasLimit": "0x1c9c380",
        "logsBloom": format!("0x{}", "00".repeat(256)),
        "receiptsRoot": format!("0x{:064x}", 7),
        "extraField": { "of": ["an", "L2"] },
        "transactions": ["0x01"],
        "difficulty": null
    })
}

impl Behaviour {
    fn block(&self, number: u64) -> Value {
        let mut block = block(number);
        let other = |number: u64| format!("0xf0{number:062x}");
        match self.forked_at {
            Some(fork) if number >= fork => {
                block["hash"] = json!(other(number));
                if number > fork {
                    block["parentHash"] = json!(other(number - 1));
                }
            }
            _ => {}
        }
        block
    }
}

fn reply(behaviour: &mut Behaviour, request: &Value) -> Value {
    let method = request["method"].as_str().unwrap_or_default().to_owned();
    let params = request["params"].clone();
    behaviour.asked.push((method.clone(), params.clone()));
    let mut answer = match behaviour.answers.get(&method) {
        Some(scripted) => scripted.clone(),
        None => match method.as_str() {
            "eth_chainId" => json!({ "result": format!("{:#x}", behaviour.chain_id) }),
            "web3_clientVersion" => json!({ "result": "scripted/1" }),
            "eth_subscribe" => {
                behaviour.subscribers += 1;
                json!({ "result": "0x1" })
            }
            "eth_getBlockByHash" => {
                let hash = params[0].as_str().unwrap_or_default();
                let known = (0..=behaviour.head).map(|number| behaviour.block(number));
                json!({ "result": known.into_iter().find(|block| block["hash"] == hash) })
            }
            "eth_getBlockByNumber" => {
                let tag = params[0].as_str().unwrap_or_default();
                let number = tag
                    .strip_prefix("0x")
                    .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                    .unwrap_or(behaviour.head);
                json!({ "result": if number <= behaviour.head { behaviour.block(number) } else { Value::Null } })
            }
            _ => {
                json!({ "error": { "code": -32601, "message": format!("the method {method} does not exist") } })
            }
        },
    };
    answer["jsonrpc"] = json!("2.0");
    answer["id"] = request["id"].clone();
    answer
}

fn replies(shared: &Shared, body: &[u8]) -> String {
    let mut behaviour = shared.behaviour.lock().unwrap();
    match serde_json::from_slice::<Value>(body).unwrap() {
        Value::Array(batch) if batch.len() > behaviour.batch_limit => {
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "batch too large" } }).to_string()
        }
        // In reverse, because order is nobody's promise.
        Value::Array(batch) => {
            let answers: Vec<_> = batch.iter().rev().map(|request| reply(&mut behaviour, request)).collect();
            Value::Array(answers).to_string()
        }
        request => reply(&mut behaviour, &request).to_string(),
    }
}

async fn over_http(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mood = {
        let mut behaviour = shared.behaviour.lock().unwrap();
        behaviour.credentials = headers
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        behaviour.mood.clone()
    };
    match mood {
        Mood::Well => (
            [("content-type", "application/json")],
            replies(&shared, &body),
        )
            .into_response(),
        Mood::Hangs => std::future::pending().await,
        Mood::Says(status, body) => (status, body).into_response(),
    }
}

async fn over_ws(
    State(shared): State<Shared>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let mood = {
        let mut behaviour = shared.behaviour.lock().unwrap();
        behaviour.credentials = headers
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        behaviour.mood.clone()
    };
    match mood {
        Mood::Says(status, body) => (status, body).into_response(),
        _ => upgrade.on_upgrade(|socket| serve_socket(shared, socket)),
    }
}

async fn serve_socket(shared: Shared, mut socket: WebSocket) {
    let mut told = shared.sockets.subscribe();
    let mut subscribed = false;
    loop {
        let out = tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    if matches!(shared.behaviour.lock().unwrap().mood, Mood::Hangs) { continue }
                    subscribed |= text.contains("eth_subscribe");
                    replies(&shared, text.as_bytes())
                }
                Some(Ok(_)) => continue,
                _ => break,
            },
            told = told.recv() => match &*told.unwrap() {
                ToSockets::Head(head) if subscribed => {
                    json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": { "subscription": "0x1", "result": head } }).to_string()
                }
                ToSockets::Head(_) => continue,
                ToSockets::Text(text) => text.clone(),
                ToSockets::Close => break,
            },
        };
        if socket.send(Message::Text(out.into())).await.is_err() {
            break;
        }
    }
    if subscribed {
        shared.behaviour.lock().unwrap().subscribers -= 1;
    }
}

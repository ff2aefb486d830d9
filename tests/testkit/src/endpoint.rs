//! An endpoint in front of a real chain that passes questions on, or is as endpoints are on a bad day.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// What it does with questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Honest,
    /// Its newest block stays the one it is now, and it knows nothing that came after.
    Stuck,
    /// So many blocks behind the chain.
    Lagging(u64),
    /// No block has any logs.
    WithoutLogs,
    /// Takes questions and does not answer.
    Hanging,
}

/// An endpoint over HTTP. Gone, with all its connections, when dropped.
#[derive(Debug)]
pub struct Endpoint {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    behind: String,
    client: reqwest::Client,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    mood: Mood,
    /// Of the moment it got stuck.
    newest: u64,
    asked: Vec<String>,
}

impl Endpoint {
    /// In front of the chain at this URL.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("there is always a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            behind: url.to_owned(),
            client: crate::http(),
            script: Mutex::new(Script {
                mood: Mood::Honest,
                newest: 0,
                asked: Vec::new(),
            }),
        });
        let app = Router::new()
            .route("/", post(serve))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self {
            url: format!("http://{address}"),
            shared,
            server,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn is(&self, mood: Mood) {
        let newest = self.shared.newest().await;
        let mut script = self.shared.script();
        (script.mood, script.newest) = (mood, newest);
    }

    /// The methods it was asked since the last look, in the order of the questions.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.script().asked)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script
            .lock()
            .expect("nobody panics while holding the script")
    }

    async fn ask(&self, question: &Value) -> Option<Value> {
        let request = self.client.post(&self.behind).json(question);
        request.send().await.ok()?.json().await.ok()
    }

    async fn newest(&self) -> u64 {
        let question =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] });
        let answer = self.ask(&question).await.unwrap_or_default();
        number(&answer["result"]).unwrap_or(0)
    }

    async fn answer(&self, mut question: Value) -> Option<Value> {
        let (mood, stuck_at) = {
            let mut script = self.script();
            let method = question["method"].as_str().unwrap_or_default().to_owned();
            script.asked.push(method);
            (script.mood, script.newest)
        };
        let newest = match mood {
            Mood::Hanging => return std::future::pending().await,
            Mood::WithoutLogs if question["method"] == "eth_getLogs" => {
                return Some(json!({ "jsonrpc": "2.0", "id": question["id"], "result": [] }));
            }
            Mood::Honest | Mood::WithoutLogs => return self.ask(&question).await,
            Mood::Stuck => stuck_at,
            Mood::Lagging(blocks) => self.newest().await.saturating_sub(blocks),
        };
        let mut beyond = question["method"] == "eth_getBlockByHash";
        if question["method"] == "eth_blockNumber" {
            let result = format!("{newest:#x}");
            return Some(json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }));
        }
        for param in question["params"].as_array_mut().into_iter().flatten() {
            if param == "latest" {
                *param = json!(format!("{newest:#x}"));
            }
            beyond |= param.as_str().is_some_and(|text| text.len() < 20)
                && number(param).is_some_and(|asked| asked > newest);
        }
        let mut answer = self.ask(&question).await?;
        let in_block = &answer["result"]["number"];
        if beyond && (in_block.is_null() || number(in_block).is_some_and(|at| at > newest)) {
            answer["result"] = Value::Null;
        }
        Some(answer)
    }
}

fn number(quantity: &Value) -> Option<u64> {
    let digits = quantity.as_str()?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}

async fn serve(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let answer = match serde_json::from_slice(&body) {
        Ok(Value::Array(batch)) => {
            let mut answers = Vec::with_capacity(batch.len());
            for question in batch {
                answers.extend(shared.answer(question).await);
            }
            Some(Value::Array(answers))
        }
        Ok(question) => shared.answer(question).await,
        Err(_) => None,
    };
    match answer {
        Some(answer) => axum::Json(answer).into_response(),
        None => StatusCode::BAD_GATEWAY.into_response(),
    }
}

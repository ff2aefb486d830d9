//! What stands between a node and its chain: passes questions on, unless it was told otherwise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use dodona_testkit::anvil::Chain;
use serde_json::{Value, json};
use tokio::sync::watch;
use url::Url;

/// What happens to one question.
pub(crate) enum Reply {
    /// The chain answers.
    Pass,
    Refuse(i64, String),
    Answer(Value),
}

pub(crate) fn refuse(message: &str) -> Reply {
    Reply::Refuse(-32000, message.to_owned())
}

/// A revert as nodes report it, with its reason encoded.
pub(crate) fn revert(reason: &str) -> Reply {
    Reply::Refuse(3, format!("execution reverted: {reason}"))
}

type Script = Arc<dyn Fn(&Value) -> Reply + Send + Sync>;

#[derive(Default)]
struct Behaviour {
    scripts: HashMap<String, Script>,
    asked: Vec<(String, Value)>,
    is_down: bool,
}

#[derive(Clone)]
struct Shared {
    chain: Chain,
    http: reqwest::Client,
    behaviour: Arc<Mutex<Behaviour>>,
    /// Method held back, if any.
    held: Arc<watch::Sender<Option<&'static str>>>,
}

/// Ends when dropped.
pub(crate) struct Endpoint {
    url: Url,
    shared: Shared,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Endpoint {
    pub(crate) async fn before(chain: &Chain) -> Self {
        let shared = Shared {
            chain: chain.clone(),
            http: dodona_testkit::http(),
            behaviour: Arc::default(),
            held: Arc::new(watch::Sender::new(None)),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/", post(serve))
            .with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url: url.parse().unwrap(),
            shared,
            serving,
        }
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Behaviour> {
        self.shared.behaviour.lock().unwrap()
    }

    /// What happens to each question of this kind from now on, by its parameters.
    pub(crate) fn on(
        &self,
        method: &str,
        script: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) {
        self.lock()
            .scripts
            .insert(method.to_owned(), Arc::new(script));
    }

    /// Every transaction is refused with this text.
    pub(crate) fn refuses_transactions(&self, message: &'static str) {
        self.on(SEND, move |_| refuse(message));
    }

    /// Transactions are taken and go nowhere.
    pub(crate) fn swallows_transactions(&self) {
        self.on(SEND, |_| {
            Reply::Answer(json!(alloy::primitives::B256::ZERO))
        });
    }

    pub(crate) fn as_usual(&self, method: &str) {
        self.lock().scripts.remove(method);
    }

    pub(crate) fn takes_transactions(&self) {
        self.as_usual(SEND);
    }

    pub(crate) fn is_down(&self, down: bool) {
        self.lock().is_down = down;
    }

    /// Questions of this kind arrive and wait; none: all go on.
    pub(crate) fn holds(&self, method: Option<&'static str>) {
        self.shared.held.send_replace(method);
    }

    /// Parameters of the questions of this kind since the last look, oldest first.
    pub(crate) fn asked(&self, method: &str) -> Vec<Value> {
        let mut behaviour = self.lock();
        let all: Vec<(String, Value)> = std::mem::take(&mut behaviour.asked);
        let (these, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(asked, _)| asked == method);
        behaviour.asked = others;
        these.into_iter().map(|(_, params)| params).collect()
    }

    /// Transactions handed to it since the last look, as they came.
    pub(crate) fn handed(&self) -> Vec<alloy::primitives::Bytes> {
        let asked = self.asked(SEND);
        let raw = |params: &Value| serde_json::from_value(params[0].clone()).unwrap();
        asked.iter().map(raw).collect()
    }
}

const SEND: &str = "eth_sendRawTransaction";

async fn reply(shared: &Shared, question: &Value) -> Value {
    let method = question["method"].as_str().unwrap().to_owned();
    let params = question["params"].clone();
    let script = {
        let mut behaviour = shared.behaviour.lock().unwrap();
        behaviour.asked.push((method.clone(), params.clone()));
        behaviour.scripts.get(&method).cloned()
    };
    let mut held = shared.held.subscribe();
    // The sender lives as long as we do.
    let _ = held
        .wait_for(|held| held.is_none_or(|held| held != method))
        .await;
    let answer = match script.map(|script| script(&params)) {
        None | Some(Reply::Pass) => {
            let answer = shared
                .http
                .post(shared.chain.http_url())
                .json(question)
                .send();
            return answer.await.unwrap().json().await.unwrap();
        }
        Some(Reply::Refuse(code, message)) => {
            json!({ "error": { "code": code, "message": message } })
        }
        Some(Reply::Answer(result)) => json!({ "result": result }),
    };
    let mut answer = answer;
    answer["jsonrpc"] = json!("2.0");
    answer["id"] = question["id"].clone();
    answer
}

async fn serve(State(shared): State<Shared>, body: Bytes) -> Response {
    if shared.behaviour.lock().unwrap().is_down {
        return (StatusCode::SERVICE_UNAVAILABLE, "closed for today").into_response();
    }
    let answer = match serde_json::from_slice(&body).unwrap() {
        Value::Array(batch) => {
            let mut answers = Vec::with_capacity(batch.len());
            for question in &batch {
                answers.push(reply(&shared, question).await);
            }
            Value::Array(answers)
        }
        question => reply(&shared, &question).await,
    };
    ([("content-type", "application/json")], answer.to_string()).into_response()
}

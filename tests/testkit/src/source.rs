//! A data source, or a bridge adapter, whose behaviour a test decides.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::Response,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// What happens to whoever asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    /// 200 with this document.
    Answer(Value),
    /// The documents one after another, the last one for ever.
    Sequence(Vec<Value>),
    /// This status with this text.
    Status(u16, String),
    /// 200 with bytes that are neither JSON nor text.
    Garbage,
    /// The connection stays open and nothing comes.
    Hang,
    /// A JSON document of this many MiB.
    Megabytes(usize),
    /// [`Behaviour::Answer`] after a while.
    Slow(Duration, Value),
    /// [`Behaviour::Answer`] once the gate is open.
    Behind(Gate, Value),
    /// A redirection to this URL.
    Redirect(String),
}

/// Holds answers back until the test lets them go. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// For good: what waits goes on, and nothing waits any more.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn passed(&self) {
        // The sender lives as long as we do, so there is no error to see.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} {} came with no JSON: {error}", self.method, self.target)
        })
    }
}

/// A server on a free port of this machine; ends when dropped.
#[derive(Debug)]
pub struct Source {
    address: String,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Script {
    by_path: HashMap<String, Behaviour>,
    received: Vec<Received>,
}

impl Source {
    /// Starts one that knows no path yet: every request gets a 404 until [`Source::on`].
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("there is always a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let script = Arc::new(Mutex::new(Script::default()));
        let app = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&script));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self {
            address,
            script,
            server,
        }
    }

    /// Starts one that answers with this document at `/`.
    pub async fn answering(document: impl Into<Value>) -> Self {
        let source = Self::start().await;
        source.on("/", Behaviour::Answer(document.into()));
        source
    }

    /// Where it listens, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `path` starts with a slash.
    pub fn url_of(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What happens at this path from now on, whatever the query.
    pub fn on(&self, path: &str, behaviour: Behaviour) {
        lock(&self.script)
            .by_path
            .insert(path.to_owned(), behaviour);
    }

    /// Requests that have arrived, of all paths.
    pub fn hits(&self) -> usize {
        lock(&self.script).received.len()
    }

    /// Requests that have arrived at this path.
    pub fn hits_of(&self, path: &str) -> usize {
        let script = lock(&self.script);
        script
            .received
            .iter()
            .filter(|it| it.target.split('?').next() == Some(path))
            .count()
    }

    /// Everything that has arrived, oldest first.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.script).received.clone()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script
        .lock()
        .expect("nobody panics while holding the script")
}

async fn serve(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let behaviour = {
        let mut script = lock(&script);
        script.received.push(Received {
            method,
            target: uri.to_string(),
            headers,
            body,
        });
        match script.by_path.get_mut(uri.path()) {
            Some(Behaviour::Sequence(documents)) if documents.len() > 1 => {
                Behaviour::Answer(documents.remove(0))
            }
            Some(Behaviour::Sequence(documents)) => Behaviour::Answer(documents[0].clone()),
            Some(behaviour) => behaviour.clone(),
            None => Behaviour::Status(404, format!("nothing at {}", uri.path())),
        }
    };
    match behaviour {
        Behaviour::Answer(document) => json(document.to_string()),
        Behaviour::Slow(after, document) => {
            tokio::time::sleep(after).await;
            json(document.to_string())
        }
        Behaviour::Behind(gate, document) => {
            gate.passed().await;
            json(document.to_string())
        }
        Behaviour::Sequence(_) => unreachable!("it became an answer above"),
        Behaviour::Status(status, text) => with_status(status, text),
        Behaviour::Garbage => json(vec![0xff, 0x00, 0xfe, b'{', b'"', 0x80, 0xc3, 0x28]),
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Megabytes(count) => {
            json(format!("{{\"value\":\"{}\"}}", "x".repeat(count << 20)))
        }
        Behaviour::Redirect(to) => {
            let mut response = with_status(302, String::new());
            let to = HeaderValue::from_str(&to).expect("the test gave a URL");
            response.headers_mut().insert("location", to);
            response
        }
    }
}

fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn with_status(status: u16, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).expect("the test gave a valid status");
    response
}

//! A node that answers what the test wrote down, and remembers what it was asked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const EMAIL: &str = "op@example.org";
pub(crate) const PASSWORD: &str = "sixteen characters";

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: String,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

#[derive(Default)]
struct Script {
    answers: HashMap<(String, String), Answer>,
    seen: Vec<Seen>,
    /// Sessions that are open; every log-in opens another.
    sessions: Vec<String>,
    logins: usize,
}

pub(crate) struct ScriptedNode {
    pub url: String,
    script: Arc<Mutex<Script>>,
}

impl ScriptedNode {
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, script }
    }

    pub(crate) fn answers(&self, method: &str, path: &str, status: u16, body: Value) -> &Self {
        self.answers_raw(method, path, status, &[], body.to_string())
    }

    pub(crate) fn answers_raw(
        &self,
        method: &str,
        path: &str,
        status: u16,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> &Self {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let answer = Answer {
            status,
            headers,
            body,
        };
        self.script
            .lock()
            .unwrap()
            .answers
            .insert((method.to_owned(), path.to_owned()), answer);
        self
    }

    /// Everybody has to log in again.
    pub(crate) fn forget_sessions(&self) {
        self.script.lock().unwrap().sessions.clear();
    }

    pub(crate) fn logins(&self) -> usize {
        self.script.lock().unwrap().logins
    }

    /// The newest request for a path.
    pub(crate) fn asked(&self, method: &str, path: &str) -> Seen {
        let script = self.script.lock().unwrap();
        let found = script
            .seen
            .iter()
            .rev()
            .find(|seen| seen.method == method && seen.path == path);
        found
            .cloned()
            .unwrap_or_else(|| panic!("{method} {path} was never asked: {:?}", script.seen))
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut script = script.lock().unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let (path, query) = (
        uri.path().to_owned(),
        uri.query().unwrap_or_default().to_owned(),
    );
    script.seen.push(Seen {
        method: method.to_string(),
        path: path.clone(),
        query,
        body: body.clone(),
    });
    if (method.as_str(), path.as_str()) == ("POST", "/sessions") {
        let given: Value = serde_json::from_str(&body).unwrap_or_default();
        if given != json!({"email": EMAIL, "password": PASSWORD}) {
            return (
                StatusCode::UNAUTHORIZED,
                json!({"errors": [{"detail": "Invalid password"}]}).to_string(),
            )
                .into_response();
        }
        script.logins += 1;
        let session = format!("session{}", script.logins);
        script.sessions.push(session.clone());
        let cookie = format!("clsession={session}; Path=/; HttpOnly; Secure; SameSite=Strict");
        return ([(header::SET_COOKIE, cookie)], json!({"data": {"type": "session", "id": "sessionID", "attributes": {"authenticated": true}}}).to_string()).into_response();
    }
    let cookie = headers
        .get(header::COOKIE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let known = script
        .sessions
        .iter()
        .any(|session| cookie == format!("clsession={session}"));
    if !known && !path.starts_with("/health") {
        let detail = "session missing or expired, please login again";
        return (
            StatusCode::UNAUTHORIZED,
            json!({"errors": [{"detail": detail}]}).to_string(),
        )
            .into_response();
    }
    let Some(answer) = script.answers.get(&(method.to_string(), path)).cloned() else {
        return (
            StatusCode::NOT_FOUND,
            json!({"errors": [{"detail": "not found"}]}).to_string(),
        )
            .into_response();
    };
    let mut response = (StatusCode::from_u16(answer.status).unwrap(), answer.body).into_response();
    for (name, value) in answer.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// Somebody at a shell, with a home directory of their own.
pub(crate) struct Operator {
    pub home: TempDir,
    url: String,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Operator {
    pub(crate) fn of(node: &ScriptedNode) -> Self {
        Self::at(&node.url)
    }

    pub(crate) fn at(url: &str) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            url: url.to_owned(),
        }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.file("api", &format!("{EMAIL}\n{PASSWORD}\n"))
    }

    /// The cookie files, wherever they are below the cache directory.
    pub(crate) fn cookies(&self) -> Vec<PathBuf> {
        let dir = self.home.path().join("cache/dodona/cookies");
        std::fs::read_dir(dir)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    }

    /// Types a command; arguments are separated by blanks, `{home}` is the home directory.
    pub(crate) async fn types(&self, line: &str) -> Done {
        let home = self.home.path().display().to_string();
        let arguments: Vec<String> = line
            .split(' ')
            .map(|argument| argument.replace("{home}", &home))
            .collect();
        self.runs(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .await
    }

    /// Runs a command whose arguments may hold blanks.
    pub(crate) async fn runs(&self, arguments: &[&str]) -> Done {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_dodona"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_CACHE_HOME", self.home.path().join("cache"))
            .env("CLIENT_NODE_URL", &self.url)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Done {
            code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    pub(crate) async fn logs_in(&self) {
        let done = self
            .runs(&[
                "admin",
                "login",
                "--file",
                &self.credentials().display().to_string(),
            ])
            .await;
        assert_eq!(done.code, 0, "{done:?}");
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

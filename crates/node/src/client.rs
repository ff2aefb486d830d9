//! Talking to a running node: its REST API, a session cookie, sentences for what goes wrong.
//!
//! The cookie is kept in a file of its own for each node address, so that a
//! session is never shown to another node.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::Url;

use crate::jsonapi::{Document, error_details};
use crate::password::{self, Credentials, PasswordError};

/// Creating a transfer waits for an attempt there; nothing takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Redirects of an operator's own proxy.
const MAX_REDIRECTS: usize = 3;
const COOKIE_NAME: &str = "clsession";

/// Where the node is and who asks.
#[derive(Debug, Clone)]
pub struct Remote {
    pub url: Url,
    /// Two lines, for logging in again when the session has ended.
    pub credentials_file: Option<PathBuf>,
    /// Accept any TLS certificate.
    pub insecure_skip_verify: bool,
    /// The user's cache directory; nothing is remembered without one.
    pub cache_dir: Option<PathBuf>,
}

/// Why a command did not get its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no node answers at {url}: {cause}\nIs it running? Start one with `dodona node start`, or name another with --remote-node-url."
    )]
    Unreachable { url: String, cause: String },
    #[error(
        "not logged in at {url}: {detail}\nRun `dodona admin login`, or name a file with --admin-credentials-file."
    )]
    NoSession { url: String, detail: String },
    #[error("{url} refuses to log you in: {detail}")]
    LoginRefused { url: String, detail: String },
    /// Some routes say this without naming the role they want.
    #[error("your role at {url} is too low for this; ask an administrator of the node")]
    RoleTooLow { url: String },
    #[error("this needs the role {needed}; {email} has the role {present}")]
    Forbidden {
        needed: String,
        present: String,
        email: String,
    },
    /// The node's own words.
    #[error("{}", details.join("\n"))]
    Refused {
        status: StatusCode,
        details: Vec<String>,
    },
    #[error(
        "{url} answered with something that is not a node's answer ({status}): {excerpt}\nDoes --remote-node-url name a node?"
    )]
    NotANode {
        url: Url,
        status: StatusCode,
        excerpt: String,
    },
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the session cookie cannot be kept in {file}")]
    Cookie {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
}

/// What a request carries.
#[derive(Debug, Clone)]
pub enum Body {
    Nothing,
    Json(Value),
    /// A document that is passed on as it is.
    Raw(String),
}

/// An answer with a status below 400.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
    url: Url,
}

impl Answer {
    /// Reads the answer as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|_| ClientError::NotANode {
            url: self.url.clone(),
            status: self.status,
            excerpt: excerpt(&self.body),
        })
    }

    /// Reads the answer as things in envelopes.
    pub fn document(&self) -> Result<Document, ClientError> {
        self.json()
    }
}

pub struct Client {
    http: reqwest::Client,
    remote: Remote,
}

impl Client {
    pub fn new(remote: Remote) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::limited(MAX_REDIRECTS))
            .tls_danger_accept_invalid_certs(remote.insecure_skip_verify)
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, remote })
    }

    /// The node's address, for messages.
    pub fn address(&self) -> &str {
        self.remote.url.as_str().trim_end_matches('/')
    }

    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, ClientError> {
        self.send(Method::GET, path, query, Body::Nothing).await
    }

    pub async fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Body,
    ) -> Result<Answer, ClientError> {
        self.send(Method::POST, path, query, body).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Method::DELETE, path, &[], Body::Nothing).await
    }

    /// Asks; logs in once more and repeats when the session has ended and a credentials file is there.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Body,
    ) -> Result<Answer, ClientError> {
        let answer = self.once(method.clone(), path, query, &body).await;
        let (Err(ClientError::NoSession { .. }), Some(file)) =
            (&answer, &self.remote.credentials_file)
        else {
            return answer;
        };
        // A file that is not there is the same as none, as in the Chainlink node.
        if !file.exists() {
            return answer;
        }
        self.log_in(&password::credentials_from_file(file)?).await?;
        self.once(method, path, query, &body).await
    }

    /// Opens a session and keeps its cookie.
    pub async fn log_in(&self, credentials: &Credentials) -> Result<(), ClientError> {
        let body = serde_json::json!({"email": credentials.email, "password": credentials.password.expose_secret()});
        let url = self.url_of("/sessions", &[]);
        let request = self
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let received = self.receive(request, &url).await;
        let (answer, headers) = received.map_err(|error| match error {
            ClientError::NoSession { url, detail } => ClientError::LoginRefused { url, detail },
            other => other,
        })?;
        let cookie = session_cookie(&headers).ok_or_else(|| ClientError::NotANode {
            url: url.clone(),
            status: answer.status,
            excerpt: "no session cookie".into(),
        })?;
        self.keep_cookie(&cookie)
    }

    /// Ends the session here and there.
    pub async fn log_out(&self) -> Result<(), ClientError> {
        let answer = self
            .once(Method::DELETE, "/sessions", &[], &Body::Nothing)
            .await;
        if let Some(file) = self.cookie_file() {
            let _ = fs::remove_file(file);
        }
        match answer {
            // No session is what was asked for.
            Ok(_) | Err(ClientError::NoSession { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &Body,
    ) -> Result<Answer, ClientError> {
        let url = self.url_of(path, query);
        let mut request = self.http.request(method, url.clone());
        if let Some(cookie) = self.cookie() {
            request = request.header(COOKIE, format!("{COOKIE_NAME}={cookie}"));
        }
        request = match body {
            Body::Nothing => request,
            Body::Json(value) => request
                .header(CONTENT_TYPE, "application/json")
                .body(value.to_string()),
            Body::Raw(text) => request
                .header(CONTENT_TYPE, "application/json")
                .body(text.clone()),
        };
        let (answer, _) = self.receive(request, &url).await?;
        Ok(answer)
    }

    async fn receive(
        &self,
        request: reqwest::RequestBuilder,
        url: &Url,
    ) -> Result<(Answer, HeaderMap), ClientError> {
        // The query may hold a password, so the address in messages is the node's alone.
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: self.address().to_owned(),
            cause: cause_of(&error),
        };
        let response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(unreachable)?.to_vec();
        if status.is_client_error() || status.is_server_error() {
            return Err(self.refusal(status, &headers, &body, url));
        }
        let mut url = url.clone();
        url.set_query(None);
        Ok((Answer { status, body, url }, headers))
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        url: &Url,
    ) -> ClientError {
        let details = error_details(body);
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        match (status, header("forbidden-required-role")) {
            (StatusCode::FORBIDDEN, Some(needed)) => ClientError::Forbidden {
                needed,
                present: header("forbidden-provided-role").unwrap_or_else(|| "none".into()),
                email: header("forbidden-provided-email").unwrap_or_else(|| "this user".into()),
            },
            (StatusCode::UNAUTHORIZED, _) => {
                let detail = if details.is_empty() {
                    excerpt(body)
                } else {
                    details.join(", ")
                };
                let url = self.address().to_owned();
                match detail.as_str() {
                    "Unauthorized" => ClientError::RoleTooLow { url },
                    _ => ClientError::NoSession { url, detail },
                }
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => {
                let details = vec![
                    "too many requests in a short time; wait a minute and try again".to_owned(),
                ];
                ClientError::Refused { status, details }
            }
            _ if details.is_empty() => {
                let mut url = url.clone();
                url.set_query(None);
                ClientError::NotANode {
                    url,
                    status,
                    excerpt: excerpt(body),
                }
            }
            _ => ClientError::Refused { status, details },
        }
    }

    fn url_of(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.remote.url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn cookie_file(&self) -> Option<PathBuf> {
        let url = &self.remote.url;
        let port = url.port_or_known_default().unwrap_or(0);
        let name = format!(
            "{}_{}_{port}{}",
            url.scheme(),
            url.host_str().unwrap_or("node"),
            url.path().trim_end_matches('/')
        );
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        Some(
            self.remote
                .cache_dir
                .as_ref()?
                .join("dodona/cookies")
                .join(name),
        )
    }

    fn cookie(&self) -> Option<String> {
        let text = fs::read_to_string(self.cookie_file()?).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn keep_cookie(&self, cookie: &str) -> Result<(), ClientError> {
        let Some(file) = self.cookie_file() else {
            return Ok(());
        };
        write_private(&file, cookie.as_bytes(), true).map_err(|source| ClientError::Cookie {
            file: file.display().to_string(),
            source,
        })
    }
}

/// Writes a file that nobody else can read, in directories that nobody else can enter.
pub fn write_private(file: &Path, content: &[u8], overwrite: bool) -> std::io::Result<()> {
    if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    if overwrite {
        // A file that was there before may be open to others: it is replaced, not written into.
        match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(content)?;
    file.sync_all()
}

fn session_cookie(headers: &HeaderMap) -> Option<String> {
    let values = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let first_pair = |value: &str| {
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    values
        .map(first_pair)
        .find_map(|pair| pair.strip_prefix("clsession=").map(str::to_owned))
        .filter(|value| !value.is_empty())
}

/// The innermost reason, which says most: "connection refused" rather than "error sending request".
fn cause_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("it did not answer within {} seconds", TIMEOUT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The beginning of an answer, on one line.
fn excerpt(body: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(body);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None if text.is_empty() => "an empty answer".into(),
        None => text,
    }
}

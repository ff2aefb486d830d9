//! One process' API on a database of its own, and somebody who talks to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use dodona_api::{Api, ApiConfig, ChainView, Parts, ensure_first_user};
use dodona_model::{ChainId, U256};
use dodona_runtime::{Health, Poke, Waiter, clock};
use dodona_store::{DatabaseConfig, Engine, Store, users};
use dodona_testkit::postgres::{self, FreshDatabase};
use reqwest::{Method, StatusCode, header::HeaderMap};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::vault::FakeVault;

pub(crate) const EMAIL: &str = "ops@example.com";
pub(crate) const PASSWORD: &str = "correct horse battery";
/// The chains of every node here.
pub(crate) const CHAIN: ChainId = 31337;
pub(crate) const OTHER_CHAIN: ChainId = 1;

/// Runs each test on both engines: `fn name(node: Node)`.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {$(
            #[tokio::test]
            async fn $name() {
                super::$name(crate::harness::Node::start(dodona_store::Engine::Sqlite).await).await;
            }
        )*}
        mod on_postgres {$(
            #[tokio::test]
            async fn $name() {
                super::$name(crate::harness::Node::start(dodona_store::Engine::Postgres).await).await;
            }
        )*}
    };
}
pub(crate) use on_both_engines;

/// A served API.
pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) store: Store,
    pub(crate) health: Health,
    pub(crate) job_pokes: Waiter,
    pub(crate) run_pokes: Waiter,
    _stop: oneshot::Sender<()>,
    _database: Database,
}

enum Database {
    File { _dir: TempDir },
    Server { _fresh: FreshDatabase },
}

async fn open(engine: Engine, pokes: BTreeMap<&'static str, Poke>) -> (Store, Database) {
    let (config, database) = match engine {
        Engine::Sqlite => {
            let dir = tempfile::tempdir().unwrap();
            let config = DatabaseConfig::Sqlite(dir.path().join("dodona.sqlite"));
            (config, Database::File { _dir: dir })
        }
        Engine::Postgres => {
            let fresh = postgres::fresh().await;
            let config = DatabaseConfig::Postgres {
                url: fresh.url.clone(),
                max_connections: 5,
            };
            (config, Database::Server { _fresh: fresh })
        }
    };
    (Store::open(&config, pokes).await.unwrap(), database)
}

/// A configuration that forgives many requests; tests of the limits set their own.
pub(crate) fn config() -> ApiConfig {
    let mut config = ApiConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.secure_cookies = false;
    config.rate_limits.disabled = true;
    config.version = "1.2.3".to_owned();
    config.commit = "abcdef".to_owned();
    config
}

pub(crate) fn chain(chain_id: ChainId) -> ChainView {
    ChainView {
        chain_id,
        pool: None,
        min_confirmations: 1,
        min_payment: U256::ZERO,
        head_age_alarm: std::time::Duration::from_secs(180),
        link: None,
        max_gas_price_wei: Some(Arc::new(|_| U256::from(500))),
        config_toml: format!("ChainID = '{chain_id}'\n"),
    }
}

impl Node {
    /// Both chains configured, one admin.
    pub(crate) async fn start(engine: Engine) -> Self {
        Self::with(engine, config(), vec![chain(CHAIN), chain(OTHER_CHAIN)]).await
    }

    pub(crate) async fn on_sqlite(config: ApiConfig) -> Self {
        Self::with(Engine::Sqlite, config, vec![chain(CHAIN)]).await
    }

    pub(crate) async fn with(engine: Engine, config: ApiConfig, chains: Vec<ChainView>) -> Self {
        let jobs = Poke::new();
        let (ended, runs) = (Poke::new(), Poke::new());
        let pokes = [
            ("jobs", jobs.clone()),
            ("ended", ended.clone()),
            ("runs", runs.clone()),
        ];
        let (store, database) = open(engine, pokes.into()).await;
        let password = SecretString::from(PASSWORD);
        assert!(ensure_first_user(&store, EMAIL, &password).await.unwrap());
        let health = Health::default();
        let parts = Parts {
            store: store.clone(),
            health: health.clone(),
            vault: Arc::new(FakeVault::new(store.clone())),
            chains,
            leading: Arc::new(|| {
                vec![
                    ("chain:31337".to_owned(), true),
                    ("schedule".to_owned(), false),
                ]
            }),
            run_ended: ended,
            metrics_render: Arc::new(|| {
                "# TYPE recorded_total counter\nrecorded_total 7\n".to_owned()
            }),
        };
        let api = Api::new(parts, config);
        let listener = api.bind().await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(api.serve(listener, async {
            let _ = stopped.await;
        }));
        Self {
            url,
            store,
            health,
            job_pokes: jobs.subscribe(),
            run_pokes: runs.subscribe(),
            _stop: stop,
            _database: database,
        }
    }

    /// Somebody who has not logged in.
    pub(crate) fn anybody(&self) -> Caller {
        Caller {
            url: self.url.clone(),
            http: dodona_testkit::http(),
            headers: HeaderMap::new(),
        }
    }

    /// The first user, logged in.
    pub(crate) async fn admin(&self) -> Caller {
        self.log_in(EMAIL, PASSWORD).await
    }

    /// A user of this role, logged in; the password is everybody's.
    pub(crate) async fn user(&self, role: &str) -> Caller {
        let email = format!("{role}@example.com");
        let mut tx = self.store.begin().await.unwrap();
        let admin = users::find(&mut tx, EMAIL).await.unwrap().unwrap();
        users::insert(&mut tx, &email, &admin.password_hash, role, clock::now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.log_in(&email, PASSWORD).await
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Caller {
        let body = serde_json::json!({ "email": email, "password": password });
        let answer = self.anybody().post("/sessions", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let cookie = answer.cookie().expect("a session").to_owned();
        self.anybody()
            .with("cookie", &format!("clsession={cookie}"))
    }
}

/// Somebody with an HTTP client.
#[derive(Clone)]
pub(crate) struct Caller {
    url: String,
    http: reqwest::Client,
    headers: HeaderMap,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    /// The attributes of the one resource.
    pub(crate) fn attributes(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self.json()["data"]["attributes"].clone()
    }

    pub(crate) fn id(&self) -> String {
        self.json()["data"]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    /// Every `detail` of a refusal, joined.
    pub(crate) fn details(&self) -> String {
        let errors = self.json()["errors"].clone();
        let details = errors.as_array().expect("a refusal").iter();
        details
            .map(|error| error["detail"].as_str().expect("a detail"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The session that was handed out.
    pub(crate) fn cookie(&self) -> Option<&str> {
        let pair = self.header("set-cookie").split(';').next()?;
        pair.strip_prefix("clsession=")
    }

    /// Pretty JSON without what differs between runs.
    pub(crate) fn shown(&self) -> String {
        let mut json = self.json();
        scrub(&mut json);
        serde_json::to_string_pretty(&json).unwrap()
    }

    /// Panics unless the status is this one and the refusal says `words`.
    pub(crate) fn refused(&self, status: u16, words: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert!(
            self.details().contains(words),
            "{words:?} in {:?}",
            self.text
        );
    }
}

fn scrub(json: &mut Value) {
    match json {
        Value::String(text) if is_time(text) => *text = "<time>".to_owned(),
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Object(entries) => {
            for (name, value) in entries {
                let random = [
                    "incomingToken",
                    "outgoingToken",
                    "accessKey",
                    "incomingAccessKey",
                    "incomingSecret",
                    "outgoingSecret",
                    "secret",
                    "uptimeSeconds",
                ];
                if random.contains(&name.as_str()) && !value.is_null() {
                    *value = "<varies>".into();
                }
                scrub(value);
            }
        }
        _ => {}
    }
}

fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes.ends_with(b"Z")
}

impl Caller {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = self
            .http
            .request(method, format!("{}{path}", self.url))
            .headers(self.headers.clone())
            .body(body)
            .send()
            .await
            .unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "").await
    }
}

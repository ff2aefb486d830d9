//! The gateway from outside: real sockets, scripted clients, bad days.

mod access;
mod bad_days;
mod bodies;
mod callers;
mod certificates;
mod guarantees;
mod hostile;
mod judging;
mod learning;
mod leaving;
mod libraries;
mod no_way_back;
mod real_chain;
mod reload;
mod sends;
mod sharing;
mod subscriptions;
mod tls;
mod together;
mod upstream;
mod verified;

use std::net::SocketAddr;
use std::time::Duration;

use dodona_rpc::gateway::{Gateway, GatewayConfig};
use dodona_rpc::{NodeConfig, PoolConfig};
use dodona_testkit::until;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use upstream::{CHAIN, Upstream};

/// A gateway in front of upstreams, as a client sees it.
pub(crate) struct Door {
    address: SocketAddr,
    /// Where it is as a URL; by name where its certificate names it.
    url: String,
    client: reqwest::Client,
    gateway: Gateway,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Waits until somebody wants to know what this client's chain begins with.
pub(crate) async fn first_block_is_asked_of(client: &Upstream) {
    until("the first block is asked for", || async {
        let asked = client.asked_with("eth_getBlockByNumber");
        asked.iter().any(|params| params[0] == "0x0").then_some(())
    })
    .await;
}

pub(crate) async fn upstreams(count: usize) -> Vec<Upstream> {
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(Upstream::start().await);
    }
    list
}

/// How often all of them together were asked this.
pub(crate) fn asked_of(clients: &[Upstream], method: &str) -> usize {
    clients.iter().map(|client| client.asked(method)).sum()
}

impl Door {
    pub(crate) async fn before(upstreams: &[Upstream]) -> Self {
        Self::with(upstreams, GatewayConfig::default(), |_| {}).await
    }

    /// Keeps answers, and has them checked less often than they are asked.
    pub(crate) async fn that_keeps_answers(upstreams: &[Upstream]) -> Self {
        Self::keeping(upstreams, GatewayConfig::default(), |_| {}).await
    }

    /// Keeps no answers, so that every question goes to an upstream.
    pub(crate) async fn with(
        upstreams: &[Upstream],
        config: GatewayConfig,
        adjust: impl FnOnce(&mut PoolConfig),
    ) -> Self {
        let config = GatewayConfig {
            cache_bytes: 0,
            ..config
        };
        Self::keeping(upstreams, config, adjust).await
    }

    async fn keeping(
        upstreams: &[Upstream],
        config: GatewayConfig,
        adjust: impl FnOnce(&mut PoolConfig),
    ) -> Self {
        let mut pool = pool_of(upstreams);
        adjust(&mut pool);
        Self::open(pool, config).await
    }

    /// Heads come over WebSockets; polls are rare.
    pub(crate) async fn over_ws(upstreams: &[Upstream]) -> Self {
        Self::with(upstreams, GatewayConfig::default(), |pool| {
            pool.new_heads_poll_interval = Duration::ZERO;
            for (node, upstream) in pool.nodes.iter_mut().zip(upstreams) {
                node.ws_url = Some(upstream.ws());
            }
        })
        .await
    }

    pub(crate) async fn open(pool: PoolConfig, config: GatewayConfig) -> Self {
        Self::open_for(dodona_testkit::http(), pool, config).await
    }

    /// With a client of its own, for doors that are locked.
    pub(crate) async fn open_for(
        client: reqwest::Client,
        pool: PoolConfig,
        config: GatewayConfig,
    ) -> Self {
        let config = GatewayConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            drain: Duration::from_secs(5),
            ..config
        };
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let gateway = Gateway::new(pool, config, || "metrics 1\n".to_owned()).unwrap();
        let listener = gateway.bind().await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(gateway.clone().run(listener, async {
            let _ = stopped.await;
        }));
        let door = Self {
            address,
            url: format!("{scheme}://localhost:{}", address.port()),
            client,
            gateway,
            stop: Some(stop),
            running,
        };
        until("the gateway is ready", || async {
            (door.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
        door
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        let response = self.client.get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn post(&self, body: impl Into<String>) -> String {
        let request = self.client.post(&self.url).body(body.into());
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Asks for the block number with these headers: status, headers, body.
    pub(crate) async fn knock(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, reqwest::header::HeaderMap, String) {
        self.knock_for("eth_blockNumber", path, headers).await
    }

    pub(crate) async fn knock_for(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, reqwest::header::HeaderMap, String) {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] });
        let mut request = self
            .client
            .post(format!("{}{path}", self.url))
            .body(body.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    }

    /// The whole answer.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        serde_json::from_str(&self.post(body.to_string()).await).unwrap()
    }

    /// The result, which has to be there.
    pub(crate) async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub(crate) async fn block_number(&self) -> u64 {
        number(&self.result("eth_blockNumber", json!([])).await)
    }

    /// Waits until the gateway speaks about this block.
    pub(crate) async fn reaches(&self, block: u64) {
        until(&format!("block {block} is the tip"), || async {
            (self.block_number().await == block).then_some(())
        })
        .await;
    }

    pub(crate) async fn status_of(&self, name: &str) -> Value {
        let status: Value = serde_json::from_str(&self.get("/status").await.1).unwrap();
        let upstreams = status["upstreams"].as_array().unwrap().clone();
        upstreams
            .into_iter()
            .find(|upstream| upstream["name"] == name)
            .unwrap()
    }

    /// How logs are made sure of, as the status says.
    pub(crate) async fn logs_status(&self) -> Value {
        let status: Value = serde_json::from_str(&self.get("/status").await.1).unwrap();
        status["logs"].clone()
    }

    pub(crate) async fn socket(&self) -> Socket {
        self.socket_at("/").await
    }

    pub(crate) async fn socket_at(&self, path: &str) -> Socket {
        let url = format!("ws://{}{path}", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Socket {
            socket,
            kept: Vec::new(),
            next: 1,
        }
    }
}

/// Settings under which upstreams named a, b, c … are judged quickly.
pub(crate) fn pool_of(upstreams: &[Upstream]) -> PoolConfig {
    let names = ["a", "b", "c", "d"];
    let nodes = names
        .iter()
        .zip(upstreams)
        .map(|(name, upstream)| NodeConfig::primary(*name, upstream.url()))
        .collect();
    PoolConfig {
        request_timeout: Duration::from_secs(1),
        poll_interval: Duration::from_millis(200),
        poll_failure_threshold: 2,
        new_heads_poll_interval: Duration::from_millis(25),
        ..PoolConfig::new(CHAIN, nodes)
    }
}

pub(crate) fn number(quantity: &Value) -> u64 {
    let text = quantity
        .as_str()
        .unwrap_or_else(|| panic!("{quantity} is no quantity"));
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

type Stream =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// A WebSocket client.
pub(crate) struct Socket {
    socket: Stream,
    kept: Vec<Value>,
    next: u64,
}

impl Socket {
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.socket
            .send(Message::text(body.to_string()))
            .await
            .unwrap();
        loop {
            let message = self.message().await.expect("the socket was closed");
            if message["id"] == id {
                return message;
            }
            self.kept.push(message);
        }
    }

    /// Says this and waits for nothing.
    pub(crate) async fn send_all(&mut self, what: &Value) {
        let message = Message::text(what.to_string());
        self.socket.send(message).await.unwrap();
    }

    pub(crate) async fn subscribe(&mut self, params: Value) -> String {
        let answer = self.ask("eth_subscribe", params).await;
        answer["result"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// The next message; none when the connection is closed.
    pub(crate) async fn message(&mut self) -> Option<Value> {
        loop {
            let came = tokio::time::timeout(Duration::from_secs(20), self.socket.next())
                .await
                .expect("nothing came for 20 s");
            match came {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// What came and was not asked for yet.
    pub(crate) fn kept(&self) -> &[Value] {
        &self.kept
    }

    /// Keeps what comes until something like this is among it.
    pub(crate) async fn keeps_until(&mut self, is_it: impl Fn(&Value) -> bool) {
        while !self.kept.iter().any(&is_it) {
            let message = self.message().await.expect("the socket was closed");
            self.kept.push(message);
        }
    }

    /// What the next notification brings, and for which subscription.
    pub(crate) async fn told(&mut self) -> (String, Value) {
        let message = match self.kept.is_empty() {
            false => self.kept.remove(0),
            true => self.message().await.expect("the socket was closed"),
        };
        let params = &message["params"];
        (
            params["subscription"].as_str().unwrap().to_owned(),
            params["result"].clone(),
        )
    }
}

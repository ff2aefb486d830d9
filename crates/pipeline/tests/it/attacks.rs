//! The attack set, `testdata/egress/attacks.toml`: each row is a real job with a real client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::Bytes;
use dodona_pipeline::egress::{EgressClient, Entry, HttpError, Policy, Resolve, Subject};
use dodona_pipeline::{
    BridgeTarget, EstimateGas, EthCall, EthCallError, HttpCall, HttpReply, Pipeline, Ports,
    TaskResult, Value, execute,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use toml::Table;

use crate::fake::input;

/// There may be more rows, never fewer.
const STORED_COUNT: usize = 134;
const JOB: &str = "0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11";

/// A server that is as hostile as a socket can be.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                let read = socket.read(&mut request).await.unwrap_or(0);
                count.fetch_add(1, Ordering::SeqCst);
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or("/").to_owned();
                let _ = answer(&mut socket, &path).await;
            });
        }
    });
    (address, asked)
}

async fn answer(socket: &mut tokio::net::TcpStream, path: &str) -> io::Result<()> {
    let head =
        |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n");
    let path = path.trim_start_matches('/');
    if let Some(target) = path.strip_prefix("go?") {
        let target: String = url::form_urlencoded::parse(target.as_bytes())
            .map(|(k, _)| k.into_owned())
            .collect();
        return socket
            .write_all(head("302 Found", &format!("Location: {target}\r\n")).as_bytes())
            .await;
    }
    match path {
        "loop" => {
            socket
                .write_all(head("302 Found", "Location: /loop\r\n").as_bytes())
                .await
        }
        "hang" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        }
        "drip" => {
            socket.write_all(head("200 OK", "").as_bytes()).await?;
            loop {
                socket.write_all(&[b'x'; 4096]).await?;
            }
        }
        "trickle" => {
            socket.write_all(head("200 OK", "").as_bytes()).await?;
            loop {
                socket.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        "headers" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            for n in 0..1_000_000 {
                socket.write_all(format!("X-{n}: y\r\n").as_bytes()).await?;
            }
            Ok(())
        }
        "big/40000" => {
            socket
                .write_all(head("200 OK", "Content-Length: 40000\r\n").as_bytes())
                .await?;
            socket.write_all(&[b'x'; 40_000]).await
        }
        // A few bytes that would be gigabytes if anybody unpacked them; nobody must.
        coding @ ("gzip" | "deflate" | "br" | "zstd") => {
            socket
                .write_all(
                    head(
                        "200 OK",
                        &format!("Content-Encoding: {coding}\r\nContent-Length: 4\r\n"),
                    )
                    .as_bytes(),
                )
                .await?;
            socket.write_all(&[0x1f, 0x8b, 8, 0]).await
        }
        _ => {
            socket
                .write_all(head("200 OK", "Content-Length: 2\r\n").as_bytes())
                .await?;
            socket.write_all(b"ok").await
        }
    }
}

/// Answers with one list after the other, the last one for ever; without lists like the system.
struct Liar(Vec<Vec<IpAddr>>, AtomicUsize);

impl Resolve for Liar {
    fn resolve(&self, host: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        async move {
            if self.0.is_empty() {
                let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
                return Ok(found.map(|a| a.ip()).collect());
            }
            let n = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
            Ok(self.0[n].clone())
        }
        .boxed()
    }
}

/// Nothing but the way out.
struct Out(EgressClient);

impl Ports for Out {
    fn http(&self, call: HttpCall) -> BoxFuture<'_, Result<HttpReply, HttpError>> {
        self.0.send(call).boxed()
    }
    fn bridge(&self, name: &str) -> BoxFuture<'_, Result<BridgeTarget, String>> {
        std::future::ready(Err(format!("no bridge {name}"))).boxed()
    }
    fn eth_call(&self, _: EthCall) -> BoxFuture<'_, Result<Bytes, EthCallError>> {
        std::future::ready(Err(EthCallError::Unavailable("none".into()))).boxed()
    }
    fn estimate_gas(&self, _: EstimateGas) -> BoxFuture<'_, Result<u64, EthCallError>> {
        std::future::ready(Err(EthCallError::Unavailable("none".into()))).boxed()
    }
    fn finished<'a>(&'a self, _: &'a TaskResult) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

#[tokio::test]
async fn every_attack_is_refused_and_none_is_forgotten() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/egress/attacks.toml"
    );
    let table: Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let rows = table["row"].as_array().unwrap();
    assert_eq!(table["count"].as_integer(), Some(rows.len() as i64));
    assert!(
        rows.len() >= STORED_COUNT,
        "{} attacks, there were {STORED_COUNT}",
        rows.len()
    );
    let (address, asked) = server().await;
    let mut wrong = Vec::new();
    for row in rows {
        let row = row.as_table().unwrap();
        let text = |key: &str| row.get(key).and_then(|v| v.as_str());
        let list = |key: &str| -> Option<Vec<&str>> {
            Some(
                row.get(key)?
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|v| v.as_str().unwrap())
                    .collect(),
            )
        };
        let is = |key: &str| row.get(key).and_then(toml::Value::as_bool).unwrap_or(false);
        let here = |text: &str| text.replace("{port}", &address.port().to_string());
        let says = text("says").unwrap();

        let url = match (text("url"), text("path"), text("redirect"), text("chosen")) {
            (_, Some(path), ..) => format!("http://{address}/{path}"),
            (Some(url), ..) => here(url),
            (_, _, Some(target), _) => {
                let target: String =
                    url::form_urlencoded::byte_serialize(here(target).as_bytes()).collect();
                format!("http://{address}/go?{target}")
            }
            (.., Some(_)) => "$(chosen)".to_owned(),
            _ => panic!("{says}: no place to go"),
        };
        let mut source = format!(
            "t [type=http url={} timeout=\"1s\" allowUnrestrictedNetworkAccess={}",
            quoted(&url),
            is("unrestricted")
        );
        for name in ["headers", "method"] {
            if let Some(value) = text(name) {
                source.push_str(&format!(" {name}={}", quoted(value)));
            }
        }
        source.push_str("]\n");
        if text("chosen").is_some() {
            source.push_str("chosen [type=lowercase input=\"$(jobRun.url)\"]");
        }
        let answers = list("resolves").unwrap_or_default();
        let answers = answers
            .iter()
            .map(|l| l.split(' ').map(|a| a.parse().unwrap()).collect())
            .collect();
        let mut client =
            EgressClient::with_resolver(Arc::new(Liar(answers, AtomicUsize::new(0))), &[]).unwrap();
        if is("strict") {
            let entries = list("allow").unwrap().into_iter().map(|url| Entry {
                subject: Subject::Job(JOB.parse().unwrap()),
                url: here(url).parse().unwrap(),
                methods: vec!["GET".into(), "POST".into()],
                max_response_bytes: None,
                per_minute: None,
            });
            client = client.under(Policy::strict(entries.collect(), true).unwrap());
        }
        let ports: Arc<dyn Ports> = Arc::new(Out(client));
        let pipeline = Pipeline::parse(&source).unwrap_or_else(|e| panic!("{says}: {e}"));
        let before = asked.load(Ordering::SeqCst);
        for _ in 0..if is("again") { 3 } else { 1 } {
            let given = input([
                ("jobSpec", Value::map([("externalJobID", Value::from(JOB))])),
                (
                    "jobRun",
                    Value::map([("url", Value::from(text("chosen").unwrap_or_default()))]),
                ),
            ]);
            let began = Instant::now();
            let outcome = execute(&pipeline, given, Arc::clone(&ports)).await;
            let result = crate::fake::result(&outcome, "t");
            let fits = match (text("error"), &result.error, &result.output) {
                (Some(words), Some(error), _) => error.contains(words),
                (None, None, Some(value)) => value.to_http_json().len() < 100,
                _ => false,
            };
            if !fits || began.elapsed() > Duration::from_secs(5) {
                wrong.push(format!(
                    "{says}: {:?} {:?} in {:?}",
                    result.error,
                    result.output,
                    began.elapsed()
                ));
            }
        }
        let reached = asked.load(Ordering::SeqCst) > before;
        if reached && text("error") == Some("disallowed IP") {
            wrong.push(format!("{says}: the server was asked"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

#[tokio::test]
async fn what_is_on_the_list_is_reached_up_to_its_size_and_rate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (address, asked) = server().await;
    let entry = Entry {
        subject: Subject::Job(JOB.parse().unwrap()),
        url: format!("http://{address}/").parse().unwrap(),
        methods: vec!["GET".into()],
        max_response_bytes: Some(1),
        per_minute: Some(2),
    };
    let get = async |client: &EgressClient| {
        let source = format!(
            "t [type=http url=\"http://{address}/ok\" allowUnrestrictedNetworkAccess=true]"
        );
        let pipeline = Pipeline::parse(&source).unwrap();
        let given = input([("jobSpec", Value::map([("externalJobID", Value::from(JOB))]))]);
        let outcome = execute(&pipeline, given, Arc::new(Out(client.clone()))).await;
        crate::fake::result(&outcome, "t").clone()
    };
    let small = EgressClient::new()
        .unwrap()
        .under(Policy::strict(vec![entry.clone()], false).unwrap());
    assert!(
        get(&small)
            .await
            .error
            .unwrap()
            .contains("must be less than 1 bytes")
    );
    let wide = Entry {
        max_response_bytes: None,
        ..entry
    };
    let client = EgressClient::new()
        .unwrap()
        .under(Policy::strict(vec![wide], false).unwrap());
    assert_eq!(get(&client).await.output, Some(Value::from("ok")));
    assert_eq!(get(&client).await.output, Some(Value::from("ok")));
    assert!(get(&client).await.error.unwrap().contains("less often"));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

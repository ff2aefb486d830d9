//! The attack set, `testdata/egress/attacks.toml`: each row is a real job with a real client.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
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
const STORED_COUNT: usize = 222;
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
        "chunks" => {
            socket
                .write_all(head("200 OK", "Transfer-Encoding: chunked\r\n").as_bytes())
                .await?;
            loop {
                socket.write_all(b"1000\r\n").await?;
                socket.write_all(&[b'x'; 4096]).await?;
                socket.write_all(b"\r\n").await?;
            }
        }
        "chunk-bomb" => {
            let body = "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx";
            socket
                .write_all(format!("HTTP/1.1 200 OK\r\n{body}").as_bytes())
                .await
        }
        "too-long" => {
            socket
                .write_all(head("200 OK", "Content-Length: 99999999999999999999999\r\n").as_bytes())
                .await
        }
        "two-lengths" => {
            let both = "Content-Length: 2\r\nContent-Length: 40000\r\n";
            socket.write_all(head("200 OK", both).as_bytes()).await?;
            socket.write_all(b"ok").await
        }
        "garbage" => {
            socket
                .write_all(b"\x16\x03\x01\x02\x00garbage\r\n\r\n")
                .await
        }
        "old" => {
            socket
                .write_all(b"<html>no status line at all</html>")
                .await
        }
        "continue" => loop {
            socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        },
        "slow-headers" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                socket.write_all(b"X: y\r\n").await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        "long-header" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nX: ").await?;
            loop {
                socket.write_all(&[b'x'; 4096]).await?;
            }
        }
        "nowhere" => socket.write_all(head("302 Found", "").as_bytes()).await,
        "refresh" => {
            let more = "Refresh: 0; url=http://169.254.169.254/\r\nContent-Length: 2\r\n";
            socket.write_all(head("200 OK", more).as_bytes()).await?;
            socket.write_all(b"ok").await
        }
        grows if grows.starts_with("grow") => {
            let more = format!("Location: /{grows}{}\r\n", "x".repeat(1_000));
            socket.write_all(head("302 Found", &more).as_bytes()).await
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

/// Answers with one list after the other, the last one for ever.
struct Liar(Vec<Vec<IpAddr>>, AtomicUsize);

impl Resolve for Liar {
    fn resolve(&self, _: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        async move {
            let n = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
            Ok(self.0[n].clone())
        }
        .boxed()
    }
}

/// Nothing but the way out.
struct Out {
    client: EgressClient,
    /// Where the bridge `b` is.
    bridge: Option<String>,
}

impl Out {
    fn of(client: EgressClient) -> Arc<Self> {
        Arc::new(Self {
            client,
            bridge: None,
        })
    }
}

impl Ports for Out {
    fn http(&self, call: HttpCall) -> BoxFuture<'_, Result<HttpReply, HttpError>> {
        self.client.send(call).boxed()
    }
    fn bridge(&self, name: &str) -> BoxFuture<'_, Result<BridgeTarget, String>> {
        let target = match &self.bridge {
            Some(url) => Ok(BridgeTarget {
                url: url.parse().unwrap(),
            }),
            None => Err(format!("no bridge {name}")),
        };
        std::future::ready(target).boxed()
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
    let plain = EgressClient::new().unwrap();
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
        // Where the end is not the clock's, there is time enough on the busiest machine.
        let ends_by_time = text("error").is_some_and(|e| e.is_empty() || e.contains("timed out"));
        let limit = if ends_by_time { "1s" } else { "1m" };
        let mut source = match is("bridge") {
            true => format!("t [type=bridge name=b timeout=\"{limit}\""),
            false => format!(
                "t [type=http url={} timeout=\"{limit}\" allowUnrestrictedNetworkAccess={}",
                quoted(&url),
                is("unrestricted")
            ),
        };
        for name in ["headers", "method", "requestData"] {
            if let Some(value) = text(name) {
                source.push_str(&format!(" {name}={}", quoted(value)));
            }
        }
        source.push_str("]\n");
        if text("chosen").is_some() {
            source.push_str("chosen [type=lowercase input=\"$(jobRun.url)\"]");
        }
        let lists = |key: &str| list(key).unwrap_or_default();
        let answers: Vec<Vec<IpAddr>> = lists("resolves")
            .iter()
            .map(|l| l.split(' ').map(|a| a.parse().unwrap()).collect())
            .collect();
        let own: Vec<IpAddr> = lists("own").iter().map(|a| a.parse().unwrap()).collect();
        // Making a client reads the certificates of the system, which takes a while.
        let mut client = match answers.is_empty() && own.is_empty() {
            true => plain.clone(),
            false => {
                let resolver = Arc::new(Liar(answers, AtomicUsize::new(0)));
                EgressClient::with_resolver(resolver, &own).unwrap()
            }
        };
        if is("strict") {
            let entries = list("allow").unwrap().into_iter().map(|text| {
                let text = here(text);
                match text.contains(' ') {
                    true => text.parse().unwrap(),
                    false => format!("job {JOB} GET,POST {text}").parse().unwrap(),
                }
            });
            client = client.under(Policy::strict(entries.collect(), true).unwrap());
        }
        let ports: Arc<dyn Ports> = Arc::new(Out {
            client,
            bridge: Some(url.clone()),
        });
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
            if !fits || began.elapsed() > Duration::from_secs(50) {
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
        let outcome = execute(&pipeline, given, Out::of(client.clone())).await;
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

/// Log lines and counters of one thread.
#[derive(Default)]
struct Witness {
    lines: Mutex<Vec<BTreeMap<String, String>>>,
    verdicts: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl tracing::Subscriber for Witness {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(BTreeMap<String, String>);
        impl tracing::field::Visit for Fields {
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                self.0.insert(field.name().to_owned(), value.to_owned());
            }
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
                self.0.insert(field.name().to_owned(), format!("{value:?}"));
            }
        }
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        if fields.0.contains_key("egress.verdict") {
            self.lines.lock().unwrap().push(fields.0);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

impl metrics::Recorder for Witness {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        if key.name() != "dodona_pipeline_egress_calls_total" {
            return metrics::Counter::noop();
        }
        let label = |name: &str| key.labels().find(|label| label.key() == name).unwrap();
        assert_eq!(label("external_job_id").value(), JOB);
        assert!(["", "b"].contains(&label("bridge").value()), "{key}");
        let verdict = label("verdict");
        let mut verdicts = self.verdicts.lock().unwrap();
        let count = verdicts.entry(verdict.value().to_owned()).or_default();
        metrics::Counter::from_arc(Arc::clone(count))
    }
    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }
    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

/// One call of task `t` in run 1 of the job, and what is said about it.
fn witnessed(attributes: &str, policy: Policy) -> (BTreeMap<String, String>, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let witness = Arc::new(Witness::default());
    let logged = tracing::Dispatch::from(Arc::clone(&witness));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let call = async {
        let (address, _) = server().await;
        let source = format!("t [{attributes}]").replace("{here}", &address.to_string());
        let pipeline = Pipeline::parse(&source).unwrap();
        let given = input([("jobSpec", Value::map([("externalJobID", Value::from(JOB))]))]);
        let out = Out {
            client: EgressClient::new().unwrap().under(policy),
            bridge: Some(format!("http://{address}/ok")),
        };
        execute(&pipeline, given, Arc::new(out)).await;
    };
    tracing::dispatcher::with_default(&logged, || {
        metrics::with_local_recorder(witness.as_ref(), || runtime.block_on(call));
    });
    let mut lines = witness.lines.lock().unwrap().clone();
    lines.retain(|line| line["egress.verdict"] != "redirected");
    assert_eq!(lines.len(), 1, "one call, one line: {lines:?}");
    let counted: Vec<_> = witness.verdicts.lock().unwrap().keys().cloned().collect();
    assert_eq!(counted.len(), 1, "one call, one verdict: {counted:?}");
    assert_eq!(
        witness.verdicts.lock().unwrap()[&counted[0]].load(Ordering::SeqCst),
        1
    );
    (lines.remove(0), counted[0].clone())
}

#[test]
fn every_call_is_attributed_in_the_log_and_counted_once_whatever_becomes_of_it() {
    let http = |more: &str| format!("type=http allowUnrestrictedNetworkAccess=true {more}");
    let listed = |line: &str| Policy::strict(vec![line.parse().unwrap()], false).unwrap();
    for (attributes, policy, verdict, host, address) in [
        (
            http("url=\"http://{here}/ok\""),
            Policy::standard(),
            "answered",
            "127.0.0.1",
            "127.0.0.1",
        ),
        (
            http("url=\"http://localhost:1/\""),
            Policy::standard(),
            "failed",
            "localhost",
            "127.0.0.1",
        ),
        (
            http("url=\"http://{here}/drip\""),
            Policy::standard(),
            "too_large",
            "127.0.0.1",
            "127.0.0.1",
        ),
        (
            http("url=\"http://{here}/go?http%3A%2F%2F169.254.169.254%2F\""),
            Policy::standard(),
            "refused_address",
            "169.254.169.254",
            "169.254.169.254",
        ),
        (
            http("url=\"http://{here}/go?file%3A%2F%2F%2Fetc\""),
            Policy::standard(),
            "refused_redirect",
            "127.0.0.1",
            "127.0.0.1",
        ),
        (
            http("url=\"http://{here}/ok\" method=\"G T\""),
            Policy::standard(),
            "refused_invalid",
            "127.0.0.1",
            "127.0.0.1",
        ),
        (
            "type=http url=\"http://localhost:1/\"".to_owned(),
            Policy::standard(),
            "refused_address",
            "localhost",
            "127.0.0.1",
        ),
        (
            http("url=\"http://{here}/ok\""),
            listed(&format!("job {JOB} GET https://a.example.com/")),
            "refused_list",
            "127.0.0.1",
            "127.0.0.1",
        ),
        (
            http("url=\"http://a.example.com/\""),
            listed(&format!("job {JOB} GET http://a.example.com/ rate=0")),
            "refused_rate",
            "a.example.com",
            "",
        ),
        (
            "type=bridge name=b".to_owned(),
            Policy::standard(),
            "answered",
            "127.0.0.1",
            "127.0.0.1",
        ),
        (
            "type=bridge name=b".to_owned(),
            listed("bridge other POST http://127.0.0.1/"),
            "refused_list",
            "127.0.0.1",
            "127.0.0.1",
        ),
    ] {
        let (line, counted) = witnessed(&attributes, policy);
        let said = |field: &str| line.get(field).map(String::as_str).unwrap_or_default();
        assert_eq!(
            (said("egress.verdict"), counted.as_str()),
            (verdict, verdict),
            "{attributes}"
        );
        assert_eq!(
            (said("job.id"), said("run.id"), said("task.id")),
            (JOB, "1", "t"),
            "{attributes}"
        );
        assert_eq!(said("egress.host"), host, "{attributes}");
        let seen = said("egress.address");
        match host {
            // Which of its addresses comes first is the system's business.
            "localhost" => assert!(seen.parse::<IpAddr>().unwrap().is_loopback(), "{seen}"),
            _ => assert_eq!(seen, address, "{attributes}"),
        }
        assert_ne!(said("egress.port"), "", "{attributes}");
        let bridge = if attributes.contains("bridge") {
            "b"
        } else {
            ""
        };
        assert_eq!(said("bridge.name"), bridge, "{attributes}");
    }
    // Ended by its own limit or by that of the task, whichever clock strikes first.
    let (_, counted) = witnessed(
        &http("url=\"http://{here}/hang\" timeout=\"50ms\""),
        Policy::standard(),
    );
    assert!(
        ["timed_out", "given_up"].contains(&counted.as_str()),
        "{counted}"
    );
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_is_accounted_for_too() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let witness = Arc::new(Witness::default());
    let logged = tracing::Dispatch::from(Arc::clone(&witness));
    let _guard = tracing::dispatcher::set_default(&logged);
    let (address, asked) = server().await;
    let client = EgressClient::new().unwrap();
    let call = HttpCall {
        reach: dodona_pipeline::Reach::Unrestricted,
        method: "GET".into(),
        url: format!("http://{address}/hang").parse().unwrap(),
        headers: vec![],
        body: None,
        timeout: None,
        max_response_bytes: 100,
        idempotency_key: None,
        origin: dodona_pipeline::CallOrigin::default(),
    };
    let sent = client.send(call);
    let reached = async {
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = sent => panic!("nobody answers"),
        () = reached => {}
    }
    let lines = witness.lines.lock().unwrap();
    let verdicts: Vec<_> = lines
        .iter()
        .map(|line| line["egress.verdict"].as_str())
        .collect();
    assert_eq!(verdicts, ["given_up"]);
}

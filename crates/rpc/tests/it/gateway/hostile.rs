//! Clients that want the gateway's memory or its connections rather than its answers.

use std::sync::Arc;
use std::time::Duration;

use dodona_rpc::gateway::GatewayConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::certificates::Authority;
use super::upstream::Fault;
use super::{Door, pool_of, upstreams};

const TEXT: u8 = 0x81;
const BEGUN: u8 = 0x01;
const GOES_ON: u8 = 0x00;
const CLOSE: u8 = 0x88;

/// The head of a frame whose mask changes nothing.
fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first, 0xff];
    head.extend(length.to_be_bytes());
    head.extend([0; 4]);
    head
}

fn text(message: &str) -> Vec<u8> {
    [
        head(TEXT, message.len() as u64),
        message.as_bytes().to_vec(),
    ]
    .concat()
}

async fn connect(door: &Door) -> TcpStream {
    TcpStream::connect(door.address).await.unwrap()
}

/// A WebSocket whose frames are written by hand.
async fn raw_socket(door: &Door) -> TcpStream {
    let mut stream = connect(door).await;
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    stream
}

/// The next frame that is no ping: its first byte and its payload.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let reading = async {
        loop {
            let first = stream.read_u8().await.unwrap();
            let length = match stream.read_u8().await.unwrap() {
                126 => usize::from(stream.read_u16().await.unwrap()),
                127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            if first != 0x89 {
                return (first, payload);
            }
        }
    };
    timeout(Duration::from_secs(20), reading)
        .await
        .expect("no frame came for 20 s")
}

/// The code and the words of the close that comes next.
async fn farewell(stream: &mut TcpStream) -> (u16, String) {
    let (first, payload) = frame(stream).await;
    assert_eq!(first, CLOSE, "{}", String::from_utf8_lossy(&payload));
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    (code, String::from_utf8(payload[2..].to_vec()).unwrap())
}

/// What this process has in memory, gateway and all, in MiB.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() / 256
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_sent_away_from_a_socket_takes_no_memory_for_what_is_said_then() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let mut socket = raw_socket(&door).await;
    let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
    socket.write_all(&text(subscribe)).await.unwrap();
    frame(&mut socket).await;
    // A gap ends its subscription and with it the socket.
    clients[0].is_at(50_000);
    while frame(&mut socket).await.0 != CLOSE {}
    let before = memory();
    let mut most = before;
    socket.write_all(&head(TEXT, 1 << 40)).await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    let saying = async {
        for _ in 0..400 {
            if socket.write_all(&piece).await.is_err() {
                break;
            }
            most = most.max(memory());
        }
    };
    let _ = timeout(Duration::from_secs(20), saying).await;
    assert!(most - before < 150, "{before} MiB became {most} MiB");
}

#[tokio::test]
async fn messages_that_are_not_complete_take_room_and_who_waits_for_it_in_vain_is_sent_away() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_request_bytes: 1 << 20,
        max_held_bytes: 2 << 20,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let padding = vec![b' '; 500_000];
    let mut begun = Vec::new();
    for _ in 0..2 {
        let mut socket = raw_socket(&door).await;
        socket.write_all(&head(TEXT, 1_000_000)).await.unwrap();
        socket.write_all(&padding).await.unwrap();
        begun.push(socket);
    }
    // There is no room for a third, in one frame or in several.
    let full = "the gateway holds as many requests as it has room for";
    let mut whole = raw_socket(&door).await;
    whole.write_all(&head(TEXT, 1_000_000)).await.unwrap();
    let _ = whole.write_all(&padding).await;
    assert_eq!(farewell(&mut whole).await, (1013, full.to_owned()));
    let mut parts = raw_socket(&door).await;
    for first in [BEGUN, GOES_ON, GOES_ON] {
        let _ = parts.write_all(&head(first, 250_000)).await;
        let _ = parts.write_all(&padding[..250_000]).await;
    }
    assert_eq!(farewell(&mut parts).await, (1013, full.to_owned()));
    // Small messages fit beside them, and those that were there are answered.
    let mut small = door.socket().await;
    let answer = small.ask("eth_blockNumber", json!([])).await;
    assert_eq!(answer["result"], "0x64");
    for mut socket in begun {
        socket.write_all(&padding).await.unwrap();
        let (_, answer) = frame(&mut socket).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["error"]["code"], -32600, "{answer}");
    }
    // What was held is free again.
    let mut again = raw_socket(&door).await;
    again.write_all(&head(TEXT, 1_000_000)).await.unwrap();
    again.write_all(&padding).await.unwrap();
    again.write_all(&padding).await.unwrap();
    assert_eq!(frame(&mut again).await.0, TEXT);
}

#[tokio::test]
async fn a_message_has_to_arrive_in_time_whatever_else_its_socket_says() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        body_within: Duration::from_millis(400),
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let late = (1008, "a message took too long to arrive".to_owned());
    let fragment = [head(BEGUN, 5), b"hello".to_vec()].concat();
    for beginning in [&fragment[..], &fragment[..9], &fragment[..1]] {
        let mut socket = raw_socket(&door).await;
        socket.write_all(beginning).await.unwrap();
        assert_eq!(farewell(&mut socket).await, late);
    }
    // A pong is a sign of life and no part of the message.
    let mut socket = raw_socket(&door).await;
    socket.write_all(&fragment).await.unwrap();
    let (mut from, mut to) = socket.split();
    let pongs = async {
        loop {
            let pong = [0x8a, 0x80, 0, 0, 0, 0];
            if to.write_all(&pong).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let closed = async { while from.read_u8().await.unwrap() != CLOSE {} };
    tokio::select! {
        () = pongs => unreachable!("it does not end"),
        ended = timeout(Duration::from_secs(10), closed) => ended.expect("it may go on for ever"),
    }
    // Whoever says nothing is not in a hurry.
    let mut quiet = raw_socket(&door).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#;
    quiet.write_all(&text(request)).await.unwrap();
    assert_eq!(frame(&mut quiet).await.0, TEXT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_keeps_what_was_understood_and_not_what_was_written() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let ours = "0x1111111111111111111111111111111111111111";
    let before = memory();
    let mut filter = Value::Null;
    for _ in 0..60 {
        let wants = json!([{"fromBlock": "0x5", "toBlock": "0x8", "address": [ours], "zz": "A".repeat(4 << 20)}]);
        filter = door.result("eth_newFilter", wants).await;
    }
    let now = memory();
    assert!(now < before + 120, "{before} MiB became {now} MiB");
    let logs = door.result("eth_getFilterLogs", json!([filter])).await;
    assert_eq!(logs.as_array().unwrap().len(), 4);
    let number = json!({"blockNumber": "0x5", "zz": "A".repeat(1000)});
    let refused = door
        .ask("eth_newFilter", json!([{"fromBlock": number}]))
        .await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
}

/// So many addresses nobody has.
fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("0x{n:040x}")).collect()
}

#[tokio::test]
async fn what_filters_and_subscriptions_may_keep_is_limited_for_each_one_and_for_all_of_a_client() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_held_bytes: 10 << 20,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let mut socket = door.socket().await;
    let topics: Vec<String> = (0..1001).map(|n| format!("0x{n:064x}")).collect();
    for filter in [
        json!({"address": addresses(1001)}),
        json!({"topics": [null, topics]}),
    ] {
        let refused = door.ask("eth_newFilter", json!([filter])).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
        let refused = socket.ask("eth_subscribe", json!(["logs", filter])).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    // Twenty kilobytes each; a client has a tenth of a quarter of ten megabytes.
    let filter = json!({"address": addresses(1000)});
    let mut made = Vec::new();
    let refused = loop {
        let answer = door.ask("eth_newFilter", json!([filter])).await;
        match answer.get("result") {
            Some(id) => made.push(id.clone()),
            None => break answer,
        }
        assert!(made.len() < 40, "it may have as many as it likes");
    };
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    assert!((10..=14).contains(&made.len()), "{}", made.len());
    assert_eq!(
        door.result("eth_uninstallFilter", json!([made[0]])).await,
        true
    );
    door.result("eth_newFilter", json!([filter])).await;
    let mut told = 0;
    let refused = loop {
        let answer = socket.ask("eth_subscribe", json!(["logs", filter])).await;
        if answer.get("error").is_some() {
            break answer;
        }
        told += 1;
        assert!(told < 40, "it may have as many as it likes");
    };
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    // Each address also has a place in an index here.
    assert!((1..=2).contains(&told), "{told}");
}

#[tokio::test]
async fn a_socket_gets_the_answers_that_are_under_way_before_the_gateway_stops() {
    let clients = upstreams(1).await;
    let mut door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.request_timeout = Duration::from_secs(10);
    })
    .await;
    clients[0].suffers(Fault::SlowAt("eth_call", Duration::from_millis(1500)));
    let mut socket = raw_socket(&door).await;
    let request =
        json!({"jsonrpc": "2.0", "id": 7, "method": "eth_call", "params": [{}, "latest"]});
    socket.write_all(&text(&request.to_string())).await.unwrap();
    dodona_testkit::until("the question is on its way", || async {
        (clients[0].asked("eth_call") > 0).then_some(())
    })
    .await;
    door.stop.take().unwrap().send(()).unwrap();
    let (_, answer) = frame(&mut socket).await;
    let answer: Value =
        serde_json::from_slice(&answer).expect("it was sent away without an answer");
    assert_eq!(
        (&answer["id"], &answer["result"]),
        (&json!(7), &json!("0x64"))
    );
    assert_eq!(farewell(&mut socket).await.0, 1001);
    drop(socket);
    timeout(Duration::from_secs(10), &mut door.running)
        .await
        .expect("it does not stop")
        .unwrap();
}

/// A connection that the general server has, from its first request on.
async fn general(door: &Door) -> TcpStream {
    let mut stream = connect(door).await;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream
}

/// One whole answer, or what came of it.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut came = Vec::new();
    let reading = async {
        while let Ok(byte) = stream.read_u8().await {
            came.push(byte);
            let text = String::from_utf8_lossy(&came).to_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                break;
            }
        }
    };
    let _ = timeout(Duration::from_secs(10), reading).await;
    String::from_utf8(came).unwrap()
}

#[tokio::test]
async fn at_the_general_server_too_a_client_that_does_not_take_its_answers_is_let_go() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        body_within: Duration::from_millis(400),
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let mut stream = general(&door).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_feeHistory","params":["0x1","latest",[]]}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let asking = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    timeout(Duration::from_secs(20), asking)
        .await
        .expect("its connection is kept");

    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(1024)
        .build()
        .unwrap();
    let answer = client.post(&door.url).body(body).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(answer.bytes().await.is_err(), "its connection is kept");
    assert_eq!(door.block_number().await, 100);
}

#[tokio::test]
async fn answers_that_nobody_takes_share_the_room_at_the_general_server_too() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_request_bytes: 10_000,
        max_held_bytes: 200 << 10,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(1024)
        .build()
        .unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_feeHistory","params":["0x1","latest",[]]}"#;
    let mut untaken = Vec::new();
    let refused = loop {
        let answer = client.post(&door.url).body(body).send().await.unwrap();
        if answer.status() != 200 {
            break answer;
        }
        untaken.push(answer);
        assert!(untaken.len() < 60, "they take no room");
    };
    assert_eq!(refused.status(), 503);
    assert!((15..=20).contains(&untaken.len()), "{}", untaken.len());
    for taken in untaken {
        assert_eq!(taken.bytes().await.unwrap().len(), 10_036);
    }
    let answer = client.post(&door.url).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn over_tls(
    authority: &Authority,
    door: &Door,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect("localhost".try_into().unwrap(), connect(door).await)
        .await
        .unwrap()
}

async fn ends(mut stream: impl AsyncRead + AsyncWrite + Unpin, says: &[u8]) -> bool {
    stream.write_all(says).await.unwrap();
    stream.flush().await.unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[tokio::test]
async fn who_does_not_come_to_a_first_request_is_let_go_with_tls_and_without() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let config = |tls| GatewayConfig {
        tls,
        headers_within: Duration::from_millis(500),
        ..GatewayConfig::default()
    };
    let tls = authority.writes_door(&authority.issues("localhost", 2099));
    let locked = Door::open_for(authority.client(None), pool_of(&clients), config(Some(tls))).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for says in [&b""[..], b"PRI * HT", preface, b"POST / HTTP/1.1\r\nHo"] {
        let stream = over_tls(&authority, &locked).await;
        assert!(ends(stream, says).await, "{says:?}");
    }
    let plain = Door::with(&clients, config(None), |_| {}).await;
    for says in [&b""[..], b"PRI * HT", preface, b"POST / HTTP/1.1\r\nHo"] {
        assert!(ends(connect(&plain).await, says).await, "{says:?}");
    }
    // Between requests there is more time, but not for the rest of a head.
    let get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = over_tls(&authority, &locked).await;
    for _ in 0..2 {
        stream.write_all(get).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    stream.write_all(get).await.unwrap();
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(ends(stream, b"GET /health HT").await);
}

#[tokio::test]
async fn what_is_read_in_two_ways_is_refused_by_the_general_server_too() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let tls = authority.writes_door(&authority.issues("localhost", 2099));
    let config = GatewayConfig {
        tls: Some(tls),
        ..GatewayConfig::default()
    };
    let locked = Door::open_for(authority.client(None), pool_of(&clients), config).await;
    let plain = Door::with(&clients, GatewayConfig::default(), |_| {}).await;
    let large = format!("Content-Length: 2\r\nX: {}", "x".repeat(20_000));
    for (target, lines, status) in [
        (
            "/",
            "Host: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
            "400",
        ),
        (
            "/",
            "Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 2",
            "400",
        ),
        (
            "/",
            "Host: localhost\r\nHost: localhost\r\nContent-Length: 2",
            "400",
        ),
        ("/", "Host: localhost\nContent-Length: 2", "400"),
        ("/", &format!("Host: localhost\r\n{large}"), "431"),
        ("/", "Content-Length: 2", "400"),
        (
            "http://127.0.0.1/",
            "Host: localhost\r\nContent-Length: 2",
            "400",
        ),
        (
            "http://localhost/",
            "Host: localhost\r\nContent-Length: 2",
            "200",
        ),
    ] {
        let body = match lines.contains("chunked") {
            true => "2\r\n{}\r\n0\r\n\r\n",
            false => "{}",
        };
        let request = format!("POST {target} HTTP/1.1\r\n{lines}\r\n\r\n{body}");
        let expected = format!("HTTP/1.1 {status}");
        let mut later = general(&plain).await;
        later.write_all(request.as_bytes()).await.unwrap();
        let came = answer(&mut later).await;
        assert!(came.starts_with(&expected), "{target} {lines:.60}: {came}");
        let mut secret = over_tls(&authority, &locked).await;
        secret.write_all(request.as_bytes()).await.unwrap();
        let came = answer(&mut secret).await;
        assert!(came.starts_with(&expected), "{target} {lines:.60}: {came}");
        // The first request, for the general server by one of its lines.
        let mut first = connect(&plain).await;
        let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        first.write_all(request.as_bytes()).await.unwrap();
        let came = answer(&mut first).await;
        assert!(came.starts_with(&expected), "{target} {lines:.60}: {came}");
    }
}

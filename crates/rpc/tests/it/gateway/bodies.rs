//! How large requests may be, and what becomes of a connection whose request is not read.

use std::time::Duration;

use dodona_rpc::gateway::{Access, GatewayConfig};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::access::{farewell, key, with};
use super::upstream::Upstream;
use super::{Door, pool_of, upstreams};

/// Sends a POST and reads what comes back: head and body.
async fn raw_post(stream: &mut tokio::net::TcpStream, more: &str, length: usize) -> String {
    let head =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; length]).await.unwrap();
    let mut answer = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let read = read.expect("no answer for 10 s").unwrap();
        assert!(read > 0, "the connection was closed: {answer}");
        answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if body.len() >= length {
            return answer;
        }
    }
}

/// A door that wants a key, which comes with it, and takes bodies of 100,000 bytes.
async fn with_a_key_and_a_limit(clients: &[Upstream]) -> (Door, String) {
    let (secret, known) = key("node", |_| {});
    let config = GatewayConfig {
        max_request_bytes: 100_000,
        ..with(Access {
            keys: vec![known],
            ..Access::default()
        })
    };
    (Door::with(clients, config, |_| {}).await, secret)
}

#[tokio::test]
async fn a_refused_request_is_answered_and_its_connection_is_good_for_the_next_one() {
    let clients = upstreams(1).await;
    let (door, secret) = with_a_key_and_a_limit(&clients).await;
    let key = format!("X-API-Key: {secret}\r\n");
    let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
    for (more, length, status) in [
        ("", 300_000, "401"),
        ("Origin: https://evil.example\r\n", 300_000, "403"),
        (&*key, 300_000, "413"),
        ("", 0, "401"),
        (&*key, 10, "200"),
    ] {
        let answer = raw_post(&mut stream, more, length).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(
            !answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn what_nests_too_deeply_comes_too_slowly_or_has_two_lengths_is_not_read() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        headers_within: Duration::from_millis(300),
        body_within: Duration::from_millis(300),
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":{}{}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let answer: Value = serde_json::from_str(&door.post(deep.clone()).await).unwrap();
    assert_eq!(answer["error"]["message"], "nested more than 64 deep");
    let mut socket = door.socket().await;
    socket.socket.send(Message::text(deep)).await.unwrap();
    let answer = socket.message().await.unwrap();
    assert_eq!(answer["error"]["message"], "nested more than 64 deep");

    let says = |bytes: &'static str| {
        let address = door.address;
        async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let _ = tokio::time::timeout(Duration::from_secs(10), ended)
                .await
                .expect("it waits for ever");
            String::from_utf8_lossy(&answer).into_owned()
        }
    };
    let half = says("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Le").await;
    assert!(
        half.is_empty() || half.starts_with("HTTP/1.1 408"),
        "{half}"
    );
    let slow = says(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\nConnection: close\r\n\r\n{",
    )
    .await;
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    let smuggled = says("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n").await;
    assert!(smuggled.starts_with("HTTP/1.1 400"), "{smuggled}");
}

#[tokio::test]
async fn a_message_larger_than_a_body_may_be_closes_its_socket_with_code_1009_and_why() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_request_bytes: 100_000,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config.clone(), |_| {}).await;
    let words = (1009, "a message may have 100000 bytes at most".to_owned());
    for length in [100_001, 3_000_000] {
        let mut socket = door.socket().await;
        let large = Message::text(" ".repeat(length));
        // The end may come before all of it is sent.
        let _ = socket.socket.send(large).await;
        assert_eq!(farewell(&mut socket).await, words, "{length}");
    }
    // Settings that allow less hold for sockets that were there before.
    let mut socket = door.socket().await;
    let less = GatewayConfig {
        listen: door.address,
        max_request_bytes: 1000,
        ..config
    };
    door.gateway.reload(pool_of(&clients), less).await.unwrap();
    socket
        .socket
        .send(Message::text(" ".repeat(1001)))
        .await
        .unwrap();
    assert_eq!(farewell(&mut socket).await.0, 1009);
}

#[tokio::test]
async fn messages_of_sockets_take_room_like_bodies_and_who_waits_for_it_in_vain_is_told() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_request_bytes: 100_000,
        max_held_bytes: 100 << 10,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |pool| {
        pool.request_timeout = Duration::from_secs(10);
    })
    .await;
    clients[0].suffers(super::upstream::Fault::SlowAt(
        "eth_call",
        Duration::from_secs(4),
    ));
    let mut holder = door.socket().await;
    let padding = " ".repeat(90_000);
    let request =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{}, "latest"]});
    let large = Message::text(format!("{request}{padding}"));
    holder.socket.send(large.clone()).await.unwrap();
    until_asked(&clients[0], "eth_call").await;

    // One that is whole when it is read is refused under its id, one that is not with its socket.
    let (mut socket, mut other) = (door.socket().await, door.socket().await);
    let whole = Message::text(format!("{request}{}", &padding[..14_000]));
    socket.socket.send(whole).await.unwrap();
    let _ = other.socket.send(large).await;
    let post = door.client.post(&door.url).body(padding).send();
    let (refused, post, ended) = tokio::join!(socket.message(), post, farewell(&mut other));
    assert_eq!(ended.0, 1013);
    let refused = refused.unwrap();
    assert_eq!(
        (refused["id"].as_i64(), refused["error"]["code"].as_i64()),
        (Some(1), Some(-32005)),
        "{refused}"
    );
    assert_eq!(post.unwrap().status(), 503);
    assert!(socket.ask("eth_blockNumber", json!([])).await["error"].is_null());
    // Small ones fit beside it, and the one that holds the room is answered.
    let mut small = door.socket().await;
    assert_eq!(
        small.ask("eth_blockNumber", json!([])).await["result"],
        "0x64"
    );
    let answer = holder.message().await.unwrap();
    assert_eq!(answer["result"], "0x64");
}

async fn until_asked(upstream: &super::upstream::Upstream, method: &'static str) {
    dodona_testkit::until(method, || async {
        (upstream.asked(method) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_takes_its_room_before_it_is_there_and_what_is_not_asked_well_is_not_read() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_request_bytes: 1 << 20,
        max_held_bytes: 2 << 20,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let begin = |length: usize| async move {
        let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
        let head =
            format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; length / 2]).await.unwrap();
        stream
    };
    let answer_of = |mut stream: tokio::net::TcpStream| async move {
        let mut answer = vec![0; 12];
        let read = stream.read_exact(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect("no answer for 20 s")
            .unwrap();
        (String::from_utf8(answer).unwrap(), stream)
    };
    // There is no room for a third, whichever of them it is: it is told so while the others are still
    // on their way.
    let mut held = vec![
        begin(1_000_000).await,
        begin(1_000_000).await,
        begin(1_000_000).await,
    ];
    let told = futures_util::future::select_all(held.iter().map(|it| Box::pin(it.readable())));
    let (_, third, _) = tokio::time::timeout(Duration::from_secs(20), told)
        .await
        .expect("nobody is told anything for 20 s");
    let (third, _) = answer_of(held.remove(third)).await;
    assert_eq!(third, "HTTP/1.1 503");
    for mut held in held {
        held.write_all(&vec![b' '; 500_000]).await.unwrap();
        let (answer, _) = answer_of(held).await;
        assert_eq!(answer, "HTTP/1.1 200");
    }
    let (again, _held) = answer_of({
        let mut stream = begin(1_000_000).await;
        stream.write_all(&vec![b' '; 500_000]).await.unwrap();
        stream
    })
    .await;
    assert_eq!(again, "HTTP/1.1 200");

    for (line, status) in [
        ("Content-Length: +5", "400"),
        ("Content-Length: 5\r\nHost: elsewhere", "400"),
        ("Content-Length: 5\nX: y", "400"),
        (
            &*format!("Content-Length: 5\r\nX: {}", "x".repeat(20_000)),
            "431",
        ),
    ] {
        let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
        let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\nhello");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (answer, _) = answer_of(stream).await;
        assert_eq!(answer, format!("HTTP/1.1 {status}"), "{line:.40}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_let_go() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        body_within: Duration::from_millis(300),
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_feeHistory","params":["0x1","latest",[]]}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Ten kilobytes of answer each, and nobody takes them.
    let asking = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), asking)
        .await
        .expect("its connection is kept");
    assert_eq!(door.block_number().await, 100);
}

/// Passes bytes on to the door and counts who connected.
async fn counted(door: &Door) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (to, counter) = (door.address, std::sync::Arc::clone(&count));
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (url, count)
}

#[tokio::test]
async fn over_http2_a_refused_request_leaves_its_connection_usable_and_bodies_have_the_same_limit()
{
    let clients = upstreams(1).await;
    let (door, secret) = with_a_key_and_a_limit(&clients).await;
    let (url, connections) = counted(&door).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    for (key, origin, length, status) in [
        ("", "", 300_000, 401),
        (&*secret, "https://evil.example", 300_000, 403),
        (&*secret, "", 100_001, 413),
        // More than is read of a refused body.
        (&*secret, "", 4_000_000, 413),
        ("", "", 4_000_000, 401),
        (&*secret, "", 10, 200),
    ] {
        let mut request = client.post(&url).body(" ".repeat(length));
        if !key.is_empty() {
            request = request.header("x-api-key", key);
        }
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        assert_eq!(answer.status(), status, "{length}");
        assert!(!answer.text().await.unwrap().is_empty());
    }
    let count = connections.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(count, 1, "a connection broke");
}

//! Clients that go away while they are being answered.

use std::time::Duration;

use dodona_rpc::gateway::GatewayConfig;
use dodona_testkit::until;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::upstream::{Fault, Upstream};
use super::{Door, asked_of, upstreams};

/// Which server answers: that of the usual request, or the general one.
const SERVERS: [(&str, &str); 2] = [
    ("quick", ""),
    ("general", "Accept-Encoding: x\r\nConnection: close\r\n"),
];

/// Asks, and leaves the answer to whoever reads it.
async fn asks(door: &Door, more: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn question(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// Not a word, not even goodbye.
fn breaks(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

async fn is_asked(clients: &[Upstream], method: &str, times: usize) {
    until(&format!("{method} is asked {times} times"), || async {
        (asked_of(clients, method) >= times).then_some(())
    })
    .await;
}

/// An upstream that takes one block of logs at a time, each in its time.
async fn slow_at_logs() -> Vec<Upstream> {
    let clients = upstreams(1).await;
    clients[0].takes_ranges_of(1);
    clients[0].suffers(Fault::SlowAt("eth_getLogs", Duration::from_millis(150)));
    clients
}

fn ninety_blocks() -> Value {
    question(
        "eth_getLogs",
        json!([{ "fromBlock": "0x1", "toBlock": "0x5a" }]),
    )
}

/// Waits until nobody asks for logs any more, which has to be before all are there.
async fn work_ends(clients: &[Upstream], who: &str) {
    let asked = until("nobody asks for logs any more", || async {
        let before = asked_of(clients, "eth_getLogs");
        sleep(Duration::from_millis(700)).await;
        let now = asked_of(clients, "eth_getLogs");
        (before == now).then_some(now)
    })
    .await;
    assert!(asked < 80, "{who}: asked {asked} times");
}

#[tokio::test]
async fn nobody_is_worked_for_who_went_away() {
    for (server, more) in SERVERS {
        for reset in [true, false] {
            let clients = slow_at_logs().await;
            let door = Door::before(&clients).await;
            let mut stream = asks(&door, more, &ninety_blocks()).await;
            is_asked(&clients, "eth_getLogs", 5).await;
            match reset {
                true => breaks(stream),
                false => stream.shutdown().await.unwrap(),
            }
            work_ends(&clients, &format!("{server}, reset: {reset}")).await;
        }
    }
}

#[tokio::test]
async fn nobody_is_worked_for_whose_websocket_is_gone_or_who_asked_more_before_going() {
    let clients = slow_at_logs().await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    socket.send_all(&ninety_blocks()).await;
    is_asked(&clients, "eth_getLogs", 5).await;
    drop(socket);
    work_ends(&clients, "socket").await;

    let clients = slow_at_logs().await;
    let door = Door::before(&clients).await;
    let mut stream = asks(&door, "", &ninety_blocks()).await;
    is_asked(&clients, "eth_getLogs", 5).await;
    stream.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
    sleep(Duration::from_millis(300)).await;
    breaks(stream);
    work_ends(&clients, "more").await;
}

#[tokio::test]
async fn what_is_asked_while_an_answer_is_waited_for_is_answered_after_it() {
    let clients = upstreams(1).await;
    clients[0].suffers(Fault::SlowAt("eth_call", Duration::from_millis(600)));
    let door = Door::before(&clients).await;
    let mut stream = asks(&door, "", &question("eth_call", json!([{}, "latest"]))).await;
    is_asked(&clients, "eth_call", 1).await;
    let body = question("eth_blockNumber", json!([])).to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let head = head.replace("Host: x", "Host: localhost");
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut came = String::new();
    let both = async {
        while came.matches("jsonrpc").count() < 2 || !came.ends_with('}') {
            let mut some = [0; 1024];
            let read = stream.read(&mut some).await.unwrap();
            assert_ne!(read, 0, "{came}");
            came.push_str(std::str::from_utf8(&some[..read]).unwrap());
        }
    };
    timeout(Duration::from_secs(10), both).await.unwrap();
    assert!(came.ends_with(r#""result":"0x64"}"#), "{came}");
}

#[tokio::test]
async fn who_closes_one_half_behind_a_question_is_answered_all_the_same() {
    for (server, more) in SERVERS {
        let clients = upstreams(1).await;
        clients[0].suffers(Fault::SlowAt("eth_call", Duration::from_millis(500)));
        let door = Door::before(&clients).await;
        let mut stream = asks(&door, more, &question("eth_call", json!([{}, "latest"]))).await;
        stream.shutdown().await.unwrap();
        let mut came = String::new();
        let all = timeout(Duration::from_secs(10), stream.read_to_string(&mut came));
        all.await.expect("the connection ends").unwrap();
        assert!(came.contains("\"result\""), "{server}: {came:?}");
    }
}

#[tokio::test]
async fn a_question_goes_on_for_those_who_joined_it_when_who_put_it_is_gone() {
    for (server, more) in SERVERS {
        let clients = upstreams(1).await;
        clients[0].suffers(Fault::SlowAt("eth_call", Duration::from_millis(3500)));
        let door = Door::before(&clients).await;
        let ask = question("eth_call", json!([{}, "latest"]));
        let first = asks(&door, more, &ask).await;
        is_asked(&clients, "eth_call", 1).await;
        let mut second = asks(&door, "Connection: close\r\n", &ask).await;
        sleep(Duration::from_millis(1000)).await;
        breaks(first);
        let mut came = String::new();
        let all = timeout(Duration::from_secs(10), second.read_to_string(&mut came));
        all.await.expect("the connection ends").unwrap();
        assert!(came.contains("\"result\""), "{server}: {came:?}");
        assert_eq!(asked_of(&clients, "eth_call"), 1, "{server}");
    }
}

#[tokio::test]
async fn a_batch_of_transactions_goes_out_whole_although_its_sender_left() {
    for (_, more) in SERVERS {
        let clients = upstreams(1).await;
        clients[0].suffers(Fault::SlowAt(
            "eth_sendRawTransaction",
            Duration::from_millis(400),
        ));
        let config = GatewayConfig {
            max_concurrent: 1,
            ..GatewayConfig::default()
        };
        let door = Door::with(&clients, config, |_| {}).await;
        let batch: Vec<Value> = (0..4)
            .map(|n| question("eth_sendRawTransaction", json!([format!("0x7f0{n}")])))
            .collect();
        let stream = asks(&door, more, &json!(batch)).await;
        is_asked(&clients, "eth_sendRawTransaction", 1).await;
        breaks(stream);
        is_asked(&clients, "eth_sendRawTransaction", 4).await;
    }
}

#[tokio::test]
async fn a_transaction_goes_out_although_its_websocket_ends_right_behind_it() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    // Alone and in a batch; with a word of farewell in the same segment, and without.
    for (round, (batch, farewell)) in [(false, true), (false, false), (true, true), (true, false)]
        .into_iter()
        .enumerate()
    {
        let mut socket = door.socket().await;
        let raw = json!([format!("0x7f1{round}")]);
        let mut ask = question("eth_sendRawTransaction", raw);
        if batch {
            ask = json!([ask]);
        }
        socket
            .socket
            .feed(Message::text(ask.to_string()))
            .await
            .unwrap();
        if farewell {
            socket.socket.feed(Message::Close(None)).await.unwrap();
        }
        socket.socket.flush().await.unwrap();
        drop(socket);
        for client in &clients {
            is_asked(
                std::slice::from_ref(client),
                "eth_sendRawTransaction",
                round + 1,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_transaction_whose_sender_left_goes_to_an_upstream_that_comes_back() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[1].dies();
    until("it is found out", || async {
        (door.status_of("b").await["state"] == "Unreachable").then_some(())
    })
    .await;
    clients[0].suffers(Fault::SlowAt(
        "eth_sendRawTransaction",
        Duration::from_millis(800),
    ));
    let ask = question("eth_sendRawTransaction", json!(["0x7f01"]));
    let stream = asks(&door, "", &ask).await;
    is_asked(&clients[..1], "eth_sendRawTransaction", 1).await;
    breaks(stream);
    sleep(Duration::from_millis(1500)).await;
    clients[1].rises().await;
    is_asked(&clients[1..], "eth_sendRawTransaction", 1).await;
}

#[tokio::test]
async fn an_upstream_that_hangs_is_found_out_although_nobody_waits_for_it() {
    let clients = upstreams(2).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.nodes[0].order = 1;
    })
    .await;
    clients[0].suffers(Fault::SlowAt("eth_getBalance", Duration::from_secs(60)));
    for n in 1..=3 {
        let ask = question("eth_getBalance", json!([format!("{n:#042x}"), "latest"]));
        let stream = asks(&door, "", &ask).await;
        is_asked(&clients[..1], "eth_getBalance", n).await;
        breaks(stream);
    }
    until("it is not asked any more", || async {
        let status = door.status_of("a").await;
        (status["notAsked"] == json!(["fails eth_getBalance"])).then_some(())
    })
    .await;
}

//! The guarantees, by name; the first has a room of its own (`no_way_back`), the second is among the
//! subscriptions.

use std::time::Duration;

use alloy::primitives::keccak256;
use dodona_rpc::gateway::GatewayConfig;
use dodona_testkit::until;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::upstream::{Fault, hash_of};
use super::{Door, asked_of, number, pool_of, upstreams};

#[tokio::test]
async fn g3_no_answer_comes_from_an_upstream_of_another_chain() {
    let clients = upstreams(2).await;
    clients[1].belongs_to(5);
    let door = Door::before(&clients).await;
    clients[1].is_at(999);
    for _ in 0..20 {
        assert_eq!(
            number(&door.result("eth_call", json!([{}, "latest"])).await),
            100
        );
    }
    assert_eq!(clients[1].asked("eth_call"), 0);
    assert_eq!(door.status_of("b").await["state"], "InvalidChainID");
}

#[tokio::test]
async fn g4_nothing_is_invented_when_nobody_answers() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients.iter().for_each(|client| client.dies());
    for (method, params) in [
        (
            "eth_getBalance",
            json!(["0x1111111111111111111111111111111111111111", "latest"]),
        ),
        ("eth_getLogs", json!([{}])),
        (
            "eth_getTransactionReceipt",
            json!([format!("0x{:064x}", 1)]),
        ),
        ("eth_gasPrice", json!([])),
    ] {
        let answer = door.ask(method, params).await;
        assert!(answer.get("result").is_none(), "{method}: {answer}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(
            !text.contains("127.0.0.1"),
            "an upstream's address was told: {text}"
        );
    }
    until("nobody is there", || async {
        (door.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    let syncing = door.ask("eth_syncing", json!([])).await;
    assert!(syncing.get("result").is_none(), "{syncing}");
    clients[0].rises().await;
    until("it answers again", || async {
        door.ask("eth_gasPrice", json!([]))
            .await
            .get("result")
            .map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn g5_what_a_contract_says_stops_nobody_from_asking_the_upstreams() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for words in [
        "execution reverted: rate limit exceeded, retry after 60 s",
        "execution reverted: method not found",
        "execution reverted: header not found",
        "execution reverted: missing trie node",
        "EVM error: InvalidFEOpcode",
        "insufficient funds for gas * price + value: have 0 want 1",
        "max fee per gas less than block base fee",
    ] {
        for client in &clients {
            client.suffers(Fault::Fails("eth_call", -32000, words));
        }
        let before = asked_of(&clients, "eth_call");
        for _ in 0..5 {
            let answer = door.ask("eth_call", json!([{}, "latest"])).await;
            assert_eq!(answer["error"]["message"], words);
        }
        let after = asked_of(&clients, "eth_call");
        assert_eq!(after - before, 5, "{words}: asked twice");
        for name in ["a", "b"] {
            let status = door.status_of(name).await;
            assert_eq!(status["notAsked"], json!([]), "{words}");
        }
        let balance = door
            .result("eth_getBalance", json!(["0x00", "latest"]))
            .await;
        assert_eq!(balance, "0x64");
    }
}

#[tokio::test]
async fn g5_a_revert_is_final_and_is_nobodys_fault() {
    let clients = upstreams(3).await;
    let door = Door::before(&clients).await;
    for client in &clients {
        client.suffers(Fault::Fails("eth_call", 3, "execution reverted: not owner"));
    }
    for _ in 0..9 {
        let answer = door.ask("eth_call", json!([{}, "latest"])).await;
        assert_eq!(
            answer["error"],
            json!({"code": 3, "message": "execution reverted: not owner"})
        );
    }
    let asked = asked_of(&clients, "eth_call");
    assert_eq!(asked, 9, "a revert was asked twice");
    for name in ["a", "b", "c"] {
        let status = door.status_of(name).await;
        assert_eq!(
            (&status["state"], &status["notAsked"]),
            (&json!("Alive"), &json!([]))
        );
    }
}

#[tokio::test]
async fn g6_a_transaction_reaches_everybody_and_being_known_is_success() {
    let clients = upstreams(3).await;
    let door = Door::before(&clients).await;
    let raw = "0x02f86b01";
    let hash = json!(keccak256([0x02, 0xf8, 0x6b, 0x01]));
    assert_eq!(
        door.result("eth_sendRawTransaction", json!([raw])).await,
        hash
    );
    for client in &clients {
        until("it has the transaction", || async {
            (client.asked("eth_sendRawTransaction") == 1).then_some(())
        })
        .await;
    }
    assert_eq!(
        door.result("eth_sendRawTransaction", json!([raw])).await,
        hash
    );
    for client in &clients {
        client.suffers(Fault::Fails(
            "eth_sendRawTransaction",
            -32000,
            "insufficient funds for gas * price + value",
        ));
    }
    let refused = door.ask("eth_sendRawTransaction", json!(["0x02aa"])).await;
    assert_eq!(
        refused["error"],
        json!({"code": -32000, "message": "insufficient funds for gas * price + value"})
    );
}

#[tokio::test]
async fn g7_ids_and_results_are_passed_on_to_the_byte() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    for id in [
        "1",
        "\"x\\u00e9\"",
        "null",
        "1e400",
        "18446744073709551616",
        "-0.5",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","method":"eth_gasPrice","id":{id}}}"#);
        assert_eq!(
            door.post(body).await,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"0x01"}}"#)
        );
    }
    let batch = r#"[{"id":"b","method":"eth_gasPrice"},{"method":"eth_gasPrice"},7,{"id":"b","method":"eth_chainId","params":[]}]"#;
    assert_eq!(
        door.post(batch).await,
        r#"[{"jsonrpc":"2.0","id":"b","result":"0x01"},{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: invalid type: integer `7`, expected struct Wire at line 1 column 1"}},{"jsonrpc":"2.0","id":"b","result":"0x1092"}]"#
    );
    assert_eq!(door.post(r#"[{"method":"eth_gasPrice"}]"#).await, "");
}

#[tokio::test]
async fn g8_no_idempotent_request_fails_because_an_upstream_is_killed() {
    let clients = upstreams(3).await;
    let door = Door::before(&clients).await;
    for victim in &clients {
        for n in 0..120 {
            if n == 40 {
                victim.dies();
            }
            door.result("eth_call", json!([{}, "latest"])).await;
        }
        victim.rises().await;
    }
}

#[tokio::test]
async fn g9_what_is_too_large_is_refused_in_words() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_request_bytes: 1000,
        max_batch: 3,
        max_subscriptions: 2,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let large: Value = serde_json::from_str(&door.post(" ".repeat(1001)).await).unwrap();
    assert_eq!(large["error"]["message"], "request too large");
    let one = r#"{"id":1,"method":"eth_chainId"}"#;
    let batch: Value =
        serde_json::from_str(&door.post(format!("[{one},{one},{one},{one}]")).await).unwrap();
    assert_eq!(batch["error"]["code"], -32600);
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    socket.subscribe(json!(["newHeads"])).await;
    let third = socket.ask("eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(third["error"]["code"], -32005);
}

#[tokio::test]
async fn g9_no_spelling_of_a_filter_gets_around_the_limit_of_blocks() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_log_range: 10,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    for (params, code) in [
        (r#"[{"fromBlock":"0x0","toBlock":"latest"}]"#, -32005),
        (r#"[{"fromBlock":"0x0","toBlock":"pending"}]"#, -32005),
        (r#"[{"from\u0042lock":"0x0","toBlock":"latest"}]"#, -32005),
        (r#"[{"FromBlock":"0x0"}]"#, -32005),
        (r#"[{"fromBlock":"0x60","fromBlock":"0x0"}]"#, -32005),
        (r#"[{"fromBlock":"0x0"},1]"#, -32602),
        (r#"{"fromBlock":"0x0"}"#, -32602),
        (r#"[{"fromBlock":"zero"}]"#, -32602),
    ] {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":{params}}}"#);
        let answer: Value = serde_json::from_str(&door.post(body).await).unwrap();
        assert_eq!(answer["error"]["code"], code, "{params}: {answer}");
    }
    // The same of filters that an upstream answers as a whole, whatever else is in them.
    for (method, params, code) in [
        ("trace_filter", r#"[{}]"#, -32005),
        (
            "trace_filter",
            r#"[{"fromBlock":"0x0","address":5}]"#,
            -32005,
        ),
        (
            "trace_filter",
            r#"[{"FROMBLOCK":"earliest","count":1},{}]"#,
            -32005,
        ),
        ("trace_filter", r#"{"fromBlock":"0x60"}"#, -32602),
        ("erigon_getLogs", r#"[{"fromBlock":"0x0"}]"#, -32005),
        ("erigon_getLogs", r#"[{"fromBlock":"zero"}]"#, -32602),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let answer: Value = serde_json::from_str(&door.post(body).await).unwrap();
        assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
    }
    for method in ["trace_filter", "erigon_getLogs"] {
        assert_eq!(clients[0].asked(method), 0, "{method}");
        let narrow = json!([{"fromBlock": "0x60", "toBlock": "0x64"}]);
        door.ask(method, narrow).await;
        assert_eq!(clients[0].asked(method), 1, "{method}");
    }
    let upto = json!([{"fromBlock": "0x60", "toBlock": "pending"}]);
    let logs = door.result("eth_getLogs", upto).await;
    assert_eq!(logs.as_array().unwrap().len(), 5);
    // What the gateway looks at by itself it asks by hash.
    let mut asked = clients[0].asked_with("eth_getLogs");
    asked.retain(|params| params[0]["blockHash"].is_null());
    assert_eq!(asked, [json!([{"fromBlock": "0x60", "toBlock": "0x64"}])]);
}

#[tokio::test]
async fn g9_a_socket_that_is_not_read_is_closed_and_others_notice_nothing() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_queued_bytes: 100_000,
        ..GatewayConfig::default()
    };
    let door = Door::open(pool_of(&clients), config).await;
    let mut socket = door.socket().await.socket;
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "eth_feeHistory", "params": ["0x1", "latest", []]
    });
    let request = Message::text(request.to_string());
    let mut sent = 0;
    // Ten kilobytes of answer each, and nobody takes them.
    let asking = async {
        while socket.send(request.clone()).await.is_ok() {
            sent += 1;
            if sent % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking)
        .await
        .expect("nobody minded");
    assert_eq!(door.block_number().await, 100);
    // What the network held is still there; then comes the end, with its reason if that fitted in.
    let mut read = 0;
    loop {
        let came = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
        match came.expect("no end came for 20 s") {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1013),
            Some(Ok(_)) => read += 1,
            Some(Err(_)) | None => break,
        }
    }
    assert!(read < sent, "{read} of {sent}");
}

#[tokio::test]
async fn g10_the_last_upstream_stays_in_use_however_old_its_head_is() {
    let clients = upstreams(1).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.no_new_heads_threshold = Duration::from_millis(100);
    })
    .await;
    until("it is out of sync", || async {
        (door.status_of("a").await["state"] == "OutOfSync").then_some(())
    })
    .await;
    assert_eq!(
        number(&door.result("eth_call", json!([{}, "latest"])).await),
        100
    );
    assert_eq!(door.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn g12_a_gateway_that_stops_finishes_what_it_is_answering() {
    let clients = upstreams(1).await;
    let mut door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    clients[0].suffers(Fault::Slow(Duration::from_millis(400)));
    let asked = clients[0].asked("eth_gasPrice");
    let answer = {
        let url = format!("http://{}/", door.address);
        let request = door
            .client
            .post(url)
            .body(r#"{"id":1,"method":"eth_gasPrice"}"#);
        tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() })
    };
    until("the question is on its way", || async {
        (clients[0].asked("eth_gasPrice") > asked).then_some(())
    })
    .await;
    door.stop.take().unwrap().send(()).unwrap();
    assert_eq!(
        answer.await.unwrap(),
        r#"{"jsonrpc":"2.0","id":1,"result":"0x01"}"#
    );
    while socket.message().await.is_some() {}
    (&mut door.running).await.unwrap();
}

#[tokio::test]
async fn a_secret_in_an_upstreams_address_is_shown_to_nobody() {
    let clients = upstreams(2).await;
    let secret = "canary-5f0c9a";
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        for node in &mut pool.nodes {
            let url = node.http_url.as_mut().unwrap();
            url.set_path(&format!("/v3/{secret}"));
            url.set_username(secret).unwrap();
        }
    })
    .await;
    let mut seen = String::new();
    for fault in [
        Fault::Well,
        Fault::Page(502),
        Fault::Truncates,
        Fault::WrongId,
    ] {
        clients.iter().for_each(|client| {
            client.suffers(fault.clone());
        });
        for path in ["/", "/status", "/metrics", "/readyz"] {
            seen.push_str(&door.get(path).await.1);
        }
        seen.push_str(
            &door
                .ask("eth_call", json!([{}, "latest"]))
                .await
                .to_string(),
        );
        seen.push_str(
            &door
                .ask("eth_sendRawTransaction", json!(["0x02"]))
                .await
                .to_string(),
        );
    }
    clients.iter().for_each(|client| client.dies());
    until("they are unreachable", || async {
        let page = door.get("/").await.1;
        let gone = page.contains("Unreachable");
        (gone && !page.contains(secret)).then_some(())
    })
    .await;
    seen.push_str(&door.get("/status").await.1);
    assert!(!seen.contains(secret), "{seen}");
}

#[tokio::test]
async fn a_key_that_an_upstream_quotes_is_shown_to_nobody() {
    const SEND: &str = "eth_sendRawTransaction";
    let clients = upstreams(2).await;
    let mut pool = pool_of(&clients);
    for node in &mut pool.nodes {
        let url = node.http_url.as_mut().unwrap();
        url.set_path("/v2/CANARYKEY77abc");
    }
    let config = GatewayConfig {
        cache_bytes: 0,
        ..GatewayConfig::default()
    };
    let door = Door::open(pool.clone(), config).await;
    let mut seen = String::new();
    let mut quoted = 0;
    for fault in [
        Fault::Fails("eth_call", -32000, "no such project CANARYKEY77abc"),
        Fault::Fails(SEND, -32000, "/v2/CANARYKEY77abc may not send"),
        Fault::Says(200, "Cannot POST /v2/CANARYKEY77abc"),
        Fault::Says(404, "Cannot POST /v2/CANARYKEY77abc"),
        Fault::Refuses(-32000, "key canarykey77ABC is not good"),
    ] {
        clients.iter().for_each(|client| {
            client.suffers(fault.clone());
        });
        let mut said = String::new();
        for (method, params) in [
            ("eth_call", json!([{}, "latest"])),
            (SEND, json!(["0x02"])),
            ("eth_getBalance", json!([hash_of(1, 0), "latest"])),
        ] {
            said.push_str(&door.ask(method, params).await.to_string());
        }
        let (verdicts, _) = dodona_rpc::gateway::probe(pool.clone()).await.unwrap();
        said.push_str(&format!("{verdicts:?}"));
        quoted += usize::from(said.contains("•••"));
        seen.push_str(&said);
    }
    clients.iter().for_each(|client| {
        client.suffers(Fault::Says(404, "Cannot POST /v2/CANARYKEY77abc"));
    });
    until("they are unreachable, and why is told", || async {
        let status = door.get("/status").await.1;
        (status.contains("Cannot POST /v2/•••")).then_some(())
    })
    .await;
    for path in ["/", "/status", "/readyz"] {
        seen.push_str(&door.get(path).await.1);
    }
    assert!(!seen.to_lowercase().contains("canary"), "{seen}");
    assert_eq!(quoted, 5, "{seen}");
}

#[tokio::test]
async fn what_is_no_request_is_answered_under_its_id() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let error = |id: Value, answer: &Value| {
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&id, &json!(-32600))
        );
    };
    let one: Value = serde_json::from_str(&door.post(r#"{"id":7}"#).await).unwrap();
    error(json!(7), &one);
    let batch = door.post(r#"[{"id":"a","method":5},{"method":5},7]"#).await;
    let batch: Vec<Value> = serde_json::from_str(&batch).unwrap();
    error(json!("a"), &batch[0]);
    error(json!(null), &batch[1]);
    error(json!(null), &batch[2]);
}

#[tokio::test]
async fn doors_that_should_be_closed_are() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        origins: vec!["https://app.example".to_owned()],
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    for method in [
        "personal_unlockAccount",
        "admin_addPeer",
        "debug_setHead",
        "miner_start",
        "eth_sign",
        "eth_sendTransaction",
        "engine_newPayloadV4",
    ] {
        assert_eq!(
            door.ask(method, json!([])).await["error"]["code"],
            -32601,
            "{method}"
        );
        assert_eq!(clients[0].asked(method), 0, "{method}");
    }
    assert_eq!(door.result("eth_accounts", json!([])).await, json!([]));
    let url = format!("http://{}/", door.address);
    let with = |name: &'static str, value: &'static str| {
        let request = door.client.post(&url).header(name, value);
        async move {
            request
                .body(r#"{"id":1,"method":"eth_chainId"}"#)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16()
        }
    };
    assert_eq!(with("origin", "https://evil.example").await, 403);
    assert_eq!(with("origin", "https://app.example").await, 200);
    for host in [
        "evil.example",
        "localhost:x@evil.example",
        "localhost:1.evil.example",
        "[::1]evil.example",
        "[::1",
    ] {
        assert_eq!(with("host", host).await, 403, "{host}");
    }
    assert_eq!(with("host", "[::1]:8545").await, 200);
    assert_eq!(with("host", "localhost:8545").await, 200);
}

#[tokio::test]
async fn the_pages_say_how_it_is() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[1].dies();
    until("the page shows the dead one", || async {
        let (_, page) = door.get("/").await;
        (page.contains("Unreachable") && page.contains("Alive")).then_some(())
    })
    .await;
    // On a narrow screen rows are stacked, and every number says what it is.
    let page = door.get("/").await.1;
    assert!(page.contains("@media(max-width:760px)"), "{page}");
    for what in ["head", "lag", "latency", "errors, 5 min", "client"] {
        assert!(page.contains(&format!("data-of=\"{what}\"")), "{what}");
    }
    assert_eq!(door.get("/health").await, (200, "ok\n".to_owned()));
    assert_eq!(door.get("/metrics").await, (200, "metrics 1\n".to_owned()));
    assert_eq!(door.get("/nothing").await.0, 404);
}

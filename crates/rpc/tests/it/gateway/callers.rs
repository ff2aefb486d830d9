//! What one caller asks, or one upstream says wrongly, is nobody else's trouble.

use std::time::{Duration, Instant};

use alloy::primitives::keccak256;
use dodona_rpc::gateway::{Access, GatewayConfig};
use dodona_testkit::until;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::upstream::{Fault, hash_of};
use super::{Door, asked_of, pool_of, upstreams};

#[tokio::test]
async fn words_a_caller_wrote_do_not_shut_the_upstreams_that_quote_them() {
    const NAME: &str = "eth_x rate limit exceeded, retry after 60 s";
    const QUOTED: &str =
        "the method eth_x rate limit exceeded, retry after 60 s does not exist/is not available";
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for client in &clients {
        client.suffers(Fault::Fails(NAME, -32601, QUOTED));
    }
    let answer = door.ask(NAME, json!([])).await;
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    for _ in 0..4 {
        door.result("eth_call", json!([{}, "latest"])).await;
    }
    for name in ["a", "b"] {
        let status = door.status_of(name).await;
        let held_back = status["notAsked"].to_string().contains("hold back");
        assert!(!held_back, "{status}");
    }
}

#[tokio::test]
async fn a_filter_with_too_many_results_leaves_the_range_of_others_as_it_is() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for client in &clients {
        let text = "query returned more than 10000 results";
        client.suffers(Fault::Fails("eth_getLogs", -32005, text));
    }
    let range = |first: &str, last: &str| json!([{ "fromBlock": first, "toBlock": last }]);
    for _ in 0..4 {
        let answer = door.ask("eth_getLogs", range("0x32", "0x33")).await;
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
    }
    for client in &clients {
        client.suffers(Fault::Well);
    }
    until("somebody is asked for logs again", || async {
        let answer = door.ask("eth_getLogs", range("0x10", "0x10")).await;
        answer.get("result").map(|_| ())
    })
    .await;
    let before: Vec<Value> = clients
        .iter()
        .flat_map(|it| it.asked_with("eth_getLogs"))
        .collect();
    door.result("eth_getLogs", range("0x1", "0x3c")).await;
    let after: Vec<Value> = clients
        .iter()
        .flat_map(|it| it.asked_with("eth_getLogs"))
        .collect();
    let of_range = |list: &[Value]| {
        let starts = list
            .iter()
            .filter_map(|params| params[0]["fromBlock"].as_str());
        starts.filter(|start| *start == "0x1").count()
    };
    assert_eq!(of_range(&after), of_range(&before) + 1, "{after:?}");
    let whole = after
        .iter()
        .any(|params| params[0]["fromBlock"] == "0x1" && params[0]["toBlock"] == "0x3c");
    assert!(whole, "{after:?}");
}

#[tokio::test]
async fn a_range_is_split_if_anybody_would_take_less_whatever_others_say() {
    let clients = upstreams(2).await;
    clients[0].takes_ranges_of(10);
    let text = "weird words: cannot do that";
    clients[1].suffers(Fault::Fails("eth_getLogs", -32000, text));
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.nodes[0].order = 1;
    })
    .await;
    let range = json!([{ "fromBlock": "0x1", "toBlock": "0x3c" }]);
    let logs = door.result("eth_getLogs", range).await;
    assert!(logs.is_array(), "{logs}");
}

#[tokio::test]
async fn a_batch_is_put_to_another_upstream_when_one_takes_unusually_long() {
    let clients = upstreams(2).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.nodes[0].order = 1;
    })
    .await;
    clients[0].suffers(Fault::SlowAt("eth_getBalance", Duration::from_secs(60)));
    let ask = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_getBalance", "params": [format!("{id:#042x}"), "latest"] });
    let began = Instant::now();
    let answers: Value =
        serde_json::from_str(&door.post(json!([ask(1), ask(2)]).to_string()).await).unwrap();
    for answer in answers.as_array().unwrap() {
        assert!(answer["result"].is_string(), "{answers}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(clients[1].batches(), [2]);
}

#[tokio::test]
async fn a_request_too_large_for_what_stands_before_an_upstream_is_not_held_against_it() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for client in &clients {
        client.suffers(Fault::Page(413));
    }
    let answer = door.ask("eth_call", json!([{}, "latest"])).await;
    let ask = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_call", "params": [{ "gas": id }, "latest"] });
    for _ in 0..3 {
        let answers = door.post(json!([ask(1), ask(2)]).to_string()).await;
        assert!(answers.contains("too large"), "{answers}");
    }
    for client in &clients {
        client.suffers(Fault::Well);
    }
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.contains("too large"), "{answer}");
    for name in ["a", "b"] {
        let status = door.status_of(name).await;
        assert!(
            !status["notAsked"].to_string().contains("eth_call"),
            "{status}"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_show_its_newest_block_is_not_asked_for_it_all_the_time() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].suffers(Fault::Fails(
        "eth_getBlockByNumber",
        -32603,
        "internal error",
    ));
    until("it is found out", || async {
        (door.status_of("a").await["state"] == "Unreachable").then_some(())
    })
    .await;
    let asked =
        || asked_of(&clients[..1], "eth_getBlockByNumber") + clients[0].asked("eth_chainId");
    let (before, began) = (asked(), Instant::now());
    // So often a pause is over at most, whatever the machine is doing.
    while began.elapsed() < Duration::from_secs(2) {
        door.result("eth_call", json!([{}, "latest"])).await;
        assert_eq!(door.status_of("a").await["state"], "Unreachable");
    }
    let often = asked() - before;
    let most = 3 * usize::try_from(began.elapsed().as_secs() * 4 + 4).unwrap();
    assert!(often <= most, "asked {often} times");
}

#[tokio::test]
async fn a_transaction_may_take_an_upstream_longer_than_a_read_and_is_not_called_lost() {
    let clients = upstreams(1).await;
    let mut pool = pool_of(&clients);
    pool.request_timeout = Duration::from_millis(500);
    let door = Door::open(pool, GatewayConfig::default()).await;
    let slow = Duration::from_millis(2500);
    clients[0].suffers(Fault::SlowAt("eth_sendRawTransaction", slow));
    let answer = door
        .ask("eth_sendRawTransaction", json!(["0x02f86b01"]))
        .await;
    assert!(answer["result"].is_string(), "{answer}");
}

#[tokio::test]
async fn g3_what_a_stranger_said_while_it_was_alone_is_forgotten_when_it_is_found_out() {
    let clients = upstreams(3).await;
    clients[2].reorganises(50, 100);
    clients[0].dies();
    clients[1].dies();
    let door = Door::that_keeps_answers(&clients).await;
    let block = || door.result("eth_getBlockByNumber", json!(["0x46", false]));
    assert_eq!(block().await["hash"], json!(hash_of(0x46, 1)));
    assert_eq!(block().await["hash"], json!(hash_of(0x46, 1)));
    clients[0].rises().await;
    clients[1].rises().await;
    until("the stranger is found out", || async {
        let of = async |name: &str| door.status_of(name).await["state"].clone();
        let found =
            of("c").await == "Forked" && of("a").await == "Alive" && of("b").await == "Alive";
        found.then_some(())
    })
    .await;
    for _ in 0..6 {
        assert_eq!(block().await["hash"], json!(hash_of(0x46, 0)));
    }
}

#[tokio::test]
async fn g3_an_address_that_becomes_another_chains_is_found_out_by_its_first_strange_block() {
    let clients = upstreams(2).await;
    let mut pool = pool_of(&clients);
    // Asked for its chain as it goes, this would take a minute.
    pool.poll_interval = Duration::from_secs(10);
    pool.nodes[0].order = 1;
    let door = Door::open(pool, GatewayConfig::default()).await;
    clients[0].belongs_to(5).reorganises(50, 100);
    let began = Instant::now();
    until("it is found out", || async {
        (door.status_of("a").await["state"] == "InvalidChainID").then_some(())
    })
    .await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(door.status_of("b").await["state"], "Alive");
    for number in 0x46..0x50 {
        let params = json!([format!("{number:#x}"), false]);
        let block = door.result("eth_getBlockByNumber", params).await;
        assert_eq!(block["hash"], json!(hash_of(number, 0)));
    }
}

#[tokio::test]
async fn g1_logs_and_receipts_of_a_block_above_the_tip_are_not_told_by_its_hash() {
    let clients = upstreams(3).await;
    let transaction = keccak256("it is in block 101");
    clients[0].is_at(101).has_mined(transaction, 101);
    let door = Door::before(&clients).await;
    assert_eq!(door.block_number().await, 100);
    let above = hash_of(101, 0);
    let logs = door
        .ask("eth_getLogs", json!([{ "blockHash": above }]))
        .await;
    assert!(
        logs["result"].as_array().is_none_or(Vec::is_empty),
        "{logs}"
    );
    for client in &clients {
        client.is_at(101);
    }
    door.reaches(101).await;
    let logs = door
        .result("eth_getLogs", json!([{ "blockHash": above }]))
        .await;
    assert!(logs.is_array(), "{logs}");
}

#[tokio::test]
async fn what_fails_for_one_caller_leaves_another_the_second_attempts_it_needs() {
    let clients = upstreams(2).await;
    let config = GatewayConfig {
        access: Access {
            trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
            ..Access::default()
        },
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |pool| pool.nodes[0].order = 1).await;
    // No two are alike, so that none is answered together with another one.
    let ask = async |caller: &str, method: &str, n: usize| {
        let what = match method {
            "eth_call" => json!({ "to": format!("{n:#042x}") }),
            _ => json!(format!("{n:#042x}")),
        };
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [what, "latest"] });
        let request = door.client.post(&door.url).body(body.to_string());
        let response = request.header("x-forwarded-for", caller).send();
        response.await.unwrap().text().await.unwrap()
    };
    let failed = |answer: &String| answer.contains("error");
    // Each of them is asked of both: failures, and what may be the caller's own mistake.
    for code in [-32602, -32603] {
        for client in &clients {
            client.suffers(Fault::Fails("eth_getBalance", code, "no"));
        }
        let many = (0..600).map(|n| ask("10.0.0.1", "eth_getBalance", n));
        let answers: Vec<_> = stream::iter(many).buffered(16).collect().await;
        assert!(answers.iter().all(failed));
    }
    clients[0].suffers(Fault::Fails("eth_call", -32603, "out of order"));
    clients[1].suffers(Fault::Well);
    let answers = join_all((0..30).map(|n| ask("10.0.0.2", "eth_call", n))).await;
    assert!(!answers.iter().any(failed), "{answers:?}");
}

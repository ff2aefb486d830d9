//! Every bad day an upstream can have, and nothing a caller would notice.

use std::time::{Duration, Instant};

use dodona_rpc::gateway::GatewayConfig;
use dodona_testkit::until;
use serde_json::{Value, json};

use super::upstream::{Fault, Upstream, hash_of};
use super::{Door, number, upstreams};

/// Two upstreams; one has a bad day. All questions are answered, within a time.
async fn nobody_notices(fault: Fault, within: Duration) -> (Vec<Upstream>, Door) {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let before = clients[0].questions();
    clients[0].suffers(fault);
    let started = Instant::now();
    for _ in 0..40 {
        assert_eq!(
            number(&door.result("eth_call", json!([{}, "latest"])).await),
            100
        );
    }
    // Libraries ask in batches by themselves.
    let calls = (0..3).map(
        |id| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_call", "params": [{}, "latest"] }),
    );
    let batch = json!(calls.collect::<Vec<_>>()).to_string();
    let answers: Vec<Value> = serde_json::from_str(&door.post(batch).await).unwrap();
    for answer in answers {
        assert_eq!(number(&answer["result"]), 100);
    }
    let took = started.elapsed();
    assert!(took < within, "{took:?}");
    assert!(clients[0].questions() > before, "the bad day was not had");
    (clients, door)
}

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_hung_upstream_is_not_noticed_and_found_out_within_six_seconds() {
    let started = Instant::now();
    let (_clients, door) = nobody_notices(Fault::Hangs, SOON).await;
    until("it is unreachable", || async {
        (door.status_of("a").await["state"] == "Unreachable").then_some(())
    })
    .await;
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_slow_upstream_is_not_noticed() {
    nobody_notices(Fault::Slow(Duration::from_millis(700)), SOON).await;
}

#[tokio::test]
async fn a_connection_reset_at_any_byte_of_the_answer_is_not_noticed() {
    for bytes in [0, 1, 12, 30, 60, 90, 100, 110] {
        // Others of their own each time: after a few failures it would not be asked any more.
        let clients = upstreams(2).await;
        let door = Door::before(&clients).await;
        let before = clients[0].questions();
        clients[0].suffers(Fault::BreaksAfter(bytes));
        for _ in 0..4 {
            assert_eq!(
                number(&door.result("eth_call", json!([{}, "latest"])).await),
                100
            );
        }
        until("the bad day is had", || async {
            (clients[0].questions() > before).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_truncated_body_is_not_noticed() {
    nobody_notices(Fault::Truncates, SOON).await;
}

#[tokio::test]
async fn a_page_for_people_is_not_noticed() {
    nobody_notices(Fault::Page(502), SOON).await;
    // Some middle boxes say that all is well.
    nobody_notices(Fault::Page(200), SOON).await;
}

#[tokio::test]
async fn a_rate_limit_is_not_noticed_and_gives_the_upstream_a_rest() {
    let (clients, door) = nobody_notices(Fault::Page(429), SOON).await;
    let status = door.status_of("a").await;
    let rests = clients[0].asked("eth_call") < 20;
    assert!(rests, "{status}");
}

#[tokio::test]
async fn an_answer_to_another_question_is_not_given() {
    nobody_notices(Fault::WrongId, SOON).await;
}

#[tokio::test]
async fn an_upstream_that_fails_one_method_is_not_asked_for_it_and_still_for_others() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].suffers(Fault::Fails("eth_call", -32603, "internal error"));
    // The other one is slower, so that the first would be preferred.
    clients[1].suffers(Fault::Slow(Duration::from_millis(20)));
    until("it is unfit for the method", || async {
        door.result("eth_call", json!([{}, "latest"])).await;
        let status = door.status_of("a").await;
        assert_eq!(status["state"], "Alive");
        (status["notAsked"] == json!(["fails eth_call"])).then_some(())
    })
    .await;
    let calls = clients[0].asked("eth_call");
    let others = clients[0].asked("eth_gasPrice");
    for _ in 0..20 {
        door.result("eth_call", json!([{}, "latest"])).await;
        door.result("eth_gasPrice", json!([])).await;
    }
    assert!(clients[0].asked("eth_call") <= calls + 1);
    assert!(clients[0].asked("eth_gasPrice") > others);
}

#[tokio::test]
async fn a_method_one_upstream_lacks_is_asked_of_the_other() {
    let (clients, _door) = nobody_notices(
        Fault::Fails(
            "eth_call",
            -32601,
            "the method eth_call does not exist/is not available",
        ),
        SOON,
    )
    .await;
    assert!(clients[0].asked("eth_call") <= 1);
}

#[tokio::test]
async fn an_upstream_that_comes_back_as_another_chain_is_not_used() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].dies();
    until("it is unreachable", || async {
        (door.status_of("a").await["state"] == "Unreachable").then_some(())
    })
    .await;
    clients[0].belongs_to(5).is_at(500);
    clients[0].rises().await;
    until("it is known for what it is", || async {
        (door.status_of("a").await["state"] == "InvalidChainID").then_some(())
    })
    .await;
    let asked = clients[0].asked("eth_call");
    for _ in 0..20 {
        assert_eq!(
            number(&door.result("eth_call", json!([{}, "latest"])).await),
            100
        );
    }
    assert_eq!(clients[0].asked("eth_call"), asked);
}

#[tokio::test]
async fn a_frozen_head_that_still_answers_is_found_out_and_never_asked_about_newer_blocks() {
    let clients = upstreams(2).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.sync_threshold = 3
    })
    .await;
    for block in 101..=110 {
        clients[1].is_at(block);
        door.reaches(block).await;
        assert_eq!(
            number(&door.result("eth_call", json!([{}, "latest"])).await),
            block
        );
    }
    let status = until("it is out of sync", || async {
        let status = door.status_of("a").await;
        (status["state"] == "OutOfSync").then_some(status)
    })
    .await;
    let reason = status["reason"].as_str().unwrap();
    assert!(
        reason.contains("behind") || reason.contains("its head stands still"),
        "{status}"
    );
    let newer = clients[0].asked_with("eth_call");
    assert!(
        newer.iter().all(|params| number(&params[1]) <= 100),
        "{newer:?}"
    );
}

#[tokio::test]
async fn a_minority_on_a_fork_of_its_own_does_not_lead_anybody() {
    let clients = upstreams(3).await;
    let door = Door::before(&clients).await;
    clients[0].reorganises(100, 103);
    for client in &clients[1..] {
        client.is_at(102);
    }
    door.reaches(102).await;
    for _ in 0..20 {
        let block = door
            .result("eth_getBlockByNumber", json!(["latest", false]))
            .await;
        assert_eq!(block["hash"], json!(hash_of(102, 0)));
    }
}

#[tokio::test]
async fn logs_of_a_block_that_one_upstream_hides_are_asked_of_another() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].hides_logs(true);
    for number in 101..=106 {
        for client in &clients {
            client.is_at(number);
        }
        door.reaches(number).await;
        let header = door
            .result("eth_getBlockByNumber", json!(["latest", false]))
            .await;
        let filter = json!([{ "blockHash": header["hash"] }]);
        let logs = door.result("eth_getLogs", filter).await;
        assert!(!logs.as_array().unwrap().is_empty(), "of block {number}");
    }
}

#[tokio::test]
async fn logs_that_one_upstream_hides_are_told_all_the_same() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].hides_logs(true);
    let mut socket = door.socket().await;
    socket.subscribe(json!(["logs", {}])).await;
    for block in 101..=110 {
        clients.iter().for_each(|client| {
            client.is_at(block);
        });
        let (_, log) = socket.told().await;
        assert_eq!(log["blockHash"], json!(hash_of(block, 0)));
    }
}

#[tokio::test]
async fn all_upstreams_down_and_back_costs_a_subscriber_nothing() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    clients.iter().for_each(|client| client.dies());
    until("nobody is there", || async {
        (door.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    for client in &clients {
        client.is_at(120);
        client.rises().await;
    }
    for block in 101..=120 {
        let (_, head) = socket.told().await;
        assert_eq!(head["hash"], json!(hash_of(block, 0)));
    }
}

#[tokio::test]
async fn without_any_upstream_the_chain_does_not_seem_to_stand_still() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let newest = door.result("eth_blockNumber", json!([])).await;
    clients.iter().for_each(Upstream::dies);
    // A short outage is nobody's business.
    assert_eq!(door.result("eth_blockNumber", json!([])).await, newest);
    let error = until("the newest block is not told any more", || async {
        let answer = door.ask("eth_blockNumber", json!([])).await;
        answer.get("error").cloned()
    })
    .await;
    assert_eq!(error["message"], "no upstream is available");
    clients[1].rises().await;
    until("it is told again", || async {
        let answer = door.ask("eth_blockNumber", json!([])).await;
        (answer["result"] == newest).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_range_no_upstream_takes_in_one_piece_is_answered_in_one_piece() {
    let clients = upstreams(2).await;
    clients.iter().for_each(|client| {
        client.is_at(1000).takes_ranges_of(70);
    });
    let door = Door::before(&clients).await;
    let logs = door
        .result(
            "eth_getLogs",
            json!([{"fromBlock": "0x1", "toBlock": "latest"}]),
        )
        .await;
    let seen: Vec<u64> = logs
        .as_array()
        .unwrap()
        .iter()
        .map(|log| number(&log["blockNumber"]))
        .collect();
    assert_eq!(seen, (1..=1000).collect::<Vec<_>>());
    let beyond = door
        .ask(
            "eth_getLogs",
            json!([{"fromBlock": "0x1", "toBlock": "0x7d0"}]),
        )
        .await;
    assert_eq!(
        beyond["error"]["message"],
        "block range extends beyond current head block"
    );
}

#[tokio::test]
async fn a_killed_upstream_is_not_noticed_and_found_out_within_six_seconds() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].dies();
    let started = Instant::now();
    for _ in 0..40 {
        let answer = door.result("eth_call", json!([{}, "latest"])).await;
        assert_eq!(number(&answer), 100);
    }
    until("it is unreachable", || async {
        (door.status_of("a").await["state"] == "Unreachable").then_some(())
    })
    .await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn a_half_open_connection_is_not_noticed_and_heads_go_on() {
    let clients = upstreams(2).await;
    let door = Door::over_ws(&clients).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    // Its sockets stay open; nothing is read from them and nothing comes.
    clients[0].suffers(Fault::HalfOpen);
    for block in 101..=105 {
        clients.iter().for_each(|client| {
            client.is_at(block);
        });
        assert_eq!(socket.told().await.1["hash"], json!(hash_of(block, 0)));
        let answer = door.result("eth_call", json!([{}, "latest"])).await;
        assert_eq!(number(&answer), block);
    }
}

#[tokio::test]
async fn a_subscription_that_died_silently_is_found_out_and_made_anew() {
    let clients = upstreams(1).await;
    let door = Door::over_ws(&clients).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    until("it is subscribed", || async {
        (clients[0].sockets() == 1).then_some(())
    })
    .await;
    clients[0].is_at(101);
    assert_eq!(socket.told().await.1["hash"], json!(hash_of(101, 0)));
    clients[0].falls_silent(true);
    // Heads are found by polls meanwhile: nothing is missed.
    for block in 102..=104 {
        clients[0].is_at(block);
        assert_eq!(socket.told().await.1["hash"], json!(hash_of(block, 0)));
    }
    until("a new socket is opened", || async {
        (clients[0].sockets() > 1).then_some(())
    })
    .await;
    clients[0].falls_silent(false);
    clients[0].is_at(105);
    assert_eq!(socket.told().await.1["hash"], json!(hash_of(105, 0)));
}

#[tokio::test]
async fn old_heads_do_not_pull_anybody_back() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    for block in 101..=120 {
        clients[1].is_at(block);
        // Another back end behind the same address: 5 and 40 blocks old.
        clients[0].is_at(block - if block % 2 == 0 { 5 } else { 40 });
        let (_, head) = socket.told().await;
        assert_eq!(head["hash"], json!(hash_of(block, 0)));
        for _ in 0..4 {
            let answer = door.result("eth_call", json!([{}, "latest"])).await;
            assert_eq!(number(&answer), block);
        }
    }
    // Finality does not go back either.
    let finalized = door
        .result("eth_getBlockByNumber", json!(["finalized", false]))
        .await;
    until("finality has followed", || async {
        let now = door
            .result("eth_getBlockByNumber", json!(["finalized", false]))
            .await;
        assert!(number(&now["number"]) >= number(&finalized["number"]));
        (number(&now["number"]) >= 115).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_exhausted_quota_is_not_noticed_while_somebody_else_has_some_left() {
    let words = "daily request count exceeded, request rate limited";
    let (clients, door) = nobody_notices(Fault::Refuses(-32005, words), SOON).await;
    assert!(clients[0].asked("eth_call") < 20);
    let answer = {
        clients[1].suffers(Fault::Limits(30));
        door.ask("eth_call", json!([{"data": "0x1"}, "latest"]))
            .await
    };
    assert_eq!(answer["error"]["code"], -32005, "{answer}");
}

#[tokio::test]
async fn an_upstream_slow_at_one_method_is_not_noticed() {
    let slow = Fault::SlowAt("eth_call", Duration::from_millis(600));
    let (_clients, door) = nobody_notices(slow, SOON).await;
    assert_eq!(door.status_of("a").await["state"], "Alive");
}

#[tokio::test]
async fn g9_a_reply_larger_than_is_kept_is_an_error_in_words_and_nobodys_death() {
    let clients = upstreams(2).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.max_response_bytes = 4000;
    })
    .await;
    let filter = json!([{"fromBlock": "0x1", "toBlock": "0x64"}]);
    // Logs can be had in parts.
    let logs = door.result("eth_getLogs", filter).await;
    assert_eq!(logs.as_array().unwrap().len(), 100);
    let answer = door
        .ask("eth_feeHistory", json!(["0x1", "latest", []]))
        .await;
    assert_eq!(answer["error"]["code"], -32003, "{answer}");
    for name in ["a", "b"] {
        let status = door.status_of(name).await;
        assert_eq!(
            (&status["state"], &status["notAsked"]),
            (&json!("Alive"), &json!([]))
        );
    }
}

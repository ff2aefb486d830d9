//! How upstreams are judged: states with a reason, leaving and coming back, and never nobody left.

use std::time::{Duration, Instant};

use dodona_rpc::gateway::{Finding, GatewayConfig};
use dodona_testkit::until;
use serde_json::{Value, json};

use super::upstream::{Fault, Upstream, hash_of};
use super::{Door, first_block_is_asked_of, number, upstreams};

/// Waits for a state and gives back its reason.
async fn reaches(door: &Door, name: &str, state: &str) -> String {
    until(&format!("{name} is {state}"), || async {
        let status = door.status_of(name).await;
        (status["state"] == state).then(|| status["reason"].as_str().unwrap_or_default().to_owned())
    })
    .await
}

async fn call(door: &Door) -> Value {
    door.result("eth_call", json!([{}, "latest"])).await
}

/// Asks until `enough` says so; every answer has to be about block 100.
async fn calls(door: &Door, count: usize) {
    for _ in 0..count {
        assert_eq!(number(&call(door).await), 100);
    }
}

#[tokio::test]
async fn g3_an_upstream_with_another_first_block_is_never_asked() {
    let clients = upstreams(3).await;
    clients[0].begins_elsewhere(true);
    let door = Door::before(&clients).await;
    let reason = reaches(&door, "a", "Forked").await;
    assert!(reason.contains("its first block is"), "{reason}");
    calls(&door, 20).await;
    assert_eq!(clients[0].asked("eth_call"), 0);
    // Back with the right one, it belongs again after some looks.
    clients[0].begins_elsewhere(false);
    reaches(&door, "a", "Alive").await;
}

#[tokio::test]
async fn g3_an_upstream_that_finalized_another_block_is_not_asked_and_somebody_is_told() {
    let clients = upstreams(3).await;
    let door = Door::before(&clients).await;
    // The block all of them call final is 96; its branch leaves below that.
    clients[2].reorganises(90, 100);
    let reason = reaches(&door, "c", "Forked").await;
    assert!(reason.contains("cannot change any more"), "{reason}");
    assert!(reason.contains("find out which one is right"), "{reason}");
    let asked = clients[2].asked("eth_call");
    calls(&door, 20).await;
    assert_eq!(clients[2].asked("eth_call"), asked);
    let block = door
        .result("eth_getBlockByNumber", json!(["finalized", false]))
        .await;
    assert_eq!(block["hash"], json!(hash_of(96, 0)));
}

#[tokio::test]
async fn between_two_that_disagree_for_good_the_preferred_one_is_believed() {
    let clients = upstreams(2).await;
    clients[0].reorganises(50, 100);
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.nodes[1].order = 1;
    })
    .await;
    reaches(&door, "a", "Forked").await;
    calls(&door, 10).await;
    assert_eq!(clients[0].asked("eth_call"), 0);
}

#[tokio::test]
async fn an_upstream_that_says_it_is_syncing_is_asked_only_when_nobody_else_is_there() {
    let clients = upstreams(2).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.check_syncing = true;
    })
    .await;
    assert_eq!(door.result("eth_syncing", json!([])).await, json!(false));
    clients[0].is_syncing(true);
    let reason = reaches(&door, "a", "Syncing").await;
    assert_eq!(reason, "it says itself that it is still syncing");
    let asked = clients[0].asked("eth_call");
    calls(&door, 20).await;
    assert_eq!(clients[0].asked("eth_call"), asked);
    assert_eq!(door.result("eth_syncing", json!([])).await, json!(false));
    // G10: the last one standing goes on.
    clients[1].dies();
    reaches(&door, "b", "Unreachable").await;
    calls(&door, 3).await;
    // It answers, so it is ready.
    assert_eq!(door.get("/readyz").await, (200, "ready\n".to_owned()));
    let status = door.result("eth_syncing", json!([])).await;
    assert_eq!(status["highestBlock"], "0x64");
    clients[0].is_syncing(false);
    reaches(&door, "a", "Alive").await;
    assert_eq!(door.result("eth_syncing", json!([])).await, json!(false));
}

#[tokio::test]
async fn an_upstream_whose_finality_stands_still_is_out_of_sync_with_that_reason() {
    let clients = upstreams(2).await;
    clients[0].finalizes_nothing_above(96);
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.no_new_finalized_heads_threshold = Duration::from_secs(3);
    })
    .await;
    let mut at = 100;
    let reason = until("it is out of sync", || {
        at += 1;
        clients.iter().for_each(|client| {
            client.is_at(at);
        });
        async {
            let status = door.status_of("a").await;
            (status["state"] == "OutOfSync").then(|| status["reason"].as_str().unwrap().to_owned())
        }
    })
    .await;
    assert!(reason.contains("no new finalized block for"), "{reason}");
    assert_eq!(door.status_of("b").await["state"], "Alive");
    clients[0].finalizes_nothing_above(u64::MAX);
    reaches(&door, "a", "Alive").await;
}

#[tokio::test]
async fn an_upstream_that_leaves_out_logs_is_found_by_comparison_and_cleared_by_it() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for block in 101..=110 {
        clients.iter().for_each(|client| {
            client.is_at(block);
        });
        door.reaches(block).await;
    }
    clients[0].hides_logs(true);
    let suspected = || async {
        let status = door.status_of("a").await;
        let why = status["notAsked"].to_string();
        why.contains("is not asked for eth_getLogs: it left out logs of block")
            .then_some(())
    };
    until("it is suspected", suspected).await;
    assert_eq!(door.status_of("a").await["state"], "Alive");
    let asked = clients[0].asked_with("eth_getLogs");
    let of_ranges = |asked: &[Value]| {
        let ranges = asked
            .iter()
            .filter(|params| !params[0]["fromBlock"].is_null());
        ranges.count()
    };
    for _ in 0..10 {
        let filter = json!([{"fromBlock": "0x65", "toBlock": "0x6e"}]);
        let logs = door.result("eth_getLogs", filter).await;
        assert_eq!(logs.as_array().unwrap().len(), 10);
    }
    let after = clients[0].asked_with("eth_getLogs");
    assert_eq!(of_ranges(&after), of_ranges(&asked));
    clients[0].hides_logs(false);
    until("it is cleared", || async {
        let status = door.status_of("a").await;
        (status["notAsked"] == json!([])).then_some(())
    })
    .await;
}

/// Two clients of a chain whose blocks have two like logs each, up to block 110.
async fn with_twins() -> (Vec<Upstream>, Door) {
    let clients = upstreams(2).await;
    for client in &clients {
        client.has_twins();
    }
    let door = Door::before(&clients).await;
    for block in 101..=110 {
        clients.iter().for_each(|client| {
            client.is_at(block);
        });
        door.reaches(block).await;
    }
    (clients, door)
}

#[tokio::test]
async fn an_upstream_that_hides_one_of_two_like_logs_is_found_by_comparison() {
    let (clients, door) = with_twins().await;
    // The bloom is the same without it, and the numbers begin at 0 and have no gap.
    clients[1].hides_twin(Some(1));
    until("it is suspected", || async {
        let why = door.status_of("b").await["notAsked"].to_string();
        why.contains("is not asked for eth_getLogs: it left out logs of block")
            .then_some(())
    })
    .await;
    assert_eq!(door.status_of("a").await["notAsked"], json!([]));
    for _ in 0..10 {
        let filter = json!([{"fromBlock": "0x65", "toBlock": "0x6e"}]);
        let logs = door.result("eth_getLogs", filter).await;
        assert_eq!(logs.as_array().unwrap().len(), 20);
    }
    let mut socket = door.socket().await;
    socket.subscribe(json!(["logs", {}])).await;
    clients.iter().for_each(|client| {
        client.is_at(111);
    });
    for index in ["0x0", "0x1"] {
        let (_, log) = socket.told().await;
        assert_eq!(
            (&log["blockNumber"], &log["logIndex"]),
            (&json!("0x6f"), &json!(index))
        );
    }
    clients[1].hides_twin(None);
    until("it is cleared", || async {
        let status = door.status_of("b").await;
        (status["notAsked"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gap_in_the_numbers_of_logs_is_not_passed_on_to_subscribers() {
    let (clients, door) = with_twins().await;
    clients[0].hides_twin(Some(0));
    let mut socket = door.socket().await;
    socket.subscribe(json!(["logs", {}])).await;
    for block in 111..=114_u64 {
        clients.iter().for_each(|client| {
            client.is_at(block);
        });
        for index in ["0x0", "0x1"] {
            let (_, log) = socket.told().await;
            let number = json!(format!("{block:#x}"));
            assert_eq!(
                (&log["blockNumber"], &log["logIndex"]),
                (&number, &json!(index))
            );
        }
    }
}

#[tokio::test]
async fn who_comes_back_gets_no_more_than_a_part_of_the_questions_at_first() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].dies();
    reaches(&door, "a", "Unreachable").await;
    clients[0].rises().await;
    reaches(&door, "a", "Alive").await;
    let status = door.status_of("a").await;
    let words = "came back lately and gets a part of the questions";
    assert_eq!(status["notAsked"], json!([words]));
    let before = clients[0].asked("eth_getBalance");
    // Each another question: what was answered once is kept.
    for n in 0..200_u64 {
        let whose = json!([format!("0x{n:040x}"), "latest"]);
        door.result("eth_getBalance", whose).await;
    }
    // At most: right after it came back it may be none at all.
    let got = clients[0].asked("eth_getBalance") - before;
    assert!(got <= 60, "{got} of 200");
}

#[tokio::test]
async fn coming_back_into_sync_takes_more_than_the_limit() {
    let clients = upstreams(2).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.sync_threshold = 4;
    })
    .await;
    clients[1].is_at(105);
    let reason = reaches(&door, "a", "OutOfSync").await;
    assert!(reason.contains("5 blocks behind"), "{reason}");
    // Inside the limit of 4, and not inside half of it.
    clients[0].is_at(102);
    let reason = until("its reason is news", || async {
        let status = door.status_of("a").await;
        let reason = status["reason"].as_str().unwrap_or_default().to_owned();
        (reason.contains("3 blocks behind") || status["state"] == "Alive").then_some(reason)
    })
    .await;
    assert!(reason.contains("3 blocks behind"), "{reason}");
    clients[0].is_at(103);
    reaches(&door, "a", "Alive").await;
}

#[tokio::test]
async fn a_head_that_stands_still_is_found_out_within_three_block_times() {
    let clients = upstreams(2).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        // Not found by being far behind.
        pool.sync_threshold = 1000;
    })
    .await;
    let mut at = 100;
    let beat = Duration::from_millis(500);
    let mut stuck_since = None;
    let (found, reason) = loop {
        at += 1;
        clients[1].is_at(at);
        if at < 108 {
            clients[0].is_at(at);
        } else {
            stuck_since.get_or_insert_with(std::time::Instant::now);
        }
        tokio::time::sleep(beat).await;
        let status = door.status_of("a").await;
        if let (true, Some(since)) = (status["state"] == "OutOfSync", stuck_since) {
            break (
                since.elapsed(),
                status["reason"].as_str().unwrap().to_owned(),
            );
        }
        assert!(at < 160, "{status}");
    };
    assert!(reason.contains("its head stands still"), "{reason}");
    // Its last new head came a beat before; the machine may be slow.
    assert!(found < 6 * beat, "{found:?}");
    clients[0].is_at(at);
    reaches(&door, "a", "Alive").await;
}

#[tokio::test]
async fn g10_an_only_upstream_that_is_slow_and_failing_is_still_asked() {
    let clients: Vec<Upstream> = upstreams(1).await;
    let door = Door::before(&clients).await;
    clients[0].suffers(Fault::Fails("eth_call", -32603, "internal error"));
    for _ in 0..10 {
        let answer = door.ask("eth_call", json!([{}, "latest"])).await;
        assert_eq!(answer["error"]["message"], "internal error");
    }
    assert_eq!(
        door.status_of("a").await["notAsked"],
        json!(["fails eth_call"])
    );
    clients[0].suffers(Fault::Slow(Duration::from_millis(300)));
    calls(&door, 5).await;
    assert_eq!(door.status_of("a").await["state"], "Alive");
}

#[tokio::test]
async fn g10_an_only_upstream_slower_than_a_poll_may_be_is_not_taken_out() {
    let clients: Vec<Upstream> = upstreams(1).await;
    let door = Door::before(&clients).await;
    // Longer than the second its polls have.
    clients[0].suffers(Fault::Slow(Duration::from_millis(1500)));
    let polled = clients[0].asked("eth_getBlockByNumber");
    let called = async {
        for _ in 0..3 {
            let balance = door
                .result("eth_getBalance", json!(["0x00", "latest"]))
                .await;
            assert_eq!(balance, "0x64");
        }
    };
    let looked_at = until("it was polled some times", || async {
        assert_eq!(door.status_of("a").await["state"], "Alive");
        (clients[0].asked("eth_getBlockByNumber") > polled + 4).then_some(())
    });
    tokio::join!(called, looked_at);
    // Dead is something else.
    clients[0].dies();
    reaches(&door, "a", "Unreachable").await;
}

#[tokio::test]
async fn one_of_three_that_is_far_ahead_on_a_branch_of_its_own_leads_nobody_and_leaves_no_trace() {
    let clients = upstreams(3).await;
    let door = Door::before(&clients).await;
    for client in &clients {
        client.is_at(102);
    }
    door.reaches(102).await;
    for name in ["a", "b", "c"] {
        reaches(&door, name, "Alive").await;
    }
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    clients[2].reorganises(95, 5102);
    for at in 103..=108 {
        clients[0].is_at(at);
        clients[1].is_at(at);
        let (_, head) = socket.told().await;
        assert_eq!(head["hash"], json!(hash_of(at, 0)));
        let call = door.result("eth_call", json!([{}, "latest"])).await;
        assert_eq!(number(&call), at);
    }
    for name in ["a", "b"] {
        assert_eq!(door.status_of(name).await["state"], "Alive");
    }
    let asked = clients[2].asked("eth_call");
    for _ in 0..10 {
        assert_eq!(number(&call(&door).await), 108);
    }
    assert_eq!(clients[2].asked("eth_call"), asked, "it strays");
    clients[2].comes_back(109);
    clients[0].is_at(109);
    clients[1].is_at(109);
    let (_, head) = socket.told().await;
    assert_eq!(head["hash"], json!(hash_of(109, 0)));
    until("it is asked again", || async {
        call(&door).await;
        (clients[2].asked("eth_call") > asked).then_some(())
    })
    .await;
    let finalized = door
        .result("eth_getBlockByNumber", json!(["finalized", false]))
        .await;
    assert!(number(&finalized["number"]) <= 105, "{finalized}");
}

#[tokio::test]
async fn of_two_upstreams_the_one_far_ahead_leads_only_if_it_has_the_tip() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    // Alone it would lead.
    for name in ["a", "b"] {
        reaches(&door, name, "Alive").await;
    }
    clients[1].reorganises(95, 5102);
    for at in 101..=104 {
        clients[0].is_at(at);
        door.reaches(at).await;
    }
    assert_eq!(door.status_of("a").await["state"], "Alive");
    // The same chain, and the first one stands still.
    clients[1].comes_back(5102);
    door.reaches(5102).await;
}

#[tokio::test]
async fn g3_the_only_upstream_that_begins_anew_as_another_chain_is_not_asked_any_more() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    first_block_is_asked_of(&clients[0]).await;
    // Without a failed request in between: only its shorter chain gives it away.
    clients[0].begins_elsewhere(true).is_at(3);
    let reason = reaches(&door, "a", "Forked").await;
    assert!(reason.contains("its first block is"), "{reason}");
}

#[tokio::test]
async fn an_upstream_that_answers_polls_with_429_is_out_of_quota_and_not_unreachable() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].suffers(Fault::Limits(2));
    let reason = reaches(&door, "a", "OutOfSync").await;
    assert!(
        reason.contains("out of quota") && reason.contains("HTTP 429"),
        "{reason}"
    );
    calls(&door, 20).await;
    // It is left alone as long as it said.
    let polled = clients[0].asked("eth_getBlockByNumber");
    assert!(polled < 100, "{polled}");
    clients[0].suffers(Fault::Well);
    reaches(&door, "a", "Alive").await;
}

#[tokio::test]
async fn what_an_upstream_was_before_it_died_is_not_shown_as_if_it_were_now() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    reaches(&door, "a", "Alive").await;
    calls(&door, 5).await;
    assert!(door.status_of("a").await["latencyMs"].is_number());
    clients[0].dies();
    reaches(&door, "a", "Unreachable").await;
    clients[0].rises().await;
    reaches(&door, "a", "Alive").await;
    let proves_itself = |status: &Value| {
        let words = status["notAsked"].to_string();
        words.contains("came back lately")
    };
    assert!(proves_itself(&door.status_of("a").await));
    clients[0].dies();
    reaches(&door, "a", "Unreachable").await;
    let status = door.status_of("a").await;
    assert!(!proves_itself(&status), "{status}");
    assert!(status["latencyMs"].is_null(), "{status}");
    assert_eq!(status["lately"]["seconds"], 300);
}

#[tokio::test]
async fn a_websocket_of_another_chain_is_not_listened_to_while_the_gateway_runs() {
    let clients = upstreams(2).await;
    let stranger = Upstream::start().await;
    stranger.begins_elsewhere(true).is_at(208);
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.new_heads_poll_interval = Duration::ZERO;
        pool.nodes[0].ws_url = Some(stranger.ws());
        pool.nodes[1].ws_url = Some(clients[1].ws());
    })
    .await;
    until("it is told why", || async {
        let reason = door.status_of("a").await["reason"].to_string();
        reason
            .contains("its WebSocket address is on another chain than its HTTP address: block 0")
            .then_some(())
    })
    .await;
    stranger.is_at(209);
    clients.iter().for_each(|client| {
        client.is_at(101);
    });
    door.reaches(101).await;
    let status = door.status_of("a").await;
    assert_eq!(status["state"], "Alive");
    // Repaired, it is listened to.
    stranger.begins_elsewhere(false).is_at(101);
    until("it is listened to", || async {
        door.status_of("a").await["reason"].is_null().then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_check_names_upstreams_that_take_no_transactions() {
    let clients = upstreams(3).await;
    for client in &clients[1..] {
        client.suffers(Fault::Fails(
            "eth_sendRawTransaction",
            -32601,
            "the method eth_sendRawTransaction does not exist/is not available",
        ));
    }
    let mut pool = super::pool_of(&clients);
    pool.nodes[2].send_only = true;
    let (verdicts, together) = dodona_rpc::gateway::probe(pool.clone()).await.unwrap();
    let found = |at: usize| {
        let findings = verdicts[at].findings.iter();
        let found = findings.filter(|finding| {
            let (Finding::Fail(what) | Finding::Warn(what)) = finding;
            what.contains("it takes no transactions")
        });
        found.cloned().collect::<Vec<_>>()
    };
    assert_eq!(found(0), []);
    assert!(matches!(&found(1)[..], [Finding::Warn(_)]), "{verdicts:?}");
    assert!(matches!(&found(2)[..], [Finding::Fail(_)]), "{verdicts:?}");
    let none = Finding::Fail("no upstream takes transactions".to_owned());
    assert!(!together.contains(&none), "{together:?}");
    pool.nodes.remove(0);
    let (_, together) = dodona_rpc::gateway::probe(pool).await.unwrap();
    assert!(together.contains(&none), "{together:?}");
}

#[tokio::test]
async fn a_websocket_of_another_chain_than_its_http_address_fails_the_check() {
    let clients = upstreams(2).await;
    let check = || async {
        let mut pool = super::pool_of(&clients[..1]);
        pool.nodes[0].ws_url = Some(clients[1].ws());
        let (verdicts, _) = dodona_rpc::gateway::probe(pool).await.unwrap();
        verdicts[0].findings.clone()
    };
    let fails = |findings: &[Finding]| -> Vec<String> {
        let fails = findings.iter().filter_map(|finding| match finding {
            Finding::Fail(what) => Some(what.clone()),
            Finding::Warn(_) => None,
        });
        fails.collect()
    };
    assert_eq!(fails(&check().await), Vec::<String>::new());
    clients[1].belongs_to(5);
    assert_eq!(
        fails(&check().await),
        [
            "its WebSocket address belongs to chain 5 and its HTTP address to chain 4242: correct one of them"
        ]
    );
    // The same number and another first block is another chain, too.
    clients[1]
        .belongs_to(super::upstream::CHAIN)
        .begins_elsewhere(true);
    assert_eq!(
        fails(&check().await),
        ["its HTTP and its WebSocket address belong to different chains"]
    );
}

#[tokio::test]
async fn an_upstream_that_is_out_of_quota_from_the_first_question_on_is_left_alone_as_long_as_it_says()
 {
    const PAUSE: u64 = 3;
    let clients = upstreams(2).await;
    clients[1].suffers(Fault::Limits(PAUSE));
    let began = Instant::now();
    let door = Door::before(&clients).await;
    let why = reaches(&door, "b", "Dialed").await;
    assert!(
        why.contains("out of quota (HTTP 429, retry after 3 s)"),
        "{why}"
    );
    let is_left_alone = || {
        let (asked, most) = (
            clients[1].questions(),
            1 + began.elapsed().as_secs() / PAUSE,
        );
        assert!(asked as u64 <= most, "asked {asked} times, {most} would do");
    };
    calls(&door, 5).await;
    is_left_alone();
    // Not even when there is nobody else.
    clients[0].dies();
    reaches(&door, "a", "Unreachable").await;
    until("callers are told to wait", || async {
        let answer = door.ask("eth_gasPrice", json!([])).await;
        is_left_alone();
        (answer["error"]["code"] == -32005).then_some(())
    })
    .await;
    clients[1].suffers(Fault::Well);
    reaches(&door, "b", "Alive").await;
    calls(&door, 1).await;
}

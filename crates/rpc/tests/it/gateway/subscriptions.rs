//! What subscribers and filters are told.

use std::collections::HashSet;
use std::time::Duration;

use dodona_rpc::gateway::GatewayConfig;
use dodona_testkit::until;
use serde_json::{Value, json};

use super::upstream::{Fault, Receipts, Upstream, hash_of};
use super::{Door, Socket, upstreams};

#[tokio::test]
async fn g2_a_subscriber_is_told_every_block_once_while_upstreams_die_and_lag() {
    let clients = upstreams(3).await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let logs = socket
        .subscribe(json!(["logs", {"address": "0x1111111111111111111111111111111111111111"}]))
        .await;
    let mut number = 100;
    for round in 0..12_usize {
        let victim = &clients[round % 3];
        victim.dies();
        // Several blocks at once: nobody shows the ones between.
        number += 1 + round as u64 % 4;
        clients.iter().for_each(|client| {
            client.is_at(number);
        });
        door.reaches(number).await;
        victim.rises().await;
    }
    for block in 101..=number {
        // The head of a block, and then its logs.
        let (of, head) = socket.told().await;
        assert_eq!((&of, &head["hash"]), (&heads, &json!(hash_of(block, 0))));
        assert!(head.get("transactions").is_none());
        let (of, log) = socket.told().await;
        assert_eq!((&of, &log["blockHash"]), (&logs, &json!(hash_of(block, 0))));
    }
}

#[tokio::test]
async fn g2_a_reorganisation_is_told_with_removed_logs_and_every_new_block() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let logs = socket.subscribe(json!(["logs", {}])).await;
    clients.iter().for_each(|client| {
        client.is_at(103);
    });
    for _ in 101..=103 {
        socket.told().await;
        socket.told().await;
    }
    clients.iter().for_each(|client| {
        client.reorganises(101, 104);
    });
    for (block, branch) in [(103, 0), (102, 0)] {
        let (of, log) = socket.told().await;
        assert_eq!(of, logs);
        assert_eq!(
            (&log["blockHash"], &log["removed"]),
            (&json!(hash_of(block, branch)), &json!(true))
        );
    }
    for block in 102..=104 {
        let (of, head) = socket.told().await;
        assert_eq!((&of, &head["hash"]), (&heads, &json!(hash_of(block, 1))));
        let (of, log) = socket.told().await;
        assert_eq!((&of, &log["removed"]), (&logs, &json!(false)));
    }
}

#[tokio::test]
async fn an_outage_too_long_to_make_up_for_ends_the_subscription_in_words() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    clients[0].is_at(50_000);
    let message = socket.message().await.unwrap();
    let error = &message["params"]["error"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("subscription gap"),
        "{message}"
    );
    assert!(socket.message().await.is_none());
}

#[tokio::test]
async fn an_ended_subscription_is_silent_and_an_unknown_one_is_an_error() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    let first = socket.subscribe(json!(["newHeads"])).await;
    let second = socket.subscribe(json!(["newHeads"])).await;
    assert_eq!(
        socket.ask("eth_unsubscribe", json!([first])).await["result"],
        true
    );
    assert_eq!(
        socket.ask("eth_unsubscribe", json!([first])).await["error"]["code"],
        -32601
    );
    clients[0].is_at(101);
    assert_eq!(socket.told().await.0, second);
    let unknown = socket.ask("eth_subscribe", json!(["newThings"])).await;
    assert_eq!(unknown["error"]["code"], -32602);
    assert_eq!(
        door.ask("eth_subscribe", json!(["newHeads"])).await["error"]["code"],
        -32601
    );
}

#[tokio::test]
async fn filters_survive_the_upstream_they_were_made_under() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let blocks = door.result("eth_newBlockFilter", json!([])).await;
    let logs = door
        .result("eth_newFilter", json!([{"topics": [hash_of(102, 0)]}]))
        .await;
    clients[0].dies();
    clients[1].is_at(103);
    door.reaches(103).await;
    let hashes: Vec<_> = (101..=103).map(|block| hash_of(block, 0)).collect();
    assert_eq!(
        door.result("eth_getFilterChanges", json!([blocks])).await,
        json!(hashes)
    );
    let found = door.result("eth_getFilterChanges", json!([logs])).await;
    assert_eq!(found[0]["blockHash"], json!(hash_of(102, 0)));
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(
        door.result("eth_getFilterChanges", json!([logs])).await,
        json!([])
    );
    clients[1].reorganises(101, 104);
    door.reaches(104).await;
    let removed = until("the removed log is told", || async {
        let changes = door.result("eth_getFilterChanges", json!([logs])).await;
        changes.get(0).cloned()
    })
    .await;
    assert_eq!(removed["removed"], true);
    assert_eq!(
        door.result("eth_uninstallFilter", json!([logs])).await,
        true
    );
    assert_eq!(
        door.result("eth_uninstallFilter", json!([logs])).await,
        false
    );
    assert_eq!(
        door.ask("eth_getFilterChanges", json!([logs])).await["error"]["message"],
        "filter not found"
    );
}

#[tokio::test]
async fn logs_of_several_blocks_are_fetched_beside_one_another_for_a_filter() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let filter = door.result("eth_newFilter", json!([{}])).await;
    for client in &clients {
        let slow = Fault::SlowAt("eth_getLogs", Duration::from_secs(3600));
        client.has_receipts(Receipts::Lacks).suffers(slow);
        client.is_at(112);
    }
    door.reaches(112).await;
    let asking = async {
        let changes = door.ask("eth_getFilterChanges", json!([filter])).await;
        panic!("nobody gives any logs: {changes}");
    };
    // One after another, there would be the first one's alone.
    let begun = until("the logs of the next blocks are asked for", || async {
        let asked = clients
            .iter()
            .map(|client| client.asked_with("eth_getLogs"));
        let blocks: HashSet<_> = asked
            .flatten()
            .map(|it| it[0]["blockHash"].to_string())
            .collect();
        (101..=108)
            .all(|block| blocks.contains(&json!(hash_of(block, 0)).to_string()))
            .then_some(())
    });
    tokio::select! {
        () = asking => {}
        () = begun => {}
    }
    for client in &clients {
        client.suffers(Fault::Well);
    }
    let all = until("there are logs again", || async {
        let changes = door.ask("eth_getFilterChanges", json!([filter])).await;
        changes["result"].as_array().cloned()
    })
    .await;
    let blocks: Vec<_> = all.iter().map(|log| log["blockHash"].clone()).collect();
    let expected: Vec<_> = (101..=112).map(|block| json!(hash_of(block, 0))).collect();
    assert_eq!(blocks, expected);
}

#[tokio::test]
async fn a_filter_nobody_asked_for_many_blocks_has_the_logs_of_all_of_them() {
    let clients = upstreams(2).await;
    for client in &clients {
        client.has_receipts(Receipts::Lacks);
    }
    let door = Door::before(&clients).await;
    let filter = door.result("eth_newFilter", json!([{}])).await;
    // Further than the logs of blocks are kept.
    for tip in [180, 260, 340] {
        clients.iter().for_each(|client| {
            client.is_at(tip);
        });
        door.reaches(tip).await;
    }
    let changes = door.result("eth_getFilterChanges", json!([filter])).await;
    let of = |log: &Value| log["blockHash"].clone();
    let blocks: Vec<_> = changes.as_array().unwrap().iter().map(of).collect();
    let expected: Vec<_> = (101..=340).map(|block| json!(hash_of(block, 0))).collect();
    assert_eq!(blocks, expected);
}

/// The next so many waiting transactions a subscriber is told of, in order of their hashes.
async fn waiting(socket: &mut Socket, count: usize) -> Vec<Value> {
    let mut told = Vec::new();
    for _ in 0..count {
        told.push(socket.told().await.1);
    }
    told.sort_by_key(|hash| hash.to_string());
    told
}

/// Subscribes, and waits until both upstreams are listened to.
async fn listens(socket: &mut Socket, clients: &[Upstream]) {
    socket.subscribe(json!(["newPendingTransactions"])).await;
    // Each tells of one of its own until it comes through.
    for (n, client) in clients.iter().enumerate() {
        let mut asked = 0;
        loop {
            asked += 1;
            client.hears_of(hash_of(asked, 200 + u8::try_from(n).unwrap()));
            let heard = tokio::time::timeout(Duration::from_millis(300), socket.told());
            if heard.await.is_ok() {
                break;
            }
            assert!(asked < 60, "nothing was told");
        }
    }
    // What was told meanwhile is not of interest.
    while tokio::time::timeout(Duration::from_millis(1500), socket.told())
        .await
        .is_ok()
    {}
}

#[tokio::test]
async fn waiting_transactions_of_all_upstreams_are_told_once_over_one_subscription_each() {
    let clients = upstreams(2).await;
    let door = Door::over_ws(&clients).await;
    let (mut one, mut two) = (door.socket().await, door.socket().await);
    let sockets: Vec<usize> = clients.iter().map(Upstream::sockets).collect();
    listens(&mut one, &clients).await;
    two.subscribe(json!(["newPendingTransactions"])).await;
    let hash = |n: u64| hash_of(n, 7);
    for n in 1..=6 {
        // The first is heard by one, the next by the other, every third by both.
        if n % 3 != 2 {
            clients[0].hears_of(hash(n));
        }
        if n % 3 != 1 {
            clients[1].hears_of(hash(n));
        }
    }
    let all: Vec<Value> = (1..=6).map(|n| json!(hash(n))).collect();
    assert_eq!(waiting(&mut one, 6).await, all);
    assert_eq!(waiting(&mut two, 6).await, all);
    // A transaction sent now is the next thing told: nothing came twice.
    clients[1].hears_of(hash(7));
    assert_eq!(waiting(&mut one, 1).await, [json!(hash(7))]);
    assert_eq!(waiting(&mut two, 1).await, [json!(hash(7))]);
    assert_eq!(
        clients.iter().map(Upstream::sockets).collect::<Vec<_>>(),
        sockets
    );
    // One of them is lost, the other goes on telling.
    clients[0].dies();
    clients[1].hears_of(hash(8));
    assert_eq!(waiting(&mut one, 1).await, [json!(hash(8))]);
}

#[tokio::test]
async fn waiting_transactions_come_from_upstreams_without_a_socket_too() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let filter = door
        .result("eth_newPendingTransactionFilter", json!([]))
        .await;
    let mut socket = door.socket().await;
    listens(&mut socket, &clients).await;
    door.result("eth_getFilterChanges", json!([filter])).await;
    for client in &clients {
        client.hears_of(hash_of(1, 7));
    }
    assert_eq!(waiting(&mut socket, 1).await, [json!(hash_of(1, 7))]);
    let changes = door.result("eth_getFilterChanges", json!([filter])).await;
    assert_eq!(changes, json!([hash_of(1, 7)]));
    let again = door.result("eth_getFilterChanges", json!([filter])).await;
    assert_eq!(again, json!([]));
    let full = socket
        .ask("eth_subscribe", json!(["newPendingTransactions", true]))
        .await;
    assert_eq!(full["error"]["code"], -32602);
}

#[tokio::test]
async fn a_subscriber_is_told_when_the_pool_begins_to_sync_and_when_it_is_done() {
    let clients = upstreams(1).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.check_syncing = true;
    })
    .await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["syncing"])).await;
    clients[0].is_syncing(true);
    let told = socket.told().await.1;
    assert_eq!(told["syncing"], true);
    assert_eq!(told["status"]["currentBlock"], "0x10");
    clients[0].is_syncing(false);
    assert_eq!(socket.told().await.1, json!(false));
}

#[tokio::test]
async fn a_change_is_told_once_also_to_two_who_ask_at_the_same_time() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let filter = door.result("eth_newFilter", json!([{}])).await;
    let blocks = door.result("eth_newBlockFilter", json!([])).await;
    // Until its logs are there both are at it.
    clients[0].suffers(super::upstream::Fault::SlowAt(
        "eth_getLogs",
        Duration::from_millis(500),
    ));
    clients[0].is_at(102);
    door.reaches(102).await;
    for filter in [filter, blocks] {
        let ask = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "eth_getFilterChanges", "params": [filter]});
        let one = ask(1).to_string();
        let batch = json!([ask(2), ask(3)]).to_string();
        let (one, batch) = tokio::join!(door.post(one), door.post(batch));
        let one: Value = serde_json::from_str(&one).unwrap();
        let batch: Vec<Value> = serde_json::from_str(&batch).unwrap();
        let told: Vec<usize> = [&one, &batch[0], &batch[1]]
            .iter()
            .map(|answer| answer["result"].as_array().unwrap().len())
            .collect();
        assert_eq!(told.iter().sum::<usize>(), 2, "{told:?}");
    }
}

#[tokio::test]
async fn the_blocks_of_a_filter_hold_for_its_changes() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let filters = [
        (json!({"toBlock": "0x66"}), vec![101, 102]),
        (json!({"fromBlock": "0x67"}), vec![103, 104]),
        (
            json!({"fromBlock": "0x66", "toBlock": "0x67"}),
            vec![102, 103],
        ),
        (
            json!({"fromBlock": "earliest", "toBlock": "latest"}),
            vec![101, 102, 103, 104],
        ),
        (json!({"blockHash": hash_of(103, 0)}), vec![103]),
    ];
    let mut made = Vec::new();
    for (filter, expected) in filters {
        made.push((
            door.result("eth_newFilter", json!([filter])).await,
            expected,
        ));
    }
    clients[0].is_at(104);
    door.reaches(104).await;
    for (filter, expected) in made {
        let changes = door.result("eth_getFilterChanges", json!([filter])).await;
        let changes = changes.as_array().unwrap();
        let hashes: Vec<Value> = changes.iter().map(|log| log["blockHash"].clone()).collect();
        let expected: Vec<Value> = expected.into_iter().map(|n| json!(hash_of(n, 0))).collect();
        assert_eq!(hashes, expected);
    }
}

#[tokio::test]
async fn a_connection_has_no_more_subscriptions_than_it_may_however_it_asks_for_them() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        max_subscriptions: 10,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    clients[0].suffers(super::upstream::Fault::SlowAt(
        "eth_call",
        Duration::from_millis(500),
    ));
    let mut socket = door.socket().await;
    // None of these is answered before all of them are read.
    for round in 0..5 {
        let call = json!({"jsonrpc": "2.0", "id": 0, "method": "eth_call", "params": [{"data": format!("{round:#x}")}, "latest"]});
        let subscribe =
            json!({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]});
        let mut batch = vec![call];
        batch.extend(std::iter::repeat_n(subscribe, 8));
        socket.send_all(&json!(batch)).await;
    }
    let (mut granted, mut refused) = (Vec::new(), 0);
    for _ in 0..5 {
        let answers = socket.message().await.unwrap();
        for answer in answers.as_array().unwrap().iter().skip(1) {
            match answer["result"].as_str() {
                Some(id) => granted.push(id.to_owned()),
                None => refused += i64::from(answer["error"]["code"] == -32005),
            }
        }
    }
    assert_eq!((granted.len(), refused), (10, 30));
    // One that is given up makes room for another.
    let ended = socket.ask("eth_unsubscribe", json!([granted[0]])).await;
    assert_eq!(ended["result"], true);
    socket.subscribe(json!(["newHeads"])).await;
}

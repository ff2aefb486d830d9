//! What subscribers and filters are told.

use serde_json::json;

use super::upstream::hash_of;
use super::{Door, upstreams};
use dodona_testkit::until;

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
    let unknown = socket
        .ask("eth_subscribe", json!(["newPendingTransactions"]))
        .await;
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

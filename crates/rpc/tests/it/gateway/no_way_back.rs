//! G1: nobody is shown a chain that goes back.

use std::time::Duration;

use alloy::primitives::keccak256;
use dodona_testkit::until;
use serde_json::{Value, json};

use super::upstream::{Fault, Upstream, hash_of};
use super::{Door, asked_of, number, upstreams};

/// All of them come to a block, and so does the gateway.
async fn all_reach(clients: &[Upstream], door: &Door, block: u64) {
    for client in clients {
        client.is_at(block);
    }
    door.reaches(block).await;
}

#[tokio::test]
async fn g1_no_caller_sees_the_chain_go_backwards_when_upstreams_lag() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let mut highest = 0;
    for round in 0..60_u64 {
        // One of them runs ahead, in turn; the other one is up to three blocks behind.
        let (ahead, behind) = (
            &clients[round as usize % 2],
            &clients[1 - round as usize % 2],
        );
        ahead.is_at(101 + round);
        behind.is_at(98 + round);
        for _ in 0..3 {
            let shown = door.block_number().await;
            let called = number(&door.result("eth_call", json!([{}, "latest"])).await);
            let block = door
                .result("eth_getBlockByNumber", json!(["latest", false]))
                .await;
            for seen in [shown, called, number(&block["number"])] {
                assert!(seen >= highest, "{seen} after {highest}");
                highest = seen;
            }
        }
    }
    assert!(highest > 120, "{highest}");
}

#[tokio::test]
async fn g1_a_question_about_a_block_that_is_replaced_meanwhile_is_put_anew() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    all_reach(&clients, &door, 105).await;
    for client in &clients {
        client.suffers(Fault::SlowAt("eth_call", Duration::from_secs(1)));
    }
    let call = door.result("eth_call", json!([{}, "latest"]));
    let replaced = async {
        until("it was asked about the old block", || async {
            (asked_of(&clients, "eth_call") > 0).then_some(())
        })
        .await;
        for client in &clients {
            client.reorganises(101, 104);
        }
        door.reaches(104).await;
    };
    let (answer, ()) = tokio::join!(call, replaced);
    // By its number the old block may have been answered for from the new branch, higher than where
    // everybody is told that it ends.
    assert_eq!(number(&answer), 104);
}

#[tokio::test]
async fn g1_a_lower_branch_is_followed_at_once_if_all_show_it_and_else_once_it_is_higher() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    all_reach(&clients, &door, 105).await;
    for client in &clients {
        client.reorganises(101, 103);
    }
    door.reaches(103).await;

    clients[1].dies();
    until("one of them is known to be away", || async {
        (door.status_of("b").await["state"] == "Unreachable").then_some(())
    })
    .await;
    // Late on a branch that nobody saw, or ahead on a new one: who could tell?
    clients[0].reorganises(100, 102);
    let looked = clients[0].asked("eth_getBlockByNumber");
    until("it was looked at where the other one stands", || async {
        (clients[0].asked("eth_getBlockByNumber") > looked + 3).then_some(())
    })
    .await;
    assert_eq!(door.block_number().await, 103);
    clients[0].is_at(104);
    door.reaches(104).await;
    let block = door
        .result("eth_getBlockByNumber", json!(["latest", false]))
        .await;
    assert_eq!(block["hash"], json!(hash_of(104, 2)));
}

#[tokio::test]
async fn g1_a_block_that_one_of_three_has_before_the_others_is_not_told_of_yet() {
    let clients = upstreams(3).await;
    let transaction = keccak256("it is in block 101");
    clients[0].is_at(101).has_mined(transaction, 101);
    let door = Door::before(&clients).await;
    assert_eq!(door.block_number().await, 100);
    for _ in 0..3 {
        for (method, params) in [
            ("eth_getBlockByNumber", json!(["0x65", false])),
            ("eth_getBlockByHash", json!([hash_of(101, 0), false])),
            ("eth_getTransactionReceipt", json!([transaction])),
        ] {
            let answer = door.result(method, params).await;
            assert_eq!(answer, Value::Null, "{method}");
        }
        let answer = door.ask("eth_call", json!([{}, "0x65"])).await;
        assert_eq!(answer["error"]["code"], -32000, "{answer}");
        assert_eq!(door.block_number().await, 100);
    }
    clients[1].is_at(101).has_mined(transaction, 101);
    door.reaches(101).await;
    let receipt = door
        .result("eth_getTransactionReceipt", json!([transaction]))
        .await;
    assert_eq!(receipt["blockNumber"], "0x65");
}

#[tokio::test]
async fn g1_a_transaction_that_waits_is_seen_by_all_if_any_upstream_heard_of_it() {
    let clients = upstreams(3).await;
    let transaction = keccak256("it waits");
    clients[1].hears_of(transaction);
    let door = Door::before(&clients).await;
    for _ in 0..12 {
        let found = door
            .result("eth_getTransactionByHash", json!([transaction]))
            .await;
        assert_eq!(found["hash"], json!(transaction));
        // Too low a nonce would replace it.
        let nonce = door
            .result("eth_getTransactionCount", json!(["0x00", "pending"]))
            .await;
        assert_eq!(nonce, "0x6");
    }
    let unknown = keccak256("nobody heard of it");
    let nothing = door
        .result("eth_getTransactionByHash", json!([unknown]))
        .await;
    assert_eq!(nothing, Value::Null);
}

#[tokio::test]
async fn g1_all_of_a_batch_is_about_one_block_while_the_chain_goes_on() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for client in &clients {
        client.suffers(Fault::SlowAt("eth_getBalance", Duration::from_millis(500)));
    }
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": ["0x00", "latest"]},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_blockNumber", "params": []},
        {"jsonrpc": "2.0", "id": 3, "method": "eth_getBlockByNumber", "params": ["latest", false]},
        {"jsonrpc": "2.0", "id": 4, "method": "eth_getLogs", "params": [{}]},
    ]);
    let goes_on = async {
        until("the balance is asked for", || async {
            (asked_of(&clients, "eth_getBalance") > 0).then_some(())
        })
        .await;
        for client in &clients {
            client.is_at(101);
        }
    };
    let (answer, ()) = tokio::join!(door.post(batch.to_string()), goes_on);
    let answers: Vec<Value> = serde_json::from_str(&answer).unwrap();
    let results: Vec<&Value> = answers.iter().map(|answer| &answer["result"]).collect();
    assert_eq!(
        [
            results[0],
            results[1],
            &results[2]["number"],
            &results[3][0]["blockNumber"]
        ],
        [&json!("0x64"); 4],
        "{answer}"
    );
    door.reaches(101).await;
}

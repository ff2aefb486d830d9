//! Logs proven by the receipts of their blocks.

use dodona_rpc::gateway::{GatewayConfig, LogsMode};
use dodona_testkit::until;
use serde_json::{Value, json};

use super::upstream::{Receipts, Upstream, hash_of};
use super::{Door, Socket, asked_of, upstreams};

/// Clients of a chain whose blocks have two like logs each, which give receipts in these ways.
async fn with_receipts(how: &[Receipts], mode: LogsMode) -> (Vec<Upstream>, Door) {
    let clients = upstreams(how.len()).await;
    for (client, how) in clients.iter().zip(how) {
        client.has_twins().has_receipts(*how);
    }
    let config = GatewayConfig {
        logs_mode: mode,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    (clients, door)
}

fn all_are_at(clients: &[Upstream], block: u64) {
    clients.iter().for_each(|client| {
        client.is_at(block);
    });
}

/// Both logs of the next block are told.
async fn both_are_told(socket: &mut Socket, block: u64) {
    for index in ["0x0", "0x1"] {
        let (_, log) = socket.told().await;
        let of = json!([hash_of(block, 0), index]);
        assert_eq!(json!([log["blockHash"], log["logIndex"]]), of);
    }
}

#[tokio::test]
async fn a_last_log_that_neither_bloom_nor_numbers_tell_of_is_never_missed() {
    // Whoever leaves it out is asked first or last, and the honest one takes numbers only.
    for liar in [0, 1] {
        let mut how = [Receipts::ByHash; 2];
        how[1 - liar] = Receipts::ByNumber;
        let (clients, door) = with_receipts(&how, LogsMode::Verified).await;
        clients[liar].hides_twin(Some(1));
        let mut socket = door.socket().await;
        socket.subscribe(json!(["logs", {}])).await;
        let filter = door.result("eth_newFilter", json!([{}])).await;
        for block in 101..=110 {
            all_are_at(&clients, block);
            both_are_told(&mut socket, block).await;
        }
        let changes = door.result("eth_getFilterChanges", json!([filter])).await;
        assert_eq!(changes.as_array().unwrap().len(), 20);
        let status = door.logs_status().await;
        assert_eq!(status["blocksNotProven"], 0, "{status}");
        assert!(status["blocksProven"].as_u64() >= Some(10), "{status}");
    }
}

#[tokio::test]
async fn whose_receipts_do_not_fit_while_anothers_do_is_named_and_asked_last() {
    let clients = upstreams(2).await;
    for client in &clients {
        client.has_twins().has_receipts(Receipts::ByHash);
    }
    clients[0].hides_twin(Some(1));
    let config = GatewayConfig {
        logs_mode: LogsMode::Verified,
        ..GatewayConfig::default()
    };
    // Whoever is preferred is asked first.
    let door = Door::with(&clients, config, |pool| pool.nodes[0].order = 1).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["logs", {}])).await;
    all_are_at(&clients, 101);
    both_are_told(&mut socket, 101).await;
    let why = door.status_of("a").await["notAsked"].to_string();
    assert!(
        why.contains("that do not make the root in its header"),
        "{why}"
    );
    let asked = clients[0].asked("eth_getBlockReceipts");
    for block in 102..=111 {
        all_are_at(&clients, block);
        both_are_told(&mut socket, block).await;
    }
    // Where the other one was late, it may have been asked as well.
    let again = clients[0].asked("eth_getBlockReceipts") - asked;
    assert!(again < 10, "asked {again} times");
}

#[tokio::test]
async fn a_block_is_asked_for_its_receipts_once_and_for_its_logs_not_at_all() {
    let (clients, door) = with_receipts(&[Receipts::ByHash], LogsMode::Verified).await;
    let (mut one, mut two) = (door.socket().await, door.socket().await);
    let elsewhere = json!({"address": "0x2222222222222222222222222222222222222222"});
    for socket in [&mut one, &mut two] {
        socket.subscribe(json!(["logs", elsewhere])).await;
        socket.subscribe(json!(["logs", {}])).await;
    }
    for block in 101..=103 {
        all_are_at(&clients, block);
        both_are_told(&mut one, block).await;
        both_are_told(&mut two, block).await;
    }
    assert_eq!(asked_of(&clients, "eth_getBlockReceipts"), 3);
    // Somebody who asks for the logs of one of these blocks gets what is proven.
    let filter = json!([{ "blockHash": hash_of(102, 0) }]);
    clients[0].hides_logs(true);
    let logs = door.result("eth_getLogs", filter).await;
    assert_eq!(logs.as_array().unwrap().len(), 2);
    let none = json!([{ "blockHash": hash_of(102, 0), "address": elsewhere["address"] }]);
    assert_eq!(door.result("eth_getLogs", none).await, json!([]));
}

#[tokio::test]
async fn a_block_that_nobody_looks_for_logs_in_costs_no_question() {
    let (clients, door) = with_receipts(&[Receipts::ByHash], LogsMode::Verified).await;
    let mut socket = door.socket().await;
    let elsewhere = json!({"address": "0x2222222222222222222222222222222222222222"});
    socket.subscribe(json!(["logs", elsewhere])).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    for block in 101..=105 {
        all_are_at(&clients, block);
        assert_eq!(socket.told().await.0, heads);
    }
    assert_eq!(asked_of(&clients, "eth_getBlockReceipts"), 0);
}

/// What the status says of logs once it says this, while blocks come.
async fn says(clients: &[Upstream], door: &Door, socket: &mut Socket, why: Value) -> Value {
    let mut block = 100;
    loop {
        block += 1;
        assert!(block < 130, "{}", door.logs_status().await);
        all_are_at(clients, block);
        both_are_told(socket, block).await;
        let status = door.logs_status().await;
        if status["whyNot"] == why {
            return status;
        }
    }
}

#[tokio::test]
async fn a_chain_whose_receipts_prove_nothing_is_found_out_said_so_and_works() {
    let how = [Receipts::OtherRoot, Receipts::OtherRoot];
    let (clients, door) = with_receipts(&how, LogsMode::Verified).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["logs", {}])).await;
    let why = "this chain's receipts do not make the root in its headers";
    let status = says(&clients, &door, &mut socket, json!(why)).await;
    assert_eq!(status["verified"], false);
    assert_eq!(status["blocksProven"], 0);
    assert!(door.get("/").await.1.contains(why));
    // Nobody is blamed for what the chain does, and nobody asked in vain any more.
    for name in ["a", "b"] {
        assert_eq!(door.status_of(name).await["notAsked"], json!([]));
    }
    let asked = asked_of(&clients, "eth_getBlockReceipts");
    all_are_at(&clients, 115);
    while socket.told().await.1["blockHash"] != json!(hash_of(115, 0)) {}
    assert_eq!(asked_of(&clients, "eth_getBlockReceipts"), asked);
}

#[tokio::test]
async fn where_no_upstream_has_receipts_or_no_root_is_named_it_is_said_and_works() {
    for (how, why) in [
        (
            Some(Receipts::Lacks),
            "no upstream has eth_getBlockReceipts",
        ),
        (None, "this chain's headers name no root of receipts"),
    ] {
        let clients = upstreams(2).await;
        for client in &clients {
            client.has_twins();
            how.map(|how| client.has_receipts(how));
        }
        let door = Door::before(&clients).await;
        let mut socket = door.socket().await;
        socket.subscribe(json!(["logs", {}])).await;
        let status = says(&clients, &door, &mut socket, json!(why)).await;
        assert_eq!(status["verified"], false);
    }
}

#[tokio::test]
async fn who_does_not_want_receipts_to_be_asked_for_says_so() {
    let (clients, door) = with_receipts(&[Receipts::ByHash], LogsMode::Derive).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["logs", {}])).await;
    let status = says(&clients, &door, &mut socket, json!("logs_mode says so")).await;
    assert_eq!(status["verified"], false);
    assert_eq!(asked_of(&clients, "eth_getBlockReceipts"), 0);
}

#[tokio::test]
async fn an_upstream_that_invents_a_log_is_not_believed_against_two_that_do_not() {
    // It is like another one: the bloom is the same, and the numbers have no gap.
    let clients = upstreams(3).await;
    clients[2].invents_a_log();
    let door = Door::before(&clients).await;
    for block in 101..=110 {
        all_are_at(&clients, block);
        door.reaches(block).await;
    }
    until("it is suspected", || async {
        let why = door.status_of("c").await["notAsked"].to_string();
        why.contains("it gave other logs of block").then_some(())
    })
    .await;
    for name in ["a", "b"] {
        assert_eq!(door.status_of(name).await["notAsked"], json!([]));
    }
    for _ in 0..10 {
        let filter = json!([{"fromBlock": "0x65", "toBlock": "0x6e"}]);
        let logs = door.result("eth_getLogs", filter).await;
        assert_eq!(logs.as_array().unwrap().len(), 10);
    }
}

#[tokio::test]
async fn of_two_that_disagree_receipts_prove_who_invents_a_log() {
    let clients = upstreams(2).await;
    clients[0].has_receipts(Receipts::ByHash);
    clients[1].has_receipts(Receipts::ByHash).invents_a_log();
    let config = GatewayConfig {
        logs_mode: LogsMode::Verified,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    for block in 101..=110 {
        all_are_at(&clients, block);
        door.reaches(block).await;
    }
    until("it is suspected", || async {
        let why = door.status_of("b").await["notAsked"].to_string();
        why.contains("it gave other logs of block").then_some(())
    })
    .await;
    assert_eq!(door.status_of("a").await["notAsked"], json!([]));
}

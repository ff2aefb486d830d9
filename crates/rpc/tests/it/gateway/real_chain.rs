//! The gateway in front of a real chain, with heads by subscription.

use std::time::Duration;

use dodona_rpc::gateway::GatewayConfig;
use dodona_rpc::{NodeConfig, PoolConfig};
use dodona_testkit::anvil::{Anvil, Options};
use serde_json::{Value, json};

use super::{Door, number};

async fn in_front_of(anvil: &Anvil) -> Door {
    let node = NodeConfig {
        ws_url: Some(anvil.ws_url().parse().unwrap()),
        ..NodeConfig::primary("anvil", anvil.http_url().parse().unwrap())
    };
    let pool = PoolConfig {
        poll_interval: Duration::from_millis(500),
        ..PoolConfig::new(31337, vec![node])
    };
    Door::open(pool, GatewayConfig::default()).await
}

#[tokio::test]
async fn heads_and_reads_of_a_real_chain_agree() {
    let anvil = Anvil::start(Options::blocks_on_demand()).await;
    let door = in_front_of(&anvil).await;
    let mut socket = door.socket().await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    for block in 1..=5 {
        anvil.mine(1).await;
        let (of, head) = socket.told().await;
        assert_eq!((of, number(&head["number"])), (heads.clone(), block));
        // Whoever was told of a block can read it.
        assert_eq!(door.block_number().await, block);
        let read = door
            .result("eth_getBlockByHash", json!([head["hash"], false]))
            .await;
        assert_eq!(read["stateRoot"], head["stateRoot"]);
    }
    let logs = door
        .result("eth_getLogs", json!([{"fromBlock": "earliest"}]))
        .await;
    assert_eq!(logs, json!([]));
}

#[tokio::test]
async fn a_development_chain_that_is_put_back_is_followed_at_once_and_what_left_is_told() {
    let anvil = Anvil::start(Options::blocks_on_demand()).await;
    let door = in_front_of(&anvil).await;
    anvil.mine(3).await;
    door.reaches(3).await;
    let snapshot = anvil.snapshot().await;
    anvil.mine(4).await;
    door.reaches(7).await;
    let left = door
        .result("eth_getBlockByNumber", json!(["0x4", false]))
        .await;
    let filter = door.result("eth_newBlockFilter", json!([])).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;

    let began = std::time::Instant::now();
    anvil.revert(snapshot).await;
    door.reaches(3).await;
    // Long before the half minute a lagging client of a real chain is waited for.
    assert!(began.elapsed() < Duration::from_secs(15));
    let gone = door
        .result("eth_getBlockByNumber", json!(["0x4", false]))
        .await;
    assert!(gone.is_null(), "{gone}");

    anvil.mine(1).await;
    let (_, head) = socket.told().await;
    assert_eq!(number(&head["number"]), 4);
    let now = door
        .result("eth_getBlockByNumber", json!(["0x4", false]))
        .await;
    assert_eq!(now["hash"], head["hash"]);
    let told = door.result("eth_getFilterChanges", json!([filter])).await;
    assert_eq!(told, json!([head["hash"]]));
    assert_eq!(left["number"], now["number"]);
}

#[tokio::test]
async fn nothing_that_was_kept_of_a_development_chain_outlives_its_being_put_back() {
    let anvil = Anvil::start(Options::blocks_on_demand()).await;
    let door = in_front_of(&anvil).await;
    let snapshot = anvil.snapshot().await;
    // Deep enough below the tip to be called final.
    anvil.mine(200).await;
    door.reaches(200).await;
    let block = || door.result("eth_getBlockByNumber", json!(["0x32", false]));
    let before = block().await;
    assert_eq!(block().await, before);
    anvil.revert(snapshot).await;
    door.reaches(0).await;
    anvil.mine(300).await;
    door.reaches(300).await;
    let of_the_chain: Value = anvil
        .rpc("eth_getBlockByNumber", json!(["0x32", false]))
        .await;
    assert_ne!(of_the_chain["hash"], before["hash"]);
    assert_eq!(block().await["hash"], of_the_chain["hash"]);
}

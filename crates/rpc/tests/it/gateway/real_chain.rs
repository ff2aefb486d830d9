//! The gateway in front of a real chain, with heads by subscription.

use std::time::Duration;

use dodona_rpc::gateway::GatewayConfig;
use dodona_rpc::{NodeConfig, PoolConfig};
use dodona_testkit::anvil::{Anvil, Options};
use serde_json::json;

use super::{Door, number};

#[tokio::test]
async fn heads_and_reads_of_a_real_chain_agree() {
    let anvil = Anvil::start(Options::blocks_on_demand()).await;
    let node = NodeConfig {
        ws_url: Some(anvil.ws_url().parse().unwrap()),
        ..NodeConfig::primary("anvil", anvil.http_url().parse().unwrap())
    };
    let pool = PoolConfig {
        poll_interval: Duration::from_millis(500),
        ..PoolConfig::new(31337, vec![node])
    };
    let door = Door::open(pool, GatewayConfig::default()).await;
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

//! The gateway in front of a real chain, with heads by subscription.

use std::time::Duration;

use alloy::primitives::Address;
use dodona_rpc::gateway::{GatewayConfig, LogsMode};
use dodona_rpc::{NodeConfig, PoolConfig};
use dodona_testkit::anvil::{Anvil, Options};
use serde_json::{Value, json};

use super::{Door, number};

async fn in_front_of(anvil: &Anvil) -> Door {
    before(anvil, GatewayConfig::default()).await
}

async fn before(anvil: &Anvil, config: GatewayConfig) -> Door {
    let node = NodeConfig {
        ws_url: Some(anvil.ws_url().parse().unwrap()),
        ..NodeConfig::primary("anvil", anvil.http_url().parse().unwrap())
    };
    let pool = PoolConfig {
        poll_interval: Duration::from_millis(500),
        ..PoolConfig::new(31337, vec![node])
    };
    Door::open(pool, config).await
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

/// Creates what runs this: a contract that logs its call's data twice, the second time with a topic.
const CREATES_A_LOGGER: &str = "0x600d8060095f395ff3365f5f37365fa06042365fa100";

#[tokio::test]
async fn logs_of_a_real_chain_are_proven_by_its_receipts_and_headers_make_their_hashes() {
    let anvil = Anvil::start(Options::blocks_on_demand()).await;
    let config = GatewayConfig {
        logs_mode: LogsMode::Verified,
        ..GatewayConfig::default()
    };
    let door = before(&anvil, config).await;
    let accounts: Vec<Address> =
        serde_json::from_value(anvil.rpc("eth_accounts", json!([])).await).unwrap();
    let from = accounts[0];
    let send = |transaction: Value| {
        let anvil = &anvil;
        async move {
            anvil
                .rpc::<Value>("eth_sendTransaction", json!([transaction]))
                .await
        }
    };
    anvil.hold_blocks().await;
    send(json!({ "from": from, "data": CREATES_A_LOGGER, "gas": "0x30000" })).await;
    anvil.mine(1).await;
    let logger = from.create(0);
    let code: Value = anvil.rpc("eth_getCode", json!([logger, "latest"])).await;
    assert!(code.as_str().unwrap().len() > 10, "{code}");
    let mut socket = door.socket().await;
    socket
        .subscribe(json!(["logs", { "address": logger }]))
        .await;
    for block in 0..3_u64 {
        // Of every type an account can send, and one that fails.
        for n in 0..=20_u64 {
            let mut call = json!({
                "from": accounts[1 + usize::try_from(n % 5).unwrap()], "to": logger, "gas": "0x30000",
                "data": format!("0x{}", "ab".repeat(usize::try_from(n * 7).unwrap())),
            });
            match n % 3 {
                0 => call["gasPrice"] = json!("0x77359400"),
                1 => {
                    call["accessList"] = json!([]);
                    call["gasPrice"] = json!("0x77359400");
                }
                _ => {
                    call["maxFeePerGas"] = json!("0x77359400");
                    call["maxPriorityFeePerGas"] = json!("0x1");
                }
            }
            if n == 7 {
                // Enough to be taken and too little to log.
                call["gas"] = json!("0x59d8");
            }
            send(call).await;
        }
        anvil.mine(1).await;
        let of = json!([{ "fromBlock": "latest", "toBlock": "latest" }]);
        let logs: Value = anvil.rpc("eth_getLogs", of).await;
        let logs = logs.as_array().unwrap();
        assert_eq!(logs.len(), 40, "{block}: {logs:?}");
        for log in logs {
            let (_, told) = socket.told().await;
            assert_eq!(&told, log);
        }
    }
    let receipts: Value = anvil.rpc("eth_getBlockReceipts", json!(["latest"])).await;
    let mut types: Vec<&str> = receipts
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["type"].as_str())
        .collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types, ["0x0", "0x1", "0x2"]);
    let status = door.logs_status().await;
    let shown = json!({
        "verified": true, "whyNot": null, "blocksProven": 3, "blocksNotProven": 0, "headersMakeTheirHash": true,
    });
    assert_eq!(status, shown);
}

//! Settings that change while clients are connected, and a gateway that leaves in good order.

use std::time::Duration;

use dodona_rpc::gateway::{GatewayConfig, MethodRules};
use dodona_testkit::until;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::upstream::hash_of;
use super::{Door, first_block_is_asked_of, pool_of, upstreams};

fn usual(door: &Door) -> GatewayConfig {
    GatewayConfig {
        listen: door.address,
        ..GatewayConfig::default()
    }
}

#[tokio::test]
async fn a_reload_to_other_upstreams_loses_no_request_and_no_event() {
    let clients = upstreams(4).await;
    let door = Door::before(&clients[..2]).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    let mut logs = door.socket().await;
    logs.subscribe(json!(["logs", {}])).await;
    let filter = door.result("eth_newBlockFilter", json!([])).await;

    let changed = std::cell::Cell::new(false);
    let asking = async {
        let mut asked = 0;
        while !changed.get() || asked < 20 {
            let answer = door.ask("eth_call", json!([{}, "latest"])).await;
            assert!(answer.get("error").is_none(), "{answer}");
            asked += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        asked
    };
    let changing = async {
        for (round, block) in (101..=106).enumerate() {
            clients.iter().for_each(|client| {
                client.is_at(block);
            });
            let half = if round % 2 == 0 {
                &clients[2..]
            } else {
                &clients[..2]
            };
            let reloaded = door
                .gateway
                .reload(pool_of(half), usual(&door))
                .await
                .unwrap();
            assert!(reloaded.upstreams_changed);
            assert_eq!(reloaded.generation, round as u64 + 2);
        }
        changed.set(true);
    };
    let (asked, ()) = tokio::join!(asking, changing);
    assert!(asked >= 20);
    for block in 101..=106 {
        assert_eq!(socket.told().await.1["hash"], json!(hash_of(block, 0)));
        assert_eq!(logs.told().await.1["blockHash"], json!(hash_of(block, 0)));
    }
    let told = door.result("eth_getFilterChanges", json!([filter])).await;
    let expected: Vec<_> = (101..=106).map(|block| hash_of(block, 0)).collect();
    assert_eq!(told, json!(expected));

    // Those that were taken out are not asked any more, and may go.
    clients[2].dies();
    clients[3].dies();
    clients[0].is_at(107);
    assert_eq!(socket.told().await.1["hash"], json!(hash_of(107, 0)));
    assert_eq!(logs.told().await.1["blockHash"], json!(hash_of(107, 0)));
}

#[tokio::test]
async fn connections_that_are_open_are_under_the_new_settings_with_their_next_request() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    assert!(socket.ask("eth_gasPrice", json!([])).await["error"].is_null());
    let config = GatewayConfig {
        methods: MethodRules {
            only: vec!["eth_blockNumber".to_owned()],
            ..MethodRules::default()
        },
        ..usual(&door)
    };
    let reloaded = door
        .gateway
        .reload(pool_of(&clients), config)
        .await
        .unwrap();
    assert!(!reloaded.upstreams_changed);
    until("the socket is under the new settings", || async {
        let answer = door.ask("eth_gasPrice", json!([])).await;
        answer["error"]["message"]
            .as_str()
            .map(|text| assert!(text.contains("not allowed here")))
    })
    .await;
    let refused = socket.ask("eth_gasPrice", json!([])).await;
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not allowed here")
    );
    assert!(socket.ask("eth_blockNumber", json!([])).await["error"].is_null());
}

#[tokio::test]
async fn settings_that_are_not_right_change_nothing_and_are_told() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients[..1]).await;
    let mut other_chain = pool_of(&clients);
    other_chain.chain_id = 5;
    let error = door
        .gateway
        .reload(other_chain, usual(&door))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("start another one"), "{error}");
    let mut none = pool_of(&clients);
    none.nodes.clear();
    let error = door.gateway.reload(none, usual(&door)).await.unwrap_err();
    assert!(error.to_string().contains("no primary endpoint"), "{error}");
    let open = GatewayConfig {
        listen: "0.0.0.0:1".parse().unwrap(),
        ..usual(&door)
    };
    // The address cannot change while it runs; that is said and the rest is applied.
    let reloaded = door
        .gateway
        .reload(pool_of(&clients[..1]), open)
        .await
        .unwrap();
    assert_eq!(reloaded.not_applied, ["listen"]);
    door.gateway.reload_failed("the file is not TOML");
    let status: Value = serde_json::from_str(&door.get("/status").await.1).unwrap();
    assert_eq!(status["reloadRefused"], "the file is not TOML");
    assert_eq!(status["generation"], 2);
    assert_eq!(door.block_number().await, 100);
}

#[tokio::test]
async fn a_gateway_told_to_stop_says_so_first_and_answers_meanwhile_and_then_takes_its_leave() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        drain_notice: Some(Duration::from_secs(1)),
        ..GatewayConfig::default()
    };
    let mut door = Door::with(&clients, config, |_| {}).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["newHeads"])).await;
    door.stop.take().unwrap().send(()).unwrap();
    until("it says that it is not ready", || async {
        (door.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    // Whoever comes before balancers have noticed is answered.
    assert_eq!(door.block_number().await, 100);
    assert_eq!(door.get("/health").await.0, 200);
    let frame = loop {
        match socket.socket.next().await.unwrap().unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            _ => continue,
        }
    };
    assert_eq!(u16::from(frame.code), 1001);
    let _ = socket.socket.close(None).await;
    (&mut door.running).await.unwrap();
    assert!(tokio::net::TcpStream::connect(door.address).await.is_err());
}

#[tokio::test]
async fn an_upstream_that_begins_elsewhere_is_refused_at_a_reload_for_that_reason() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients[..1]).await;
    clients[1].begins_elsewhere(true).is_at(200);
    // What it begins with is compared once somebody has said what the chain begins with.
    first_block_is_asked_of(&clients[0]).await;
    let refused = door
        .gateway
        .reload(pool_of(&clients[1..]), usual(&door))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("its first block is"), "{refused}");
    assert!(!refused.contains("behind"), "{refused}");
    assert_eq!(door.block_number().await, 100);
    assert_eq!(clients[1].asked("eth_call"), 0);
}

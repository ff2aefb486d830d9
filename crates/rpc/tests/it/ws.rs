//! Heads by subscription: quick while it works, not missed when it does not.

use std::time::Duration;

use dodona_rpc::{NodeConfig, NodeState, Pool, PoolConfig, RpcError};
use dodona_testkit::until;
use serde_json::json;

use crate::scripted::Scripted;
use crate::{Watched, config, reaches, watched};

/// Subscribed; polls are too rare to help unless `poll_interval` says otherwise.
fn subscribed(node: NodeConfig, poll_interval: Duration) -> Watched {
    watched(
        Pool::new(PoolConfig {
            new_heads_poll_interval: Duration::ZERO,
            poll_interval,
            ..config(vec![node])
        })
        .unwrap(),
    )
}

fn both(server: &Scripted) -> NodeConfig {
    NodeConfig {
        ws_url: Some(server.ws()),
        ..NodeConfig::primary("a", server.http())
    }
}

async fn shown(pool: &Pool, number: u64) {
    let heads = pool.new_heads();
    until(&format!("head {number} is shown"), || async {
        (heads.borrow().as_ref()?.number == number).then_some(())
    })
    .await;
}

#[tokio::test]
async fn heads_come_by_subscription() {
    let server = Scripted::start().await;
    let pool = subscribed(both(&server), Duration::ZERO);
    until("it is subscribed", || async {
        (server.subscribers() == 1).then_some(())
    })
    .await;
    shown(&pool, 100).await;
    server.shows(101);
    shown(&pool, 101).await;
    // A lower one of another branch is a reorganisation.
    server.is_at(99).reorganises(98);
    shown(&pool, 99).await;
    assert_eq!(pool.nodes()[0].reason, None);
}

#[tokio::test]
async fn an_endpoint_with_a_web_socket_alone_answers_everything_over_it() {
    let server = Scripted::start().await;
    server.answers("eth_getBalance", json!("0x7"));
    let pool = subscribed(NodeConfig::primary("a", server.ws()), Duration::ZERO);
    // Asked before the connection is up: waits for it.
    assert_eq!(pool.latest_block().await.unwrap().number, 100);
    let accounts = vec![alloy::primitives::Address::ZERO; 100];
    assert_eq!(pool.balances(&accounts).await.unwrap().len(), 100);
    server.shows(102);
    shown(&pool, 102).await;
}

#[tokio::test]
async fn a_lost_subscription_is_made_again_and_what_was_missed_is_seen() {
    let server = Scripted::start().await;
    let pool = subscribed(NodeConfig::primary("a", server.ws()), Duration::ZERO);
    until("it is subscribed", || async {
        (server.subscribers() == 1).then_some(())
    })
    .await;
    server.closes_sockets();
    until("it is gone", || async {
        (server.subscribers() == 0).then_some(())
    })
    .await;
    server.is_at(105);
    shown(&pool, 105).await;
    until("it is subscribed again", || async {
        (server.subscribers() == 1).then_some(())
    })
    .await;
    server.shows(106);
    shown(&pool, 106).await;
}

#[tokio::test]
async fn without_its_web_socket_an_endpoint_is_polled_and_says_so() {
    let (http, ws) = (Scripted::start().await, Scripted::start().await);
    ws.says(503, "no sockets today");
    let node = NodeConfig {
        ws_url: Some(ws.ws()),
        ..NodeConfig::primary("a", http.http())
    };
    let pool = subscribed(node, Duration::ZERO);
    reaches(&pool, "a", NodeState::Alive).await;
    http.is_at(101);
    shown(&pool, 101).await;
    let reason = pool.nodes()[0].reason.clone().unwrap();
    assert!(
        reason.contains("WebSocket is down") && reason.contains("503"),
        "{reason}"
    );
    ws.recovers();
    until("the socket is back", || async {
        pool.nodes()[0].reason.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_subscription_that_dies_silently_is_noticed_and_replaced() {
    let server = Scripted::start().await;
    let pool = subscribed(both(&server), Duration::from_millis(100));
    until("it is subscribed", || async {
        (server.subscribers() == 1).then_some(())
    })
    .await;
    let before = server.asked("eth_subscribe");
    // Blocks go on, notifications do not.
    let mut block = 100;
    until("it subscribes again", || {
        block += 1;
        server.is_at(block);
        async { (server.asked("eth_subscribe") > before).then_some(()) }
    })
    .await;
    shown(&pool, block).await;
}

#[tokio::test]
async fn a_web_socket_of_another_chain_is_not_listened_to() {
    let (http, ws) = (Scripted::start().await, Scripted::start().await);
    ws.belongs_to(5).is_at(999);
    let node = NodeConfig {
        ws_url: Some(ws.ws()),
        ..NodeConfig::primary("a", http.http())
    };
    let pool = subscribed(node, Duration::ZERO);
    reaches(&pool, "a", NodeState::Alive).await;
    let reason = until("its reason is told", || async {
        pool.nodes()[0].reason.clone()
    })
    .await;
    assert!(
        reason.contains("WebSocket is down") && reason.contains("chain 5"),
        "{reason}"
    );
    http.is_at(101);
    shown(&pool, 101).await;
    assert_eq!(ws.asked("eth_subscribe"), 0);
}

#[tokio::test]
async fn an_endpoint_of_another_chain_behind_a_web_socket_alone_is_not_used() {
    let server = Scripted::start().await;
    server.belongs_to(5);
    let pool = subscribed(NodeConfig::primary("a", server.ws()), Duration::ZERO);
    let reason = reaches(&pool, "a", NodeState::InvalidChainId)
        .await
        .unwrap();
    assert!(reason.contains("chain 5"), "{reason}");
    assert!(pool.latest_block().await.is_err());
    assert_eq!(
        (
            server.asked("eth_getBlockByNumber"),
            pool.new_heads().borrow().is_some()
        ),
        (0, false)
    );
    server.belongs_to(crate::scripted::CHAIN);
    reaches(&pool, "a", NodeState::Alive).await;
}

#[tokio::test]
async fn a_web_socket_that_takes_no_subscriptions_is_polled() {
    let server = Scripted::start().await;
    server.refuses(
        "eth_subscribe",
        -32601,
        "the method eth_subscribe does not exist",
    );
    let pool = subscribed(NodeConfig::primary("a", server.ws()), Duration::ZERO);
    reaches(&pool, "a", NodeState::Alive).await;
    server.is_at(104);
    shown(&pool, 104).await;
}

#[tokio::test]
async fn rubbish_on_the_socket_does_not_end_it() {
    let server = Scripted::start().await;
    let pool = subscribed(both(&server), Duration::ZERO);
    until("it is subscribed", || async {
        (server.subscribers() == 1).then_some(())
    })
    .await;
    for rubbish in [
        "not json",
        "[]",
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"no id"}}"#,
        r#"{"jsonrpc":"2.0","id":123456,"result":1}"#,
        r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x1","result":{"number":"0x1"}}}"#,
    ] {
        server.tells_sockets(rubbish);
    }
    server.shows(103);
    shown(&pool, 103).await;
    assert_eq!(server.asked("eth_subscribe"), 1);
}

#[tokio::test]
async fn calls_waiting_on_a_connection_that_breaks_are_told_at_once() {
    let server = Scripted::start().await;
    let node = NodeConfig::primary("a", server.ws());
    let config = PoolConfig {
        new_heads_poll_interval: Duration::ZERO,
        poll_interval: Duration::ZERO,
        request_timeout: Duration::from_secs(20),
        ..config(vec![node])
    };
    let pool = watched(Pool::new(config).unwrap());
    pool.latest_block().await.unwrap();
    server.hangs();
    let asking = tokio::spawn({
        let pool = Pool::clone(&pool);
        async move { pool.gas_price().await }
    });
    tokio::task::yield_now().await;
    until("the question is on its way", || async {
        (pool.nodes()[0].calls > 0).then_some(())
    })
    .await;
    let started = std::time::Instant::now();
    server.closes_sockets();
    let error = asking.await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            RpcError::Unreachable { .. } | RpcError::NoLiveNode { .. }
        ),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

//! How endpoints fall out of use and come back.

use std::time::Duration;

use dodona_rpc::{NodeConfig, NodeState, Pool, PoolConfig};
use dodona_testkit::until;
use serde_json::json;

use crate::scripted::Scripted;
use crate::{config, nodes_of, pool_of, reaches, watched};

#[tokio::test]
async fn a_watched_endpoint_becomes_alive_and_shows_its_heads() {
    let server = Scripted::start().await;
    let pool = watched(pool_of(&[&server]));
    reaches(&pool, "a", NodeState::Alive).await;
    let mut heads = pool.new_heads();
    server.is_at(107);
    let head = heads
        .wait_for(|head| head.as_ref().is_some_and(|head| head.number == 107))
        .await
        .unwrap()
        .clone();
    assert_eq!(
        head.unwrap().hash,
        format!("0x{:064x}", 107)
            .parse::<alloy::primitives::B256>()
            .unwrap()
    );
    let status = &pool.nodes()[0];
    assert_eq!(
        (status.highest_head, status.client_version.as_deref()),
        (Some(107), Some("scripted/1"))
    );
    assert!(status.last_head_age.unwrap() < Duration::from_secs(30));
    assert!(status.calls > 0 && status.latency.is_some());
}

#[tokio::test]
async fn an_endpoint_that_stops_answering_is_unreachable_until_it_answers_again() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    two.answers("eth_gasPrice", json!("0x2"));
    let pool = watched(pool_of(&[&one, &two]));
    reaches(&pool, "a", NodeState::Alive).await;
    reaches(&pool, "b", NodeState::Alive).await;
    one.says(502, "Bad Gateway");
    let reason = reaches(&pool, "a", NodeState::Unreachable).await.unwrap();
    assert!(reason.contains("HTTP 502 Bad Gateway"), "{reason}");
    let asked = one.asked("eth_gasPrice");
    assert_eq!(pool.gas_price().await.unwrap(), 2);
    assert_eq!(
        one.asked("eth_gasPrice"),
        asked,
        "an unreachable endpoint was asked"
    );
    assert!(pool.nodes()[1].active);
    one.recovers();
    reaches(&pool, "a", NodeState::Alive).await;
}

#[tokio::test]
async fn the_only_endpoint_is_asked_again_the_moment_it_is_back() {
    let server = Scripted::start().await;
    server.answers("eth_gasPrice", json!("0x2"));
    // Nobody watches: callers alone notice, and callers alone bring it back.
    let pool = pool_of(&[&server]);
    assert_eq!(pool.gas_price().await.unwrap(), 2);
    server.says(502, "Bad Gateway");
    until("it is unreachable", || async {
        assert!(pool.gas_price().await.is_err());
        (pool.nodes()[0].state == NodeState::Unreachable).then_some(())
    })
    .await;
    server.recovers();
    until("it answers", || async { pool.gas_price().await.ok() }).await;
    assert_eq!(pool.nodes()[0].state, NodeState::Alive);
}

#[tokio::test]
async fn an_endpoint_that_turns_into_another_chain_is_no_longer_used() {
    let server = Scripted::start().await;
    let pool = watched(pool_of(&[&server]));
    reaches(&pool, "a", NodeState::Alive).await;
    server.belongs_to(5);
    let reason = reaches(&pool, "a", NodeState::InvalidChainId)
        .await
        .unwrap();
    assert!(reason.contains("chain 5"), "{reason}");
    assert!(pool.latest_block().await.is_err());
    server.belongs_to(crate::scripted::CHAIN);
    reaches(&pool, "a", NodeState::Alive).await;
}

#[tokio::test]
async fn an_endpoint_behind_the_others_is_out_of_sync_until_it_catches_up() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let pool = watched(
        Pool::new(PoolConfig {
            sync_threshold: 5,
            ..config(nodes_of(&[&one, &two]))
        })
        .unwrap(),
    );
    reaches(&pool, "a", NodeState::Alive).await;
    reaches(&pool, "b", NodeState::Alive).await;
    two.is_at(106);
    let reason = reaches(&pool, "a", NodeState::OutOfSync).await.unwrap();
    assert_eq!(
        reason,
        "it is 6 blocks behind the best endpoint (100 instead of 106)"
    );
    until("the newest block is that of the others", || async {
        (pool.latest_block().await.unwrap().number == 106).then_some(())
    })
    .await;
    // Just within the limit is not enough.
    one.is_at(104);
    reaches(&pool, "a", NodeState::Alive).await;
}

#[tokio::test]
async fn the_last_endpoint_without_new_heads_says_so_and_stays_in_use() {
    let server = Scripted::start().await;
    let pool = Pool::new(PoolConfig {
        no_new_heads_threshold: Duration::from_millis(300),
        ..config(nodes_of(&[&server]))
    });
    let pool = watched(pool.unwrap());
    let reason = reaches(&pool, "a", NodeState::OutOfSync).await.unwrap();
    assert!(reason.starts_with("no new head for"), "{reason}");
    assert_eq!(pool.latest_block().await.unwrap().number, 100);
    server.is_at(101);
    reaches(&pool, "a", NodeState::Alive).await;
}

#[tokio::test]
async fn a_hint_is_not_taken_back_by_an_endpoint_that_lags() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    one.is_at(100);
    two.is_at(103);
    let pool = watched(pool_of(&[&one, &two]));
    reaches(&pool, "a", NodeState::Alive).await;
    reaches(&pool, "b", NodeState::Alive).await;
    let heads = pool.new_heads();
    until("the higher head is shown", || async {
        (heads.borrow().as_ref()?.number == 103).then_some(())
    })
    .await;
    let before = one.asked("eth_getBlockByNumber");
    until("the lagging endpoint was polled again", || async {
        (one.asked("eth_getBlockByNumber") > before + 2).then_some(())
    })
    .await;
    assert_eq!(heads.borrow().as_ref().unwrap().number, 103);
    // But a reorganisation takes it back that both of them show.
    one.is_at(102).reorganises(101);
    two.is_at(102).reorganises(101);
    until("the reorganisation is shown", || async {
        (heads.borrow().as_ref()?.number == 102).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_send_only_endpoint_is_verified_once_and_left_alone() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let send_only = NodeConfig {
        send_only: true,
        ..NodeConfig::primary("s", two.http())
    };
    let pool = watched(crate::pool(vec![
        NodeConfig::primary("a", one.http()),
        send_only,
    ]));
    reaches(&pool, "s", NodeState::Alive).await;
    let asked = two.asked("eth_chainId");
    until("the primary was polled a few times", || async {
        (one.asked("eth_getBlockByNumber") > 5).then_some(())
    })
    .await;
    assert_eq!(
        (two.asked("eth_chainId"), two.asked("eth_getBlockByNumber")),
        (asked, 0)
    );
}

#[tokio::test]
async fn watching_ends_when_told_to() {
    let server = Scripted::start().await;
    let pool = pool_of(&[&server]);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(pool.clone().run(async move {
        let _ = stopped.await;
    }));
    reaches(&pool, "a", NodeState::Alive).await;
    stop.send(()).unwrap();
    running.await.unwrap();
    assert_eq!(pool.nodes()[0].state, NodeState::Closed);
    // Whoever still finishes something can.
    assert_eq!(pool.latest_block().await.unwrap().number, 100);
}

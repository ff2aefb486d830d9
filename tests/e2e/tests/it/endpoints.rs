//! Endpoints that come and go. The whole of it is told by the pool's own tests; here is what an operator sees.

use std::time::Duration;

use alloy::primitives::U256;
use dodona_testkit::endpoint::{Endpoint, Mood};
use dodona_testkit::gateway::Gateway;
use dodona_testkit::{anvil, until, until_within};
use serde_json::Value;

use crate::scene::{Db, Scene, some_cents, status};

/// What nobody asks to find out how an endpoint is doing, but to be answered.
const READS: &[&str] = &[
    "eth_call",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_getBalance",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
];

fn reads(endpoint: &Endpoint) -> Vec<String> {
    let mut asked = endpoint.asked();
    asked.retain(|method| READS.contains(&method.as_str()));
    asked
}

/// A node of a chain with a block every second, and a preferred endpoint in front of it that may be bad.
async fn beside_a_preferred_one() -> (Scene, Endpoint) {
    let every = anvil::Options::blocks_every(Duration::from_secs(1));
    let mut scene = Scene::build(Db::Sqlite, every, |options| options).await;
    let endpoint = Endpoint::before(&scene.anvil.http_url()).await;
    let config = format!(
        "[[EVM]]\nChainID = '31337'\n\n[[EVM.Nodes]]\nName = 'first'\nHTTPURL = '{}'\nOrder = 1\n",
        endpoint.url()
    );
    scene.node.rewrite("more.toml", &config);
    scene.node.stop().await;
    scene.node.start_again().await;
    (scene, endpoint)
}

async fn answers(scene: &Scene, job: &dodona_testkit::node::Job, times: usize) {
    for _ in 0..times {
        let cents = some_cents();
        scene.serve_price(cents);
        let request = scene.ask(job, "/price").await;
        assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    }
}

async fn state_of(scene: &Scene, name: &str) -> Value {
    let status = status(scene.api()).await;
    let endpoints = status["chains"][0]["nodes"].as_array().cloned();
    endpoints
        .unwrap_or_default()
        .into_iter()
        .find(|endpoint| endpoint["name"] == name)
        .unwrap_or_else(|| panic!("no endpoint {name} in {status}"))
}

#[tokio::test]
async fn a_node_without_a_subscription_asks_for_heads_and_answers() {
    let scene = Scene::build(Db::Sqlite, anvil::Options::default(), |mut options| {
        options.ws_url = None;
        options
    })
    .await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
}

#[tokio::test]
async fn a_request_made_before_the_only_endpoint_hung_is_answered_when_it_is_back() {
    let scene = Scene::with_blocks_on_demand(|options| options).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    scene.anvil.freeze();
    until_within(Duration::from_secs(60), "the node notices", || async {
        let health = scene.api().text("/health").await;
        health.contains("failing").then_some(())
    })
    .await;
    scene.anvil.thaw();
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    until_within(
        Duration::from_secs(60),
        "the node is well again",
        || async { scene.api().ready().await.then_some(()) },
    )
    .await;
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn a_preferred_endpoint_that_is_stuck_or_lags_costs_no_answer_and_nothing_is_read_from_it() {
    let (scene, endpoint) = beside_a_preferred_one().await;
    let job = scene.price_job().await;
    answers(&scene, &job, 1).await;
    assert!(
        !reads(&endpoint).is_empty(),
        "it is preferred while it is well"
    );
    let mut asked = 1;
    for mood in [Mood::Stuck, Mood::Lagging(3)] {
        endpoint.is(mood).await;
        scene.caught_up().await;
        let stands = scene.anvil.block_number().await;
        until("the chain has gone on", || async {
            (scene.anvil.block_number().await > stands + 1).then_some(())
        })
        .await;
        scene.caught_up().await;
        reads(&endpoint);
        answers(&scene, &job, 3).await;
        assert_eq!(reads(&endpoint), Vec::<String>::new(), "{mood:?}");
        endpoint.is(Mood::Honest).await;
        asked += 3;
        // It is heard of a new block by polling, the other one tells by itself: what is read at once is read there.
        for again in 1.. {
            assert!(again < 30, "{mood:?}: it is not read from again");
            answers(&scene, &job, 1).await;
            asked += 1;
            if !reads(&endpoint).is_empty() {
                break;
            }
        }
    }
    scene.assert_sent(asked).await;
}

#[tokio::test]
async fn a_preferred_endpoint_that_leaves_out_logs_or_hangs_costs_no_answer() {
    let (scene, endpoint) = beside_a_preferred_one().await;
    let job = scene.price_job().await;
    for mood in [Mood::WithoutLogs, Mood::Hanging] {
        endpoint.is(mood).await;
        answers(&scene, &job, 3).await;
        endpoint.is(Mood::Honest).await;
    }
    scene.assert_sent(6).await;
}

#[tokio::test]
async fn a_node_behind_a_gateway_alone_does_not_notice_that_a_client_is_killed() {
    let every = anvil::Options::blocks_every(Duration::from_secs(1));
    let mut scene = Scene::build(Db::Sqlite, every, |options| options).await;
    let one = Endpoint::before(&scene.anvil.http_url()).await;
    let two = Endpoint::before(&scene.anvil.http_url()).await;
    let gateway = Gateway::before(&[one.url(), two.url()]).await;
    let config = format!(
        "[[EVM]]\nChainID = '31337'\n\n[[EVM.Nodes]]\nName = 'anvil'\nHTTPURL = '{}'\nWSURL = '{}'\n",
        gateway.http_url(),
        gateway.ws_url()
    );
    scene.node.rewrite("more.toml", &config);
    scene.node.stop().await;
    scene.node.start_again().await;
    let job = scene.price_job().await;
    answers(&scene, &job, 2).await;
    let request = scene.ask(&job, "/price").await;
    drop(one);
    scene.answer_to(&request).await;
    answers(&scene, &job, 2).await;
    let gateway_as_seen = state_of(&scene, "anvil").await;
    assert_eq!(gateway_as_seen["state"], "Alive", "{gateway_as_seen}");
    assert!(!reads(&two).is_empty());
    scene.assert_sent(5).await;
}

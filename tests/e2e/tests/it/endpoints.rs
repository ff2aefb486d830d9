//! Endpoints that come and go. The whole of it is told by the pool's own tests; here is what an operator sees.

use std::time::Duration;

use alloy::primitives::U256;
use dodona_testkit::{anvil, until_within};

use crate::scene::{Db, Scene, some_cents};

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

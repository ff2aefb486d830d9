//! Two nodes on one PostgreSQL: one leads, the other is ready to.

use std::time::Duration;

use alloy::primitives::U256;
use dodona_testkit::{
    anvil,
    node::{Node, Options},
    source::{Behaviour, Gate},
    until,
};
use serde_json::json;

use crate::scene::{Db, Scene, price, some_cents, status};

/// A scene whose node leads, and a second node on its database.
async fn two(chain: anvil::Options, tweak: impl FnOnce(Options) -> Options) -> (Scene, Node) {
    let scene = Scene::build(Db::Postgres, chain, tweak).await;
    leads(&scene.node).await;
    let standby = Node::start(&scene.options).await;
    assert!(!is_leader(&standby).await);
    (scene, standby)
}

async fn is_leader(node: &Node) -> bool {
    let status = status(node.api()).await;
    let leads = status["leader"].as_array();
    leads.is_some_and(|leads| leads.contains(&json!({ "scope": "chain:31337", "held": true })))
}

pub(crate) async fn leads(node: &Node) {
    until("the node leads the chain", || async {
        is_leader(node).await.then_some(())
    })
    .await;
}

/// Mines until all transactions that this node shows are in the given state.
async fn reaches(scene: &Scene, node: &Node, count: usize, state: &str) {
    scene
        .mine_until(&format!("{count} transactions are {state}"), || async {
            let all = node.api().transactions().await;
            (all.len() == count && all.iter().all(|it| it["state"] == *state)).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_standby_finishes_what_the_dead_leader_sent() {
    let (mut scene, standby) = two(anvil::Options::blocks_on_demand(), |mut options| {
        options.finality_depth = 3;
        options
    })
    .await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    scene.pending(1).await;

    scene.node.kill();
    scene.anvil.mine(3).await;
    leads(&standby).await;

    reaches(&scene, &standby, 1, "finalized").await;
    assert_eq!(
        scene.world.answer(request.id).await,
        Some(U256::from(cents))
    );
    assert_eq!(scene.world.answers_count(request.id).await, 1);
    // One nonce used: nothing was sent twice; and nothing reverted.
    scene.assert_sent(1).await;
    let runs = standby.api().finished_runs(&job, 1).await;
    assert_eq!(runs[0]["state"], "completed");
}

#[tokio::test]
async fn a_standby_begins_what_the_dead_leader_had_not_sent_yet() {
    let (mut scene, standby) = two(anvil::Options::blocks_on_demand(), |options| options).await;
    let job = scene.price_job().await;
    let (cents, gate) = (some_cents(), Gate::closed());
    scene
        .source
        .on("/price", Behaviour::Behind(gate.clone(), price(cents)));
    let request = scene.ask(&job, "/price").await;
    until("the source is asked", || async {
        (scene.source.hits() == 1).then_some(())
    })
    .await;

    scene.node.kill();
    gate.open();
    leads(&standby).await;
    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    assert_eq!(scene.world.answers_count(request.id).await, 1);
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn a_leader_that_thaws_after_it_was_replaced_sends_nothing_twice() {
    let (scene, standby) = two(
        anvil::Options::blocks_every(Duration::from_secs(1)),
        |options| {
            options.with_config(
                "[Database.Lock]\nLeaseDuration = '3s'\nLeaseRefreshInterval = '500ms'",
            )
        },
    )
    .await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let first = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&first).await, U256::from(cents));

    scene.node.freeze();
    leads(&standby).await;
    let second = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&second).await, U256::from(cents));
    scene.node.thaw();
    until("the old leader knows that it was replaced", || async {
        (!is_leader(&scene.node).await).then_some(())
    })
    .await;

    let url = scene.source.url_of("/price");
    for request in scene
        .world
        .request_many(5, job.external_id, &url, "value", 100)
        .await
    {
        assert_eq!(scene.answer_to(&request).await, U256::from(cents));
        assert_eq!(scene.world.answers_count(request.id).await, 1);
    }
    assert!(is_leader(&standby).await);
    scene.assert_sent(7).await;
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    let (mut scene, standby) = two(anvil::Options::default(), |options| {
        options
            .with_config("[Database.Lock]\nLeaseDuration = '60s'\nLeaseRefreshInterval = '500ms'")
    })
    .await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    assert!(scene.node.stop().await.success());
    leads(&standby).await;
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
}

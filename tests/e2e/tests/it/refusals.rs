//! Requests that are not to be run, or not yet, and consumers that refuse their answers.

use std::time::Duration;

use alloy::primitives::{Address, U256};
use dodona_testkit::{
    contracts::{Consumer, Requested},
    node::Job,
    source::{Behaviour, Gate},
    until,
};

use crate::{
    scene::{Db, Scene, price, some_cents},
    specs::Spec,
};

/// Requests that this chain's node has refused so far.
async fn refused(scene: &Scene) -> f64 {
    let wanted = r#"dodona_requests{evmChainID="31337",state="refused"}"#;
    scene.api().metric(wanted).await.unwrap_or_default()
}

async fn assert_refused(scene: &Scene, job: &Job, request: &Requested, why: &str) {
    let before = refused(scene).await;
    until("the request is refused", || async {
        (refused(scene).await > before || scene.node.log().contains(&request.id.to_string()))
            .then_some(())
    })
    .await;
    until("its log is consumed", || async {
        let waiting = scene.api().metric("dodona_logs_waiting").await;
        (waiting == Some(0.0)).then_some(())
    })
    .await;
    let log = scene.node.log();
    let line = log
        .lines()
        .find(|line| line.contains(&request.id.to_string()));
    assert!(line.is_some_and(|line| line.contains(why)), "{line:?}");
    assert!(scene.api().runs(job).await.is_empty());
    assert_eq!(scene.source.hits(), 0);
    scene.assert_sent(0).await;
}

#[tokio::test]
async fn a_requester_who_is_not_on_the_list_gets_no_run() {
    let scene = Scene::on(Db::Sqlite).await;
    let stranger = Address::repeat_byte(0x5a);
    let spec =
        Spec::get_uint256(scene.world.operator).and(&format!("requesters = [\"{stranger}\"]"));
    let job = scene.create(&spec).await;
    scene.serve_price(1);
    let request = scene.ask(&job, "/price").await;
    assert_refused(&scene, &job, &request, "is not on the job's list").await;
    assert_eq!(scene.world.answer(request.id).await, None);
}

#[tokio::test]
async fn a_requester_on_the_list_is_answered() {
    let scene = Scene::on(Db::Sqlite).await;
    let consumer = scene.world.consumer;
    let spec =
        Spec::get_uint256(scene.world.operator).and(&format!("requesters = [\"{consumer}\"]"));
    let job = scene.create(&spec).await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
}

#[tokio::test]
async fn a_payment_below_the_minimum_gets_no_run_and_the_minimum_itself_does() {
    let mut scene = Scene::on(Db::Sqlite).await;
    let spec = Spec::get_uint256(scene.world.operator).with(
        r#"minContractPaymentLinkJuels = "0""#,
        r#"minContractPaymentLinkJuels = "1000""#,
    );
    let job = scene.create(&spec).await;
    let cents = some_cents();
    scene.serve_price(cents);

    scene.world.payment_juels = U256::from(999);
    let request = scene.ask(&job, "/price").await;
    assert_refused(
        &scene,
        &job,
        &request,
        "payment of 999 juels is below the minimum of 1000",
    )
    .await;
    assert_eq!(scene.world.answer(request.id).await, None);

    scene.world.payment_juels = U256::from(1000);
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
}

#[tokio::test]
async fn nothing_happens_before_the_third_block_of_three_confirmations() {
    let scene = Scene::with_blocks_on_demand(|options| options).await;
    let spec = Spec::get_uint256(scene.world.operator).with(
        "minIncomingConfirmations = 1",
        "minIncomingConfirmations = 3",
    );
    let job = scene.create(&spec).await;
    let cents = some_cents();
    scene.serve_price(cents);

    // The request's own block is the first.
    let request = scene.ask(&job, "/price").await;
    scene.caught_up().await;
    for _ in 0..2 {
        let waiting = scene.api().metric("dodona_logs_waiting").await;
        assert_eq!(waiting, Some(1.0));
        assert!(scene.api().runs(&job).await.is_empty());
        assert_eq!(scene.source.hits(), 0);
        scene.mine(1).await;
    }
    scene.pending(1).await;
    assert_eq!(scene.source.hits(), 1);
    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
}

#[tokio::test]
async fn a_request_that_is_cancelled_before_its_answer_was_sent_is_not_answered() {
    let scene = Scene::with_blocks_on_demand(|options| options).await;
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
    // The contract lets nobody cancel for five minutes.
    scene.anvil.increase_time(Duration::from_secs(301)).await;
    scene.world.cancel(&request).await;
    scene.caught_up().await;
    until("the node knows that it was cancelled", || async {
        let wanted = r#"dodona_requests{evmChainID="31337",state="cancelled"}"#;
        (scene.api().metric(wanted).await == Some(1.0)).then_some(())
    })
    .await;

    gate.open();
    let run = scene.run_in_state(&job, "errored").await;
    let why = run["fatalErrors"][0].as_str().unwrap_or_default();
    assert!(why.contains("cancelled"), "{why:?}");
    scene.mine(3).await;
    scene.assert_sent(0).await;
}

#[tokio::test]
async fn a_consumer_that_refuses_its_answer_is_told_apart_from_one_that_took_it() {
    let scene = Scene::on(Db::Sqlite).await;
    let job = scene.price_job().await;
    scene.serve_price(some_cents());
    scene.world.set_callback(Consumer::Callback::Revert).await;
    let request = scene.ask(&job, "/price").await;

    let sent = until("the transaction is mined", || async {
        let all = scene.api().transactions().await;
        all.into_iter().find(|it| it["state"] == "confirmed")
    })
    .await;
    assert_eq!(sent["succeeded"], true);
    let remark = sent["reason"].as_str().unwrap_or_default();
    assert!(
        remark.contains("the consumer's callback failed"),
        "{remark:?}"
    );
    assert_eq!(scene.world.answer(request.id).await, None);

    // It is paid all the same, and the next answer is taken again.
    scene.world.set_callback(Consumer::Callback::Remember).await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    scene.assert_sent(2).await;
    let all = until("both are mined", || async {
        let all = scene.api().transactions().await;
        (all.iter().all(|it| it["state"] == "confirmed") && all.len() == 2).then_some(all)
    })
    .await;
    assert_eq!(all[0]["reason"], "");
}

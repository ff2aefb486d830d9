//! Blocks that turn out not to have happened. The right answer once, or none; and life goes on.

use alloy::primitives::{B256, Bytes, U256};
use dodona_testkit::{
    anvil,
    contracts::Requested,
    node::Job,
    source::{Behaviour, Gate},
    until,
};
use serde_json::json;

use crate::{
    scene::{Db, Scene, price, some_cents},
    specs::Spec,
};

/// Blocks only when we say so, and none of them final in our time.
async fn scene() -> Scene {
    scene_on(Db::Sqlite).await
}

async fn scene_on(db: Db) -> Scene {
    Scene::build(db, anvil::Options::blocks_on_demand(), |mut options| {
        options.finality_depth = 200;
        options
    })
    .await
}

/// A request after the storm, of a consumer who knows nothing of it: it is answered, so nothing is stuck.
async fn assert_life_goes_on(scene: &Scene, job: &Job) {
    let cents = some_cents();
    scene.source.on("/later", Behaviour::Answer(price(cents)));
    let other = scene.world.with_another_consumer().await;
    let url = scene.source.url_of("/later");
    let request = other
        .request_uint256(job.external_id, &url, "value", 100)
        .await;
    let answer = scene
        .mine_until("a later request is answered", || other.answer(request.id))
        .await;
    assert_eq!(answer, U256::from(cents));
    assert_eq!(other.answers_count(request.id).await, 1);
}

/// The bytes that asked; to be mined once more.
async fn raw(scene: &Scene, request: &Requested) -> Bytes {
    scene.anvil.raw_transaction(request.tx).await
}

/// Mines the same request again, two minutes later by the chain's clock.
async fn mine_again(scene: &Scene, request: &Requested, raw: &Bytes) {
    let later = scene.anvil.timestamp().await + 120;
    scene.anvil.set_next_block_timestamp(later).await;
    let hash: B256 = scene
        .anvil
        .rpc("eth_sendRawTransaction", json!([raw]))
        .await;
    assert_eq!(hash, request.tx);
    let receipt = scene.anvil.mined(hash).await;
    let again = dodona_testkit::contracts::requests_in(&receipt);
    assert_eq!(again[0].id, request.id);
    assert_ne!(
        again[0].event.cancelExpiration,
        request.event.cancelExpiration
    );
}

/// Answers of this node that are on the canonical chain and did something.
async fn successes(scene: &Scene) -> usize {
    let receipts = scene.anvil.transactions_from(scene.key).await;
    let to_oracle = receipts
        .iter()
        .filter(|it| it.to == Some(scene.world.operator));
    to_oracle.filter(|it| it.status()).count()
}

async fn failures(scene: &Scene) -> usize {
    let receipts = scene.anvil.transactions_from(scene.key).await;
    receipts.iter().filter(|it| !it.status()).count()
}

/// Asks, lets the answer be mined, and waits until the node knows.
async fn answered(scene: &Scene, job: &Job) -> Requested {
    let request = scene.ask(job, "/price").await;
    scene.pending(1).await;
    scene.mine(1).await;
    assert!(scene.world.answer(request.id).await.is_some());
    until("the node knows that its answer is mined", || async {
        let all = scene.api().transactions().await;
        (all[0]["state"] == "confirmed").then_some(())
    })
    .await;
    request
}

#[tokio::test]
async fn a_request_that_is_dropped_before_its_confirmations_is_never_run() {
    let scene = Scene::with_blocks_on_demand(|mut options| {
        options.finality_depth = 200;
        options.min_confirmations = 3;
        options
    })
    .await;
    let job = scene.price_job().await;
    scene.serve_price(some_cents());
    scene.ask(&job, "/price").await;
    scene.caught_up().await;

    scene.anvil.reorg(1, &[]).await;
    scene.mine(6).await;
    assert!(scene.api().runs(&job).await.is_empty());
    assert_eq!(scene.source.hits(), 0);
    scene.assert_sent(0).await;

    assert_life_goes_on(&scene, &job).await;
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn a_request_that_is_dropped_while_its_source_is_asked_is_not_answered() {
    let scene = scene().await;
    let job = scene.price_job().await;
    let gate = Gate::closed();
    scene
        .source
        .on("/price", Behaviour::Behind(gate.clone(), price(1)));
    let request = scene.ask(&job, "/price").await;
    until("the source is asked", || async {
        (scene.source.hits() == 1).then_some(())
    })
    .await;

    scene.anvil.reorg(1, &[]).await;
    scene.mine(1).await;
    gate.open();
    // Its answer is queued and waits for a request that is not there.
    scene.run_in_state(&job, "suspended").await;
    scene.mine(5).await;
    assert_eq!(scene.anvil.pending_transactions().await, 0);
    assert_eq!(scene.world.answer(request.id).await, None);
    scene.assert_sent(0).await;

    assert_life_goes_on(&scene, &job).await;
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn a_request_that_is_dropped_after_its_answer_was_mined_leaves_no_nonce_stuck() {
    let scene = scene().await;
    let job = scene.price_job().await;
    scene.serve_price(some_cents());
    let request = answered(&scene, &job).await;

    scene.anvil.reorg(2, &[]).await;
    scene.mine(1).await;
    assert_eq!(scene.world.answers_count(request.id).await, 0);

    assert_life_goes_on(&scene, &job).await;
    assert_eq!(scene.world.answers_count(request.id).await, 0);
    assert_eq!((successes(&scene).await, failures(&scene).await), (1, 0));
    // The nonce of the answer that nobody wants any more went to a transfer of nothing.
    assert_eq!(scene.anvil.nonce(scene.key).await, 2);
}

#[tokio::test]
async fn a_request_that_is_dropped_while_its_answer_waits_to_be_mined_leaves_no_nonce_stuck() {
    let scene = scene().await;
    let job = scene.price_job().await;
    scene.serve_price(some_cents());
    let request = scene.ask(&job, "/price").await;
    scene.pending(1).await;

    // What waits in the pool would be mined with the next block and revert: as on a real chain where the fee is low.
    scene.anvil.drop_all_transactions().await;
    scene.anvil.reorg(1, &[]).await;
    scene.mine(1).await;

    assert_life_goes_on(&scene, &job).await;
    assert_eq!(scene.world.answers_count(request.id).await, 0);
    assert_eq!(successes(&scene).await, 1);
    assert_eq!(scene.anvil.nonce(scene.key).await, 2);
}

#[tokio::test]
async fn a_request_that_is_mined_again_before_its_answer_was_sent_is_answered_once_on_its_new_terms()
 {
    let scene = scene().await;
    let job = scene.price_job().await;
    let (cents, gate) = (some_cents(), Gate::closed());
    scene
        .source
        .on("/price", Behaviour::Behind(gate.clone(), price(cents)));
    let request = scene.ask(&job, "/price").await;
    let raw = raw(&scene, &request).await;
    until("the source is asked", || async {
        (scene.source.hits() == 1).then_some(())
    })
    .await;

    scene.anvil.reorg(1, &[]).await;
    scene.mine(1).await;
    mine_again(&scene, &request, &raw).await;
    scene.caught_up().await;
    gate.open();

    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    assert_life_goes_on(&scene, &job).await;
    assert_eq!(scene.world.answers_count(request.id).await, 1);
    assert_eq!((successes(&scene).await, failures(&scene).await), (2, 0));
}

async fn a_request_is_mined_again_after_its_answer_was_mined(db: Db) {
    let scene = scene_on(db).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    let raw = raw(&scene, &request).await;
    scene.pending(1).await;
    scene.mine(1).await;
    until("the node knows that its answer is mined", || async {
        let all = scene.api().transactions().await;
        (all[0]["state"] == "confirmed").then_some(())
    })
    .await;

    scene.anvil.reorg(2, &[]).await;
    mine_again(&scene, &request, &raw).await;
    // Before the next block: on a busy machine the old answer would be mined (and revert) sooner than it is replaced.
    until("the answer is replaced at its nonce", || async {
        let attempts = scene.api().get("/v2/tx_attempts/evm").await;
        (attempts.as_array()?.len() >= 2).then_some(())
    })
    .await;

    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    assert_eq!(
        scene.source.hits_of("/price"),
        1,
        "what was fetched is kept"
    );
    assert_life_goes_on(&scene, &job).await;
    assert_eq!(scene.world.answers_count(request.id).await, 1);
    assert_eq!((successes(&scene).await, failures(&scene).await), (2, 0));
    assert_eq!(
        scene.anvil.nonce(scene.key).await,
        2,
        "the answer was replaced at its nonce"
    );
}

#[tokio::test]
async fn a_request_that_is_mined_again_after_its_answer_was_mined_is_answered_once_on_its_new_terms_on_sqlite()
 {
    a_request_is_mined_again_after_its_answer_was_mined(Db::Sqlite).await;
}

#[tokio::test]
async fn a_request_that_is_mined_again_after_its_answer_was_mined_is_answered_once_on_its_new_terms_on_postgresql()
 {
    a_request_is_mined_again_after_its_answer_was_mined(Db::Postgres).await;
}

#[tokio::test]
async fn a_request_that_comes_back_after_its_nonce_was_used_up_is_answered_once() {
    let scene = scene().await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    let raw = raw(&scene, &request).await;
    scene.pending(1).await;
    scene.mine(1).await;
    until("the node knows that its answer is mined", || async {
        let all = scene.api().transactions().await;
        (all[0]["state"] == "confirmed").then_some(())
    })
    .await;

    scene.anvil.reorg(2, &[]).await;
    scene
        .mine_until("the nonce is used up", || async {
            (scene.anvil.nonce(scene.key).await == 1).then_some(())
        })
        .await;
    assert_eq!(successes(&scene).await, 0);
    mine_again(&scene, &request, &raw).await;

    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    assert_life_goes_on(&scene, &job).await;
    assert_eq!(scene.world.answers_count(request.id).await, 1);
    assert_eq!((successes(&scene).await, failures(&scene).await), (2, 0));
}

#[tokio::test]
async fn an_answer_whose_block_is_dropped_is_mined_again() {
    let scene = scene().await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = answered(&scene, &job).await;

    scene.anvil.reorg(1, &[]).await;
    scene.mine(1).await;
    assert_eq!(scene.world.answer(request.id).await, None);

    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    assert_eq!(scene.world.answers_count(request.id).await, 1);
    scene.assert_sent(1).await;
    assert_eq!(scene.source.hits(), 1);
}

#[tokio::test]
async fn a_chain_that_becomes_shorter_is_followed() {
    let scene = scene().await;
    let job = scene.price_job().await;
    scene.serve_price(some_cents());
    let snapshot = scene.anvil.snapshot().await;
    let request = answered(&scene, &job).await;
    scene.mine(3).await;

    scene.anvil.revert(snapshot).await;
    assert_eq!(scene.world.answers_count(request.id).await, 0);
    assert_life_goes_on(&scene, &job).await;
    assert_eq!(failures(&scene).await, 0);
}

/// What a request with this id asks after a reorganisation changed the order of two questions: another path, another job.
async fn an_id_that_stands_for_another_question_gets_that_questions_answer(other_job: bool) {
    let scene = scene().await;
    let job = scene.price_job().await;
    let other = match other_job {
        true => {
            let spec = Spec::get_uint256(scene.world.operator).under_a_new_id();
            // Its answer goes by another task name, as another author would write it.
            scene
                .create(&spec.with("send ", "submit ").with("-> send", "-> submit"))
                .await
        }
        false => job.clone(),
    };
    scene.serve_price(some_cents());
    let first = answered(&scene, &job).await;

    scene.anvil.reorg(2, &[]).await;
    scene.mine(1).await;
    let cents = some_cents();
    scene.source.on("/second", Behaviour::Answer(price(cents)));
    let second = scene.ask(&other, "/second").await;
    assert_eq!(
        second.id, first.id,
        "the consumer counts its questions, and this is its first again"
    );

    assert_eq!(scene.answer_while_mining(&second).await, U256::from(cents));
    assert_eq!(scene.world.answers_count(second.id).await, 1);
    assert_life_goes_on(&scene, &job).await;
    assert_eq!((successes(&scene).await, failures(&scene).await), (2, 0));
}

#[tokio::test]
async fn an_id_that_stands_for_another_question_after_a_reorganisation_gets_that_questions_answer()
{
    an_id_that_stands_for_another_question_gets_that_questions_answer(false).await;
}

#[tokio::test]
async fn an_id_that_stands_for_another_jobs_question_after_a_reorganisation_gets_that_jobs_answer()
{
    an_id_that_stands_for_another_question_gets_that_questions_answer(true).await;
}

//! Keys without funds, fees that are too low, and keys that somebody else uses too.

use alloy::primitives::{Bytes, U256};
use dodona_testkit::{anvil::Call, until};
use serde_json::json;

use crate::scene::{Db, ETHER, Scene, some_cents, status};

const GWEI: u64 = 1_000_000_000;

#[tokio::test]
async fn a_key_without_funds_says_so_and_answers_once_it_is_funded() {
    let scene = Scene::on(Db::Sqlite).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask_without_funds(&job, "/price").await;
    let screen = scene.node.cli(&["status"]);
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    assert!(screen.contains("not enough native coin"), "{screen}");
    assert_eq!(scene.world.answer(request.id).await, None);
    let refusals = "tx_manager_attempt_error_total{";
    let metrics = scene.api().text("/metrics").await;
    let counted = metrics.lines().find(|line| line.starts_with(refusals));
    let counted = counted.expect("a refusal for lack of funds is counted");
    for label in [&scene.key.to_string(), "chainID=\"31337\"", "cause=\""] {
        assert!(counted.contains(label), "{counted}");
    }

    scene.world.fund(scene.key, U256::from(ETHER)).await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    until("the key has nothing to say any more", || async {
        (status(scene.api()).await["keys"][0]["reason"] == "").then_some(())
    })
    .await;
    scene.assert_sent(1).await;
    // What dashboards know counts it once, however often it was tried.
    let left = r#"tx_manager_time_until_tx_broadcast_count{chainID="31337"}"#;
    assert_eq!(scene.api().metric(left).await, Some(1.0));
    let balance = format!("node_balance{{account=\"{}\"", scene.key);
    until("its balance is told", || async {
        (scene.api().metric(&balance).await > Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_fee_that_has_become_too_low_is_raised_at_the_same_nonce() {
    let scene = Scene::with_blocks_on_demand(|options| options).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    scene.pending(1).await;

    // The market leaves our offer behind, for as many blocks as the node waits.
    for _ in 0..3 {
        scene.anvil.set_next_block_base_fee(90 * GWEI).await;
        scene.mine(1).await;
        assert_eq!(scene.world.answer(request.id).await, None);
    }
    let attempts = until("a replacement is made", || async {
        let attempts = scene.api().get("/v2/tx_attempts/evm").await;
        let attempts = attempts.as_array().expect("a list").clone();
        (attempts.len() >= 2).then_some(attempts)
    })
    .await;
    let fee = |at: usize| {
        let fee = attempts[at]["attributes"]["gasPrice"].as_str();
        fee.and_then(|fee| fee.parse::<u128>().ok())
            .expect("an attempt has a fee")
    };
    assert!(
        fee(0) > fee(attempts.len() - 1),
        "newest first: {attempts:?}"
    );
    assert!(attempts.iter().all(|it| it["attributes"]["nonce"] == "0"));

    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    scene.assert_sent(1).await;
    let all = scene.api().transactions().await;
    assert_eq!(all.len(), 1, "a replacement is no second transaction");
}

#[tokio::test]
async fn at_most_sixteen_answers_of_a_key_wait_to_be_mined() {
    let scene = Scene::with_blocks_on_demand(|options| options).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let url = scene.source.url_of("/price");
    let requests = scene
        .world
        .request_many(20, job.external_id, &url, "value", 100)
        .await;
    scene.pending(16).await;
    until("the others wait in the node", || async {
        let queue = &status(scene.api()).await["chains"][0]["queue"];
        (*queue == json!({ "queued": 4, "inFlight": 16 })).then_some(())
    })
    .await;

    scene.mine(1).await;
    scene.pending(4).await;
    scene.mine(1).await;
    for request in &requests {
        assert_eq!(scene.answer_to(request).await, U256::from(cents));
    }
    scene.assert_sent(20).await;
}

#[tokio::test]
async fn a_chain_without_a_base_fee_is_paid_as_of_old() {
    let chain = dodona_testkit::anvil::Options {
        hardfork: Some("berlin"),
        ..Default::default()
    };
    let scene = Scene::build(Db::Sqlite, chain, |options| {
        options.with_config(
            "[[EVM]]\nChainID = '31337'\n[EVM.GasEstimator]\nEIP1559DynamicFees = false",
        )
    })
    .await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    let sent = scene.anvil.transactions_from(scene.key).await;
    assert_eq!(sent[0].transaction_type() as u8, 0);
}

/// Sends transactions from the node's key behind its back, as a wallet with the same key would.
async fn use_key_elsewhere(scene: &Scene, times: usize) {
    scene.anvil.impersonate(scene.key).await;
    for _ in 0..times {
        let nothing = Call {
            gas: 21_000,
            ..Call::new(scene.world.owner, Bytes::new())
        };
        assert!(scene.anvil.execute(scene.key, &nothing).await.status());
    }
    scene
        .anvil
        .rpc::<serde_json::Value>("anvil_stopImpersonatingAccount", json!([scene.key]))
        .await;
}

#[tokio::test]
async fn a_key_that_is_used_elsewhere_still_answers_the_next_request() {
    let scene = Scene::with_blocks_on_demand(|options| options).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    // One answer before, so that the node is sure of its nonce.
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));

    use_key_elsewhere(&scene, 3).await;
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    assert_eq!(scene.world.answers_count(request.id).await, 1);
    scene.assert_sent(5).await;
}

#[tokio::test]
async fn a_foreign_transaction_that_takes_the_nonce_of_a_sent_answer_costs_only_time() {
    let scene = Scene::with_blocks_on_demand(|options| options).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    scene.pending(1).await;

    // Ours is in the pool, theirs is mined with its nonce.
    scene.anvil.drop_all_transactions().await;
    use_key_elsewhere(&scene, 1).await;

    assert_eq!(scene.answer_while_mining(&request).await, U256::from(cents));
    assert_eq!(scene.world.answers_count(request.id).await, 1);
    scene.assert_sent(2).await;
}

//! What became of what was sent.

use dodona_model::request::State as Request;
use dodona_model::tx::State;
use dodona_model::{B256, U256};
use dodona_testkit::contracts::Consumer;

use crate::scene::{Oracle, Scene};

#[tokio::test]
async fn a_receipt_is_believed_only_in_a_block_we_stand_on() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.anvil.mine(1).await;
        for _ in 0..3 {
            scene.confirm().await;
            assert_eq!(
                scene.tx(id).await.state,
                State::Sent,
                "the scanner has not seen it"
            );
        }
        scene.follow().await;
        scene.confirm().await;
        let tx = scene.tx(id).await;
        assert_eq!(tx.state, State::Mined);
        assert_eq!(tx.mined.unwrap().block.number, scene.head().await);
    }
}

#[tokio::test]
async fn a_receipt_of_a_block_that_is_no_longer_ours_is_not_believed() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        let raw = scene.attempts(id).await[0].signed.raw.clone();
        let hash = scene.attempts(id).await[0].signed.hash;
        scene.anvil.mine(1).await;
        scene.follow().await;
        let old: serde_json::Value = scene
            .anvil
            .rpc("eth_getTransactionReceipt", serde_json::json!([hash]))
            .await;
        scene.anvil.reorg(1, &[(raw, 0)]).await;
        scene.follow().await;
        // This endpoint still tells of the block that left.
        scene.endpoint.on("eth_getTransactionReceipt", move |_| {
            crate::endpoint::Reply::Answer(old.clone())
        });
        scene.confirm().await;
        assert_eq!(scene.tx(id).await.state, State::Sent);
        scene.endpoint.as_usual("eth_getTransactionReceipt");
        scene.confirm().await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
    }
}

#[tokio::test]
async fn a_transaction_is_final_with_its_block() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.mine(12).await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
        scene.mine(1).await;
        assert_eq!(scene.tx(id).await.state, State::Final);
    }
}

#[tokio::test]
async fn an_answer_without_effect_on_the_consumer_says_so() {
    for mut oracle in Oracle::both().await {
        oracle.scene.anvil.set_automine(true).await;
        oracle.world.set_callback(Consumer::Callback::Revert).await;
        let (_, row, id, _) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        oracle.scene.mine(1).await;
        let tx = oracle.scene.tx(id).await;
        assert!(tx.mined.unwrap().succeeded);
        assert!(
            tx.reason.contains("the consumer's callback failed"),
            "{}",
            tx.reason
        );
        assert_eq!(oracle.request_state(row).await, Request::Answered);
    }
}

#[tokio::test]
async fn an_answer_that_reverts_fails_its_request_when_that_is_final() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, _) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        // Somebody is quicker, in the same block.
        let rival = oracle.world.owner;
        oracle.scene.anvil.drop_all_transactions().await;
        oracle.scene.anvil.set_automine(true).await;
        oracle
            .world
            .set_authorized(&[oracle.scene.key, rival])
            .await;
        oracle.scene.anvil.hold_blocks().await;
        oracle
            .somebody_sends(&oracle.world.fulfillment_call(&asked, U256::from(1)))
            .await;
        let raw = oracle.scene.attempts(id).await[0].signed.raw.clone();
        oracle.scene.send_raw(&raw).await;
        oracle.scene.mine(1).await;
        let tx = oracle.scene.tx(id).await;
        assert_eq!(tx.state, State::Mined);
        assert!(tx.reason.starts_with("it reverted, "), "{}", tx.reason);
        assert_eq!(oracle.request_state(row).await, Request::Open);
        oracle.scene.mine(15).await;
        assert_eq!(oracle.request_state(row).await, Request::Failed);
    }
}

#[tokio::test]
async fn a_receipt_nobody_can_read_is_that_rounds_error_and_nothing_else() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.anvil.mine(1).await;
        scene.follow().await;
        scene.endpoint.on("eth_getTransactionReceipt", |_| {
            crate::endpoint::Reply::Answer(serde_json::json!({ "status": B256::ZERO }))
        });
        let round = dodona_runtime::Service::tick(&mut scene.confirmer, &scene.lead).await;
        round.unwrap_err();
        assert_eq!(scene.tx(id).await.state, State::Sent);
        scene.endpoint.as_usual("eth_getTransactionReceipt");
        scene.confirm().await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
    }
}

#[tokio::test]
async fn many_transactions_of_one_block_are_confirmed_in_one_round() {
    for mut scene in Scene::both().await {
        for _ in 0..16 {
            scene.queue(&scene.payment()).await;
        }
        scene.broadcast().await;
        scene.mine(1).await;
        for tx in scene.txs().await {
            assert_eq!(tx.state, State::Mined);
        }
    }
}

/// On a quick chain three blocks are less than a second.
#[tokio::test]
async fn a_receipt_that_is_late_is_no_lost_nonce() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.endpoint.on("eth_getTransactionReceipt", |_| {
            crate::endpoint::Reply::Answer(serde_json::Value::Null)
        });
        scene.mine(8).await;
        assert_eq!(scene.tx(id).await.state, State::Sent);
        scene.endpoint.as_usual("eth_getTransactionReceipt");
        scene.confirm().await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
        assert_eq!(scene.txs().await.len(), 1);
    }
}

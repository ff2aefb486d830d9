//! The chain changes its mind about what was sent.

use dodona_model::request::State as Request;
use dodona_model::tx::State;
use dodona_model::{U256, request};

use crate::scene::{Oracle, Scene};

#[tokio::test]
async fn what_was_mined_and_dropped_is_sent_again_as_it_is() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.mine(2).await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
        // This chain does not put it back into its pool.
        scene.endpoint.handed();
        scene.anvil.reorg(3, &[]).await;
        scene.follow().await;
        scene.confirm().await;
        assert_eq!(scene.tx(id).await.state, State::Sent);
        scene.confirm().await;
        let attempts = scene.attempts(id).await;
        assert_eq!(attempts.len(), 1, "nothing calls for a higher fee");
        assert_eq!(scene.endpoint.handed(), [attempts[0].signed.raw.clone()]);
        scene.mine(1).await;
        let tx = scene.tx(id).await;
        assert_eq!(tx.state, State::Mined);
        assert_eq!(tx.mined.unwrap().block.number, scene.head().await);
        assert_eq!(scene.anvil.nonce(scene.key).await, 1);
    }
}

#[tokio::test]
async fn what_is_mined_elsewhere_after_a_reorganisation_is_found_there() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.mine(2).await;
        let raw = scene.attempts(id).await[0].signed.raw.clone();
        scene.anvil.reorg(2, &[(raw, 1)]).await;
        scene.follow().await;
        scene.confirm().await;
        scene.confirm().await;
        let tx = scene.tx(id).await;
        assert_eq!(tx.state, State::Mined);
        assert_eq!(tx.mined.unwrap().block.number, scene.head().await);
    }
}

#[tokio::test]
async fn a_request_is_open_again_while_its_answer_is_dropped() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, _) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        oracle.scene.mine(1).await;
        assert_eq!(oracle.request_state(row).await, Request::Answered);
        oracle.scene.anvil.reorg(1, &[]).await;
        oracle.scene.follow().await;
        oracle.scene.confirm().await;
        assert_eq!(oracle.request_state(row).await, Request::Open);
        oracle.scene.confirm().await;
        oracle.scene.mine(1).await;
        assert_eq!(oracle.request_state(row).await, Request::Answered);
        assert_eq!(oracle.world.answers_count(asked.id).await, 1);
        assert_eq!(oracle.scene.tx(id).await.state, State::Mined);
    }
}

#[tokio::test]
async fn a_sent_answer_whose_request_is_gone_is_outbid_by_nothing_after_a_few_blocks() {
    for mut oracle in Oracle::both().await {
        let (_, row, id, _) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        oracle.happens(row, request::Event::Orphaned).await;
        oracle.scene.mine_without_us(2).await;
        assert_eq!(oracle.scene.attempts(id).await.len(), 1, "it may come back");
        oracle.scene.mine_without_us(1).await;
        let attempts = oracle.scene.attempts(id).await;
        assert_eq!(attempts.len(), 2);
        assert_eq!(attempts[1].signed.payload_version, 0);

        // It comes back before the nothing is mined: the answer takes its nonce again.
        oracle.comes_back(row).await;
        oracle.scene.confirm().await;
        let attempts = oracle.scene.attempts(id).await;
        assert_eq!(attempts.len(), 3);
        assert_eq!(attempts[2].signed.payload_version, 1);
        oracle.scene.mine(1).await;
        assert_eq!(oracle.request_state(row).await, Request::Answered);
        assert_eq!(oracle.scene.anvil.nonce(oracle.scene.key).await, 1);
    }
}

#[tokio::test]
async fn a_request_that_comes_back_after_its_nonce_was_used_up_is_answered_under_another() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, _) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        oracle.happens(row, request::Event::Orphaned).await;
        oracle.scene.mine_without_us(3).await;
        oracle.scene.mine(1).await;
        let used = oracle.scene.tx(id).await;
        assert_eq!(used.state, State::Mined);
        assert!(!used.mined.unwrap().succeeded);

        oracle.comes_back(row).await;
        oracle.scene.confirm().await;
        oracle.scene.broadcast().await;
        oracle.scene.mine(1).await;
        assert_eq!(oracle.world.answer(asked.id).await, Some(U256::from(7)));
        assert_eq!(oracle.request_state(row).await, Request::Answered);
        assert_eq!(oracle.scene.anvil.nonce(oracle.scene.key).await, 2);
        oracle.scene.mine(15).await;
        assert_eq!(oracle.request_state(row).await, Request::Fulfilled);
    }
}

#[tokio::test]
async fn what_happens_to_a_superseded_transaction_says_nothing_about_its_request() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, _) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        oracle.happens(row, request::Event::Orphaned).await;
        oracle.scene.mine_without_us(3).await;
        oracle.scene.mine(1).await;
        let at = oracle.scene.head().await;
        oracle.comes_back(row).await;
        oracle.scene.confirm().await;
        oracle.scene.broadcast().await;
        oracle.scene.mine(1).await;
        assert_eq!(oracle.request_state(row).await, Request::Answered);
        assert!(oracle.scene.tx(id).await.superseded);

        // Both blocks leave, and both transactions are sent again, each as what it is now.
        let depth = oracle.scene.head().await - at + 1;
        oracle.scene.anvil.reorg(depth, &[]).await;
        oracle.scene.set_block_gas(30_000_000).await;
        oracle.scene.follow().await;
        oracle.scene.confirm().await;
        assert_eq!(oracle.request_state(row).await, Request::Open);
        oracle.scene.confirm().await;
        oracle.scene.mine(1).await;
        assert_eq!(oracle.world.answer(asked.id).await, Some(U256::from(7)));
        assert_eq!(oracle.request_state(row).await, Request::Answered);
        for tx in oracle.scene.txs().await {
            assert_eq!(tx.state, State::Mined);
            assert_eq!(tx.mined.unwrap().succeeded, tx.id != id);
        }
        assert_eq!(oracle.scene.anvil.nonce(oracle.scene.key).await, 2);
    }
}

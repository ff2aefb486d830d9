//! Once bytes are signed, their nonce is only ever replaced.

use std::time::Duration;

use alloy::consensus::Transaction;
use dodona_model::tx::State;
use dodona_store::txs::NewTx;
use dodona_txm::Config;

use crate::endpoint::{Reply, refuse};
use crate::scene::{Oracle, SOMEBODY, Scene, nonce_of, read};

const SEND: &str = "eth_sendRawTransaction";

#[tokio::test]
async fn what_is_not_mined_in_time_is_outbid_and_any_of_its_attempts_may_win() {
    for oldest_wins in [true, false] {
        for mut scene in Scene::both().await {
            let id = scene.queue(&scene.payment()).await;
            scene.broadcast().await;
            scene.mine_without_us(2).await;
            assert_eq!(scene.attempts(id).await.len(), 1);
            if oldest_wins {
                scene.endpoint.swallows_transactions();
            }
            scene.mine_without_us(1).await;
            let attempts = scene.attempts(id).await;
            assert_eq!(attempts.len(), 2);
            assert!(attempts.iter().all(|attempt| attempt.accepted));
            assert_eq!(attempts.iter().map(nonce_of).collect::<Vec<_>>(), [0, 0]);

            scene.mine(1).await;
            let tx = scene.tx(id).await;
            assert_eq!(tx.state, State::Mined);
            let winner = &attempts[usize::from(!oldest_wins)];
            assert_eq!(tx.mined.unwrap().hash, winner.signed.hash);
        }
    }
}

#[tokio::test]
async fn with_a_threshold_of_zero_nothing_is_outbid() {
    let adapt = |config| Config {
        bump_threshold: 0,
        ..config
    };
    for mut scene in Scene::both_with(adapt).await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.mine_without_us(6).await;
        assert_eq!(scene.attempts(id).await.len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_mined_for_long_is_sent_again_as_it_is() {
    let adapt = |config| Config {
        resend_after: Duration::from_millis(1),
        bump_threshold: 0,
        ..config
    };
    for mut scene in Scene::both_with(adapt).await {
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.anvil.drop_all_transactions().await;
        scene.endpoint.handed();
        scene.mine(1).await;
        let attempts = scene.attempts(id).await;
        assert_eq!(scene.endpoint.handed(), [attempts[0].signed.raw.clone()]);
        scene.mine(1).await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
    }
}

#[tokio::test]
async fn before_it_is_due_nothing_is_sent_again() {
    for mut scene in Scene::both().await {
        scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.endpoint.handed();
        scene.mine_without_us(2).await;
        scene.broadcast().await;
        assert!(scene.endpoint.handed().is_empty());
    }
}

#[tokio::test]
async fn what_can_never_be_mined_only_uses_up_its_nonce_and_the_later_ones_go_on() {
    for fail_on_revert in [true, false] {
        for mut scene in Scene::both().await {
            let hopeless = NewTx {
                gas_limit: 100_000_000,
                fail_on_revert,
                ..scene.payment()
            };
            let (hopeless, run) = scene.queue_awaited(hopeless).await;
            let next = scene.queue(&scene.payment()).await;
            scene.broadcast().await;
            let attempts = scene.attempts(hopeless).await;
            assert_eq!(attempts.len(), 2);
            let nothing = read(&attempts[1].signed.raw);
            assert_eq!((nothing.to(), nothing.input().len()), (Some(scene.key), 0));
            assert_eq!(attempts.iter().map(nonce_of).collect::<Vec<_>>(), [0, 0]);
            assert_eq!(scene.key_state().await.reason, "");

            scene.mine(3).await;
            assert_eq!(scene.tx(next).await.state, State::Mined);
            let tx = scene.tx(hopeless).await;
            assert_eq!(tx.state, State::Mined);
            assert!(!tx.mined.unwrap().succeeded);
            // It has a receipt, but not of what the task asked for.
            let told = scene.told(run).await.expect("it is told").unwrap_err();
            assert!(told.contains("can never be mined as signed"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_new_answer_replaces_the_old_one_at_its_nonce() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, run) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        let task = oracle.scene.tx(id).await.spec.task_run_id;
        let anew = NewTx {
            task_run_id: task,
            run_id: Some(run),
            signal_needed: true,
            ..oracle.answer(&asked, row, 8)
        };
        assert_eq!(oracle.scene.queue(&anew).await, id);
        oracle.scene.confirm().await;
        let attempts = oracle.scene.attempts(id).await;
        assert_eq!(attempts.len(), 2);
        assert_eq!(attempts.iter().map(nonce_of).collect::<Vec<_>>(), [0, 0]);
        assert_eq!(attempts[1].signed.payload_version, 2);
        oracle.scene.mine(2).await;
        assert_eq!(oracle.scene.tx(id).await.state, State::Mined);
        assert_eq!(
            oracle.world.answer(asked.id).await,
            Some(dodona_model::U256::from(8))
        );
        assert_eq!(oracle.scene.anvil.nonce(oracle.scene.key).await, 1);
    }
}

#[tokio::test]
async fn a_new_answer_that_endpoints_find_too_cheap_is_insisted_on_at_once() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, run) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        let anew = NewTx {
            task_run_id: oracle.scene.tx(id).await.spec.task_run_id,
            run_id: Some(run),
            signal_needed: true,
            ..oracle.answer(&asked, row, 8)
        };
        oracle.scene.queue(&anew).await;
        let seen = std::sync::atomic::AtomicUsize::new(0);
        oracle.scene.endpoint.on(SEND, move |_| {
            match seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0..2 => refuse("replacement transaction underpriced"),
                _ => Reply::Pass,
            }
        });
        oracle.scene.confirm().await;
        let attempts = oracle.scene.attempts(id).await;
        assert_eq!(attempts.len(), 4);
        assert!(attempts[3].accepted);
        oracle.scene.mine(1).await;
        assert_eq!(
            oracle.world.answer(asked.id).await,
            Some(dodona_model::U256::from(8))
        );
    }
}

#[tokio::test]
async fn a_superseded_transaction_that_comes_back_only_uses_up_its_nonce() {
    for mut scene in Scene::both().await {
        let (old, run) = scene.queue_awaited(scene.payment()).await;
        scene.broadcast().await;
        scene
            .base
            .execute(&format!(
                "UPDATE txs SET superseded = 1, signal_needed = 0 WHERE id = {old}"
            ))
            .await;
        let newer = NewTx {
            payload: vec![9].into(),
            task_run_id: scene.tx(old).await.spec.task_run_id,
            run_id: Some(run),
            ..scene.payment()
        };
        let newer = scene.queue(&newer).await;
        scene.broadcast().await;
        scene.confirm().await;
        let attempts = scene.attempts(old).await;
        assert_eq!(attempts.last().unwrap().signed.payload_version, 0);
        scene.mine(1).await;
        assert_eq!(scene.tx(newer).await.state, State::Mined);
        let from = scene.anvil.transactions_from(scene.key).await;
        let receivers: Vec<_> = from.iter().map(|receipt| receipt.to).collect();
        assert_eq!(receivers, [Some(scene.key), Some(SOMEBODY)]);
    }
}

//! Which nonce a transaction gets.

use dodona_model::tx::State;
use dodona_store::txs;
use dodona_txm::Config;

use crate::scene::{CHAIN, Scene, gwei, nonce_of};

/// Nonces of all transactions in the order they were queued.
async fn nonces(scene: &Scene) -> Vec<Option<u64>> {
    scene.txs().await.iter().map(|tx| tx.nonce).collect()
}

#[tokio::test]
async fn nonces_come_from_the_database_in_the_order_of_the_queue() {
    for mut scene in Scene::both().await {
        for _ in 0..3 {
            scene.queue(&scene.payment()).await;
        }
        scene.broadcast().await;
        scene.queue(&scene.payment()).await;
        // A new process, and an endpoint that has lost its pool: it would begin with 0 again.
        scene.anvil.drop_all_transactions().await;
        scene.restarts();
        scene.broadcast().await;
        assert_eq!(nonces(&scene).await, [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(scene.key_state().await.next_nonce, 4);
        for tx in scene.txs().await {
            let attempts = scene.attempts(tx.id).await;
            assert_eq!(
                attempts.iter().map(nonce_of).collect::<Vec<_>>(),
                [tx.nonce.unwrap()]
            );
        }
    }
}

#[tokio::test]
async fn a_key_that_was_used_before_goes_on_where_the_chain_is() {
    for mut scene in Scene::both().await {
        for nonce in 0..2 {
            scene.send_raw(&scene.foreign(nonce, gwei(50))).await;
        }
        scene.mine(1).await;
        // One more is in the pool only.
        scene.send_raw(&scene.foreign(2, gwei(50))).await;
        scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        assert_eq!(nonces(&scene).await, [Some(3)]);
        scene.mine(1).await;
        assert_eq!(scene.txs().await[0].state, State::Mined);
    }
}

#[tokio::test]
async fn a_database_that_fell_behind_moves_forward_and_one_that_is_ahead_stays() {
    for mut scene in Scene::both().await {
        scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.mine(1).await;
        // Somebody else, or we before the database was restored.
        for nonce in 1..4 {
            scene.send_raw(&scene.foreign(nonce, gwei(50))).await;
        }
        scene.mine(1).await;
        scene.restarts();
        scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        assert_eq!(nonces(&scene).await, [Some(0), Some(4)]);

        scene.anvil.drop_all_transactions().await;
        scene.restarts();
        scene.broadcast().await;
        assert_eq!(
            scene.key_state().await.next_nonce,
            5,
            "what was signed is remembered"
        );
    }
}

#[tokio::test]
async fn without_auto_sync_the_chain_is_not_asked() {
    let adapt = |config| Config {
        nonce_auto_sync: false,
        ..config
    };
    for mut scene in Scene::both_with(adapt).await {
        scene.endpoint.asked("eth_getTransactionCount");
        scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        assert_eq!(nonces(&scene).await, [Some(0)]);
        assert!(scene.endpoint.asked("eth_getTransactionCount").is_empty());
    }
}

#[tokio::test]
async fn no_more_than_the_limit_is_in_flight() {
    for mut scene in Scene::both().await {
        for _ in 0..20 {
            scene.queue(&scene.payment()).await;
        }
        scene.broadcast().await;
        let signed = |all: &[Option<u64>]| all.iter().flatten().count();
        assert_eq!(signed(&nonces(&scene).await), 16);
        scene.broadcast().await;
        assert_eq!(signed(&nonces(&scene).await), 16);
        scene.mine(1).await;
        scene.broadcast().await;
        assert_eq!(signed(&nonces(&scene).await), 20);
        scene.mine(1).await;
        for tx in scene.txs().await {
            assert_eq!(tx.state, State::Mined);
        }
        assert_eq!(scene.anvil.nonce(scene.key).await, 20);
    }
}

#[tokio::test]
async fn a_nonce_that_somebody_else_used_is_given_up_and_the_transaction_goes_out_under_a_new_one()
{
    for mut scene in Scene::both().await {
        scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        scene.mine(1).await;
        // Our endpoint says nothing of the foreign one until it is mined.
        let (lost, run) = scene.queue_awaited(scene.payment()).await;
        scene.endpoint.is_down(true);
        let _ = dodona_runtime::Service::tick(&mut scene.broadcaster, &scene.lead).await;
        scene.send_raw(&scene.foreign(1, gwei(50))).await;
        scene.anvil.mine(1).await;
        scene.endpoint.is_down(false);
        scene.follow().await;
        scene.broadcast().await;
        let reason = scene.key_state().await.reason;
        assert!(reason.contains("nonce is already used"), "{reason}");

        scene.mine(1).await;
        assert_ne!(
            scene.tx(lost).await.state,
            State::Dead,
            "receipts can lag behind counts"
        );
        scene.mine(3).await;
        let old = scene.tx(lost).await;
        assert_eq!(
            (old.state, old.nonce, old.superseded),
            (State::Dead, Some(1), true)
        );
        assert!(
            old.reason
                .contains("was used by a transaction that is not this node's")
        );

        scene.broadcast().await;
        scene.mine(3).await;
        let new = scene.txs().await.pop().unwrap();
        assert_eq!((new.state, new.nonce), (State::Mined, Some(2)));
        assert_eq!(scene.key_state().await.reason, "");
        assert!(scene.told(run).await.expect("it was told").is_ok());
    }
}

#[tokio::test]
async fn a_nonce_taken_in_the_pool_by_somebody_else_is_outbid() {
    for mut scene in Scene::both().await {
        scene.send_raw(&scene.foreign(0, gwei(150))).await;
        scene.settings(|config| Config {
            nonce_auto_sync: false,
            ..config
        });
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        let tx = scene.tx(id).await;
        assert_eq!((tx.state, tx.nonce), (State::Sent, Some(0)));
        scene.mine(1).await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
    }
}

#[tokio::test]
async fn what_was_given_up_or_superseded_is_not_queued_again_when_its_nonce_is_lost() {
    for mut scene in Scene::both().await {
        let (old, _) = scene.queue_awaited(scene.payment()).await;
        scene.endpoint.refuses_transactions("txpool is full");
        scene.broadcast().await;
        let mut lead = scene.lead.begin().await.unwrap();
        assert!(txs::give_up(&mut lead, old, "hopeless").await.unwrap());
        lead.commit().await.unwrap();

        scene.send_raw(&scene.foreign(0, gwei(50))).await;
        scene.mine(5).await;
        assert_eq!(scene.tx(old).await.state, State::Dead);
        assert_eq!(scene.txs().await.len(), 1, "nothing is left to be sent");
    }
}

#[tokio::test]
async fn a_newer_answer_is_not_overwritten_by_the_one_it_took_over_from() {
    for mut scene in Scene::both().await {
        let (old, _) = scene.queue_awaited(scene.payment()).await;
        scene.endpoint.refuses_transactions("txpool is full");
        scene.broadcast().await;
        // Lost once, and its task asked for something else since.
        scene
            .base
            .execute(&format!("UPDATE txs SET superseded = 1 WHERE id = {old}"))
            .await;
        let task = scene.tx(old).await.spec.task_run_id;
        let newer = txs::NewTx {
            payload: vec![9, 9, 9].into(),
            task_run_id: task,
            ..scene.payment()
        };
        let newer = scene.queue(&newer).await;
        scene.send_raw(&scene.foreign(0, gwei(50))).await;
        scene.mine(5).await;
        assert_eq!(scene.tx(old).await.state, State::Dead);
        let newer = scene.tx(newer).await;
        assert_eq!(newer.spec.payload.as_ref(), [9, 9, 9]);
        assert_eq!(newer.payload_version, 1);
    }
}

#[tokio::test]
async fn each_key_has_its_own_nonces_and_waits_for_no_other() {
    for mut scene in Scene::both().await {
        let (other, mut theirs) = scene.another_key().await;
        scene.anvil.set_balance(scene.key, Default::default()).await;
        let stuck = scene.queue(&scene.payment()).await;
        let free = txs::NewTx {
            from: other,
            ..scene.payment()
        };
        let free = scene.queue(&free).await;
        scene.broadcast().await;
        dodona_runtime::Service::tick(&mut theirs, &scene.lead)
            .await
            .unwrap();
        scene.mine(1).await;
        assert_eq!(scene.tx(stuck).await.state, State::Signed);
        assert_eq!(scene.tx(free).await.state, State::Mined);
        assert_eq!(scene.tx(free).await.nonce, Some(0));
        let mut conn = scene.read().await;
        let highest = txs::highest_nonce(&mut conn, CHAIN, other).await.unwrap();
        assert_eq!(highest, Some(0));
    }
}

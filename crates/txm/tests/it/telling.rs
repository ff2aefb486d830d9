//! The task that waits for a transaction is told, once, when it is deep enough.

use dodona_model::run;
use dodona_store::runs;
use dodona_store::txs::NewTx;
use dodona_testkit::contracts::Operator;

use crate::scene::Scene;

#[tokio::test]
async fn n_confirmations_are_n_blocks_on_top_of_the_receipts() {
    for mut scene in Scene::both().await {
        for wanted in [1, 3] {
            let new = NewTx {
                min_confirmations: Some(wanted),
                ..scene.payment()
            };
            let (id, run) = scene.queue_awaited(new).await;
            scene.broadcast().await;
            scene.mine(wanted).await;
            assert!(scene.told(run).await.is_none(), "{wanted}");
            scene.mine(1).await;
            let receipt = scene.told(run).await.expect("it is told").unwrap();
            let hash = scene.attempts(id).await[0].signed.hash.to_string();
            assert!(receipt.contains(&hash), "{receipt}");
            assert_eq!(scene.run(run).await.state, run::State::Running);
            assert!(!scene.tx(id).await.spec.signal_needed);
        }
    }
}

#[tokio::test]
async fn without_a_number_it_is_told_when_that_is_final() {
    for mut scene in Scene::both().await {
        let new = NewTx {
            min_confirmations: None,
            ..scene.payment()
        };
        let (_, run) = scene.queue_awaited(new).await;
        scene.broadcast().await;
        scene.mine(12).await;
        assert!(scene.told(run).await.is_none());
        scene.mine(1).await;
        assert!(scene.told(run).await.expect("it is told").is_ok());
    }
}

#[tokio::test]
async fn a_task_is_told_once() {
    for mut scene in Scene::both().await {
        let (_, run) = scene.queue_awaited(scene.payment()).await;
        scene.broadcast().await;
        scene.mine(2).await;
        let before = scene.told(run).await.expect("it is told");
        // It goes on, and comes to its end.
        scene
            .base
            .execute(&format!(
                "UPDATE runs SET state = 'completed' WHERE id = {run}"
            ))
            .await;
        scene.mine(15).await;
        assert_eq!(scene.told(run).await, Some(before));
        assert_eq!(scene.run(run).await.state, run::State::Completed);
    }
}

#[tokio::test]
async fn a_revert_is_the_tasks_error_only_where_the_job_says_so() {
    for mut scene in Scene::both().await {
        scene.anvil.set_automine(true).await;
        let owner = scene.anvil.accounts()[0];
        // Anything that reverts will do: an operator contract that the key may not use.
        let world = dodona_testkit::contracts::World::deploy(&scene.anvil).await;
        scene.anvil.hold_blocks().await;
        scene.follow().await;
        let call = Operator::setAuthorizedSendersCall {
            senders: vec![owner],
        };
        let data = alloy::sol_types::SolCall::abi_encode(&call);
        for strict in [true, false] {
            let new = NewTx {
                to: world.operator,
                payload: data.clone().into(),
                fail_on_revert: strict,
                ..scene.payment()
            };
            let (id, run) = scene.queue_awaited(new).await;
            scene.broadcast().await;
            scene.mine(2).await;
            let told = scene.told(run).await.expect("it is told");
            assert!(!scene.tx(id).await.mined.unwrap().succeeded);
            match told {
                Err(error) => {
                    assert!(strict);
                    assert!(error.contains("reverted in block"), "{error}");
                }
                Ok(receipt) => {
                    assert!(!strict);
                    assert!(receipt.contains("\"status\":\"0x0\""), "{receipt}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_is_gone_stops_nobody_from_being_told() {
    for mut scene in Scene::both().await {
        let (_, gone) = scene.queue_awaited(scene.payment()).await;
        let (_, there) = scene.queue_awaited(scene.payment()).await;
        scene
            .base
            .execute(&format!("DELETE FROM runs WHERE id = {gone}"))
            .await;
        scene
            .base
            .execute(&format!("DELETE FROM task_runs WHERE run_id = {gone}"))
            .await;
        scene.broadcast().await;
        scene.mine(2).await;
        assert!(scene.told(there).await.expect("it is told").is_ok());
        for tx in scene.txs().await {
            assert!(!tx.spec.signal_needed, "and nobody is told for ever");
        }
    }
}

/// A run that works again is not told about what it asked for before.
#[tokio::test]
async fn a_run_that_does_not_wait_is_told_when_it_waits_again() {
    for mut scene in Scene::both().await {
        let (id, run) = scene.queue_awaited(scene.payment()).await;
        scene.broadcast().await;
        let task = scene.tx(id).await.spec.task_run_id.unwrap();
        let mut tx = scene.store.begin().await.unwrap();
        runs::run_again(&mut tx, run, "{}").await.unwrap();
        tx.commit().await.unwrap();
        scene.mine(2).await;
        assert!(scene.told(run).await.is_none(), "it is at work");

        scene.suspend(run, task).await;
        let same = scene.tx(id).await.spec;
        let again = NewTx {
            signal_needed: true,
            ..same
        };
        assert_eq!(scene.queue(&again).await, id);
        scene.mine(1).await;
        assert!(scene.told(run).await.expect("it is told").is_ok());
    }
}

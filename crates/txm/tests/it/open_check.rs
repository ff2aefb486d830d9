//! Before the first signature the chain is asked whether the request is still open.

use dodona_model::request::State as Request;
use dodona_model::tx::State;
use dodona_model::{U256, request};
use dodona_runtime::Service;
use dodona_store::txs::NewTx;

use crate::endpoint::{Reply, refuse, revert};
use crate::scene::{Oracle, SOMEBODY};

const CALL: &str = "eth_call";

#[tokio::test]
async fn an_open_request_is_answered() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, run) = oracle.asked_and_answered().await;
        oracle.scene.broadcast().await;
        assert_eq!(oracle.scene.tx(id).await.state, State::Sent);
        oracle.scene.mine(2).await;
        assert_eq!(oracle.world.answer(asked.id).await, Some(U256::from(7)));
        assert_eq!(oracle.request_state(row).await, Request::Answered);
        assert!(oracle.scene.told(run).await.expect("it was told").is_ok());
        oracle.scene.mine(15).await;
        assert_eq!(oracle.request_state(row).await, Request::Fulfilled);
        assert_eq!(oracle.scene.tx(id).await.state, State::Final);
    }
}

#[tokio::test]
async fn a_request_that_somebody_else_answered_is_given_up_after_three_looks() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, run) = oracle.asked_and_answered().await;
        let rival = oracle.world.owner;
        oracle.scene.anvil.set_automine(true).await;
        oracle
            .world
            .set_authorized(&[oracle.scene.key, rival])
            .await;
        oracle.scene.anvil.hold_blocks().await;
        oracle
            .somebody_sends(&oracle.world.fulfillment_call(&asked, U256::from(1)))
            .await;
        for look in 1..=3 {
            let tx = oracle.scene.tx(id).await;
            assert_eq!((tx.state, tx.checks_failed), (State::Queued, look - 1));
            oracle.scene.broadcast().await;
            oracle.scene.time_passes().await;
        }
        let tx = oracle.scene.tx(id).await;
        assert_eq!((tx.state, tx.nonce), (State::Dead, None));
        assert!(
            tx.reason.contains("does not have this request"),
            "{}",
            tx.reason
        );
        assert_eq!(oracle.request_state(row).await, Request::Failed);
        assert_eq!(oracle.scene.keys.signed(), 0);
        assert_eq!(oracle.scene.anvil.nonce(oracle.scene.key).await, 0);

        oracle.scene.confirm().await;
        let told = oracle
            .scene
            .told(run)
            .await
            .expect("it is told")
            .unwrap_err();
        assert!(told.starts_with("task run failed: "), "{told}");
    }
}

#[tokio::test]
async fn between_two_looks_there_is_a_pause() {
    for mut oracle in Oracle::both().await {
        let (_, _, id, _) = oracle.asked_and_answered().await;
        oracle
            .scene
            .endpoint
            .on(CALL, |_| revert("Must have a valid requestId"));
        for _ in 0..4 {
            oracle.scene.broadcast().await;
        }
        assert_eq!(oracle.scene.tx(id).await.checks_failed, 1);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_behind_the_request_does_not_cost_its_answer() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, _) = oracle.asked_and_answered().await;
        // Its latest state is older than the request; of the block we stand on it knows nothing.
        oracle
            .scene
            .endpoint
            .on(CALL, |params| match params[1].as_str() {
                Some("latest") => revert("Must have a valid requestId"),
                _ => refuse("header not found"),
            });
        for _ in 0..6 {
            oracle.scene.broadcast().await;
            oracle.scene.time_passes().await;
        }
        assert_eq!(oracle.scene.tx(id).await.state, State::Queued);
        assert_eq!(oracle.request_state(row).await, Request::Open);
        oracle.scene.endpoint.as_usual(CALL);
        oracle.scene.broadcast().await;
        oracle.scene.mine(1).await;
        assert_eq!(oracle.world.answer(asked.id).await, Some(U256::from(7)));
    }
}

#[tokio::test]
async fn a_refusal_for_another_reason_is_waited_out_and_holds_up_nobody() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, _) = oracle.asked_and_answered().await;
        oracle.scene.anvil.set_automine(true).await;
        oracle.world.set_authorized(&[oracle.world.owner]).await;
        oracle.scene.anvil.hold_blocks().await;
        oracle.scene.follow().await;
        let other = oracle.scene.queue(&oracle.scene.payment()).await;
        for _ in 0..5 {
            oracle.scene.broadcast().await;
            oracle.scene.time_passes().await;
        }
        let tx = oracle.scene.tx(id).await;
        assert_eq!(tx.state, State::Queued);
        assert_eq!(
            tx.reason,
            "the contract would refuse the answer: Not authorized sender"
        );
        assert_eq!(oracle.request_state(row).await, Request::Open);
        assert_eq!(oracle.scene.tx(other).await.nonce, Some(0));

        oracle.scene.anvil.set_automine(true).await;
        oracle.world.set_authorized(&[oracle.scene.key]).await;
        oracle.scene.anvil.hold_blocks().await;
        oracle.scene.follow().await;
        oracle.scene.time_passes().await;
        oracle.scene.broadcast().await;
        oracle.scene.mine(1).await;
        assert_eq!(oracle.world.answer(asked.id).await, Some(U256::from(7)));
    }
}

#[tokio::test]
async fn a_refusal_that_lasts_ends_the_answer_with_its_reason() {
    for mut oracle in Oracle::both().await {
        let (_, row, id, _) = oracle.asked_and_answered().await;
        oracle
            .scene
            .endpoint
            .on(CALL, |_| revert("Not authorized sender"));
        for _ in 0..20 {
            assert_eq!(oracle.scene.tx(id).await.state, State::Queued);
            oracle.scene.broadcast().await;
            oracle.scene.time_passes().await;
        }
        let tx = oracle.scene.tx(id).await;
        assert_eq!(tx.state, State::Dead);
        assert!(tx.reason.contains("Not authorized sender"), "{}", tx.reason);
        assert_eq!(oracle.request_state(row).await, Request::Failed);
    }
}

#[tokio::test]
async fn an_odd_answer_about_one_request_holds_up_no_other() {
    for mut oracle in Oracle::both().await {
        let (asked, _, odd, _) = oracle.asked_and_answered().await;
        let (other, row) = oracle.ask().await;
        let good = oracle.scene.queue(&oracle.answer(&other, row, 8)).await;
        let mark = asked.id.to_string().trim_start_matches("0x").to_owned();
        oracle.scene.endpoint.on(CALL, move |params| {
            match params[0]["data"]
                .as_str()
                .is_some_and(|data| data.contains(&mark))
            {
                true => refuse("the gas allowance is not what it used to be"),
                false => Reply::Pass,
            }
        });
        oracle.scene.broadcast().await;
        assert_eq!(oracle.scene.tx(good).await.state, State::Sent);
        let tx = oracle.scene.tx(odd).await;
        assert_eq!(tx.state, State::Queued);
        assert!(tx.reason.contains("gas allowance"), "{}", tx.reason);
        // An endpoint that never can say does not decide about an answer: in the end the chain does.
        for _ in 0..3 {
            oracle.scene.time_passes().await;
            oracle.scene.broadcast().await;
        }
        assert_eq!(oracle.scene.tx(odd).await.state, State::Sent);
        oracle.scene.mine(1).await;
        assert_eq!(oracle.world.answer(asked.id).await, Some(U256::from(7)));
    }
}

#[tokio::test]
async fn while_nobody_can_be_asked_nothing_is_signed() {
    for mut oracle in Oracle::both().await {
        let (_, row, id, _) = oracle.asked_and_answered().await;
        oracle.scene.endpoint.is_down(true);
        for _ in 0..4 {
            oracle
                .scene
                .broadcaster
                .tick(&oracle.scene.lead)
                .await
                .unwrap_err();
        }
        let tx = oracle.scene.tx(id).await;
        assert_eq!((tx.state, tx.checks_failed), (State::Queued, 0));
        assert_eq!(oracle.request_state(row).await, Request::Open);
    }
}

#[tokio::test]
async fn an_answer_waits_while_its_request_is_off_the_chain() {
    for mut oracle in Oracle::both().await {
        let (asked, row, id, _) = oracle.asked_and_answered().await;
        oracle.happens(row, request::Event::Orphaned).await;
        oracle.scene.broadcast().await;
        assert_eq!(oracle.scene.tx(id).await.state, State::Queued);
        assert_eq!(oracle.scene.keys.signed(), 0);
        oracle.comes_back(row).await;
        oracle.scene.broadcast().await;
        oracle.scene.mine(1).await;
        assert_eq!(oracle.world.answer(asked.id).await, Some(U256::from(7)));
    }
}

#[tokio::test]
async fn an_answer_whose_request_never_comes_back_is_given_up_when_that_is_final() {
    for mut oracle in Oracle::both().await {
        let (_, row, id, run) = oracle.asked_and_answered().await;
        oracle.happens(row, request::Event::Orphaned).await;
        oracle.scene.mine(5).await;
        assert_eq!(oracle.scene.tx(id).await.state, State::Queued);
        oracle.scene.mine(10).await;
        let tx = oracle.scene.tx(id).await;
        assert_eq!(tx.state, State::Dead);
        assert!(tx.reason.contains("left the chain"), "{}", tx.reason);
        oracle.scene.confirm().await;
        let told = oracle
            .scene
            .told(run)
            .await
            .expect("it is told")
            .unwrap_err();
        assert!(told.contains("left the chain"), "{told}");
    }
}

#[tokio::test]
async fn an_answer_left_behind_by_a_cancellation_is_given_up_too() {
    for mut oracle in Oracle::both().await {
        let (_, row, id, run) = oracle.asked_and_answered().await;
        oracle.happens(row, request::Event::Cancelled).await;
        oracle.scene.mine(15).await;
        assert_eq!(oracle.scene.tx(id).await.state, State::Dead);
        assert!(oracle.scene.told(run).await.expect("it is told").is_err());
    }
}

#[tokio::test]
async fn other_transactions_are_not_asked_about() {
    for mut oracle in Oracle::both().await {
        oracle.scene.endpoint.asked(CALL);
        let plain = NewTx {
            to: SOMEBODY,
            ..oracle.scene.payment()
        };
        let id = oracle.scene.queue(&plain).await;
        oracle.scene.broadcast().await;
        assert_eq!(oracle.scene.tx(id).await.state, State::Sent);
        assert!(oracle.scene.endpoint.asked(CALL).is_empty());
    }
}

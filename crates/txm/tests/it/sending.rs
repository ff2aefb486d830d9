//! What is signed is stored before it is sent, and only what is stored is sent.

use alloy::consensus::{Transaction, Typed2718};
use dodona_model::tx::State;
use dodona_runtime::Service;
use dodona_store::LeadError;
use dodona_store::txs::Fee;
use dodona_testkit::anvil::Options;
use dodona_testkit::until;
use dodona_txm::Config;
use dodona_txm::fees::{FeeConfig, Mode};

use crate::base::Base;
use crate::scene::{Scene, config, gwei, lead, read};

const SEND: &str = "eth_sendRawTransaction";

#[tokio::test]
async fn an_attempt_is_stored_before_an_endpoint_hears_of_it() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.endpoint.holds(Some(SEND));
        let (broadcaster, endpoint, store) =
            (&mut scene.broadcaster, &scene.endpoint, &scene.store);
        let (round, ()) = tokio::join!(broadcaster.tick(&scene.lead), async {
            let handed = until("it is handed out", async || endpoint.handed().pop()).await;
            let mut conn = store.read().await.unwrap();
            let tx = dodona_store::txs::find(&mut conn, id)
                .await
                .unwrap()
                .unwrap();
            assert_eq!((tx.state, tx.nonce), (State::Signed, Some(0)));
            let attempts = dodona_store::txs::attempts(&mut conn, id).await.unwrap();
            assert_eq!(attempts.len(), 1);
            assert_eq!(attempts[0].signed.raw, handed);
            endpoint.holds(None);
        });
        round.unwrap();
        assert_eq!(scene.tx(id).await.state, State::Sent);
    }
}

#[tokio::test]
async fn while_no_endpoint_answers_the_signed_bytes_wait_and_later_the_same_ones_are_sent() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene.endpoint.on(SEND, |_| {
            crate::endpoint::Reply::Refuse(-32000, "503 Service Unavailable".to_owned())
        });
        for _ in 0..3 {
            scene.broadcast().await;
        }
        let tx = scene.tx(id).await;
        assert_eq!(tx.state, State::Signed);
        assert!(
            tx.reason
                .contains("endpoints could not be reached or refuse for now"),
            "{}",
            tx.reason
        );
        assert!(
            scene
                .key_state()
                .await
                .reason
                .contains("could not be reached")
        );
        let attempts = scene.attempts(id).await;
        assert_eq!(attempts.len(), 1);
        assert!(!attempts[0].accepted);

        scene.restarts();
        scene.endpoint.takes_transactions();
        scene.endpoint.handed();
        scene.broadcast().await;
        assert_eq!(
            scene.endpoint.handed(),
            std::slice::from_ref(&attempts[0].signed.raw)
        );
        assert_eq!(scene.keys.signed(), 1);
        assert_eq!(scene.tx(id).await.state, State::Sent);
        assert_eq!(scene.key_state().await.reason, "");
    }
}

#[tokio::test]
async fn what_a_dead_predecessor_sent_already_is_as_good_as_sent() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene
            .endpoint
            .refuses_transactions("503 Service Unavailable");
        scene.broadcast().await;
        // It had reached the chain after all.
        let raw = scene.attempts(id).await[0].signed.raw.clone();
        scene.send_raw(&raw).await;
        scene.endpoint.takes_transactions();
        scene.restarts();
        scene.broadcast().await;
        assert_eq!(scene.tx(id).await.state, State::Sent);
        scene.mine(1).await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
        assert_eq!(scene.anvil.nonce(scene.key).await, 1);
    }
}

#[tokio::test]
async fn what_was_mined_before_anybody_knew_that_it_was_sent_counts() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        scene
            .endpoint
            .refuses_transactions("503 Service Unavailable");
        scene.broadcast().await;
        let raw = scene.attempts(id).await[0].signed.raw.clone();
        scene.send_raw(&raw).await;
        scene.mine(1).await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
    }
}

#[tokio::test]
async fn transactions_are_of_the_type_the_chain_is_configured_for() {
    for dynamic in [true, false] {
        let fees = FeeConfig {
            dynamic,
            ..config().fees
        };
        let config = Config { fees, ..config() };
        let mut scene = Scene::build(Base::sqlite(), Options::default(), config).await;
        let id = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        let attempt = scene.attempts(id).await.remove(0);
        let envelope = read(&attempt.signed.raw);
        assert_eq!(envelope.ty(), if dynamic { 2 } else { 0 });
        assert_eq!(envelope.chain_id(), Some(crate::scene::CHAIN));
        assert_eq!(envelope.gas_limit(), 100_000);
        match attempt.signed.fee {
            Fee::Dynamic { fee_cap, tip_cap } => {
                assert_eq!((fee_cap, tip_cap), (gwei(100), gwei(1)));
                assert_eq!(envelope.max_fee_per_gas(), fee_cap.to::<u128>());
            }
            Fee::Legacy { gas_price } => {
                assert_eq!(gas_price, gwei(20));
                assert_eq!(envelope.gas_price(), Some(gas_price.to()));
            }
        }
        scene.mine(1).await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
    }
}

#[tokio::test]
async fn a_chain_without_a_base_fee_gets_legacy_transactions_at_its_price() {
    let fees = FeeConfig {
        dynamic: false,
        mode: Mode::Market,
        ..config().fees
    };
    let options = Options {
        hardfork: Some("berlin"),
        ..Options::default()
    };
    let config = Config { fees, ..config() };
    let mut scene = Scene::build(Base::sqlite(), options, config).await;
    let id = scene.queue(&scene.payment()).await;
    scene.broadcast().await;
    let price: alloy::primitives::U256 =
        scene.anvil.rpc("eth_gasPrice", serde_json::json!([])).await;
    let attempt = scene.attempts(id).await.remove(0);
    let expected = price.max(scene.config.fees.price_min);
    assert_eq!(
        attempt.signed.fee,
        Fee::Legacy {
            gas_price: expected
        }
    );
    scene.mine(1).await;
    assert_eq!(scene.tx(id).await.state, State::Mined);
}

#[tokio::test]
async fn the_markets_fee_is_paid_where_the_operator_wants_it() {
    let fees = FeeConfig {
        mode: Mode::Market,
        ..config().fees
    };
    let config = Config { fees, ..config() };
    let mut scene = Scene::build(Base::sqlite(), Options::default(), config).await;
    scene.anvil.set_next_block_base_fee(8_000_000_000).await;
    scene.mine(1).await;
    let id = scene.queue(&scene.payment()).await;
    scene.broadcast().await;
    let attempt = scene.attempts(id).await.remove(0);
    let Fee::Dynamic { fee_cap, tip_cap } = attempt.signed.fee else {
        panic!("the chain has a base fee");
    };
    assert!(fee_cap > gwei(12) && fee_cap < gwei(20), "{fee_cap}");
    assert!(tip_cap > alloy::primitives::U256::ZERO);
    scene.mine(1).await;
    assert_eq!(scene.tx(id).await.state, State::Mined);
}

#[tokio::test]
async fn a_deposed_leader_stores_nothing_and_sends_nothing() {
    for mut scene in Scene::both().await {
        // One is signed and was never taken, one waits to be signed, one was sent and is due again.
        let sent = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        assert_eq!(scene.tx(sent).await.state, State::Sent);
        scene
            .endpoint
            .refuses_transactions("503 Service Unavailable");
        let signed = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        let queued = scene.queue(&scene.payment()).await;
        scene
            .base
            .execute("UPDATE txs SET last_sent_at = NULL")
            .await;
        scene.endpoint.takes_transactions();
        scene.endpoint.handed();

        scene.lead.release().await.unwrap();
        let successor = lead(&scene.store, "another").await;
        for cause in [
            scene.broadcaster.tick(&scene.lead).await.err(),
            scene.confirmer.tick(&scene.lead).await.err(),
        ] {
            let cause = cause.expect("it does not lead");
            assert!(
                matches!(cause.downcast_ref(), Some(LeadError::Deposed(_))),
                "{cause:#}"
            );
        }
        assert!(
            scene.endpoint.handed().is_empty(),
            "the successor sends what is to be sent"
        );
        assert_eq!(scene.tx(signed).await.state, State::Signed);
        assert_eq!(scene.tx(queued).await.state, State::Queued);
        assert!(scene.attempts(queued).await.is_empty());

        scene.lead = successor;
        scene.restarts();
        scene.broadcast().await;
        scene.confirm().await;
        scene.mine(1).await;
        for id in [sent, signed, queued] {
            assert_eq!(scene.tx(id).await.state, State::Mined);
        }
        assert_eq!(scene.anvil.nonce(scene.key).await, 3);
    }
}

#[tokio::test]
async fn a_key_that_does_not_move_has_a_stated_reason() {
    for mut scene in Scene::both().await {
        let id = scene.queue(&scene.payment()).await;
        for (text, reason) in [
            ("txpool is full", "pool is full"),
            ("nonce too high", "misses a lower nonce"),
            (
                "tx fee (1.5 ether) exceeds the configured cap (1.0 ether)",
                "endpoint's own cap",
            ),
            (
                "the moon is in the wrong house",
                "a text this version does not know: the moon",
            ),
        ] {
            scene.endpoint.refuses_transactions(text);
            scene.broadcast().await;
            let told = scene.key_state().await.reason;
            assert!(told.contains(reason), "{text}: {told}");
            assert_eq!(scene.tx(id).await.reason, told);
        }
        assert_eq!(
            scene.attempts(id).await.len(),
            1,
            "none of that calls for another fee"
        );
        scene.endpoint.takes_transactions();
        scene.broadcast().await;
        assert_eq!(scene.key_state().await.reason, "");
        assert_eq!(scene.tx(id).await.reason, "");
    }
}

#[tokio::test]
async fn a_signer_that_refuses_stops_nothing_half() {
    for mut scene in Scene::both().await {
        let stranger = dodona_store::txs::NewTx {
            from: alloy::primitives::Address::repeat_byte(0x99),
            ..scene.payment()
        };
        let mut tx = scene.store.begin().await.unwrap();
        dodona_store::keys::enable(
            &mut tx,
            crate::scene::CHAIN,
            stranger.from,
            crate::scene::NOW,
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let id = scene.queue(&stranger).await;
        scene.key = stranger.from;
        scene.restarts();
        let text = format!(
            "{:#}",
            scene.broadcaster.tick(&scene.lead).await.unwrap_err()
        );
        assert!(text.contains("cannot sign: there is no such key"), "{text}");
        assert_eq!(scene.tx(id).await.state, State::Queued);
        assert_eq!(scene.key_state().await.next_nonce, 0);
    }
}

//! Keys without money, and fees that are never enough.

use dodona_model::U256;
use dodona_model::tx::State;
use dodona_store::txs::Fee;
use dodona_txm::Config;
use dodona_txm::fees::FeeConfig;

use crate::endpoint::{Reply, refuse};
use crate::scene::{Scene, ether, gwei, nonce_of};

fn fee_cap(fee: &Fee) -> U256 {
    match *fee {
        Fee::Dynamic { fee_cap, .. } => fee_cap,
        Fee::Legacy { gas_price } => gas_price,
    }
}

#[tokio::test]
async fn a_key_without_funds_says_so_and_goes_on_once_it_has_some() {
    for mut scene in Scene::both().await {
        scene.anvil.set_balance(scene.key, U256::ZERO).await;
        let first = scene.queue(&scene.payment()).await;
        let second = scene.queue(&scene.payment()).await;
        for _ in 0..3 {
            scene.broadcast().await;
        }
        let reason = scene.key_state().await.reason;
        assert!(reason.contains("not enough native coin"), "{reason}");
        assert_eq!(scene.tx(first).await.state, State::Signed);
        assert_eq!(
            scene.attempts(first).await.len(),
            1,
            "a higher fee is no help"
        );

        // What comes meanwhile is not signed: who knows what it is worth by then.
        let third = scene.queue(&scene.payment()).await;
        scene.broadcast().await;
        assert_eq!(scene.tx(third).await.state, State::Queued);

        scene.anvil.set_balance(scene.key, ether(1)).await;
        scene.broadcast().await;
        scene.broadcast().await;
        assert_eq!(scene.key_state().await.reason, "");
        scene.mine(1).await;
        for id in [first, second, third] {
            assert_eq!(scene.tx(id).await.state, State::Mined);
        }
    }
}

#[tokio::test]
async fn a_fee_an_endpoint_finds_too_low_is_raised_by_ten_percent_or_more_at_the_same_nonce() {
    for dynamic in [true, false] {
        let adapt = |config: Config| Config {
            fees: FeeConfig {
                dynamic,
                ..config.fees.clone()
            },
            ..config
        };
        for mut scene in Scene::both_with(adapt).await {
            let seen = std::sync::atomic::AtomicUsize::new(0);
            scene.endpoint.on("eth_sendRawTransaction", move |_| {
                match seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0..3 => refuse("transaction underpriced"),
                    _ => Reply::Pass,
                }
            });
            let id = scene.queue(&scene.payment()).await;
            scene.broadcast().await;
            assert_eq!(scene.tx(id).await.state, State::Sent);
            let attempts = scene.attempts(id).await;
            assert_eq!(attempts.len(), 4);
            for pair in attempts.windows(2) {
                let (old, new) = (&pair[0], &pair[1]);
                assert_eq!(nonce_of(old), nonce_of(new));
                let (before, after) = (fee_cap(&old.signed.fee), fee_cap(&new.signed.fee));
                assert!(after * U256::from(10) >= before * U256::from(11));
                if let (Fee::Dynamic { tip_cap: a, .. }, Fee::Dynamic { tip_cap: b, .. }) =
                    (old.signed.fee, new.signed.fee)
                {
                    assert!(b * U256::from(10) >= a * U256::from(11));
                }
            }
            scene.mine(1).await;
            let tx = scene.tx(id).await;
            assert_eq!(tx.mined.unwrap().hash, attempts[3].signed.hash);
        }
    }
}

#[tokio::test]
async fn no_endpoint_makes_us_pay_more_than_the_operator_allows() {
    for mut scene in Scene::both().await {
        let own = (scene.key, gwei(200));
        scene.settings(|config| Config {
            price_max_of: vec![own],
            ..config
        });
        scene
            .endpoint
            .refuses_transactions("transaction underpriced");
        let id = scene.queue(&scene.payment()).await;
        for _ in 0..5 {
            scene.broadcast().await;
        }
        let attempts = scene.attempts(id).await;
        assert!(
            attempts.len() > 2 && attempts.len() < 8,
            "{}",
            attempts.len()
        );
        for attempt in &attempts {
            assert!(fee_cap(&attempt.signed.fee) <= gwei(200));
        }
        assert_eq!(scene.tx(id).await.state, State::Signed);
        let reason = scene.key_state().await.reason;
        assert!(reason.contains("below what endpoints take"), "{reason}");
        // What it signed is what it repeats.
        scene.endpoint.takes_transactions();
        scene.broadcast().await;
        scene.mine(1).await;
        assert_eq!(scene.tx(id).await.state, State::Mined);
    }
}

#[tokio::test]
async fn a_replacement_that_cannot_be_paid_or_sent_does_not_make_the_next_one_dearer() {
    for text in [
        "insufficient funds for gas * price + value",
        "503 Service Unavailable",
    ] {
        for mut scene in Scene::both().await {
            let id = scene.queue(&scene.payment()).await;
            scene.broadcast().await;
            scene
                .endpoint
                .on("eth_sendRawTransaction", move |_| refuse(text));
            scene.mine_without_us(14).await;
            let attempts = scene.attempts(id).await;
            assert_eq!(attempts.len(), 2, "{text}");
            assert_eq!(fee_cap(&attempts[1].signed.fee), gwei(120));
            assert!(!attempts[1].accepted);

            scene.endpoint.takes_transactions();
            scene.mine_without_us(1).await;
            assert!(
                scene.attempts(id).await[1].accepted,
                "the same bytes, once they are taken"
            );
            scene.mine_without_us(3).await;
            assert_eq!(scene.attempts(id).await.len(), 3, "and then it goes on");
        }
    }
}

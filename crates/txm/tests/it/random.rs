//! Anything happens at any moment, and in the end every payment was made exactly once.

use std::collections::BTreeMap;

use alloy::consensus::Transaction;
use dodona_model::tx::State;
use dodona_store::txs::NewTx;
use dodona_txm::Config;

use crate::base::Base;
use crate::endpoint::{Reply, refuse};
use crate::scene::{SOMEBODY, Scene, config};

const SEND: &str = "eth_sendRawTransaction";
const REFUSALS: [&str; 6] = [
    "503 Service Unavailable",
    "txpool is full",
    "transaction underpriced",
    "replacement transaction underpriced",
    "insufficient funds for gas * price + value",
    "the moon is in the wrong house",
];

/// Numbers that look random and are the same each time (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

async fn anything_happens(scene: &mut Scene, chance: &mut Chance) -> u8 {
    let mut queued = 0;
    for _ in 0..45 {
        match chance.below(14) {
            0..4 if queued < 20 => {
                queued += 1;
                let new = NewTx {
                    payload: vec![queued].into(),
                    ..scene.payment()
                };
                scene.queue(&new).await;
            }
            4 | 5 => scene.anvil.mine(1 + chance.below(3)).await,
            6 => {
                scene.set_block_gas(5_000).await;
                scene.anvil.mine(1 + chance.below(4)).await;
                scene.set_block_gas(30_000_000).await;
            }
            // Less than what may be taken for final.
            7 => {
                let depth = 1 + chance.below(4);
                if scene.anvil.block_number().await > depth + 2 {
                    scene.anvil.reorg(depth, &[]).await;
                    scene.set_block_gas(30_000_000).await;
                }
            }
            8 => {
                let text = REFUSALS[usize::try_from(chance.below(6)).unwrap()];
                scene.endpoint.on(SEND, move |_| refuse(text));
            }
            // Told that it was taken, and it was not.
            9 => scene.endpoint.swallows_transactions(),
            10 => scene.endpoint.is_down(true),
            11 => scene.anvil.drop_all_transactions().await,
            12 => scene.restarts(),
            _ => {
                scene.endpoint.is_down(false);
                scene.endpoint.on(SEND, |_| Reply::Pass);
            }
        }
        for _ in 0..chance.below(3) {
            // It may fail; it must not be wrong.
            let _ = dodona_runtime::Service::tick(&mut scene.broadcaster, &scene.lead).await;
            if chance.below(2) == 0 {
                scene.follow().await;
            }
            let _ = dodona_runtime::Service::tick(&mut scene.confirmer, &scene.lead).await;
        }
    }
    queued
}

/// How often each payment is on the chain.
async fn payments(scene: &Scene) -> BTreeMap<u8, u32> {
    let mut made = BTreeMap::new();
    for number in 0..=scene.anvil.block_number().await {
        let block = scene.anvil.block(number).await.unwrap();
        for tx in block.transactions.into_transactions() {
            if tx.to() == Some(SOMEBODY) {
                *made.entry(tx.input()[0]).or_insert(0) += 1;
            }
        }
    }
    made
}

async fn every_payment_is_made_once(base: Base, seed: u64) {
    let config = Config {
        resend_after: std::time::Duration::from_millis(1),
        ..config()
    };
    let mut scene = Scene::build(base, Default::default(), config).await;
    let queued = anything_happens(&mut scene, &mut Chance(seed)).await;
    scene.endpoint.is_down(false);
    scene.endpoint.on(SEND, |_| Reply::Pass);
    scene.follow().await;
    let url = scene.pool.clone();
    dodona_testkit::until("the endpoint is asked again", async || {
        url.latest_block().await.ok()
    })
    .await;
    for _ in 0..60 {
        scene.broadcast().await;
        scene.confirm().await;
        scene.mine(1).await;
        let txs = scene.txs().await;
        if txs.iter().all(|tx| tx.state == State::Final) {
            break;
        }
    }
    let made = payments(&scene).await;
    let expected: BTreeMap<u8, u32> = (1..=queued).map(|mark| (mark, 1)).collect();
    assert_eq!(made, expected, "seed {seed}");
    for tx in scene.txs().await {
        assert_eq!(tx.state, State::Final, "seed {seed}: {tx:?}");
    }
    let nonce = scene.anvil.nonce(scene.key).await;
    assert_eq!(nonce, u64::from(queued), "seed {seed}");
    assert_eq!(scene.key_state().await.reason, "", "seed {seed}");
}

#[tokio::test]
async fn whatever_happens_every_payment_is_made_once_and_no_nonce_is_wasted() {
    for seed in 1..=4 {
        every_payment_is_made_once(Base::sqlite(), seed * 7_919).await;
    }
    every_payment_is_made_once(Base::postgres().await, 104_729).await;
}

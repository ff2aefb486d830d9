//! The same before a real chain and the real contracts.

use dodona_chain::Config;
use dodona_testkit::anvil::{Anvil, Options};
use dodona_testkit::contracts::World;
use uuid::Uuid;

use crate::scene::{Base, View, config, pool};

async fn follow(base: Base, anvil: &Anvil, adapt: impl Fn(Config) -> Config) -> View {
    let url = anvil.http_url().parse().unwrap();
    View::of(base, adapt(config(31337)), pool(31337, &[url])).await
}

#[tokio::test]
async fn a_request_is_read_lost_with_its_block_and_read_again_where_it_is_mined_anew() {
    for base in Base::both().await {
        let anvil = Anvil::start(Options::default()).await;
        let world = World::deploy(&anvil).await;
        let mut view = follow(base, &anvil, |config| config).await;
        view.add_job(world.operator).await;
        view.scan().await;

        let asked = world
            .request_uint256(Uuid::new_v4(), "http://a", "b", 1)
            .await;
        anvil.mine(2).await;
        view.scan().await;
        assert_eq!(
            places(&view).await,
            [(asked.block_number, asked.block_hash)]
        );

        let raw = anvil.raw_transaction(asked.tx).await;
        anvil.reorg(3, &[(raw, 1)]).await;
        view.scan().await;
        let there = anvil.receipt(asked.tx).await.expect("it was mined anew");
        let there = (there.block_number.unwrap(), there.block_hash.unwrap());
        assert_eq!(there.0, asked.block_number + 1);
        assert_eq!(places(&view).await, [there]);
        assert_eq!(view.cursor().await.block.number, anvil.block_number().await);
    }
}

#[tokio::test]
async fn the_finalized_tag_of_the_chain_is_believed() {
    let anvil = Anvil::start(Options {
        slots_in_an_epoch: Some(2),
        ..Options::default()
    })
    .await;
    anvil.mine(30).await;
    let by_tag = |config: Config| Config {
        finality: dodona_chain::Finality {
            by_tag: true,
            depth: 1_000,
            offset: 1,
        },
        ..config
    };
    let mut view = follow(Base::sqlite(), &anvil, by_tag).await;
    view.scan().await;
    let cursor = view.cursor().await;
    assert_eq!((cursor.block.number, cursor.finalized), (30, 25));
}

#[tokio::test]
async fn a_chain_that_hangs_fails_the_round_and_nothing_else() {
    let anvil = Anvil::start(Options::default()).await;
    anvil.mine(5).await;
    let mut view = follow(Base::sqlite(), &anvil, |config| config).await;
    view.scan().await;
    let before = view.cursor().await;
    anvil.freeze();
    // What it was about to say when it stopped may still arrive.
    let text = loop {
        match view.tick().await {
            Ok(round) => assert!(!round.moved),
            Err(cause) => break format!("{cause:#}"),
        }
    };
    assert!(text.contains("did not answer"), "{text}");
    anvil.thaw();
    anvil.mine(1).await;
    view.scan().await;
    assert_eq!(view.cursor().await.block.number, before.block.number + 1);
}

/// Where the pending logs are.
async fn places(view: &View) -> Vec<(u64, dodona_model::B256)> {
    let mut conn = view.store.read().await.unwrap();
    let logs = dodona_store::logs::pending(&mut conn, 31337, u64::MAX >> 1, 99).await;
    logs.unwrap()
        .iter()
        .map(|log| (log.block.number, log.block.hash))
        .collect()
}

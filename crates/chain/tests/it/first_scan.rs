//! Where following a chain begins.

use dodona_chain::Config;

use crate::scene::{ORACLE, Scene};
use crate::scripted::request;

#[tokio::test]
async fn the_first_scan_stands_backfill_depth_below_the_head_and_reads_on_from_there() {
    for Scene { chain, mut view } in Scene::both(100).await {
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(8);
        chain.mine_with(&[request(ORACLE, 2)]);
        // The head is 110 and 100 is where we stand: the request in 101 is read, as is the one in 110.
        assert_eq!(chain.head().number, 110);
        view.tick().await.unwrap();
        assert_eq!(view.cursor().await.block, chain.at(100));

        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(101, 1), (110, 2)]);
    }
}

#[tokio::test]
async fn what_lies_below_the_first_scan_is_not_read() {
    for Scene { chain, mut view } in Scene::both(20).await {
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(30);
        view.scan().await;
        assert_eq!(view.pending().await, [(0, 0); 0]);
        assert!(view.canonical_at(21).await.is_none());
    }
}

#[tokio::test]
async fn a_chain_of_one_block_can_be_followed() {
    for Scene { chain, mut view } in Scene::both(0).await {
        view.scan().await;
        assert_eq!(view.cursor().await.block, chain.at(0));
        chain.mine_with(&[request(ORACLE, 1)]);
        view.scan().await;
        assert_eq!(view.pending().await, [(1, 1)]);
    }
}

#[tokio::test]
async fn backfill_skip_gives_up_what_was_missed_while_the_node_was_off_and_no_more() {
    let adapt = |config| Config {
        backfill_skip: true,
        ..config
    };
    for Scene { chain, mut view } in Scene::both_with(50, adapt).await {
        view.scan().await;
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(99);
        chain.mine_with(&[request(ORACLE, 2)]);
        view.restarts();
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(151, 2)]);

        // Only at start: what comes while it runs is all read.
        chain.mine_with(&[request(ORACLE, 3)]);
        chain.mine(99);
        view.scan().await;
        assert_eq!(view.pending().await, [(151, 2), (152, 3)]);
    }
}

#[tokio::test]
async fn backfill_skip_reads_the_last_blocks_and_the_first_of_them_too() {
    let adapt = |config| Config {
        backfill_skip: true,
        ..config
    };
    for Scene { chain, mut view } in Scene::both_with(50, adapt).await {
        view.scan().await;
        chain.mine(50);
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine_with(&[request(ORACLE, 2)]);
        chain.mine(10);
        // The head is 112; the last ten blocks below it begin with 102.
        view.restarts();
        view.scan().await;
        assert_eq!(view.pending().await, [(102, 2)]);
    }
}

#[tokio::test]
async fn backfill_skip_does_not_skip_over_a_reorganisation() {
    let adapt = |config| Config {
        backfill_skip: true,
        ..config
    };
    for Scene { chain, mut view } in Scene::both_with(50, adapt).await {
        view.scan().await;
        let carrier = chain.mine_with(&[request(ORACLE, 1)]);
        view.scan().await;
        let row = view.add_request(carrier).await;

        chain.drop_newest(1);
        chain.mine(100);
        view.restarts();
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(
            view.request(row).await.state,
            dodona_model::request::State::Orphaned
        );
        assert_eq!(view.pending().await, [(0, 0); 0]);
    }
}

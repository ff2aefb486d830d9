//! Which contracts are read, and from where on.

use dodona_chain::Config;
use dodona_model::Address;
use dodona_store::jobs;

use crate::scene::{NOW, ORACLE, Scene};
use crate::scripted::request;

const SECOND: Address = Address::repeat_byte(0x0b);

#[tokio::test]
async fn a_new_jobs_contract_gets_its_recent_past_read_once() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine_with(&[request(SECOND, 1)]);
        chain.mine(9);
        chain.mine_with(&[request(SECOND, 2)]);
        chain.mine(5);
        view.scan().await;
        assert_eq!(view.pending().await, [(0, 0); 0]);

        view.add_job(SECOND).await;
        chain.asked("eth_getLogs");
        view.scan().await;
        assert_eq!(view.pending().await, [(61, 2)], "ten blocks back, no more");
        assert_eq!(chain.asked("eth_getLogs").len(), 1);

        chain.mine_with(&[request(SECOND, 3), request(ORACLE, 4)]);
        view.scan().await;
        view.restarts();
        view.scan().await;
        assert_eq!(view.pending().await, [(61, 2), (67, 3), (67, 4)]);
        assert_eq!(
            chain.asked("eth_getLogs").len(),
            1,
            "one block, one question"
        );
    }
}

#[tokio::test]
async fn a_long_past_of_a_new_contract_is_read_in_pieces_the_endpoint_accepts() {
    let adapt = |config| Config {
        backfill_depth: 400,
        ..config
    };
    for Scene { chain, mut view } in Scene::both_with(500, adapt).await {
        chain.mine_with(&[request(SECOND, 1)]);
        chain.mine(299);
        chain.takes_ranges_of(Some(40));
        view.scan().await;
        view.add_job(SECOND).await;
        view.scan().await;
        assert_eq!(view.pending().await, [(501, 1)]);

        chain.mine_with(&[request(ORACLE, 2)]);
        view.scan().await;
        assert_eq!(view.pending().await, [(501, 1), (801, 2)]);
    }
}

#[tokio::test]
async fn the_past_of_a_new_contract_on_a_branch_we_do_not_believe_in_is_not_taken_for_read() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine(5);
        view.scan().await;
        // The chain is another one from 53 on, and the request is in the new 54.
        chain.drop_newest(3);
        chain.mine(1);
        chain.mine_with(&[request(SECOND, 1)]);
        chain.mine(1);
        view.add_job(SECOND).await;
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(54, 1)]);
    }
}

#[tokio::test]
async fn a_contract_without_jobs_is_no_longer_asked_for() {
    for Scene { chain, mut view } in Scene::both(50).await {
        let second = view.add_job(SECOND).await;
        view.scan().await;
        let mut tx = view.store.begin().await.unwrap();
        assert!(jobs::delete(&mut tx, second, NOW).await.unwrap());
        tx.commit().await.unwrap();
        chain.mine_with(&[request(SECOND, 1), request(ORACLE, 2)]);
        view.scan().await;
        assert_eq!(view.pending().await, [(51, 2)]);
    }
}

#[tokio::test]
async fn a_chain_without_jobs_is_followed_without_asking_for_logs() {
    for Scene { chain, mut view } in Scene::both(50).await {
        let mut tx = view.store.begin().await.unwrap();
        jobs::delete(&mut tx, 1, NOW).await.unwrap();
        tx.commit().await.unwrap();
        view.scan().await;
        chain.mine(300);
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(chain.asked("eth_getLogs").len(), 0);
    }
}

#[tokio::test]
async fn more_contracts_than_a_filter_holds_are_asked_for_in_parts() {
    let Scene { chain, mut view } = Scene::on(crate::scene::Base::sqlite(), 50, |c| c).await;
    for n in 0..1_500u64 {
        let mut address = Address::repeat_byte(0xcc);
        address[12..].copy_from_slice(&n.to_be_bytes());
        view.add_job(address).await;
    }
    view.scan().await;
    let last = Address::repeat_byte(0xfe);
    view.add_job(last).await;
    view.scan().await;
    chain.asked("eth_getLogs");
    chain.mine_with(&[request(ORACLE, 1), request(last, 2)]);
    view.scan().await;
    assert_eq!(view.pending().await, [(51, 1), (51, 2)]);
    let asked = chain.asked("eth_getLogs");
    let counts: Vec<usize> = asked
        .iter()
        .map(|params| params[0]["address"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 1_502);
    assert!(counts.iter().all(|count| *count <= 1_000), "{counts:?}");
}

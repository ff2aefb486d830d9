//! The chain changes its mind, and nobody tells us.

use dodona_chain::{Config, HeadWatch, Scanner};
use dodona_model::request::State;
use dodona_rpc::NodeState;
use dodona_runtime::Poke;
use dodona_testkit::until;

use crate::scene::{ORACLE, Scene, pool};
use crate::scripted::{CHAIN, Scripted, request};

#[tokio::test]
async fn a_reorganisation_of_any_depth_is_found_and_orphans_heads_logs_and_requests() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        for depth in 1..=12u8 {
            let below = chain.mine_with(&[request(ORACLE, 100 + depth)]);
            let carrier = chain.mine_with(&[request(ORACLE, depth)]);
            chain.mine(u64::from(depth) - 1);
            view.scan().await;
            let kept = view.add_request(below).await;
            let lost = view.add_request(carrier).await;

            chain.reorg(u64::from(depth));
            view.scan().await;
            view.agrees_with(&chain).await;
            let pending = view.pending().await;
            assert!(pending.contains(&(below.number, 100 + depth)), "{depth}");
            assert!(!pending.iter().any(|(_, what)| *what == depth), "{depth}");
            assert_eq!(view.request(kept).await.state, State::Open, "{depth}");
            assert_eq!(view.request(lost).await.state, State::Orphaned, "{depth}");
        }
    }
}

#[tokio::test]
async fn a_sibling_at_the_same_height_is_a_reorganisation() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine_with(&[request(ORACLE, 1)]);
        view.scan().await;
        chain.drop_newest(1);
        chain.mine_with(&[request(ORACLE, 2)]);
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(51, 2)]);
    }
}

#[tokio::test]
async fn a_reorganisation_back_restores_what_was_orphaned() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(2);
        view.scan().await;
        let first = chain.branch();

        chain.drop_newest(3);
        chain.mine(1);
        chain.mine_with(&[request(ORACLE, 2)]);
        chain.mine(1);
        view.scan().await;
        assert_eq!(view.pending().await, [(52, 2)]);

        chain.show(&first);
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(51, 1)]);
    }
}

#[tokio::test]
async fn a_chain_that_becomes_shorter_is_followed_once_it_grows() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine(3);
        chain.mine_with(&[request(ORACLE, 1)]);
        view.scan().await;

        // For now it looks like an endpoint that is behind.
        chain.drop_newest(3);
        view.scan().await;
        assert_eq!(view.cursor().await.block.number, 54);
        chain.mine(1);
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(0, 0); 0]);
    }
}

#[tokio::test]
async fn a_reorganisation_below_the_first_block_ever_seen_is_followed_too() {
    let adapt = |config| Config {
        backfill_depth: 2,
        ..config
    };
    for Scene { chain, mut view } in Scene::both_with(50, adapt).await {
        view.scan().await;
        chain.drop_newest(6);
        chain.mine(4);
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(3);
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(49, 1)]);
    }
}

#[tokio::test]
async fn a_reorganisation_while_the_node_was_off_is_found_before_it_catches_up() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        let carrier = chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(4);
        view.scan().await;
        let row = view.add_request(carrier).await;

        chain.drop_newest(5);
        chain.mine_with(&[request(ORACLE, 2)]);
        chain.mine(400);
        view.restarts();
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(51, 2)]);
        assert_eq!(view.request(row).await.state, State::Orphaned);
    }
}

#[tokio::test]
async fn what_was_final_is_never_undone_and_the_violation_is_said() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(30);
        view.scan().await;
        let (before, finalized) = (view.cursor().await, view.cursor().await.finalized);
        assert_eq!(finalized, 61);

        // Down to one below what was final, and at the same height again.
        chain.reorg(21);
        let text = view.refusal().await;
        assert!(text.contains("finality violated"), "{text}");
        assert!(text.contains("nothing is undone"), "{text}");
        assert_eq!(view.cursor().await, before);
        assert_eq!(view.pending().await, [(51, 1)]);

        // A head far below says so as well, even where it is all there is to see.
        chain.drop_newest(31);
        chain.mine(1);
        let text = view.refusal().await;
        assert!(text.contains("finality violated"), "{text}");
        chain.drop_newest(20);
        let text = view.refusal().await;
        assert!(
            text.contains("still syncing, or of another chain"),
            "{text}"
        );
        assert_eq!(view.cursor().await, before);
    }
}

#[tokio::test]
async fn a_reorganisation_down_to_the_final_block_is_followed() {
    for Scene { chain, mut view } in Scene::both(80).await {
        view.scan().await;
        assert_eq!(view.cursor().await.finalized, 60);
        // The first scan stood on 70; nothing below was seen, and 60 stays.
        chain.reorg(20);
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.canonical_at(70).await.unwrap().block, chain.at(70));
        assert_eq!(view.cursor().await.finalized, 60);
    }
}

#[tokio::test]
async fn another_chain_of_the_same_id_is_refused_with_a_remedy() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine(40);
        view.scan().await;
        // A development chain that was started anew.
        chain.drop_newest(91);
        chain.mine(120);
        let before = view.cursor().await;
        let text = view.refusal().await;
        assert!(text.contains("a fresh database"), "{text}");
        assert_eq!(view.cursor().await, before);
    }
}

#[tokio::test]
async fn another_endpoints_branch_is_no_reorganisation_of_the_chain_that_is_followed() {
    for Scene { chain, mut view } in Scene::both(50).await {
        // Of the same number, one block longer, and not the same from its first block on.
        let other = Scripted::of(51).await;
        let both = pool(CHAIN, &[chain.url(), other.url()]);
        let (watch, poke) = (HeadWatch::default(), Poke::new());
        view.scan().await;
        view.scanner = Scanner::new(both.clone(), view.config.clone(), watch.clone());
        let before = view.cursor().await;
        let listening = tokio::spawn(watch.run(both.clone(), poke));
        let running = tokio::spawn(both.clone().run(std::future::pending()));
        let mut announced = both.new_heads();
        announced.wait_for(Option::is_some).await.unwrap();
        until("the stranger is known as one", || async {
            (both.nodes()[1].state == NodeState::Forked).then_some(())
        })
        .await;
        for _ in 0..10 {
            let _ = view.tick().await;
        }
        assert_eq!(view.cursor().await.block, before.block);
        assert!(view.canonical_at(50).await.unwrap().block == chain.at(50));
        assert_eq!(announced.borrow().as_ref().unwrap().hash, chain.at(50).hash);
        // What the right one says is followed as ever.
        chain.mine(3);
        announced
            .wait_for(|head| head.as_ref().is_some_and(|head| head.number == 53))
            .await
            .unwrap();
        view.scan().await;
        view.agrees_with(&chain).await;
        running.abort();
        listening.abort();
    }
}

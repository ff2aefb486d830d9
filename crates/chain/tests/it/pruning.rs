//! What may be forgotten, and what may not.

use dodona_chain::Pruner;
use dodona_runtime::Service;
use dodona_store::{heads, logs};

use crate::scene::{NOW, ORACLE, Scene};
use crate::scripted::{CHAIN, request};

#[tokio::test]
async fn old_headers_and_old_decided_logs_are_forgotten_and_nothing_else() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine_with(&[request(ORACLE, 1), request(ORACLE, 2)]);
        for _ in 0..100 {
            chain.mine(1);
            view.scan().await;
        }
        let mut tx = view.lead.begin().await.unwrap();
        let seen = logs::pending(&mut tx, CHAIN, 51, 9).await.unwrap();
        assert!(logs::consume(&mut tx, seen[0].id, "").await.unwrap());
        // Long ago, as far as the pruner can know.
        let old = logs::Log {
            log_index: 7,
            seen_at: NOW,
            ..seen[0].clone()
        };
        logs::insert(&mut tx, CHAIN, &old).await.unwrap();
        let all = logs::pending(&mut tx, CHAIN, 51, 9).await.unwrap();
        let old = all.iter().find(|log| log.log_index == 7).unwrap();
        assert!(logs::consume(&mut tx, old.id, "").await.unwrap());
        tx.commit().await.unwrap();

        let mut pruner = Pruner::new(view.config.clone());
        let round = pruner.tick(&view.lead).await.unwrap();
        // The head is 151, 131 is final and 30 more are kept.
        assert!(view.canonical_at(100).await.is_none());
        assert_eq!(view.canonical_at(101).await.unwrap().block, chain.at(101));
        assert_eq!(view.pending().await, [(51, 2)], "undecided, however old");
        let report = serde_json::to_value(&round).unwrap();
        assert_eq!(report["logs"], 1, "decided and from long ago: {report}");

        chain.reorg(20);
        view.scan().await;
        view.agrees_with(&chain).await;
        let mut conn = view.store.read().await.unwrap();
        assert!(heads::cursor(&mut conn, CHAIN).await.unwrap().is_some());
    }
}

//! Endpoints that are behind or forgetful, databases that refuse, replicas that were deposed.

use dodona_store::{Engine, LeadError, Leader, LeaseConfig, Scope};
use sqlx::{AssertSqlSafe, Connection};

use crate::scene::{ORACLE, Scene, View};
use crate::scripted::{CHAIN, request};

#[tokio::test]
async fn an_endpoint_that_is_behind_changes_nothing() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(5);
        view.scan().await;
        let before = view.cursor().await;
        for number in [55, 52, 50, 44] {
            chain.pretends_to_be_at(Some(number));
            let round = view.tick().await.unwrap();
            assert!(!round.moved && !round.behind, "{number}");
            assert_eq!(view.cursor().await, before);
        }
        chain.pretends_to_be_at(None);
        chain.mine(1);
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(51, 1)]);
    }
}

#[tokio::test]
async fn a_block_whose_logs_the_endpoint_does_not_know_yet_is_read_again_and_not_skipped() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine(1);
        let carrier = chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(1);
        chain.has_no_logs_of(carrier);
        for _ in 0..3 {
            let text = view.refusal().await;
            assert!(text.contains("does not know the block"), "{text}");
            assert_eq!(view.cursor().await.block, chain.at(50));
        }
        chain.has_all_logs();
        view.scan().await;
        view.agrees_with(&chain).await;
        assert_eq!(view.pending().await, [(52, 1)]);
    }
}

/// Makes the database refuse to move the position.
async fn hold_the_position(view: &View, held: bool) {
    let (create, drop) = match view.store.engine() {
        Engine::Sqlite => (
            "CREATE TRIGGER held BEFORE INSERT ON scan_cursors BEGIN SELECT RAISE(ABORT, 'held'); END",
            "DROP TRIGGER held",
        ),
        Engine::Postgres => (
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'held'; END $$;
             CREATE TRIGGER held BEFORE INSERT OR UPDATE ON scan_cursors FOR EACH ROW EXECUTE FUNCTION hold()",
            "DROP TRIGGER held ON scan_cursors; DROP FUNCTION hold",
        ),
    };
    let sql = if held { create } else { drop };
    match &view.base.config {
        dodona_store::DatabaseConfig::Sqlite(path) => {
            let url = format!("sqlite://{}", path.display());
            let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut conn)
                .await
                .unwrap();
        }
        dodona_store::DatabaseConfig::Postgres { url, .. } => {
            let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut conn)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn logs_and_position_commit_together_or_not_at_all() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        for gap in [1, 300] {
            let before = (view.cursor().await, view.pending().await);
            chain.mine_with(&[request(ORACLE, 1)]);
            chain.mine(gap);
            hold_the_position(&view, true).await;
            let text = view.refusal().await;
            assert!(text.contains("held"), "{text}");
            assert_eq!((view.cursor().await, view.pending().await), before);
            assert!(view.canonical_at(before.0.block.number + 1).await.is_none());

            hold_the_position(&view, false).await;
            view.scan().await;
            assert_eq!(view.pending().await.len(), before.1.len() + 1);
            view.agrees_with(&chain).await;
        }
    }
}

#[tokio::test]
async fn a_reorganisation_that_cannot_be_stored_is_undone_as_a_whole() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        let carrier = chain.mine_with(&[request(ORACLE, 1)]);
        view.scan().await;
        let row = view.add_request(carrier).await;
        chain.reorg(1);
        hold_the_position(&view, true).await;
        view.refusal().await;
        assert_eq!(view.pending().await, [(51, 1)]);
        assert_eq!(view.canonical_at(51).await.unwrap().block, carrier);
        let state = view.request(row).await.state;
        assert_eq!(state, dodona_model::request::State::Open);
        hold_the_position(&view, false).await;
        view.scan().await;
        view.agrees_with(&chain).await;
    }
}

#[tokio::test]
async fn a_deposed_scanner_writes_nothing() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        view.lead.release().await.unwrap();
        let config = LeaseConfig::default();
        let scope = Scope::chain(CHAIN);
        let successor = Leader::try_acquire(&view.store, &scope, "another", &config).await;
        let successor = successor.unwrap().expect("it was given back");
        let before = view.cursor().await;
        chain.mine_with(&[request(ORACLE, 1)]);
        let cause = view.tick().await.unwrap_err();
        assert!(
            matches!(cause.downcast_ref(), Some(LeadError::Deposed(_))),
            "{cause:#}"
        );
        assert_eq!(view.cursor().await, before);
        assert_eq!(view.pending().await, [(0, 0); 0]);

        // Whoever leads now goes on from the same rows.
        view.lead = successor;
        view.restarts();
        view.scan().await;
        assert_eq!(view.pending().await, [(51, 1)]);
    }
}

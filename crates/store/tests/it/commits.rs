//! What belongs together commits together, or not at all.

use std::time::Duration;

use dodona_store::heads::{self, Cursor};
use dodona_store::{StoreError, jobs, logs, requests, runs, users, warnings};

use crate::world::{CHAIN, NOW, World, block, head, job, log, request};

/// A log that waits for somebody to decide about it.
async fn with_pending_log(world: &World) -> i64 {
    let mut tx = world.lead().await;
    heads::insert(&mut tx, CHAIN, &head(10, 1)).await.unwrap();
    logs::insert(&mut tx, CHAIN, &log(block(10, 1), 3))
        .await
        .unwrap();
    jobs::insert(&mut tx, &job(1), NOW).await.unwrap();
    let pending = logs::pending(&mut tx, CHAIN, 10, 1).await.unwrap();
    tx.commit().await.unwrap();
    pending[0].id
}

/// (logs nobody decided about, runs, requests)
async fn seen(world: &World) -> (u64, u64, usize) {
    let mut conn = world.read().await;
    (
        logs::count_pending(&mut conn, CHAIN).await.unwrap(),
        runs::count(&mut conn, None).await.unwrap(),
        requests::list(&mut conn, 9).await.unwrap().len(),
    )
}

#[tokio::test]
async fn a_consumed_mark_and_its_run_commit_together_or_not_at_all() {
    for world in World::both().await {
        let id = with_pending_log(&world).await;
        for commits in [false, true] {
            let mut tx = world.lead().await;
            assert!(logs::consume(&mut tx, id, "").await.unwrap());
            let run = runs::insert(&mut tx, 1, "{}", NOW).await.unwrap();
            let row = requests::insert(&mut tx, &request(1, 1), NOW)
                .await
                .unwrap();
            requests::set_run(&mut tx, row, run).await.unwrap();
            if commits {
                tx.commit().await.unwrap();
                assert_eq!(seen(&world).await, (0, 1, 1));
            } else {
                drop(tx);
                assert_eq!(seen(&world).await, (1, 0, 0));
            }
        }
    }
}

#[tokio::test]
async fn a_transaction_with_a_failed_statement_commits_on_neither_engine() {
    for world in World::both().await {
        let id = with_pending_log(&world).await;
        let mut tx = world.begin().await;
        users::insert(&mut tx, "a@b", "x", "admin", NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();

        let mut tx = world.lead().await;
        assert!(logs::consume(&mut tx, id, "").await.unwrap());
        let twice = users::insert(&mut tx, "a@b", "y", "view", NOW).await;
        assert!(twice.unwrap_err().is_duplicate());
        let refused = tx.commit().await.unwrap_err();
        assert!(matches!(refused, StoreError::Spoiled), "{refused}");
        assert_eq!(seen(&world).await, (1, 0, 0));
    }
}

#[tokio::test]
async fn logs_and_the_cursor_over_them_move_together() {
    for world in World::both().await {
        let cursor = Cursor {
            block: block(10, 1),
            finalized: 3,
            updated_at: NOW,
        };
        for commits in [false, true] {
            let mut tx = world.lead().await;
            logs::insert(&mut tx, CHAIN, &log(block(10, 1), 0))
                .await
                .unwrap();
            heads::set_cursor(&mut tx, CHAIN, &cursor).await.unwrap();
            if commits {
                tx.commit().await.unwrap();
            }
            let mut conn = world.read().await;
            let now = heads::cursor(&mut conn, CHAIN).await.unwrap();
            let pending = logs::count_pending(&mut conn, CHAIN).await.unwrap();
            assert_eq!((now.is_some(), pending == 1), (commits, commits));
        }
    }
}

#[tokio::test]
async fn callers_that_give_up_anywhere_leave_the_database_usable() {
    for world in World::both().await {
        let mut committed = 0;
        for n in 0..150u64 {
            let write = async {
                let mut tx = world.leader.begin().await.unwrap();
                warnings::set(&mut tx, &format!("{n:03}"), "written", NOW)
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
            };
            let patience = Duration::from_micros(n * 20);
            if tokio::time::timeout(patience, write).await.is_ok() {
                committed += 1;
            }
        }
        let mut tx = world.lead().await;
        warnings::set(&mut tx, "last", "written", NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut conn = world.read().await;
        let written = warnings::list(&mut conn).await.unwrap();
        assert!(written.len() > committed, "what was acknowledged is there");
        assert_eq!(written.last().unwrap().0, "last");
    }
}

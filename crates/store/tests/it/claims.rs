//! Runs are executed by any replica, under a claim.

use std::collections::BTreeSet;
use std::time::Duration;

use dodona_model::RunId;
use dodona_model::run::State;
use dodona_store::runs::{self, Run};
use dodona_store::{Store, jobs};
use dodona_testkit::until;

use crate::world::{Base, NOW, World, after, end, ended, job, task};

const LONG: Duration = Duration::from_secs(600);

async fn with_runs(store: &Store, how_many: u32) {
    let mut tx = store.begin().await.unwrap();
    let job = jobs::insert(&mut tx, &job(1), NOW).await.unwrap();
    for _ in 0..how_many {
        runs::insert(&mut tx, job, "{}", NOW).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn claim(store: &Store, me: &str, lasts: Duration, limit: u32) -> Vec<Run> {
    let mut tx = store.begin().await.unwrap();
    let claimed = runs::claim(&mut tx, me, lasts, limit).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn finish(store: &Store, id: RunId, me: &str, generation: u64) -> bool {
    let mut tx = store.begin().await.unwrap();
    let end = end(State::Completed);
    let done = runs::finish(&mut tx, id, me, generation, &end, after(1)).await;
    tx.commit().await.unwrap();
    done.unwrap()
}

/// Claims whatever there is, a few at a time, until nothing is left.
async fn claim_all(store: Store, me: String) -> Vec<RunId> {
    let mut mine = Vec::new();
    loop {
        let claimed = claim(&store, &me, LONG, 7).await;
        assert!(claimed.len() <= 7);
        assert!(
            claimed
                .iter()
                .all(|run| run.claimed_by.as_ref() == Some(&me))
        );
        if claimed.is_empty() {
            return mine;
        }
        mine.extend(claimed.iter().map(|run| run.id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_claimers_ever_get_the_same_run() {
    for base in Base::both().await {
        let first = base.open().await;
        with_runs(&first, 400).await;
        let second = match first.engine() {
            dodona_store::Engine::Sqlite => first.clone(),
            dodona_store::Engine::Postgres => base.open().await,
        };
        let claimers: Vec<_> = (0..16)
            .map(|n| {
                let store = if n % 2 == 0 { &first } else { &second };
                tokio::spawn(claim_all(store.clone(), format!("claimer {n}")))
            })
            .collect();
        let mut claimed = Vec::new();
        for claimer in claimers {
            claimed.extend(claimer.await.unwrap());
        }
        let distinct: BTreeSet<_> = claimed.iter().copied().collect();
        assert_eq!(distinct.len(), claimed.len(), "somebody was given twice");
        assert_eq!(distinct.len(), 400, "nothing was left out");
    }
}

#[tokio::test]
async fn an_expired_claim_is_taken_over_and_its_old_holder_changes_nothing() {
    for world in World::both().await {
        with_runs(&world.store, 1).await;
        let store = &world.store;
        let old = claim(store, "frozen", Duration::ZERO, 1).await.remove(0);
        let new = until("the claim has expired", async || {
            claim(store, "awake", LONG, 1).await.pop()
        })
        .await;
        assert_eq!(new.id, old.id);

        assert!(!finish(store, old.id, "frozen", old.generation).await);
        let mut tx = world.begin().await;
        let mine = runs::still_mine(&mut tx, &[old.id], "frozen").await;
        assert!(mine.unwrap().is_empty());
        assert!(!runs::drop_run(&mut tx, old.id, "frozen").await.unwrap());
        assert_eq!(
            runs::renew_claims(&mut tx, "frozen", &[old.id], LONG)
                .await
                .unwrap(),
            0
        );
        tx.commit().await.unwrap();
        let now = world.run(old.id).await;
        assert_eq!(now.claimed_by.as_deref(), Some("awake"));
        assert_eq!((now.state, now.outputs.as_str()), (State::Running, "[]"));

        assert!(finish(store, new.id, "awake", new.generation).await);
        assert_eq!(world.run(new.id).await.state, State::Completed);
    }
}

#[tokio::test]
async fn a_renewed_claim_is_not_taken_over() {
    for world in World::both().await {
        with_runs(&world.store, 2).await;
        let mine = claim(&world.store, "alive", Duration::ZERO, 2).await;
        let (kept, dropped) = (mine[0].id, mine[1].id);
        let mut tx = world.begin().await;
        let renewed = runs::renew_claims(&mut tx, "alive", &[kept, 999], LONG).await;
        assert_eq!(renewed.unwrap(), 1);
        tx.commit().await.unwrap();
        let store = &world.store;
        let free = until("the other one is free", async || {
            claim(store, "other", LONG, 9).await.pop()
        })
        .await;
        assert_eq!(free.id, dropped);
        assert!(claim(store, "other", LONG, 9).await.is_empty());
    }
}

#[tokio::test]
async fn attempts_are_counted_before_a_run_is_executed() {
    for world in World::both().await {
        with_runs(&world.store, 1).await;
        let store = &world.store;
        for attempts in 1..=3 {
            // Each dies without a word: a poisonous run is seen to be one.
            let run = until("it is free", async || {
                claim(store, &format!("replica {attempts}"), Duration::ZERO, 1)
                    .await
                    .pop()
            })
            .await;
            assert_eq!(run.attempts, attempts);
        }
        let run = until("it is free", async || {
            claim(store, "me", LONG, 1).await.pop()
        })
        .await;
        assert_eq!(run.attempts, 4);
        let mut tx = world.begin().await;
        assert_eq!(runs::release_claims(&mut tx, "me").await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(
            world.run(run.id).await.attempts,
            3,
            "a clean stop is no attempt"
        );

        let run = claim(store, "me", LONG, 1).await.remove(0);
        assert!(finish(store, run.id, "me", 1).await);
        assert_eq!(world.run(run.id).await.attempts, 0, "it got somewhere");
    }
}

#[tokio::test]
async fn a_run_under_way_that_must_run_again_is_lost_to_its_holder() {
    for world in World::both().await {
        with_runs(&world.store, 1).await;
        let run = claim(&world.store, "me", LONG, 1).await.remove(0);
        let mut tx = world.begin().await;
        let fetched = ended(task(run.id, 1), "\"fetched\"");
        let computed = ended(task(run.id, 2), "\"computed\"");
        runs::save_tasks(&mut tx, &[fetched, computed])
            .await
            .unwrap();
        runs::run_again(&mut tx, run.id, "{\"terms\":2}")
            .await
            .unwrap();
        tx.commit().await.unwrap();

        assert!(!finish(&world.store, run.id, "me", run.generation).await);
        let again = claim(&world.store, "me", LONG, 1).await.remove(0);
        assert_eq!(again.inputs, "{\"terms\":2}");
        assert!(!finish(&world.store, run.id, "me", run.generation).await);
        let mut conn = world.read().await;
        let tasks = runs::tasks(&mut conn, run.id).await.unwrap();
        assert_eq!(tasks[0].value.as_deref(), Some("\"fetched\""));
        assert_eq!((&tasks[1].value, tasks[1].finished_at), (&None, None));
        assert!(finish(&world.store, run.id, "me", again.generation).await);
    }
}

#[tokio::test]
async fn what_a_task_said_first_stays() {
    for world in World::both().await {
        with_runs(&world.store, 1).await;
        let run = claim(&world.store, "me", LONG, 1).await.remove(0);
        let mut tx = world.begin().await;
        runs::save_tasks(&mut tx, &[task(run.id, 1)]).await.unwrap();
        let id = task(run.id, 1).id;
        let first = runs::finish_task(&mut tx, id, Some("1"), Some("1"), None, after(1)).await;
        assert_eq!(first.unwrap(), Some(run.id));
        let late = runs::finish_task(&mut tx, id, Some("2"), Some("2"), None, after(2)).await;
        assert_eq!(late.unwrap(), None);
        runs::save_tasks(&mut tx, &[ended(task(run.id, 1), "3")])
            .await
            .unwrap();
        runs::save_tasks(&mut tx, &[task(run.id, 1)]).await.unwrap();
        let tasks = runs::tasks(&mut tx, run.id).await.unwrap();
        assert_eq!(tasks[0].value.as_deref(), Some("1"));
        assert_eq!(tasks[0].finished_at, Some(after(1)));
    }
}

#[tokio::test]
async fn pruning_leaves_runs_that_have_not_ended() {
    for world in World::both().await {
        with_runs(&world.store, 3).await;
        let claimed = claim(&world.store, "me", LONG, 2).await;
        let mut tx = world.begin().await;
        for run in &claimed {
            let saved = ended(task(run.id, u8::try_from(run.id).unwrap()), "1");
            runs::save_tasks(&mut tx, &[saved]).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert!(finish(&world.store, claimed[0].id, "me", 1).await);
        let mut tx = world.begin().await;
        assert_eq!(runs::prune_old(&mut tx, after(1), 9).await.unwrap(), 0);
        assert_eq!(runs::prune_old(&mut tx, after(2), 9).await.unwrap(), 1);
        assert_eq!(runs::count(&mut tx, None).await.unwrap(), 2);
        assert!(
            runs::tasks(&mut tx, claimed[0].id)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(runs::tasks(&mut tx, claimed[1].id).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_claims_of_a_dead_process_are_free_at_once_unless_they_may_have_killed_it() {
    for world in World::both().await {
        let store = &world.store;
        with_runs(store, 1).await;
        let suspicious = claim(store, "first life", Duration::ZERO, 1)
            .await
            .remove(0);
        let again = until("it is free", async || {
            claim(store, "second life", LONG, 1).await.pop()
        })
        .await;
        assert_eq!((again.id, again.attempts), (suspicious.id, 2));
        let mut tx = world.begin().await;
        let fresh = runs::insert(&mut tx, again.job_id, "{}", NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(claim(store, "second life", LONG, 9).await[0].id, fresh);

        let mut tx = world.begin().await;
        assert_eq!(runs::release_left_claims(&mut tx).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let free: Vec<_> = claim(store, "third life", LONG, 9)
            .await
            .iter()
            .map(|run| run.id)
            .collect();
        assert_eq!(free, [fresh]);
    }
}
